"""Distances between states that arrive and states at home: against slow references, and by what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from mergelab.inspection import distance
from mergelab.inspection.distance import DISTANCES, MEASURES, SPLITS, Figure, Floats, figures, rms_normalised, splits

SEEDS = st.integers(0, 10**6)
WIDTHS = st.integers(2, 9)


def cloud(seed: int, tokens: int, width: int) -> Floats:
    """States with a mean and unequal, correlated channels."""
    draw = np.random.default_rng(seed)
    mixing = draw.standard_normal((width, width)) * draw.uniform(0.1, 3, width)
    return np.asarray(draw.standard_normal((tokens, width)) @ mixing + draw.standard_normal(width))


def turn(width: int) -> Floats:
    return np.asarray(np.linalg.qr(np.random.default_rng(width).standard_normal((width, width)))[0])


@given(SEEDS, WIDTHS, st.integers(30, 60))
def test_frechet_is_the_formula_with_matrix_roots(seed: int, width: int, tokens: int) -> None:
    ours, theirs = cloud(seed, tokens, width), cloud(seed + 1, tokens + 3, width)
    c, h = np.cov(ours.T), np.cov(theirs.T)
    root = sqrtm(h)
    cross = np.trace(sqrtm(root @ c @ root)).real
    shift = np.square(ours.mean(0) - theirs.mean(0)).sum()
    expected = (shift + np.trace(c) + np.trace(h) - 2 * cross) / np.trace(h)
    assert distance.frechet(ours, theirs) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(SEEDS, st.floats(0.2, 5))
def test_frechet_of_one_channel_is_that_of_two_bell_curves(seed: int, scale: float) -> None:
    home = cloud(seed, 40, 1)
    moved = home * scale + 0.7
    wanted = (moved.mean() - home.mean()) ** 2 + (moved.std(ddof=1) - home.std(ddof=1)) ** 2
    assert distance.frechet(moved, home) == pytest.approx(wanted / home.var(ddof=1), rel=1e-9)


@given(SEEDS, WIDTHS, st.integers(3, 30))
def test_frechet_is_zero_for_the_same_states_even_where_there_are_few(seed: int, width: int, tokens: int) -> None:
    states = cloud(seed, tokens, width)
    assert distance.frechet(states, states) == pytest.approx(0, abs=1e-12)
    assert distance.frechet(np.c_[states, states[:, :1]], np.c_[states, states[:, :1]]) == pytest.approx(0, abs=1e-12)


@given(SEEDS, WIDTHS)
def test_frechet_is_the_same_where_both_clouds_are_turned(seed: int, width: int) -> None:
    ours, theirs, around = cloud(seed, 50, width), cloud(seed + 1, 50, width), turn(width)
    assert distance.frechet(ours @ around, theirs @ around) == pytest.approx(distance.frechet(ours, theirs), rel=1e-8)


@given(SEEDS, WIDTHS, st.floats(0.1, 10))
def test_scaled_states(seed: int, width: int, scale: float) -> None:
    home = cloud(seed, 31, width)
    assert distance.norm_ratio(home * scale, home) == pytest.approx(math.log(scale), abs=1e-9)
    assert distance.cosine(home * scale, home) == pytest.approx(1)
    assert distance.relative_distance(home * scale, home) == pytest.approx(abs(scale - 1))
    assert distance.covariance_shift(home * scale, home) == pytest.approx(abs(scale**2 - 1))
    np.testing.assert_allclose(rms_normalised(home * scale), rms_normalised(home), rtol=1e-9)
    np.testing.assert_allclose(np.mean(rms_normalised(home) ** 2, axis=1), 1)


@given(SEEDS, WIDTHS)
def test_moved_states(seed: int, width: int) -> None:
    home = cloud(seed, 31, width)
    step = np.arange(width) + 1.0
    spread = np.trace(np.cov(home.T))
    assert distance.mean_shift(home + step, home) == pytest.approx(np.linalg.norm(step) / np.sqrt(spread))
    assert distance.covariance_shift(home + step, home) == pytest.approx(0, abs=1e-9)
    assert distance.frechet(home + step, home) == pytest.approx(step @ step / spread)


@given(SEEDS, WIDTHS, st.integers(2, 20))
def test_paired_figures_token_by_token(seed: int, width: int, tokens: int) -> None:
    ours, theirs = cloud(seed, tokens, width), cloud(seed + 1, tokens, width)
    pairs = list(zip(ours, theirs, strict=True))
    cosines = [x @ h / math.sqrt((x @ x) * (h @ h)) for x, h in pairs]
    apart = [math.dist(x, h) / math.sqrt(h @ h) for x, h in pairs]
    assert distance.cosine(ours, theirs) == pytest.approx(sum(cosines) / tokens)
    assert distance.relative_distance(ours, theirs) == pytest.approx(sum(apart) / tokens)
    lengths = [sorted(math.sqrt(x @ x) for x in states) for states in (ours, theirs)]
    middles = [(one[(tokens - 1) // 2] + one[tokens // 2]) / 2 for one in lengths]
    assert distance.norm_ratio(ours, theirs) == pytest.approx(math.log(middles[0] / middles[1]))


def test_tokens_without_a_direction_are_left_out_and_nothing_left_is_nan() -> None:
    home = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert distance.cosine(home, home) == pytest.approx(1)
    assert distance.relative_distance(home * 2, home) == pytest.approx(1)
    assert np.isnan(distance.cosine(home * 0, home))
    one = np.ones((5, 3))
    assert np.isnan(distance.frechet(one, one))
    assert np.isnan(distance.mean_shift(one, one))
    assert np.isnan(distance.covariance_shift(one, one))


@pytest.mark.parametrize(("tokens", "width", "wanted"), [(1000, 64, 64), (300, 64, 30), (10**5, 4096, 256), (7, 9, 1)])
def test_covariances_are_taken_in_as_many_dimensions_as_tokens_suffice_for(
    tokens: int, width: int, wanted: int
) -> None:
    assert distance.dimensions(tokens, width) == wanted


def test_the_projection_is_orthonormal_and_always_the_same() -> None:
    onto = distance.projection(11, 4, seed=3)
    np.testing.assert_allclose(onto.T @ onto, np.eye(4), atol=1e-12)
    assert np.array_equal(onto, distance.projection(11, 4, seed=3))
    assert not np.allclose(onto, distance.projection(11, 4, seed=4))
    assert np.array_equal(distance.projection(5, 5, seed=0), np.eye(5))


@pytest.mark.parametrize("tokens", [40, 41])
def test_splits_halve_the_tokens_in_many_ways_that_are_always_the_same(tokens: int) -> None:
    found = splits(tokens, seed=1)
    assert len({tuple(sorted(left)) for left, _ in found}) == SPLITS
    for left, right in found:
        assert len(left) == len(right) == 20
        assert len({*left, *right} & set(range(tokens))) == 40
    for (left, right), (again, other) in zip(found, splits(tokens, seed=1), strict=True):
        assert np.array_equal(left, again)
        assert np.array_equal(right, other)
    assert not np.array_equal(found[0][0], splits(tokens, seed=2)[0][0])


def told(arriving: Floats, home: Floats) -> dict[str, Figure]:
    read = rms_normalised(arriving), rms_normalised(home)
    return figures(arriving, home, read, seed=2)


def off(arriving: Floats, home: Floats) -> list[str]:
    return [name for name, figure in told(arriving, home).items() if figure.off]


def test_the_same_states_are_in_order() -> None:
    assert off(cloud(3, 200, 7), cloud(3, 200, 7)) == []


def test_twice_as_long_states_are_off_in_length_and_in_nothing_that_is_read() -> None:
    home = cloud(3, 200, 7)
    found = told(home * 2, home)
    assert [name for name, figure in found.items() if figure.off and name.endswith("_read")] == []
    assert found["norm_ratio"].off
    assert found["norm_ratio"].value == pytest.approx(math.log(2))
    assert found["frechet_read"].value == pytest.approx(0, abs=1e-12)
    assert found["cosine_read"].value == pytest.approx(1)


def test_a_turned_basis_is_off_in_all_but_length() -> None:
    draw = np.random.default_rng(0)
    home = draw.standard_normal((400, 12)) * np.linspace(0.2, 3, 12) + 3 * draw.standard_normal(12)
    assert off(home @ turn(12), home) == [name for name in MEASURES if name != "norm_ratio"]


def test_other_tokens_of_the_same_kind_lie_within_chance() -> None:
    """What is drawn from the same population is called a shift no more often than chance lets it."""
    unpaired = [one.measure.name for one in DISTANCES if not one.paired]
    wrong = dict.fromkeys(unpaired, 0)
    for seed in range(20):
        both = np.random.default_rng(seed).standard_normal((240, 5)) * np.arange(1, 6) + 1
        found = told(both[:120], both[120:])
        for name in unpaired:
            wrong[name] += found[name].off
    assert max(wrong.values()) <= 4, wrong


def test_states_of_other_tokens_are_off_where_tokens_are_paired() -> None:
    home = cloud(5, 300, 6)
    found = told(home[np.random.default_rng(1).permutation(300)], home)
    assert found["frechet"].value == pytest.approx(0, abs=1e-12)
    for name, figure in found.items():
        if figure.distance.paired:
            assert figure.low < figure.value < figure.high, name
            assert figure.off


@pytest.mark.parametrize("read", ["", "_read"])
def test_a_moved_mean_is_no_other_basis_and_a_shared_mean_does_not_hide_one(read: str) -> None:
    draw = np.random.default_rng(0)
    home, mean = draw.standard_normal((400, 32)), draw.standard_normal(32)
    apart = 1.5 * draw.standard_normal(32)
    moved = told(home + apart + 2 * draw.standard_normal(32), home + apart)
    lost = told(0.1 * draw.standard_normal((400, 32)) + mean, 2 * home + mean)
    for name in ("cosine", "distance"):
        assert not moved[name + read].off
        assert lost[name + read].off
    assert moved["mean_shift" + read].off


@pytest.mark.parametrize(("tokens", "width"), [(400, 12), (200, 64)])
def test_a_basis_turned_by_chance_is_no_more_alike_than_chance_lets_it(tokens: int, width: int) -> None:
    """A random rotation leaves some likeness, tr(QC), that does not grow less with more tokens."""
    kept = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        home = draw.standard_normal((tokens, width)) * np.linspace(0.5, 2, width) + 0.5
        basis, triangle = np.linalg.qr(draw.standard_normal((width, width)))
        kept += not told(home @ (basis * np.sign(np.diag(triangle))), home)["cosine_read"].off
    assert kept <= 3


@pytest.mark.parametrize("turn", [1, -1])
def test_opposite_ends_do_not_cancel(turn: int) -> None:
    home = cloud(1, 200, 5)
    ends = [told(home * size**turn, home)["norm_ratio"] for size in (2.0, 1 / 3)]
    both = distance.average(ends)
    assert both.value == pytest.approx(-turn * (math.log(2) + math.log(3)) / 2)
    assert both.off
    np.testing.assert_allclose(abs(both.draws), (abs(ends[0].draws) + abs(ends[1].draws)) / 2)
    assert both.low < 0 < both.high
    again = distance.average([ends[0], told(home * 3.0**turn, home)["norm_ratio"]])
    assert again.value == pytest.approx(turn * math.log(6) / 2)
    assert not distance.average([told(home, home)["norm_ratio"]] * 2).off


def test_averages_are_taken_split_by_split() -> None:
    ends = [told(cloud(1, 100, 4), cloud(2, 100, 4)), told(cloud(3, 100, 4), cloud(4, 100, 4))]
    one, other = (end["cosine"] for end in ends)
    both = distance.average([one, other])
    assert both.value == pytest.approx((one.value + other.value) / 2)
    np.testing.assert_allclose(both.draws, (one.draws + other.draws) / 2)
    assert both.distance is one.distance


def test_every_measure_says_what_it_is() -> None:
    assert len(MEASURES) == len(DISTANCES) == 11
    for name, measure in MEASURES.items():
        assert all((measure.title, measure.unit, measure.shows, measure.formula, measure.source, measure.reading)), name
        assert measure.shows.endswith(".")
        assert ("turned at random" in distance.HOW[name]) == name.startswith(("cosine", "distance"))
        one_sided = name != "norm_ratio" and "turned at random" not in distance.HOW[name]
        assert distance.HOW[name].endswith("(97.5 %)" if one_sided else "(95 %)")
