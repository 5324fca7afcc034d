"""The presets of the workbench: what they ask for, what they lay, what of the old recipe stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.errors import FitError, MergelabError, RecipeError
from mergelab.recipes import GOLIATH, Recipe, Setting, graft, plan, repeat, stack, upscale
from mergelab.recipes.recipe import Vocabulary
from mergelab.views.guests import Guest
from mergelab.views.layouts import beginning, goliath, lay, presets
from mergelab.views.sketch import recipe_of, sketch_of
from mergelab.weights import Source
from tests.recipes.opened import checkpoint, opened

Runs = list[tuple[str, int, int]]


def seated(*depths: int) -> list[Guest]:
    return [
        Guest(name, name.upper(), checkpoint(name, layers=deep)) for name, deep in zip("abcde", depths, strict=False)
    ]


TEN = seated(10, 10, 10)
A, B, C = (guest.checkpoint for guest in TEN)


def runs(recipe: Recipe) -> Runs:
    assert recipe.method == "passthrough"
    return [(piece.parts[0].source.path, *(piece.parts[0].layers or (0, 0))) for piece in recipe.slices]


@pytest.mark.parametrize(
    ("name", "numbers", "expected"),
    [
        ("graft", {}, graft(B, C, (2, 4))),
        ("graft", {"host": 0, "donor": 1, "first": 0, "last": 0}, graft(A, B, (0, 1))),
        ("upscale", {}, upscale(A, 2)),
        ("upscale", {"model": 2, "drop": 5}, upscale(C, 5)),
        ("repeat", {"model": 0, "first": 3, "last": 5, "times": 3}, repeat(A, (3, 6), times=3)),
        ("skip", {"model": 1, "first": 2, "last": 8}, stack([(B, 0, 2), (B, 9, 10)], base=B)),
        ("skip", {"model": 0, "first": 0, "last": 1}, stack([(A, 2, 10)], base=A)),
    ],
)
def test_presets_are_the_librarys_own(name: str, numbers: dict[str, int], expected: Recipe) -> None:
    assert lay(name, numbers, TEN) == expected


def test_alternating_takes_each_layer_once_from_its_own_depth() -> None:
    laid = runs(lay("alternate", {"one": 1, "other": 2, "size": 1}, TEN))
    assert laid == [("bc"[at % 2], at, at + 1) for at in range(10)]
    threes = runs(lay("alternate", {"one": 0, "other": 1, "size": 3}, seated(10, 8)))
    assert threes == [("a", 0, 3), ("b", 3, 6), ("a", 6, 8)]


def test_goliath_of_80_layers_is_goliath() -> None:
    assert goliath(80) == list(GOLIATH)
    assert [end - start for start, end in goliath(32)] == [6, 7, 6, 6, 6, 6, 6, 6, 6]
    laid = lay("goliath", {}, seated(80, 80))
    assert sum(end - start for _, start, end in runs(laid)) == 137


@given(st.integers(1, 200))
def test_goliaths_blocks_fit_every_depth(depth: int) -> None:
    blocks = goliath(depth)
    assert len(blocks) == len(GOLIATH)
    assert all(0 <= start < end <= depth for start, end in blocks)
    assert (blocks[0][0], blocks[-1][1]) == (0, depth)
    if depth >= 10:
        assert all(after <= end for (_, end), (after, _) in pairwise(blocks))


@settings(max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.data())
def test_what_presets_ask_for_can_be_answered(depths: Sequence[int], data: st.DataObject) -> None:
    """Every answer within its range lays a stack or is refused in words; where there is room the defaults lay one."""
    guests = seated(*depths)
    told = presets(guests)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    for preset in told:
        assert all(one["low"] <= one["default"] <= one["high"] for one in preset["numbers"])
        chosen = {one["name"]: data.draw(st.integers(one["low"], one["high"])) for one in preset["numbers"]}
        try:
            laid = lay(preset["name"], chosen, guests)
        except MergelabError:
            continue
        assert recipe_of(sketch_of(laid, guests), guests, laid) is laid
    if len(guests) > 1 and min(depths) == max(depths) >= 5:
        for preset in told:
            assert plan(lay(preset["name"], {}, guests), opened(*(guest.checkpoint for guest in guests))).layers


@pytest.mark.parametrize(
    ("name", "numbers", "kind", "words"),
    [
        ("grafted", {}, RecipeError, "layout: there is no layout 'grafted'. Did you mean 'graft'?"),
        ("graft", {"hosts": 1}, RecipeError, "asks for no number 'hosts'. Did you mean 'host'?"),
        ("graft", {"donor": 3}, RecipeError, "Donor 3 is out of range. Give 0 to 2."),
        ("graft", {"first": True}, RecipeError, "First layer True is out of range."),
        ("graft", {"first": "2"}, RecipeError, "First layer '2' is out of range."),
        ("graft", {"host": 0}, RecipeError, "Last layer is missing. Give 'last', 0 to 9, or no number at all"),
        ("graft", {"host": 1, "donor": 2, "first": 5, "last": 3}, FitError, "is no run of layers"),
        ("skip", {"model": 0, "first": 0, "last": 9}, FitError, "leave one at least"),
        ("skip", {"model": 0, "first": 5, "last": 3}, FitError, "are no run that 'a' can do without"),
    ],
)
def test_what_cannot_be_laid_is_said(name: str, numbers: dict[str, object], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        lay(name, numbers, TEN)
    assert words in str(caught.value)


def test_what_a_stack_does_not_show_stays_when_another_is_laid() -> None:
    before = Recipe(
        "slerp",
        stack([(B, 0, 10)], base=A, method="slerp", coefficient=0.5).slices,
        Source("a"),
        numbers=(("t", Setting.of(0.5)),),
        dtype="BF16",
        seed=7,
        vocabulary=Vocabulary("base"),
    )
    laid = lay("graft", {}, TEN, before)
    assert (laid.dtype, laid.seed, laid.vocabulary) == ("BF16", 7, Vocabulary("base"))
    assert runs(laid) == runs(graft(B, C, (2, 4)))
    assert laid.numbers == ()
    assert laid.base == Source("a")  # it holds the new stack as well as b does


def test_a_base_that_would_not_fit_gives_way() -> None:
    guests = [*seated(10, 10), Guest("c", "C", checkpoint("c", layers=10, vocabulary=48))]
    before = stack([(A, 0, 10)], base=A)
    assert lay("upscale", {"model": 1, "drop": 2}, guests, before).base == Source("a")
    assert lay("upscale", {"model": 2, "drop": 2}, guests, before).base == Source("c")
    strange = stack([(A, 0, 10)], base=checkpoint("x", layers=10))
    assert lay("upscale", {"model": 1, "drop": 2}, guests, strange).base == Source("b")


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ([10], [("a", 0, 10)]),
        ([10, 10], [("a", 0, 2), ("b", 2, 4), ("a", 4, 10)]),
        ([10, 10, 10], [("b", 0, 2), ("c", 2, 4), ("b", 4, 10)]),
        ([5, 5, 5, 5], [("b", 0, 1), ("c", 1, 2), ("b", 2, 5)]),
        ([12, 3], [("a", 0, 2), ("b", 2, 3), ("a", 3, 12)]),
        ([12, 2], [("a", 0, 12)]),
        ([2, 2], [("a", 0, 2)]),
    ],
)
def test_the_beginning_sets_inner_layers_of_a_donor_into_a_host(depths: list[int], expected: Runs) -> None:
    begun = beginning(seated(*depths))
    assert runs(begun) == expected
    assert begun.base == begun.slices[0].parts[0].source, "the host's, as of any graft"


def test_the_beginning_is_the_librarys_own_graft() -> None:
    assert beginning(TEN) == graft(B, C, (2, 4))
    assert beginning(TEN[:2]) == graft(A, B, (2, 4))
