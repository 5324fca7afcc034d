"""The numbers and dtypes of a plan: scopes, filters, gradients over depth, promotion."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import gradient
from mergelab.recipes import Recipe, plan
from mergelab.recipes.planner import promote
from mergelab.weights import FLOATS
from tests.recipes.opened import Models, checkpoint, family, opened
from tests.recipes.test_plan import refused, steps
from tests.weights import folders

TORCH = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


def numbers_of(text: str, models: Models | None = None) -> dict[str, dict[str, object]]:
    """Numbers of every step of this recipe over models a, b, c of four layers."""
    worked = plan(Recipe.load(text), models or family())
    return {name: dict(step.numbers) for name, step in steps(worked).items()}


# ------------------------------------------------------------------------------------------------ numbers


def test_the_nearest_scope_that_has_a_rule_for_a_tensor_gives_its_number() -> None:
    found = numbers_of("""
merge_method: ties
base_model: c
slices:
  - sources:
      - {model: a, layer_range: [0, 2], parameters: {weight: {filter: mlp, value: 1}}}
      - {model: b, layer_range: [0, 2], parameters: {density: 0.5}}
      - {model: c, layer_range: [0, 2]}
    parameters: {weight: {filter: q_proj, value: 2}, lambda: {filter: mlp, value: 5}}
  - sources:
      - {model: a, layer_range: [2, 3]}
      - {model: b, layer_range: [2, 3]}
      - {model: c, layer_range: [2, 3]}
parameters: {weight: 3, lambda: 6}
""")
    assert found["model.layers.0.mlp.down_proj.weight"]["weight"] == (1.0, 3.0)
    assert found["model.layers.0.self_attn.q_proj.weight"]["weight"] == (2.0, 2.0)
    assert found["model.layers.1.self_attn.k_proj.weight"]["weight"] == (3.0, 3.0)
    assert found["model.layers.2.mlp.down_proj.weight"]["weight"] == (3.0, 3.0)
    assert found["model.layers.0.mlp.down_proj.weight"]["lambda"] == 5.0
    assert found["model.layers.0.self_attn.q_proj.weight"]["lambda"] == 6.0
    assert found["model.layers.1.mlp.down_proj.weight"]["density"] == (1.0, 0.5)
    assert found["lm_head.weight"]["density"] == (1.0, 1.0), "the last slice says nothing of it"


def test_the_first_rule_that_matches_wins() -> None:
    found = numbers_of("""
merge_method: slerp
base_model: a
models: [{model: b}]
parameters:
  t:
    - {filter: self_attn.q, value: 0.1}
    - {filter: self_attn, value: 0.2}
    - {filter: "*", value: 0.3}
""")
    assert found["model.layers.3.self_attn.q_proj.weight"] == {"t": 0.1}
    assert found["model.layers.3.self_attn.k_proj.weight"] == {"t": 0.2}
    assert found["model.layers.3.mlp.down_proj.weight"] == {"t": 0.3}


def test_a_number_of_a_model_is_filtered_by_the_names_in_its_source() -> None:
    found = numbers_of("""
merge_method: linear
slices:
  - sources:
      - model: a
        layer_range: [0, 3]
        parameters: {weight: [{filter: layers.2., value: 4.0}, {value: 1.0}]}
      - model: b
        layer_range: [1, 4]
        parameters: {weight: [{filter: layers.3., value: 3.0}, {value: 1.0}]}
""")
    weights = [found[f"model.layers.{at}.mlp.down_proj.weight"]["weight"] for at in range(3)]
    assert weights == [(1.0, 1.0), (1.0, 1.0), (4.0, 3.0)]


def test_a_shared_number_is_filtered_by_the_names_in_the_merge() -> None:
    found = numbers_of("""
merge_method: slerp
base_model: a
slices:
  - sources: [{model: a, layer_range: [1, 4]}, {model: b, layer_range: [1, 4]}]
    parameters: {t: [{filter: layers.2., value: 0.2}, {value: 0}]}
""")
    assert [found[f"model.layers.{at}.mlp.down_proj.weight"]["t"] for at in range(3)] == [0.0, 0.0, 0.2]


@given(
    points=st.lists(st.integers(-8, 8).map(float), min_size=1, max_size=6),
    start=st.integers(0, 5),
    count=st.integers(1, 6),
)
def test_a_gradient_spans_its_slice(points: list[float], start: int, count: int) -> None:
    found = numbers_of(f"""
merge_method: slerp
base_model: a
slices:
  - sources: [{{model: a, layer_range: [{start}, {start + count}]}}, {{model: b, layer_range: [0, {count}]}}]
    parameters: {{t: {points}}}
