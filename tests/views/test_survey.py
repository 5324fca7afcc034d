"""Survey: measured once, in order, the newest wish first; stopped and gone on; nothing that fails ends a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mergelab.errors import InspectionError, Problem, SourceError
from mergelab.models.speak import Stopped
from mergelab.views.survey import PAUSE, Survey, Task

ONE, TWO, THREE = ("one",), ("two",), ("three",)


class Lab:
    """Measures at once, but tasks in ``held``, which wait until they are let go or stopped."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.held: dict[Task, threading.Event] = {}
        self.begun: list[Task] = []
        self.failing: dict[Task, Exception] = {}
        self.drawn = self.at_once = 0
        self.slow = 0.0
        self.survey = Survey(self.measure, self.draw, self.lock)

    def measure(self, task: Task, progress: Callable[[int, int], None], stop: Callable[[], bool]) -> Any:
        self.begun.append(task)
        progress(1, 2)
        while task in self.held and not self.held[task].wait(0.002):
            if stop():
                return f"part of {task[0]}"
        if task in self.failing:
            raise self.failing[task]
        progress(2, 2)
        return f"all of {task[0]}"

    def draw(self) -> None:
        assert self.at_once == 0, "two pictures at once"
        self.at_once += 1
        time.sleep(self.slow)
        self.at_once -= 1
        self.drawn += 1

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + 5
        while not true():
            assert time.monotonic() < end, "it never came to that"
            time.sleep(0.002)


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.survey.close()
    assert not any(thread.is_alive() for thread in made.survey._threads)


def test_each_task_is_measured_once_and_in_order(lab: Lab) -> None:
    lab.survey.ask([TWO, ONE, TWO])
    assert lab.survey.wait(5)
    assert lab.begun == [TWO, ONE]
    standing = lab.survey.standing(ONE)
    assert (standing.state, standing.result, standing.done, standing.total) == ("done", "all of one", 2, 2)
    drawn = lab.drawn
    assert drawn >= 1
    lab.survey.ask([ONE, THREE])
    assert lab.survey.wait(5)
    assert lab.begun == [TWO, ONE, THREE]
    assert lab.drawn > drawn, "a wish is drawn even where all of it is measured"


def test_what_is_no_longer_wanted_is_broken_off_and_measured_when_it_is(lab: Lab) -> None:
    lab.held[ONE] = threading.Event()
    lab.survey.ask([ONE, TWO])
    lab.until(lambda: lab.begun == [ONE])
    assert lab.survey.standing(ONE).state == "measuring"
    lab.survey.ask([THREE])
    assert lab.survey.wait(5)
    assert lab.begun == [ONE, THREE]
    assert lab.survey.standing(ONE).state == "waiting"
    lab.held.clear()
    lab.survey.ask([ONE])
    assert lab.survey.wait(5)
    assert lab.survey.standing(ONE).result == "all of one"


def test_stop_keeps_the_part_there_is_and_going_on_measures_the_rest(lab: Lab) -> None:
    lab.held[TWO] = threading.Event()
    lab.survey.ask([ONE, TWO, THREE])
    lab.until(lambda: TWO in lab.begun)
    lab.survey.stop()
    assert lab.survey.wait(5)
    states = [lab.survey.standing(task) for task in (ONE, TWO, THREE)]
    assert [one.state for one in states] == ["done", "stopped", "stopped"]
    assert [one.result for one in states] == ["all of one", "part of two", None]
    lab.survey.ask([("four",)])
    assert lab.survey.wait(5)
    assert ("four",) not in lab.begun, "after a stop nothing more is measured"
    lab.survey.ask([ONE, TWO, THREE])
    lab.held[TWO].set()
    lab.survey.go_on()
    assert lab.survey.wait(5)
    assert lab.begun == [ONE, TWO, TWO, THREE]
    assert [lab.survey.standing(task).result for task in (TWO, THREE)] == ["all of two", "all of three"]


def test_going_on_before_it_has_stopped_measures_all_of_it(lab: Lab) -> None:
    told, gone_on = threading.Event(), threading.Event()

    def measure(task: Task, _progress: object, stop: Callable[[], bool]) -> str:
        lab.begun.append(task)
        if len(lab.begun) > 1:
            return "all"
        lab.until(stop)
        told.set()
        gone_on.wait(5)
        return "part"

    lab.survey._measure = measure
    lab.survey.ask([ONE])
    lab.until(lambda: lab.begun == [ONE])
    lab.survey.stop()
    assert told.wait(5)
    lab.survey.go_on()
    gone_on.set()
    assert lab.survey.wait(5)
    assert (lab.survey.standing(ONE).state, lab.survey.standing(ONE).result) == ("done", "all")


