"""The preview: figures are those of the models, sources answer once, only what changed runs, errors come in words."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mergelab import models
from mergelab.errors import AssemblyError, SourceError
from mergelab.models import assemble, bank
from mergelab.models import preview as module
from mergelab.models.answers import Prompt
from mergelab.models.preview import Done, Failed, Merged, Next, Preview, Text
from mergelab.recipes import Recipe, graft, stack
from mergelab.recipes.recipe import Vocabulary
from mergelab.weights import Source
from tests.models.asking import Gate, Listener, Trio, blend, layers_run


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
    (table,) = event.answers
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
    curve = [0.5] * 5 + [0.25]
    bent = stack([(llamas[1], 0, 6)], base=llamas[0], method="slerp", coefficient=curve)
    asked = blend(llamas, 0.5), bent
    for recipe in asked:
        preview.ask(recipe, "hello")
        assert preview.wait(60)
    first, second = listener.of(Merged)
    assert first.changes.redone == first.changes.steps
    assert (second.changes.redone, second.changes.steps) == (9, first.changes.steps)
    assert [event.recipe for event in (first, second)] == [recipe.fingerprint for recipe in asked]


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
    (table,) = event.answers
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
        known = [row for row in event.answers[0].candidates if row.id < len(listed)]
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
        assert [type(event) for event in listener.events] == [Failed], "before anything is shown"
        assert words in listener.of(Failed)[0].message
    else:
        assert listener.of(Done)  # <s> alone is a prompt


def test_a_prompt_that_only_a_source_cannot_read_fails_before_anything_is_shown(
    llamas: Trio, listener: Listener, tmp_path: Path
) -> None:
    import json
    import shutil

    brief = tmp_path / "brief"
    shutil.copytree(llamas[1], brief)
    config = json.loads((brief / "config.json").read_text())
    (brief / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8}))
    with Preview({"base": llamas[0], "brief": brief}, listener) as preview:
        preview.ask(graft(llamas[0], llamas[0], (0, 6)), "a long story")
        assert preview.wait(60)
    assert [type(event) for event in listener.events] == [Failed]
    assert "has 13 tokens, the model reads 8" in listener.events[0].message


def test_what_cannot_be_asked_is_refused_in_words(llamas: Trio, preview: Preview) -> None:
    recipe = blend(llamas, 0.5)
    for odd, words in ((3, "3 is no prompt"), ([3], "3 is no prompt"), ([], "there is no prompt")):
        with pytest.raises(AssemblyError, match=f"preview: {words}"):
            preview.ask(recipe, odd)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"preview: a list has no names for sources\. Give a dict"):
        Preview(list(llamas), print)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=r"preview: there is no source\. Give a dict"):
        Preview({}, print)
    with pytest.raises(AssemblyError, match="max_new_tokens: -1 is no number of tokens"):
        Preview({"base": llamas[0]}, print, max_new_tokens=-1)


def test_a_preview_in_a_with_block_is_closed_behind_it(llamas: Trio, listener: Listener) -> None:
    with Preview({"base": llamas[0]}, listener) as preview:
        assert repr(preview) == "<Preview of base on cpu: idle>"
    assert repr(preview) == "<Preview of base on cpu: closed>"
    with pytest.raises(AssemblyError, match=r"^this preview is closed\. Make a new one"):
        preview.ask(graft(llamas[0], llamas[0], (0, 6)), "hello")


def test_events_are_to_be_had_where_models_are() -> None:
    assert [getattr(models, kind.__name__) for kind in (Merged, Next, Text, Failed, Done)] == [
        Merged, Next, Text, Failed, Done,
    ]  # fmt: skip


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
    assert event.answers[0].entropy == pytest.approx([math.log(96)] * 2, rel=1e-6)
    assert event.answers[0].kl == (0, 0)


def test_several_prompts_figures_of_all_first_then_texts_speaker_by_speaker(
    llamas: Trio, preview: Preview, listener: Listener
) -> None:
    prompts = ["hello", Prompt("what?", " no"), Prompt("so what", "!")]
    preview.ask(blend(llamas, 0.5), prompts)
    assert preview.wait(60)
    whole = [event for event in listener.events if not (isinstance(event, Text) and not event.done)]
    assert [type(event) for event in whole] == [Merged, Next, *[Text] * 12, Done]
    assert [(event.speaker, event.prompt) for event in whole[2:-1]] == [
        (speaker, number) for speaker in ("merged", "base", "a", "b") for number in range(3)
    ]
    answers, texts = whole[1].answers, {event.prompt: event.text for event in whole if isinstance(event, Text)}
    assert [answer.prompt for answer in answers] == [Prompt("hello"), *prompts[1:]]
    assert all(math.isnan(loss) for loss in answers[0].losses)
    own = graft(llamas[2], llamas[2], (0, 6))
    with assemble(own) as assembly:
        assert texts == {n: assembly.say(answer.prompt.text, max_new_tokens=6) for n, answer in enumerate(answers)}
    for number, prompt in enumerate(prompts):
        preview.ask(own, prompt)
        assert preview.wait(60)
        (alone,) = listener.of(Next)[-1].answers
        assert alone.losses[0] == pytest.approx(answers[number].losses[3], rel=1e-5, nan_ok=True)
        assert torch.allclose(alone.states[0], answers[number].states[3], atol=1e-5)


def test_layers_in_front_of_the_change_do_not_run_again(llamas: Trio, preview: Preview, listener: Listener) -> None:
    """A new prompt runs whole, the same one from the changed layer on; the figures are those of a rebuild."""
    preview.ask(blend(llamas, 0.5), "hello")
    assert preview.wait(60)
    ran, seen = layers_run(preview), list[tuple[int, int]]()
    for prompt, coefficient, expected in (
        ("hello", [0.5] * 4 + [0.75, 0.5], [4, 5]),
        ("what?", [0.5] * 4 + [0.25, 0.5], [0, 1, 2, 3, 4, 5]),
        ("hello", [0.5] * 5 + [0.25], [4, 5]),
    ):
        ran.clear()
        seen.clear()
        listener.at_first(Next, lambda: seen.extend(ran))
        preview.ask(blend(llamas, coefficient), prompt)
        assert preview.wait(60)
        assert [number for number, _ in seen] == expected
        with assemble(blend(llamas, coefficient)) as assembly, torch.inference_mode():
            fresh = assembly.model(**assembly.tokenizer(prompt, return_tensors="pt")).logits[0, -1].softmax(-1)
        (answer,) = listener.of(Next)[-1].answers
        for row in answer.candidates:
            assert row.probabilities[0] == pytest.approx(float(fresh[row.id]), rel=1e-6)


def test_sources_answers_have_a_budget(
    llamas: Trio, preview: Preview, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 96 * 4 * 8)  # eight answers of 96 tokens each
    heard: list[tuple] = []
    hear = module.hear
    monkeypatch.setattr(module, "hear", lambda *given, **how: heard.append(given[2]) or hear(*given, **how))
    for prompt in ("one", "two", "one", "three", "two", "one"):  # three answers each
        preview.ask(blend(llamas, 0.5), prompt)
        assert preview.wait(60)
        assert len(preview._known) <= 8
    new = [prompts[0].text for prompts in heard if isinstance(prompts, list)]
    assert new == ["one"] * 3 + ["two"] * 3 + ["three"] * 3 + ["two"] * 3 + ["one"] * 3
    assert len(listener.of(Done)) == 6


@pytest.mark.parametrize("times", [1, 2])
def test_memory_that_runs_out_is_tried_again_without_what_was_kept(
    times: int, llamas: Trio, preview: Preview, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time it is said in words, and the next request is answered."""
    preview.ask(blend(llamas, 0.5), "hello")
    assert preview.wait(60)
    hear, kept = module.hear, []

    def runs_out(*given: Any, **how: Any) -> Any:
        kept.append((preview._replay.bytes > 0, len(preview._known), preview._bank.retired > 0))
        if len(kept) <= times:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmore")
        return hear(*given, **how)

    monkeypatch.setattr(module, "hear", runs_out)
    for amount in (0.6, 0.7):
        last = preview.ask(blend(llamas, [*[0.5] * 5, amount]), "hello")
        assert preview.wait(60)
    assert kept[:2] == [(True, 3, True), (False, 0, False)]
    messages = [event.message for event in listener.of(Failed)]
    assert len(messages) == times - 1
    assert all("memory: ran out on cpu" in one and "Tried to allocate 20 GiB" in one for one in messages)
    assert listener.of(Done, last)


