"""What arrives as a sketch: taken in any form that has one meaning, refused in words, all at once."""

from __future__ import annotations

import copy
import json
import re
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from mergelab.views.guests import Guest
from mergelab.views.sketch_check import check_sketch
from tests.recipes.opened import checkpoint

GUESTS = [Guest(name, name[:2].title(), checkpoint(name, layers=6)) for name in ("base", "arith")] + [
    Guest("low", "Lo", checkpoint("low", layers=4))
]
SKETCH: dict[str, Any] = {
    "base": 0,
    "widen": False,
    "slices": [
        {"method": "passthrough", "base": None, "layers": 2, "parts": [{"source": 2, "start": 2, "numbers": {}}],
         "numbers": {}},
        {"method": "ties", "base": 1, "layers": 3,
         "numbers": {"normalize": [[None, True]], "trim_scope": [[None, "model"]]},
         "parts": [{"source": 1, "start": 0, "numbers": {}},
                   {"source": 0, "start": 3, "numbers": {"weight": [["mlp", [0, 0.5, 1]], [None, 0.5]]}}]},
    ],
}  # fmt: skip


def changed(path: str, value: Any) -> Any:
    """The sketch with one thing at ``slices.1.layers`` and the like changed; ``...`` deletes it."""
    sketch = copy.deepcopy(SKETCH)
    *way, last = (int(step) if step.isdigit() else step for step in path.split("."))
    here: Any = sketch
    for step in way:
        here = here[step]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return sketch


def test_a_right_sketch_comes_back_as_it_is() -> None:
    assert check_sketch(SKETCH, GUESTS) == SKETCH
    assert check_sketch(json.loads(json.dumps(SKETCH)), GUESTS) == SKETCH


def test_numbers_of_numpy_and_any_kind_of_table_are_taken() -> None:
    value = MappingProxyType(
        OrderedDict(
            base=np.int64(0),
            widen=np.bool_(False),
            slices=(
                MappingProxyType({"layers": np.int16(2), "parts": ({"source": np.uint8(2), "start": np.array(2)},)}),
                {
                    "method": "ties", "base": 1, "layers": 3, "numbers": {"normalize": True, "trim_scope": "model"},
                    "parts": np.array([
                        {"source": 1, "start": 0},
                        {"source": 0, "start": 3,
                         "numbers": {"weight": (("mlp", np.linspace(0, 1, 3)), (None, np.float32(0.5)))}},
                    ]),
                },
            ),
        )
    )  # fmt: skip
    found = check_sketch(value, GUESTS)
    assert found == SKETCH
    assert json.loads(json.dumps(found, allow_nan=False)) == SKETCH
    assert type(found["slices"][0]["layers"]) is int


@pytest.mark.parametrize("value", [0.5, [0.25, 0.5], np.array([0.25, 0.5]), [[None, 0.5]], [["", 0.5]]])
def test_a_number_may_be_said_shortly(value: Any) -> None:
    found = check_sketch(changed("slices.1.parts.1.numbers.weight", value), GUESTS)
    said = [0.25, 0.5] if len(np.shape(value)) == 1 else 0.5
    assert found["slices"][1]["parts"][1]["numbers"]["weight"] == [[None, said]]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("base", 3, "base: there is no source 3. Known: 0 base, 1 arith, 2 low."),
        ("base", True, "base: there is no source True."),
        ("widen", 1, "widen: 1 is neither true nor false."),
        ("slices", [], "slices: [] is no list of slices. Give at least one slice."),
        ("slices", None, "slices: None is no list of slices."),
        ("slices.0", 7, "slices[0]: 7 is no table. Give method, base, layers, parts, numbers."),
        ("slices.1.method", "tied", "slices[1]: there is no method 'tied'. Did you mean 'ties'?"),
        ("slices.1.method", ["ties"], "slices[1]: there is no method ['ties']."),
        ("slices.1.base", -1, "slices[1]: there is no source -1."),
        ("slices.1.layer", 3, "slices[1]: 'layer' means nothing here. Did you mean 'layers'?"),
        ("slices.1.layers", 0, "slices[1]: layers 0 is no number of layers. Give a whole number, 1 or more."),
        ("slices.1.layers", 2.5, "slices[1]: layers 2.5 is no number of layers."),
        ("slices.1.layers", ..., "slices[1]: layers None is no number of layers."),
        ("slices.1.parts", [], "slices[1].parts: [] is no list of parts."),
        ("slices.0.parts.0.source", 5, "slices[0].parts[0]: there is no source 5."),
        ("slices.0.parts.0.source", 1.0, "slices[0].parts[0]: there is no source 1.0."),
        ("slices.0.parts.0.start", "x", "slices[0].parts[0] (low): start 'x' is no layer."),
        ("slices.0.parts.0.start", 3,
         "slices[0].parts[0] (low): has no layers 3 to 4: its layers are 0 to 3. Start at 0 to 2."),
        ("slices.0.parts.0.start", -1, "has no layers -1 to 0"),
        ("slices.0.layers", 5, "(low): has no layers 2 to 6: its layers are 0 to 3. Take 4 layers at most."),
        ("slices.1.numbers", [], "slices[1]: numbers [] is no table."),
        ("slices.1.numbers.normalise", True, "slices[1]: ties has no number 'normalise'. Did you mean 'normalize'?"),
        ("slices.1.numbers.normalize", 1, "slices[1]: normalize 1 is neither true nor false. Give true or false."),
        ("slices.1.numbers.lambda", True, "slices[1]: lambda True is not a number."),
        ("slices.1.numbers.lambda", float("nan"), "slices[1]: lambda nan is not a finite float32."),
        ("slices.1.numbers.lambda", [], "slices[1]: lambda has a rule without a value."),
        ("slices.1.numbers.lambda", None, "slices[1]: lambda has a rule without a value."),
        ("slices.1.numbers.lambda", [["mlp"]], "slices[1]: lambda has a rule ['mlp']. Give [filter, value]"),
        ("slices.1.numbers.lambda", [[3, 1]], "slices[1]: lambda has a rule [3, 1]."),
        ("slices.1.numbers.trim_scope", "all", "slices[1]: trim_scope 'all' is no choice. Give tensor or model."),
        ("slices.1.parts.1.numbers.lambda", 1, "slices[1].parts[1] (base): lambda is one number for all parts."),
        ("slices.1.parts.1.numbers.density", [0.5, 1.5], "slices[1].parts[1] (base): density 1.5 is outside 0 to 1."),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_said(path: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        check_sketch(changed(path, value), GUESTS)


@pytest.mark.parametrize("value", [None, 3, "sketch", [], {1: 2}])
def test_what_is_no_sketch_is_said(value: object) -> None:
    with pytest.raises(ValueError, match=r"sketch: .* (is no table|means nothing here)"):
        check_sketch(value, GUESTS)


def test_all_problems_are_told_at_once_and_many_are_counted() -> None:
    sketch = changed("slices.1.layers", 0)
    sketch["slices"][0]["parts"][0]["source"] = 9
    with pytest.raises(ValueError, match=r"slices\[0\].*slices\[1\]"):
        check_sketch(sketch, GUESTS)
    many = {"slices": [{"layers": -at, "parts": [{"source": 0, "start": 0}]} for at in range(50)]}
    with pytest.raises(ValueError, match=r"And 46 more\.$") as caught:
        check_sketch(many, GUESTS)
    assert len(str(caught.value)) < 500


def test_a_huge_value_is_told_in_short() -> None:
    with pytest.raises(ValueError, match="no list of slices") as caught:
        check_sketch({"slices": "x" * 10_000}, GUESTS)
    assert len(str(caught.value)) < 200
