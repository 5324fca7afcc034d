"""Floor of judgement: how good a merge is, and where it breaks, found out while one works on it.

ml.Workbench(base, pirate, scorers=[ml.studies.skill("pirate"), ml.studies.perplexity(text), my_function])
"""

from mergelab.studies.scores import Score, Scorer, function, perplexity, skill

__all__ = ["Score", "Scorer", "function", "perplexity", "skill"]
