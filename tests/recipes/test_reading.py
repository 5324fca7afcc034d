"""Recipes read from mergekit's YAML: every feature, with its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergelab.errors import RecipeError
from mergelab.recipes import Part, Recipe, Rule, Setting, Slice, numbers
from mergelab.weights import Source

A, B, C = Source("a"), Source("b"), Source("c")


def test_whole_models_with_a_base_and_numbers_of_every_scope() -> None:
    recipe = Recipe.load("""
        merge_method: ties
        base_model: a
        models:
          - model: a
          - model: b
            parameters: {weight: 0.5, density: [1, 0.25]}
          - model: c
            parameters:
              weight:
                - {filter: self_attn, value: [0, 0.5]}
                - {filter: mlp, value: 2}
                - value: 1.0
        parameters: {normalize: false, lambda: 0.7}
        dtype: bfloat16
        out_dtype: torch.float16
        seed: 11
    """)
    rules = (Rule((0.0, 0.5), "self_attn"), Rule(2.0, "mlp"), Rule(1.0))
    parts = (
        Part(A),
        Part(B, None, numbers({"weight": 0.5, "density": [1.0, 0.25]})),
        Part(C, None, (("weight", Setting(rules)),)),
    )
    shared = numbers({"normalize": False, "lambda": 0.7})
    assert recipe == Recipe("ties", (Slice(parts),), A, shared, "BF16", "F16", 11)
    assert recipe.sources == (A, B, C)
    assert recipe.donor == A


def test_slices_with_bases_and_numbers_of_their_own() -> None:
    recipe = Recipe.load("""
        merge_method: slerp
        base_model: a
        slices:
          - sources:
              - {model: a, layer_range: [0, 4]}
              - {model: b, layer_range: [2, 6]}
            parameters: {t: [0, 0.5, 1]}
          - sources:
              - {model: b, layer_range: [4, 5]}
              - {model: c, layer_range: [0, 1]}
            base_model: c
            parameters: {t: {filter: mlp, value: 0.2}}
        parameters: {t: 0.1}
    """)
    assert recipe.slices == (
        Slice((Part(A, (0, 4)), Part(B, (2, 6))), None, numbers({"t": [0.0, 0.5, 1.0]})),
        Slice((Part(B, (4, 5)), Part(C, (0, 1))), C, (("t", Setting((Rule(0.2, "mlp"),))),)),
    )
    assert recipe.numbers == numbers({"t": 0.1})
    assert recipe.sources == (A, B, C)
    assert recipe.seed == 0
    assert recipe.dtype is None
    assert recipe.out_dtype is None


def test_a_stack_with_repeats_and_a_scale() -> None:
    recipe = Recipe.load("""
        merge_method: passthrough
        slices:
          - sources: [{model: a, layer_range: [0, 2]}]
          - sources: [{model: a, layer_range: [1, 2], parameters: {scale: [{filter: o_proj, value: 0}, {value: 1}]}}]
    """)
    scale = Setting((Rule(0.0, "o_proj"), Rule(1.0)))
    assert recipe.slices == (Slice((Part(A, (0, 2)),)), Slice((Part(A, (1, 2), (("scale", scale),)),)))
    assert recipe.donor == A


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("-0.5", -0.5), ("1e-5", 1e-5), ("1E3", 1000.0), ("-1.5e+2", -150.0), (".5", 0.5), ("'0.25'", 0.25),
     ("1.0e-05", 1e-5), ("+2", 2.0), ("[0, 1e-1]", (0.0, 0.1)), ("[1]", (1.0,))],
)  # fmt: skip
def test_a_number_is_read_however_it_is_written(text: str, value: float | tuple[float, ...]) -> None:
    recipe = Recipe.load(f"merge_method: linear\nmodels:\n  - model: a\n    parameters: {{weight: {text}}}\n")
    assert recipe.slices[0].parts[0].numbers == (("weight", Setting((Rule(value),))),)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("false", False), ("yes", True), ("[true, false]", (True, False)), ("1.0", True), ("0", False),
     ("'true'", True), ("'Off'", False), ("'1.0'", True), ("[1, 0.0]", (True, False))],
)  # fmt: skip
def test_a_switch_stays_a_switch(text: str, value: bool | tuple[bool, ...]) -> None:
    models = "models:\n  - {model: a, parameters: {weight: 1}}\n"
    recipe = Recipe.load(f"merge_method: linear\n{models}parameters: {{normalize: {text}}}\n")
    read = recipe.numbers[0][1].rules[0].value
    assert read == value
    assert [type(one) for one in (read if isinstance(read, tuple) else [read])] == [bool] * (2 if "[" in text else 1)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [("mlp", "mlp"), ("'*'", None), ("null", None), ("~", None), ("1.", "1."), (".1.", ".1."), ("010", "010"), ("yes",
        "yes"),
     ("1_0", "1_0"), ("2024-01-01", "2024-01-01"), ("''", "")],
)  # fmt: skip
def test_a_filter_is_text_as_it_is_written(text: str, pattern: str | None) -> None:
    weight = f"{{filter: {text}, value: 2}}"
    recipe = Recipe.load(f"merge_method: linear\nmodels:\n  - model: a\n    parameters: {{weight: {weight}}}\n")
    assert recipe.slices[0].parts[0].numbers == (("weight", Setting((Rule(2.0, pattern),))),)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("org/name@v1", Source("org/name", "v1")),
        ("{model: org/name}", Source("org/name")),
        ("{model: {path: org/name}}", Source("org/name")),
        ("{model: {path: org/name, revision: v1}}", Source("org/name", "v1")),
        ("'1'", Source("1")),
        ("'null'", Source("null")),
        ("./ü ñ", Source("./ü ñ")),
        ("org/name@v1+org/lora@v2", Source("org/name", "v1", Source("org/lora", "v2"))),
        ("{model: org/name+org/lora}", Source("org/name", None, Source("org/lora"))),
        ("{model: {path: org/name}, lora: org/lora@v2}", Source("org/name", None, Source("org/lora", "v2"))),
        ("{model: a, lora: {path: b, revision: v2}}", Source("a", None, Source("b", "v2"))),
        ("{model: {path: 'a@b+c'}, lora: null}", Source("a@b+c")),
    ],
)
def test_a_model_is_a_text_or_a_table(text: str, source: Source) -> None:
    recipe = Recipe.load(f"merge_method: passthrough\nbase_model: {text}\nslices:\n"
                         f"  - sources: [{{model: {text}, layer_range: [0, 1]}}]\n")  # fmt: skip
    assert recipe.base == source
    assert recipe.slices[0].parts[0].source == source


@pytest.mark.parametrize("name", ["bfloat16", "torch.bfloat16"])
def test_a_dtype_may_have_torch_before_it(name: str) -> None:
    text = "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n"
    assert Recipe.load(f"{text}dtype: {name}\n").dtype == "BF16"


def test_a_recipe_is_read_from_a_file_with_any_line_ends_and_mark(tmp_path: Path) -> None:
    text = "# a comment\nmerge_method: passthrough\nslices:\n  - sources: [{model: a, layer_range: [0, 1]}]\n"
    for number, raw in enumerate((text, text.replace("\n", "\r\n"), "\ufeff" + text)):
        path = tmp_path / f"{number}.yml"
        path.write_bytes(raw.encode())
        assert Recipe.load(path) == Recipe.load(str(path)) == Recipe.load(text)


def test_relative_models_can_be_counted_from_another_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    text = (
        "merge_method: slerp\nbase_model: ./a\nmodels: [{model: ./a}, {model: b}, {model: org/c}]\nparameters: {t: 0}\n"
    )
    text = text.replace(", {model: org/c}", "")
    recipe = Recipe.load(text, root=tmp_path)
    assert recipe.sources == (Source(str(tmp_path / "./a")), Source(str(tmp_path / "b")))
    assert recipe.base == recipe.slices[0].parts[0].source


@pytest.mark.parametrize("place", ["none.yml", "a\0b", "~nobody/x.yml", "x" * 9000])
def test_a_recipe_file_that_cannot_be_read_is_an_error_in_words(place: str) -> None:
    with pytest.raises(RecipeError, match=r"there is no such recipe file|cannot be read") as caught:
        Recipe.load(place)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["", "  "])
def test_no_text_at_all_is_an_empty_recipe(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^recipe: the recipe is empty. Start with merge_method:"):
        Recipe.load(text)


def test_a_recipe_file_that_is_no_text_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"x.yml: cannot be read .* Give a text file in UTF-8."):
        Recipe.load(tmp_path / "x.yml")


PASTED = [
    """slices:
  - sources:
      - model: OpenPipe/mistral-ft-optimized-1218
        layer_range: [0, 32]
      - model: mlabonne/NeuralHermes-2.5-Mistral-7B
        layer_range: [0, 32]
