"""What can be wrong with a recipe before any model is opened. Pure: a recipe in, problems out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from mergelab import methods
from mergelab.errors import MethodError, Problem, did_you_mean
from mergelab.methods import REQUIRED, Method
from mergelab.recipes.recipe import Numbers, Part, Recipe, Scalar, Slice

DTYPES: Mapping[str, str] = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}


def check(recipe: Recipe) -> tuple[Problem, ...]:
    """Every problem that shows without opening a source: method, number of sources, ranges, names and values of
    numbers.

    Places are written as a path into the recipe: ``slices[1].sources[0].parameters.weight``.
    """
    found: list[Problem] = []
    method = None
    try:
        method = methods.get(recipe.method)
    except MethodError as error:
        found += [Problem("merge_method", problem.what, problem.hint) for problem in error.problems]
    for key, dtype in (("dtype", recipe.dtype), ("out_dtype", recipe.out_dtype)):
        if dtype is not None and dtype not in DTYPES.values():
            found.append(
                Problem(key, f"{dtype!r} is not a dtype to merge in.", f"Known: {', '.join(DTYPES.values())}.")
            )
    found += _numbers(recipe.numbers, "parameters", method, own=False)
    if not recipe.slices:
        found.append(Problem("slices", "is empty.", "Give at least one slice."))
    for index, piece in enumerate(recipe.slices):
        found += _slice(recipe, piece, method, f"slices[{index}]")
    if method is not None and not found:
        for index, piece in enumerate(recipe.slices):
            found += _together(recipe, piece, method, f"slices[{index}]")
    return tuple(found)


def models_of(recipe: Recipe, piece: Slice, method: Method) -> tuple[tuple[Part, ...], Part | None]:
    """The parts that are merged, and the part that is their base (None where the method takes the base as any other).

    In the ``models:`` form a base that is not listed takes part all the same, as in mergekit.
    """
    base = piece.base or recipe.base
    parts = piece.parts
    if base and not any(part.source == base for part in parts) and all(part.layers is None for part in parts):
        parts = (*parts, Part(base))
    if method.base == "none" or base is None:
        return parts, None
    return (
        tuple(part for part in parts if part.source != base),
        next((part for part in parts if part.source == base), None),
    )


def is_whole(recipe: Recipe) -> bool:
    """Whether it merges whole models, as the ``models:`` form does."""
    parts = recipe.slices[0].parts if len(recipe.slices) == 1 else ()
    return bool(parts) and all(part.layers is None for part in parts)


def _slice(recipe: Recipe, piece: Slice, method: Method | None, where: str) -> Iterator[Problem]:
    whole_recipe = is_whole(recipe)
    place = "models" if whole_recipe else f"{where}.sources"
    if whole_recipe and (piece.base or piece.numbers):
        what = "a recipe of whole models has one base and one set of numbers, its slice has its own."
        yield Problem(where, what, "Give base and numbers to the recipe.")
    yield from _numbers(piece.numbers, f"{where}.parameters", method, own=False)
    if not piece.parts:
        yield Problem(place, "names no model.", "Give at least one.")
        return
    for index, part in enumerate(piece.parts):
        yield from _numbers(part.numbers, f"{place}[{index}].parameters", method, own=True)
        if part.layers is None:
            if not whole_recipe:
                yield Problem(
                    f"{place}[{index}]",
                    "has no layer_range.",
                    "Give [start, end) for every source of every slice.",
                )
        elif not 0 <= part.layers[0] < part.layers[1]:
            hint = "Write [start, end) with 0 <= start < end; the end is not included."
            yield Problem(f"{place}[{index}].layer_range", f"{list(part.layers)} is no run of layers.", hint)
    runs = [part.layers for part in piece.parts if part.layers]
    lengths = [end - start for start, end in runs if start < end]
    if any(length != lengths[0] for length in lengths):
        what = f"its sources have {', '.join(map(str, lengths))} layers."
        yield Problem(place, what, "Sources that are merged layer by layer need runs of equal length.")
    if method is not None:
        yield from _sources(recipe, piece, method, "models" if whole_recipe else where, place)


def _sources(recipe: Recipe, piece: Slice, method: Method, where: str, place: str) -> Iterator[Problem]:
    models, base = models_of(recipe, piece, method)
    if base and sum(part.source == base.source for part in piece.parts) > 1:
        yield Problem(place, f"names the base model {str(base.source)!r} more than once.", "Keep one of them.")
        return
    least, most = method.inputs
    if method.base == "required" and base is None:
        if piece.base or recipe.base:
            yield Problem(place, f"lacks the base model {str(piece.base or recipe.base)!r}.",
                          f"{method.name} needs it in every slice: add it with its layer_range.")  # fmt: skip
        else:
            yield Problem(where, f"{method.name} needs a base model.", "Add base_model: at the top.")
    elif len(models) < least or (most is not None and len(models) > most):
        want = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        beside = " beside the base" if base else ""
        yield Problem(
            place,
            f"{method.name} takes {want} model{'' if want == '1' else 's'}{beside}, here are {len(models)}.",
        )
    for name, parameter in method.parameters.items():
        if parameter.default is not REQUIRED:
            continue
        shared = (piece.numbers, recipe.numbers)
        if not parameter.per_model and not _said(name, (*shared, *(part.numbers for part in piece.parts)), method):
            yield Problem(where, f"{method.name} needs {name}.", f"Add {name}: under parameters:.")
        elif parameter.per_model:
            for part in models:
                if not _said(name, (part.numbers, *shared), method):
                    index = piece.parts.index(part) if part in piece.parts else None
                    spot = place if index is None else f"{place}[{index}]"
                    what = f"{str(part.source)!r} has no {name}, which {method.name} needs for each model."
                    yield Problem(spot, what, f"Add {name}: under its parameters:.")


def _said(name: str, scopes: Sequence[Numbers], method: Method) -> bool:
    """Whether a scope gives this number, if under a misspelt name or in a wrong scope: that is said elsewhere."""
    known = list(method.parameters)
    return any(
        name in (said, *difflib.get_close_matches(said, known, n=1, cutoff=0.6))
        for scope in scopes
        for said, _ in scope
    )


def _together(recipe: Recipe, piece: Slice, method: Method, where: str) -> Iterator[Problem]:
    """Numbers that are wrong only together (weights that cancel), where they are the same for every tensor."""
    models, _ = models_of(recipe, piece, method)
    shared = (piece.numbers, recipe.numbers)
    values: dict[str, Scalar | list[Scalar | None] | None] = {}
    try:
        for name, parameter in method.parameters.items():
            if parameter.per_model:
                values[name] = [_constant(name, (part.numbers, *shared)) for part in models]
            else:
                values[name] = _constant(name, shared)
    except LookupError:
        return  # the plan looks at each tensor
    for problem in method.check(values, len(models)):
        yield Problem("models" if is_whole(recipe) else where, problem.what, problem.hint)


def _constant(name: str, scopes: Sequence[Numbers]) -> Scalar | None:
    for setting in (setting for scope in scopes for said, setting in scope if said == name):
        rule = setting.rules[0]
        if rule.filter is not None or isinstance(rule.value, tuple):
            raise LookupError(name)
        return rule.value
    return None


def _numbers(numbers: Numbers, where: str, method: Method | None, *, own: bool) -> Iterator[Problem]:
    """Problems of one ``parameters:`` table; ``own``: it belongs to one source."""
    for name, setting in numbers:
        if not setting.rules or any(rule.value == () for rule in setting.rules):
            yield Problem(f"{where}.{name}", "has no value.", "Give one value, or several to spread over the layers.")
            continue
        if method is None:
            continue
        parameter = method.parameters.get(name)
        if parameter is None:
            hint = did_you_mean(name, list(method.parameters)) if method.parameters else "It has none."
            yield Problem(f"{where}.{name}", f"{method.name} has no parameter {name!r}.", hint)
            continue
        if own and not parameter.per_model:
            hint = "Move it to the parameters: of the slice or of the recipe."
            yield Problem(f"{where}.{name}", f"{name!r} is one number for all models of {method.name}.", hint)
        for rule in setting.rules:
            for value in rule.value if isinstance(rule.value, tuple) else (rule.value,):
                if (wrong := parameter.problem(value)) is not None:
                    yield Problem(f"{where}.{name}", f"{wrong}.", parameter.expects)
