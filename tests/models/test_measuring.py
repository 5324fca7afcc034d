"""Measures run on the preview's thread once the answer stands; what goes wrong in one is told and does no harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from mergelab.errors import InspectionError, Problem
from mergelab.models.assembly import Assembly
from mergelab.models.events import Done, Failed, Measured, Measuring, Text
from mergelab.models.measuring import Live
from mergelab.models.preview import Preview
from mergelab.models.speak import Stopped
from mergelab.recipes import graft
from tests.models.asking import Gate, Listener, Trio, blend


@dataclass(frozen=True)
class Does:
    """A measure that yields what a function of the live merge yields."""

    name: str
    act: Callable[[Live], Iterator[object]]

    def __call__(self, live: Live) -> Iterator[object]:
        yield from self.act(live)


def asked(llamas: Trio, listener: Listener, *measures: Does) -> Preview:
    sources = dict(zip(("base", "a"), llamas, strict=False))
    return Preview(sources, listener, max_new_tokens=1, measures=measures)


def told(listener: Listener, generation: int | None = None) -> list[tuple[str, object]]:
    return [(event.name, event.value) for event in listener.of(Measured, generation)]


def test_measures_come_last_in_their_order_and_say_all_they_know(llamas: Trio, listener: Listener) -> None:
    def count(live: Live) -> Iterator[object]:
        yield from (1, 2)

    def look(live: Live) -> Iterator[object]:
        yield [*live.sources, *(one.text for one in live.prompts), len(live.merged.plan.layers), live.stop()]

    with asked(llamas, listener, Does("count", count), Does("look", look)) as preview:
        preview.ask(blend(llamas, 0.5), "hello")
        assert preview.wait(60)
    assert told(listener) == [("count", 1), ("count", 2), ("look", ["base", "a", "hello", 6, False])]
    last = max(place for place, event in enumerate(listener.events) if isinstance(event, Text))
    kinds = [type(event) for event in listener.events[last + 1 :]]
    assert kinds == [Measuring, Measured, Measured, Measuring, Measured, Done]
    assert [event.name for event in listener.of(Measuring)] == ["count", "look"]


def test_other_models_are_made_on_the_same_bank_and_only_for_a_while(llamas: Trio, listener: Listener) -> None:
    made: list[Assembly] = []

    def look(live: Live) -> Iterator[object]:
        assert live.alone("a") is live.alone("a")
        with live.other(blend(llamas, 0.25)) as other:
            made.append(other)
            yield [one.bank is live.merged.bank for one in (other, live.alone("a"))]
            yield other.say("hello", max_new_tokens=2) != live.merged.say("hello", max_new_tokens=2) or "alike"
        yield live.alone("a").recipe.sources == graft(llamas[1], llamas[1], (0, 6)).sources

    with asked(llamas, listener, Does("look", look)) as preview:
        preview.ask(blend(llamas, 0.5), "hello")
        assert preview.wait(60)
        assert [value for _, value in told(listener)][::2] == [[True, True], True]
        assert repr(made[0]) == "<Assembly, closed>"
        preview.ask(blend(llamas, 0.5), "hello")
        assert preview.wait(60)
        assert not listener.of(Failed)


def test_measures_alone_may_be_asked_for(llamas: Trio, listener: Listener) -> None:
    def look(live: Live) -> Iterator[object]:
        yield [one.text for one in live.prompts], len(live.merged.plan.layers)

    with asked(llamas, listener, Does("look", look)) as preview:
        preview.ask(blend(llamas, 0.5), "hello", only_measures=True)
        assert preview.wait(60)
    assert [type(event) for event in listener.events] == [Measuring, Measured, Done]
    assert told(listener) == [("look", (["hello"], 6))]


def test_what_goes_wrong_is_told_and_does_no_harm(llamas: Trio, listener: Listener) -> None:
    def refuses(live: Live) -> Iterator[object]:
        yield 1
        raise InspectionError(Problem("prompts", "too short.", "Write more."))

    def breaks(live: Live) -> Iterator[object]:
        yield 1 / 0

    def works(live: Live) -> Iterator[object]:
        yield "fine"

    with asked(llamas, listener, *(Does(one.__name__, one) for one in (refuses, breaks, works))) as preview:
        preview.ask(blend(llamas, 0.5), "hello")
        assert preview.wait(60)
    assert told(listener) == [("refuses", 1), ("refuses", None), ("breaks", None), ("works", "fine")]
    said = [event.problem for event in listener.of(Measured)]
    assert said[0] == said[3] == ""
    assert "too short. Write more." in said[1]
    assert "ZeroDivisionError: division by zero" in said[2]
    assert listener.of(Done)
    assert not listener.of(Failed)


@pytest.mark.parametrize("polite", [True, False])
def test_a_newer_request_ends_a_measure(polite: bool, llamas: Trio, listener: Listener) -> None:
    """One that asks ``stop`` and raises, and one that goes on to yield all the same."""
    gate, begun = Gate(), []

    def slow(live: Live) -> Iterator[object]:
        begun.append(live.merged.recipe.fingerprint)
        if len(begun) == 1:
            yield "first"
            gate()
            if polite and live.stop():
                raise Stopped
            yield "too late"
            begun.append("went on")
        yield "second"

    def after(live: Live) -> Iterator[object]:
        yield "after"

    with asked(llamas, listener, Does("slow", slow), Does("after", after)) as preview:
        old = preview.ask(blend(llamas, 0.2), "hello")
        gate.wait()
        newer = preview.ask(blend(llamas, 0.4), "hello")
        gate.open()
        assert preview.wait(60)
    assert told(listener, old) == [("slow", "first")]
    assert told(listener, newer) == [("slow", "second"), ("after", "after")]
    assert "went on" not in begun
    assert not listener.of(Done, old)


def test_closing_ends_a_measure_and_its_thread(llamas: Trio, listener: Listener) -> None:
    before = set(threading.enumerate())
    running = threading.Event()

    def endless(live: Live) -> Iterator[object]:
        running.set()
        while not live.stop():
            time.sleep(0.001)
        raise Stopped

    preview = asked(llamas, listener, Does("endless", endless))
    preview.ask(blend(llamas, 0.2), "hello")
    assert running.wait(30)
    assert not preview.wait(0.05)
    preview.close()
    assert set(threading.enumerate()) <= before
    assert not listener.of(Measured)


def taken(live: Live) -> bool:
    """Whether another thread could have the model."""
    found = live.merged.lock.acquire(timeout=0.05)
    if found:
        live.merged.lock.release()
    return found


def test_the_model_does_not_turn_under_a_measure(llamas: Trio, listener: Listener) -> None:
    got: list[bool] = []

    def holds(live: Live) -> Iterator[object]:
        other = threading.Thread(target=lambda: got.append(taken(live)))
        other.start()
        other.join()
        yield 1

    with asked(llamas, listener, Does("holds", holds)) as preview:
        preview.ask(blend(llamas, 0.2), "hello")
        assert preview.wait(60)
    assert got == [False]
