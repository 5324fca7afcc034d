"""The sketch: a recipe as the picture of the workbench (plain JSON), and the recipe that a picture stands for.

A slice of the sketch says everything itself: its runs of layers, its method, and the numbers that it would take from
the recipe around it. Going back, what was not touched stays as it was written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any, TypeAlias

from mergelab import methods
from mergelab.errors import FitError, Problem, RecipeError, raise_all
from mergelab.methods import Method
from mergelab.recipes.check import check, is_whole, models_of
from mergelab.recipes.recipe import Numbers, Part, Recipe, Rule, Setting, Slice
from mergelab.views.comments import moved
from mergelab.views.guests import Guest
from mergelab.weights import Source

Sketch: TypeAlias = dict[str, Any]
"""The JSON of a sketch: ``{base, widen, slices: [{method, base, layers, parts, numbers}]}``.

A part is ``{source, start, numbers}``, sources are places among the guests. A number is a list of rules ``[filter,
value]``: the first whose filter is in the name of a tensor wins; None is in all of them. A value that is a list bends
over the layers.
"""

Rules: TypeAlias = tuple[Rule, ...]


def sketch_of(recipe: Recipe, guests: Sequence[Guest]) -> Sketch:
    """The picture of a recipe.

    A number per model stands with each part, also where the recipe says it once for all; any other with the slice.
    Numbers that the method of a slice does not read, and those of a base, are not drawn.

    Args:
        guests: its models among them.

    Raises:
        RecipeError: it has stages, names a model that is no guest, or is wrong.
        FitError: it asks for layers that a model has not.
    """
    raise_all(RecipeError, (*_in_stages(recipe), *check(recipe)))
    places = {guest.checkpoint.source: at for at, guest in reversed(list(enumerate(guests)))}
    strangers = [source for source in recipe.named if source not in places]
    hint = f"Open it as a further source. Here are {', '.join(guest.name for guest in guests)}."
    raise_all(
        RecipeError, (Problem("recipe", f"names {str(one)!r}, which is no source here.", hint) for one in strangers)
    )
    depths = _depths(guests)
    pieces = [_alone(recipe, piece, depths) for piece in recipe.slices]
    raise_all(FitError, _too_deep(recipe, pieces, depths))
    return {
        "base": None if recipe.base is None else places[recipe.base],
        "widen": recipe.widen,
        "slices": [_drawn(piece, recipe.base, places) for piece in pieces],
    }


def recipe_of(sketch: Sketch, guests: Sequence[Guest], before: Recipe | None = None) -> Recipe:
    """The recipe that a picture stands for.

    Args:
        sketch: as ``check_sketch`` gives it.
        before: the recipe that it was drawn from. What a sketch does not show is taken over from it: dtype, seed,
            vocabulary, comments, the method of the recipe where it is still used, numbers given once for all as far as
            they still hold. A slice that was not touched stays that very slice; if nothing was, so does the recipe.

    Raises:
        RecipeError: ``before`` has stages.
    """
    raise_all(RecipeError, _in_stages(before))
    depths = _depths(guests)
    sources = [guest.checkpoint.source for guest in guests]
    base = None if sketch["base"] is None else sources[sketch["base"]]
    bare = Recipe("passthrough", (), base)
    pieces = tuple(_alone(bare, _read(one, sources), depths) for one in sketch["slices"])
    if before is None:
        before = Recipe(_commonest(pieces), (), base)
    had = tuple(_alone(before, piece, depths) for piece in before.slices)
    if (pieces, base, sketch["widen"]) == (had, before.base, before.widen):
        return before
    used = [piece.method for piece in pieces]
    method = before.method if before.method in used else _commonest(pieces)
    wide = _still_shared(before, pieces)
    made = replace(
        before,
        method=method,
        base=base,
        widen=sketch["widen"],
        numbers=_only(before.numbers, wide),
        module_numbers=_only(before.module_numbers, wide),
    )
    if is_whole(before) and _fills(pieces, base, depths):
        return _whole(made, pieces[0], wide, listed=any(part.source == base for part in before.slices[0].parts))
    origins = _origins(had, pieces)
    slices = tuple(
        before.slices[at]
        if at is not None and piece == had[at] == _alone(made, before.slices[at], depths)
        else _told(made, piece, wide)
        for piece, at in zip(pieces, origins, strict=True)
    )
    return replace(made, slices=slices, notes=moved(before.notes, before.module, origins))


def _in_stages(recipe: Recipe | None) -> Iterator[Problem]:
    if recipe is not None and recipe.stages:
        names = ", ".join(repr(stage.name) for stage in recipe.stages)
        what = f"is made in stages ({names}), of which there is no picture."
        yield Problem("recipe", what, "Open the stages one by one, each as a recipe of its own.")


# ------------------------------------------------------------------------------- a slice that says everything itself


def _alone(recipe: Recipe, piece: Slice, depths: Mapping[Source, int]) -> Slice:
    """A slice with all that the recipe says of it: method, base, runs of layers, numbers in the method's order."""
    method = methods.get(recipe.method_of(piece))
    base = piece.base or recipe.base
    models, ground = models_of(recipe, piece, method)
    listed = models if ground is None else piece.parts if ground in piece.parts else (*piece.parts, ground)
    around = (piece.numbers, recipe.module_numbers, recipe.numbers)
    parts = tuple(
        Part(
            part.source,
            part.layers or (0, depths[part.source]),
            () if part is ground else _declared(method, (part.numbers, *around), per_model=True),
        )
        for part in listed
    )
    return Slice(parts, base, _declared(method, around, per_model=False), method.name)


