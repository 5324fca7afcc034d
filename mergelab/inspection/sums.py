"""Sums over task vectors: all that is kept of the tensors of a place. They add up over tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mergelab.inspection.magnitudes import Both, Lone

Pair = tuple[str, str]


@dataclass(frozen=True)
class Alone:
    """Sums over one source's task vector. Those of several tensors add up.

    Attributes:
        elements: how many weights.
        base: sum of the squares of the base's weights.
        energy: sum of the squares of the changes.
        largest: the largest magnitude of a change.
        kept: what is left of it at each density.
    """

    elements: int
    base: float
    energy: float
    largest: float
    kept: Lone

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers, the base's too."""
        return bool(np.isfinite(self.base + self.energy))

    def __add__(self, other: Alone) -> Alone:
        return Alone(
            self.elements + other.elements,
            self.base + other.base,
            self.energy + other.energy,
            float(np.maximum(self.largest, other.largest)),
            self.kept + other.kept,
        )


@dataclass(frozen=True)
class Together:
    """Sums over two sources' task vectors, where both have the tensor. Those of several tensors add up.

    Attributes:
        one, other: of each by itself.
        dot: sum of the products of their changes.
        squares: sum of the squares of these products.
        kept: what is left of both at each density.
    """

    one: Alone
    other: Alone
    dot: float
    squares: float
    kept: Both

    def __add__(self, other: Together) -> Together:
        return Together(
            self.one + other.one,
            self.other + other.other,
            self.dot + other.dot,
            self.squares + other.squares,
            self.kept + other.kept,
        )

    def turned(self) -> Together:
        """With the two exchanged."""
        return Together(self.other, self.one, self.dot, self.squares, self.kept)


@dataclass(frozen=True, eq=False)
class Sums:
    """What is kept of the tensors of one place.

    Attributes:
        alone: by source.
        together: by pair of sources, in their order.
    """

    alone: Mapping[str, Alone]
    together: Mapping[Pair, Together]

    def __add__(self, other: Sums) -> Sums:
        return Sums(_added(self.alone, other.alone), _added(self.together, other.together))


def _added(one: Mapping, other: Mapping) -> dict:  # type: ignore[type-arg]  # of Alone by str, of Together by Pair
    return {**one, **{key: one[key] + value if key in one else value for key, value in other.items()}}
