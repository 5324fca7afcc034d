"""Third floor: plans made real in memory, and whether they can be (verdict).

Names are looked up when first used: a recipe that cannot work is refused before transformers is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergelab.models.assembly import Assembly, assemble
    from mergelab.models.changes import Changes
    from mergelab.models.events import Done, Failed, Merged, Next, Text
    from mergelab.models.speak import Stopped

__all__ = ["Assembly", "Changes", "Done", "Failed", "Merged", "Next", "Stopped", "Text", "assemble"]

_HOMES = {
    "Assembly": "assembly",
    "Changes": "changes",
    "Done": "events",
    "Failed": "events",
    "Merged": "events",
    "Next": "events",
    "Stopped": "speak",
    "Text": "events",
    "assemble": "assembly",
}


def __getattr__(name: str) -> object:
    """Import what ``name`` stands for when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mergelab.models' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"mergelab.models.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
