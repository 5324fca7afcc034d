"""What is counted of weights that lie in a row: sums of products, the largest changes, cells of joint counts.

Compiled loops (``counting``) do it as fast as memory allows; where numba is missing, and for float64, torch does the
same piece by piece. Both give the same bits, because the order of sums is laid down: a run of 1024 weights is folded
to 16 lanes in float32, (first + second) + (third + fourth) of its quarters, then of theirs, then of theirs; from run to
run the lanes are added up in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from mergelab.inspection.magnitudes import CELLS, Coder, Counts, Reals

RUN = 1024
"""Weights of a run."""
LANES = 16
"""Sums of a run that are left to be added up in float64."""
KINDS = {torch.bfloat16: 0, torch.float16: 1, torch.float32: 2}
"""Dtypes that the loops read."""

_PIECE = 1 << 16  # weights that torch works on at a time: they stay in the cache
_COUNTED = 32 * _PIECE  # at a time: a count costs as much again as CELLS weights

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Tally:
    """Of some weights of a base and of sources, and of pairs of these.

    Attributes:
        base: sum of the squares of the base's weights.
        energy: float64, shape (sources,): sums of the squares of the changes.
        dots: float64, shape (pairs,): sums of the products of two changes.
        squares: float64, shape (pairs,): sums of the squares of these products.
        largest: float64, shape (sources,): the largest magnitude of a change; NaN where a change is none.
    """

    base: float
    energy: Reals
    dots: Reals
    squares: Reals
    largest: Reals


def tally(flat: Sequence[Tensor], scales: Sequence[float], pairs: Pairs) -> tuple[Tally, Counts]:
    """Count weights.

    Args:
        flat: the base's and the sources' weights, floats of one length, contiguous.
        scales: for each source a power of two that takes its changes under 2, see ``magnitudes.scale``. A change that
            is larger still is counted as of the highest level.
        pairs: places of sources among them, as in (0, 1).

    Returns:
        The sums, and joint counts: int64, shape (pairs, CELLS), see ``Coder.pair``.
    """
    compiled = all(tensor.dtype in KINDS for tensor in flat) and available()
    factors = np.array(scales)
    with np.errstate(invalid="ignore"):  # weights that are not finite
        lanes, largest, cells = (by_loops if compiled else by_torch)(flat, scales, pairs)
        sums = lanes.sum(axis=1)
    squares, (dots, fourths) = sums[1 : 1 + len(scales)], sums[1 + len(scales) :].reshape(2, -1)
    both = np.array([scales[one] * scales[other] for one, other in pairs])
    found = Tally(float(sums[0]), squares / factors**2, dots / both, fourths / both**2, largest / factors)
    return found, cells


@cache
def available() -> bool:
    """Whether the loops can be compiled, and give what torch gives: tried out once, which takes some seconds."""
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(3 * RUN + 7, generator=draw)
    flat = [base, *((base + 0.1 * torch.randn(len(base), generator=draw)).to(dtype) for dtype in KINDS)]
    work = flat, (1.0, 2.0, 1.0), ((0, 1), (1, 2))
    try:
        found = by_loops(*work)
    except Exception:  # noqa: BLE001 - numba absent, or too old for this numpy: whatever it is, torch does the work
        return False
    return all(np.array_equal(one, other) for one, other in zip(found, by_torch(*work), strict=True))


def by_loops(flat: Sequence[Tensor], scales: Sequence[float], pairs: Pairs) -> tuple[Reals, Reals, Counts]:
    """Lanes, the largest scaled changes and cells, by compiled loops; no tensor is float64."""
    from mergelab.inspection import counting

    lanes, largest, cells = _nothing(len(scales), len(pairs))
    tops = np.zeros(len(scales), np.uint32)
    counting.count(
        np.array([tensor.data_ptr() for tensor in flat]),
        np.array([KINDS[tensor.dtype] for tensor in flat]),
        len(flat[0]),
        np.array(scales, np.float32),
        np.array(pairs, np.int64),
        lanes,
        tops,
        cells,
    )
    largest[:] = tops.view(np.float32)
    return lanes, largest, cells


def by_torch(flat: Sequence[Tensor], scales: Sequence[float], pairs: Pairs) -> tuple[Reals, Reals, Counts]:
    """The same by torch, and of any dtype."""
    size, sources = len(flat[0]), len(scales)
    length = min(-size // RUN * -RUN, _PIECE)  # whole runs: what is beyond the end is 0
    lanes, largest, cells = _nothing(sources, len(pairs))
    held, products = torch.empty(len(flat), length), torch.empty(len(lanes), length)
    by_row = torch.tensor(scales)[:, None]
    coder = Coder(sources, length)
    uncounted, waiting = np.empty((len(pairs), min(size, _COUNTED)), np.int16), 0
    for at in range(0, size, length):
        count = min(length, size - at)
        rows = held[:, :count]
        _changes(rows, [tensor[at : at + count] for tensor in flat])
        rows[1:].mul_(by_row)
        held[:, count:] = 0
        _products(held, pairs, products)
        lanes = _add_up(lanes, products)
        coder.read(rows[1:].numpy())
        np.maximum(largest, rows[1:].abs_().amax(1).numpy(), out=largest)
        end = waiting + count
        for joint, (one, other) in zip(uncounted, pairs, strict=True):
            coder.pair(one, other, joint[waiting:end])
        waiting = end % uncounted.shape[1]
        if not waiting or at + length >= size:
            counted = [torch.bincount(torch.from_numpy(joint[:end]), minlength=CELLS) for joint in uncounted]
            cells += torch.stack(counted).numpy()
    return lanes, largest, cells


def _nothing(sources: int, pairs: int) -> tuple[Reals, Reals, Counts]:
    return np.zeros((1 + sources + 2 * pairs, LANES)), np.zeros(sources), np.zeros((pairs, CELLS), np.int64)


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


def _products(rows: Tensor, pairs: Pairs, into: Tensor) -> None:
    """Squares of the base and the changes, products of pairs, squares of these."""
    torch.mul(rows, rows, out=into[: len(rows)])
    found = into[len(rows) :].view(2, len(pairs), -1)
    for place, (one, other) in enumerate(pairs):
        torch.mul(rows[1 + one], rows[1 + other], out=found[0, place])
    torch.mul(found[0], found[0], out=found[1])


def _add_up(lanes: Reals, products: Tensor) -> Reals:
    """Lanes with those of more runs, which lie along the rows of ``products``."""
    folded = products.view(len(products), -1, RUN)
    while folded.shape[2] > LANES:
        first, second, third, fourth = folded.chunk(4, dim=2)
        folded = (first + second) + (third + fourth)
    steps = np.concatenate([lanes[:, None], folded.to(torch.float64).numpy()], axis=1)
    return np.add.accumulate(steps, axis=1)[:, -1].copy()
