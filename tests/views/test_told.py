"""The methods as the page is told of them: all that is registered, in JSON, with ranges that hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mergelab import methods
from mergelab.methods import REQUIRED
from mergelab.views.told import told_methods

TOLD = {one["name"]: one for one in told_methods()}


def test_every_method_is_told_passing_through_first() -> None:
    assert sorted(TOLD) == sorted(methods.names())
    assert list(TOLD)[:2] == ["passthrough", "linear"]
    assert json.loads(json.dumps(TOLD, allow_nan=False)) == TOLD
    words = [one["word"] for one in TOLD.values()]
    assert len(dict.fromkeys(words)) == len(words)
    assert (TOLD["passthrough"]["word"], TOLD["dare_ties"]["word"], TOLD["slerp"]["word"]) == (
        "Pass",
        "DARE TIES",
        "Slerp",
    )


@pytest.mark.parametrize("name", methods.names())
def test_a_method_is_told_as_it_is_declared(name: str) -> None:
    method, told = methods.get(name), TOLD[name]
    assert told["parts"] == list(method.inputs)
    assert (told["base"], told["ground"]) == (method.base == "required", method.base != "none")
    assert told["doc"] in method.summary
    assert [one["name"] for one in told["numbers"]] == list(method.parameters)
    for number, declared in zip(told["numbers"], method.parameters.values(), strict=True):
        assert number["per_part"] == declared.per_model
        assert number["needed"] == (declared.default is REQUIRED)
        if not number["needed"]:
            assert number["default"] == declared.default
        assert declared.problem(number["default"]) is None  # a value to begin with is a right one
        assert (number["low"] is None) == (abs(declared.low) == float("inf"))
        assert (number["high"] is None) == (abs(declared.high) == float("inf"))
        for end in number["dial"] or ():
            assert declared.problem(declared.kind(end)) is None


@pytest.mark.parametrize(
    ("method", "name", "expected"),
    [
        ("ties", "density", {"kind": "number", "default": 1.0, "curve": True, "per_part": True, "high": 1}),
        ("ties", "weight", {"kind": "number", "default": 1.0, "needed": True, "dial": [-1, 2], "low": None}),
        ("ties", "normalize", {"kind": "switch", "default": True, "curve": False}),
        ("ties", "trim_scope", {"kind": "choice", "choices": ["tensor", "model"], "default": "tensor", "curve": False}),
        ("ties", "int8_mask", {"effect": False, "curve": False}),
        ("slerp", "t", {"default": 0.5, "needed": True, "curve": True, "per_part": False}),
        ("nearswap", "t", {"default": 0.05, "dial": [0, 0.1], "low": 0}),
        ("karcher", "max_iter", {"kind": "whole", "default": 10, "curve": False}),
        ("karcher", "tol", {"kind": "number", "curve": False}),
        ("lines", "alpha", {"default": None, "needed": False}),
    ],
)  # fmt: skip
def test_numbers_are_told_with_what_a_dial_needs(method: str, name: str, expected: dict[str, Any]) -> None:
    (number,) = (one for one in TOLD[method]["numbers"] if one["name"] == name)
    assert {key: number[key] for key in expected} == expected
