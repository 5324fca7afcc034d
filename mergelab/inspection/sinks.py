"""Sinks: tokens whose vectors are far longer than all others. They are told apart, and no figure hangs on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from mergelab.inspection.grid import Floats
from mergelab.inspection.seen import Seen
from mergelab.inspection.tokens import Bools, Record, Tokens, by_prompt, length, quantile, wide

SPREADS = 6.0
TIMES = 5.0
_MASSIVE = 100.0
_OUTSTANDING = 1000.0
_CHANNELS = 3
RULE = (
    f"A sink's norm lies more than {SPREADS:g} median deviations above the median on a log scale, and is more than "
    f"{TIMES:g} times the median. The first token of a prompt and start tokens are left out whether they are sinks or "
    "not, as is a token at a layer where it is a sink in any of the sources."
)


def sinks(norms: Floats, counts: Bools) -> Bools:
    """Which tokens are sinks: log ||h|| - median > max(6 MAD, log 5).

    The median deviation alone does not do: behind an embedding table whose rows have one length it is nearly nothing.

    Args:
        norms: of each token at one border, shape (tokens,). NaN: not finite, and no sink.
        counts: the tokens that median and deviation (MAD, not scaled) are taken over.

    Returns:
        bool, shape (tokens,), for tokens that do not count too.
    """
    logs = np.log(np.maximum(norms, np.finfo(np.float64).tiny))  # NaN stays
    usual = logs[counts & np.isfinite(logs)]
    if not len(usual):
        return np.zeros(norms.shape, dtype=np.bool_)
    middle = np.median(usual)
    spread = np.median(np.abs(usual - middle))
    return np.asarray(logs - middle > max(SPREADS * float(spread), math.log(TIMES)))


@dataclass(frozen=True, eq=False)
class Birth:
    """Where a token became a sink.

    Attributes:
        border: number of the layer that it enters as one; the number of layers where the last one makes it.
        channels: its largest channels there, the largest first.
        value: of the first of them, with its sign.
        massive: |value| > 100 and at least 1000 times the median magnitude of the vector's channels.
    """

    border: int
    channels: tuple[int, ...]
    value: float
    massive: bool


class Watch:
    """Measures the norms that a walk passes, and says which tokens count at each layer."""

    def __init__(self, tokens: Tokens) -> None:
        """Start before the first layer."""
        self._tokens = tokens
        self.before: dict[str, Record] = {}
        self.after: dict[str, Record] = {}
        self.births: dict[str, dict[int, Birth]] = {}
        self.widths: dict[str, int] = {}
        self._marked: dict[str, dict[int, Bools]] = {}  # borders by source; the last is what leaves its newest layer

    def see(self, layer: int, seen: Sequence[Mapping[str, Seen]]) -> Bools:
        """Take in one layer of all batches.

        Returns:
            bool, shape (tokens,): those that count and that no source has as a sink, neither entering nor leaving.
        """
        kept = self._tokens.counts.copy()
        for name in seen[0]:
            before, after = self.before.setdefault(name, Record()), self.after.setdefault(name, Record())
            marked, births = self._marked.setdefault(name, {}), self.births.setdefault(name, {})
            states = [one[name] for one in seen]
            self.widths[name] = states[0].before.shape[-1]
            for one in states:
                before.add(layer, by_prompt(length, one.before))
                after.add(layer, by_prompt(length, one.after))
            for border, record, side in ((layer, before, "before"), (layer + 1, after, "after")):
                marked[border] = sinks(record.row(layer), self._tokens.counts)
                kept &= ~marked[border]
                new = [int(token) for token in np.flatnonzero(marked[border]) if int(token) not in births]
                births.update(_births(border, new, [getattr(one, side) for one in states]))
        return kept

    def marked(self, name: str, borders: int) -> Bools:
        """Which tokens are sinks of one source at each border, shape (borders, tokens)."""
        found = np.zeros((borders, len(self._tokens.words)), dtype=np.bool_)
        for border, row in self._marked[name].items():
            found[border] = row
        return found


def _births(border: int, new: Sequence[int], states: Sequence[torch.Tensor]) -> dict[int, Birth]:
    found, first = {}, 0
    for batch in states:
        rows = batch.flatten(0, 1)
        for token in new:
            if first <= token < first + len(rows):
                vector = wide(rows[token - first]).cpu()
                sizes = vector.abs()
                channels = tuple(sizes.topk(min(_CHANNELS, len(sizes))).indices.tolist())
                largest = float(sizes[channels[0]])
                massive = largest > _MASSIVE and largest >= _OUTSTANDING * float(sizes.median())
                found[token] = Birth(border, channels, float(vector[channels[0]]), massive)
        first += len(rows)
    return found


def table(
    tokens: Tokens,
    norms: Mapping[str, Floats],
    marked: Mapping[str, Bools],
    births: Mapping[str, Mapping[int, Birth]],
) -> pd.DataFrame:
    """The sinks, a row for each source and token.

    Args:
        tokens: what was read.
        norms: for each source, shape (borders, tokens); NaN at borders that were not read.
        marked: which are sinks where, the same shapes.
        births: for each source, by the token's number.

    Returns:
        A table with the columns ``source``; ``prompt`` and ``position``, from 0; ``token``; ``layer`` that made it a
        sink, missing where the embeddings did; ``gone``, the layer that ended it, missing where none did
        as far as was read; ``times``, its norm over the median where that is largest, inf where the median is 0;
        ``channels``, its three largest where it was born; ``value`` of the first of them; ``massive``, whether that is
        a massive activation by the rule of Sun et al., arXiv 2402.17762: above 100 and 1000 times the median magnitude,
        here of its own vector.
    """
    rows = []
    for name, born in births.items():
        usual = tokens.counts & np.isfinite(norms[name])
        middle = quantile(norms[name], usual, 0.5, tokens.everything())[0]
        for token in sorted(born, key=lambda token: (int(tokens.prompt[token]), int(tokens.position[token]))):
            birth, where = born[token], np.flatnonzero(marked[name][:, token])
            last = int(where[-1])
            with np.errstate(divide="ignore"):
                times = float(np.max(norms[name][where, token] / middle[where]))
            rows.append(
                {
                    "source": name,
                    "prompt": int(tokens.prompt[token]),
                    "position": int(tokens.position[token]),
                    "token": tokens.words[token],
                    "layer": birth.border - 1 if birth.border else None,
                    "gone": last if np.isfinite(norms[name][last + 1 : last + 2, token]).any() else None,
                    "times": times,
                    "channels": birth.channels,
                    "value": birth.value,
                    "massive": birth.massive,
                }
            )
    kinds = {
        "source": "str", "prompt": "int64", "position": "int64", "token": "str", "layer": "Int64", "gone": "Int64",
        "times": "float64", "channels": "object", "value": "float64", "massive": "bool",
    }  # fmt: skip
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
