"""Tensors piece by piece: small enough for the cache, shared out among threads, and able to be broken off.

What is made on the way from the stored tensors to the result then never leaves the cache.

The threads are ours, and each lets torch use one thread only. torch's own would share out every single operation and
meet at its end: quick while nobody else computes, but as soon as a second thread of the process has used them (a
notebook's, a preview's) there are more of them than cores, and every operation waits for those that have to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import cache
from types import TracebackType
from typing import Self, TypeVar

import torch
from threadpoolctl import ThreadpoolController

Task = TypeVar("Task")
Answer = TypeVar("Answer")

LENGTH = 1 << 18
"""Elements of a piece: 1 MiB in float32. More would leave the cache; with less, the threads would spend their time
waiting for each other: Python lets in one at a time between operations. A compiled loop does one in half a
millisecond."""
SHORT = 1 << 15
"""Elements of a piece of a tensor that is no longer than ``LENGTH``: torch starts its own threads for more."""
_KEPT = 30 << 20  # bytes
_OFTEN = 0.01  # seconds between two looks at whether to stop


class Pieces:
    """A way through tensors, flat, piece by piece. On other devices than the CPU a tensor is one piece.

    No result depends on the length of pieces, and so none on the number of threads. Made once for the work of one
    thread, with as many threads as torch has there; they end with ``close``.

    Attributes:
        whole: whether a tensor is one piece.
    """

    def __init__(self, device: torch.device, stop: Callable[[], object] | None = None) -> None:
        """``stop`` is called again and again; it raises what is to break the work off."""
        self.whole = device.type != "cpu"
        self._threads = 1 if self.whole else torch.get_num_threads()
        self._stop = stop or (lambda: None)
        self._crew: ThreadPoolExecutor | None = None
        self._shared = False  # threads are at work
        if not self.whole:
            # glibc returns freed memory to the system, to fetch it again at once, unless it has seen as large a tensor
            # come and go (up to 32 MiB): 4 times as slow. This one is never touched, so that it costs nothing.
            torch.empty(_KEPT, dtype=torch.uint8)

    def map(self, size: int, work: Callable[[slice], Answer]) -> list[Answer]:
        """What ``work`` makes of each of the pieces of ``size`` elements, in their order. Several at a time."""
        length = size if self.whole else LENGTH if self._threads == 1 or size > LENGTH else SHORT
        spans = [slice(at, min(at + length, size)) for at in range(0, size, length)]
        return self.share(spans, work) if size > LENGTH else list(self._one_by_one(spans, work))

    def share(self, tasks: Sequence[Task], work: Callable[[Task], Answer]) -> list[Answer]:
        """What ``work`` makes of each of ``tasks``, in their order. Several at a time; work that shares out work of its
        own does that by itself.
        """
        if self._threads == 1 or len(tasks) < 2 or self._shared:
            return list(self._one_by_one(tasks, work))
        self._stop()
        answers: dict[int, Answer] = {}
        waiting = iter(range(len(tasks)))  # each thread takes the next: Python lets one at a time do so
        broken = threading.Event()
        inference = torch.is_inference_mode_enabled()

        def serve() -> None:
            with torch.inference_mode(inference), torch.no_grad():  # modes belong to a thread
                for place in waiting:
                    if broken.is_set():
                        return
                    try:
                        answers[place] = work(tasks[place])
                    except BaseException:
                        broken.set()  # at once: whoever waits may be slow to hear of it
                        raise

        self._crew = self._crew or _crew(self._threads)
        self._shared = True
        at_work = [self._crew.submit(serve) for _ in range(min(self._threads, len(tasks)))]
        try:
            self._watch(at_work)
        finally:
            broken.set()
            wait(at_work)  # they write into tensors that belong to the caller
            self._shared = False
        return [answers[place] for place in range(len(tasks))]

    def close(self) -> None:
        """End the threads. May be called twice, and what comes after begins new ones."""
        if self._crew is not None:
            self._crew.shutdown()
            self._crew = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _one_by_one(self, tasks: Sequence[Task], work: Callable[[Task], Answer]) -> Iterator[Answer]:
        for task in tasks:
            self._stop()
            yield work(task)

    def _watch(self, at_work: Sequence[Future[None]]) -> None:
        """Wait until all are done, one has failed, or the work is to be broken off."""
        while True:
            done, going = wait(at_work, _OFTEN, FIRST_EXCEPTION)
            for one in done:
                one.result()
            if not going:
                return
            self._stop()


@cache
def _openmp() -> ThreadpoolController:
    """The libraries of OpenMP that torch runs on, loaded with it. To look for them takes 2 ms."""
    return ThreadpoolController().select(user_api="openmp")


def _crew(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch uses one."""

    def begin() -> None:
        torch.get_num_threads()  # the first call in a thread takes over what is set for all
        _openmp().limit(limits=1)  # for this thread alone; torch's own setter would count for all that begin later

    return ThreadPoolExecutor(threads, "mergelab-pieces", begin)
