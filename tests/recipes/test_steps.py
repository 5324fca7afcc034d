"""Steps of slices with methods of their own, of stages, of methods that look at depth or at whole models."""

from __future__ import annotations

import pytest

from mergelab.errors import FitError
from mergelab.recipes import Input, Recipe, Step, plan
from mergelab.weights import Source
from tests.recipes.opened import checkpoint, family, opened
from tests.recipes.test_plan import refused, steps

# ------------------------------------------------------------------------------------- a method for each slice

MIXED = """
merge_method: linear
base_model: a
slices:
  - sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 1]}]
    merge_method: slerp
    parameters: {t: 0.25}
  - sources: [{model: a, layer_range: [1, 2]}, {model: b, layer_range: [1, 2]}]
  - sources: [{model: c, layer_range: [2, 3]}]
    merge_method: passthrough
parameters: {weight: 2}
"""


def test_each_slice_is_made_by_its_method_and_what_is_outside_by_the_first_and_the_last() -> None:
    worked = plan(Recipe.load(MIXED), family())
    made = {name: (step.method, len(step.inputs), step.base is not None) for name, step in steps(worked).items()}
    slerp, linear, copied = ("slerp", 1, True), ("linear", 2, False), ("passthrough", 1, False)
    expected = {"model.embed_tokens.weight": slerp, "model.norm.weight": copied, "lm_head.weight": copied}
    for layer, kind in enumerate((slerp, linear, copied)):
        names = [name for name in made if name.startswith(f"model.layers.{layer}.")]
        assert len(names) == 4
        expected |= dict.fromkeys(names, kind)
    assert made == expected
    assert [layer.base is not None for layer in worked.layers] == [True, False, False]
    assert dict(steps(worked)["model.layers.1.mlp.down_proj.weight"].numbers)["weight"] == (2, 2)
    assert repr(worked).startswith("<Plan of a, b, c: slerp, linear, passthrough, 3 layers, 15 tensors,")
    assert repr(worked).endswith("config and tokenizer of a>")


# ------------------------------------------------------------------------------------------------------ stages

STAGES = """
name: low
merge_method: linear
dtype: bfloat16
seed: 5
models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 3}}]
---
name: high
merge_method: passthrough
slices:
  - sources: [{model: low, layer_range: [2, 4]}]
  - sources: [{model: c, layer_range: [0, 3]}]
---
merge_method: slerp
base_model: high
slices:
  - sources: [{model: high, layer_range: [1, 4]}, {model: low, layer_range: [0, 3]}]
parameters: {t: 0.5}
"""


def test_a_tensor_of_a_stage_is_a_step() -> None:
    worked = plan(Recipe.load(STAGES), family())
    step = steps(worked)["model.layers.0.mlp.down_proj.weight"]
    high, (low,) = step.base, step.inputs
    assert isinstance(high, Step)
    assert isinstance(low, Step)
    assert (low.name, low.method, low.dtype, low.seed) == ("model.layers.0.mlp.down_proj.weight", "linear", "BF16", 5)
    assert low.inputs == tuple(Input(Source(name), "model.layers.0.mlp.down_proj.weight") for name in "ab")
    assert (high.name, high.method, high.copies) == ("model.layers.1.mlp.down_proj.weight", "passthrough", True)
    assert high.maker == high.inputs[0]
    assert high.maker.name == "model.layers.3.mlp.down_proj.weight"
    assert (step.dtype, step.seed, step.copies) == ("BF16", 0, False)
    assert steps(worked)["model.layers.2.mlp.down_proj.weight"].dtype == "F32", "c's float32 with low's bfloat16"
    assert list(worked.checkpoints) == [Source(name) for name in "abc"]
    assert [stage.source.path for stage in worked.stages] == ["low", "high"]
    assert [stage.layers for stage in worked.stages] == [4, 5]
    assert str(worked.layers[0].home) == "high 1"


def test_equal_texts_give_equal_steps_and_a_number_of_a_stage_changes_what_is_made_of_it() -> None:
    one, two = (plan(Recipe.load(STAGES), family()).steps for _ in range(2))
    assert one == two
    assert [hash(step) for step in one] == [hash(step) for step in two]
    other = plan(Recipe.load(STAGES.replace("weight: 3", "weight: 2")), family()).steps
    assert not any(old == new for old, new in zip(one, other, strict=True))
    other = plan(Recipe.load(STAGES.replace("seed: 5", "seed: 6")), family()).steps
    assert not any(old == new for old, new in zip(one, other, strict=True))


def test_problems_of_a_stage_are_said_under_its_name_and_not_again_by_those_who_use_it() -> None:
    text = """
name: low
merge_method: passthrough
slices: [{sources: [{model: a, layer_range: [0, 9]}]}]
---
name: middle
merge_method: passthrough
models: [{model: low}]
---
name: other
merge_method: passthrough
models: [{model: b, parameters: {scale: [{filter: mpl, value: 2}, {value: 1}]}}]
---
merge_method: linear
parameters: {weight: 1}
slices: [{sources: [{model: middle, layer_range: [0, 2]}, {model: other, layer_range: [0, 2]}]}]
"""
    with pytest.raises(FitError) as caught:
        plan(Recipe.load(text), family())
    first, second = map(str, caught.value.problems)
    assert first.startswith("stage 'low', ")
    assert "[0, 9], it has 4" in first
    assert second.startswith("stage 'other', recipe line 12, column ")
    assert "models[0].parameters.scale: filter 'mpl' matches no tensor." in second


