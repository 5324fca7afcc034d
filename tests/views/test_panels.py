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
from mergelab.views.palette import LIGHT
from mergelab.views.panels import BY_CHANCE, SINKS, SPREAD, Drawn, Panel, payload, readout, span
from mergelab.views.panels_still import still
from mergelab.views.subjects import subjects
from tests.views.measured import CONFLICT, LAYERS, NORM, SIZE, Look, heat, values_of

BAND = Chance(0.9, 1.1, "signs")
SVG = "{http://www.w3.org/2000/svg}"
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
    assert look.panel("sinks")["reading"].startswith("Attention is parked on a sink")
    assert look.panel("size")["reading"] == ""


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
    assert f"Dots: {SINKS}. Dotted: {SPREAD}. Hatched: {BY_CHANCE}.</p>" in saved
    assert f"<p style='margin:0;opacity:.7'>Hatched: {BY_CHANCE}.</p>" in saved, "likeness has neither spread nor sinks"
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
    trace, dots = made.data
    assert (dots.name, dots.x, dots.y) == ("outside chance", ("4", "5", "6"), ("mlp.up_proj",) * 3)
    assert made.layout.title.subtitle.text.endswith("<br>By chance: 0.98 to 1.02×: independent signs, 95 %.")
    assert (trace.zmin, trace.zmax) == (pytest.approx(0.6), pytest.approx(1.4))
    assert trace.colorscale[2] == (0.5, "#f2f3f5")
    np.testing.assert_array_equal(trace.z, look.widget.grid("conflict").values)
    assert [(box.x0, box.x1) for box in made.layout.shapes] == [(-0.5, 0.5), (3.5, 5.5)]
    assert made.layout.title.text == "Sign conflict, pirate with sort (x chance)"


def test_lines_for_plotly_have_bands_and_sinks(look: Look) -> None:
    made = look.widget.figure("norms")
    named = [BY_CHANCE, SPREAD, "base", "base, sink tokens", "pirate", "sort"]
    assert list(dict.fromkeys(trace.name for trace in made.data)) == named
    assert [trace.name for trace in made.data if trace.showlegend is not False] == named, "one line of the key each"
    assert made.layout.yaxis.type == "log"
    lines = [trace for trace in made.data if trace.name == "pirate"]
    np.testing.assert_array_equal(lines[0].y, look.widget.grid("norms").values[1])
    assert [sum(trace.name == name for trace in made.data) for name in (BY_CHANCE, SPREAD)] == [3, 3]


def test_what_chance_gives_is_behind_the_lines_of_a_plot_as_on_the_page(look: Look) -> None:
    """Each model's own band of the norms, out and back; its ends are those that the browser gets."""
    made, sent = look.widget.figure("norms"), look.panel("norms")["chances"]
    low, high = (values_of(sent[end]) for end in ("low", "high"))
    hatches = [trace for trace in made.data if trace.name == BY_CHANCE]
    columns = [*map(str, range(LAYERS)), "end"]
    for row, trace in enumerate(hatches):
        assert list(trace.x) == [*columns, *columns[::-1], None]
        np.testing.assert_allclose(np.array(trace.y[:-1], float), [*low[row], *high[row][::-1]], rtol=1e-6)
        assert trace.fill == "toself"
        assert trace.fillpattern.shape
    hatches = [trace for trace in look.widget.figure("between").data if trace.name == BY_CHANCE]
    assert len(hatches) == 1, "two sources, one band"
    assert np.nanmax(np.array(hatches[0].y[:-1], float)) == pytest.approx(0.05)
    assert hatches[0].line.color.startswith("rgba(27,34,44"), "of no source's colour"


