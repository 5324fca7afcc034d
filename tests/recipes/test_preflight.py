"""Before anything heavy: sources that do not fit are refused with the figures that clash, and relatives are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mergelab.errors import FitError
from mergelab.recipes import Recipe, graft, plan
from mergelab.recipes.fit import unfit
from mergelab.recipes.plan import standard
from mergelab.recipes.preflight import preflight
from mergelab.recipes.recipe import Vocabulary
from mergelab.weights import Source
from tests.recipes.opened import Models, checkpoint, opened
from tests.weights import folders

SLERP = "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: 0.5}\n"
GRAFT = """merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 2]}]
  - sources: [{model: b, layer_range: [2, 3]}]
  - sources: [{model: a, layer_range: [3, 4]}]
"""


def pair(config: dict[str, Any] | None = None, ours: dict[str, Any] | None = None, **dimensions: Any) -> Models:
    """Host a, and b that differs from it."""
    return opened(checkpoint("a", config=ours), checkpoint("b", config=config, **dimensions))


def refusal(models: Models, text: str = GRAFT) -> str:
    """The one reason why this is refused, or at least cannot be saved."""
    with pytest.raises(FitError) as caught:
        standard(plan(Recipe.load(text), models))
    (problem,) = caught.value.problems
    assert problem.hint
    return str(problem)


def remarks(models: Models, text: str) -> list[tuple[str, str, str, str]]:
    """What is found out, and not said of a stack: grade, about, what and figures."""
    found = unfit(Recipe.load(text), models, lambda source: source.label)
    return [(one.grade, one.about, one.what, one.evidence) for one in found]


@pytest.mark.parametrize("text", [GRAFT, SLERP], ids=["graft", "slerp"])
@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"inner": 14}, "feed-forward size: mlp.down_proj.weight [8, 14] against [8, 10]"),
        ({"keys": 2}, "key/value heads: self_attn.k_proj.weight [2, 8] against [4, 8]"),
        ({"width": 12}, "width: 12 against 8"),
        ({"prefix": ""}, "names of layers: begin with 'layers.' against 'model.layers.'"),
        ({"config": {"model_type": "qwen2"}}, "kind of model: qwen2 against llama"),
    ],
)
def test_layers_of_another_kind_are_refused_in_a_stack_and_in_a_blend(text: str, theirs: dict, said: str) -> None:
    assert refusal(opened(checkpoint("a"), checkpoint("b", **theirs)), text).startswith(f"'b' does not fit 'a': {said}")


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"config": {"rope_theta": 5e5}}, "rope theta: 500,000 against 10,000"),
        ({"config": {"rms_norm_eps": 1e-6}}, "norm epsilon: 1e-06 against 1e-05"),
        ({"config": {"num_attention_heads": 4}}, "attention heads: 4 against 2"),
        ({"config": {"num_key_value_heads": 2}}, "key/value heads: 2 against 1"),
        ({"config": {"hidden_act": "gelu"}, }, "activation: gelu against silu"),
        ({"config": {"sliding_window": 128}}, "sliding window: 128 against none"),
        ({"config": {"some_new_setting": 3}}, "some_new_setting: 3 against 2"),
    ],
)  # fmt: skip
def test_a_setting_that_clashes_is_refused_in_a_stack_and_warned_of_in_a_blend(theirs: dict, said: str) -> None:
    ours = {"hidden_act": "silu", "sliding_window": False, "some_new_setting": 2}
    models = pair(ours | theirs["config"], ours)
    if "none" in said:
        models[next(iter(models))].config["sliding_window"] = None  # type: ignore[index]
    alone = "some_new_setting" not in said and "sliding window" not in said
    assert refusal(models).startswith(f"'b' does not fit 'a': {said}. {'Assemble it' if alone else 'Layers of one'}")
    if alone:
        (found,) = plan(Recipe.load(GRAFT), models).apart
        assert (found.one_config, found.source) == (True, Source("b"))
    else:  # masks are made by the model around the layers, and nobody knows what makes use of a new setting
        with pytest.raises(FitError):
            plan(Recipe.load(GRAFT), models)
    what, evidence = said.split(": ")
    assert remarks(models, SLERP) == [("warning", "b blended into a", what, evidence)]
    assert len(plan(Recipe.load(SLERP), models).layers) == 4


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n", "warning"),
        ("merge_method: linear\nbase_model: a\nparameters: {weight: 1}\nmodels: [{model: b}, {model: a}]\n", "warning"),
        ("merge_method: linear\nbase_model: a\nparameters: {weight: 1}\nmodels: [{model: b}]\n", "warning"),
        ("merge_method: linear\nparameters: {weight: 1}\nslices:\n- sources: [{model: a, layer_range: [0, 2]}, "
            "{model: b, layer_range: [2, 4]}]\n", "warning"),
        ("merge_method: linear\nparameters: {weight: 1}\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n"
            "- sources: [{model: b, layer_range: [2, 4]}, {model: a, layer_range: [2, 4]}]\n", "error"),
        ("merge_method: task_arithmetic\nbase_model: a\nparameters: {weight: 1}\nslices:\n- sources: "
            "[{model: b, layer_range: [2, 4]}, {model: a, layer_range: [2, 4]}]\n", "warning"),
    ],
    ids=["models", "base behind", "base unlisted", "slice", "place of b", "place of the base"],
)  # fmt: skip
def test_a_layer_that_takes_the_place_of_another_models_is_no_blend_into_the_host(text: str, grade: str) -> None:
    found = remarks(pair({"rms_norm_eps": 1e-6}), text)
    assert (found[0][0], found[0][2:]) == (grade, ("norm epsilon", "1e-06 against 1e-05"))
    # Whatever is blended into a layer of b runs with the settings of b.
    turned = ("warning", "a blended into b", "norm epsilon", "1e-05 against 1e-06")
    assert found[1:] == ([turned] if grade == "error" else [])


def test_a_blend_is_told_apart_from_a_stack_in_words() -> None:
    models = pair({"intermediate_size": 14, "rms_norm_eps": 1e-6}, {"intermediate_size": 10}, inner=14)
    assert refusal(models, SLERP) == (
        "'b' does not fit 'a': feed-forward size: 14 against 10. Models that are blended have the same tensors in the "
        "same shapes: leave it out, or use a relative."
    )
    found = list(unfit(Recipe.load(SLERP), models, lambda source: source.label))
    assert [(one.grade, one.what, one.one_config) for one in found] == [
        ("error", "feed-forward size", False), ("warning", "norm epsilon", False),
    ]  # fmt: skip
    assert found[1].remedy.startswith("Its weights will run with the setting of a, not with the one")


@pytest.mark.parametrize("key", ["head_dim", "n_inner", "num_key_value_heads"])
def test_a_size_that_is_null_is_derived_and_the_shapes_speak(key: str) -> None:
    models = pair({key: 4}, {key: 4})
    for model in models.values():
        model.config[key] = None  # type: ignore[index]
        for text in (GRAFT, SLERP):
            assert remarks(models, text) == []
        model.config[key] = 4  # type: ignore[index]
    assert "2 against 4" in refusal(pair({key: 2}, {key: 4}))
    smaller = pair({key: 4}, {key: 4}, keys=2)
    smaller[Source("b")].config[key] = None  # type: ignore[index]
    assert "key/value heads: self_attn.k_proj.weight [2, 8] against [4, 8]" in refusal(smaller)


def test_a_stranger_is_refused_with_all_that_clashes_at_once() -> None:
    models = pair({"model_type": "qwen2", "rms_norm_eps": 1e-6}, inner=14, keys=2)
    assert refusal(models) == (
        "'b' does not fit 'a':\n    kind of model: qwen2 against llama\n"
        "    norm epsilon: 1e-06 against 1e-05\n    key/value heads: self_attn.k_proj.weight [2, 8] against [4, 8]\n"
        "    feed-forward size: mlp.down_proj.weight [8, 14] against [8, 10]\n"
        "    Layers of one model have to agree in this, even where each has settings of its own: leave them out, or "
        "use a relative of the host."
    )


def test_a_stranger_in_many_slices_is_told_of_once() -> None:
    text = GRAFT + "  - sources: [{model: b, layer_range: [1, 2]}]\n  - sources: [{model: a, layer_range: [0, 1]}]\n"
    assert refusal(pair(inner=14), text).count("mlp.down_proj.weight") == 1


def test_each_stranger_is_told_of() -> None:
    models = pair(inner=14) | opened(checkpoint("c", keys=2))
    with pytest.raises(FitError) as caught:
        standard(plan(Recipe.load(GRAFT + "  - sources: [{model: c, layer_range: [0, 1]}]\n"), models))
    assert [problem.where[:10] for problem in caught.value.problems] == ["'b' does n", "'c' does n"]


def test_only_the_layers_that_are_used_must_fit() -> None:
    shapes = folders.shapes(4) | {"model.layers.0.mlp.down_proj.weight": (8, 99)}
    a, b = checkpoint("a"), checkpoint("b", shapes)
    assert len(plan(graft(a, b, (1, 3)), opened(a, b)).layers) == 4
    with pytest.raises(FitError, match=r"mlp.down_proj.weight \[8, 99\] against \[8, 10\]"):
        standard(plan(graft(a, b, (0, 2)), opened(a, b)))


def test_a_layer_with_a_tensor_that_the_host_has_not_is_refused() -> None:
    shapes = folders.shapes(4) | {f"model.layers.{at}.self_attn.q_proj.bias": (8,) for at in range(4)}
    models = opened(checkpoint("a"), checkpoint("b", shapes))
    assert "self_attn.q_proj.bias [8] against none" in refusal(models)
    with pytest.raises(FitError):
        plan(Recipe.load(GRAFT), models)
    models[Source("b")].config["attention_bias"] = True  # type: ignore[index]
    assert len(plan(Recipe.load(GRAFT), models).apart) == 1, "its own config says so"
    turned = GRAFT.replace("model: a", "model: c").replace("model: b", "model: a").replace("model: c", "model: b")
    assert plan(Recipe.load(turned), models).apart == (), "no setting that both state, and no shape"


def test_another_vocabulary_matters_only_where_embeddings_or_head_are_taken() -> None:
    a, b = checkpoint("a"), checkpoint("b", vocabulary=17)
    models = opened(a, b)
    assert len(plan(graft(a, b, (1, 3)), models).layers) == 4
    with pytest.raises(FitError, match=r"model.embed_tokens.weight \[17, 8\] against \[13, 8\]"):
        plan(graft(a, b, (0, 2)), models)
    with pytest.raises(FitError, match=r"lm_head.weight \[17, 8\] against \[13, 8\]"):
        plan(graft(a, b, (2, 4)), models)
    assert refusal(models, SLERP) == (
        "'b' does not fit 'a':\n    vocabulary: model.embed_tokens.weight [17, 8] against [13, 8]\n"
        "    vocabulary: lm_head.weight [17, 8] against [13, 8]\n    Add 'tokenizer: {source: union}' to the recipe to "
        "bring the rows of the same tokens together."
    )


def test_whole_models_of_other_depth_are_refused_with_both_counts() -> None:
    models = opened(checkpoint("a"), checkpoint("b", layers=5))
    said = refusal(models, SLERP)
    assert said.startswith("models: number of layers: 'a' has 4, 'b' has 5. Choose runs")
    assert len(plan(Recipe.load(GRAFT), models).layers) == 4, "in a stack it does not matter"


def test_layers_that_do_not_exist_are_refused() -> None:
    text = GRAFT.replace("[2, 3]", "[4, 5]")
    assert refusal(pair(), text) == (
        "recipe line 4, column 5, slices[1], source 'b': layer range: asks for layers [4, 5], it has 4. "
        "Layers are 0 to 3; the end of a range is not included."
    )


OLD, NEW = {"rope_theta": 1e4}, {"rope_theta": None, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}
LINEAR_OLD = {"rope_scaling": {"type": "linear", "factor": 2.0}}
LINEAR_NEW = {
    "rope_theta": None, "rope_parameters": {"rope_theta": 1e4, "rope_type": "linear", "factor": 2.0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs", "clash"),
    [
        (OLD, NEW, ""), (NEW, OLD, ""), (OLD, {"rope_scaling": None}, ""), (NEW, {"rope_scaling": None}, ""),
        (LINEAR_OLD, LINEAR_NEW, ""), (LINEAR_NEW, LINEAR_OLD, ""),
        (OLD, {"rope_theta": 10000}, ""),
        (NEW, {"rope_theta": 5e5}, "rope theta: 500,000 against 10,000"),
        ({"rope_theta": 5e5}, NEW, "rope theta: 10,000 against 500,000"),
        (OLD, LINEAR_OLD, "rope scaling: linear against default"),
        (LINEAR_NEW, OLD, "rope scaling: default against linear"),
        (NEW, LINEAR_NEW, "rope scaling: linear against default"),
        (LINEAR_OLD, {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
            "rope scaling factor: 4 against 2"),
    ],
)  # fmt: skip
def test_rope_is_compared_in_old_and_new_spelling(ours: dict, theirs: dict, clash: str) -> None:
    models = pair(theirs, ours)
    if clash:
        assert clash in refusal(models)
    else:
        assert len(plan(Recipe.load(GRAFT), models).layers) == 4


def test_rope_that_differs_by_layer_type_is_compared_type_by_type() -> None:
    def rope(theta: float) -> dict[str, Any]:
        return {
            "rope_theta": None,
            "rope_parameters": {"full_attention": {"rope_theta": theta}, "sliding": {"rope_theta": 1e4}},
        }

    assert len(plan(Recipe.load(GRAFT), pair(rope(1e6), rope(1e6))).layers) == 4
    assert "rope_parameters.full_attention.rope_theta: 2,000,000 against 1,000,000" in refusal(
        pair(rope(2e6), rope(1e6))
    )


BOOKKEEPING = {
    "_name_or_path": ("x", "y"), "architectures": (["A"], ["B"]), "transformers_version": ("4.30.0", "5.1.0"),
    "torch_dtype": ("float16", "bfloat16"), "dtype": ("float16", "float32"), "use_cache": (True, False),
    "bos_token_id": (1, 2), "eos_token_id": (2, [2, 3]), "pad_token_id": (None, 0), "max_position_embeddings": (32, 64),
    "attention_dropout": (0.0, 0.1), "hidden_dropout_prob": (0.1, 0.0), "resid_pdrop": (0.1, 0.0),
    "initializer_range": (0.02, 0.01), "tie_word_embeddings": (True, False), "tokenizer_class": ("A", "AFast"),
    "gradient_checkpointing": (True, False), "pretraining_tp": (1, 2), "temperature": (0.9, 0.5),
    "unsloth_version": ("1", "2"),
}  # fmt: skip


@pytest.mark.parametrize("key", BOOKKEEPING)
def test_relatives_that_differ_in_bookkeeping_fit(key: str) -> None:
    one, other = BOOKKEEPING[key]
    models = pair({key: other}, {key: one})
    assert all(model.config.get(key) == value for model, value in zip(models.values(), (one, other), strict=True))
    assert len(plan(Recipe.load(GRAFT), models).layers) == len(plan(Recipe.load(SLERP), models).layers) == 4


def test_a_setting_that_only_one_of_two_states_is_no_clash() -> None:
    assert len(plan(Recipe.load(GRAFT), pair({"attention_bias": False})).layers) == 4


def test_a_setting_that_ties_layers_to_their_depth_is_refused_where_layers_move() -> None:
    tied = {"scale_attn_by_inverse_layer_idx": True}
    assert "ties each layer to its depth" in refusal(pair(tied, tied), SHIFTED)


SHIFTED = "merge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [1, 3]}]\n"


def test_a_layer_without_a_tensor_that_every_layer_of_the_host_has_is_refused() -> None:
    shapes = folders.shapes(4)
    del shapes["model.layers.2.self_attn.k_proj.weight"]
    models = opened(checkpoint("a"), checkpoint("b", shapes))
    assert refusal(models) == (
        "'b' does not fit 'a': missing tensors: self_attn.k_proj.weight. "
        "Layers of one model have to agree in this, even where each has settings of its own: leave them out, or use a "
        "relative of the host."
    )
    with pytest.raises(FitError):
        plan(Recipe.load(GRAFT), models)
    assert len(plan(graft(models[Source("a")], models[Source("b")], (1, 2)), models).layers) == 4


def test_what_only_one_of_several_sources_lacks_is_told_where_they_meet() -> None:
    shapes = folders.shapes(4)
    del shapes["model.layers.2.self_attn.k_proj.weight"]
    models = opened(checkpoint("a"), checkpoint("b", shapes))
    text = "merge_method: linear\nbase_model: a\nparameters: {weight: 1}\nmodels: [{model: b}, {model: a}]\n"
    assert refusal(models, text).startswith("b: has no tensor 'model.layers.2.self_attn.k_proj.weight', which")


def test_what_only_some_layers_of_the_host_have_may_be_missing() -> None:
    shapes = folders.shapes(4)
    del shapes["model.layers.2.self_attn.k_proj.weight"]
    assert len(plan(Recipe.load(GRAFT), opened(checkpoint("a", shapes), checkpoint("b", shapes))).layers) == 4


def test_many_tensors_that_clash_are_counted() -> None:
    shapes = folders.shapes(4) | {
        f"model.layers.{at}.mlp.experts.{expert}.weight": (8, 8) for at in range(4) for expert in range(9)
    }
    others = {name: (8, 9) if "experts" in name else shape for name, shape in shapes.items()}
    said = refusal(opened(checkpoint("a", shapes), checkpoint("b", others)))
    assert said.startswith("'b' does not fit 'a': feed-forward size: mlp.experts.0.weight [8, 9] against [8, 8], ")
    assert "mlp.experts.2.weight [8, 9] against [8, 8] and 6 more. Assemble" in said


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({"config": {"quantization_config": {"quant_method": "gptq"}}}, "its config has a quantization_config (gptq)."),
        ({"dtypes": {"q_proj": "F8_E4M3"}}, "model.layers.0.self_attn.q_proj.weight is F8_E4M3."),
        ({"dtypes": {"down_proj": "I8"}}, "model.layers.0.mlp.down_proj.weight is I8."),
    ],
)
def test_quantised_weights_are_refused(theirs: dict, said: str) -> None:
    assert refusal(opened(checkpoint("a"), checkpoint("b", **theirs))).startswith(
        f"'b': quantised weights: {said} Load"
    )


def test_a_mask_of_bytes_is_not_quantised() -> None:
    shapes = folders.shapes(4) | {f"model.layers.{at}.attn.bias": (4, 4) for at in range(4)}
    models = opened(*(checkpoint(name, shapes, dtypes={"attn.bias": "U8"}) for name in "ab"))
    assert len(plan(Recipe.load(GRAFT), models).layers) == 4


def test_with_a_tokenizer_section_the_number_of_rows_may_differ_but_not_their_width() -> None:
    models = opened(checkpoint("a"), checkpoint("b", vocabulary=17))
    recipe = replace(Recipe.load(SLERP), vocabulary=Vocabulary())
    assert preflight(recipe, models) == ()
    shapes = folders.shapes(4, vocabulary=17) | {"lm_head.weight": (17, 9)}
    (found,) = preflight(recipe, opened(checkpoint("a"), checkpoint("b", shapes)))
    assert (found.what, found.evidence) == ("vocabulary", "lm_head.weight [17, 9] against [13, 8]")
