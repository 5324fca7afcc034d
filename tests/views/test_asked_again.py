"""What is asked again, and what is no longer shown: after a stop, with other prompts, under which turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mergelab import sample
from mergelab.errors import SourceError
from mergelab.models.events import Done, Measured, Measuring, Next, Text
from mergelab.studies.scores import Score, Scorer
from mergelab.studies.scoring import Row, Scores
from mergelab.studies.seaming import Lengths
from mergelab.views import asking
from mergelab.views.exports import as_json
from mergelab.views.workbench import Workbench
from tests.views.stand_in import Bench, run, sketch

NAMES = ("base", "reverse", "pirate")


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.widget.close()


def begun(bench: Bench, *events: Any) -> None:
    """The newest request's figures, and some more."""
    preview = bench.preview
    preview.tell(preview.merged(), Next(preview.generation, (preview.next_tokens(),)), *events)


def test_a_stop_leaves_only_what_was_written_for_this_recipe(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSE", 0)
    widget, preview = bench.widget, bench.preview
    preview.answer(text="old")
    widget.set_state({"sketch": sketch(run(1, 0, 2)), "_turn": 1})
    begun(bench, Text(preview.generation, "base", " new", done=False))
    assert widget.answer["texts"] == ["old of merged", " new", "old of reverse", "old of pirate"], "until written anew"
    assert widget.answer["written"] == [False] * 4
    widget.stop()
    assert widget.answer["texts"] == [None, " new", None, None]
    assert (widget.answer["written"], widget.status) == ([True] * 4, "done")
    assert widget.answer["recipe"] == widget.recipe.fingerprint


def measured(bench: Bench) -> None:
    number = bench.preview.generation
    norms = Lengths(dict.fromkeys(NAMES, (1.0,) * 10), "")
    bench.preview.tell(
        Measuring(number, "seams"),
        Measured(number, "seams", None, "there is none"),
        Measured(number, "norms", norms),
        Done(number, 0.1),
    )


def test_other_prompts_are_measured_anew_and_answered_no_second_time(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    begun(bench, *(Text(preview.generation, name, " so", done=True) for name in ("merged", *NAMES)))
    measured(bench)
    before, old = widget.answer, preview.generation
    widget.set_state({"prompts": [widget.prompt, "something else to read"], "_turn": 1})
    assert (len(preview.asked), preview.only_measures) == (2, True)
    assert preview.asked[1] == preview.asked[0]
    assert (widget._seams, widget._sources[1]["norms"]) == (None, [None] * 10), "those were of other texts"
    assert (widget.status, widget._answered, widget.answer) == ("measuring", 1, before)
    preview.tell(Measured(old, "seams", None, "of old texts"))
    assert widget._seams is None
    measured(bench)
    assert (widget.status, widget.answer) == ("done", before)
    assert widget._seams["note"] == "there is none"
    assert widget._sources[1]["norms"] == [1.0] * 10
    widget.prompts = list(widget.prompts)
    assert len(preview.asked) == 2


def test_other_prompts_while_texts_are_written_are_those_that_will_be_read(bench: Bench) -> None:
    begun(bench)
    bench.widget.prompts = ["something else to read"]
    assert len(bench.preview.asked) == 1
    assert bench.widget.status == "writing"
    bench.preview.answer()
    assert bench.widget.status == "done"


def test_who_is_waited_for_is_told(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    row = Row(Scorer("slow", "", "higher", lambda *_: Score(1.0)), None, ())
    recipe = widget.recipe.fingerprint
    begun(bench, Measured(preview.generation, "scores", Scores(recipe, (row,), done=False, waiting="slow")))
    assert widget.status == "measuring: slow"
    preview.tell(Measured(preview.generation, "scores", Scores(recipe, (row,), done=False)))
    assert widget.status == "measuring"


def test_a_shown_snapshot_is_asked_as_the_turn_it_was_made_at(bench: Bench) -> None:
    widget = bench.widget

    def asked() -> int:
        preview = bench.preview
        preview.tell(Measured(preview.generation, "seams", None, "none"))
        return int(widget._seams["turn"])

    widget.sketch = sketch(run(1, 0, 3))
    widget.keep("short")
    widget.sketch = sketch(run(1, 0, 5))
    assert asked() == 3
    widget.show("short")
    assert asked() == 2
    widget.show("")
    widget.undo()
    assert asked() == 2
    widget.set_state({"sketch": sketch(run(1, 0, 9)), "_turn": 1, "_held": True})
    assert asked() == 4, "what it is going to be: turn 3 is in the history"
    widget.set_state({"_held": False})
    assert [entry["turn"] for entry in widget._past["entries"] if entry["now"]] == [4]


def test_what_is_asked_while_a_hand_is_at_it_is_a_draft(bench: Bench) -> None:
    bench.widget.set_state({"sketch": sketch(run(1, 0, 3)), "_turn": 1, "_held": True})
    assert (len(bench.preview.asked), bench.preview.draft) == (2, True)
    bench.widget.set_state({"sketch": sketch(run(1, 0, 5)), "_turn": 2, "_held": False})
    assert (len(bench.preview.asked), bench.preview.draft) == (3, False)
    bench.widget.set_state({"sketch": sketch(run(1, 0, 6)), "_turn": 3, "_held": True})
    assert bench.preview.draft
    bench.widget.set_state({"_held": False})
    assert (len(bench.preview.asked), bench.preview.draft) == (4, False), "it lets go where it was asked last"


def test_a_comment_is_an_edit(bench: Bench) -> None:
    widget = bench.widget
    plain = widget.text
    widget.text = f"# by\n{plain}"
    widget.text = f"# by ear\n{plain}"
    assert (widget._past["undo"], widget._past["undo_words"]) == (1, "comments"), "one step, however long it is typed"
    assert len(bench.preview.asked) == 1, "it merges nothing else"
    widget.keep("told")
    widget.sketch = sketch(run(1, 0, 10))
    widget.undo()
    assert "# by ear" in widget.text
    widget.undo()
    assert widget.text == plain
    widget.redo()
    assert "# by ear" in widget.text
    widget.undo()
    widget.show("told")
    assert "# by ear" in widget.text
    widget.text = plain
    assert widget._past["undo"] == 0, "that is what was at hand"


def test_the_same_model_twice_is_refused() -> None:
    pirate = sample.path("pirate")
    with pytest.raises(SourceError, match="is a source already"):
        Bench("base", "pirate", "pirate")
    bench = Bench("base", "pirate")
    with pytest.raises(SourceError, match="is a source already"):
        bench.widget.add(str(pirate))
    text = as_json(bench.widget.recipe, bench.widget._faces.guests)
    with pytest.raises(SourceError, match="is a source already"):
        Workbench(text.replace(str(sample.path("base")), str(pirate)))
    bench.widget.close()


def test_what_was_looked_at_too_late_is_not_told(bench: Bench) -> None:
    widget = bench.settled()
    old = widget._faces
    widget.sketch = sketch(run(1, 0, 9), run(1, 0, 9))
    told = (bench.settled()._exports, widget._problems)
    widget._looking._look(old)
    assert (widget._exports, widget._problems) == told
    assert str(sample.path("pirate")) not in told[0]["mergekit"], "which is of the newest"
