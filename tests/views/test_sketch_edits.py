"""Edits of the picture in the recipe's own words: what is said once for all stays so, comments go along, forms stay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mergelab.errors import FitError, RecipeError
from mergelab.recipes import Part, Recipe, Setting, Slice, check
from mergelab.views.guests import Guest
from mergelab.views.sketch import Sketch, recipe_of, sketch_of
from mergelab.weights import Source
from tests.recipes.opened import checkpoint

GUESTS = [Guest(name, name.upper(), checkpoint(name, layers=6)) for name in "abc"] + [
    Guest("low", "Lo", checkpoint("low", layers=4))
]

STACK = """\
# a stack
merge_method: slerp
base_model: a
slices:
  # the bottom
  - sources:
      - {model: a, layer_range: [0, 2]}
      - {model: b, layer_range: [0, 2]}
  # the middle
  - sources:
      - {model: a, layer_range: [2, 4]}
      - {model: b, layer_range: [2, 4]} # of b
    parameters:
      t: 0.25
  # the top
  - sources:
      - {model: a, layer_range: [4, 6]}
      - {model: c, layer_range: [4, 6]}
parameters:
  t:
    - {filter: self_attn, value: [0, 1]}
    - value: 0.5 # half
dtype: bfloat16
seed: 7
"""

WHOLE = """\
merge_method: ties
models:
  - model: b # the good one
    parameters: {weight: 0.5}
  - model: c
    parameters: {density: 0.25}
base_model: a
parameters: {weight: 1, density: 0.5, lambda: 0.9}
"""


def edited(text: str, edit: Callable[[Sketch], Any]) -> tuple[Recipe, Recipe]:
    """The recipe of a text before and after an edit of its picture, which is what is pictured afterwards."""
    before = Recipe.load(text)
    sketch = copy.deepcopy(sketch_of(before, GUESTS))
    edit(sketch)
    after = recipe_of(sketch, GUESTS, before)
    assert not check(after)
    assert sketch_of(after, GUESTS) == sketch
    return before, after


def test_the_picture_of_a_stack_says_everything_in_each_slice() -> None:
    sketch = sketch_of(Recipe.load(STACK), GUESTS)
    wide = [["self_attn", [0, 1]], [None, 0.5]]
    assert [piece["numbers"] for piece in sketch["slices"]] == [{"t": wide}, {"t": [[None, 0.25]]}, {"t": wide}]
    assert [[part["source"] for part in piece["parts"]] for piece in sketch["slices"]] == [[0, 1], [0, 1], [0, 2]]
    assert sketch["base"] == 0
    assert [piece["base"] for piece in sketch["slices"]] == [None] * 3


def test_one_slice_turned_leaves_the_others_and_the_recipe_alone() -> None:
    before, after = edited(STACK, lambda sketch: sketch["slices"][2].update(numbers={"t": [[None, 0.75]]}))
    assert after.slices[:2] == before.slices[:2]
    assert after.slices[0] is before.slices[0]
    assert after.numbers == before.numbers
    assert after.slices[2].numbers == (("t", Setting.of(0.75)),)
    assert (after.base, after.dtype, after.seed) == (before.base, before.dtype, before.seed)


def test_only_the_rules_that_differ_are_said_by_the_slice() -> None:
    rules = [["self_attn", 0.125], [None, 0.5]]
    _, after = edited(STACK, lambda sketch: sketch["slices"][0].update(numbers={"t": rules}))
    ((name, setting),) = after.slices[0].numbers
    assert name == "t"
    assert [(rule.filter, rule.value) for rule in setting.rules] == [("self_attn", 0.125)]


def test_a_number_that_a_slice_unsays_is_no_longer_said_for_all() -> None:
    text = (
        STACK.replace("slerp", "ties").replace("t: 0.25", "lambda: 0.25").replace("  t:\n", "  weight: 1\n  lambda:\n")
    )
    before, after = edited(text, lambda sketch: sketch["slices"][0].update(numbers={}))
    assert [name for name, _ in after.numbers] == ["weight"]
    assert [dict(piece.numbers).get("lambda") for piece in after.slices] == [
        None, dict(before.slices[1].numbers)["lambda"], dict(before.numbers)["lambda"]
    ]  # fmt: skip
    assert after.slices[1] is before.slices[1]


def test_a_number_said_for_all_gives_way_where_a_new_method_refuses_it() -> None:
    """nearswap's t is not below zero: a recipe that says so for all would be wrong, whatever the slice says."""
    text = STACK.replace("[0, 1]", "[0, -1]")
    before, after = edited(
        text, lambda sketch: sketch["slices"][2].update(method="nearswap", numbers={"t": [[None, 0.0625]]})
    )
    assert after.numbers == ()
    assert after.slices[0].numbers == before.numbers
    assert after.slices[1] is before.slices[1]


def test_a_slice_of_another_method_leaves_what_is_said_for_all() -> None:
    def swap(sketch: Sketch) -> None:
        piece = sketch["slices"][2]
        piece.update(method="passthrough", numbers={})
        del piece["parts"][0]

    before, after = edited(STACK, swap)
    assert (after.method, after.slices[2].method) == ("slerp", "passthrough")
    assert after.numbers == before.numbers
    assert all(new is old for new, old in zip(after.slices[:2], before.slices, strict=False))


