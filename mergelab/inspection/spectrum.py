"""The singular values of a change, and its main directions: exactly where it is small, by sketch where it is large.

A sketch is ``Y = tau Omega`` with a few random columns (Halko, Martinsson and Tropp 2011, algorithm 4.4): its range
holds the main directions, which are split off. What is left is counted by quadrature: a few random vectors, and some
steps of Golub and Kahan's bidiagonalisation from each, estimate the sum of any function of the singular values (Ubaru,
Chen and Saad 2017; to split the main ones off first is Hutch++, Meyer et al. 2021). Of sums of s the rule of Gauss is
at least the true value and that of Gauss and Radau with a node at 0 at most (Golub and Meurant 2010, chapter 6): the
mean of both is taken, and steps are added until they agree. How far random vectors and rules disagree is the error.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

EXACT = 384
"""Matrices whose smaller side is no longer are worked out exactly."""
HELD = 1 << 26
"""Elements of a change that is kept in memory, float32; a larger one is made anew, row by row, each time."""
NEGLIGIBLE = 1e-5
"""Of the largest singular value: what is smaller counts as zero, as in the methods that merge singular vectors."""
_SPARE = 48  # columns of a sketch beyond the directions asked for
_TURNS = 2  # of power iteration
_PROBES = 8  # of the quadrature
_STEPS = (16, 32, 64)  # after which its two rules are compared
_ASTRAY = 0.1  # how far tau may turn a direction away, of its singular value, that counts as found
_AGREE = 0.01  # relative difference of the effective ranks at which they agree

Apply = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What the singular values s of a change tell, and its main directions.

    Attributes:
        size: Frobenius norm, the root of sum s^2.
        largest: s_1.
        effective: effective rank, exp of the entropy of s / sum s (Roy and Vetterli 2007).
        participation: participation ratio, (sum s^2)^2 / sum s^4.
        error: of ``effective``, relative to it: the standard error by the jackknife over the random vectors, and half
            the difference of the two rules, as the root of the sum of squares; 0: no sketch.
        left: main directions of the output, float32, shape (rows, k), orthonormal, largest singular value first.
        right: those of the input, shape (columns, k).

    A change of zero has no rank: both are NaN, and k is 0.
    """

    size: float
    largest: float
    effective: float
    participation: float
    error: float
    left: Tensor
    right: Tensor

    @property
    def stable(self) -> float:
        """Stable rank, sum s^2 / s_1^2; NaN for a change of zero."""
        return (self.size / self.largest) ** 2 if self.largest else math.nan


