"""What the page shows of seams and problems is there for Python too, as frozen data of the recipe at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace

import pytest

from mergelab.models.events import Measured
from mergelab.views.shown import Figures
from tests.views.stand_in import Bench, run, sketch
from tests.views.test_watch import MIDDLE, STATES, crossing, seamed


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.widget.close()


def test_seams_are_those_of_the_recipe_at_hand(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    assert widget.seams is None, "not measured yet"
    measured = seamed(crossing(2, 2.0 * STATES), crossing(3, 2.0 * STATES), seams=(MIDDLE,))
    found = replace(measured, recipe=widget.recipe.fingerprint)
    preview.tell(Measured(preview.generation, "seams", found))
    shown = widget.seams
    assert shown is not None
    (row,) = widget._seams["seams"]
    (seam,) = shown.seams
    assert (shown.turn, shown.recipe, shown.note) == (1, widget.recipe.fingerprint, "How.")
    assert (seam.at, seam.below, seam.above, seam.off) == (2, "one 1", "other 5", True)
    assert seam.value == Figures(row["norm"], row["cosine"], row["frechet"])
    assert seam.value.norm == pytest.approx(2.0)
    assert (seam.low, seam.high) == (Figures(**row["low"]), Figures(**row["high"]))
    assert seam.sentence == row["sentence"]
    with pytest.raises(FrozenInstanceError):
        seam.off = False  # type: ignore[misc]
    widget.sketch = sketch(run(2, 0, 10))
    assert widget.seams is None, "of an older recipe"
    preview.tell(Measured(preview.generation, "seams", None, "there is too little to read"))
    assert widget.seams is not None
    assert (widget.seams.seams, widget.seams.note) == ((), "there is too little to read")


def test_problems_are_those_of_the_text_or_of_what_comes_before_saving(bench: Bench) -> None:
    widget = bench.looked()
    assert [one.grade for one in widget.problems][-1] == "fine"
    assert all(one.line is None for one in widget.problems)
    widget.set_state({"text": "merge_method: lienar\n", "_turn": 1})
    first = widget.problems[0]
    assert (first.grade, first.line, first.column, first.end) == ("error", 1, 1, 13)
    assert "neither models" in first.what
    with pytest.raises(FrozenInstanceError):
        first.what = ""  # type: ignore[misc]
