"""Worker: a thread in the background that a program may forget. It is ended in good order when the program ends.

A daemon thread alone is torn off wherever it is when the interpreter goes; inside torch that takes the process with it.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - registers its end, which then comes after ours
import threading
from collections.abc import Callable
from weakref import WeakMethod

PATIENCE = 30.0  # seconds: more than a layer, a token or a piece of a tensor takes


class Worker(threading.Thread):
    """A daemon thread. At exit its owner is asked to end it, and waited for."""

    def __init__(
        self,
        work: Callable[[], None],
        name: str,
        end: Callable[[], None] | None = None,
        patience: float | None = PATIENCE,
    ) -> None:
        """Not begun before ``start``.

        Args:
            work: what the thread does.
            name: of the thread.
            end: a method, held weakly, that ends the thread and returns when it has ended. It is called on another
                thread. None: the work cannot be broken off.
            patience: most seconds that an exit waits for that; None: as long as it takes.
        """
        super().__init__(target=work, name=name, daemon=True)
        self.patience = patience
        self._end = WeakMethod(end) if end is not None else None

    def end(self) -> None:
        """Have the thread ended, and wait for it."""
        end = self._end() if self._end is not None else None
        (end or self.join)()


def _end_all() -> None:
    """End all workers, those too that another began meanwhile."""
    told: list[threading.Thread] = []
    while new := [one for one in threading.enumerate() if isinstance(one, Worker) and one not in told]:
        # Each on a thread of its own: one that hangs, in a listener say, keeps neither the others nor the exit.
        ends = [threading.Thread(target=one.end, name=f"{one.name}-end", daemon=True) for one in new]
        for end in ends:
            end.start()
        for one, end in zip(new, ends, strict=True):
            end.join(one.patience)
        told += new


# As concurrent.futures does it, and before it does: from then on nobody may share out work among threads. ``atexit``
# comes later, when that has failed already.
getattr(threading, "_register_atexit", atexit.register)(_end_all)
