"""Newest wins: what is old ends within a layer or a token and is never heard again; nothing waits for ever."""

from __future__ import annotations

import _thread
import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from mergelab.errors import AssemblyError
from mergelab.models import assemble
from mergelab.models import preview as module
from mergelab.models.preview import Done, Merged, Next, Preview, Text
from tests.models.asking import Gate, Listener, Trio, blend, layers_run


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Holds the worker in its work, between the merge and the first layer, until it is opened."""
    made, hear = Gate(), module.hear
    monkeypatch.setattr(module, "hear", lambda *given, **how: made() or hear(*given, **how))
    yield made
    made.open()


def test_a_flood_ends_in_the_last(llamas: Trio, preview: Preview, listener: Listener) -> None:
    recipes = [blend(llamas, step / 100) for step in range(101)]
    threads = threading.active_count()
    preview.ask(recipes[0], "hello")
    assert preview.wait(60)
    started = time.monotonic()
    for number in range(10_000):
        last = preview.ask(recipes[number % 101], "hello")
    assert preview.wait(60)
    assert time.monotonic() - started < 10
    assert last == 10_001
    assert listener.events[-1] == Done(last, listener.events[-1].seconds)
    assert [event.generation for event in listener.events] == sorted(event.generation for event in listener.events)
    assert len(listener.of(Done)) < 1000  # most were overtaken
    assert threading.active_count() == threads
    (event,) = listener.of(Next, last)
    with assemble(recipes[9_999 % 101]) as assembly, torch.inference_mode():
        fresh = assembly.model(**assembly.tokenizer("hello", return_tensors="pt")).logits[0, -1].softmax(-1)
    for row in event.answers[0].candidates:
        assert row.probabilities[0] == pytest.approx(float(fresh[row.id]), rel=1e-6)


def test_an_event_on_its_way_is_delivered_before_a_newer_request_is_taken(
    llamas: Trio, preview: Preview, listener: Listener
) -> None:
    """The listener keeps an event at the end of its call: had ``ask`` not waited for it, it would come too late."""
    inside, marks = threading.Event(), []

    def listen(event) -> None:
        inside.set()
        time.sleep(0.02)
        listener(event)

    preview._listener = listen
    for step in range(20):
        generation = preview.ask(blend(llamas, step / 20), "hello")
        marks.append((generation, len(listener.events)))
        inside.clear()
        assert inside.wait(30)
    assert preview.wait(60)
    assert len({event.generation for event in listener.events}) > 10  # most were under way
    for generation, before in marks:
        assert all(event.generation >= generation for event in listener.events[before:])
    assert listener.of(Done, 20)


def test_stop_is_as_strict(llamas: Trio, preview: Preview, listener: Listener) -> None:
    for wait in range(8):
        preview.ask(blend(llamas, wait / 8), "hello")
        time.sleep(wait * 0.01)
        preview.stop()
        seen = len(listener.events)
        assert preview.wait(60)
        assert len(listener.events) == seen
    last = preview.ask(blend(llamas, 0.2), "hello")  # and it goes on working
    assert preview.wait(60)
    assert listener.of(Done, last)


def test_one_lock_for_listener_and_callers_never_waits_for_itself(llamas: Trio, listener: Listener, gate: Gate) -> None:
    """The caller asks with the lock held that the listener needs, while an event waits to be delivered."""
    lock = threading.RLock()

    def listen(event) -> None:
        with lock:
            listener(event)

    preview = Preview({"base": llamas[0]}, listen, lock=lock)
    old = preview.ask(blend(llamas, 0.2), "hello")
    gate.wait()
    with lock:
        gate.open()
        time.sleep(0.3)  # the worker has the figures, and waits for the lock to deliver them
        newer = preview.ask(blend(llamas, 0.8), "hello")
        with lock:
            assert preview.wait(60)  # lets go of the lock, however deep it is held
    assert [type(event) for event in listener.events if event.generation == old] == [Merged]
    assert listener.of(Done, newer)
    with lock:
        preview.close()


@pytest.mark.parametrize("kind", [Merged, Next, Text, Done])
def test_the_listener_may_ask(kind: type, llamas: Trio, preview: Preview, listener: Listener) -> None:
    listener.at_first(kind, lambda: preview.ask(blend(llamas, 0.8), "hello"))
    preview.ask(blend(llamas, 0.2), "hello")
    assert preview.wait(60)
    generations = [event.generation for event in listener.events]
    assert generations == sorted(generations)
    assert generations.count(1) == len(listener.events) - generations.count(2)
    assert isinstance([event for event in listener.events if event.generation == 1][-1], kind)
    assert listener.of(Done, 2)


def test_the_listener_may_stop_and_close(llamas: Trio, listener: Listener) -> None:
    preview = Preview({"base": llamas[0]}, listener)
    listener.at_first(Next, preview.stop)
    preview.ask(blend(llamas, 0.2), "hello")
    assert preview.wait(60)
    assert [type(event) for event in listener.events] == [Merged, Next]
    listener.at_first(Text, preview.close)
    preview.ask(blend(llamas, 0.8), "hello")
    preview._thread.join(60)
    assert not preview._thread.is_alive()
    assert isinstance(listener.events[-1], Text)
    assert preview._merged is None
    preview.close()


def test_a_listener_that_fails_ends_neither_the_request_nor_the_thread(
    llamas: Trio, preview: Preview, listener: Listener
) -> None:
    listener.at_first(Next, lambda: 1 // 0)
    preview.ask(blend(llamas, 0.2), "hello")
    assert preview.wait(60)
    assert [type(event) for event in listener.events][0 :: len(listener.events) - 1] == [Merged, Done]
    assert not listener.of(Next)


def test_asking_never_waits_for_the_work(llamas: Trio, preview: Preview, listener: Listener, gate: Gate) -> None:
    old = preview.ask(blend(llamas, 0.2), "hello")
    gate.wait()
    newer = preview.ask(blend(llamas, 0.4), "hello")  # had it waited, it would wait for ever
    assert not preview.wait(0.2)
    gate.open()
    assert preview.wait(60)
    assert [type(event) for event in listener.events if event.generation == old] == [Merged]
    assert listener.of(Done, newer)


def test_an_interrupt_while_waiting_cancels(llamas: Trio, preview: Preview, listener: Listener, gate: Gate) -> None:
    preview.ask(blend(llamas, 0.2), "hello")
    gate.wait()

    def wait() -> None:
        threading.Timer(0.5, _thread.interrupt_main).start()
        preview.wait(60)

    with pytest.raises(KeyboardInterrupt):
        wait()
    gate.open()
    assert preview.wait(60)
    assert [type(event) for event in listener.events] == [Merged]


@pytest.mark.parametrize("layer", [0, 2, 5])
def test_a_pass_ends_within_one_layer(layer: int, llamas: Trio, preview: Preview, listener: Listener) -> None:
    """A newer request comes while a layer runs: the next layer that runs is the newer one's."""
    preview.ask(blend(llamas, 0.5), "hello")
    assert preview.wait(60)
    asked = itertools.chain([lambda: preview.ask(blend(llamas, 0.9), "hello")], itertools.repeat(lambda: None))
    ran = layers_run(preview, lambda number: number == layer and next(asked)())
    listener.events.clear()
    preview.ask(blend(llamas, 0.7), "hello")
    assert preview.wait(60)
    assert [number for number, _ in ran[: layer + 7]] == [*range(layer + 1), *range(6)]
    assert [type(event) for event in listener.events if event.generation == 2] == [Merged]
    assert listener.of(Done, 3)


