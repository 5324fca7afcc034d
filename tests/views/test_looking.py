"""What speaks against a recipe is looked up aside, and only what is of the recipe at hand is shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mergelab.views import looking
from tests.views.stand_in import Bench, run, sketch


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.widget.close()


def test_what_was_found_out_about_an_older_recipe_is_not_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.looked()
    begun: list[threading.Event] = [threading.Event(), threading.Event()]
    gates = [threading.Event(), threading.Event()]
    calls: list[int] = []

    def slowly(_recipe: object, _guests: object) -> list[dict[str, Any]]:
        calls.append(len(calls))
        begun[calls[-1]].set()
        gates[calls[-1]].wait(10)
        return [{"grade": "note", "line": None, "what": f"call {calls[-1]}"}]

    monkeypatch.setattr(looking, "before_saving", slowly)
    before = bench.widget._problems
    assert not bench.widget._behind
    bench.widget.sketch = sketch(run(1, 0, 10))
    bench.preview.answer()
    assert begun[0].wait(10)
    bench.widget.sketch = sketch(run(2, 0, 10))
    bench.preview.answer()
    gates[0].set()
    assert begun[1].wait(10)
    # What still stands there says whose it is, though the answer is there.
    assert (bench.widget.status, bench.widget._problems, bench.widget._behind) == ("done", before, True)
    gates[1].set()
    assert [row["what"] for row in bench.looked()._problems] == ["call 1"]
    assert not bench.widget._behind


def test_problems_of_a_text_are_of_no_earlier_recipe(bench: Bench) -> None:
    widget = bench.looked()
    widget.sketch = sketch(run(1, 0, 10))
    text = widget.text
    assert widget._behind, "nothing is looked at before the table is there"
    widget.set_state({"text": "merge_method: lienar\n", "_turn": 1})
    assert (widget._problems[0]["line"], widget._behind) == (1, False)
    widget.set_state({"text": text, "_turn": 2})
    assert widget._behind
