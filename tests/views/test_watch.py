"""What is measured while one works reaches the page as plain JSON: ratios, bands, notes; null for what is no number."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.inspection.borders import Seam
from mergelab.inspection.crossings import Crossing
from mergelab.inspection.distance import figures
from mergelab.inspection.grid import Grid, Measure
from mergelab.inspection.seams import Seams
from mergelab.recipes.step import Home
from mergelab.studies.scores import Score, Scorer
from mergelab.studies.scoring import Control, Row, Scores
from mergelab.studies.seaming import Lengths, Seamed
from mergelab.views.watch import no_seams, norms_payload, scores_by_name, scores_payload, seams_payload
from mergelab.weights import Source

ONE, OTHER = Source("models/one"), Source("models/other")
DRAW = np.random.default_rng(0)
STATES = DRAW.standard_normal((60, 6)) + 2.0
GRID = Grid(
    Measure("m", "M", "1", "s", "f", "p"), np.zeros((2, 3)), ("case", "layer"), ("a", "b"), ("0", "1", "2"), "x"
)


def crossing(border: int, arriving: np.ndarray) -> Crossing:
    return Crossing(border, "one 3", "norm", figures(arriving, STATES, (arriving, STATES)))


def seamed(*crossings: Crossing, seams: tuple[Seam, ...]) -> Seamed:
    return Seamed("abcd1234", Seams(seams, {one.border: one for one in crossings}, 60, False, "", GRID), "How.")


MIDDLE = Seam(2, 3, Home(ONE, 1), Home(OTHER, 5))


def plain(value: Any) -> Any:
    """What arrives in the browser."""
    return json.loads(json.dumps(value, allow_nan=False))


def test_a_seam_is_told_as_ratio_cosine_and_distance_with_their_bands() -> None:
    found = seamed(crossing(2, 2.0 * STATES), crossing(3, 2.0 * STATES), seams=(MIDDLE,))
    (row,) = (told := plain(seams_payload(found, 7, {ONE: "Host"})))["seams"]
    assert (told["turn"], told["recipe"], told["note"]) == (7, "abcd1234", "How.")
    assert (row["at"], row["below"], row["above"]) == (2, "Host 1", "other 5")
    assert row["norm"] == pytest.approx(2.0)
    assert row["cosine"] == pytest.approx(1.0)
    average = found.seams.figures(MIDDLE)["average"]
    assert row["frechet"] == average["frechet_read"].value
    for end in ("low", "high"):
        wanted = [math.exp(getattr(average["norm_ratio"], end))]
        wanted += [getattr(average[name], end) for name in ("cosine", "frechet_read")]
        assert list(row[end].values()) == pytest.approx(wanted)
        assert list(row[end]) == ["norm", "cosine", "frechet"]
    assert row["low"]["norm"] < 1 < row["high"]["norm"]
    assert row["off"]
    assert row["sentence"] == found.seams.verdicts()[0]


@pytest.mark.parametrize(
    ("arriving", "grade", "off"),
    [
        (STATES, "Within chance", False),
        (STATES + 0.5 * STATES.std(0), "Slightly shifted", False),
        (STATES + 0.8 * STATES.std(0), "Shifted", True),
        (-STATES, "Another basis", True),
    ],
)
def test_a_seam_is_off_where_more_than_a_slight_shift_is_told(arriving: np.ndarray, grade: str, off: bool) -> None:
    found = seamed(crossing(2, arriving), crossing(3, arriving), seams=(MIDDLE,))
    (row,) = plain(seams_payload(found, 0, {}))["seams"]
    assert row["sentence"].partition(":")[0] == grade
    assert row["off"] == off


def test_ends_of_the_stack_have_names_and_what_was_not_reached_is_null() -> None:
    bottom, top = Seam(0, 2, None, Home(ONE, 2)), Seam(3, 3, Home(ONE, 4), None)
    found = seamed(crossing(3, STATES), seams=(bottom, top))
    first, last = plain(seams_payload(found, 0, {ONE: "A", OTHER: "B"}))["seams"]
    assert (first["below"], first["above"], last["below"], last["above"]) == ("embeddings", "A 2", "A 4", "final norm")
    assert first["norm"] is first["cosine"] is first["frechet"] is None
    assert first["low"] == first["high"] == {"norm": None, "cosine": None, "frechet": None}
    assert not first["off"]
    assert first["sentence"].startswith("Not measured")
    assert last["norm"] == pytest.approx(1.0)


def test_what_cannot_be_measured_says_why() -> None:
    told = plain(no_seams("abcd1234", 3, "Too short."))
    assert told == {"turn": 3, "recipe": "abcd1234", "seams": [], "note": "Too short."}


NUMBER = st.floats(allow_nan=True, allow_infinity=True)
SCORE = st.none() | st.builds(Score, NUMBER, NUMBER, st.just("u"), st.integers(0, 9), st.sampled_from(["", "9 tokens"]))


def scorer(name: str) -> Scorer:
    return Scorer(name, "u", "lower", lambda _model, _stop: Score(0.0))


@given(st.lists(st.tuples(SCORE, st.lists(SCORE, max_size=3)), max_size=3), NUMBER)
def test_scores_are_plain_json_whatever_they_are(
    rows: list[tuple[Score | None, list[Score | None]]], past: float
) -> None:
    told = tuple(
        Row(scorer(str(place)), merged, tuple(Control(f"c{n}", "what", one) for n, one in enumerate(controls)))
        for place, (merged, controls) in enumerate(rows)
    )
    scores = Scores("abcd1234", told, done=True)
    scorers = [row.scorer for row in told] + [scorer("later")]
    found = plain(scores_payload(scorers, scores, {"0": [(3, past)]}))
    assert [row["name"] for row in found["rows"]] == [one.name for one in scorers]
    for row, (merged, controls) in zip(found["rows"], rows, strict=False):
        wanted = merged.value if merged and math.isfinite(merged.value) else None
        assert row["value"] == wanted
        assert [one["value"] for one in row["controls"]] == [
            one.value if one and math.isfinite(one.value) else None for one in controls
        ]
        known = [one is not None and merged is not None and one.basis != merged.basis for one in controls]
        assert ["do not compare" in one["note"] for one in row["controls"]] == known
        assert row["past"] == ([[3, past if math.isfinite(past) else None]] if row["name"] == "0" else [])
    last = found["rows"][-1]
    assert (last["value"], last["spread"], last["controls"], last["why"]) == (None, None, [], "")
    assert scores_by_name(scores) == {str(n): merged for n, (merged, _) in enumerate(rows) if merged}


def test_scores_before_the_first_and_mistakes_are_told() -> None:
    found = plain(scores_payload([scorer("a")], None, {}))
    assert (found["recipe"], found["done"], len(found["rows"])) == (None, False, 1)
    assert {"name": "a", "unit": "u", "better": "lower"}.items() <= found["rows"][0].items()
    assert scores_by_name(None) == {}
    wrong = Score(math.nan, unit="u", problem="ValueError: no")
    controls = (Control("base", "base alone", wrong), Control("skip", "nothing is left", None))
    scores = Scores("abcd1234", (Row(scorer("a"), wrong, controls),), done=False)
    (row,) = plain(scores_payload([scorer("a")], scores, {}))["rows"]
    assert row["why"] == "ValueError: no"
    assert [one["note"] for one in row["controls"]] == ["base alone; ValueError: no", "nothing is left"]


def test_norms_are_told_by_source() -> None:
    assert plain(norms_payload(Lengths({"a": (1.5, math.nan)}, "Read."))) == {"a": [1.5, None]}
