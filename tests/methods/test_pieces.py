"""Pieces: in order, on threads that leave torch as it was, and broken off where somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from mergelab.methods import pieces
from mergelab.methods.pieces import Pieces

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _three_threads_and_short_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pieces, "LENGTH", 10)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


class StoppedError(Exception):
    """Somebody wants something else."""


def ours() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("mergelab-pieces")]


def test_pieces_come_in_order_and_cover_all() -> None:
    with Pieces(CPU) as way:
        spans = way.map(103, lambda at: (at.start, at.stop))
        assert spans == [(at, min(at + 10, 103)) for at in range(0, 103, 10)]
        assert way.map(0, lambda at: at) == []
        assert way.map(7, lambda at: at) == [slice(0, 7)]


def test_several_work_at_a_time_each_on_one_thread_of_torch() -> None:
    together = threading.Barrier(3)

    def work(at: slice) -> tuple[int, bool, bool, str]:
        if at.start < 30:
            together.wait(10)  # breaks where fewer than three are at work
        alone = torch.get_num_threads()
        return alone, torch.is_inference_mode_enabled(), torch.is_grad_enabled(), threading.current_thread().name

    with Pieces(CPU) as way, torch.inference_mode():
        seen = way.map(100, work)
    assert {one[:3] for one in seen} == {(1, True, False)}
    assert len({one[3] for one in seen}) == 3
    assert torch.get_num_threads() == 3
    fresh: list[int] = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [3], "threads that begin later have as many as before"


def test_threads_that_begin_meanwhile_have_as_many_as_ever() -> None:
    """What is set for our threads is set for no other, not even while they begin."""
    done = threading.Event()
    seen: list[int] = []

    def others() -> None:
        while not done.is_set():
            thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            thread.start()
            thread.join()

    watcher = threading.Thread(target=others)
    watcher.start()
    try:
        for _ in range(30):
            with Pieces(CPU) as way:
                assert set(way.map(40, lambda _: torch.get_num_threads())) == {1}
    finally:
        done.set()
        watcher.join()
    assert len(seen) > 10
    assert set(seen) == {3}


def test_work_may_share_out_work() -> None:
    with Pieces(CPU) as way:
        assert way.map(60, lambda _: sum(way.map(50, lambda inner: inner.stop - inner.start))) == [50] * 6
        assert min(way.map(60, lambda _: threading.current_thread().name)).startswith("mergelab-pieces")


def test_threads_end() -> None:
    way = Pieces(CPU)
    way.map(5, lambda at: at)
    assert not ours(), "one piece needs none"
    way.map(100, lambda at: at)
    assert 0 < len(ours()) <= 3
    way.close()
    way.close()
    assert not ours()


def test_what_fails_is_raised_and_the_others_end() -> None:
    done: list[int] = []

    def work(at: slice) -> None:
        if at.start == 20:
            raise ZeroDivisionError
        done.append(at.start)

    with Pieces(CPU) as way:
        with pytest.raises(ZeroDivisionError):
            way.map(1_000_000, work)
        count = len(done)
        assert count < 100_000 - 1
        assert way.map(30, lambda at: at.start) == [0, 10, 20], "and it goes on"
        assert len(done) == count, "nobody is at work any more"


def test_stop_is_heeded_while_threads_work() -> None:
    begun = threading.Event()
    done: list[int] = []

    def stop() -> None:
        if begun.is_set():
            raise StoppedError

    def work(at: slice) -> None:
        begun.set()
        done.append(at.start)

    with Pieces(CPU, stop) as way:
        with pytest.raises(StoppedError):
            way.map(2_000_000, work)
        count = len(done)
        assert 0 < count < 200_000
        assert not threading.Event().wait(0.02)
        assert len(done) == count, "nobody writes any more once it is raised"
