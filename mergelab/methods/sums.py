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

_ROW = 1 << 14  # below the 32768 elements from which torch splits a single sum among threads
_BLOCK = 1 << 18  # elements converted at a time: 2 MiB of float64, which stays in the cache


def dot(left: Array, right: Array) -> float:
    """Inner product of two tensors read as vectors: sum of left * right."""
    return _total(lambda a, b: a.double() * b, left, right)


def dots(left: Vectors, right: Vectors) -> PerVector:
    """Inner product of each row of ``left`` with that row of ``right``: float64, one for each row."""
    if len(left) == 1:
        return torch.tensor([dot(left, right)], dtype=torch.float64, device=left.device)
    found = torch.zeros(len(left), dtype=torch.float64, device=left.device)
    together = max(1, _BLOCK // min(left.shape[1], _ROW))
    for place, *rows in zip(*(tensor.split(together) for tensor in (found, left, right)), strict=True):
        for ours, theirs in zip(*(tensor.split(_ROW, dim=1) for tensor in rows), strict=True):
            place.add_((ours.double() * theirs).sum(dim=1))
    return found


def norm(values: Array) -> float:
    """Euclidean length of a tensor read as a vector."""
    return math.sqrt(dot(values, values))


def absolute_rows(piece: Array) -> list[float]:
    """Of a tensor's L1 norm, the terms that a flat piece gives: their sum, in the order of the pieces, is the norm.

    The lengths of all pieces but the last are multiples of 2^14.
    """
    return list(_rows(lambda a: a.double().abs(), piece))


def _total(terms: Callable[..., Tensor], *tensors: Tensor) -> float:
    return sum(_rows(terms, *tensors))


def _rows(terms: Callable[..., Tensor], *tensors: Tensor) -> Iterator[float]:
    blocks = (tensor.reshape(-1).split(_BLOCK) for tensor in tensors)
    for parts in zip(*blocks, strict=True):
        values = terms(*parts)
        whole = values.numel() // _ROW * _ROW
        yield from values[:whole].view(-1, _ROW).sum(dim=1).tolist()
        yield values[whole:].sum().item()
