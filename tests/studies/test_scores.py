"""Scorers: figures against plain float64 passes, functions whose mistakes become words, and the usual ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergelab import sample
from mergelab.errors import InspectionError
from mergelab.models import assemble
from mergelab.models.assembly import Assembly
from mergelab.models.speak import Stopped
from mergelab.recipes import graft
from mergelab.sample.skills import ACCURACY, NATS
from mergelab.studies.passages import ENGLISH, passages
from mergelab.studies.scores import Scorer, function, perplexity, scorers_of, skill
from mergelab.weights import Source

BASE, PIRATE = sample.path("base"), sample.path("pirate")
FAMILY = [Source(str(sample.path(name))) for name in ("base", "pirate", "overtrained")]


@pytest.fixture(scope="module")
def merged() -> Iterator[Assembly]:
    with assemble(graft(BASE, PIRATE, (1, 9))) as made:
        yield made


@pytest.mark.parametrize("name", ["pirate", "stories"])
def test_a_skill_is_what_the_sample_family_says(name: str, merged: Assembly) -> None:
    found = skill(name, 12).score(merged)
    wanted = sample.score(merged.model, merged.tokenizer, sample.SKILLS[name], 12)
    assert (found.value, found.n) == (wanted.value, 12)
    if wanted.unit == "% exact":
        likely = (12 * wanted.value / 100 + 1) / 14
        assert found.spread == pytest.approx(100 * (likely * (1 - likely) / 14) ** 0.5), "also of none, and of all"
    else:
        assert found.spread == wanted.standard_error
    assert (skill(name).unit, skill(name).better) == {"pirate": (ACCURACY, "higher"), "stories": (NATS, "lower")}[name]
    assert bool(found.basis) == (name == "stories")
    assert found.problem == ""


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text("abc dog.", min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=3),
    window=st.integers(4, 20),
)
def test_perplexity_is_the_mean_loss_of_every_token_but_the_first(
    texts: list[str], window: int, merged: Assembly
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mergelab.studies.scores.WINDOW", window)
        found = perplexity(*texts).score(merged)
    sums, counts = [], []
    for text in texts:
        ids = merged.tokenizer(text)["input_ids"]
        for start in range(0, len(ids) - 1, window - 1):
            piece = ids[start : start + window]
            with torch.inference_mode():
                log_p = merged.model(torch.tensor([piece])).logits[0].double().log_softmax(-1)
            sums.append(-sum(float(log_p[place, token]) for place, token in enumerate(piece[1:])))
            counts.append(len(piece) - 1)
    assert found.n == sum(counts) == sum(len(merged.tokenizer(text)["input_ids"]) - 1 for text in texts)
    mean = sum(sums) / sum(counts)
    assert found.value == pytest.approx(mean, rel=1e-4)
    if len(sums) > 1:
        residues = [one - mean * count for one, count in zip(sums, counts, strict=True)]
        assert found.spread == pytest.approx(math.hypot(*residues) / sum(counts), rel=1e-3, abs=1e-5)
    else:
        assert math.isnan(found.spread)
    assert found.basis.startswith(f"{sum(counts) + len(texts)} tokens (")


def test_a_window_is_no_longer_than_the_model_reads(merged: Assembly) -> None:
    ids = merged.tokenizer("the dog " * 100)["input_ids"]
    assert len(ids) > 128  # what it reads
    found = perplexity("the dog " * 100).score(merged)
    assert found.n == len(ids) - 1
    assert math.isfinite(found.spread)


def test_a_basis_tells_tokenizers_apart(merged: Assembly) -> None:
    ours = perplexity("the dog", "my friend").score(merged).basis
    own = merged.tokenizer
    merged._tokenizer = lambda text, **_: {"input_ids": [*own(text)["input_ids"][:-1], 5]}
    try:
        theirs = perplexity("the dog", "my friend").score(merged).basis
    finally:
        merged._tokenizer = own
    assert ours.split(" (")[0] == theirs.split(" (")[0]
    assert ours != theirs
    assert perplexity("the dog", "my friend").score(merged).basis == ours


@pytest.mark.parametrize(
    ("given", "value", "spread"),
    [
        (3, 3.0, math.nan),
        (np.float32(0.5), 0.5, math.nan),
        (torch.tensor([2.5]), 2.5, math.nan),
        (True, 1.0, math.nan),
        ((2, 0.25), 2.0, 0.25),
        ([2, np.float64(0)], 2.0, 0.0),
        ((2, math.nan), 2.0, math.nan),
    ],
)
def test_a_function_gives_a_number_or_a_number_and_its_spread(
    given: Any, value: float, spread: float, merged: Assembly
) -> None:
    found = function(lambda _: given, "own", unit="points").score(merged)
    assert found.value == value
    assert found.spread == pytest.approx(spread, nan_ok=True)
    assert (found.unit, found.problem) == ("points", "")


@pytest.mark.parametrize(
    "given", [None, "3", math.nan, math.inf, (1, 2, 3), (1, -1), ("1", 1), (1, "1"), (1, None), 1j, torch.ones(2), {}]
)
def test_what_is_no_number_is_told_in_words(given: Any, merged: Assembly) -> None:
    found = function(lambda _: given).score(merged)
    assert math.isnan(found.value)
    assert "returned" in found.problem
    assert "Return a number" in found.problem


def test_mistakes_of_a_function_are_told_in_words(merged: Assembly) -> None:
    def leaves(_: Assembly) -> float:
        sys.exit(3)

    def interrupts(_: Assembly) -> float:
        raise KeyboardInterrupt

    def writes(model: Assembly) -> float:
        with torch.inference_mode(mode=False), torch.no_grad():
            model.model.lm_head.weight.mul_(1.0)
        return 1.0

    said = [function(one).score(merged).problem for one in (lambda _: 1 / 0, leaves, interrupts, writes)]
    assert said[:3] == ["ZeroDivisionError: division by zero", "SystemExit: 3", "KeyboardInterrupt"]
    assert "changed the weights of the model: its score does not count" in said[3]


def test_a_function_hears_the_model_itself(merged: Assembly) -> None:
    found = function(lambda model: len(model.say("pirate hello my friend :"))).score(merged)
    assert found.value == len(merged.say("pirate hello my friend :"))


@pytest.mark.parametrize("scorer", [skill("pirate", 20), perplexity("the dog is in the house"), None])
def test_scoring_stops_within_a_pass(scorer: Scorer | None, merged: Assembly) -> None:
    passes = 0
    asked = iter([False])

    def catches(model: Assembly) -> float:
        nonlocal passes
        for _ in range(5):
            try:
                model.model(torch.tensor([[1, 2]]))
                passes += 1
            except Exception:  # noqa: BLE001 - as a careless user's
                return 1.0
        return 2.0

    scorer = scorer or function(catches)
    with pytest.raises(Stopped):
        scorer.score(merged, lambda: next(asked, True))
    assert passes <= 1
    assert not merged.model._forward_pre_hooks
    assert scorer.score(merged).problem == ""


def test_the_usual_scorers_are_what_the_sources_were_trained_on(merged: Assembly) -> None:
    assert [one.name for one in scorers_of(None, FAMILY[:1])] == ["stories"]
    assert [one.name for one in scorers_of(None, FAMILY)] == ["stories", "reverse", "pirate"]
    assert [one.name for one in scorers_of(None, FAMILY[2:])] == ["reverse"]  # it was trained on nothing else
    (one,) = scorers_of(None, [*FAMILY, Source("elsewhere/base")])
    assert (one.name, one.unit, one.better) == ("English", NATS, "lower")
    assert one.score(merged).n > 200
    assert scorers_of((), FAMILY) == ()
    assert passages([Source("x")]) == ENGLISH
    assert "Once upon a time" in passages(FAMILY)[0]


def test_scorers_are_named_and_take_any_function() -> None:
    def length(_: Assembly) -> float:
        return 1.0

    found = scorers_of([length, skill("sort"), lambda _: 0.0], FAMILY)
    assert [one.name for one in found] == ["length", "sort", "lambda"]
    assert [one.name for one in scorers_of(length, FAMILY)] == ["length"]
    assert [one.name for one in scorers_of(skill("sort"), FAMILY)] == ["sort"]
    named = scorers_of({"a": length, "b": skill("stories")}, FAMILY)
    assert [(one.name, one.better) for one in named] == [("a", "higher"), ("b", "lower")]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: scorers_of([skill("sort"), skill("sort")], FAMILY), "two are called 'sort'"),
        (lambda: scorers_of([len, 3, "x"], FAMILY), "3 scores nothing.*'x' scores nothing"),
        (lambda: skill("cooking"), "no 'cooking'"),
        (perplexity, "no text"),
        (lambda: perplexity("a", " ", 3), "' ' is no text.*3 is no text"),  # type: ignore[arg-type]
    ],
)
def test_wrong_scorers_are_refused(make: Any, words: str) -> None:
    with pytest.raises(InspectionError, match=f"(?s){words}"):
        make()


def test_a_text_of_one_token_cannot_be_predicted(merged: Assembly) -> None:
    own = merged.tokenizer
    merged._tokenizer = lambda text, **_: {"input_ids": own(text)["input_ids"][:1]}
    try:
        found = perplexity("the dog").score(merged)
    finally:
        merged._tokenizer = own
    assert "no token to predict" in found.problem
    assert math.isnan(found.value)
