"""Methods of blend.py: float64 references from the papers' equations, element by element, and their rows.

Nothing of ours is imported into a reference. Every reference takes flat lists of floats and gives one. theta_0 is the
base, theta_i model i, tau_i = theta_i - theta_0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.methods.row import Row, Vector, last, places


def passthrough(models: Sequence[Vector], *, scale: Sequence[float] = (1.0,)) -> Vector:
    """scale x."""
    return [scale[0] * x for x in models[0]]


def linear(models: Sequence[Vector], *, weight: Sequence[float], normalize: bool = True) -> Vector:
    """Model soups, arXiv:2203.05482: sum_i w_i x_i (/ sum_i w_i)."""
    divisor = math.fsum(weight) if normalize else 1.0
    return [math.fsum(w * x for w, x in zip(weight, place, strict=True)) / divisor for place in places(models)]


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


ROWS = (
    Row(
        "passthrough",
        passthrough,
        alone=lambda _: {},
        nothing=lambda _: {"scale": 0.0},
    ),
    Row(
        "linear",
        linear,
        alone=lambda count: {"weight": last(count)},
        nothing=lambda _: {"weight": 0.0, "normalize": False},
    ),
    Row(
        "slerp",
        slerp,
        steep=64,  # 1 / sin of the smallest angle
        alone=lambda _: {"t": 1.0},
        nothing=lambda _: {"t": 0.0},
        exceptions={
            "equal_models_give_that_model": "the result lies between base and models",
            "not_a_number_stays_at_its_place": "lengths and angle are those of the whole tensor",
            "elements_are_merged_one_by_one": "lengths and angle are those of the whole tensor",
        },
    ),
)
