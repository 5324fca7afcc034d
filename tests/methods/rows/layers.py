"""Methods of layers.py: float64 references from the papers' equations, and their rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.methods.row import Row, Vector, last, places


def lines(
    models: Sequence[Vector],
    base: Vector,
    *,
    weight: Sequence[float],
    alpha: float | None = None,
    beta: float | None = None,
    depth: float = 0.0,
) -> Vector:
    """arXiv:2410.17146: theta_0 + (alpha + beta depth) sum_i w_i tau_i."""
    alpha = 1 / len(models) if alpha is None else alpha
    beta = 1 - alpha if beta is None else beta
    return [
        here + (alpha + beta * depth) * math.fsum(w * (x - here) for w, x in zip(weight, place, strict=True))
        for here, place in zip(base, places(models), strict=True)
    ]


ROWS = (
    Row(
        "lines",
        lines,
        alone=lambda count: {"weight": last(count), "alpha": 1.0},
        nothing=lambda _: {"weight": 0.0},
        steep=3.0,
        exceptions={"equal_models_give_that_model": "task vectors add up: two equal ones count twice"},
    ),
)