def test_a_recipe_that_cannot_be_fails_in_words_and_the_thread_lives_on(
    llamas: Trio, preview: Preview, listener: Listener
) -> None:
    preview.ask(Recipe.load("merge_method: passthrough\nmodels: [{model: ./nowhere}]"), "hello")
    assert preview.wait(60)
    assert "./nowhere" in listener.of(Failed)[0].message
    preview.ask(blend(llamas, 0.2), "hello")
    assert preview.wait(60)
    assert listener.of(Done)


def test_a_closed_preview_whose_first_merge_was_cancelled_keeps_nothing(
    llamas: Trio, preview: Preview, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, keep, kept = Gate(), bank._Order.keep, iter(range(1000))

    def slowly(order: bank._Order, key: Any, made: torch.Tensor) -> None:
        keep(order, key, made)
        if next(kept) == 30:
            gate()

    monkeypatch.setattr(bank._Order, "keep", slowly)
    preview.ask(stack([(llamas[1], 0, 6)], base=llamas[0], method="ties", coefficient=0.5), "hello")
    gate.wait()
    preview.stop()
    gate.open()
    assert preview.wait(60)
    held = preview._bank
    assert held.retired > 0, "the next request would have found it"
    assert held.findings.bytes > 0
    preview.close()
    assert (held.made, held.retired, held.findings.bytes) == (0, 0, 0)
