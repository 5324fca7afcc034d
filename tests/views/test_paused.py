"""Several edits made as one: one question and one step of undo, about the last state, however the block ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from traitlets import TraitError

from tests.views.stand_in import Bench, blend, run, sketch


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.widget.close()


def test_paused_asks_once_for_the_last_state(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    with widget.paused():
        widget.sketch = sketch(run(1, 0, 4))
        with widget.paused():
            widget.text = widget.text.replace("[0, 4]", "[0, 3]")
        widget.set_state({"prompt": "copy a b :", "_turn": 7})
        assert len(preview.asked) == 1, "the inner block does not ask, nor does the browser"
        assert widget.recipe.slices[0].parts[0].layers == (0, 3), "the faces go with each edit"
    assert preview.asked[1:] == [(widget.recipe, "copy a b :")]
    assert widget._past["undo"] == 1
    preview.answer()
    assert widget.answer is not None
    assert widget.answer["made"] == sketch(run(1, 0, 3))
    assert (widget.answer["recipe"], widget._answered) == (widget.recipe.fingerprint, 7)
    with widget.paused():
        widget.sketch = sketch(run(2, 0, 3))
        widget.sketch = sketch(run(1, 0, 3))
    assert (len(preview.asked), widget._past["undo"]) == (2, 1), "nothing has changed"


def test_a_block_that_raises_leaves_nothing_paused(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview

    def edit() -> None:
        with widget.paused():
            widget.sketch = sketch(blend(1, 0, 10))
            widget.recipe = "merge_method: lienar\n"

    with pytest.raises(TraitError, match="Did you mean 'linear'"):
        edit()
    assert preview.asked[1:] == [(widget.recipe, widget.prompt)]
    assert widget.sketch == sketch(blend(1, 0, 10))
    widget.sketch = sketch(run(1, 0, 10))
    assert len(preview.asked) == 3


def test_stop_undo_and_close_inside_a_paused_block(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    with widget.paused():
        widget.sketch = sketch(run(1, 0, 10))
        widget.stop()
        assert (preview.stops, widget.status) == (1, "stopped")
    assert preview.asked[1:] == [(widget.recipe, widget.prompt)]
    preview.answer()
    assert widget.status == "done"
    with widget.paused():
        widget.sketch = sketch(run(2, 0, 10))
        widget.undo()
    assert (widget.sketch, len(preview.asked)) == (sketch(run(1, 0, 10)), 2)
    with widget.paused():
        widget.sketch = sketch(run(2, 0, 10))
        widget.close()
    assert len(preview.asked) == 2
