"""Layers that keep the settings of their own model: against a forward pass by hand, with and without a cache."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import gelu, silu
from transformers import AutoModelForCausalLM

from mergelab.errors import AssemblyError, FitError
from mergelab.forge.merge import merge
from mergelab.models import Assembly, assemble
from mergelab.models.blocks import layers_path, settle
from mergelab.models.replay import Replay
from mergelab.models.widen import widen
from mergelab.recipes import Recipe, plan, stack
from mergelab.recipes.recipe import Part, Slice, numbers
from mergelab.weights import Source
from tests.models.families import DEPTH, FAMILIES, save

IDS = torch.tensor([[1, 5, 9, 33, 7, 20, 41, 3, 60, 11]])
NOISE = 3e-5  # float32 against float32 or float64 in another order of summation

# Everything that a config states once and that layers may have to themselves, each different.
PLAIN = {"rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
WIDE = {
    "intermediate_size": 56, "num_key_value_heads": 4, "rms_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}  # fmt: skip
ODD = {
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 10, "hidden_act": "gelu", "attention_bias": True,
    "rms_norm_eps": 1e-3, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
}  # fmt: skip

Trio = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Trio:
    """Llamas of one width that agree in nothing else."""
    root = tmp_path_factory.mktemp("trio")
    changes = (PLAIN, WIDE, ODD)
    a, b, c = (save("llama", root / name, seed=seed, **changes[seed]) for seed, name in enumerate("abc"))
    return a, b, c


def mixed(trio: Trio) -> Recipe:
    a, b, c = trio
    return stack([(a, 0, 2), (b, 1, 3), (c, 4, 5), (b, 1, 2), (a, 3, 5), (c, 5, 6)], base=a)


def logits(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(ids, use_cache=False).logits
    return found


def step_by_step(model: Any) -> tuple[torch.Tensor, Any]:
    """Logits of one token after another, and the cache."""
    cache, pieces = None, []
    with torch.inference_mode():
        for position in range(IDS.shape[1]):
            out = model(IDS[:, position : position + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            pieces.append(out.logits)
    return torch.cat(pieces, dim=1), cache


# ------------------------------------------------------------------------------------------------ by hand


def by_hand(layers: list[tuple[Path, int]], **forced: Any) -> torch.Tensor:
    """Logits of a stack of Llama layers in float64, each by its own config.json but for what is ``forced``."""
    known = {
        path: (
            {name: value.double() for name, value in load_file(path / "model.safetensors").items()},
            json.loads((path / "config.json").read_text()) | forced,
        )
        for path, _ in layers
    }
    first, (last, config) = known[layers[0][0]][0], known[layers[-1][0]]
    hidden = first["model.embed_tokens.weight"][IDS]
    for path, index in layers:
        weights, own = known[path]
        stem = f"model.layers.{index}."
        one = {name.removeprefix(stem): value for name, value in weights.items() if name.startswith(stem)}
        hidden = hidden + attention(norm(hidden, one["input_layernorm.weight"], own["rms_norm_eps"]), one, own)
        inner = norm(hidden, one["post_attention_layernorm.weight"], own["rms_norm_eps"])
        act = {"silu": silu, "gelu": gelu}[own["hidden_act"]]
        gate, up = inner @ one["mlp.gate_proj.weight"].T, inner @ one["mlp.up_proj.weight"].T
        hidden = hidden + (act(gate) * up) @ one["mlp.down_proj.weight"].T
    return norm(hidden, last["model.norm.weight"], config["rms_norm_eps"]) @ last["lm_head.weight"].T


def norm(hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return hidden / (hidden.square().mean(-1, keepdim=True) + epsilon).sqrt() * weight


def attention(hidden: torch.Tensor, one: dict[str, torch.Tensor], own: dict[str, Any]) -> torch.Tensor:
    size, length = own["head_dim"], hidden.shape[1]

    def heads(name: str) -> torch.Tensor:
        made = hidden @ one[f"self_attn.{name}.weight"].T + one.get(f"self_attn.{name}.bias", 0)
        return made.unflatten(-1, (-1, size))[0].transpose(0, 1)  # (heads, tokens, size)

    queries, keys, values = turned(heads("q_proj"), own), turned(heads("k_proj"), own), heads("v_proj")
    said = []
    for head, query in enumerate(queries):
        shared = head * len(keys) // len(queries)
        scores = query @ keys[shared].T / size**0.5
        scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
        said.append(scores.softmax(-1) @ values[shared])
    return torch.cat(said, dim=-1)[None] @ one["self_attn.o_proj.weight"].T + one.get("self_attn.o_proj.bias", 0)


def turned(heads: torch.Tensor, own: dict[str, Any]) -> torch.Tensor:
    """Rotary positions (Su et al., arXiv:2104.09864) as rotations in the complex plane, halves apart."""
    rope, half = own["rope_parameters"], own["head_dim"] // 2
    speeds = rope["rope_theta"] ** -(torch.arange(half, dtype=torch.float64) / half) / rope.get("factor", 1.0)
    turns = torch.polar(torch.ones((), dtype=torch.float64), torch.arange(IDS.shape[1])[:, None] * speeds)
    made = torch.complex(heads[..., :half], heads[..., half:]) * turns
    return torch.cat([made.real, made.imag], dim=-1)


def test_layers_of_three_shapes_and_settings_equal_a_forward_pass_by_hand(trio: Trio) -> None:
    a, b, c = trio
    homes = [(a, 0), (a, 1), (b, 1), (b, 2), (c, 4), (b, 1), (a, 3), (a, 4), (c, 5)]
    expected = by_hand(homes)
    with assemble(mixed(trio)) as live:
        torch.testing.assert_close(logits(live.model).double(), expected, rtol=0, atol=NOISE)
        said, cache = step_by_step(live.model)
    torch.testing.assert_close(said.double(), expected, rtol=0, atol=NOISE)
    assert [layer.keys.shape[1] for layer in cache.layers] == [2, 2, 4, 4, 1, 4, 2, 2, 1]
    assert [layer.keys.shape[-1] for layer in cache.layers] == [6, 6, 6, 6, 10, 6, 6, 6, 10]
    for key, value in [*PLAIN.items(), ("hidden_act", "silu")]:  # with one setting of the host's it would be seen
        assert (by_hand(homes, **{key: value}) - expected).abs().max() > 100 * NOISE, key


def test_a_batch_padded_on_the_left_says_what_its_prompts_say_alone(trio: Trio) -> None:
    with assemble(mixed(trio)) as live:
        ids = torch.cat([torch.tensor([[0, 0, *IDS[0, :-2]]]), IDS])
        mask = torch.ones_like(ids)
        mask[0, :2] = 0
        settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
        both = live.model.generate(ids, attention_mask=mask, **settings)
        alone = live.model.generate(IDS[:, :-2], **settings)
        assert both[0, 2:].tolist() == alone[0].tolist()
        assert len(dict.fromkeys(alone[0, 8:].tolist())) > 1


# ------------------------------------------------------------------------------------------------ families


def other(kind: str) -> dict[str, Any]:
    """What a second model of a family has otherwise."""
    changes: dict[str, Any] = (
        {"n_inner": 56, "layer_norm_epsilon": 1e-2} if kind == "gpt2" else {"intermediate_size": 56}
    )
    if "num_key_value_heads" in FAMILIES[kind]:
        changes["num_key_value_heads"] = 4
    if "num_local_experts" in FAMILIES[kind]:
        changes["num_local_experts"] = 4
    if "num_experts" in FAMILIES[kind]:
        changes |= {"num_experts": 4, "moe_intermediate_size": 16}
    for key in ("rms_norm_eps", "layer_norm_eps"):
        changes |= {key: 1e-2} if kind != "gpt2" else {}
    rope = {"rope_type": "default", "rope_theta": 300.0}
    if kind == "gemma3_text":
        changes["rope_parameters"] = {"full_attention": rope, "sliding_attention": rope | {"rope_theta": 50.0}}
    elif kind != "gpt2":
        changes["rope_parameters"] = rope | ({"partial_rotary_factor": 1.0} if kind in ("gpt_neox", "stablelm") else {})
    return changes


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    root = tmp_path_factory.mktemp("twins")

    def folders(kind: str) -> tuple[Path, Path]:
        a, b = root / f"{kind}-a", root / f"{kind}-b"
        if not a.exists():
            save(kind, a, seed=1)
            save(kind, b, seed=2, **other(kind))
        return a, b

    return folders


@pytest.mark.parametrize("kind", FAMILIES)
def test_all_layers_of_a_guest_are_the_guest_bit_for_bit(kind: str, twins: Callable[[str], tuple[Path, Path]]) -> None:
    a, b = twins(kind)
    with assemble(stack([(b, 0, DEPTH)], base=a)) as live:
        assert torch.equal(logits(live.model), logits(AutoModelForCausalLM.from_pretrained(b)))
        assert live.plan.apart != ()


@pytest.mark.parametrize("kind", FAMILIES)
def test_cached_decoding_equals_uncached(kind: str, twins: Callable[[str], tuple[Path, Path]]) -> None:
    a, b = twins(kind)
    with assemble(stack([(a, 0, 2), (b, 1, 4), (a, 3, 6)], base=a)) as live:
        whole = logits(live.model)
        said, cache = step_by_step(live.model)
    assert len(cache.layers) == 8
    assert (whole - said).abs().max() < NOISE
    assert (whole[0, 1:] - whole[0, :-1]).abs().max() > 100 * NOISE


# ------------------------------------------------------------------------------------- what stays as it was


def hooked(model: Any) -> Iterator[str]:
    """Modules that are not as transformers makes them."""
    for name, module in model.named_modules():
        if module._forward_pre_hooks or (name.endswith("rotary_emb") and ".layers." in name):
            yield name


def test_layers_that_match_are_as_transformers_makes_them(trio: Trio, tmp_path: Path) -> None:
    a, b, _ = trio
    sister = save("llama", tmp_path / "sister", seed=9, **PLAIN)
    with assemble(stack([(a, 0, 3), (sister, 3, 6)], base=a)) as live:
        assert list(hooked(live.model)) == []
    with assemble(stack([(a, 0, 3), (b, 3, 4), (a, 4, 6)], base=a)) as live:
        assert list(hooked(live.model)) == ["model.layers.3", "model.layers.3.rotary_emb"]
        theirs = AutoModelForCausalLM.from_pretrained(a)
        names = [name for name, _ in theirs.named_parameters()]
        assert [name for name, _ in live.model.named_parameters()] == names


def test_a_copy_of_the_model_and_other_attention_say_the_same(trio: Trio) -> None:
    with assemble(mixed(trio)) as live:
        said = logits(live.model)
        twin = copy.deepcopy(live.model)
        assert torch.equal(logits(twin), said)
        twin.set_attn_implementation("eager")
        assert (logits(twin) - said).abs().max() < NOISE
        own = [layer.self_attn.config._attn_implementation for layer in twin.model.layers]
        assert own == ["eager"] * 9
        assert [layer.self_attn.config._attn_implementation for layer in live.model.model.layers] == ["sdpa"] * 9


# -------------------------------------------------------------------------------------------------- turns


def equal(live: Assembly, recipe: Recipe) -> bool:
    with assemble(recipe) as fresh:
        return torch.equal(logits(live.model), logits(fresh.model))


def test_a_border_that_moves_between_models_that_do_not_match(trio: Trio) -> None:
    a, b, c = trio
    with assemble(stack([(a, 0, DEPTH)], base=a)) as live:
        seen = [logits(live.model)]
        for end, guest in ((2, b), (3, b), (3, c), (5, c), (1, b), (6, b)):
            recipe = stack([(a, 0, end), (guest, end, DEPTH)] if end < DEPTH else [(a, 0, DEPTH)], base=a)
            live.turn(recipe)
            assert equal(live, recipe), (end, guest)
            seen.append(logits(live.model))
        assert torch.equal(seen[-1], seen[0])
        assert not any(torch.equal(one, two) for one, two in pairwise(seen))


def test_replay_begins_at_the_first_layer_that_changed(trio: Trio) -> None:
    a, b, c = trio
    replay = Replay()
    with assemble(mixed(trio)) as live, torch.inference_mode():
        for top, first in ((c, 5), (b, 4), (a, 4), (c, 4)):
            changes = live.turn(stack([(a, 0, 2), (b, 1, 3), (top, 4, 6)], base=a))
            replay.changed(changes.first)
            assert changes.first == first
            told, _ = replay.forward(live.model, IDS, IDS.shape[1])
            assert torch.equal(told, logits(live.model))


def test_settings_alone_build_the_model_anew(trio: Trio, tmp_path: Path) -> None:
    """The same shapes, names and stack: only the epsilon differs."""
    a = trio[0]
    b = save("llama", tmp_path / "b", seed=7, **PLAIN | {"rms_norm_eps": 1e-2})
    with assemble(stack([(a, 0, 3), (a, 3, 6)], base=a)) as live:
        for last in (b, a):
            recipe = stack([(a, 0, 3), (last, 3, 6)], base=a)
            live.turn(recipe)
            assert equal(live, recipe)


def test_models_of_the_guests_kind_are_blended_with_its_settings(trio: Trio, tmp_path: Path) -> None:
    a, b, _ = trio
    sister = save("llama", tmp_path / "sister", seed=8, **WIDE)
    parts = tuple(Part(Source.parse(str(path)), (0, DEPTH), numbers({"weight": 0.5})) for path in (b, sister))
    recipe = Recipe("linear", (Slice(parts),))
    there = Recipe("passthrough", (Slice((Part(Source.parse(str(a)), (0, 1)),)), Slice(parts, method="linear")))
    with assemble(there) as live, assemble(recipe) as alone:
        theirs = alone.model.model.layers[2].state_dict()
        for name, value in live.model.model.layers[3].state_dict().items():
            assert torch.equal(value, theirs[name]), name
        assert live.model.model.layers[3].input_layernorm.variance_epsilon == 1e-2
        assert live.model.model.layers[0].input_layernorm.variance_epsilon == 1e-6
    host = Recipe("linear", (Slice(parts),), base=Source.parse(str(a)))
    with assemble(host) as live, assemble(recipe) as alone:
        assert torch.equal(logits(live.model), logits(alone.model))
    uneven = (Part(Source.parse(str(a)), (0, DEPTH), numbers({"weight": 0.5})), parts[0])
    with pytest.raises(FitError, match="Models that are blended have the same tensors"):
        plan(Recipe("linear", (Slice(uneven),)))


def test_layers_of_deepseek_coder_are_heard_in_llama_3(tmp_path: Path) -> None:
    """The shapes of the two, a hundredth as large: heads, feed-forward, rope with its scaling, epsilon, vocabulary."""
    one: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 8, "head_dim": 8}
    llama = save(
        "llama", tmp_path / "llama", seed=1, **one, num_key_value_heads=2, intermediate_size=224, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5}, vocab_size=128, max_position_embeddings=8192,
    )  # fmt: skip
    coder = save(
        "llama", tmp_path / "coder", seed=2, **one, num_key_value_heads=8, intermediate_size=172, rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0}, num_hidden_layers=5,
        max_position_embeddings=16384, vocab_size=102,
    )  # fmt: skip
    recipe = stack([(llama, 0, 2), (coder, 1, 4), (llama, 4, 6)], base=llama)
    with assemble(recipe) as live:
        expected = by_hand([(llama, 0), (llama, 1), (coder, 1), (coder, 2), (coder, 3), (llama, 4), (llama, 5)])
        torch.testing.assert_close(logits(live.model).double(), expected, rtol=0, atol=NOISE)
        told = live.model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=5, do_sample=False)
        assert told.shape[1] > IDS.shape[1]
        bare = [one.data_ptr() for one in live.model.parameters()]
        for source, home in ((llama, 0), (coder, 1)):
            checkpoint = live.plan.checkpoints[Source.parse(str(source))]
            name = f"model.layers.{home}.mlp.up_proj.weight"
            assert checkpoint.tensor(name).data_ptr() in bare, "no weight is copied"
    with pytest.raises(FitError, match="norm epsilon: 1e-06 against 1e-05") as caught:
        widen(recipe)
    assert "rope scaling: linear against default" in str(caught.value)
    assert "feed-forward" not in caught.value.problems[0].what


# ----------------------------------------------------------------------------------------------- refusals


def test_it_is_not_written_to_disk_and_not_used_as_a_stage(trio: Trio, tmp_path: Path) -> None:
    with pytest.raises(FitError, match="Assemble it and listen") as caught:
        merge(mixed(trio), tmp_path / "out")
    assert len(caught.value.problems) == 2
    assert list(tmp_path.iterdir()) == []
    a = Source.parse(str(trio[0]))
    stage = mixed(trio).to_yaml()
    text = f"name: first\n{stage}---\nmerge_method: passthrough\nmodels: [{{model: first}}]\n"
    with pytest.raises(FitError, match="stage 'first', "):
        plan(Recipe.load(text))
    last = f"merge_method: passthrough\nname: first\nmodels: [{{model: {a}}}]\n---\n" + stage.replace(str(a), "first")
    with assemble(Recipe.load(last)) as live, assemble(mixed(trio)) as whole:
        assert torch.equal(logits(live.model), logits(whole.model))


def test_layers_whose_positions_are_unknown_here_are_refused() -> None:
    class Layer(torch.nn.Module):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

    class Config:
        model_type = "strange"

        @classmethod
        def from_dict(cls, _: dict[str, Any]) -> Config:
            return cls()

    class Model(torch.nn.Module):
        def __init__(self, config: Config) -> None:
            super().__init__()
            self.config = config
            self.layers = torch.nn.ModuleList([Layer(), Layer()])
            self.rotary_emb = torch.nn.Identity()

    with pytest.raises(AssemblyError, match="layers of 'strange' do not take their positions from a rotary"):
        settle(Model(Config()), ({"x": 1}, None), torch.float32)
    with pytest.raises(AssemblyError, match="Model has no list of 3 layers"):
        layers_path(Model(Config()), 3)
