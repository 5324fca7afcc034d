"""Methods of spectral.py: float64 references from the papers' equations, with numpy, and their rows.

Nothing of ours is imported into a reference. A reference takes flat lists of floats and the shape, and gives one flat
list; tensors of more than two dimensions are merged matrix by matrix. "Zero" is what spectral.py calls so: below 1e-5
of the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import assume
from numpy.typing import NDArray

from tests.methods.row import Row, Vector, last
from tests.methods.rows.delta import ties, trim

Matrix = NDArray[np.float64]
Merge = Callable[[list[Matrix]], Matrix]


def tsv_merge(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    lambda_: float = 1.0,
    shape: tuple[int, ...],
) -> Vector:
    """arXiv:2412.00081: sum_i polar(U)_i S_i polar(V)_i^T over the strongest 1/T triplets, added one by one.

    The polar factor of [U_1 ... U_T] is its square root's inverse applied: U (U^T U)^(-1/2).
    """
    tasks = max(1, sum(w != 0 for w in weight))

    def merge(taus: list[Matrix]) -> Matrix:
        triplets = [triplet for tau in taus for triplet in strongest(tau, tasks)]
        if not triplets:
            return np.zeros_like(taus[0])
        u, s, v = (np.array(one) for one in zip(*triplets, strict=True))
        new_u, new_v = u.T @ inverse_root(u @ u.T), v.T @ inverse_root(v @ v.T)
        return sum(s[k] * np.outer(new_u[:, k], new_v[:, k]) for k in range(len(s)))

    return _merged(models, base, weight, lambda_, shape, merge, lambda taus: sum(taus) / tasks)


def iso_c(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    lambda_: float = 1.0,
    shape: tuple[int, ...],
) -> Vector:
    """arXiv:2502.04959: U V^T times the mean singular value, of the sum: sum (M M^T)^(-1/2) M."""

    def merge(taus: list[Matrix]) -> Matrix:
        total = sum(taus)
        values = np.linalg.svd(total, compute_uv=False)
        kept = values[values > 1e-5 * values[0]]
        left, right = np.zeros((len(total), 0)), np.zeros((0, total.shape[1]))
        if len(kept):
            u, _, v = np.linalg.svd(total)
            left, right = u[:, : len(kept)], v[: len(kept)]
        return kept.sum() / max(1, len(kept)) * left @ right

    tasks = max(1, sum(w != 0 for w in weight))
    return _merged(models, base, weight, lambda_, shape, merge, lambda taus: sum(taus) / tasks)


def knots(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    lambda_: float = 1.0,
    shape: tuple[int, ...],
) -> Vector:
    """arXiv:2410.19735: TIES on the S V_i^T of [tau_1 ... tau_T] = U S [V_1^T ... V_T^T], then U times that.

    U is found as the eigenvectors of sum_i tau_i tau_i^T, over the models that take part. Cases in which a rounding
    decides are passed over: two ways to the same basis differ by roundings.
    """
    density = [1.0] * len(models) if density is None else density
    start = np.array(base).reshape(shape)
    taus = [np.array(model).reshape(shape) - start for model in models]
    if len(shape) < 2:
        flat = [list(tau.flatten()) for tau in taus]
        merged = ties(flat, [0.0] * len(flat[0]), weight=weight, density=density)
        return list(start.flatten() + lambda_ * np.array(merged))
    bases = {}
    for place in np.ndindex(shape[:-2]):
        bases[place] = eigenvectors([tau[place] for tau, w in zip(taus, weight, strict=True) if w], shape[-2])
    rank = max(basis.shape[1] for basis in bases.values())
    parts = np.zeros((len(models), *shape[:-2], rank, shape[-1]))
    for place, basis in bases.items():
        for model, tau in enumerate(taus):
            parts[(model, *place)][: basis.shape[1]] = basis.T @ tau[place]
    flat = [list(part.flatten()) for part in parts]
    assume(_decided(flat, weight, density))
    coordinates = np.array(ties(flat, [0.0] * len(flat[0]), weight=weight, density=density)).reshape(parts.shape[1:])
    for place, basis in bases.items():
        start[place] += lambda_ * basis @ coordinates[place][: basis.shape[1]]
    return list(start.flatten())


def eigenvectors(taus: Sequence[Matrix], rows: int) -> Matrix:
    """Of sum_i tau_i tau_i^T, by falling eigenvalue, without those of zero; their largest element positive."""
    squares, vectors = np.linalg.eigh(sum((tau @ tau.T for tau in taus), np.zeros((rows, rows))))
    squares, vectors = squares[::-1], vectors[:, ::-1]
    kept = squares > 1e-10 * squares[0]
    kept[0] = True
    assume(_apart(np.sqrt(squares[kept])))  # or the basis is a free choice
    basis = vectors[:, kept]
    return basis * np.sign(basis[np.abs(basis).argmax(axis=0), range(basis.shape[1])])


def _merged(
    models: Sequence[Vector],
    base: Vector,
    weight: Sequence[float],
    factor: float,
    shape: tuple[int, ...],
    of_matrices: Merge,
    of_vectors: Merge,
) -> Vector:
    start = np.array(base).reshape(shape)
    taus = [w * (np.array(model).reshape(shape) - start) for w, model in zip(weight, models, strict=True)]
    if len(shape) < 2:
        return list((start + factor * of_vectors(taus)).flatten())
    merged = np.zeros(shape)
    for place in np.ndindex(shape[:-2]):
        merged[place] = of_matrices([tau[place] for tau in taus])
    return list((start + factor * merged).flatten())


def strongest(tau: Matrix, tasks: int) -> list[tuple[Vector, float, Vector]]:
    """The int(r / T) largest triplets, at least one, with those that tie with the last; none of the value zero."""
    u, s, v = np.linalg.svd(tau, full_matrices=False)
    last_one = s[max(1, len(s) // tasks) - 1]
    kept = [k for k in range(len(s)) if s[k] > last_one * (1 - 1e-9) and s[k] > 1e-5 * s[0]]
    return [(list(u[:, k]), s[k], list(v[k])) for k in kept]


def _apart(values: Matrix) -> bool:
    """No two are equal, as far as roundings go."""
    return bool((np.diff(np.sort(values)) > 1e-6 * values.max(initial=0)).all())


def _decided(parts: Sequence[Vector], weight: Sequence[float], density: Sequence[float]) -> bool:
    """No rounding decides what is trimmed, or which sign is elected."""
    trimmed = [trim(part, share, False) for part, share in zip(parts, density, strict=True)]
    for part, share in zip(parts, density, strict=True):
        sizes = np.abs(part)
        if share < 1 and not _apart(sizes[sizes > 1e-9 * sizes.max(initial=0)]):
            return False
    weighted = np.array(weight)[:, None] * np.array(trimmed)
    return bool((np.abs(weighted.sum(0)) >= 1e-9 * np.abs(weighted).sum(0)).all())


def inverse_root(gram: Matrix) -> Matrix:
    """(G)^(-1/2) on the span of G."""
    squares, vectors = np.linalg.eigh(gram)
    kept = squares > 1e-10 * squares[-1]
    return (vectors[:, kept] / np.sqrt(squares[kept])) @ vectors[:, kept].T


_ADD_UP = "task vectors add up: two equal ones count twice"
_SPREADS = "vectors of a matrix hang on all its elements"

ROWS = (
    Row(
        "tsv_merge",
        tsv_merge,
        alone=lambda count: {"weight": last(count)},
        nothing=lambda _: {"weight": 0.0},
        steep=8.0,
        threaded=True,
        exceptions={
            "equal_models_give_that_model": "each model keeps only its share of the rank",
            "elements_are_merged_one_by_one": _SPREADS,
            "not_a_number_stays_at_its_place": _SPREADS,
        },
    ),
    Row(
        "iso_c",
        iso_c,
        alone=lambda count: {"weight": last(count)},
        nothing=lambda _: {"weight": 0.0},
        steep=8.0,
        threaded=True,
        exceptions={
            "equal_models_give_that_model": _ADD_UP,
            "a_model_alone_comes_out_whole": "the spectrum of a model alone is made flat too",
            "elements_are_merged_one_by_one": _SPREADS,
            "not_a_number_stays_at_its_place": _SPREADS,
        },
    ),
    Row(
        "knots",
        knots,
        alone=lambda count: {"weight": last(count)},
        nothing=lambda _: {"weight": 0.0},
        decides=True,
        steep=8.0,
        threaded=True,
        exceptions={
            "mirrored_inputs_give_the_mirrored_result": "where the signs balance, plus is elected",
            "elements_are_merged_one_by_one": _SPREADS,
            "not_a_number_stays_at_its_place": _SPREADS,
        },
    ),
)
