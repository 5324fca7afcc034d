"""mergekit YAML -> Recipe, strictly: every problem at once, with its line, its column and a suggestion.

Nothing is ignored silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from mergelab import methods
from mergelab.errors import Problem, RecipeError, did_you_mean
from mergelab.methods import Method, Parameter
from mergelab.recipes.check import DTYPES, check_documents
from mergelab.recipes.naming import source, vocabulary
from mergelab.recipes.notes import notes_of
from mergelab.recipes.reader import Reader
from mergelab.recipes.recipe import Numbers, Part, Recipe, Rule, Setting, Slice, Value
from mergelab.recipes.yaml_text import Document, Items, Leaf, Node, Table, documents, step
from mergelab.weights import Source

TOP: Final = (
    "merge_method", "base_model", "models", "slices", "modules", "parameters", "dtype", "out_dtype", "tokenizer",
    "tokenizer_source", "chat_template", "name", "seed", "widen",
)  # fmt: skip
MODULE: Final = ("models", "slices", "parameters")
SLICE: Final = ("sources", "base_model", "merge_method", "parameters")
PART: Final = ("model", "layer_range", "parameters")
WHOLE: Final = ("model", "parameters")
RULE: Final = ("filter", "value")

_OTHER_TOOLS: Final = {
    "genome": ("belongs to mergekit-evolve, which searches for a recipe.", "Load the recipe that it found."),
    "random_seed": ("is an option of mergekit's command line.", "Write seed: in its place."),
    "experts": ("belongs to mergekit-moe, which makes a mixture of experts.", "mergelab does not make those."),
}
_NOT_IN_SLICES: Final = {
    "residual_weight": ("is a number that mergekit accepts and never uses.", "Delete it: nothing changes.")
}
_NOT_IN_SOURCES: Final = {
    "revision": ("is not a key that means anything here.", "Write it behind the model: 'org/name@revision'.")
}
_NOT_IN_MODELS: Final = _NOT_IN_SOURCES | {
    "layer_range": ("cannot be used with whole models.", "Delete it, or write slices: in place of models:.")
}

Kinds: TypeAlias = Mapping[str, Parameter]


def read(text: str, file: str) -> Recipe:
    """Read YAML text; ``file`` is the name that problems are reported under.

    Raises:
        RecipeError: every problem of syntax, keys, types, method and numbers, each with its line and column.
    """
    found = documents(text, file)
    if not found:
        hint = "Start with merge_method: and models: or slices:."
        raise RecipeError(Problem(file, "the recipe is empty.", hint))
    readers: list[Reader] = []
    recipes: list[Recipe] = []
    for document in found:
        stages = tuple(recipe.name for recipe in recipes if recipe.name)
        readers.append(Reader(file, document.root.place, stages))
        recipes.append(_recipe(readers[-1], document))
    recipe = replace(recipes[-1], stages=tuple(recipes[:-1]))
    for at, found_there in enumerate(check_documents(recipe)):
        for problem in found_there:
            # A later document that could not be read may have said what is missed here.
            unsure = problem.where == "name" and recipes[at].name and any(reader.unread for reader in readers[at + 1 :])
            if not unsure and not readers[at].follows(problem):
                readers[at].wrong(problem.where, problem.what, problem.hint)
    problems = [problem for reader in readers for problem in reader.problems]
    if problems:
        raise RecipeError(*sorted(problems, key=_line))
    return recipe


def _line(problem: Problem) -> tuple[int, ...]:
    found = re.search(r" line (\d+), column (\d+)", problem.where)
    return tuple(map(int, found.groups())) if found else (0, 0)


def _recipe(reader: Reader, document: Document) -> Recipe:
    root = document.root
    table = reader.table(root, "", TOP, refused=_OTHER_TOOLS)
    if isinstance(root, Table) and "merge_method" not in table:
        reader.wrong("", "merge_method is missing.", "Say how to merge, for instance merge_method: linear.")
    method = _text(reader, table, "merge_method") or ""
    module = _module(reader, table["modules"]) if "modules" in table else {}
    slices = _slices(reader, table, module, method)
    base = source(reader, table.get("base_model"), "base_model")
    if "base_model" in table and base is None:
        reader.unread += ["slices", "models", "modules"]
    kinds = _kinds(piece.method or method for piece in slices)
    return Recipe(
        method,
        slices,
        base,
        _numbers(reader, table.get("parameters"), "parameters", kinds),
        _dtype(reader, table, "dtype"),
        _dtype(reader, table, "out_dtype"),
        (reader.whole(table["seed"], "seed") if "seed" in table else None) or 0,
        "default" if module else None,
        _numbers(reader, module.get("parameters"), "modules.default.parameters", kinds),
        vocabulary(reader, table),
        _text(reader, table, "chat_template"),
        _text(reader, table, "name"),
        widen=bool(reader.switch(table["widen"], "widen")) if "widen" in table else False,
        notes=notes_of(document, reader.file),
    )


def _module(reader: Reader, node: Node) -> dict[str, Node]:
    """The one module of a decoder-only model; empty: it cannot be read, which is noted."""
    modules = reader.table(node, "modules", None)
    others = [name for name in modules if name != "default"]
    for name in others:
        what = f"{name!r} is a module of models that have several: vision towers, encoders."
        reader.wrong(step("modules", name), what, "A decoder-only model has one, named default.", read=True)
    if "default" in modules:
        return reader.table(modules["default"], "modules.default", MODULE)
    if isinstance(node, Table) and not others:
        reader.wrong("modules", "has no default:.", "Add default: there.")
    return {}


def _slices(reader: Reader, table: Mapping[str, Node], module: Mapping[str, Node], method: str) -> tuple[Slice, ...]:
    """The slices of a recipe, from the one of ``models:``, ``slices:`` and ``modules:`` that it has."""
    ways, where = [key for key in ("models", "slices", "modules") if key in table], ""
    if ways == ["modules"]:
        table, where = module, "modules.default"
        ways = [key for key in ("models", "slices") if key in module]
    if len(ways) != 1:
        reader.unread += ["slices", "models", "modules"]
        if table:
            what = f"has both {': and '.join(ways)}:." if ways else "has neither models: nor slices:."
            reader.wrong(where, what, "Write exactly one of them.", read=True)
        return ()
    path = step(where, ways[0])
    if ways[0] == "slices":
        return tuple(_slice(reader, node, place, method) for node, place in reader.items(table["slices"], path))
    kinds = _kinds([method])
    parts = tuple(
        _part(reader, node, place, WHOLE, kinds, ("model",)) for node, place in reader.items(table["models"], path)
    )
    reader.unread += [] if parts else ["slices"]
    return (Slice(parts),)


def _slice(reader: Reader, node: Node, where: str, method: str) -> Slice:
    table = reader.table(node, where, SLICE, required=("sources",), refused=_NOT_IN_SLICES)
    own = reader.text(table["merge_method"], f"{where}.merge_method") if "merge_method" in table else None
    if own is None and "merge_method" in table:
        reader.unread += [where, "parameters", "modules.default.parameters"]  # who knows what it would read
    kinds = _kinds([own or method])
    found = reader.items(table["sources"], f"{where}.sources") if "sources" in table else []
    return Slice(
        tuple(_part(reader, item, place, PART, kinds, ("model", "layer_range")) for item, place in found),
        source(reader, table.get("base_model"), f"{where}.base_model"),
        _numbers(reader, table.get("parameters"), f"{where}.parameters", kinds),
        own,
    )


def _part(reader: Reader, node: Node, where: str, keys: Sequence[str], kinds: Kinds, required: Sequence[str]) -> Part:
    if isinstance(node, Leaf):
        node = Table(node.place, ((Leaf(node.place, "model"), node),))
    refused = _NOT_IN_SOURCES if "layer_range" in keys else _NOT_IN_MODELS
    table = reader.table(node, where, keys, required=required, refused=refused)
    model = source(reader, table.get("model"), f"{where}.model")
    layers = _range(reader, table["layer_range"], f"{where}.layer_range") if "layer_range" in table else None
    numbers = _numbers(reader, table.get("parameters"), f"{where}.parameters", kinds)
    if model is None:  # said already; the nameless part keeps the places of the others right
        reader.unread.append(where)
    return Part(model or Source(""), layers, numbers)


def _range(reader: Reader, node: Node, where: str) -> tuple[int, int] | None:
    bounds = [reader.whole(item, place) for item, place in reader.items(node, where)]
    if isinstance(node, Items) and len(bounds) not in (0, 2):
        hint = "Write [start, end): the first layer, and the layer after the last."
        reader.wrong(where, f"has {len(bounds)} numbers.", hint)
    start, end = bounds if len(bounds) == 2 else (None, None)
    return None if start is None or end is None else (start, end)


def _kinds(names: Iterable[str]) -> dict[str, Parameter]:
    """The parameters that methods of these names read, by name; none of a name that is no method."""
    known: list[Method] = [methods.get(name) for name in dict.fromkeys(names) if name in methods.names()]
    return {name: parameter for method in reversed(known) for name, parameter in method.parameters.items()}


def _numbers(reader: Reader, node: Node | None, where: str, kinds: Kinds) -> Numbers:
    if node is not None and not isinstance(node, Table):
        above = where.removesuffix("parameters").removesuffix(".")
        reader.unread += [above] if above else ["slices", "models", "modules"]  # who may miss a number
    table = {} if node is None else reader.table(node, where, None)
    return tuple((name, _setting(reader, value, step(where, name), kinds.get(name))) for name, value in table.items())


def _setting(reader: Reader, node: Node, where: str, parameter: Parameter | None) -> Setting:
    if isinstance(node, Table):
        return Setting((_rule(reader, node, where, parameter),))
    if isinstance(node, Items) and any(isinstance(item, Table) for item in node.values):
        return Setting(tuple(_rule(reader, item, place, parameter) for item, place in reader.items(node, where)))
    return Setting((Rule(_value(reader, node, where, parameter)),))


def _rule(reader: Reader, node: Node, where: str, parameter: Parameter | None) -> Rule:
    table = reader.table(node, where, RULE, required=("value",))
    said = reader.leaf(table["filter"], f"{where}.filter") if "filter" in table else None
    value = _value(reader, table["value"], f"{where}.value", parameter) if "value" in table else 0.0
    # As written: a filter 1. is text, not the number 1.0.
    return Rule(value, None if said is None or said.text == "*" else said.text)


def _value(reader: Reader, node: Node, where: str, parameter: Parameter | None) -> Value:
    if isinstance(node, Items):
        return tuple(reader.scalar(item, place, parameter) for item, place in reader.items(node, where))
    return reader.scalar(node, where, parameter)


def _text(reader: Reader, table: Mapping[str, Node], key: str) -> str | None:
    return reader.text(table[key], key) if key in table else None


def _dtype(reader: Reader, table: Mapping[str, Node], key: str) -> str | None:
    name = _text(reader, table, key)
    if name is None:
        return None
    short = name.removeprefix("torch.")
    if short not in DTYPES:
        reader.wrong(key, f"{name!r} is not a dtype to merge in.", did_you_mean(short, list(DTYPES)))
    return DTYPES.get(short)
