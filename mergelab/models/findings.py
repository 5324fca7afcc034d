"""Findings: what was found out about task vectors, kept for the steps and turns to come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from mergelab.methods import select
from mergelab.recipes.step import Peers, TaskVector

_CUTOFFS = 64  # magnitudes that are kept: one for each model and density


class Findings:
    """What was found out about task vectors, kept for the steps and turns to come. It saves passes and changes no bit.

    Made for one set of opened checkpoints on one device.
    """

    def __init__(self, budget: int = 64_000_000) -> None:
        """Keep counts of magnitudes up to ``budget`` bytes; those that were used longest ago go first."""
        self._budget = budget
        self._bytes = 0
        self._counts: dict[TaskVector, select.Counts] = {}
        self._cutoffs: dict[Peers, float] = {}

    def counts(self, vectors: Sequence[TaskVector]) -> dict[int, select.Counts]:
        """The counts that are known, by place among ``vectors``."""
        return {place: self._counts[one] for place, one in enumerate(vectors) if one in self._counts}

    def keep(self, vectors: Sequence[TaskVector], counts: Mapping[int, select.Counts]) -> None:
        """Keep counts for the next time."""
        for place, found in counts.items():
            old = self._counts.pop(vectors[place], None)
            self._bytes += found.bytes - (old.bytes if old else 0)
            self._counts[vectors[place]] = found
        while self._bytes > self._budget:
            self._bytes -= self._counts.pop(next(iter(self._counts))).bytes

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
