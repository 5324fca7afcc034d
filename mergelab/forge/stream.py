"""Stream: the tensors of a plan on their way from the sources' files to those of the merge.

One thread reads ahead, the caller's computes, one hashes and writes behind it. What is only copied passes in pieces,
and never is a tensor: where nothing is computed, torch is not loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mergelab.forge.buffers import Buffers
from mergelab.forge.lanes import Ahead, Behind, Make
from mergelab.models.copies import copied
from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Given, Input, Step, made_of
from mergelab.weights.ranges import Ranges
from mergelab.weights.shards import Shard, ShardWriter

if TYPE_CHECKING:
    import torch

    from mergelab.forge.making import Maker

_PIECE = 4 << 20  # bytes of a copy that pass at a time
_FEW, _MANY = 32 << 20, 400 << 20  # bytes: bounds of what is read ahead
_BEHIND = 32 << 20  # bytes that wait to be written
_KEPT = 128 << 20  # bytes of memory that wait to be used again: fresh pages cost as much as reading into them

Load: TypeAlias = Sequence[memoryview]
"""A piece of a copy; or the stored tensors that a step is made of, in the order of its leaves."""


@dataclass(frozen=True)
class Stream:
    """Where tensors come from, and who is told.

    Attributes:
        planned: the plan.
        device: where the arithmetic is done, by its name.
        heed: called often; what it raises ends everything.
        tell: called with the name of a tensor and the number of its bytes that went on their way to the file since
            the last call.
    """

    planned: Plan
    device: str
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
            ranges, buffers = stack.enter_context(Ranges()), Buffers(_KEPT)
            files = stack.enter_context(ExitStack())  # closed when no thread writes any more
            behind = stack.enter_context(Behind(_BEHIND, self.heed))
            ahead = stack.enter_context(Ahead(self._loads(order, ranges, buffers), self._ahead(order), self.heed))
            maker = self._maker(order, buffers, stack)
            for shard in shards:
                part = replace(shard, name=f"{shard.name}.part")
                writer = files.enter_context(ShardWriter(folder, part, metadata))
                for name in shard.specs:
                    self.heed()
                    self._pass(steps[name], maker, ahead, behind, writer, buffers)
                ready()
                behind.give(partial(_end, writer, shard.name, done))
            behind.finish()

    def _maker(self, steps: Sequence[Step], buffers: Buffers, stack: ExitStack) -> Maker | None:
        """Who computes; None where nothing is."""
        if all(copied(self.planned, step) for step in steps):
            return None
        from mergelab.forge.making import Maker  # which loads torch, while the first tensors are read

        return stack.enter_context(Maker(self.planned, self.device, buffers, self.heed))

    def _pass(
        self,
        step: Step,
        maker: Maker | None,
        ahead: Ahead[Load],
        behind: Behind,
        writer: ShardWriter,
        buffers: Buffers,
    ) -> None:
        """One tensor, from the reader to the writer."""
        if maker is None or copied(self.planned, step):
            behind.give(partial(writer.begin, step.name, step.dtype, step.shape))
            for _ in _pieces(step.bytes):
                (piece,) = ahead.next()
                behind.give(partial(_append, writer, piece, buffers), piece.nbytes)
                self.tell(step.name, piece.nbytes)
            return
        made, free = maker.make(step, dict(zip(_leaves(step), ahead.next(), strict=True)))
        behind.give(partial(_write, writer, step.name, made, free), made.nbytes)
        self.tell(step.name, made.nbytes)

    def _loads(self, steps: Sequence[Step], ranges: Ranges, buffers: Buffers) -> Iterator[tuple[int, Make[Load]]]:
        """What is read, in order."""
        for step in steps:
            given = copied(self.planned, step)
            if given is not None:
                for at in _pieces(step.bytes):
                    yield len(at), partial(self._read, {given: at}, ranges, buffers)
            else:
                inputs = {one: range(self._size(one)) for one in _leaves(step)}
                yield sum(map(len, inputs.values())), partial(self._read, inputs, ranges, buffers)

    def _read(self, wanted: Mapping[Input, range], ranges: Ranges, buffers: Buffers, look: Callable[[], None]) -> Load:
        """These bytes of stored tensors."""
        found = [buffers.take(len(at)) for at in wanted.values()]
        for (given, at), place in zip(wanted.items(), found, strict=True):
            ranges.read(self.planned.checkpoints[given.source], given.name, at.start, place, look)
        return found

    def _size(self, given: Input) -> int:
        return self.planned.checkpoints[given.source].specs[given.name].bytes

    def _ahead(self, steps: Sequence[Step]) -> int:
        """Bytes that are read ahead: the inputs of the widest step, within bounds."""
        made = (step for step in steps if not copied(self.planned, step))
        widest = max((sum(map(self._size, _leaves(step))) for step in made), default=0)
        return min(max(widest, _FEW), _MANY)


def _append(writer: ShardWriter, piece: memoryview, buffers: Buffers) -> None:
    writer.append(piece)
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
