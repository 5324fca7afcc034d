"""Discrepancies: tables by their places, tensors by their bits."""

from __future__ import annotations

import json
from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.forge.discrepancy import differences, spread, told, unequal

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.floats(allow_nan=False)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner), max_leaves=8
)


@given(JSON, JSON)
def test_values_without_differences_are_the_same_json(one: object, other: object) -> None:
    assert (not differences(one, other)) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))
    assert not differences(one, json.loads(json.dumps(one)))


def test_differences_in_words() -> None:
    found = differences({"a": [1, 2], "b": {"c": 1}, "d": 0}, {"a": [1], "b": {"c": 2}, "e": "x" * 90})
    assert told(found, "was", "is") == "a[1] was 2, is absent; b.c was 1, is 2; d was 0, is absent; and 1 more"
    assert found[-1].other == '"' + "x" * 59 + " ..."


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_spread_has_both_ends_and_even_steps(count: int, many: int) -> None:
    found = list(spread(count, many))
    assert len(found) == min(count, many)
    assert found == sorted(found)
    assert all(0 <= at < count for at in found)
    if len(found) > 1:
        steps = [after - before for before, after in pairwise(found)]
        assert (found[0], found[-1]) == (0, count - 1)
        assert max(steps) - min(steps) <= 1


@given(st.sampled_from([torch.float32, torch.bfloat16, torch.int16, torch.uint8]), st.integers(1, 30), st.data())
def test_elements_that_differ_are_counted(dtype: torch.dtype, count: int, data: st.DataObject) -> None:
    one = torch.arange(count).to(dtype)
    places = data.draw(st.sets(st.integers(0, count - 1)))
    other = one.clone()
    for place in places:
        other[place] += 1
    said = unequal(other, one)
    assert bool(said) == bool(places)
    if places:
        first = min(places)
        assert said.startswith(f"{len(places)} of {count} element")
        assert f"at [{first}], is {other[first].item()!r} and would be {one[first].item()!r}" in said


def test_bits_count_and_not_numbers() -> None:
    assert "is -0.0 and would be 0.0" in unequal(torch.tensor(-0.0), torch.tensor(0.0))
    nan = torch.tensor([float("nan")])
    assert unequal(nan, nan.clone()) == ""
    other = nan.view(torch.int32).add(1).view(torch.float32)
    assert "is nan and would be nan" not in unequal(nan, other)
    assert "is the bytes [0, 0, 192, 127] and would be the bytes [1, 0, 192, 127]" in unequal(nan, other)
