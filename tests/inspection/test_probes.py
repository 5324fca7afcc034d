"""Probes read what is planted, nothing where nothing is, and stand beside their controls."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch

from mergelab import sample
from mergelab.errors import InspectionError
from mergelab.inspection import labels, probes
from mergelab.inspection.probes import Probed, probe
from mergelab.inspection.reading import open_models

WORDS = ("<s>", " The", "ca", "t", " 12", "7", ".", " ", " Tom", "'", " x1")


def asked(numbers: np.ndarray, groups: np.ndarray, folds: int = 4) -> probes._Asked:
    nothing = np.zeros(len(numbers), int)
    return probes._Asked(nothing, nothing, nothing, numbers, numbers, groups, folds, 0.5, "")


def test_tokens_are_told_apart_by_what_they_are_made_of() -> None:
    assert labels.token_class(WORDS) == [
        "other", "word", "inside a word", "inside a word", "digits", "digits", "punctuation", "space", "word",
        "punctuation", "other",
    ]  # fmt: skip


def test_quarters_and_commonest_words() -> None:
    first, *_, last = labels.QUARTERS
    assert labels.position(WORDS[:4]) == list(labels.QUARTERS)
    assert [labels.position(WORDS)[at] for at in (0, -1)] == [first, last]
    counted = [("<s>", *"aab"), ("<s>", *"abcd"), ("<s>", *map(str, range(20)), "b")]
    of = labels.commonest_words(counted)
    known = {one for words in counted for one in of(words) if one}
    assert len(known) == labels.COMMONEST
    assert {"a", "b"} < known
    assert "<s>" not in known, "the first tokens of prompts are not looked at"


def test_the_skill_of_a_prompt_is_read_off_its_text() -> None:
    """For every skill of the family as its tokenizer cuts it; looked for in the last token."""
    asked = {name: one.prompts(3) for name, one in sample.SKILLS.items() if name != labels.STORY}
    asked[labels.STORY] = ("Tom saw a big red ball.", "reversed, all was well", "sorted")
    with open_models([sample.path("base")], "cpu") as opened:
        for name, texts in asked.items():
            for batch in opened.batches(texts):
                for words in batch.words:
                    told = ((None,) * (len(words) - 1) + (name,),)
                    assert labels.labelled("skill", [words]) == (told, True)
    assert {*labels.SKILLS, labels.STORY} == set(sample.SKILLS)


def test_what_is_planted_is_read_and_only_by_prompts_that_were_not_learned_from() -> None:
    draws = np.random.default_rng(0)
    numbers, groups = draws.integers(3, size=400), np.arange(400) // 10
    planted = draws.standard_normal((400, 20))
    planted[np.arange(400), numbers] += 8.0
    right, unsettled = probes._right(planted, numbers, asked(numbers, groups))
    assert right.mean() > 0.98
    assert unsettled == 0
    noise = draws.standard_normal((400, 20))
    assert abs(probes._right(noise, numbers, asked(numbers, groups))[0].mean() - 1 / 3) < 0.1
    # A mark of each prompt tells its labels by heart, and nothing of other prompts.
    by_heart = np.eye(40)[groups] * 10
    of_prompt = draws.integers(3, size=40)[groups]
    assert probes._right(by_heart, of_prompt, asked(of_prompt, groups))[0].mean() < 0.6


def test_the_interval_is_over_prompts() -> None:
    """Ten tokens of a prompt that are right together count once."""
    right, groups = np.repeat([1.0, 0.0], 100), np.arange(200) // 50
    low, high = probes._over_prompts(right, groups, seed=0)
    assert low == 0
    assert high == 1
    low, high = probes._over_prompts(right, np.arange(200), seed=0)
    assert 0.4 < low < 0.5 < high < 0.6


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [one.prompt + one.answer for one in sample.SKILLS["stories"].documents(16)]


@pytest.fixture(scope="module")
def read(texts: list[str]) -> Probed:
    return probe(sample.path("base"), texts, "class", tokens=150, folds=3, baseline=False)


def test_the_class_of_a_token_is_in_the_states_of_every_layer(read: Probed) -> None:
    table = read.table
    assert table["layer"].tolist() == list(range(11))
    assert (table["accuracy"] > 0.85).all()
    assert (table["low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["high"]).all()
    assert np.allclose(table["selectivity"], table["accuracy"] - table["control"])
    assert table["random weights"].isna().all()
    assert table.attrs["tokens"] == 150
    assert not read.partial
    grid = read.grid()
    assert str(read) == str(grid)
    assert "below 0" not in str(grid)
    assert grid.rows == ("labels", "control labels", "random weights", "selectivity")
    assert np.array_equal(grid.row("labels"), table["accuracy"])
    assert grid.chance is not None
    low, high = grid.chance.low, grid.chance.high
    assert isinstance(low, np.ndarray)
    assert isinstance(high, np.ndarray)
    assert (low[:3] == 0).all()
    assert (high[:3] == min(1.0, table.attrs["commonest"] + 1.96 * 0.5 / 4)).all() or (high[:3] < 1).all()
    assert np.isnan(low[3]).all(), "a difference has no commonest label"


@pytest.mark.parametrize(("selectivity", "said"), [((0.2, 0.0), False), ((0.2, -0.1), True)])
def test_a_negative_selectivity_is_explained(selectivity: tuple[float, float], said: bool) -> None:
    rows = [(layer, 0.5, 0.4, 0.6, 0.5 - one, one, float("nan")) for layer, one in enumerate(selectivity)]
    table = pd.DataFrame(rows, columns=probes._COLUMNS)
    table.attrs.update(tokens=100, prompts=10, commonest=0.3)
    shown = " ".join(str(Probed(table, "position in base", "100 tokens.")).split())
    assert "100 tokens." in shown
    assert ("Selectivity below 0 is no error" in shown) == said


def test_labels_of_prompts_are_looked_for_in_their_last_tokens() -> None:
    """At the embedding every prompt of these skills ends alike; the first layer has looked at what stands before."""
    names = ("pirate", "reverse")
    prompts = [one for name in names for one in sample.SKILLS[name].prompts(16)]
    found = probe(sample.path("base"), prompts, [name for name in names for _ in range(16)], folds=4, seed=1)
    accuracy = found.table["accuracy"]
    assert accuracy[0] < 0.7
    assert accuracy[1:9].min() > 0.9
    assert found.table["control"].max() < 0.85
    assert found.table["random weights"].notna().all()
    assert "shuffled" in found.note


def test_a_text_that_comes_twice_is_on_one_side_only(texts: list[str]) -> None:
    """Labels drawn for texts: who has learned from the same text knows its label by heart."""
    few = texts[:8]
    drawn = ["x", "y", "y", "x", "y", "x", "x", "y"]
    found = probe(sample.path("base"), few * 4, drawn * 4, folds=4, baseline=False)
    assert found.table.attrs["prompts"] == 8
    assert found.table["accuracy"].max() < 0.9


def test_labels_without_meaning_stay_below_the_band() -> None:
    """Labels that are one for each prompt, tokens that tell nothing: counted by tokens the band would be too narrow."""
    above = 0
    for seed in range(40):
        draws = np.random.default_rng(seed)
        groups = np.arange(240) // 12
        numbers = draws.integers(2, size=20)[groups]
        right, _ = probes._right(draws.standard_normal((240, 6)), numbers, asked(numbers, groups))
        table = pd.DataFrame({"layer": [0], "accuracy": right.mean(), "control": 0.5, probes.RANDOM: 0.5})
        table["selectivity"] = 0.0
        table.attrs.update(commonest=np.bincount(numbers).max() / 240, prompts=20, tokens=240)
        grid = Probed(table, "", "").grid()
        assert grid.chance is not None
        above += bool((grid.values[0] > np.asarray(grid.chance.high)[0]).any())
    assert above <= 4


def test_it_is_the_same_every_time_and_leaves_the_random_numbers_alone(texts: list[str]) -> None:
    before = torch.get_rng_state()
    found = []
    for _ in range(2):
        done: list[int] = []
        options = {"progress": lambda layer, _, done=done: done.append(layer), "stop": lambda done=done: len(done) == 2}
        found.append(probe(sample.path("base"), texts[:8], "position", tokens=60, folds=2, **options))
    one, other = found
    assert torch.equal(before, torch.get_rng_state())
    assert one.table.equals(other.table)
    assert one.partial
    assert one.table["layer"].tolist() == [0, 1]


def test_wide_states_are_projected(monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> None:
    monkeypatch.setattr(probes, "WIDEST", 16)
    found = probe(sample.path("base"), texts[:8], "class", tokens=120, folds=2, baseline=False)
    assert found.table["accuracy"].min() > 0.5


@pytest.mark.parametrize(
    ("labels_", "folds", "words"),
    [
        ("klass", 2, "there are no labels 'klass'. Did you mean 'class'?"),
        (["a"], 2, "there are 1 for 3 prompts"),
        (lambda _: ["a"], 2, "tokens and 1 labels"),
        (lambda words: ["a"] * len(words), 2, "there is one among"),
        (lambda words: [None] * len(words), 2, "there is none among 0 tokens"),
        ("class", 4, "3 prompts with labels cannot be split into 4 folds"),
        (
            "class",
            1,
            "folds: 1 leaves no prompts to ask about beside those that are learned from. Give 2 folds or more.",
        ),
    ],
)
def test_what_cannot_be_probed_is_said(labels_: object, folds: int, words: str, texts: list[str]) -> None:
    with pytest.raises(InspectionError, match=re.escape(words)):
        probe(sample.path("base"), texts[:3], labels_, folds=folds)  # type: ignore[arg-type]


def test_a_probe_stops(texts: list[str]) -> None:
    found = probe(sample.path("base"), texts[:4], "class", folds=2, stop=lambda: True)
    assert found.partial
    assert len(found.table) == 0
