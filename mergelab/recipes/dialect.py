"""mergekit YAML <-> Recipe, strictly: every problem at once, with its line and a suggestion.

Nothing is ignored silently.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import yaml

from mergelab.errors import MergelabError, Problem, RecipeError, did_you_mean
from mergelab.recipes.check import DTYPES, check
from mergelab.recipes.recipe import Numbers, Part, Recipe, Rule, Scalar, Setting, Slice, Value
from mergelab.weights import Source

TOP = ("merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype", "seed")
LATER = {
    "modules": "Models of several modules are not supported yet; write models: or slices: at the top.",
    "tokenizer": "Tokenizer surgery is not supported yet; leave it out when all sources share one vocabulary.",
    "tokenizer_source": "Tokenizer surgery is not supported yet; leave it out when all sources share one vocabulary.",
    "chat_template": "Chat templates are not rewritten yet; leave it out to keep the base model's.",
}
SLICE = ("sources", "base_model", "parameters")
PART = ("model", "layer_range", "parameters")
RULE = ("filter", "value")
_UNREAD: Any = object()  # stands for a value that could not be read, which is said already
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")


def read(text: str, file: str) -> Recipe:
    """Read YAML text; ``file`` is the name that problems are reported under.

    Raises:
        RecipeError: every problem of syntax, keys, types, method and numbers, each with its line.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except RecursionError:
        raise RecipeError(Problem(file, "is nested too deeply.", "A recipe needs ten levels at most.")) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file} line {mark.line + 1}" if mark else file
        told = [getattr(error, name, None) for name in ("context", "problem")]
        what = f"is not YAML that is read here: {', '.join(filter(None, told)) or error}."
        raise RecipeError(Problem(where, what, "Check indentation, colons and brackets there.")) from None
    reader = _Reader(file)
    recipe = reader.recipe(root)
    unread = tuple(reader.unread)
    for problem in check(recipe) if recipe else ():
        # What could not be read is said already; what follows from it, there or around it, is not said again.
        if not any(_within(problem.where, place) or _within(place, problem.where) for place in unread):
            reader.wrong(problem.where, problem.what, problem.hint)
    if reader.problems or recipe is None:
        raise RecipeError(*sorted(reader.problems, key=_line))
    return recipe


def _line(problem: Problem) -> int:
    found = re.search(r" line (\d+)", problem.where)
    return int(found[1]) if found else 0


def _within(where: str, place: str) -> bool:
    return where == place or where.startswith((f"{place}.", f"{place}["))