def _declared(method: Method, scopes: Sequence[Numbers], *, per_model: bool) -> Numbers:
    """What scopes, the nearest first, say of the numbers of a method, in its order."""
    return tuple(
        (name, _setting(rules))
        for name, parameter in method.parameters.items()
        if parameter.per_model == per_model and (rules := _rules(scopes, name))
    )


def _rules(scopes: Sequence[Numbers], name: str) -> Rules:
    return tuple(rule for scope in scopes for said, setting in scope if said == name for rule in setting.rules)


def _setting(rules: Rules) -> Setting:
    """The rules that some name can reach, each filter written in one way."""
    reached = (rule for at, rule in enumerate(rules) if not any(one.covers(rule) for one in rules[:at]))
    return Setting(tuple(Rule(rule.value, rule.text or None) for rule in reached))


# ----------------------------------------------------------------------------------------------------- to the picture


def _drawn(piece: Slice, base: Source | None, places: Mapping[Source, int]) -> Sketch:
    start, end = _run(piece.parts[0])
    return {
        "method": piece.method,
        "base": None if piece.base is None or piece.base == base else places[piece.base],
        "layers": end - start,
        "parts": [
            {"source": places[part.source], "start": _run(part)[0], "numbers": _written(part.numbers)}
            for part in piece.parts
        ],
        "numbers": _written(piece.numbers),
    }


def _written(numbers: Numbers) -> dict[str, list[list[Any]]]:
    return {
        name: [[rule.filter, list(rule.value) if isinstance(rule.value, tuple) else rule.value] for rule in said.rules]
        for name, said in numbers
    }


def _run(part: Part) -> tuple[int, int]:
    return part.layers or (0, 0)


def _depths(guests: Sequence[Guest]) -> dict[Source, int]:
    return {guest.checkpoint.source: guest.checkpoint.layers for guest in guests}


def _too_deep(recipe: Recipe, pieces: Sequence[Slice], depths: Mapping[Source, int]) -> Iterator[Problem]:
    """Runs of layers that a model has not, and whole models that differ in depth: where they stand in the text."""
    for index, piece in enumerate(pieces):
        for place, part in enumerate(piece.parts):
            (start, end), layers = _run(part), depths[part.source]
            if end > layers:
                what = f"asks for layers [{start}, {end}) of {str(part.source)!r}, which has {layers}."
                where = recipe.place(f"slices[{index}].sources[{place}].layer_range")
                yield Problem(where, what, f"Its layers are 0 to {layers - 1}.")
        lengths = [end - start for start, end in map(_run, piece.parts)]
        if any(length != lengths[0] for length in lengths):
            what = f"the models have {', '.join(map(str, lengths))} layers."
            yield Problem(recipe.place("models"), what, "Choose runs of layers with slices:.")


# --------------------------------------------------------------------------------------------------- from the picture


def _read(piece: Mapping[str, Any], sources: Sequence[Source]) -> Slice:
    parts = tuple(
        Part(sources[part["source"]], (part["start"], part["start"] + piece["layers"]), _given(part["numbers"]))
        for part in piece["parts"]
    )
    base = None if piece["base"] is None else sources[piece["base"]]
    return Slice(parts, base, _given(piece["numbers"]), piece["method"])


