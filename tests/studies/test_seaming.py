"""Seaming: the same figures as inspection gives, from one pass of the merge a turn; and what is read for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab import sample
from mergelab.inspection.seams import seams
from mergelab.inspection.trace import trace
from mergelab.models import assemble
from mergelab.models.events import Done, Measured
from mergelab.models.preview import Preview
from mergelab.recipes import Recipe, graft, stack
from mergelab.studies import readings as module
from mergelab.studies.passages import ENGLISH, passages
from mergelab.studies.readings import LONGEST, MOST, Readings, readable
from mergelab.studies.seaming import Lengths, Norming, Seamed, Seaming
from mergelab.weights import Source

NAMES = ("base", "pirate", "stranger")
BASE, PIRATE, STRANGER = (sample.path(name) for name in NAMES)
PROMPTS = sample.demo_prompts()


class Heard:
    """What was measured, the newest last."""

    def __init__(self) -> None:
        self.events: list[Measured] = []
        self.done = 0

    def __call__(self, event: object) -> None:
        self.done += isinstance(event, Done)
        if isinstance(event, Measured):
            self.events.append(event)

    @property
    def seamed(self) -> Seamed:
        value = self.events[-1].value
        assert isinstance(value, Seamed), self.events[-1].problem
        return value


@pytest.fixture
def heard() -> Heard:
    return Heard()


def opened(heard: Heard, *measures: Seaming | Norming, sources: Sequence[Path] = (BASE, PIRATE, STRANGER)) -> Preview:
    named = {path.name: path for path in sources}
    return Preview(named, heard, max_new_tokens=1, measures=measures)


@pytest.fixture
def preview(heard: Heard) -> Iterator[Preview]:
    with opened(heard, Seaming(lambda: PROMPTS)) as made:
        yield made


def measure(preview: Preview, recipe: Recipe) -> None:
    preview.ask(recipe, "hello")
    assert preview.wait(60)


def read_by(recipe: Recipe, prompts: Sequence[str] = PROMPTS) -> tuple[str, ...]:
    with assemble(recipe) as one:
        return readable(prompts, [Source(str(BASE))], one.tokenizer).texts


RECIPES: dict[str, Callable[[], Recipe]] = {
    "strangers": lambda: stack([(BASE, 0, 4), (STRANGER, 4, 7), (BASE, 7, 9)], base=BASE),
    "blended": lambda: stack([(PIRATE, 4, 8), (PIRATE, 0, 6)], base=BASE, method="slerp", coefficient=0.5),
    "alone": lambda: stack([(PIRATE, 2, 5)], base=BASE),
}


def test_figures_and_verdicts_are_those_of_the_inspection(preview: Preview, heard: Heard) -> None:
    for make in RECIPES.values():
        recipe = make()
        measure(preview, recipe)
        found, wanted = heard.seamed, seams(recipe, read_by(recipe))
        assert found.recipe == recipe.fingerprint
        assert len(wanted.seams) > 0
        pd.testing.assert_frame_equal(found.seams.to_frame(), wanted.to_frame(), check_exact=False, rtol=1e-9)
        assert found.seams.verdicts() == wanted.verdicts()
        assert found.seams.seams == wanted.seams
        assert found.note == f"Read: 5 prompts and 3 texts that come with mergelab. {wanted.note}"
        assert not found.seams.partial
        assert found.seams.guilty() == ""


def test_sources_read_once_and_the_merge_once_a_turn(heard: Heard) -> None:
    prompts = list(PROMPTS)
    ran: list[str] = []
    with opened(heard, Seaming(lambda: tuple(prompts)), sources=(BASE, PIRATE)) as preview:
        measure(preview, graft(BASE, PIRATE, (3, 6)))
        for name, one in {"merged": preview._merged, **preview._own}.items():
            assert one is not None
            one.model.model.layers[0].register_forward_hook(lambda *_, name=name: ran.append(name))
        batches = len({len(ids) for ids in _ids(preview, read_by(graft(BASE, PIRATE, (3, 6))))})
        measure(preview, graft(BASE, PIRATE, (3, 7)))
        assert ran == ["merged"] * (batches + 1)  # and one to write; the figures know layer 0 already
        ran.clear()
        prompts.append("count 1 2 :")
        measure(preview, graft(BASE, PIRATE, (3, 7)))
        assert set(ran) == {"merged", "base", "pirate"}
        assert "6 prompts" in heard.seamed.note


def _ids(preview: Preview, texts: Sequence[str]) -> list[list[int]]:
    assert preview._merged is not None
    return [preview._merged.tokenizer(text)["input_ids"] for text in texts]


def test_where_nothing_meets_nothing_is_measured(preview: Preview, heard: Heard) -> None:
    measure(preview, graft(BASE, BASE, (3, 6)))
    assert heard.seamed.seams.seams == ()
    assert heard.seamed.seams.to_frame().empty
    assert heard.seamed.seams.verdicts() == ()


def test_a_stage_that_is_home_to_a_layer_is_measured_all_the_same(preview: Preview, heard: Heard) -> None:
    recipe = Recipe.load(
        f"""
name: half
merge_method: linear
models:
  - {{model: {BASE}, parameters: {{weight: 0.5}}}}
  - {{model: {PIRATE}, parameters: {{weight: 0.5}}}}
