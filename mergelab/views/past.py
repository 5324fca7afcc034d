"""The memory of the hand: every recipe it has made, the way back and forth through them, and those kept by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mergelab.errors import AssemblyError, Problem, did_you_mean
from mergelab.recipes.difference import difference
from mergelab.recipes.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

REMEMBERED = 200  # recipes of the log; the way back is as long
NOW = "now"  # what the recipe at hand is called beside the kept ones


@dataclass(frozen=True)
class Entry:
    """One recipe, and what told it apart from the one before."""

    turn: int
    recipe: Recipe
    words: str


@dataclass(frozen=True)
class Past:
    """What has been made, and where the hand is in it.

    Attributes:
        log: every recipe in the order they were made, also those that were taken back and then replaced.
        way: places in the log that undo and redo go along.
        at: the place on the way where the hand is.
        kept: snapshots by name, oldest first.
        showing: the snapshot that is on screen in place of the recipe at hand; "" for that one itself.
    """

    log: tuple[Entry, ...]
    way: tuple[int, ...] = (0,)
    at: int = 0
    kept: tuple[tuple[str, Recipe], ...] = ()
    showing: str = ""

    @classmethod
    def of(cls, recipe: Recipe) -> Past:
        """A past that begins with a recipe."""
        return cls((Entry(0, recipe, ""),))

    @property
    def now(self) -> Entry:
        """The entry the hand is at."""
        return self.log[self.way[self.at]]

    @property
    def shown(self) -> Recipe:
        """What is on screen: the recipe at hand, or the snapshot that is shown."""
        return self.snapshot(self.showing, "show") if self.showing else self.now.recipe

    def turned(self, recipe: Recipe) -> Past:
        """A recipe is made. What was undone can then not be redone, but stays in the log."""
        if recipe == self.now.recipe:
            return replace(self, showing="")
        entry = Entry(self.log[-1].turn + 1, recipe, difference(self.now.recipe, recipe))
        way = (*self.way[: self.at + 1], len(self.log))
        lost = max(len(self.log) + 1 - REMEMBERED, 0)
        log = (*self.log, entry)[lost:]
        steps = tuple(place - lost for place in way if place >= lost)
        return replace(self, log=log, way=steps, at=len(steps) - 1, showing="")

    def undone(self) -> Past:
        """One step back.

        Raises:
            AssemblyError: there is none.
        """
        return self._gone(-1, "undo")

    def redone(self) -> Past:
        """One step forth.

        Raises:
            AssemblyError: there is none.
        """
        return self._gone(1, "redo")

    def keeping(self, name: str, recipe: Recipe) -> Past:
        """A recipe is kept under a name.

        Raises:
            AssemblyError: the name is empty, taken, or "now".
        """
        name = name.strip()
        if not name or name == NOW:
            raise AssemblyError(Problem("keep", f"{name!r} is no name for a snapshot.", "Give a word or two."))
        if any(name == known for known, _ in self.kept):
            hint = "Choose another name, or drop that one first."
            raise AssemblyError(Problem("keep", f"there is a snapshot {name!r} already.", hint))
        return replace(self, kept=(*self.kept, (name, recipe)))

    def without(self, name: str) -> Past:
        """A snapshot is forgotten.

        Raises:
            AssemblyError: there is none of that name.
        """
        self.snapshot(name, "drop")
        kept = tuple(pair for pair in self.kept if pair[0] != name)
        return replace(self, kept=kept, showing="" if self.showing == name else self.showing)

    def looking(self, name: str) -> Past:
        """A snapshot is on screen; "": the recipe at hand again.

        Raises:
            AssemblyError: there is no snapshot of that name.
        """
        if name:
            self.snapshot(name, "show")
        return replace(self, showing=name)

    def snapshot(self, name: str, verb: str) -> Recipe:
        """The recipe that is kept under a name.

        Raises:
            AssemblyError: there is none; ``verb`` says who asks.
        """
        for known, recipe in self.kept:
            if known == name:
                return recipe
        names = [known for known, _ in self.kept]
        hint = did_you_mean(name, names) if names else "Keep one first."
        raise AssemblyError(Problem(verb, f"there is no snapshot {name!r}.", hint))

    def payload(self, scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        """The ``_past`` trait: plain JSON.

        Args:
            scores: by the fingerprint of a recipe, then by name.
        """
        forth = self.way[self.at + 1 :]
        return {
            "undo": self.at,
            "redo": len(forth),
            "undo_words": self.now.words if self.at else "",
            "redo_words": self.log[forth[0]].words if forth else "",
            "entries": [
                {
                    "turn": entry.turn,
                    "recipe": entry.recipe.fingerprint,
                    "words": entry.words,
                    "scores": dict(scores.get(entry.recipe.fingerprint, {})),
                    "now": entry is self.now,
                }
                for entry in self.log
            ],
            "snapshots": [{"name": name, "recipe": recipe.fingerprint} for name, recipe in self.kept],
            "showing": self.showing,
        }

    def table(self, scores: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
        """The log as a table: turn, fingerprint, what changed, whether it is at hand, and a column for each score."""
        import pandas as pd

        names = list(dict.fromkeys(name for found in scores.values() for name in found))
        rows = []
        for entry in self.log:
            known = scores.get(entry.recipe.fingerprint, {})
            told = {"recipe": entry.recipe.fingerprint, "changed": entry.words, "now": entry is self.now}
            rows.append({"turn": entry.turn, **told, **{name: known.get(name) for name in names}})
        return pd.DataFrame(rows).set_index("turn")

    def _gone(self, by: int, verb: str) -> Past:
        if not 0 <= self.at + by < len(self.way):
            raise AssemblyError(Problem(verb, f"there is nothing to {verb}.", "The history shows what was made."))
        return replace(self, at=self.at + by, showing="")