class Change:
    """tau = source - base as a matrix that others multiply with, in float32."""

    def __init__(self, source: Tensor, base: Tensor) -> None:
        """Of two matrices of one shape, any floating dtype; neither is changed."""
        self.shape = (source.shape[0], source.shape[1])
        self._source, self._base = source, base
        self._held = self._made(0, len(source)) if source.numel() <= HELD else None

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """The rows, some at a time."""
        rows, columns = self.shape
        step = max(1, HELD // 8 // columns)
        for start in range(0, rows, step):
            end = min(start + step, rows)
            yield slice(start, end), self._made(start, end) if self._held is None else self._held[start:end]

    def times(self, right: Tensor) -> Tensor:
        """The product tau R, float32, for R of shape (columns, k)."""
        return torch.cat([block @ right for _, block in self.blocks()])

    def back(self, left: Tensor) -> Tensor:
        """The product tau^T L, float32, for L of shape (rows, k)."""
        total = left.new_zeros(self.shape[1], left.shape[1])
        for rows, block in self.blocks():
            total.addmm_(block.T, left[rows])
        return total

    def squares(self) -> float:
        """The sum of all squares, summed in float64."""
        return math.fsum(float(torch.linalg.vector_norm(block, dtype=torch.float64)) ** 2 for _, block in self.blocks())

    def _made(self, start: int, end: int) -> Tensor:
        return self._source[start:end].to(torch.float32) - self._base[start:end].to(torch.float32)


def spectrum(change: Change, directions: int, name: str, seed: int = 0) -> Spectrum:
    """The spectrum of a change.

    Args:
        directions: the most directions to return; fewer where the change has fewer.
        name: of the tensor. Random numbers depend on it and on ``seed`` alone, so that all sources get the same sketch.

    A change that is not finite has NaN everywhere and no directions.
    """
    squares = change.squares()
    if squares == 0 or not math.isfinite(squares):
        none = [torch.zeros(side, 0) for side in change.shape]
        size = 0.0 if squares == 0 else math.nan
        return Spectrum(size, size, math.nan, math.nan, 0.0, none[0], none[1])
    if min(change.shape) <= EXACT:
        return _exact(change, squares, directions)
    return _sketched(change, squares, directions, _drawn(seed, name))


def _drawn(seed: int, name: str) -> torch.Generator:
    """The same in every process, whatever was drawn before."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def _exact(change: Change, squares: float, directions: int) -> Spectrum:
    """By the eigenvectors of the smaller of tau tau^T and tau^T tau, float64."""
    rows, columns = change.shape
    wide = rows < columns
    tau = torch.cat([block for _, block in change.blocks()]).to(torch.float64)
    tau = tau.T if wide else tau
    eigenvalues, vectors = torch.linalg.eigh(tau.T @ tau)
    values = eigenvalues.clamp(min=0).sqrt().flip(0)
    values = values[values > NEGLIGIBLE * values[0]]
    kept = min(directions, len(values))
    small = vectors.flip(1)[:, :kept]
    large = (tau @ small) / values[:kept]
    left, right = (small, large) if wide else (large, small)
    sums = torch.stack([values.sum(), torch.special.xlogy(values, values).sum(), (values**4).sum()])
    effective, participation = _ranks(sums, squares)
    return Spectrum(
        math.sqrt(squares), float(values[0]), float(effective), float(participation), 0.0, left.float(), right.float()
    )


def _sketched(change: Change, squares: float, directions: int, generator: torch.Generator) -> Spectrum:
    rows, columns = change.shape
    basis = torch.linalg.qr(change.times(torch.randn(columns, directions + _SPARE, generator=generator))).Q
    for _ in range(_TURNS):
        basis = torch.linalg.qr(change.times(torch.linalg.qr(change.back(basis)).Q)).Q
    inside = change.back(basis)  # (columns, k): what of tau lies in the basis, transposed
    right, values, turned = torch.linalg.svd(inside, full_matrices=False)
    count = int((values > NEGLIGIBLE * values[0]).sum())
    left = basis @ turned.T
    # Only directions that were found are split off: halves of one would count as two.
    astray = (change.times(right) - left * values).norm(dim=0)
    sure = (values > NEGLIGIBLE * values[0]) & (astray < _ASTRAY * values)
    basis, inside = left[:, sure], right[:, sure] * values[sure]
    kept = min(directions, count)

    def forward(vectors: Tensor) -> Tensor:
        return change.times(vectors) - basis @ (inside.T @ vectors)

    def backward(vectors: Tensor) -> Tensor:
        return change.back(vectors) - inside @ (basis.T @ vectors)

    length = min(rows, columns)
    starts = torch.nn.functional.normalize(torch.randn(length, _PROBES, generator=generator), dim=0)
    # Where values lie close the sketch finds the largest too small; a few steps from its direction find it.
    unit = torch.linalg.svdvals(next(_bidiagonals(change.times, change.back, right[:, :1]))).max()
    found = values[sure].double() / unit
    functions: tuple[Apply, ...] = (lambda s: s, lambda s: torch.special.xlogy(s, s), lambda s: s**4)

    # What the sketch leaves is subtracted before it is squared: a small difference of squares is rounding.
    norms = [
        torch.linalg.vector_norm(block - basis[rows] @ inside.T, dtype=torch.float64) for rows, block in change.blocks()
    ]
    rest = math.fsum(float(norm) ** 2 for norm in norms) / float(unit) ** 2

    def sums(small: Tensor) -> Tensor:
        """Of the functions over all singular values, by each random vector: shape (probes, 3)."""
        nodes, weights = _rule(small)
        nodes = torch.where(nodes > NEGLIGIBLE * unit, nodes, 0) / unit
        missed = length * (weights * nodes**2).sum(1) - rest
        return torch.stack([
            f(found).sum() + length * (weights * f(nodes)).sum(1) - _slope(f(nodes), nodes**2, weights) * missed
            for f in functions
        ], 1)  # fmt: skip

    scaled = squares / float(unit) ** 2
    told = torch.zeros(2, _PROBES, len(functions))  # by rule
    apart = math.inf
    for small in _bidiagonals(*((forward, backward) if columns <= rows else (backward, forward)), starts):
        told = torch.stack([sums(small), sums(_radau(small))])
        above, below = _ranks(told.mean(1), scaled)[0].tolist()
        apart = abs(above - below) / (above + below)
        if 2 * apart <= _AGREE:
            break
    told = told.mean(0)
    effective, participation = _ranks(told.mean(0), scaled)
    others = (told.sum(0) - told) / (_PROBES - 1)  # all probes but one
    spread = _ranks(others, scaled)[0]
    error = math.sqrt((_PROBES - 1) * float(spread.var(correction=0))) / float(effective)
    error = max(NEGLIGIBLE, math.hypot(error, apart))
    return Spectrum(
        math.sqrt(squares), float(unit), float(effective), float(participation), error, left[:, :kept], right[:, :kept]
    )


def _ranks(sums: Tensor, squares: float) -> tuple[Tensor, Tensor]:
    """Effective rank and participation ratio from sum s, sum s ln s and sum s^4 (last dimension), and sum s^2."""
    total, entropy, fourth = sums.unbind(-1)
    return (total.log() - entropy / total).exp(), squares**2 / fourth


def _bidiagonals(forward: Apply, backward: Apply, starts: Tensor) -> Iterator[Tensor]:
    """Golub and Kahan's bidiagonalisation with full re-orthogonalisation, from all columns of ``starts`` at once.

    Args:
        forward, backward: multiply with A and with A^T.
        starts: unit vectors, shape (length, probes).

    Yields:
        Upper bidiagonal matrices, float64, shape (probes, steps, steps), after each number of ``_STEPS`` or, at last,
        after ``length``; rows of steps after a space is exhausted are zero.
    """
    length, probes = starts.shape
    most = min(_STEPS[-1], length)
    small = torch.zeros(probes, most, most, dtype=torch.float64)
    rights, lefts = starts[None], starts.new_zeros(0)
    for step in range(most):
        fresh, size = _orthogonal(forward(rights[-1]), lefts)
        small[:, step, step] = size
        lefts = fresh[None] if step == 0 else torch.cat([lefts, fresh[None]])
        if step + 1 in _STEPS or step + 1 == most:
            yield small[:, : step + 1, : step + 1]
        if step + 1 == most:
            return
        fresh, size = _orthogonal(backward(lefts[-1]), rights)
        small[:, step, step + 1] = size
        rights = torch.cat([rights, fresh[None]])


def _rule(small: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights: sum_j weights_j f(nodes_j) is about v^T f((A^T A)^(1/2)) v for each starting vector v.

    Nodes are the singular values of the bidiagonal matrix, weights the squares of the first components of its right
    vectors; float64, shape (probes, steps). This is the rule of Gauss.
    """
    _, nodes, vectors = torch.linalg.svd(small)
    return nodes, vectors[:, :, 0] ** 2


def _slope(values: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """Of the regression of values on known ones: by it an error in the sum of the known ones is one in the other's.

    To take that out is what a control variate does; 0 where all known ones are equal. All of shape (probes, steps).
    """
    weights = weights / weights.sum()
    away = known - (weights * known).sum()
    variance = (weights * away**2).sum()
    return torch.where(variance > 0, (weights * away * values).sum() / variance.clamp(min=1e-300), 0)


def _radau(small: Tensor) -> Tensor:
    """The bidiagonal matrix whose rule has a node at 0: that of Gauss and Radau."""
    ends_in_zero = small.clone()
    ends_in_zero[:, -1, -1] = 0
    return ends_in_zero


def _orthogonal(vectors: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Columns made orthogonal to those of ``before`` (steps, length, probes), twice, and of length 1; their lengths.

    A column of which nothing but rounding is left becomes zero.
    """
    size = vectors.norm(dim=0)
    for _ in range(2 if before.numel() else 0):
        vectors = vectors - torch.einsum("sp,slp->lp", torch.einsum("slp,lp->sp", before, vectors), before)
    left = vectors.norm(dim=0)
    left = torch.where(left > 1e-5 * size, left, 0)
    return torch.where(left > 0, vectors / left.clamp(min=torch.finfo(left.dtype).tiny), 0), left.double()