def _given(numbers: Mapping[str, Sequence[Sequence[Any]]]) -> Numbers:
    return tuple(
        (name, Setting(tuple(Rule(value, match) for match, value in rules))) for name, rules in numbers.items()
    )


def _commonest(pieces: Sequence[Slice]) -> str:
    return Counter(piece.method or "" for piece in pieces).most_common(1)[0][0]


def _origins(had: Sequence[Slice], pieces: Sequence[Slice]) -> list[int | None]:
    """For each slice the one it was before: the same, here or elsewhere, or the one in its place."""
    origins: list[int | None] = [None] * len(pieces)
    for kind, low, high, start, end in SequenceMatcher(None, had, pieces, autojunk=False).get_opcodes():
        for at, now in zip(range(low, high), range(start, end), strict=False):
            origins[now] = at
        for now in range(start, end) if kind != "equal" else ():
            if pieces[now] in had:
                origins[now] = had.index(pieces[now])
    return origins


def _still_shared(before: Recipe, pieces: Sequence[Slice]) -> dict[str, Rules]:
    """The numbers that stay with the whole recipe: each slice that reads them says at most something before them."""
    scopes = (before.module_numbers, before.numbers)
    shared = {name: _rules(scopes, name) for scope in scopes for name, _ in scope}
    kept = {}
    for name, rules in shared.items():
        values = [one for rule in rules for one in (rule.value if isinstance(rule.value, tuple) else (rule.value,))]
        readers = [(piece, methods.get(piece.method or "").parameters.get(name)) for piece in pieces]
        asked = [(piece, parameter) for piece, parameter in readers if parameter is not None]
        if asked and all(
            not any(map(parameter.problem, values))
            and all(_own(said, rules) is not None for said in _told_of(piece, name))
            for piece, parameter in asked
        ):
            kept[name] = rules
    return kept


def _told_of(piece: Slice, name: str) -> Iterator[Rules]:
    """What a slice says of a number: once, or for each of its models."""
    method = methods.get(piece.method or "")
    if not method.parameters[name].per_model:
        yield _rules([piece.numbers], name)
        return
    for part in piece.parts:
        if method.base == "none" or part.source != piece.base:
            yield _rules([part.numbers], name)


def _own(said: Rules, shared: Rules) -> Rules | None:
    """The fewest rules that give ``said`` when ``shared`` come after them; None: none do."""
    return next((said[:count] for count in range(len(said) + 1) if _setting(said[:count] + shared).rules == said), None)


def _only(numbers: Numbers, names: Container[str]) -> Numbers:
    return tuple((name, setting) for name, setting in numbers if name in names)


def _without(numbers: Numbers, shared: Mapping[str, Rules]) -> Numbers:
    """What has to be said where the recipe says ``shared`` already."""
    found = ((name, _own(setting.rules, shared.get(name, ()))) for name, setting in numbers)
    return tuple((name, Setting(rules)) for name, rules in found if rules)


def _told(recipe: Recipe, piece: Slice, shared: Mapping[str, Rules]) -> Slice:
    """The slice as it stands in its recipe: what that says already is left out."""
    return Slice(
        tuple(replace(part, numbers=_without(part.numbers, shared)) for part in piece.parts),
        None if piece.base == recipe.base else piece.base,
        _without(piece.numbers, shared),
        None if piece.method == recipe.method else piece.method,
    )


def _fills(pieces: Sequence[Slice], base: Source | None, depths: Mapping[Source, int]) -> bool:
    """Whether it is one slice of whole models."""
    return (
        len(pieces) == 1
        and pieces[0].base == base
        and all(part.layers == (0, depths[part.source]) for part in pieces[0].parts)
    )


def _whole(recipe: Recipe, piece: Slice, shared: Mapping[str, Rules], *, listed: bool) -> Recipe:
    """The recipe as one of whole models; ``listed``: the base stands among them also where it need not."""
    told = _told(recipe, piece, shared)
    parts = tuple(replace(part, layers=None) for part in told.parts)
    if not listed:
        parts = tuple(part for part in parts if part.source != recipe.base or part.numbers)
    said = {name: setting for name, setting in piece.numbers if name in dict(told.numbers)}
    return replace(
        recipe,
        slices=(Slice(parts),),
        numbers=tuple({**dict(recipe.numbers), **said}.items()),
        module_numbers=tuple(one for one in recipe.module_numbers if one[0] not in said),
        notes=moved(recipe.notes, recipe.module, [0]),
    )
