"""Made-up residual streams that pass statistics as a walk would show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mergelab.inspection.grid import Floats
from mergelab.inspection.seen import Batch, Seen, Statistic
from mergelab.inspection.tokens import Tokens

SHAPES = ((3, 5), (1, 4), (2, 7))
"""Prompts and length of each batch: 33 tokens, of which 6 are the first of their prompt."""


def prompts(shapes: Sequence[tuple[int, int]] = SHAPES, vocabulary: int = 11) -> tuple[tuple[Batch, ...], Tokens]:
    """Batches of these shapes, of tokens that differ from one to the next."""
    batches, first = [], 0
    for count, length in shapes:
        ids = (torch.arange(count * length).view(count, length) * 7 + first) % vocabulary
        words = tuple(tuple(f"w{one}" for one in row) for row in ids.tolist())
        batches.append(Batch(ids, words, tuple(range(first, first + count))))
        first += count
    return tuple(batches), Tokens.of(batches)


def pass_by(
    statistics: Sequence[Statistic],
    batches: Sequence[Batch],
    streams: Mapping[str, Sequence[Tensor]],
    sinks: Sequence[int] = (),
    layers: int | None = None,
    at: int | None = None,
) -> None:
    """Show streams to statistics.

    Args:
        streams: by source, the states at each border, shape (tokens, width), batch after batch.
        sinks: numbers of tokens that are left out, besides the first of every prompt.
        layers: stop after so many.
        at: the only layer at which sinks are left out; None: all.
    """
    count = sum(batch.ids.numel() for batch in batches)
    deepest = max(map(len, streams.values())) - 1
    for layer in range(deepest if layers is None else layers):
        kept = torch.ones(count, dtype=torch.bool)
        kept[list(sinks)] = at not in {None, layer}
        begin = 0
        for batch in batches:
            part = slice(begin, begin + batch.ids.numel())
            begin = part.stop

            def cut(states: Tensor, part: slice = part, batch: Batch = batch) -> Tensor:
                return states[part].view(*batch.ids.shape, -1)

            seen = {
                name: Seen(layer, cut(stream[layer]), cut(stream[layer + 1]), {})
                for name, stream in streams.items()
                if layer + 1 < len(stream)
            }
            here = kept[part].view(batch.ids.shape).clone()
            here[:, 0] = False
            for statistic in statistics:
                statistic.see(batch, seen, here)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stream(count: int, width: int, borders: int, seed: int = 0) -> list[Tensor]:
    """Independent normal states at every border."""
    return [normal(count, width, seed=1000 * seed + border) for border in range(borders)]


def rotation(width: int, seed: int = 0) -> Tensor:
    """A random basis, all equally likely (Mezzadri 2007, arXiv math-ph/0609050), float64, shape (width, width)."""
    turn, triangle = torch.linalg.qr(normal(width, width, seed=seed).double())
    return turn * triangle.diagonal().sign()


def within(values: Floats, low: float | Floats, high: float | Floats) -> Floats:
    """The share of values that lie in a band."""
    return np.mean((values >= low) & (values <= high))
