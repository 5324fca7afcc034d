"""Recipes written for mergekit: the same tensors from the same numbers, or everything that mergekit cannot say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings

from mergelab import methods
from mergelab.errors import RecipeError
from mergelab.methods import REQUIRED
from mergelab.recipes import Plan, Recipe, Step, plan
from mergelab.recipes.mergekit import METHODS
from tests.recipes.drawn import recipes
from tests.recipes.faults import MIXED, STACK, STAGES
from tests.recipes.opened import family

GRAMMAR = {"name", "merge_method", "base_model", "models", "slices", "modules", "parameters", "dtype", "out_dtype",
           "tokenizer", "tokenizer_source", "chat_template"}  # fmt: skip


def meaning(planned: Plan) -> dict[str, tuple[object, ...]]:
    """How each tensor is made, whatever stages it goes through and whatever it is called there."""

    def made(step: Step) -> tuple[object, ...]:
        maker = step.maker
        inputs = tuple(made(one) if isinstance(one, Step) else one for one in maker.inputs)
        return (maker.method, inputs, maker.base, dict(maker.numbers), maker.dtype, maker.shape)

    return {step.name: made(step) for step in planned.steps}


def planned(text: str) -> Plan:
    """The plan of a recipe over models a, b, c, d of eight layers."""
    return plan(Recipe.load(text), family(4, layers=8))


TWO = "models: [{model: ./a, parameters: {weight: 0.5}}, {model: ./b, parameters: {weight: 0.5}}]\nbase_model: ./a\n"


def test_stages_get_names_without_spaces_at_which_mergekit_multi_breaks() -> None:
    written = Recipe.load(f"""
name: "first  half"
merge_method: linear
{TWO}---
name: first-half
merge_method: linear
models: [{{model: first  half, parameters: {{weight: 1}}}}]
---
merge_method: linear
base_model: first  half
tokenizer: {{source: first  half}}
slices:
- base_model: first  half
  sources: [{{model: first  half, layer_range: [0, 3], parameters: {{weight: 1}}}}]
- sources: [{{model: first-half, layer_range: [0, 3], parameters: {{weight: 1}}}}]
""").to_mergekit()
    trees = list(yaml.safe_load_all(written))
    assert [tree.get("name") for tree in trees] == ["first-half-2", "first-half", None]
    assert "first  half" not in written
    assert trees[1]["models"][0]["model"] == trees[1]["base_model"] == "first-half-2"
    assert trees[2]["base_model"] == trees[2]["tokenizer"]["source"] == "first-half-2"
    assert [piece["sources"][0]["model"] for piece in trees[2]["slices"]] == ["first-half-2", "first-half"]
    assert Recipe.load(written).to_mergekit() == written


def test_a_folder_with_a_space_is_refused_where_mergekit_multi_would_break() -> None:
    alone = TWO.replace("./a", "./my a")
    assert "./my a" in Recipe.load(f"merge_method: linear\n{alone}").to_mergekit()  # mergekit-yaml runs it
    last = "---\nmerge_method: passthrough\nmodels: [{model: half}]\n"
    (said,) = refusals(f"name: half\nmerge_method: linear\n{alone}{last}")
    assert "'./my a' has a space in it, at which mergekit-multi breaks" in said


def refusals(text: str) -> list[str]:
    """What cannot be written for mergekit."""
    with pytest.raises(RecipeError) as caught:
        Recipe.load(text).to_mergekit()
    return [str(problem) for problem in caught.value.problems]


def test_the_methods_of_mergekit_are_here_with_their_parameters() -> None:
    for name in METHODS:
        ours = methods.get(name).parameters
        assert set(METHODS[name]) <= set(ours), name
        # What we have beyond mergekit must change nothing where it is left out.
        assert not [one for one in ours if one not in METHODS[name] and ours[one].default is REQUIRED], name


@pytest.mark.parametrize("method", METHODS)
def test_a_method_of_one_slice_becomes_a_stage_that_makes_the_same_tensors(method: str) -> None:
    known = methods.get(method)
    count = known.inputs[0] + (known.base != "none")
    numbers = {one.name: 0.5 for one in known.parameters.values() if one.default is REQUIRED}

    def sources(start: int) -> str:
        return ", ".join(f"{{model: {name}, layer_range: [{start}, {start + 2}]}}" for name in "abcd"[:count])

    text = f"""merge_method: slerp
base_model: a
slices:
  - sources: [{{model: a, layer_range: [0, 2]}}, {{model: b, layer_range: [2, 4]}}]
    parameters: {{t: [{{filter: mlp, value: [0, 1]}}, {{value: 0.25}}]}}
  - merge_method: {method}
    sources: [{sources(2)}]
    parameters: {yaml.safe_dump(numbers, default_flow_style=True)}
  - merge_method: {method}
    sources: [{sources(5)}]
    parameters: {yaml.safe_dump(numbers, default_flow_style=True)}
  - merge_method: passthrough
    sources: [{{model: b, layer_range: [3, 4]}}]
  - sources: [{{model: a, layer_range: [7, 8]}}, {{model: b, layer_range: [7, 8]}}]
    parameters: {{t: 0.75}}
