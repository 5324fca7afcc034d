"""Comments of a recipe's text that go along when its slices are moved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from mergelab.recipes.notes import Notes

T = TypeVar("T")


def moved(notes: Notes | None, module: str | None, origins: Sequence[int | None]) -> Notes | None:
    """The notes of a recipe for the same recipe with other slices.

    What is said of a slice goes with the first that was made of it; what is said of one that is gone, goes. Places in
    the old text are forgotten.

    Args:
        module: name of the module that the slices stand in, if any.
        origins: for each slice of the new recipe, the slice of the old one that it was; None: a new one.
    """
    if notes is None:
        return None
    head = f"modules.{module}." if module else ""
    slices = re.compile(re.escape(f"{head}slices[") + r"(\d+)\](.*)", re.DOTALL)
    now = {old: new for new, old in reversed(list(enumerate(origins))) if old is not None}

    def there(told: tuple[tuple[str, T], ...]) -> tuple[tuple[str, T], ...]:
        found: list[tuple[str, T]] = []
        for path, said in told:
            match = slices.fullmatch(path)
            if match is None:
                found.append((path, said))
            elif int(match[1]) in now:
                found.append((f"{head}slices[{now[int(match[1])]}]{match[2]}", said))
        return tuple(found)

    return Notes(there(notes.order), there(notes.above), there(notes.beside), there(notes.below), notes.end)
