"""Seen: what passes a layer, and who counts it. The contract between the walk through a model and the statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts of one length, read at once.

    Attributes:
        ids: tokens of the first model's tokenizer, shape (prompts, length), on the CPU. Nothing is padded.
        words: the tokens as text, for each prompt.
        places: which of the prompts these are, from 0, in the order they were given.
    """

    ids: Tensor
    words: tuple[tuple[str, ...], ...]
    places: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Seen:
    """One model's residual stream at one layer, for one batch.

    Attributes:
        layer: its number, from 0.
        before: what enters the layer: the model's own dtype and device, shape (prompts, length, width).
        after: what leaves it, before any final norm; same shape.
        parts: what the layer's sub-layers add to the stream, by role (``"attention"``, ``"feed-forward"``, else the
            sub-layer's name): after - before = the sum of all parts, to rounding. Empty where the layer is opaque.
    """

    layer: int
    before: Tensor
    after: Tensor
    parts: Mapping[str, Tensor]


class Statistic(Protocol):
    """Counts what passes. Several models walk in step, layer by layer; each layer is seen once for each batch.

    ``see`` gets the same layer number of every model; a model that has fewer layers is absent from ``seen`` there.
    """

    def see(self, batch: Batch, seen: Mapping[str, Seen], kept: Tensor) -> None:
        """Take in one layer of one batch.

        Args:
            batch: what is read.
            seen: by the source's name.
            kept: bool, shape (prompts, length): tokens that count at this layer; sinks are False.
        """
        ...
