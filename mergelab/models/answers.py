"""Answers: what live models make of a prompt, in numbers, and how far they agree.

One pass over each prompt gives everything: the next token, the loss on a given continuation, the last hidden state.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from mergelab.errors import AssemblyError, Problem, raise_all
from mergelab.models.replay import Replay
from mergelab.models.speak import encode, is_text

MERGED = "merged"
CANDIDATES = 6


@dataclass(frozen=True)
class Prompt:
    """What is asked of every model.

    Attributes:
        text: what the model reads.
        continuation: a text whose loss is wanted, as it would follow: ``Prompt("2 + 2 =", " 4")``.
    """

    text: str
    continuation: str | None = None

    def __post_init__(self) -> None:
        """AssemblyError where one of the two is no text."""
        given = (self.text, "" if self.continuation is None else self.continuation)
        wrong = (Problem("Prompt", f"{reprlib.repr(one)} is no text.", _HINT) for one in given if not is_text(one))
        raise_all(AssemblyError, wrong)


_HINT = "Give a text, a Prompt(text, continuation), or several."
Asked: TypeAlias = "str | Prompt | Sequence[str | Prompt]"


def prompts_of(asked: Asked, where: str) -> tuple[Prompt, ...]:
    """What is asked, as prompts.

    Args:
        asked: a text or a prompt, or several.
        where: who asks, for the error.

    Raises:
        AssemblyError: there is none, or something is no text.
    """
    given = (asked,) if isinstance(asked, str | Prompt) or not isinstance(asked, Iterable) else tuple(asked)
    wrong = [one for one in given if not isinstance(one, Prompt) and not is_text(one)]
    raise_all(AssemblyError, (Problem(where, f"{reprlib.repr(one)} is no prompt.", _HINT) for one in wrong))
    prompts = tuple(one if isinstance(one, Prompt) else Prompt(one) for one in given)
    if not prompts:
        raise AssemblyError(Problem(where, "there is no prompt.", "Give one or several."))
    return prompts


@dataclass(frozen=True)
class Heard:
    """What one model makes of one prompt.

    Attributes:
        head: log-probabilities of the next token: float32, shape (vocabulary,), on the model's device.
        loss: mean negative log-probability of the continuation's tokens, the first of them included, in nats per token
            of the model's own tokenizer; NaN where there is no continuation.
        state: what the last layer hands to the final norm at the prompt's last token: float32, shape (width,), on the
            CPU.
    """

    head: torch.Tensor
    loss: float
    state: torch.Tensor


@dataclass(frozen=True)
class Candidate:
    """One row of the next-token table: a token and the probability each speaker gives it, 0 to 1.

    NaN for a speaker whose vocabulary does not have the token.
    """

    id: int
    token: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Answer:
    """What every speaker makes of one prompt. Tuples have one entry for each speaker.

    Attributes:
        prompt: what was asked.
        speakers: the merged model, then the sources.
        candidates: the merged model's likeliest tokens and the first choice of every source of its vocabulary,
            likeliest in the merge first.
        kl: KL(merged || speaker) over the whole vocabulary, in nats; NaN where vocabularies differ.
        entropy: of the next token, in nats.
        losses: on the prompt's continuation, in nats per token; NaN where there is none. Speakers of different
            tokenizers count different tokens.
        states: what the last layer hands to the final norm at the prompt's last token: float32, shape (width,) each.
    """

    prompt: Prompt
    speakers: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    kl: tuple[float, ...]
    entropy: tuple[float, ...]
    losses: tuple[float, ...]
    states: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Reading:
    """Tokens to run through a model, and of how many last positions the logits are wanted."""

    ids: tuple[int, ...]
    wanted: int


def hear(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    replay: Replay | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Heard, ...]:
    """What a model makes of each prompt. Prompts of the same length are read in one batch.

    Call it inside ``torch.inference_mode``. A continuation is cut into tokens as EleutherAI's lm-evaluation-harness
    does it: prompt and continuation are encoded as one text, and what is longer than the encoded prompt is the
    continuation; spaces at the end of the prompt belong to the continuation.

    Args:
        replay: what is known of earlier passes of this model; without it every layer runs.
        stop: asked before every layer.

    Raises:
        Stopped: ``stop`` said so.
        AssemblyError: a text has no token of its own, or more than the model reads.
    """
    replay = Replay(budget=0) if replay is None else replay
    asked = [readings(model, tokenizer, prompt) for prompt in prompts]
    batches: dict[tuple[int, int], list[Reading]] = {}
    for one in dict.fromkeys(reading for own, scored, _ in asked for reading in (own, scored)):
        batches.setdefault((len(one.ids), one.wanted), []).append(one)
    read: dict[Reading, tuple[torch.Tensor, torch.Tensor]] = {}
    for (_, wanted), batch in batches.items():
        logits, hidden = replay.forward(model, torch.tensor([one.ids for one in batch]), wanted, stop=stop)
        if logits.device.type == "mps":  # which has no float64, and the figures want it
            logits = logits.cpu()
        states = hidden[:, -wanted].float().cpu()
        read.update(zip(batch, zip(torch.log_softmax(logits.float(), -1), states, strict=True), strict=True))
    losses = _losses([(read[scored][0], targets) for _, scored, targets in asked])
    return tuple(
        # A copy: a view would keep the figures of the whole batch.
        Heard(read[own][0][0].clone(), loss, read[own][1].clone())
        for (own, _, _), loss in zip(asked, losses, strict=True)
    )


def readings(model: Any, tokenizer: Any, prompt: Prompt) -> tuple[Reading, Reading, tuple[int, ...]]:
    """What to run for the next token, what for the loss, and the tokens whose loss it is. Often one run does both.

    Raises:
        AssemblyError: as ``hear``.
    """
    ids = tuple(encode(model, tokenizer, prompt.text))
    own = Reading(ids, 1)
    if prompt.continuation is None:
        return own, own, ()
    before = prompt.text.rstrip()
    cut = len(ids) if before == prompt.text else len(encode(model, tokenizer, before))
    whole = tuple(encode(model, tokenizer, prompt.text + prompt.continuation))
    targets = whole[cut:]
    if not targets:
        what = f"{prompt.continuation!r} adds no token to the prompt."
        raise AssemblyError(Problem("continuation", what, "Give the text that should follow."))
    # The last token is only predicted, never read. The first position that is wanted is that of the prompt's last
    # token, where its own next token is found too.
    scored = Reading(whole[:-1], len(targets))
    return (scored if whole[:cut] == ids else own), scored, targets


def _losses(scored: Sequence[tuple[torch.Tensor, tuple[int, ...]]]) -> list[float]:
    """Mean negative log-probability of the targets, NaN where there are none. Fetched from the device at once."""
    found = [
        -log_p.gather(-1, torch.tensor(targets, device=log_p.device)[:, None]).mean() if targets else None
        for log_p, targets in scored
    ]
    known = [one for one in found if one is not None]
    values = iter(torch.stack(known).tolist() if known else [])
    return [math.nan if one is None else float(next(values)) for one in found]


def compare(
    prompt: Prompt, heard: Mapping[str, Heard], vocabularies: Mapping[str, Mapping[str, int] | None], tokenizer: Any
) -> Answer:
    """What all speakers make of a prompt, side by side.

    Args:
        heard: by speaker; the merged model is called "merged".
        vocabularies: for each speaker None where it has the merged model's vocabulary, else its own. A token is looked
            up there by its text.
        tokenizer: the merged model's.
    """
    merged = heard[MERGED].head
    alike = {name: vocabularies[name] is None and len(one.head) == len(merged) for name, one in heard.items()}
    first = merged.topk(min(CANDIDATES, len(merged))).indices.tolist()
    first += [int(one.head.argmax()) for name, one in heard.items() if alike[name]]
    ids = list(dict.fromkeys(first))
    likely = dict(zip(ids, merged[ids].tolist(), strict=True))
    ids.sort(key=lambda token: (-likely[token], token))

    def probabilities(name: str) -> list[float]:
        theirs, head = vocabularies[name], heard[name].head
        own = ids if theirs is None else [theirs.get(tokenizer.convert_ids_to_tokens(token), -1) for token in ids]
        known = [token if 0 <= token < len(head) else -1 for token in own]
        found = head[known].exp().tolist()
        return [value if token >= 0 else math.nan for token, value in zip(known, found, strict=True)]

    # Some tokenizers show the space before a word only where something stands before it.
    before = tokenizer(prompt.text)["input_ids"][-1:]

    def spelt(token: int) -> str:
        return str(tokenizer.decode([*before, token]))[len(tokenizer.decode(before)) :]

    rows = zip(ids, zip(*map(probabilities, heard), strict=True), strict=True)
    # One of them may have had to move to the CPU.
    log_p = {name: one.head.to(merged.device).double() for name, one in heard.items()}
    return Answer(
        prompt,
        tuple(heard),
        tuple(Candidate(token, spelt(token), values) for token, values in rows),
        tuple(_kl(log_p[MERGED], log_p[name]) if alike[name] else math.nan for name in heard),
        tuple(0.0 - _expected(one, one) for one in log_p.values()),  # a minus in front would make -0.0 of 0
        tuple(one.loss for one in heard.values()),
        tuple(one.state for one in heard.values()),
    )


def only_numbers(heard: Mapping[str, Sequence[Heard]], prompts: Sequence[Prompt]) -> None:
    """See that every figure is a number: shown as it is, another would read as agreement, or as no continuation.

    Args:
        heard: by speaker, what it makes of each of the prompts.

    Raises:
        AssemblyError: some are not, with the names of all speakers that gave them.
    """

    def broken(said: Sequence[Heard]) -> bool:
        losses = (one.loss for one, prompt in zip(said, prompts, strict=True) if prompt.continuation is not None)
        return bool(torch.stack([one.head.isnan().any() for one in said]).any()) or any(map(math.isnan, losses))

    what, why = "gives values that are not numbers (NaN).", "A weight of it, or of a source, is NaN or too large."
    raise_all(AssemblyError, (Problem(name, what, why) for name, said in heard.items() if broken(said)))


def _kl(log_p: torch.Tensor, log_q: torch.Tensor) -> float:
    """KL(p || q) of two vectors of log-probabilities, in nats: sum p (log p - log q), in float64."""
    return max(0.0, _expected(log_p, log_p - log_q))


def _expected(log_p: torch.Tensor, values: torch.Tensor) -> float:
    """Mean of the values under p; where p is 0 a value counts nothing, whatever it is."""
    p = log_p.exp()
    return float(torch.where(p > 0, p * values, 0.0).sum())
