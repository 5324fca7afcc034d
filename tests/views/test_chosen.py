"""What an edit leaves standing: the layers that are chosen, locks, and what was said before saving."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.views.stand_in import Bench, run, sketch


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.widget.close()


def test_selection_keeps_to_the_stack(bench: Bench) -> None:
    widget = bench.widget
    widget.set_state({"selection": [9, 1, 3], "_turn": 1})
    assert widget.selection == [1, 3, 9]
    widget.set_state({"sketch": sketch(run(1, 0, 3)), "_turn": 2})
    assert widget.selection == [1]


def test_layers_stay_chosen_only_while_they_are_the_same_layers(bench: Bench) -> None:
    """The begun stack is reverse 0 and 1, pirate 2 and 3, reverse 4 to 9."""
    widget = bench.widget
    first, text = widget.recipe, widget.text

    def choose(*layers: int) -> None:
        widget.set_state({"selection": [*layers], "_turn": widget._turn + 1})

    choose(0, 1)
    widget.lay("graft", {"host": 1, "donor": 2, "first": 5, "last": 6})
    assert widget.selection == [0, 1], "reverse 0 and 1, as they were"
    choose(5)
    widget.undo()
    assert widget.selection == [], "pirate 5 it was, and is reverse 5 now"
    choose(2)
    widget.set_state({"text": text.replace("[2, 4]", "[3, 5]"), "_turn": widget._turn + 1})
    assert widget.selection == []
    choose(2)
    widget.set_state({"text": "a: [", "_turn": widget._turn + 1})
    assert widget.selection == [2], "the picture stays"
    widget.recipe = first.to_yaml().replace("[4, 10]", "[4, 5]")
    choose(2, 4)
    widget._handle_custom_msg({"type": "preset", "name": "skip", "numbers": {"model": 1, "first": 2, "last": 9}}, [])
    assert widget.selection == []
    choose(1)
    widget.set_state({"sketch": sketch(run(2, 0, 10)), "_turn": widget._turn + 1})
    assert widget.selection == [1], "a hand that gives a layer to another source keeps it chosen"
    with widget.paused():
        widget.selection = [1]
        widget.recipe = first
        widget.selection = [1, 2]
    assert widget.selection == [1, 2], "chosen in the same edit"
    longer = sketch(run(1, 0, 10), run(2, 0, 10))
    widget.set_state({"sketch": longer, "selection": [12, 13], "_turn": widget._turn + 1})
    assert widget.selection == [12, 13]
    widget.recipe = widget.text.replace("[0, 10]", "[0, 9]")
    assert widget.selection == []


def test_what_is_told_before_saving_is_of_the_text_that_stands_there(bench: Bench) -> None:
    widget, text = bench.looked(), bench.widget.text
    told = widget._problems
    assert told
    widget.set_state({"text": f"{text}\na: [", "_turn": 1})
    assert [row["grade"] for row in bench.looked()._problems] == ["error"], "nothing of the recipe before"
    widget.set_state({"text": text, "_turn": 2})
    assert bench.looked()._problems == told


def test_locks_and_a_copied_curve_are_kept_for_the_next_view_and_are_no_edits(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    preview.answer()
    recipe, asked = widget.recipe, len(preview.asked)
    copied = {"values": {kind: [0, 1] for kind in ("attention", "feed_forward", "rest")}, "words": "weight of a 0-3"}
    widget.set_state({"_locks": ["1.0 weight"], "_copied": copied})
    state = widget.get_state(["_locks", "_copied", "_past", "status"])
    assert (state["_locks"], state["_copied"]) == (["1.0 weight"], copied)
    assert (widget.recipe, len(preview.asked), state["_past"]["undo"], state["status"]) == (recipe, asked, 0, "done")
    for wrong in ({"_locks": [3]}, {"_copied": [1]}):
        widget.set_state(wrong)
        assert widget.error
        state = widget.get_state(["_locks", "_copied"])
        assert (state["_locks"], state["_copied"]) == (["1.0 weight"], copied), wrong
