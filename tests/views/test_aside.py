"""Jobs aside: one at a time, the newest of each kind, and none after the end."""

from __future__ import annotations

import threading

import pytest

from mergelab.views.aside import Aside


def test_the_newest_of_each_kind_is_done() -> None:
    aside, done, gate, begun = Aside(), [], threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        gate.wait(10)
        done.append("first")

    aside.do("a", first)
    assert begun.wait(10)
    for number in range(5):
        aside.do("b", lambda number=number: done.append(f"b{number}"))  # type: ignore[misc]
    aside.do("a", lambda: done.append("a"))
    assert not aside.wait(0)
    gate.set()
    assert aside.wait(10)
    assert done == ["first", "b4", "a"]
    aside.close()


def test_a_job_that_fails_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    aside, done = Aside(), []
    aside.do("a", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    aside.do("b", lambda: done.append(1))
    assert aside.wait(10)
    assert done == [1]
    assert "a job aside failed" in caplog.text
    aside.close()


def test_nothing_is_done_after_the_end() -> None:
    aside, done = Aside(), []
    aside.close()
    aside.do("a", lambda: done.append(1))
    assert aside.wait(1)
    aside.close()
    assert done == []
    own = Aside()
    own.do("close", own.close)
    assert own._thread is not None
    own._thread.join(10)
    assert not own._thread.is_alive()
