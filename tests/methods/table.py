"""The table of methods that the laws are tried on: a row for each, and the drawing of cases."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from mergelab import methods
from mergelab.methods import Parameter
from tests.methods.row import Numbers, Row
from tests.methods.rows import blend, consensus, delta, layers, pairwise, spectral, sphere

TABLE: tuple[Row, ...] = (
    *blend.ROWS,
    *sphere.ROWS,
    *delta.ROWS,
    *layers.ROWS,
    *consensus.ROWS,
    *pairwise.ROWS,
    *spectral.ROWS,
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
        return methods.apply(
            case.row.method,
            case.models,
            case.base,
            case.numbers,
            dtype=dtype,
            seed=1,
            name="w",
            cutoffs=case.cutoffs,
        )

    @property
    def cutoffs(self) -> list[float] | None:
        """Where whole models are trimmed: the smallest magnitudes kept, with these tensors for the whole models."""
        if self.numbers.get("trim_scope") != "model" or self.models[0].is_meta:
            return None
        taus = [(model.double() - self.base.double()).flatten().tolist() for model in self.models]
        density = self.numbers.get("density", 1.0)
        density = density if isinstance(density, list) else [density] * len(taus)
        kept = [delta.largest(t, delta.kept(share, len(t))) for t, share in zip(taus, density, strict=True)]
        return [abs(tau[order[-1]]) if order else math.inf for tau, order in zip(taus, kept, strict=True)]

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
        asked = inspect.signature(self.row.reference).parameters
        if "shape" in asked:
            arguments["shape"] = tuple(self.models[0].shape)
        if "uniforms" in asked:
            arguments["uniforms"] = uniforms(len(self.models), self.models[0].numel())
        return torch.tensor(self.row.reference(*inputs, **arguments), dtype=torch.float64).view(self.models[0].shape)

    def rounding(self) -> float:
        """How far float32 may be off: some roundings of the largest input, times what the numbers make of it."""
        weight = self.numbers.get("weight", 1.0)
        weight = weight if isinstance(weight, Sequence) else [weight] * len(self.models)
        gain = 1 + sum(abs(one) for one in weight)
        if self.numbers.get("normalize", self.row.method.parameters.get("normalize")):
            gain *= 16  # weights are multiples of 1/16: so is the smallest sum to divide by
        rescale = self.row.method.parameters.get("rescale")
        if rescale is not None and self.numbers.get("rescale", rescale.default):
            gain *= max(16, self.models[0].numel())  # the smallest may get the norm of all; densities in 1/16
        gain *= self.row.steep
        gain *= 1 + abs(float(self.numbers.get("lambda", 0)))
        largest = max((float(one.abs().max()) for one in self.inputs if one.numel()), default=0.0)
        return 4 * 2**-24 * gain * largest


def uniforms(count: int, size: int) -> list[list[float]]:
    """The draws for ``count`` models of ``size`` elements, with the seed and name of ``Case.merge``: a seed for each
    model from the generator of the tensor, and of each seed one block of Philox4x32-10 for four elements.
    """
    digest = hashlib.sha256(b"1\0w").digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    seeds = torch.randint(2**63 - 1, (count,), generator=generator).tolist()
    return [[philox((at // 4, 0, 0, 0), seed)[at % 4] / 2**32 for at in range(size)] for seed in seeds]


@cache
def philox(counter: tuple[int, int, int, int], key: int) -> tuple[int, int, int, int]:
    """A block of Philox4x32-10, from the paper (SC 2011, section 3.3)."""
    first, second, third, fourth = counter
    low, high = key % 2**32, key >> 32
    for _ in range(10):
        left, right = 0xD2511F53 * first, 0xCD9E8D57 * third
        first, second, third, fourth = (
            right >> 32 ^ second ^ low,
            right % 2**32,
            left >> 32 ^ fourth ^ high,
            left % 2**32,
        )
        low, high = (low + 0x9E3779B9) % 2**32, (high + 0xBB67AE85) % 2**32
    return first, second, third, fourth


def numbers(row: Row, count: int) -> st.SearchStrategy[Numbers]:
    """Right numbers for ``count`` models, made from the method's own declaration."""
    known = row.method.parameters.values()
    drawn = st.fixed_dictionaries({parameter.name: _setting(row, parameter, count) for parameter in known})
    return drawn.filter(lambda values: not row.method.check(values, count))


def _setting(row: Row, parameter: Parameter, count: int) -> st.SearchStrategy[object]:
    one = st.sampled_from(row.draws[parameter.name]) if parameter.name in row.draws else _value(parameter)
    if parameter.per_model:
        return st.lists(one, min_size=count, max_size=count) | one
    return one


def _value(parameter: Parameter) -> st.SearchStrategy[object]:
    if parameter.kind is bool:
        return st.booleans()
    if parameter.choices:
        return st.sampled_from(parameter.choices)
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
    them; ``fixed`` numbers are drawn as told, those that the method knows.
    """
    shape = draw(st.sampled_from(SHAPES))
    most = 3 if row.method.inputs[1] is None else row.method.inputs[1]
    fewest = max(row.method.inputs[0], min(2, most)) if several else row.method.inputs[0]
    count = draw(st.integers(fewest, most))
    tensors = (values or draw(st.sampled_from((COARSE,) if row.absolute else (COARSE, FINE)))).tensor(shape)
    known = [(name, value) for name, value in fixed.items() if name in row.method.parameters]
    chosen = draw(numbers(row, count)) | {name: draw(value) for name, value in known}
    models = tuple(draw(tensors) for _ in range(count))
    based = row.method.base == "required" or (row.method.base == "optional" and draw(st.booleans()))
    return Case(row, models, draw(tensors) if based else None, chosen)
