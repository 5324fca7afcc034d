"""Findings: what was found out about task vectors, kept for the steps and turns to come."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from mergelab.methods import select
from mergelab.methods.census import Census
from mergelab.methods.vectors import Found
from mergelab.recipes.step import Peers, TaskVector

_CUTOFFS = 64  # magnitudes that are kept: one for each model and density
_SMALL = 512  # bytes: what a number or a threshold takes, with its key


class Findings:
    """What was found out about task vectors, kept for the steps and turns to come. It saves passes and changes no bit.

    Made for one set of opened checkpoints on one device. Several threads may use it.
    """

    def __init__(self, budget: int = 256_000_000) -> None:
        """Keep findings of up to ``budget`` bytes in all; those that were used longest ago go first."""
        self._lock = threading.Lock()
        self._budget = budget
        self._bytes = 0
        self._found: OrderedDict[tuple[TaskVector, Hashable], Any] = OrderedDict()
        self._cutoffs: dict[Peers, float] = {}

    @property
    def bytes(self) -> int:
        """What they take."""
        return self._bytes

    def about(self, vectors: Sequence[TaskVector]) -> Found:
        """What is known about ``vectors``, and room for more: (place among them, what was asked) -> the answer."""
        return _About(self, vectors)

    def get(self, key: tuple[TaskVector, Hashable]) -> Any:
        """An answer, or None where it is not known."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def keep(self, key: tuple[TaskVector, Hashable], answer: Any) -> None:
        """Keep an answer for the next time."""
        with self._lock:
            self._bytes += _bytes(answer) - _bytes(self._found.pop(key, None))
            self._found[key] = answer
            while self._bytes > self._budget:
                self._bytes -= _bytes(self._found.popitem(last=False)[1])

    def cutoff(self, peers: Peers, change: Callable[[TaskVector], torch.Tensor]) -> float:
        """The magnitude from which elements of a whole model are kept: looked for once.

        Args:
            change: gives a task vector's values.
        """
        if peers not in self._cutoffs:
            double = any(vector.double for vector in peers.vectors)
            dtype = torch.float64 if double else torch.float32
            found = select.cutoff(lambda: map(change, peers.vectors), peers.density, peers.elements, dtype)
            self._cutoffs[peers] = found
            for oldest in list(self._cutoffs)[:-_CUTOFFS]:
                del self._cutoffs[oldest]
        return self._cutoffs[peers]


class _About:
    """The findings about some task vectors, by their places."""

    def __init__(self, findings: Findings, vectors: Sequence[TaskVector]) -> None:
        self._findings = findings
        self._vectors = vectors

    def get(self, key: tuple[int, Hashable], /) -> Any:
        place, question = key
        return self._findings.get((self._vectors[place], question))

    def __setitem__(self, key: tuple[int, Hashable], answer: Any, /) -> None:
        place, question = key
        self._findings.keep((self._vectors[place], question), answer)


def _bytes(answer: Any) -> int:
    if answer is None:
        return 0
    return _SMALL + (answer.nbytes if isinstance(answer, torch.Tensor | Census) else 0)
