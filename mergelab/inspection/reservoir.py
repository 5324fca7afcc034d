"""Reservoir: the states of a bounded number of tokens, the same tokens for every source and every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergelab.inspection.seen import Batch, Seen
from mergelab.inspection.tokens import Bools, Tokens


def borders(seen: Seen) -> tuple[tuple[int, Tensor], ...]:
    """The borders that a layer shows: border 0 is what enters the first layer, border n + 1 what leaves layer n."""
    left = (seen.layer + 1, seen.after)
    return ((0, seen.before), left) if seen.layer == 0 else (left,)


class Reservoir:
    """Draws tokens and files their states until all of a border are there.

    Attributes:
        tokens: the numbers of those that are held, ascending, int64, shape (held,).
        kept: False for a token that was left out at some layer so far, shape (held,).
        drawn: False for a token that is held for another reason than that it was drawn, shape (held,).
    """

    def __init__(
        self, batches: Sequence[Batch], tokens: Tokens, count: int, seed: int = 0, beside: Bools | None = None
    ) -> None:
        """Draw tokens that count until ``count`` are held, or all are; the same seed draws the same.

        Args:
            beside: tokens that are held if they count, whether drawn or not, no more than ``count``; shape (tokens,).
        """
        order = np.random.default_rng(seed).permutation(np.flatnonzero(tokens.counts))
        free = np.ones(len(order), dtype=np.bool_) if beside is None else ~beside[order]
        added = np.flatnonzero(free)  # places in the order that add a token to those that are held anyway
        room = count - (len(order) - len(added))
        drawn = order[: added[room] if room < len(added) else len(order)]
        self.tokens: NDArray[np.int64] = np.union1d(drawn, order[~free])
        self.drawn: Bools = np.isin(self.tokens, drawn)
        self.kept: Bools = np.ones(len(self.tokens), dtype=np.bool_)
        ends = np.cumsum([batch.ids.numel() for batch in batches])
        self._slots: dict[Batch, slice] = {}
        self._places: dict[Batch, Tensor] = {}
        for batch, end in zip(batches, ends.tolist(), strict=True):
            begin = end - batch.ids.numel()
            slots = slice(*np.searchsorted(self.tokens, (begin, end)).tolist())
            self._slots[batch], self._places[batch] = slots, torch.from_numpy(self.tokens[slots] - begin)
        self._held: dict[int, dict[str, Tensor]] = {}
        self._missing: dict[int, int] = {}

    def take(self, batch: Batch, seen: Mapping[str, Seen], kept: Tensor) -> dict[int, dict[str, Tensor]]:
        """File what passes, as ``Statistic.see`` gets it.

        Returns:
            By border and source, the states of all held tokens at the borders that this batch completes, in the order
            of ``tokens``: the model's dtype, on the CPU, shape (held, width).
        """
        places, slots = self._places[batch], self._slots[batch]
        self.kept[slots] &= kept.cpu().flatten()[places].numpy()
        reached: list[int] = []
        for name, one in seen.items():
            for border, states in borders(one):
                rows = states.detach().flatten(0, 1)[places.to(states.device)].cpu()
                held = self._held.setdefault(border, {})
                if name not in held:
                    held[name] = rows.new_empty(len(self.tokens), rows.shape[-1])
                held[name][slots] = rows
                if border not in reached:
                    reached.append(border)
        whole = {}
        for border in reached:
            self._missing[border] = self._missing.get(border, len(self.tokens)) - len(places)
            if len(places) and not self._missing[border]:
                whole[border] = self._held.pop(border)
        return whole
