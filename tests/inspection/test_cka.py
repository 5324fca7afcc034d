"""Unbiased linear CKA: two layers' arrangement of the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mergelab.errors import InspectionError
from mergelab.inspection.between import Paired
from mergelab.inspection.cka import Similarity, centred, cka
from mergelab.inspection.grid import Floats
from tests.inspection.streams import normal, pass_by, prompts, rotation, stream, within

BATCHES, TOKENS = prompts(((4, 12), (1, 9), (3, 5)))
COUNT = len(TOKENS.words)
INNER = torch.from_numpy(TOKENS.counts)
SEEDS = st.integers(0, 10**6)


def hsic(k: Floats, m: Floats) -> float:
    """HSIC1 as Nguyen et al. 2021 print it in equation 3, in float64."""
    n = len(k)
    k, m, ones = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
    middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float((np.trace(k @ m) + middle - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3)))


def slow(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    grams = [(x.double() @ x.double().T, y.double() @ y.double().T) for x, y in zip(first, second, strict=True)]
    across, ours, theirs = (
        sum(hsic(pair[one].numpy(), pair[other].numpy()) for pair in grams) for one, other in ((0, 1), (0, 0), (1, 1))
    )
    return across / np.sqrt(ours * theirs)


def similarity(*streams: list[Tensor], sinks: tuple[int, ...] = (), group: int = 256, count: int = 1024) -> Similarity:
    found = Similarity(BATCHES, TOKENS, group=group, count=count)
    pass_by([found], BATCHES, dict(zip("abc", streams, strict=False)), sinks)
    return found


def related(width: int, seed: int, noise: float = 0.5) -> list[Tensor]:
    """A stream that drifts from border to border, and only in part."""
    first = normal(COUNT, width, seed=seed)
    found = [first]
    for border in range(3):
        found.append(found[-1] + noise * normal(COUNT, width, seed=seed + 10 + border))
    return found


@given(SEEDS, st.integers(3, 9))
def test_centring_makes_hsic_an_inner_product(seed: int, n: int) -> None:
    k, m = ((x @ x.T).double().numpy() for x in (normal(n, 4, seed=seed), normal(n, 7, seed=seed + 1)))
    u, v = centred(k), centred(m)
    np.testing.assert_allclose(u.sum(0), 0, atol=1e-12)
    assert (u.diagonal() == 0).all()
    if n > 3:
        np.testing.assert_allclose((u * v).sum() / (n * (n - 3)), hsic(k, m), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(centred(np.stack([k, m]))[1], v)


@given(SEEDS, st.lists(st.integers(4, 12), min_size=1, max_size=3), st.integers(1, 20), st.integers(1, 20))
def test_cka_is_that_of_slow_float64(seed: int, groups: list[int], one: int, other: int) -> None:
    first = [normal(n, one, seed=seed + number) + 3 for number, n in enumerate(groups)]
    second = [normal(n, other, seed=seed + 50 + number) + 0.5 * first[number][:, :1] for number, n in enumerate(groups)]
    np.testing.assert_allclose(cka(first, second), slow(first, second), atol=2e-6)


@given(SEEDS, st.floats(0.01, 100), st.floats(-20, 20))
def test_rotation_scale_shift_and_the_order_of_tokens_change_nothing(seed: int, scale: float, shift: float) -> None:
    x, y = normal(15, 8, seed=seed), normal(15, 5, seed=seed + 1)
    x = x + y[:, :1]
    found = cka([x], [y])
    turned = (scale * (x.double() @ rotation(8, seed) + shift * normal(8))).float()
    np.testing.assert_allclose(cka([turned], [y]), found, atol=1e-4)
    np.testing.assert_allclose(cka([x @ rotation(8, seed).float()], [y]), found, atol=1e-5)
    np.testing.assert_allclose(cka([x * scale], [y]), found, atol=1e-5)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(15))
    np.testing.assert_allclose(cka([x[order]], [y[order]]), found, atol=1e-5)
    np.testing.assert_allclose(cka([y], [x]), found, atol=1e-6)
    np.testing.assert_allclose(cka([x], [x]), 1, atol=1e-9)
    assert -1 <= found <= 1


def test_far_from_the_origin_no_digits_are_lost() -> None:
    """A float32 Gram matrix of states with a large common part has none of the differences left."""
    x, y = normal(20, 6, seed=1), normal(20, 6, seed=2)
    np.testing.assert_allclose(cka([x + 1000], [y]), cka([x], [y]), atol=1e-3)


def test_states_that_are_independent_give_zero_on_average() -> None:
    """What makes it unbiased; of few tokens of many channels the biased one would say 0.75."""
    found = [cka([normal(16, 48, seed=seed)], [normal(16, 48, seed=5000 + seed)]) for seed in range(400)]
    assert abs(np.mean(found)) < 4 * np.std(found) / 20
    assert np.std(found) < 0.2


def test_states_that_are_all_one_have_no_arrangement() -> None:
    assert np.isnan(cka([torch.ones(6, 3)], [normal(6, 3)]))
    assert np.isnan(cka([normal(3, 3)], [normal(3, 3)])), "4 tokens are needed"
    x, y = normal(9, 3, seed=1), normal(9, 3, seed=2)
    assert cka([x, x[:3]], [y, y[:3]]) == cka([x], [y])


def test_every_layer_is_compared_with_every_layer() -> None:
    a, b = related(6, 1), [one @ normal(6, 9, seed=7) for one in related(6, 1, 1.0)][:3]
    grid = similarity(a, b).cka("a", "b")
    expected = [[slow([x[INNER]], [y[INNER]]) for y in b] for x in a]
    np.testing.assert_allclose(grid.values, expected, atol=1e-5)
    assert grid.axes == ("layer of a", "layer of b")
    assert (grid.rows, grid.columns) == (("0", "1", "2", "3"), ("0", "1", "2"))
    assert np.ptp(grid.values) > 0.1
    np.testing.assert_allclose(similarity(a, b).cka("b", "a").values, grid.values.T, atol=1e-12)
    np.testing.assert_allclose(similarity(a, b).cka("a", "a").values.diagonal(), 1)


def test_groups_are_summed_over_and_neighbours_part() -> None:
    a, b = related(6, 1), related(5, 2)
    for one, other in zip(a, b, strict=True):
        other[:, :2] += one[:, :2]
    grid = similarity(a, b, group=16).cka("a", "b")
    x, y = a[1][INNER], b[2][INNER]
    assert len(x) == 64
    groups = [slice(number, None, 4) for number in range(4)]
    np.testing.assert_allclose(
        grid.values[1, 2], slow([x[one] for one in groups], [y[one] for one in groups]), atol=1e-5
    )
    assert "64 tokens in 4 groups" in grid.note


def test_sinks_do_not_count_at_any_layer() -> None:
    a, b, sinks = related(6, 1), related(6, 2), (5, 40)
    for states in (*a, *b):
        states[list(sinks)] = 1e4 * normal(2, 6)
        states[~INNER] = 300
    grid = similarity(a, b, sinks=sinks).cka("a", "b")
    left = INNER.clone()
    left[list(sinks)] = False
    np.testing.assert_allclose(grid.values[3, 3], slow([a[3][left]], [b[3][left]]), atol=1e-4)
    assert "62 tokens" in grid.note


def test_a_sink_at_one_layer_counts_at_none() -> None:
    a, b = related(6, 1), related(6, 2)
    found = Similarity(BATCHES, TOKENS)
    pass_by([found], BATCHES, {"a": a, "b": b}, (5, 40), at=1)
    np.testing.assert_array_equal(found.cka("a", "b").values, similarity(a, b, sinks=(5, 40)).cka("a", "b").values)


def test_at_most_so_many_tokens_are_drawn_and_the_same_everywhere() -> None:
    a = related(6, 1)
    found = similarity(a, [one @ rotation(6).float() for one in a], count=20)
    grid = found.cka("a", "b")
    assert "20 tokens in 1 group;" in grid.note
    np.testing.assert_allclose(grid.values.diagonal(), 1, atol=1e-5)


def test_another_basis_scores_one_and_cannot_be_grafted() -> None:
    a = stream(COUNT, 64, 4)
    b = [one @ rotation(64, border).float() for border, one in enumerate(a)]
    similar, near = Similarity(BATCHES, TOKENS), Paired(BATCHES, TOKENS)
    pass_by([similar, near], BATCHES, {"a": a, "b": b})
    np.testing.assert_allclose(similar.cka("a", "b").values.diagonal(), 1, atol=1e-5)
    np.testing.assert_allclose(near.cosine("a", "b").row("median"), 0, atol=0.1)


def test_unrelated_sources_lie_within_chance_and_related_ones_above() -> None:
    a, b = stream(COUNT, 6, 8, 1), stream(COUNT, 6, 8, 2)
    grid = similarity(a, b, group=32).cka("a", "b")
    assert grid.chance is not None
    low, high = np.asarray(grid.chance.low), np.asarray(grid.chance.high)
    assert 0.7 < within(grid.values, low, high) < 1, "2 of 20 ranks are outside"
    assert low.max() < high.min()
    assert "19 shuffles, 90 %" in grid.chance.how
    kin = similarity(a, [x + y for x, y in zip(a, b, strict=True)]).cka("a", "b")
    assert kin.chance is not None
    assert (kin.values.diagonal() > np.asarray(kin.chance.high).diagonal() + 0.1).all()
    again = similarity(a, b, group=32).cka("a", "b")
    assert again.chance is not None
    np.testing.assert_array_equal(again.chance.low, low)


def test_chance_is_cka_of_tokens_in_another_order() -> None:
    a, b = related(6, 1), related(5, 1)
    chance = similarity(a, b).cka("a", "b").chance
    assert chance is not None
    draw = np.random.default_rng(0)
    x, y = a[1][INNER], b[3][INNER]
    found = [slow([x], [y[torch.from_numpy(draw.permutation(len(y)))]]) for _ in range(19)]
    np.testing.assert_allclose(np.asarray(chance.low)[1, 3], min(found), atol=1e-5)
    np.testing.assert_allclose(np.asarray(chance.high)[1, 3], max(found), atol=1e-5)


def test_every_other_source_at_the_same_layer() -> None:
    found = similarity(related(6, 1), related(5, 2)[:3], related(4, 3))
    grid = found.along("a")
    assert (grid.rows, grid.of) == (("b", "c"), "at the same layer of a")
    assert grid.columns == ("0", "1", "2", "3")
    whole = found.cka("a", "c")
    np.testing.assert_allclose(grid.row("c"), whole.values.diagonal(), rtol=1e-12)
    assert grid.chance is not None
    assert whole.chance is not None
    for own, all_pairs in ((grid.chance.low, whole.chance.low), (grid.chance.high, whole.chance.high)):
        np.testing.assert_allclose(np.asarray(own)[1], np.asarray(all_pairs).diagonal(), rtol=1e-12, atol=1e-15)
    assert np.isnan(grid.row("b")).tolist() == [False, False, False, True]
    assert found.along("c").rows == ("a", "b")


def test_one_source_has_none_beside_it() -> None:
    with pytest.raises(InspectionError, match="'a' is alone"):
        similarity(related(6, 1)).along("a")


def test_a_border_that_is_no_number_spoils_only_itself() -> None:
    a, b = related(6, 1), related(6, 2)
    clean = similarity(a, b).cka("a", "b").values
    b = [one.clone() for one in b]
    b[1][4] = torch.nan
    b[2] = b[2] * 1e30
    grid = similarity(a, b).cka("a", "b")
    assert np.isnan(grid.values).all(0).tolist() == [False, True, True, False]
    np.testing.assert_array_equal(grid.values[:, [0, 3]], clean[:, [0, 3]])


def test_too_few_tokens_have_no_arrangement() -> None:
    batches, tokens = prompts(((1, 4),))
    found = Similarity(batches, tokens)
    pass_by([found], batches, {"a": stream(4, 6, 3, 1), "b": stream(4, 6, 3, 2)})
    assert np.isnan(found.cka("a", "b").values).all()
    assert np.isnan(found.along("a").values).all()


def test_a_stopped_walk_leaves_what_it_saw() -> None:
    a, b = related(6, 1), related(6, 2)
    found = Similarity(BATCHES, TOKENS)
    pass_by([found], BATCHES, {"a": a, "b": b}, layers=1)
    np.testing.assert_array_equal(found.cka("a", "b").values, similarity(a, b).cka("a", "b").values[:2, :2])


def test_how_prompts_fall_into_batches_changes_nothing() -> None:
    a, b = related(6, 1), related(6, 2)
    batches, tokens = prompts(((1, 12), (3, 12), (1, 9), (2, 5), (1, 5)))
    other = Similarity(batches, tokens)
    pass_by([other], batches, {"a": a, "b": b})
    np.testing.assert_array_equal(other.cka("a", "b").values, similarity(a, b).cka("a", "b").values)


def test_drift_is_seen_in_order() -> None:
    found = similarity(related(12, 1)).cka("a", "a").values[0]
    assert all(near > far for near, far in pairwise(found))


def test_a_name_that_was_not_read_is_refused() -> None:
    found = Similarity(BATCHES, TOKENS)
    pass_by([found], BATCHES, {"base": related(6, 1), "pirate": related(6, 2)})
    with pytest.raises(InspectionError, match=r"'pirat' is not among .* Did you mean 'pirate'"):
        found.cka("base", "pirat")
