"""The methods as the workbench tells its page of them, from the registry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mergelab import methods
from mergelab.methods import REQUIRED, Method, Parameter

# What a hand reaches for first; the others follow in the order in which they were defined.
FIRST = ("passthrough", "linear", "slerp", "task_arithmetic", "ties", "dare_ties")
_KINDS: Mapping[type, str] = {float: "number", int: "whole", bool: "switch", str: "choice"}
_WORDS = {"passthrough": "Pass", "lines": "LiNeS", "iso_c": "Iso-C", "tsv_merge": "TSV merge", "knots": "KnOTS"}
_INITIALS = ("ties", "dare", "della", "sce", "ram")


def told_methods() -> list[dict[str, Any]]:
    """Every method with its numbers, in plain JSON.

    ``parts`` are the fewest and most besides the base. ``base`` says whether one is needed, ``ground`` whether a part
    that is the base of its slice is the method's base. A number's ``default`` is what counts where it is not said; of
    one that has to be said (``needed``), a value to begin with. ``curve``: it can be drawn over depth.
    """
    names = [*FIRST, *(name for name in methods.names() if name not in FIRST)]
    return [_told(methods.get(name)) for name in names]


def _told(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "word": _WORDS.get(method.name) or _word(method.name),
        "doc": method.summary.split(": ", 1)[-1],
        "base": method.base == "required",
        "ground": method.base != "none",
        "parts": list(method.inputs),
        "numbers": [_number(one) for one in method.parameters.values()],
    }


def _word(name: str) -> str:
    words = [word.upper() if word in _INITIALS else word for word in name.split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _number(parameter: Parameter) -> dict[str, Any]:
    needed = parameter.default is REQUIRED
    return {
        "name": parameter.name,
        "per_part": parameter.per_model,
        "kind": _KINDS[parameter.kind],
        "default": _start(parameter) if needed else parameter.default,
        "needed": needed,
        "dial": None if parameter.dial is None else list(parameter.dial),
        "low": parameter.low if math.isfinite(parameter.low) else None,
        "high": parameter.high if math.isfinite(parameter.high) else None,
        "choices": list(parameter.choices),
        "doc": parameter.doc,
        "effect": parameter.effect,
        "curve": parameter.kind is float and parameter.dial is not None and parameter.effect,
    }


def _start(parameter: Parameter) -> float | None:
    """Where a number begins that has to be said: a weight counts in full, another stands in the middle of its dial."""
    if parameter.name == "weight":
        return 1.0
    return None if parameter.dial is None else sum(parameter.dial) / 2
