"""Three faces of one recipe in the workbench: each edit moves the others, is taken whole, or is refused in words."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from traitlets import TraitError

from mergelab import sample
from mergelab.errors import FitError
from mergelab.recipes.presets import graft, repeat
from mergelab.recipes.recipe import Recipe
from mergelab.views import looking
from mergelab.views.sketch import recipe_of, sketch_of
from mergelab.views.workbench import Workbench
from tests.views.stand_in import Bench, StandIn, blend, run, sketch


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.widget.close()


def in_step(bench: Bench) -> None:
    """Whatever was edited: three faces of one recipe, and that one is asked."""
    widget = bench.widget
    assert widget.sketch == sketch_of(widget.recipe, widget._faces.guests)
    assert Recipe.load(widget.text) == widget.recipe
    assert widget._problems[:1] == [] or widget._problems[0]["line"] is None
    assert bench.preview.asked[-1][0] == widget.recipe


def test_each_face_moves_the_others(bench: Bench) -> None:
    widget = bench.widget
    widget.sketch = sketch(run(1, 0, 4), blend(2, 4, 10, [0.25, 0.5]))
    assert widget.recipe == recipe_of(widget.sketch, widget._faces.guests)
    assert "value" not in widget.text
    assert "weight: [0.25, 0.5]" in widget.text
    in_step(bench)
    widget.text = widget.text.replace("[0.25, 0.5]", "0.75  # by ear")
    assert widget.sketch == sketch(run(1, 0, 4), blend(2, 4, 10, 0.75))
    assert "# by ear" in widget.text
    in_step(bench)
    widget.recipe = repeat(sample.path("pirate"), (2, 4))
    assert widget.sketch == sketch(run(2, 0, 4), run(2, 2, 4), run(2, 4, 10), base=2)
    in_step(bench)
    widget.recipe = widget.text.replace("[2, 4]", "[3, 4]")
    assert widget.sketch["slices"][1]["layers"] == 1
    in_step(bench)


def test_observers_hear_of_edits_from_anywhere(bench: Bench) -> None:
    widget = bench.widget
    heard: list[Recipe] = []
    widget.observe(lambda change: heard.append(change["new"]), names=["recipe"])
    widget.set_state({"sketch": sketch(run(2, 0, 10)), "_turn": 1})
    widget.set_state({"text": widget.text.replace("[0, 10]", "[0, 9]"), "_turn": 2})
    widget.undo()
    assert [[part.layers for piece in one.slices for part in piece.parts] for one in heard] == [
        [(0, 10)],
        [(0, 9)],
        [(0, 10)],
    ]
    assert heard[-1] == widget.recipe


def test_an_observer_may_edit_again(bench: Bench) -> None:
    """Who hears of an edit makes another one: that is the last, everywhere."""
    widget = bench.widget

    def shorten(change: dict[str, Any]) -> None:
        if widget._faces.layers > 5:
            widget.sketch = sketch(run(1, 0, 5))

    widget.observe(shorten, names=["recipe"])
    widget.set_state({"sketch": sketch(run(2, 0, 10)), "_turn": 1})
    assert widget.sketch == sketch(run(1, 0, 5))
    in_step(bench)


def test_what_is_changed_in_a_copy_and_set_is_an_edit(bench: Bench) -> None:
    widget = bench.widget
    picture = widget.sketch
    picture["slices"].pop()
    assert widget.sketch != picture
    widget.sketch = picture
    assert widget.sketch == picture == sketch(run(1, 0, 2), run(2, 2, 4), base=1)
    in_step(bench)
    chosen = widget.selection
    chosen.append(1)
    widget.selection = chosen
    assert widget.selection == [1]


def test_numpy_is_taken(bench: Bench) -> None:
    widget = bench.widget
    widget.sketch = sketch(blend(1, 0, 10, np.linspace(0, 1, 10)))
    weight = widget.sketch["slices"][0]["parts"][1]["numbers"]["weight"]
    assert weight == [[None, np.linspace(0, 1, 10).tolist()]]
    widget.selection = np.array([3, 1, 1])
    assert widget.selection == [1, 3]
    json.dumps(widget.get_state(["sketch", "selection"]), allow_nan=False)


WRONG = [
    ("sketch", sketch(run(0, 0, 99)), "its layers are 0 to 9"),
    ("sketch", sketch(), "slices"),
    ("sketch", "a picture", "sketch"),
    ("recipe", "merge_method: lienar\n", "Did you mean 'linear'?"),
    ("recipe", 3, "a int is no recipe"),
    ("selection", [-1], "whole numbers from 0"),
    ("selection", [True], "whole numbers from 0"),
    ("selection", [2, 10, 99], "10, 99 are no output layers of this stack. It has 0 to 9."),
    ("prompts", "one", "is not a list of texts"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_wrong_values_are_refused_in_words(bench: Bench, name: str, value: object, words: str) -> None:
    widget = bench.widget
    before = widget.get_state(["sketch", "text", "selection", "prompts"])
    with pytest.raises(TraitError) as caught:
        setattr(widget, name, value)
    assert words in str(caught.value)
    assert widget.get_state(["sketch", "text", "selection", "prompts"]) == before
    in_step(bench)


def test_a_refused_message_is_put_back_and_counted(bench: Bench) -> None:
    """The whole message is refused; that it came, and that the hand let go, is known. The next edit clears it."""
    widget, preview = bench.widget, bench.preview
    preview.answer()
    before = widget.get_state(["sketch", "text", "selection"])
    sent: list[Any] = []
    widget.send_state = lambda key=None: sent.append(key)  # type: ignore[method-assign]
    widget.set_state({"_held": True, "_turn": 1})
    widget.set_state({"selection": [2], "sketch": sketch(run(0, 3, 99)), "_turn": 2, "_held": False})
    assert widget.get_state(["sketch", "text", "selection"]) == before
    assert "its layers are 0 to 9" in widget.error
    assert (widget._turn, widget._answered, widget._held, widget.status) == (2, 2, False, "done")
    assert any(isinstance(keys, list) and {"selection", "sketch"} <= {*keys} for keys in sent), "put back"
    assert len(preview.asked) == 1
    preview.tell(*preview.events())
    assert "its layers are 0 to 9" in widget.error, "what comes in does not hide why"
    widget.set_state({"selection": [2], "_turn": 3})
    assert (widget.error, widget.selection) == ("", [2])


def test_a_refused_message_does_not_touch_what_is_typed(bench: Bench) -> None:
    widget = bench.widget
    widget.set_state({"text": "merge_method: ties\nmodels: [", "_turn": 1})
    widget.set_state({"sketch": sketch(run(7, 0, 1)), "_turn": 2})
    assert widget.text == "merge_method: ties\nmodels: ["
    assert "there is no source 7" in widget.error
    assert widget._problems[0]["line"] == 2


def test_an_unreadable_text_stays_and_the_picture_keeps_the_last_one(bench: Bench) -> None:
    widget, preview = bench.widget, bench.preview
    before, asked = widget.recipe, len(preview.asked)
    typed = widget.text.replace("passthrough", "passthruogh").replace("sources", "suorces", 1)
    widget.set_state({"text": typed, "_turn": 1})
    assert (widget.text, widget.recipe, widget.error, widget._lines) == (typed, before, "", [])
    assert (len(preview.asked), widget._answered) == (asked, 1)
    lines = typed.splitlines()
    fixes = [row for row in widget._problems if row["fix"]]
    assert [row["fix"] for row in fixes] == ["passthrough", "sources"]
    for row in fixes:  # as the page does: from the last, so that places stay what they are
        line = lines[row["line"] - 1]
        lines[row["line"] - 1] = line[: row["column"] - 1] + row["fix"] + line[row["end"] - 1 :]
    widget.set_state({"text": "\n".join(lines) + "\n", "_turn": 2})
    assert (widget.recipe, widget._faces.problems) == (before, ())
    assert widget._past["undo"] == 0, "it says what it said before"


def test_a_message_with_picture_and_unreadable_text_keeps_both(bench: Bench) -> None:
    widget = bench.widget
    widget.set_state({"sketch": sketch(run(2, 0, 4)), "text": "a: [", "_turn": 1})
    assert (widget.sketch, widget.text) == (sketch(run(2, 0, 4)), "a: [")
    assert bench.preview.asked[-1][0] == widget.recipe


def test_a_text_that_names_a_model_opens_it(bench: Bench) -> None:
    widget, first = bench.widget, bench.preview
    arithmetic = str(sample.path("arithmetic"))
    widget.set_state({"text": widget.text.replace(str(sample.path("pirate")), arithmetic), "_turn": 1})
    assert [source["name"] for source in widget._sources] == ["base", "reverse", "pirate", "arithmetic"]
    assert widget.sketch == sketch(run(1, 0, 2), run(3, 2, 4), run(1, 4, 10), base=1)
    assert len(widget._fits) == len(widget._blends) == 4
    assert bench.preview is not first
    assert bench.preview.names == ["base", "reverse", "pirate", "arithmetic"]
    assert bench.settled()._closed is False
    assert first.closed
    in_step(bench)
    late = first.events(" late")
    first.tell(*late)
    assert widget.answer is None, "the preview before is not heard any more"
    widget.undo()
    assert widget.sketch == sketch(run(1, 0, 2), run(2, 2, 4), run(1, 4, 10), base=1)
    assert len(widget._sources) == 4


@pytest.mark.parametrize(
    ("name", "words"),
    [("./nowhere", "there is no such folder"), ("org/model", "is no folder here")],
)
def test_a_model_that_is_not_here_is_a_problem_at_its_line(bench: Bench, name: str, words: str) -> None:
    """Nothing is fetched because a name is being typed."""
    widget = bench.widget
    typed = widget.text.replace(str(sample.path("pirate")), name)
    widget.set_state({"text": typed, "_turn": 1})
    problem = widget._problems[0]
    assert words in problem["what"]
    line = typed.splitlines()[problem["line"] - 1]
    assert line[problem["column"] - 1 : problem["end"] - 1] in name
    assert len(widget._sources) == 3


def test_there_is_room_for_five(bench: Bench) -> None:
    widget = bench.widget
    for name in ("arithmetic", "sort"):
        widget.add(sample.path(name))
    bench.widget._handle_custom_msg({"type": "add", "source": str(sample.path("stranger"))}, [])
    assert "would be source number 6" in bench.settled().error
    assert [source["code"] for source in widget._sources] == ["Ba", "Re", "Pi", "Ar", "So"]
    in_step(bench)


def test_a_source_is_added_by_a_message(bench: Bench) -> None:
    widget = bench.widget
    widget._handle_custom_msg({"type": "add", "source": str(sample.path("sort"))}, [])
    bench.settled()
    assert [source["name"] for source in widget._sources] == ["base", "reverse", "pirate", "sort"]
    assert bench.preview.asked == [(widget.recipe, widget.prompt)]
    for wrong, words in ((str(sample.path("sort")), "is a source already"), ("./nowhere", "no such folder")):
        widget._handle_custom_msg({"type": "add", "source": wrong}, [])
        assert words in bench.settled().error


def test_the_base_says_what_fits() -> None:
    bench = Bench("base", "stranger", "pirate")
    assert [one["grade"] for one in bench.widget._fits] == ["preview", "fits", "preview"]
    picture = bench.widget.sketch
    picture["base"] = 0
    bench.widget.set_state({"sketch": picture, "_turn": 1})
    assert [one["grade"] for one in bench.widget._fits] == ["fits", "preview", "fits"]
    with pytest.raises(FitError, match="norm epsilon"):
        bench.widget.widen()
    bench.widget._handle_custom_msg({"type": "widen"}, [])
    assert "norm epsilon" in bench.widget.error
    assert bench.widget.recipe.widen is False
    bench.widget.sketch = sketch(run(0, 0, 10))
    bench.widget._handle_custom_msg({"type": "widen"}, [])
    assert (bench.widget.error, bench.widget.recipe.widen) == ("", True)
    bench.widget.close()


def test_a_request_waits_for_the_edits_before_it(bench: Bench) -> None:
    """Jupyter holds an edit back while another is on its way; requests it sends at once."""
    widget, pictures = bench.widget, [sketch(run(1, 0, 10)), sketch(run(2, 0, 10))]
    widget.set_state({"sketch": pictures[0], "_turn": 1})
    widget._handle_custom_msg({"type": "keep", "name": "mine", "after": 2}, [])
    widget._handle_custom_msg({"type": "undo", "after": 2}, [])
    assert (widget._past["snapshots"], widget.sketch) == ([], pictures[0])
    widget.set_state({"sketch": pictures[1], "_turn": 2})
    widget.set_state({"prompt": "a cat", "_turn": 3})
    assert widget.sketch == pictures[0]
    widget.show("mine")
    assert widget.sketch == pictures[1]
    widget._handle_custom_msg({"type": "show", "name": "", "after": 2}, [])
    assert widget.sketch == pictures[0]
    widget._handle_custom_msg({"type": "redo", "after": "?"}, [])
    assert widget.sketch == pictures[1]


def test_a_preset_lands_as_slices_and_is_one_step(bench: Bench) -> None:
    widget = bench.widget
    widget._handle_custom_msg({"type": "preset", "name": "upscale", "numbers": {"model": 1, "drop": 2}}, [])
    names = [preset["name"] for preset in widget._presets]
    assert (widget.error, widget._past["undo"]) == ("", 1), names
    assert widget._faces.layers == 16
    widget._handle_custom_msg({"type": "preset", "name": "upscael", "numbers": {}}, [])
    assert "Did you mean 'upscale'?" in widget.error
    widget._handle_custom_msg({"type": "preset"}, [])
    assert "means nothing" in widget.error
    widget._handle_custom_msg({"type": "dance"}, [])
    assert "means nothing" in widget.error
    in_step(bench)


def test_before_saving_says_what_is_wrong_and_what_is_well() -> None:
    bench = Bench("base", "stranger")
    rows = bench.looked()._problems
    assert any("feed-forward" in row["what"] for row in rows if row["grade"] == "error")
    bench.widget.sketch = sketch(run(0, 0, 10))
    rows = bench.looked()._problems
    assert {row["grade"] for row in rows if row["grade"] in ("error", "fine")} == {"fine"}
    assert rows[-1]["what"].startswith(("Memory", "The merged model", "Config"))
    assert bench.widget._exports["mergekit"]
    bench.widget.close()


def test_what_is_looked_at_before_saving_waits_for_the_table(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a hand comes back to a recipe whose look was overtaken."""
    widget, looked = bench.looked(), []
    gate = threading.Event()

    def look(recipe: Any, _guests: object) -> list[dict[str, Any]]:
        looked.append(recipe)
        gate.wait(10)
        return [{"grade": "note", "line": None, "what": recipe.fingerprint}]

    monkeypatch.setattr(looking, "before_saving", look)
    widget.sketch = first = sketch(run(1, 0, 10))
    assert str(sample.path("reverse")) in bench.settled()._exports["mergekit"], "what is written out is there at once"
    assert looked == []
    bench.preview.tell(*bench.preview.events()[:2])
    recipe = widget.recipe
    widget.set_state({"sketch": sketch(run(2, 0, 10)), "_turn": 1, "_held": True})
    gate.set()
    bench.looked()
    assert looked == [recipe], "nothing is looked at that is in a hand"
    assert widget._problems[0]["what"] != recipe.fingerprint
    widget.set_state({"sketch": first, "_turn": 2, "_held": False})
    assert bench.looked()._problems[0]["what"] == widget.recipe.fingerprint


