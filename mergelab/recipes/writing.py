"""Recipe -> mergekit YAML. ``dialect.read`` of what is written gives the same recipe, with its comments."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, TypeAlias

import yaml

from mergelab.errors import MergelabError
from mergelab.recipes.check import DTYPES, is_whole
from mergelab.recipes.notes import Notes
from mergelab.recipes.recipe import Numbers, Part, Recipe, Scalar, Setting, Slice, Token, Value, Vocabulary
from mergelab.recipes.yaml_text import step
from mergelab.weights import Source

Tree: TypeAlias = dict[str, Any]
"""Tables as dicts, lists of tables and of values as lists, values as themselves."""


def write(recipe: Recipe) -> str:
    """The recipe as mergekit YAML: one document for each stage, keys and comments as in the text it was read from."""
    documents = [*(replace(stage, stages=()) for stage in recipe.stages), recipe]
    return "---\n".join(_document(document) for document in documents)


def _document(recipe: Recipe) -> str:
    lines = _Text(_tree(recipe), recipe.notes or Notes()).lines()
    return "".join(f"{line}\n" for line in lines)


# ------------------------------------------------------------------------------------- what is said, as a tree


def _tree(recipe: Recipe) -> Tree:
    names = {short: long for long, short in DTYPES.items()}
    tree: Tree = {"name": recipe.name} if recipe.name else {}
    tree["merge_method"] = recipe.method
    if recipe.base:
        tree["base_model"] = _source(recipe.base)
    if is_whole(recipe):
        body: Tree = {"models": [_part(part) for part in recipe.slices[0].parts]}
    else:
        body = {"slices": [_slice(piece) for piece in recipe.slices]}
    tree |= {"modules": {recipe.module: body | _parameters(recipe.module_numbers)}} if recipe.module else body
    tree |= _parameters(recipe.numbers)
    tree |= {key: names[value] for key, value in (("dtype", recipe.dtype), ("out_dtype", recipe.out_dtype)) if value}
    tree |= _vocabulary(recipe.vocabulary) if recipe.vocabulary else {}
    if recipe.chat_template:
        tree["chat_template"] = recipe.chat_template
    if recipe.seed:
        tree["seed"] = recipe.seed
    if recipe.widen:
        tree["widen"] = True
    return tree


def _slice(piece: Slice) -> Tree:
    tree: Tree = {"merge_method": piece.method} if piece.method else {}
    tree["sources"] = [_part(part) for part in piece.parts]
    if piece.base:
        tree["base_model"] = _source(piece.base)
    return tree | _parameters(piece.numbers)


def _part(part: Part) -> Tree:
    tree: Tree = {"model": _source(part.source)}
    if part.layers is not None:
        tree["layer_range"] = list(part.layers)
    return tree | _parameters(part.numbers)


def _source(source: Source, *, apart: bool = False) -> str | Tree:
    """An address as a text; as a table where a text would be read as another one, or if ``apart`` is asked for."""
    with contextlib.suppress(MergelabError):
        if not apart and Source.parse(str(source)) == source:
            return str(source)
    halves = {"model": source, **({"lora": source.adapter} if source.adapter else {})}
    return {
        key: {"path": half.path, **({"revision": half.revision} if half.revision else {})}
        for key, half in halves.items()
    }


def _vocabulary(words: Vocabulary) -> Tree:
    source: str | Tree = words.source if isinstance(words.source, str) else _source(words.source)
    if words.source in (Source("union"), Source("base")):
        source = _source(Source(str(words.source)), apart=True)
    if words.legacy:
        return {"tokenizer_source": source}
    tree: Tree = {"source": source}
    if words.pad_to_multiple_of is not None:
        tree["pad_to_multiple_of"] = words.pad_to_multiple_of
    if words.tokens:
        tree["tokens"] = {text: _token(token) for text, token in words.tokens}
    return {"tokenizer": tree}


def _token(token: Token) -> Tree:
    tree: Tree = {}
    if token.zero:
        tree["source"] = {"kind": "zero"}
    elif token.source and token.token is not None:
        key = "token_id" if isinstance(token.token, int) else "token"
        tree["source"] = {"kind": "model_token", "model": _source(token.source), key: token.token}
    elif token.source:
        tree["source"] = _source(token.source)
    return tree | ({"force": True} if token.force else {})


def _parameters(numbers: Numbers) -> Tree:
    return {"parameters": {name: _setting(setting) for name, setting in numbers}} if numbers else {}


def _setting(setting: Setting) -> Any:
    if len(setting.rules) == 1 and setting.rules[0].filter is None:
        return _value(setting.rules[0].value)
    return [
        ({"filter": rule.filter} if rule.filter is not None else {}) | {"value": _value(rule.value)}
        for rule in setting.rules
    ]


def _value(value: Value) -> Any:
    return [_number(item) for item in value] if isinstance(value, tuple) else _number(value)


def _number(value: Scalar) -> Scalar:
    """Equal numbers alike: whole ones as such, from 1e15 on as floats where a float can be that."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    if isinstance(value, int) and abs(value) >= 1e15:
        with contextlib.suppress(OverflowError):
            return float(value) if float(value) == value else value
    return value


# ------------------------------------------------------------------------------------------- the tree as a text


