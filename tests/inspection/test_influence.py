"""Turns, angles and parts of the stream against slow float64 formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mergelab.inspection.contributions import along, share
from mergelab.inspection.grid import Floats
from mergelab.inspection.influence import HELD, LEAST, MOST, Angles, affordable, angle, blocks, turned
from mergelab.inspection.tokens import direction
from tests.inspection.streams import normal, pass_by, prompts, rotation, stream

PAIRS = hnp.arrays(np.float64, (2, 5), elements=st.floats(-10, 10).map(lambda one: one if abs(one) > 1e-3 else 1.0))


def cosine(one: Floats, other: Floats) -> float:
    return float(one @ other / math.sqrt(float(one @ one) * float(other @ other)))


@given(PAIRS)
def test_turn_angle_and_share_are_what_their_formulas_say(pair: Floats) -> None:
    one, other = torch.from_numpy(pair)
    cos = cosine(*pair)
    assert float(turned(one, other)) == pytest.approx(1 - cos, abs=1e-12)
    assert float(along(one, other)) == pytest.approx(cos, abs=1e-12)
    assert float(angle(direction(one), direction(other))) == pytest.approx(
        math.acos(max(-1, min(1, cos))) / math.pi, abs=1e-7
    )
    assert float(share(one, other)) == pytest.approx(np.linalg.norm(pair[0]) / np.linalg.norm(pair[1]))


@given(PAIRS, st.floats(0.01, 100), st.integers(0, 100))
def test_turn_and_angle_know_no_length_and_no_basis(pair: Floats, scale: float, seed: int) -> None:
    one, other = torch.from_numpy(pair)
    turn = rotation(5, seed)
    assert float(turned(one @ turn, scale * other @ turn)) == pytest.approx(float(turned(one, other)), abs=1e-12)
    found = angle(direction(one @ turn), direction(scale * other @ turn))
    assert float(found) == pytest.approx(float(angle(direction(one), direction(other))), abs=1e-7)


def test_small_turns_keep_their_digits_in_float32() -> None:
    # 1 - cos by way of cos would be a multiple of 6e-8, and arccos of it 0 or 3e-4.
    tiny = 1e-5
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(tiny), math.sin(tiny)])
    assert float(turned(one, other)) == pytest.approx(tiny**2 / 2, rel=1e-3)
    assert float(angle(one, other)) == pytest.approx(tiny / math.pi, rel=1e-3)
    assert float(angle(one, -one)) == pytest.approx(1)


def test_an_empty_part_has_size_0_and_no_direction() -> None:
    stream_of_one, nothing = torch.ones(4), torch.zeros(4)
    assert float(share(nothing, stream_of_one)) == 0
    assert math.isnan(float(along(nothing, stream_of_one)))
    assert math.isnan(float(turned(nothing, stream_of_one)))


def test_blocks_are_means_over_the_tokens_that_count_at_both_ends() -> None:
    batches, tokens = prompts()
    states = stream(33, 6, 5)
    angles = Angles(batches, tokens, 100)
    pass_by([angles], batches, {"one": states})
    held = angles.tokens
    assert held.tolist() == np.flatnonzero(tokens.counts).tolist()
    kept = np.random.default_rng(0).random((5, len(held))) < 0.7
    subsets = np.random.default_rng(1).random((3, len(held))) < 0.6
    found = blocks(angles.angles("one", 5), kept, subsets)
    assert found.shape == (3, 4, 4)
    for subset in range(3):
        for n in range(1, 5):
            for first in range(4):
                if first + n > 4:
                    assert np.isnan(found[subset, n - 1, first])
                    continue
                slow = [
                    math.acos(cosine(states[first][token].double().numpy(), states[first + n][token].double().numpy()))
                    for place, token in enumerate(held)
                    if kept[first, place] and kept[first + n, place] and subsets[subset, place]
                ]
                assert found[subset, n - 1, first] == pytest.approx(np.mean(slow) / math.pi, abs=1e-5)


def test_so_many_tokens_are_held_and_no_more() -> None:
    batches, tokens = prompts()
    angles = Angles(batches, tokens, 7)
    pass_by([angles], batches, {"one": stream(33, 6, 3), "other": stream(33, 4, 2, seed=1)})
    assert len(angles.tokens) == 7
    assert angles.angles("one", 3).shape == (3, 3, 7)
    assert np.isfinite(angles.angles("other", 2)[0, 1]).all()
    assert affordable(1) == MOST
    assert affordable(HELD) == LEAST
    assert affordable(HELD // 100) == 100


def test_last_tokens_are_held_and_those_that_were_drawn_are_known() -> None:
    batches, tokens = prompts()
    last = np.flatnonzero(tokens.last() & tokens.counts)
    assert len(last) > 2
    for count in range(2 * len(last), np.count_nonzero(tokens.counts) + 1):
        angles = Angles(batches, tokens, count)
        assert len(angles.tokens) == count
        assert np.isin(last, angles.tokens).all()
        assert set(angles.tokens[~angles.drawn].tolist()) <= set(last.tolist())
        assert np.count_nonzero(angles.drawn) >= count - len(last)
    assert angles.drawn.all(), "all tokens are held"
    few = Angles(batches, tokens, 4)
    assert len(few.tokens) == 4
    assert np.isin(few.tokens, last).sum() >= 2


def test_states_of_16_bits_are_taken_as_they_are() -> None:
    one, other = normal(3, 64).bfloat16(), normal(3, 64, seed=1).bfloat16()
    assert turned(one, other).dtype == torch.float32
    for place in range(3):
        slow = 1 - cosine(one[place].double().numpy(), other[place].double().numpy())
        assert float(turned(one, other)[place]) == pytest.approx(slow, abs=1e-6)
