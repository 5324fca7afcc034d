"""The memory of the hand: every recipe it has made, the way back and forth through them, and those kept by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mergelab.errors import AssemblyError, Problem, did_you_mean
from mergelab.recipes.difference import difference
from mergelab.recipes.notes import Notes
from mergelab.recipes.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

REMEMBERED = 200  # recipes of the log; the way back is as long
NOW = "now"  # what the recipe at hand is called beside the kept ones
COMMENTS = "comments"  # what an edit changed that changed nothing else
UNREAD = "text that could not be read"  # what an undo takes back first, where there is some


def alike(one: Recipe, other: Recipe) -> bool:
    """Whether two recipes say the same, in their comments too."""
    return one == other and _comments(one) == _comments(other)


def _comments(recipe: Recipe) -> tuple[object, ...]:
    return (recipe.notes or Notes()).comments


def _words(before: Recipe, after: Recipe) -> str:
    return COMMENTS if before == after else difference(before, after)


@dataclass(frozen=True)
class Entry:
    """One recipe, and what told it apart from the one before; turns count from 1."""

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
        unread: a text that somebody typed over what is shown, and that no recipe can be read from; None: none.
        put_away: one that was taken back, and that redo gives again.
    """

    log: tuple[Entry, ...]
    way: tuple[int, ...] = (0,)
    at: int = 0
    kept: tuple[tuple[str, Recipe], ...] = ()
    showing: str = ""
    unread: str | None = None
    put_away: str | None = None

    @classmethod
    def of(cls, recipe: Recipe) -> Past:
        """A past that begins with a recipe."""
        return cls((Entry(1, recipe, ""),))

    @property
    def now(self) -> Entry:
        """The entry the hand is at."""
        return self.log[self.way[self.at]]

    @property
    def shown(self) -> Recipe:
        """What is on screen: the recipe at hand, or the snapshot that is shown."""
        return self.snapshot(self.showing, "show") if self.showing else self.now.recipe

    @property
    def next(self) -> int:
        """The turn that the next recipe is going to have."""
        return self.log[-1].turn + 1

    def turned(self, recipe: Recipe, whence: str = "") -> Past:
        """A recipe is made. What was undone can then not be redone, but stays in the log.

        Args:
            whence: where it comes from, for its words, if not from what is at hand. Where a snapshot is shown, it is
                made from that.
        """
        if alike(recipe, self.now.recipe):
            return self._at(self.at)
        words = _words(self.now.recipe, recipe)
        if words == COMMENTS == self.now.words and self.now is self.log[-1] and self.at:
            log = (*self.log[:-1], replace(self.now, recipe=recipe))  # still at it: one step
            return replace(self, log=log)._at(self.at)
        if whence:
            words = f"{whence}: {words}"
        elif self.showing and self.shown != self.now.recipe:
            # What was at hand until now is one undo away, and its turn says where it is in the history.
            words = f"from {self.showing}, in place of turn {self.now.turn}: {_words(self.shown, recipe)}"
        entry = Entry(self.next, recipe, words)
        way = (*self.way[: self.at + 1], len(self.log))
        lost = max(len(self.log) + 1 - REMEMBERED, 0)
        log = (*self.log, entry)[lost:]
        steps = tuple(place - lost for place in way if place >= lost)
        return replace(self, log=log, way=steps)._at(len(steps) - 1)

    def turn_of(self, recipe: Recipe) -> int:
        """The turn of what is on screen: of a snapshot that where it was made last, of one under a hand the next."""
        if recipe == self.now.recipe:
            return self.now.turn
        if recipe == self.shown:
            return max((entry.turn for entry in self.log if entry.recipe == recipe), default=self.now.turn)
        return self.next

    def undone(self) -> Past:
        """One step back; a text that cannot be read is one.

        Raises:
            AssemblyError: there is none.
        """
        if self.unread is not None:
            return replace(self, unread=None, put_away=self.unread)
        return self._gone(-1, "undo")

    def redone(self) -> Past:
        """One step forth.

        Raises:
            AssemblyError: there is none.
        """
        if self.put_away is not None:
            return self.typed(self.put_away)
        return self._gone(1 if self.unread is None else 0, "redo")

    def typed(self, unread: str | None) -> Past:
        """A text that cannot be read stands over what is shown; None: none does any more."""
        return self if unread == self.unread else replace(self, unread=unread, put_away=None)

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
        without = replace(self, kept=kept)
        return without._at(self.at) if self.showing == name else without

    def looking(self, name: str) -> Past:
        """A snapshot is on screen; "": the recipe at hand again.

        Raises:
            AssemblyError: there is no snapshot of that name.
        """
        if name:
            self.snapshot(name, "show")
        return replace(self._at(self.at), showing=name)

    def turn(self, number: int) -> Entry:
        """What was made at a turn.

        Raises:
            AssemblyError: the log does not have it.
        """
        for entry in self.log:
            if entry.turn == number:
                return entry
        hint = f"It has turns {self.log[0].turn} to {self.log[-1].turn}."
        raise AssemblyError(Problem("restore", f"the history has no turn {number!r}.", hint))

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
        forth = [] if self.unread is not None else [self.log[place].words for place in self.way[self.at + 1 :]]
        forth = [UNREAD, *forth] if self.put_away is not None else forth
        return {
            "undo": self.at + (self.unread is not None),
            "redo": len(forth),
            "undo_words": UNREAD if self.unread is not None else self.now.words if self.at else "",
            "redo_words": forth[0] if forth else "",
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
        if not by or not 0 <= self.at + by < len(self.way):
            raise AssemblyError(Problem(verb, f"there is nothing to {verb}.", "The history shows what was made."))
        return self._at(self.at + by)

    def _at(self, place: int) -> Past:
        """At a place on the way, with that recipe alone on screen."""
        return replace(self, at=place, showing="", unread=None, put_away=None)
