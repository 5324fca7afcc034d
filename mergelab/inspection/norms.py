"""How long the residual stream is, from layer to layer."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from mergelab.inspection.grid import Floats, Measure
from mergelab.inspection.tokens import Bools, quantile

Statistic = Literal["median", "q05", "q25", "q75", "q95", "rms"]
STATISTICS: tuple[str, ...] = get_args(Statistic)

NORM = Measure(
    name="norm",
    title="Norm of the residual stream",
    unit="1",
    shows="How long the vector of a token is as it enters each layer, over all tokens that are no sinks; "
    "the last column is what leaves the last layer, before the final norm.",
    formula="median over tokens t of ||h_l(t)||_2; q05, q25, q75, q95: quantiles over tokens; "
    "rms: the median divided by sqrt(width), for sources of different widths",
    source="Heimersheim and Turner, Residual stream norms grow exponentially over the forward pass, 2023; "
    "tokens left out as in Sun et al., arXiv 2402.17762",
    scale="log",
    reading="A layer that is moved to another depth, or into another model, meets vectors of another length than it "
    "was trained on. Lines that lie together up to a layer and part there show which layer differs. Equal norms do not "
    "mean that two models fit: directions may differ.",
)

NORM_RMS = Measure(
    name="norm_rms",
    title="Norm of the residual stream, per channel",
    unit="1",
    shows="How large a channel of a token's vector is on average as it enters each layer: the norm without the width.",
    formula="median over tokens t of ||h_l(t)||_2 / sqrt(width)",
    source=NORM.source,
    scale="log",
    reading="As the norm, and comparable between sources of different widths.",
)

GROWTH = Measure(
    name="growth",
    title="Growth of the residual stream",
    unit="x",
    shows="By what factor each layer makes the vectors of tokens longer.",
    formula="median_t ||h_(l+1)(t)||_2 / median_t ||h_l(t)||_2, over the same tokens",
    source="Heimersheim and Turner, Residual stream norms grow exponentially over the forward pass, 2023",
    scale="diverging",
    middle=1.0,
    reading="The first layers often grow the stream most. A layer moved from depth i to depth j meets a norm that is "
    "off by the product of the growths between them. Much growth is not yet importance.",
)

TOKEN_NORM = Measure(
    name="token_norm",
    title="Norm of each token",
    unit="1",
    shows="How long the vector of each token of one prompt is as it enters each layer; sinks are shown, not left out.",
    formula="||h_l(t)||_2",
    source="Sun et al., Massive activations in large language models, arXiv 2402.17762",
    scale="log",
    reading="A row that leaps up in one layer and stays there is a sink: attention is parked on it. Most often it is "
    "the first token. A graft that starts behind that layer can lose the sink, one that ends behind it can make two.",
)

_QUANTILES = {"median": 0.5, "q05": 0.05, "q25": 0.25, "q75": 0.75, "q95": 0.95, "rms": 0.5}


def norm(norms: Floats, kept: Bools, statistic: str, subsets: Bools, *, width: int) -> Floats:
    """A statistic of the norm at each border, over subsets of the tokens. None is the mean: one sink would make it.

    Args:
        norms: of each token, shape (borders, tokens).
        kept: the tokens that count at each border, the same shape.
        statistic: one of STATISTICS.
        subsets: shape (subsets, tokens).
        width: channels of the stream.

    Returns:
        float64, shape (subsets, borders); quantiles are exact. NaN: no token counts, or one is not finite.
    """
    found = quantile(norms, kept, _QUANTILES[statistic], subsets)
    return found / math.sqrt(width) if statistic == "rms" else found


def growth(before: Floats, after: Floats, kept: Bools, subsets: Bools) -> Floats:
    """The factor by which each layer lengthens the stream, over subsets of the tokens.

    Args:
        before: norm of each token as it enters, shape (layers, tokens).
        after: as it leaves.
        kept: the tokens that count at each layer.
        subsets: shape (subsets, tokens).

    Returns:
        Ratio of medians over the same tokens, float64, shape (subsets, layers); NaN where nothing enters.
    """
    entering, leaving = (quantile(norms, kept, 0.5, subsets) for norms in (before, after))
    return np.divide(leaving, entering, out=np.full_like(entering, np.nan), where=entering > 0)
