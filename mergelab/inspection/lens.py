"""Lens: what a model would predict if it ended at a layer, read off with its own final norm and head."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergelab.inspection.grid import Floats
from mergelab.inspection.reservoir import Reservoir
from mergelab.inspection.seen import Batch, Seen
from mergelab.inspection.tokens import Tokens
from mergelab.inspection.trajectories import FIGURES, Trajectories, Trajectory

TOKENS = 256
AT_ONCE = 2**24
"""So many logits are held at once, 64 MB for each source, and a few times that to work on them."""

Head: TypeAlias = Callable[[Tensor], Tensor]
"""From states as they leave a layer, in the model's dtype, on the CPU, shape (tokens, width), to logits, on any device,
shape (tokens, vocabulary)."""


def entropy(log_p: Tensor) -> Tensor:
    """-sum p log p over the last axis, in nats.

    Args:
        log_p: log-probabilities, shape (..., vocabulary).
    """
    return -_expected(log_p, log_p)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) = sum p (log p - log q) over the last axis, in nats, never below 0.

    Args:
        log_p: log-probabilities, shape (..., vocabulary).
        log_q: the same shape.
    """
    return _expected(log_p, log_p - log_q).clamp(min=0)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Jensen-Shannon divergence, KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2: in nats, at most log 2.

    Lin 1991, Divergence measures based on the Shannon entropy, eq. 3.2 with equal weights.

    Args:
        log_p: log-probabilities, shape (..., vocabulary).
        log_q: the same shape.
    """
    middle = torch.logaddexp(log_p, log_q) - math.log(2)
    return (kl(log_p, middle) + kl(log_q, middle)) / 2


def rank(log_p: Tensor, token: Tensor) -> Tensor:
    """The place of a token among all by probability, from 1; tokens that are as likely do not stand before it.

    Args:
        log_p: log-probabilities, shape (..., vocabulary).
        token: ids, shape (...).
    """
    return 1 + (log_p > log_p.gather(-1, token[..., None])).sum(-1)


def _expected(log_p: Tensor, values: Tensor) -> Tensor:
    """Mean of the values under p; where p is 0 a value counts nothing, whatever it is."""
    p = log_p.exp()
    return torch.where(p > 0, p * values, 0.0).sum(-1)


class Lens:
    """Keeps states of tokens to read predictions off them once the walk is done. A ``Statistic``.

    The final prediction comes last and every layer is held against it, so states are kept and never logits: in bfloat16
    67 MB for a model of 32 layers with 4096 channels, at the number of tokens given here.
    """

    def __init__(self, batches: Sequence[Batch], tokens: Tokens, *, count: int = TOKENS, seed: int = 0) -> None:
        """Get ready for these batches, of these tokens: read ``count`` of them, drawn by ``seed``."""
        self._tokens = tokens
        self._reservoir = Reservoir(batches, tokens, count, seed)
        self._states: dict[str, list[Tensor]] = {}

    def see(self, batch: Batch, seen: Mapping[str, Seen], kept: Tensor) -> None:
        """Take in one layer of one batch."""
        for sources in self._reservoir.take(batch, seen, kept).values():
            for name, states in sources.items():
                self._states.setdefault(name, []).append(states)

    def read(
        self,
        heads: Mapping[str, Head],
        depths: Mapping[str, int],
        *,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Trajectories:
        """Read predictions off all states.

        Args:
            heads: by source; a source without one cannot be read.
            depths: number of layers of each source. Where the walk did not come to the end there is no final
                prediction, and what is held against it is NaN.
            stop: asked before each source's states of a portion of tokens; the tokens read until then stand.
            progress: gets how many states of a portion of tokens are read, and of how many.
        """
        kept = np.flatnonzero(self._reservoir.kept)
        states = {name: [one[kept] for one in states] for name, states in self._states.items() if name in heads}
        reader = _Reader(states, heads, depths, self._following(kept))
        done = reader.read(stop, progress)
        drawn = self._reservoir.tokens[kept[done]]
        note = f"{len(drawn)} of {len(self._tokens.words)} tokens; first ones and sinks at any layer are left out."
        unread = [name for name in self._states if name not in heads]
        if unread:
            note += f" Without a head that could be found: {', '.join(unread)}."
        sources = {name: reader.trajectory(name, done) for name in states}
        between = {pair: found[done] for pair, found in reader.divergence.items()}
        return Trajectories(self._tokens, drawn, sources, between, note)

    def _following(self, kept: NDArray[np.int64]) -> Tensor:
        """Ids of the tokens after those that are kept; -1: there is none."""
        following = np.where(self._tokens.last(), -1, np.roll(self._tokens.ids, -1))
        return torch.from_numpy(following[self._reservoir.tokens[kept]])


class _Reader:
    """Reads off all states, some tokens at a time."""

    def __init__(
        self,
        states: Mapping[str, Sequence[Tensor]],
        heads: Mapping[str, Head],
        depths: Mapping[str, int],
        following: Tensor,
    ) -> None:
        """Take states by source and border, shape (tokens, width), and the ids of the tokens that follow."""
        self._states, self._heads, self._following = states, heads, following
        self._last = {name: depths[name] for name, rows in states.items() if len(rows) > depths[name]}
        nothing = {name: rows[0].new_zeros(1, rows[0].shape[-1]) for name, rows in states.items()}
        self._vocabulary = {name: heads[name](one).shape[-1] for name, one in nothing.items()}
        count = len(following)

        def empty(name: str) -> Floats:
            return np.full((len(states[name]), count), np.nan)

        self._figures = {name: {figure: empty(name) for figure in (*FIGURES, "top")} for name in states}
        self._kl = {name: {to: empty(name) for to in states} for name in states}
        self._guess = {name: {figure: np.full(count, np.nan) for figure in (*FIGURES, "top")} for name in states}
        self.divergence = {pair: np.full(count, np.nan) for pair in combinations(states, 2)}

    @torch.inference_mode()
    def read(self, stop: Callable[[], bool], progress: Callable[[int, int], None]) -> NDArray[np.int64]:
        """Read until done or stopped. Returns the numbers of the tokens that were read, ascending."""
        count = len(self._following)
        parts = math.ceil(count * max(self._vocabulary.values(), default=0) / AT_ONCE)
        # Every so many tokens, so that each part has some of all prompts.
        portions = [np.arange(number, count, parts) for number in range(parts)]
        total = parts * (len(self._last) + sum(map(len, self._states.values())))
        done = 0
        average = {}
        for name, last in self._last.items():
            whole = torch.zeros(self._vocabulary[name], dtype=torch.float64)
            for part in portions:
                if stop():
                    return np.arange(0)
                whole += self._log_p(name, last, part).exp().sum(0).cpu().double()
                done += 1
                progress(done, total)
            average[name] = (whole / count).log().float()
        ready: list[NDArray[np.int64]] = []
        for part in portions:
            finals = {name: self._log_p(name, last, part) for name, last in self._last.items()}
            self._hold_finals(finals, average, part)
            for name, rows in self._states.items():
                for border in range(len(rows)):
                    if stop():
                        return _ascending(ready)
                    at_end = border == self._last.get(name)
                    self._hold(name, border, part, finals[name] if at_end else self._log_p(name, border, part), finals)
                    done += 1
                    progress(done, total)
            ready.append(part)
        return _ascending(ready)

    def trajectory(self, name: str, done: NDArray[np.int64]) -> Trajectory:
        """One source's part of the result, for the tokens that were read."""
        kl_to = {to: values[:, done] for to, values in self._kl[name].items()}
        figures = {figure: values[:, done] for figure, values in self._figures[name].items()} | {"kl": kl_to[name]}
        guess = {figure: values[done] for figure, values in self._guess[name].items()}
        top, guessed = figures.pop("top"), guess.pop("top")
        if name in self._last:
            alike = top == top[-1]
            figures["decided"] = np.logical_and.accumulate(alike[::-1])[::-1].astype(np.float64)
            guess["decided"] = (guessed == top[-1]).astype(np.float64)
        return Trajectory(self._vocabulary[name], figures, kl_to, guess, top)

    def _log_p(self, name: str, border: int, part: NDArray[np.int64]) -> Tensor:
        return torch.log_softmax(self._heads[name](self._states[name][border][part]).float(), -1)

    def _hold(
        self, name: str, border: int, part: NDArray[np.int64], log_p: Tensor, finals: Mapping[str, Tensor]
    ) -> None:
        for figure, values in self._read_off(log_p, finals.get(name), part).items():
            self._figures[name][figure][border, part] = _numbers(values)
        for to, final in finals.items():
            if self._vocabulary[to] == self._vocabulary[name]:
                self._kl[name][to][border, part] = _numbers(kl(final.to(log_p.device), log_p))

    def _hold_finals(
        self, finals: Mapping[str, Tensor], average: Mapping[str, Tensor], part: NDArray[np.int64]
    ) -> None:
        for name, final in finals.items():
            guess = average[name].to(final.device).expand_as(final)
            self._guess[name]["kl"][part] = _numbers(kl(final, guess))
            for figure, values in self._read_off(guess, final, part).items():
                self._guess[name][figure][part] = _numbers(values)
        for first, second in combinations(finals, 2):
            if self._vocabulary[first] == self._vocabulary[second]:
                one, other = finals[first], finals[second]
                self.divergence[first, second][part] = _numbers(divergence(one, other.to(one.device)))

    def _read_off(self, log_p: Tensor, final: Tensor | None, part: NDArray[np.int64]) -> dict[str, Tensor]:
        """Figures of predictions, shape (tokens,) each; those against the final one only where there is one."""
        following = self._following[part].to(log_p.device)
        loss = -log_p.gather(-1, following.clamp(min=0)[:, None])[:, 0]
        found = {
            "entropy": entropy(log_p),
            "loss": torch.where(following < 0, torch.nan, loss),
            "top": log_p.argmax(-1),
        }
        if final is not None:
            token = final.argmax(-1)
            found["rank"] = rank(log_p, token)
            found["probability"] = log_p.gather(-1, token[:, None])[:, 0].exp()
        return found


def _ascending(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.sort(np.concatenate(parts)) if parts else np.arange(0)


def _numbers(values: Tensor) -> Floats:
    found: Floats = values.cpu().double().numpy()
    return found
