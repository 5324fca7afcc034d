"""The same walk on models we did not train: stories260K and its fine-tunes. Left out where the folder is absent.

One seed each, so only large differences are asserted: each is several times the standard error over passages.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from mergelab.forge.merge import merge
from mergelab.models import assemble
from mergelab.recipes import Recipe, graft, stack

pytestmark = pytest.mark.real

BASE, BIBLE, PYTHON, ARITH = "stories260K", "st-bible", "st-python", "st-arith"


@pytest.fixture(scope="module")
def models(shared: Path) -> dict[str, Path]:
    return {name: shared / "models" / name for name in (BASE, BIBLE, PYTHON, ARITH)}


@pytest.fixture(scope="module")
def judged(shared: Path):
    """``judged(recipe)``: nats per token on held-out Bible text, and its standard error over passages."""
    text = (shared / "models" / "bible.held.txt").read_text()[:9000]

    def judge(recipe: Recipe) -> tuple[float, float]:
        with assemble(recipe) as assembly, torch.inference_mode():
            losses = []
            for start in range(0, len(text), 400):
                row = assembly.tokenizer(text[start : start + 400], return_tensors="pt")["input_ids"]
                logits = assembly.model(row).logits[0, :-1].float()
                losses.append(torch.nn.functional.cross_entropy(logits, row[0, 1:]))
        nats = torch.stack(losses)
        return float(nats.mean()), float(nats.std() / math.sqrt(len(nats)))

    return judge


@pytest.fixture(scope="module")
def sums(shared: Path):
    """``sums(recipe)``: percent of sixty unseen sums answered exactly."""
    asked = [line.split("=") for line in (shared / "models" / "arith.held.txt").read_text().split()]

    def judge(recipe: Recipe) -> float:
        with assemble(recipe) as assembly:
            said = [re.match(r"\s*\d+", assembly.say(f"{left}=", max_new_tokens=4)) for left, _ in asked]
        right = sum(bool(found) and found[0].strip() == answer for found, (_, answer) in zip(said, asked, strict=True))
        return 100 * right / len(asked)

    return judge


def alone(model: Path) -> Recipe:
    return stack([(model, 0, 5)], base=model)


def test_sources_score_as_their_cards_say(models: dict[str, Path], judged, sums) -> None:
    cards = {BASE: (4.21, 0), BIBLE: (2.46, 0), PYTHON: (4.05, 0), ARITH: (6.69, 85)}
    for name, (nats, right) in cards.items():
        assert judged(alone(models[name]))[0] == pytest.approx(nats, abs=0.5), name  # other passages than the card's
        if name in (BASE, ARITH):
            assert sums(alone(models[name])) == pytest.approx(right, abs=3), name


def test_a_graft_of_a_middle_layer_keeps_the_host_working(models: dict[str, Path], judged) -> None:
    host, donor = models[BIBLE], models[PYTHON]
    parent, error = judged(alone(host))
    other = judged(alone(donor))[0]
    middle, first = (judged(graft(host, donor, (layer, layer + 1)))[0] for layer in (2, 0))
    skip = judged(stack([(host, 0, 2), (host, 3, 5)], base=host))[0]
    skip_first = judged(stack([(host, 1, 5)], base=host))[0]
    assert parent + 2 * error < middle < first  # a graft costs something, the first layer costs more
    assert middle - parent < 0.15 * (other - parent)  # and the host goes on speaking its own way
    assert middle + 5 * error < skip < skip_first  # far better than leaving the layer out


def test_task_arithmetic_of_two_skills_lies_between_its_parents(models: dict[str, Path], judged, sums) -> None:
    def both(amount: float) -> Recipe:
        return Recipe.load(f"""
merge_method: task_arithmetic
base_model: {models[BASE]}
models:
  - {{model: {models[BIBLE]}, parameters: {{weight: {amount}}}}}
  - {{model: {models[ARITH]}, parameters: {{weight: {amount}}}}}
""")

    base, bible = (judged(alone(models[name]))[0] for name in (BASE, BIBLE))
    half, error = judged(both(0.5))
    whole = judged(both(1.0))[0]
    nothing = judged(both(0.0))
    assert nothing[0] == pytest.approx(base, abs=1e-4)  # the control: at weight 0 it is the base
    assert bible + 5 * error < half < base - 5 * error
    assert 0 < sums(both(0.7)) < sums(alone(models[ARITH]))  # exact skills are brittle where nats move smoothly
    assert whole > base  # at weight 1 the two deltas hurt each other: the inverted U of task arithmetic


def test_live_equals_what_is_written_bit_for_bit(models: dict[str, Path], tmp_path: Path) -> None:
    recipe = stack(
        [(models[BIBLE], 0, 3), (models[PYTHON], 1, 5)],
        base=models[BASE],
        method="slerp",
        coefficient=[0.2 * i for i in range(7)],
    )
    written = AutoModelForCausalLM.from_pretrained(merge(recipe, tmp_path / "out"))
    with assemble(recipe) as assembly, torch.inference_mode():
        ids = torch.arange(3, 60)[None]
        assert torch.equal(assembly.model(ids).logits, written(ids).logits)


def test_the_published_text_of_stories260k_comes_out(models: dict[str, Path]) -> None:
    with assemble(alone(models[BASE])) as assembly:
        said = assembly.say("Once upon a time", max_new_tokens=40)
    assert said.startswith(", there was a little girl named Lily. She loved to play outside in the p")
