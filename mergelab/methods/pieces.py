"""Tensors piece by piece: small enough for the cache, large enough for threads, and able to be broken off.

What is made on the way from the stored tensors to the result then never leaves the cache. Within an operation on a
piece torch shares the elements out among its threads, each time in the same way, so that a thread finds in its own
cache what it made before. (Threads of ours on smaller pieces would take turns: Python lets one at a time call torch.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Task = TypeVar("Task")
Answer = TypeVar("Answer")

SHARE = 1 << 17
"""Elements of a piece for each thread: 512 KiB in float32. More would leave the cache; fewer would have torch's threads
wait for one another more often, which is dear on a busy machine.
"""


class Pieces:
    """A way through tensors, flat, piece by piece. On other devices than the CPU a tensor is one piece.

    No result depends on the length of pieces, and so none on the number of threads.

    Attributes:
        whole: whether a tensor is one piece.
    """

    def __init__(self, device: torch.device, stop: Callable[[], object] | None = None) -> None:
        """``stop`` is called between pieces; it raises what is to break the work off."""
        self.whole = device.type != "cpu"
        self._threads = 1 if self.whole else torch.get_num_threads()
        self._stop = stop or (lambda: None)

    def spans(self, size: int) -> Iterator[slice]:
        """The pieces of ``size`` elements, one after the other."""
        step = self.length(size)
        for at in range(0, size, step):
            self._stop()
            yield slice(at, min(at + step, size))

    def length(self, size: int) -> int:
        """That of a piece of so many elements; the last may be shorter."""
        return max(1, size) if self.whole else SHARE * self._threads

    def share(self, tasks: Sequence[Task], work: Callable[[Task], Answer]) -> list[Answer]:
        """What ``work`` makes of each of ``tasks``, which are long and of one thread each: several at a time."""
        if self._threads == 1 or len(tasks) < 2:
            return [work(task) for task in tasks]
        inference = torch.is_inference_mode_enabled()

        def run(task: Task) -> Answer:
            with torch.inference_mode(inference), torch.no_grad():  # modes belong to a thread
                return work(task)

        with ThreadPoolExecutor(min(self._threads, len(tasks))) as pool:
            return list(pool.map(run, tasks))
