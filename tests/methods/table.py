"""The table of methods that the laws are tried on: a row for each, with its exceptions and their reasons."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from beartype import beartype
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from torch import Tensor

from mergelab import methods
from mergelab.methods import Method, Parameter
from tests.methods import reference

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
        exceptions: laws that it breaks -> why. Each is tried, and must be broken.
    """

    name: str
    reference: Callable[..., list[float]]
    alone: Callable[[int], Numbers]
    nothing: Callable[[int], Numbers]
    decides: bool = False
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


def _last(count: int) -> list[float]:
    return [0.0] * (count - 1) + [1.0]


FROM_THE_BASE = "the result lies between base and models"
ADDS = "task vectors add up: two equal ones count twice"

TABLE = (
    Row(
        "passthrough",
        reference.passthrough,
        alone=lambda _: {},
        nothing=lambda _: {"scale": 0.0},
    ),
    Row(
        "linear",
        reference.linear,
        alone=lambda count: {"weight": _last(count)},
        nothing=lambda _: {"weight": 0.0, "normalize": False},
    ),
    Row(
        "slerp",
        reference.slerp,
        alone=lambda _: {"t": 1.0},
        nothing=lambda _: {"t": 0.0},
        exceptions={
            "equal_models_give_that_model": FROM_THE_BASE,
            "not_a_number_stays_at_its_place": "lengths and angle are those of the whole tensor",
            "elements_are_merged_one_by_one": "lengths and angle are those of the whole tensor",
        },
    ),
    Row(
        "task_arithmetic",
        reference.task_arithmetic,
        alone=lambda count: {"weight": _last(count)},
        nothing=lambda _: {"weight": 0.0},
        exceptions={"equal_models_give_that_model": ADDS},
    ),
    Row(
        "ties",
        reference.ties,
        alone=lambda count: {"weight": _last(count)},
        nothing=lambda _: {"weight": 0.0},
        decides=True,
        exceptions={
            "mirrored_inputs_give_the_mirrored_result": "where the signs balance, plus is elected",
            "elements_are_merged_one_by_one": "the trim ranks the elements of the whole tensor",
        },
    ),
)
BY_NAME = {row.name: row for row in TABLE}


# Drawing ---------------------------------------------------------------------------------------------------

SHAPES = ((7,), (1,), (3, 5), (4, 2), (2, 3, 4), (), (11,))