def test_the_method_of_most_becomes_the_recipes_when_its_own_is_gone() -> None:
    def swap(sketch: Sketch) -> None:
        for piece, method in zip(sketch["slices"], ("linear", "nuslerp", "nuslerp"), strict=True):
            piece.update(method=method, numbers={})
            base = 0 if method == "nuslerp" else None
            for part in piece["parts"]:
                part["numbers"] = {"weight": [[None, 0.5]]} if part["source"] != base else {}
            if method == "nuslerp":
                piece["parts"].append({"source": 1 if piece["parts"][1]["source"] == 2 else 2,
                                       "start": 0, "numbers": {"weight": [[None, 1.0]]}})  # fmt: skip

    _, after = edited(STACK, swap)
    assert after.method == "nuslerp"
    assert [piece.method for piece in after.slices] == ["linear", None, None]
    assert after.numbers == ()  # nobody reads t
    assert (after.dtype, after.seed) == ("BF16", 7)


def test_a_slice_that_the_recipes_method_made_forgets_its_numbers_with_that_method() -> None:
    text = """\
merge_method: linear
slices:
- sources:
  - {model: b, layer_range: [0, 2], parameters: {weight: 0.5}}
"""

    def swap(sketch: Sketch) -> None:
        (piece,) = sketch["slices"]
        piece["method"], piece["parts"][0]["numbers"] = "passthrough", {}

    _, after = edited(text, swap)
    assert after == Recipe("passthrough", (Slice((Part(Source("b"), (0, 2)),)),))


def test_comments_go_with_their_slices() -> None:
    def swap(sketch: Sketch) -> None:
        low, middle, top = sketch["slices"]
        new = {"method": "passthrough", "base": None, "layers": 1, "numbers": {},
               "parts": [{"source": 2, "start": 0, "numbers": {}}]}  # fmt: skip
        sketch["slices"] = [middle, new, top, low, top]

    before, after = edited(STACK, swap)
    lines = after.to_yaml().splitlines()
    comments = [line.strip() for line in lines if line.strip().startswith("#")]
    assert comments == ["# a stack", "# the middle", "# the top", "# the bottom"]
    assert sum("# of b" in line for line in lines) == sum("# half" in line for line in lines) == 1
    assert after.slices[0] is before.slices[1]
    assert after.slices[2] is after.slices[4] is before.slices[2]
    assert Recipe.load(after.to_yaml()) == after
    assert after.place("slices[1]") == "recipe, slices[1]"  # places of the old text are forgotten


def test_comments_of_a_deleted_slice_go() -> None:
    _, after = edited(STACK, lambda sketch: sketch["slices"].pop(1))
    text = after.to_yaml()
    assert "the middle" not in text
    assert "of b" not in text
    assert text.index("the bottom") < text.index("the top")


def test_comments_in_a_module_go_along() -> None:
    body = STACK[STACK.index("slices:") : STACK.index("parameters:\n  t:")]
    inner = "".join(f"    {line}\n" for line in body.splitlines())
    text = STACK.replace(body, f"modules:\n  default:\n{inner}")
    _, after = edited(text, lambda sketch: sketch["slices"].reverse())
    said = [line.strip() for line in after.to_yaml().splitlines() if "# the" in line]
    assert said == ["# the top", "# the middle", "# the bottom"]


def test_whole_models_stay_whole_models_while_numbers_turn() -> None:
    def turn(sketch: Sketch) -> None:
        (piece,) = sketch["slices"]
        piece["numbers"]["lambda"] = [["mlp", [0, 1]], [None, 0.5]]
        piece["parts"][1]["numbers"]["weight"] = [[None, 0.75]]

    before, after = edited(WHOLE, turn)
    assert [part.layers for part in after.slices[0].parts] == [None, None]
    assert [part.source for part in after.slices[0].parts] == [Source("b"), Source("c")]  # the base is not listed
    assert after.slices[0].parts[0] == before.slices[0].parts[0]
    assert [name for name, _ in after.numbers] == ["weight", "density", "lambda"]
    assert "# the good one" in after.to_yaml()


def test_a_module_says_nothing_that_the_hand_said_otherwise() -> None:
    text = """\
base_model: a
merge_method: slerp
modules:
  default:
    models: [{model: a}, {model: b}]
    parameters: {t: [0, 1]}
parameters: {t: 0.5}
"""
    _, after = edited(text, lambda sketch: sketch["slices"][0].update(numbers={"t": [["mlp", 0.25], [None, [1, 0]]]}))
    assert after.module_numbers == ()
    assert after.module == "default"


def test_the_picture_of_whole_models_has_the_base_among_its_parts() -> None:
    (piece,) = sketch_of(Recipe.load(WHOLE), GUESTS)["slices"]
    assert piece["layers"] == 6
    assert piece["numbers"] == {"lambda": [[None, 0.9]]}
    assert piece["parts"] == [
        {"source": 1, "start": 0, "numbers": {"weight": [[None, 0.5]], "density": [[None, 0.5]]}},
        {"source": 2, "start": 0, "numbers": {"weight": [[None, 1.0]], "density": [[None, 0.25]]}},
        {"source": 0, "start": 0, "numbers": {}},
    ]


