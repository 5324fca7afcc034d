"""Answering: what a model makes of fixed prompts, bit by bit, with and without cache and in a padded batch.

Two models of the same tensors and config answer the same; a setting that differs shows here, whatever it is called.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from mergelab.models.config import in_words
from mergelab.models.untouched import untouched

TEXTS = (
    "The cat sat on the mat.", "2 + 2 =", "def add(a, b):\n    return a + b\n", "Yes",
    "  Ein Fl\u00fc\u00dfchen \u2014 \u6f22\u5b57, \U0001f642\tand\n\nlines ", "<s>[INST] don't 3.14159 </s>",
)  # fmt: skip
LONGEST = 24  # tokens of a prompt: enough for what a window or a rope does differently, few enough to keep all logits
WRITTEN = 4  # tokens that are written after it
GONE_ON_WITH = 3  # prompts that are gone on with one by one
STOPS_AFTER = 3  # tokens, where the last of them is made to be an end of text


@dataclass(frozen=True)
class Answers:
    """What a model made of prompts. All on the CPU.

    Attributes:
        whole: logits of every position of each prompt, read at once and without a cache: (tokens, vocabulary) each.
        cached: logits of the tokens written after the first prompts, one by one with a cache: (written, vocabulary)
            each.
        padded: those of the tokens written after all prompts at once, padded on the left: the same shape.
    """

    whole: tuple[torch.Tensor, ...]
    cached: tuple[torch.Tensor, ...]
    padded: tuple[torch.Tensor, ...]


def fixed_prompts(rows: int, room: int | None, tokenizer: Any) -> tuple[tuple[int, ...], ...]:
    """Prompts as ids of tokens: two that are spread over the vocabulary, its first and last row among them, and the
    texts that ``tokenizer`` turns into tokens which the model has.

    Args:
        rows: number of tokens that the model has.
        room: most tokens that it reads, None where it has no bound.
        tokenizer: None: the model has none.
    """
    longest = min(LONGEST, LONGEST if room is None else max(1, room - WRITTEN))
    spread = [round(place * (rows - 1) / max(1, longest - 1)) for place in range(longest)]
    spread = spread[longest // 2 :] + spread[: longest // 2]  # at its ends transformers looks for padding, and warns
    scattered = [(17 * place + 3) % rows for place in range(min(7, longest))]
    texts = [] if tokenizer is None else [tokens(tokenizer, text) for text in TEXTS]
    known = [ids[:longest] for ids in texts if not isinstance(ids, str) and ids and max(ids[:longest]) < rows]
    return tuple(dict.fromkeys(tuple(ids) for ids in (spread, scattered, *known)))


def tokens(tokenizer: Any, text: str, *, special: bool = True) -> list[int] | str:
    """The ids that a tokenizer of transformers makes of a text; what it refuses is told in words.

    Args:
        special: with the tokens that it puts around a text.
    """
    try:
        return list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
    except Exception as error:  # noqa: BLE001 - a tokenizer without a token for the unknown raises whatever it likes
        return in_words(error)


def answers(model: Any, prompts: Sequence[Sequence[int]], *, pad: int, heed: Callable[[], None]) -> Answers:
    """What a model makes of prompts.

    Args:
        pad: id of the token that fills a batch up on the left.
        heed: called before every prompt; what it raises ends the work.

    Raises:
        AssemblyError: the model writes to its own weights when it runs.
    """
    whole: list[torch.Tensor] = []
    cached: list[torch.Tensor] = []
    with untouched(model), torch.inference_mode():
        for ids in prompts:
            heed()
            given = torch.tensor([ids], device=model.device)
            whole.append(model(given, attention_mask=torch.ones_like(given), use_cache=False).logits[0].cpu())
            if len(cached) < GONE_ON_WITH:
                cached.append(_written(model, given, torch.ones_like(given), pad)[0])
        heed()
        width = max(map(len, prompts))
        batch = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in prompts], device=model.device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=model.device)
        padded = _written(model, batch, mask, pad)
    return Answers(tuple(whole), tuple(cached), tuple(padded))


def _written(model: Any, ids: torch.Tensor, mask: torch.Tensor, pad: int) -> list[torch.Tensor]:
    """Logits of the likeliest tokens after each row, one by one with a cache: (written, vocabulary) each."""
    made = _generate(model, ids, mask, GenerationConfig(
        max_new_tokens=WRITTEN, do_sample=False, use_cache=True, pad_token_id=pad, output_logits=True,
        return_dict_in_generate=True,
    ))  # fmt: skip
    return list(torch.stack(made.logits, dim=1).cpu())


def ends_at(model: Any, prompt: Sequence[int], ends: Sequence[int], end: int) -> int:
    """How many tokens a model writes, ``WRITTEN`` at most, if token ``STOPS_AFTER`` is made to be ``end``, and none
    before it is one of ``ends``.
    """
    given = torch.tensor([list(prompt)], device=model.device)
    settings = GenerationConfig(
        max_new_tokens=WRITTEN, do_sample=False, eos_token_id=list(ends), pad_token_id=ends[0], bos_token_id=None
    )
    forced = LogitsProcessorList([_Forced(len(prompt), ends, end)])
    with torch.inference_mode():
        made = _generate(model, given, torch.ones_like(given), settings, forced)
    return int(made.shape[1]) - len(prompt)


def _generate(model: Any, ids: torch.Tensor, mask: torch.Tensor, settings: GenerationConfig, forced: Any = None) -> Any:
    plain = copy.copy(model)  # generate() fills in from the model's own settings whatever it is not given
    plain.generation_config = settings
    return plain.generate(input_ids=ids, attention_mask=mask, logits_processor=forced)


class _Forced(LogitsProcessor):
    """No end of text at first, then the one that is wanted."""

    def __init__(self, start: int, ends: Sequence[int], end: int) -> None:
        self._start, self._ends, self._end = start, list(ends), end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.clone()
        written = input_ids.shape[1] - self._start
        if written < STOPS_AFTER - 1:
            scores[:, self._ends] = -torch.inf
        elif written == STOPS_AFTER - 1:
            scores[:] = -torch.inf
            scores[:, self._end] = 0.0
        return scores
