"""What measures find, as the workbench's traits: seams, norms, scores with their past; from a real preview, once."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from mergelab import sample
from mergelab.models.events import Done, Measured
from mergelab.studies.scores import Score, Scorer
from mergelab.studies.scoring import Control, Row, Scores
from mergelab.studies.seaming import Lengths
from mergelab.views.workbench import Workbench
from tests.views.stand_in import Bench, run, sketch

SCORER = Scorer("sums", "%", "higher", lambda _model, _stop: Score(1.0))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(scorers=[SCORER])
    yield made
    made.widget.close()


def scored(bench: Bench, value: float, *, done: bool = True) -> Measured:
    row = Row(
        SCORER, Score(value, 2.0, "%"), (Control("base", "base alone", Score(7.0)), Control("skip", "none", None))
    )
    fingerprint = bench.preview.asked[-1][0].fingerprint
    return Measured(bench.preview.generation, "scores", Scores(fingerprint, (row,), done))


def test_scores_have_controls_and_a_past(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    assert widget._scores["rows"][0]["value"] is None
    assert widget.scores == {}
    first = widget.recipe.fingerprint
    preview.tell(scored(bench, 40.0))
    widget.sketch = sketch(run(1, 0, 10))
    assert (widget._scores["recipe"], widget._scores["rows"][0]["past"]) == (first, [[1, 40.0]]), "stale, and says so"
    preview.tell(scored(bench, 62.0, done=False))
    (row,) = widget._scores["rows"]
    assert (row["value"], row["spread"], row["past"]) == (62.0, 2.0, [[1, 40.0], [2, 62.0]])
    assert [(control["name"], control["value"]) for control in row["controls"]] == [("base", 7.0), ("skip", None)]
    assert (widget._scores["recipe"], widget._scores["done"]) == (widget.recipe.fingerprint, False)
    assert widget.scores["sums"].value == 62.0
    assert [entry["scores"] for entry in widget._past["entries"]] == [{"sums": 40.0}, {"sums": 62.0}]
    assert list(widget.history["sums"]) == [40.0, 62.0]
    preview.tell(scored(bench, float("nan")))
    assert widget._scores["rows"][0]["value"] is None
    json.dumps(widget.get_state(["_scores", "_past"]), allow_nan=False)


def test_figures_of_a_draft_have_the_turn_it_is_going_to_be(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    widget.set_state({"sketch": sketch(run(1, 0, 10)), "_turn": 1, "_held": True})
    preview.tell(Measured(preview.generation, "seams", None, "there is too little to read"))
    assert widget._seams == {
        "turn": 2,
        "recipe": widget.recipe.fingerprint,
        "seams": [],
        "note": "there is too little to read",
    }
    preview.tell(
        Measured(preview.generation, "scores", None, "odd"), Measured(preview.generation, "norms", None, "odd")
    )
    assert widget._scores["recipe"] is None


def test_norms_are_told_with_the_sources(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    assert widget._sources[1]["norms"] == [None] * 10
    norms = {name: tuple(float(index) for index in range(10)) for name in ("base", "reverse", "pirate")}
    preview.tell(Measured(preview.generation, "norms", Lengths(norms, "")), Done(preview.generation, 0.1))
    assert widget._sources[1]["norms"] == [float(index) for index in range(10)]
    widget.add(sample.path("sort"))
    assert [source["norms"][1] for source in widget._sources] == [1.0, 1.0, 1.0, None]


def test_a_real_one_answers_and_measures() -> None:
    """From the first question to the last figure, and all of it belongs to the recipe at hand."""
    members = [sample.path(name) for name in ("base", "pirate")]
    bench = Workbench(*members, scorers={"layers": lambda model: model.model.config.num_hidden_layers})
    try:
        bench.sketch = sketch(run(0, 0, 10), run(1, 8, 10))
        assert bench.wait(120)
        assert (bench.status, bench.error) == ("done", "")
        assert bench.answer["recipe"] == bench.recipe.fingerprint == bench._seams["recipe"] == bench._scores["recipe"]
        assert [(seam["at"], seam["below"], seam["above"]) for seam in bench._seams["seams"]] == [
            (10, "base 9", "pirate 8")
        ]
        assert bench._seams["seams"][0]["norm"] > 0
        assert bench._seams["turn"] == 2
        assert all(norm > 0 for source in bench._sources for norm in source["norms"])
        assert bench.scores["layers"].value == 12
        assert len(bench.answer["shading"]) > 2
        json.dumps({key: bench.get_state()[key] for key in ("answer", "_seams", "_scores", "_past", "_sources")})
    finally:
        bench.close()
