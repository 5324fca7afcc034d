"""Methods of delta.py: float64 references from the papers' equations, element by element, and their rows.

Nothing of ours is imported into a reference. Every reference takes flat lists of floats and gives one. theta_0 is the
base, theta_i model i, tau_i = theta_i - theta_0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tests.methods.row import Row, Vector, along, last, places


def task_arithmetic(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    normalize: bool = False,
    lambda_: float = 1.0,
) -> Vector:
    """arXiv:2212.04089: theta_0 + lambda sum_i w_i tau_i (/ sum_i w_i)."""
    return added(base, task_vectors(models, base), weight, normalize, lambda_)


def ties(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    normalize: bool = True,
    rescale: bool = False,
    trim_scope: str = "tensor",
    lambda_: float = 1.0,
) -> Vector:
    """arXiv:2306.01708, algorithm 1, with weights: trim, elect, disjoint mean. For a scope of the whole model, these
    vectors are the models.
    """
    taus = task_vectors(models, base)
    shares = density or [1.0] * len(taus)
    trimmed = [trim(tau, share, rescale, trim_scope) for tau, share in zip(taus, shares, strict=True)]
    return agreeing(base, trimmed, weight, normalize, lambda_)


def dare_linear(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    normalize: bool = False,
    rescale: bool = True,
    rescale_by: str = "norm",
    lambda_: float = 1.0,
    uniforms: Sequence[Vector],
) -> Vector:
    """arXiv:2311.03099, section 3, then task arithmetic."""
    thinned = dare(task_vectors(models, base), density, rescale, rescale_by, uniforms)
    return added(base, thinned, weight, normalize, lambda_)


def dare_ties(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    normalize: bool = False,
    rescale: bool = True,
    rescale_by: str = "norm",
    lambda_: float = 1.0,
    uniforms: Sequence[Vector],
) -> Vector:
    """arXiv:2311.03099, section 3, then arXiv:2306.01708, algorithm 1 after the trim."""
    thinned = dare(task_vectors(models, base), density, rescale, rescale_by, uniforms)
    return agreeing(base, thinned, weight, normalize, lambda_)


def della(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    epsilon: Sequence[float] | None = None,
    normalize: bool = True,
    rescale: bool = True,
    rescale_by: str = "norm",
    lambda_: float = 1.0,
    shape: tuple[int, ...],
    uniforms: Sequence[Vector],
) -> Vector:
    """arXiv:2406.11617, section 3: drop by rank, elect, fuse."""
    thinned = magprune(task_vectors(models, base), density, epsilon, rescale, rescale_by, shape, uniforms)
    return agreeing(base, thinned, weight, normalize, lambda_)


def della_linear(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    epsilon: Sequence[float] | None = None,
    normalize: bool = False,
    rescale: bool = True,
    rescale_by: str = "norm",
    lambda_: float = 1.0,
    shape: tuple[int, ...],
    uniforms: Sequence[Vector],
) -> Vector:
    """arXiv:2406.11617, section 3, drop by rank, then task arithmetic."""
    thinned = magprune(task_vectors(models, base), density, epsilon, rescale, rescale_by, shape, uniforms)
    return added(base, thinned, weight, normalize, lambda_)


def breadcrumbs(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    gamma: Sequence[float] | None = None,
    normalize: bool = False,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Vector:
    """arXiv:2312.06795, section 3: both tails off, then task arithmetic."""
    return added(base, crumbs(task_vectors(models, base), density, gamma, rescale), weight, normalize, lambda_)


def breadcrumbs_ties(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    gamma: Sequence[float] | None = None,
    normalize: bool = False,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Vector:
    """arXiv:2312.06795, section 3, then arXiv:2306.01708, algorithm 1 after the trim."""
    return agreeing(base, crumbs(task_vectors(models, base), density, gamma, rescale), weight, normalize, lambda_)


# Thinning out ----------------------------------------------------------------------------------------------


def trim(tau: Vector, density: float, rescale: bool, trim_scope: str = "tensor") -> Vector:
    """The largest magnitudes, the earlier of equals; all equals where whole models are trimmed."""
    order = largest(tau, kept(density, len(tau)))
    if trim_scope == "model" and order:
        order = [place for place, x in enumerate(tau) if abs(x) >= abs(tau[order[-1]])]
    return rescaled(tau, only(tau, order), rescale)


def dare(
    taus: Sequence[Vector],
    density: Sequence[float] | None,
    rescale: bool,
    rescale_by: str,
    uniforms: Sequence[Vector],
) -> list[Vector]:
    """Each element stays where its draw is below the density."""
    thinned = []
    for tau, share, draws in zip(taus, density or [1.0] * len(taus), uniforms, strict=True):
        left = only(tau, [place for place, u in enumerate(draws) if u < share])
        if rescale and rescale_by == "probability":
            thinned.append([x / share if x else 0.0 for x in left])
        else:
            thinned.append(rescaled(tau, left, rescale))
    return thinned


def magprune(
    taus: Sequence[Vector],
    density: Sequence[float] | None,
    epsilon: Sequence[float] | None,
    rescale: bool,
    rescale_by: str,
    shape: tuple[int, ...],
    uniforms: Sequence[Vector],
) -> list[Vector]:
    """Each element stays with a probability by its rank along dimension 1: density - epsilon to density + epsilon."""
    thinned = []
    shares = zip(density or [1.0] * len(taus), epsilon or [0.15] * len(taus), strict=True)
    for tau, (share, half), draws in zip(taus, shares, uniforms, strict=True):
        chance = [1.0 if share == 1 else 0.0] * len(tau)
        for line in along(shape, 1 if len(shape) > 1 else None) if 0 < share < 1 else []:
            for rank, at in enumerate(largest([tau[place] for place in line], len(line))):
                place_of_rank = (len(line) - 1 - rank) / (len(line) - 1) if len(line) > 1 else 0.5
                chance[line[at]] = share - half + 2 * half * place_of_rank
        left = only(tau, [place for place, u in enumerate(draws) if u < chance[place]])
        if rescale and rescale_by == "probability":
            thinned.append([x / chance[place] if x else 0.0 for place, x in enumerate(left)])
        else:
            thinned.append(rescaled(tau, left, rescale))
    return thinned


def crumbs(
    taus: Sequence[Vector], density: Sequence[float] | None, gamma: Sequence[float] | None, rescale: bool
) -> list[Vector]:
    """Of the n elements by ascending magnitude, int(density n) from max(0, n - int(density n) - int(gamma n)) on."""
    thinned = []
    shares = zip(density or [1.0] * len(taus), gamma or [0.01] * len(taus), strict=True)
    for tau, (share, top) in zip(taus, shares, strict=True):
        ascending = largest(tau, len(tau))[::-1]
        count = int(share * len(tau))
        low = max(0, len(tau) - count - int(top * len(tau)))
        thinned.append(rescaled(tau, only(tau, ascending[low : low + count]), rescale))
    return thinned


def kept(density: float, size: int) -> int:
    return 0 if density == 0 else min(size, max(1, int(density * size)))


def largest(values: Vector, k: int) -> list[int]:
    """The places of the k largest magnitudes by sorting; NaN above all, the earlier of equals first."""
    sizes = [math.inf if math.isnan(x) else abs(x) for x in values]
    return sorted(range(len(values)), key=lambda at: (not math.isnan(values[at]), -sizes[at], at))[:k]


def only(tau: Vector, places: Sequence[int]) -> Vector:
    chosen = set(places)
    return [x if place in chosen else 0.0 for place, x in enumerate(tau)]


def rescaled(tau: Vector, thinned: Vector, rescale: bool) -> Vector:
    """To the L1 norm that it had."""
    left = math.fsum(abs(x) for x in thinned)
    factor = math.fsum(abs(x) for x in tau) / left if rescale and left else 1.0
    return [factor * x for x in thinned]


# Merging ---------------------------------------------------------------------------------------------------


def task_vectors(models: Sequence[Vector], base: Vector) -> list[Vector]:
    return [[x - here for x, here in zip(model, base, strict=True)] for model in models]


def added(base: Vector, taus: Sequence[Vector], weight: Sequence[float], normalize: bool, lambda_: float) -> Vector:
    divisor = math.fsum(weight) if normalize and any(weight) else 1.0
    return [
        here + lambda_ * math.fsum(w * tau for w, tau in zip(weight, place, strict=True)) / divisor
        for here, place in zip(base, places(taus), strict=True)
    ]


def agreeing(base: Vector, taus: Sequence[Vector], weight: Sequence[float], normalize: bool, lambda_: float) -> Vector:
    """Algorithm 1 of TIES after the trim."""
    merged = []
    for here, place in zip(base, places(taus), strict=True):
        weighted = [w * tau for w, tau in zip(weight, place, strict=True)]
        elected = 1.0 if math.fsum(weighted) >= 0 else -1.0
        agreed = [(w, d) for w, d in zip(weight, weighted, strict=True) if d * elected > 0]
        divisor = math.fsum(w for w, _ in agreed) if normalize else 1.0
        merged.append(here + lambda_ * math.fsum(d for _, d in agreed) / (divisor or 1.0))
    return merged


ADD_UP = {"equal_models_give_that_model": "task vectors add up: two equal ones count twice"}
BALANCE = {"mirrored_inputs_give_the_mirrored_result": "where the signs balance, plus is elected"}
RANKS = {"elements_are_merged_one_by_one": "the elements of the whole tensor are ranked"}
DRAWN = {
    "the_order_of_models_does_not_matter": "each place of a model has draws of its own",
    "elements_are_merged_one_by_one": "rescaling looks at the whole tensor",
}


# Of a density and an epsilon drawn as they come, most pairs reach beyond 0 to 1.
WINDOWS = {"density": (0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0), "epsilon": (0.0, 0.0625, 0.125, 0.1875)}


def row(
    name: str,
    reference: Callable[..., Vector],
    *exceptions: Mapping[str, str],
    decides: bool = False,
    elects: bool = False,
    draws: Mapping[str, Sequence[object]] = MappingProxyType({}),
) -> Row:
    return Row(
        name,
        reference,
        alone=lambda count: {"weight": last(count)},
        nothing=lambda _: {"weight": 0.0},
        decides=decides,
        elects=elects,
        draws=draws,
        exceptions={law: reason for some in exceptions for law, reason in some.items()},
    )


ROWS = (
    row("task_arithmetic", task_arithmetic, ADD_UP),
    row("ties", ties, BALANCE, RANKS, decides=True, elects=True),
    row("dare_linear", dare_linear, ADD_UP, DRAWN),
    row("dare_ties", dare_ties, ADD_UP, BALANCE, DRAWN, decides=True, elects=True),
    row("della", della, BALANCE, DRAWN, decides=True, elects=True, draws=WINDOWS),
    row("della_linear", della_linear, ADD_UP, DRAWN, decides=True, draws=WINDOWS),
    row("breadcrumbs", breadcrumbs, ADD_UP, RANKS, decides=True),
    row("breadcrumbs_ties", breadcrumbs_ties, ADD_UP, BALANCE, RANKS, decides=True, elects=True),
)
