"""Third floor: plans made real, in memory (assembly) or on disk (forge)."""

from mergelab.models.assembly import Assembly, Changes, assemble
from mergelab.models.forge import merge
from mergelab.models.speak import Stopped

__all__ = ["Assembly", "Changes", "Stopped", "assemble", "merge"]
