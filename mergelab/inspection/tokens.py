"""Tokens: where each one stands, figures over those that count, and what random halves of them would have given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergelab.inspection.grid import Chance, Floats
from mergelab.inspection.seen import Batch

Bools = NDArray[np.bool_]

DRAWS = 200
_ENOUGH = 8  # prompts: there are 70 ways to halve them


@dataclass(frozen=True, eq=False)
class Tokens:
    """Every token that was read, batch after batch and row after row, which is the order of all arrays over tokens.

    Attributes:
        prompt: number of its prompt, int64, shape (tokens,).
        position: its place in the prompt, from 0.
        ids: its number in the vocabulary.
        words: it, as text.
        counts: False for the first of a prompt and for start tokens: they see nothing but themselves, most models make
            sinks of them, and no figure should hang on them.
    """

    prompt: NDArray[np.int64]
    position: NDArray[np.int64]
    ids: NDArray[np.int64]
    words: tuple[str, ...]
    counts: Bools

    @classmethod
    def of(cls, batches: Sequence[Batch], starts: Sequence[int] = ()) -> Tokens:
        """The tokens of batches; ``starts`` are the ids of start tokens."""
        ids = np.concatenate([batch.ids.flatten().numpy() for batch in batches])
        position = np.concatenate([np.tile(np.arange(batch.ids.shape[1]), batch.ids.shape[0]) for batch in batches])
        prompt = np.concatenate([np.repeat(batch.places, batch.ids.shape[1]) for batch in batches])
        words = tuple(word for batch in batches for row in batch.words for word in row)
        return cls(prompt, position, ids, words, (position > 0) & ~np.isin(ids, starts))

    def last(self) -> Bools:
        """Which tokens are the last of their prompt, shape (tokens,)."""
        return np.append(self.prompt[1:] != self.prompt[:-1], True)

    def everything(self) -> Bools:
        """All tokens as the one subset of a figure, shape (1, tokens)."""
        return np.ones((1, len(self.words)), dtype=np.bool_)

    def halves(self) -> Halves | None:
        """Random halves of the prompts; the same every time.

        None: fewer than 8 prompts have tokens that count. Halves of their tokens would not do: tokens of one prompt are
        alike, and a band of them is far too narrow for what other prompts would have given.
        """
        prompts = np.unique(self.prompt[self.counts])
        if len(prompts) < _ENOUGH:
            return None
        draw, half = np.random.default_rng(0), len(prompts) // 2
        subsets = np.stack([np.isin(self.prompt, draw.permutation(prompts)[:half]) for _ in range(DRAWS)])
        return Halves(subsets, f"random halves of the {len(prompts)} prompts: the middle 95 % of {DRAWS} draws")


@dataclass(frozen=True, eq=False)
class Halves:
    """Random halves of the prompts that were read.

    A half taken without replacement strays from the whole as the whole does from all such prompts (delete-half
    jackknife; Shao and Wu, Ann. Statist. 17, 1989, 1176).

    Attributes:
        subsets: which tokens each has, shape (DRAWS, tokens).
        how: what they are, in words.
    """

    subsets: Bools
    how: str

    def band(self, figures: Floats, whose: str) -> Chance:
        """Between what the halves give: how far the choice of prompts alone moves a figure.

        Args:
            figures: of each half, shape (DRAWS, ...).
            whose: the source that was read, in words.

        Returns:
            The middle 95 %, of shape (...).
        """
        low, high = np.quantile(figures, (0.025, 0.975), axis=0)
        return Chance(low, high, f"{whose} on {self.how}")


class Record:
    """Numbers for every token, layer by layer, as a walk gives them; what is not finite becomes NaN."""

    def __init__(self) -> None:
        """Start empty."""
        self._rows: dict[int, list[Floats]] = {}

    def add(self, layer: int, values: Tensor) -> None:
        """Take in a batch: real values of shape (prompts, length), on any device."""
        flat = values.detach().flatten().to("cpu", torch.float64).numpy()
        self._rows.setdefault(layer, []).append(np.where(np.isfinite(flat), flat, np.nan))

    def row(self, layer: int) -> Floats:
        """One layer, float64, shape (tokens,)."""
        return np.concatenate(self._rows[layer])

    def array(self, layers: int, tokens: int) -> Floats:
        """All of it, float64, shape (layers, tokens); NaN where nothing was taken in."""
        found = np.full((layers, tokens), np.nan)
        for layer in self._rows:
            found[layer] = self.row(layer)
        return found


def over(values: Floats, kept: Bools, figure: Callable[[Floats], float]) -> Floats:
    """One figure for each row, over the tokens that count there.

    Args:
        values: shape (rows, tokens).
        kept: the same shape.
        figure: of one row's values, shape (some tokens,).

    Returns:
        float64, shape (rows,); NaN where no token counts.
    """
    found = (figure(row[some]) if some.any() else np.nan for row, some in zip(values, kept, strict=True))
    return np.fromiter(found, np.float64, len(values))


def quantile(values: Floats, kept: Bools, share: float, subsets: Bools) -> Floats:
    """A quantile of each row over the tokens that count, for many subsets of the tokens at once.

    Args:
        values: finite or NaN, shape (rows, tokens).
        kept: the tokens that count in each row, the same shape.
        share: 0.5 for the median.
        subsets: shape (subsets, tokens).

    Returns:
        float64, shape (subsets, rows): exact, between two values by linear interpolation. NaN where no token counts,
        and where the value of one is NaN.
    """
    found = np.full((len(subsets), len(values)), np.nan)
    for row, (value, some) in enumerate(zip(values, kept, strict=True)):
        counted = np.flatnonzero(some)
        order = counted[np.argsort(value[counted])]  # once for all subsets; NaN comes last
        ordered = value[order]
        for subset, chosen in enumerate(subsets[:, order]):
            ranks = np.flatnonzero(chosen)
            if len(ranks) and not np.isnan(ordered[ranks[-1]]):
                place = share * (len(ranks) - 1)
                lower = int(place)
                below, above = ordered[ranks[lower]], ordered[ranks[min(lower + 1, len(ranks) - 1)]]
                found[subset, row] = below + (place - lower) * (above - below)
    return found


def mean(values: Floats, kept: Bools, subsets: Bools) -> Floats:
    """Mean of each row over the tokens that count, for many subsets of the tokens at once; otherwise as ``quantile``.

    A NaN that counts in any subset makes the row's mean NaN in all of them.
    """
    chosen = subsets.astype(np.float64)
    count = chosen @ kept.T
    return np.divide(chosen @ np.where(kept, values, 0).T, count, out=np.full(count.shape, np.nan), where=count > 0)


def by_prompt(figure: Callable[..., Tensor], *states: Tensor) -> Tensor:
    """``figure`` of states, shape (prompts, length, ...), one prompt after the other: copies in float32 stay small."""
    return torch.stack([figure(*rows) for rows in zip(*states, strict=True)])


def wide(values: Tensor) -> Tensor:
    """As float32, or as they are where they are finer."""
    return values if values.dtype == torch.float64 else values.float()


def length(values: Tensor) -> Tensor:
    """Euclidean norm over the last axis, in float32 or finer."""
    return torch.linalg.vector_norm(wide(values), dim=-1)


def direction(values: Tensor) -> Tensor:
    """Scaled to length 1 over the last axis, in float32 or finer; NaN where there is no direction."""
    return wide(values) / length(values).unsqueeze(-1)
