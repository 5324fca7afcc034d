"""Shares of blocks and numbers over depth: for the eye, and as the gradients of recipes are read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.views.shares import base_part, curves, shares
from tests.views.stand_in import blend, run, sketch

NUMBERS = st.floats(-2, 2)


def ties(weights: list[Any], layers: int = 4) -> dict[str, Any]:
    parts = [{"source": 0, "start": 0, "numbers": {}}]
    parts += [
        {"source": at + 1, "start": 0, "numbers": {"weight": [[None, weight]]}} for at, weight in enumerate(weights)
    ]
    return {"method": "ties", "base": None, "layers": layers, "parts": parts, "numbers": {}}


@settings(max_examples=60)
@given(st.lists(NUMBERS, min_size=1, max_size=4), st.integers(0, 3))
def test_shares_are_of_one(weights: list[float], offset: int) -> None:
    """Weights by size; the base has what they leave of 1, nothing where they leave nothing."""
    piece = ties(weights)
    found = shares(sketch(piece), piece, offset)
    assert all(0 <= share <= 1 for share in found)
    assert abs(sum(found) - 1) < 1e-9
    size = sum(map(abs, weights))
    assert found[0] == pytest.approx(max(0.0, 1 - size))
    for share, weight in zip(found[1:], weights, strict=True):
        assert share == pytest.approx(abs(weight) / max(1.0, size))


def test_a_number_of_the_slice_and_one_not_said() -> None:
    slerp = {**ties([1.0]), "method": "slerp", "numbers": {"t": [[None, [0.25, 1.75]]]}}
    assert shares(sketch(slerp), slerp, 0) == [0.75, 0.25]
    assert shares(sketch(slerp), slerp, 3) == [0.0, 1.0], "beyond the base it is all the other's"
    slerp["numbers"] = {}
    assert shares(sketch(slerp), slerp, 0) == [0.5, 0.5]
    stock = {**ties([1.0, 1.0]), "method": "model_stock"}
    assert shares(sketch(stock), stock, 0) == [1 / 3] * 3
    around = {**ties([0.5, 0.5]), "method": "linear", "numbers": {"weight": [["mlp", 0.5], [None, 1.5]]}}
    around["parts"][1]["numbers"] = {}
    assert shares(sketch(around), around, 0) == pytest.approx([1 / 2.5, 1 / 2.5, 0.5 / 2.5])


def test_the_base_of_a_slice_may_be_its_own() -> None:
    piece = {**blend(1, 0, 4), "base": 1}
    assert base_part(sketch(blend(1, 0, 4)), blend(1, 0, 4)) == 0
    assert base_part(sketch(piece), piece) == 1
    assert base_part(sketch(run(1, 0, 2)), run(1, 0, 2)) is None


def test_numbers_over_depth() -> None:
    filtered = blend(2, 0, 2)
    filtered["parts"][1]["numbers"]["weight"] = [["mlp", 0.5], [None, [1, 3]]]
    filtered["numbers"] = {"lambda": [[None, 2]], "normalize": [[None, True]]}
    found = curves(sketch(run(1, 0, 1), blend(1, 0, 3, [0, 1], density=0.5), filtered))
    assert found == {
        "weight": [
            (1, "", [None, 0.0, 0.5, 1.0, None, None]),
            (2, "mlp", [None, None, None, None, 0.5, 0.5]),
            (2, "", [None, None, None, None, 1.0, 3.0]),
        ],
        "density": [(1, "", [None, 0.5, 0.5, 0.5, None, None])],
        "lambda": [(None, "", [None, None, None, None, 2.0, 2.0])],
    }
