"""Similarity: do two layers arrange the same tokens alike, whatever their coordinates? Unbiased linear CKA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergelab.errors import InspectionError, Problem, did_you_mean
from mergelab.inspection.grid import Chance, Floats, Grid, Measure
from mergelab.inspection.reservoir import Reservoir
from mergelab.inspection.seen import Batch, Seen
from mergelab.inspection.tokens import Bools, Tokens

TOKENS = 1024
GROUP = 256
SHUFFLES = 19
"""A twentieth shuffle falls outside the range of these once in ten times (2 of 20 ranks)."""

CKA = Measure(
    "cka",
    "Similarity of arrangement (CKA)",
    "1",
    "How alike two layers arrange the same tokens: which tokens are near each other, and which are far apart.",
    "sum_b HSIC1(K_b, L_b) / sqrt(sum_b HSIC1(K_b, K_b) * sum_b HSIC1(L_b, L_b)), K = X X^T, L = Y Y^T, X and Y the "
    "states of one group b of tokens; HSIC1(K, L) = [tr(K'L') + (1'K'1)(1'L'1) / ((n-1)(n-2)) - 2 (1'K'L'1) / (n-2)] "
    "/ (n (n-3)), K' and L' with zero diagonal",
    "Kornblith et al. 2019 (arXiv 1905.00414); unbiased and in groups: Nguyen et al. 2021 (arXiv 2010.15327), eq. 3",
    reading="1: the same arrangement, up to a rotation and a scale; 0: unrelated. A rotated model scores 1 and cannot "
    "be grafted: this finds layers that do alike work, not layers that fit. For that see cosine and relative distance. "
    "A few tokens with long states can decide it.",
)


def centred(gram: Floats) -> Floats:
    """U-centring: what makes HSIC1 a plain inner product.

    HSIC1(K, L) = sum over i, j of centred(K)_ij centred(L)_ij / (n (n - 3)) (Székely & Rizzo 2014, arXiv 1310.2926,
    section 2).

    Args:
        gram: symmetric, shape (..., n, n) with n of at least 3; its diagonal does not count.

    Returns:
        the same shape; rows and columns sum to 0, the diagonal is 0.
    """
    n = gram.shape[-1]
    apart = 1 - np.eye(n)
    rows = (gram * apart).sum(-1) / (n - 2)
    total = rows.sum(-1)[..., None, None] / (n - 1)
    centre: Floats = (gram - rows[..., None] - rows[..., None, :] + total) * apart
    return centre


def cka(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Unbiased linear CKA of two models' states of the same tokens, in groups.

    Args:
        first: the states of each group of tokens, shape (n, width); n may differ from group to group.
        second: of the same tokens in the same groups; of another width as it may be.

    Returns:
        1 for equal arrangements, around 0 for unrelated ones, sometimes a little below; NaN where all states of one
        model are equal, or where no group has 4 tokens.
    """
    one, other = (
        [centred(_gram(states).astype(np.float64)) for states in groups if len(states) > 3]
        for groups in (first, second)
    )
    if not one:
        return float("nan")
    return float(np.vdot(_unit(_flat(one)), _unit(_flat(other))))


def _gram(states: Tensor) -> Floats:
    """Inner products from the middle of all tokens, float32, shape (n, n); NaN where one is no number.

    HSIC1 is the same from everywhere. Near the middle fewer digits are lost, and no sink moves a median.
    """
    states = states.float()
    states = states - states.median(0).values
    gram = states @ states.T
    return torch.where(gram.isfinite(), gram, torch.nan).numpy()


def _flat(centres: Sequence[Floats], shuffles: Sequence[NDArray[np.int64]] | None = None) -> Floats:
    """U-centred Gram matrices of all groups as one vector, whose inner products are sums of HSIC1 over the groups.

    Args:
        centres: shape (..., n, n) for each group.
        shuffles: an order of each group's tokens; None: as they are.

    Returns:
        shape (..., pairs of tokens): above the diagonal only, as the rest is the same. HSIC1 to a factor of 2.
    """
    flat = []
    for number, centre in enumerate(centres):
        n = centre.shape[-1]
        order = np.arange(n) if shuffles is None else shuffles[number]
        rows, columns = np.triu_indices(n, 1)
        flat.append(centre[..., order[rows], order[columns]] / np.sqrt(n * (n - 3)))
    return np.concatenate(flat, -1)


def _unit(flat: Floats) -> Floats:
    size = np.sqrt((flat * flat).sum(-1, keepdims=True))
    unit: Floats = flat / np.where(size > 0, size, np.nan)
    return unit


def _at_same_border(ours: Floats, theirs: Floats) -> Floats:
    both = min(len(ours), len(theirs))
    products: Floats = np.einsum("bp,bp->b", ours[:both], theirs[:both])
    return products


