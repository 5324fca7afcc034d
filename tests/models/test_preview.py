"""The preview: newest wins, sources answer once, errors come in words, closing leaves nothing."""

from __future__ import annotations

import itertools
import math
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mergelab.errors import AssemblyError
from mergelab.models import assemble
from mergelab.models.preview import Done, Failed, Merged, Next, Preview, Text
from mergelab.recipes import Recipe, graft, stack
from mergelab.recipes.recipe import Vocabulary
from mergelab.weights import Source

Trio = tuple[Path, Path, Path]


class Listener:
    """Keeps every event; can hold the worker at the first event of a kind."""

    def __init__(self) -> None:
        self.events: list = []
        self.hold: type | None = None
        self.held, self.release = threading.Event(), threading.Event()

    def __call__(self, event) -> None:
        self.events.append(event)
        if self.hold is not None and isinstance(event, self.hold):
            self.hold = None
            self.held.set()
            assert self.release.wait(30)

    def of(self, kind: type, generation: int | None = None) -> list:
        return [e for e in self.events if isinstance(e, kind) and generation in (None, e.generation)]


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def preview(llamas: Trio, listener: Listener):
    made = Preview(dict(zip(("base", "a", "b"), llamas, strict=True)), listener, max_new_tokens=6)
    yield made
    listener.release.set()
    made.close()


def blend(llamas: Trio, amount: float) -> Recipe:
    return stack([(llamas[1], 0, 6)], base=llamas[0], method="slerp", coefficient=amount)


def test_the_table_comes_first_then_every_text(llamas: Trio, preview: Preview, listener: Listener) -> None:
    generation = preview.ask(blend(llamas, 0.5), "hello")
    assert preview.wait(60)
    kinds = [type(event) for event in listener.events if not (isinstance(event, Text) and not event.done)]
    assert kinds == [Merged, Next, Text, Text, Text, Text, Done]
    assert {event.generation for event in listener.events} == {generation}
    assert [event.speaker for event in listener.of(Text) if event.done] == ["merged", "base", "a", "b"]


def test_figures_of_the_table_are_those_of_the_models(llamas: Trio, preview: Preview, listener: Listener) -> None:
    recipe = blend(llamas, 0.5)
    preview.ask(recipe, "hello")
    assert preview.wait(60)
    (event,) = listener.of(Next)
    table = event.next_tokens
    assert table.speakers == ("merged", "base", "a", "b")
    heads = []
    for what in (recipe, *(graft(path, path, (0, 6)) for path in llamas)):
        with assemble(what) as assembly, torch.inference_mode():
            inputs = assembly.tokenizer("hello", return_tensors="pt", return_token_type_ids=False)
            heads.append(assembly.model(**inputs).logits[0, -1].double().softmax(-1))
            tokenizer = assembly.tokenizer
    for row in table.candidates:
        assert row.token == tokenizer.decode([row.id])
        assert row.probabilities == pytest.approx([float(head[row.id]) for head in heads], rel=1e-5)
    merged = [row.probabilities[0] for row in table.candidates]
    assert merged == sorted(merged, reverse=True)
    assert {int(head.argmax()) for head in heads} <= {row.id for row in table.candidates}
    kl = [float((heads[0] * (heads[0] / head).log()).sum()) for head in heads]
    assert table.kl == pytest.approx(kl, rel=1e-4, abs=1e-9)
    assert table.kl[0] == 0
    assert min(table.kl[1:]) > 1e-3
    entropy = [float(-(head * head.log()).sum()) for head in heads]
    assert table.entropy == pytest.approx(entropy, rel=1e-5)


def test_the_text_is_what_the_model_says(llamas: Trio, preview: Preview, listener: Listener) -> None:
    preview.ask(blend(llamas, 0.5), "hello")
    assert preview.wait(60)
    with assemble(blend(llamas, 0.5)) as assembly:
        said = assembly.say("hello", max_new_tokens=6)
    texts = [event for event in listener.of(Text) if event.speaker == "merged"]
    assert texts[-1].text == said
    assert texts[-1].done
    assert len(texts) > 3  # it streams
    for before, after in itertools.pairwise(texts):
        assert after.text.startswith(before.text)


def test_steps_redone_are_those_that_changed(llamas: Trio, preview: Preview, listener: Listener) -> None:
    preview.ask(blend(llamas, 0.5), "hello")
    assert preview.wait(60)
    curve = [0.5] * 5 + [0.25]
    preview.ask(stack([(llamas[1], 0, 6)], base=llamas[0], method="slerp", coefficient=curve), "hello")
    assert preview.wait(60)
    first, second = listener.of(Merged)
    assert first.redone == first.steps
    assert (second.redone, second.steps) == (9, first.steps)


