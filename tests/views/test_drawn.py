"""What a figure says of what it was drawn from: by whom, of what, without chance, and of nothing found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mergelab import sample
from mergelab.inspection.grid import Chance
from mergelab.views.choices import check_turn, first_choice
from mergelab.views.figures import figure
from mergelab.views.panels import Drawn, Panel, payload, span
from mergelab.views.sight import draw
from mergelab.views.subjects import subjects
from tests.views.measured import KL, LAYERS, Look, Trace, heat, values_of


def test_another_statistic_is_named_as_on_its_dial(look: Look) -> None:
    look.widget.turned = {"statistic": "q95"}
    look.settled()
    assert look.panel("norms")["of"] == "95 % of tokens lie below"


def test_norms_of_unlike_widths_are_drawn_by_channel() -> None:
    models = subjects([sample.path("base"), sample.path("stranger")], None)
    assert first_choice(models).statistic == "median"
    assert first_choice([models[0], replace(models[1], width=models[0].width + 2)]).statistic == "rms"


@pytest.mark.parametrize(
    ("dial", "choice", "panel", "title", "value"),
    [
        ("conflict", "weighted", "conflict", "Sign conflict by size", 0.5),
        ("conflict", "lost", "conflict", "Change lost in the sum", 0.2),
        ("drift", "scale", "drift", "Loudness", 1.0),
        ("drift", "shape", "drift", "Size of the change", 0.25),
        ("between", "kl", "between", "Distance from the final prediction", 3.0),
        ("between", "cosine", "between", "Same direction", 0.8),
        ("between", "distance", "between", "Relative distance", 0.2),
    ],
)
def test_what_a_figure_shows_is_a_dial(
    look: Look, dial: str, choice: str, panel: str, title: str, value: float
) -> None:
    before = {one: look.panel(one)["title"] for one in look.widget.names}
    tasks = list(look.taken.tasks)
    look.widget.turned = {dial: choice}
    look.settled()
    assert look.taken.tasks == tasks, "it was measured with the rest"
    assert {one: look.panel(one)["title"] for one in look.widget.names} == {**before, panel: title}
    assert look.widget.grid(panel).values[1, 0] == pytest.approx(value)
    assert [one["id"] for one in look.widget.dials["variants"][dial] if one["chosen"]] == [choice]
    told = dict(next(entries for name, entries in look.widget.explain().figures if name.startswith(title)))
    measure = look.widget.grid(panel).measure
    assert (told["shows"], told["formula"]) == (measure.shows, measure.formula)


def test_the_selection_is_told_in_the_measure_that_is_shown(look: Look) -> None:
    look.widget.selection = [3, 4]
    for choice, told in (("signs", "1.07×"), ("weighted", "0.5×"), ("lost", "0.2")):
        look.widget.turned = {"conflict": choice}
        look.settled()
        row = next(row for row in look.widget.readout if row["label"].startswith(look.panel("conflict")["title"] + ","))
        assert row["here"] == told


def test_likeness_to_the_base_has_a_chance_of_its_own_for_every_value(look: Look) -> None:
    look.widget.selection = [3, 4]
    panel = look.panel("between")
    assert (panel["kind"], panel["rows"], panel["columns"][-1]) == ("lines", ["pirate", "sort"], "end")
    assert panel["so"].startswith("20 of 22 values lie clearly above the band")
    rows = [row for row in look.widget.readout if row["label"].startswith("Similarity")]
    assert rows == [
        {"label": f"Similarity of arrangement, {name}", "here": "0.46", "elsewhere": "0.9"}
        for name in ("pirate", "sort")
    ]
    assert figure(look.widget.grid("between"), drawn=Drawn(look.widget.grid("between"), own=True)).data
    look.widget.turned = {"between": "kl"}
    look.settled()
    panel = look.panel("between")
    assert panel["rows"] == ["base", "pirate", "sort"]
    assert (panel["of"], panel["unit"]) == ("to base’s own", "nats")
    assert "clearly below the band" in panel["so"]
    assert (panel["low"], panel["high"]) == (0.0, 3.0)


@pytest.mark.parametrize("kind", ["cka", "cosine", "distance", "kl", "entropy"])
def test_any_two_sources_are_compared(look: Look, kind: str) -> None:
    tasks = list(look.taken.tasks)
    told = {"cka": "at the same layer of {}", "kl": "to {}’s own", "entropy": ""}.get(kind, "against {}")
    for one in ("base", "pirate", "sort"):
        look.widget.turned = {"between": kind, "against": one}
        look.settled()
        panel = look.panel("between")
        assert panel["of"] == told.format(one)
        others = [name for name in ("base", "pirate", "sort") if name != one or kind in ("kl", "entropy")]
        assert panel["rows"] == others
        if kind == "kl":
            assert look.widget.grid("between").row(one)[-1] == 0, "its own prediction"
        assert [dial["id"] for dial in look.widget.dials["against"] if dial["chosen"]] == [one]
    assert look.taken.tasks == tasks, "nothing is measured again"


def test_names_go_before_places() -> None:
    three = Look(names=["a", "2", "0"])
    chosen = {"against": "2", "source": "2"}
    three.widget.turned = chosen
    three.settled()
    assert {name: one["label"] for name in chosen for one in _dial(three, name) if one["chosen"]} == chosen
    for name, place, called in (("against", 2, "0"), ("against", "1", "2"), ("source", 2, "0"), ("source", "1", "2")):
        three.widget.turned = {name: place}
        three.settled()
        assert [one["id"] for one in _dial(three, name) if one["chosen"]] == [called], "the page sends names"
    three.widget.close()
    models = subjects([sample.path("base")] * 4, ["a", "2", "1", "3"])
    for pair, places in (("1-3", (1, 3)), (("1", "3"), (2, 3)), ("1-2", (1, 2)), ((1, "1"), (1, 2))):
        assert check_turn({"pair": pair}, first_choice(models), models, 1).pair == places


def _dial(look: Look, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = look.widget.dials["sources" if name == "source" else name]
    return found


def test_directions_have_their_spread_over_tokens_and_their_chance(look: Look) -> None:
    look.widget.turned = {"between": "cosine", "against": 2}
    look.settled()
    panel = look.panel("between")
    np.testing.assert_allclose(values_of(panel["values"])[:, 0], [0.8, 0.9])
    for end, off in (("low", -0.05), ("high", 0.02)):
        np.testing.assert_allclose(values_of(panel["band"][end])[:, 4], np.array([0.8, 0.9]) + off, rtol=1e-6)
    np.testing.assert_allclose(values_of(panel["chanceband"]["high"]), np.full((2, LAYERS + 1), 0.1), rtol=1e-6)
    assert panel["so"].startswith("every value lies clearly above the band")
    assert panel["columns"][-1] == "end"


def test_sources_of_other_widths_share_no_coordinates() -> None:
    models = subjects([sample.path("base"), sample.path("sort")], None)
    choice = replace(first_choice(models), between="cosine")
    some = draw("between", Trace(("base", "sort", "wide"), ("one",)), choice, models)
    assert some.grid is not None
    assert np.isfinite(some.grid.values).all(1).tolist() == [True, False]
    assert "they share no coordinates" in some.note
    none = draw("between", Trace(("base", "wide"), ("one",)), choice, models)
    assert none.grid is None
    assert "they share no coordinates" in none.note


def test_a_band_of_chance_is_on_the_picture() -> None:
    drawn = Drawn(heat(KL, np.full((3, 4), 0.5), Chance(1.0, 2.6, "guessing")), own=True)
    assert span(drawn) == (0.0, 3.0)
    assert span(replace(drawn, own=False)) == (0.0, 0.5)


def test_a_base_whose_predictions_cannot_be_read_is_said_to_be_so() -> None:
    models = subjects([sample.path("base"), sample.path("sort")], None)
    trace = Trace(("base", "sort"), ("one",), headless="base")
    drawn = draw("between", trace, replace(first_choice(models), between="kl"), models)
    assert drawn.grid is None
    assert drawn.note == "base has no head that could be found: no state can be read as a prediction."


def test_what_is_not_compared_has_no_dial() -> None:
    alone, two = Look("base"), Look("base", "pirate")
    for look, dials in ((alone, ["statistic"]), (two, ["statistic", "drift", "between"])):
        look.settled()
        assert list(look.widget.dials["variants"]) == dials
        look.widget.close()


def test_rounding_of_a_factor_is_told_from_its_middle(look: Look) -> None:
    look.widget.turned = {"drift": "scale"}
    look.settled()
    assert look.panel("drift")["chance"] == "up to 0.002 beside 1× by rounding alone: rounding."


def test_drift_has_no_chance_but_what_rounding_gives(look: Look) -> None:
    panel = look.panel("drift")
    assert (panel["chance"], panel["chanceband"]) == ("up to 0.001 by rounding alone: rounding.", None)
    assert panel["so"] == "largest at after, 3 (0.5), smallest at before, 0 (0); the middle value is 0."
    assert panel["note"] == ""
    look.widget.turned = {"drift": "shape"}
    look.settled()
    assert look.panel("drift")["chance"] == "", "not measured is not made up"


def test_every_figure_says_what_chance_gives(look: Look) -> None:
    """Where no band is measured, in words."""
    said = {one: look.panel(one)["chance"] for one in look.widget.names}
    assert all(said.values())
    assert said["size"] == "about 1.41 for a matrix as long as the base's that knows nothing of it."
    tokens = "nine in ten of all tokens that are no sinks have 0.5 to 2 at layer 0 and 8 to 32 where layer 9 ends."
    assert said["tokens"] == tokens, "of the source that is shown"
    for name in look.widget.names:
        assert look.panel(name)["so"] or look.panel(name)["reading"]
    assert said["tokens"] in look.widget.still()
    assert f"<b>Reading</b> {look.panel('sinks')['reading']}" in look.widget.still()


def test_a_change_as_large_as_the_weights_is_called_so(look: Look) -> None:
    assert look.panel("size")["note"] == ""
    look.widget.turned = {"source": "sort"}
    look.settled()
    assert look.panel("size")["note"] == (
        "sort is no relative of base: the change is as large as the weights themselves. "
        "30\u00a0% of its weights are exactly the base's: rounded away, or frozen."
    )


def test_that_there_are_no_sinks_is_said_of_these_prompts() -> None:
    models = subjects([sample.path("base")], None)
    for prompts, words in ((("one", "two"), "in these 2 prompts."), (("one",), "in this prompt.")):
        drawn = draw("sinks", Trace(("base",), prompts, found=False), first_choice(models), models)
        sent = payload(Panel("sinks", "sinks", "Sinks", "Shows.", drawn=drawn))
        assert sent["shows"] == f"Tokens whose vectors are far longer than the others': none {words}"
