"""Handles: found by execution in every family, proved, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from mergelab.errors import AssemblyError, InspectionError
from mergelab.inspection.handles import Handles, find, layers_path
from mergelab.inspection.normalisers import normalises
from mergelab.inspection.parts import add_up, distinct, role_of
from mergelab.inspection.walk import logits
from tests.inspection.kinds import FAMILIES, ODD, between, made

SELF = (("attention", "self_attn", 1.0), ("feed-forward", "mlp", 1.0))
POST = (("attention", "post_attention_layernorm", 1.0), ("feed-forward", "post_feedforward_layernorm", 1.0))
PLACES = {
    "gemma2": POST, "gemma3_text": POST, "olmo2": POST,
    "gpt_neox": (("attention", "attention", 1.0), ("feed-forward", "mlp", 1.0)),
    "gpt2": (("attention", "attn", 1.0), ("feed-forward", "mlp", 1.0)),
    "falcon": (("attention", "self_attention", 1.0), ("feed-forward", "mlp", 1.0)),
    "opt": (("attention", "self_attn", 1.0), ("feed-forward", "fc2", 1.0)),
    "llama4_text": (("attention", "self_attn", 1.0), ("feed-forward", "feed_forward", 1.0)),
    "bloom": (("attention", "self_attention.dense", 1.0), ("feed-forward", "mlp.dense_4h_to_h", 1.0)),
    "gemma4_text": (*POST, ("per_layer_projection", "post_per_layer_input_norm", 1.0)),
    "mamba": (("mixer", "mixer", 1.0),),
    "granite": (("attention", "self_attn", 0.22), ("feed-forward", "mlp", 0.22)),
    "minicpm3": (("attention", "self_attn", 1.4 / 6**0.5), ("feed-forward", "mlp", 1.4 / 6**0.5)),
}  # fmt: skip


def same_writers(found: Any, expected: Any, within: float) -> None:
    assert [writer[:2] for writer in found] == [writer[:2] for writer in expected]
    assert [writer.factor for writer in found] == pytest.approx([writer[2] for writer in expected], rel=within)


def roles(found: Handles, layer: int | None) -> dict[str, str]:
    return {norm.path.rpartition(".")[2]: norm.role for norm in found.norms if norm.layer == layer}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [kind for kind in {**FAMILIES, **ODD} if kind != "granitemoehybrid"])
def test_every_family_is_found_whole(kind: str, dtype: torch.dtype) -> None:
    if kind == "qwen3_moe" and dtype == torch.bfloat16:
        model = made(kind, FAMILIES[kind] | {"moe_intermediate_size": 16}, dtype=dtype)
    else:
        model = made(kind, dtype=dtype)
    found = find(model)
    assert found.depth == 6
    assert found.notes == ()
    assert found.stepwise
    assert found.lens
    assert [norm.path for norm in found.norms if norm.role == "final"] == [found.final_norm]
    assert model.get_submodule(found.head or "") is model.get_output_embeddings()
    for own in found.writers:
        same_writers(own, PLACES.get(kind, SELF), 1e-6 if dtype == torch.float32 else 4e-3)


def test_layers_of_two_types_and_three_writers() -> None:
    found = find(made("granitemoehybrid"))
    assert found.notes == ()
    rest = [("feed-forward", "block_sparse_moe", 0.5), ("feed-forward", "shared_mlp", 0.5)]
    for layer, kind in enumerate(ODD["granitemoehybrid"]["layer_types"]):
        first = ("mamba", "mamba", 0.5) if kind == "mamba" else ("attention", "self_attn", 0.5)
        same_writers(found.writers[layer], [first, *rest], 1e-5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("llama", {"input_layernorm": "before attention", "post_attention_layernorm": "before feed-forward"}),
        ("cohere", {"input_layernorm": "before attention and feed-forward"}),
        ("gpt_neox", {"input_layernorm": "before attention", "post_attention_layernorm": "before feed-forward"}),
        (
            "gemma3_text",
            {
                "input_layernorm": "before attention", "q_norm": "query", "k_norm": "key",
                "post_attention_layernorm": "after attention", "pre_feedforward_layernorm": "before feed-forward",
                "post_feedforward_layernorm": "after feed-forward",
            },
        ),
        (
            "olmo2",
            {
                "q_norm": "query", "k_norm": "key", "post_attention_layernorm": "after attention",
                "post_feedforward_layernorm": "after feed-forward",
            },
        ),
        ("opt", {"self_attn_layer_norm": "before attention", "final_layer_norm": "before feed-forward"}),
        ("mamba", {"norm": "before mixer"}),
    ],
)  # fmt: skip
def test_norms_are_called_by_what_reads_them(kind: str, expected: dict[str, str]) -> None:
    found = find(made(kind))
    assert roles(found, 0) == roles(found, 5) == expected
    assert list(roles(found, None).values()) == ["final"]


def test_a_layer_whose_attention_gives_nothing_has_one_writer() -> None:
    model = made("llama")
    with torch.no_grad():
        model.model.layers[2].self_attn.o_proj.weight.zero_()
    found = find(model)
    assert [writer.path for writer in found.writers[2]] == ["mlp"]
    assert [writer.path for writer in found.writers[1]] == ["self_attn", "mlp"]


def test_a_layer_that_rescales_the_stream_is_opaque() -> None:
    settings = FAMILIES["llama"] | {"head_dim": 6, "keep_window_size": 64}
    found = find(made("doge", settings))
    assert found.writers == ((),) * 6
    assert found.notes == (
        "What is added to the stream is no plain sum of what modules give, or "
        "rounding hides by what factors: there are no parts.",
    )
    assert found.stepwise
    assert found.lens


def test_some_layers_may_be_opaque_alone() -> None:
    model = made("llama")
    model.model.layers[3].register_forward_hook(lambda _layer, _args, output: output * 1.25)
    found = find(model)
    assert [len(own) for own in found.writers] == [2, 2, 2, 0, 2, 2]
    assert "in layers 3 is no plain sum" in found.notes[0]


@pytest.mark.parametrize("what", [True, False], ids=["done between them", "told to them"])
def test_layers_that_depend_on_more_than_states_are_not_called_alone(what: bool) -> None:
    found = find(between(what))
    assert not found.stepwise
    assert "cannot be called one by one" in found.notes[0]


def test_a_model_whose_last_state_is_not_all_it_reads_has_no_lens() -> None:
    model = made("llama")

    def first_token_too(_norm: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return output + output.mean(1, keepdim=True)

    model.model.norm.register_forward_hook(first_token_too)
    found = find(model)
    assert not found.lens
    with pytest.raises(InspectionError, match="those of the last layer do not give the model's own"):
        logits(model, found, torch.zeros(3, 24))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("model.embed_tokens", "States that are not finite enter its first layer"),
        ("model.layers.0.mlp.up_proj", "States that are not finite leave layer 0"),
        ("model.layers.3.self_attn.o_proj", "States that are not finite leave layer 3"),
        ("model.norm", "Its final norm or its head makes logits that are not finite"),
        ("lm_head", "Its final norm or its head makes logits that are not finite"),
    ],
)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_said_and_no_module_is_blamed(path: str, message: str, wrong: float) -> None:
    model = made("llama")
    with torch.no_grad():
        model.get_submodule(path).weight.fill_(wrong)
    found = find(model)
    assert found.notes == (f"{message}: no sum of parts can be proved from there on, and no state be read as logits.",)
    assert found.stepwise
    with pytest.raises(InspectionError, match="states cannot be read as logits") as caught:
        logits(model, found, torch.zeros(3, 24))
    assert caught.value.problems[0].hint == found.notes[0]


def test_tokens_that_a_model_rules_out_are_not_taken_for_broken() -> None:
    model = made("llama")
    model.lm_head.register_forward_hook(lambda *read: read[2].index_fill(-1, torch.tensor([5]), -torch.inf))
    assert not any("finite" in note for note in find(model).notes)


# ------------------------------------------------------------------------------------------------ where layers are


def test_lists_in_other_towers_and_of_experts_are_no_layers() -> None:
    model = made("llama")
    model.tower = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(6))
    model.model.layers[0].experts = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(6))
    assert layers_path(model) == "model.layers"


def test_lists_that_are_as_likely_are_asked_for() -> None:
    model = made("llama")
    model.model.others = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(6))
    with pytest.raises(InspectionError, match=r"both 'model.layers' and 'model.others' may be its 6 layers"):
        find(model)
    assert find(model, layers="model.layers").depth == 6


def test_a_model_without_layers_says_what_lists_it_has() -> None:
    model = made("llama")
    model.config.num_hidden_layers = 5
    with pytest.raises(InspectionError, match=r"no list of modules is its 5 layers. It has 'model.layers' of 6."):
        find(model)
    with pytest.raises(InspectionError, match=r"of the 6 modules at 'model.layers', a pass over text runs 5"):
        find(model, layers="model.layers")


def test_all_wrong_paths_are_named() -> None:
    with pytest.raises(InspectionError, match=r"'layers.h' is no module of LlamaForCausalLM") as caught:
        find(made("llama"), layers="layers.h", final_norm="model.norm", head="out")
    assert [problem.where for problem in caught.value.problems] == ["layers", "head"]


def test_a_norm_that_is_named_is_the_final_one() -> None:
    found = find(made("llama"), final_norm="model.layers.5.input_layernorm", head="model.embed_tokens")
    assert (found.final_norm, found.head) == ("model.layers.5.input_layernorm", "model.embed_tokens")


def test_a_stream_of_another_shape_is_refused() -> None:
    model = made("llama")
    model.model.layers[0].register_forward_hook(lambda _layer, _args, output: output[None])
    with pytest.raises(InspectionError, match=r"not \(prompts, length, width\)"):
        find(model)


def test_a_model_that_writes_to_its_weights_is_refused() -> None:
    model = made("llama")
    weight = model.model.norm.weight
    model.model.norm.register_forward_hook(lambda *_: None if weight.mul_(1) is weight else 0)
    with pytest.raises(AssemblyError, match="wrote to its own weights"):
        find(model)


# ------------------------------------------------------------------------------------------------ sums


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 3),
    others=st.integers(0, 4),
    factor=st.sampled_from([1.0, 0.22, 1.4]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    small=st.sampled_from([1.0, 0.02]),
)
@settings(max_examples=60)
def test_planted_writers_are_found_and_no_others(
    seed: int, count: int, others: int, factor: float, dtype: torch.dtype, small: float
) -> None:
    """Also one that is fifty times smaller than the others."""
    generator = torch.Generator().manual_seed(seed)
    outputs = [torch.randn(2, 8, 96, generator=generator).to(dtype) for _ in range(count + others)]
    outputs[count - 1] = outputs[count - 1] * small
    before = (0.1 * torch.randn(2, 8, 96, generator=generator)).to(dtype)
    after = before
    for output in outputs[:count]:
        after = after + output * factor
    found = add_up(before, after, outputs)
    assert [at for at, *_ in found] == list(range(count))
    for _, by, error in found:
        assert abs(by - factor) <= 6 * error + 1e-6
    errors = [error for *_, error in found]
    assert max(errors[: count - 1 if small < 1 else count], default=0) < 2e-3
    assert errors[-1] < 0.05, "the small one is known less well"


def test_a_writer_below_the_rounding_of_the_others_is_not_left_out() -> None:
    """No element alone could tell: all are off by ten times as much."""
    generator = torch.Generator().manual_seed(8)
    shape = (2, 8, 96)
    large = [torch.rand(shape, generator=generator) + 1 for _ in range(2)]
    signs = [torch.rand(shape, generator=generator).round() * 2 - 1 for _ in range(2)]
    outputs = [
        0.005 * torch.randn(shape, generator=generator),
        *(one * sign for one, sign in zip(large, signs, strict=True)),
    ]
    outputs = [one.bfloat16() for one in outputs]
    before = 0.1 * torch.randn(shape, generator=generator).bfloat16()
    after = before + outputs[0] + outputs[1] + outputs[2]
    assert [at for at, *_ in add_up(before, after, outputs)] == [0, 1, 2]
    unwritten = before + outputs[1] + outputs[2]
    assert [at for at, *_ in add_up(before, unwritten, outputs)] == [1, 2]


def test_a_sum_that_can_be_made_in_two_ways_is_none() -> None:
    one, other, third = torch.randn(3, 2, 8, 24, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    before = torch.zeros_like(one)
    assert [at for at, *_ in add_up(before, one + other, [one, other, third])] == [0, 1]
    assert add_up(before, one + other, [one, other, one + 2 * other]) == []


def test_factors_near_one_are_not_taken_for_ones() -> None:
    """A part of a tenth of the stream, and 2 % short: no element alone could tell in bfloat16."""
    generator = torch.Generator().manual_seed(6)
    before, output = (torch.randn(2, 8, 96, generator=generator).bfloat16() for _ in range(2))
    output *= 0.1
    ((at, by, error),) = add_up(before, before + (output * 0.98).bfloat16(), [output])
    assert (at, by) == (0, pytest.approx(0.98, rel=5e-3))
    assert 0 < error < 0.01
    assert [by for _, by, _ in add_up(before, before + output, [output])] == [1.0]


@pytest.mark.parametrize("kind", ["granite", "granitemoehybrid"])
def test_factors_of_small_parts_are_known_in_bfloat16(kind: str) -> None:
    """As models are drawn, parts are so small that they drown in the rounding of a stream of ordinary size."""
    torch.manual_seed(2)
    config = AutoConfig.for_model(kind, **ODD[kind])
    found = find(AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval())
    assert found.notes == ()
    for own in found.writers:
        assert [writer.factor for writer in own] == pytest.approx([config.residual_multiplier] * len(own), rel=0.02)


def test_a_factor_that_is_not_known_to_a_hundredth_is_none() -> None:
    """What is added to the stream here is as good as nothing beside what is, whatever size the stream has."""
    model = made("granite", dtype=torch.bfloat16)
    with torch.no_grad():
        model.model.layers[2].self_attn.o_proj.weight.mul_(3e-4)
    found = find(model)
    assert [len(own) for own in found.writers] == [2, 2, 0, 2, 2, 2]
    assert "in layers 2 is no plain sum" in found.notes[0]


def test_a_part_that_rounding_hides_is_told() -> None:
    """It is left out of the sum, which holds without it."""
    model = made("llama", dtype=torch.bfloat16)
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight.mul_(1e-12)
        model.model.layers[3].mlp.down_proj.weight.zero_()
    found = find(model)
    assert [[writer.path for writer in found.writers[layer]] for layer in (1, 3)] == [["mlp"], ["self_attn"]]
    hidden = "is nothing, or less than rounding: there it is no part."
    assert f"What 'self_attn' adds in layers 1 {hidden}" in found.notes
    assert f"What 'mlp' adds in layers 3 {hidden}" in found.notes
    assert len(found.notes) == 2


def test_what_no_outputs_add_up_to_is_no_sum() -> None:
    one, other, before = torch.randn(3, 2, 8, 24, generator=torch.Generator().manual_seed(5))
    assert add_up(before, before * 1.01 + one, [one, other]) == []
    assert add_up(before, before + one.square(), [one, other]) == []


def test_of_equal_outputs_the_outermost_counts_and_zeros_do_not() -> None:
    one, other = torch.ones(2), torch.tensor([1.0, 2.0])
    outputs = {"attn.out": one, "attn": one, "mlp": other, "mlp.down": other, "none": torch.zeros(2)}
    assert distinct(outputs) == ["attn", "mlp"]


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("self_attn", "attention"), ("linear_attn", "attention"), ("self_attention.dense", "attention"),
        ("mlp", "feed-forward"), ("block_sparse_moe", "feed-forward"), ("fc2", "feed-forward"), ("ff", "feed-forward"),
        ("post_feedforward_layernorm", "feed-forward"), ("mamba", "mamba"), ("conv.out_proj", "conv"),
    ],
)  # fmt: skip
def test_what_a_sub_layer_is_called(path: str, role: str) -> None:
    assert role_of(path) == role


# ------------------------------------------------------------------------------------------------ norms


class Scaled(torch.nn.Module):
    """Is no norm, though its output is of its input's shape."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.act(states)


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e3])
def test_norms_are_known_by_what_they_do(size: float) -> None:
    states = size * torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(3))

    def is_norm(module: torch.nn.Module) -> bool:
        return normalises(module, (states,), {}, module(states))

    assert is_norm(torch.nn.LayerNorm(24))
    assert is_norm(torch.nn.RMSNorm(24, eps=1e-5))
    for act in (torch.tanh, torch.sigmoid, torch.relu, torch.nn.functional.silu, torch.zeros_like, lambda one: one):
        assert not is_norm(Scaled(act))
