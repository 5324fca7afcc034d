"""Every decoder family, without a table: moved, repeated and grafted layers run as they did at home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from mergelab.forge.merge import merge
from mergelab.models import assemble
from mergelab.recipes import Recipe, stack
from tests.models.families import DEPTH, FAMILIES

IDS = torch.tensor([[1, 5, 9, 33, 7, 20, 41, 3, 60, 11]])
# Float32 against float32 in another order of summation; the logits themselves spread over more than 0.04.
NOISE = 3e-5

Family = Callable[[str, int], Path]


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(IDS, use_cache=False).logits


def frankenmodel(family: Family, kind: str) -> Recipe:
    """Ten layers: repeated, out of order, of two models."""
    a, b = family(kind, 1), family(kind, 2)
    return stack([(a, 0, 4), (b, 2, 5), (a, 3, DEPTH)], base=a)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_plan_that_changes_nothing_gives_the_model_itself_bit_for_bit(kind: str, family: Family) -> None:
    path = family(kind, 1)
    with assemble(stack([(path, 0, DEPTH)], base=path)) as assembly:
        assert torch.equal(logits(assembly.model), logits(AutoModelForCausalLM.from_pretrained(path)))


@pytest.mark.parametrize("kind", FAMILIES)
def test_cached_decoding_equals_uncached(kind: str, family: Family) -> None:
    with assemble(frankenmodel(family, kind)) as assembly, torch.inference_mode():
        whole, cache, pieces = logits(assembly.model), None, []
        for position in range(IDS.shape[1]):
            out = assembly.model(IDS[:, position : position + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            pieces.append(out.logits)
        assert len(cache.layers) == 10  # one slot for each occurrence of a layer
        step_by_step = torch.cat(pieces, dim=1)
    assert (whole - step_by_step).abs().max() < NOISE
    assert (whole[0, 1:] - whole[0, :-1]).abs().max() > 1000 * NOISE  # the comparison could have failed


@pytest.mark.parametrize("kind", FAMILIES)
def test_live_equals_what_is_written(kind: str, family: Family, tmp_path: Path) -> None:
    recipe = frankenmodel(family, kind)
    written = AutoModelForCausalLM.from_pretrained(merge(recipe, tmp_path / "out"))
    with assemble(recipe) as assembly:
        assert torch.equal(logits(assembly.model), logits(written))
        assert assembly.model.config.to_dict() == written.config.to_dict() | {
            "_name_or_path": assembly.model.config.to_dict().get("_name_or_path", ""),
        }


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_stack_by_hand_gives_the_same_logits(kind: str, family: Family) -> None:
    """The same layers put into a transformers model by hand, one weight at a time: nothing of ours but the order."""
    recipe = frankenmodel(family, kind)
    a, b = (AutoModelForCausalLM.from_pretrained(family(kind, seed)) for seed in (1, 2))
    homes = [(a, 0), (a, 1), (a, 2), (a, 3), (b, 2), (b, 3), (b, 4), (a, 3), (a, 4), (a, 5)]
    with assemble(recipe) as assembly:
        model = AutoModelForCausalLM.from_config(assembly.model.config)
        (prefix,) = {
            name.split(".0.")[0] for name, _ in model.named_parameters() if ".0." in name and "experts" not in name
        }
        for index, (source, home) in enumerate(homes):
            model.get_submodule(f"{prefix}.{index}").load_state_dict(
                source.get_submodule(f"{prefix}.{home}").state_dict()
            )
        outside = {name: value for name, value in a.state_dict().items() if not name.startswith(f"{prefix}.")}
        assert model.load_state_dict(outside, strict=False).unexpected_keys == []
        assert torch.equal(logits(assembly.model), logits(model.eval()))


@pytest.mark.parametrize("kind", ["gemma3_text", "qwen2", "smollm3"])
def test_a_moved_layer_keeps_its_own_settings(kind: str, family: Family) -> None:
    """Attention type and position encoding are listed per layer: the list moves with the layers."""
    path = family(kind, 1)
    name = "no_rope_layers" if kind == "smollm3" else "layer_types"
    with assemble(stack([(path, 0, 1), (path, 2, 6), (path, 2, 3)], base=path)) as assembly:
        at_home = getattr(AutoModelForCausalLM.from_pretrained(path).config, name)
        moved = getattr(assembly.model.config, name)
        assert moved == [at_home[index] for index in (0, 2, 3, 4, 5, 2)]
        assert moved != at_home


def test_the_head_of_an_untied_source_unties_the_merge(family: Family, tmp_path: Path) -> None:
    from tests.models.families import save

    tied = save("llama", tmp_path / "tied", seed=5, tie_word_embeddings=True)
    untied = family("llama", 1)
    text = f"""
merge_method: linear
base_model: {tied}
models:
  - {{model: {tied}, parameters: {{weight: 0.25}}}}
  - {{model: {untied}, parameters: {{weight: 0.75}}}}
"""
    with assemble(Recipe.load(text)) as assembly:
        ours, theirs = (AutoModelForCausalLM.from_pretrained(path) for path in (tied, untied))
        expected = torch.lerp(ours.model.embed_tokens.weight, theirs.lm_head.weight, 0.75)
        torch.testing.assert_close(assembly.model.lm_head.weight, expected, rtol=1e-6, atol=1e-6)
        assert not torch.equal(assembly.model.lm_head.weight, assembly.model.model.embed_tokens.weight)
        written = AutoModelForCausalLM.from_pretrained(merge(assembly.plan, tmp_path / "out"))
        assert torch.equal(logits(assembly.model), logits(written))
