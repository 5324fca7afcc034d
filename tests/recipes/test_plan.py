"""Plans: every tensor of the merge with its inputs and numbers, worked out from headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergelab.errors import FitError, RecipeError, SourceError
from mergelab.recipes import Input, Plan, Recipe, Step, graft, plan, repeat
from mergelab.weights import Checkpoint, Source
from tests.recipes.opened import Models, checkpoint, family, opened
from tests.weights import folders


def steps(worked: Plan) -> dict[str, Step]:
    found = {step.name: step for step in worked.steps}
    assert len(found) == len(worked.steps), "each tensor is made once"
    return found


def refused(text: str, models: Models | None = None) -> str:
    with pytest.raises(FitError) as caught:
        plan(Recipe.load(text), models or family())
    assert all(problem.where and problem.what for problem in caught.value.problems)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------- structure


def test_a_stack_takes_embeddings_from_the_first_slice_and_norm_and_head_from_the_last() -> None:
    models = family()
    worked = plan(Recipe.load("""
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 2]}]
  - sources: [{model: b, layer_range: [1, 2]}]
  - sources: [{model: a, layer_range: [1, 2]}]
  - sources: [{model: c, layer_range: [3, 4]}]
"""), models)  # fmt: skip
    homes = ["a 0", "a 1", "b 1", "a 1", "c 3"]
    assert [str(layer.home) for layer in worked.layers] == homes
    assert [layer.slice for layer in worked.layers] == [0, 0, 1, 2, 3]
    assert all(layer.parts == (layer.home,) and layer.base is None for layer in worked.layers)
    expected = {"model.embed_tokens.weight": ("a", "model.embed_tokens.weight")}
    for at, home in enumerate(homes):
        name, layer = home.split()
        for stem in models[Source(name)].anatomy.layers[0]:
            expected[f"model.layers.{at}.{stem}"] = (name, f"model.layers.{layer}.{stem}")
    expected |= {name: ("c", name) for name in ("model.norm.weight", "lm_head.weight")}
    assert {step.name: (step.inputs[0].source.path, step.inputs[0].name) for step in worked.steps} == expected
    assert [step.name for step in worked.steps] == list(expected), "in the order of the model"
    assert all(step.copies and step.base is None and len(step.inputs) == 1 for step in worked.steps)
    assert worked.donor is models[Source("a")]
    assert worked.parameters == sum(step.elements for step in worked.steps)
    assert worked.bytes == 4 * worked.parameters
    assert worked.dtype == "F32"


def test_norm_and_head_have_all_sources_of_the_last_slice_when_the_first_has_fewer() -> None:
    worked = steps(plan(Recipe.load("""
merge_method: linear
slices:
  - sources: [{model: a, layer_range: [0, 2], parameters: {weight: 1}}]
  - sources:
      - {model: a, layer_range: [2, 4], parameters: {weight: 1}}
      - {model: b, layer_range: [2, 4], parameters: {weight: 2}}
      - {model: c, layer_range: [2, 4], parameters: {weight: 3}}
"""), family()))  # fmt: skip
    assert [one.source.path for one in worked["model.embed_tokens.weight"].inputs] == ["a"]
    for name in ("model.norm.weight", "lm_head.weight"):
        assert worked[name].inputs == tuple(Input(Source(model), name) for model in "abc")
        assert dict(worked[name].numbers)["weight"] == (1.0, 2.0, 3.0)


def test_a_base_is_set_apart_and_gives_its_place() -> None:
    worked = plan(Recipe.load("""
merge_method: ties
base_model: b
slices:
  - sources:
      - {model: a, layer_range: [0, 2], parameters: {weight: 1}}
      - {model: b, layer_range: [2, 4]}
      - {model: c, layer_range: [1, 3], parameters: {weight: 2}}
