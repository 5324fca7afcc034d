"""The methods again, from the papers' equations: float64, element by element, in plain loops.

Nothing of ours is imported. Every function takes flat lists of floats and gives one. theta_0 is the base,
theta_i model i, tau_i = theta_i - theta_0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = list[float]


def passthrough(models: Sequence[Vector], *, scale: Sequence[float] = (1.0,)) -> Vector:
    """scale x."""
    return [scale[0] * x for x in models[0]]


def linear(models: Sequence[Vector], *, weight: Sequence[float], normalize: bool = True) -> Vector:
    """Model soups, arXiv:2203.05482: sum_i w_i x_i (/ sum_i w_i)."""
    divisor = math.fsum(weight) if normalize else 1.0
    return [math.fsum(w * x for w, x in zip(weight, place, strict=True)) / divisor for place in _places(models)]


def slerp(models: Sequence[Vector], base: Vector, *, t: float) -> Vector:
    """Shoemake 1985, with mergekit's limits: lerp where |cos| > 0.9995, lengths up to 1e-8 read as 1."""
    (model,) = models
    lengths = [math.sqrt(math.fsum(x * x for x in vector)) for vector in (base, model)]
    lengths = [1.0 if length <= 1e-8 else length for length in lengths]
    cosine = math.fsum(x / lengths[0] * (y / lengths[1]) for x, y in zip(base, model, strict=True))
    if abs(cosine) > 0.9995:
        return [(1 - t) * x + t * y for x, y in zip(base, model, strict=True)]
    theta = math.acos(cosine)
    return [
        (math.sin((1 - t) * theta) * x + math.sin(t * theta) * y) / math.sin(theta)
        for x, y in zip(base, model, strict=True)
    ]


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
        for here, place in zip(base, _places(models), strict=True)
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
    for here, place in zip(base, _places(taus), strict=True):
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


def _places(vectors: Sequence[Vector]) -> list[tuple[float, ...]]:
    return list(zip(*vectors, strict=True))
