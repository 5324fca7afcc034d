"""Pouring one step: its inputs read, merged, cast once. The live model and the folder on disk both go through here.

An input that an earlier stage makes is poured first, and rounded to that stage's dtype, as if it had been written to
disk and read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from mergelab import methods
from mergelab.methods import select
from mergelab.models.alignment import gather
from mergelab.recipes.step import Aligned, Given, Peers, Step, TaskVector
from mergelab.weights import Checkpoint, Source

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2, "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "F8_E8M0": torch.float8_e8m0fnu,
}  # fmt: skip

_CUTOFFS = 64  # magnitudes that are kept: one for each model and density


class Findings:
    """What was found out about task vectors, kept for the steps and turns to come. It saves passes and changes no bit.

    Made for one set of opened checkpoints on one device.
    """

    def __init__(self, budget: int = 64_000_000) -> None:
        """Keep counts of magnitudes up to ``budget`` bytes; those that were used longest ago go first."""
        self._budget = budget
        self._bytes = 0
        self._counts: dict[TaskVector, select.Counts] = {}
        self._cutoffs: dict[Peers, float] = {}

    def counts(self, vectors: Sequence[TaskVector]) -> dict[int, select.Counts]:
        """The counts that are known, by place among ``vectors``."""
        return {place: self._counts[one] for place, one in enumerate(vectors) if one in self._counts}

    def keep(self, vectors: Sequence[TaskVector], counts: Mapping[int, select.Counts]) -> None:
        """Keep counts for the next time."""
        for place, found in counts.items():
            old = self._counts.pop(vectors[place], None)
            self._bytes += found.bytes - (old.bytes if old else 0)
            self._counts[vectors[place]] = found
        while self._bytes > self._budget:
            self._bytes -= self._counts.pop(next(iter(self._counts))).bytes

    def cutoff(self, peers: Peers, pouring: _Pouring) -> float:
        """The magnitude from which elements of a whole model are kept: looked for once."""
        if peers not in self._cutoffs:
            double = any(vector.double for vector in peers.vectors)
            dtype = torch.float64 if double else torch.float32
            found = select.cutoff(lambda: map(pouring.change, peers.vectors), peers.density, peers.elements, dtype)
            self._cutoffs[peers] = found
            for oldest in list(self._cutoffs)[:-_CUTOFFS]:
                del self._cutoffs[oldest]
        return self._cutoffs[peers]


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
    return _Pouring(checkpoints, device, Findings() if findings is None else findings).given(step)


class _Pouring:
    def __init__(
        self, checkpoints: Mapping[Source, Checkpoint], device: str | torch.device, findings: Findings
    ) -> None:
        self._checkpoints = checkpoints
        self._device = device
        self._findings = findings

    def given(self, given: Given) -> torch.Tensor:
        """A tensor of a source, or of an earlier stage."""
        if isinstance(given, Step):
            return self.given(given.inputs[0]) if given.copies else self._made(given)
        if isinstance(given, Aligned):
            return gather(given.rows, [self.given(matrix) for matrix in given.matrices])
        return self._checkpoints[given.source].tensor(given.name).to(self._device)

    def change(self, vector: TaskVector) -> torch.Tensor:
        """A task vector, as a method sees it."""
        dtype = torch.float64 if vector.double else torch.float32
        return self.given(vector.tuned).to(dtype) - self.given(vector.base).to(dtype)

    def _made(self, step: Step) -> torch.Tensor:
        method = methods.get(step.method)
        models = [self.given(one) for one in step.inputs]
        base = None if step.base is None else self.given(step.base)
        vectors = list(_vectors(step, models, base)) if "counts" in method.extras else []
        counts = self._findings.counts(vectors) if vectors else None
        made = methods.apply(
            method,
            models,
            base,
            dict(step.numbers),
            dtype=DTYPES[step.dtype],
            seed=step.seed,
            name=step.name,
            depth=step.depth,
            counts=counts,
            cutoffs=[self._findings.cutoff(peers, self) for peers in step.peers] or None,
        )
        self._findings.keep(vectors, counts or {})
        return made


def _vectors(step: Step, models: Sequence[torch.Tensor], base: torch.Tensor | None) -> Iterator[TaskVector]:
    if step.base is not None and base is not None:
        double = torch.float64 in (DTYPES[step.dtype], *(one.dtype for one in (*models, base)))
        for given in step.inputs:
            yield TaskVector(given, step.base, double)
