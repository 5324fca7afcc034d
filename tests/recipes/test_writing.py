"""Recipes written as YAML: what is read again is the same recipe."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mergelab import methods
from mergelab.recipes import Part, Recipe, Rule, Setting, Slice, check
from mergelab.weights import Source

TRICKY = ["1", "null", "yes", "0.5", "~", "true", "a: b", "a #b", "- a", "2024-01-01", "1e5", "é", "模型", "'", '"',
    "{", "[a]",
          "&a", "*a", "!x", "%a", "`", "a\nb", "a\n", "\t", " a ", "|", ">", "?", "x" * 150, "x y " * 60, "\x85",
              "\u2028",
          "=", "<<", "0x10", "010", "1_0", "."]  # fmt: skip
words = st.sampled_from(TRICKY) | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn")))
names = words.filter(lambda word: word and not set(word) & set("@+\0/"))
sources = st.one_of(
    names.map(Source),
    st.tuples(names, names).map(lambda two: Source("/".join(two))),
    st.tuples(names, words.filter(lambda word: word and not set(word) & set("@+\0"))).map(lambda two: Source(*two)),
)
finite = st.floats(-1e30, 1e30, allow_nan=False) | st.sampled_from([1e-5, 1e20, 0.1, 1.0, 2.0, -0.0, 1e-30])


def values(parameter: methods.Parameter) -> st.SearchStrategy[float | bool]:
    """Right values of a number."""
    if parameter.kind is bool:
        return st.booleans()
    return finite.filter(lambda value: parameter.problem(value) is None) | st.floats(
        max(parameter.low, -2), min(parameter.high, 2)
    )


def settings_of(parameter: methods.Parameter) -> st.SearchStrategy[Setting]:
    """One value, a gradient, or rules with filters."""
    value = values(parameter) | st.lists(values(parameter), min_size=1, max_size=4).map(tuple)
    rule = st.builds(Rule, value, st.none() | words.filter(lambda word: word != "*"))
    return st.lists(rule, min_size=1, max_size=3).map(lambda rules: Setting(tuple(rules)))


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Recipes that check() has nothing against."""
    method = methods.get(draw(st.sampled_from(methods.names())))
    per_model = [one for one in method.parameters.values() if one.per_model]
    shared = [one for one in method.parameters.values() if not one.per_model]

    def table(known: list[methods.Parameter], *, whole: bool) -> tuple[tuple[str, Setting], ...]:
        chosen = [one for one in known if whole or draw(st.booleans())]
        return tuple((one.name, draw(settings_of(one))) for one in chosen)

    least, most = method.inputs
    models = draw(st.lists(sources, min_size=1, max_size=4, unique=True))
    base = models[0] if method.base == "required" or draw(st.booleans()) else None
    inputs = (models[1:] if method.base != "none" and base else models)[: most or len(models)]
    assume(len(inputs) >= least)
    whole = draw(st.booleans())
    if whole and method.base == "none" and base is not None and base not in inputs:
        base = None
    slices = []
    for _ in range(1 if whole else draw(st.integers(1, 3))):
        size = draw(st.integers(1, 9))
        listed = [base, *inputs] if base and base not in inputs and (not whole or draw(st.booleans())) else inputs
        if method.base == "none":
            listed = inputs
        parts = []
        for source in listed:
            start = draw(st.integers(0, 99))
            own = () if method.base != "none" and source == base else table(per_model, whole=True)
            parts.append(Part(source, None if whole else (start, start + size), own))
        slices.append(Slice(tuple(parts), None, () if whole else table([*shared, *per_model], whole=False)))
    return Recipe(
        method.name, tuple(slices), base, table(shared, whole=True),
        *(draw(st.sampled_from([None, "F16", "BF16", "F32", "F64"])) for _ in range(2)),
        seed=draw(st.integers(-9, 2**40)),
    )  # fmt: skip


def kinds(recipe: Recipe) -> list[type]:
    """Types of all values: True equals 1.0, and is no 1.0."""
    tables = [recipe.numbers]
    for piece in recipe.slices:
        tables += [piece.numbers, *(part.numbers for part in piece.parts)]
    found = [rule.value for table in tables for _, setting in table for rule in setting.rules]
    return [
        bool if isinstance(one, bool) else float
        for value in found
        for one in (value if isinstance(value, tuple) else (value,))
    ]


@settings(max_examples=50)
@given(recipes())
def test_what_is_written_reads_as_the_same_recipe(recipe: Recipe) -> None:
    # Weights that happen to cancel in a recipe are refused by design.
    assume(not check(recipe))
    text = recipe.to_yaml()
    again = Recipe.load(text)
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert kinds(again) == kinds(recipe)
    assert again.to_yaml() == text


@settings(max_examples=25)
@given(recipes())
def test_what_is_written_is_plain_yaml_in_mergekits_words(recipe: Recipe) -> None:
    tree = yaml.safe_load(recipe.to_yaml())
    known = ["merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype", "seed"]
    assert [key for key in known if key in tree] == list(tree)
    assert tree["merge_method"] == recipe.method
    assert tree.get("base_model") == (str(recipe.base) if recipe.base else None)
    assert tree.get("seed", 0) == recipe.seed
    assert len(tree.get("slices", [0])) == len(recipe.slices)


@pytest.mark.parametrize("word", TRICKY, ids=ascii)
def test_a_name_that_yaml_could_misread_stays_that_name(word: str) -> None:
    setting = Setting((Rule(0.5, word), Rule(1.0)))
    part = Part(Source(word, word), (0, 1), (("scale", setting),))
    recipe = Recipe("passthrough", (Slice((part,)),), Source(f"org/{word}"))
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
