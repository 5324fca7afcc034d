"""What one leaves with: text for mergekit, a program, JSON; each makes the same recipe again."""

from __future__ import annotations

import ast
import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from mergelab import sample
from mergelab.errors import RecipeError, SourceError
from mergelab.recipes import Recipe, graft, stack
from mergelab.views.exports import as_json, as_python, exports, opened
from mergelab.views.guests import Guest, open_guests
from mergelab.weights import Source, open_checkpoint
from tests.recipes import drawn

PLACES = [sample.path(name) for name in ("base", "arithmetic", "pirate")]


@pytest.fixture(scope="module")
def guests() -> tuple[Guest, ...]:
    return open_guests(PLACES, ["the base", "<b>sums</b>", "pirate"])


@pytest.fixture(scope="module")
def recipe(guests: tuple[Guest, ...]) -> Recipe:
    base, one, other = (guest.checkpoint for guest in guests)
    made = stack([(one, 0, 4), (other, 4, 10)], base=base, method="ties", coefficient=0.5)
    return replace(made, seed=3, dtype="BF16")


def told(program: str) -> str:
    """The text that a program hands to Recipe.load."""
    (call,) = (node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Call) and len(node.args) == 1
               and isinstance(node.func, ast.Attribute) and node.func.attr == "load")  # fmt: skip
    text = ast.literal_eval(call.args[0])
    assert isinstance(text, str)
    return text


@settings(max_examples=25)
@given(drawn.recipes(stages=1))
def test_the_program_holds_the_recipe_whatever_is_written_in_it(recipe: Recipe) -> None:
    text = told(as_python(recipe))
    assert text == recipe.to_yaml()
    assert Recipe.load(text) == recipe


@pytest.mark.parametrize("name", ['"""', "\\", 'a"', "'''", "\\N{BULLET}", "{x}", "a\\", '""""'])
def test_quotes_and_backslashes_end_no_text(name: str) -> None:
    recipe = Recipe.load("merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 1]}]\n")
    there = recipe.renamed(lambda _: Source(name))
    assert Recipe.load(told(as_python(there))) == there


def test_the_program_runs(recipe: Recipe) -> None:
    names: dict[str, Any] = {}
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(as_python(recipe), "copied", "exec"), names)
    assert names["recipe"] == recipe
    assert "This will load and run." in said.getvalue()


def test_the_json_opens_as_the_same_workbench(recipe: Recipe, guests: tuple[Guest, ...]) -> None:
    text = as_json(recipe, guests)
    again, found = opened(text)
    assert found == recipe
    assert [guest.name for guest in again] == [guest.name for guest in guests]
    assert [guest.checkpoint.source for guest in again] == [guest.checkpoint.source for guest in guests]
    assert "://" not in text


def test_where_sketch_and_text_differ_the_sketch_counts(recipe: Recipe, guests: tuple[Guest, ...]) -> None:
    found = json.loads(as_json(recipe, guests))
    found["sketch"]["slices"].pop()
    _, made = opened(json.dumps(found))
    assert made == replace(recipe, slices=recipe.slices[:1])


def test_addresses_are_kept_in_their_parts(tmp_path: Path) -> None:
    folder = tmp_path / "a@b+c"
    folder.mkdir()
    for file in PLACES[0].iterdir():
        (folder / file.name).symlink_to(file)
    guests = open_guests([Source(str(folder))], None)
    checkpoint = guests[0].checkpoint
    recipe = graft(checkpoint, checkpoint, (0, 2))
    again, found = opened(as_json(recipe, guests))
    assert (again[0].checkpoint.source, found) == (checkpoint.source, recipe)
    far = Source("org/name", "main", Source("org/lora", "v1"))
    text = as_json(recipe.renamed(lambda _: far), [replace(guests[0], checkpoint=replace(checkpoint, source=far))])
    assert json.loads(text)["sources"] == [
        {"name": "a@b+c", "model": "org/name", "revision": "main", "adapter": {"model": "org/lora", "revision": "v1"}}
    ]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("{", RecipeError, "is no workbench"),
        ("[]", RecipeError, "is no workbench"),
        ("{}", RecipeError, "KeyError: 'sources'"),
        ('{"sources": [1], "sketch": {}, "recipe": ""}', RecipeError, "is no workbench"),
        ("[" * 100_000, RecipeError, "is no workbench"),
        ('{"sources": [{"name": "x", "model": "/no/folder"}], "sketch": {}, "recipe": ""}', SourceError, "no such"),
    ],
)  # fmt: skip
def test_what_is_no_workbench_is_said(text: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        opened(text)


def test_a_wrong_sketch_is_said(recipe: Recipe, guests: tuple[Guest, ...]) -> None:
    found = json.loads(as_json(recipe, guests))
    found["sketch"]["slices"][0]["parts"][0]["source"] = 7
    with pytest.raises(RecipeError, match=r"slices\[0\]\.parts\[0\]: there is no source 7"):
        opened(json.dumps(found))


def test_all_texts_at_once_and_why_one_is_missing(recipe: Recipe, guests: tuple[Guest, ...]) -> None:
    found = exports(recipe, guests)
    assert found["why"] == {}
    assert found["mergekit"] == recipe.to_mergekit()
    assert (found["python"], found["json"]) == (as_python(recipe), as_json(recipe, guests))
    ours = exports(replace(recipe, widen=True), guests)
    assert ours["mergekit"] is None
    assert list(ours["why"]) == ["mergekit"]
    assert "mergekit does not bring layers to one size" in ours["why"]["mergekit"]
    assert json.dumps(ours, allow_nan=False)
    strange = exports(graft(open_checkpoint(sample.path("sort")), guests[0].checkpoint, (0, 2)), guests)
    assert strange["json"] is None
    assert "which is no source here" in strange["why"]["json"]
