"""The memory of the hand: undo, redo, snapshots and the log, against a model of lists; and in the workbench."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.errors import AssemblyError
from mergelab.recipes.recipe import Part, Recipe, Slice
from mergelab.views import past as module
from mergelab.views.past import Past
from mergelab.weights import Source
from tests.views.stand_in import Bench, blend, run, sketch

FIRST = Recipe("passthrough", (Slice((Part(Source("a"), (0, 4)),)),))


def recipe(seed: int) -> Recipe:
    return replace(FIRST, seed=seed)


@settings(max_examples=80)
@given(st.lists(st.one_of(st.integers(0, 6), st.sampled_from(["undo", "redo"])), max_size=40))
def test_undo_and_redo_are_two_stacks(steps: list[int | str]) -> None:
    """What is at hand is what two stacks give; the log has every recipe that was made, in order."""
    past = Past.of(recipe(0))
    back, now, forth, made = [], recipe(0), [], [recipe(0)]
    for step in steps:
        if isinstance(step, int):
            past = past.turned(recipe(step))
            if recipe(step) != now:
                back, now, forth = [*back, now], recipe(step), []
                made.append(now)
        elif step == "undo" and back:
            past = past.undone()
            back, now, forth = back[:-1], back[-1], [now, *forth]
        elif step == "redo" and forth:
            past = past.redone()
            back, now, forth = [*back, now], forth[0], forth[1:]
        else:
            with pytest.raises(AssemblyError, match=f"there is nothing to {step}"):
                past.undone() if step == "undo" else past.redone()
        told = past.payload({})
        assert (past.now.recipe, told["undo"], told["redo"]) == (now, len(back), len(forth))
        assert [entry.recipe for entry in past.log] == made
        assert [entry["now"] for entry in told["entries"]].count(True) == 1
    assert [entry.turn for entry in past.log] == list(range(1, len(made) + 1))


def test_two_hundred_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 5)
    past = Past.of(recipe(0))
    for seed in range(1, 9):
        past = past.turned(recipe(seed))
    assert [entry.turn for entry in past.log] == [5, 6, 7, 8, 9]
    assert (past.at, past.now.turn) == (4, 9)
    for _ in range(4):
        past = past.undone()
    assert past.now.recipe == recipe(4)
    past = past.turned(recipe(20)).turned(recipe(21))
    assert [entry.turn for entry in past.log] == [7, 8, 9, 10, 11]
    assert past.undone().now.recipe == recipe(20)
    assert past.undone().payload({})["undo"] == 0, "what it came from is forgotten"


def test_words_say_what_an_edit_changed() -> None:
    past = Past.of(recipe(0)).turned(recipe(1)).turned(recipe(2)).undone()
    told = past.payload({recipe(1).fingerprint: {"sums": 0.5}})
    assert (told["undo_words"], told["redo_words"]) == ("with seed: 1", "seed: 1 -> 2")
    assert [entry["scores"] for entry in told["entries"]] == [{}, {"sums": 0.5}, {}]
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_snapshots_are_named_once_and_found_by_name() -> None:
    past = Past.of(recipe(0)).keeping(" best ", recipe(0))
    for name, words in (("best", "there is a snapshot 'best' already"), (" ", "is no name"), ("now", "is no name")):
        with pytest.raises(AssemblyError, match=words):
            past.keeping(name, recipe(1))
    with pytest.raises(AssemblyError, match="Did you mean 'best'"):
        past.looking("bset")
    with pytest.raises(AssemblyError, match="Keep one first"):
        Past.of(recipe(0)).snapshot("best", "show")
    shown = past.turned(recipe(1)).looking("best")
    assert (shown.shown, shown.now.recipe) == (recipe(0), recipe(1))
    assert shown.without("best").shown == recipe(1)
    assert shown.turned(recipe(2)).showing == shown.undone().showing == ""


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.widget.close()


def tell(bench: Bench, **message: object) -> None:
    bench.widget._handle_custom_msg(message, [])


def test_a_hand_makes_one_step_when_it_lets_go(bench: Bench) -> None:
    widget = bench.widget
    for turn in range(1, 6):
        widget.set_state({"sketch": sketch(blend(1, 0, 10, turn / 10)), "_turn": turn, "_held": True})
    assert widget._past["undo"] == 0
    assert bench.preview.asked[-1][0] == widget.recipe, "a draft is asked all the same"
    widget.set_state({"_held": False})
    assert widget._past["undo"] == 1
    tell(bench, type="undo")
    assert widget.sketch == sketch(run(1, 0, 2), run(2, 2, 4), run(1, 4, 10), base=1)
    assert bench.preview.asked[-1][0] == widget.recipe
    tell(bench, type="redo")
    assert widget.sketch == sketch(blend(1, 0, 10, 0.5))
    tell(bench, type="redo")
    assert "there is nothing to redo" in widget.error


def test_an_undo_while_a_hand_holds_loses_nothing(bench: Bench) -> None:
    widget = bench.widget
    widget.set_state({"sketch": sketch(run(1, 0, 10)), "_turn": 1, "_held": True})
    tell(bench, type="undo")
    assert (widget._past["undo"], widget._past["redo"]) == (0, 1)
    tell(bench, type="redo")
    assert widget.sketch == sketch(run(1, 0, 10))


def test_a_snapshot_is_shown_and_put_away_without_an_edit(bench: Bench) -> None:
    widget = bench.widget
    first = widget.sketch
    tell(bench, type="keep", name="one")
    widget.sketch = sketch(run(1, 0, 10))
    tell(bench, type="show", name="one")
    assert (widget.sketch, widget._past["showing"], widget._past["undo"]) == (first, "one", 1)
    assert bench.preview.asked[-1][0] == widget.recipe
    widget.set_state({"selection": [1], "_turn": 1})
    assert widget._past["showing"] == "one", "looking at a layer is no edit"
    tell(bench, type="show", name="")
    assert (widget.sketch, widget._past["showing"], widget._past["undo"]) == (sketch(run(1, 0, 10)), "", 1)
    tell(bench, type="show", name="one")
    tell(bench, type="restore", name="one")
    assert (widget.sketch, widget._past["showing"], widget._past["undo"]) == (first, "", 2)
    tell(bench, type="undo")
    tell(bench, type="show", name="one")
    widget.sketch = sketch(run(2, 0, 3))
    assert (widget._past["showing"], widget._past["undo"]) == ("", 2), "an edit goes on from what is shown"
    tell(bench, type="drop", name="one")
    assert widget._past["snapshots"] == []
    tell(bench, type="show", name="one")
    assert "there is no snapshot 'one'" in widget.error


def test_comments_outlive_undo(bench: Bench) -> None:
    widget = bench.widget
    widget.set_state({"text": widget.text.replace("[2, 4]", "[2, 3]  # short"), "_turn": 1})
    widget.sketch = sketch(run(1, 0, 10))
    widget.undo()
    assert "[2, 3]  # short" in widget.text


def test_the_history_is_a_table(bench: Bench) -> None:
    widget = bench.widget
    widget.sketch = sketch(run(1, 0, 10))
    widget.undo()
    table = widget.history
    assert list(table.columns) == ["recipe", "changed", "now"]
    assert list(table.index) == [1, 2], "as people count"
    assert list(table["now"]) == [True, False]
    assert table["recipe"][1] == widget.recipe.fingerprint


def typed(bench: Bench, text: str, turn: int = 1) -> None:
    bench.widget.set_state({"text": text, "_turn": turn})


@pytest.mark.parametrize("broken", ["a: [", ""])
def test_the_first_undo_takes_back_only_the_text_that_cannot_be_read(bench: Bench, broken: str) -> None:
    widget = bench.widget
    widget.sketch = sketch(run(1, 0, 10))
    text = widget.text
    typed(bench, broken)
    assert (widget._past["undo"], widget._past["undo_words"]) == (2, "text that could not be read")
    tell(bench, type="undo")
    assert (widget.text, widget.sketch, widget._past["undo"]) == (text, sketch(run(1, 0, 10)), 1)
    assert widget._faces.problems == ()
    assert (widget._past["redo"], widget._past["redo_words"]) == (1, "text that could not be read")
    tell(bench, type="redo")
    assert (widget.text, widget._past["undo"], widget._past["redo"]) == (broken, 2, 0)
    assert widget._faces.problems
    tell(bench, type="undo")
    tell(bench, type="undo")
    assert widget.sketch == sketch(run(1, 0, 2), run(2, 2, 4), run(1, 4, 10), base=1)
    assert (widget._past["undo"], widget._past["redo"]) == (0, 1), "the text is gone with what it stood on"


def test_text_that_cannot_be_read_hides_what_could_be_redone_until_it_is_gone(bench: Bench) -> None:
    widget = bench.widget
    widget.sketch = sketch(run(1, 0, 10))
    widget.undo()
    typed(bench, "a: [")
    assert widget._past["redo"] == 0
    with pytest.raises(AssemblyError, match="there is nothing to redo"):
        widget.redo()
    widget.keep("one")
    assert widget.text == "a: [", "to keep what is there is no edit"
    widget.undo()
    assert widget._past["redo"] == 2
    typed(bench, widget.text.replace("[2, 4]", "[2, 3]"), 2)
    assert (widget._past["undo"], widget._past["redo"]) == (1, 0)


def test_any_turn_of_the_history_can_be_gone_back_to_as_a_new_edit(bench: Bench) -> None:
    widget = bench.widget
    first = widget.sketch
    widget.sketch = sketch(run(1, 0, 10))
    widget.sketch = sketch(run(2, 0, 10))
    tell(bench, type="restore", turn=1)
    assert (widget.sketch, widget._past["undo"]) == (first, 3)
    assert [entry["turn"] for entry in widget._past["entries"]] == [1, 2, 3, 4]
    assert widget._past["undo_words"].startswith("turn 1 again: ")
    widget.restore(3)
    assert widget.sketch == sketch(run(2, 0, 10))
    widget.undo()
    assert widget.sketch == first
    with pytest.raises(AssemblyError, match=r"the history has no turn 9. It has turns 1 to 5"):
        widget.restore(9)
    tell(bench, type="restore", turn=0)
    assert "the history has no turn 0" in widget.error
    tell(bench, type="restore", turn="first")
    assert "means nothing" in widget.error


def test_an_edit_of_a_shown_snapshot_says_so_and_leaves_what_was_at_hand(bench: Bench) -> None:
    widget = bench.widget
    widget.keep("best")
    widget.sketch = sketch(run(1, 0, 10))
    widget.show("best")
    widget.sketch = sketch(run(1, 0, 2), run(2, 2, 4))
    assert widget._past["undo_words"] == "from best, in place of turn 2: without reverse 4–9"
    assert [entry["turn"] for entry in widget._past["entries"]] == [1, 2, 3]
    widget.undo()
    assert widget.sketch == sketch(run(1, 0, 10))
    widget.restore("best")
    assert widget._past["undo_words"].startswith("best again: ")
    widget.show("best")
    widget.sketch = sketch(run(2, 0, 10))
    assert not widget._past["undo_words"].startswith("from"), "it is what was at hand already"
