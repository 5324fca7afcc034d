"""Shares of blocks and numbers over depth: for the eye, and as the gradients of recipes are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab import methods
from mergelab.views.shares import base_part, coefficients, curves, shares, unlearned
from mergelab.views.told import told_methods
from tests.views.stand_in import blend, run, sketch

NUMBERS = st.floats(-2, 2)


TOLD = json.loads((Path(__file__).resolve().parents[2] / "widgets" / "test" / "shares.json").read_text("utf-8"))


def test_the_page_is_tested_with_the_methods_as_they_are() -> None:
    named = [one["name"] for one in TOLD["methods"]]
    assert [one for one in told_methods() if one["name"] in named] == TOLD["methods"]


@pytest.mark.parametrize("case", TOLD["cases"], ids=lambda case: case["what"])
def test_shares_by_hand(case: dict[str, Any]) -> None:
    """The same cases as of the page: widgets/test/shares.test.mjs."""
    piece = case["slice"]
    assert shares(sketch(piece), piece, case["offset"]) == pytest.approx(case["shares"], abs=1e-12)
    taken = unlearned(sketch(piece), piece, case["offset"])
    assert [place for place, away in enumerate(taken) if away] == case["unlearned"]


def piece_of(method: str, weights: Sequence[float], density: float = 1.0, **numbers: Any) -> dict[str, Any]:
    """Sources from 1 on over base 0, or from 0 on where the method needs none."""
    parts = [
        {"source": at, "start": 0, "numbers": {"weight": [[None, weight]], "density": [[None, density]]}}
        for at, weight in enumerate(weights, start=method != "linear")
    ]
    if method == "linear":
        for part in parts:
            del part["numbers"]["density"]
    else:
        parts = [{"source": 0, "start": 0, "numbers": {}}, *parts]
    said = {name: [[None, value]] for name, value in numbers.items()}
    return {"method": method, "base": None, "layers": 1, "parts": parts, "numbers": said}


def merged(piece: dict[str, Any], tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    named = {name: setting[0][1] for name, setting in piece["numbers"].items()}
    others = [part for part in piece["parts"] if part["numbers"]]
    for name in others[0]["numbers"]:
        named[name] = [part["numbers"][name][0][1] for part in others]
    models = [tensors[part["source"]] for part in others]
    base = None if len(others) == len(piece["parts"]) else tensors[0]
    return methods.apply(methods.get(piece["method"]), models, base, named, dtype=torch.float32)


@settings(max_examples=40)
@given(
    st.sampled_from(["linear", "task_arithmetic", "ties"]),
    st.lists(st.floats(0.05, 1.5), min_size=1, max_size=3),
    st.booleans(),
    st.floats(0.1, 1.2),
)
def test_coefficients_are_what_the_method_does(
    method: str, weights: list[float], normalize: bool, factor: float
) -> None:
    """Least squares finds them in the merged tensor. Signs agree here: by an election that is all that TIES is."""
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(400, generator=generator)
    tensors = [base, *(base + torch.rand(400, generator=generator) + 0.01 for _ in weights)]
    if method == "linear":
        weights = [0.5, *weights]
    numbers = {"normalize": normalize, **({} if method == "linear" else {"lambda": factor})}
    piece = piece_of(method, weights, **numbers)
    if method == "task_arithmetic":
        for part in piece["parts"][1:]:
            del part["numbers"]["density"]
    found = coefficients(sketch(piece), piece, 0)
    given_ = torch.stack(tensors, 1).double()
    fitted = torch.linalg.lstsq(given_, merged(piece, tensors).double()).solution
    assert found == pytest.approx(fitted.tolist(), abs=2e-4)


@pytest.mark.parametrize("weight", [0.01, 0.5, 1.5, -0.17])
@pytest.mark.parametrize("density", [0.25, 1.0])
def test_ties_of_one_is_the_specialist_but_for_what_is_trimmed(weight: float, density: float) -> None:
    base, other = torch.zeros(400), torch.linspace(-1, 2, 400) + 0.001
    piece = piece_of("ties", [weight], density)
    merge = merged(piece, [base, other])
    kept = merge != 0
    torch.testing.assert_close(merge[kept], other[kept])
    assert shares(sketch(piece), piece, 0) == pytest.approx([1 - density, density])
    assert kept.float().mean().item() == pytest.approx(density)


@settings(max_examples=60)
@given(st.lists(NUMBERS, min_size=1, max_size=4), st.sampled_from(["linear", "ties", "task_arithmetic", "knots"]))
def test_shares_are_of_one_and_never_of_what_is_taken_away(weights: list[float], method: str) -> None:
    piece = piece_of(method, weights, normalize=False) if method != "knots" else piece_of(method, weights)
    found = shares(sketch(piece), piece, 0)
    assert sum(found) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in found)
    if max(weights) > 0 or method != "linear":
        for share, weight in zip(found[len(found) - len(weights) :], weights, strict=True):
            assert share == 0 or weight > 0 or len(found) == 1


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
