"""Lanes: a thread that works ahead of whoever waits for it, and one that works behind whoever gives to it.

Both hold only so many bytes. Whoever waits looks again and again whether to stop; an error on the thread is raised
where its work is asked for. After ``close`` the thread is gone, with what it was about to do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, Self, TypeAlias, TypeVar

from mergelab.models.progress import Stopped

Load = TypeVar("Load")
Make: TypeAlias = Callable[[Callable[[], None]], Load]
"""Makes a load. It is handed a function to call between pieces of that work, which raises once nobody wants it."""

_OFTEN = 0.02  # seconds between two looks at whether to stop


class _Lane:
    """A thread, and what waiting for it takes.

    Attributes:
        changed: held by whoever looks at what two threads share, and told of every change.
        held: bytes.
        error: what ended the thread's work.
    """

    def __init__(self, name: str, work: Callable[[], None], heed: Callable[[], None]) -> None:
        self.changed = threading.Condition()
        self.closed = False
        self.held = 0
        self.error: BaseException | None = None
        self._work = work
        self._heed = heed
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin the work."""
        self._thread.start()

    def look(self) -> None:
        """On the thread, between pieces of its work: end it where nobody wants it any more."""
        if self.closed:
            raise Stopped

    def wait(self, until: Callable[[], bool]) -> None:
        """On the caller's thread; ``changed`` is held."""
        while not until():
            if self.error is not None:
                raise self.error
            self.changed.wait(_OFTEN)
            self._heed()

    def close(self) -> None:
        """End the thread, and drop what is not done."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised where the work is asked for
            with self.changed:
                self.error = error
                self.changed.notify_all()


class Ahead(Generic[Load]):
    """Makes loads before they are asked for, in order."""

    def __init__(self, loads: Iterable[tuple[int, Make[Load]]], limit: int, heed: Callable[[], None]) -> None:
        """Not begun before the block is.

        Args:
            loads: the bytes that each takes, and what makes it.
            limit: most bytes of loads that wait. A larger one is made when somebody waits for it.
            heed: called by whoever waits; what it raises ends the waiting.
        """
        self._lane = _Lane("mergelab-ahead", self._work, heed)
        self._limit = limit
        self._loads = loads
        self._made: deque[tuple[int, Load]] = deque()
        self._wanted = False

    def next(self) -> Load:
        """The next load."""
        with self._lane.changed:
            self._wanted = True
            self._lane.changed.notify_all()
            self._lane.wait(lambda: bool(self._made))
            self._wanted = False
            size, load = self._made.popleft()
            self._lane.held -= size
            self._lane.changed.notify_all()
            return load

    def __enter__(self) -> Self:
        self._lane.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lane.close()

    def _work(self) -> None:
        for size, make in self._loads:
            with self._lane.changed:
                self._lane.changed.wait_for(lambda size=size: self._lane.closed or self._may(size))  # type: ignore[misc]
                self._lane.held += size
            self._lane.look()
            load = make(self._lane.look)
            with self._lane.changed:
                self._made.append((size, load))
                self._lane.changed.notify_all()
            del load  # it is the caller's: memory must not wait here for the next one

    def _may(self, size: int) -> bool:
        return self._lane.held + size <= self._limit or (self._wanted and not self._made)


class Behind:
    """Does what it is given, in order."""

    def __init__(self, limit: int, heed: Callable[[], None]) -> None:
        """Not begun before the block is.

        Args:
            limit: most bytes that wait, beside one task's.
            heed: called by whoever waits; what it raises ends the waiting.
        """
        self._lane = _Lane("mergelab-behind", self._work, heed)
        self._limit = limit
        self._tasks: deque[tuple[int, Callable[[], object]]] = deque()

    def give(self, task: Callable[[], object], size: int = 0) -> None:
        """Have something done, which holds so many bytes. Waits until there is room for it."""
        with self._lane.changed:
            self._lane.wait(
                lambda: self._lane.error is None and (self._lane.held == 0 or self._lane.held + size <= self._limit)
            )
            self._tasks.append((size, task))
            self._lane.held += size
            self._lane.changed.notify_all()

    def finish(self) -> None:
        """Wait until everything is done."""
        with self._lane.changed:
            self._lane.wait(lambda: self._lane.error is None and not self._tasks)

    def __enter__(self) -> Self:
        self._lane.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lane.close()

    def _work(self) -> None:
        while True:
            with self._lane.changed:
                self._lane.changed.wait_for(lambda: self._lane.closed or bool(self._tasks))
            self._lane.look()
            self._tasks[0][1]()
            with self._lane.changed:
                self._lane.held -= self._tasks.popleft()[0]
                self._lane.changed.notify_all()
