"""Tensors piece by piece: small enough for the cache, large enough for threads, and able to be broken off.

What is made on the way from the stored tensors to the result then never leaves the cache. Within an operation on a
piece torch shares the elements out among its threads, each time in the same way, so that a thread finds in its own
cache what it made before. (Threads of ours on smaller pieces would take turns: Python lets one at a time call torch.)

Where other work keeps the cores busy, torch's threads wait for one another at the end of every operation, and what they
do together can take a hundred times as long as one of them alone. So a pass begins with a few short pieces, on which
torch starts no threads, and where a long one is slower than these, short ones follow for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Task = TypeVar("Task")
Answer = TypeVar("Answer")

SHARE = 1 << 17
"""Elements of a piece for each thread: 512 KiB in float32. More would leave the cache."""
SHORT = 1 << 15
"""Elements of a short piece: torch starts its threads for more, and ``sums.absolute`` adds up rows of half as many."""
_FIRST = 3  # short pieces a pass begins with: the first has to wait for memory
_SLOWER = 1.5  # times what a short piece takes: threads are a hindrance
_KEPT = 30 << 20  # bytes
_PATIENCE = 20  # times what a hindered piece took, until threads are tried again


class Pieces:
    """A way through tensors, flat, piece by piece. On other devices than the CPU a tensor is one piece.

    No result depends on the length of pieces, and so none on the number of threads. Made once for the work of one
    thread: it remembers how busy the machine is.

    Attributes:
        whole: whether a tensor is one piece.
    """

    def __init__(self, device: torch.device, stop: Callable[[], object] | None = None) -> None:
        """``stop`` is called between pieces; it raises what is to break the work off."""
        self.whole = device.type != "cpu"
        self._threads = 1 if self.whole else torch.get_num_threads()
        self._stop = stop or (lambda: None)
        if not self.whole:
            # glibc returns freed memory to the system, to fetch it again at once, unless it has seen as large a tensor
            # come and go (up to 32 MiB): 4 times as slow. This one is never touched, so that it costs nothing.
            torch.empty(_KEPT, dtype=torch.uint8)
        self._short: list[float] = []  # seconds for an element of each short piece of this pass
        self._alone_until = 0.0  # threads are a hindrance until then

    def spans(self, size: int) -> Iterator[slice]:
        """The pieces of ``size`` elements, one after the other."""
        self._short.clear()
        at = 0
        while at < size:
            self._stop()
            end = min(at + self._length(size), size)
            yield slice(at, end)
            at = end

    def run(self, work: Callable[[slice], Answer], at: slice) -> Answer:
        """What ``work`` makes of a piece. How long it takes tells how long the next ones should be."""
        started = time.perf_counter()
        made = work(at)
        ended = time.perf_counter()
        pace = (ended - started) / (at.stop - at.start)
        if at.stop - at.start <= SHORT:
            self._short.append(pace)
        elif self._short and pace > _SLOWER * min(self._short):
            self._alone_until = ended + _PATIENCE * (ended - started)
        return made

    def _length(self, size: int) -> int:
        if self.whole:
            return size
        if self._threads == 1:
            return SHARE
        return SHORT if len(self._short) < _FIRST or self._hindered else SHARE * self._threads

    @property
    def _hindered(self) -> bool:
        return time.perf_counter() < self._alone_until

    def share(self, tasks: Sequence[Task], work: Callable[[Task], Answer]) -> list[Answer]:
        """What ``work`` makes of each of ``tasks``, which are long and of one thread each: several at a time."""
        if self._threads == 1 or len(tasks) < 2 or self._hindered:
            return [work(task) for task in tasks]
        inference = torch.is_inference_mode_enabled()

        def run(task: Task) -> Answer:
            with torch.inference_mode(inference), torch.no_grad():  # modes belong to a thread
                return work(task)

        with ThreadPoolExecutor(min(self._threads, len(tasks))) as pool:
            return list(pool.map(run, tasks))
