"""Captions: what chance gives and what stands out, in words that the numbers carry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.inspection.grid import Chance, Floats, Grid, Measure
from mergelab.views.captions import NO_CHANCE, caption, clear, number, runs

MEASURE = Measure("m", "Title", "x chance", "What is shown.", "a / b", "a paper", "diverging", 1.0)
NORM = Measure("n", "Norm", "1", "How long.", "||h||", "a paper", "log")


def grid(values: Floats, chance: Chance | None, measure: Measure = MEASURE, rows: str = "abcdefgh") -> Grid:
    names = tuple(rows[: len(values)])
    return Grid(
        measure, values.copy(), ("module", "layer"), names, tuple(map(str, range(values.shape[1]))), chance=chance
    )


BAND = Chance(0.9, 1.1, "signs drawn at random, 95 %")


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (1.364, "x chance", "1.36×"),
        (-0.0213, "1", "−0.0213"),
        (2.104, "nats", "2.1\u00a0nats"),
        (1234.5, "1", "1230"),
        (0.0, "", "0"),
        (1.234e-7, "1", "1.23e−07"),
        (float("nan"), "nats", "not measured"),
        (float("inf"), "1", "∞"),
        (float("-inf"), "x", "−∞"),
    ],
)
def test_a_number_in_words(value: float, unit: str, words: str) -> None:
    assert number(value, unit) == words


@pytest.mark.parametrize(
    ("names", "chosen", "words"),
    [
        ("0123456789", [4, 5, 6, 7], "layers 4–7"),
        ("0123456789", [3], "layer 3"),
        ("0123456789", [0, 1, 3, 9], "layers 0–1, 3 and 9"),
        ("0123456789", [0, 2, 4, 6, 8], "layers 0, 2, 4, 6 and 1 more"),
        (["0", "1", "end"], [1, 2], "layer 1 and end"),
        ([*"0123456789", "end"], [*range(7), 8, 9, 10], "layers 0–6, 8–9 and end"),
        (["embedding", "0", "end"], [0, 2], "embedding and end"),
        ("012", [], ""),
    ],
)
def test_runs_of_layers_in_words(names: str | list[str], chosen: list[int], words: str) -> None:
    mask = np.isin(np.arange(len(names)), chosen)
    assert runs(list(names), mask) == words


def test_without_chance_the_ends_are_told() -> None:
    said = caption(grid(np.array([[1.0, 99.0], [np.nan, 7.0]]), None))
    so = "largest at a, 1 (99×), smallest at a, 0 (1×); the middle value is 7×."
    assert (said.shows, said.chance, said.so) == ("What is shown.", NO_CHANCE, so)
    assert caption(grid(np.array([[np.nan, 99.0]]), None)).so == ""
    nothing = caption(grid(np.array([[1.0, 99.0]]), Chance(np.array([[np.nan]]), np.array([[np.nan]]), "no tokens")))
    assert nothing.chance == NO_CHANCE


def test_what_stands_out_is_named_with_its_place_and_size() -> None:
    values = np.ones((4, 10))
    values[2, 4:7] = (1.3, 1.36, 1.31)
    said = caption(grid(values, BAND))
    assert said.chance == "0.9 to 1.1×: signs drawn at random, 95 %."
    assert said.so == "3 of 40 values lie clearly above the band, all in c, layers 4–6, most of all c at 5 (1.36×)."
    values[:, 8] = (0.5, 0.5, 0.5, 0.4)
    assert caption(grid(values, BAND)).so == (
        "3 of 40 values lie clearly above the band, all in c, layers 4–6, most of all c at 5 (1.36×); "
        "4 of 40 values lie clearly below the band, mostly in layer 8, most of all d at 8 (0.4×)."
    )


def test_rows_that_stand_out_are_named_where_no_layer_does() -> None:
    values = np.ones((5, 6))
    values[0], values[3] = 1.5, 1.6
    values[1, 2] = 2.0
    so = caption(grid(values, BAND)).so
    assert so == "13 of 30 values lie clearly above the band, mostly in a and d, most of all b at 2 (2×)."


def test_where_nothing_stands_out_it_says_so() -> None:
    values = np.ones((3, 5))
    assert caption(grid(values, BAND)).so == "nothing stands out: all 15 values lie within the band."
    values[0, 0], values[1, 1] = 1.15, np.nan
    assert caption(grid(values, BAND)).so == (
        "nothing stands out: 1 of 14 values lies outside the band, none of them clearly."
    )
    assert caption(grid(np.full((2, 2), np.nan), BAND)).so == "nothing was measured."
    assert caption(grid(np.ones((1, 1)), BAND)).so == "nothing stands out: the value lies within the band."
    assert caption(grid(np.full((1, 2), 2.0), BAND)).so.startswith("every value lies clearly above the band, most")


def test_a_band_for_each_value_counts_for_its_own() -> None:
    values = np.array([[1.0, 2.0, 3.0]])
    band = Chance(values - 0.1, values + 0.1, "halves")
    said = caption(grid(values, band))
    assert said.so == "nothing stands out: all 3 values lie within the band."
    assert said.chance == "about 1.9 to 2.1×, a band for each value: halves."
    assert caption(grid(np.array([[1.0, 2.0, 2.0]]), band)).so.endswith("a at 2 (2×, chance there 2.9 to 3.1×).")
    assert caption(grid(values, band, NORM)).chance == "each value has a band of its own: halves."


def test_few_weights_with_a_wide_band_are_not_quoted_for_many() -> None:
    """What is named lies outside the band that is told, whatever the widest band is."""
    width = np.full((3, 4), 0.04)
    width[2] = 0.25
    values = np.ones((3, 4))
    values[0, 1], values[2] = 0.897, (1.2, 0.8, 1.1, 0.9)
    said = caption(grid(values, Chance(1 - width, 1 + width, "signs")))
    assert said.chance == "about 0.96 to 1.04×, a band for each value: signs."
    assert said.so == (
        "1 of 12 values lies clearly below the band, all in a, layer 1, most of all a at 1 "
        "(0.897×, chance there 0.96 to 1.04×)."
    )
    alike = Chance(np.full((3, 4), 0.9), np.full((3, 4), 1.1), "signs")
    assert caption(grid(values, alike)).chance == "0.9 to 1.1×: signs."
    values[0, 1] = 0.5
    assert caption(grid(values, alike)).so.endswith("most of all a at 1 (0.5×).")


def test_sources_are_held_against_the_band_of_the_first() -> None:
    first = np.array([1.0, 2.0, 4.0, 8.0])
    values = np.stack([first, first * 1.05, first * np.array([1, 1.5, 2, 1])])
    band = Chance(first[None] * 0.9, first[None] * 1.1, "halves of the prompts")
    so = caption(grid(values, band, NORM), against_first=True).so
    assert so == "c clearly leaves it at layers 1–2, furthest at 2 (8 against 4, chance there 3.6 to 4.4)."
    assert caption(grid(values[:2], band, NORM), against_first=True).so == (
        "nothing stands out: no source clearly leaves the band of a."
    )
    assert caption(grid(values[:1], band, NORM), against_first=True).so == ""


def test_half_as_much_is_as_far_as_twice_as_much() -> None:
    values = np.array([[10.0, 10.0], [4.0, 20.0]])
    so = caption(grid(values, Chance(9.0, 11.0, "halves"), NORM), against_first=True).so
    assert "furthest at 0 (4 against 10, chance there 9 to 11)" in so


@given(
    st.lists(st.floats(-5, 5) | st.just(float("nan")), min_size=1, max_size=8),
    st.floats(-2, 2),
    st.floats(0, 2),
)
def test_clear_is_beyond_the_band_by_half_its_width(values: list[float], low: float, width: float) -> None:
    array, high = np.array(values), low + width
    above, below, outside = clear(array, low, high)
    for value, up, down, out in zip(values, above, below, outside, strict=True):
        assert out == (value > high or value < low)
        assert up == (value > high + (high - low) / 2)
        assert down == (value < low - (high - low) / 2)
        assert out or not (up or down)
