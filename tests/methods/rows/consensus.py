"""Methods of consensus.py: float64 references from the papers' equations, element by element, and their rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from tests.methods.row import Row, Vector, along, places


def model_stock(models: Sequence[Vector], base: Vector, *, shape: tuple[int, ...], filter_wise: bool = False) -> Vector:
    """arXiv:2403.19522 for k models, as mergekit writes it: t mean + (1 - t) theta_0."""
    merged = list(base)
    count = len(models)
    for vector in along(shape, -1 if filter_wise else None):
        taus = [[model[at] - base[at] for at in vector] for model in models]
        cosines = []
        for x, y in itertools.combinations(taus, 2):
            scale = math.sqrt(math.fsum(a * a for a in x)) * math.sqrt(math.fsum(b * b for b in y))
            inner = math.fsum(a * b for a, b in zip(x, y, strict=True))
            cosines.append(max(-1.0, min(1.0, inner / max(scale, 1e-6))))
        cosine = math.fsum(cosines) / len(cosines)
        divisor = 1 + (count - 1) * cosine
        t = 0.0 if abs(divisor) < 1e-6 else count * cosine / divisor
        for at in vector:
            merged[at] = t * math.fsum(model[at] for model in models) / count + (1 - t) * base[at]
    return merged


def sce(models: Sequence[Vector], base: Vector, *, select_topk: float = 1.0) -> Vector:
    """arXiv:2408.07990, section 3.3: select, calculate, erase; the variance as a mean of squared deviations."""
    taus = [[x - here for x, here in zip(model, base, strict=True)] for model in models]
    count = len(taus)
    if select_topk < 1:
        # k^2 times the variance, which is exact for such numbers, so that equal ones are equal.
        spread = [count * math.fsum(t * t for t in place) - math.fsum(place) ** 2 for place in places(taus)]
        most = int(sum(one > 0 for one in spread) * select_topk)
        chosen = set(sorted(range(len(spread)), key=lambda at: (-spread[at], at))[:most])
        taus = [[t if at in chosen else 0.0 for at, t in enumerate(tau)] for tau in taus]
    energy = [math.fsum(t * t for t in tau) / len(tau) for tau in taus]
    whole = math.fsum(energy)
    weight = [1 / count] * count if whole < 1e-6 else [one / whole for one in energy]
    merged = []
    for here, place in zip(base, places(taus), strict=True):
        sign = 1.0 if math.fsum(place) >= 0 else -1.0
        agreeing = [(w, t) for w, t in zip(weight, place, strict=True) if t * sign > 0]
        divisor = max(math.fsum(w for w, _ in agreeing), 1e-6)
        merged.append(here + math.fsum(w * t for w, t in agreeing) / divisor)
    return merged


def ram(models: Sequence[Vector], base: Vector, *, epsilon: float = 1e-5) -> Vector:
    """arXiv:2601.13572: unique changes summed, shared ones averaged."""
    return ramplus_tl(models, base, epsilon=epsilon, r=0.0, alpha=0.0)


def ramplus_tl(
    models: Sequence[Vector], base: Vector, *, epsilon: float = 1e-5, r: float = 0.1, alpha: float = 0.2
) -> Vector:
    """arXiv:2601.13572, RAM+: unique changes times 1 + r min(shared / unique, alpha), per model."""
    taus = [[x - here for x, here in zip(model, base, strict=True)] for model in models]
    on = [[abs(t) > epsilon for t in tau] for tau in taus]
    sharers = [sum(place) for place in zip(*on, strict=True)]
    growth = []
    for changed in on:
        unique = sum(mine and many == 1 for mine, many in zip(changed, sharers, strict=True))
        shared = sum(mine and many > 1 for mine, many in zip(changed, sharers, strict=True))
        growth.append(1 + r * min(shared / max(unique, epsilon) if unique else 0.0, alpha))
    merged = []
    for at, here in enumerate(base):
        parts = [
            tau[at] * (grows if sharers[at] == 1 else 1 / sharers[at])
            for tau, changed, grows in zip(taus, on, growth, strict=True)
            if changed[at]
        ]
        merged.append(here + math.fsum(parts))
    return merged


ALIKE = {"a_model_alone_comes_out_whole": "it has no weights: all models count alike"}
ROWS = (
    Row(
        "model_stock",
        model_stock,
        steep=1024,  # t grows where task vectors are nearly opposite
        absolute=True,
        alone=lambda _: {},
        nothing=lambda _: {},
        exceptions={
            **ALIKE,
            "no_model_gives_the_base": "it has no weights: all models count alike",
            "a_power_of_two_passes_through": "products of lengths are at least 1e-6",
            "not_a_number_stays_at_its_place": "lengths and angles are those of whole vectors",
            "elements_are_merged_one_by_one": "lengths and angles are those of whole vectors",
        },
    ),
    Row(
        "sce",
        sce,
        decides=True,
        absolute=True,
        alone=lambda _: {},
        nothing=lambda _: {"select_topk": 0.0},
        exceptions={
            **ALIKE,
            "a_power_of_two_passes_through": "weights are equal where mean squares are under 1e-6",
            "mirrored_inputs_give_the_mirrored_result": "where the signs balance, plus is elected",
            "not_a_number_stays_at_its_place": "weights are those of the whole tensor",
            "elements_are_merged_one_by_one": "weights and selection are those of the whole tensor",
        },
    ),
    Row(
        "ram",
        ram,
        decides=True,
        alone=lambda _: {},
        nothing=lambda _: {"epsilon": 1e6},
        exceptions={**ALIKE, "a_power_of_two_passes_through": "changes are compared with epsilon"},
    ),
    Row(
        "ramplus_tl",
        ramplus_tl,
        decides=True,
        steep=4,  # r alpha
        alone=lambda _: {},
        nothing=lambda _: {"epsilon": 1e6},
        exceptions={
            **ALIKE,
            "a_power_of_two_passes_through": "changes are compared with epsilon",
            "elements_are_merged_one_by_one": "what is shared is counted over the whole tensor",
        },
    ),
)
