"""Subjects: what an inspector looks at, what it is called, and what is read with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergelab import sample
from mergelab.errors import InspectionError, SourceError
from mergelab.views.inspector import Inspector
from mergelab.views.subjects import ENGLISH, subjects
from mergelab.views.visible import visible
from tests.views.measured import Look, Taken

_NUMBERS = dict.fromkeys(("values", "band", "chanceband", "chances"))


def test_prompts_are_the_familys_own_or_english_and_it_is_said(tmp_path: Any) -> None:
    look = Look()
    assert set(sample.demo_prompts()) <= set(look.taken.prompts)
    assert "" not in look.taken.prompts
    assert ["prompts", f"{len(look.taken.prompts)} of the sample family's own"] in look.widget.words["facts"]
    look.widget.close()
    elsewhere = tmp_path / "copy"
    elsewhere.symlink_to(sample.path("base"))
    made: list[Taken] = []
    widget = Inspector(elsewhere, measures=lambda *given: made.append(Taken(*given)) or made[0])
    assert tuple(made[0].prompts) == ENGLISH
    assert widget.wait(10)
    assert "short English texts" in widget.still()
    widget.close()
    given = Look(prompts=["one two", "three"], device="cpu")
    assert (given.taken.prompts, given.taken.device) == (("one two", "three"), "cpu")
    given.widget.close()


@pytest.mark.parametrize(
    ("models", "options", "error", "words"),
    [
        ((), {}, InspectionError, "0 models were given"),
        (("base",) * 6, {}, InspectionError, "6 models were given"),
        ((3, None), {}, InspectionError, "a int is no model"),
        (("base", "sort"), {"names": ["one"]}, InspectionError, "does not name 2 models"),
        (("base", "sort"), {"names": ["one", "one"]}, InspectionError, "does not name 2 models"),
        (("base",), {"prompts": []}, InspectionError, "there is none"),
        (("base",), {"prompts": ["a", " ", 3]}, InspectionError, "prompts\\[1\\](.|\n)*prompts\\[2\\]: 3 is no text"),
        (("base",), {"prompts": 5}, InspectionError, "a int is no list of texts"),
        (("nowhere/at/all/",), {}, SourceError, "nowhere"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(models: Any, options: Any, error: Any, words: str) -> None:
    given = [sample.path(one) if one in sample.members() else one for one in models]
    with pytest.raises(error, match=words):
        Inspector(*given, measures=Taken, **options)


def test_what_steers_a_text_and_is_not_seen_is_written_out() -> None:
    """A name that turns around the sentence it stands in, the end of a string, half of a character."""
    look = Look(names=["base", "ab\u202edc", "a\0\n b"], prompts="the \u2067cat\0 sat \ud800")
    look.settled()
    names = ["base", "ab\\u202edc", "a\\x00 b"]
    assert [one["name"] for one in look.widget.strip] == names
    assert look.widget.dials["pairs"][0]["label"] == " with ".join(names[1:])
    shown = [look.widget.still(), json.dumps([{**one, **_NUMBERS} for one in look.widget.panels], ensure_ascii=False)]
    for text in shown:
        assert not [one for one in text if one in "\u202e\u2067\ud800" or one < " "]
        assert "\\u202e" in text
    assert "<bdi>ab\\u202edc</bdi> (10 layers)" in shown[0]
    assert visible("שלום é \u200d\t\n") == "שלום é \u200d\t\n", "letters are nobody's business"
    look.widget.close()
    alike = subjects([sample.path("base")] * 2, ["a\u202e", "b"])
    assert [one.name for one in alike] == ["a\\u202e", "b"]
    with pytest.raises(InspectionError, match="does not name 2 models"):
        subjects([sample.path("base")] * 2, ["a b", "a\nb"])


def test_live_models_are_looked_at() -> None:
    folder = sample.path("stranger")
    live = (AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    (one,) = subjects([live], None)
    assert (one.name, one.layers, one.weights) == ("model", 8, False)
    with pytest.raises(InspectionError, match="a tuple is no model"):
        subjects([(1, 2)], None)


def test_names_are_told_apart() -> None:
    twice = subjects([sample.path("base"), sample.path("base")], None)
    assert [(one.name, one.code) for one in twice] == [("base", "Ba"), ("base 2", "B2")]
    assert [one.name for one in subjects([sample.path("base")], [" mine "])] == ["mine"]
