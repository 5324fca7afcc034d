"""Recipe -> mergekit YAML. ``dialect.read`` of what is written gives the same recipe."""

from __future__ import annotations

from typing import Any

import yaml

from mergelab.recipes.check import DTYPES
from mergelab.recipes.recipe import Numbers, Part, Recipe, Scalar, Setting, Slice, Value


def write(recipe: Recipe) -> str:
    """The recipe as mergekit YAML, keys in mergekit's order. ``read`` of it gives the same recipe."""
    names = {short: long for long, short in DTYPES.items()}
    tree: dict[str, Any] = {"merge_method": recipe.method}
    if recipe.base:
        tree["base_model"] = str(recipe.base)
    if len(recipe.slices) == 1 and all(part.layers is None for part in recipe.slices[0].parts):
        tree["models"] = [_part(part) for part in recipe.slices[0].parts]
    else:
        tree["slices"] = [_slice(piece) for piece in recipe.slices]
    tree |= _parameters(recipe.numbers)
    tree |= {key: names[value] for key, value in (("dtype", recipe.dtype), ("out_dtype", recipe.out_dtype)) if value}
    if recipe.seed:
        tree["seed"] = recipe.seed
    return str(yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True))


class _Dumper(yaml.SafeDumper):
    """Lists of plain values on one line, as people write layer ranges and gradients."""


def _sequence(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    flow = all(isinstance(item, (int, float, bool)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flow)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # PyYAML's other styles lose some line breaks (U+0085, U+2028): what cannot be seen is escaped.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(list, _sequence)
_Dumper.add_representer(str, _text)


def _slice(piece: Slice) -> dict[str, Any]:
    tree: dict[str, Any] = {"sources": [_part(part) for part in piece.parts]}
    if piece.base:
        tree["base_model"] = str(piece.base)
    return tree | _parameters(piece.numbers)


def _part(part: Part) -> dict[str, Any]:
    tree: dict[str, Any] = {"model": str(part.source)}
    if part.layers is not None:
        tree["layer_range"] = list(part.layers)
    return tree | _parameters(part.numbers)


def _parameters(numbers: Numbers) -> dict[str, Any]:
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
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
