"""Methods of pairwise.py: float64 references, element by element, and their rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.methods.row import Row, Vector, along


def nearswap(models: Sequence[Vector], base: Vector, *, t: float) -> Vector:
    """w x + (1 - w) theta_0, w = min(1, t / max(|x - theta_0|, 1e-6))."""
    merged = []
    for x, here in zip(models[0], base, strict=True):
        share = min(1.0, t / max(abs(x - here), 1e-6))
        merged.append(share * x + (1 - share) * here)
    return merged


def arcee_fusion(models: Sequence[Vector], base: Vector, *, shape: tuple[int, ...]) -> Vector:
    """Importance |tau| sum P ln(P / Q) by rows; taken from q50 + 1.5 (q75 - q25) on, but for roundings."""
    (model,) = models
    importance = [0.0] * len(base)
    for row in along(shape, -1):
        p, q = softmax([model[at] for at in row]), softmax([base[at] for at in row])
        divergence = max(0.0, math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        for at in row:
            importance[at] = abs(model[at] - base[at]) * divergence
    ascending = sorted(importance)
    low, middle, high = (ascending[int(share * (len(ascending) - 1))] for share in (0.25, 0.5, 0.75))
    threshold = (middle + 1.5 * (high - low)) * (1 - 1e-9)
    return [x if one >= threshold else here for x, here, one in zip(model, base, importance, strict=True)]


def softmax(row: Vector) -> Vector:
    powers = [math.exp(x - max(row)) for x in row]
    return [power / math.fsum(powers) + 1e-8 for power in powers]


ROWS = (
    Row(
        "nearswap",
        nearswap,
        alone=lambda _: {"t": 1e6},
        nothing=lambda _: {"t": 0.0},
        exceptions={
            "equal_models_give_that_model": "the result lies between base and models",
            "a_power_of_two_passes_through": "t is a distance",
        },
    ),
    Row(
        "arcee_fusion",
        arcee_fusion,
        decides=True,
        alone=lambda _: {},
        nothing=lambda _: {},
        exceptions={
            "equal_models_give_that_model": "what matters less is the base's",
            "a_model_alone_comes_out_whole": "what matters less is the base's",
            "no_model_gives_the_base": "what matters most is the model's",
            "a_power_of_two_passes_through": "softmax knows the size of values",
            "mirrored_inputs_give_the_mirrored_result": "softmax knows the sign of values",
            "elements_are_merged_one_by_one": "quantiles are those of the whole tensor",
        },
    ),
)
