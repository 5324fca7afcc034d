"""The named frankenmodels: their shapes, their seams, and what they refuse."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.errors import FitError, MergelabError, MethodError, RecipeError
from mergelab.recipes import GOLIATH, Recipe, Setting, graft, interleave, plan, repeat, stack, upscale
from mergelab.recipes.presets import Model
from tests.recipes.opened import checkpoint, opened

Runs = list[tuple[str, int, int]]

A, B, C = (checkpoint(name, layers=6) for name in "abc")
LOW = checkpoint("low", layers=4)


def runs(recipe: Recipe) -> Runs:
    """(model, start, end) of every slice of a plain stack."""
    assert recipe.method == "passthrough"
    found = []
    for piece in recipe.slices:
        (part,) = piece.parts
        assert part.layers
        assert part.numbers == piece.numbers == ()
        found.append((part.source.path, *part.layers))
    return found


def depth(recipe: Recipe) -> int:
    return sum(end - start for _, start, end in runs(recipe))


def seams(recipe: Recipe) -> list[int]:
    """How far each seam jumps: 0 goes on where the block below ended, in whatever model."""
    found = runs(recipe)
    return [above[1] - below[2] for below, above in pairwise(found)]


@pytest.mark.parametrize(
    ("layers", "at", "expected"),
    [
        ((2, 4), None, [("a", 0, 2), ("b", 2, 4), ("a", 4, 6)]),
        ((0, 2), None, [("b", 0, 2), ("a", 2, 6)]),
        ((4, 6), None, [("a", 0, 4), ("b", 4, 6)]),
        ((0, 6), None, [("b", 0, 6)]),
        ((1, 3), 3, [("a", 0, 3), ("b", 1, 3), ("a", 5, 6)]),
        ((5, 6), 0, [("b", 5, 6), ("a", 1, 6)]),
    ],
)
def test_a_graft_replaces_a_run_of_the_host(layers: tuple[int, int], at: int | None, expected: Runs) -> None:
    recipe = graft(A, B, layers, at=at)
    assert runs(recipe) == expected
    assert recipe.base == A.source
    assert depth(recipe) == 6


@pytest.mark.parametrize(
    ("layers", "at", "where", "who"),
    [((4, 7), None, "layers", "b"), ((-1, 2), None, "layers", "b"), ((3, 3), None, "layers", "b"), ((4, 2), None,
        "layers", "b"),
     ((0, 3), 4, "at", "a"), ((0, 3), -1, "at", "a")],
)  # fmt: skip
def test_a_graft_outside_its_models_is_refused(layers: tuple[int, int], at: int | None, where: str, who: str) -> None:
    with pytest.raises(
        FitError, match=rf"{where}: \[.*\) is no run of layers of '{who}'. Its layers are 0 to 5"
    ) as caught:
        graft(A, B, layers, at=at)
    assert len(caught.value.problems) == 1


def test_solar_is_depth_up_scaling_by_eight_layers() -> None:
    recipe = upscale(checkpoint("mistral", layers=32), 8)
    assert runs(recipe) == [("mistral", 0, 24), ("mistral", 8, 32)]
    assert depth(recipe) == 48
    assert seams(recipe) == [-16]


@given(drop=st.integers(0, 5))
def test_up_scaling_makes_two_layers_for_each_that_is_kept(drop: int) -> None:
    assert depth(upscale(A, drop)) == 2 * (6 - drop)


@pytest.mark.parametrize("drop", [-1, 6, 7])
def test_up_scaling_refuses_to_drop_what_is_not_there(drop: int) -> None:
    with pytest.raises(FitError, match=rf"upscale: cannot drop {drop} layers of 'a'. It has 6 layers: drop 0 to 5."):
        upscale(A, drop)


def test_goliath_has_137_layers_in_nine_blocks() -> None:
    xwin, euryale = checkpoint("xwin", layers=80), checkpoint("euryale", layers=80)
    recipe = interleave(xwin, euryale, ranges=GOLIATH)
    assert runs(recipe) == [
        ("xwin", 0, 16), ("euryale", 8, 24), ("xwin", 17, 32), ("euryale", 25, 40), ("xwin", 33, 48), ("euryale", 41,
            56),
        ("xwin", 49, 64), ("euryale", 57, 72), ("xwin", 65, 80),
    ]  # fmt: skip
    assert depth(recipe) == 137
    shares = {name: sum(end - start for who, start, end in runs(recipe) if who == name) for name in ("xwin", "euryale")}
    assert shares == {"xwin": 76, "euryale": 61}
    assert all(jump < 0 for jump in seams(recipe)), "every seam jumps back"
    worked = plan(recipe, opened(xwin, euryale))
    assert len(worked.layers) == 137
    assert str(worked.layers[16].home) == "euryale 8"
    assert len(worked.steps) == 137 * 4 + 3
    assert all(step.copies for step in worked.steps)


def test_size_one_alternates_strictly() -> None:
    assert runs(interleave(A, B, size=1, step=1)) == [("ab"[at % 2], at, at + 1) for at in range(6)]
    assert runs(interleave(A, B, C, size=1, step=1)) == [("abc"[at % 3], at, at + 1) for at in range(6)]


@given(size=st.integers(1, 5), step=st.integers(1, 9))
def test_interleaving_covers_every_depth_in_blocks_that_overlap(size: int, step: int) -> None:
    if step > size:
        with pytest.raises(RecipeError, match="0 < step <= size"):
            interleave(A, B, size=size, step=step)
        return
    found = runs(interleave(A, B, size=size, step=step))
    assert [start for _, start, _ in found] == [at * step for at in range(len(found))]
    assert [who for who, _, _ in found] == ["ab"[at % 2] for at in range(len(found))]
    assert all(end - start == size for _, start, end in found[:-1])
    assert {layer for _, start, end in found for layer in range(start, end)} == set(range(6))
    assert found[-1][2] == 6


@pytest.mark.parametrize("size", [6, 7, 16])
def test_one_block_is_no_interleaving(size: int) -> None:
    with pytest.raises(FitError, match="one block of 6 layers"):
        interleave(A, B, size=size, step=1)


@pytest.mark.parametrize(
    ("models", "options", "error", "said"),
    [
        ([A], {}, RecipeError, "needs two models or more, and 0 < step <= size; here are 1"),
        ([], {"ranges": GOLIATH}, RecipeError, "here are 0"),
        ([A, B], {"size": 2, "step": 0}, RecipeError, "size 2, step 0"),
        ([A, B], {"size": 0, "step": 0}, RecipeError, "size 0, step 0"),
        ([A, LOW], {}, FitError, "the models differ in depth: a has 6, low has 4. Give the blocks with ranges=."),
        ([A, B], {"ranges": [(0, 3), (3, 7)]}, FitError, r"\[3, 7\) is no run of layers of 'b'"),
        ([A, B], {"ranges": [(3, 3)]}, FitError, r"\[3, 3\) is no run of layers of 'a'"),
    ],
)
def test_blocks_that_cannot_be_are_refused(
    models: list[Model], options: dict, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        interleave(*models, **options)


@pytest.mark.parametrize(
    ("layers", "times", "expected"),
    [
        ((2, 4), 2, [("a", 0, 4), ("a", 2, 4), ("a", 4, 6)]),
        ((2, 4), 3, [("a", 0, 4), ("a", 2, 4), ("a", 2, 4), ("a", 4, 6)]),
        ((2, 4), 1, [("a", 0, 4), ("a", 4, 6)]),
        ((0, 6), 2, [("a", 0, 6), ("a", 0, 6)]),
        ((5, 6), 2, [("a", 0, 6), ("a", 5, 6)]),
    ],
)
def test_a_run_is_repeated(layers: tuple[int, int], times: int, expected: Runs) -> None:
    assert runs(repeat(A, layers, times=times)) == expected


def test_repeating_nothing_or_nowhere_is_refused() -> None:
    with pytest.raises(FitError, match=r"times = 0. Give 1 or more"):
        repeat(A, (0, 2), times=0)
    with pytest.raises(FitError, match=r"layers: \[5, 7\) is no run of layers of 'a'"):
        repeat(A, (5, 7))


def test_a_stack_without_blending_is_a_plain_stack() -> None:
    recipe = stack([(A, 0, 3), (B, 1, 3), (A, 5, 6)], base=A, method="slerp", coefficient=1.0, seed=5)
    assert runs(recipe) == [("a", 0, 3), ("b", 1, 3), ("a", 5, 6)]
    assert recipe.seed == 5


@pytest.mark.parametrize(
    ("method", "shared", "own"),
    [
        ("slerp", {"t": 0.25}, {}),
        ("task_arithmetic", {}, {"weight": 0.25}),
        ("ties", {}, {"weight": 1.0, "density": 0.25}),
        ("linear", {"normalize": False}, {"weight": 0.25}),
    ],
)
def test_a_stack_blends_each_block_with_the_base(method: str, shared: dict, own: dict) -> None:
    recipe = stack([(A, 0, 2), (B, 1, 4)], base=A, method=method, coefficient=0.25, seed=3)
    assert (recipe.method, recipe.base, recipe.seed) == (method, A.source, 3)
    assert [[(part.source.path, part.layers) for part in piece.parts] for piece in recipe.slices] == [
        [("a", (0, 2)), ("b", (0, 2))],
        [("a", (1, 4)), ("b", (1, 4))],
    ]
    blended = recipe.slices[1]
    assert blended.numbers == tuple((name, Setting.of(value)) for name, value in shared.items())
    assert blended.parts[1].numbers == tuple((name, Setting.of(value)) for name, value in own.items())
    assert blended.parts[0].numbers == ((("weight", Setting.of(0.75)),) if method == "linear" else ())
    worked = plan(recipe, opened(A, B))
    assert len(worked.layers) == 5
    assert [str(layer.home) for layer in worked.layers] == ["a 0", "a 1", "a 1", "a 2", "a 3"]


def test_a_stack_with_a_coefficient_for_each_layer_keeps_each() -> None:
    recipe = stack(
        [(B, 0, 3), (A, 3, 4), (B, 4, 6)], base=A, method="slerp", coefficient=[0.1, 0.2, 0.7, 9.0, 0.5, 0.25]
    )
    worked = plan(recipe, opened(A, B))
    values = {step.name: dict(step.numbers)["t"] for step in worked.steps if step.name.endswith("q_proj.weight")}
    assert list(values.values()) == [0.1, 0.2, 0.7, 0.0, 0.5, 0.25]
    outside = {step.name: dict(step.numbers)["t"] for step in worked.steps if ".layers." not in step.name}
    assert outside == {"model.embed_tokens.weight": 0.1, "model.norm.weight": 0.5, "lm_head.weight": 0.5}
    assert Recipe.load(recipe.to_yaml()) == recipe


def test_stacks_that_cannot_be_are_refused() -> None:
    with pytest.raises(FitError, match=r"has 2 values for 3 output layers. Give one for each layer."):
        stack([(A, 0, 3)], base=A, coefficient=[1, 0.5])
    with pytest.raises(RecipeError, match=r"passthrough cannot blend: its coefficient must be 1."):
        stack([(B, 0, 3)], base=A, coefficient=0.5)
    with pytest.raises(MethodError, match=r"there is no method 'slrp'. Did you mean 'slerp'?"):
        stack([(B, 0, 3)], base=A, method="slrp", coefficient=0.5)
    with pytest.raises(FitError, match=r"blocks: \[3, 7\) is no run of layers of 'b'"):
        stack([(B, 3, 7)], base=A, method="slerp")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: graft(A, B, 3),
        lambda: graft(A, B, (2.0, 4)),
        lambda: graft(A, B, ("2", "4")),
        lambda: graft(A, B, (2, 4, 6)),
        lambda: graft(A, B, (2, 4), at=1.5),
        lambda: upscale(A, 2.5),
        lambda: repeat(A, (1, 3), times=2.5),
        lambda: stack([(A, 0)], base=A),
        lambda: stack([(A, 0, 2)], base=A, coefficient="0.5"),
        lambda: stack([(A, 0, 2)], base=A, coefficient=["x", 1]),
        lambda: stack([(A, 0, 2)], base=A, method="lineer"),
        lambda: stack([(B, 0, 2)], base=A, coefficient=0.5),  # passthrough cannot blend
        lambda: plan(None),
    ],
)
def test_what_cannot_be_meant_is_an_error_of_ours(wrong) -> None:
    with pytest.raises(MergelabError):
        wrong()


def test_a_run_is_looked_at_before_its_coefficients() -> None:
    with pytest.raises(FitError, match=r"\[5, 2\) is no run of layers"):
        stack([(A, 5, 2)], base=A, coefficient=[1, 2])


def test_numbers_of_numpy_are_numbers() -> None:
    curve = np.linspace(0, 1, 6, dtype=np.float32)
    ours = stack([(B, np.int64(0), 6)], base=A, method="linear", coefficient=curve)
    assert ours == stack([(B, 0, 6)], base=A, method="linear", coefficient=[float(value) for value in curve])
    assert stack([(B, 0, 6)], base=A, method="linear", coefficient=np.float32(0.5)) == stack(
        [(B, 0, 6)], base=A, method="linear", coefficient=0.5
    )


def test_ties_at_one_is_the_blocks_own_layer_and_at_zero_the_bases() -> None:
    recipe = stack([(B, 0, 6)], base=A, method="ties", coefficient=[1, 1, 0.5, 0.25, 0, 0])
    numbers = [
        dict(step.numbers) for step in plan(recipe, opened(A, B)).steps if step.name.endswith("down_proj.weight")
    ]
    assert [each["density"] for each in numbers] == [(1,), (1,), (0.5,), (0.25,), (0,), (0,)]
    assert {each["weight"] for each in numbers} == {(1,)}
