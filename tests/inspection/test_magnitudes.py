"""Levels and curves, held against float64 and exact trimming."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.inspection import magnitudes
from mergelab.inspection.magnitudes import CELLS, DENSITIES, FLOOR, LEVELS, Both, Coder, Lone, Reals, edges

KINDS = ("normal", "heavy", "lattice", "sparse", "far")


def draw(kind: str, size: int, seed: int) -> Reals:
    """Changes of a kind, float32 values."""
    source = np.random.default_rng(seed)
    values = {
        "normal": lambda: source.normal(size=size),
        "heavy": lambda: source.standard_t(2, size=size),
        "lattice": lambda: source.integers(-4, 5, size=size) / 64,
        "sparse": lambda: source.normal(size=size) * (source.random(size) < 0.1),
        "far": lambda: source.normal(size=size) * 2.0 ** source.integers(-30, 3, size=size),
    }[kind]()
    return values.astype(np.float32).astype(np.float64)


def levels(values: Reals) -> tuple[Coder, float]:
    """What a coder makes of changes, and their scale."""
    given = torch.from_numpy(values).float()
    scale = magnitudes.sampled_scale(given, torch.zeros_like(given))
    coder = Coder(1, len(values))
    coder.read((given[None] * scale).numpy())
    return coder, scale


def curves(one: Reals, other: Reals) -> tuple[Lone, Lone, Both]:
    scale, far = (levels(values)[1] for values in (one, other))
    coder = Coder(2, len(one) + 3)
    coder.read(np.stack([one * scale, other * far]).astype(np.float32))
    cells = np.empty(len(one), np.int16)
    coder.pair(0, 1, cells)
    counts = np.bincount(cells, minlength=CELLS).reshape(2, LEVELS, LEVELS)
    return (
        magnitudes.lone(counts.sum(axis=(0, 2)), scale, len(one)),
        magnitudes.lone(counts.sum(axis=(0, 1)), far, len(one)),
        magnitudes.both(counts, (scale, far), len(one)),
    )


def largest(values: Reals, count: int) -> Reals:
    """Which are the largest: among equals the first."""
    mask = np.zeros(len(values), dtype=bool)
    mask[np.argsort(-np.abs(values), kind="stable")[:count]] = True
    return mask


pairs = st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(1, 600), st.integers(0, 9999))


@given(st.sampled_from(KINDS), st.integers(1, 500), st.integers(0, 9999), st.floats(1e-20, 1e20))
def test_levels_are_where_magnitudes_lie(kind: str, size: int, seed: int, unit: float) -> None:
    values = draw(kind, size, seed) * np.float64(np.float32(unit))
    coder, scale = levels(values)
    scaled = np.abs(values.astype(np.float32).astype(np.float64)) * scale
    assert scaled.max() < 2, "the largest has a level of its own kind"
    found = coder.level[0]
    blur = 2.0**-24 * (scaled + FLOOR)
    low, high = (np.minimum(np.searchsorted(edges(), scaled + shift), LEVELS - 1) for shift in (-blur, blur))
    assert (found >= low).all()
    assert (found <= high).all()
    assert (found > 0)[scaled > 2.0**-39].all(), "only nothing is of level 0"
    assert (found == 0)[scaled == 0].all()
    assert (coder.negative[0][found > 0] == (values < 0)[found > 0]).all()


def test_levels_are_an_eighth_of_an_octave() -> None:
    ends = edges()
    assert len(ends) == LEVELS
    np.testing.assert_array_equal(ends[:9], np.arange(9) * 2.0**-18)
    np.testing.assert_array_equal(ends[8:] + FLOOR, 2 * (ends[:-8] + FLOOR))
    np.testing.assert_array_equal(ends[-8:], 1 + np.arange(8) / 8 - FLOOR)


@given(pairs)
def test_counts_differ_from_exact_trimming_by_ties_of_a_level_at_most(drawn: tuple[str, str, int, int]) -> None:
    """A weight can be counted otherwise only where one of its changes is of the level in which the threshold lies."""
    first, second, size, seed = drawn
    one, other = draw(first, size, seed), draw(second, size, seed + 1)
    *_, kept = curves(one, other)
    ours, theirs = levels(one)[0].level[0], levels(other)[0].level[0]
    for place in range(0, len(DENSITIES), 8):
        count = int(DENSITIES[place] * size)
        masks = [largest(values, count) & (level > 0) for values, level in ((one, ours), (other, theirs))]
        unsure = np.zeros(size, dtype=bool)
        for level in (ours, theirs):
            ordered = np.sort(level)[::-1]
            unsure |= np.isin(level, ordered[max(count - 1, 0) : count + 1])
        both = masks[0] & masks[1]
        apart = both & (one * other < 0)
        assert abs(kept.weights[place] - both.sum()) <= unsure.sum() + 1e-9
        assert abs(kept.apart[place] - apart.sum()) <= unsure.sum() + 1e-9


@given(pairs)
def test_with_all_kept_counts_are_exact(drawn: tuple[str, str, int, int]) -> None:
    first, second, size, seed = drawn
    one, other = draw(first, size, seed), draw(second, size, seed + 1)
    alone, _, kept = curves(one, other)
    seen = (levels(one)[0].level[0] > 0) & (levels(other)[0].level[0] > 0)
    least = np.minimum(np.abs(one), np.abs(other))
    assert kept.weights[-1] == seen.sum()
    assert kept.apart[-1] == (seen & (one * other < 0)).sum()
    near = {"rtol": 1 / 7, "atol": 1e-4 * np.abs(one).max()}
    np.testing.assert_allclose(alone.mass[-1], np.abs(one).sum(), **near)
    np.testing.assert_allclose(alone.energy[-1], (one**2).sum(), rtol=2 / 7, atol=1e-7 * (one**2).max())
    floor = size * 2.0**-15 * max(np.abs(one).max(), np.abs(other).max())  # the lowest levels are wide
    np.testing.assert_allclose(kept.least[-1], least.sum(), rtol=1 / 6, atol=floor)


def test_magnitudes_of_many_weights_are_close() -> None:
    """The middles of levels stand for what lies in them: to one per cent, where no level has a shape of its own."""
    one, other = draw("normal", 100_000, 1), draw("normal", 100_000, 2) * 0.3
    alone, second, kept = curves(one, other)
    for place in (64, 96, 128):
        masks = [largest(values, int(DENSITIES[place] * len(one))) for values in (one, other)]
        both = masks[0] & masks[1]
        least = np.minimum(np.abs(one), np.abs(other))
        apart = both & (one * other < 0)
        assert alone.mass[place] == pytest.approx(np.abs(one[masks[0]]).sum(), rel=1e-2)
        assert second.mass[place] == pytest.approx(np.abs(other[masks[1]]).sum(), rel=1e-2)
        assert alone.energy[place] == pytest.approx((one[masks[0]] ** 2).sum(), rel=1e-2)
        assert kept.weights[place] == pytest.approx(both.sum(), rel=1e-2)
        assert kept.apart[place] / kept.weights[place] == pytest.approx(apart.sum() / both.sum(), rel=1e-2)
        assert kept.apart_least[place] == pytest.approx(least[apart].sum(), rel=1e-2)
        assert kept.least[place] == pytest.approx(least[both].sum(), rel=1e-2)
        assert kept.least_squares[place] == pytest.approx((least[both] ** 2).sum(), rel=1e-2)


def test_equal_magnitudes_are_shared_out() -> None:
    """A density that cuts through ties keeps their share, of both changes as if they lay in random order."""
    one = np.ones(1000)
    other = np.where(np.arange(1000) < 250, -1.0, 1.0)
    alone, _, kept = curves(one, other)
    np.testing.assert_allclose(alone.weights, DENSITIES * 1000)
    np.testing.assert_allclose(kept.weights, DENSITIES**2 * 1000)
    np.testing.assert_allclose(kept.apart, DENSITIES**2 * 250)


def test_what_is_kept_grows_with_the_density() -> None:
    found = curves(draw("heavy", 5000, 3), draw("sparse", 5000, 4))
    for sums in (kept.sums[:6] for kept in found):
        assert (sums[..., 0] == 0).all()
        assert (np.diff(sums, axis=-1) >= -1e-9).all()
    assert found[1].weights.max() == (draw("sparse", 5000, 4) != 0).sum()


def test_a_sample_gives_the_scale_of_a_long_tensor() -> None:
    """Up to two octaves above it, and what is larger still is of the highest level."""
    values = torch.from_numpy(draw("normal", 300_000, 5)).float()
    found = magnitudes.sampled_scale(values, torch.zeros_like(values))
    assert 0.125 <= float(values.abs().max()) * found < 2
    assert magnitudes.sampled_scale(torch.ones(300_000), torch.zeros(300_000)) == magnitudes.scale(4.0)
    values[1234] = 1000.0
    assert magnitudes.sampled_scale(values, torch.zeros_like(values)) == found
    coder = Coder(1, len(values))
    coder.read((values[None] * found).numpy())
    assert int(coder.level[0, 1234]) == int(coder.level.max()) == LEVELS - 1


def test_a_change_that_a_sample_misses_is_found() -> None:
    values = torch.zeros(300_000)
    values[1235] = 3.0
    assert magnitudes.sampled_scale(values, torch.zeros_like(values)) == magnitudes.scale(3.0) == 0.5
    assert magnitudes.sampled_scale(torch.zeros(300_000), torch.zeros(300_000)) == 1.0


@given(st.floats(1e-44, 1e37))
def test_scales_are_powers_of_two(value: float) -> None:
    found = magnitudes.scale(value)
    assert np.log2(found) == round(np.log2(found))
    assert value * found < 2
    assert value * found >= 1 or found == 2.0**126


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
def test_nothing_has_no_scale(value: float) -> None:
    assert magnitudes.scale(value) == 1.0


def test_cells_have_room_for_every_pair() -> None:
    coder = Coder(2, 4)
    coder.read(np.float32([[1.99, -1.99, 0.0, -0.999], [1.99, 1.99, -1.99, -0.999]]))
    cells = np.empty(4, np.int16)
    coder.pair(0, 1, cells)
    counts = np.bincount(cells, minlength=CELLS).reshape(2, LEVELS, LEVELS)
    assert counts[0, 127, 127] == counts[1, 127, 127] == counts[1, 0, 127] == counts[0, 120, 120] == 1


def test_the_smaller_of_two_in_one_level_lies_a_third_above_its_beginning() -> None:
    source = np.random.default_rng(6)
    one, other = (source.uniform(1, 1.125, 50_000) for _ in range(2))
    *_, kept = curves(one, other * 4)
    assert kept.least[-1] == pytest.approx(np.minimum(one, other * 4).sum(), rel=3e-3)
    *_, kept = curves(one, other)
    assert kept.least[-1] == pytest.approx(np.minimum(one, other).sum(), rel=3e-3)
    assert kept.least_squares[-1] == pytest.approx((np.minimum(one, other) ** 2).sum(), rel=3e-3)
