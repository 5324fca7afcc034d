"""The faces of one recipe: itself, its picture (the sketch) and its text. An edit of one gives all three anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from mergelab.errors import MergelabError, Problem, SourceError, raise_all
from mergelab.recipes.dialect import read
from mergelab.recipes.recipe import Recipe
from mergelab.views.guests import MOST_SOURCES, Guest, codes, here_already
from mergelab.views.page_text import NAME, lines_of, unreadable
from mergelab.views.sketch import Sketch, recipe_of, sketch_of
from mergelab.weights import Checkpoint, Source, open_checkpoint

Homes: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Faces:
    """One recipe as data, picture and text, and the sources that it speaks of.

    Attributes:
        text: what stands in the editor. Where it cannot be read, recipe and picture are those of the last text that
            could.
        written: the text is what ``to_yaml`` gives, nobody typed it.
        problems: what is wrong with the text, rows of the ``_problems`` trait.
    """

    guests: tuple[Guest, ...]
    recipe: Recipe
    sketch: Sketch
    text: str
    written: bool = True
    problems: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, recipe: Recipe, guests: Sequence[Guest]) -> Faces:
        """The faces of a recipe. Models it names that are no guests yet become guests, where they are folders here.

        Raises:
            MergelabError: it has no picture, or a model of it cannot be opened or is one too many.
        """
        seated = _with_strangers(tuple(guests), recipe)
        return cls(seated, recipe, sketch_of(recipe, seated), recipe.to_yaml())

    def laid(self, recipe: Recipe) -> Faces:
        """Another recipe in place of this one. Raises as ``of``."""
        return Faces.of(recipe, self.guests)

    def drawn(self, sketch: Sketch) -> Faces:
        """What an edit of the picture makes of it; ``sketch`` as ``check_sketch`` gives it.

        Raises:
            MergelabError: no recipe can be made of it.
        """
        recipe = recipe_of(sketch, self.guests, self.recipe)
        return replace(self, recipe=recipe, sketch=sketch, text=recipe.to_yaml(), written=True, problems=())

    def typed(self, text: str) -> Faces:
        """What an edit of the text makes of it. A text that cannot be read stays, with its problems."""
        try:
            return replace(self.laid(read(text, NAME)), text=text, written=False)
        except MergelabError as error:
            return replace(self, text=text, written=False, problems=tuple(unreadable(error.problems, text)))

    @property
    def unread(self) -> str | None:
        """The text, where it cannot be read."""
        return self.text if self.problems else None

    def joined(self, model: Checkpoint | Source | str) -> Faces:
        """The same recipe with one source more.

        Raises:
            SourceError: it cannot be opened, is here already, or is one too many.
        """
        opened = open_checkpoint(model)
        if any(guest.checkpoint.source == opened.source for guest in self.guests):
            raise SourceError(here_already(opened.source))
        return replace(self, guests=_seated(self.guests, [opened]))

    @property
    def layers(self) -> int:
        """How many output layers the stack has."""
        return len(self.homes)

    @property
    def homes(self) -> list[Homes]:
        """For each output layer what it is made of: source and layer of each part."""
        return [
            tuple((part["source"], part["start"] + offset) for part in piece["parts"])
            for piece in self.sketch["slices"]
            for offset in range(piece["layers"])
        ]

    @property
    def lines(self) -> list[list[int]]:
        """First and last line of each slice in the text; none where it cannot be read."""
        return [] if self.problems else lines_of(self.recipe, self.text, written=self.written)


def _with_strangers(guests: tuple[Guest, ...], recipe: Recipe) -> tuple[Guest, ...]:
    known = [guest.checkpoint.source for guest in guests]
    strangers = [source for source in recipe.sources if source not in known]
    hint = "Give its folder, or open a model of the hub first, as a source of its own."
    # Nothing is fetched because a name is being typed.
    raise_all(SourceError, (Problem(str(one), "is no folder here.", hint) for one in strangers if not one.folder))
    return _seated(guests, [open_checkpoint(source) for source in strangers])


def _seated(guests: tuple[Guest, ...], opened: Sequence[Checkpoint]) -> tuple[Guest, ...]:
    """Guests with more of them, which keep their names; codes are given anew."""
    if not opened:
        return guests
    if len(guests) + len(opened) > MOST_SOURCES:
        what = f"would be source number {len(guests) + len(opened)}."
        raise SourceError(Problem(str(opened[-1].source), what, f"A workbench has room for {MOST_SOURCES}."))
    names = [guest.name for guest in guests]
    for checkpoint in opened:
        label = checkpoint.source.label
        alike = sum(name == label or name.startswith(f"{label} ") for name in names)
        names.append(f"{label} {alike + 1}" if alike else label)
    checkpoints = [*(guest.checkpoint for guest in guests), *opened]
    return tuple(map(Guest, names, codes(names), checkpoints))
