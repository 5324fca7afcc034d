"""Recipe -> YAML for mergekit itself, with the same meaning, or what mergekit cannot say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from mergelab import methods
from mergelab.errors import Problem, RecipeError, raise_all
from mergelab.methods import Parameter
from mergelab.recipes.check import check, is_whole
from mergelab.recipes.recipe import Numbers, Part, Recipe, Rule, Setting, Slice
from mergelab.recipes.writing import write
from mergelab.weights import Source

_SPARSE: Final = ("weight", "density", "int8_mask", "normalize", "rescale", "lambda")
METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "linear": ("weight", "normalize"),
    "slerp": ("t",),
    "nuslerp": ("weight", "nuslerp_flatten", "nuslerp_row_wise"),
    "multislerp": ("weight", "normalize_weights", "eps"),
    "karcher": ("max_iter", "tol"),
    "task_arithmetic": _SPARSE,
    "ties": _SPARSE,
    "dare_linear": _SPARSE,
    "dare_ties": _SPARSE,
    "della": (*_SPARSE, "epsilon"),
    "della_linear": (*_SPARSE, "epsilon"),
    "breadcrumbs": (*_SPARSE, "gamma"),
    "breadcrumbs_ties": (*_SPARSE, "gamma"),
    "model_stock": ("filter_wise",),
    "sce": ("select_topk", "int8_mask"),
    "ram": ("epsilon",),
    "ramplus_tl": ("epsilon", "r", "alpha"),
    "nearswap": ("t",),
    "arcee_fusion": (),
    "passthrough": ("scale",),
}
"""The methods of mergekit 0.1.5 with their parameters."""

_FLAG: Final = "# mergekit: "
_SHORT: Final = "no more sources for norm and head than the first slice has"
_SPACE: Final = re.compile(r"\s+")
_LAYER_NUMBER: Final = re.compile(r"(?:^|\.)\d+(?:\.|$)")


def export(recipe: Recipe) -> str:
    """The text for mergekit. See ``Recipe.to_mergekit``."""
    raise_all(RecipeError, check(recipe))
    documents = _named_for_mergekit((*recipe.stages, recipe))
    names = [document.name for document in documents if document.name]
    problems: list[Problem] = []
    written: list[Recipe] = []
    for document in documents:
        problems += _unsaid(document)
        written += _parted(document, names)
    seeds = dict.fromkeys(document.seed for document in documents if _draws(document))
    if len(seeds) > 1:
        listed = ", ".join(map(str, seeds))
        what = f"the documents have different seeds ({listed}), mergekit has one for all."
        problems.append(Problem("seed", what, "Give all documents the same seed."))
    if len(written) > 1:
        for source in recipe.sources:
            if _SPACE.search(str(source)):
                what = f"{str(source)!r} has a space in it, at which mergekit-multi breaks."
                problems.append(Problem("sources", what, "Rename the folder, or make a link to it."))
    raise_all(RecipeError, problems)
    flags = [f"--random-seed {seed}" for seed in seeds]
    flags += ["--lora-merge-cache FOLDER"] if any(source.adapter for source in recipe.sources) else []
    text = write(replace(written[-1], stages=tuple(written[:-1])))
    lines = text.splitlines(keepends=True)
    for flag in reversed(flags):
        # A text that was written for mergekit before has such lines among its own comments; they stay, but for a seed
        # where one is said since.
        old = [line for line in lines if line.startswith(f"{_FLAG}{flag.partition(' ')[0]} ")]
        if not old or (any(seeds) and "seed" in flag):
            lines = [f"{_FLAG}{flag}\n", *(line for line in lines if line not in old)]
    return "".join(lines)


def _named_for_mergekit(documents: Sequence[Recipe]) -> list[Recipe]:
    """The documents, each alone, with names that mergekit-multi takes: it ends with an error where one has a space."""
    names = [document.name for document in documents if document.name and not _SPACE.search(document.name)]
    sources = {
        Source(document.name): Source(_new_name(_SPACE.sub("-", document.name.strip()) or "merge", names))
        for document in documents
        if document.name and _SPACE.search(document.name)
    }

    def renamed(document: Recipe) -> Recipe:
        name = document.name and sources.get(Source(document.name), Source(document.name)).path
        return replace(document, name=name, stages=()).renamed(lambda source: sources.get(source, source))

    return [renamed(document) for document in documents]


def _draws(recipe: Recipe) -> bool:
    return any("generator" in methods.get(recipe.method_of(piece)).extras for piece in recipe.slices)


# ----------------------------------------------------------------------------------- what mergekit cannot say


def _unsaid(recipe: Recipe) -> Iterator[Problem]:
    """What a document says that mergekit has no word for."""
    used = list(dict.fromkeys(map(recipe.method_of, recipe.slices)))
    for name in used:
        if name not in METHODS:
            spot = next(at for at, piece in enumerate(recipe.slices) if recipe.method_of(piece) == name)
            path = f"slices[{spot}].merge_method" if recipe.slices[spot].method else "merge_method"
            yield Problem(recipe.place(path), f"mergekit has no method {name!r}.", f"It has {', '.join(METHODS)}.")
    for path, setting, method, parameter in _settings(recipe):
        if parameter.effect and parameter.name not in METHODS[method] and not _always(setting, parameter.default):
            what = f"mergekit's {method} has no parameter {parameter.name!r}."
            hint = f"Leave it out: what mergekit does is {parameter.name}: {parameter.default}."
            yield Problem(recipe.place(path), what, hint)
    if recipe.widen:
        hint = "Merge it with mergelab; what it writes is a model as any other."
        yield Problem(recipe.place("widen"), "mergekit does not bring layers to one size.", hint)
    if len(_runs(recipe)) > 1:
        yield from _unsaid_in_stages(recipe)


def _unsaid_in_stages(recipe: Recipe) -> Iterator[Problem]:
    """What a document says that is lost when its slices are parted into stages."""
    if recipe.vocabulary:
        where = "tokenizer_source" if recipe.vocabulary.legacy else "tokenizer"
        mixed = len({recipe.method_of(piece) for piece in recipe.slices}) > 1
        why, same = ("one method per recipe", "one method") if mixed else (_SHORT, "as many sources as the last one")
        what = f"mergekit has {why}; in stages, each would get a vocabulary of its own."
        yield Problem(recipe.place(where), what, f"Leave out {where}:, or give all slices {same}.")
    found: dict[Problem, None] = {}
    for path, setting, method, parameter in _settings(recipe):
        # A slice's numbers for single models are filtered by names of sources, which stay as they are.
        moved = method != "passthrough" and (not parameter.per_model or path.startswith(("parameters", "modules")))
        for rule in setting.rules if moved else ():
            if rule.filter and _LAYER_NUMBER.search(rule.filter):
                what = f"filter {rule.filter!r} has the number of a layer; in stages, layers are counted anew."
                found[Problem(recipe.place(path), what, "Filter by names without layer numbers.")] = None
    yield from found


def _settings(recipe: Recipe) -> Iterator[tuple[str, Setting, str, Parameter]]:
    """Every setting with its path, once for each method of mergekit's that reads it here."""
    used = dict.fromkeys(map(recipe.method_of, recipe.slices))
    tables: list[tuple[str, Numbers, Iterable[str]]] = [
        ("parameters", recipe.numbers, used),
        (f"modules.{recipe.module}.parameters", recipe.module_numbers, used),
    ]
    for index, piece in enumerate(recipe.slices):
        own = [recipe.method_of(piece)]
        place = "models" if is_whole(recipe) else f"slices[{index}].sources"
        tables.append((f"slices[{index}].parameters", piece.numbers, own))
        tables += [(f"{place}[{at}].parameters", part.numbers, own) for at, part in enumerate(piece.parts)]
    for path, numbers, names in tables:
        for name, setting in numbers:
            for method in names:
                parameter = methods.get(method).parameters.get(name)
                if parameter and method in METHODS:
                    yield f"{path}.{name}", setting, method, parameter


