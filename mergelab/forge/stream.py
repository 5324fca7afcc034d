"""Stream: the tensors of a plan on their way from the sources' files to those of the merge.

One thread reads ahead, the caller's computes, one hashes and writes behind it. What is only copied passes in pieces,
and never is a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch

from mergelab.forge.buffers import Buffers
from mergelab.forge.lanes import Ahead, Behind, Make
from mergelab.models.devices import sheltered
from mergelab.models.findings import Findings
from mergelab.models.pour import DTYPES, Pouring
from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Given, Input, Step, made_of
from mergelab.weights.ranges import Ranges
from mergelab.weights.shards import Shard, ShardWriter

_NO_MEMORY = "Close other programs, or merge on the CPU (device='cpu')."
_PIECE = 4 << 20  # bytes of a copy that pass at a time
_FEW, _MANY = 32 << 20, 400 << 20  # bytes: bounds of what is read ahead
_BEHIND = 32 << 20  # bytes that wait to be written

Load: TypeAlias = tuple[torch.Tensor, ...]
"""A piece of a copy, as bytes; or the stored tensors that a step is made of."""


@dataclass(frozen=True)
class Stream:
    """Where tensors come from, and who is told.

    Attributes:
        planned: the plan.
        device: where the arithmetic is done.
        heed: called often; what it raises ends everything.
        tell: called with the name of a tensor and the number of its bytes that went on their way to the file since
            the last call.
    """

    planned: Plan
    device: torch.device
    heed: Callable[[], None]
    tell: Callable[[str, int], None]

    def pour(
        self,
        shards: Sequence[Shard],
        folder: Path,
        metadata: Mapping[str, str],
        ready: Callable[[], None],
        done: Callable[[str, str], None],
    ) -> None:
        """Write weight files, each under its name with ``.part`` behind it.

        Args:
            shards: the files, with tensors of the plan.
            folder: where they are written.
            metadata: goes into their headers.
            ready: called before a file is completed; what it raises ends everything.
            done: called on another thread with the name of each file once it is complete, and its SHA-256.

        Raises:
            SourceError: a source cannot be read any more, or changed.
            AssemblyError: memory ran out.
            OutputError, OSError: a file cannot be written.
        """
        steps = {step.name: step for step in self.planned.steps}
        order = [steps[name] for shard in shards for name in shard.specs]
        with ExitStack() as stack:
            ranges, more = stack.enter_context(Ranges()), stack.enter_context(Ranges())
            files = stack.enter_context(ExitStack())  # closed when no thread writes any more
            behind = stack.enter_context(Behind(_BEHIND, self.heed))
            buffers = Buffers(_FEW)
            loads = self._loads(order, ranges, buffers)
            ahead = stack.enter_context(Ahead(loads, self._ahead(order), self.heed))
            stack.enter_context(torch.inference_mode())
            shelf = _Shelf(self.planned, self.device, more, buffers)
            pouring = stack.enter_context(Pouring(shelf, self.heed))
            for shard in shards:
                part = replace(shard, name=f"{shard.name}.part")
                writer = files.enter_context(ShardWriter(folder, part, metadata))
                for name in shard.specs:
                    self.heed()
                    self._pass(steps[name], ahead, behind, writer, shelf, pouring)
                ready()
                behind.give(partial(_end, writer, shard.name, done))
            behind.finish()

    def _pass(
        self,
        step: Step,
        ahead: Ahead[Load],
        behind: Behind,
        writer: ShardWriter,
        shelf: _Shelf,
        pouring: Pouring,
    ) -> None:
        """One tensor, from the reader to the writer."""
        if self._copied(step):
            behind.give(partial(writer.begin, step.name, step.dtype, step.shape))
            for _ in _pieces(step.bytes):
                (piece,) = ahead.next()
                behind.give(partial(_append, writer, piece, shelf.buffers), piece.nbytes)
                self.tell(step.name, piece.nbytes)
            return
        shelf.given = dict(zip(_leaves(step), ahead.next(), strict=True))
        made = sheltered(lambda: pouring.tensor(step), device=self.device, hint=_NO_MEMORY)
        behind.give(partial(_write, writer, step.name, made, shelf.spent(made)), made.nbytes)
        self.tell(step.name, made.nbytes)

    def _copied(self, step: Step) -> Input | None:
        """What a step copies, where that is a stored tensor as it is."""
        given: Given = step
        while isinstance(given, Step) and given.copies:
            given = given.inputs[0]
        if not isinstance(given, Input):
            return None
        adapter = self.planned.checkpoints[given.source].adapter
        return None if adapter and given.name in adapter.changes else given

    def _loads(self, steps: Sequence[Step], ranges: Ranges, buffers: Buffers) -> Iterator[tuple[int, Make[Load]]]:
        """What is read, in order."""
        for step in steps:
            copied = self._copied(step)
            if copied is not None:
                for at in _pieces(step.bytes):
                    yield at.stop - at.start, partial(self._piece, copied, at, ranges, buffers)
            else:
                inputs = _leaves(step)
                yield self._size(inputs), partial(self._inputs, inputs, ranges, buffers)

    def _piece(self, given: Input, at: range, ranges: Ranges, buffers: Buffers, look: Callable[[], None]) -> Load:
        found = buffers.take(len(at))
        ranges.read(self.planned.checkpoints[given.source], given.name, at.start, found.numpy().data, look)
        return (found,)

    def _inputs(self, inputs: Sequence[Input], ranges: Ranges, buffers: Buffers, look: Callable[[], None]) -> Load:
        return tuple(_stored(self.planned, given, ranges, buffers, look) for given in inputs)

    def _size(self, inputs: Sequence[Input]) -> int:
        return sum(self.planned.checkpoints[given.source].specs[given.name].bytes for given in inputs)

    def _ahead(self, steps: Sequence[Step]) -> int:
        """Bytes that are read ahead: the inputs of the widest step, within bounds."""
        widest = max((self._size(_leaves(step)) for step in steps if not self._copied(step)), default=0)
        return min(max(widest, _FEW), _MANY)


class _Shelf:
    """A shelf that has what was read ahead, and keeps nothing.

    Attributes:
        given: the stored tensors of the step at hand.
    """

    def __init__(self, planned: Plan, device: torch.device, ranges: Ranges, buffers: Buffers) -> None:
        self.findings = Findings(budget=0)  # no step comes twice
        self.given: Mapping[Input, torch.Tensor] = {}
        self.buffers = buffers
        self._planned = planned
        self._device = device
        self._ranges = ranges
        self._lent: torch.Tensor | None = None

    def read(self, given: Input) -> torch.Tensor:
        """A tensor of a source, with its adapter: what was not read ahead is read now."""
        found = self.given.get(given)
        if found is None:
            found = _stored(self._planned, given, self._ranges, self.buffers, lambda: None)
        adapter = self._planned.checkpoints[given.source].adapter
        return (adapter.fold(given.name, found) if adapter else found).to(self._device)

    def find(self, key: bytes) -> None:
        """Nothing is kept."""

    def keep(self, key: bytes, made: torch.Tensor) -> None:
        """Nothing is kept."""

    def storage(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor | None:
        """Memory for a result, on the CPU."""
        if self._device.type != "cpu":
            return None
        self._lent = self.buffers.take(math.prod(shape) * dtype.itemsize)
        return self._lent.view(dtype).view(shape)

    def spent(self, made: torch.Tensor) -> Callable[[], None]:
        """A step is made: its inputs' memory is free, but for what the result lies in.

        Returns:
            Frees that too. What somebody else may hold, such as an adapter's result, is left alone.
        """
        place = made.untyped_storage().data_ptr()
        mine = [*self.given.values(), *([] if self._lent is None else [self._lent])]
        self.given, self._lent = {}, None
        still = [one for one in mine if one.untyped_storage().data_ptr() == place]
        for one in mine:
            if one.untyped_storage().data_ptr() != place:
                self.buffers.give(one)

        def free() -> None:
            for one in still[:1]:
                self.buffers.give(one)

        return free


def _stored(planned: Plan, given: Input, ranges: Ranges, buffers: Buffers, look: Callable[[], None]) -> torch.Tensor:
    checkpoint = planned.checkpoints[given.source]
    spec = checkpoint.specs[given.name]
    found = buffers.take(spec.bytes)
    ranges.read(checkpoint, given.name, 0, found.numpy().data, look)
    return found.view(DTYPES[spec.dtype]).view(spec.shape)


def _append(writer: ShardWriter, piece: torch.Tensor, buffers: Buffers) -> None:
    writer.append(piece.numpy().data)
    buffers.give(piece)


def _write(writer: ShardWriter, name: str, made: torch.Tensor, free: Callable[[], None]) -> None:
    writer.write(name, made)
    free()


def _leaves(step: Step) -> tuple[Input, ...]:
    """The stored tensors that a step is made of, each once."""
    found: dict[Input, None] = {}
    waiting: list[Given] = [step]
    while waiting:
        given = waiting.pop()
        if isinstance(given, Input):
            found[given] = None
        else:
            waiting += reversed(made_of(given))
    return tuple(found)


def _pieces(size: int) -> Iterator[range]:
    return (range(at, min(at + _PIECE, size)) for at in range(0, size, _PIECE))


def _end(writer: ShardWriter, name: str, done: Callable[[str, str], None]) -> None:
    writer.close()
    done(name, writer.sha256)
