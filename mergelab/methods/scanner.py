"""What looks at the magnitudes of task vectors where they are stored, by compiled loops. Only ``fused`` imports this,
late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mergelab.methods import fused, loops, scan, sums
from mergelab.methods.vectors import Part, Sizes, Told

_SLOTS = 1 << 13  # of the table of a piece: 64 KiB with the counts
_MANY_SLOTS = 1 << 16  # of a whole task vector's
_THINS = ("lowest", "outliers", "mask")  # attributes of ``fused.Term``


class Scanner:
    """A ``vectors.Scan`` of contiguous tensors on the CPU."""

    def __init__(self, models: Sequence[Tensor], base: Tensor, kinds: Sequence[int]) -> None:
        """Scan each of ``models`` minus ``base``; ``kinds`` are the dtypes, the base's first, as in ``loops``."""
        self._stored = (base, *models)  # it reads at their addresses
        own, *others = kinds
        self._rows = [
            (model.data_ptr(), kind, base.data_ptr(), own) for model, kind in zip(models, others, strict=True)
        ]

    def pick(self, place: int, at: Sizes) -> Sizes:
        """See ``vectors.Scan``."""
        sizes = np.empty(len(at), np.int32)
        scan.pick(*self._rows[place], at, sizes)
        return sizes

    def tally(self, place: int, low: int, high: int, at: slice) -> tuple[int, int, int, Any]:
        """See ``vectors.Scan``."""
        between = np.empty(at.stop - at.start, np.int32)
        *counts, inside = scan.tally(*self._rows[place], low, high, at.start, at.stop, between)
        return (*counts, between[:inside].copy())

    def nth(self, place: int, pattern: int, rank: int, at: slice) -> int:
        """See ``vectors.Scan``."""
        return int(scan.nth(*self._rows[place], pattern, rank, at.start, at.stop))

    def count(self, place: int, at: slice) -> Part | None:
        """See ``vectors.Scan``."""
        sizes, counts = np.full(_SLOTS, scan.EMPTY), np.zeros(_SLOTS, np.int32)
        many = scan.count(*self._rows[place], at.start, at.stop, sizes, counts)
        return _entered(sizes, counts) if many >= 0 else None

    def join(self, parts: Sequence[Part]) -> Part | None:
        """See ``vectors.Scan``."""
        sizes, counts = np.full(_MANY_SLOTS, scan.EMPTY), np.zeros(_MANY_SLOTS, np.int64)
        given = (np.concatenate(own) for own in zip(*parts, strict=True))
        return _entered(sizes, counts) if scan.join(*given, sizes, counts) >= 0 else None

    def absolute(self, places: Sequence[int], told: Told, at: slice) -> list[list[float]] | None:
        """See ``vectors.Scan``."""
        steps = [name for name in told if name != "nothing"]
        if any(told.get("nothing", ())) or any(name not in _THINS for name in steps):
            return None
        found = []
        for place in places:
            _, kind, base, own = self._rows[place]
            thinned = {name: told[name][place] for name in steps}
            term = np.array(fused.Term(self._stored[1 + place], 0.0, **thinned).row())
            rows = np.empty(math.ceil((at.stop - at.start) / sums.ROW))
            kinds, lanes = np.array((own, kind)), np.empty(sums.LANES)
            loops.absolute(term, kinds, base, at.start, at.stop, sums.ROW, lanes, rows)
            found.append(rows.tolist())
        return found


def _entered(sizes: Sizes, counts: Sizes) -> Part:
    full = np.flatnonzero(sizes != scan.EMPTY)
    return Part(sizes[full], counts[full])
