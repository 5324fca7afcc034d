"""Pouring one step: its inputs read, merged, cast once. The live model and the folder on disk both go through here."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mergelab import methods
from mergelab.recipes.plan import Input, Step
from mergelab.weights import Checkpoint, Source

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


def pour(step: Step, checkpoints: Mapping[Source, Checkpoint], device: str | torch.device = "cpu") -> torch.Tensor:
    """The tensor a step makes, of the step's shape and dtype, on ``device``.

    A step that copies gives the source's mapped tensor itself: nothing is copied on the CPU, and it must not be
    written to.

    Raises:
        SourceError: an input cannot be read any more.
        MethodError: the method refuses its inputs.
    """

    def read(given: Input) -> torch.Tensor:
        return checkpoints[given.source].tensor(given.name).to(device)

    if step.copies:
        return read(step.inputs[0])
    return methods.apply(
        methods.get(step.method),
        [read(given) for given in step.inputs],
        read(step.base) if step.base else None,
        dict(step.numbers),
        dtype=DTYPES[step.dtype],
        seed=step.seed,
        name=step.name,
    )
