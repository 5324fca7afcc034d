"""What a figure says of what it was drawn from: by whom, of what, without chance, and of nothing found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mergelab import sample
from mergelab.views.choices import first_choice
from mergelab.views.panels import Panel, payload
from mergelab.views.sight import draw
from mergelab.views.subjects import subjects
from tests.views.measured import Look, Trace


@pytest.fixture
def look() -> Iterator[Look]:
    made = Look()
    made.settled()
    yield made
    made.widget.close()


def test_another_statistic_is_named_as_on_its_dial(look: Look) -> None:
    look.widget.turned = {"statistic": "q95"}
    look.settled()
    assert look.panel("norms")["of"] == "95 % of tokens lie below"


def test_norms_of_unlike_widths_are_drawn_by_channel() -> None:
    models = subjects([sample.path("base"), sample.path("stranger")], None)
    assert first_choice(models).statistic == "median"
    assert first_choice([models[0], replace(models[1], width=models[0].width + 2)]).statistic == "rms"


def test_drift_has_no_chance_but_what_rounding_gives(look: Look) -> None:
    panel = look.panel("drift")
    assert (panel["chance"], panel["so"], panel["chanceband"]) == ("", "", None)
    assert panel["note"] == "Rounding alone gives up to 0.001: rounding."


def test_a_change_as_large_as_the_weights_is_called_so(look: Look) -> None:
    assert look.panel("size")["note"] == ""
    look.widget.turned = {"source": "sort"}
    look.settled()
    assert look.panel("size")["note"] == (
        "sort is no relative of base: the change is as large as the weights themselves."
    )


def test_that_there_are_no_sinks_is_said_of_these_prompts() -> None:
    models = subjects([sample.path("base")], None)
    for prompts, words in ((("one", "two"), "in these 2 prompts."), (("one",), "in this prompt.")):
        drawn = draw("sinks", Trace(("base",), prompts, found=False), first_choice(models), models)
        sent = payload(Panel("sinks", "sinks", "Sinks", "Shows.", drawn=drawn))
        assert sent["shows"] == f"Tokens whose vectors are far longer than the others': none {words}"
