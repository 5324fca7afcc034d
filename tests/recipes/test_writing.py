"""Recipes written as YAML: what is read again is the same recipe."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings

from mergelab.recipes import Part, Recipe, Rule, Setting, Slice
from mergelab.recipes.recipe import Token, Vocabulary
from mergelab.weights import Source
from tests.recipes.drawn import TRICKY, recipes


def kinds(recipe: Recipe) -> list[type]:
    """Types of all values: True equals 1.0, and is no 1.0."""
    tables = []
    for document in (*recipe.stages, recipe):
        tables += [document.numbers, document.module_numbers]
        for piece in document.slices:
            tables += [piece.numbers, *(part.numbers for part in piece.parts)]
    found = [rule.value for table in tables for _, setting in table for rule in setting.rules]
    return [type(one) for value in found for one in (value if isinstance(value, tuple) else (value,))]


@settings(max_examples=40)
@given(recipes())
def test_what_is_written_reads_as_the_same_recipe(recipe: Recipe) -> None:
    text = recipe.to_yaml()
    again = Recipe.load(text)
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert kinds(again) == kinds(recipe)
    assert again.to_yaml() == text


@settings(max_examples=10)
@given(recipes(stages=1))
def test_what_is_written_is_plain_yaml_in_the_words_of_the_grammar(recipe: Recipe) -> None:
    known = ["name", "merge_method", "base_model", "models", "slices", "modules", "parameters", "dtype", "out_dtype",
             "tokenizer", "tokenizer_source", "chat_template", "seed", "widen"]  # fmt: skip
    trees = list(yaml.safe_load_all(recipe.to_yaml()))
    for tree, document in zip(trees, (*recipe.stages, recipe), strict=True):
        assert [key for key in known if key in tree] == list(tree)
        assert tree["merge_method"] == document.method
        assert tree.get("seed", 0) == document.seed
        assert tree.get("widen", False) is document.widen
        body = tree["modules"]["default"] if document.module else tree
        assert len(body.get("slices", [0])) == len(document.slices)


@pytest.mark.parametrize("word", TRICKY, ids=ascii)
def test_a_name_that_yaml_could_misread_stays_that_name(word: str) -> None:
    setting = Setting((Rule(0.5, word), Rule(1.0)))
    part = Part(Source(word, word), (0, 1), (("scale", setting),))
    words = Vocabulary(Source(word), tokens=((word, Token(Source(word, None, Source(word)), word)),))
    recipe = Recipe("passthrough", (Slice((part,)),), Source(f"org/{word}"), vocabulary=words, name=word)
    assert Recipe.load(recipe.to_yaml()) == recipe


def test_the_text_of_a_recipe_is_what_a_person_would_write() -> None:
    text = """merge_method: ties
base_model: org/base
slices:
- sources:
  - model: org/base
    layer_range: [0, 4]
  - model: org/tuned@v1
    layer_range: [2, 6]
    parameters:
      weight: [0, 0.5, 1]
      density:
      - filter: mlp
        value: 0.25
      - value: 1
  parameters:
    normalize: false
dtype: bfloat16
seed: 7
"""
    assert Recipe.load(text).to_yaml() == text


def test_slices_of_one_source_stay_slices() -> None:
    recipe = Recipe("passthrough", (Slice((Part(Source("a"), (0, 4)),)),))
    assert "layer_range: [0, 4]" in recipe.to_yaml()
    assert Recipe.load(recipe.to_yaml()) == recipe
