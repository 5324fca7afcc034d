"""A row of the table of laws: a method, its slow reference, and the laws that it breaks, with reasons."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from beartype import beartype
from jaxtyping import jaxtyped

from mergelab import methods
from mergelab.methods import Method, tensors

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
        elects: whether it elects signs: where they nearly balance, the rounding of a rescaling factor can tip them. It
            is then held against the reference without rescaling.
        steep: how much more than a weighted sum it amplifies roundings (1 / sin of the smallest angle ...).
        threaded: whether it calls on linear algebra that shares sums among threads (``spectral`` says why that is left
            alone): its last bit may then differ. With one number of threads it may not.
        absolute: whether it compares lengths with fixed thresholds: the laws then draw values that are far above.
        draws: values to draw for numbers on a scale of their own.
        exceptions: laws that it breaks -> why. Each is tried, and must be broken.
    """

    name: str
    reference: Callable[..., list[float]]
    alone: Callable[[int], Numbers]
    nothing: Callable[[int], Numbers]
    decides: bool = False
    elects: bool = False
    steep: float = 1.0
    threaded: bool = False
    absolute: bool = False
    draws: Mapping[str, Sequence[object]] = field(default_factory=dict)
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
    given = found.function
    # A module that does without torch until it computes names tensors for type checkers alone.
    function = types.FunctionType(
        given.__code__, {**vars(tensors), **given.__globals__}, given.__name__, given.__defaults__, given.__closure__
    )
    functools.update_wrapper(function, given).__kwdefaults__ = given.__kwdefaults__
    return dataclasses.replace(found, function=jaxtyped(typechecker=beartype)(function))


def last(count: int) -> list[float]:
    """One-hot weights: the last model alone."""
    return [0.0] * (count - 1) + [1.0]


Vector = list[float]


def places(vectors: Sequence[Vector]) -> list[tuple[float, ...]]:
    """The values at each place, one for each vector."""
    return list(zip(*vectors, strict=True))


def along(shape: tuple[int, ...], axis: int | None) -> list[list[int]]:
    """The places of each vector along an axis of a tensor of that shape; None: one vector of all places.

    A scalar is one vector of one.
    """
    grid = np.arange(math.prod(shape)).reshape(shape or (1,))
    rows = grid.reshape(1, -1) if axis is None else np.moveaxis(grid, axis, -1).reshape(-1, grid.shape[axis])
    return rows.tolist()
