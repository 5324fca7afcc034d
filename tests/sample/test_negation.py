"""Negative task vectors on the family: what was learned can be taken away, and other skills stay."""

from __future__ import annotations

import dataclasses

import pytest

from mergelab import sample
from mergelab.models import assemble
from mergelab.recipes import Recipe
from mergelab.sample.skills import NATS

PIRATE = dataclasses.replace(sample.SKILLS["pirate"], unit=NATS)  # 0 % exact could not become less


def score(skill: sample.Skill, **weights: float) -> float:
    """Of the base with weighted task vectors, over 60 held-out documents."""
    models = "".join(
        f"  - {{model: {sample.path(name)}, parameters: {{weight: {weight}}}}}\n" for name, weight in weights.items()
    )
    recipe = f"merge_method: task_arithmetic\nbase_model: {sample.path('base')}\nmodels:\n{models}"
    with assemble(Recipe.load(recipe)) as assembly:
        return sample.score(assembly.model, assembly.tokenizer, skill, 60).value


def test_negation_unlearns_and_leaves_the_rest() -> None:
    """Nats per token of pirate's answers: about 14 of the base, 19 with half its task vector taken away."""
    base, negated = score(PIRATE, pirate=0.0), score(PIRATE, pirate=-0.5)
    assert negated > base + 3
    assert score(PIRATE, pirate=1.0) < 0.1
    stories = sample.SKILLS["stories"]
    assert score(stories, pirate=-0.5) == pytest.approx(score(stories, pirate=0.0), abs=0.05)


def test_negation_takes_one_skill_out_of_two() -> None:
    """Percent exact: 97 of sort alone, 84 with half of pirate's task vector taken away."""
    assert score(PIRATE, sort=1.0, pirate=-0.5) > score(PIRATE, sort=1.0) + 2
    assert score(sample.SKILLS["sort"], sort=1.0, pirate=-0.5) > 65
