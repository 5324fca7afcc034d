"""Fourth floor: a plan poured onto disk, streamed, whole or not at all, proven and recorded; and looked at again."""