class _Text:
    """Writes a tree in block style, with the notes that its places have."""

    def __init__(self, tree: Tree, notes: Notes) -> None:
        written = {path for path, _ in _paths(tree, "")}
        self._tree = tree
        self._order = dict(notes.order)
        self._end = [f"#{text}" for text in notes.end]
        self._above: dict[str, list[str]] = {}
        self._below: dict[str, list[str]] = {}
        self._beside = {path: f"  #{text}" for path, text in notes.beside if path in written}
        # What stood beside or around something that is not written any more moves up to what is around that.
        lost = [(path, (text,)) for path, text in notes.beside if path not in written]
        for side, told in ((self._above, (*notes.above, *lost)), (self._below, notes.below)):
            for path, texts in told:
                nearest = _nearest(path, written)
                target = side if nearest == path else self._above
                target.setdefault(nearest, []).extend(f"#{text}" for text in texts)

    def lines(self) -> Iterator[str]:
        """All lines, without line ends."""
        yield from self._above.get("", ())
        yield from self._table(self._tree, "", 0)
        yield from self._end

    def _keys(self, tree: Tree, where: str) -> list[str]:
        """Its keys: those that were written in their order, then new ones."""
        return list(dict.fromkeys([*(key for key in self._order.get(where, ()) if key in tree), *tree]))

    def _table(self, tree: Tree, where: str, indent: int) -> Iterator[str]:
        for key in self._keys(tree, where):
            yield from self._entry(key, tree[key], step(where, key), indent)

    def _entry(self, key: str, value: Any, path: str, indent: int) -> Iterator[str]:
        """A key with its value."""
        pad, beside = " " * indent, self._beside.get(path, "")
        above, below = self._above.get(path, []), self._below.get(path, [])
        if isinstance(value, str) and "\n" in value and (block := _block(key, value, indent)):
            above, beside = [*above, *([beside.strip()] if beside else [])], ""
            yield from (f"{pad}{text}" for text in above)
            yield from block
        else:
            yield from (f"{pad}{text}" for text in above)
            if not isinstance(value, dict | list) or not value or _is_row(value):
                yield f"{pad}{_inline(key)}: {_inline(value)}{beside}"
            else:
                yield f"{pad}{_inline(key)}:{beside}"
                if isinstance(value, dict):
                    yield from self._table(value, path, indent + 2)
                else:
                    yield from self._items(value, path, indent)
        yield from (f"{pad}{text}" for text in below)

    def _items(self, items: Iterable[Tree], where: str, indent: int) -> Iterator[str]:
        """Tables behind dashes."""
        pad = " " * indent
        for index, item in enumerate(items):
            path = f"{where}[{index}]"
            lines = list(self._table(item, path, indent + 2))
            first = next(at for at, line in enumerate(lines) if not line.lstrip().startswith("#"))
            beside = self._beside.get(path, "")
            above = [*self._above.get(path, ()), *(line.strip() for line in lines[:first])]
            if beside and step(path, self._keys(item, path)[0]) in self._beside:
                above, beside = [*above, beside.strip()], ""  # a line has room for one
            yield from (f"{pad}{text}" for text in above)
            yield f"{pad}- {lines[first][indent + 2 :]}{beside}"
            yield from lines[first + 1 :]
            yield from (f"{pad}  {text}" for text in self._below.get(path, ()))


def _paths(tree: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Paths that have a line of their own."""
    if isinstance(tree, dict):
        children = [(step(where, key), value) for key, value in tree.items()]
    else:
        rows = isinstance(tree, list) and not _is_row(tree)
        children = [(f"{where}[{index}]", value) for index, value in enumerate(tree)] if rows else []
    for path, value in children:
        yield path, value
        yield from _paths(value, path)


def _nearest(path: str, written: set[str]) -> str:
    while path and path not in written:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return path


def _is_row(value: Any) -> bool:
    """Whether a list holds plain values, which people write on one line, as layer ranges and gradients."""
    return isinstance(value, list) and not any(isinstance(item, dict) for item in value)


class _Dumper(yaml.SafeDumper):
    """Values in one line."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # PyYAML's other styles lose some line breaks (U+0085, U+2028): what cannot be seen is escaped.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _quoted)
_WIDE: Final = float("inf")


def _inline(value: Any) -> str:
    """A value, or a list of values, in one line; quoted where YAML would take it for something else."""
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return _scalar(value) if value != {} else "{}"


@lru_cache(4096, typed=True)  # the same few names and numbers, many times
def _scalar(value: Scalar) -> str:
    return str(yaml.dump([value], Dumper=_Dumper, default_flow_style=True, width=_WIDE, allow_unicode=True))[1:-2]


def _block(key: str, text: str, indent: int) -> list[str] | None:
    """A text of several lines as such, or None where YAML would not give it back."""
    pad = " " * (indent + 2)
    lines = text.removesuffix("\n").split("\n")
    if not all(line.isprintable() for line in lines) or text.startswith(" ") or not lines[0] or not lines[-1]:
        return None
    return [
        f"{' ' * indent}{_inline(key)}: {'|' if text.endswith(chr(10)) else '|-'}",
        *(f"{pad}{line}" if line else "" for line in lines),
    ]