""", family(2, layers=11))  # fmt: skip
    for at in range(count):
        u = at / (count - 1) if count > 1 else 1.0
        below = min(int(u * (len(points) - 1) + 1e-12), len(points) - 1)
        above = min(below + 1, len(points) - 1)
        expected = points[below] + (points[above] - points[below]) * (u * (len(points) - 1) - below)
        value = found[f"model.layers.{at}.mlp.down_proj.weight"]["t"]
        assert value == pytest.approx(expected, abs=1e-9)
        assert value == gradient(points, at, count)
    for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"):
        assert found[name]["t"] == points[0], "embeddings, norm and head take the first value"


def test_a_slice_of_one_layer_takes_the_last_value_and_what_is_outside_the_first() -> None:
    found = numbers_of("""
merge_method: slerp
base_model: a
slices:
  - sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 1]}]
    parameters: {t: [0.1, 0.5, 0.9]}
""")
    assert found["model.layers.0.mlp.down_proj.weight"]["t"] == 0.9
    assert found["model.embed_tokens.weight"]["t"] == found["lm_head.weight"]["t"] == 0.1


def test_a_gradient_of_switches_goes_in_steps() -> None:
    text = "merge_method: linear\nmodels: [{model: a}]\nparameters: {weight: 1, normalize: [true, false]}\n"
    found = numbers_of(text)
    assert [found[f"model.layers.{at}.mlp.down_proj.weight"]["normalize"] for at in range(4)] == [
        True,
        True,
        True,
        False,
    ]


def test_a_tensor_that_no_rule_reaches_is_named() -> None:
    text = "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: {filter: mlp, value: 1}}\n"
    hint = "Add a rule without a filter at the end of the list."
    assert refused(text) == (
        f"recipe line 4, column 14, parameters.t: no rule gives t for 'model.embed_tokens.weight' and 14 more. {hint}"
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("models: [{model: a, RULED}, {model: b, GIVEN}]", "line 2, column 34, models[0].parameters.weight"),
        ("parameters: {weight: {filter: lm_head, value: 1}}\nmodels: [{model: a, RULED}, {model: b, GIVEN}]",
            "line 3, column 34, models[0].parameters.weight"),
        ("RULED\nmodels: [{model: a}, {model: b, GIVEN}]", "line 2, column 14, parameters.weight"),
        ("modules: {default: {RULED, models: [{model: a}, {model: b, GIVEN}]}}",
            "line 2, column 34, modules.default.parameters.weight"),
        ("slices: [{sources: [{model: a, layer_range: [0, 4]}, {model: b, layer_range: [0, 4], GIVEN}], RULED}]",
            "line 2, column 126, slices[0].parameters.weight"),
        ("modules: {default: {models: [{model: a, RULED}, {model: b, GIVEN}]}}",
            "line 2, column 54, modules.default.models[0].parameters.weight"),
    ],
)  # fmt: skip
def test_a_tensor_that_no_rule_reaches_is_named_with_its_model_and_the_nearest_rules(text: str, place: str) -> None:
    text = text.replace("RULED", "parameters: {weight: {filter: mlp, value: 1}}")
    said = refused(f"merge_method: linear\n{text.replace('GIVEN', 'parameters: {weight: 1}')}\n")
    more = 13 if "lm_head" in text else 14
    what = f"no rule gives weight for 'model.embed_tokens.weight' and {more} more of 'a'."
    assert said == f"recipe {place}: {what} Add a rule without a filter at the end of the list."


def test_a_filter_in_capitals_is_told_what_is_meant() -> None:
    text = "merge_method: passthrough\nmodels: [{model: a}]\nparameters: {scale: [{filter: MLP, value: 2}]}\n"
    assert "filter 'MLP' matches no tensor. Did you mean 'mlp'?" in refused(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("slices:\n  - sources: [{model: a, layer_range: [0, 1], SCALE}]\n", "slices[0].sources[0].parameters.scale"),
        ("slices:\n  - sources: [{model: a, layer_range: [0, 1]}]\n    SCALE\n", "slices[0].parameters.scale"),
        ("models: [{model: a}]\nSCALE\n", "parameters.scale"),
        ("models: [{model: a, SCALE}]\n", "models[0].parameters.scale"),
        ("modules: {default: {models: [{model: a}], SCALE}}\n", "modules.default.parameters.scale"),
        ("modules: {default: {models: [{model: a, SCALE}]}}\n", "modules.default.models[0].parameters.scale"),
    ],
)  # fmt: skip
def test_a_filter_that_matches_no_tensor_is_refused(text: str, where: str) -> None:
    scale = "parameters: {scale: [{filter: mpl, value: 2}, {value: 1}]}"
    said = refused(f"merge_method: passthrough\n{text.replace('SCALE', scale)}")
    assert f"{where}: filter 'mpl' matches no tensor. Filters are parts of tensor names, such as 'model." in said


def test_a_filter_that_matches_the_base_alone_matches_nothing() -> None:
    said = refused("""
