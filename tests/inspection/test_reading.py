"""Sources are opened for reading only, and prompts become the same tokens for all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab import sample
from mergelab.errors import AssemblyError, InspectionError, SourceError
from mergelab.inspection import reading
from mergelab.inspection.handles import find
from mergelab.inspection.reading import _named, batches, open_models
from mergelab.inspection.walk import walk
from mergelab.models import Assembly, assemble
from mergelab.recipes import graft
from mergelab.weights import Source, open_checkpoint
from tests.inspection.kinds import made

TEXTS = ("Once upon a time", "the sea", "", "the sea and the sky", "a cat")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    with open_models(sample.path("base")) as opened:
        return opened.tokenizers["base"]


@pytest.fixture(scope="module")
def grafted() -> Iterator[Assembly]:
    with assemble(graft(sample.path("base"), sample.path("pirate"), layers=(2, 4))) as live:
        yield live


def held(lock: Any) -> bool:
    """Whether another thread would have to wait for it."""
    got: list[bool] = []

    def take() -> None:
        got.append(lock.acquire(blocking=False))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return not got[0]


def test_sources_of_every_kind(grafted: Assembly, tokenizer: Any) -> None:
    folder = sample.path("base")
    recipe = graft(folder, sample.path("reverse"), layers=(1, 2))
    own = made("gpt2")
    given = [folder, str(sample.path("pirate")), Source(str(folder)), open_checkpoint(folder), recipe, grafted]
    with open_models([*given, (own, tokenizer)]) as opened:
        assert list(opened.models) == [
            "base", "pirate", "base 2", "base 3", "merged", "merged 2", "GPT2LMHeadModel",
        ]  # fmt: skip
        assert list(opened.checkpoints) == ["base", "pirate", "base 2", "base 3"]
        assert opened.checkpoints["pirate"].source.label == "pirate"
        assert opened.models["merged 2"] is grafted.model
        assert opened.models["GPT2LMHeadModel"] is own
        assert opened.tokenizers["GPT2LMHeadModel"] is tokenizer
        assert opened.models["base"].training is False


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["x", "x", "x"], ["x", "x 2", "x 3"]),
        (["x 2", "x", "x"], ["x 2", "x", "x 3"]),
        (["x", "x 2", "x", "x 2"], ["x", "x 2", "x 3", "x 2 2"]),
        (["x chat", "x"], ["x chat", "x"]),
    ],
)
def test_no_source_is_lost_to_anothers_name(labels: list[str], names: list[str]) -> None:
    given = [Source(f"/{number}/{label}") for number, label in enumerate(labels)]
    assert list(_named(given).items()) == list(zip(names, given, strict=True))


def test_names_that_are_given_are_kept() -> None:
    with open_models({"left": sample.path("base"), "right": sample.path("pirate")}) as opened:
        assert list(opened.models) == list(opened.checkpoints) == ["left", "right"]


def test_nothing_is_copied_and_all_is_given_back() -> None:
    folder = sample.path("base")
    with open_models([folder, folder, graft(folder, sample.path("pirate"), layers=(2, 4))], device="cpu") as opened:
        one, other, merged = (dict(model.named_parameters()) for model in opened.models.values())
        shared = [name for name in one if one[name].data_ptr() == merged[name].data_ptr()]
        assert all(one[name].data_ptr() == other[name].data_ptr() for name in one)
        assert len(shared) == len(one) - 2 * len([name for name in one if "layers.0." in name])
        bank = opened._made[0].bank
        assert bank.made == 0
        live = list(opened._made)
    assert not opened.models
    assert [repr(assembly) for assembly in live] == ["<Assembly, closed>"] * 3
    opened.close()


def test_an_assembly_is_the_readers_alone_and_stays_open(grafted: Assembly) -> None:
    opened = open_models([grafted, grafted])
    with opened:
        assert held(grafted.lock)
        assert list(opened.models) == ["merged", "merged 2"]
    assert not held(grafted.lock)
    with pytest.raises(InspectionError), open_models(grafted) as opened:
        opened.batches([])
    assert not held(grafted.lock)
    assert grafted.say("the sea", max_new_tokens=1) is not None


def test_what_was_opened_is_closed_when_a_later_source_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Assembly] = []
    close = Assembly.close

    def tell(self: Assembly) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(Assembly, "close", tell)
    with pytest.raises(SourceError, match="no such folder"):
        open_models([sample.path("base"), sample.path("pirate"), "./nowhere"])
    assert len(closed) == 2


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "there is none"),
        ({}, "there is none"),
        (3, "3 is no model"),
        ([None, sample.path("base"), 4], "2 problems"),
        ({"a": ("model", "tokenizer")}, r"sources\['a'\]: \('model', 'tokenizer'\) is no model"),
    ],
)
def test_what_is_no_source(sources: Any, message: str) -> None:
    with pytest.raises(InspectionError, match=message):
        open_models(sources)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(AssemblyError, match="cannot be used here"):
        open_models(sample.path("base"), device="xpu:7")


def test_a_closed_assembly_is_refused() -> None:
    live = assemble(graft(sample.path("base"), sample.path("pirate"), layers=(2, 4)))
    live.close()
    with pytest.raises(AssemblyError, match="closed"):
        open_models([live])


# ------------------------------------------------------------------------------------------------ prompts


def test_prompts_of_one_length_are_read_together(tokenizer: Any) -> None:
    found = batches(tokenizer, TEXTS)
    lengths = [batch.ids.shape[1] for batch in found]
    assert lengths == sorted(lengths)
    assert len(found) == len(dict.fromkeys(lengths))
    assert sorted(place for batch in found for place in batch.places) == list(range(len(TEXTS)))
    for batch in found:
        assert batch.ids.dtype == torch.long
        for row, words, place in zip(batch.ids.tolist(), batch.words, batch.places, strict=True):
            assert row == tokenizer(TEXTS[place])["input_ids"]
            assert len(words) == len(row)
            assert "".join(words) == tokenizer.decode(row)


@given(st.lists(st.text("abc de", max_size=12), min_size=1, max_size=8))
def test_no_prompt_is_lost_and_nothing_is_padded(tokenizer: Any, texts: list[str]) -> None:
    found = {
        place: row for batch in batches(tokenizer, texts) for place, row in zip(batch.places, batch.ids, strict=True)
    }
    assert [found[place].tolist() for place in range(len(texts))] == [tokenizer(text)["input_ids"] for text in texts]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=12), st.integers(1, 9))
def test_batches_are_no_larger_than_memory_allows(lengths: list[int], most: int) -> None:
    texts = ["abcdef"[:length] for length in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MOST", most)
        found = batches(Reader(0), texts)
    assert all(batch.ids.numel() <= most or len(batch.places) == 1 for batch in found)
    for one, after in pairwise(found):  # as few as will do
        assert one.ids.shape[1] < after.ids.shape[1] or one.ids.numel() + one.ids.shape[1] > most
    told = {place: row.tolist() for batch in found for place, row in zip(batch.places, batch.ids, strict=True)}
    assert [len(told[place]) for place in range(len(texts))] == lengths
    assert [place for batch in found for place in batch.places] == sorted(told, key=lambda place: lengths[place])


def test_a_batch_has_4096_tokens_at_most() -> None:
    found = batches(Reader(0), ["abcde"] * 820)
    assert [batch.ids.shape for batch in found] == [(819, 5), (1, 5)]
    assert [len(batch.words) for batch in found] == [819, 1]


def test_prompts_that_can_be_read_only_once_are_refused() -> None:
    """Who reads them after would find none."""
    with pytest.raises(InspectionError, match=r"prompts: a generator can be read only once. Make a list of it"):
        batches(Reader(0), (text for text in ["a", "b"]))  # type: ignore[arg-type]  # it is no sequence
    model = made("llama")
    with open_models({"a": (model, Reader(0))}) as opened, pytest.raises(InspectionError, match="read only once"):
        opened.batches(map(str, "ab"))  # type: ignore[arg-type]  # it is no sequence


def test_one_text_is_one_prompt(tokenizer: Any) -> None:
    (alone,), (listed,) = batches(tokenizer, "the sea"), batches(tokenizer, ["the sea"])
    assert torch.equal(alone.ids, listed.ids)
    assert alone.places == (0,)


@pytest.mark.parametrize(
    ("prompts", "limit", "wheres", "message"),
    [
        ([], None, ["prompts"], "there is none"),
        (7, None, ["prompts[0]"], "7 is no text"),
        (["a", 3, None], None, ["prompts[1]", "prompts[2]"], "None is no text"),
        (["the", "the sea and the sky"], 5, ["prompts[1]"], "the models read 5"),
    ],
)
def test_what_is_no_prompt(tokenizer: Any, prompts: Any, limit: int | None, wheres: list[str], message: str) -> None:
    with pytest.raises(InspectionError, match=message) as caught:
        batches(tokenizer, prompts, limit)
    assert [problem.where for problem in caught.value.problems] == wheres


def test_a_text_without_tokens_is_named() -> None:
    def nothing(text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [1] * len(text)}

    with pytest.raises(InspectionError, match=r"prompts\[1\]: '' has no token"):
        batches(nothing, ["a", ""])


class Reader:
    """A tokenizer of single characters, that counts from some number."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [self.first + "abcdef".index(one) for one in text]}

    def decode(self, ids: list[int]) -> str:
        return "".join("abcdef"[one - self.first] for one in ids)


