"""What a workbench begins with: the sources it is given or that its recipe names, a recipe, prompts to try."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mergelab import sample
from mergelab.errors import Problem, RecipeError
from mergelab.recipes.recipe import Recipe
from mergelab.views.exports import opened
from mergelab.views.guests import Guest, open_guests
from mergelab.views.layouts import beginning

PROMPTS = ("Once upon a time", "The answer is", "In the beginning")


def begin(sources: Sequence[object], recipe: object, names: Sequence[str] | None) -> tuple[tuple[Guest, ...], Recipe]:
    """The sources, opened, and the recipe to begin with; without one, a graft.

    Args:
        sources: models; or a recipe alone: itself, its YAML, a file of it (``.yml``), or what was copied from a
            workbench as JSON (text, or ``.json``).
        recipe: the same, but for JSON, beside sources; models it names that are not among them come behind them.
        names: one for each source; None: the names of their folders.

    Raises:
        RecipeError: a recipe cannot be read.
        SourceError: a source cannot be opened, there are too few or too many, or names do not match them.
    """
    alone = sources[0] if len(sources) == 1 else None
    if recipe is None and _is_recipe(alone):
        sources, recipe = (), alone
        if isinstance(recipe, str | os.PathLike) and (json := _json(recipe)):
            return opened(json)
    if recipe is None:
        guests = open_guests(sources, names)
        return guests, beginning(guests)
    loaded = recipe_from(recipe)
    known = [str(getattr(source, "source", source)) for source in sources]
    wanted = [*sources, *(source for source in loaded.sources if str(source) not in known)]
    return open_guests(wanted, names), loaded


def recipe_from(value: object) -> Recipe:
    """A recipe, or what ``Recipe.load`` reads.

    Raises:
        RecipeError: it cannot be read, or is neither a recipe nor a text or path.
    """
    if isinstance(value, Recipe):
        return value
    if isinstance(value, str | os.PathLike):
        return Recipe.load(value)
    what = f"a {type(value).__name__} is no recipe."
    raise RecipeError(Problem("recipe", what, "Give a Recipe, its YAML, or a file of it."))


def first_prompts(guests: Sequence[Guest]) -> tuple[str, ...]:
    """Prompts the sources can answer: the sample family's own, those of their skills first; else beginnings any model
    can go on from.
    """
    paths = [Path(guest.checkpoint.source.path) for guest in guests]
    members = [path.name for path in paths if path.parent == sample.FAMILY]
    if not members:
        return PROMPTS
    skilled = [sample.SKILLS[name].prompts(1)[0] for name in members if name in sample.SKILLS]
    return tuple(dict.fromkeys([*skilled, *sample.demo_prompts()]))


def _is_recipe(source: object) -> bool:
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        return text.lower().endswith((".yml", ".yaml", ".json")) or "\n" in text or text.startswith("{")
    return isinstance(source, Recipe)


def _json(source: str | os.PathLike[str]) -> str:
    """The JSON that is meant; "" where it is none."""
    text = os.fspath(source)
    if text.lower().endswith(".json"):
        try:
            return Path(text).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise RecipeError(Problem(text, f"cannot be read ({error}).", "Give a JSON file of a workbench.")) from None
    return text if text.startswith("{") and '"sketch"' in text else ""