def test_problems_of_a_stage_whose_tokenizer_alone_is_used_are_said_once() -> None:
    text = """
name: low
merge_method: passthrough
slices: [{sources: [{model: a, layer_range: [0, 9]}]}]
---
name: middle
merge_method: passthrough
models: [{model: b}]
tokenizer_source: low
---
merge_method: passthrough
models: [{model: middle}]
"""
    assert refused(text).startswith("stage 'low', ")


def test_a_stage_has_as_many_layers_as_it_makes() -> None:
    text = STAGES.replace("high, layer_range: [1, 4]", "high, layer_range: [1, 6]")
    assert "[1, 6], it has 5" in refused(text.replace("low, layer_range: [0, 3]", "low, layer_range: [0, 5]"))


def test_a_name_means_the_stage_before_it_means_a_folder() -> None:
    text = """
name: b
merge_method: passthrough
models: [{model: a}]
---
merge_method: passthrough
models: [{model: b}]
"""
    worked = plan(Recipe.load(text), opened(checkpoint("a"), checkpoint("b", width=12)))
    assert list(worked.checkpoints) == [Source("a")]
    assert all(isinstance(step.inputs[0], Step) for step in worked.steps)


# ------------------------------------------------------------------------------------------------------- depth

LINES = "merge_method: lines\nbase_model: a\nmodels: [{model: b, parameters: {weight: 1}}]\n"


def test_a_method_that_asks_for_it_is_told_the_depth_of_the_layer_in_the_merge() -> None:
    worked = steps(plan(Recipe.load(LINES), family()))
    for name, step in worked.items():
        assert step.depth == (int(name.split(".")[2]) / 3 if ".layers." in name else 0.0)
    same = steps(plan(Recipe.load(LINES.replace("lines", "task_arithmetic")), family()))
    assert all(step.depth == 0.0 for step in same.values())


def test_depth_counts_through_all_slices() -> None:
    text = "merge_method: passthrough\nbase_model: a\nslices:\n  - sources: [{model: c, layer_range: [0, 2]}]\n"
    text += "  - sources: [{model: a, layer_range: [1, 4]}, {model: b, layer_range: [0, 3], parameters: {weight: 1}}]\n"
    worked = steps(plan(Recipe.load(f"{text}    merge_method: lines\n"), family()))
    found = [worked[f"model.layers.{layer}.mlp.down_proj.weight"].depth for layer in range(5)]
    assert found == [0, 0, 0.5, 0.75, 1]
    alone = "merge_method: lines\nbase_model: a\nslices: [{sources: [{model: a, layer_range: [3, 4]}, {model: b, "
    worked = steps(plan(Recipe.load(f"{alone}layer_range: [3, 4], parameters: {{weight: 1}}}}]}}]\n"), family()))
    assert all(step.depth == 0 for step in worked.values())


# ------------------------------------------------------------------------------------------------ whole models

WHOLE = """
merge_method: ties
base_model: a
models: [{model: b, parameters: {density: 0.25}}, {model: c, parameters: {density: 0.5}}]
parameters: {weight: 1, trim_scope: model}
"""


def test_tensors_of_a_model_that_is_trimmed_as_a_whole_share_their_peers() -> None:
    worked = plan(Recipe.load(WHOLE), family())
    b, c = worked.steps[0].peers
    assert (b.density, c.density) == (0.25, 0.5)
    assert b.elements == c.elements == worked.parameters
    assert [vector.tuned for vector in b.vectors] == [step.inputs[0] for step in worked.steps]
    assert [vector.base for vector in b.vectors] == [step.base for step in worked.steps]
    assert all(step.peers[0] is b and step.peers[1] is c for step in worked.steps)
    again = plan(Recipe.load(WHOLE), family())
    assert again.steps == worked.steps
    assert plan(Recipe.load(WHOLE.replace("0.5", "0.75")), family()).steps[0] != worked.steps[0]
    assert not any(step.peers for step in plan(Recipe.load(WHOLE.replace("model}", "tensor}")), family()).steps)


def test_a_tensor_that_is_used_twice_is_counted_once() -> None:
    run = "{sources: [{model: a, layer_range: [1, 3]}, {model: b, layer_range: [1, 3]}]}"
    text = f"merge_method: ties\nbase_model: a\nslices: [{run}, {run}]\n"
    text += "parameters: {weight: 1, density: 0.25, trim_scope: model}\n"
    worked = plan(Recipe.load(text), family())
    (b,) = worked.steps[0].peers
    assert len(b.vectors) == len(dict.fromkeys(b.vectors)) == 2 * 4 + 3
    assert b.elements == sum(
        step.elements for step in worked.steps if ".2." not in step.name and ".3." not in step.name
    )


def test_only_tensors_that_are_trimmed_as_one_belong_together() -> None:
    scope = "trim_scope: [{filter: mlp, value: model}, {value: tensor}]"
    worked = plan(Recipe.load(WHOLE.replace("trim_scope: model", scope)), family())
    assert [step.name for step in worked.steps if step.peers] == [
        f"model.layers.{layer}.mlp.down_proj.weight" for layer in range(4)
    ]
    assert len(worked.steps[4].peers[0].vectors) == 4


def test_a_whole_model_has_one_density() -> None:
    said = refused(WHOLE.replace("density: 0.5", "density: [{filter: mlp, value: 0.5}, {value: 1}]"))
    assert said == (
        "c: a model that is trimmed as a whole has one density, here are 2: 1 (model.embed_tokens.weight), "
        "0.5 (model.layers.0.mlp.down_proj.weight). Give one density for all its tensors, or trim_scope: tensor."
    )
