"""The Python half of the workbench, with a stand-in for the preview: what is asked, shown, refused and let go."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from traitlets import TraitError

from mergelab import sample
from mergelab.errors import AssemblyError, SourceError
from mergelab.models.answers import Answer, Candidate, Prompt
from mergelab.models.events import Done, Measuring, Next, Shaded, Text
from mergelab.models.shading import Shade
from mergelab.views import asking
from mergelab.views.workbench import Workbench
from mergelab.weights import open_checkpoint
from tests.views.stand_in import Bench, StandIn, blend, run, sketch

GRAFT = sketch(run(1, 0, 2), run(2, 2, 4), run(1, 4, 10), base=1)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.widget.close()


def test_it_begins_with_a_graft_and_a_question(bench: Bench) -> None:
    widget = bench.widget
    assert widget.sketch == GRAFT
    assert widget.text == widget.recipe.to_yaml()
    assert widget.status == "loading"
    assert bench.preview.asked == [(widget.recipe, widget.prompt)]
    assert bench.preview.measures == ["seams", "norms", "scores"]
    assert widget.prompt == widget.prompts[0] == sample.SKILLS["reverse"].prompts(1)[0]
    assert [source["name"] for source in widget._sources] == ["base", "reverse", "pirate"]
    assert [one["grade"] for one in widget._fits] == ["fits"] * 3
    assert widget._blends == [[""] * 3] * 3
    assert widget._kinds == {"attention": "self_attn", "feed_forward": "mlp"}
    assert widget._methods[0]["name"] == "passthrough"
    assert "graft" in [preset["name"] for preset in widget._presets]
    assert [row["name"] for row in widget._scores["rows"]] == ["stories", "reverse", "pirate"]


def test_the_answer_is_exactly_this(bench: Bench) -> None:
    """Every field, no more: figures and texts under their own speakers, costs of the merge, and nothing but JSON."""
    widget, preview = bench.widget, bench.preview
    picture = sketch(run(1, 0, 7), blend(2, 2, 7, [0.25, 0.75]))
    widget.set_state({"sketch": picture, "prompt": "sort: d b", "_turn": 3})
    number, unknown, endless = preview.generation, float("nan"), float("inf")
    table = Answer(
        Prompt("sort: d b"),
        ("merged", "base", "reverse", "pirate"),
        (
            Candidate(5, " b", (0.5, 0.25, unknown, 0.125)),
            Candidate(9, " d", (0.375, 0.0625, 0.75, 1.0)),
        ),
        (0.0, 0.1, unknown, endless),
        (1.1, 1.2, 1.3, unknown),
        (unknown,) * 4,
        (),
    )
    preview.tell(
        preview.merged(17, 93, 0.25, warning="the model is on the CPU now"),
        Next(number, (table,)),
        Shaded(number, 0, (Shade("sort", unknown, (0.5, unknown, 0.25)), Shade(":", 2.5, (0.0, 1.0, endless)))),
        Text(number, "pirate", " arr", done=True),
        Text(number, "merged", " b d", done=True),
        Text(number, "base", " once", done=False),
        Text(number, "base", " once more", done=True),
        Text(number, "reverse", " d b", done=False),
    )
    texts = [" b d", " once more", None, " arr"]
    expected = {
        "prompt": "sort: d b",
        "recipe": widget.recipe.fingerprint,
        "made": picture,
        "redone": 17,
        "steps": 93,
        "seconds": 0.25,
        "warning": "the model is on the CPU now",
        "unsaved": "",
        # Twelve layers, embeddings that are the head as well, and a norm; 4 bytes each. Every source has ten layers.
        "layers": 12,
        "parameters": 12 * 36_992 + 528 * 64 + 64,
        "bytes": 4 * (12 * 36_992 + 528 * 64 + 64),
        "candidates": [
            {"token": " b", "probabilities": [0.5, 0.25, None, 0.125]},
            {"token": " d", "probabilities": [0.375, 0.0625, 0.75, 1.0]},
        ],
        "kl": [0.0, 0.1, None, None],
        "entropy": [1.1, 1.2, 1.3, None],
        "texts": texts,
        "written": [True, True, False, True],
        "shading": [
            {"token": "sort", "loss": None, "kl": [0.5, None, 0.25]},
            {"token": ":", "loss": 2.5, "kl": [0.0, 1.0, None]},
        ],
    }
    assert widget.answer == expected
    assert json.loads(json.dumps(widget.answer, allow_nan=False)) == expected
    assert (widget.status, widget._answered) == ("writing", 3)
    preview.tell(Text(number, "reverse", " d b !", done=True), Measuring(number, "seams"))
    assert widget.status == "measuring"
    preview.tell(Done(number, 0.5))
    texts[2] = " d b !"
    assert widget.answer == {**expected, "texts": texts, "written": [True] * 4}
    assert (widget.status, widget.error, widget._answered) == ("done", "", 3)


def test_the_costs_are_those_of_the_merge(bench: Bench) -> None:
    """A stack deeper than every source, a shallower one, and one as deep."""
    layer, rest = 36_992, 528 * 64 + 64
    donor = open_checkpoint(sample.path("pirate"))
    assert (donor.layers, donor.parameters, donor.bytes) == (10, 10 * layer + rest, 4 * (10 * layer + rest))
    for slices in ([run(2, 0, 10), run(1, 0, 9)], [run(2, 4, 7)], [run(0, 0, 10)]):
        bench.widget.sketch = sketch(*slices)
        bench.preview.answer()
        answer, deep = bench.widget.answer, sum(piece["layers"] for piece in slices)
        assert answer is not None
        assert (answer["layers"], answer["parameters"], answer["bytes"]) == (
            deep,
            deep * layer + rest,
            4 * (deep * layer + rest),
        )


def test_a_stack_that_cannot_be_saved_says_so_beside_its_answer() -> None:
    bench = Bench("base", "stranger")
    differs = "feed-forward size, key/value heads, norm epsilon, rope theta"
    said = f"It cannot be saved as it is: its layers differ in {differs}."
    bench.preview.answer()
    assert (bench.widget.answer["warning"], bench.widget.answer["unsaved"]) == ("", said)
    bench.preview.tell(bench.preview.merged(warning="The model is on the CPU now."), *bench.preview.events()[1:])
    assert bench.widget.answer["warning"] == "The model is on the CPU now."
    assert bench.widget.answer["unsaved"] == said
    bench.widget.set_state({"sketch": sketch(run(0, 0, 10)), "_turn": 1})
    bench.preview.answer()
    assert bench.widget.answer["unsaved"] == ""
    bench.widget.close()


def test_setting_a_trait_asks_again_and_the_same_value_does_not(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    widget.sketch = sketch(run(1, 0, 10))
    widget.sketch = sketch(run(1, 0, 10))
    widget.recipe = widget.recipe
    widget.text = f"# nothing new\n{widget.text}"
    widget.selection = [3]
    widget.prompts = ["copy a b :"]
    widget.prompt = "copy a b :"
    assert len(preview.asked) == 3
    assert preview.asked[-1] == (widget.recipe, "copy a b :")


def test_what_is_asked_already_is_about_the_newest_edit_too(bench: Bench) -> None:
    """An edit that changes nothing that is asked costs no question, and is answered with what is known."""
    widget, preview = bench.widget, bench.preview
    widget.set_state({"selection": [1, 2], "_turn": 1})
    assert (len(preview.asked), widget._answered, widget.status) == (1, 1, "loading")
    preview.answer()
    assert (widget._answered, widget.status) == (1, "done")
    widget.set_state({"selection": [2], "_turn": 2})
    widget.set_state({"sketch": GRAFT, "_turn": 3})
    assert (len(preview.asked), widget._answered, widget.status) == (1, 3, "done")
    preview.tell(Text(preview.generation, "merged", "more", True))
    assert widget._answered == 3


def test_a_message_with_several_edits_is_one_request(bench: Bench) -> None:
    before = len(bench.preview.asked)
    bench.widget.set_state({"sketch": sketch(run(2, 0, 4)), "prompt": "x", "selection": [1], "_turn": 1})
    assert len(bench.preview.asked) == before + 1
    bench.preview.answer()
    assert bench.widget._answered == 1


def test_events_of_an_older_request_are_dropped(bench: Bench) -> None:
    late = bench.preview.events(token=" old")
    bench.widget.sketch = sketch(run(1, 0, 10))
    bench.preview.tell(*late)
    assert bench.widget.answer is None
    bench.preview.answer(token=" new")
    assert bench.widget.answer is not None
    assert bench.widget.answer["candidates"][0]["token"] == " new"


def test_a_failure_is_shown_and_the_next_answer_clears_it(bench: Bench) -> None:
    bench.preview.answer()
    kept = bench.widget.answer
    bench.widget.sketch = sketch(run(1, 0, 10))
    bench.preview.fail("stranger: feed-forward 160 against 128.")
    assert bench.widget.status == "failed"
    assert bench.widget.error == "stranger: feed-forward 160 against 128."
    assert bench.widget.answer == kept, "the picture stays as it was"
    bench.widget.selection = [1]
    assert bench.widget.error == "stranger: feed-forward 160 against 128."
    bench.widget.sketch = sketch(run(2, 0, 10))
    bench.preview.answer()
    assert (bench.widget.status, bench.widget.error) == ("done", "")


def test_an_unexpected_failure_is_shown_and_logged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def burst(*_: object) -> object:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr(asking, "_costs", burst)
    bench.preview.answer()
    assert "ZeroDivisionError('odd')" in bench.widget.error
    assert "showing an answer failed" in caplog.text


def test_streamed_text_is_sent_at_most_fifteen_times_a_second(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    seen: list[str] = []
    bench.widget.observe(lambda change: seen.append(change["new"]["texts"][0]), names=["answer"])
    preview, number = bench.preview, bench.preview.generation
    preview.listener(preview.merged(1, 2, 0.1))
    assert seen == [], "the merge is shown together with the table"
    preview.listener(Next(number, (preview.next_tokens(),)))
    for step in range(100):
        clock[0] += 0.01
        preview.listener(Text(number, "merged", "word " * step, False))
    preview.listener(Text(number, "merged", "the end", True))
    assert 10 <= len(seen) <= 17
    assert seen[-1] == "the end"


def test_texts_stay_until_written_anew_but_not_for_another_prompt(bench: Bench) -> None:
    bench.preview.answer(text="once")
    bench.widget.sketch = sketch(run(1, 0, 10))
    first = bench.preview.events()[:2]
    bench.preview.tell(*first)
    assert bench.widget.answer is not None
    assert bench.widget.answer["texts"][0] == "once of merged"
    assert not any(bench.widget.answer["written"])
    bench.widget.prompt = "another"
    bench.preview.tell(*bench.preview.events()[:2])
    assert bench.widget.answer["texts"] == [None] * 4


def test_an_empty_prompt_waits(bench: Bench) -> None:
    bench.widget.prompt = "   "
    assert (bench.widget.status, bench.widget.error) == ("waiting", "")
    asked = len(bench.preview.asked)
    bench.widget.prompt = "x"
    assert len(bench.preview.asked) == asked + 1
    stops = bench.preview.stops
    bench.widget.prompt = " "
    bench.widget.stop()
    assert (bench.widget.status, bench.preview.stops) == ("waiting", stops + 1)


def test_stop_keeps_what_is_on_screen(bench: Bench) -> None:
    bench.widget._handle_custom_msg({"type": "stop"}, [])
    assert (bench.preview.stops, bench.widget.status) == (1, "stopped")
    bench.widget.sketch = sketch(run(1, 0, 10))
    bench.preview.tell(*bench.preview.events()[:2])
    bench.widget.stop()
    assert bench.widget.status == "done"
    assert bench.widget.answer is not None
    assert all(bench.widget.answer["written"])


def test_what_was_stopped_is_asked_again_only_when_asked_for(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    widget.stop()
    widget.set_state({"selection": [1], "_turn": 1})
    assert (len(preview.asked), widget.status, widget._answered) == (1, "stopped", 1)
    widget._handle_custom_msg({"type": "ask"}, [])
    assert (len(preview.asked), widget.status) == (2, "loading")
    preview.answer(" cow")
    assert widget.answer["candidates"][0]["token"] == " cow"
    widget.stop()
    assert widget.status == "done", "there is nothing left to stop"


def test_stop_while_the_merge_is_in_flight(bench: Bench) -> None:
    """The answer before it stays, and what is still on its way is not heard."""
    widget, preview = bench.widget, bench.preview
    preview.answer(" cat")
    before = widget.answer
    widget.sketch = sketch(run(1, 0, 10))
    assert widget.status == "loading"
    late = preview.events(" dog")
    widget._handle_custom_msg({"type": "stop"}, [])
    assert (preview.stops, widget.status) == (1, "stopped")
    preview.tell(*late)
    assert (widget.status, widget.answer) == ("stopped", before)
    widget.stop()
    assert preview.stops == 1, "there is nothing left to stop"


def test_closing_ends_everything_and_hears_nothing_more() -> None:
    bench = Bench()
    late = bench.preview.events()
    bench.widget.close()
    bench.widget.close()
    assert bench.preview.closed
    bench.preview.tell(*late)
    assert bench.widget.answer is None
    values = {
        "sketch": sketch(run(1, 0, 3)),
        "text": "a: b",
        "recipe": "a: b",
        "prompt": "x",
        "prompts": [],
        "selection": [1],
    }
    for name, value in values.items():
        with pytest.raises(TraitError, match=r"this workbench is closed\. Make a new one"):
            setattr(bench.widget, name, value)
    for verb in (bench.widget.wait, bench.widget.paused().__enter__, bench.widget.undo):
        with pytest.raises(AssemblyError, match="this workbench is closed"):
            verb()
    bench.widget.stop()
    assert repr(bench.widget) == "<Workbench of base, reverse, pirate, closed>"
    assert (len(bench.preview.asked), bench.preview.stops) == (1, 0)
    assert not [one for one in threading.enumerate() if one.name == "mergelab-aside"]


def test_writes_of_the_worker_and_messages_of_the_browser_do_not_mix(bench: Bench) -> None:
    """A hundred messages in while answers go out: the last of each stands."""

    def worker() -> None:
        for _ in range(100):
            for event in bench.preview.events():
                bench.preview.listener(event)

    thread = threading.Thread(target=worker)
    thread.start()
    for turn in range(1, 101):
        state = sketch(blend(1, 0, 10, turn / 100))
        bench.widget.set_state({"sketch": state, "_turn": turn, "_held": turn < 100})
    thread.join()
    bench.preview.answer()
    assert bench.widget._answered == 100
    assert bench.widget.answer is not None
    assert bench.widget.answer["made"] == sketch(blend(1, 0, 10, 1))
    assert bench.widget._past["undo"] == 1, "one hand's edit"


def test_sources_are_named_apart(tmp_path: Path) -> None:
    twin = tmp_path / "base"
    twin.symlink_to(sample.path("base"), target_is_directory=True)
    made = Workbench(sample.path("base"), twin, preview=StandIn)
    assert [source["name"] for source in made._sources] == ["base", "base 2"]
    made.close()
    named = Workbench(sample.path("base"), twin, names=["one", "two"], prompt="hello", preview=StandIn)
    assert ([source["name"] for source in named._sources], named.prompt) == (["one", "two"], "hello")
    named.close()


def test_too_few_too_many_and_missing_sources() -> None:
    with pytest.raises(SourceError, match="0 sources"):
        Workbench(preview=StandIn)
    with pytest.raises(SourceError, match="6 sources"):
        Workbench(*[sample.path("base")] * 6, preview=StandIn)
    with pytest.raises(SourceError, match="no such folder"):
        Workbench("./nowhere", preview=StandIn)
    with pytest.raises(TypeError, match="promt"):
        Workbench(sample.path("base"), promt="x")  # type: ignore[call-arg]


def test_state_is_complete_and_plain_json(bench: Bench) -> None:
    """A page that is loaded again finds everything in the traits."""
    bench.preview.answer()
    widget = bench.settled()
    state = {key: value for key, value in widget.get_state().items() if key not in ("layout", "_esm", "_css")}
    text = json.dumps(state, allow_nan=False)
    assert json.loads(text) == json.loads(json.dumps(state))
    assert {"sketch", "text", "answer", "_past", "_problems", "_exports", "_lines", "_scores", "_seams"} <= state.keys()
    assert [name for name, value in state["_exports"].items() if value is None] == []


def test_one_source_is_enough() -> None:
    bench = Bench("base")
    assert bench.widget.sketch == sketch(run(0, 0, 10))
    bench.widget.close()
