"""What tells two recipes apart is said in a line: what changed, and no more than fits."""

from __future__ import annotations

from dataclasses import replace

from mergelab.recipes.difference import difference
from mergelab.recipes.notes import Notes
from mergelab.recipes.recipe import Part, Recipe, Slice, numbers
from mergelab.weights import Source


def runs(*blocks: tuple[str, int, int]) -> Recipe:
    """Runs of layers, each with its folder's full path."""
    return Recipe(
        "passthrough", tuple(Slice((Part(Source(f"/models/{name}"), (start, end)),)) for name, start, end in blocks)
    )


def blend(*amounts: float, method: str = "linear") -> Recipe:
    part = Part(Source("/models/a"), None, numbers({"weight": amounts[0] if len(amounts) == 1 else list(amounts)}))
    return Recipe(method, (Slice((part, Part(Source("/models/b"), None, numbers({"weight": 1.0})))),))


def test_lines_that_changed() -> None:
    assert difference(blend(0.3), blend(0.5)) == "weight: 0.3 -> 0.5"
    assert difference(blend(0.3), blend(0.3, method="karcher")) == "linear of a and b -> karcher of a and b"


def test_layers_that_are_others() -> None:
    assert difference(runs(("a", 0, 3), ("b", 3, 6)), runs(("a", 0, 2), ("b", 2, 6))) == "a 2 -> b 2"
    assert difference(runs(("a", 0, 3)), runs(("b", 0, 3))) == "a 0–2 -> b 0–2", "by short names"
    tied = replace(runs(("a", 0, 3)), slices=(Slice((Part(Source("a"), (0, 3)), Part(Source("b"), (3, 6)))),))
    assert difference(runs(("a", 0, 3)), replace(tied, method="ties")) == "a 0–2 -> ties of a 0–2 and b 3–5"


def test_layers_that_came_and_went() -> None:
    long, short = runs(("a", 0, 3), ("b", 3, 6)), runs(("a", 0, 3))
    assert difference(short, long) == "with b 3–5 above layer 2"
    assert difference(long, short) == "without b 3–5"
    assert difference(short, runs(("b", 5, 6), ("a", 0, 3))) == "with b 5 at the bottom"
    assert difference(short, runs(("a", 0, 3), ("a", 1, 2), ("a", 0, 1))) == "with a 1, a 0 above layer 2"
    apart = runs(("b", 0, 1), ("a", 0, 1), ("b", 1, 2), ("a", 2, 3), ("b", 4, 5))
    assert difference(short, apart) == "with b 0 at the bottom; a 1 -> b 1; and 1 more"


def test_lines_that_came_and_went() -> None:
    assert difference(blend(0.5), replace(blend(0.5), seed=7)) == "with seed: 7"


def test_of_long_lists_only_what_changed() -> None:
    flat, one = blend(0.5), blend(0.5, 0.5, 0.25, 0.5, 0.5, 0.5)
    assert difference(flat, one) == "weight: 0.5 -> 6 numbers"
    assert difference(one, flat) == "weight: 6 numbers -> 0.5"
    assert difference(one, blend(0.5, 0.5, 0.125, 0.5, 0.5, 0.5)) == "weight[2]: 0.25 -> 0.125"
    assert difference(one, blend(0.75, 0.5, 0.125, 0.5, 0.5, 0.5)) == "2 of 6 numbers of weight"
    assert difference(one, blend(0.5, 0.5, 0.25, 0.5, 0.5)) == "weight: 6 numbers -> 5 numbers"


def test_nothing_is_said_of_equal_recipes() -> None:
    assert difference(blend(0.5), blend(0.5)) == ""
    noted = Recipe.load(f"# with a comment\n{blend(0.5)}")
    assert isinstance(noted.notes, Notes)
    assert difference(blend(0.5), noted) == ""
