"""A grid as it is shown: what lies outside chance is marked, and how it was measured is told below."""

from __future__ import annotations

import numpy as np
import pytest

from mergelab.inspection.grid import Chance, Grid, Measure

MEASURE = Measure("size", "Size", "m", "How long it is.", "x", "made up")
NAN = float("nan")


def grid(chance: Chance | None, note: str = "") -> Grid:
    values = np.array([[0.5, 1.0, 2.0], [3.0, NAN, -1.0]])
    return Grid(MEASURE, values, ("row", "layer"), ("a", "b"), ("0", "1", "2"), "of it", chance, note)


@pytest.mark.parametrize(
    ("low", "high", "outside"),
    [
        (0.5, 2.0, [[False, False, False], [True, False, True]]),
        (np.array([[0.6], [-2.0]]), np.array([[9.0], [9.0]]), [[True, False, False], [False] * 3]),
        (np.full((2, 3), NAN), np.full((2, 3), NAN), [[False] * 3] * 2),
    ],
)
def test_outside_is_what_no_band_holds(low: object, high: object, outside: list[list[bool]]) -> None:
    assert grid(Chance(low, high, "made up")).outside.tolist() == outside  # type: ignore[arg-type]
    assert not grid(None).outside.any()


def test_values_outside_are_starred_and_stars_explained_in_one_line() -> None:
    shown = str(grid(Chance(0.5, 2.0, "two halves"), "Half was left out."))
    assert shown.splitlines()[2:] == [
        "row \\ layer  0    1  2",
        "-----------  ---  -  ---",
        "a            0.5  1  2",
        "b            3*   -  −1*",
        "",
        "* outside what chance gives: two halves.",
        "Half was left out.",
    ]


def test_it_is_said_where_nothing_is_outside_and_where_chance_was_not_measured() -> None:
    inside = str(grid(Chance(-5.0, 5.0, "two halves")))
    assert "*" not in inside
    assert inside.endswith("\n\nNo value is outside what chance gives: two halves.")
    assert str(grid(None)).endswith("\n\nWhat chance gives was not measured.")


def test_a_notebook_shows_the_same() -> None:
    shown = grid(Chance(0.5, 2.0, "a < b"), "Half.")._repr_html_()
    assert ">3*</td>" in shown
    assert shown.endswith("</table><p>* outside what chance gives: a &lt; b.</p><p>Half.</p>")
