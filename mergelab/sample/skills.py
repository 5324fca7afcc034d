"""What the sample family can do, and how well: held-out prompts with one right answer each, scored exactly.

torch is imported when something is scored, not before.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from mergelab.sample import text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ACCURACY = "% exact"
NATS = "nats per token"


@dataclass(frozen=True)
class Skill:
    """A kind of document, and how it is judged.

    Attributes:
        name: the key in `SKILLS`, and the name of the specialist that has it.
        about: one line for people.
        generator: draws a document; `documents` keeps those of the held-out side.
        unit: ``"% exact"`` (share of prompts answered exactly, 0 to 100) or ``"nats per token"``.
    """

    name: str
    about: str
    generator: text.Generator
    unit: str

    def documents(self, n: int, seed: int = 0, *, test: bool = True) -> tuple[text.Document, ...]:
        """`n` documents that training never saw (`test=False`: the other side of the split)."""
        return tuple(islice(text.draw(self.generator, random.Random(f"{self.name} {seed}"), test=test), n))

    def prompts(self, n: int, seed: int = 0) -> tuple[str, ...]:
        """The prompts of `documents(n, seed)`."""
        return tuple(document.prompt for document in self.documents(n, seed))


@dataclass(frozen=True)
class Score:
    """How one model did at one skill: `value` over `n` documents, and its standard error, both in `unit`."""

    skill: str
    value: float
    unit: str
    n: int
    standard_error: float

    def __str__(self) -> str:
        if self.unit == ACCURACY:
            return f"{self.value:.1f} %"
        return f"{self.value:.3f} nats"


SKILLS: dict[str, Skill] = {
    skill.name: skill
    for skill in (
        Skill("stories", "plain stories", text.story, NATS),
        Skill("arithmetic", "sums of two two-digit numbers", text.arithmetic, ACCURACY),
        Skill("reverse", "three to five words, backwards", text.reverse, ACCURACY),
        Skill("sort", "three or four words, in alphabetical order", text.sort, ACCURACY),
        Skill("pirate", "a sentence, word for word as a pirate says it", text.pirate, ACCURACY),
    )
}


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    skill: Skill,
    n: int = 200,
    seed: int = 0,
    *,
    batch: int = 256,
) -> Score:
    """Score a causal language model on `n` held-out documents of a skill.

    Exact match is what greedy decoding would give, in one forward pass instead of one per token: greedy decoding
    writes the answer and ``</s>`` if and only if, fed the right answer so far, the model's likeliest next token is
    right every time. The standard error is the binomial one; of nats, that of
    the mean over documents weighted by their length.

    Args:
        model: anything whose call takes ``input_ids`` (int64, batch x length) and ``use_cache``, and returns
            ``.logits`` (float, batch x length x vocabulary), and which looks only backwards.
        tokenizer: the family's, or another one for the same text.
        skill: one of `SKILLS`, or your own.
        n: number of documents.
        seed: which documents; alike for alike seeds, on every machine.
        batch: documents per forward pass.
    """
    documents = skill.documents(n, seed)
    right: list[bool] = []
    losses: list[float] = []
    lengths: list[int] = []
    for start in range(0, n, batch):
        part = documents[start : start + batch]
        for hits, nats in _judge(model, tokenizer, part):
            right.append(bool(hits.all()))
            losses.append(float(nats.sum()))
            lengths.append(len(nats))
    if skill.unit == ACCURACY:
        p = sum(right) / n
        return Score(skill.name, 100 * p, ACCURACY, n, 100 * math.sqrt(p * (1 - p) / n))
    mean = sum(losses) / sum(lengths)
    spread = sum((loss - mean * length) ** 2 for loss, length in zip(losses, lengths, strict=True))
    return Score(skill.name, mean, NATS, n, math.sqrt(spread) / sum(lengths))


def nats(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, passage: str) -> float:
    """Mean negative log likelihood of a passage and its ``</s>``, in nats per token, read from ``<s>`` on."""
    [(_, losses)] = _judge(model, tokenizer, (text.Document("", passage, passage),))
    return float(losses.mean())


def _judge(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, documents: tuple[text.Document, ...]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Per document, over the answer's tokens: is the likeliest token right (bool), and the loss in nats (float32)."""
    import torch

    rows: list[list[int]] = []
    starts: list[int] = []
    for document in documents:
        prompt = tokenizer.encode(document.prompt)
        answer = tokenizer.encode(document.answer, add_special_tokens=False)
        starts.append(len(prompt))
        rows.append([*prompt, *answer, tokenizer.eos_token_id])
    # Padding on the right needs no mask: a causal model never looks there.
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
    device = next(iter(model.parameters())).device if hasattr(model, "parameters") else torch.device("cpu")
    with torch.inference_mode():
        logits = model(input_ids=ids.to(device), use_cache=False).logits.float().cpu()
    result: list[tuple[torch.Tensor, torch.Tensor]] = []
    for row, (tokens, start) in enumerate(zip(rows, starts, strict=True)):
        target = ids[row, start : len(tokens)]
        predicted = logits[row, start - 1 : len(tokens) - 1]
        losses = torch.nn.functional.cross_entropy(predicted, target, reduction="none")
        result.append((predicted.argmax(dim=-1) == target, losses))
    return result