@dataclass(frozen=True)
class Values:
    """A way to read drawn bytes as values: one draw makes a whole tensor, so that many cases cost little."""

    width: int
    read: Callable[[np.ndarray], np.ndarray]

    def tensor(self, shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
        size = self.width * math.prod(shape)
        return st.binary(min_size=size, max_size=size).map(
            lambda drawn: torch.tensor(self.read(np.frombuffer(drawn, np.uint8)).astype(np.float32)).view(shape)
        )


COARSE = Values(1, lambda drawn: (drawn % 9).astype(int) / 2 - 2)
"""-2 to 2 in halves: many ties, zeros and balanced signs."""
FINE = Values(2, lambda drawn: drawn.view("<i2") / 4096)
"""-8 to 8 in steps of 2^-12: differences, and their products with multiples of 1/16, are exact in float32."""
WIDE = Values(4, lambda drawn: drawn.view("<i2")[::2] * 2.0 ** (drawn[2::4] % 40 - 20.0))
"""16 bits at scales from 2^-20 to 2^19: every sum is rounded."""


@dataclass(frozen=True)
class Case:
    """Inputs of one merge."""

    row: Row
    models: tuple[Tensor, ...]
    base: Tensor | None
    numbers: Numbers

    def merge(self, dtype: torch.dtype | None = None, **changes: object) -> Tensor:
        """The result, in the dtype of the first model unless said otherwise, after ``changes`` to the case."""
        case = dataclasses.replace(self, **changes)
        dtype = case.models[0].dtype if dtype is None else dtype
        return methods.apply(case.row.method, case.models, case.base, case.numbers, dtype=dtype, seed=1, name="w")

    @property
    def inputs(self) -> list[Tensor]:
        return [*self.models, *([] if self.base is None else [self.base])]

    def map(self, change: Callable[[Tensor], Tensor]) -> Case:
        base = None if self.base is None else change(self.base)
        return dataclasses.replace(self, models=tuple(change(model) for model in self.models), base=base)

    def expected(self) -> Tensor:
        """What the reference gives, in float64."""
        arguments: dict[str, object] = {}
        for name, parameter in self.row.method.parameters.items():
            given = self.numbers.get(name)
            if given is not None and parameter.effect:
                each = isinstance(given, Sequence)
                spread = [given] * len(self.models) if parameter.per_model and not each else given
                arguments[self.row.method.arguments[name]] = spread
        flat = [model.double().flatten().tolist() for model in self.models]
        inputs = (flat,) if self.base is None else (flat, self.base.double().flatten().tolist())
        return torch.tensor(self.row.reference(*inputs, **arguments), dtype=torch.float64).view(self.models[0].shape)

    def rounding(self) -> float:
        """How far float32 may be off: some roundings of the largest input, times what the numbers make of it."""
        weight = self.numbers.get("weight", 1.0)
        weight = weight if isinstance(weight, Sequence) else [weight] * len(self.models)
        gain = 1 + sum(abs(one) for one in weight)
        if self.numbers.get("normalize", self.row.method.parameters.get("normalize")):
            gain *= 16  # weights are multiples of 1/16: so is the smallest sum to divide by
        if self.row.name == "slerp":
            gain *= 64  # 1 / sin of the smallest angle
        gain *= 1 + abs(float(self.numbers.get("lambda", 0)))
        largest = max((float(one.abs().max()) for one in self.inputs if one.numel()), default=0.0)
        return 4 * 2**-24 * gain * largest


def numbers(row: Row, count: int) -> st.SearchStrategy[Numbers]:
    """Right numbers for ``count`` models, made from the method's own declaration."""
    known = row.method.parameters.values()
    drawn = st.fixed_dictionaries({parameter.name: _setting(parameter, count) for parameter in known})
    return drawn.filter(lambda values: not row.method.check(values, count))


def _setting(parameter: Parameter, count: int) -> st.SearchStrategy[object]:
    one = _value(parameter)
    if parameter.per_model:
        return st.lists(one, min_size=count, max_size=count) | one
    return one


def _value(parameter: Parameter) -> st.SearchStrategy[object]:
    if parameter.kind is bool:
        return st.booleans()
    low, high = parameter.dial or (parameter.low, parameter.high)
    low, high = max(parameter.low, low - 1), min(parameter.high, high + 1)  # dials may be left, limits not
    return st.integers(round(low * 16), round(high * 16)).map(lambda step: step / 16)


@st.composite
def cases(
    draw: st.DrawFn,
    row: Row,
    values: Values | None = None,
    several: bool = False,
    **fixed: st.SearchStrategy[object],
) -> Case:
    """A case of ``row`` with ordinary float32 values; ``several``: of two models or more, for methods that take
    them; ``fixed`` numbers are drawn as told.
    """
    shape = draw(st.sampled_from(SHAPES))
    most = 3 if row.method.inputs[1] is None else row.method.inputs[1]
    fewest = max(row.method.inputs[0], min(2, most)) if several else row.method.inputs[0]
    count = draw(st.integers(fewest, most))
    tensors = (values or draw(st.sampled_from((COARSE, FINE)))).tensor(shape)
    chosen = draw(numbers(row, count)) | {name: draw(value) for name, value in fixed.items()}
    models = tuple(draw(tensors) for _ in range(count))
    return Case(row, models, draw(tensors) if row.method.base == "required" else None, chosen)
