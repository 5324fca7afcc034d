"""Making: the steps of a stream that are computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import torch

from mergelab.forge.buffers import Buffers
from mergelab.methods import fused
from mergelab.models.devices import sheltered
from mergelab.models.findings import Findings
from mergelab.models.pour import DTYPES, Pouring, prepare
from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Input, Step
from mergelab.weights.ranges import Ranges

_LARGE = (
    1 << 28
)  # bytes of weights from which it pays to wait for compiled loops, with which all goes five times as fast
_NO_MEMORY = "Close other programs, or merge on the CPU (device='cpu')."


class Maker:
    """Makes the tensors of steps from what was read ahead. For one thread; its own end with the block."""

    def __init__(self, planned: Plan, device: str, buffers: Buffers, heed: Callable[[], None]) -> None:
        """Begin to load what makes it faster.

        Args:
            device: where the arithmetic is done, by its name.
            buffers: what was read ahead is given back there.
            heed: called often; what it raises ends the work.
        """
        self._device = torch.device(device)
        self._ranges = Ranges()
        self._shelf = _Shelf(planned, self._device, self._ranges, buffers)
        self._heed = heed
        self._block = ExitStack()
        self._large = planned.bytes >= _LARGE
        prepare(planned.steps, self._device)

    def __enter__(self) -> Self:
        self._block.enter_context(self._ranges)
        self._block.enter_context(torch.inference_mode())
        self._pouring = self._block.enter_context(Pouring(self._shelf, self._heed))
        if self._large:
            fused.awaited(self._heed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.close()

    def make(self, step: Step, given: Mapping[Input, memoryview]) -> tuple[torch.Tensor, Callable[[], None]]:
        """The tensor of a step.

        Args:
            given: the stored tensors that it is made of, as bytes: theirs is the memory from here on.

        Returns:
            The tensor, and what is to be called when nobody looks at it any more.

        Raises:
            SourceError, MethodError: as ``Pouring.tensor``.
            AssemblyError: memory ran out.
        """
        self._shelf.given = given
        made = sheltered(lambda: self._pouring.tensor(step), device=self._device, hint=_NO_MEMORY)
        return made, self._shelf.spent(made)


class _Shelf:
    """A shelf that has what was read ahead, and keeps nothing.

    Attributes:
        given: the stored tensors of the step at hand.
    """

    def __init__(self, planned: Plan, device: torch.device, ranges: Ranges, buffers: Buffers) -> None:
        self.findings = Findings(budget=0)  # no step comes twice
        self.given: Mapping[Input, memoryview] = {}
        self._planned = planned
        self._device = device
        self._ranges = ranges
        self._buffers = buffers
        self._lent: memoryview | None = None

    def read(self, given: Input) -> torch.Tensor:
        """A tensor of a source, with its adapter: what was not read ahead is read now."""
        checkpoint = self._planned.checkpoints[given.source]
        spec, content = checkpoint.specs[given.name], self.given.get(given)
        if content is None:
            content = self._buffers.take(spec.bytes)
            self._ranges.read(checkpoint, given.name, 0, content)
        found = _tensor(content, DTYPES[spec.dtype], spec.shape)
        return (checkpoint.adapter.fold(given.name, found) if checkpoint.adapter else found).to(self._device)

    def find(self, key: bytes) -> None:
        """Nothing is kept."""

    def keep(self, key: bytes, made: torch.Tensor) -> None:
        """Nothing is kept."""

    def storage(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor | None:
        """Memory for a result, on the CPU."""
        if self._device.type != "cpu":
            return None
        self._lent = self._buffers.take(math.prod(shape) * dtype.itemsize)
        return _tensor(self._lent, dtype, shape)

    def spent(self, made: torch.Tensor) -> Callable[[], None]:
        """A step is made: its inputs' memory is free, but for what the result lies in.

        Returns:
            Frees that too. What somebody else may hold, such as an adapter's result, is left alone.
        """
        mine = [*self.given.values(), *([] if self._lent is None else [self._lent])]
        self.given, self._lent = {}, None
        place = made.untyped_storage().data_ptr()
        under = [one for one in mine if _address(one) == place]
        for one in mine:
            if _address(one) != place:
                self._buffers.give(one)

        def free() -> None:
            for one in under:
                self._buffers.give(one)

        return free


def _tensor(content: memoryview, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor that lies in this memory."""
    return _flat(content).view(dtype).view(shape)


def _address(content: memoryview) -> int:
    return _flat(content).data_ptr()


def _flat(content: memoryview) -> torch.Tensor:
    return torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
