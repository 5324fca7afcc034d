"""Methods of sphere.py: float64 references, vector by vector, and their rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.methods.row import Row, Vector, along, last, places


def nuslerp(
    models: Sequence[Vector],
    base: Vector | None = None,
    *,
    shape: tuple[int, ...],
    weight: Sequence[float],
    nuslerp_flatten: bool = True,
    nuslerp_row_wise: bool = False,
) -> Vector:
    """Shoemake 1985 on models or task vectors; lerp where sin^2 <= 1e-7; zeros are perpendicular to everything."""
    start, end = minus(models, base)
    t = 0.5 if abs(weight[0] + weight[1]) < 1e-6 else weight[1] / (weight[0] + weight[1])
    merged = [0.0] * len(start)
    for vector in along(shape, None if nuslerp_flatten else 0 if nuslerp_row_wise else -1):
        x, y = [start[at] for at in vector], [end[at] for at in vector]
        scale = length(x) * length(y)
        cosine = max(-1.0, min(1.0, dot(x, y) / scale)) if scale else 0.0
        if 1 - cosine * cosine <= 1e-7:
            first, second = 1 - t, t
        else:
            theta = math.acos(cosine)
            first, second = math.sin((1 - t) * theta) / math.sin(theta), math.sin(t * theta) / math.sin(theta)
        for at in vector:
            merged[at] = first * start[at] + second * end[at]
    return plus(merged, base)


def multislerp(
    models: Sequence[Vector],
    base: Vector | None = None,
    *,
    weight: Sequence[float],
    normalize_weights: bool = True,
    eps: float = 1e-8,
) -> Vector:
    """mergekit's formula to the letter, tangent step included, which ours leaves out as it comes to nothing."""
    if len(models) == 1:
        return models[0]
    vectors = minus(models, base)
    if normalize_weights:
        weight = [w / math.fsum(weight) for w in weight]
    lengths = [length(x) for x in vectors]
    units = [[x / (size + eps) for x in vector] for vector, size in zip(vectors, lengths, strict=True)]
    mean = blend(units, weight)
    if length(mean) < eps:
        return plus(blend(vectors, weight), base)
    mean = [x / length(mean) for x in mean]
    tangents = [[x - dot(unit, mean) * m for x, m in zip(unit, mean, strict=True)] for unit in units]
    step = blend(tangents, weight)
    far = length(step) + eps
    scale = math.fsum(w * size for w, size in zip(weight, lengths, strict=True))
    merged = [scale * (m * math.cos(far) + x * math.sin(far) / far) for m, x in zip(mean, step, strict=True)]
    return plus(merged, base)


def karcher(models: Sequence[Vector], *, max_iter: int = 10, tol: float = 1e-5) -> Vector:
    """Karcher's descent on the vectors themselves; no pull from within ``tol``, nor from the opposite point."""
    lengths = [length(x) for x in models]
    units = [[x / size for x in model] for model, size in zip(models, lengths, strict=True) if size > tol]
    if not units:
        return [0.0] * len(models[0])
    share = [1 / len(units)] * len(units)
    mean = blend(units, share)
    mean = units[0] if length(mean) < tol else [x / length(mean) for x in mean]
    for _ in range(int(max_iter)):
        step = [0.0] * len(mean)
        for unit in units:
            cosine = max(-1.0, min(1.0, dot(unit, mean)))
            theta = math.acos(cosine)
            if theta >= tol and math.sin(theta) >= 1e-6:
                pull = theta / math.sin(theta) / len(units)
                step = [s + pull * (x - cosine * m) for s, x, m in zip(step, unit, mean, strict=True)]
        far = length(step)
        if far < tol:
            break
        mean = [math.cos(far) * m + math.sin(far) / far * s for m, s in zip(mean, step, strict=True)]
        mean = [m / length(mean) for m in mean]
    return [math.fsum(lengths) / len(models) * m for m in mean]


def dot(left: Vector, right: Vector) -> float:
    return math.fsum(x * y for x, y in zip(left, right, strict=True))


def length(vector: Vector) -> float:
    return math.sqrt(dot(vector, vector))


def blend(vectors: Sequence[Vector], weight: Sequence[float]) -> Vector:
    return [math.fsum(w * x for w, x in zip(weight, place, strict=True)) for place in places(vectors)]


def minus(models: Sequence[Vector], base: Vector | None) -> list[Vector]:
    return [list(model) if base is None else [x - b for x, b in zip(model, base, strict=True)] for model in models]


def plus(merged: Vector, base: Vector | None) -> Vector:
    return merged if base is None else [x + b for x, b in zip(merged, base, strict=True)]


WHOLE = {
    "not_a_number_stays_at_its_place": "lengths and angles are those of whole vectors",
    "elements_are_merged_one_by_one": "lengths and angles are those of whole vectors",
}
ROWS = (
    Row(
        "nuslerp",
        nuslerp,
        steep=512,  # 1 / sin of the angle to the opposite
        alone=lambda _: {"weight": [0.0, 1.0]},
        nothing=lambda _: {"weight": 0.0},
        exceptions={**WHOLE, "no_model_gives_the_base": "weights of zero meet half way"},
    ),
    Row(
        "multislerp",
        multislerp,
        steep=1024,  # 1 / the shortest mean direction
        draws={"eps": (1e-3, 1 / 16)},
        alone=lambda count: {"weight": last(count)},
        nothing=lambda _: {"weight": 0.0, "normalize_weights": False},
        exceptions={
            **WHOLE,
            "no_model_gives_the_base": "one model comes out as it is, whatever its weight",
            "a_power_of_two_passes_through": "eps is added to lengths",
        },
    ),
    Row(
        "karcher",
        karcher,
        steep=1024,  # 1 / the shortest mean direction
        draws={"max_iter": (1, 2, 10), "tol": (1e-5, 1e-3)},
        absolute=True,
        alone=lambda _: {},
        nothing=lambda _: {},
        exceptions={
            **WHOLE,
            "a_model_alone_comes_out_whole": "it has no weights: all models count alike",
            "no_model_gives_the_base": "it has no weights: all models count alike",
            "the_order_of_models_does_not_matter": "where directions cancel, the first model's is the start",
            "a_power_of_two_passes_through": "lengths are compared with tol",
        },
    ),
)
