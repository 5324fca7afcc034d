"""The k largest magnitudes of a tensor, exactly, in O(n).

Without its sign bit an IEEE float orders as its bit pattern does, read as an integer. So the k-th largest
magnitude is found digit by digit, as in a radix sort that follows one bin only: count the upper 16 bits of
all values (one pass), walk the counts down from the top to the bin that holds rank k, and count the next 16
bits of the values in that bin. Two digits settle float32, four float64. This is radix selection from the most
significant digit (Knuth, The Art of Computer Programming vol. 3, 5.2.5, for the sort).

The first count does not depend on k: ``magnitude_counts`` is separate, so that a caller who turns a density
may keep it.

Order: by magnitude, then by position (lowest index first), so that exactly k are chosen, ties or not. -0.0
equals 0.0, denormals count at their value, infinity is larger than every number, and NaN larger than
infinity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from mergelab.errors import MethodError, Problem
from mergelab.methods.tensors import Array

_DIGIT = 16
_BLOCK = 1 << 18  # elements taken at a time: scratch of 1 or 2 MiB stays in the cache

Counts = Int64[Tensor, "bins=32768"]
Mask = Bool[Tensor, "*shape"]


def kept(density: float, size: int) -> int:
    """How many of ``size`` elements a density keeps, as mergekit: max(1, int(density * size)); none at 0."""
    if density <= 0 or size == 0:
        return 0
    return size if density >= 1 else max(1, int(density * size))


def magnitude_counts(values: Array) -> Counts:
    """How many magnitudes share each pattern of the 15 bits below the sign, in ascending order.

    float64 is read as it is, every other floating dtype as float32 of the same values.

    Returns:
        int64, 32768 bins.
    """
    return _top_counts(_Bits(values))


def kth_magnitude(values: Array, k: int, counts: Counts | None = None) -> float:
    """The k-th largest magnitude, 1 <= k <= n, exactly.

    Args:
        values, k, counts: as for ``largest``.

    Raises:
        MethodError: k is outside 1 to n.
    """
    if not 1 <= k <= values.numel():
        raise MethodError(Problem("selection", f"there is no magnitude of rank {k} among {values.numel()} elements."))
    bits = _Bits(values)
    pattern = torch.tensor([_threshold(bits, k, counts).pattern], dtype=bits.flat.dtype)
    return pattern.view(torch.float32 if bits.width == 32 else torch.float64).item()


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
    bits = _Bits(values)
    found = _threshold(bits, k, counts)
    every_tie = found.above + found.equal == k  # the usual case: one comparison does
    compare, wanted = (torch.ge, 0) if every_tie else (torch.gt, k - found.above)
    mask = torch.empty(values.numel(), dtype=torch.bool, device=values.device)
    for part, place in zip(bits.shifted(0), mask.split(_BLOCK), strict=True):
        compare(part, found.pattern, out=place)
        if wanted:
            ties = (part == found.pattern).nonzero().flatten()[:wanted]
            place[ties] = True
            wanted -= ties.numel()
    return mask.view(values.shape)


class _Bits:
    """A tensor's magnitudes as integers that order alike, made a block at a time."""

    def __init__(self, values: Tensor) -> None:
        wide = values if values.dtype in (torch.float32, torch.float64) else values.float()
        self.width = 64 if wide.dtype == torch.float64 else 32
        self.flat = wide.reshape(-1).view(torch.int64 if self.width == 64 else torch.int32)
        self._mask = (1 << (self.width - 1)) - 1

    def shifted(self, shift: int) -> Iterator[Tensor]:
        for block in self.flat.split(_BLOCK):
            part = block & self._mask
            yield part.bitwise_right_shift_(shift) if shift else part


@dataclass(frozen=True)
class _Threshold:
    pattern: int
    above: int
    """How many magnitudes are larger."""
    equal: int
    """How many are equal."""


def _threshold(bits: _Bits, k: int, counts: Tensor | None) -> _Threshold:
    shift = bits.width - _DIGIT
    pattern, above, equal = _walk(_top_counts(bits) if counts is None else counts, k)
    candidates = torch.cat([part[(part >> shift) == pattern] for part in bits.shifted(0)])
    while shift:
        shift -= _DIGIT
        digits = (candidates >> shift) & ((1 << _DIGIT) - 1)
        digit, larger, equal = _walk(torch.bincount(digits, minlength=1 << _DIGIT), k - above)
        pattern, above = (pattern << _DIGIT) | digit, above + larger
        candidates = candidates[digits == digit] if shift else candidates
    return _Threshold(pattern, above, equal)


def _top_counts(bits: _Bits) -> Tensor:
    counts = torch.zeros(1 << (_DIGIT - 1), dtype=torch.int64, device=bits.flat.device)
    for part in bits.shifted(bits.width - _DIGIT):
        counts += torch.bincount(part, minlength=len(counts))
    return counts


def _walk(counts: Tensor, k: int) -> tuple[int, int, int]:
    """The bin that holds the k-th largest: (bin, how many lie above it, how many lie in it)."""
    from_top = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_top, k))
    chosen = len(counts) - 1 - place
    return chosen, int(from_top[place] - counts[chosen]), int(counts[chosen])
