"""Low rank: the two thin matrices that hold the most of a difference between two matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pair:
    """Two matrices whose product stands for a difference D.

    Attributes:
        a: shape (rank, columns).
        b: shape (rows, rank).
        energy: squared Frobenius norm of D.
        lost: squared Frobenius norm of D - b a, measured on the values as they are stored.
    """

    a: Tensor
    b: Tensor
    energy: float
    lost: float


def low_rank(difference: Tensor, rank: int, dtype: torch.dtype) -> Pair:
    """The pair of a rank that is nearest to a difference in the Frobenius norm (Eckart and Young 1936), then rounded.

    With V the main right singular vectors the product is D V V^T, the projection of D on them; where D has fewer rows
    than columns it is U U^T D. The vectors are eigenvectors of the smaller of D^T D and D D^T: how exact a singular
    *value* comes out of a squared matrix does not matter, since the other side is made of D itself. Each singular value
    is shared out evenly between the two sides.

    Args:
        difference: float64, shape (rows, columns); overwritten, since it may be the largest thing in memory.
        rank: of the pair. Where a side of D is shorter, the rows and columns beyond it are zeros.
        dtype: of the two matrices.

    Returns:
        The pair, on the device of ``difference``.
    """
    rows, columns = difference.shape
    energy = squares(difference)
    flat = rows < columns
    square = difference @ difference.T if flat else difference.T @ difference
    vectors = torch.linalg.eigh(square)[1].flip(1)[:, :rank]  # eigh sorts upwards
    del square
    # An eigenvector has no sign of its own: its largest value is made positive.
    peaks = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * torch.where(peaks < 0, -1.0, 1.0)
    other = vectors.T @ difference if flat else difference @ vectors
    root = torch.linalg.vector_norm(other, dim=1 if flat else 0).sqrt()
    share = torch.where(root > 0, root, 1.0)
    b, a = (vectors * root, other / share[:, None]) if flat else (other / share, (vectors * root).T)
    a, b = _filled(a, (rank, columns), dtype), _filled(b, (rows, rank), dtype)
    return Pair(a, b, energy, squares(difference.addmm_(b.double(), a.double(), alpha=-1)))


def squares(values: Tensor) -> float:
    """The sum of all squares, in float64."""
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2


def _filled(matrix: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The matrix in the first corner of zeros."""
    made = matrix.new_zeros(shape, dtype=dtype)
    made[: matrix.shape[0], : matrix.shape[1]] = matrix
    return made
