"""Methods of delta.py: float64 references from the papers' equations, element by element, and their rows.

Nothing of ours is imported into a reference. Every reference takes flat lists of floats and gives one. theta_0 is the
base, theta_i model i, tau_i = theta_i - theta_0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.methods.row import Row, Vector, last, places


def task_arithmetic(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    normalize: bool = False,
    lambda_: float = 1.0,
) -> Vector:
    """arXiv:2212.04089: theta_0 + lambda sum_i w_i tau_i (/ sum_i w_i)."""
    divisor = math.fsum(weight) if normalize else 1.0
    return [
        here + lambda_ * math.fsum(w * (x - here) for w, x in zip(weight, place, strict=True)) / divisor
        for here, place in zip(base, places(models), strict=True)
    ]


def ties(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    density: Sequence[float] | None = None,
    normalize: bool = True,
    rescale: bool = False,
    lambda_: float = 1.0,
) -> Vector:
    """arXiv:2306.01708, algorithm 1, per tensor, with weights: trim, elect, disjoint mean."""
    density = [1.0] * len(models) if density is None else density
    taus = [[x - here for x, here in zip(model, base, strict=True)] for model in models]
    taus = [trim(tau, share, rescale) for tau, share in zip(taus, density, strict=True)]
    merged = []
    for here, place in zip(base, places(taus), strict=True):
        weighted = [w * tau for w, tau in zip(weight, place, strict=True)]
        elected = 1.0 if math.fsum(weighted) >= 0 else -1.0
        agreeing = [(w, d) for w, d in zip(weight, weighted, strict=True) if d * elected > 0]
        divisor = math.fsum(w for w, _ in agreeing) if normalize else 1.0
        merged.append(here + lambda_ * math.fsum(d for _, d in agreeing) / (divisor or 1.0))
    return merged


def trim(tau: Vector, density: float, rescale: bool) -> Vector:
    """The max(1, int(density n)) largest magnitudes, the earlier of equals; rescaled to its L1 norm."""
    count = 0 if density == 0 else max(1, int(density * len(tau)))
    chosen = set(largest(tau, min(count, len(tau))))
    trimmed = [x if place in chosen else 0.0 for place, x in enumerate(tau)]
    left = math.fsum(abs(x) for x in trimmed)
    factor = math.fsum(abs(x) for x in tau) / left if rescale and left else 1.0
    return [factor * x for x in trimmed]


def largest(values: Vector, k: int) -> list[int]:
    """The places of the k largest magnitudes by sorting; NaN above all, the earlier of equals first."""
    sizes = [math.inf if math.isnan(x) else abs(x) for x in values]
    return sorted(range(len(values)), key=lambda at: (not math.isnan(values[at]), -sizes[at], at))[:k]


ROWS = (
    Row(
        "task_arithmetic",
        task_arithmetic,
        alone=lambda count: {"weight": last(count)},
        nothing=lambda _: {"weight": 0.0},
        exceptions={"equal_models_give_that_model": "task vectors add up: two equal ones count twice"},
    ),
    Row(
        "ties",
        ties,
        alone=lambda count: {"weight": last(count)},
        nothing=lambda _: {"weight": 0.0},
        decides=True,
        exceptions={
            "mirrored_inputs_give_the_mirrored_result": "where the signs balance, plus is elected",
            "elements_are_merged_one_by_one": "the trim ranks the elements of the whole tensor",
        },
    ),
)