def test_writing_ends_within_one_token_and_within_one_layer(llamas: Trio, preview: Preview, listener: Listener) -> None:
    preview.ask(blend(llamas, 0.5), "hello")
    assert preview.wait(60)
    acts: list[Callable[[], None]] = []
    ran = layers_run(preview, lambda number: number == 3 and acts and ran[-1][1] == 1 and acts.pop()())
    listener.at_first(Text, preview.stop)  # the first token is out
    preview.ask(blend(llamas, 0.6), "hello")
    assert preview.wait(60)
    assert ran == [(number, 6) for number in (*range(6), *range(6))]  # the figures, the prompt, and no token more
    ran.clear()
    acts.append(preview.stop)
    preview.ask(blend(llamas, 0.7), "hello")
    assert preview.wait(60)
    assert ran[12:] == [(0, 1), (1, 1), (2, 1), (3, 1)]  # the second token, as far as its fourth layer


def test_closing_while_it_writes_is_prompt_and_leaves_no_thread(llamas: Trio, listener: Listener) -> None:
    before = set(threading.enumerate())
    preview = Preview({"base": llamas[0]}, listener, max_new_tokens=50)
    preview.ask(blend(llamas, 0.5), "hello")
    assert preview.wait(60)
    written = len(listener.of(Text, 1))
    writing, closing = threading.Event(), Gate()
    ran = layers_run(preview, lambda number: (number, ran[-1][1]) == (2, 1) and (writing.set(), closing()))
    preview.ask(blend(llamas, 0.9), "hello")
    assert writing.wait(30)
    closer = threading.Thread(target=preview.close)
    closer.start()
    while not preview._closing:
        time.sleep(0.001)
    closing.open()
    closer.join(30)
    assert not closer.is_alive()
    assert [number for number, tokens in ran if tokens == 1] == [0, 1, 2]
    assert len(listener.of(Text, 2)) == 1 < written
    assert set(threading.enumerate()) <= before
    preview.close()
    with pytest.raises(AssemblyError, match="closed"):
        preview.ask(blend(llamas, 0.5), "hello")


def test_what_is_asked_in_a_pause_waits_and_the_newest_alone_runs(
    llamas: Trio, preview: Preview, listener: Listener
) -> None:
    with preview.paused():
        preview.ask(blend(llamas, 0.1), "hello")
        with preview.paused():
            preview.ask(blend(llamas, 0.2), "hello")
        assert preview.wait(60)  # nothing is worked on
        last = preview.ask(blend(llamas, 0.3), "hello")
        time.sleep(0.05)
        assert not listener.events
    assert preview.wait(60)
    assert [event.generation for event in listener.of(Merged)] == [last]
    assert listener.of(Done, last)


def test_a_pause_ends_however_its_block_ends(llamas: Trio, preview: Preview, listener: Listener) -> None:
    def fail() -> None:
        with preview.paused(), preview.paused():
            preview.ask(blend(llamas, 0.1), "hello")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert preview.wait(60)
    assert listener.of(Done, 1)
    with preview.paused():
        preview.ask(blend(llamas, 0.2), "hello")
        preview.stop()
    assert preview.wait(60)
    assert listener.events[-1].generation == 1
    with preview.paused():
        preview.ask(blend(llamas, 0.2), "hello")
        preview.close()


def test_an_empty_list_of_prompts_is_refused(llamas: Trio, preview: Preview) -> None:
    with pytest.raises(AssemblyError, match="there is no prompt"):
        preview.ask(blend(llamas, 0.1), [])
