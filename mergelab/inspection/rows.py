"""One way through the weights of a base and its sources, a run of rows at a time: what every weight-only figure needs.

Weights are mapped from their files and read in runs, so that memory does not grow with the model; an adapter is folded
in one tensor at a time. All that is kept of a tensor are sums, which add up over tensors.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mergelab.inspection import magnitudes
from mergelab.inspection.magnitudes import CELLS, LEVELS, Both, Coder, Counts, Lone, Reals
from mergelab.inspection.sums import Alone, Sums, Together
from mergelab.methods.pieces import LENGTH, Pieces
from mergelab.weights import FLOATS, Checkpoint

PART = 64 * LENGTH
"""Elements that a thread reads of a tensor before it asks for more."""
_COUNTED = 8 * LENGTH  # at a time: a count costs as much again as CELLS elements
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")

Place = tuple[int | None, str]
"""Layer, None outside of them, and module: ``"self_attn.q_proj"``; numbers within, of experts, are ``*``."""
Kept = TypeVar("Kept", Lone, Both)


@dataclass(frozen=True)
class Shared:
    """A tensor of the base with its counterparts.

    Attributes:
        place: layer and module.
        name: in the base's file.
        others: names in the sources' files, by source; those that have none that fits are absent.
    """

    place: Place
    name: str
    others: Mapping[str, str]


def shared(base: Checkpoint, sources: Mapping[str, Checkpoint]) -> tuple[list[Shared], dict[str, list[str]]]:
    """The base's tensors with their counterparts, matched by layer and by the name within it, in file order.

    Returns:
        The tensors that at least one source has, and for each source in words what does not fit.
    """
    found: list[Shared] = []
    notes: dict[str, list[str]] = {name: [] for name in sources}
    theirs = {name: dict(_parts(source)) for name, source in sources.items()}
    for key, name in _parts(base):
        spec = base.specs[name]
        if spec.dtype not in FLOATS or not spec.elements:
            continue
        others = {}
        for source, checkpoint in sources.items():
            other = theirs[source].get(key)
            if other is None:
                notes[source].append(f"{name} is missing")
            elif checkpoint.specs[other].shape != spec.shape:
                notes[source].append(f"{name} is {checkpoint.specs[other].shape} against {spec.shape}")
            elif checkpoint.specs[other].dtype not in FLOATS:
                notes[source].append(f"{name} is stored as {checkpoint.specs[other].dtype}")
            else:
                others[source] = other
        if others:
            found.append(Shared((key[0], _module(key[1])), name, others))
    ours = dict(_parts(base))
    for source, names in theirs.items():
        notes[source] += [f"{name} is not in {base.source.label}" for key, name in names.items() if key not in ours]
    return found, notes


def _parts(checkpoint: Checkpoint) -> Iterator[tuple[tuple[int | None, str], str]]:
    """(Layer, name within it) and full name of every tensor; those outside the layers first."""
    parts = checkpoint.anatomy
    for name in (*parts.before, *parts.after):
        yield (None, name), name
    for layer, stems in enumerate(parts.layers):
        for stem in stems:
            yield (layer, stem), parts.name(layer, stem)


def _module(stem: str) -> str:
    return _NUMBER.sub("*", stem.removesuffix(".weight").removesuffix(".bias"))


class _StoppedError(Exception):
    """Breaks the reading off."""


def add_up(
    base: Checkpoint,
    sources: Mapping[str, Checkpoint],
    tensors: Sequence[Shared],
    progress: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> tuple[dict[Place, Sums], bool]:
    """The sums of every place, read by as many threads as torch has. No sum depends on their number.

    Args:
        progress: gets how many tensors are read, and of how many.
        stop: asked again and again; once it says True the tensors that are read by then stand.

    Returns:
        The sums, and whether it was stopped before the end.

    Raises:
        SourceError: a file cannot be read.
    """
    collected = _Collected(tensors, progress)
    parts = []
    for number, one in enumerate(tensors):
        reading = _Reading(base, sources, one)
        parts += [(number, reading, place) for place in range(reading.missing)]

    def heed() -> None:
        if stop():
            raise _StoppedError

    def read(part: tuple[int, _Reading, int]) -> None:
        number, reading, place = part
        if reading.read(place):
            collected.add(number, reading.sums())

    stopped = False
    with Pieces(torch.device("cpu"), heed) as pieces, torch.no_grad():
        try:
            pieces.share(parts, read)
        except _StoppedError:
            stopped = True
    return collected.places(), stopped and collected.done < len(tensors)


class _Collected:
    """Sums by place. Tensors are added in their order, whoever is ready first, so that nothing depends on threads."""

    def __init__(self, tensors: Sequence[Shared], progress: Callable[[int, int], None]) -> None:
        self.done = 0
        self._tensors, self._progress = tensors, progress
        self._places: dict[Place, Sums] = {}
        self._early: dict[int, Sums] = {}
        self._next = 0
        self._lock = threading.Lock()

    def add(self, number: int, sums: Sums) -> None:
        with self._lock:
            self._early[number] = sums
            while self._next in self._early:
                self._put(self._next)
                self._next += 1
            self.done += 1
            self._progress(self.done, len(self._tensors))

    def places(self) -> dict[Place, Sums]:
        """All that was added."""
        for number in sorted(self._early):
            self._put(number)
        return self._places

    def _put(self, number: int) -> None:
        place, sums = self._tensors[number].place, self._early.pop(number)
        self._places[place] = self._places[place] + sums if place in self._places else sums


class _Reading:
    """One tensor, read part by part, by several threads."""

    def __init__(self, base: Checkpoint, sources: Mapping[str, Checkpoint], one: Shared) -> None:
        size = base.specs[one.name].elements
        self._spans = [slice(at, min(at + PART, size)) for at in range(0, size, PART)]
        self.missing = len(self._spans)
        self._base, self._sources, self._one = base, sources, one
        self._names = tuple(one.others)
        self._places = _pairs(len(self._names))
        self._flat: list[Tensor] = []
        self._scales: list[float] = []
        self._parts: dict[int, _Part] = {}
        self._cells = torch.empty(0)
        self._lock = threading.Lock()

    def read(self, place: int) -> bool:
        """Read one part, and say whether it was the last."""
        with self._lock:
            if not self._flat:
                self._open()
        self._count(place)
        with self._lock:
            self.missing -= 1
            return self.missing == 0

    def _open(self) -> None:
        tensors = [self._base.tensor(self._one.name)]
        tensors += [self._sources[source].tensor(name) for source, name in self._one.others.items()]
        base, *others = flat = [tensor.reshape(-1) for tensor in tensors]
        self._scales = [magnitudes.sampled_scale(other, base) for other in others]
        self._cells = torch.zeros(len(self._places), CELLS, dtype=torch.int64)
        self._flat = flat  # last: with it the tensor is open

    def _count(self, place: int) -> None:
        part, cells = _read([tensor[self._spans[place]] for tensor in self._flat], self._scales, self._places)
        with self._lock:
            self._parts[place] = part
            self._cells += cells

    def _largest(self) -> list[float]:
        found: list[float] = np.max([part.largest for part in self._parts.values()], axis=0).tolist()
        return found

    def _fit(self) -> None:
        """Read all of it again if changes that the sample missed are too large for its levels."""
        pairs = list(zip(self._largest(), self._scales, strict=True))
        if any(2 <= value * factor < math.inf for value, factor in pairs):
            self._scales = [min(factor, magnitudes.scale(value)) for value, factor in pairs]
            self._cells.zero_()
            for place in range(len(self._spans)):
                self._count(place)

    def sums(self) -> Sums:
        """What there is to know of it, once all parts are read; it is let go of."""
        self._fit()
        size, largest = len(self._flat[0]), self._largest()
        parts = [self._parts[place] for place in sorted(self._parts)]
        grams, squares = (
            np.sum(sums, axis=0) for sums in zip(*((part.gram, part.squares) for part in parts), strict=True)
        )
        counts = self._cells.numpy().reshape(-1, 2, LEVELS, LEVELS)
        alone, together = {}, {}
        for number, name in enumerate(self._names):
            energy = float(grams[number + 1, number + 1])
            kept = _known(magnitudes.lone(self._levels(counts, number), self._scales[number], size), energy)
            alone[name] = Alone(size, float(grams[0, 0]), energy, largest[number], kept)
        for joint, (one, other) in zip(counts, self._places, strict=True):
            if one != other:
                first, second = self._names[one], self._names[other]
                dot = float(grams[one + 1, other + 1])
                kept_both = _known(magnitudes.both(joint, (self._scales[one], self._scales[other]), size), dot)
                products = float(squares[one, other])
                together[first, second] = Together(alone[first], alone[second], dot, products, kept_both)
        self._flat, self._cells = [], torch.empty(0)
        return Sums(alone, together)

    def _levels(self, counts: Counts, number: int) -> Counts:
        """How many changes of a source are of each level, from the first count that it has a part in."""
        at, pair = next((at, pair) for at, pair in enumerate(self._places) if number in pair)
        return counts[at].sum(axis=(0, 1 if pair[1] == number else 2))


def _known(kept: Kept, sum_of_products: float) -> Kept:
    """What is kept, or NaN where weights are not finite."""
    return kept if np.isfinite(sum_of_products) else type(kept)(np.full_like(kept.sums, np.nan))


def _pairs(count: int) -> list[tuple[int, int]]:
    """All pairs; of one source, it and itself."""
    every = combinations_with_replacement(range(count), 2)
    return [pair for pair in every if count == 1 or pair[0] < pair[1]]


@dataclass(frozen=True, eq=False)
class _Part:
    gram: Reals
    """Products of the base and all changes with one another."""
    squares: Reals
    """Products of the squares of the changes with one another."""
    largest: list[float]


def _read(flat: Sequence[Tensor], scales: Sequence[float], pairs: Sequence[tuple[int, int]]) -> tuple[_Part, Tensor]:
    """Sums over one part: the base's and the sources' weights, flat."""
    size, length = len(flat[0]), min(len(flat[0]), LENGTH)
    held = torch.empty(len(flat), length)
    factors = torch.tensor([1.0, *scales], dtype=torch.float64)
    by_row = factors[1:, None].to(torch.float32)
    coder = Coder(len(scales), length)
    cells = torch.zeros(len(pairs), CELLS, dtype=torch.int64)
    uncounted, waiting = torch.empty(len(pairs), min(size, _COUNTED), dtype=torch.int16), 0
    gram = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    squares = torch.zeros(len(scales), len(scales), dtype=torch.float64)
    largest, tops = [0.0] * len(scales), [0] * len(scales)
    for at in range(0, size, length):
        rows = held[:, : min(length, size - at)]
        _changes(rows, [tensor[at : at + length] for tensor in flat])
        rows[1:].mul_(by_row)
        gram += (rows @ rows.T).to(torch.float64)
        coder.read(rows[1:])
        for number, top in enumerate(coder.top):
            if top >= tops[number]:
                tops[number] = top
                largest[number] = float(np.maximum(largest[number], float(rows[number + 1].abs().max())))
        rows[1:].square_()
        squares += (rows[1:] @ rows[1:].T).to(torch.float64)
        end = waiting + rows.shape[1]
        for joint, (one, other) in zip(uncounted, pairs, strict=True):
            coder.pair(one, other, joint[waiting:end])
        waiting = end % uncounted.shape[1]
        if not waiting or at + length >= size:
            cells += torch.stack([torch.bincount(joint[:end], minlength=CELLS) for joint in uncounted])
    found = [value / scale for value, scale in zip(largest, scales, strict=True)]
    gram /= factors.outer(factors)
    squares /= factors[1:].outer(factors[1:]) ** 2
    return _Part(gram.numpy(), squares.numpy(), found), cells


def _changes(rows: Tensor, flat: Sequence[Tensor]) -> None:
    """Fill ``rows`` with the base and every change from it, in float32."""
    wide = any(tensor.dtype == torch.float64 for tensor in flat)
    base, *others = flat
    for row, tensor in zip(rows, flat, strict=True):
        row.copy_(tensor)
    if wide:  # rounded after the difference, which may be far smaller than the weights
        for row, other in zip(rows[1:], others, strict=True):
            row.copy_(other.to(torch.float64) - base)
    else:
        rows[1:].sub_(rows[0])
