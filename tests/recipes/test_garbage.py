"""Texts that are no recipes: refused in words, nothing made of them, nothing else raised."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.errors import RecipeError
from mergelab.recipes import Recipe
from tests.recipes.faults import LINEAR, SLERP, STACK, TIES
from tests.recipes.test_faults import problems


@pytest.mark.parametrize("text", ["\n", "# nothing\n", "---\n", "null\n", "5\n", "- a\n", "a text\n", "[]\n", "{}\n"])
def test_a_text_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert all(problem.where.startswith("r.yml") and problem.hint for problem in caught.value.problems)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.yml"
    path.write_text("")
    with pytest.raises(RecipeError, match=r"r.yml: the recipe is empty"):
        Recipe.load(path)


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("merge_method: linear\nmodels: [a\n", (2, 9), "the list that begins here is not closed by line 3"),
        ("merge_method: linear\n\tmodels: a\n", (2, 1), "cannot start any token"),
        ("a: b: c\n", (1, 5), "mapping values are not allowed here"),
        ("merge_method: 'linear\n", (1, 15), "the quoted text that begins here is not closed"),
        ("merge_method: \x07\n", None, "special characters are not allowed"),
        ("merge_method: linear\nmodels: *a\n", (2, 9), "undefined alias 'a'"),
        ("merge_method: linear\n--- [\n", (3, 1), "expected the node content"),
    ],
)
def test_what_is_not_yaml_is_refused_with_line_and_column(text: str, place: tuple[int, int] | None, said: str) -> None:
    (problem,) = problems(text)
    assert problem.where == ("recipe line {}, column {}".format(*place) if place else "recipe")
    assert said in problem.what
    assert problem.hint


class Witness:
    """Would be seen if YAML made an object."""

    made: list[str] = []  # noqa: RUF012 - a witness is meant to be shared

    def __init__(self, word: str = "") -> None:
        self.made.append(word)


@pytest.mark.parametrize(
    "value",
    [
        f"!!python/object:{__name__}.Witness {{}}",
        f"!!python/object/new:{__name__}.Witness [x]",
        f"!!python/object/apply:{__name__}.Witness [x]",
        f"!!python/name:{__name__}.Witness",
        "!!python/tuple [1]", "!!set {a: b}", "!!binary aGk=", "!!int ''", "!!bool perhaps", "!!timestamp x", "! x",
            "!mine x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["merge_method: {}", "merge_method: linear\nmodels: {}", "{}: linear", "- {}"])
def test_tags_are_refused_and_nothing_is_made(place: str, value: str) -> None:
    (problem,) = problems(place.format(value) + "\n")
    assert re.search(r"tag '.+' is not allowed, a recipe has plain values", problem.what)
    line, column = place.count("\n") + 1, place.rsplit("\n", maxsplit=1)[-1].index("{") + 1
    assert problem.where == f"recipe line {line}, column {column}"
    assert Witness.made == []


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    levels = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for above, here in zip("abcdefgh", "bcdefghi", strict=True):
        levels.append(f"{here}: &{here} [{', '.join([f'*{above}'] * 9)}]")
    start = time.monotonic()
    (problem,) = problems("\n".join(levels) + "\nmodels: *i\n")
    assert str(problem) == "recipe: its aliases make more than 100000 values of it. Write out what is meant."
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [*a]\n", "is nested too deeply"),
        ("&a {b: *a}\n", "is nested too deeply"),
        ("&a {<<: *a}\n", "is nested too deeply"),
        ("<<: 5\n", "<<: names something that is not a table of keys."),
        ("<<: [{}, [a]]\n", "<<: names something that is not a table of keys."),
        ("? [a]\n: b\n", "'?'"),
    ],
)
def test_aliases_that_make_no_recipe_are_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        Recipe.load(text)


@pytest.mark.parametrize("text", ["[" * 20_000 + "\n", "a: " + "{b: " * 5_000 + "\n", "- " * 5_000 + "x\n"])
def test_a_text_nested_without_end_is_refused(text: str) -> None:
    (problem,) = problems(text)
    assert problem.what == "is nested too deeply."


def test_a_text_nested_deeper_than_any_recipe_is_refused_where_it_is() -> None:
    (problem,) = problems(f"a:\n  {'[' * 70}{']' * 70}\n")
    assert str(problem) == "recipe line 2, column 63: is nested too deeply. A recipe needs ten levels at most."


WORDS = ["linear", "ties", "models", "slices", "sources", "parameters", "weight", "t", "1", "0.5", "[0, 1]", "null",
    "true",
         "filter", "value", "model", "layer_range", "base_model", "{", "}", "[", "]", ":", "- ", "'", '"', "&a", "*a",
             "!!int",
         "!x", "\n", "  ", ",", "1e999", "2024-13-45", "0001-01-01T00:00:00+23:59", "0x", "=", "<<", "?", "|", ">",
             "#", "~",
         "9" * 400, "9" * 5000, "\t", "\ufeff", "é", "\x85", "\u2028", "@", "%", "---", "..."]  # fmt: skip


def harmless(text: str) -> None:
    """Reads well or is refused in words; anything else is raised."""
    try:
        again = Recipe.load(text + "\n")
    except RecipeError as error:
        found = error.problems
    else:
        assert Recipe.load(again.to_yaml()) == again
        return
    assert all(problem.where and problem.what for problem in found)


@settings(max_examples=150)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=25).map("".join))
def test_garbage_raises_nothing_but_a_recipe_error(text: str) -> None:
    harmless(text)


@settings(max_examples=250)
@given(
    right=st.sampled_from([LINEAR, SLERP, TIES, STACK]),
    cuts=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(["", *WORDS])), min_size=1, max_size=3
    ),
)
def test_a_right_recipe_with_random_changes_raises_nothing_but_a_recipe_error(
    right: str, cuts: list[tuple[float, int, str]]
) -> None:
    for place, length, word in cuts:
        start = int(place * len(right))
        right = right[:start] + word + right[start + length :]
    harmless(right)