def test_a_band_ends_where_chance_is_not_known_and_where_a_log_axis_does() -> None:
    low, high = np.full((2, 6), 2.0), np.full((2, 6), 4.0)
    low[0, 2], high[0, 3], low[1, 0] = np.nan, np.inf, 0.0
    columns = tuple(map(str, range(6)))
    grid = Grid(NORM, np.full((2, 6), 3.0), ("source", "layer"), ("a", "b"), columns, chance=Chance(low, high, "x"))
    first, second = (trace for trace in figure(grid).data if trace.name == BY_CHANCE)
    assert list(first.x) == ["0", "1", "1", "0", None, "4", "5", "5", "4", None]
    assert list(first.y) == [2, 2, 4, 4, None, 2, 2, 4, 4, None]
    assert list(second.x) == [*"12345", *"54321", None]
    panels = [Panel("norms", "lines", "Norms", "Shows.", drawn=Drawn(grid), state="done")]
    root = ET.fromstring(still(subjects([sample.path("base")], ["a"]), panels, [], "one", []))
    areas = [one.attrib for one in root.iter(f"{SVG}polygon")]
    assert [(one["class"], len(one["points"].split())) for one in areas] == [("c l0", 4), ("c l0", 4), ("c l1", 10)]
    assert [one["fill"] for one in areas] == ["url(#mli-l0)", "url(#mli-l0)", "url(#mli-l1)"]
    known = {one.attrib["id"] for one in root.iter(f"{SVG}pattern")}
    assert {one["fill"][5:-1] for one in areas} <= known
    assert all(0 <= float(point.split(",")[1]) <= 150 for one in areas for point in one["points"].split())


def test_the_saved_picture_is_pale_where_chance_does_it() -> None:
    values = np.array([[1.0, 1.5, 1.5], [0.5, 1.0, np.nan]])
    panels = [Panel("heat", "heat", "Heat", "Shows.", state="done", drawn=Drawn(heat(CONFLICT, values, BAND, "ab")))]
    root = ET.fromstring(still(subjects([sample.path("base")], ["a"]), panels, [], "one", []))
    cells = {one.attrib["class"]: one.attrib["d"] for one in root.iter(f"{SVG}path")}
    assert cells == {"d12": "M1 0h2", "d0": "M0 1h1", "d6 p": "M0 0h1M1 1h1", "n": "M2 1h1"}
    assert "Pale: within chance. Thin grey: no value." in ET.tostring(root, "unicode")


def test_the_saved_picture_says_which_colours_are_on_a_log_scale() -> None:
    panels = [
        Panel(
            name, "heat", "Heat", "Shows.", state="done", drawn=Drawn(heat(measure, np.array([[1.0, 9.0]]), None, "a"))
        )
        for name, measure in (("one", NORM), ("other", SIZE))
    ]
    saved = still(subjects([sample.path("base")], ["a"]), panels, [], "one", [])
    assert "Colours: 1 to 9, log scale." in saved
    assert saved.count("log scale.</p>") == 1


def test_lines_break_where_nothing_is_known() -> None:
    values = np.array([[1.0, 2.0, np.nan, 4.0, 5.0]])
    grid = Grid(NORM, values, ("source", "layer"), ("a",), tuple("01234"))
    panels = [Panel("norms", "lines", "Norms", "Shows.", drawn=Drawn(grid), state="done")]
    root = ET.fromstring(still(subjects([sample.path("base")], ["a"]), panels, [], "one", []))
    assert [len(one.attrib["points"].split()) for one in root.iter(f"{SVG}polyline")] == [2, 2]


def test_a_source_has_its_colour_whichever_row_it_is_in(look: Look) -> None:
    """The base is no row of likeness: the first row is the second source."""
    lines = {trace.name: trace for trace in look.widget.figure("between").data}
    assert [lines[name].line.color for name in ("pirate", "sort")] == [LIGHT[1][0], LIGHT[2][0]]
    saved = look.widget.still()
    likeness = ET.fromstring(saved[saved.rindex("<svg", 0, saved.index('class="c k"')) :].split("</svg>")[0] + "</svg>")
    assert [one.attrib["class"] for one in likeness.iter(f"{SVG}polyline")] == ["ln l1", "ln l2"]


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
