"""What one live model writes after a prompt, streamed and stoppable."""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from mergelab.errors import AssemblyError, Problem
from mergelab.models.progress import Stopped
from mergelab.models.untouched import untouched

__all__ = ["Stopped", "allowed", "encode", "is_text", "write"]


def is_text(given: object) -> bool:
    """Whether what was given is a text: a list of them, for one, is not, though a tokenizer takes it."""
    return isinstance(given, str)


def encode(model: Any, tokenizer: Any, prompt: str) -> list[int]:
    """The prompt's tokens, as the model reads them. Of an empty text that is the start token, if there is one.

    Raises:
        AssemblyError: it is no text, has no token, or more than the model reads.
    """
    if not is_text(prompt):
        raise AssemblyError(Problem("prompt", f"{reprlib.repr(prompt)} is no text.", "Give one text."))
    ids: list[int] = tokenizer(prompt, verbose=False)["input_ids"]  # what is too long is said below, as an error
    room = getattr(model.config, "max_position_embeddings", None)
    if not ids:
        raise AssemblyError(Problem("prompt", f"{prompt!r} has no token.", "Type a few words."))
    if room is not None and len(ids) >= room:
        raise AssemblyError(Problem("prompt", f"has {len(ids)} tokens, the model reads {room}.", "Shorten it."))
    return ids


def allowed(max_new_tokens: object) -> int:
    """The length of a written answer, seen to be one.

    Raises:
        AssemblyError: it is no whole number from 1.
    """
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int) or max_new_tokens < 1:
        what = f"{max_new_tokens!r} is no number of tokens."
        raise AssemblyError(Problem("max_new_tokens", what, "Give a whole number from 1."))
    return max_new_tokens


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

    Always the likeliest token: of the model's generation config only the ids of tokens count, so that models of the
    same weights write the same.

    Args:
        length: most tokens to write, 1 or more; fewer where the model's context ends before.
        stop: asked after every token.
        so_far: gets the whole text written so far after every token.

    Raises:
        Stopped: ``stop`` said so.
        AssemblyError: as ``encode`` for the prompt, the length is none, or the model writes to its own weights.
    """
    prefix = torch.tensor([encode(model, tokenizer, prompt)], device=model.device)
    start = prefix.shape[1]
    room = getattr(model.config, "max_position_embeddings", None)
    length = min(allowed(length), length if room is None else room - start)

    def text(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    greedy = copy.copy(model)  # generate() fills in from the model's own settings whatever it is not given
    greedy.generation_config = GenerationConfig(
        bos_token_id=model.generation_config.bos_token_id,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        do_sample=False,
    )
    with untouched(model):
        ids = greedy.generate(
            input_ids=prefix,
            attention_mask=torch.ones_like(prefix),
            max_new_tokens=length,
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
