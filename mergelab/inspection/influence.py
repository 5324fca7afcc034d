"""How far layers turn the residual stream: one layer (Block Influence), and blocks of several (angular distance)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mergelab.inspection.grid import Floats, Measure
from mergelab.inspection.reservoir import Reservoir
from mergelab.inspection.seen import Batch, Seen
from mergelab.inspection.tokens import Bools, Record, Tokens, by_prompt, direction, mean

BLOCK_INFLUENCE = Measure(
    name="influence",
    title="Block Influence",
    unit="1",
    shows="How far each layer turns the vectors of tokens: 0, not at all; 1, at a right angle to what came in.",
    formula="1 - mean_t cos(h_l(t), h_(l+1)(t))",
    source="Men et al., ShortGPT: layers in large language models are more redundant than you expect, arXiv 2403.03853",
    reading="Where it is small, a layer is a first candidate for cutting or repeating. It is a weak guide: a layer "
    "that turns the stream little can still be needed, so try it and look at what the model says.",
)

ANGULAR = Measure(
    name="angular",
    title="Angular distance over blocks",
    unit="1",
    shows="How far the stream turns between the layer of a column and as many layers later as the row says: 0, the "
    "same direction; 1/2, a right angle.",
    formula="mean_t arccos(cos(h_l(t), h_(l+n)(t))) / pi",
    source="Gromov et al., The unreasonable ineffectiveness of the deeper layers, arXiv 2403.17887, eq. 6 (there at "
    "the last token only)",
    reading="The smallest value of a row is the block of that length which changes the direction least: where cutting "
    "is likeliest to be survived. Two unrelated vectors of many channels are 1/2 apart. As weak a guide as Block "
    "Influence.",
)

HELD = 128_000_000  # bytes of states that are held for it, of all sources together
MOST = 1024  # tokens
LEAST = 32


def turned(before: Tensor, after: Tensor) -> Tensor:
    """1 - cos(before, after), over the last axis.

    By half the squared distance of the directions, which keeps its digits where a layer does next to nothing.

    Args:
        before, after: shape (..., width).

    Returns:
        float32 or finer, shape (...); NaN where there is no direction.
    """
    return (direction(before) - direction(after)).square().sum(-1) / 2


def angle(one: Tensor, other: Tensor) -> Tensor:
    """The angle between directions as a share of a half turn: arccos(cos) / pi, over the last axis.

    By 2 atan2(|u - v|, |u + v|) of the unit vectors, exact for small angles, where arccos is not (Kahan, How futile are
    mindless assessments of roundoff, 2006, section 12).

    Args:
        one, other: unit vectors, shape (..., width).

    Returns:
        From 0 to 1, shape (...).
    """
    return (
        2
        / torch.pi
        * torch.atan2(torch.linalg.vector_norm(one - other, dim=-1), torch.linalg.vector_norm(one + other, dim=-1))
    )


class Influence:
    """Takes down how far every layer turns each token. A ``Statistic``."""

    def __init__(self) -> None:
        """Start empty."""
        self._turned: dict[str, Record] = {}

    def see(self, batch: Batch, seen: Mapping[str, Seen], kept: Tensor) -> None:  # noqa: ARG002 - who counts is asked later
        """Take in one layer of one batch."""
        for name, one in seen.items():
            self._turned.setdefault(name, Record()).add(one.layer, by_prompt(turned, one.before, one.after))

    def turned(self, name: str, layers: int, tokens: int) -> Floats:
        """1 - cos of a source's tokens, float64, shape (layers, tokens)."""
        return self._turned[name].array(layers, tokens)


class Angles:
    """Holds a bounded number of tokens' states at every border. A ``Statistic``.

    Attributes:
        tokens: numbers of the tokens that are held, the same for every source, int64, shape (held,).
        drawn: which of them were drawn; the others are the last of their prompts, shape (held,).
    """

    def __init__(self, batches: Sequence[Batch], tokens: Tokens, count: int) -> None:
        """Hold up to ``count`` of the tokens that count: the last of each prompt, or some where they are more than
        half as many, and others by lot.
        """
        last = np.random.default_rng(0).permutation(np.flatnonzero(tokens.last() & tokens.counts))
        beside = np.isin(np.arange(len(tokens.words)), last[: count // 2])
        self._reservoir = Reservoir(batches, tokens, count, beside=beside)
        self._states: dict[str, dict[int, Tensor]] = {}
        self.tokens, self.drawn = self._reservoir.tokens, self._reservoir.drawn

    def see(self, batch: Batch, seen: Mapping[str, Seen], kept: Tensor) -> None:
        """Take in one layer of one batch."""
        for border, by_source in self._reservoir.take(batch, seen, kept).items():
            for name, states in by_source.items():
                self._states.setdefault(name, {})[border] = states

    def angles(self, name: str, borders: int) -> Floats:
        """Angles between every border of a source and every later one, as shares of a half turn.

        Returns:
            float32, shape (borders, borders, held); NaN where the second border is not behind the first.
        """
        found = np.full((borders, borders, len(self.tokens)), np.nan, np.float32)
        units = {border: direction(states) for border, states in self._states.get(name, {}).items()}
        for first, one in units.items():
            for second, other in units.items():
                if second > first:
                    found[first, second] = angle(one, other).numpy()
        return found


def blocks(angles: Floats, kept: Bools, subsets: Bools) -> Floats:
    """Mean angle of blocks of layers, over subsets of the tokens.

    Args:
        angles: as ``Angles.angles`` gives them.
        kept: the tokens that count at each border, shape (borders, tokens held).
        subsets: shape (subsets, tokens held).

    Returns:
        float64, shape (subsets, layers, layers): row n - 1 has blocks of n layers, by their first layer; NaN where a
        block would reach beyond the last layer, and where no token counts at both ends.
    """
    layers = len(angles) - 1
    found = np.full((len(subsets), layers, layers), np.nan)
    for first in range(layers):
        later = slice(first + 1, None)
        found[:, : layers - first, first] = mean(angles[first, later], kept[later] & kept[first], subsets)
    return found


def affordable(bytes_per_token: int) -> int:
    """How many tokens' states may be held, of all borders and sources together, for so many bytes a token."""
    return max(LEAST, min(MOST, HELD // max(1, bytes_per_token)))
