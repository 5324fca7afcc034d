"""Shading: how well the merged model predicts each token of a prompt, and how far every source is from it there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mergelab.models.assembly import Assembly
from mergelab.models.replay import Replay
from mergelab.models.speak import encode

LONGEST = 256  # tokens of a prompt that is shaded
REMEMBERED = 64_000_000  # bytes of sources' predictions that are kept
_ROWS = 32  # tokens whose predictions are compared at a time, in float64


@dataclass(frozen=True)
class Shade:
    """One token of a prompt.

    Attributes:
        token: its text, as it stands in the prompt.
        loss: -log p of it under the merged model, given the tokens before, in nats; NaN for the first.
        kl: by source, KL(merged || source) of what is predicted after it, over the whole vocabulary, in nats; NaN for
            a source of another vocabulary, or one that reads the prompt as other tokens.
    """

    token: str
    loss: float
    kl: tuple[float, ...]


class Shading:
    """Shades prompts. What each source predicts in a prompt is computed once, as far as there is room to keep it."""

    def __init__(self, budget: int = REMEMBERED) -> None:
        """Keep predictions of sources up to ``budget`` bytes; those that were used longest ago go first."""
        self._budget = budget
        self._known: dict[tuple[str, tuple[int, ...]], torch.Tensor] = {}  # the ones used last come last

    def forget(self) -> None:
        """Drop everything that is kept."""
        self._known.clear()

    def shades(
        self,
        text: str,
        merged: Assembly,
        sources: Mapping[str, Assembly],
        alike: Mapping[str, bool],
        *,
        replay: Replay,
        stop: Callable[[], bool],
    ) -> tuple[Shade, ...]:
        """The shade of every token of a prompt; none at all where it has more than LONGEST.

        Call it inside ``torch.inference_mode``.

        Args:
            text: the prompt.
            merged: the merged model.
            sources: each as a model of its own, by name.
            alike: by the same names, whether it has the merged model's vocabulary.
            replay: of the merged model.
            stop: asked before every layer that runs, and between sources.

        Raises:
            Stopped: ``stop`` said so.
            AssemblyError: the merged model cannot read the prompt.
        """
        with merged.lock:
            model, tokenizer = merged.model, merged.tokenizer
            ids = tuple(encode(model, tokenizer, text))
            if len(ids) > LONGEST:
                return ()
            log_p = _predictions(model, ids, replay, stop)
        apart = [self._apart(name, sources[name], text, ids, log_p, alike[name], stop) for name in sources]
        following = torch.tensor(ids[1:], dtype=torch.long, device=log_p.device)
        losses = [math.nan, *(-log_p[:-1].gather(-1, following[:, None])[:, 0]).tolist()]
        rows = zip(_spelt(tokenizer, ids), losses, zip(*apart, strict=True) if apart else [()] * len(ids), strict=True)
        return tuple(Shade(*row) for row in rows)

    def _apart(
        self,
        name: str,
        source: Assembly,
        text: str,
        ids: tuple[int, ...],
        log_p: torch.Tensor,
        alike: bool,
        stop: Callable[[], bool],
    ) -> list[float]:
        """KL(merged || source) after each token."""
        nowhere = [math.nan] * len(ids)
        if not alike or tuple(encode(source.model, source.tokenizer, text)) != ids:
            return nowhere
        theirs = self._known.pop((name, ids), None)
        if theirs is None:
            with source.lock:
                theirs = _predictions(source.model, ids, Replay(budget=0), stop)
        self._known[name, ids] = theirs
        while sum(one.nbytes for one in self._known.values()) > self._budget:
            del self._known[next(iter(self._known))]
        if theirs.shape != log_p.shape:
            return nowhere
        found: list[float] = []
        for ours, others in zip(log_p.split(_ROWS), theirs.to(log_p.device).split(_ROWS), strict=True):
            p = ours.double()
            terms = torch.where(p.exp() > 0, p.exp() * (p - others.double()), 0.0)
            found += terms.sum(-1).clamp(min=0.0).tolist()
        return found


def _predictions(model: Any, ids: tuple[int, ...], replay: Replay, stop: Callable[[], bool]) -> torch.Tensor:
    """Log-probabilities of what follows each token: float32, shape (tokens, vocabulary)."""
    logits, _ = replay.forward(model, torch.tensor([ids]), len(ids), stop=stop)
    if logits.device.type == "mps":  # which has no float64, and the comparison wants it
        logits = logits.cpu()
    return torch.log_softmax(logits[0].float(), -1)


def _spelt(tokenizer: Any, ids: tuple[int, ...]) -> list[str]:
    """Tokens as text. Some tokenizers show the space before a word only where something stands before it."""
    found = []
    for place, token in enumerate(ids):
        before = list(ids[max(0, place - 1) : place])
        found.append(str(tokenizer.decode([*before, token]))[len(tokenizer.decode(before)) if before else 0 :])
    return found
