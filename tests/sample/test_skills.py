"""The scorers: an oracle gets everything, a wrong model nothing, and one pass says what greedy decoding says."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from mergelab.sample import SKILLS, nats, score
from mergelab.sample.runs import Shape
from mergelab.sample.skills import ACCURACY, Score, Skill
from mergelab.sample.tokens import tokenizer
from mergelab.sample.train import build

TOKENIZER = tokenizer()
EXACT = [skill for skill in SKILLS.values() if skill.unit == ACCURACY]


class Fake:
    """A model that knows the answers by heart, and gives `wrong` of every `of` documents a wrong last token."""

    def __init__(self, skill: Skill, n: int, seed: int, wrong: int, of: int) -> None:
        self.next: dict[tuple[int, ...], int] = {}
        for number, document in enumerate(skill.documents(n, seed)):
            prompt = TOKENIZER.encode(document.prompt)
            answer = [*TOKENIZER.encode(document.answer, add_special_tokens=False), TOKENIZER.eos_token_id]
            for at, token in enumerate(answer):
                self.next[*prompt, *answer[:at]] = token
            if number % of < wrong:
                self.next[*prompt, *answer[:-1]] = TOKENIZER.pad_token_id

    def __call__(self, input_ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        assert not use_cache
        logits = torch.zeros(*input_ids.shape, len(TOKENIZER))
        for row, ids in enumerate(input_ids.tolist()):
            for at in range(len(ids)):
                if (token := self.next.get(tuple(ids[: at + 1]))) is not None:
                    logits[row, at, token] = 50.0
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("skill", EXACT, ids=lambda s: s.name)
@pytest.mark.parametrize(("wrong", "of", "value"), [(0, 1, 100.0), (1, 1, 0.0), (1, 4, 75.0)])
def test_a_known_share_of_right_answers_is_the_score(skill: Skill, wrong: int, of: int, value: float) -> None:
    found = score(Fake(skill, 40, 5, wrong, of), TOKENIZER, skill, n=40, seed=5, batch=16)
    p = value / 100
    assert found == Score(skill.name, value, ACCURACY, 40, 100 * math.sqrt(p * (1 - p) / 40))


def test_one_pass_says_what_greedy_decoding_says() -> None:
    from transformers import LlamaForCausalLM

    from mergelab.sample import path

    skill = SKILLS["reverse"]
    model = LlamaForCausalLM.from_pretrained(path("reverse")).eval()
    # Some noise, so that there are wrong answers too.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * parameter.std() * torch.randn(parameter.shape, generator=generator))
    right = 0
    documents = skill.documents(40)
    for document in documents:
        ids = torch.tensor([TOKENIZER.encode(document.prompt)])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        said = out[0, ids.shape[1] :].tolist()
        expected = [*TOKENIZER.encode(document.answer, add_special_tokens=False), TOKENIZER.eos_token_id]
        right += said == expected
    assert 0 < right < 40
    assert score(model, TOKENIZER, skill, n=40).value == pytest.approx(100 * right / 40)


def test_nats_equal_the_models_own_loss() -> None:
    model = build(Shape(layers=2, feed_forward=24), TOKENIZER, seed=0).eval()
    passage = "Once upon a time there was a little cat named Tom."
    ids = torch.tensor([[*TOKENIZER.encode(passage), TOKENIZER.eos_token_id]])
    logits = model(input_ids=ids).logits[0, :-1].double()
    picked = logits.gather(1, ids[0, 1:, None]).squeeze(1)
    slow = (logits.exp().sum(-1).log() - picked).mean().item()
    assert nats(model, TOKENIZER, passage) == pytest.approx(slow, abs=1e-5)


def test_story_score_is_a_mean_over_tokens_and_a_fresh_model_knows_nothing() -> None:
    model = build(Shape(layers=2, feed_forward=24), TOKENIZER, seed=0).eval()
    skill = SKILLS["stories"]
    documents = skill.documents(10)
    lengths = [len(TOKENIZER.encode(d.answer, add_special_tokens=False)) + 1 for d in documents]
    total = sum(nats(model, TOKENIZER, d.answer) * n for d, n in zip(documents, lengths, strict=True))
    found = score(model, TOKENIZER, skill, n=10, batch=3)
    assert found.value == pytest.approx(total / sum(lengths), abs=1e-4)
    assert found.value == pytest.approx(math.log(len(TOKENIZER)), abs=0.3)
    assert 0 < found.standard_error < 0.2
