"""A matrix brought to another vocabulary: its rows gathered from the matrices of several models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch

from mergelab.recipes.step import ALL_ROWS, Rows

_BLOCK = 1 << 10  # rows that are converted to float64 at a time


def gather(rows: Rows, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """The aligned matrix.

    A row that is copied keeps its bits; a mean is made in float32 (float64 for float64 matrices), lender by lender, so
    that it depends neither on threads nor on the device.

    Args:
        rows: where each row comes from.
        matrices: of ``rows.lenders``, each ``[its rows, ...]`` with the same trailing dimensions, on one device.

    Returns:
        ``[rows.count, ...]``, in the smallest dtype that holds all matrices, and at least float32 where a row is a
        mean.
    """
    device = matrices[0].device
    counts, lender, row = (_indices(part).to(device) for part in (rows.counts, rows.lender, rows.row))
    place = torch.arange(len(counts), device=device).repeat_interleave(counts)
    whole = row == ALL_ROWS
    alone = (counts[place] == 1) & ~whole
    dtype = reduce(torch.promote_types, (matrix.dtype for matrix in matrices))
    if not bool(alone.all()):
        dtype = torch.promote_types(dtype, torch.float32)
    made = torch.zeros(len(counts), *matrices[0].shape[1:], dtype=dtype, device=device)
    for index, matrix in enumerate(matrices):
        mine = lender == index
        copied = mine & alone
        made[place[copied]] = matrix[row[copied]].to(dtype)
        added = mine & ~alone & ~whole  # a model gives a row at most one term: no place is added to twice
        made[place[added]] += matrix[row[added]].to(dtype)
        if bool((mine & whole).any()):
            made[place[mine & whole]] += _mean(matrix).to(dtype)
    several = counts > 1
    made[several] /= counts[several].to(dtype).view(-1, *[1] * (made.dim() - 1))
    return made


def _indices(data: bytes) -> torch.Tensor:
    return (
        torch.tensor([], dtype=torch.int64) if not data else torch.frombuffer(bytearray(data), dtype=torch.int32).long()
    )


def _mean(matrix: torch.Tensor) -> torch.Tensor:
    """The mean of all rows, in float64: block by block, since the whole matrix would not fit twice."""
    return sum(block.double().sum(0) for block in matrix.split(_BLOCK)) / len(matrix)
