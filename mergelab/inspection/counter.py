"""Counter: hands what a walk gives to everyone who counts, and gathers what they counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mergelab.inspection import sinks
from mergelab.inspection.between import Paired
from mergelab.inspection.cka import Similarity
from mergelab.inspection.contributions import Contributions
from mergelab.inspection.grid import Floats
from mergelab.inspection.handles import Handles
from mergelab.inspection.influence import Angles, Influence
from mergelab.inspection.lens import Lens
from mergelab.inspection.seen import Batch, Seen, Statistic
from mergelab.inspection.tokens import Bools, Tokens


@dataclass(frozen=True, eq=False)
class Passed:
    """What a walk took down of one source. Rows of layers that were not walked are NaN.

    Attributes:
        width: channels of the stream.
        opaque: what its handles do not see, in words.
        norms: of each token as it enters each layer, and as it leaves the last; shape (depth + 1, tokens).
        before: the same as it enters each layer, shape (depth, tokens).
        after: as it leaves each layer.
        turned: 1 - cos(before, after).
        sizes: by role, what a sub-layer adds relative to ``before``, shape (depth, tokens).
        cosines: by role, its cosine with ``before``.
        angles: as ``Angles.angles`` gives them.
    """

    width: int
    opaque: tuple[str, ...]
    norms: Floats
    before: Floats
    after: Floats
    turned: Floats
    sizes: Mapping[str, Floats]
    cosines: Mapping[str, Floats]
    angles: Floats


@dataclass(frozen=True, eq=False)
class Counted:
    """What a walk took down of all sources.

    Attributes:
        passed: by source.
        at: which tokens count at each border, shape (borders, tokens).
        kept: which count in each layer, shape (layers, tokens); none where it was not walked.
        held: numbers of the tokens that angles were measured at, shape (held,).
        drawn: which of these were drawn by lot, shape (held,); the others are the last of their prompts.
        sinks: the table of sinks.
        paired: what was counted of every two sources of one width.
        similarity: what was counted of how layers arrange tokens.
    """

    passed: Mapping[str, Passed]
    at: Bools
    kept: Bools
    held: NDArray[np.int64]
    drawn: Bools
    sinks: pd.DataFrame
    paired: Paired
    similarity: Similarity


class Counter:
    """Sees every layer of every batch once.

    Attributes:
        lens: keeps states that predictions are to be read off.
    """

    def __init__(self, read: Sequence[Batch], tokens: Tokens, held: int) -> None:
        """Start before the first layer; ``held`` tokens' states may be kept at every border."""
        self._read, self._tokens = read, tokens
        self._watch = sinks.Watch(tokens)
        self._parts, self._turns, self._angles = Contributions(), Influence(), Angles(read, tokens, held)
        self._paired, self._similarity = Paired(read, tokens), Similarity(read, tokens)
        self.lens = Lens(read, tokens)
        self._statistics: tuple[Statistic, ...] = (
            self._parts, self._turns, self._angles, self._paired, self._similarity, self.lens,
        )  # fmt: skip
        self._ends = np.cumsum([batch.ids.numel() for batch in read])
        self._kept: list[Bools] = []

    @property
    def walked(self) -> int:
        """Layers that were seen."""
        return len(self._kept)

    def see(self, layer: int, seen: Sequence[Mapping[str, Seen]]) -> None:
        """Take in one layer of all batches."""
        kept = self._watch.see(layer, seen)
        self._kept.append(kept)
        for batch, one, some in zip(self._read, seen, np.split(kept, self._ends[:-1]), strict=True):
            for statistic in self._statistics:
                statistic.see(batch, one, torch.from_numpy(some).view(batch.ids.shape))

    def counted(self, handles: Mapping[str, Handles]) -> Counted:
        """What was counted, once at least one layer was seen."""
        deepest = max(one.depth for one in handles.values())
        marked = {name: self._watch.marked(name, one.depth + 1) for name, one in handles.items()}
        at = np.tile(self._tokens.counts, (deepest + 1, 1))
        for some in marked.values():
            at[: len(some)] &= ~some
        kept = np.zeros((deepest, len(self._tokens.words)), dtype=np.bool_)
        kept[: self.walked] = self._kept
        passed = {name: self._passed(name, one) for name, one in handles.items()}
        table = sinks.table(self._tokens, {name: one.norms for name, one in passed.items()}, marked, self._watch.births)
        angles = self._angles
        return Counted(passed, at, kept, angles.tokens, angles.drawn, table, self._paired, self._similarity)

    def _passed(self, name: str, handles: Handles) -> Passed:
        depth, count = handles.depth, len(self._tokens.words)
        before, after = (by[name].array(depth, count) for by in (self._watch.before, self._watch.after))
        norms = np.concatenate([before, np.full((1, count), np.nan)])
        end = min(depth, self.walked)
        norms[end] = after[end - 1]
        return Passed(
            self._watch.widths[name], handles.notes, norms, before, after, self._turns.turned(name, depth, count),
            self._parts.sizes(name, depth, count), self._parts.cosines(name, depth, count),
            self._angles.angles(name, depth + 1),
        )  # fmt: skip