---
merge_method: passthrough
slices:
  - sources: [{{model: {BASE}, layer_range: [0, 4]}}]
  - sources: [{{model: half, layer_range: [5, 10]}}]
"""
    )
    measure(preview, recipe)
    wanted = seams(recipe, read_by(recipe))
    pd.testing.assert_frame_equal(heard.seamed.seams.to_frame(), wanted.to_frame(), check_exact=False, rtol=1e-9)


def test_other_tokens_and_too_few_are_told(tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    shutil.copytree(PIRATE, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words[300:] = words[:299:-1]  # the same words under other numbers
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    recipe = graft(BASE, other, (3, 6))
    with opened(heard, Seaming(lambda: PROMPTS), sources=(BASE, other)) as preview:
        measure(preview, recipe)
    assert "'other': reads the texts as other tokens than the merged model does." in heard.events[-1].problem
    monkeypatch.setattr(module, "passages", lambda _: ())
    with opened(heard, Seaming(lambda: ("hello",)), Norming(lambda: ()), sources=(BASE, PIRATE)) as preview:
        measure(preview, graft(BASE, PIRATE, (3, 6)))
    assert "tokens count: the first of each text and start tokens do not" in heard.events[-2].problem
    assert "there is no text to read" in heard.events[-1].problem
    assert heard.done == 2


@pytest.mark.parametrize("at", ["merged", "base"])
def test_a_newer_request_ends_it_within_a_layer(at: str, heard: Heard) -> None:
    texts = list(PROMPTS)
    with opened(heard, Seaming(lambda: tuple(texts)), sources=(BASE, PIRATE)) as preview:
        measure(preview, graft(BASE, PIRATE, (3, 6)))
        assert preview._merged is not None
        model = (preview._merged if at == "merged" else preview._own["base"]).model
        if at == "base":
            texts.append("count 1 2 :")  # so that it reads again
        heard.events.clear()
        ran: list[int] = []

        def note(number: int, given: tuple) -> None:  # type: ignore[type-arg]
            if given[0].shape[1] > 50:  # a passage, and neither the prompt nor what is written
                ran.append(number)
                if number == 4:
                    preview.stop()

        for number, layer in enumerate(model.model.layers):
            layer.register_forward_hook(lambda _, given, __, number=number: note(number, given))
        measure(preview, graft(BASE, PIRATE, (3, 7)))
    assert ran == [0, 1, 2, 3, 4]
    assert heard.events == []


def test_norms_are_those_of_a_trace(heard: Heard) -> None:
    readings = Readings()
    with opened(heard, Seaming(lambda: PROMPTS, readings), Norming(lambda: PROMPTS, readings)) as preview:
        measure(preview, graft(BASE, PIRATE, (3, 6)))
        found = heard.events[-1].value
        measure(preview, graft(BASE, PIRATE, (3, 7)))
    assert isinstance(found, Lengths)
    assert heard.events[-1].value == found
    texts = read_by(graft(BASE, PIRATE, (3, 6)))
    assert list(found.norms) == list(NAMES)
    for name in ("base", "stranger"):
        wanted = trace([sample.path(name)], texts).norms().values[0, 1:]
        assert len(found.norms[name]) == len(wanted) == (8 if name == "stranger" else 10)
        np.testing.assert_allclose(found.norms[name], wanted, rtol=1e-5)
    assert found.note == "Read: 5 prompts and 3 texts that come with mergelab."


class Words:
    """A tokenizer of words, with a start token."""

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [0, *map(len, text.split())]}


@given(prompts=st.lists(st.integers(0, LONGEST + 20).map(lambda n: " ".join(["w"] * n)), max_size=6))
def test_prompts_are_read_as_far_as_there_is_room_and_filled_up(prompts: list[str]) -> None:
    read = readable(prompts, [Source("x")], Words())
    lengths = [len(text.split()) + 1 for text in read.texts]
    own = [text for text in read.texts if text not in ENGLISH]
    told = [text for text in dict.fromkeys(prompts) if text.strip()]
    assert own == [text for text in told if text in own]
    assert all(1 < length <= LONGEST for length in lengths)
    assert sum(len(text.split()) + 1 for text in own) <= MOST
    left = [text for text in told if text not in own]
    assert all(len(text.split()) >= LONGEST or sum(lengths) + len(text.split()) + 1 > MOST for text in left)
    short = sum(len(text.split()) + 1 for text in own) < module.ENOUGH
    assert (len(read.texts) > len(own)) == short
    assert read.texts[len(own) :] == ENGLISH[: len(read.texts) - len(own)]
    assert read.note.startswith("Read: ")
    assert ("of" in read.note.split("prompt")[0]) == bool(left)


def test_what_is_read_is_said_in_words() -> None:
    said = [readable(one, [Source("x")], Words()).note for one in ([], ["a b"], ["a b", "c " * 300], ["d " * 126] * 2)]
    assert said == [
        "Read: 8 texts that come with mergelab.",
        "Read: 1 prompt and 8 texts that come with mergelab.",
        "Read: 1 of 2 prompts and 8 texts that come with mergelab.",
        "Read: 1 prompt and 4 texts that come with mergelab.",
    ]
    assert readable(["a b"], [Source("x")], Words(), 3).note == "Read: 1 prompt."
    assert all(text.startswith("Once upon a time") for text in passages([Source(str(BASE))]))
