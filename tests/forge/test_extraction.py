"""Extraction: fine-tune and base apart, adapter together again; by peft and as a source; and what it says it lost."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import peft
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mergelab.errors import FitError, OutputError
from mergelab.forge.extraction import extract_lora
from mergelab.forge.merge import merge
from mergelab.models.speak import Stopped
from mergelab.recipes import Recipe
from mergelab.recipes.card import read_cards
from mergelab.weights import open_checkpoint
from tests.models.families import save

Family = Callable[[str, int], Path]
FULL = 64  # no side of the small models is longer but that of their vocabularies
IDS = torch.arange(3, 20)[None]


def changed(folder: Path, out: Path, change: Callable[[str, torch.Tensor], torch.Tensor], **settings: Any) -> Path:
    """A copy of a model with other tensors."""
    shutil.copytree(folder, out)
    named = load_file(out / "model.safetensors")
    save_file({name: change(name, tensor) for name, tensor in named.items()}, out / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | settings))
    return out


def with_peft(base: Path, lora: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft speaks of tied heads, transformers of what it will rename
        return peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), lora)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma2", "gpt2", "gpt_neox", "phi3", "cohere"])
def test_at_full_rank_the_fine_tune_comes_back(kind: str, family: Family, tmp_path: Path) -> None:
    base, tuned = family(kind, 1), family(kind, 2)
    found = extract_lora(tuned, base, tmp_path / "lora", rank=FULL)
    assert sorted(path.name for path in (tmp_path / "lora").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert found.energy == pytest.approx(1, abs=1e-12)
    assert found.left_out == 0
    whole, again = open_checkpoint(tuned), open_checkpoint(f"{base}+{tmp_path / 'lora'}")
    assert again.specs.keys() == whole.specs.keys()
    assert {one.name for one in found.tensors} == whole.specs.keys()
    for one in found.tensors:
        if one.how == "whole":
            assert torch.equal(again.tensor(one.name), whole.tensor(one.name))
        else:
            assert torch.allclose(again.tensor(one.name), whole.tensor(one.name), atol=1e-6)
    expected = logits(AutoModelForCausalLM.from_pretrained(tuned))
    assert torch.allclose(logits(with_peft(base, tmp_path / "lora")), expected, atol=2e-5)
    assert not torch.allclose(logits(AutoModelForCausalLM.from_pretrained(base)), expected, atol=0.1)
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert all("." not in word for word in config["target_modules"] + config["modules_to_save"])


def test_what_is_kept_is_what_float64_says(family: Family, tmp_path: Path) -> None:
    base, tuned = family("llama", 1), family("llama", 2)
    rank = 5
    found = extract_lora(tuned, base, tmp_path / "lora", rank=rank)
    one, other = (load_file(folder / "model.safetensors") for folder in (tuned, base))
    energy = lost = 0.0
    for row in found.tensors:
        difference = one[row.name].double().numpy() - other[row.name].double().numpy()
        values = np.linalg.svd(difference, compute_uv=False) if difference.ndim == 2 else difference
        assert row.energy == pytest.approx((values**2).sum(), rel=1e-9)
        inside = ".layers." in row.name and difference.ndim == 2
        assert row.how == ("pair" if inside else "whole")
        assert row.lost == pytest.approx((values[rank:] ** 2).sum() if inside else 0, rel=1e-6)
        energy, lost = energy + row.energy, lost + row.lost
    assert found.energy == pytest.approx(1 - lost / energy)
    pairs = [row for row in found.tensors if row.how == "pair"]
    assert found.pairs == pytest.approx(1 - lost / sum(row.energy for row in pairs))
    assert found.bytes == sum(
        tensor.nbytes for tensor in load_file(tmp_path / "lora" / "adapter_model.safetensors").values()
    )
    table = pd.DataFrame(found.rows)
    assert list(table.columns) == ["tensor", "held", "change", "kept", "bytes"]
    assert len(table) == len(found.tensors)
    assert f"rank {rank}" in str(found)
    assert "model.layers.*.self_attn.q_proj.weight" in str(found)
    assert f"{100 * found.energy:.4g}% of the change" in str(found)


@pytest.mark.parametrize(("licences", "line"), [(("mit", "mit"), "mit"), (("mit", None), None)])
def test_its_card_has_the_licence_of_both(
    licences: tuple[str | None, ...], line: str | None, family: Family, tmp_path: Path
) -> None:
    base, tuned = (Path(shutil.copytree(family("llama", seed), tmp_path / f"`{seed}`")) for seed in (1, 2))
    for folder, licence in zip((base, tuned), licences, strict=True):
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n" if licence else "")
    out = extract_lora(tuned, base, tmp_path / "lora", rank=3).folder
    head, _, body = (out / "README.md").read_text().removeprefix("---\n").partition("---\n")
    table = yaml.safe_load(head)
    assert table.pop("license", None) == line
    assert table == {"library_name": "peft", "tags": ["lora", "mergelab"]}, "a folder is no id of the hub"
    assert "# A LoRA adapter of rank 3\n" in body
    card, own = read_cards(open_checkpoint(f"{base}+{out}"))
    assert own.licences == (() if line is None else (line,))
    assert card.licences == ("mit",)


def test_a_rank_above_all_matrices_is_cut_to_what_they_have(family: Family, tmp_path: Path) -> None:
    tuned, base = family("llama", 2), family("llama", 1)
    found = [extract_lora(tuned, base, tmp_path / str(rank), rank=rank) for rank in (24, 999)]
    assert [one.rank for one in found] == [24, 24]
    assert found[0].bytes == found[1].bytes
    weights = [(one.folder / "adapter_model.safetensors").read_bytes() for one in found]
    assert weights[0] == weights[1]


def test_without_what_no_pair_holds_the_loss_is_said(family: Family, tmp_path: Path) -> None:
    base, tuned = family("qwen2", 1), family("qwen2", 2)
    found = extract_lora(tuned, base, tmp_path / "lora", rank=FULL, whole=False)
    out = [one for one in found.tensors if one.how == "left out"]
    assert {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} <= {one.name for one in out}
    assert any(one.name.endswith("q_proj.bias") for one in out)
    share = sum(one.energy for one in out) / sum(one.energy for one in found.tensors)
    assert found.left_out == pytest.approx(share)
    assert found.energy == pytest.approx(1 - share)
    assert "Left out, since no pair holds it" in str(found)
    again = open_checkpoint(f"{base}+{tmp_path / 'lora'}")
    assert again.adapter
    assert not {one.name for one in out} & again.adapter.changes.keys()


def test_only_what_differs_is_held_and_found_by_peft(family: Family, tmp_path: Path) -> None:
    base = family("llama", 1)
    targets = ("layers.1.self_attn.q_proj.weight", "layers.4.mlp.up_proj.weight", "layers.2.input_layernorm.weight")
    tuned = changed(base, tmp_path / "tuned", lambda name, one: one + 0.1 if name.endswith(targets) else one)
    found = extract_lora(tuned, base, tmp_path / "lora", rank=1)
    assert {one.name.removeprefix("model.") for one in found.tensors} == {*targets}
    assert found.energy == pytest.approx(1, abs=1e-9)  # a constant has rank 1
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["model.layers.1.self_attn.q_proj", "model.layers.4.mlp.up_proj"]
    assert config["modules_to_save"] == ["model.layers.2.input_layernorm"]
    theirs = logits(with_peft(base, tmp_path / "lora"))
    assert torch.allclose(theirs, logits(AutoModelForCausalLM.from_pretrained(tuned)), atol=2e-6)


def test_a_recipe_takes_it_and_the_same_models_give_the_same_bytes(family: Family, tmp_path: Path) -> None:
    base, tuned = family("gemma", 1), family("gemma", 2)
    seen: list[tuple[int, int]] = []
    extract_lora(tuned, base, tmp_path / "one", rank=4, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(number, len(seen)) for number in range(1, len(seen) + 1)]
    extract_lora(open_checkpoint(tuned), str(base), tmp_path / "two", rank=4)
    files = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]
    recipe = Recipe.load(f"merge_method: passthrough\nmodels: [{{model: {base}+{tmp_path / 'one'}}}]\n")
    merged = merge(recipe, tmp_path / "merged", prove=False)
    assert "lm_head.weight" not in load_file(merged / "model.safetensors")  # tied stays tied


def test_a_head_that_was_untied_is_held(family: Family, tmp_path: Path) -> None:
    base = family("gemma", 1)
    tuned = save("gemma", tmp_path / "tuned", seed=2, tie_word_embeddings=False)
    extract_lora(tuned, base, tmp_path / "lora", rank=FULL)
    again = open_checkpoint(f"{base}+{tmp_path / 'lora'}")
    named = load_file(tuned / "model.safetensors")
    assert torch.equal(again.tensor("lm_head.weight"), named["lm_head.weight"])
    assert torch.equal(again.tensor("model.embed_tokens.weight"), named["model.embed_tokens.weight"])
    assert again.config["tie_word_embeddings"] is False


def test_a_tokenizer_of_its_own_goes_along(family: Family, tmp_path: Path) -> None:
    base = changed(family("llama", 1), tmp_path / "base", lambda _, one: one)
    tuned = changed(family("llama", 2), tmp_path / "tuned", lambda _, one: one)
    for folder in (base, tuned):
        (folder / "tokenizer.json").write_text("{}")
        (folder / "tokenizer_config.json").write_text("{}")
    extract_lora(tuned, base, tmp_path / "same", rank=1)
    assert not (tmp_path / "same" / "tokenizer.json").exists()
    (tuned / "additional_chat_templates").mkdir()
    (tuned / "additional_chat_templates" / "mine.jinja").write_text("x")
    extract_lora(tuned, base, tmp_path / "own", rank=1)
    for name in ("tokenizer.json", "tokenizer_config.json", "additional_chat_templates/mine.jinja"):
        assert (tmp_path / "own" / name).read_bytes() == (tuned / name).read_bytes()


# --------------------------------------------------------------------------------------------- what is refused


def refused(fine_tune: Path, base: Path, out: Path, **told: Any) -> str:
    with pytest.raises(FitError) as caught:
        extract_lora(fine_tune, base, out, **({"rank": 2} | told))
    assert not out.exists()
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]
    return str(caught.value)


def test_what_makes_no_adapter_is_refused(family: Family, tmp_path: Path) -> None:
    base, tuned, out = family("llama", 1), family("llama", 2), tmp_path / "lora"
    asked = refused(tuned, base, out, rank=0, dtype="int8")
    assert "rank: 0 is not a whole number above 0" in asked
    assert "dtype: 'int8' is none that a pair can have. Use float32, bfloat16, float16." in asked
    assert "True is not a whole number" in refused(tuned, base, out, rank=True)
    assert "is fine-tune and base at once" in refused(base, base, out)
    same = changed(base, tmp_path / "same", lambda _, one: one)
    assert "the models: do not differ." in refused(same, base, out)
    norms = changed(base, tmp_path / "norms", lambda name, one: one + 1 if "input_layernorm" in name else one)
    assert "differ in model.layers.0.input_layernorm.weight, " in refused(norms, base, out)
    broken = changed(base, tmp_path / "broken", lambda name, one: one * torch.nan if "1.mlp.up" in name else one)
    assert "the difference in model.layers.1.mlp.up_proj.weight is not finite" in refused(broken, base, out)
    assert "norm epsilon" in refused(changed(tuned, tmp_path / "eps", lambda _, one: one, rms_norm_eps=0.1), base, out)
    assert "gemma" in refused(family("gemma", 1), base, out)


def test_experts_have_no_place_and_may_be_left_out(family: Family, tmp_path: Path) -> None:
    base, tuned = family("qwen3_moe", 1), family("qwen3_moe", 2)
    said = refused(tuned, base, tmp_path / "lora")
    assert "peft has no place for what differs in model.layers.0.mlp.experts.0.down_proj.weight, " in said
    found = extract_lora(tuned, base, tmp_path / "lora", rank=2, whole=False)
    assert 0 < found.left_out < 1
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]


def test_nothing_is_overwritten_and_nothing_is_left_behind(family: Family, tmp_path: Path) -> None:
    base, tuned = family("llama", 1), family("llama", 2)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").touch()
    with pytest.raises(OutputError, match="exists already"):
        extract_lora(tuned, base, tmp_path / "there", rank=2)
    with pytest.raises(OutputError, match="lies in, the source"):
        extract_lora(tuned, base, tuned / "lora", rank=2)
    asked = iter([False] * 80)
    with pytest.raises(Stopped):
        extract_lora(tuned, base, tmp_path / "lora", rank=2, stop=lambda: next(asked, True))
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
