"""The rest of the grammar: methods of slices, modules, tokenizers, templates, stages, anchors; places in a text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mergelab.errors import RecipeError
from mergelab.recipes import Part, Recipe, Rule, numbers
from mergelab.recipes.recipe import Token, Vocabulary
from mergelab.weights import Source

A, B, C = Source("a"), Source("b"), Source("c")


def test_slices_may_have_methods_of_their_own() -> None:
    recipe = Recipe.load("""
        merge_method: slerp
        base_model: a
        slices:
          - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]
          - merge_method: passthrough
            sources: [{model: b, layer_range: ["2", 4.0]}]
            parameters: {scale: 2}
        parameters: {t: 0.5}
    """)
    assert [piece.method for piece in recipe.slices] == [None, "passthrough"]
    assert [recipe.method_of(piece) for piece in recipe.slices] == ["slerp", "passthrough"]
    assert recipe.slices[1].parts == (Part(B, (2, 4)),)


@pytest.mark.parametrize("body", ["models: [{model: a}]", "slices: [{sources: [{model: a, layer_range: [0, 2]}]}]"])
def test_a_module_is_read_as_if_it_were_the_whole(body: str) -> None:
    text = "merge_method: linear\nmodules:\n  default:\n    %s\n    parameters: {weight: 2}\nparameters: {weight: 1}\n"
    recipe = Recipe.load(text % body)
    assert recipe == Recipe(
        "linear", Recipe.load(f"merge_method: linear\n{body}\nparameters: {{weight: 1}}\n").slices,
        numbers=numbers({"weight": 1.0}), module="default", module_numbers=numbers({"weight": 2.0}),
    )  # fmt: skip


def test_numbers_of_a_module_count_where_a_method_needs_them() -> None:
    text = (
        "merge_method: linear\nmodules: {default: {models: [{model: a}, {model: b}], parameters: {weight: [1, 2]}}}\n"
    )
    assert Recipe.load(text).module_numbers == numbers({"weight": [1.0, 2.0]})
    assert Recipe.load(
        text.replace("weight: [1, 2]", "weight: 0, normalize: false") + "parameters: {normalize: true}\n"
    )
    with pytest.raises(RecipeError, match=r"line 2, column 21, modules\.default\.models: the weights sum to zero\."):
        Recipe.load(text.replace("weight: [1, 2]", "weight: 0"))


def test_what_a_later_document_may_have_said_is_not_missed() -> None:
    text = "name: one\nmerge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n---\nmerge_method: linear\n"
    with pytest.raises(RecipeError) as caught:
        Recipe.load(
            f"{text}models: [{{modl: one, parameters: {{weight: 1}}}}, {{model: [b], parameters: {{weight: 1}}}}]\n"
        )
    assert [problem.where for problem in caught.value.problems] == [
        "recipe line 6, column 11, models[0].modl",
        "recipe line 6, column 49, models[1].model",
    ]
    with pytest.raises(RecipeError) as caught:
        Recipe.load(f"{text}models: [{{model: [one], parameters: {{weight: 1}}}}]\n")
    assert [problem.where for problem in caught.value.problems] == ["recipe line 6, column 11, models[0].model"]


def test_choices_among_words_are_read_as_words() -> None:
    text = """
        merge_method: ties
        base_model: a
        models: [{model: b, parameters: {weight: 1}}]
        parameters: {trim_scope: [{filter: mlp, value: [model, tensor]}, {value: model}]}
    """
    (name, setting), *_ = Recipe.load(text).numbers
    assert (name, setting.rules) == ("trim_scope", (Rule(("model", "tensor"), "mlp"), Rule("model")))


STACK = "merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [0, 1]}]}]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tokenizer_source: union", Vocabulary(legacy=True)),
        ("tokenizer_source: base", Vocabulary("base", legacy=True)),
        ("tokenizer_source: b@v1", Vocabulary(Source("b", "v1"), legacy=True)),
        ("tokenizer_source: {model: {path: union}}", Vocabulary(Source("union"), legacy=True)),
        ("tokenizer_source: null", None),
        ("tokenizer: {}", Vocabulary()),
        ("tokenizer: {source: {model: b}, pad_to_multiple_of: 64}", Vocabulary(B, 64)),
        ("tokenizer: {tokens: {<|im_start|>: {source: b, force: true}}}",
            Vocabulary(tokens=(("<|im_start|>", Token(B, force=True)),))),
        ("tokenizer: {tokens: {1: {source: {kind: zero}}, yes: {force: 1}, x: }}",
            Vocabulary(tokens=(("1", Token(zero=True)), ("yes", Token(force=True)), ("x", Token())))),
        ("tokenizer: {tokens: {x: {source: {kind: model_token, model: b, token: y}}}}",
            Vocabulary(tokens=(("x", Token(B, "y")),))),
        ("tokenizer: {tokens: {x: {source: {model: c, token_id: 7}}}}", Vocabulary(tokens=(("x", Token(C, 7)),))),
    ],
)  # fmt: skip
def test_a_tokenizer_is_read_in_every_spelling(text: str, words: Vocabulary | None) -> None:
    recipe = Recipe.load(f"{STACK}{text}\n")
    assert recipe.vocabulary == words
    named = [] if words is None else [words.source, *(token.source for _, token in words.tokens)]
    assert recipe.sources == tuple(dict.fromkeys([A, *(one for one in named if isinstance(one, Source))]))


@pytest.mark.parametrize(
    "asked", ["auto", "alpaca", "chatml", "exaone", "llama3", "mistral", "{{ messages[0]['content'] }}"]
)
def test_a_chat_template_is_a_known_name_or_a_text(asked: str) -> None:
    assert Recipe.load(f'{STACK}chat_template: "{asked}"\nname: stack\n').chat_template == asked


def test_documents_are_stages_that_later_ones_use_by_name() -> None:
    recipe = Recipe.load("""
