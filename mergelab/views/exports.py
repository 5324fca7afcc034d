"""What one leaves the workbench with: the recipe for mergekit, as Python, and as JSON that another workbench opens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mergelab.errors import MergelabError, Problem, RecipeError, did_you_mean
from mergelab.recipes.dialect import read
from mergelab.recipes.recipe import Recipe
from mergelab.views.guests import Guest, open_guests
from mergelab.views.sketch import Sketch, recipe_of, sketch_of
from mergelab.views.sketch_check import check_sketch
from mergelab.weights import Source


def export(kind: str, recipe: Recipe, guests: Sequence[Guest]) -> str:
    """The recipe as a text of one of KINDS.

    Raises:
        RecipeError: there is no such kind, or the recipe cannot be said that way.
    """
    if kind not in KINDS:
        raise RecipeError(Problem("export", f"there is no kind {kind!r}.", did_you_mean(kind, list(KINDS))))
    return KINDS[kind](recipe, guests)


def exports(recipe: Recipe, guests: Sequence[Guest]) -> dict[str, Any]:
    """``{mergekit, python, json, why}``: texts, or None with the reason under ``why``."""
    texts: dict[str, str | None] = {}
    why: dict[str, str] = {}
    for kind in KINDS:
        try:
            texts[kind] = export(kind, recipe, guests)
        except MergelabError as error:
            texts[kind], why[kind] = None, str(error)
    return {**texts, "why": why}


def as_python(recipe: Recipe) -> str:
    """A program that makes the recipe, whatever is written in it, and says whether it will work."""
    text = recipe.to_yaml().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'import mergelab as ml\n\nrecipe = ml.Recipe.load("""\\\n{text}""")\nprint(ml.check(recipe))\n'


def as_json(recipe: Recipe, guests: Sequence[Guest]) -> str:
    """The sketch with the names and addresses of its sources, and the recipe's text for what a sketch does not show.

    Raises: as ``sketch_of``.
    """
    sources = [{"name": guest.name, **_address(guest.checkpoint.source)} for guest in guests]
    made = {"sources": sources, "sketch": sketch_of(recipe, guests), "recipe": recipe.to_yaml()}
    return json.dumps(made, allow_nan=False, ensure_ascii=False, indent=1)


KINDS: Mapping[str, Callable[[Recipe, Sequence[Guest]], str]] = {
    "mergekit": lambda recipe, _: recipe.to_mergekit(),
    "python": lambda recipe, _: as_python(recipe),
    "json": as_json,
}


def opened(text: str) -> tuple[tuple[Guest, ...], Recipe]:
    """The sources and the recipe of a JSON that ``as_json`` gave. Where sketch and recipe differ, the sketch counts.

    Raises:
        RecipeError: it is no such text.
        SourceError: a source cannot be opened.
    """
    try:
        found = json.loads(text)
        addresses = [_source(one) for one in found["sources"]]
        names, sketch, before = [one["name"] for one in found["sources"]], found["sketch"], found["recipe"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        hint = "Give the text that a workbench copied as JSON: it has sources, sketch and recipe."
        raise RecipeError(Problem("JSON", f"is no workbench ({type(error).__name__}: {error}).", hint)) from None
    guests = open_guests(addresses, names)
    return guests, recipe_of(_meant(sketch, guests), guests, read(str(before), "recipe"))


def _meant(sketch: object, guests: Sequence[Guest]) -> Sketch:
    try:
        return check_sketch(sketch, guests)
    except ValueError as error:
        raise RecipeError(Problem("JSON", str(error))) from None


def _address(source: Source) -> dict[str, Any]:
    """An address in its parts: as one text, a folder with '@' or '+' in its name would be read as another."""
    found: dict[str, Any] = {"model": source.path}
    if source.revision:
        found["revision"] = source.revision
    if source.adapter:
        found["adapter"] = _address(source.adapter)
    return found


def _source(found: dict[str, Any]) -> Source:
    path, revision, adapter = str(found["model"]), found.get("revision"), found.get("adapter")
    return Source(path, str(revision) if revision else None, _source(adapter) if adapter else None)
