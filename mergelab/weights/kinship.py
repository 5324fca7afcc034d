"""Do two models descend from one? A few thousand of their weights tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mergelab.weights.checkpoint import Checkpoint
from mergelab.weights.header import FLOATS

SIDE = 64
FEWEST = 1024
WIDTHS = 4.0


@dataclass(frozen=True)
class Kinship:
    """How alike the weights of two models are.

    Attributes:
        tensors: names of the two matrices that were compared, the first model's first.
        correlation: Pearson's, of the values at the same places; -1 to 1. Fine-tuning leaves it near 1.
        count: number of values compared.
    """

    tensors: tuple[str, str]
    correlation: float
    count: int

    @property
    def band(self) -> float:
        """Standard deviation of the correlation where the two have nothing to do with each other: 1 / sqrt(n)."""
        return 1 / math.sqrt(self.count)

    @property
    def related(self) -> bool:
        """Whether the correlation is further from 0 than four such deviations."""
        return abs(self.correlation) > WIDTHS * self.band


def kinship(one: Checkpoint, other: Checkpoint) -> Kinship | None:
    """Compare a block of 64 x 64 values of a matrix in the middle layer of ``one`` with the same block of ``other``.

    The same layer is tried first. Where that shows no kinship, every other layer of ``other`` is: a model that was
    deepened has its layers elsewhere. The layer that correlates most is reported.

    Returns:
        None where nothing can be said: no matrix of the same shape, fewer than 1,024 values, or constant ones.

    Raises:
        SourceError: a weight file cannot be read.
    """
    layer = min(one.layers, other.layers) // 2
    stem = _shared_matrix(one, other, layer)
    if stem is None:
        return None
    name = one.anatomy.name(layer, stem)
    mine = _block(one.tensor(name))
    best: Kinship | None = None
    for place in sorted(range(other.layers), key=lambda place: abs(place - layer)):
        theirs = other.anatomy.name(place, stem)
        if theirs not in other.specs or other.specs[theirs].shape != one.specs[name].shape:
            continue
        found = _correlation(mine, _block(other.tensor(theirs)))
        if found is None:
            continue
        if best is None or abs(found) > abs(best.correlation):
            best = Kinship((name, theirs), found, mine.numel())
        if best.related:
            break
    return best


def _shared_matrix(one: Checkpoint, other: Checkpoint, layer: int) -> str | None:
    """The first matrix of a layer that both have in one shape and in floating point, if it has values enough."""
    for stem in one.anatomy.layers[layer]:
        spec = one.specs[one.anatomy.name(layer, stem)]
        theirs = other.specs.get(other.anatomy.name(layer, stem))
        if len(spec.shape) != 2 or theirs is None or theirs.shape != spec.shape:
            continue
        values = math.prod(min(SIDE, side) for side in spec.shape)
        if values >= FEWEST and spec.dtype in FLOATS and theirs.dtype in FLOATS:
            return stem
    return None


def _block(matrix: Tensor) -> Tensor:
    """Up to 64 rows, evenly spread, of up to 64 columns from the middle: few pages of the file are touched."""
    rows, columns = matrix.shape
    picked = torch.linspace(0, rows - 1, min(SIDE, rows)).round().long()
    start = max(0, (columns - SIDE) // 2)
    return matrix[picked, start : start + SIDE].to(torch.float64).flatten()


def _correlation(one: Tensor, other: Tensor) -> float | None:
    one, other = one - one.mean(), other - other.mean()
    size = float(one.norm() * other.norm())
    return float(one @ other) / size if size > 0 and math.isfinite(size) else None