def _always(setting: Setting, value: object) -> bool:
    """Whether a setting says the same as ``value`` everywhere."""
    said = [one for rule in setting.rules for one in (rule.value if isinstance(rule.value, tuple) else (rule.value,))]
    return all(one == value for one in said)


# ---------------------------------------------------------------------------- slices with methods of their own


def _parted(recipe: Recipe, names: list[str]) -> list[Recipe]:
    """The documents that say a recipe: itself, or one for each run of its slices, and one that stacks them.

    Args:
        names: those of all documents; new ones are added.
    """
    runs = _runs(recipe)
    if len(runs) == 1:
        ((name, run),) = runs
        return [_with_donor(_spoken(recipe, name, tuple(_plain(piece, name) for piece in run)))]
    stages: list[Recipe] = []
    stack: list[Slice] = []
    for name, run in runs:
        if name == "passthrough":
            scopes = (recipe.module_numbers, recipe.numbers)
            stack += [replace(_plain(piece, name), numbers=_joined(piece.numbers, *scopes, name=name)) for piece in run]
            continue
        label = _new_name(f"{recipe.name or 'merge'}-{len(stages) + 1}", names)
        pieces = tuple(_plain(piece, name) for piece in run)
        part = replace(_spoken(recipe, name, pieces), name=label, chat_template=None, notes=None)
        stages.append(_with_donor(part))
        stack.append(Slice((Part(Source(label), (0, sum(_length(piece) for piece in run))),)))
    last = replace(
        recipe, method="passthrough", slices=tuple(stack), base=recipe.donor, numbers=(), seed=0, module=None,
        module_numbers=(), stages=(), notes=None,
    )  # fmt: skip
    return [*stages, last]