def test_a_part_stays_while_it_is_measured_anew(lab: Lab) -> None:
    lab.held[ONE] = threading.Event()
    lab.survey.ask([ONE])
    lab.until(lambda: lab.begun == [ONE])
    lab.survey.stop()
    assert lab.survey.wait(5)
    lab.survey.go_on()
    lab.until(lambda: lab.survey.standing(ONE).state == "measuring")
    assert lab.survey.standing(ONE).result == "part of one"
    lab.failing[ONE] = Stopped()
    lab.held[ONE].set()
    assert lab.survey.wait(5)
    assert lab.survey.standing(ONE).result == "part of one", "broken off again with nothing: better than none"


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (InspectionError(Problem("trace", "these do not fit.")), "refused", "trace: these do not fit."),
        (SourceError(Problem("a", "it is gone.")), "failed", "a: it is gone."),
        (RuntimeError("out of luck"), "failed", "Something unexpected went wrong: RuntimeError: out of luck"),
    ],
)
def test_what_fails_is_said_and_the_next_is_measured(lab: Lab, error: Exception, state: str, words: str) -> None:
    lab.failing[ONE] = error
    lab.survey.ask([ONE, TWO])
    assert lab.survey.wait(5)
    assert (lab.survey.standing(ONE).state, lab.survey.standing(ONE).error) == (state, words)
    assert lab.survey.standing(TWO).state == "done"
    lab.failing.clear()
    lab.survey.go_on()
    assert lab.survey.wait(5)
    assert (lab.survey.standing(ONE).state, lab.survey.standing(ONE).error) == ("done", "")


@pytest.mark.parametrize("error", [Stopped(), InspectionError(Problem("trace", "stopped before the first layer."))])
def test_breaking_off_by_an_error_is_no_failure(lab: Lab, error: Exception) -> None:
    lab.failing[ONE] = error
    lab.held[ONE] = threading.Event()

    def measure(task: Task, _progress: object, stop: Callable[[], bool]) -> Any:
        lab.begun.append(task)
        lab.until(stop)
        raise error

    lab.survey._measure = measure
    lab.survey.ask([ONE])
    lab.until(lambda: lab.begun == [ONE])
    lab.survey.stop()
    assert lab.survey.wait(5)
    assert (lab.survey.standing(ONE).state, lab.survey.standing(ONE).error) == ("stopped", "")


def test_many_wishes_make_few_pictures_and_the_last_is_drawn(lab: Lab) -> None:
    lab.survey.ask([ONE])
    assert lab.survey.wait(5)
    before, lab.slow = lab.drawn, 0.01
    started = time.monotonic()
    for _ in range(200):
        lab.survey.ask([ONE])
    assert time.monotonic() - started < 0.5, "a wish returns at once"
    assert lab.survey.wait(5)
    assert 1 <= lab.drawn - before < 20
    assert not lab.survey.busy


def test_much_progress_makes_few_pictures(lab: Lab) -> None:
    def measure(_task: Task, progress: Callable[[int, int], None], _stop: object) -> None:
        for done in range(100):
            progress(done, 100)
            time.sleep(0.002)

    lab.survey._measure = measure  # type: ignore[assignment]
    started = time.monotonic()
    lab.survey.ask([ONE])
    assert lab.survey.wait(10)
    assert lab.drawn <= (time.monotonic() - started) / PAUSE + 2


def test_a_picture_that_fails_does_not_end_the_thread(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    fails = [True]
    draw = lab.survey._draw

    def broken() -> None:
        if fails.pop():
            raise RuntimeError("no canvas")
        draw()

    fails.insert(0, False)
    lab.survey._draw = broken
    lab.survey.ask([])
    assert lab.survey.wait(5)
    assert "drawing failed" in caplog.text
    lab.survey.ask([])
    assert lab.survey.wait(5)
    assert lab.drawn == 1


def test_waiting_has_an_end(lab: Lab) -> None:
    lab.held[ONE] = threading.Event()
    lab.survey.ask([ONE])
    assert lab.survey.wait(0.02) is False
    lab.held[ONE].set()
    assert lab.survey.wait(5) is True


def test_an_interrupt_while_waiting_stops(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.held[ONE] = threading.Event()
    lab.survey.ask([ONE])
    lab.until(lambda: lab.begun == [ONE])

    clock = time.monotonic

    def interrupted() -> float:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return clock()

    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.survey.wait(5)
    assert lab.survey.wait(5)
    assert lab.survey.standing(ONE).state == "stopped"


def test_closing_breaks_off_even_with_the_lock_held(lab: Lab) -> None:
    lab.held[ONE] = threading.Event()
    lab.survey.ask([ONE])
    lab.until(lambda: lab.begun == [ONE])
    with lab.lock, lab.lock:
        lab.survey.close()
    assert not lab.survey.busy
    assert lab.survey.standing(ONE).result is None, "what was measured is let go"
    lab.survey.close()


def test_the_picture_may_close(lab: Lab) -> None:
    lab.survey._draw = lab.survey.close
    lab.survey.ask([])
    lab.until(lambda: not any(thread.is_alive() for thread in lab.survey._threads))