"""), family())  # fmt: skip
    layer = worked.layers[1]
    assert (str(layer.home), [str(part) for part in layer.parts], str(layer.base)) == ("b 3", ["a 1", "c 2"], "b 3")
    step = steps(worked)["model.layers.1.mlp.down_proj.weight"]
    assert [str(one.name)[13] for one in step.inputs] == ["1", "2"]
    assert step.base == Input(Source("b"), "model.layers.3.mlp.down_proj.weight")
    assert dict(step.numbers) == {
        "weight": (1.0, 2.0), "density": (1.0, 1.0), "normalize": True, "rescale": False, "lambda": 1.0,
            "trim_scope": "tensor", "int8_mask": False,
    }  # fmt: skip


def test_a_slice_can_have_a_base_of_its_own() -> None:
    text = "merge_method: slerp\nbase_model: a\nparameters: {t: 0.5}\nslices:\n"
    for at, base in enumerate(["", ", base_model: b"]):
        pair = f"[{{model: a, layer_range: [{at}, {at + 1}]}}, {{model: b, layer_range: [{at}, {at + 1}]}}]"
        text += f"  - {{sources: {pair}{base}}}\n"
    worked = plan(Recipe.load(text), family())
    assert [layer.base.source.path for layer in worked.layers if layer.base] == ["a", "b"]
    assert worked.donor.source.path == "a"
    assert steps(worked)["lm_head.weight"].base == Input(Source("b"), "lm_head.weight")


def test_a_base_that_is_not_listed_takes_part_in_whole_models() -> None:
    text = "merge_method: task_arithmetic\nbase_model: a\nmodels: [{model: b, parameters: {weight: 1}}]\n"
    worked = plan(Recipe.load(text), family())
    assert all(step.base and step.base.source.path == "a" and len(step.inputs) == 1 for step in worked.steps)
    assert len(worked.layers) == 4


def test_repeated_layers_are_equal_steps_under_other_names() -> None:
    a = checkpoint("a")
    worked = steps(plan(repeat(a, (1, 2), times=3), opened(a)))
    same = [worked[f"model.layers.{at}.mlp.down_proj.weight"].inputs for at in range(6)]
    assert [one[0].name[13] for one in same] == list("011123")


def test_equal_recipes_give_equal_plans() -> None:
    a, b = checkpoint("a"), checkpoint("b")
    one, two = (plan(graft(a, b, (1, 3)), opened(a, b)) for _ in range(2))
    assert one.steps == two.steps
    assert one.layers == two.layers


def test_planning_reads_headers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate("ab"):
        folders.save(tmp_path / name, folders.tensors(folders.shapes(), seed=seed), shards=1 + seed)
        for path in (tmp_path / name).glob("*.safetensors"):  # the header stays, the weights become a hole
            with path.open("r+b") as file:
                size, header = path.stat().st_size, 8 + int.from_bytes(file.read(8), "little")
                file.truncate(header)
                file.truncate(size)

    def read(*_: object) -> None:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(Checkpoint, "tensor", read)
    assert len(plan(Recipe.load(SLERP, root=tmp_path)).steps) == 15


def test_all_sources_that_cannot_be_opened_are_named_at_once(tmp_path: Path) -> None:
    text = f"merge_method: slerp\nbase_model: {tmp_path}/x\nmodels: [{{model: {tmp_path}/y}}]\nparameters: {{t: 0}}\n"
    with pytest.raises(SourceError) as caught:
        plan(Recipe.load(text))
    assert [problem.where for problem in caught.value.problems] == [f"source '{tmp_path}/{name}'" for name in "xy"]


def test_a_wrong_recipe_is_refused_before_any_source_is_opened() -> None:
    text = "merge_method: linear\nmodels: [{model: ./none, parameters: {weight: 1}}]\n"
    recipe = Recipe.load(text)
    with pytest.raises(SourceError):
        plan(recipe)
    with pytest.raises(RecipeError, match="there is no method 'liner'"):
        plan(Recipe("liner", recipe.slices))


# ----------------------------------------------------------------------------------- tied and untied heads

SLERP = "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: 0.5}\n"


def test_a_tied_models_embedding_stands_in_for_its_head() -> None:
    for tied in "ab":
        models = opened(*(checkpoint(name, head=name != tied) for name in "ab"))
        step = steps(plan(Recipe.load(SLERP), models))["lm_head.weight"]
        used = {one.source.path: one.name for one in (step.base, *step.inputs) if one}
        assert used[tied] == "model.embed_tokens.weight"
        assert used["ab".replace(tied, "")] == "lm_head.weight"
        assert step.shape == (folders.VOCABULARY, folders.WIDTH)


def test_models_that_are_all_tied_make_a_merge_without_a_head() -> None:
    assert "lm_head.weight" not in steps(plan(Recipe.load(SLERP), family(2, head=False)))


def test_an_untied_host_keeps_a_head_when_the_last_slice_is_of_a_tied_model() -> None:
    host, donor = checkpoint("host"), checkpoint("donor", head=False)
    worked = steps(plan(graft(host, donor, (2, 4)), opened(host, donor)))
    assert worked["lm_head.weight"].inputs == (Input(donor.source, "model.embed_tokens.weight"),)
    assert worked["model.norm.weight"].inputs[0].source == donor.source


def test_a_tied_host_gets_a_head_when_the_last_slice_has_one() -> None:
    host, donor = checkpoint("host", head=False), checkpoint("donor")
    worked = steps(plan(graft(host, donor, (2, 4)), opened(host, donor)))
    assert worked["lm_head.weight"].inputs == (Input(donor.source, "lm_head.weight"),)


def test_a_tensor_that_one_source_lacks_is_named() -> None:
    shapes = folders.shapes(4)
    del shapes["model.norm.weight"]
    said = refused(SLERP, opened(checkpoint("a"), checkpoint("b", shapes)))
    assert said == (
        "b: has no tensor 'model.norm.weight', which 'model.norm.weight' of the merge needs. "
        "The sources of a slice must have the same tensors; merge models of one family."
    )


def test_heads_of_two_sizes_are_refused_also_where_the_donor_has_none() -> None:
    text = """
merge_method: linear
base_model: c
slices:
  - sources: [{model: c, layer_range: [0, 1], parameters: {weight: 1}}]
  - sources:
      - {model: a, layer_range: [0, 1], parameters: {weight: 1}}
      - {model: b, layer_range: [0, 1], parameters: {weight: 1}}
"""
    models = opened(checkpoint("c", head=False), checkpoint("a"), checkpoint("b", vocabulary=17))
    assert "lm_head.weight: its sources differ in shape: a [13, 8], b [17, 8]." in refused(text, models)
