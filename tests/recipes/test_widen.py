"""Widening, planned from headers alone: what is padded, what is repeated, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mergelab.errors import FitError, RecipeError
from mergelab.models.widen import widen
from mergelab.recipes import Recipe, plan
from mergelab.recipes.step import Padded, Repeated, Step
from mergelab.weights import Checkpoint
from tests.recipes.opened import Models, checkpoint, opened
from tests.weights import folders

# Query heads of 2 rows; 4 of them, and 1, 2 or 4 key/value heads.
HEADS = {"num_attention_heads": 4}
GRAFT = """merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 2]}]
  - sources: [{model: b, layer_range: [2, 3]}]
  - sources: [{model: a, layer_range: [3, 4]}]
"""


def pair(ours: dict[str, Any] | None = None, theirs: dict[str, Any] | None = None) -> Models:
    """Host a (feed-forward 10, one head of keys), and b (14, two)."""
    return opened(llama("a", 2, 10, **(ours or {})), llama("b", 4, 14, **(theirs or {})))


def llama(name: str, keys: int, inner: int, **config: Any) -> Checkpoint:
    """A whole Llama, with heads of 2 rows and biases on k and v."""
    shapes = folders.shapes(4, keys=keys, inner=inner)
    for layer in range(4):
        stem = f"model.layers.{layer}."
        shapes |= {f"{stem}mlp.gate_proj.weight": (inner, 8), f"{stem}mlp.up_proj.weight": (inner, 8)}
        shapes |= {f"{stem}self_attn.v_proj.weight": (keys, 8), f"{stem}self_attn.k_proj.bias": (keys,)}
    sizes = {"num_key_value_heads": keys // 2, "intermediate_size": inner}
    return checkpoint(name, shapes, config=HEADS | sizes | config)


def test_every_layer_gets_the_widest_feed_forward_and_as_many_heads() -> None:
    models = pair()
    recipe = widen(GRAFT, models)
    assert recipe == replace(Recipe.load(GRAFT), widen=True)
    planned = plan(recipe, models)
    assert planned.apart == ()
    assert planned.wide is not None
    assert planned.wide.settings == {"intermediate_size": 14, "num_key_value_heads": 2}
    shapes = {"gate_proj": (14, 8), "up_proj": (14, 8), "down_proj": (8, 14), "k_proj": (4, 8), "v_proj": (4, 8)}
    made = {step.name: step for step in planned.steps}
    before = {step.name: step for step in plan(Recipe.load(GRAFT), models).steps}
    assert list(made) == list(before)
    for name, step in made.items():
        part = name.split(".")[-2]
        wanted = shapes[part] if ".layers." in name and part in shapes else before[name].shape
        assert step.shape == wanted[: len(before[name].shape)], name
        if ".layers.2." in name or part not in shapes:
            assert step == before[name], "it is wide enough as it is"
        else:
            (given,) = step.inputs
            assert (given.given, step.copies) == (before[name], False)  # type: ignore[union-attr]
            assert isinstance(given, Repeated if part in ("k_proj", "v_proj") else Padded)
            if isinstance(given, Repeated):
                assert (given.head_size, given.times) == (2, 2)


def test_what_is_widened_is_made_as_it_would_be_alone() -> None:
    """A random method draws for the tensor as it was: the inner step has the same name, numbers and seed."""
    models = pair() | opened(llama("c", 2, 10))
    text = GRAFT.replace("- sources: [{model: a, layer_range: [0, 2]}]", (
        "- merge_method: dare_linear\n    base_model: a\n    parameters: {weight: 1, density: 0.5}\n"
        "    sources: [{model: a, layer_range: [0, 2]}, {model: c, layer_range: [0, 2]}]"
    ))  # fmt: skip
    name = "model.layers.1.mlp.up_proj.weight"
    (alone,) = [step for step in plan(Recipe.load(text), models).steps if step.name == name]
    (wide,) = [step for step in plan(widen(text, models), models).steps if step.name == name]
    assert alone.method == "dare_linear"
    assert wide.inputs == (Padded(alone, (14, 8)),)


def test_heads_become_the_least_number_that_all_counts_divide() -> None:
    sizes = {"a": (12, 4), "b": (12, 6), "c": (12, 12)}
    counts = {name: {"num_attention_heads": 12, "num_key_value_heads": keys} for name, (_, keys) in sizes.items()}
    models = opened(*(checkpoint(n, config=counts[n], width=24, keys=2 * sizes[n][1]) for n in "abc"))
    for used, heads in (("ab", 12), ("aa", None), ("ac", 12)):
        text = GRAFT.replace("model: a", f"model: {used[0]}").replace("model: b", f"model: {used[1]}")
        recipe = widen(text, models)
        wide = plan(recipe, models).wide
        assert (wide.heads if wide else None) == heads


def test_a_recipe_that_a_config_holds_comes_back_as_it_is() -> None:
    models = opened(checkpoint("a"), checkpoint("b"))
    recipe = Recipe.load(GRAFT)
    assert widen(recipe, models) is recipe
    asked = plan(replace(recipe, widen=True), models)
    assert asked.steps == plan(recipe, models).steps


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"rope_theta": 5e5, "rms_norm_eps": 1e-6}, ["norm epsilon: 1e-06 against", "rope theta: 500,000 against"]),
        ({"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4.0}}, ["rope scaling: linear against"]),
        ({"num_attention_heads": 2, "hidden_act": "gelu"}, ["attention heads: 2 against 4", "activation: gelu"]),
    ],
)
def test_what_cannot_be_brought_together_is_named_at_once(theirs: dict[str, Any], said: list[str]) -> None:
    models = pair({"hidden_act": "silu", "rope_theta": 1e4, "rms_norm_eps": 1e-5}, {"hidden_act": "silu"} | theirs)
    assert plan(Recipe.load(GRAFT), models).apart != (), "it runs here"
    with pytest.raises(FitError) as caught:
        widen(GRAFT, models)
    (problem,) = caught.value.problems
    assert problem.where == "'b' does not fit 'a'"
    assert problem.hint.startswith("Widening pads feed-forwards (gate_proj, up_proj, down_proj) and repeats")
    for words in said:
        assert words in problem.what
    assert "feed-forward size" not in problem.what
    assert "key/value heads" not in problem.what or "attention heads" in problem.what
    with pytest.raises(FitError):
        plan(replace(Recipe.load(GRAFT), widen=True), models)


def test_fused_projections_are_left_alone_and_refused() -> None:
    def fused(rows: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (13, 8)}
        for layer in range(4):
            stem = f"model.layers.{layer}."
            shapes |= {stem + "self_attn.qkv_proj.weight": (16, 8), stem + "mlp.gate_up_proj.weight": (2 * rows, 8)}
            shapes |= {stem + "mlp.down_proj.weight": (8, rows)}
        return shapes | {"model.norm.weight": (8,)}

    models = opened(checkpoint("a", fused(10)), checkpoint("b", fused(14)))
    assert plan(Recipe.load(GRAFT), models).apart != ()
    with pytest.raises(FitError, match=r"feed-forward size: mlp.gate_up_proj.weight \[28, 8\] against \[20, 8\]"):
        widen(GRAFT, models)


def test_models_that_are_blended_must_have_the_same_shapes_all_the_same() -> None:
    text = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\nwiden: true\n"
    with pytest.raises(FitError, match="Models that are blended have the same tensors in the same shapes"):
        plan(Recipe.load(text), pair())


def test_a_widened_recipe_may_be_a_stage() -> None:
    models = pair()
    text = f"name: wide\nwiden: true\n{GRAFT}---\nmerge_method: passthrough\nmodels: [{{model: wide}}]\n"
    planned = plan(Recipe.load(text), models)
    (stage,) = planned.stages
    assert stage.config["intermediate_size"] == 14
    assert stage.config["num_key_value_heads"] == 2
    wide = {step.name: step for step in stage.plan.steps}
    for step in planned.steps:
        assert isinstance(step.inputs[0], Step)
        assert step.inputs[0] == wide[step.name]


def test_mergekit_cannot_say_it() -> None:
    with pytest.raises(RecipeError, match="widen: mergekit does not bring layers to one size"):
        Recipe.load(f"{GRAFT}widen: true\n").to_mergekit()