def _runs(recipe: Recipe) -> list[tuple[str, tuple[Slice, ...]]]:
    """The slices that one document of mergekit's can hold together, with their method.

    They have one method. Of final norm and head, mergekit merges only as many sources as a document's first slice has:
    where the last one has more, slices with other numbers of sources part, too.
    """
    found: list[tuple[str, tuple[Slice, ...]]] = []
    for name, run in groupby(recipe.slices, recipe.method_of):
        pieces = tuple(run)
        if len(pieces[0].parts) < len(pieces[-1].parts):
            found += [(name, tuple(part)) for _, part in groupby(pieces, lambda piece: len(piece.parts))]
        else:
            found.append((name, pieces))
    return found


def _spoken(recipe: Recipe, method: str, slices: tuple[Slice, ...]) -> Recipe:
    """A document of one method, with the numbers that this method has in mergekit."""
    numbers, own = (_joined(table, name=method) for table in (recipe.numbers, recipe.module_numbers))
    return replace(recipe, method=method, slices=slices, numbers=numbers, module_numbers=own, seed=0, stages=())


def _plain(piece: Slice, method: str) -> Slice:
    """A slice without a method of its own, its numbers as mergekit has them."""
    parts = tuple(replace(part, numbers=_joined(part.numbers, name=method)) for part in piece.parts)
    return replace(piece, method=None, parts=parts, numbers=_joined(piece.numbers, name=method))


def _joined(*scopes: Numbers, name: str) -> Numbers:
    """The numbers that mergekit's method ``name`` reads, of several scopes as one: a stronger scope's rules first."""
    found: dict[str, Setting] = {}
    for scope in scopes:
        for key, setting in scope:
            if key in METHODS.get(name, ()):
                found[key] = _reached((*found[key].rules, *setting.rules)) if key in found else setting
    return tuple(found.items())


def _reached(rules: tuple[Rule, ...]) -> Setting:
    """The rules without those of a weaker scope that a stronger one leaves nothing to."""
    return Setting(tuple(rule for at, rule in enumerate(rules) if not any(one.covers(rule) for one in rules[:at])))


def _with_donor(recipe: Recipe) -> Recipe:
    """The document with its donor as base model, where its method takes a base as any other model.

    Without a base model mergekit takes config and tokenizer from a model that differs from run to run.
    """
    return replace(recipe, base=recipe.donor) if methods.get(recipe.method).base == "none" else recipe


def _length(piece: Slice) -> int:
    start, end = piece.parts[0].layers or (0, 0)
    return end - start


def _new_name(wish: str, names: list[str]) -> str:
    number, name = 1, wish
    while name in names:
        number, name = number + 1, f"{wish}-{number + 1}"
    names.append(name)
    return name
