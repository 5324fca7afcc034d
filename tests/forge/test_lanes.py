"""Lanes: order is kept, memory is bounded, errors arrive, and no thread is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.forge.lanes import Ahead, Behind
from mergelab.models.progress import Stopped


def left() -> list[str]:
    """Lanes that have not ended; other threads of the house, such as a trial that a merge began, may go on."""
    lanes = ("mergelab-ahead", "mergelab-behind")
    return [thread.name for thread in threading.enumerate() if thread.name in lanes]


def nothing() -> None:
    """No reason to stop."""


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), max_size=12), limit=st.integers(0, 60))
def test_loads_come_in_order_and_few_wait(sizes: list[int], limit: int) -> None:
    held = [0]
    most = [0]

    def load(number: int) -> Callable[[Callable[[], None]], int]:
        def make(look: Callable[[], None]) -> int:
            held[0] += sizes[number]
            most[0] = max(most[0], held[0])
            return number

        return make

    with Ahead([(size, load(number)) for number, size in enumerate(sizes)], limit, nothing) as ahead:
        for number in range(len(sizes)):
            assert ahead.next() == number
            held[0] -= sizes[number]
    assert most[0] <= max([limit, *sizes])
    assert left() == []


def test_a_wide_load_is_not_made_while_another_is_at_hand() -> None:
    made: list[str] = []
    loads = [(10, lambda _: made.append("first")), (100, lambda _: made.append("wide"))]
    with Ahead(loads, 50, nothing) as ahead:
        ahead.next()
        time.sleep(0.05)
        assert made == ["first"]
        ahead.next()
        assert made == ["first", "wide"]


def test_tasks_are_done_in_order_and_few_bytes_wait() -> None:
    done: list[int] = []
    go = threading.Event()
    with Behind(20, nothing) as behind:
        behind.give(go.wait, 15)
        behind.give(lambda: done.append(0), 5)
        blocked = threading.Thread(target=lambda: behind.give(lambda: done.append(1), 5))
        blocked.start()
        blocked.join(0.1)
        assert blocked.is_alive(), "there was no room for it"
        go.set()
        blocked.join()
        behind.give(lambda: done.append(2), 1000)  # more than the limit, once nothing else waits
        behind.finish()
        assert done == [0, 1, 2]
    assert left() == []


def fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_error_of_the_thread_is_raised_where_its_work_is_asked_for() -> None:
    with Ahead([(1, lambda _: 1), (1, fail)], 10, nothing) as ahead:
        assert ahead.next() == 1, "what was made before is given out"
        with pytest.raises(OSError, match="No space left"):
            ahead.next()
    for ask in (Behind.finish, lambda behind: behind.give(nothing)):
        with Behind(10, nothing) as behind:
            behind.give(fail)
            time.sleep(0.05)
            with pytest.raises(OSError, match="No space left"):
                ask(behind)
    assert left() == []


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt])
def test_whoever_waits_can_be_stopped_and_the_threads_end_at_once(error: type[BaseException]) -> None:
    asked = [0]

    def heed() -> None:
        asked[0] += 1
        if asked[0] == 3:
            raise error

    def slow(look: Callable[[], None]) -> None:
        while True:
            time.sleep(0.005)
            look()

    started = time.perf_counter()
    with Ahead([(1, slow)], 10, heed) as ahead, pytest.raises(error):
        ahead.next()
    asked[0] = 0
    with Behind(10, heed) as behind:
        behind.give(lambda: time.sleep(0.1), 10)
        with pytest.raises(error):
            behind.give(nothing, 1)
    assert time.perf_counter() - started < 1
    assert left() == []
