"""Interrupts: where one from the keyboard has to wait, and where it may come.

It comes between any two operations of the main thread, also where a model has new weights and its bank still counts the
old ones. There it is held, and let in where nothing is half done: between two pieces of arithmetic, and while a source
is read, which may be a download.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def held() -> Iterator[None]:
    """Inside the block an interrupt waits until it is let in, or the block ends. Blocks may be nested: the outermost
    counts.

    Only the main thread gets interrupts, so that nothing is done on another, nor where somebody else than Python heeds
    them.
    """
    ours = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if ours else None
    if not callable(handler) or isinstance(handler, _Door):
        yield
        return
    door = _Door()
    signal.signal(signal.SIGINT, door)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if door.waiting is not None:
            handler(*door.waiting)


@contextmanager
def let_in() -> Iterator[None]:
    """Inside the block an interrupt comes at once, as does one that was held.

    Raises:
        KeyboardInterrupt: on the main thread.
    """
    door = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not isinstance(door, _Door):
        yield
        return
    door.open = True
    try:
        if door.waiting is not None:
            door(*door.waiting)
        yield
    finally:
        door.open = False


class _Door:
    """Takes interrupts.

    Attributes:
        open: whether they may come in.
        waiting: the last one that may not yet.
    """

    def __init__(self) -> None:
        self.open = False
        self.waiting: tuple[int, FrameType | None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.open:
            self.waiting = number, frame
            return
        self.open, self.waiting = False, None  # what is cleared up then is not interrupted
        raise KeyboardInterrupt
