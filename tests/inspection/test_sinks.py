"""Sinks: the rule against a slow one, and what it must not depend on."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mergelab.inspection.grid import Floats
from mergelab.inspection.seen import Batch, Seen
from mergelab.inspection.sinks import Watch, sinks, table
from mergelab.inspection.tokens import Tokens

LENGTHS = hnp.arrays(np.float64, st.integers(3, 30), elements=st.floats(0.5, 2) | st.floats(1e-3, 1e3))


@given(LENGTHS, st.data())
def test_the_rule_is_six_deviations_and_five_times(norms: Floats, data: st.DataObject) -> None:
    counts = data.draw(hnp.arrays(np.bool_, norms.shape))
    found = sinks(norms, counts)
    logs = [math.log(one) for one in norms]
    usual = [one for one, count in zip(logs, counts, strict=True) if count]
    if not usual:
        assert not found.any()
        return
    middle = statistics.median(usual)
    spread = statistics.median(abs(one - middle) for one in usual)
    for one, is_sink in zip(logs, found, strict=True):
        above = one - middle
        if min(abs(above - 6 * spread), abs(above - math.log(5))) > 1e-9:
            assert is_sink == (above > 6 * spread and above > math.log(5))


@given(LENGTHS, st.integers(-20, 20), st.data())
def test_the_rule_knows_no_unit_and_no_order(norms: Floats, power: int, data: st.DataObject) -> None:
    counts = np.ones(norms.shape, dtype=np.bool_)
    found = sinks(norms, counts)
    order = data.draw(st.permutations(range(len(norms))))
    np.testing.assert_array_equal(sinks(norms[order], counts), found[order])
    logs = np.log(norms)
    spread = np.median(np.abs(logs - np.median(logs)))
    clear = np.abs(logs - np.median(logs) - max(6 * spread, math.log(5))) > 1e-9
    np.testing.assert_array_equal(sinks(norms * 2.0**power, counts)[clear], found[clear])


@pytest.mark.parametrize(
    ("spread", "above", "told"), [(0.5, 2.9, False), (0.5, 3.1, True), (0.1, 1.55, False), (0.1, 1.65, True)]
)
def test_six_deviations_count_where_tokens_differ_and_five_times_where_they_do_not(
    spread: float, above: float, told: bool
) -> None:
    logs = np.array([-spread, spread] * 10 + [0, above])
    found = sinks(7 * np.exp(logs), np.arange(22) < 21)
    assert not found[:-1].any()
    assert found[-1] == told


def test_one_sink_among_even_tokens_is_found_and_a_wide_spread_is_none() -> None:
    even = np.array([1.0, 1.01, 0.99, 1, 1, 1, 60])
    assert np.flatnonzero(sinks(even, np.ones(7, dtype=np.bool_))).tolist() == [6]
    wide = np.geomspace(1, 60, 7)
    assert not sinks(wide, np.ones(7, dtype=np.bool_)).any()


def test_tokens_that_do_not_count_can_be_sinks_and_move_nothing() -> None:
    norms = np.array([50.0, 50, 50, 50, 1, 1.1, 0.9])
    counts = np.array([False] * 4 + [True] * 3)
    assert sinks(norms, counts).tolist() == [True] * 4 + [False] * 3


def test_what_is_no_number_is_no_sink_and_an_empty_stream_neither() -> None:
    counts = np.ones(4, dtype=np.bool_)
    assert sinks(np.array([1, np.nan, 1, 70.0]), counts).tolist() == [False, False, False, True]
    assert not sinks(np.full(4, np.nan), counts).any()
    assert not sinks(np.zeros(4), counts).any()


def watched() -> tuple[Tokens, Watch, torch.Tensor]:
    """Two prompts of 6 tokens, width 5; at the second border token 3 of the first prompt leaps up in channel 2."""
    ids = torch.arange(12).view(2, 6)
    batch = Batch(ids, (tuple("abcdef"), tuple("ghijkl")), (1, 0))
    tokens, states = Tokens.of([batch]), torch.ones(2, 6, 5)
    states[:, :, 4], states[:, :, 0] = -2, 1.5
    leapt = states.clone()
    leapt[0, 3, 2] = -5000
    watch = Watch(tokens)
    kept = [
        watch.see(0, [{"other": Seen(0, states, states, {}), "one": Seen(0, states, leapt, {})}]),
        watch.see(1, [{"other": Seen(1, states, states, {}), "one": Seen(1, leapt, states, {})}]),
        watch.see(2, [{"other": Seen(2, states, states, {})}]),
    ]
    return tokens, watch, torch.from_numpy(np.stack(kept))


def test_a_sink_of_one_source_is_left_out_of_all_where_it_is_one() -> None:
    tokens, _, kept = watched()
    expected = torch.from_numpy(tokens.counts).repeat(3, 1)
    expected[:2, 3] = False
    assert torch.equal(kept, expected)


def test_the_table_says_where_a_sink_is_born_and_where_it_ends() -> None:
    tokens, watch, _ = watched()
    norms = {"one": np.stack([watch.before["one"].row(0), watch.before["one"].row(1), watch.after["one"].row(1)])}
    found = table(tokens, norms, {"one": watch.marked("one", 3)}, {"one": watch.births["one"]})
    assert not watch.births["other"]
    (row,) = found.to_dict("records")
    assert row.pop("times") == pytest.approx(math.sqrt((5000**2 + 2 + 1.5**2 + 4) / (3 + 1.5**2 + 4)))
    assert row == {
        "source": "one", "prompt": 1, "position": 3, "token": "d", "layer": 0, "gone": 1,
        "channels": (2, 4, 0), "value": -5000.0, "massive": True,
    }  # fmt: skip


@pytest.mark.parametrize("read", [2, 3])
def test_a_sink_that_was_there_when_the_walk_was_stopped_has_not_ended(read: int) -> None:
    """Nor has one of which nothing more can be told: 4 layers, of which one or two were walked."""
    tokens, watch, _ = watched()
    one = watch.before["one"], watch.after["one"]
    norms = np.full((5, 12), np.nan)
    norms[:read] = [one[0].row(0), one[0].row(1), one[1].row(1)][:read]
    marked = watch.marked("one", 5)
    marked[read:] = False
    found = table(tokens, {"one": norms}, {"one": marked}, {"one": watch.births["one"]})
    assert found["gone"].isna().tolist() == [read == 2]


def test_a_table_of_no_sinks_has_its_columns() -> None:
    tokens, _, _ = watched()
    found = table(tokens, {}, {}, {})
    assert not len(found)
    assert str(found["layer"].dtype) == "Int64"
    assert "massive" in found


def test_a_sink_among_empty_streams_is_told_without_a_warning() -> None:
    batch = Batch(torch.arange(5)[None], (tuple("abcde"),), (0,))
    tokens, states = Tokens.of([batch]), torch.zeros(1, 5, 3)
    states[0, 2, 1] = 4
    watch = Watch(tokens)
    assert watch.see(0, [{"one": Seen(0, states, states, {})}]).tolist() == [False, True, False, True, True]
    norms = np.stack([watch.before["one"].row(0), watch.after["one"].row(0)])
    found = table(tokens, {"one": norms}, {"one": watch.marked("one", 2)}, watch.births)
    assert found["times"].tolist() == [math.inf]
    assert found[["layer", "gone"]].isna().all(axis=None)
