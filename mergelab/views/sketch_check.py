"""What is wrong with a sketch, in words: which slice, which part, what to do. From Python it may come in many forms."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from mergelab import methods
from mergelab.errors import did_you_mean
from mergelab.methods import Method, Parameter
from mergelab.views.guests import Guest

NAMED = 4  # problems that are named; the others are counted

_SKETCH: Mapping[str, Any] = {"base": None, "widen": False, "slices": ()}
_SLICE: Mapping[str, Any] = {"method": "passthrough", "base": None, "layers": None, "parts": (), "numbers": {}}
_PART: Mapping[str, Any] = {"source": None, "start": None, "numbers": {}}


def check_sketch(value: object, guests: Sequence[Guest]) -> dict[str, Any]:
    """``value`` as a sketch in plain Python: numbers and arrays of numpy, tuples and mappings of any kind are taken.

    What may be left out: ``base``, ``widen``, ``numbers``, and the method of a slice that is passed through. A number
    may be given as a value, or as a list of them, for all tensors.

    Raises:
        ValueError: everything that cannot be meant.
    """
    reader = _Reader(guests)
    sketch = reader.sketch(_plain(value))
    problems = list(dict.fromkeys(reader.problems))
    if len(problems) > NAMED:
        problems[NAMED:] = [f"And {len(problems) - NAMED} more."]
    if problems:
        raise ValueError(" ".join(problems))
    return sketch


def _plain(value: Any) -> Any:
    """Mappings as dicts, sequences and arrays as lists; anything else as it is."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(one) for one in value]
    return value


class _Reader:
    """Reads a sketch and collects what is wrong with it."""

    def __init__(self, guests: Sequence[Guest]) -> None:
        self.guests = guests
        self.problems: list[str] = []

    def wrong(self, where: str, what: str, hint: str = "") -> None:
        self.problems.append(f"{where}: {what} {hint}".rstrip())

    def sketch(self, value: Any) -> dict[str, Any]:
        found = self._table(value, "sketch", _SKETCH)
        if not isinstance(found["widen"], bool):
            self.wrong("widen", f"{_short(found['widen'])} is neither true nor false.")
        pieces = self._list(found["slices"], "slices", "slice")
        return {
            "base": self._base(found["base"], "base"),
            "widen": found["widen"],
            "slices": [self._slice(piece, f"slices[{index}]") for index, piece in enumerate(pieces)],
        }

    def _slice(self, value: Any, where: str) -> dict[str, Any]:
        found = self._table(value, where, _SLICE)
        name = found["method"]
        method = methods.get(name) if isinstance(name, str) and name in methods.names() else None
        if method is None:
            self.wrong(where, f"there is no method {_short(name)}.", did_you_mean(str(name), methods.names()))
        layers = found["layers"]
        if not _is_whole(layers) or layers < 1:
            self.wrong(where, f"layers {_short(layers)} is no number of layers.", "Give a whole number, 1 or more.")
            layers = None
        parts = self._list(found["parts"], f"{where}.parts", "part")
        return {
            "method": name,
            "base": self._base(found["base"], where),
            "layers": layers,
            "parts": [self._part(part, f"{where}.parts[{at}]", layers, method) for at, part in enumerate(parts)],
            "numbers": self._numbers(found["numbers"], where, method, own=False),
        }

    def _part(self, value: Any, where: str, layers: int | None, method: Method | None) -> dict[str, Any]:
        found = self._table(value, where, _PART)
        source, start = found["source"], found["start"]
        if self._is_source(source, where):
            guest = self.guests[source]
            name, deep = guest.name, guest.checkpoint.layers
            where = f"{where} ({name})"
            if not _is_whole(start):
                self.wrong(where, f"start {_short(start)} is no layer.", "Give the first of its layers, from 0.")
            elif layers is not None and not 0 <= start <= deep - layers:
                hint = f"Start at 0 to {deep - layers}." if layers <= deep else f"Take {deep} layers at most."
                self.wrong(
                    where, f"has no layers {start} to {start + layers - 1}: its layers are 0 to {deep - 1}.", hint
                )
        numbers = self._numbers(found["numbers"], where, method, own=True)
        return {"source": source, "start": start, "numbers": numbers}

    def _numbers(self, value: Any, where: str, method: Method | None, *, own: bool) -> dict[str, list[list[Any]]]:
        if not isinstance(value, dict):
            self.wrong(where, f"numbers {_short(value)} is no table.", "Give them by name.")
            return {}
        found = {}
        for name, setting in value.items() if method else ():
            parameter = method.parameters.get(name) if method else None
            if parameter is None:
                known = list(method.parameters) if method else []
                self.wrong(
                    where, f"{method.name if method else ''} has no number {name!r}.", did_you_mean(str(name), known)
                )
            elif own and not parameter.per_model:
                self.wrong(where, f"{name} is one number for all parts.", "Give it to the slice.")
            else:
                found[name] = self._setting(setting, where, parameter)
        return found

    def _setting(self, value: Any, where: str, parameter: Parameter) -> list[list[Any]]:
        rules = value if isinstance(value, list) and any(isinstance(one, list) for one in value) else [[None, value]]
        found: list[list[Any]] = []
        for rule in rules:
            if not isinstance(rule, list) or len(rule) != 2 or not isinstance(rule[0], str | None):
                hint = "Give [filter, value], the filter a part of tensors' names or null."
                self.wrong(where, f"{parameter.name} has a rule {_short(rule)}.", hint)
                continue
            match, said = rule
            values = said if isinstance(said, list) else [said]
            if None in values or not values:
                self.wrong(where, f"{parameter.name} has a rule without a value.", parameter.expects)
            for one in values:
                what = parameter.problem(one)
                if what is not None:
                    self.wrong(where, f"{what}.", parameter.expects)
            found.append([match or None, said])
        return found

    def _base(self, value: Any, where: str) -> Any:
        if value is not None:
            self._is_source(value, where)
        return value

    def _is_source(self, value: Any, where: str) -> bool:
        if _is_whole(value) and 0 <= value < len(self.guests):
            return True
        listed = ", ".join(f"{at} {guest.name}" for at, guest in enumerate(self.guests))
        self.wrong(where, f"there is no source {_short(value)}.", f"Known: {listed}.")
        return False

    def _table(self, value: Any, where: str, keys: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.wrong(where, f"{_short(value)} is no table.", f"Give {', '.join(keys)}.")
            return dict(keys)
        for key in value:
            if key not in keys:
                self.wrong(where, f"{_short(key)} means nothing here.", did_you_mean(str(key), list(keys)))
        return {**keys, **{key: one for key, one in value.items() if key in keys}}

    def _list(self, value: Any, where: str, noun: str) -> list[Any]:
        if isinstance(value, list) and value:
            return value
        self.wrong(where, f"{_short(value)} is no list of {noun}s.", f"Give at least one {noun}.")
        return []


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: object) -> str:
    return reprlib.repr(value)
