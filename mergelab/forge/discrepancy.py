"""Discrepancies: where two tables, two tensors, or a folder and the list of its files are not the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch

_NAMED = 3  # differences that are told; of more it says how many
_LONGEST = 60  # characters of a value that are told


@dataclass(frozen=True)
class Difference:
    """A value that is not the same in two tables.

    Attributes:
        place: its keys, with dots between them; empty for the whole.
        one: the value in the first, as JSON; "absent" where it has none.
        other: that in the second.
    """

    place: str
    one: str
    other: str


class _Absent:
    pass


_ABSENT = _Absent()


def differences(one: object, other: object, place: str = "") -> list[Difference]:
    """Where two values of JSON differ, the innermost place of each difference."""
    return list(_differences(one, other, place))


def _differences(one: object, other: object, place: str) -> Iterator[Difference]:
    dot = "." if place else ""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            yield from _differences(one.get(key, _ABSENT), other.get(key, _ABSENT), f"{place}{dot}{key}")
    elif isinstance(one, list) and isinstance(other, list):
        for at, (mine, yours) in enumerate(zip_longest(one, other, fillvalue=_ABSENT)):
            yield from _differences(mine, yours, f"{place}[{at}]")
    elif type(one) is not type(other) or one != other:
        yield Difference(place, _shown(one), _shown(other))


def _shown(value: object) -> str:
    if isinstance(value, _Absent):
        return "absent"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def told(found: Sequence[Difference], one: str, other: str) -> str:
    """Differences in words: ``rope_theta is 1.0, would be 10000.0; and 2 more``.

    Args:
        one: the word before the first value: "is".
        other: the word before the second: "would be".
    """
    words = [f"{each.place or 'it'} {one} {each.one}, {other} {each.other}" for each in found[:_NAMED]]
    more = [f"and {len(found) - _NAMED:,} more"] if len(found) > _NAMED else []
    return "; ".join([*words, *more])


def unequal(found: torch.Tensor, made: torch.Tensor) -> str:
    """How two tensors of one shape and dtype differ, bit by bit: how many elements, and the first; else nothing."""
    one, other = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (found, made))
    if torch.equal(one, other):
        return ""
    size = found.element_size()
    apart = (one != other).view(-1, size).any(1)
    first = int(apart.nonzero()[0])
    at = [int(index) for index in torch.unravel_index(torch.tensor(first), found.shape)]
    values = [repr(tensor.reshape(-1)[first].item()) for tensor in (found, made)]
    if values[0] == values[1]:  # two that mean no number
        values = [f"the bytes {tensor.view(-1, size)[first].tolist()}" for tensor in (one, other)]
    count = int(apart.sum())
    elements = f"{count:,} of {found.numel():,} elements {'is' if count == 1 else 'are'} not what the sources give"
    return f"{elements}; the first, at {at}, is {values[0]} and would be {values[1]}"


def unlisted(folder: Path, listed: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Files in a folder, at any depth, that are not among these names: each, or how many a folder in it has."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in listed and (path.is_symlink() or not path.is_dir()):  # what a link leads to is not looked at
            found.setdefault(name.partition("/")[0], []).append(name)
    for top, names in found.items():
        if len(names) == 1:
            yield names[0], "is not among the files that the merge wrote."
        else:
            said = f"has {len(names):,} files that are not among those that the merge wrote: "
            yield f"{top}/", f"{said}{', '.join(names[:_NAMED])}{' ...' if len(names) > _NAMED else ''}."


def spread(count: int, many: int) -> Mapping[int, None]:
    """``many`` of the numbers below ``count``, evenly spread, the first and the last among them."""
    if many >= count:
        return dict.fromkeys(range(count))
    return dict.fromkeys(round(at * (count - 1) / max(1, many - 1)) for at in range(max(0, many)))
