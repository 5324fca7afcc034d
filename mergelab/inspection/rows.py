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
from mergelab.inspection.magnitudes import CELLS, LEVELS, Both, Counts, Flat, Lone, Reals
from mergelab.inspection.sums import Alone, Sums, Together
from mergelab.inspection.tally import Tally, tally
from mergelab.methods.pieces import LENGTH, Pieces
from mergelab.weights import FLOATS, Checkpoint

PART = 64 * LENGTH
"""Elements that a thread reads of a tensor before it asks for more."""
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
        self._size = base.specs[one.name].elements
        self._spans = [slice(at, min(at + PART, self._size)) for at in range(0, self._size, PART)]
        self.missing = len(self._spans)
        self._base, self._sources, self._one = base, sources, one
        self._names = tuple(one.others)
        self._pairs = _pairs(len(self._names))
        self._flat: list[Flat] = []
        self._scales: list[float] = []
        self._parts: dict[int, Tally] = {}
        self._cells: Counts = np.zeros((len(self._pairs), CELLS), np.int64)
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
        others = [_flat(self._sources[source], name) for source, name in self._one.others.items()]
        base = _flat(self._base, self._one.name)
        self._scales = [magnitudes.sampled_scale(other, base) for other in others]
        self._flat = [base, *others]  # last: with it the tensor is open

    def _count(self, place: int) -> None:
        part, cells = tally([flat[self._spans[place]] for flat in self._flat], self._scales, self._pairs)
        with self._lock:
            self._parts[place] = part
            self._cells += cells

    def _largest(self) -> Reals:
        found: Reals = np.max([part.largest for part in self._parts.values()], axis=0)
        return found

    def _fit(self) -> None:
        """Read all of it again if changes that the sample missed are too large for its levels."""
        pairs = list(zip(self._largest().tolist(), self._scales, strict=True))
        if any(2 <= value * factor < math.inf for value, factor in pairs):
            self._scales = [min(factor, magnitudes.scale(value)) for value, factor in pairs]
            self._cells[:] = 0
            for place in range(len(self._spans)):
                self._count(place)

    def sums(self) -> Sums:
        """What there is to know of it, once all parts are read; it is let go of."""
        self._fit()
        parts = [self._parts[place] for place in sorted(self._parts)]
        base, largest = sum(part.base for part in parts), self._largest().tolist()
        energies, dots, squares = (
            np.sum(sums, axis=0)
            for sums in zip(*((part.energy, part.dots, part.squares) for part in parts), strict=True)
        )
        counts = self._cells.reshape(-1, 2, LEVELS, LEVELS)
        alone, together = {}, {}
        for number, (name, energy) in enumerate(zip(self._names, energies.tolist(), strict=True)):
            kept = _known(magnitudes.lone(self._levels(counts, number), self._scales[number], self._size), energy)
            alone[name] = Alone(self._size, base, energy, largest[number], kept)
        for (one, other), joint, dot, products in zip(
            self._pairs, counts, dots.tolist(), squares.tolist(), strict=True
        ):
            if one != other:
                first, second = self._names[one], self._names[other]
                kept_both = _known(magnitudes.both(joint, (self._scales[one], self._scales[other]), self._size), dot)
                together[first, second] = Together(alone[first], alone[second], dot, products, kept_both)
        self._flat, self._cells = [], np.zeros((0, CELLS), np.int64)
        return Sums(alone, together)

    def _levels(self, counts: Counts, number: int) -> Counts:
        """How many changes of a source are of each level, from the first count that it has a part in."""
        at, pair = next((at, pair) for at, pair in enumerate(self._pairs) if number in pair)
        return counts[at].sum(axis=(0, 1 if pair[1] == number else 2))


@dataclass(frozen=True)
class _Folded:
    """A tensor that an adapter changes, flat: computed where it is asked for."""

    checkpoint: Checkpoint
    name: str

    def __len__(self) -> int:
        return self.checkpoint.specs[self.name].elements

    def __getitem__(self, span: slice) -> Tensor:
        width = math.prod(self.checkpoint.specs[self.name].shape[1:])
        start, stop, _ = span.indices(len(self))
        first = start // width
        rows = self.checkpoint.rows(self.name, first, -(-stop // width)).reshape(-1)
        return rows[start - first * width : stop - first * width]


def _flat(checkpoint: Checkpoint, name: str) -> Flat:
    changed = checkpoint.adapter is not None and name in checkpoint.adapter.changes
    return _Folded(checkpoint, name) if changed else checkpoint.tensor(name).reshape(-1)


def _known(kept: Kept, sum_of_products: float) -> Kept:
    """What is kept, or NaN where weights are not finite."""
    return kept if np.isfinite(sum_of_products) else type(kept)(np.full_like(kept.sums, np.nan))


def _pairs(count: int) -> list[tuple[int, int]]:
    """All pairs; of one source, it and itself."""
    every = combinations_with_replacement(range(count), 2)
    return [pair for pair in every if count == 1 or pair[0] < pair[1]]
