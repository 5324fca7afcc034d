"""Weights that nobody writes to: those of a live model are its sources' own, mapped from disk, or other models' too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mergelab.errors import AssemblyError, Problem


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


def _writes(model: Any) -> list[int]:
    """How often each weight was written to. Tensors made in inference mode are not counted: no bank has any."""
    return [0 if weight.is_inference() else weight._version for weight in model.parameters()]
