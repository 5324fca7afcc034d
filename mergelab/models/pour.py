"""Pouring one step: its inputs read, merged, cast once. The live model and the folder on disk both go through here.

An input that an earlier stage makes is poured first, and rounded to that stage's dtype, as if it had been written to
disk and read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from mergelab import methods
from mergelab.models.alignment import gather
from mergelab.models.findings import Findings
from mergelab.recipes.step import Aligned, Given, Step, TaskVector
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
            cutoffs=[self._findings.cutoff(peers, self.change) for peers in step.peers] or None,
        )
        self._findings.keep(vectors, counts or {})
        return made


def _vectors(step: Step, models: Sequence[torch.Tensor], base: torch.Tensor | None) -> Iterator[TaskVector]:
    if step.base is not None and base is not None:
        double = torch.float64 in (DTYPES[step.dtype], *(one.dtype for one in (*models, base)))
        for given in step.inputs:
            yield TaskVector(given, step.base, double)
