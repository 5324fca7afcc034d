"""The k largest magnitudes of a tensor, exactly, in O(n).

Without its sign bit an IEEE float orders as its bit pattern does, read as an integer. So the k-th largest
magnitude is found digit by digit, as in a radix sort that follows one bin only: count the upper 16 bits of
all values (one pass), walk the counts down from the top to the bin that holds rank k, and count the next 16
bits of the values in that bin. Two digits settle float32, four float64. This is radix selection from the most
significant digit (Knuth, The Art of Computer Programming vol. 3, 5.2.5, for the sort). On the CPU, tensors of up to
some million values are left to ``numpy.partition`` of the same integers, which is quicker there and as exact.

The first count does not depend on k: ``magnitude_counts`` is separate, so that a caller who turns a density
may keep it, and then reads each value once to find the next rank.

Order: by magnitude, then by position (lowest index first), so that exactly k are chosen, ties or not. -0.0
equals 0.0, denormals count at their value, infinity is larger than every number, and NaN larger than
infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mergelab.errors import MethodError, Problem
from mergelab.methods.tensors import Array

_DIGIT = 16
_BINS = 1 << _DIGIT
_BLOCK = 1 << 18  # elements taken at a time: scratch of 1 or 2 MiB stays in the cache
FEW = 1 << 22
"""Up to so many elements ``numpy.partition`` is quicker than counting, and counts are not worth keeping."""

Mask = Bool[Tensor, "*shape"]
Patterns = Int[Tensor, " n"]
Bins = Int[Tensor, " bins"]


@dataclass(frozen=True, eq=False)
class Counts:
    """How many magnitudes of a tensor share each pattern of the 15 bits below the sign.

    Attributes:
        digits: the patterns that occur, ascending, int16: some 3000 for the usual tensor.
        sizes: how often each occurs, int32.
    """

    digits: Bins
    sizes: Bins

    @property
    def bytes(self) -> int:
        """What it takes to keep them."""
        return self.digits.nbytes + self.sizes.nbytes


def kept(density: float, size: int) -> int:
    """How many of ``size`` elements a density keeps, as mergekit: max(1, int(density * size)); none at 0."""
    if density <= 0 or size == 0:
        return 0
    return size if density >= 1 else max(1, int(density * size))


def magnitude_counts(values: Array) -> Counts:
    """The counts from which every selection starts.

    float64 is read as it is, every other floating dtype as float32 of the same values.
    """
    return _counts(_patterns(values))


def largest(values: Array, k: int, counts: Counts | None = None) -> Mask:
    """A mask of exactly the k largest magnitudes, 0 <= k <= n; among equals the lowest index first.

    Args:
        values: any floating tensor.
        k: how many.
        counts: what ``magnitude_counts(values)`` gave, if it is at hand: saves one of two passes.

    Returns:
        bool, the shape of ``values``.

    Raises:
        MethodError: k is outside 0 to n.
    """
    if not 0 <= k <= values.numel():
        raise MethodError(Problem("selection", f"cannot choose {k} of {values.numel()} elements."))
    if k in (0, values.numel()):
        return torch.full(values.shape, k > 0, dtype=torch.bool, device=values.device)
    patterns = _patterns(values)
    if len(patterns) <= FEW and patterns.device.type == "cpu":
        return _largest_of_few(patterns, k).view(values.shape)
    found = _threshold(patterns, k, counts)
    missing = k - found.above
    mask = torch.empty(len(patterns), dtype=torch.bool, device=values.device)
    for part, place in zip(patterns.split(_BLOCK), mask.split(_BLOCK), strict=True):
        sizes = _sizes(part)
        if found.equal == missing:  # the usual case: no tie is left out
            torch.ge(sizes, found.pattern, out=place)
        else:
            torch.gt(sizes, found.pattern, out=place)
            missing -= _add_ties(place, sizes == found.pattern, missing)
    return mask.view(values.shape)


def ranked(values: Array, start: int, stop: int, counts: Counts | None = None) -> Mask:
    """A mask of the magnitudes of rank ``start`` (from 0, the largest) up to ``stop``, excluded.

    Arguments and errors as for ``largest``, of which it is the difference of two.
    """
    mask = largest(values, stop, counts)
    return mask.logical_xor_(largest(values, start, counts)) if start else mask


def kth_magnitude(values: Array, k: int) -> float:
    """The k-th largest magnitude, 1 <= k <= n, exactly.

    Raises:
        MethodError: k is outside 1 to n.
    """
    dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
    return kth_of_many(lambda: (values,), k, dtype)


def kth_of_many(tensors: Callable[[], Iterable[Tensor]], k: int, dtype: torch.dtype = torch.float32) -> float:
    """The k-th largest magnitude of many tensors taken together, 1 <= k <= n of all, exactly.

    Holds one tensor at a time, and counts besides: ``tensors`` is called once for each digit, twice for float32
    and four times for float64, and gives the same values each time, in any order.

    Args:
        tensors: gives the tensors.
        k: the rank, 1 for the largest.
        dtype: that the values are read in: float32 or float64.

    Raises:
        MethodError: k is outside 1 to n.
    """
    width = torch.finfo(dtype).bits
    pattern, rank = 0, k
    for shift in range(width - _DIGIT, -1, -_DIGIT):
        counts = torch.zeros(_BINS, dtype=torch.int64)
        for tensor in tensors():
            for values in tensor.reshape(-1).split(_BLOCK):
                counts += _digit_counts(_patterns(values.to(dtype)), shift, pattern).cpu()
        if not 1 <= rank <= int(counts.sum()):
            what = f"there is no magnitude of rank {k} among {int(counts.sum())} elements."
            raise MethodError(Problem("selection", what))
        digit, above, _ = _walk(counts, rank)
        pattern, rank = (pattern << _DIGIT) | digit, rank - above
    bits = torch.tensor([pattern], dtype=torch.int64 if width == 64 else torch.int32)
    return bits.view(dtype).item()


def cutoff(
    tensors: Callable[[], Iterable[Tensor]], density: float, size: int, dtype: torch.dtype = torch.float32
) -> float:
    """The magnitude from which a density keeps elements, over many tensors of ``size`` elements in all.

    0 where it keeps all of them, infinity where none. Other arguments as for ``kth_of_many``; elements as large as
    the last one kept are kept too, so that ties can make it more than ``kept(density, size)``.
    """
    count = kept(density, size)
    if count in (0, size):
        return 0.0 if count else math.inf
    return kth_of_many(tensors, count, dtype)


# Bit patterns ----------------------------------------------------------------------------------------------


def _patterns(values: Tensor) -> Patterns:
    """The bits of floats, flat, sign included."""
    wide = values if values.dtype in (torch.float32, torch.float64) else values.float()
    return wide.reshape(-1).view(torch.int64 if wide.dtype == torch.float64 else torch.int32)


def _width(patterns: Patterns) -> int:
    return 8 * patterns.itemsize


def _sizes(patterns: Patterns) -> Patterns:
    """Without the sign: integers that order as the magnitudes do."""
    return patterns & ((1 << (_width(patterns) - 1)) - 1)


def _digit_counts(patterns: Patterns, shift: int, upper: int = 0) -> Tensor:
    """How often each digit stands at ``shift`` in those sizes whose bits above it are ``upper``: int64."""
    top = shift + _DIGIT == _width(patterns)  # nothing above
    counts = torch.zeros(_BINS if top else _BINS + 2, dtype=torch.int64, device=patterns.device)
    for block in patterns.split(_BLOCK):
        digits = _sizes(block).bitwise_right_shift_(shift)
        if not top:  # the others go into a bin below and one above: as quick for many as for few
            digits.sub_(upper << _DIGIT).clamp_(-1, _BINS).add_(1)
        counts += torch.bincount(digits, minlength=len(counts))
    return counts if top else counts[1:-1]


def _counts(patterns: Patterns) -> Counts:
    counts = _digit_counts(patterns, _width(patterns) - _DIGIT)
    digits = counts.nonzero().flatten()
    return Counts(digits.to(torch.int16), counts[digits].to(torch.int32))


def _walk(counts: Tensor, k: int) -> tuple[int, int, int]:
    """The bin that holds the k-th largest: (place of the bin, how many lie above it, how many lie in it)."""
    from_top = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_top, k))
    chosen = len(from_top) - 1 - place
    size = int(counts[chosen])
    return chosen, int(from_top[place]) - size, size


@dataclass(frozen=True)
class _Threshold:
    pattern: int
    above: int
    """How many magnitudes are larger."""
    equal: int
    """How many are equal."""


def _threshold(patterns: Patterns, k: int, counts: Counts | None) -> _Threshold:
    counts = _counts(patterns) if counts is None else counts
    place, above, equal = _walk(counts.sizes, k)
    pattern = int(counts.digits[place])
    for shift in range(_width(patterns) - 2 * _DIGIT, -1, -_DIGIT):
        digit, larger, equal = _walk(_digit_counts(patterns, shift, pattern), k - above)
        pattern, above = (pattern << _DIGIT) | digit, above + larger
    return _Threshold(pattern, above, equal)


def _largest_of_few(patterns: Patterns, k: int) -> Mask:
    bits = patterns.numpy()
    sizes = bits & np.iinfo(bits.dtype).max  # without the sign
    last = np.partition(sizes, len(sizes) - k)[len(sizes) - k]
    mask = sizes >= last
    excess = np.count_nonzero(mask) - k
    if excess:
        mask[np.flatnonzero(sizes == last)[-excess:]] = False
    return torch.from_numpy(mask)


def _add_ties(mask: Mask, ties: Mask, most: int) -> int:
    """Mark the first ``most`` of the ties; how many there were."""
    count = min(most, int(ties.sum()))
    mask |= ties if count < most else ties & (ties.cumsum(0) <= most)
    return count