def test_another_prompt_gets_another_answer_of_every_source(llamas: Trio, preview: Preview, listener: Listener) -> None:
    for prompt in ("hello", "what?", "hello"):
        preview.ask(blend(llamas, 0.5), prompt)
        assert preview.wait(60)
    texts = [{e.speaker: e.text for e in listener.of(Text, generation) if e.done} for generation in (1, 2, 3)]
    assert texts[0] == texts[2]
    for name, path in zip(("base", "a", "b"), llamas, strict=True):
        with assemble(graft(path, path, (0, 6))) as assembly:
            for said, prompt in zip(texts, ("hello", "what?"), strict=False):
                assert said[name] == assembly.say(prompt, max_new_tokens=6)
    assert texts[0] != texts[1]


def test_a_source_of_another_vocabulary_is_compared_by_the_words(
    llamas: Trio, listener: Listener, tmp_path: Path
) -> None:
    """Tokens are looked up by their text; what the other does not have is unknown, not zero; no KL is made up."""
    import json
    import shutil

    other = tmp_path / "other"
    shutil.copytree(llamas[1], other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    words = list(tokenizer["model"]["vocab"])
    special, letters = words[:4], words[4:]
    turned = [*special, *letters[::-1][:-20]]  # the other way round, and twenty letters fewer
    tokenizer["model"]["vocab"] = {word: number for number, word in enumerate(turned)}
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    preview = Preview({"base": llamas[0], "other": other}, listener)
    preview.ask(graft(llamas[0], llamas[0], (0, 6)), "zoo")
    assert preview.wait(60)
    preview.close()
    (event,) = listener.of(Next)
    table = event.next_tokens
    assert table.kl[:2] == (0, 0)
    assert math.isnan(table.kl[2])
    with assemble(graft(other, other, (0, 6))) as assembly, torch.inference_mode():
        head = assembly.model(assembly.tokenizer("zoo", return_tensors="pt")["input_ids"]).logits[0, -1].softmax(-1)
    known = [row for row in table.candidates if row.token in turned]
    assert known
    for row in table.candidates:
        if row in known:
            assert row.probabilities[2] == pytest.approx(float(head[turned.index(row.token)]), rel=1e-5)
        else:
            assert math.isnan(row.probabilities[2])


def test_sources_are_compared_by_the_words_of_the_vocabulary_that_is_asked_for_now(
    llamas: Trio, listener: Listener, tmp_path: Path
) -> None:
    """Ids of the merge change with its vocabulary, and rows of padding come and go; what a source says stays."""
    import json
    import shutil

    other = tmp_path / "other"
    shutil.copytree(llamas[1], other)
    table = json.loads((other / "tokenizer.json").read_text())
    words = list(table["model"]["vocab"])
    turned = [*words[:4], *words[:3:-1]]
    table["model"]["vocab"] = {word: number for number, word in enumerate(turned)}
    (other / "tokenizer.json").write_text(json.dumps(table))
    recipe = graft(llamas[0], llamas[0], (0, 6))
    preview = Preview({"base": llamas[0]}, listener)
    for asked in (None, Vocabulary(Source(str(other))), Vocabulary("base", pad_to_multiple_of=64)):
        preview.ask(replace(recipe, vocabulary=asked), "zoo")
        assert preview.wait(60)
    preview.close()
    with assemble(recipe) as assembly, torch.inference_mode():
        head = assembly.model(assembly.tokenizer("zoo", return_tensors="pt")["input_ids"]).logits[0, -1].softmax(-1)
    events = listener.of(Next)
    assert len(events) == 3
    for event, listed in zip(events, (words, turned, words), strict=True):
        known = [row for row in event.next_tokens.candidates if row.id < len(listed)]
        assert known
        for row in known:
            expected = float(head[words.index(listed[row.id])])
            assert row.probabilities[1] == pytest.approx(expected, rel=1e-5)


def test_a_merge_that_is_not_a_number_fails_in_words(llamas: Trio, listener: Listener, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(llamas[1], broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.layers.3.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, broken / "model.safetensors")
    preview = Preview({"base": llamas[0], "broken": broken}, listener)
    preview.ask(graft(llamas[0], broken, (3, 4)), "hello")
    assert preview.wait(60)
    preview.close()
    assert not listener.of(Next)
    (event,) = listener.of(Failed)
    assert "merged: gives values that are not numbers" in event.message
    assert "broken: gives values that are not numbers" in event.message


def test_a_flood_ends_in_the_last(llamas: Trio, preview: Preview, listener: Listener) -> None:
    preview.ask(blend(llamas, 0.0), "hello")
    assert preview.wait(60)
    for step in range(60):
        last = preview.ask(blend(llamas, step / 60), "hello")
    assert preview.wait(60)
    assert listener.events[-1] == Done(last, listener.events[-1].seconds)
    assert len(listener.of(Done)) < 30  # most were overtaken
    (event,) = listener.of(Next, last)
    with assemble(blend(llamas, 59 / 60)) as assembly, torch.inference_mode():
        inputs = assembly.tokenizer("hello", return_tensors="pt", return_token_type_ids=False)
        fresh = assembly.model(**inputs).logits[0, -1].float().softmax(-1)
    for row in event.next_tokens.candidates:
        assert row.probabilities[0] == pytest.approx(float(fresh[row.id]), rel=1e-6)


def test_nothing_of_an_old_request_comes_after_a_newer_one(llamas: Trio, preview: Preview, listener: Listener) -> None:
    listener.hold = Next
    old = preview.ask(blend(llamas, 0.2), "hello")
    assert listener.held.wait(60)
    newer = preview.ask(blend(llamas, 0.8), "hello")
    seen = len(listener.events)
    listener.release.set()
    assert preview.wait(60)
    assert {event.generation for event in listener.events[seen:]} == {newer}
    assert listener.of(Done, newer)
    assert not listener.of(Done, old)


def test_stop_ends_the_work_and_says_no_more(llamas: Trio, preview: Preview, listener: Listener) -> None:
    listener.hold = Text
    preview.ask(blend(llamas, 0.2), "hello")
    assert listener.held.wait(60)
    preview.stop()
    seen = len(listener.events)
    listener.release.set()
    assert preview.wait(60)
    assert len(listener.events) == seen
    preview.ask(blend(llamas, 0.2), "hello")  # and it goes on working
    assert preview.wait(60)
    assert listener.of(Done)


def test_sources_answer_a_prompt_once(llamas: Trio, preview: Preview, listener: Listener) -> None:
    preview.ask(blend(llamas, 0.2), "hello")
    assert preview.wait(60)
    listener.events.clear()
    preview.ask(blend(llamas, 0.3), "hello")
    assert preview.wait(60)
    assert [event.done for event in listener.of(Text) if event.speaker != "merged"] == [True, True, True]


@pytest.mark.parametrize(("prompt", "words"), [("x" * 100, "has 101 tokens, the model reads 64. Shorten it"), ("", "")])
def test_an_odd_prompt_is_answered_or_refused_in_words(
    prompt: str, words: str, llamas: Trio, preview: Preview, listener: Listener
) -> None:
    preview.ask(blend(llamas, 0.2), prompt)
    assert preview.wait(60)
    if words:
        assert words in listener.of(Failed)[0].message
    else:
        assert listener.of(Done)  # <s> alone is a prompt


def test_a_recipe_that_cannot_be_fails_in_words_and_the_thread_lives_on(
    llamas: Trio, preview: Preview, listener: Listener
) -> None:
    preview.ask(Recipe.load("merge_method: passthrough\nmodels: [{model: ./nowhere}]"), "hello")
    assert preview.wait(60)
    assert "./nowhere" in listener.of(Failed)[0].message
    preview.ask(blend(llamas, 0.2), "hello")
    assert preview.wait(60)
    assert listener.of(Done)


def test_asking_never_waits_for_the_work(llamas: Trio, preview: Preview, listener: Listener) -> None:
    listener.hold = Merged
    preview.ask(blend(llamas, 0.2), "hello")
    assert listener.held.wait(60)
    started = time.monotonic()
    preview.ask(blend(llamas, 0.4), "hello")
    assert not preview.wait(0.2)
    assert time.monotonic() - started < 20  # the worker is held: had it waited, it would wait for ever


def test_closing_ends_the_thread_and_may_be_done_twice(llamas: Trio) -> None:
    before = set(threading.enumerate())
    made = Preview({"base": llamas[0]}, lambda _: None)
    made.ask(graft(llamas[0], llamas[0], (0, 6)), "hello")
    made.close()
    made.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(AssemblyError, match="closed"):
        made.ask(graft(llamas[0], llamas[0], (0, 6)), "hello")


def test_entropy_of_an_even_choice_is_log_n(llamas: Trio, tmp_path: Path) -> None:
    """A model of zeros chooses evenly: entropy log(vocabulary), KL to itself 0."""
    import shutil

    from safetensors.torch import load_file, save_file

    even = tmp_path / "even"
    shutil.copytree(llamas[0], even)
    save_file(
        {k: torch.zeros_like(v) for k, v in load_file(even / "model.safetensors").items()}, even / "model.safetensors"
    )
    listener = Listener()
    preview = Preview({"even": even}, listener)
    preview.ask(graft(even, even, (0, 6)), "hello")
    assert preview.wait(60)
    preview.close()
    (event,) = listener.of(Next)
    assert event.next_tokens.entropy == pytest.approx([math.log(96)] * 2, rel=1e-6)
    assert event.next_tokens.kl == (0, 0)
