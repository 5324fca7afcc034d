"""Verdicts on seams: each kind is said only where the figures for it are there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from mergelab.inspection.distance import DISTANCES, Figure
from mergelab.inspection.seam_verdict import verdict

# What chance gives: (lowest, highest) draw.
CHANCE = {"norm_ratio": (-0.1, 0.1), "cosine": (0.1, 0.3), "distance": (1.1, 1.4)}
FITTING = {"norm_ratio": 0.02, "cosine": 0.995, "distance": 0.05}


def end(**changed: float) -> Mapping[str, Figure]:
    """Figures in order, but for those that are given."""
    found = {}
    for one in DISTANCES:
        name = one.measure.name
        plain = name.removesuffix("_read")
        draws = np.array(CHANCE.get(plain, (0.01, 0.06)))
        found[name] = Figure(one, changed.get(name, FITTING.get(plain, 0.03)), draws)
    return found


BASIS = {"frechet_read": 1.9, "cosine_read": 0.05}


@pytest.mark.parametrize(
    ("ends", "kind"),
    [
        ([end(), end()], "Within chance"),
        ([end(cosine_read=0.9), end()], "Within chance"),
        ([end(norm_ratio=0.7), end()], "Scale only"),
        ([end(), end(norm_ratio=-0.7, frechet=0.8, covariance_shift=0.9, mean_shift=0.5)], "Scale only"),
        ([end(norm_ratio=0.7, cosine_read=0.9), end()], "Shifted"),
        ([end(norm_ratio=0.7), end(frechet_read=0.07)], "Shifted"),
        ([end(mean_shift_read=0.2), end()], "Shifted"),
        ([end(), end(covariance_shift_read=0.2)], "Shifted"),
        ([end(frechet_read=0.2, cosine_read=0.31), end()], "Shifted"),
        ([end(frechet_read=0.2, cosine_read=0.3), end()], "Another basis"),
        ([end(), end(**BASIS)], "Another basis"),
        ([end(**BASIS)], "Another basis"),
        ([end(cosine_read=0.05), end()], "Within chance"),
        ([], "Not measured"),
    ],
)
def test_each_kind_is_said_where_its_figures_are_off(ends: list[Mapping[str, Figure]], kind: str) -> None:
    assert verdict(ends, [True] * len(ends)).split(":")[0] == kind


def test_the_figures_are_those_of_the_worse_end() -> None:
    said = verdict([end(frechet_read=0.2), end(frechet_read=0.9, cosine_read=0.7)], [True, True])
    assert said == (
        "Shifted: at the exit what the layer reads is 0.9 of its spread from home (Frechet; chance: up to 0.06); "
        "a token's cosine with itself at home is 0.70 (other tokens: up to 0.30)."
    )
    lost = verdict([end(frechet_read=0.3, cosine_read=0.1), end(frechet_read=0.9, cosine_read=0.7)], [True, True])
    assert lost.startswith("Another basis: at the entry what the layer reads is 0.3 of its spread")
    said = verdict([end(norm_ratio=0.2), end(norm_ratio=-np.log(4))], [True, True])
    assert "at the exit states are 0.25 times as long as at home (chance: 0.905 to 1.11)" in said


def test_length_matters_where_the_layer_does_not_normalise() -> None:
    ends = [end(norm_ratio=0.7), end()]
    assert "does not normalise" in verdict(ends, [False, True])
    assert "that is within chance" in verdict(ends, [True, False])


def test_the_shift_furthest_from_chance_is_named() -> None:
    assert "the middle of what the layer reads has moved by 0.5 " in verdict([end(mean_shift_read=0.5)], [True])
    assert "the spread of what the layer reads is 0.5 other" in verdict([end(covariance_shift_read=0.5)], [True])
