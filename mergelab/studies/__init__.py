"""Floor of judgement: how good a merge is, and where it breaks, found out while one works on it."""
