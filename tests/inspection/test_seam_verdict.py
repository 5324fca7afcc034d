"""Verdicts on seams and layers: each kind is said only where the figures for it are there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from mergelab.inspection.distance import DISTANCES, Figure
from mergelab.inspection.seam_verdict import blame, verdict

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
        ([end(mean_shift_read=0.2), end()], "Slightly shifted"),
        ([end(), end(covariance_shift_read=0.2)], "Slightly shifted"),
        ([end(frechet_read=0.25), end(frechet_read=0.07)], "Slightly shifted"),
        ([end(frechet_read=0.07), end(frechet_read=0.26)], "Shifted"),
        ([end(frechet_read=0.07, cosine_read=0.66), end()], "Slightly shifted"),
        ([end(frechet_read=0.07), end(cosine_read=0.65)], "Shifted"),
        ([end(frechet_read=0.07), end(norm_ratio=-0.4)], "Slightly shifted"),
        ([end(frechet_read=0.07), end(norm_ratio=-0.41)], "Shifted"),
        ([end(norm_ratio=0.3, cosine_read=0.9), end()], "Slightly shifted"),
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
        "Shifted: at the exit what the layer reads is 0.9 of its spread from home (Fréchet distance; "
        "chance: up to 0.06); as read there, a token's cosine with itself at home is 0.70 "
        "(in a random basis: up to 0.30)."
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


def test_where_nothing_is_off_the_end_further_from_home_is_quoted() -> None:
    assert verdict([end(), end(frechet_read=0.05)], [True, True]).startswith("Within chance: at the exit")


NONE = float("nan")


@pytest.mark.parametrize(
    ("moved", "without", "said"),
    [
        ([0, 0.2, 0.63, 0.4], [0.9, 0.3, 0.61, 0.3], "layer 2 is worse than none: it takes"),
        ([0, 0.2, 0.63, 0.4], [0.9, 0.3, 0.61, 0.3], "leaving the host's layer out by 0.61. So are 3."),
        ([0, 0.1, 0.4], [0.9, 0.05, 0.6], "layer 1 is worse than none"),
        ([0, 0.1], [0.9, 0.05], "out by 0.05."),
        ([0, 0.1, 0.4], [0.9, 0.3, 0.6], "layer 2 takes the host's states furthest astray, by 0.4 of their"),
        ([0, 0.1, 0.4], [0.9, 0.3, 0.6], "does more, 0.6: alone it need not be to blame."),
        ([0, 0.1, 0.4], [0.9, 0.3, NONE], "by 0.4 of their length. It is one more layer"),
        ([0, 0], [0.9, 0.3], "no layer takes"),
    ],
)  # fmt: skip
def test_a_layer_is_blamed_only_where_none_would_do_better(moved: list[float], without: list[float], said: str) -> None:
    found = blame(np.array(moved), np.array(without))
    assert found.startswith("One step: ")
    assert said in found


def test_no_layer_is_blamed_before_all_are_measured() -> None:
    assert blame(np.array([0, NONE]), np.array([1, NONE])) == ""
