"""The k largest magnitudes of a tensor, exactly, in O(n), told in two numbers.

Without its sign bit an IEEE float orders as its bit pattern does, read as an integer. Order: by magnitude, then by
position (lowest index first), so that exactly k are chosen, ties or not. -0.0 equals 0.0, denormals count at their
value, infinity is larger than every number, and NaN larger than infinity.

So the k largest are told by the k-th magnitude and the place up to which its equals belong to them: a ``Threshold``,
with which trimming is a matter of each element alone. To find it on the CPU, all magnitudes are counted where they are
few (``census``). Elsewhere a random sample says between which
magnitudes the k-th should lie; one pass over the tensor counts what lies above and collects the few per cent between,
and among these it is chosen: the idea of Floyd and Rivest ("Expected time bounds for selection", CACM 1975). Where the
sample has led astray, the counts say on which side to look again: the result never depends on it.

On other devices, and over many tensors, it is found digit by digit, as in a radix sort that follows one bin only: count
the upper 16 bits of all values (one pass), walk the counts down from the top to the bin that holds rank k, and count
the next 16 bits of the values in that bin. Two digits settle float32, four float64 (Knuth, The Art of Computer
Programming vol. 3, 5.2.5, for the sort).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mergelab.errors import MethodError, Problem
from mergelab.methods import census
from mergelab.methods.census import Chosen
from mergelab.methods.pieces import Pieces
from mergelab.methods.tensors import Array
from mergelab.methods.vectors import Sizes, TaskVectors

_DIGIT = 16
_BINS = 1 << _DIGIT
_BLOCK = 1 << 18  # elements counted at a time: scratch of 1 or 2 MiB stays in the cache
_SAMPLE = 1 << 14  # elements at most: the rank of one of them among all is known to 0.4 %
_SAMPLED = 1 << 8  # one element of so many
_SURE = 4  # standard deviations: one tensor in 16000 is gone through twice
FEW = 1 << 16
"""Up to so many elements there is no sample: all of them are collected."""

Mask = Bool[Tensor, "*shape"]
Patterns = Int[Tensor, " n"]


@dataclass(frozen=True)
class Threshold:
    """Which elements of a tensor are its k largest.

    Attributes:
        magnitude: the k-th largest magnitude.
        until: those equal to it are among them before this place of the flat tensor, and not from there on.
    """

    magnitude: float
    until: int

    def keep(self, piece: Array, at: int) -> None:
        """Zero all others in a flat piece that begins at place ``at``. Infinities among these become NaN."""
        cut = min(max(self.until - at, 0), len(piece))
        with_equals, without = piece[:cut], piece[cut:]
        if math.isfinite(self.magnitude):
            kind = np.float64 if piece.dtype == torch.float64 else np.float32
            _shrink(with_equals, float(np.nextafter(kind(self.magnitude), kind(-math.inf))))
            _shrink(without, self.magnitude)
        else:
            with_equals.mul_(with_equals.abs() >= self.magnitude)
            without.mul_(without.abs() > self.magnitude)


def kept(density: float, size: int) -> int:
    """How many of ``size`` elements a density keeps, as mergekit: max(1, int(density * size)); none at 0."""
    if density <= 0 or size == 0:
        return 0
    return size if density >= 1 else max(1, int(density * size))


def _shrink(piece: Array, limit: float) -> None:
    """Zero what is no larger than ``limit``; NaN stays. Ten times as quick as a mask."""
    if len(piece):
        torch.hardshrink(piece, limit, out=piece)


def thresholds(vectors: TaskVectors, wanted: Sequence[tuple[int, int]]) -> list[Threshold]:
    """For each (place of a task vector, k) which elements are its k largest magnitudes, 1 <= k <= n.

    No pass where there is a census; else one over all task vectors together, and one more where a sample was wrong.
    """
    if vectors.pieces.whole:
        wholes = vectors.whole()
        return [_by_digits(wholes[place], k) for place, k in wanted]
    counts = census.taken(vectors, list(dict.fromkeys(place for place, _ in wanted)))
    found = {
        number: _threshold(vectors, place, counts[place].kth(k), counts[place].starts)
        for number, (place, k) in enumerate(wanted)
        if place in counts
    }
    uncounted = [number for number in range(len(wanted)) if number not in found]
    bounds = dict(zip(uncounted, _estimates(vectors, [wanted[number] for number in uncounted]), strict=True))
    while len(found) < len(wanted):
        open_ones = [number for number in range(len(wanted)) if number not in found]
        asked = [(wanted[number][0], bounds[number]) for number in open_ones]
        found_there, starts = _count_pieces(vectors, asked)
        tasks = [
            (parts, bounds[number], wanted[number][1]) for number, parts in zip(open_ones, found_there, strict=True)
        ]
        outcomes = vectors.pieces.share(tasks, lambda task: _choose(*task))
        for number, outcome in zip(open_ones, outcomes, strict=True):
            place, _ = wanted[number]
            if isinstance(outcome, _Bounds):
                bounds[number] = outcome
            else:
                found[number] = _threshold(vectors, place, outcome, starts)
    return [found[number] for number in range(len(wanted))]


def largest(values: Array, k: int) -> Mask:
    """A mask of exactly the k largest magnitudes, 0 <= k <= n; among equals the lowest index first.

    Args:
        values: any floating tensor. float64 is read as it is, every other dtype as float32 of the same values.
        k: how many.

    Returns:
        bool, the shape of ``values``.

    Raises:
        MethodError: k is outside 0 to n.
    """
    if not 0 <= k <= values.numel():
        raise MethodError(Problem("selection", f"cannot choose {k} of {values.numel()} elements."))
    if k in (0, values.numel()):
        return torch.full(values.shape, k > 0, dtype=torch.bool, device=values.device)
    found = _of_one(values, k)
    sizes = _sizes(_patterns(values))
    pattern = int(_sizes(_patterns(torch.tensor([found.magnitude], dtype=_wide(values.dtype)))))
    mask = sizes > pattern
    mask[: found.until] |= sizes[: found.until] == pattern
    return mask.view(values.shape)


def kth_magnitude(values: Array, k: int) -> float:
    """The k-th largest magnitude, 1 <= k <= n, exactly.

    Raises:
        MethodError: k is outside 1 to n.
    """
    if not 1 <= k <= values.numel():
        raise MethodError(_no_such_rank(k, values.numel()))
    return _of_one(values, k).magnitude


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
            raise MethodError(_no_such_rank(k, int(counts.sum())))
        digit, above = _walk(counts, rank)
        pattern, rank = (pattern << _DIGIT) | digit, rank - above
    return _value(pattern, dtype)


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


# One pass -------------------------------------------------------------------------------------------------


class _Bounds(NamedTuple):
    """Magnitudes, as patterns, between which a k-th should lie, both included."""

    low: int
    high: int


class Counted(NamedTuple):
    """What a piece holds of two magnitudes, given as patterns, and above."""

    above: int
    at_high: int
    at_low: int
    """0 where the two bounds are the same."""
    between: Sizes
    """The magnitudes between the bounds, both excluded: however often one magnitude occurs, few are collected."""


def _top(dtype: torch.dtype) -> int:
    return int(np.iinfo(np.int64 if dtype == torch.float64 else np.int32).max)


def _estimates(vectors: TaskVectors, wanted: Sequence[tuple[int, int]]) -> list[_Bounds]:
    count = min(_SAMPLE, vectors.size // _SAMPLED) if vectors.size > FEW else 0
    ordered = dict(zip(*_samples(vectors, count, list(dict.fromkeys(place for place, _ in wanted))), strict=True))
    return [_around(ordered[place].numpy(), k / vectors.size, _top(vectors.dtype)) for place, k in wanted]


def _samples(vectors: TaskVectors, count: int, places: Sequence[int]) -> tuple[Sequence[int], Sequence[Tensor]]:
    """For each of ``places``, magnitudes of as many elements, in ascending order."""

    def draw(missing: Sequence[tuple[int, Hashable]]) -> list[Tensor]:
        at = torch.randint(vectors.size, (count,), generator=torch.Generator().manual_seed(0))
        if vectors.scan is None:
            drawn = vectors.pick(at)
            picked = [magnitudes(drawn[place]) for place, _ in missing]
        else:
            picked = [vectors.scan.pick(place, at.numpy()) for place, _ in missing]
        return [torch.from_numpy(np.sort(one)) for one in picked]

    return places, vectors.answers([(place, ("sample", count)) for place in places], draw)


def _around(ordered: Sizes, share: float, top: int) -> _Bounds:
    """Bounds of the magnitude that so large a share reaches, by an ascending sample of all magnitudes."""
    count = len(ordered)
    slack = 1 + _SURE * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * (1 - share) - slack), math.ceil(count * (1 - share) + slack)
    return _Bounds(int(ordered[low]) if low >= 0 else 0, int(ordered[high]) if high < count else top)


def _count_pieces(vectors: TaskVectors, asked: Sequence[tuple[int, _Bounds]]) -> tuple[list[list[Counted]], list[int]]:
    """For each (place of a task vector, bounds), what its pieces hold; and where they begin, and the last ends."""

    def count(at: slice) -> tuple[int, list[Counted]]:
        if vectors.scan is not None:
            return at.start, [Counted(*vectors.scan.tally(place, *bounds, at)) for place, bounds in asked]
        deltas = vectors.read(at)
        return at.start, [counted(magnitudes(deltas[place]), *bounds) for place, bounds in asked]

    starts, parts = zip(*vectors.pieces.map(vectors.size, count), strict=True)
    return [list(part) for part in zip(*parts, strict=True)], [*starts, vectors.size]


def counted(sizes: Sizes, low: int, high: int) -> Counted:
    """What there is among ``sizes`` of the magnitudes from ``low`` on, both ends given as patterns."""
    inside = sizes.compress((sizes >= low) & (sizes <= high))
    return Counted(
        above=_count_of(sizes > high),
        at_high=_count_of(inside == high),
        at_low=_count_of(inside == low) if low < high else 0,
        between=inside.compress((inside > low) & (inside < high)),
    )


def _count_of(mask: Sizes) -> int:
    return int(np.count_nonzero(mask))


def _choose(parts: Sequence[Counted], bounds: _Bounds, k: int) -> Chosen | _Bounds:
    """The k-th magnitude, or other bounds where it does not lie between these."""
    at_high, at_low = (np.array([part[field] for part in parts]) for field in (1, 2))
    between = np.concatenate([part.between for part in parts])
    rank = k - sum(part.above for part in parts)
    if rank < 1:
        return _Bounds(bounds.high, int(np.iinfo(between.dtype).max))
    if rank <= at_high.sum():
        return Chosen(bounds.high, rank, at_high)
    rank -= int(at_high.sum())
    if rank <= len(between):
        pattern = int(np.partition(between, len(between) - rank)[len(between) - rank])
        ends = np.cumsum([0, *(len(part.between) for part in parts)])
        equals = np.diff(np.searchsorted(np.flatnonzero(between == pattern), ends))
        return Chosen(pattern, rank - _count_of(between > pattern), equals)
    rank -= len(between)
    return Chosen(bounds.low, rank, at_low) if rank <= at_low.sum() else _Bounds(0, bounds.low)


def _threshold(vectors: TaskVectors, place: int, chosen: Chosen, starts: Sequence[int]) -> Threshold:
    until = vectors.size
    up_to = np.cumsum(chosen.equals)
    if chosen.missing < up_to[-1]:
        piece = int(np.searchsorted(up_to, chosen.missing))
        at = slice(starts[piece], starts[piece + 1])
        rank = chosen.missing - int(up_to[piece] - chosen.equals[piece])
        until = 1 + _nth(vectors, place, chosen.pattern, rank, at)
    return Threshold(_value(chosen.pattern, vectors.dtype), until)


def _nth(vectors: TaskVectors, place: int, pattern: int, rank: int, at: slice) -> int:
    """Where in a piece the ``rank``-th element of this magnitude stands."""
    if vectors.scan is not None:
        return vectors.scan.nth(place, pattern, rank, at)
    sizes = magnitudes(vectors.read(at)[place])
    return at.start + int(np.flatnonzero(sizes == pattern)[rank - 1])


def magnitudes(values: Tensor) -> Sizes:
    """Of float32 or float64 on the CPU, as patterns: int32 or int64, flat."""
    patterns = _patterns(values).numpy()
    return patterns & np.iinfo(patterns.dtype).max


# Digit by digit -------------------------------------------------------------------------------------------


def _of_one(values: Array, k: int) -> Threshold:
    wide = values.to(_wide(values.dtype))
    with Pieces(values.device) as pieces:
        (found,) = thresholds(TaskVectors.held([wide], pieces), [(0, k)])
    return found


def _no_such_rank(k: int, size: int) -> Problem:
    return Problem("selection", f"there is no magnitude of rank {k} among {size} elements.")


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _value(pattern: int, dtype: torch.dtype) -> float:
    return torch.tensor([pattern], dtype=torch.int64 if dtype == torch.float64 else torch.int32).view(dtype).item()


def _patterns(values: Tensor) -> Patterns:
    """The bits of floats, flat, sign included."""
    wide = values.to(_wide(values.dtype))
    return wide.reshape(-1).view(torch.int64 if wide.dtype == torch.float64 else torch.int32)


def _width(patterns: Patterns) -> int:
    return 8 * patterns.itemsize


def _sizes(patterns: Patterns) -> Patterns:
    """Without the sign."""
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


def _walk(counts: Tensor, k: int) -> tuple[int, int]:
    """The bin that holds the k-th largest, and how many lie above it."""
    from_top = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_top, k))
    chosen = len(from_top) - 1 - place
    return chosen, int(from_top[place]) - int(counts[chosen])


def _by_digits(values: Array, k: int) -> Threshold:
    patterns = _patterns(values)
    pattern, missing = 0, k
    for shift in range(_width(patterns) - _DIGIT, -1, -_DIGIT):
        digit, larger = _walk(_digit_counts(patterns, shift, pattern), missing)
        pattern, missing = (pattern << _DIGIT) | digit, missing - larger
    equals = (_sizes(patterns) == pattern).nonzero().flatten()
    return Threshold(_value(pattern, values.dtype), int(equals[missing - 1]) + 1)
