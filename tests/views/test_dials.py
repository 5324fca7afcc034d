"""The dials: what can be meant is kept, what cannot is said in words; JavaScript and Python refit alike."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import deque
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab import sample
from mergelab.recipes.plan import plan
from mergelab.recipes.recipe import Numbers, Part, Recipe, Setting, Slice
from mergelab.views.dials import (
    METHODS,
    Guest,
    check_blocks,
    check_coefficient,
    check_method,
    codes,
    depth,
    first_graft,
    homes,
    recipe_of,
    refit,
)
from mergelab.weights import Source, open_checkpoint
from tests.recipes.opened import checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def guests() -> list[Guest]:
    return [Guest(name, name[:2], open_checkpoint(sample.path(name))) for name in ("base", "reverse", "pirate")]


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ([10], [[0, 0, 10]]),
        ([10, 10], [[0, 0, 2], [1, 2, 4], [0, 4, 10]]),
        ([10, 10, 10], [[1, 0, 2], [2, 2, 4], [1, 4, 10]]),
        ([5, 5, 5, 5], [[1, 0, 1], [2, 1, 2], [1, 2, 5]]),
        ([12, 3], [[0, 0, 2], [1, 2, 3], [0, 3, 12]]),
        ([12, 2], [[0, 0, 12]]),
        ([2, 2], [[0, 0, 2]]),
    ],
)
def test_first_graft_sets_inner_layers_of_a_donor_into_a_host(depths: list[int], expected: list[list[int]]) -> None:
    assert first_graft(depths) == expected


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_first_graft_always_lies_within_its_sources(depths: list[int]) -> None:
    blocks = first_graft(depths)
    assert all(0 <= start < end <= depths[source] for source, start, end in blocks)
    host = 1 if len(depths) > 2 else 0
    assert depth(blocks) == depths[host]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, "list of [source, start, end]"),
        ([], "at least one"),
        ([[0, 0]], "blocks[0]: [0, 0] is not [source, start, end]"),
        ([[0, 0, 1.5]], "three whole numbers"),
        ([[0, 0, True]], "three whole numbers"),
        ([[3, 0, 1]], "blocks[0]: there is no source 3. Known: 0 to 2."),
        ([[0, 0, 2], [1, 4, 11]], "blocks[1]: layers 4 to 11 are not a run of reverse, which has 10."),
        ([[0, 4, 4]], "0 <= start < end <= 10"),
    ],
)
def test_blocks_that_cannot_be_meant(guests: list[Guest], value: object, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        check_blocks(value, guests)


def test_all_problems_of_blocks_at_once(guests: list[Guest]) -> None:
    with pytest.raises(ValueError, match=r"blocks\[0\].*blocks\[1\]"):
        check_blocks([[9, 0, 1], [0, 5, 2]], guests)


def test_blocks_of_numpy_numbers_are_plain_ones(guests: list[Guest]) -> None:
    expected = [[1, 0, 3], [2, 3, 7]]
    table = np.array(expected)
    for value in (table, list(table), [tuple(row) for row in table], table.astype(np.int16)):
        blocks = check_blocks(value, guests)
        assert blocks == expected
        assert all(type(number) is int for block in blocks for number in block)
    with pytest.raises(ValueError, match="three whole numbers"):
        check_blocks(table.astype(float), guests)
    with pytest.raises(ValueError, match="three whole numbers"):
        check_blocks([[np.int64(0), np.int64(0), np.bool_(True)]], guests)


@pytest.mark.parametrize(
    "value",
    [[0.5, 1.2, 1.0], [0.5, float("nan"), 1.0], [0.5, True, 1.0], [1.0], "half", True, -0.1, None, 10**400, {0: 1.0}],
)
def test_coefficients_that_cannot_be_meant(value: object) -> None:
    with pytest.raises(ValueError, match="coefficient"):
        check_coefficient(value, 3)


def test_one_number_stands_for_all_layers() -> None:
    assert check_coefficient(0.25, 3) == [0.25] * 3
    assert check_coefficient([0, 0.5, 1], 3) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.linspace(0, 1, 3), [0.0, 0.5, 1.0]),
        (np.array([0, 1, 1]), [0.0, 1.0, 1.0]),
        ([np.float32(0.5), np.int64(1), 0], [0.5, 1.0, 0.0]),
        (np.float32(0.5), [0.5] * 3),
        (np.array(0.25), [0.25] * 3),
        (np.int64(1), [1.0] * 3),
        (deque([0, 0.5, Fraction(1, 4)]), [0.0, 0.5, 0.25]),
    ],
)
def test_numbers_of_any_kind_are_numbers(value: object, expected: list[float]) -> None:
    found = check_coefficient(value, 3)
    assert found == expected
    assert all(type(number) is float for number in found)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("half", "coefficient: 'half' is not a number from 0 to 1. Give one, or a list of 80: one for each layer."),
        (np.array(2.0), "coefficient: 2.0 is not a number from 0 to 1. Give one, or a list of 80: one for each layer."),
        (np.linspace(0, 1, 79), "coefficient: has 79 numbers, the stack has 80 layers. Give one for each."),
        (
            np.where(np.arange(80) < 2, 1.5, 0.5),
            "coefficient[0]: 1.5 is not a number from 0 to 1. coefficient[1]: 1.5 is not a number from 0 to 1.",
        ),
    ],
)
def test_a_wrong_coefficient_is_said_once(value: object, words: str) -> None:
    with pytest.raises(ValueError, match="coefficient") as caught:
        check_coefficient(value, 80)
    assert str(caught.value) == words


def test_many_wrong_coefficients_are_a_short_message() -> None:
    with pytest.raises(ValueError, match=r"coefficient\[3\].*number from 0 to 1\. And 76 more\.$") as caught:
        check_coefficient(np.ones((80, 80)), 80)
    assert len(str(caught.value)) < 400


def test_a_misspelt_method_is_named() -> None:
    with pytest.raises(ValueError, match="Did you mean 'linear'"):
        check_method("lienar")
    assert [check_method(name) for name in METHODS] == list(METHODS)


stacks = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(1, 4)).map(lambda b: [b[0], b[1], b[1] + b[2]]),
    min_size=1,
    max_size=5,
)


@given(stacks, stacks)
def test_a_layer_that_stays_keeps_its_coefficient(before: list[list[int]], after: list[list[int]]) -> None:
    curve = [index / 100 for index in range(depth(before))]
    fitted = refit(curve, before, after)
    assert len(fitted) == depth(after)
    if depth(before) == depth(after):
        assert fitted == curve
        return
    old, new = homes(before), homes(after)
    for place, home in enumerate(new):
        occurrence = new[:place].count(home)
        places = [index for index, each in enumerate(old) if each == home]
        assert fitted[place] == (curve[places[occurrence]] if occurrence < len(places) else 1.0)


def test_javascript_and_python_refit_alike() -> None:
    node = shutil.which("node")
    assert node is not None, "the front end's tests need Node.js"
    cases = [
        ([[1, 0, 3], [2, 3, 7]], [[1, 0, 3]]),
        ([[0, 4, 5], [0, 4, 5]], [[0, 4, 5], [0, 4, 5], [0, 4, 6]]),
        ([[0, 0, 4]], [[1, 0, 4]]),
    ]
    curves = [[index / 10 for index in range(depth(before))] for before, _ in cases]
    script = (
        "import {refit} from './src/lib/blocks.js';"
        f"const cases={json.dumps([[curve, *case] for curve, case in zip(curves, cases, strict=True)])};"
        "console.log(JSON.stringify(cases.map(([c,b,a])=>refit(c,b,a))))"
    )
    done = subprocess.run(
        [node, "--input-type=module", "-e", script],
        cwd=ROOT / "widgets",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    expected = [refit(curve, before, after) for curve, (before, after) in zip(curves, cases, strict=True)]
    assert json.loads(done.stdout) == expected


GROUND, HOST, DONOR = (Source(name) for name in ("ground", "host", "donor"))


def _mixed(
    layers: tuple[int, int], other: Source, numbers: Numbers, ground: Numbers = (), shared: Numbers = ()
) -> Slice:
    return Slice((Part(GROUND, layers, ground), Part(other, layers, numbers)), numbers=shared)


def _numbers(**values: float | list[float]) -> Numbers:
    return tuple((name, Setting.of(value)) for name, value in values.items())


def _recipe(method: str, *slices: Slice) -> Recipe:
    return Recipe(method, slices, GROUND)


KEEP: Numbers = (("normalize", Setting.of(value=False)),)
RECIPES = {
    "linear": _recipe(
        "linear",
        _mixed((0, 2), HOST, _numbers(weight=[0.5, 0.25]), _numbers(weight=[0.5, 0.75]), KEEP),
        _mixed((2, 3), HOST, _numbers(weight=0.0), _numbers(weight=1.0), KEEP),
        _mixed((1, 4), DONOR, _numbers(weight=[1.0, 0.0, 0.75]), _numbers(weight=[0.0, 1.0, 0.25]), KEEP),
    ),
    "slerp": _recipe(
        "slerp",
        _mixed((0, 2), HOST, (), shared=_numbers(t=[0.5, 0.25])),
        _mixed((2, 3), HOST, (), shared=_numbers(t=0.0)),
        _mixed((1, 4), DONOR, (), shared=_numbers(t=[1.0, 0.0, 0.75])),
    ),
    "task_arithmetic": _recipe(
        "task_arithmetic",
        _mixed((0, 2), HOST, _numbers(weight=[0.5, 0.25])),
        _mixed((2, 3), HOST, _numbers(weight=0.0)),
        _mixed((1, 4), DONOR, _numbers(weight=[1.0, 0.0, 0.75])),
    ),
    "ties": _recipe(
        "ties",
        _mixed((0, 2), HOST, _numbers(weight=1.0, density=[0.5, 0.25])),
        _mixed((2, 3), HOST, _numbers(weight=1.0, density=0.0)),
        _mixed((1, 4), DONOR, _numbers(weight=1.0, density=[1.0, 0.0, 0.75])),
    ),
    "passthrough": _recipe(
        "passthrough",
        Slice((Part(HOST, (0, 2)),)),
        Slice((Part(GROUND, (2, 3)),)),
        Slice((Part(DONOR, (1, 4)),)),
    ),
}


@pytest.mark.parametrize("method", METHODS)
def test_the_dials_are_exactly_this_recipe(method: str) -> None:
    family = [Guest(name, name[:2], checkpoint(name, layers=6)) for name in ("ground", "host", "donor")]
    blocks, curve = [[1, 0, 2], [0, 2, 3], [2, 1, 4]], [0.5, 0.25, 0.9, 1.0, 0.0, 0.75]
    recipe = recipe_of(family, blocks, curve, method)
    assert recipe == RECIPES[method]
    planned = plan(recipe, {guest.checkpoint.source: guest.checkpoint for guest in family})
    assert len(planned.layers) == 6


def test_the_base_is_the_base_whatever_its_coefficient(guests: list[Guest]) -> None:
    blocks = [[0, 0, 5], [1, 5, 10]]
    one = recipe_of(guests, blocks, [0.3] * 5 + [0.5] * 5, "linear")
    other = recipe_of(guests, blocks, [1.0] * 5 + [0.5] * 5, "linear")
    assert one == other


@given(st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=5, unique=True))
def test_codes_differ(names: list[str]) -> None:
    found = codes(names)
    assert len(dict.fromkeys(found)) == len(names)
    assert all(len(code) == 2 for code in found)


def test_codes_say_what_they_stand_for() -> None:
    assert codes(["base", "arith", "st-bible", "st-python", "stories"]) == ["Ba", "Ar", "Sb", "Sp", "St"]
