"""How much of an output layer each part of its slice is, for the eye, and the numbers of a slice over depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mergelab import methods
from mergelab.methods.curve import gradient
from mergelab.views.sketch import Sketch


def shares(sketch: Sketch, piece: Mapping[str, Any], offset: int) -> list[float]:
    """One number for each part of a slice at its layer ``offset``, sum 1.

    Weights by their size, the base being what they leave of 1; ``t`` between the base and the other; equal where the
    method has neither. Values for several kinds of tensors are averaged.
    """
    parts, layers = piece["parts"], piece["layers"]
    declared = methods.get(piece["method"]).parameters
    base = base_part(sketch, piece)
    equal = [1 / len(parts)] * len(parts)
    if len(parts) == 1:
        return equal
    if "t" in declared and not declared["t"].per_model and base is not None and len(parts) == 2:
        own = min(1.0, max(0.0, _mean(piece["numbers"].get("t"), offset, layers, 0.5)))
        return [1 - own if place == base else own for place in range(2)]
    if "weight" not in declared or not declared["weight"].per_model:
        return equal
    around = piece["numbers"].get("weight")
    sizes = [abs(_mean(part["numbers"].get("weight", around), offset, layers, 1.0)) for part in parts]
    if base is not None:
        sizes[base] = 0.0
        sizes[base] = max(0.0, 1 - sum(sizes))
    whole = sum(sizes)
    return [size / whole for size in sizes] if whole > 0 else equal


def base_part(sketch: Sketch, piece: Mapping[str, Any]) -> int | None:
    """The place of the base among the parts of a slice whose method starts from one."""
    if methods.get(piece["method"]).base != "required":
        return None
    base = sketch["base"] if piece["base"] is None else piece["base"]
    return next((place for place, part in enumerate(piece["parts"]) if part["source"] == base), None)


def curves(sketch: Sketch) -> dict[str, list[tuple[int | None, str, list[float | None]]]]:
    """By name, each number that some slice says, over the output layers: as (source, filter, values).

    The source is None for a number of a slice; the filter "" for all tensors; a value None where it is not said.
    """
    total = sum(piece["layers"] for piece in sketch["slices"])
    found: dict[str, dict[tuple[int | None, str], list[float | None]]] = {}
    first = 0
    for piece in sketch["slices"]:
        for source, name, setting in _said(piece):
            for text, value in setting:
                line = found.setdefault(name, {}).setdefault((source, text or ""), [None] * total)
                for offset in range(piece["layers"]):
                    line[first + offset] = _at(value, offset, piece["layers"])
        first += piece["layers"]
    return {name: [(*key, line) for key, line in lines.items()] for name, lines in found.items()}


def _said(piece: Mapping[str, Any]) -> Iterator[tuple[int | None, str, Sequence[Any]]]:
    for name, setting in piece["numbers"].items():
        if _drawn(setting):
            yield None, name, setting
    for part in piece["parts"]:
        for name, setting in part["numbers"].items():
            if _drawn(setting):
                yield part["source"], name, setting


def _drawn(setting: Sequence[Any]) -> bool:
    """Whether every value of it is a number or a list of numbers."""
    values = [one for _, value in setting for one in (value if isinstance(value, list) else [value])]
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)


def _at(value: Any, offset: int, layers: int) -> float:
    return float(gradient(value, offset, layers)) if isinstance(value, list) else float(value)


def _mean(setting: Sequence[Any] | None, offset: int, layers: int, usual: float) -> float:
    values = [_at(value, offset, layers) for _, value in setting or ()]
    return sum(values) / len(values) if values else usual
