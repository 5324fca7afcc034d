"""Cosine and relative distance of the same token in two sources."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mergelab.errors import InspectionError
from mergelab.inspection import between
from mergelab.inspection.between import COSINE, DISTANCE, QUANTILES, SHUFFLES, Paired, cosine, distance, mixed
from mergelab.inspection.grid import Floats, Grid
from tests.inspection.streams import normal, pass_by, prompts, rotation, stream, within

BATCHES, TOKENS = prompts()
COUNT = len(TOKENS.words)
INNER = TOKENS.counts


def paired(*streams: list[Tensor], sinks: tuple[int, ...] = ()) -> Paired:
    """Sources a, b, c ... read to the end."""
    found = Paired(BATCHES, TOKENS)
    pass_by([found], BATCHES, dict(zip("abc", streams, strict=False)), sinks)
    return found


def slow(a: Tensor, b: Tensor) -> tuple[Floats, Floats]:
    """Cosine and distance, token by token in float64."""
    x, y = a.double().numpy(), b.double().numpy()
    cosines = [u @ v / np.sqrt((u @ u) * (v @ v)) for u, v in zip(x, y, strict=True)]
    distances = [np.sqrt((v - u) @ (v - u) / (u @ u)) for u, v in zip(x, y, strict=True)]
    return np.array(cosines), np.array(distances)


def band(grid: Grid) -> tuple[Floats, Floats]:
    assert grid.chance is not None
    return np.asarray(grid.chance.low), np.asarray(grid.chance.high)


SEEDS = st.integers(0, 10**6)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16])


@given(SEEDS, st.integers(1, 9), st.integers(1, 40), st.sampled_from([1e-3, 1.0, 30.0]), DTYPES)
def test_cosine_and_distance_are_those_of_slow_float64(
    seed: int, count: int, width: int, scale: float, dtype: torch.dtype
) -> None:
    a = (normal(count, width, seed=seed) * scale + 0.1 * scale).to(dtype)
    b = (normal(count, width, seed=seed + 1) * scale).to(dtype)
    cosines, distances = slow(a, b)
    np.testing.assert_allclose(cosine(a, b).numpy(), cosines, atol=2e-6)
    np.testing.assert_allclose(distance(a, b).numpy(), distances, rtol=2e-6)


@given(SEEDS, st.floats(0.01, 100))
def test_a_scaled_stream_has_cosine_one_and_the_distance_of_its_scale(seed: int, scale: float) -> None:
    a = normal(5, 12, seed=seed)
    np.testing.assert_allclose(cosine(a, a * scale).numpy(), 1, atol=1e-6)
    np.testing.assert_allclose(distance(a, a * scale).numpy(), abs(scale - 1), rtol=1e-5, atol=1e-6)


@given(SEEDS)
def test_a_rotation_of_both_changes_nothing(seed: int) -> None:
    a, b, turn = normal(6, 10, seed=seed), normal(6, 10, seed=seed + 1), rotation(10, seed).float()
    np.testing.assert_allclose(cosine(a @ turn, b @ turn).numpy(), cosine(a, b).numpy(), atol=1e-6)
    np.testing.assert_allclose(distance(a @ turn, b @ turn).numpy(), distance(a, b).numpy(), rtol=1e-5)


def test_a_state_of_zero_has_no_direction() -> None:
    a, b = torch.zeros(1, 4), torch.ones(1, 4)
    assert cosine(a, b).isnan().all()
    assert not distance(a, b).isfinite().any()
    assert distance(b, a) == 1


@given(SEEDS, st.integers(2, 30))
def test_mixing_gives_every_token_another_one(seed: int, count: int) -> None:
    orders = mixed(count, seed)
    assert len(orders) == SHUFFLES
    for order in orders:
        assert sorted(order.tolist()) == list(range(count))
        assert not (order == torch.arange(count)).any()
    again = mixed(count, seed)
    assert all(torch.equal(one, other) for one, other in zip(orders, again, strict=True))


def test_quantiles_are_those_of_the_tokens_that_count() -> None:
    a, b, sinks = stream(COUNT, 6, 4, 1), stream(COUNT, 6, 4, 2), (7, 20)
    for states in (*a, *b):
        states[list(sinks)] = 1e4 * (1 + torch.arange(6.0))
        states[~INNER] *= 50
    left = INNER.copy()
    left[list(sinks)] = False
    found = paired(a, b, sinks=sinks)
    for kind, grid in enumerate((found.cosine("a", "b"), found.distance("a", "b"))):
        assert (grid.rows, grid.columns, grid.axes) == (tuple(QUANTILES), ("0", "1", "2", "3"), ("statistic", "layer"))
        for border in range(4):
            expected = np.quantile(slow(a[border], b[border])[kind][left], [0.05, 0.25, 0.5, 0.75, 0.95])
            np.testing.assert_allclose(grid.values[:, border], expected, rtol=1e-5)
        told = f"At least {left.sum()} tokens a layer; first ones, and sinks at that layer, are left out."
        assert grid.note == told


def test_comparing_in_portions_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = stream(COUNT, 6, 3, 1), stream(COUNT, 6, 3, 2)
    whole = paired(a, b).distance("a", "b")
    monkeypatch.setattr(between, "AT_ONCE", 4)
    parts = paired(a, b).distance("a", "b")
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-6)
    np.testing.assert_allclose(band(parts), band(whole), rtol=1e-6)


def test_distance_is_in_lengths_of_the_first() -> None:
    a = stream(COUNT, 6, 2, 1)
    found = paired(a, [3 * one for one in a])
    np.testing.assert_allclose(found.distance("a", "b").values, 2, rtol=1e-5)
    np.testing.assert_allclose(found.distance("b", "a").values, 2 / 3, rtol=1e-5)
    np.testing.assert_allclose(found.cosine("b", "a").values, 1, atol=1e-6)
    assert found.distance("b", "a").title == "Relative distance, a against b"
    np.testing.assert_array_equal(found.cosine("b", "a").values, found.cosine("a", "b").values)
    ends = zip(band(found.distance("b", "a")), band(found.distance("a", "b")), strict=True)
    assert all((one < other).all() for one, other in ends), "the band is turned round, too"


def test_the_same_model_twice_is_at_cosine_one_and_distance_zero() -> None:
    a = stream(COUNT, 6, 3)
    found = paired(a, a)
    np.testing.assert_allclose(found.cosine("a", "b").values, 1, atol=1e-6)
    assert (found.distance("a", "b").values == 0).all()
    low, high = band(found.cosine("a", "b"))
    assert (high[2] < 0.5).all(), "unrelated tokens are far from that"
    assert (band(found.distance("a", "b"))[0][2] > 1).all()
    assert low.shape == high.shape == (5, 3)


def test_sources_that_know_nothing_of_each_other_lie_within_chance() -> None:
    batches, tokens = prompts(((8, 30), (1, 20)))
    a, b = (stream(len(tokens.words), 24, 40, seed) for seed in (1, 2))
    found = Paired(batches, tokens)
    pass_by([found], batches, {"a": a, "b": b})
    for grid in (found.cosine("a", "b"), found.distance("a", "b")):
        low, high = band(grid)
        assert 0.8 < within(grid.values, low, high) < 0.98, "2 of 20 ranks are outside"
        assert (high - low < 0.3).all()


def test_another_basis_is_at_cosine_zero_and_far() -> None:
    turn = rotation(64).float()
    a = stream(COUNT, 64, 3)
    found = paired(a, [one @ turn for one in a])
    np.testing.assert_allclose(found.cosine("a", "b").row("median"), 0, atol=0.1)
    np.testing.assert_allclose(found.distance("a", "b").row("median"), np.sqrt(2), atol=0.1)


def test_a_direction_that_all_tokens_share_is_no_likeness() -> None:
    """Residual streams have one; the cosine is high and means nothing, and only the band says so."""
    common = 5 * normal(24)
    a, b = ([one + common for one in stream(COUNT, 24, 3, seed)] for seed in (1, 2))
    grid = paired(a, b).cosine("a", "b")
    low, high = band(grid)
    assert (grid.row("median") > 0.9).all()
    assert within(grid.row("median"), low[2] - 0.01, high[2] + 0.01) == 1


def test_one_layer_that_differs_is_seen_there() -> None:
    a = stream(COUNT, 6, 5)
    b = [one.clone() for one in a]
    b[3] = b[3] * 1.5
    np.testing.assert_allclose(paired(a, b).distance("a", "b").row("median"), [0, 0, 0, 0.5, 0], atol=1e-6)


def test_a_shallower_source_is_compared_as_far_as_it_goes() -> None:
    found = paired(stream(COUNT, 6, 5, 1), stream(COUNT, 6, 3, 2), stream(COUNT, 6, 5, 3))
    assert found.cosine("a", "b").columns == ("0", "1", "2")
    assert found.cosine("c", "a").columns == ("0", "1", "2", "3", "4")


def test_a_stopped_walk_leaves_what_it_saw() -> None:
    found = Paired(BATCHES, TOKENS)
    a, b = stream(COUNT, 6, 5, 1), stream(COUNT, 6, 5, 2)
    pass_by([found], BATCHES, {"a": a, "b": b}, layers=2)
    whole = paired(a, b).cosine("a", "b")
    np.testing.assert_array_equal(found.cosine("a", "b").values, whole.values[:, :3])


def test_how_prompts_fall_into_batches_changes_nothing() -> None:
    a, b = stream(COUNT, 6, 3, 1), stream(COUNT, 6, 3, 2)
    batches, tokens = prompts(((1, 5), (2, 5), (1, 4), (1, 7), (1, 7)))
    other = Paired(batches, tokens)
    pass_by([other], batches, {"a": a, "b": b})
    one = paired(a, b).distance("a", "b")
    np.testing.assert_array_equal(other.distance("a", "b").values, one.values)
    np.testing.assert_array_equal(band(other.distance("a", "b")), band(one))


def test_states_that_are_no_numbers_are_left_out_and_told() -> None:
    a, b = stream(COUNT, 6, 3, 1), stream(COUNT, 6, 3, 2)
    clean = paired(a, b).cosine("a", "b")
    b = [one.clone() for one in b]
    b[1][2] = torch.nan
    b[1][3] = 0
    b[2][:] = torch.inf
    grid = paired(a, b).cosine("a", "b")
    assert grid.note.endswith(f" {2 + INNER.sum()} states that are zero or no numbers are left out.")
    left = INNER.copy()
    left[[2, 3]] = False
    np.testing.assert_allclose(grid.row("median")[1], np.median(slow(a[1][left], b[1][left])[0]), rtol=1e-5)
    assert np.isnan(grid.values[:, 2]).all()
    np.testing.assert_array_equal(grid.values[:, 0], clean.values[:, 0])


def test_a_single_token_has_no_other_to_be_mixed_with() -> None:
    batches, tokens = prompts(((1, 2),))
    found = Paired(batches, tokens)
    pass_by([found], batches, {"a": stream(2, 6, 2, 1), "b": stream(2, 6, 2, 2)})
    grid = found.cosine("a", "b")
    assert grid.chance is None
    assert np.isfinite(grid.values).all()


def test_the_band_says_where_it_comes_from() -> None:
    grid = paired(stream(COUNT, 6, 2, 1), stream(COUNT, 6, 2, 2)).cosine("a", "b")
    assert grid.chance is not None
    assert "19 shuffles, 90 %" in grid.chance.how
    assert (COSINE.scale, DISTANCE.scale) == ("diverging", "linear")


def test_sources_without_common_coordinates_are_refused() -> None:
    found = paired(stream(COUNT, 6, 3, 1), stream(COUNT, 8, 3, 2))
    with pytest.raises(InspectionError, match=r"'a' has 6 channels and 'b' 8: .*take cka"):
        found.cosine("a", "b")


def test_a_name_that_was_not_read_is_refused() -> None:
    found = Paired(BATCHES, TOKENS)
    pass_by([found], BATCHES, {"base": stream(COUNT, 6, 2, 1), "pirate": stream(COUNT, 6, 2, 2)})
    with pytest.raises(InspectionError, match=r"'pirat' is not among .* Did you mean 'pirate'"):
        found.distance("base", "pirat")
    with pytest.raises(InspectionError, match="'base' is compared with itself"):
        found.cosine("base", "base")