def test_whole_models_cut_in_two_are_slices() -> None:
    def cut(sketch: Sketch) -> None:
        (piece,) = sketch["slices"]
        upper = copy.deepcopy(piece)
        piece["layers"], upper["layers"] = 2, 4
        for part in upper["parts"]:
            part["start"] = 2
        sketch["slices"].append(upper)

    before, after = edited(WHOLE, cut)
    assert [[part.layers for part in piece.parts] for piece in after.slices] == [[(0, 2)] * 3, [(2, 6)] * 3]
    assert after.numbers == before.numbers
    assert [len(part.numbers) for part in after.slices[0].parts] == [1, 1, 0]


def test_a_base_that_is_listed_stays_listed() -> None:
    text = WHOLE.replace("models:\n", "models:\n  - model: a\n")
    _, after = edited(text, lambda sketch: sketch["slices"][0]["numbers"].update({"lambda": [[None, 0.5]]}))
    assert [part.source for part in after.slices[0].parts] == [Source("a"), Source("b"), Source("c")]


def test_a_base_that_is_merged_like_any_other_is_listed_when_its_number_turns() -> None:
    text = "merge_method: linear\nmodels: [{model: b}, {model: c}]\nbase_model: a\nparameters: {weight: 1}\n"
    _, same = edited(text, lambda sketch: sketch["slices"][0]["numbers"].update(normalize=[[None, False]]))
    assert [str(part.source) for part in same.slices[0].parts] == ["b", "c"]
    _, after = edited(text, lambda sketch: sketch["slices"][0]["parts"][2].update(numbers={"weight": [[None, 0.25]]}))
    assert [(str(part.source), len(part.numbers)) for part in after.slices[0].parts] == [("b", 0), ("c", 0), ("a", 1)]


def test_another_base_does_not_bring_up_what_the_old_one_hid() -> None:
    """mergekit reads no numbers of a base; they stay where the slice is left alone, and are gone where it changes."""
    text = WHOLE.replace("models:\n", "models:\n  - {model: a, parameters: {weight: 0.125}}\n")

    def turn(sketch: Sketch) -> None:
        sketch["base"] = 1
        (piece,) = sketch["slices"]
        piece["parts"][0]["numbers"], piece["parts"][1]["numbers"] = {"weight": [[None, 1.0]]}, {}

    before = Recipe.load(text)
    assert recipe_of(sketch_of(before, GUESTS), GUESTS, before) is before
    _, after = edited(text, turn)
    assert after.base == Source("b")
    assert dict(after.slices[0].parts[0].numbers).get("weight") is None  # 1, as for all


def test_a_slice_may_have_a_base_of_its_own() -> None:
    _, after = edited(STACK, lambda sketch: sketch["slices"][1].update(base=1))
    assert [piece.base for piece in after.slices] == [None, Source("b"), None]

    def turn(sketch: Sketch) -> None:
        sketch["base"], sketch["slices"][0]["base"] = 2, 0

    _, again = edited(after.to_yaml(), turn)
    assert again.base == Source("c")
    assert [piece.base for piece in again.slices] == [Source("a"), Source("b"), None]


def test_widening_touches_nothing_else() -> None:
    before, after = edited(STACK, lambda sketch: sketch.update(widen=True))
    assert after == replace(before, widen=True)
    assert all(new is old for new, old in zip(after.slices, before.slices, strict=True))


def test_a_recipe_without_a_base_has_none_in_the_picture() -> None:
    recipe = Recipe("passthrough", (Slice((Part(Source("b"), (0, 3)),)),))
    sketch = sketch_of(recipe, GUESTS)
    assert sketch["base"] is None
    assert recipe_of(sketch, GUESTS) == recipe


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (STACK.replace("[4, 6]", "[4, 7]"), FitError, r"range: asks for layers \[4, 7\) of 'c', which has 6"),
        (STACK.replace("model: c", "model: d"), RecipeError, "names 'd', which is no source here"),
        (WHOLE.replace("model: c", "model: low"), FitError, "the models have 6, 4, 6 layers"),
        (f"name: x\n{WHOLE}---\n{STACK.replace('model: c', 'model: x')}", RecipeError, "Open the stages one by one"),
    ],
)
def test_what_has_no_picture_is_said(text: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        sketch_of(Recipe.load(text), GUESTS)


def test_a_wrong_recipe_has_no_picture() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'ties'"):
        sketch_of(Recipe("ties2", (Slice((Part(Source("a"), (0, 1)),)),)), GUESTS)


def test_a_picture_is_not_laid_on_stages() -> None:
    before = Recipe.load(f"name: x\n{WHOLE}---\n{STACK.replace('model: c', 'model: x')}")
    with pytest.raises(RecipeError, match="in stages"):
        recipe_of(sketch_of(Recipe.load(STACK), GUESTS), GUESTS, before)
