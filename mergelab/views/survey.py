"""Survey: measurements one after another on one thread, the picture of them on another. The newest wish wins."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from mergelab.errors import InspectionError, MergelabError
from mergelab.models.speak import Stopped
from mergelab.models.worker import Worker

PAUSE = 1 / 20  # seconds between two pictures: a dial is followed, a fast measurement does not flood the wire
_log = logging.getLogger(__name__)

Task = tuple[str, ...]
"""What is measured, and of what: ``("drift", "pirate")``."""

State = Literal["waiting", "measuring", "done", "stopped", "failed", "refused"]


@dataclass(frozen=True, eq=False)
class Standing:
    """How far one measurement is.

    Attributes:
        state: "failed" may come right another time; "refused": these models cannot be measured so.
        result: what was measured; where it was stopped, the part that was, or None.
        done: steps done of ``total``.
        seconds: how long it took.
        error: why there is no result, in words.
    """

    state: State = "waiting"
    result: Any = None
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    error: str = ""


class Measurer(Protocol):
    """Measures one task. Asks ``stop`` now and then and returns what it has, or raises `Stopped`, when that is True."""

    def __call__(self, task: Task, progress: Callable[[int, int], None], stop: Callable[[], bool]) -> Any:
        """Measure ``task``, telling ``progress`` how many steps are done and of how many."""


class Survey:
    """Measures what is asked for, each task once, and has the picture drawn whenever something changed.

    A task that is no longer wanted is broken off. After `stop` nothing more is measured until `go_on`.
    """

    def __init__(self, measure: Measurer, draw: Callable[[], None], lock: threading.RLock) -> None:
        """Start both threads.

        Args:
            measure: called on a thread of its own, without the lock.
            draw: called on another, without the lock, never twice at once.
            lock: the one that callers may hold.
        """
        self._measure, self._draw = measure, draw
        self._changed = threading.Condition(lock)
        self._wanted: tuple[Task, ...] = ()
        self._standing: dict[Task, Standing] = {}
        self._running: Task | None = None
        self._stale = self._drawing = self._held = self._closing = False
        self._threads = [
            Worker(work, f"mergelab-{name}", self.close)
            for name, work in (("measuring", self._measuring), ("picture", self._picturing))
        ]
        for thread in self._threads:
            thread.start()

    def standing(self, task: Task) -> Standing:
        """How far ``task`` is."""
        with self._changed:
            return self._standing.get(task, Standing())

    def ask(self, tasks: Sequence[Task]) -> None:
        """Want ``tasks``, in this order, instead of what was wanted before; and a new picture. Returns at once."""
        with self._changed:
            self._wanted = tuple(dict.fromkeys(tasks))
            self._touch()

    def stop(self) -> None:
        """Break off what is measured, keep what it has, and begin nothing more."""
        with self._changed:
            self._held = True
            for task in self._wanted:
                if task != self._running and self._open(task):
                    self._standing[task] = Standing("stopped")
            self._touch()

    def go_on(self) -> None:
        """Measure again what was stopped, failed or refused."""
        with self._changed:
            self._held = False
            halted = ("stopped", "failed", "refused")
            for task in [task for task, standing in self._standing.items() if standing.state in halted]:
                # What is there stays on the picture until it is measured anew.
                self._standing[task] = replace(self._standing[task], state="waiting", error="")
            self._touch()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything wanted is measured and drawn; False when ``timeout`` seconds were not enough.

        An interrupt (the notebook's stop button) stops the measuring.
        """
        try:
            end = None if timeout is None else time.monotonic() + timeout
            with self._changed:
                while self.busy:
                    left = 0.1 if end is None else min(0.1, end - time.monotonic())
                    if left <= 0:
                        return False
                    self._changed.wait(left)
        except KeyboardInterrupt:
            self.stop()
            raise
        return True

    @property
    def busy(self) -> bool:
        """Whether anything is measured, about to be, or about to be drawn."""
        with self._changed:
            return not self._closing and (
                self._running is not None or self._next() is not None or self._stale or self._drawing
            )

    def close(self) -> None:
        """End both threads; let go of what was measured. Twice is as good as once."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            # Waiting on the condition lets go of the lock, however often the caller holds it.
            while any(each.is_alive() and each is not threading.current_thread() for each in self._threads):
                self._changed.wait(0.02)
            self._standing.clear()

    # -- the two threads -----------------------------------------------------------------------------------------

    def _open(self, task: Task) -> bool:
        return self._standing.get(task, Standing()).state in ("waiting", "measuring")

    def _next(self) -> Task | None:
        return None if self._held else next((task for task in self._wanted if self._open(task)), None)

    def _touch(self) -> None:
        self._stale = True
        self._changed.notify_all()

    def _set(self, task: Task, standing: Standing) -> None:
        with self._changed:
            self._standing[task] = standing
            self._touch()

    def _measuring(self) -> None:
        while True:
            with self._changed:
                while (task := self._next()) is None and not self._closing:
                    self._changed.wait()
                if self._closing or task is None:
                    return
                self._running = task
                self._standing[task] = replace(self._standing.get(task, Standing()), state="measuring", done=0, total=0)
                self._touch()
            standing = self._measured(task)
            with self._changed:
                self._running = None
                self._standing[task] = standing
                self._touch()

    def _measured(self, task: Task) -> Standing:
        def progress(done: int, total: int) -> None:
            with self._changed:
                self._standing[task] = replace(self._standing[task], done=done, total=total)
                self._touch()

        broken = False  # once told to stop, it has a part, even if it is to go on by then

        def stop() -> bool:
            nonlocal broken
            broken = broken or self._closing or self._held or task not in self._wanted
            return broken

        before, started = self.standing(task), time.perf_counter()
        result, error = before.result, ""
        state: State = "stopped"
        try:
            found = self._measure(task, progress, stop)
            result, state = found, "stopped" if broken else "done"
        except Stopped:
            pass
        except MergelabError as problem:
            if not broken:  # else it says that it was stopped before there was anything
                state = "refused" if isinstance(problem, InspectionError) else "failed"
                error = str(problem)
        except Exception as problem:  # noqa: BLE001 - the thread must live on, and the user must see it
            _log.exception("measuring %s failed", " ".join(task))
            state, error = "failed", f"Something unexpected went wrong: {type(problem).__name__}: {problem}"
        if state == "stopped" and broken and not self._held:
            state = "waiting"  # overtaken, or to go on: when it is wanted, it is measured
        done = self.standing(task)
        return Standing(state, result, done.done, done.total, time.perf_counter() - started, error)

    def _picturing(self) -> None:
        drawn = -PAUSE
        while True:
            with self._changed:
                while not self._stale and not self._closing:
                    self._changed.wait()
                while not self._closing and (left := drawn + PAUSE - time.monotonic()) > 0:
                    self._changed.wait(left)
                if self._closing:
                    return
                self._stale, self._drawing = False, True
            try:
                self._draw()
            except Exception:  # noqa: BLE001 - nor may a picture end the thread
                _log.exception("drawing failed")
            finally:
                drawn = time.monotonic()
                with self._changed:
                    self._drawing = False
                    self._changed.notify_all()