class Similarity:
    """CKA of every layer of one source with every layer of another. A ``Statistic``.

    Keeps the inner products of at most ``count`` tokens, in groups of about ``group``: with the numbers given here 1 MB
    for each layer and source. Neighbouring tokens go to different groups.
    """

    def __init__(
        self, batches: Sequence[Batch], tokens: Tokens, *, count: int = TOKENS, group: int = GROUP, seed: int = 0
    ) -> None:
        """Get ready for these batches, of these tokens: compare ``count`` of them, drawn by ``seed``."""
        self._reservoir = Reservoir(batches, tokens, count, seed)
        drawn = len(self._reservoir.tokens)
        groups = max(1, round(drawn / group))
        self._groups = tuple(torch.arange(number, drawn, groups) for number in range(groups))
        self._seed = seed
        self._grams: dict[str, dict[int, list[Floats]]] = {}

    def see(self, batch: Batch, seen: Mapping[str, Seen], kept: Tensor) -> None:
        """Take in one layer of one batch."""
        for border, sources in self._reservoir.take(batch, seen, kept).items():
            for name, states in sources.items():
                self._grams.setdefault(name, {})[border] = [_gram(states[group]) for group in self._groups]

    def cka(self, first: str, second: str) -> Grid:
        """Every border of ``first`` (rows) with every border of ``second`` (columns).

        Border n is what enters layer n; the last one is what leaves the last layer, before the final norm.

        Raises:
            InspectionError: a source is not among those seen.
        """
        values, low, high = self._compared(first, second, lambda ours, theirs: ours @ theirs.T)
        return Grid(
            CKA,
            values,
            (f"layer of {first}", f"layer of {second}"),
            tuple(map(str, self._grams[first])),
            tuple(map(str, self._grams[second])),
            f"{first} with {second}",
            self._chance(low, high),
            self._note(),
        )

    def along(self, first: str) -> Grid:
        """Every other source (rows) with ``first`` at the same border (columns); NaN where one has fewer layers.

        Raises:
            InspectionError: ``first`` is not among those seen, or alone.
        """
        others = [name for name in self._grams if name != first]
        if not others:
            raise InspectionError(Problem("cka", f"{first!r} is alone.", "Read two sources."))
        deepest = max(map(len, self._grams.values()))
        found = np.full((3, len(others), deepest), np.nan)
        for row, other in enumerate(others):
            for kind, line in enumerate(self._compared(first, other, _at_same_border)):
                found[kind, row, : len(line)] = line
        values, low, high = found
        columns = tuple(map(str, range(deepest)))
        of = f"at the same layer of {first}"
        return Grid(CKA, values, ("source", "layer"), tuple(others), columns, of, self._chance(low, high), self._note())

    def _compared(
        self, first: str, second: str, product: Callable[[Floats, Floats], Floats]
    ) -> tuple[Floats, Floats, Floats]:
        """CKA, and the smallest and the largest of it with the second source's tokens in another order.

        Args:
            product: inner products of vectors, shape (borders, pairs of tokens) of each source.
        """
        for name in (first, second):
            if name not in self._grams:
                hint = did_you_mean(name, tuple(self._grams))
                raise InspectionError(Problem("cka", f"{name!r} is not among the sources that were read.", hint))
        kept = [self._reservoir.kept[group.numpy()] for group in self._groups]
        one, other = (self._centres(name, kept) for name in (first, second))
        if not one:
            nothing = product(*(np.full((len(self._grams[name]), 1), np.nan) for name in (first, second)))
            return nothing, nothing.copy(), nothing.copy()
        ours = _unit(_flat(one))
        values = product(ours, _unit(_flat(other)))
        draw = np.random.default_rng(self._seed)
        low, high = np.full_like(values, np.inf), np.full_like(values, -np.inf)
        for _ in range(SHUFFLES):
            orders = [draw.permutation(centre.shape[-1]) for centre in other]
            chance = product(ours, _unit(_flat(other, orders)))
            low, high = np.minimum(low, chance), np.maximum(high, chance)
        return values, low, high

    def _centres(self, name: str, kept: Sequence[Bools]) -> list[Floats]:
        """U-centred Gram matrices of the kept tokens, shape (borders, n, n) for each group of at least 4."""
        found = []
        for number, keep in enumerate(kept):
            if keep.sum() > 3:
                grams = np.stack([grams[number][keep][:, keep] for grams in self._grams[name].values()])
                found.append(centred(grams.astype(np.float64)))
        return found

    def _chance(self, low: Floats, high: Floats) -> Chance:
        how = "each token of one source against another token of the other, within the groups"
        return Chance(low, high, f"{how}: smallest to largest of {SHUFFLES} shuffles, 90 %")

    def _note(self) -> str:
        count = int(self._reservoir.kept.sum())
        groups = len(self._groups)
        return (
            f"{count} tokens in {groups} group{'s' * (groups != 1)}; tokens that are a sink at any layer are left out."
        )
