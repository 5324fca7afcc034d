"""config.json as it is written: the donor's own words where they still hold, and nothing that means something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mergelab.forge import rehearsal
from mergelab.forge.config_file import config_file
from mergelab.models.config import normal, stack_config
from mergelab.recipes import Recipe, repeat
from mergelab.recipes.plan import Plan, plan
from tests.models.families import FAMILIES, save

Family = Callable[[str, int], Path]
IGNORED = ("_name_or_path", "auto_map", "architectures", "transformers_version")


def spelt(folder: Path, *without: str, **words: Any) -> dict[str, Any]:
    """Give a model's config other words."""
    config = json.loads((folder / "config.json").read_text())
    config = {name: value for name, value in config.items() if name not in without} | words
    (folder / "config.json").write_text(json.dumps(config))
    return config


def written(planned: Plan) -> dict[str, Any]:
    """What is written; transformers reads it as the config of the merge."""
    whole = stack_config(planned)
    made = json.loads(json.dumps(config_file(planned, whole)))
    one, other = (json.loads(json.dumps(normal(config))) for config in (made, whole))
    assert {name: value for name, value in one.items() if name not in IGNORED} == {
        name: value for name, value in other.items() if name not in IGNORED
    }
    return made


def moved(folder: Path) -> Plan:
    return plan(repeat(folder, (1, 2), times=3))


@pytest.mark.parametrize("kind", FAMILIES)
def test_only_what_the_stack_changes_is_changed(kind: str, family: Family) -> None:
    folder = family(kind, 1)
    own = json.loads((folder / "config.json").read_text())
    made = written(moved(folder))
    assert list(made) == list(own)
    changed = [name for name in own if made[name] != own[name]]
    lists = [name for name, value in own.items() if isinstance(value, list) and len(value) == 6]
    assert sorted(changed) == sorted([*lists, "n_layer" if kind == "gpt2" else "num_hidden_layers"])


def test_older_spellings_stay(tmp_path: Path) -> None:
    scaling = {"rope_type": "llama3", "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
               "original_max_position_embeddings": 32}  # fmt: skip
    folder = save("llama", tmp_path / "llama", seed=1)
    own = spelt(folder, "rope_parameters", "dtype", rope_theta=5e5, rope_scaling=scaling, torch_dtype="bfloat16",
                of_somebody={"a": [1]}, auto_map={"AutoModel": "x.Y"}, _name_or_path="elsewhere",
                architectures=["LlamaModel"])  # fmt: skip
    made = written(moved(folder))
    assert made["rope_theta"] == 5e5
    assert "rope_parameters" not in made
    assert made == {name: value for name, value in own.items() if name not in ("auto_map", "_name_or_path")} | {
        "num_hidden_layers": 8,
        "torch_dtype": "float32",
        "architectures": ["LlamaForCausalLM"],
    }


def test_a_rule_of_position_becomes_a_list_where_it_no_longer_holds(tmp_path: Path) -> None:
    folder = save("qwen2", tmp_path / "qwen2", seed=1)
    spelt(folder, "layer_types", "rope_parameters", rope_theta=1e6, max_window_layers=2)
    made = written(moved(folder))
    kinds = ["full_attention"] * 4 + ["sliding_attention"] * 4
    assert made["layer_types"] == kinds
    assert "layer_types" not in written(
        plan(Recipe.load(f"merge_method: passthrough\nmodels: [{{model: {folder}}}]\n"))
    )


def test_another_name_of_a_setting_that_changes_goes(tmp_path: Path) -> None:
    folder = save("gpt2", tmp_path / "gpt2", seed=1)
    spelt(folder, "n_layer", num_hidden_layers=6)
    made = written(moved(folder))
    assert made["n_layer"] == 8
    assert "num_hidden_layers" not in made


def test_a_stage_keeps_its_donors_words(tmp_path: Path) -> None:
    folder = save("llama", tmp_path / "llama", seed=1)
    spelt(folder, "rope_parameters", "dtype", rope_theta=5e5, torch_dtype="float32", of_somebody=1)
    text = f"name: deep\nmerge_method: passthrough\nslices:\n  - sources: [{{model: {folder}, layer_range: [0, 4]}}]\n"
    text += "---\nmerge_method: passthrough\nslices:\n  - sources: [{model: deep, layer_range: [1, 4]}]\n"
    made = written(plan(Recipe.load(text)))
    assert (made["rope_theta"], made["of_somebody"], made["num_hidden_layers"]) == (5e5, 1, 3)
    assert "rope_parameters" not in made


@pytest.mark.parametrize("word", ["dtype", "torch_dtype"])
def test_what_needs_no_transformers_is_spelt_the_same(word: str, tmp_path: Path) -> None:
    folder = save("llama", tmp_path / "llama", seed=1)
    own = spelt(folder, "dtype", **{word: "float32"}, of_somebody=1, _name_or_path="elsewhere")
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    planned = plan(Recipe.load(f"merge_method: passthrough\nmodels: [{{model: {folder}}}]\ndtype: bfloat16\n"))
    quick = rehearsal.as_its_donor(planned)
    assert quick
    assert quick.config == rehearsal.rehearsed(planned).config
    assert quick.config == {name: value for name, value in own.items() if name != "_name_or_path"} | {word: "bfloat16"}
