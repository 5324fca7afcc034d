"""What one live model writes after a prompt, streamed and stoppable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from mergelab.errors import AssemblyError, Problem


class Stopped(Exception):  # noqa: N818 - a request that was heeded, not an error
    """Work was abandoned because its ``stop`` said so."""


def encode(model: Any, tokenizer: Any, prompt: str) -> list[int]:
    """The prompt's tokens, as the model reads them.

    Raises:
        AssemblyError: it has no token, or more than the model reads.
    """
    ids: list[int] = tokenizer(prompt)["input_ids"]
    room = getattr(model.config, "max_position_embeddings", None)
    if not ids:
        raise AssemblyError(Problem("prompt", "is empty.", "Type a few words."))
    if room is not None and len(ids) >= room:
        raise AssemblyError(Problem("prompt", f"has {len(ids)} tokens, the model reads {room}.", "Shorten it."))
    return ids


def write(
    model: Any,
    tokenizer: Any,
    prompt: str,
    *,
    length: int,
    stop: Callable[[], bool] = lambda: False,
    so_far: Callable[[str], None] = lambda _: None,
) -> str:
    """What the model writes after the prompt: greedy, without the prompt, up to its end of text.

    Args:
        length: most tokens to write; fewer where the model's context ends before.
        stop: asked after every token.
        so_far: gets the whole text written so far after every token.

    Raises:
        Stopped: ``stop`` said so.
        AssemblyError: the prompt is empty or too long.
    """
    prefix = torch.tensor([encode(model, tokenizer, prompt)], device=model.device)
    start = prefix.shape[1]
    room = getattr(model.config, "max_position_embeddings", None)
    length = length if room is None else max(1, min(length, room - start))

    def text(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    ids = model.generate(
        input_ids=prefix,
        attention_mask=torch.ones_like(prefix),
        max_new_tokens=length,
        do_sample=False,
        pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        streamer=_Streamer(lambda written: so_far(text(written))),
        stopping_criteria=StoppingCriteriaList([_Stop(stop)]),
    )
    if stop():
        raise Stopped
    return text(ids[0, start:].tolist())


class _Streamer(BaseStreamer):
    """Hands over all tokens written so far after each new one. generate() gives the prompt first."""

    def __init__(self, tell: Callable[[list[int]], None]) -> None:
        self._tell = tell
        self._ids: list[int] | None = None

    def put(self, value: torch.Tensor) -> None:
        if self._ids is None:
            self._ids = []
            return
        self._ids += value.flatten().tolist()
        self._tell(self._ids)

    def end(self) -> None:
        """Nothing is held back."""


class _Stop(StoppingCriteria):
    """Ends generation when asked."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop

    def __call__(self, input_ids: torch.Tensor, _scores: torch.Tensor, **_: object) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._stop(), device=input_ids.device, dtype=torch.bool)
