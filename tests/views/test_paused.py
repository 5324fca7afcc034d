"""Several dials set as one edit: one question, about the last state, however the block ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from traitlets import TraitError

from tests.views.stand_in import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.widget.close()


def test_paused_asks_once_for_the_last_state(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    with widget.paused():
        widget.blocks = [[1, 0, 4]]
        widget.coefficient = 0.25
        with widget.paused():
            widget.method = "slerp"
        widget.set_state({"prompt": "copy a b :", "_turn": 7})
        assert len(preview.asked) == 1, "the inner block does not ask, nor does the browser"
    assert preview.asked[1:] == [(widget.recipe, "copy a b :")]
    preview.answer()
    assert widget.answer is not None
    assert widget.answer["made"] == {"blocks": [[1, 0, 4]], "coefficient": [0.25] * 4, "method": "slerp"}
    assert (widget.answer["recipe"], widget._answered) == (widget.recipe.fingerprint, 7)
    with widget.paused():
        widget.coefficient = 0.5
        widget.coefficient = 0.25
    assert len(preview.asked) == 2, "nothing has changed"


def test_a_block_that_raises_leaves_nothing_paused(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview

    def edit() -> None:
        with widget.paused():
            widget.coefficient = 0.25
            widget.method = "lienar"

    with pytest.raises(TraitError, match="Did you mean 'linear'"):
        edit()
    assert preview.asked[1:] == [(widget.recipe, widget.prompt)]
    assert (widget.coefficient, widget.method) == ([0.25] * 10, "linear")
    widget.method = "slerp"
    assert len(preview.asked) == 3


def test_stop_and_close_inside_a_paused_block(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    with widget.paused():
        widget.coefficient = 0.25
        widget.stop()
        assert (preview.stops, widget.status) == (1, "stopped")
    assert preview.asked[1:] == [(widget.recipe, widget.prompt)]
    preview.answer()
    assert widget.status == "done"
    with widget.paused():
        widget.coefficient = 0.5
        widget.close()
    assert len(preview.asked) == 2
