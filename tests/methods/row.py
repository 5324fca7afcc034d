"""A row of the table of laws: a method, its slow reference, and the laws that it breaks, with reasons."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from beartype import beartype
from jaxtyping import jaxtyped

from mergelab import methods
from mergelab.methods import Method

Numbers = dict[str, object]


@dataclass(frozen=True)
class Row:
    """A method under law.

    Attributes:
        reference: the slow one.
        alone: numbers with which the last of so many models comes out whole.
        nothing: numbers with which no model takes part: the result is the base, or zero where there is none.
        decides: whether it compares values, so that a rounding can change a result by more than a rounding. It
            is then held against the reference on numbers that float32 adds and multiplies exactly.
        steep: how much more than a weighted sum it amplifies roundings (1 / sin of the smallest angle ...).
        exceptions: laws that it breaks -> why. Each is tried, and must be broken.
    """

    name: str
    reference: Callable[..., list[float]]
    alone: Callable[[int], Numbers]
    nothing: Callable[[int], Numbers]
    decides: bool = False
    steep: float = 1.0
    exceptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def method(self) -> Method:
        """The method, its function checked by jaxtyping: one shape in, the same shape out."""
        return _checked(self.name)

    def __str__(self) -> str:
        return self.name


@functools.cache
def _checked(name: str) -> Method:
    found = methods.get(name)
    return dataclasses.replace(found, function=jaxtyped(typechecker=beartype)(found.function))


def last(count: int) -> list[float]:
    """One-hot weights: the last model alone."""
    return [0.0] * (count - 1) + [1.0]


Vector = list[float]


def places(vectors: Sequence[Vector]) -> list[tuple[float, ...]]:
    """The values at each place, one for each vector."""
    return list(zip(*vectors, strict=True))
