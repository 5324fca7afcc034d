"""How often each magnitude of a task vector occurs: once known, the k largest for any k need no look at the values.

What fine-tuning changed lies on the grid of the stored dtype: of bfloat16 weights, a piece of 2^18 changes has a few
thousand magnitudes. Where there are more than a table in the near cache holds, there is no census.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mergelab.methods.vectors import Part, Scan, Sizes, TaskVectors


class Chosen(NamedTuple):
    """A k-th magnitude."""

    pattern: int
    missing: int
    """How many of its equals belong to the k largest."""
    equals: Sizes
    """How many equals each piece has."""


@dataclass(frozen=True, eq=False)
class Census:
    """The magnitudes of a task vector.

    Attributes:
        starts: where the pieces begin, and the last ends.
        parts: one for each piece; none where there are too many magnitudes.
        sizes: all magnitudes, each once, the largest first.
        up_to: how many elements are at least as large as each.
    """

    starts: Sequence[int]
    parts: Sequence[Part]
    sizes: Sizes
    up_to: Sizes

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.sizes.nbytes + self.up_to.nbytes + sum(one.nbytes for part in self.parts for one in part)

    def kth(self, k: int) -> Chosen:
        """The k-th largest magnitude, 1 <= k <= n."""
        place = int(np.searchsorted(self.up_to, k))
        pattern, above = self.sizes[place], int(self.up_to[place - 1]) if place else 0
        equals = np.array([part.counts[part.sizes == pattern].sum() for part in self.parts])
        return Chosen(int(pattern), k - above, equals)


def taken(vectors: TaskVectors, places: Sequence[int]) -> dict[int, Census]:
    """The census of each task vector at ``places`` that has one."""
    scan = vectors.scan
    if scan is None:
        return {}

    def take(missing: Sequence[tuple[int, Hashable]]) -> list[Census]:
        asked = [place for place, _ in missing]
        pieces = vectors.pieces.map(vectors.size, lambda at: (at.start, [scan.count(place, at) for place in asked]))
        starts = [*(start for start, _ in pieces), vectors.size]
        each = list(zip(*(parts for _, parts in pieces), strict=True))
        return vectors.pieces.share(each, lambda parts: _census(scan, starts, parts))

    found = vectors.answers([(place, "census") for place in places], take)
    return {place: census for place, census in zip(places, found, strict=True) if census.parts}


def _census(scan: Scan, starts: Sequence[int], parts: Sequence[Part | None]) -> Census:
    known = [part for part in parts if part is not None]
    merged = scan.join(known) if len(known) == len(parts) else None
    if merged is None:
        nothing = np.empty(0, np.int32)
        return Census((), (), nothing, nothing)
    order = np.argsort(merged.sizes)[::-1]
    return Census(starts, known, merged.sizes[order], np.cumsum(merged.counts[order]))