name: my blend
merge_method: linear
models: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 1}}]
seed: 3
---
name: "a+b"
merge_method: slerp
base_model: my blend
models: [{model: c}]
parameters: {t: 0.5}
---
merge_method: passthrough
slices:
  - sources: [{model: a+b, layer_range: [0, 2]}]
  - sources: [{model: my blend, layer_range: [0, 2]}]
  - sources: [{model: c, layer_range: [0, 2]}]
---
""")
    first, second = recipe.stages
    assert (first.name, first.seed, second.base) == ("my blend", 3, Source("my blend"))
    assert [part.source for piece in recipe.slices for part in piece.parts] == [Source("a+b"), Source("my blend"), C]
    assert recipe.sources == (A, B, C)
    assert recipe.stage(Source("a+b")) == replace(second, stages=(first,))


def test_keys_without_a_value_count_as_left_out() -> None:
    keys = ("base_model", "parameters", "dtype", "out_dtype", "tokenizer", "tokenizer_source", "chat_template", "name",
            "seed", "widen", "models")  # fmt: skip
    assert Recipe.load(STACK + "".join(f"{key}:\n" for key in keys)) == Recipe.load(STACK)


def test_anchors_and_merge_keys_are_written_out() -> None:
    recipe = Recipe.load(
        """
        merge_method: ties
        base_model: &base org/base
        models:
          - model: *base
          - model: b
            parameters: &half {weight: &w [0, 1], density: 0.5}
          - model: c
            parameters: {<<: *half, density: 0.25}
          - model: d
            parameters: {lambdas: 1, <<: [{weight: 2}, *half]}
        parameters: {normalize: false}
    """.replace("lambdas: 1, ", "")
    )
    half = numbers({"weight": [0.0, 1.0], "density": 0.5})
    own = [part.numbers for part in recipe.slices[0].parts]
    assert own == [(), half, (half[0], *numbers({"density": 0.25})), numbers({"weight": 2.0, "density": 0.5})]
    assert recipe.base == Source("org/base")


def test_a_path_is_found_in_the_text(tmp_path: Path) -> None:
    path = tmp_path / "blend.yml"
    path.write_text("""# blend
merge_method: linear
modules:
  default:
    models:
      - model: a
        parameters: {weight: [0.5, 1]}
tokenizer: {tokens: {"<s>": {force: true}}}
""")
    recipe = Recipe.load(path)
    for where, place in {
        "merge_method": "line 2, column 1",
        "models[0]": "line 6, column 9",
        "modules.default.models[0].parameters.weight": "line 7, column 22",
        "models[0].parameters.weight[1]": "line 7, column 36",
        "models[0].parameters.density": "line 7, column 9",
        "tokenizer.tokens['<s>'].force": "line 8, column 30",
    }.items():
        whole = f"modules.default.{where}" if where.startswith("models") else where
        assert recipe.place(where) == f"blend.yml {place}, {whole}"
    assert recipe.place("dtype") == "blend.yml, dtype"
    assert replace(recipe, notes=None).place("dtype") == "dtype"


@pytest.mark.real
def test_every_case_of_mergekits_is_read_and_written(shared: Path) -> None:
    cases = sorted((shared / "mergekit-cases" / "cases").glob("*/config.yml"))
    assert len(cases) >= 36
    for path in cases:
        recipe = Recipe.load(path)
        assert Recipe.load(recipe.to_yaml()) == recipe, path
        again = Recipe.load(recipe.to_mergekit())
        assert replace(again, base=recipe.base) == recipe, path
