"""How large changes are and whether two pull apart: mergeable counts, from which every density is answered.

TIES trims each tensor of a task vector to its k largest magnitudes, k = density x elements (Yadav et al. 2023,
arXiv:2306.01708, section 4). What two trimmed task vectors do to each other then depends on three things at every
weight: the two magnitudes and whether the signs differ. One pass counts these three in levels of magnitude, and what
would be left of the counts at any density follows from sums over the counts alone.

A level is an eighth of an octave: the three leading bits of the significand of ``magnitude + FLOOR``, over the 16
octaves below the largest change; towards nothing, where FLOOR outweighs the magnitude, levels become equally wide (the
idea of a histogram over bit patterns; ``methods.select`` does the same to find thresholds). Counts are exact. A
threshold that falls inside a level takes its share of the level's weights, as if they lay in random order: so are ties
shared out. Magnitudes are the middle of their level, at most 1/16 off but for the smallest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Reals = NDArray[np.float64]
Counts = NDArray[np.int64]

LEVELS = 128
"""Level 0 is no change, or one below about 2**-40 of the largest; 1 to 127 ascend."""
CELLS = 2 * LEVELS * LEVELS
"""Of a joint count: signs alike or apart, level of one, level of the other."""
FLOOR = 2.0**-15
"""What is added to scaled magnitudes, which lie under 2: the bits of the sum tell the level."""
BITS = 20
"""Bits of a float32 that tell no level."""
LOWEST = int(np.float32(FLOOR).view(np.int32)) - (1 << BITS) + 1
"""Less than any bits of a sum, so that only that of no change is of level 0."""
DENSITIES: Reals = np.linspace(0, 1, 129) ** 2
"""Where curves have points: closer together where little is kept. Between them they are straight."""
DENSITIES.flags.writeable = False

_HEADROOM = 2  # octaves above the largest of a sample, for what the sample missed
_EXACT = 1 << 16  # elements up to which all are the sample
_RUNS, _RUN = 64, 256  # a sample beyond it: so many runs of so many elements
_LARGEST = 126  # exponents of scales: float32 holds their powers


def scale(largest: float) -> float:
    """A power of two that takes magnitudes up to ``largest`` under 2; 1 for none."""
    if not 0 < largest < math.inf:
        return 1.0
    return 2.0 ** -max(-_LARGEST, min(_LARGEST, math.frexp(largest)[1] - 1))


class Flat(Protocol):
    """Weights in a row that give a tensor of some of them: a tensor does."""

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> Tensor: ...


def sampled_scale(weights: Flat, base: Flat) -> float:
    """The scale of a task vector by a sample of it: all of it where it is short or the sample has no change."""
    size = len(base)
    if size <= _EXACT:
        return scale(_largest(weights[:], base[:]))
    found = _largest(_sample(weights), _sample(base))
    if found > 0:
        return scale(found * 2**_HEADROOM)
    return scale(max(_largest(weights[at : at + _EXACT], base[at : at + _EXACT]) for at in range(0, size, _EXACT)))


def _sample(flat: Flat) -> Tensor:
    """Runs of weights, evenly spread; at once where a tensor lies ready."""
    apart = (len(flat) - _RUN) // (_RUNS - 1)
    if isinstance(flat, Tensor):
        return flat.as_strided((_RUNS, _RUN), (apart, 1))
    return torch.stack([flat[at * apart : at * apart + _RUN] for at in range(_RUNS)])


def _largest(weights: Tensor, base: Tensor) -> float:
    return float((weights.to(torch.float64) - base.to(torch.float64)).abs().max()) if len(base) else 0.0


class Coder:
    """Levels and signs of the changes of some sources, up to ``length`` at a time, in memory of its own.

    Attributes:
        level: int16, 0 to 127, shape (sources, changes).
        negative: bool, the sign bits of the changes; same shape.
    """

    def __init__(self, sources: int, length: int) -> None:
        self._sum = np.empty((sources, length), np.float32)
        self._level, self._negative = np.empty((sources, length), np.int16), np.empty((sources, length), np.bool_)
        self._apart = np.empty(length, np.int16)
        self.level, self.negative = self._level, self._negative

    def read(self, scaled: NDArray[np.float32]) -> None:
        """Take in changes times their scale: shape (sources, changes)."""
        count = scaled.shape[1]
        self.level, self.negative = self._level[:, :count], self._negative[:, :count]
        total = np.abs(scaled, out=self._sum[:, :count])
        total += np.float32(FLOOR)
        pattern = total.view(np.int32)
        pattern -= LOWEST
        pattern >>= BITS
        self.level[:] = np.minimum(pattern, LEVELS - 1, out=pattern)
        np.signbit(scaled, out=self.negative)

    def pair(self, one: int, other: int, cells: NDArray[np.int16]) -> None:
        """For each weight the cell of a joint count that it belongs to, by two sources' changes of it.

        Args:
            cells: shape (changes,): is filled. Counted and seen as (2, LEVELS, LEVELS): signs alike first.
        """
        apart = self._apart[: len(cells)]
        np.not_equal(self.negative[one], self.negative[other], out=apart, casting="unsafe")
        apart *= LEVELS * LEVELS
        np.multiply(self.level[one], LEVELS, out=cells)
        cells += self.level[other]
        cells += apart


@cache
def edges() -> Reals:
    """The largest magnitude of each level, scaled: float64, shape (LEVELS,)."""
    patterns = (np.arange(LEVELS, dtype=np.int32) << BITS) + (LOWEST + (1 << BITS) - 1)
    ends = patterns.view(np.float32).astype(np.float64) - FLOOR
    ends.flags.writeable = False
    return ends


@dataclass(frozen=True, eq=False)
class Lone:
    """What is kept of task vectors at each of ``DENSITIES``. Sums of it are it: each tensor is trimmed by itself.

    Attributes:
        sums: float64, shape (3, ..., densities): how many changed weights are kept, the sum of their magnitudes, and
            that of their squares.
    """

    sums: Reals

    def __add__(self, other: Lone) -> Lone:
        return Lone(self.sums + other.sums)

    @property
    def weights(self) -> Reals:
        """How many weights are kept, without those that did not change."""
        return self.sums[0]

    @property
    def mass(self) -> Reals:
        """Sum of the magnitudes of what is kept."""
        return self.sums[1]

    @property
    def energy(self) -> Reals:
        """Sum of their squares."""
        return self.sums[2]


@dataclass(frozen=True, eq=False)
class Both:
    """What is kept of two task vectors at the same weights, at each of ``DENSITIES``. Sums of it are it.

    Attributes:
        sums: float64, shape (7, ..., densities): how many weights are kept of both, signs alike, and signs that differ;
            the sum of the smaller of the two magnitudes, over the former and over the latter; that of its square, over
            all of them; how many of both independent choices of as many weights of each tensor would keep, and the
            variance of that.
    """

    sums: Reals

    def __add__(self, other: Both) -> Both:
        return Both(self.sums + other.sums)

    @property
    def weights(self) -> Reals:
        """How many weights are kept of both."""
        return self.sums[0] + self.sums[1]

    @property
    def apart(self) -> Reals:
        """How many of these have signs that differ."""
        return self.sums[1]

    @property
    def least(self) -> Reals:
        """Sum of the smaller of the two magnitudes."""
        return self.sums[2] + self.sums[3]

    @property
    def apart_least(self) -> Reals:
        """The same, where signs differ."""
        return self.sums[3]

    @property
    def least_squares(self) -> Reals:
        """Sum of the square of the smaller of the two magnitudes."""
        return self.sums[4]

    @property
    def expected(self) -> Reals:
        """How many weights would be kept of both if each chose as many of every tensor by chance."""
        return self.sums[5]

    @property
    def variance(self) -> Reals:
        """The variance of that: of hypergeometric counts."""
        return self.sums[6]


def lone(counts: Counts, factor: float, size: int) -> Lone:
    """The curves of a task vector of ``size`` elements by the counts of its levels, shape (LEVELS,)."""
    middles = _middles(factor)
    sums = np.stack([counts, counts * middles, counts * middles**2])[:, :0:-1]
    places = _places(counts, size)
    return Lone(np.stack([np.interp(places, np.arange(LEVELS), np.append(0.0, np.cumsum(row))) for row in sums]))


def both(counts: Counts, factors: tuple[float, float], size: int) -> Both:
    """The curves of two task vectors by their joint counts, shape (2, LEVELS, LEVELS)."""
    one, other = counts.sum(axis=(0, 2)), counts.sum(axis=(0, 1))
    rows, columns = _occupied(one), _occupied(other)
    least = _least(*factors)[rows, columns]
    layers = torch.empty(5, *least.shape, dtype=torch.float64)
    filled = layers.numpy()
    filled[:2] = counts[:, rows, columns]
    np.multiply(filled[:2], least, out=filled[2:4])
    np.multiply(filled[2] + filled[3], least, out=filled[4])
    sums = np.zeros((5, least.shape[0] + 1, least.shape[1] + 1))
    sums[:, 1:, 1:] = layers.cumsum(1).cumsum(2)  # torch takes a quarter of numpy's time
    kept = _between(sums, _places(one, size), _places(other, size))
    return Both(np.concatenate([kept, _by_chance(one, other, size)]))


def _by_chance(one: Counts, other: Counts, size: int) -> Reals:
    """Mean and variance of how many weights two independent choices have in common, shape (2, densities)."""
    first, second = (np.minimum(DENSITIES * size, counts[1:].sum()) for counts in (one, other))
    expected = first * second / size
    return np.stack([expected, expected * (size - first) * (size - second) / (size * max(size - 1, 1))])


def _occupied(counts: Counts) -> slice:
    """The levels of changes from the top down to the lowest that holds any, and one more."""
    lowest = int(np.argmax(counts[1:] > 0)) + 1
    return slice(LEVELS - 1, max(lowest - 2, 0), -1)


def _places(counts: Counts, size: int) -> Reals:
    """How many levels, from the largest down, hold what each density keeps; fractions are shares of a level."""
    held = np.concatenate([[0], np.cumsum(counts[:0:-1])])
    full = int(np.searchsorted(held, held[-1]))  # levels that hold all of it
    places: Reals = np.interp(DENSITIES * size, held[: full + 1], np.arange(full + 1))
    return places


def _between(sums: Reals, rows: Reals, columns: Reals) -> Reals:
    """Values of ``sums``, shape (kinds, rows, columns), between its entries: bilinear, shape (kinds, places)."""
    low = np.minimum(rows.astype(int), sums.shape[1] - 2)
    left = np.minimum(columns.astype(int), sums.shape[2] - 2)
    down, right = rows - low, columns - left
    above = sums[:, low, left] * (1 - right) + sums[:, low, left + 1] * right
    below = sums[:, low + 1, left] * (1 - right) + sums[:, low + 1, left + 1] * right
    between: Reals = above * (1 - down) + below * down
    return between


def _middles(factor: float) -> Reals:
    ends = edges() / factor
    return np.append(0.0, (ends[:-1] + ends[1:]) / 2)


@lru_cache(maxsize=64)
def _least(one: float, other: float) -> Reals:
    """The expected smaller magnitude of a pair of levels: two of one level lie a third of it above where it begins."""
    rows, columns = _middles(one)[:, None], _middles(other)[None, :]
    widths = np.diff(edges(), prepend=0.0)[:, None] / one
    return np.where(rows == columns, rows - widths / 6, np.minimum(rows, columns))
