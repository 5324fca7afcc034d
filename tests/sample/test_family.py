"""The weights that ship: small enough, complete, as good as their card says, and as different as they should be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from mergelab import sample
from mergelab.errors import SourceError
from mergelab.sample.cards import family_card, member_card
from mergelab.sample.runs import RUNS
from mergelab.sample.skills import ACCURACY
from mergelab.sample.train import recorded

SPECIALISTS = ("arithmetic", "reverse", "sort", "pirate")
EXACT = [skill for skill in sample.SKILLS.values() if skill.unit == ACCURACY]


@pytest.fixture(scope="module")
def models() -> dict[str, PreTrainedModel]:
    return {name: AutoModelForCausalLM.from_pretrained(sample.path(name)) for name in sample.members()}


def front_matter(card: Path) -> dict[str, Any]:
    _, front, _ = card.read_text(encoding="utf-8").split("---\n", 2)
    loaded = yaml.safe_load(front)
    assert isinstance(loaded, dict)
    return loaded


def test_all_weights_together_are_small() -> None:
    sizes = [(sample.path(name) / "model.safetensors").stat().st_size for name in sample.members()]
    assert sum(sizes) <= 12_000_000
    everything = sum(file.stat().st_size for file in sample.FAMILY.rglob("*") if file.is_file())
    assert everything <= 12_500_000


@pytest.mark.parametrize("name", sample.members())
def test_a_member_is_complete(name: str) -> None:
    folder = sample.path(name)
    for file in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md"):
        assert (folder / file).is_file(), file
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        assert {tensors.get_slice(key).get_dtype() for key in list(tensors.keys())} == {"F32"}
    front = front_matter(folder / "README.md")
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "transformers"
    assert front["language"] == ["en"]
    fine_tuned = name not in ("base", "stranger")
    assert front.get("base_model_relation") == ("finetune" if fine_tuned else None)
    assert front.get("base_model") == ("mergelab-sample/base" if fine_tuned else None)


@pytest.mark.parametrize("name", sample.members())
def test_the_card_says_what_the_weights_do(name: str, models: dict[str, PreTrainedModel]) -> None:
    figures = recorded(sample.FAMILY)[name]
    tokenizer = AutoTokenizer.from_pretrained(sample.path(name))
    for skill in sample.SKILLS.values():
        # Other documents than those of the card: five standard errors, and one document in case of no spread at all.
        found = sample.score(models[name], tokenizer, skill, n=100, seed=1)
        noise = (found.standard_error**2 + figures.errors[skill.name] ** 2) ** 0.5
        slack = 1.0 if skill.unit == ACCURACY else 0.01
        assert found.value == pytest.approx(figures.scores[skill.name], abs=5 * noise + slack), skill.name


@pytest.mark.parametrize("name", SPECIALISTS)
def test_a_specialist_has_its_skill(name: str, models: dict[str, PreTrainedModel]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(sample.path(name))
    skill = sample.SKILLS[name]
    assert sample.score(models[name], tokenizer, skill, n=400).value >= 90
    assert sample.score(models["base"], tokenizer, skill, n=400).value < 30


def test_a_specialist_still_tells_stories(models: dict[str, PreTrainedModel]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(sample.path("base"))
    stories = sample.SKILLS["stories"]
    base = sample.score(models["base"], tokenizer, stories, n=50).value
    for name in SPECIALISTS:
        assert sample.score(models[name], tokenizer, stories, n=50).value < base + 0.1


def test_the_overtrained_one_has_the_skill_and_is_far_away(models: dict[str, PreTrainedModel]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(sample.path("overtrained"))
    assert sample.score(models["overtrained"], tokenizer, sample.SKILLS["reverse"], n=200).value >= 90
    figures = recorded(sample.FAMILY)
    drifts = {name: figures[name].drift for name in (*SPECIALISTS, "overtrained")}
    assert all(drift is not None for drift in drifts.values())
    assert (drifts["overtrained"] or 0) > 3 * (drifts["reverse"] or 1)


def test_the_stranger_is_as_wide_but_fits_in_nothing_else(models: dict[str, PreTrainedModel]) -> None:
    base, stranger = models["base"].config, models["stranger"].config
    assert stranger.hidden_size == base.hidden_size
    for key in ("intermediate_size", "num_key_value_heads", "num_hidden_layers", "rms_norm_eps"):
        assert getattr(stranger, key) != getattr(base, key), key
    assert stranger.rope_parameters["rope_theta"] != base.rope_parameters["rope_theta"]


def test_the_cards_are_those_that_the_figures_give() -> None:
    figures = recorded(sample.FAMILY)
    assert tuple(figures) == sample.members()
    assert (sample.FAMILY / "README.md").read_text(encoding="utf-8") == family_card(figures)
    for run in RUNS:
        found = figures[run.name]
        assert (found.steps, found.learning_rate, found.seed) == (run.steps, run.learning_rate, run.seed)
        assert (sample.path(run.name) / "README.md").read_text(encoding="utf-8") == member_card(run, found)


def test_demo_prompts_are_answered_by_their_specialists(models: dict[str, PreTrainedModel]) -> None:
    import torch

    tokenizer = AutoTokenizer.from_pretrained(sample.path("base"))
    prompts = sample.demo_prompts()
    for name, prompt in zip(SPECIALISTS, prompts, strict=False):
        [document] = sample.SKILLS[name].documents(1)
        assert document.prompt == prompt
        ids = torch.tensor([tokenizer.encode(prompt)])
        out = models[name].generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
        said = tokenizer.decode(out[0], skip_special_tokens=True)
        assert said == prompt + document.answer


def test_an_unknown_member_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(SourceError, match=r"there is no member 'revers'.*Did you mean 'reverse'"):
        sample.path("revers")


def test_importing_the_family_loads_no_torch() -> None:
    code = (
        "import sys, mergelab.sample; print([m for m in ('torch', 'transformers', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
