"""Errands: work of others, such as a user's function, that may take for ever and must hold nobody up."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TypeVar

from mergelab.models.speak import Stopped
from mergelab.models.worker import Worker

T = TypeVar("T")
V = TypeVar("V")

PATIENCE = 0.5  # seconds until it is told that something is waited for, and between telling it again
AT_EXIT = 2.0  # seconds that an exit waits for work that nobody can break off
_LOOK = 0.02  # seconds between two questions whether to stop


class Errands:
    """Runs one piece of work after the other, each on a thread of its own.

    Who waits for one may leave at any time: the thread goes on alone, and what it comes to is dropped. The next one
    begins when it has ended, since a function may not bear to run twice at once.
    """

    def __init__(self) -> None:
        """Nothing is under way."""
        self._thread: Worker | None = None

    def run(self, work: Callable[[], T], stop: Callable[[], bool], waiting: Callable[[], V]) -> Generator[V, None, T]:
        """Do some work, yield what ``waiting`` gives now and then while that takes, and return what it came to.

        Raises:
            Stopped: ``stop`` said so.
            BaseException: what the work raised.
        """
        yield from self._wait(stop, waiting)
        coming: Future[T] = Future()

        def do() -> None:
            try:
                coming.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                coming.set_exception(error)

        self._thread = Worker(do, "mergelab-errand", patience=AT_EXIT)
        self._thread.start()
        yield from self._wait(stop, waiting)
        return coming.result()

    def _wait(self, stop: Callable[[], bool], waiting: Callable[[], V]) -> Generator[V, None, None]:
        told = time.monotonic()
        while self._thread is not None and self._thread.is_alive():
            if stop():
                raise Stopped
            self._thread.join(_LOOK)
            if time.monotonic() - told >= PATIENCE:
                yield waiting()
                told = time.monotonic()
