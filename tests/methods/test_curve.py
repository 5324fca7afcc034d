"""Gradients over depth."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.errors import MethodError
from mergelab.methods import gradient

numbers = st.floats(-100, 100)


@given(st.lists(numbers, min_size=1, max_size=7), st.integers(2, 90), st.data())
def test_numbers_are_interpolated_linearly(points: list[float], count: int, data: st.DataObject) -> None:
    """Against mergekit's formula, u = i / (n - 1) of the way along the points, in exact fractions of u."""
    index = data.draw(st.integers(0, count - 1))
    place = index * (len(points) - 1) / (count - 1)
    low = min(int(place), len(points) - 1)
    high = min(low + 1, len(points) - 1)
    wanted = points[low] * (1 - (place - low)) + points[high] * (place - low)
    assert math.isclose(gradient(points, index, count), wanted, rel_tol=1e-9, abs_tol=1e-9)


@given(st.lists(numbers, min_size=1, max_size=7), st.integers(2, 90))
def test_the_ends_are_the_first_and_the_last_point(points: list[float], count: int) -> None:
    assert gradient(points, 0, count) == points[0]
    assert gradient(points, count - 1, count) == points[-1]


@given(st.lists(numbers | st.booleans(), min_size=1, max_size=60))
def test_a_point_for_each_layer_is_that_point(points: list[float | bool]) -> None:
    for same_kind in ([p for p in points if isinstance(p, bool)], [p for p in points if not isinstance(p, bool)]):
        if len(same_kind) > 1:
            assert [gradient(same_kind, at, len(same_kind)) for at in range(len(same_kind))] == same_kind


def test_a_slice_of_one_layer_takes_the_last_point() -> None:
    assert gradient([0.0, 0.5, 2.0], 0, 1) == 2.0
    assert gradient([True, False], 0, 1) is False


def test_booleans_take_the_point_at_or_before() -> None:
    assert [gradient([True, False], at, 5) for at in range(5)] == [True, True, True, True, False]
    assert [gradient([False, True, False], at, 5) for at in range(5)] == [False, False, True, True, False]


def test_whole_numbers_become_floats() -> None:
    assert isinstance(gradient([0, 1], 0, 3), float)


@pytest.mark.parametrize(
    ("points", "index", "count", "words"),
    [
        ([], 0, 3, "no points"),
        ([0.5, True], 0, 3, "mixes kinds"),
        ([0.5, "1"], 0, 3, "mixes kinds"),
        ([0.5], 3, 3, "layer 3 is not in a slice of 3"),
        ([0.5], -1, 3, "layer -1 is not in a slice of 3"),
        ([0.5], 0, 0, "slice of 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(points: list, index: int, count: int, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        gradient(points, index, count)
