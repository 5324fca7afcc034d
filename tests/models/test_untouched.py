"""A live model only reads its weights: they are its sources' own, and other models' too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mergelab.errors import AssemblyError
from mergelab.forge.merge import merge
from mergelab.models import assemble
from mergelab.models.replay import Replay
from mergelab.models.verdict import check
from mergelab.recipes import Recipe, stack
from mergelab.weights import Source, open_checkpoint
from tests.models.asking import Trio, blend

IDS = torch.tensor([[1, 7, 40, 9, 22, 3]])


def rwkv(folder: Path, every: int) -> Recipe:
    """A model of six layers that halves weights as it runs, if ``every`` says so."""
    config: Any = AutoConfig.for_model(
        "rwkv", vocab_size=96, hidden_size=24, attention_hidden_size=24, intermediate_size=40, num_hidden_layers=6,
        rescale_every=every, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return stack([(folder, 0, 4), (folder, 2, 6)], base=folder)


def test_a_family_that_halves_its_own_weights_is_not_run(tmp_path: Path) -> None:
    recipe = rwkv(tmp_path / "model", 2)
    with pytest.raises(AssemblyError, match=r"rescale_every is 2: .*Merge it to disk, or set rescale_every to 0"):
        assemble(recipe, device="cpu")
    report = check(recipe)
    assert report.runs, "it can be merged to disk"
    assert any(line.startswith("Not live, though: config: rescale_every is 2") for line in report.merged)
    assert open_checkpoint(merge(recipe, tmp_path / "out")).layers == 8


def test_it_runs_where_its_config_asks_for_no_halving(tmp_path: Path) -> None:
    recipe = rwkv(tmp_path / "model", 0)
    assert not any("Not live" in line for line in check(recipe).merged)
    source = open_checkpoint(Source(str(tmp_path / "model")))
    name = "rwkv.blocks.4.attention.output.weight"
    with assemble(recipe, device="cpu") as assembly, torch.inference_mode():
        before = source.tensor(name).clone()
        logits, _ = Replay().forward(assembly.model, IDS, 6)
        assert torch.equal(logits, assembly.model(IDS, use_cache=False).logits)
        assert torch.equal(assembly.bank.checkpoints[source.source].tensor(name), before)


@pytest.mark.parametrize("inference", [True, False])
def test_a_model_that_writes_to_its_weights_is_found_out(inference: bool, llamas: Trio) -> None:
    with assemble(blend(llamas, 0.5), device="cpu") as assembly, torch.inference_mode(inference), torch.no_grad():
        replay, norm = Replay(), assembly.model.model.norm

        def halve(*_: object) -> None:
            norm.weight.mul_(0.5)

        replay.forward(assembly.model, IDS)
        assembly.say("hello", max_new_tokens=2)
        norm.register_forward_hook(halve)
        with pytest.raises(AssemblyError, match=r"LlamaForCausalLM: wrote to its own weights .* restart the kernel"):
            replay.forward(assembly.model, IDS)
        assembly.model.model.layers[0].register_forward_hook(halve)
        with pytest.raises(AssemblyError, match="wrote to its own weights"):  # though it is broken off
            Replay().forward(assembly.model, IDS, stop=iter([False] * 2 + [True]).__next__)
        with pytest.raises(AssemblyError, match="LlamaForCausalLM: wrote to its own weights"):
            assembly.say("hello", max_new_tokens=2)