class _Loader(yaml.SafeLoader):
    """YAML as people write it: no tags, which ask for objects, and no aliases, which multiply a short text."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse what a recipe never needs, before anything is made of it."""
        event = self.peek_event()
        alias, tag = isinstance(event, yaml.AliasEvent), getattr(event, "tag", None)
        if alias or tag or event.anchor:
            kind = "alias" if alias else "tag" if tag else "anchor"
            what = f"{kind} {tag or event.anchor!r} is not allowed, write its value out"
            raise yaml.composer.ComposerError(None, None, what, event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


class _Reader:
    """Walks the YAML tree once; remembers the line of every key for problems found later."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self.unread: list[str] = []

    def place(self, where: str) -> str:
        """``where`` with the line of the nearest enclosing key that stands in the text."""
        path = where
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        line = self.lines.get(path)
        return ", ".join(filter(None, (f"{self.file} line {line}" if line else self.file, where)))

    def wrong(self, where: str, what: str, hint: str = "", *, read: bool = False) -> None:
        """Note a problem; ``read``: a value is there all the same, so that what is said of it by others counts."""
        if not read:
            self.unread.append(where or "merge_method")
        self.problems.append(Problem(self.place(where), what, hint))

    def recipe(self, root: yaml.Node | None) -> Recipe | None:
        if root is None:
            self.wrong("", "the recipe is empty.", "Start with merge_method: and models: or slices:.")
            return None
        table = self.table(root, "", TOP, later=LATER)
        if "merge_method" not in table and isinstance(root, yaml.MappingNode):
            self.wrong("", "merge_method is missing.", "Say how to merge, for instance merge_method: linear.")
        method = self.text(table.get("merge_method"), "merge_method")
        body = [key for key in ("models", "slices") if key in table]
        if len(body) != 1:
            self.unread += ["slices", "models"]
        if len(body) != 1 and isinstance(root, yaml.MappingNode) and "modules" not in self.lines:
            what = f"has {'both models: and' if body else 'neither models: nor'} slices:."
            self.wrong("", what, "Write exactly one of them.")
        slices: tuple[Slice, ...] = ()
        if "models" in table:
            parts = (
                self.part(node, where, ("model", "parameters")) for node, where in self.items(table["models"], "models")
            )
            slices = (Slice(tuple(parts)),)
            self.unread += [] if slices[0].parts else ["slices"]
        elif "slices" in table:
            slices = tuple(self.slice(node, where) for node, where in self.items(table["slices"], "slices"))
        base = self.source(table.get("base_model"), "base_model")
        if "base_model" in table and base is None:
            self.unread += ["slices", "models"]
        numbers = self.numbers(table.get("parameters"), "parameters")
        dtype, out_dtype = (self.dtype(table.get(key), key) for key in ("dtype", "out_dtype"))
        seed = self.whole(table["seed"], "seed") if "seed" in table else 0
        if not table:
            return None
        return Recipe(method, slices, base, numbers, dtype, out_dtype, seed)

    def slice(self, node: yaml.Node, where: str) -> Slice:
        table = self.table(node, where, SLICE, required=("sources",))
        found = self.items(table["sources"], f"{where}.sources") if "sources" in table else []
        parts = (self.part(item, place, PART, required=("model", "layer_range")) for item, place in found)
        return Slice(
            tuple(parts),
            self.source(table.get("base_model"), f"{where}.base_model"),
            self.numbers(table.get("parameters"), f"{where}.parameters"),
        )

    def part(self, node: yaml.Node, where: str, keys: Sequence[str], required: Sequence[str] = ("model",)) -> Part:
        if isinstance(node, yaml.ScalarNode):
            node = yaml.MappingNode(
                node.tag, [(yaml.ScalarNode("tag:yaml.org,2002:str", "model"), node)], node.start_mark
            )
        table = self.table(node, where, keys, required=required)
        source = self.source(table.get("model"), f"{where}.model")
        layers = self.range(table["layer_range"], f"{where}.layer_range") if "layer_range" in table else None
        numbers = self.numbers(table.get("parameters"), f"{where}.parameters")
        if source is None:  # said already; the nameless part keeps the places of the others right
            self.unread.append(where)
        return Part(source or Source(""), layers, numbers)

    def range(self, node: yaml.Node, where: str) -> tuple[int, int] | None:
        known = len(self.problems)
        bounds = [self.whole(item, place) for item, place in self.items(node, where)]
        if len(self.problems) > known:
            return None
        if len(bounds) != 2:
            hint = "Write [start, end): the first layer, and the layer after the last."
            self.wrong(where, f"has {len(bounds)} numbers.", hint)
            return None
        return bounds[0], bounds[1]

    def source(self, node: yaml.Node | None, where: str) -> Source | None:
        if node is None:
            return None
        revision = None
        if isinstance(node, yaml.MappingNode):
            table = self.table(node, where, ("model",), required=("model",), later={
                "lora": "Adapters are not supported yet: merge the adapter into its model first.",
                "override_architecture": "Architectures are read from the weights: leave it out.",
            })  # fmt: skip
            node = table.get("model")
            if isinstance(node, yaml.MappingNode):
                table = self.table(node, f"{where}.model", ("path", "revision"), required=("path",))
                node = table.get("path")
                revision = self.text(table.get("revision"), f"{where}.model.revision") or None
        known = len(self.problems)
        path = self.text(node, where)
        if not path:
            if len(self.problems) == known:
                self.wrong(where, "is empty.", "Write a folder or a hub id.")
            return None
        try:
            parsed = Source.parse(path)
        except MergelabError as error:
            for problem in error.problems:
                self.wrong(where, f"{path!r}: {problem.what}", problem.hint)
            return None
        return Source(parsed.path, revision or parsed.revision)

    def numbers(self, node: yaml.Node | None, where: str) -> Numbers:
        if node is not None and not isinstance(node, yaml.MappingNode):
            above = where.removesuffix("parameters").removesuffix(".")
            self.unread += [above] if above else ["slices", "models"]  # who may miss a number
        table = {} if node is None else self.table(node, where, None)
        return tuple((name, self.setting(value, f"{where}.{name}")) for name, value in table.items())

    def setting(self, node: yaml.Node, where: str) -> Setting:
        if isinstance(node, yaml.MappingNode):
            return Setting((self.rule(node, where),))
        if isinstance(node, yaml.SequenceNode) and any(isinstance(item, yaml.MappingNode) for item in node.value):
            return Setting(tuple(self.rule(item, place) for item, place in self.items(node, where)))
        return Setting((Rule(self.value(node, where)),))

    def rule(self, node: yaml.Node, where: str) -> Rule:
        table = self.table(node, where, RULE, required=("value",))
        pattern = self.scalar(table["filter"], f"{where}.filter") if "filter" in table else None
        if pattern is not None and pattern is not _UNREAD:
            pattern = str(table["filter"].value)  # as written: a filter 1. is text, not the number 1.0
        value = self.value(table["value"], f"{where}.value") if "value" in table else 0.0
        return Rule(value, None if pattern == "*" else pattern)

    def value(self, node: yaml.Node, where: str) -> Value:
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.number(item, place) for item, place in self.items(node, where))
        return self.number(node, where)

    def number(self, node: yaml.Node, where: str) -> Scalar:
        value = self.scalar(node, where)
        if isinstance(value, bool) or value is _UNREAD:
            return value is True
        # YAML 1.1 reads 1e-5 as text; mergekit turns it into a number, so do we.
        if isinstance(value, (int, float)) or (isinstance(value, str) and _NUMBER.match(value)):
            try:
                return float(value)
            except OverflowError:
                value = f"a whole number of {len(str(node.value))} digits"
        hint = "Write a number, true or false, a list of numbers, or filter and value."
        self.wrong(where, f"{value!r} is not a number.", hint)
        return 0.0

    def whole(self, node: yaml.Node, where: str) -> int:
        value = self.scalar(node, where)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if value is not _UNREAD:
            self.wrong(where, f"{value!r} is not a whole number.", "Write a whole number.")
        return 0

    def text(self, node: yaml.Node | None, where: str) -> str:
        value = "" if node is None else self.scalar(node, where)
        if not isinstance(value, str):
            if value is not _UNREAD:
                self.wrong(where, f"{value!r} is not text.", "Write a name, in quotes if it looks like something else.")
            return ""
        return value

    def dtype(self, node: yaml.Node | None, where: str) -> str | None:
        if node is None:
            return None
        known = len(self.problems)
        name = self.text(node, where).removeprefix("torch.")
        if name not in DTYPES and len(self.problems) == known:
            self.wrong(where, f"{name!r} is not a dtype to merge in.", did_you_mean(name, list(DTYPES)))
        return DTYPES.get(name)

    def scalar(self, node: yaml.Node, where: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            kind = "table" if isinstance(node, yaml.MappingNode) else "list"
            self.wrong(where, f"is a {kind}, one value is wanted.", "")
            return _UNREAD
        try:
            return yaml.constructor.SafeConstructor().construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError):
            shown = node.value if len(node.value) < 100 else f"{node.value[:100]} ..."
            self.wrong(where, f"{shown!r} cannot be read.", "Put it in quotes if it is text.")
            return _UNREAD

    def items(self, node: yaml.Node, where: str) -> list[tuple[yaml.Node, str]]:
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(where, "is not a list.", "Write one '- ' line for each entry.")
            return []
        if not node.value:
            self.wrong(where, "is an empty list.", "Give at least one entry.")
        found = [(item, f"{where}[{index}]") for index, item in enumerate(node.value)]
        self.lines |= {place: item.start_mark.line + 1 for item, place in found if item.start_mark}
        return found

    def table(
        self,
        node: yaml.Node,
        where: str,
        keys: Sequence[str] | None,
        *,
        required: Sequence[str] = (),
        later: dict[str, str] | None = None,
    ) -> dict[str, yaml.Node]:
        """Entries of a mapping by key; unknown, repeated and missing keys are problems. ``keys`` None: any key."""
        if not isinstance(node, yaml.MappingNode):
            self.wrong(where, "is not a table of keys.", f"Write {', '.join(f'{key}:' for key in keys or ())}")
            return {}
        found: dict[str, yaml.Node] = {}
        misspelt: list[tuple[str, yaml.Node, int]] = []
        for key_node, value in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            path = f"{where}.{key}" if where else key
            line = key_node.start_mark.line + 1 if key_node.start_mark else 0
            if line:
                self.lines.setdefault(path, line)
            if key in found:
                self.wrong(path, f"is written twice, again in line {line}.", "Keep one of the two.", read=True)
            elif later and key in later:
                self.wrong(path, "cannot be used.", later[key], read=True)
            elif keys is not None and key not in keys:
                hint = did_you_mean(key, [*keys, *(later or ())])
                self.wrong(path, "is not a key that means anything here.", hint, read=True)
                misspelt += [(key, value, line)]
            else:
                found[key] = value
        for key, value, line in misspelt:
            # Read on as the key that was meant, so that one slip does not hide others or bring up more.
            for meant in difflib.get_close_matches(key, keys or (), n=1, cutoff=0.6):
                if meant not in found:
                    found[meant] = value
                    self.lines.setdefault(f"{where}.{meant}" if where else meant, line)
        for key in required:
            if key not in found:
                self.wrong(where, f"has no {key}:.", f"Add {key}: there.")
        return found