def test_a_thousand_edits_end_right(bench: Bench) -> None:
    """As fast as they come, from the browser: the last one stands, and what a hand moved is one step of undo."""
    widget = bench.widget
    messages = [sketch(run(1, 0, 2), blend(2, 2, 10, turn / 1000)) for turn in range(1000)]
    started = time.process_time()
    for turn, picture in enumerate(messages):
        widget.set_state({"sketch": copy.deepcopy(picture), "_turn": turn, "_held": turn < 999})
    assert time.process_time() - started < 8, "some 2 ms each"
    assert widget.sketch == messages[-1]
    assert widget._past["undo"] == 1
    in_step(bench)
    bench.preview.answer()
    assert (widget._answered, widget.answer["made"]) == (999, messages[-1])


def test_it_opens_recipes(tmp_path: Path) -> None:
    recipe = graft(sample.path("pirate"), sample.path("arithmetic"), (2, 4))
    file = tmp_path / "recipe.yml"
    bench = Bench(recipe=recipe)
    assert bench.widget.save(file) == file
    pictures = [bench.widget.sketch]
    exported = bench.settled()._exports["json"]
    bench.widget.close()
    for given in (recipe, file, str(file), file.read_text(), exported):
        opened = Workbench(given, preview=StandIn)
        assert opened.recipe == recipe
        assert [source["name"] for source in opened._sources] == ["pirate", "arithmetic"]
        pictures.append(opened.sketch)
        opened.close()
    assert pictures == [sketch(run(0, 0, 2), run(1, 2, 4), run(0, 4, 10))] * 6
    beside = Bench("base", "arithmetic", recipe=file)
    assert [source["name"] for source in beside.widget._sources] == ["base", "arithmetic", "pirate"]
    assert beside.widget.recipe == recipe
    beside.widget.close()


def test_a_recipe_in_stages_has_no_picture(bench: Bench) -> None:
    text = bench.widget.text
    staged = f"name: first\n{text}---\nmerge_method: passthrough\nmodels:\n- model: first\n"
    with pytest.raises(TraitError, match="Open the stages one by one"):
        bench.widget.recipe = staged
    bench.widget.set_state({"text": staged, "_turn": 1})
    assert "made in stages" in bench.widget._problems[0]["what"]
    assert bench.widget.text == staged


def test_a_refused_message_leaves_nothing_to_what_comes_after_it(bench: Bench) -> None:
    widget = bench.widget
    before = widget.sketch
    with widget.paused():
        widget.set_state({"sketch": sketch(run(2, 0, 4)), "selection": [-1], "_turn": 1})
        widget.set_state({"text": "a: [", "_turn": 2})
    assert (widget.sketch, widget.text) == (before, "a: [")
    assert bench.preview.asked[-1][0] == widget.recipe
