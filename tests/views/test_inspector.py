"""The Python half of the inspector, with made-up measurements: what is asked, drawn, said, refused and let go."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from traitlets import TraitError

from mergelab import sample
from mergelab.errors import InspectionError, Problem
from mergelab.recipes.presets import graft
from mergelab.views.inspector import Inspector
from tests.views.measured import LAYERS, MODULES, Look, Taken, values_of


def chosen(look: Look, dial: str) -> list[str]:
    return [one["id"] for one in look.widget.dials["variants"][dial] if one["chosen"]]


# -- what is shown --------------------------------------------------------------------------------------------


def test_the_figures_of_three_models(look: Look) -> None:
    widget = look.widget
    assert widget.names == ("norms", "conflict", "drift", "cosine", "size", "between", "tokens", "sinks")
    assert [panel["id"] for panel in widget.panels] == list(widget.names)
    assert {panel["state"] for panel in widget.panels} == {"done"}
    assert look.taken.tasks == [("changes",), ("drift", "pirate"), ("trace",)]
    assert widget.strip == [
        {"name": "base", "code": "Ba", "layers": 10},
        {"name": "pirate", "code": "Pi", "layers": 10},
        {"name": "sort", "code": "So", "layers": 10},
    ]
    assert (widget.busy, widget.error, widget.readout) == (None, "", [])
    assert repr(widget) == "<Inspector of base, pirate, sort: 8 of 8 figures measured>"


def test_a_heatmap_is_exactly_this(look: Look) -> None:
    panel = look.panel("conflict")
    expected = np.ones((3, LAYERS))
    expected[2, 4:7], expected[0, 0] = 1.4, np.nan
    np.testing.assert_array_equal(values_of(panel.pop("values")), expected.astype(np.float32))
    seconds = panel.pop("seconds")
    assert 0 <= seconds < 5
    assert panel == {
        "id": "conflict",
        "kind": "heat",
        "title": "Sign conflict",
        "unit": "x chance",
        "scale": "diverging",
        "middle": 1.0,
        "rows": list(MODULES),
        "columns": [str(layer) for layer in range(LAYERS)],
        "of": "pirate with sort",
        "shows": "How often signs differ.",
        "chance": "0.98 to 1.02×: independent signs, 95 %.",
        "so": "3 of 29 values lie clearly above the band, all in mlp.up_proj, layers 4–6, most of all mlp.up_proj at 4 "
        "(1.4×).",
        "note": "Clearly: beyond the band by more than half of its width.",
        "formula": "rate / 0.5",
        "reading": "",
        "low": pytest.approx(0.6),
        "high": pytest.approx(1.4),
        "band": None,
        "points": [],
        "chanceband": {"low": 0.98, "high": 1.02},
        "chances": None,
        "cells": None,
        "wide": False,
        "state": "done",
        "done": 1,
        "total": 4,
    }


def test_lines_have_bands_and_sinks_apart_and_what_leaves_the_last_layer(look: Look) -> None:
    panel = look.panel("norms")
    assert panel["kind"] == "lines"
    assert panel["rows"] == ["base", "pirate", "sort"]
    assert panel["columns"] == [*map(str, range(LAYERS)), "end"]
    middle = values_of(panel["values"])
    np.testing.assert_allclose(values_of(panel["band"]["low"]), middle / 2, rtol=1e-6)
    np.testing.assert_allclose(values_of(panel["band"]["high"]), middle * 2, rtol=1e-6)
    assert panel["points"] == [[column, 100.0, 0] for column in range(2, LAYERS + 1)], "born in layer 1, never ended"
    assert (panel["low"], panel["high"]) == (0.5, 100.0)
    furthest = "furthest at 5 (5.66 against 2.83, chance there 2.55 to 3.11)."
    assert panel["so"] == f"pirate clearly leaves it at layers 5–9 and end, {furthest}"
    low, high = (values_of(panel["chanceband"][end]) for end in ("low", "high"))
    np.testing.assert_allclose(low / middle[:1], np.full_like(middle, 0.9), rtol=1e-6)
    assert (high > low).all()
    own = [values_of(panel["chances"][end]) for end in ("low", "high")]
    for band, times in zip(own, (0.9, 1.1), strict=True):
        np.testing.assert_allclose(
            band, middle * times, rtol=1e-6, err_msg="what chance gives is drawn for each source"
        )
    assert panel["wide"]


def test_a_statistic_per_channel_takes_its_band_along(look: Look) -> None:
    look.widget.turned = {"statistic": "rms"}
    look.settled()
    panel = look.panel("norms")
    middle = values_of(panel["values"])
    np.testing.assert_allclose(values_of(panel["band"]["high"]), middle * 2, rtol=1e-6)
    assert panel["points"][0] == [2, 12.5, 0]
    assert chosen(look, "statistic") == ["rms"]


def test_sinks_are_a_table(look: Look) -> None:
    panel = look.panel("sinks")
    assert panel["shows"].endswith(f"the others': 1 in these {len(look.taken.prompts)} prompts.")
    assert panel["columns"][:5] == ["source", "prompt", "position", "token", "layer"]
    assert panel["cells"] == [["base", 0, 0, "77+15=", 1, None, 50.0, "3, 1", -99.5, "no"]]
    assert "median deviations" in panel["note"]
    assert panel["chance"] == "were norms log-normal, one in 39 000 would lie so far above the median."
    assert (panel["so"], panel["values"]) == ("", None)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("base",), ("norms", "tokens", "sinks")),
        (("base", "pirate"), ("norms", "drift", "size", "between", "tokens", "sinks")),
    ],
)
def test_figures_that_need_more_models_are_left_out(names: tuple[str, ...], shown: tuple[str, ...]) -> None:
    look = Look(*names)
    look.settled()
    assert look.widget.names == shown
    assert look.widget.dials["density"] is None
    assert look.widget.dials["pairs"] == []
    assert look.panel("tokens")["of"] == f"{names[-1]}, “77+15=”"
    assert look.panel("norms")["so"] == ("" if len(names) == 1 else look.panel("norms")["so"])
    look.widget.close()


def test_a_recipe_is_looked_at_but_has_no_files_to_compare() -> None:
    recipe = graft(sample.path("base"), sample.path("pirate"), layers=(3, 5))
    made: list[Taken] = []
    widget = Inspector(sample.path("base"), recipe, measures=lambda *given: made.append(Taken(*given)) or made[0])
    assert widget.wait(10)
    assert widget.names == ("norms", "drift", "between", "tokens", "sinks")
    assert [one["name"] for one in widget.strip] == ["base", "merged"]
    assert widget.strip[1]["layers"] == 10
    widget.close()


# -- while it is measured -------------------------------------------------------------------------------------


def test_figures_appear_as_they_are_measured() -> None:
    look = Look(held=("trace",))
    assert look.widget.wait(0.2) is False
    states = {panel["id"]: panel["state"] for panel in look.widget.panels}
    assert states == {**dict.fromkeys(("conflict", "drift", "cosine", "size"), "done"),
                      **dict.fromkeys(("norms", "between", "tokens", "sinks"), "measuring")}  # fmt: skip
    panel = look.panel("norms")
    assert (panel["done"], panel["total"], panel["values"]) == (1, 4, None)
    assert panel["shows"], "what will be shown is said before"
    text = "norm of the residual stream, likeness, norm of each token, sinks"
    assert look.widget.busy == {"text": text, "done": 1, "total": 4}
    assert "4 of 8 figures" in repr(look.widget)
    with pytest.raises(InspectionError, match="not measured yet"):
        look.widget.grid("norms")
    assert "Not measured: norm of the residual stream" in look.widget.still()
    look.taken.held["trace"].set()
    look.settled()
    assert look.widget.busy is None
    assert look.panel("norms")["state"] == "done"
    look.widget.close()


def test_stop_and_measure_from_the_browser() -> None:
    look = Look(held=("drift",))
    assert look.widget.wait(0.1) is False
    look.widget.set_state({"asked": {"stop": 1, "measure": 0}})
    look.settled()
    states = {panel["id"]: panel["state"] for panel in look.widget.panels}
    assert states == {**dict.fromkeys(("conflict", "cosine", "size"), "done"),
                      **dict.fromkeys(("norms", "drift", "between", "tokens", "sinks"), "stopped")}  # fmt: skip
    assert look.panel("drift")["values"] is not None, "the part there is stays"
    assert "Stopped" in look.widget.still()
    look.taken.held.clear()
    look.widget.set_state({"asked": {"stop": 1, "measure": 1}})
    look.settled()
    assert {panel["state"] for panel in look.widget.panels} == {"done"}
    look.widget.close()


def test_what_cannot_be_measured_is_said_and_the_rest_is_there() -> None:
    look = Look(failing={"trace": InspectionError(Problem("prompts", "the tokenizers differ.", "Trace one."))})
    look.settled()
    assert look.widget.error == "", "it is told once, where the figure would be"
    assert look.panel("norms")["state"] == "refused"
    notes = [look.panel(name)["note"] for name in ("norms", "tokens", "sinks")]
    assert notes == ["prompts: the tokenizers differ. Trace one.", *["See “Norm of the residual stream”."] * 2]
    assert look.panel("conflict")["state"] == "done"
    assert "the tokenizers differ" in str(look.widget.explain())
    look.taken.failing.clear()
    look.widget.measure()
    look.settled()
    assert look.panel("norms")["state"] == "done"
    assert look.panel("norms")["note"].startswith("Hatched: how far the choice of prompts")
    look.widget.close()


# -- dials ----------------------------------------------------------------------------------------------------


def test_density_redraws_from_what_is_measured(look: Look) -> None:
    tasks = list(look.taken.tasks)
    look.widget.set_state({"turned": {"density": 0.36}})
    look.settled()
    assert look.taken.tasks == tasks, "nothing is measured again"
    panel = look.panel("conflict")
    assert values_of(panel["values"])[2, 5] == pytest.approx(1.144)
    assert panel["high"] == pytest.approx(1.4), "colours mean the same while the dial is turned"
    density = look.widget.dials["density"]
    assert (density["value"], density["low"], density["high"]) == (0.36, 0.01, 1.0)
    assert len(density["curve"]) == 50
    assert density["curve"] == sorted(density["curve"])
    assert density["curve"][-1] == 1.0
    assert density["text"] == (
        "The largest 36\u00a0% of each change keep 60\u00a0% of its norm. "
        "Signs differ 1.04× as often as by chance among them, 1.1× among all."
    )
    assert look.widget.grid("conflict").values[2, 5] == pytest.approx(1.144)


def test_every_pair_comes_from_one_measurement() -> None:
    four = Look("base", "pirate", "sort", "reverse")
    four.settled()
    assert [one["id"] for one in four.widget.dials["pairs"]] == ["1-2", "1-3", "2-3"]
    for pair in ("1-3", "1-2", "1-3"):
        four.widget.turned = {"pair": pair}
        four.settled()
        assert [one["id"] for one in four.widget.dials["pairs"] if one["chosen"]] == [pair]
    assert four.taken.tasks.count(("changes",)) == 1
    assert four.panel("cosine")["of"] == "pirate with reverse"
    four.widget.close()


def test_source_and_prompt(look: Look) -> None:
    look.widget.turned = {"source": "2", "prompt": "1"}
    look.settled()
    assert ("drift", "sort") in look.taken.tasks
    assert [look.panel(name)["of"] for name in ("drift", "size")] == ["sort against base"] * 2
    assert look.panel("tokens")["of"] == f"sort, “{look.taken.prompts[1]}”"
    assert look.widget.dials["prompts"][1]["text"] == look.taken.prompts[1]
    assert look.panel("tokens")["rows"] == look.taken.prompts[1].split()
    assert [one["label"] for one in look.widget.dials["sources"]] == ["pirate", "sort"]


def test_sources_may_be_named() -> None:
    four = Look("base", "pirate", "sort", "reverse")
    four.settled()
    four.widget.turned = {"pair": ("reverse", "pirate"), "source": "sort"}
    four.settled()
    assert four.panel("conflict")["of"] == "pirate with reverse"
    assert four.panel("size")["of"] == "sort against base"
    four.widget.turned = {"pair": ["sort", 3]}
    four.settled()
    assert four.panel("conflict")["of"] == "sort with reverse"
    four.widget.close()


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ({"density": 0}, "density: 0 is not a number from 0.01 to 1"),
        ({"density": True}, "density: True is not"),
        ({"density": float("nan")}, "density: nan is not"),
        ({"pair": "1-1"}, "not two different sources. Known: 1-2 (pirate with sort)"),
        ({"pair": "0-1"}, "not two different sources"),
        ({"pair": 7}, "not two different sources"),
        ({"source": "0"}, "there is no source '0'. Known: 1 (pirate), 2 (sort)"),
        ({"source": "base"}, "there is no source 'base'"),
        ({"against": "nobody"}, "against: there is no source 'nobody'. Known: 0 (base), 1 (pirate), 2 (sort)"),
        ({"pair": ("pirate", "pirate")}, "not two different sources"),
        ({"pair": ("pirate", "sortt")}, "not two different sources"),
        ({"prompt": 99}, "there is no prompt 99. Known: 0 to"),
        ({"statistic": "mode"}, "there is no 'mode'"),
        ({"conflict": "lots"}, "conflict: there is no 'lots'. Did you mean 'lost'?"),
        ({"drift": 1}, "drift: there is no 1"),
        ({"between": "median"}, "between: there is no 'median'"),
        ({"densty": 1}, "Did you mean 'density'?"),
        ({"density": 2, "prompt": -1}, "there is no prompt -1"),
        ([1], "not a mapping"),
    ],
)
def test_a_turn_that_cannot_be_meant_is_refused_in_words(look: Look, turn: Any, words: str) -> None:
    before = look.widget.panels
    with pytest.raises(TraitError) as error:
        look.widget.turned = turn
    assert words in str(error.value)
    look.widget.set_state({"turned": turn})
    assert words in look.widget.error
    look.settled()
    assert look.widget.panels == before
    look.widget.set_state({"turned": {"density": 0.5}})
    assert look.widget.error == ""


# -- selection ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "layers"),
    [
        ({"layers": [6, 4, 5, 4]}, [4, 5, 6]),
        ([3], [3]),
        (range(2, 4), [2, 3]),
        (np.array([7, 1]), [1, 7]),
        ({"layers": []}, []),
        ({}, []),
    ],
)
def test_layers_are_selected(look: Look, given: Any, layers: list[int]) -> None:
    heard: list[Any] = []
    look.widget.observe(lambda change: heard.append(change["new"]), "selection")
    look.widget.selection = given
    assert look.widget.selection == {"layers": layers}
    assert heard == ([{"layers": layers}] if layers else [])
    assert bool(look.widget.readout) == bool(layers)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layers": [10]}, "10 is no layer. Known: 0 to 9"),
        ({"layers": [-1, 1.5, True, "2", 3]}, "-1, 1.5, True, '2' are no layer"),
        ({"layer": [1]}, "'layer' is nothing that can be selected"),
        ("4-6", "not '4-6'"),
        (4, "not 4"),
    ],
)
def test_a_selection_that_cannot_be_is_refused_in_words(look: Look, given: Any, words: str) -> None:
    look.widget.selection = [2]
    with pytest.raises(TraitError) as error:
        look.widget.selection = given
    assert words in str(error.value)
    look.widget.set_state({"selection": given})
    assert words in look.widget.error
    assert look.widget.selection == {"layers": [2]}
    look.widget.set_state({"selection": {"layers": [3]}})
    assert look.widget.error == ""


def test_the_selection_in_figures(look: Look) -> None:
    """The mean over selected layers and over the others; lines as a ratio to the first; the end is no layer."""
    look.widget.selection = [4, 5, 6]
    rows = {row["label"]: (row["here"], row["elsewhere"]) for row in look.widget.readout}
    assert rows["Norm, pirate against base"] == ("2×", "1×")
    assert rows["Norm, sort against base"] == ("1×", "1×")
    assert rows["Sign conflict, pirate with sort; by chance here 0.99 to 1.01×"] == ("1.13×", "1×")
    assert rows["Size of the change, pirate against base"] == ("0.03", "0.07"), "of all weights of these layers"
    look.widget.turned = {"density": 0.25}
    look.settled()
    assert {row["label"].split(";")[0]: row["here"] for row in look.widget.readout}[
        "Sign conflict, pirate with sort"
    ] == "1.03×"


def test_closed_is_closed_and_the_figures_stay(look: Look) -> None:
    with look.widget as widget:
        pass
    widget.close()
    assert repr(widget) == "<Inspector of base, pirate, sort, closed>"
    assert widget.grid("conflict").values.shape == (3, LAYERS)
    assert "Sign conflict" in widget.still()
    for trait, value in (("selection", [1]), ("turned", {"density": 0.5}), ("asked", {"stop": 1, "measure": 0})):
        with pytest.raises(TraitError, match="closed"):
            setattr(widget, trait, value)
    with pytest.raises(InspectionError, match="closed"):
        widget.wait()
    widget.stop()
    widget.measure()


def test_closing_while_it_measures_ends_it() -> None:
    look = Look(held=("changes",))
    look.widget.wait(0.05)
    look.widget.close()
    names = {thread.name for thread in threading.enumerate()} - {"mergelab-trial"}
    assert not [name for name in names if name.startswith("mergelab-")]


def test_a_closed_inspector_can_be_forgotten() -> None:
    look = Look()
    look.settled()
    look.widget.close()
    gone = weakref.ref(look.widget)
    del look
    gc.collect()
    assert gone() is None
