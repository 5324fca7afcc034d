"""Recipe and sketch: there and back nothing is lost, an edit touches what it touches, the plan gives what is shown."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mergelab import methods
from mergelab.methods import REQUIRED
from mergelab.recipes import Recipe, Slice, check, graft, interleave, plan, repeat, stack, upscale
from mergelab.views.guests import Guest, open_guests
from mergelab.views.sketch import Sketch, recipe_of, sketch_of
from mergelab.views.sketch_check import check_sketch
from tests.recipes import drawn
from tests.recipes.opened import checkpoint, opened

TALL = checkpoint("tall", layers=108)
A, B, C = (checkpoint(name, layers=6) for name in "abc")
GUESTS = [Guest(name, name.upper(), model) for name, model in zip("abc", (A, B, C), strict=True)]


def seated(recipe: Recipe) -> list[Guest]:
    """A guest for each model that a recipe names."""
    return [Guest(str(at), f"{at}?", replace(TALL, source=source)) for at, source in enumerate(recipe.named)]


def sent(sketch: Sketch, guests: Sequence[Guest]) -> Sketch:
    """The sketch as it comes back from the page."""
    return check_sketch(json.loads(json.dumps(sketch, allow_nan=False)), guests)


@settings(max_examples=60)
@given(drawn.recipes(stages=0))
def test_there_and_back_is_the_very_same_recipe(recipe: Recipe) -> None:
    guests = seated(recipe)
    assert recipe_of(sent(sketch_of(recipe, guests), guests), guests, recipe) is recipe


@settings(max_examples=60)
@given(drawn.recipes(stages=0))
def test_a_sketch_alone_makes_a_recipe_of_that_sketch(recipe: Recipe) -> None:
    guests = seated(recipe)
    sketch = sketch_of(recipe, guests)
    made = recipe_of(sent(sketch, guests), guests)
    assert made.numbers == made.module_numbers == ()
    assert sketch_of(made, guests) == sketch


@settings(max_examples=30)
@given(drawn.recipes(stages=0), st.data())
def test_slices_that_move_or_repeat_stay_the_very_same(recipe: Recipe, data: st.DataObject) -> None:
    guests = seated(recipe)
    sketch = sketch_of(recipe, guests)
    assume(recipe.slices[0].parts[0].layers)
    order = data.draw(st.lists(st.sampled_from(range(len(recipe.slices))), min_size=1, max_size=5))
    assume(recipe.method in [recipe.method_of(recipe.slices[at]) for at in order])
    said = {name for name, _ in (*recipe.numbers, *recipe.module_numbers)}
    read = {name for at in order for name in methods.get(recipe.method_of(recipe.slices[at])).parameters}
    edited = sketch | {"slices": [sketch["slices"][at] for at in order]}
    made = recipe_of(sent(edited, guests), guests, recipe)
    assert sketch_of(made, guests) == edited
    assert {name for name, _ in (*made.numbers, *made.module_numbers)} == said & read
    alike = [
        [other for other in recipe.slices if drawn_alike(recipe, other, recipe.slices[at], guests)] for at in order
    ]
    assert all(any(one is other for other in same) for one, same in zip(made.slices, alike, strict=True))
    assert replace(made, slices=recipe.slices, numbers=recipe.numbers, module_numbers=recipe.module_numbers) == recipe


def drawn_alike(recipe: Recipe, one: Slice, other: Slice, guests: Sequence[Guest]) -> bool:
    first, second = (sketch_of(replace(recipe, slices=(piece, *recipe.slices)), guests) for piece in (one, other))
    return json.dumps(first["slices"][0]) == json.dumps(second["slices"][0])


@settings(max_examples=40)
@given(drawn.recipes(stages=0), st.data())
def test_an_edit_of_numbers_is_what_comes_out(recipe: Recipe, data: st.DataObject) -> None:
    guests = seated(recipe)
    sketch = sketch_of(recipe, guests)
    edited = copy.deepcopy(sketch)
    at = data.draw(st.sampled_from(range(len(recipe.slices))))
    piece = edited["slices"][at]
    method = methods.get(piece["method"])
    base = sketch["base"] if piece["base"] is None else piece["base"]
    models = [part for part in piece["parts"] if method.base == "none" or part["source"] != base]
    for table, per_model in ((piece["numbers"], False), *((part["numbers"], True) for part in models)):
        for name, parameter in method.parameters.items():
            if parameter.per_model == per_model and data.draw(st.booleans()):
                setting = data.draw(drawn.settings_of((parameter,)))
                table[name] = [[rule.text or None, listed(rule.value)] for rule in setting.rules]
            elif parameter.per_model == per_model and parameter.default is not REQUIRED and data.draw(st.booleans()):
                table.pop(name, None)
    edited["widen"] = data.draw(st.booleans())
    made = recipe_of(sent(edited, guests), guests, recipe)
    assume(not check(made))  # weights may cancel
    assert sketch_of(made, guests) == edited
    pushed = {name for name, _ in (*recipe.numbers, *recipe.module_numbers)} - {
        name for name, _ in (*made.numbers, *made.module_numbers)
    }
    for index, (old, new) in enumerate(zip(recipe.slices, made.slices, strict=True)):
        if index != at and not pushed & set(methods.get(recipe.method_of(old)).parameters):
            assert new is old


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# ------------------------------------------------------------------------------ the plan gives what the sketch shows

FILTERS = ("self_attn", "mlp", "q_proj", "norm", "layers.", "weight")


def shown(numbers: dict[str, Any], name: str, tensor: str, offset: int, layers: int) -> Any:
    """What a sketch says of a number for one tensor, or "default". Written anew, in floats of double precision."""
    for match, value in numbers.get(name, ()):
        if match is None or match in tensor:
            if not isinstance(value, list):
                return value
            place = offset / (layers - 1) * (len(value) - 1) if layers > 1 else len(value) - 1
            low = min(int(place + 1e-9), len(value) - 1)
            high = min(low + 1, len(value) - 1)
            return value[low] + (value[high] - value[low]) * max(place - low, 0.0)
    return "default"


shares = st.integers(1, 16).map(lambda sixteenth: sixteenth / 16)
curves = shares | st.lists(shares, min_size=1, max_size=4)
matches = st.lists(st.sampled_from(FILTERS), max_size=2, unique=True).filter(
    lambda found: not any(one in other for at, other in enumerate(found) for one in found[:at])
)


@st.composite
def said(draw: st.DrawFn, *, must: bool) -> list[list[Any]]:
    """Rules for some tensors, and one for all the others."""
    rules = [[match, draw(curves)] for match in draw(matches)]
    return [*rules, [None, draw(curves)]] if must or draw(st.booleans()) else rules


@st.composite
def pictures(draw: st.DrawFn) -> Sketch:
    """Sketches over three models of six layers that can be planned."""
    slices = []
    for _ in range(draw(st.integers(1, 3))):
        method = draw(st.sampled_from(["passthrough", "linear", "slerp", "ties", "task_arithmetic", "nuslerp"]))
        least, most = methods.get(method).inputs
        based = methods.get(method).base == "required"
        others = draw(st.permutations([1, 2]))[: draw(st.integers(least, most or 2))]
        layers = draw(st.integers(1, 6))
        parts = []
        for source in [0, *others] if based else others:
            numbers = {}
            for name, one in methods.get(method).parameters.items():
                must = one.default is REQUIRED
                if one.per_model and not (based and source == 0) and (must or draw(st.booleans())):
                    numbers[name] = draw(said(must=must))
            parts.append({"source": source, "start": draw(st.integers(0, 6 - layers)), "numbers": numbers})
        shared = {"t": draw(said(must=True))} if method == "slerp" else {}
        if method in ("ties", "task_arithmetic") and draw(st.booleans()):
            shared["lambda"] = draw(said(must=False))
        slices.append({"method": method, "base": None, "layers": layers, "parts": parts,
                       "numbers": {name: setting for name, setting in shared.items() if setting}})  # fmt: skip
        for part in parts:
            part["numbers"] = {name: setting for name, setting in part["numbers"].items() if setting}
    return {"base": 0, "widen": False, "slices": slices}


@settings(max_examples=40)
@given(pictures(), pictures())
def test_the_plan_gives_every_tensor_the_numbers_that_are_shown(first: Sketch, sketch: Sketch) -> None:
    recipe = recipe_of(sketch, GUESTS, recipe_of(first, GUESTS))
    assert json.dumps(sketch_of(recipe, GUESTS), sort_keys=True) == json.dumps(sketch, sort_keys=True)
    steps = {step.name: step for step in plan(recipe, opened(A, B, C)).steps}
    at = 0
    for piece in sketch["slices"]:
        method = methods.get(piece["method"])
        models = [part for part in piece["parts"] if method.base != "required" or part["source"] != 0]
        for offset in range(piece["layers"]):
            for stem in A.anatomy.layers[0]:
                step = steps[f"model.layers.{at}.{stem}"]
                numbers = dict(step.numbers)
                assert step.method == method.name
                for name, parameter in method.parameters.items():
                    if parameter.per_model:
                        tensors = [f"model.layers.{part['start'] + offset}.{stem}" for part in models]
                        expected = [
                            shown(part["numbers"], name, tensor, offset, piece["layers"])
                            for part, tensor in zip(models, tensors, strict=True)
                        ]
                        found = list(numbers[name])
                    else:
                        expected = [shown(piece["numbers"], name, step.name, offset, piece["layers"])]
                        found = [numbers[name]]
                    wanted = [parameter.default if one == "default" else one for one in expected]
                    assert found == pytest.approx(wanted)
            at += 1
    assert f"model.layers.{at}.{A.anatomy.layers[0][0]}" not in steps


# ---------------------------------------------------------------------------------------- recipes as people write them


@pytest.mark.parametrize(
    "recipe",
    [
        graft(A, B, (2, 4)),
        upscale(A, 2),
        interleave(A, B, size=3, step=2),
        repeat(B, (1, 3), times=3),
        stack([(A, 0, 3), (B, 2, 6)], base=A, method="ties", coefficient=[1.0, 1.0, 1.0, 0.25, 0.5, 0.75, 1.0]),
        stack([(C, 0, 3), (B, 2, 6)], base=A, method="linear", coefficient=0.5),
    ],
    ids=["graft", "upscale", "interleave", "repeat", "ties", "linear"],
)
def test_presets_are_pictured_and_come_back(recipe: Recipe) -> None:
    sketch = sketch_of(recipe, GUESTS)
    assert [piece["layers"] for piece in sketch["slices"]] == [
        end - start for start, end in (piece.parts[0].layers or (0, 0) for piece in recipe.slices)
    ]
    assert recipe_of(sent(sketch, GUESTS), GUESTS, recipe) is recipe
    assert recipe_of(sketch, GUESTS) == recipe


@pytest.mark.real
def test_mergekits_recipes_make_the_trip(shared: Path) -> None:
    folder = shared / "mergekit-cases"
    seen = 0
    for path in sorted(folder.glob("cases/*/*.y*ml")):
        recipe = Recipe.load(path, root=folder)
        guests = open_guests(list(recipe.named), None)
        sketch = sketch_of(recipe, guests)
        assert recipe_of(sent(sketch, guests), guests, recipe) is recipe
        assert sketch_of(recipe_of(sketch, guests), guests) == sketch
        seen += 1
    assert seen >= 36
