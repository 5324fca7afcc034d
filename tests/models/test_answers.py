"""Answers: losses, states and batches against passes by hand; tables against figures of known distributions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from mergelab.errors import AssemblyError
from mergelab.models.answers import Heard, Prompt, compare, hear, only_numbers
from mergelab.models.replay import Replay
from mergelab.models.speak import Stopped

Trio = tuple[Path, Path, Path]


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def model(llamas: Trio) -> Any:
    return AutoModelForCausalLM.from_pretrained(llamas[0]).eval()


@pytest.fixture
def letters(llamas: Trio) -> Any:
    return AutoTokenizer.from_pretrained(llamas[0])


@pytest.fixture
def pairs() -> Any:
    """A tokenizer that joins a and b across a border."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.BPE({"a": 5, "b": 6, "c": 7, "ab": 8, " ": 9}, [("a", "b")]))
    made.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made)


def log_p(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after every token, in float64 from the logits on."""
    logits = model(torch.tensor([ids]), use_cache=False).logits[0].double()
    return logits - torch.logsumexp(logits, -1, keepdim=True)


def loss_by_hand(model: Any, whole: list[int], cut: int) -> float:
    after = log_p(model, whole)
    return -sum(float(after[place - 1, whole[place]]) for place in range(cut, len(whole))) / (len(whole) - cut)


def test_every_token_of_the_continuation_counts_the_first_included(model: Any, letters: Any) -> None:
    prompts = [Prompt("hello", end) for end in ("!", " cat", " and so on")] + [Prompt("hello")]
    for prompt, heard in zip(prompts, hear(model, letters, prompts), strict=True):
        ids = letters("hello")["input_ids"]
        if prompt.continuation is None:
            assert math.isnan(heard.loss)
        else:
            whole = letters("hello" + prompt.continuation)["input_ids"]
            assert heard.loss == pytest.approx(loss_by_hand(model, whole, len(ids)), rel=1e-5)
        assert torch.allclose(heard.head.double(), log_p(model, ids)[-1], atol=1e-5)


def test_spaces_at_the_end_of_a_prompt_belong_to_the_continuation(model: Any, letters: Any) -> None:
    (heard,) = hear(model, letters, [Prompt("hello  ", "cat")])
    whole = letters("hello  cat")["input_ids"]
    assert heard.loss == pytest.approx(loss_by_hand(model, whole, len(whole) - 5), rel=1e-5)
    assert torch.allclose(heard.head.double(), log_p(model, letters("hello  ")["input_ids"])[-1], atol=1e-5)


def test_a_token_that_spans_the_border_counts_where_the_text_as_one_is_cut(model: Any, pairs: Any) -> None:
    """'ca' and 'bb' are c, a and b, b; 'cabb' is c, ab, b: cut after two, one token is left to predict. The prompt's
    own next token is still that after c, a.
    """
    assert pairs("cabb")["input_ids"] == [7, 8, 6]
    (heard,) = hear(model, pairs, [Prompt("ca", "bb")])
    assert heard.loss == pytest.approx(-float(log_p(model, [7, 8])[-1, 6]), rel=1e-5)
    assert torch.allclose(heard.head.double(), log_p(model, [7, 5])[-1], atol=1e-5)
    with pytest.raises(AssemblyError, match="continuation: 'b' adds no token to the prompt"):
        hear(model, pairs, [Prompt("ca", "b")])


@pytest.mark.parametrize("continuation", [None, " cat", "!"])
def test_the_state_is_that_before_the_final_norm_at_the_last_token_of_the_prompt(
    continuation: str | None, model: Any, letters: Any
) -> None:
    (heard,) = hear(model, letters, [Prompt("hello", continuation)])
    after = model(torch.tensor([letters("hello")["input_ids"]]), output_hidden_states=True, use_cache=False)
    assert heard.state.dtype == torch.float32
    assert heard.state.shape == (24,)
    assert torch.allclose(model.model.norm(heard.state), after.hidden_states[-1][0, -1], atol=1e-5)
    assert not torch.allclose(heard.state, after.hidden_states[-1][0, -1], atol=1e-2)


def test_prompts_of_one_length_are_read_in_one_pass_and_each_once(model: Any, letters: Any) -> None:
    prompts = [Prompt("cats"), Prompt("longer"), Prompt("dogs"), Prompt("cats"), Prompt("bird", "s"), Prompt("dogs")]
    together = hear(model, letters, prompts)
    read: list[tuple[int, ...]] = []
    hook = model.model.layers[0].register_forward_hook(lambda _, given, __: read.append(tuple(given[0].shape[:2])))
    assert len(hear(model, letters, prompts)) == 6
    assert read == [(3, 5), (1, 7)]  # one letter after "bird" is only predicted
    hook.remove()
    for prompt, heard in zip(prompts, together, strict=True):
        (alone,) = hear(model, letters, [prompt])
        assert torch.allclose(alone.head, heard.head, atol=1e-5)
        assert torch.allclose(alone.state, heard.state, atol=1e-5)
        assert alone.loss == pytest.approx(heard.loss, rel=1e-5, nan_ok=True)


def test_logits_are_made_where_they_are_wanted_only(model: Any, letters: Any) -> None:
    shapes: list[tuple[int, ...]] = []
    model.lm_head.register_forward_hook(lambda _, __, logits: shapes.append(tuple(logits.shape)))
    hear(model, letters, [Prompt("x" * 50), Prompt("x" * 40, "abc")])
    assert shapes == [(1, 1, 96), (1, 3, 96)]


def test_it_ends_when_asked_and_uses_what_is_known(model: Any, letters: Any) -> None:
    ran: list[int] = []
    for number, layer in enumerate(model.model.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    questions = iter([False] * 5)
    replay = Replay()
    with pytest.raises(Stopped):
        hear(model, letters, [Prompt("cat")], replay=replay, stop=lambda: next(questions, True))
    hear(model, letters, [Prompt("cat")], replay=replay)
    assert ran == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("prompt", [Prompt("x" * 70), Prompt("x" * 40, "y" * 30)])
def test_a_text_longer_than_the_model_reads_is_refused(prompt: Prompt, model: Any, letters: Any) -> None:
    with pytest.raises(AssemblyError, match=r"has 71 tokens, the model reads 64\. Shorten it"):
        hear(model, letters, [prompt])


def test_the_table_of_known_distributions(letters: Any) -> None:
    """Four tokens: entropies, divergences and rows can be done in the head."""

    def heard(*p: float) -> Heard:
        return Heard(torch.tensor(p).log(), 0.5, torch.zeros(2))

    said = {"merged": heard(0.5, 0.25, 0.25, 0.0), "even": heard(*[0.25] * 4), "sure": heard(0.0, 0.0, 0.0, 1.0)}
    answer = compare(Prompt("cat"), said, dict.fromkeys(said), letters)
    assert answer.speakers == ("merged", "even", "sure")
    assert answer.entropy == pytest.approx((1.5 * math.log(2), 2 * math.log(2), 0))
    assert str(answer.entropy[2]) == "0.0"  # not -0.0
    assert answer.kl == pytest.approx((0, 0.5 * math.log(2), math.inf))
    assert [row.id for row in answer.candidates] == [0, 1, 2, 3]  # equals in the order of their numbers
    assert answer.candidates[3].probabilities == pytest.approx((0, 0.25, 1))
    assert answer.losses == (0.5,) * 3


def test_figures_that_are_no_numbers_are_refused_by_name() -> None:
    fine, broken = (Heard(torch.tensor([value, 0.0]), 0.0, torch.zeros(1)) for value in (0.0, math.nan))
    asked = [Prompt("cat"), Prompt("dog")]
    only_numbers({"merged": [fine, fine], "a": [fine, fine]}, asked)
    with pytest.raises(AssemblyError, match="a: gives values that are not numbers") as caught:
        only_numbers({"merged": [fine, fine], "a": [fine, broken], "b": [broken, broken]}, asked)
    assert [problem.where for problem in caught.value.problems] == ["a", "b"]


def test_a_loss_that_is_no_number_is_not_taken_for_no_continuation(model: Any, letters: Any) -> None:
    """The weights of one token are NaN, which only the continuation has: the next token is fine, the loss is not."""
    (nan,) = letters("z", add_special_tokens=False)["input_ids"]
    model.get_input_embeddings().weight[nan] = math.nan
    asked = [Prompt("cat "), Prompt("cat ", "zoo"), Prompt("cat ", "dog")]  # with the space, two passes each
    said = hear(model, letters, asked)
    assert all(bool(one.head.isfinite().all()) for one in said)
    assert [math.isnan(one.loss) for one in said] == [True, True, False]
    only_numbers({"a": [said[0], said[2]]}, [asked[0], asked[2]])
    with pytest.raises(AssemblyError, match="a: gives values that are not numbers"):
        only_numbers({"a": said}, asked)


@pytest.mark.parametrize("given", [(3,), (None,), (["a"],), ("a", 3), ("a", ["b"])])
def test_a_prompt_is_of_texts(given: tuple[Any, ...]) -> None:
    wrong = [one for one in given if not isinstance(one, str)]
    with pytest.raises(AssemblyError, match=rf"Prompt: {re.escape(repr(wrong[0]))} is no text\. Give a text"):
        Prompt(*given)