dtype: bfloat16
"""
    written = Recipe.load(text).to_mergekit()
    assert meaning(planned(written)) == meaning(planned(text))
    trees = list(yaml.safe_load_all(written))
    assert len(trees) == ({"passthrough": 3, "slerp": 3}.get(method, 4))
    assert trees[-1]["merge_method"] == "passthrough"
    assert trees[-1]["base_model"] == "a"
    assert [tree["dtype"] for tree in trees] == ["bfloat16"] * len(trees)
    assert not any("merge_method" in piece for tree in trees for piece in tree["slices"])


def test_numbers_of_all_scopes_reach_the_same_tensors() -> None:
    text = """merge_method: ties
base_model: a
modules:
  default:
    slices:
      - merge_method: passthrough
        sources: [{model: c, layer_range: [0, 2]}]
        parameters: {scale: {filter: mlp, value: 2}}
      - sources:
          - {model: a, layer_range: [0, 3]}
          - {model: b, layer_range: [0, 3], parameters: {weight: {filter: "layers.1.", value: 3}}}
      - merge_method: linear
        sources: [{model: b, layer_range: [4, 6]}, {model: c, layer_range: [4, 6], parameters: {weight: [0.5, 1]}}]
        parameters: {normalize: false}
    parameters: {weight: 0.75, scale: {filter: self_attn, value: 3}}
parameters: {scale: 4, density: [1, 0.5], normalize: true, weight: {filter: norm, value: 2}}
"""
    assert meaning(planned(Recipe.load(text).to_mergekit())) == meaning(planned(text))


def test_stages_that_are_there_stay_and_get_no_second_name() -> None:
    text = f"name: merge-1\n{MIXED}---\nmerge_method: linear\nmodels: [{{model: merge-1}}]\nparameters: {{weight: 1}}\n"
    written = Recipe.load(text).to_mergekit()
    names = [tree.get("name") for tree in yaml.safe_load_all(written)]
    assert names == ["merge-1-1", "merge-1-2", "merge-1", None]
    models = family(4, layers=8)
    assert meaning(plan(Recipe.load(written), models)) == meaning(plan(Recipe.load(text), models))
    assert Recipe.load(Recipe.load(STAGES).to_mergekit()).stages[0].name == "one"


RISING = """merge_method: linear
slices:
  - sources: [{model: a, layer_range: [0, 2]}]
  - sources: [{model: a, layer_range: [2, 4]}]
  - sources: [{model: b, layer_range: [2, 4]}, {model: c, layer_range: [2, 4], parameters: {weight: [0.5, 1]}}]
parameters: {weight: 0.75}
"""


def test_slices_of_more_sources_at_the_end_part_since_mergekit_counts_those_of_the_first() -> None:
    """mergekit would make norm and head of model b alone."""
    written = Recipe.load(RISING).to_mergekit()
    assert [len(tree["slices"]) for tree in yaml.safe_load_all(written)] == [2, 1, 2]
    assert meaning(planned(written)) == meaning(planned(RISING))
    turned = Recipe.load(RISING).slices[::-1]
    assert not Recipe.load(replace(Recipe.load(RISING), slices=turned).to_mergekit()).stages
    assert refusals(f"{RISING}tokenizer_source: union\n") == [
        "recipe line 7, column 1, tokenizer_source: mergekit has no more sources for norm and head than the first "
        "slice has; in stages, each would get a vocabulary of its own. Leave out tokenizer_source:, or give all slices "
        "as many sources as the last one."
    ]


def test_within_a_run_of_slices_of_one_method_its_own_first_slice_counts() -> None:
    text = f"""{RISING}base_model: a