merge_method: ties
base_model: c
slices: [{sources: [{model: a, layer_range: [0, 1]}, {model: c, layer_range: [3, 4]}]}]
parameters: {weight: [{filter: layers.3., value: 2}, {value: 1}]}
""")
    assert "parameters.weight: filter 'layers.3.' matches no tensor." in said


def test_weights_that_cancel_in_one_layer_are_refused_with_its_name() -> None:
    said = refused("""
merge_method: linear
models:
  - {model: a, parameters: {weight: 1}}
  - {model: b, parameters: {weight: [{filter: layers.2.mlp, value: -1}, {value: 1}]}}
""")
    assert said.startswith("model.layers.2.mlp.down_proj.weight: the weights sum to zero.")


def test_a_scale_of_one_copies_and_any_other_does_not() -> None:
    worked = steps(plan(Recipe.load("""
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 1], parameters: {scale: [{filter: mlp, value: 0.5}, {value: 1}]}}]
"""), family()))  # fmt: skip
    assert [name for name, step in worked.items() if not step.copies] == ["model.layers.0.mlp.down_proj.weight"]


def test_a_method_that_computes_never_copies() -> None:
    text = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n"
    assert not any(step.copies for step in plan(Recipe.load(text), family()).steps)


# ------------------------------------------------------------------------------------------------- dtypes


@given(st.lists(st.sampled_from(FLOATS), min_size=1, max_size=4))
def test_dtypes_are_promoted_as_torch_promotes_them(dtypes: list[str]) -> None:
    expected = TORCH[dtypes[0]]
    for dtype in dtypes[1:]:
        expected = torch.promote_types(expected, TORCH[dtype])
    if len(set(dtypes)) <= 2:  # of three, torch's answer depends on their order where F16, BF16 meet
        assert TORCH[promote(dtypes)] == expected
    assert promote(dtypes) == promote(list(reversed(dtypes)))


def test_the_promotion_table_is_torchs() -> None:
    for one in FLOATS:
        for other in FLOATS:
            assert TORCH[promote([one, other])] == torch.promote_types(TORCH[one], TORCH[other])


@pytest.mark.parametrize(
    ("said", "a", "b", "expected"),
    [
        ("", "BF16", "BF16", "BF16"), ("", "BF16", "F16", "F32"), ("", "F32", "BF16", "F32"), ("", "F16", "F64", "F64"),
        ("dtype: float16", "F32", "BF16", "F16"), ("out_dtype: bfloat16", "F32", "F32", "BF16"),
        ("dtype: float32\nout_dtype: float16", "BF16", "BF16", "F16"),
    ],
)  # fmt: skip
def test_the_merge_has_the_dtype_asked_for_or_the_widest(said: str, a: str, b: str, expected: str) -> None:
    text = f"merge_method: slerp\nbase_model: a\nmodels: [{{model: b}}]\nparameters: {{t: 0.5}}\n{said}\n"
    worked = plan(Recipe.load(text), opened(checkpoint("a", dtype=a), checkpoint("b", dtype=b)))
    assert {step.dtype for step in worked.steps} == {expected}
    assert worked.dtype == expected
    assert worked.bytes == worked.parameters * {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}[expected]


def test_dtypes_are_promoted_tensor_by_tensor_and_the_model_has_the_widest() -> None:
    text = "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: 0.5}\n"
    models = opened(checkpoint("a", dtype="BF16", dtypes={"norm": "F32"}), checkpoint("b", dtype="BF16"))
    worked = plan(Recipe.load(text), models)
    assert {step.name: step.dtype for step in worked.steps if "norm" in step.name} == {
        name: "F32" for name in folders.shapes(4) if "norm" in name
    }
    assert {step.dtype for step in worked.steps if "norm" not in step.name} == {"BF16"}
    assert worked.dtype == "F32"


COUNTED = folders.shapes(4) | {f"model.layers.{layer}.self_attn.count": (3,) for layer in range(4)}


def test_a_copy_in_another_dtype_is_no_copy_and_whole_numbers_keep_theirs() -> None:
    text = "merge_method: passthrough\nmodels: [{model: a}]\nout_dtype: bfloat16\n"
    worked = steps(plan(Recipe.load(text), opened(checkpoint("a", COUNTED, dtypes={"count": "I64", "norm": "BF16"}))))
    for name, step in worked.items():
        assert step.dtype == ("I64" if "count" in name else "BF16")
        assert step.copies == ("count" in name or "norm" in name)


def test_whole_numbers_of_two_dtypes_are_refused() -> None:
    text = "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: 0.5}\n"
    models = opened(*(checkpoint(name, COUNTED, dtypes={"count": kind}) for name, kind in (("a", "I64"), ("b", "U8"))))
    said = refused(text, models)
    assert "model.layers.0.self_attn.count: its sources differ in dtype: a I64, b U8. Only F64, F32, F16 and" in said
