"""Panels as data for the browser, as plots, in words, and as a saved picture."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from mergelab import sample
from mergelab.errors import InspectionError
from mergelab.inspection.grid import Chance, Grid
from mergelab.views.figures import figure
from mergelab.views.panels import Drawn, Panel, payload, readout, span
from mergelab.views.panels_still import still
from mergelab.views.subjects import subjects
from tests.views.measured import CONFLICT, NORM, SIZE, Look, heat, values_of

EVIL = "<img src=x onerror=alert(1)>\"'&</text></svg>"


def test_what_goes_to_the_browser_is_json_and_buffers(look: Look) -> None:
    def plain(value: object) -> str:
        assert isinstance(value, bytes)
        return "bytes"

    json.dumps([look.widget.panels, look.widget.dials, look.widget.readout], allow_nan=False, default=plain)


def test_numbers_json_does_not_know_are_left_out() -> None:
    odd = heat(CONFLICT, np.full((3, 4), np.nan), Chance(np.array([[np.nan]]), np.array([[np.inf]]), "nothing"))
    panel = Panel("x", "lines", "X", "Shows.", drawn=Drawn(odd, points=((0, float("nan"), 0), (1, 2.0, 1))))
    sent = payload(panel)
    assert (sent["low"], sent["high"], sent["points"]) == (0.0, 2.0, [[1, 2.0, 1]])
    assert np.isnan(values_of(sent["chanceband"]["low"])).all()
    assert sent["chance"] == ""


@pytest.mark.parametrize(
    ("values", "measure", "ends"),
    [
        ([0.93, 1.31], CONFLICT, (0.6, 1.4)),
        ([1.0, 1.0], CONFLICT, (0.0, 2.0)),
        ([0.001, 0.0071], SIZE, (0.0, 0.008)),
        ([0.0, 0.0], SIZE, (0.0, 1.0)),
        ([-0.3, 0.7], SIZE, (-0.3, 0.8)),
        ([0.0, 3.0, 70.0], NORM, (3.0, 70.0)),
        ([0.0, 0.0], NORM, (None, None)),
        ([np.nan, np.inf], SIZE, (None, None)),
    ],
)
def test_the_range_of_colours(values: list[float], measure: Any, ends: tuple[Any, Any]) -> None:
    """Round, as wide on both sides of a middle, from zero for sizes, what is there on a log axis."""
    found = span(Drawn(heat(measure, np.array([values]), rows=("a",))))
    assert found == (ends if ends[0] is None else (pytest.approx(ends[0]), pytest.approx(ends[1])))


def test_values_that_chance_moves_far_do_not_set_the_range() -> None:
    """Rows of few weights: their colours end where those of the matrices do, and it is said."""
    values = np.array([[1.0, 1.08, 0.95], [1.02, 1.1, 1.0], [1.3, 0.5, 1.0]])
    width = np.array([[0.02] * 3, [0.04] * 3, [0.25] * 3])
    drawn = Drawn(heat(CONFLICT, values, Chance(1 - width, 1 + width, "signs")))
    assert span(drawn) == (pytest.approx(0.9), pytest.approx(1.1))
    panel = Panel("x", "heat", "X", "Shows.", drawn=drawn)
    assert payload(panel)["note"].endswith("2 values with wide bands lie beyond the ends of the colours.")
    np.testing.assert_allclose(values_of(payload(panel)["chanceband"]["high"]), 1 + width, rtol=1e-6)
    plain = Panel("x", "heat", "X", "Shows.", drawn=Drawn(heat(CONFLICT, values, Chance(0.98, 1.02, "signs"))))
    assert span(plain.drawn) == (0.5, 1.5)
    assert "beyond" not in payload(plain)["note"].replace("Clearly: beyond", "")
    nothing = Chance(np.full((3, 3), np.nan), np.full((3, 3), np.nan), "nothing")
    assert span(Drawn(heat(CONFLICT, values, nothing))) == (0.5, 1.5)


def test_the_selection_weighs_values_by_their_bands() -> None:
    """A row of few weights says little beside a matrix: its band tells how many there are."""
    values = np.array([[1.0, 1.1], [2.0, 2.0], [np.nan, 1.0]])
    weights = np.array([[10_000.0, 10_000.0], [100.0, 100.0], [np.nan, 400.0]])
    half = 1.96 / np.sqrt(weights)
    drawn = Drawn(heat(CONFLICT, values, Chance(np.maximum(1 - half, 0), 1 + half, "signs")))
    (row,) = readout([Panel("x", "heat", "X", "Shows.", drawn=drawn)], [0])
    assert row["here"] == f"{(10_000 + 200) / 10_100:.3g}×"
    assert row["elsewhere"] == f"{(11_000 + 200 + 400) / 10_500:.3g}×"
    most = 1.96 / np.sqrt(10_100)
    assert row["label"] == f"Sign conflict; by chance here {1 - most:.3g} to {1 + most:.3g}×"
    (nowhere,) = readout([Panel("x", "heat", "X", "Shows.", drawn=drawn)], [7])
    assert (nowhere["label"], nowhere["here"]) == ("Sign conflict", "–")


def test_how_to_read_it_goes_to_the_browser(look: Look) -> None:
    assert look.panel("norms")["reading"] == "Read it so."
    assert look.panel("sinks")["reading"] == ""


@pytest.mark.parametrize("given", ["a text", None, object()])
def test_what_is_no_grid_is_refused_by_name(given: Any) -> None:
    with pytest.raises(InspectionError, match=f"a {type(given).__name__} is no grid"):
        figure(given)


def test_what_has_one_grid_is_drawn_as_that(look: Look) -> None:
    class Probed:
        def grid(self) -> Grid:
            return heat(SIZE, np.full((3, 4), 0.3))

    np.testing.assert_array_equal(figure(Probed()).data[0].z, np.full((3, 4), 0.3))
    with pytest.raises(InspectionError, match="a Inspector is no grid"):
        figure(look.widget)  # type: ignore[arg-type]


def test_the_saved_picture_says_what_its_marks_are(look: Look) -> None:
    saved = look.widget.still()
    assert "Shaded: 5 to 95\u00a0% of each model's tokens. Dots: sinks." in saved
    assert saved.count("Thin grey: no value.</p>") == 1, "one weight of the conflict has none"
    assert "Clearly: beyond the band by more than half of its width." in saved


def test_figures_as_grids_tables_and_plots(look: Look) -> None:
    widget = look.widget
    grid = widget.grid("cosine")
    assert isinstance(grid, Grid)
    assert grid.of == "pirate with sort"
    frame = widget.to_frame("cosine")
    assert frame.index.name == "module"
    np.testing.assert_array_equal(frame.to_numpy(), grid.values)
    sinks = widget.to_frame("sinks")
    sinks["source"] = "changed"
    assert widget.to_frame("sinks")["source"].tolist() == ["base"]
    with pytest.raises(InspectionError, match="is a table"):
        widget.grid("sinks")
    with pytest.raises(InspectionError, match="Did you mean 'conflict'"):
        widget.to_frame("conflicts")


def test_a_heatmap_for_plotly_has_its_middle_where_it_belongs(look: Look) -> None:
    look.widget.selection = [0, 4, 5]
    made = look.widget.figure("conflict")
    (trace,) = made.data
    assert (trace.zmin, trace.zmax) == (pytest.approx(0.6), pytest.approx(1.4))
    assert trace.colorscale[2] == (0.5, "#f2f3f5")
    np.testing.assert_array_equal(trace.z, look.widget.grid("conflict").values)
    assert [(box.x0, box.x1) for box in made.layout.shapes] == [(-0.5, 0.5), (3.5, 5.5)]
    assert made.layout.title.text == "Sign conflict, pirate with sort (x chance)"


def test_lines_for_plotly_have_bands_and_sinks(look: Look) -> None:
    made = look.widget.figure("norms")
    assert [trace.name for trace in made.data if trace.name] == ["base", "base, sinks", "pirate", "sort"]
    assert made.layout.yaxis.type == "log"
    lines = [trace for trace in made.data if trace.name == "pirate"]
    np.testing.assert_array_equal(lines[0].y, look.widget.grid("norms").values[1])
    assert sum(trace.fill == "tonexty" for trace in made.data) == 3


def test_tokens_for_plotly_are_on_a_log_scale_and_told_apart() -> None:
    look = Look(prompts="the cat the <b>")
    look.settled()
    (trace,) = look.widget.figure("tokens").data
    assert len(dict.fromkeys(trace.y)) == 4
    assert trace.y[3] == "&lt;b&gt;"
    np.testing.assert_allclose(trace.z, np.log10(look.widget.grid("tokens").values))
    assert (trace.zmin, trace.zmax) == (pytest.approx(np.log10(2)), pytest.approx(2))
    look.widget.close()


def test_the_long_form(look: Look) -> None:
    text = str(look.widget.explain())
    assert "Sign conflict, pirate with sort\n  shows:     How often signs differ.\n  formula:   rate / 0.5" in text
    assert "by chance: 0.98 to 1.02×: independent signs, 95 %." in text
    assert "reading:   Read it so." in text
    assert max(map(len, text.splitlines())) <= 100
    assert ET.fromstring(f"<div>{look.widget.explain()._repr_html_()}</div>").findall(".//table")


def test_the_saved_picture_needs_no_script_and_escapes_what_is_foreign() -> None:
    look = Look(names=[EVIL, "a&b", "<script>x</script>"], prompts=f"the cat {EVIL}")
    look.settled()
    look.widget.selection = [4, 5]
    saved = look.widget.still()
    ET.fromstring(saved)
    assert "<img" not in saved
    assert "<script" not in saved
    assert "layers 4–5" in saved
    assert saved.count("<svg") == 8, "seven figures and the colours"
    assert "prefers-color-scheme:dark" in saved
    assert "Saved picture; run the cell to work on it" in saved
    explained = look.widget.explain()._repr_html_()
    assert "<img" not in explained
    for panel in ("conflict", "norms", "tokens"):
        assert "<img" not in str(look.widget.figure(panel).to_dict())
    data, _ = look.widget._repr_mimebundle_() or ({}, {})
    assert data["text/html"] == saved
    look.widget.close()


def test_the_saved_picture_of_a_large_model_is_small() -> None:
    """Eighty layers, random numbers: nothing that is drawn is alike."""
    random = np.random.default_rng(0)
    columns = tuple(map(str, range(80)))
    models = subjects([sample.path("base")], ["large"])
    names = tuple(f"self_attn.part_{row}_proj" for row in range(9))
    panels = []
    for name, measure in (("a", CONFLICT), ("b", SIZE), ("c", CONFLICT), ("d", SIZE)):
        grid = Grid(measure, random.random((9, 80)), ("module", "layer"), names, columns, chance=Chance(0.4, 0.6, "x"))
        panels.append(Panel(name, "heat", "Heat", "Shows.", drawn=Drawn(grid), state="done"))
    words = tuple(f"token {row}" for row in range(200))
    tokens = Grid(NORM, random.random((200, 80)) + 0.1, ("token", "layer"), words, columns)
    panels.append(Panel("e", "tokens", "Tokens", "Shows.", drawn=Drawn(tokens), state="done"))
    saved = still(models, panels, [3], "one", [])
    assert len(saved.encode()) < 50_000
    assert "The first 24 of 200 rows" in saved
    ET.fromstring(saved)
