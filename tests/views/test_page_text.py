"""What is wrong with a text: where, which word, how to mend it; and the lines of each slice, in any writing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings

from mergelab.errors import FitError, RecipeError
from mergelab.recipes.dialect import read
from mergelab.recipes.recipe import Recipe
from mergelab.views.guests import Guest
from mergelab.views.page_text import NAME, lines_of, unreadable
from mergelab.views.sketch import sketch_of
from tests.recipes import drawn
from tests.recipes.opened import checkpoint

FAULTY = """# a note
merge_method: tiess
base_model: base
slices:
- sources:
  - model: base
    layer_range: [0, 4]
  - model: a
    layer_range: [0, 4]
    paramters:
      wieght: 0.5
- sources: [{model: base, layer_rang: [0, 4]}]
dtype: flot32
"""


def wrong(text: str) -> list[dict[str, Any]]:
    with pytest.raises(RecipeError) as caught:
        read(text, NAME)
    return unreadable(caught.value.problems, text)


def test_each_problem_has_its_word_and_what_to_write_instead() -> None:
    lines = FAULTY.splitlines()
    found = {}
    for row in wrong(FAULTY):
        line, column, end = row["line"], row["column"], row["end"]
        assert (row["grade"], row["where"]) == ("error", f"Line {line}")
        if row["fix"]:
            found[lines[line - 1][column - 1 : end - 1]] = row["fix"]
    assert found == {
        "tiess": "ties",
        "paramters": "parameters",
        "wieght": "weight",
        "layer_rang": "layer_range",
        "flot32": "float32",
    }


def test_writing_the_fixes_mends_what_was_misspelt() -> None:
    text = FAULTY
    while fixes := [row for row in wrong(text) if row["fix"]]:
        row, lines = fixes[0], text.splitlines()
        line = lines[row["line"] - 1]
        lines[row["line"] - 1] = line[: row["column"] - 1] + row["fix"] + line[row["end"] - 1 :]
        text = "\n".join(lines) + "\n"
    (left,) = wrong(text)
    assert (left["line"], left["fix"]) == (12, None)
    assert "here are 0" in left["what"]


@pytest.mark.parametrize(("word", "fix"), [("flase", "false"), ("Ture", "true"), ("ten", None)])
def test_a_misspelt_switch_can_be_mended(word: str, fix: str | None) -> None:
    text = "merge_method: ties\nbase_model: b\nmodels:\n- model: a\n  parameters: {weight: 1}\n"
    (row,) = wrong(f"{text}parameters:\n  normalize: {word}\n")
    assert (row["line"], row["column"], row["end"], row["fix"]) == (7, 14, 14 + len(word), fix)


@pytest.mark.parametrize(
    ("line", "column", "what"),
    [
        ("    layer_range: [0, 4", 18, "the list that begins here is not closed by line 6."),
        ("    parameters: {weight: 1", 17, "the table that begins here is not closed by line 6."),
        ("    layer_range: 'a", 18, "the quoted text that begins here is not closed by line 8."),
    ],
)
def test_what_is_not_closed_is_marked_where_it_begins(line: str, column: int, what: str) -> None:
    (row,) = wrong(f"slices:\n- sources:\n  - model: a\n# first\n{line}\n  - model: b\nmerge_method: linear\n")
    assert (row["line"], row["column"], row["end"], row["what"]) == (5, column, len(line) + 1, what)
    (row,) = wrong("models: [a b: c}\n")
    assert row["line"] == 1
    assert "not closed" not in row["what"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("", None), ("a: [", 2), ("merge_method: linear\nmodels:\n- modle: a\n", 3), ("models: !!python/object {}", 1)],
)
def test_texts_that_are_no_recipe_at_all(text: str, line: int | None) -> None:
    row = wrong(text)[0]
    assert row["line"] in (line, (line or 1) - 1, None)
    assert row["what"]
    assert (row["column"] is None) == (row["end"] is None)


def sliced(text: str, lines: list[list[int]]) -> list[str]:
    rows = text.splitlines()
    return ["\n".join(rows[first - 1 : last]) for first, last in lines]


@settings(max_examples=30)
@given(drawn.recipes(stages=0))
def test_lines_of_what_is_written_are_those_of_what_is_read(recipe: Recipe) -> None:
    """The text that a recipe writes, read again: its slices have the same lines either way, and name their models."""
    text = recipe.to_yaml()
    found = lines_of(recipe, text, written=True)
    assert found == lines_of(read(text, NAME), text, written=False)
    assert len(found) == len(recipe.slices)
    for part, piece in zip(sliced(text, found), recipe.slices, strict=True):
        assert len(re.findall(r"\bmodel:", part)) >= len(piece.parts)


def test_lines_of_a_text_in_other_writing() -> None:
    text = """# what for
slices:
  # the first

  - sources: [{model: a, layer_range: [0, 2]}]
    # still the first
    parameters: {scale: 1}

  # the second
  - {sources: [{model: b, layer_range: [0, 2]}]}
# the end
merge_method: passthrough
"""
    recipe = read(text, NAME)
    assert lines_of(recipe, text, written=False) == [[5, 7], [10, 10]]
    whole = "merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight: 1\n\n# end\ndtype: float32\n"
    assert lines_of(read(whole, NAME), whole, written=False) == [[2, 5]]
    inside = "modules:\n  default:\n    slices:\n    - sources:\n      - model: a\n        layer_range: [0, 1]\n"
    inside += "merge_method: passthrough\n"
    assert lines_of(read(inside, NAME), inside, written=False) == [[4, 6]]
    one_line = "{merge_method: passthrough, slices: [{sources: [{model: a, layer_range: [0, 1]}]}]}"
    assert lines_of(read(one_line, NAME), one_line, written=False) == [[1, 1]]


BLOCK = """# a in front
merge_method: slerp
base_model: a
parameters: {t: 0.5}
slices:
- sources:
  - model: a
    layer_range: [0, 2]
  - model: b
    layer_range: [0, 2]
- sources:
  # too deep, both
  - model: a
    layer_range: [5,  8]
  - model: b
    layer_range:
    - 6
    - 9
"""
FLOW = """merge_method: passthrough
modules:
  default:
    slices:
    - sources: [{model: a, layer_range: [0, 7]}]
    - sources: [{layer_range: [ 3, 7 ], model: a}]
"""
WHOLE = "# of two models:\nmerge_method: linear\nparameters: {weight: 1}\nmodels:\n- model: a\n- model: low\n"


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        (BLOCK, [(14, "[5,  8]"), (16, "layer_range")]),
        (FLOW, [(5, "[0, 7]"), (6, "[ 3, 7 ]")]),
        (WHOLE, [(4, "models")]),
        (WHOLE.partition("models:\n-")[0] + "modules: {default: {models: [a, low]}}\n", [(4, "models")]),
    ],
)
def test_layers_that_a_model_has_not_are_marked_where_they_stand(text: str, marked: list[tuple[int, str]]) -> None:
    depths = {"a": 6, "b": 6, "low": 4}
    guests = [Guest(name, name.upper(), checkpoint(name, layers=layers)) for name, layers in depths.items()]
    with pytest.raises(FitError) as caught:
        sketch_of(read(text, NAME), guests)
    lines = text.splitlines()
    rows = unreadable(caught.value.problems, text)
    assert [(row["line"], lines[row["line"] - 1][row["column"] - 1 : row["end"] - 1]) for row in rows] == marked
    assert all(row["what"].startswith(("layer_range: asks for layers", "models: the models have")) for row in rows)
    assert [row["fix"] for row in rows] == [None] * len(marked)
