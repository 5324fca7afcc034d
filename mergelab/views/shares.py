"""How much of an output layer each part of its slice is, for the eye, and the numbers of a slice over depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mergelab import methods
from mergelab.methods.curve import gradient
from mergelab.views.sketch import Sketch


def shares(sketch: Sketch, piece: Mapping[str, Any], offset: int) -> list[float]:
    """One number for each part of a slice at its layer ``offset``, sum 1: of what is above 0 in ``coefficients``.

    Equal where the method alone decides. Values for several kinds of tensors are averaged.
    """
    equal = [1 / len(piece["parts"])] * len(piece["parts"])
    found = coefficients(sketch, piece, offset)
    sizes = [max(0.0, size) for size in found or ()]
    whole = sum(sizes)
    return [size / whole for size in sizes] if whole > 0 else equal


def unlearned(sketch: Sketch, piece: Mapping[str, Any], offset: int) -> list[bool]:
    """For each part of a slice whether it is taken away at its layer ``offset``; the base never is."""
    base, found = base_part(sketch, piece), coefficients(sketch, piece, offset) or [0.0] * len(piece["parts"])
    return [place != base and size < 0 for place, size in enumerate(found)]


def coefficients(sketch: Sketch, piece: Mapping[str, Any], offset: int) -> list[float] | None:
    """How much of each part a layer of the result has: c of sum_i c_i x_i, below 0 where a part is taken away.

    In base + w (x - base) the base has 1 - w. What density trims stays the base's, unless the rest is scaled up for it;
    where a mean is taken over what is left, the base has the elements that every part trims (were they trimmed by
    chance). Methods that do more than a sum (``lines``, ``tsv_merge``, ``iso_c``, ``knots``) are read as their sum.
    None: the method alone decides.
    """
    parts, layers, numbers = piece["parts"], piece["layers"], piece["numbers"]
    declared = methods.get(piece["method"]).parameters
    base = base_part(sketch, piece)
    if len(parts) == 1:
        return [1.0]
    # The step of nearswap is named t too; a way runs from 0 to 1.
    way = declared.get("t")
    if way is not None and way.dial is not None and way.dial[1] == 1 and base is not None and len(parts) == 2:
        own = _mean(numbers.get("t"), offset, layers, 0.5)
        return [1 - own if place == base else own for place in range(2)]
    if "weight" not in declared or not declared["weight"].per_model:
        return None

    def read(name: str, part: Mapping[str, Any]) -> float:
        return _mean(part["numbers"].get(name, numbers.get(name)), offset, layers, 1.0)

    trims = "density" in declared and declared["density"].effect and not _is_on(piece, "rescale")
    kept = [read("density", part) if trims else 1.0 for part in parts]
    sizes = [0.0 if place == base else read("weight", part) * kept[place] for place, part in enumerate(parts)]
    if _normalizes(piece):
        trimmed = math.prod(1 - share for place, share in enumerate(kept) if place != base)
        whole = sum(sizes)
        sizes = [size * (1 - trimmed) / whole for size in sizes] if whole else sizes
    if base is not None:
        sizes = [size * _mean(numbers.get("lambda"), offset, layers, 1.0) for size in sizes]
        sizes[base] = 1 - sum(sizes)
    return sizes


def base_part(sketch: Sketch, piece: Mapping[str, Any]) -> int | None:
    """The place of the base among the parts of a slice whose method starts from one, or can."""
    if methods.get(piece["method"]).base == "none":
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


def _normalizes(piece: Mapping[str, Any]) -> bool:
    """Whether only the ratio of the weights counts."""
    method = methods.get(piece["method"])
    name = next((one for one in ("normalize", "normalize_weights") if one in method.parameters), None)
    return method.base != "required" if name is None else _is_on(piece, name)


def _is_on(piece: Mapping[str, Any], name: str) -> bool:
    """A switch of a slice, as it is for most tensors."""
    declared = methods.get(piece["method"]).parameters.get(name)
    if declared is None or not declared.effect:
        return False
    said = piece["numbers"].get(name)
    return (said[-1][1] if said else declared.default) is True


def _at(value: Any, offset: int, layers: int) -> float:
    return float(gradient(value, offset, layers)) if isinstance(value, list) else float(value)


def _mean(setting: Sequence[Any] | None, offset: int, layers: int, usual: float) -> float:
    values = [_at(value, offset, layers) for _, value in setting or ()]
    return sum(values) / len(values) if values else usual
