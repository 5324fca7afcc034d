"""Pouring steps: inputs read, merged, cast once. The live model and the folder on disk both go through here.

An input that an earlier stage makes is poured first, and rounded to that stage's dtype, as if it had been written to
disk and read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

import torch

from mergelab import methods
from mergelab.methods import fused
from mergelab.methods.pieces import Pieces
from mergelab.models.alignment import gather
from mergelab.models.findings import Findings
from mergelab.models.widening import padded, repeated
from mergelab.recipes.step import Aligned, Given, Input, Padded, Repeated, Step, TaskVector
from mergelab.weights import Checkpoint, Source

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2, "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "F8_E8M0": torch.float8_e8m0fnu,
}  # fmt: skip


def pour(
    step: Step,
    checkpoints: Mapping[Source, Checkpoint],
    device: str | torch.device = "cpu",
    findings: Findings | None = None,
) -> torch.Tensor:
    """The tensor a step makes, of the step's shape and dtype, on ``device``.

    A step that copies gives the source's mapped tensor itself: nothing is copied on the CPU, and it must not be
    written to.

    Args:
        findings: what earlier steps found out; hand the same ones to every step of a plan, and to its next turns.

    Raises:
        SourceError: an input cannot be read any more.
        MethodError: the method refuses its inputs.
    """
    with Pouring(Bare(checkpoints, device, Findings() if findings is None else findings)) as pouring:
        return pouring.tensor(step)


def prepare(steps: Sequence[Step], device: torch.device) -> None:
    """Begin to load what makes pouring all these steps faster, where that pays."""
    if any(step.base is not None and methods.get(step.method).chained for step in steps):
        fused.prepare(device)


class Shelf(Protocol):
    """Where a pouring gets what it does not make, and leaves what it makes. Tensors go by the key of what they are."""

    @property
    def findings(self) -> Findings:
        """What was found out about task vectors."""

    def read(self, given: Input) -> torch.Tensor:
        """A tensor of a source, where arithmetic is done."""

    def find(self, key: bytes) -> torch.Tensor | None:
        """What was made before, where arithmetic is done."""

    def keep(self, key: bytes, made: torch.Tensor) -> None:
        """Take a tensor that was made, to be found again."""

    def storage(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor | None:
        """A tensor that nobody needs any more, to be written over; None: there is none."""


class Bare:
    """A shelf that keeps findings and nothing else."""

    def __init__(
        self, checkpoints: Mapping[Source, Checkpoint], device: str | torch.device, findings: Findings
    ) -> None:
        self._checkpoints = checkpoints
        self._device = device
        self.findings = findings

    def read(self, given: Input) -> torch.Tensor:
        """A tensor of a source, mapped."""
        return self._checkpoints[given.source].tensor(given.name).to(self._device)

    def find(self, key: bytes) -> None:
        """Nothing is kept."""

    def keep(self, key: bytes, made: torch.Tensor) -> None:
        """Nothing is kept."""

    def storage(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Nothing is kept."""


class Pouring:
    """Pours steps, and counts what that takes. Its threads end with the block that it is used in.

    Attributes:
        bytes_read: bytes of the tensors that went into the arithmetic.
        bytes_written: bytes of the tensors that it made.
        reading: seconds it took to get tensors of sources: to map them, to fold an adapter in, to send them to a
            device. On the CPU a mapped tensor is read from disk only when arithmetic first touches it.
    """

    def __init__(self, shelf: Shelf, heed: Callable[[], None] = lambda: None) -> None:
        """Pour from and onto a shelf.

        Args:
            heed: called often; what it raises ends the work.
        """
        self.bytes_read = 0
        self.bytes_written = 0
        self.reading = 0.0
        self._shelf = shelf
        self._heed = heed
        self._pieces: Pieces | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pieces is not None:
            self._pieces.close()

    def tensor(self, given: Given) -> torch.Tensor:
        """A tensor of a source, one that an earlier stage makes, or one brought to another shape.

        Raises:
            SourceError: an input cannot be read any more.
            MethodError: the method refuses its inputs.
        """
        if isinstance(given, Input):
            return self._read(given)
        if isinstance(given, Step) and given.copies:
            return self.tensor(given.inputs[0])
        found = self._shelf.find(given.key)
        if found is None:
            found = self._make(given)
            self._shelf.keep(given.key, found)
        return found

    def _read(self, given: Input) -> torch.Tensor:
        started = time.perf_counter()
        found = self._shelf.read(given)
        self.reading += time.perf_counter() - started
        return found

    def _make(self, given: Step | Aligned | Padded | Repeated) -> torch.Tensor:
        self._heed()
        match given:
            case Step():
                return self._merged(given)
            case Aligned():
                return gather(given.rows, [self.tensor(matrix) for matrix in given.matrices])
            case Padded():
                return padded(self.tensor(given.given), given.shape)
            case Repeated():
                return repeated(self.tensor(given.given), given.head_size, given.times)

    def _change(self, vector: TaskVector) -> torch.Tensor:
        """A task vector, as a method sees it."""
        self._heed()
        tuned, base = self.tensor(vector.tuned), self.tensor(vector.base)
        self.bytes_read += tuned.nbytes + base.nbytes
        dtype = torch.float64 if vector.double else torch.float32
        return tuned.to(dtype) - base.to(dtype)

    def _merged(self, step: Step) -> torch.Tensor:
        method, dtype, findings = methods.get(step.method), DTYPES[step.dtype], self._shelf.findings
        models = [self.tensor(one) for one in step.inputs]
        base = None if step.base is None else self.tensor(step.base)
        vectors = list(_vectors(step, models, base))
        cutoffs = [findings.cutoff(peers, self._change) for peers in step.peers] or None
        if self._pieces is None:
            self._pieces = Pieces(models[0].device, self._heed)
        made = methods.apply(
            method,
            models,
            base,
            dict(step.numbers),
            dtype=dtype,
            seed=step.seed,
            name=step.name,
            depth=step.depth,
            found=findings.about(vectors) if vectors else None,
            cutoffs=cutoffs,
            out=self._shelf.storage(step.shape, dtype) if dtype.is_floating_point else None,
            pieces=self._pieces,
        )
        self.bytes_read += sum(one.nbytes for one in (*models, *([] if base is None else [base])))
        self.bytes_written += made.nbytes
        return made


def _vectors(step: Step, models: Sequence[torch.Tensor], base: torch.Tensor | None) -> Iterator[TaskVector]:
    if step.base is not None and base is not None:
        double = torch.float64 in (DTYPES[step.dtype], *(one.dtype for one in (*models, base)))
        for given in step.inputs:
            yield TaskVector(given, step.base, double)