def test_tokenizers_have_to_agree_on_the_prompts() -> None:
    model = made("llama")
    with open_models({"a": (model, Reader(0)), "b": (model, Reader(0)), "c": (model, Reader(1))}) as opened:
        with pytest.raises(InspectionError, match="'c': reads prompts as other tokens than 'a' does") as caught:
            opened.batches(["abc", "f"])
        assert len(caught.value.problems) == 1
    with open_models({"a": (model, Reader(0)), "b": (model, Reader(0))}) as opened:
        assert [batch.words for batch in opened.batches(["abc", "f"])] == [(("f",),), (("a", "b", "c"),)]


def test_no_prompt_is_longer_than_the_shortest_model_reads() -> None:
    short = made("gpt2", {"vocab_size": 96, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 4})
    with open_models({"long": (made("llama"), Reader(0)), "short": (short, Reader(0))}) as opened:
        assert opened.batches("abcd")[0].ids.shape == (1, 4)
        with pytest.raises(InspectionError, match="has 5 tokens, the models read 4"):
            opened.batches("abcde")


def test_a_walk_through_a_merge_and_its_sources() -> None:
    """Up to the first layer that is grafted, the merge is its host."""
    base, pirate = sample.path("base"), sample.path("pirate")
    with open_models([base, pirate, graft(base, pirate, layers=(2, 4))]) as opened:
        handles = {name: find(model) for name, model in opened.models.items()}
        alike: list[bool] = []
        for _, (seen, *_) in walk(opened.models, handles, opened.batches(["the sea", "Once upon a time"])):
            alike.append(torch.equal(seen["merged"].after, seen["base"].after))
    assert alike == [True] * 2 + [False] * 8


@pytest.mark.real
@pytest.mark.parametrize("name", ["gpt2-base", "st8-base"])
def test_real_models_are_found_whole(shared: Path, name: str) -> None:
    with open_models([shared / "models" / name]) as opened:
        model = opened.models[name]
        found = find(model)
        assert found.notes == ()
        (batch,) = opened.batches("The quick brown fox jumps over the lazy dog")
        with torch.no_grad():
            plain = model(batch.ids, output_hidden_states=True).hidden_states
        for layer, (one,) in walk(opened.models, {name: found}, [batch]):
            assert torch.equal(one[name].before, plain[layer])