"""
    text = text.replace(
        "slices:",
        """slices:
  - sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 1]}]
  - merge_method: passthrough
    sources: [{model: a, layer_range: [0, 1]}]""",
    )
    written = Recipe.load(text).to_mergekit()
    assert [len(tree["slices"]) for tree in yaml.safe_load_all(written)] == [1, 2, 1, 4]
    assert meaning(planned(written)) == meaning(planned(text))


def test_a_donor_is_named_where_mergekit_would_draw_one() -> None:
    written = Recipe.load(f"# blend\n{STACK}").to_mergekit()
    assert yaml.safe_load(written)["base_model"] == "a"
    assert "# blend" in written
    assert Recipe.load(written).slices == Recipe.load(STACK).slices


def test_a_seed_is_told_to_the_command_line_where_something_is_drawn() -> None:
    drawn = [name for name in methods.names() if "generator" in methods.get(name).extras and name in METHODS]
    for method in drawn:
        text = (
            f"merge_method: {method}\nbase_model: a\nmodels: [{{model: b, parameters: {{weight: 1, density: 0.5}}}}]\n"
        )
        written = Recipe.load(f"{text}seed: 7\n").to_mergekit()
        assert written.startswith("# mergekit: --random-seed 7\n")
        assert "seed" not in yaml.safe_load(written)
        other = Recipe.load(f"{written}seed: 5\n").to_mergekit()
        assert other.count("--random-seed") == other.count("# mergekit: --random-seed 5\n") == 1, "not the old one"
        two = f"name: one\nseed: 3\n{text}---\nseed: 7\n{text.replace('model: b', 'model: one')}"
        assert refusals(two) == [
            "seed: the documents have different seeds (3, 7), mergekit has one for all. "
            "Give all documents the same seed."
        ]
    assert drawn
    assert not Recipe.load(f"{STACK}seed: 7\n").to_mergekit().startswith("#")


def test_adapters_need_a_folder_that_the_command_line_names() -> None:
    written = Recipe.load(STACK.replace("model: b", "model: b+c")).to_mergekit()
    assert written.startswith("# mergekit: --lora-merge-cache FOLDER\n")
    assert "model: b+c" in written


def test_everything_that_mergekit_cannot_say_is_told_at_once() -> None:
    ours = next(
        name
        for name in methods.names()
        if name not in METHODS and methods.get(name).base == "required" and methods.get(name).inputs[0] == 1
    )
    text = f"""merge_method: ties
base_model: a
slices:
  - sources: [{{model: a, layer_range: [0, 2]}}, {{model: b, layer_range: [0, 2]}}]
    parameters: {{trim_scope: model, normalize: [{{filter: layers.1.mlp, value: true}}, {{value: false}}]}}
  - merge_method: {ours}
    sources: [{{model: a, layer_range: [2, 4]}}, {{model: b, layer_range: [2, 4]}}]
parameters: {{weight: 1}}
tokenizer_source: union
"""
    assert refusals(text) == [
        f"recipe line 6, column 5, slices[1].merge_method: mergekit has no method {ours!r}. "
        f"It has {', '.join(METHODS)}.",
        "recipe line 5, column 18, slices[0].parameters.trim_scope: mergekit's ties has no parameter 'trim_scope'. "
        "Leave it out: what mergekit does is trim_scope: tensor.",
        "recipe line 9, column 1, tokenizer_source: mergekit has one method per recipe; in stages, each would get a "
        "vocabulary of its own. Leave out tokenizer_source:, or give all slices one method.",
        "recipe line 5, column 37, slices[0].parameters.normalize: filter 'layers.1.mlp' has the number of a layer; "
        "in stages, layers are counted anew. Filter by names without layer numbers.",
    ]


def test_what_is_said_in_mergekits_way_all_the_same_is_left_out() -> None:
    text = """merge_method: ties
base_model: a
models: [{model: b, parameters: {weight: 1, density: 0.5}}]
parameters: {trim_scope: tensor}
"""
    assert "trim_scope" not in Recipe.load(text).to_mergekit()


def test_rules_of_a_weaker_scope_that_are_never_reached_are_left_out() -> None:
    text = """merge_method: ties
base_model: a
slices:
  - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]
    parameters: {weight: 1}
  - merge_method: passthrough
    sources: [{model: a, layer_range: [2, 4]}]
    parameters: {scale: [{filter: attn, value: 2}, {filter: mlp, value: 3}]}
parameters: {scale: [{filter: self_attn, value: 4}, {filter: norm, value: 5}]}
"""
    last = Recipe.load(Recipe.load(text).to_mergekit())
    (scale,) = (setting for name, setting in last.slices[1].numbers if name == "scale")
    assert [(rule.filter, rule.value) for rule in scale.rules] == [("attn", 2.0), ("mlp", 3.0), ("norm", 5.0)]


@pytest.mark.parametrize(("pattern", "refused"), [("layers.1.", True), ("1", True), ("1.mlp", True), ("fc1", False),
    ("w1.weight", False), ("mlp", False), (".12", True)])  # fmt: skip
def test_filters_by_layer_number_have_no_meaning_in_stages(pattern: str, refused: bool) -> None:
    text = MIXED.replace("{t: 0.5,", f"{{t: [{{filter: '{pattern}', value: 1}}, {{value: 0.5}}],")
    if refused:
        assert len(refusals(text)) == 1
    else:
        assert Recipe.load(Recipe.load(text).to_mergekit()).stages


@settings(max_examples=10)
@given(recipes(stages=1))
def test_what_is_written_for_mergekit_has_only_its_words_or_is_refused(recipe: Recipe) -> None:
    try:
        written = recipe.to_mergekit()
    except RecipeError:
        return
    again = Recipe.load(written)
    for tree in yaml.safe_load_all(written):
        assert set(tree) <= GRAMMAR
    assert all(document.method in METHODS for document in (*again.stages, again))
    assert (again.dtype, again.out_dtype, again.chat_template) == (recipe.dtype, recipe.out_dtype, recipe.chat_template)
    assert again.to_mergekit() == written
