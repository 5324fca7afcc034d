"""Sums over whole tensors that do not depend on the number of threads.

torch divides one long sum among its threads, so that the last bits change from machine to machine. Here rows
of fixed length are summed, each by one thread, and the row sums are added in order. Terms are taken in
float64: the sum of squares of a float32 tensor neither overflows nor loses the small ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mergelab.methods.tensors import Array, PerVector, Vectors

ROW = 1 << 14
"""Elements: below the 32768 from which torch splits a single sum among threads."""
LANES = 1 << 10
"""Sums side by side in a row of magnitudes."""
_BLOCK = 1 << 18  # elements converted at a time: 2 MiB of float64, which stays in the cache


def dot(left: Array, right: Array) -> float:
    """Inner product of two tensors read as vectors: sum of left * right."""
    return _total(lambda a, b: a.double() * b, left, right)


def dots(left: Vectors, right: Vectors) -> PerVector:
    """Inner product of each row of ``left`` with that row of ``right``: float64, one for each row."""
    if len(left) == 1:
        return torch.tensor([dot(left, right)], dtype=torch.float64, device=left.device)
    found = torch.zeros(len(left), dtype=torch.float64, device=left.device)
    together = max(1, _BLOCK // min(left.shape[1], ROW))
    for place, *rows in zip(*(tensor.split(together) for tensor in (found, left, right)), strict=True):
        for ours, theirs in zip(*(tensor.split(ROW, dim=1) for tensor in rows), strict=True):
            place.add_((ours.double() * theirs).sum(dim=1))
    return found


def norm(values: Array) -> float:
    """Euclidean length of a tensor read as a vector."""
    return math.sqrt(dot(values, values))


def product_rows(left: Array, right: Array) -> tuple[list[float], list[float], list[float]]:
    """Of three inner products, the terms that flat pieces of two vectors give: of the first with itself, the second
    with itself, and of both. Their sums, in the order of the pieces, are what ``dot`` gives.

    The lengths of all pieces but the last are multiples of ``ROW``.
    """
    one, other = left.double(), right.double()
    return tuple(list(_rows(torch.mul, *pair)) for pair in ((one, one), (other, other), (one, other)))  # type: ignore[return-value]


def absolute_rows(piece: Array) -> list[float]:
    """Of a tensor's L1 norm, the terms that a flat piece gives: their sum, in the order of the pieces, is the norm.

    A row of ``ROW`` elements is read as lines of ``LANES``; the lines are added up in order, and what that gives is
    folded in halves, so that ``loops.absolute`` finds the same bits. The lengths of all pieces but the last are
    multiples of ``ROW``.
    """
    rows = (len(piece) + ROW - 1) // ROW
    padded = torch.zeros(rows * ROW, dtype=torch.float64, device=piece.device)
    torch.abs(piece.double(), out=padded[: len(piece)])
    first, *others = padded.view(rows, ROW // LANES, LANES).unbind(1)
    for line in others:
        first.add_(line)
    width = LANES
    while width > 1:
        width //= 2
        first[:, :width].add_(first[:, width : 2 * width])
    return first[:, 0].tolist()


def _total(terms: Callable[..., Tensor], *tensors: Tensor) -> float:
    return sum(_rows(terms, *tensors))


def _rows(terms: Callable[..., Tensor], *tensors: Tensor) -> Iterator[float]:
    blocks = (tensor.reshape(-1).split(_BLOCK) for tensor in tensors)
    for parts in zip(*blocks, strict=True):
        values = terms(*parts)
        whole = values.numel() // ROW * ROW
        yield from values[:whole].view(-1, ROW).sum(dim=1).tolist()
        yield values[whole:].sum().item()
