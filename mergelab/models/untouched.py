"""Weights that nobody writes to: those of a live model are its sources' own, mapped from disk, or other models' too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from mergelab.errors import AssemblyError, Problem

WHOLE = 50_000_000  # bytes of a model that are all compared
SAMPLED = 4096  # values of a tensor that are compared of a larger one


def only_read(config: Mapping[str, Any]) -> None:
    """See that a model of this config only reads its weights when it runs.

    Raises:
        AssemblyError: it would write to them, as RWKV does, which halves those of later layers before its first pass.
    """
    every = config.get("rescale_every")
    if every:
        what = f"rescale_every is {every}: when it runs, it writes to its own weights, which are the sources'."
        hint = "Merge it to disk, or set rescale_every to 0 in the config.json of the sources."
        raise AssemblyError(Problem("config", what, hint))


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """See that a model writes to none of its weights while it runs inside the block.

    Raises:
        AssemblyError: it did. Comes when the block ends, however it ends.
    """
    before = _writes(model)
    try:
        yield
    finally:
        if _writes(model) != before:
            what = "wrote to its own weights while it ran: they are the sources', which live models share."
            hint = "Merge it to disk instead, and restart the kernel: models that are live now may say something else."
            raise AssemblyError(Problem(type(model).__name__, what, hint))


def state(model: Any) -> tuple[list[int], str]:
    """What tells whether a model's weights are still what they were, by whichever way somebody wrote to them.

    How often each was written to, and a digest of the bytes: of all where the model has up to 50 MB, else of 4096
    values of each tensor, evenly spaced.
    """
    return _writes(model), _digest(model)


def _digest(model: Any) -> str:
    """One word for the bytes of all weights, or of some of them."""
    weights = dict(model.named_parameters())
    every = sum(weight.nbytes for weight in weights.values()) <= WHOLE
    digest = hashlib.blake2b()
    for name, weight in weights.items():
        flat = weight.detach().reshape(-1)
        shown = flat if every else flat[:: max(1, len(flat) // SAMPLED)]
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} ".encode())
        digest.update(shown.contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


def _writes(model: Any) -> list[int]:
    """How often each weight was written to. Tensors made in inference mode are not counted: no bank has any."""
    return [0 if weight.is_inference() else weight._version for weight in model.parameters()]
