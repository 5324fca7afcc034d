"""The Python half of the explainer: what is shown for every method, what is refused, what a saved notebook keeps."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
import torch
from traitlets import TraitError

from mergelab import methods
from mergelab.views.explain import Explain
from mergelab.views.steps import TEN

EVIL = "<img src=x onerror=alert(1)>\"'&</text></svg>"


@pytest.fixture
def widget() -> Iterator[Explain]:
    made = Explain()
    yield made
    made.close()


@pytest.mark.parametrize("name", methods.names())
def test_every_method_is_shown_with_its_own_numbers(widget: Explain, name: str) -> None:
    widget.method = name
    shown, method = widget._shown, methods.get(name)
    assert widget.error == ""
    assert (shown["method"], shown["summary"]) == (name, method.summary)
    count = len(shown["names"])
    base = None if method.base == "none" else torch.tensor(TEN.base, dtype=torch.float64).view(2, 5)
    models = [torch.tensor(one, dtype=torch.float64).view(2, 5) for one in TEN.models[:count]]
    result = methods.apply(method, models, base, widget.numbers, dtype=torch.float64, seed=0, depth=0.5)
    assert shown["stages"][-1]["rows"] == [pytest.approx(result.flatten().tolist(), abs=1e-6)]
    assert shown["stages"][0]["rows"] == [list(one) for one in TEN.models[:count]]
    assert [dial["name"] for dial in shown["dials"] if dial["place"] == "numbers"] == [
        parameter.name
        for parameter in method.parameters.values()
        if parameter.effect and parameter.name != "trim_scope" and (parameter.kind in (bool, str) or parameter.dial)
    ]
    json.dumps(shown, allow_nan=False)


def test_the_steps_of_ties_are_these(widget: Explain) -> None:
    """A number of one model alone, trimmed away in none; the steps between the first and the last are changes."""
    widget.numbers = {"density": 0.5, "weight": [1, 2, 1]}
    stages = {stage["name"]: stage for stage in widget._shown["stages"]}
    assert [name for name, stage in stages.items() if not stage["change"]] == ["models", "add to base"]
    assert [sum(value != 0 for value in row) for row in stages["trim"]["rows"]] == [5, 5, 5]
    changes = [value - base for value, base in zip(TEN.models[0], TEN.base, strict=True)]
    assert stages["task vectors"]["rows"][0] == pytest.approx(changes)
    assert stages["weigh"]["rows"][1] == [2 * value for value in stages["trim"]["rows"][1]]
    assert all(stage["doc"] for stage in stages.values())


def test_dials_say_what_they_turn(widget: Explain) -> None:
    dials = {dial["name"]: dial for dial in widget._shown["dials"]}
    assert dials["density"]["values"] == [0.5] * 3
    assert (dials["weight"]["low"], dials["weight"]["high"], dials["weight"]["perModel"]) == (-1, 2, True)
    assert "trim_scope" not in dials, "one tensor is the whole model here"
    assert dials["normalize"]["values"] == [True]
    assert "int8_mask" not in dials
    widget.method = "dare_ties"
    rescale_by = next(dial for dial in widget._shown["dials"] if dial["name"] == "rescale_by")
    assert rescale_by["choices"] == ["norm", "probability"]
    assert [dial["name"] for dial in widget._shown["dials"] if dial["place"] == "trait"] == ["seed"]
    first = widget._shown["stages"]
    widget.seed = 3
    assert widget._shown["stages"] != first
    widget.method = "lines"
    assert [dial["name"] for dial in widget._shown["dials"] if dial["place"] == "trait"] == ["depth"]
    unset = [(dial["values"], dial["unset"]) for dial in widget._shown["dials"] if dial["name"] in ("alpha", "beta")]
    assert unset == [([None], "1/T"), ([None], "1 − alpha")]
    assert "alpha 1/T, beta 1 − alpha" in widget.still()
    widget.depth = 1.0
    top = widget._shown["stages"][-1]["rows"][0]
    added_up = [base + sum(model[at] - base for model in TEN.models) for at, base in enumerate(TEN.base)]
    assert top == pytest.approx(added_up)


@pytest.mark.parametrize("name", methods.names())
def test_a_slider_can_stand_on_what_matters(widget: Explain, name: str) -> None:
    """Where it begins, the default, 0 and 1, as far as they are in its range."""
    widget.method = name
    for dial in widget._shown["dials"]:
        if dial["kind"] not in ("float", "int"):
            continue
        low, high, step = dial["low"], dial["high"], dial["step"]
        wanted = [0, 1, high, *(value for value in dial["values"] if value is not None)]
        parameter = methods.get(name).parameters.get(dial["name"])
        if parameter and isinstance(parameter.default, float) and dial["name"] != "epsilon":
            wanted.append(parameter.default)
        for value in wanted:
            steps = (value - low) / step
            assert not low <= value <= high or steps == pytest.approx(round(steps), abs=1e-6), (dial["name"], value)
        assert dial["kind"] == "int" or 30 <= (high - low) / step <= 101


@pytest.mark.parametrize(("name", "number"), [("ram", "epsilon"), ("ramplus_tl", "epsilon"), ("nearswap", "t")])
def test_a_threshold_has_the_reach_of_the_ten_numbers(widget: Explain, name: str, number: str) -> None:
    widget.method = name
    results = []
    for value in (0.0, 0.25, 0.5):
        widget.numbers = {number: value}
        results.append(widget._shown["stages"][-1]["rows"][0])
    moved = [sum(one != other for one, other in zip(*pair, strict=True)) for pair in pairwise(results)]
    assert min(moved) >= 3


def test_numbers_left_out_are_as_at_the_beginning(widget: Explain) -> None:
    begin = widget.numbers
    widget.numbers = {"lambda": 0.25}
    assert widget.numbers == {**begin, "lambda": 0.25}
    widget.method = "linear"
    assert widget.numbers == {"weight": [1.0] * 3, "normalize": True}
    widget.method = "ties"
    assert widget.numbers == begin


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("method", "tise", "no method 'tise'"),
        ("numbers", {"densty": 1}, "Did you mean 'density'"),
        ("numbers", {"density": [0.1, 2, 3], "weight": "x"}, "density 2 is outside 0 to 1, for model 2"),
        ("numbers", {"weight": [1, 2]}, "weight has 2 values for 3 models"),
        ("numbers", [1], "not a mapping"),
        ("depth", 1.5, "outside 0 to 1"),
        ("depth", -0.5, "outside 0 to 1"),
    ],
)
def test_what_is_wrong_is_said_in_words(widget: Explain, trait: str, value: object, words: str) -> None:
    before = widget._shown
    with pytest.raises(TraitError) as error:
        setattr(widget, trait, value)
    assert words in str(error.value)
    widget.set_state({trait: value, "_turn": 5})
    assert words in widget.error
    assert widget._shown == before
    widget.set_state({"numbers": {"lambda": 0.5}, "_turn": 6})
    assert widget.error == ""
    assert widget._shown["turn"] == 6


def test_a_method_and_its_numbers_may_come_in_one_message(widget: Explain) -> None:
    widget.set_state({"method": "slerp", "numbers": {}, "_turn": 1})
    assert (widget.method, widget.numbers, widget.error) == ("slerp", {"t": 0.5}, "")
    assert widget._shown["names"] == ["A"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"models": []}, "0 were given"),
        ({"models": [[1, 2, 3]], "base": [1, 2, 3]}, "an even count"),
        ({"models": [[1, 2]], "base": [1, 2, 3, 4]}, r"models\[0\]: has 2 numbers, the base has 4"),
        ({"names": ["one"]}, "1 for 3 models"),
    ],
)
def test_models_that_do_not_belong_together_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Explain(**options)


def test_values_that_are_no_numbers_are_shown_as_such() -> None:
    widget = Explain("task_arithmetic", models=[[float("nan"), 1.0]], base=[0.0, 0.5])
    assert widget._shown["stages"][-1]["rows"] == [[None, 1.0]]
    assert "<svg" in widget.still()
    widget.close()


@pytest.mark.parametrize("name", ["ties", "slerp", "knots", "arcee_fusion"])
def test_the_saved_picture_is_well_formed_and_escapes_names(name: str) -> None:
    widget = Explain(name, names=[EVIL, "two", "three"])
    bundle = widget._repr_mimebundle_()
    assert bundle is not None
    page = bundle[0]["text/html"]
    widget.close()
    assert "<img" not in page
    assert len(page.encode()) < 50_000
    tree = ET.fromstring(page)
    assert tree.findall(".//{*}rect")
    assert not tree.findall(".//{*}script")


def test_the_saved_picture_numbers_its_places_and_colours_one_model() -> None:
    widget = Explain("slerp")
    tree = ET.fromstring(widget.still())
    widget.close()
    texts = [(text.get("y"), text.text) for text in tree.findall(".//{*}text")]
    lowest = max(float(y) for y, _ in texts if y)
    assert [words for y, words in texts if y and float(y) == lowest] == [str(place) for place in range(1, 11)]
    assert lowest < float(tree.find(".//{*}svg").get("height", 0))  # type: ignore[union-attr]
    assert [rect.get("class") for rect in tree.findall(".//{*}rect")] == ["b1"] * 10 + ["bm"] * 10


def test_close_lets_everything_go() -> None:
    widget = Explain()
    gone = weakref.ref(widget)
    widget.close()
    widget.close()
    del widget
    gc.collect()
    assert gone() is None
