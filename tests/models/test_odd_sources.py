"""Sources as they lie about: tables of older versions, lists of their own, settings and sizes that cannot be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mergelab.errors import AssemblyError, MergelabError, SourceError
from mergelab.forge.merge import merge
from mergelab.models import assemble
from mergelab.models.config import stack_config
from mergelab.models.verdict import check
from mergelab.recipes import Recipe, plan
from tests.models.families import DEPTH, FAMILIES
from tests.models.small import linear, runs, small

Family = Callable[[str, int], Path]
IDS = torch.tensor([[1, 7, 40, 9, 30]])


def changed(folder: Path, out: Path, **config: Any) -> Path:
    """A copy with other settings. A change to None leaves the key out."""
    shutil.copytree(folder, out)
    table = json.loads((out / "config.json").read_text()) | config
    kept = {key: value for key, value in table.items() if value is not None}
    (out / "config.json").write_text(json.dumps(kept))
    return out


def with_tables(folder: Path, out: Path, tables: dict[str, torch.Tensor]) -> Path:
    """A copy whose every layer holds these beside its weights, as older versions of transformers saved them."""
    changed(folder, out)
    weights = load_file(out / "model.safetensors")
    name = next(name for name in weights if ".0." in name)
    prefix = name[: name.index(".0.") + 1]
    layers = range(DEPTH)
    weights |= {f"{prefix}{layer}.{stem}": table.clone() for layer in layers for stem, table in tables.items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    return out


MASK = torch.ones(1, 1, 64, 64).tril()
TABLES = {
    "llama": {"self_attn.rotary_emb.inv_freq": torch.rand(3)},
    "gpt2": {"attn.bias": MASK, "attn.masked_bias": torch.tensor(-1e4)},
    "gpt_neox": {
        "attention.bias": MASK.bool(),
        "attention.masked_bias": torch.tensor(-1e9),
        "attention.rotary_emb.inv_freq": torch.rand(3),
    },
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("form", ["donor", "guest", "stack"])
def test_tables_of_older_versions_change_nothing(kind: str, form: str, family: Family, tmp_path: Path) -> None:
    new, other = family(kind, 1), family(kind, 2)
    old = with_tables(new, tmp_path / "old", TABLES[kind])

    def recipe(one: Path) -> Recipe:
        if form == "stack":
            return runs((one, 0, 3), (other, 2, 4), (one, 2, DEPTH))
        return linear(one, other) if form == "donor" else linear(other, one)

    assert check(recipe(old)).works
    out = merge(recipe(old), tmp_path / "out")
    with assemble(recipe(old)) as ours, assemble(recipe(new)) as theirs, torch.inference_mode():
        assert ours.model.state_dict().keys() == theirs.model.state_dict().keys()
        expected = theirs.model(IDS).logits
        assert torch.equal(ours.model(IDS).logits, expected)
        loaded, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
        assert not any(report.values())
        assert torch.equal(loaded(IDS).logits, expected)


# ------------------------------------------------------------------------------------------ lists in a config

OWN = [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("theirs", [None, OWN[:2], [*OWN, 16], []])
def test_a_list_that_only_the_donor_has_per_layer_stays_as_it_is(
    theirs: object, family: Family, tmp_path: Path
) -> None:
    one = changed(family("llama", 1), tmp_path / "one", stages_seen=OWN)
    other = changed(family("llama", 2), tmp_path / "other", stages_seen=theirs)
    assert stack_config(plan(runs((one, 0, 3), (other, 4, 6))))["stages_seen"] == OWN
    stack = runs((one, 0, 2), (one, 1, 3))
    assert stack_config(plan(stack))["stages_seen"] == [10, 11, 11, 12]
    assert check(runs((one, 0, 3), (other, 4, 6))).works


def test_a_list_moves_where_each_model_has_it_at_its_own_depth(family: Family, tmp_path: Path) -> None:
    one = changed(family("llama", 1), tmp_path / "one", stages_seen=OWN)
    short = AutoModelForCausalLM.from_pretrained(family("llama", 2))
    short.model.layers = short.model.layers[:4]
    short.config.num_hidden_layers = 4
    short.save_pretrained(tmp_path / "short")
    other = changed(tmp_path / "short", tmp_path / "other", stages_seen=[20, 21, 22, 23])
    moved = stack_config(plan(runs((one, 0, 3), (other, 2, 4))))
    assert moved["stages_seen"] == [10, 11, 12, 22, 23]
    first = stack_config(plan(runs((other, 3, 4), (one, 4, 6))))
    assert first["stages_seen"] == [23, 14, 15]


# ------------------------------------------------------------------------------- settings that transformers refuses


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"num_return_sequences": 2}', r"is refused: transformers says ValueError: Greedy methods"),
        ('{"compile_config": {}}', r"is refused: transformers says ValueError: You provided `compile_config`"),
        ('{"max_new_tokens": -5}', r"is refused: transformers says ValueError: `max_new_tokens` must be"),
        ('{"max_new_tokens": "a"}', r"is refused: transformers says TypeError: "),
        ("[1]", r"is no table but \[1\]\."),
        ("[]", r"is no table but \[\]\."),
        ('[["eos_token_id", 2]]', r"is no table but "),
        ("null", r"is no table but null\."),
        ("{", r"is not JSON"),
    ],
)
def test_a_generation_config_that_transformers_refuses_is_refused_by_name(
    text: str, words: str, tmp_path: Path
) -> None:
    odd, other = small(tmp_path / "odd"), small(tmp_path / "other", seed=2)
    (odd / "generation_config.json").write_text(text)
    said = rf"odd: its generation_config\.json {words}"
    with pytest.raises(SourceError, match=said):
        assemble(linear(odd, other))
    with pytest.raises(SourceError, match=said):
        merge(linear(odd, other), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd", "other"]
    report = check(linear(odd, other))
    assert not report.works
    assert "generation_config.json" in str(report)
    with assemble(linear(other, odd)) as assembly:  # the settings are the donor's
        model, before = assembly.model, assembly.recipe
        with pytest.raises(SourceError, match=said):
            assembly.turn(runs((odd, 0, 2), (other, 1, 3)))
        assert assembly.model is model
        assert assembly.recipe == before
        assert assembly.model.config.num_hidden_layers == 3


def test_a_generation_config_that_transformers_takes_is_written_as_it_is(tmp_path: Path) -> None:
    odd = small(tmp_path / "odd")
    settings = {"temperature": 0.6, "do_sample": True, "eos_token_id": [2, 3], "of_their_own": {"a": [1]}}
    (odd / "generation_config.json").write_text(json.dumps(settings))
    out = merge(linear(odd, odd), tmp_path / "out")
    assert json.loads((out / "generation_config.json").read_text()) == settings
    assert AutoModelForCausalLM.from_pretrained(out).generation_config.eos_token_id == [2, 3]


# ------------------------------------------------------------------------------ a folder that would not load


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"vocab_size": 14}, "does not have the shape that the config asks for"),
        ({"intermediate_size": 12}, "does not have the shape that the config asks for"),
        ({"attention_bias": True}, "is missing from the sources"),
        ({"hidden_act": "no_such"}, "the config: transformers says KeyError: "),
        ({"num_attention_heads": 0}, "transformers says ZeroDivisionError: "),
    ],
)
@pytest.mark.parametrize("make", ["check", "merge", "assemble"])
def test_what_does_not_load_is_not_written(config: dict[str, Any], words: str, make: str, tmp_path: Path) -> None:
    odd = small(tmp_path / "odd", **config)
    recipe = runs((odd, 0, 3))
    if make == "check":
        assert not check(recipe).works
    else:
        with pytest.raises(AssemblyError, match=words):
            merge(recipe, tmp_path / "out") if make == "merge" else assemble(recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["odd"]


def test_a_folder_that_is_replaced_stays_where_the_new_one_would_not_load(tmp_path: Path) -> None:
    out = merge(runs((small(tmp_path / "good"), 0, 3)), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(MergelabError):
        merge(runs((small(tmp_path / "odd", vocab_size=14), 0, 3)), out, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_every_family_is_rehearsed_without_its_weights(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """As fused experts, tied heads and prefixes are loaded: nothing is poured, and nothing is found missing."""
    from mergelab.models import assembly
    from mergelab.models.pour import Pouring

    monkeypatch.setattr(Pouring, "tensor", lambda *_: pytest.fail("a tensor was poured"))
    for kind in FAMILIES:
        written = assembly.rehearse(plan(runs((family(kind, 1), 0, 4), (family(kind, 1), 2, 3))))
        assert written["model_type"] == kind
