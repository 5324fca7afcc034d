"""Adapters through the whole house: as peft merges them, live as on disk, in any recipe."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergelab.errors import OutputError, SourceError
from mergelab.forge.merge import merge
from mergelab.models import assemble
from mergelab.recipes import Recipe, graft, repeat
from mergelab.weights import open_checkpoint
from tests.forge.test_merge import tensors

Family = Callable[[str, int], Path]
LLAMA = ["q_proj", "v_proj", "down_proj"]


def trained(base: Path, folder: Path, *, dtype: torch.dtype = torch.float32, seed: int = 7, **told: Any) -> Any:
    """An adapter of peft on a base, its weights random; saved to ``folder``. Returns the tensors with it merged in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft tells of tied heads, and of GPT-2's matrices
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), peft.LoraConfig(**told))
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
        model.save_pretrained(folder)
        model.merge_and_unload().save_pretrained(folder / "merged")
    return tensors(folder / "merged")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("llama", {"target_modules": LLAMA, "r": 3, "lora_alpha": 5}),
        ("llama", {"target_modules": LLAMA, "r": 4, "use_rslora": True, "init_lora_weights": "gaussian"}),
        ("llama", {"target_modules": LLAMA, "rank_pattern": {"v_proj": 3, r"layers\.[12].*q_proj": 5, "proj": 2},
                   "alpha_pattern": {"q_proj": 7, r"model\.layers\.4\.self_attn\.v_proj": 1}}),
        ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "input_layernorm"]}),
        ("llama", {"target_modules": LLAMA, "layers_to_transform": [1, 3]}),
        ("llama", {"target_modules": ["embed_tokens", "lm_head", "k_proj"], "r": 2}),
        ("qwen2", {"target_modules": ["q_proj", "k_proj"], "bias": "all"}),
        ("qwen2", {"target_modules": ["q_proj"], "bias": "lora_only"}),
        ("qwen2", {"target_modules": ["q_proj"], "lora_bias": True}),
        ("llama", {"target_modules": LLAMA, "use_dora": True, "r": 3, "lora_alpha": 5}),
        ("llama", {"target_modules": ["k_proj", "lm_head"], "use_dora": True, "use_rslora": True}),
        ("gpt2", {"target_modules": ["c_attn", "c_proj"], "r": 3, "fan_in_fan_out": True}),
        ("gpt2", {"target_modules": ["c_proj"]}),
        ("gpt_neox", {"target_modules": ["query_key_value", "dense"]}),
        ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    ],
)  # fmt: skip
def test_it_is_what_peft_merges_bit_for_bit(
    kind: str, told: dict[str, Any], dtype: torch.dtype, family: Family, tmp_path: Path
) -> None:
    base = family(kind, 1)
    if dtype != torch.float32:
        AutoModelForCausalLM.from_pretrained(base, dtype=dtype).save_pretrained(tmp_path / "base")
        base = tmp_path / "base"
    merged = trained(base, tmp_path / "lora", dtype=dtype, **told)
    model = open_checkpoint(f"{base}+{tmp_path / 'lora'}")
    alone = open_checkpoint(base)
    assert model.adapter
    changed = [name for name in model.specs if not torch.equal(model.tensor(name), alone.tensor(name))]
    assert changed == [name for name in model.specs if name in model.adapter.changes]
    assert len(changed) > 1
    stored = tensors(tmp_path / "lora")
    for name in model.specs:
        ours, theirs = model.tensor(name), merged[name]
        assert ours.dtype == theirs.dtype == dtype
        if told.get("use_dora") and name in changed:  # peft divides and rounds in another order, in the base's dtype
            assert torch.allclose(ours, theirs, rtol=4 * torch.finfo(dtype).eps, atol=1e-6)
            continue
        if dtype == torch.bfloat16 and name in changed and ("embed" in name or "wte" in name):
            # peft rounds an embedding's product to bfloat16 before it adds it: two roundings to our one.
            change, before = model.adapter.changes[name], alone.tensor(name)
            b, a = (stored[factor] for factor in change.factors)
            product = change.scale * (b @ a).T
            assert torch.equal(theirs, before + product.to(dtype))
            assert torch.equal(ours, (before + product).to(dtype))
        else:
            assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(
    ("kind", "grown", "told", "head"),
    [
        ("gemma", 0, {"target_modules": ["q_proj", "lm_head"]}, True),
        ("gemma", 0, {"target_modules": ["q_proj", "embed_tokens"]}, True),
        ("gemma", 0, {"target_modules": ["embed_tokens", "lm_head"]}, True),
        ("gemma", 0, {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True}, False),
        ("gemma", 0, {"target_modules": ["q_proj", "lm_head"], "ensure_weight_tying": True}, False),
        ("gemma", 0, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, True),
        ("gemma", 0, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, True),
        ("gemma", 0, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"],
                      "ensure_weight_tying": True}, False),
        ("gpt2", 0, {"target_modules": ["c_proj", "wte"]}, True),
        ("gemma", 5, {"target_modules": ["q_proj"]}, False),
        ("gemma", 5, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, True),
        ("gemma", 5, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}, True),
        ("gemma", 5, {"target_modules": ["q_proj", "embed_tokens"]}, True),
        ("gemma", 5, {"target_modules": ["q_proj", "embed_tokens", "lm_head"]}, True),
        ("llama", 5, {"target_modules": ["q_proj"]}, True),
        ("llama", -5, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]}, True),
    ],
)  # fmt: skip
def test_tied_heads_and_grown_vocabularies_are_as_they_were_trained(
    kind: str, grown: int, told: dict[str, Any], head: bool, family: Family, tmp_path: Path
) -> None:
    """What counts is peft's adapted model: merging it may change a tied head and the embeddings with one another."""
    base, lora = family(kind, 1), tmp_path / "lora"
    ids = torch.arange(3, 20)[None]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        plain = AutoModelForCausalLM.from_pretrained(base)
        if grown:
            plain.resize_token_embeddings(96 + grown)
        model = peft.get_peft_model(plain, peft.LoraConfig(**told))
        draw = torch.Generator().manual_seed(7)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
        model.save_pretrained(lora)
        expected = model.eval()(ids).logits
    opened = open_checkpoint(f"{base}+{lora}")
    assert opened.config["vocab_size"] == 96 + grown
    assert ("lm_head.weight" in opened.specs) == head
    recipe = Recipe.load(f"merge_method: passthrough\nmodels: [{{model: {base}+{lora}}}]\n")
    with assemble(recipe) as assembly, torch.no_grad():
        found = assembly.model(ids).logits
        assert torch.allclose(found, expected, atol=2e-5)
        if grown == 5 and "modules_to_save" in told:  # the most that can go wrong on the way to disk
            again = AutoModelForCausalLM.from_pretrained(merge(recipe, tmp_path / "out", prove=False))
            assert torch.equal(again(ids).logits, found)


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_a_grown_vocabulary_without_all_its_rows_is_refused(target: str, family: Family, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = AutoModelForCausalLM.from_pretrained(family("llama", 1))
        plain.resize_token_embeddings(101)
        peft.get_peft_model(plain, peft.LoraConfig(target_modules=[target])).save_pretrained(tmp_path / "lora")
    with pytest.raises(SourceError, match=r"base_layer.weight \[101, 24\] against .* \[96, 24\]"):
        open_checkpoint(f"{family('llama', 1)}+{tmp_path / 'lora'}")


@pytest.fixture(scope="module")
def adapted(llamas: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A model with an adapter on it, as a source; and the folder that peft makes of the two."""
    lora = tmp_path_factory.mktemp("adapted") / "lora"
    trained(llamas[1], lora, target_modules=LLAMA, modules_to_save=["lm_head"])
    return f"{llamas[1]}+{lora}", lora / "merged"


def recipes(llamas: tuple[Path, Path, Path], model: str | Path) -> dict[str, Recipe]:
    """Recipes in which a model takes part."""
    base, _, other = llamas
    return {
        "graft": graft(base, model, (2, 4)),
        "host": graft(model, other, (2, 4)),
        "repeat": repeat(model, (1, 3)),
        "ties": Recipe.load(
            f"merge_method: ties\nbase_model: {base}\nparameters: {{density: 0.5, weight: 0.7}}\n"
            f"models:\n  - model: {model}\n  - model: {other}\n"
        ),
        "base of ties": Recipe.load(
            f"merge_method: ties\nbase_model: {model}\nparameters: {{density: 0.5, weight: 0.7}}\n"
            f"models:\n  - model: {base}\n  - model: {other}\ndtype: bfloat16\n"
        ),
    }


@pytest.mark.parametrize("name", ["graft", "host", "repeat", "ties", "base of ties"])
def test_a_recipe_takes_it_as_any_model_live_as_on_disk(
    name: str, llamas: tuple[Path, Path, Path], adapted: tuple[str, Path], tmp_path: Path
) -> None:
    source, whole = adapted
    recipe = recipes(llamas, source)[name]
    assert source in [str(one) for one in recipe.sources]
    assert Recipe.load(recipe.to_yaml()) == recipe
    written = tensors(merge(recipe, tmp_path / "out"))
    expected = tensors(merge(recipes(llamas, whole)[name], tmp_path / "expected"))
    plain = tensors(merge(recipes(llamas, llamas[1])[name], tmp_path / "plain"))
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[key], expected[key]) for key in expected)
    assert not all(torch.equal(written[key], plain[key]) for key in plain)
    with assemble(recipe) as assembly:
        live = assembly.model.state_dict()
        assert all(torch.equal(live[key], tensor) for key, tensor in written.items())
        assert assembly.tokenizer("hi there").input_ids


def test_a_repeated_layer_shares_the_memory_of_its_folded_tensors(adapted: tuple[str, Path]) -> None:
    with assemble(repeat(adapted[0], (1, 3))) as assembly:
        layers = assembly.model.model.layers
        assert layers[1].self_attn.q_proj.weight.data_ptr() == layers[3].self_attn.q_proj.weight.data_ptr()
        assert layers[1].self_attn.k_proj.weight.data_ptr() == layers[3].self_attn.k_proj.weight.data_ptr()


def test_the_tokenizer_saved_with_an_adapter_goes_with_the_merge(
    llamas: tuple[Path, Path, Path], adapted: tuple[str, Path], tmp_path: Path
) -> None:
    lora = shutil.copytree(adapted[1].parent, tmp_path / "lora")
    tokenizer = AutoTokenizer.from_pretrained(llamas[1])
    tokenizer.chat_template = "{{ messages[0].content }}!"
    tokenizer.save_pretrained(lora)
    recipe = repeat(f"{llamas[1]}+{lora}", (1, 3))
    out = merge(recipe, tmp_path / "out")
    with assemble(recipe) as assembly:
        for found in (assembly.tokenizer, AutoTokenizer.from_pretrained(out)):
            assert found.chat_template == tokenizer.chat_template
            assert found("hi there").input_ids == tokenizer("hi there").input_ids


@pytest.mark.parametrize("place", ["lora", "lora/deeper"])
def test_a_merge_is_never_written_into_an_adapter(adapted: tuple[str, Path], place: str) -> None:
    lora = adapted[1].parent
    out = lora.parent / place
    with pytest.raises(OutputError, match=r"holds, or lies in, the source"):
        merge(repeat(adapted[0], (1, 3)), out, force=True)
