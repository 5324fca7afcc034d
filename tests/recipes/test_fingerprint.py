"""Fingerprints: equal recipes have equal ones, whatever kind of number said it, and comments have no part in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.recipes import Recipe, plan
from mergelab.recipes.check import check
from mergelab.recipes.difference import difference
from mergelab.recipes.recipe import Part, Rule, Setting, Slice, numbers
from mergelab.weights import Source
from tests.recipes.opened import family

A, B = Source("a"), Source("b")
STAGED = """\
name: early
merge_method: linear
models:
- model: a
  parameters: {weight: 0.3}
- model: b
  parameters: {weight: 0.7}
---
merge_method: passthrough
models:
- model: early
"""


def blend(weight: object, **options: object) -> Recipe:
    parts = (Part(A, None, numbers({"weight": weight})), Part(B, None, numbers({"weight": 1.0})))  # type: ignore[dict-item]
    return Recipe("linear", (Slice(parts),), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (np.float64(0.3), 0.3),
        (np.float32(0.25), 0.25),
        (np.int64(2), 2),
        (np.array(0.5), 0.5),
        (torch.tensor(0.5), 0.5),
        (np.linspace(0, 1, 5), (0.0, 0.25, 0.5, 0.75, 1.0)),
        ([np.float64(0.25), 1], (0.25, 1)),
        (range(1, 3), (1, 2)),
        (10**15, 1e15),
        (3 * 10**20, 3e20),
        (2**60, float(2**60)),
        (-0.0, 0),
    ],
)
def test_a_number_of_any_kind_is_that_number(given: object, meant: object) -> None:
    one, other = blend(given), blend(meant)
    assert (one, hash(one), one.fingerprint) == (other, hash(other), other.fingerprint)
    (_, setting), *_ = one.slices[0].parts[0].numbers
    values = setting.rules[0].value
    for value in values if isinstance(values, tuple) else (values,):
        assert type(value) in (int, float)
    assert plan(one, family()).steps
    assert Recipe.load(one.to_yaml()) == one


@given(value=st.integers(-(10**37), 10**37) | st.floats(-1e38, 1e38))
@settings(max_examples=60, deadline=None)
def test_equal_numbers_have_equal_fingerprints(value: float) -> None:
    others = [float(value), int(value)]
    recipe = signed(value)
    for other in others:
        same = value == other
        assert (recipe == signed(other), recipe.fingerprint == signed(other).fingerprint) == (same, same)
    assert signed(np.float64(value)) == signed(float(value))
    assert Recipe.load(recipe.to_yaml()) == signed(float(value)), "a number is read as a float"


def signed(weight: float) -> Recipe:
    """A blend whose weights may cancel."""
    return blend(weight, numbers=numbers({"normalize": False}))


def test_a_switch_is_no_number() -> None:
    on, one = Rule(value=True), Rule(1)
    assert on != one
    assert Rule(np.bool_(True)) == on  # type: ignore[arg-type]
    assert Setting.of((True, 1.0)) != Setting.of((1.0, 1.0))
    first, other = (blend(1.0, numbers=numbers({"normalize": value})) for value in (True, 1))
    assert first != other
    assert first.fingerprint != other.fingerprint
    assert check(first) == ()
    assert "neither true nor false" in str(check(other)[0])
    assert blend(1.0, numbers=numbers({"normalize": np.bool_(False)})) == blend(
        1.0, numbers=numbers({"normalize": False})
    )


def test_layers_and_seed_may_be_numpys() -> None:
    def run(start: object, end: object, seed: object) -> Recipe:
        return Recipe("passthrough", (Slice((Part(A, (start, end)),)),), seed=seed)  # type: ignore[arg-type]

    ours, theirs = run(0, 2, 3), run(np.int64(0), np.int32(2), np.int64(3))
    assert (ours, ours.fingerprint) == (theirs, theirs.fingerprint)


def test_comments_count_nothing_in_a_stage_either() -> None:
    noted = STAGED.replace("- model: b", "# softly\n- model: b  # aside")
    bare, said = Recipe.load(STAGED), Recipe.load(noted)
    assert "# softly" in said.to_yaml(), "they are kept"
    assert bare == said
    assert bare.fingerprint == said.fingerprint
    assert difference(bare, said) == ""
    assert difference(bare, Recipe.load(noted.replace("0.3", "0.4"))) == "weight: 0.3 -> 0.4"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widen": "yes"}, "widen: 'yes' is neither true nor false."),
        ({"widen": 1}, "widen: 1 is neither true nor false."),
        ({"seed": 1.5}, "seed: 1.5 is not a whole number."),
        ({"seed": True}, "seed: True is not a whole number."),
        ({"seed": "x"}, "seed: 'x' is not a whole number."),
    ],
)
def test_widen_is_a_switch_and_a_seed_is_whole(options: dict[str, object], words: str) -> None:
    (problem,) = check(blend(0.5, **options))
    assert words in str(problem)
