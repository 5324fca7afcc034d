"""Aside: what takes longer than a hand waits for, on a thread of its own. Of each kind the newest job alone is done."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mergelab.models.worker import Worker
from mergelab.views._base import log


class Aside:
    """One worker thread; it starts with the first job and ends with ``close``."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._jobs: dict[str, Callable[[], None]] = {}
        self._busy = self._closing = False
        self._thread: Worker | None = None

    def do(self, kind: str, job: Callable[[], None]) -> None:
        """Take a job and return at once. It takes the place of one of the same kind that has not begun."""
        with self._ready:
            if self._closing:
                return
            self._jobs.pop(kind, None)
            self._jobs[kind] = job
            if self._thread is None:
                self._thread = Worker(self._serve, "mergelab-aside", self.close)
                self._thread.start()
            self._ready.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all is done; False when ``timeout`` seconds were not enough."""
        with self._ready:
            return self._ready.wait_for(lambda: not self._jobs and not self._busy, timeout)

    def close(self) -> None:
        """Drop what has not begun and end the thread, once it is done with what it does. May be called twice.

        Whoever calls it must hold no lock that a job takes.
        """
        with self._ready:
            self._closing = True
            self._jobs.clear()
            self._ready.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self) -> None:
        while True:
            with self._ready:
                self._busy = False
                self._ready.notify_all()
                self._ready.wait_for(lambda: bool(self._jobs) or self._closing)
                if self._closing:
                    return
                job = self._jobs.pop(next(iter(self._jobs)))
                self._busy = True
            try:
                job()
            except Exception:  # noqa: BLE001 - the thread must live on; a job says itself what it can say
                log.exception("a job aside failed")
