"""Figures over tokens against numpy's, and the band that random halves give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mergelab.inspection.grid import Floats
from mergelab.inspection.seen import Batch
from mergelab.inspection.tokens import DRAWS, Record, Tokens, by_prompt, direction, length, mean, quantile

NUMBERS = st.floats(-1e6, 1e6)


def tokens(prompts: int, long: int) -> Tokens:
    ids = torch.arange(prompts * long).view(prompts, long)
    words = tuple(tuple(map(str, row)) for row in ids.tolist())
    return Tokens.of([Batch(ids, words, tuple(range(prompts)))])


@given(st.data())
def test_quantiles_and_means_of_subsets_are_those_of_numpy(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=7))
    values = data.draw(hnp.arrays(np.float64, shape, elements=NUMBERS | st.just(np.nan)))
    kept = data.draw(hnp.arrays(np.bool_, shape))
    subsets = data.draw(hnp.arrays(np.bool_, (3, shape[1])))
    share = data.draw(st.sampled_from([0.0, 0.05, 0.25, 0.5, 0.95, 1.0]))
    found = quantile(values, kept, share, subsets)
    assert found.shape == (3, shape[0])
    means = mean(values, kept, subsets)
    for subset in range(3):
        for row in range(shape[0]):
            some = values[row, kept[row] & subsets[subset]]
            slow = np.quantile(some, share) if len(some) else np.nan
            np.testing.assert_allclose(found[subset, row], slow, rtol=1e-12, atol=1e-6)
            if not np.isnan(values[row, kept[row]]).any():
                average = some.sum() / len(some) if len(some) else np.nan
                np.testing.assert_allclose(means[subset, row], average, rtol=1e-9, atol=1e-6)


def test_tokens_stand_where_batches_have_them() -> None:
    short = Batch(torch.tensor([[9, 4], [9, 5]]), (("<s>", "a"), ("<s>", "b")), (2, 0))
    long = Batch(torch.tensor([[6, 9, 7]]), (("c", "<s>", "d"),), (1,))
    read = Tokens.of([short, long], starts=[9])
    assert read.prompt.tolist() == [2, 2, 0, 0, 1, 1, 1]
    assert read.position.tolist() == [0, 1, 0, 1, 0, 1, 2]
    assert read.ids.tolist() == [9, 4, 9, 5, 6, 9, 7]
    assert read.words == ("<s>", "a", "<s>", "b", "c", "<s>", "d")
    assert read.counts.tolist() == [False, True, False, True, False, False, True]
    assert read.last().tolist() == [False, True, False, True, False, False, True]


def test_halves_are_of_whole_prompts_where_there_are_enough() -> None:
    halves = tokens(9, 4).halves()
    assert halves is not None
    assert halves.subsets.shape == (DRAWS, 36)
    whole = halves.subsets.reshape(DRAWS, 9, 4)
    assert (whole == whole[:, :, :1]).all()
    assert (whole[:, :, 0].sum(1) == 4).all()
    assert len(np.unique(whole[:, :, 0], axis=0)) > 60
    assert "9 prompts" in halves.how


def test_few_prompts_have_no_halves_however_many_tokens_they_have() -> None:
    assert tokens(7, 500).halves() is None
    assert tokens(8, 2).halves() is not None
    starts = [0]  # the ninth prompt's only token that could count is a start token
    one = Batch(torch.tensor([[1, 0]]), (("a", "<s>"),), (7,))
    rest = Batch(torch.arange(2, 16).view(7, 2), (("b", "c"),) * 7, tuple(range(7)))
    assert Tokens.of([one, rest], starts).halves() is None
    assert Tokens.of([one, rest]).halves() is not None


def test_the_band_holds_the_truth_as_often_as_it_says() -> None:
    # Numbers that a prompt's tokens share: drawn token by token the band would be far too narrow.
    read, draw, held = tokens(40, 6), np.random.default_rng(3), 0
    halves = read.halves()
    assert halves is not None
    for _ in range(200):
        values = np.repeat(draw.normal(size=40), 6)[None]
        band = halves.band(mean(values, read.counts[None], halves.subsets), "one")
        held += bool(band.low[0] <= 0 <= band.high[0])
    assert 180 <= held <= 198


def test_the_band_is_the_same_every_time() -> None:
    first, second = tokens(9, 4).halves(), tokens(9, 4).halves()
    assert first is not None
    assert second is not None
    assert (first.subsets == second.subsets).all()


def test_a_record_is_in_the_order_of_its_batches_and_has_no_infinity() -> None:
    record = Record()
    record.add(1, torch.tensor([[1.0, 2.0]]))
    record.add(1, torch.tensor([[float("inf")], [3.0]]))
    expected: Floats = np.array([[np.nan] * 4, [1, 2, np.nan, 3], [np.nan] * 4])
    np.testing.assert_array_equal(record.array(3, 4), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_lengths_are_summed_finely_enough(dtype: torch.dtype) -> None:
    states = (torch.arange(2 * 3 * 500).view(2, 3, 500) % 37 - 11).to(dtype) * 9
    slow = np.sqrt((states.double().numpy() ** 2).sum(-1))
    np.testing.assert_allclose(by_prompt(length, states).numpy(), slow, rtol=1e-6)
    np.testing.assert_allclose(direction(states).double().square().sum(-1).numpy(), 1, rtol=1e-6)