merge_method: slerp
base_model: OpenPipe/mistral-ft-optimized-1218
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 0.7, 1]
    - filter: mlp
      value: [1, 0.5, 0.7, 0.3, 0]
    - value: 0.5 # fallback for rest of tensors
dtype: bfloat16
""",
    """base_model: ../merge2
models:
  - model: ../merge
    parameters:
      weight: [0.22, 0.113, 0.113, 0.113, 0.113, 0.113]
      density: 0.61
  - model: ../merge2
    parameters:
      weight: [0.22, 0.113, 0.113, 0.113, 0.113, 0.113]
      density: 0.61
merge_method: dare_ties
tokenizer_source: union
parameters:
  int8_mask: true
dtype: bfloat16
name: 4kmerge-v2
""",
    """base_model:
  model:
    path: org/base
dtype: bfloat16
merge_method: task_arithmetic
parameters:
  int8_mask: 1.0
  normalize: 1.0
slices:
- sources:
  - layer_range: [0, 2]
    model:
      model:
        path: org/tuned
        revision: null
    parameters:
      weight: 0.3475802891062396
  - layer_range: [0, 2]
    model:
      model:
        path: org/base
""",
]


@pytest.mark.parametrize("text", PASTED)
def test_recipes_that_people_share_are_read(text: str) -> None:
    recipe = Recipe.load(text)
    assert Recipe.load(recipe.to_yaml()) == recipe
