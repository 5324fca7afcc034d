"""Anatomy: layers found by name alone, in many families; what is no decoder is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.errors import SourceError
from mergelab.weights.anatomy import anatomy, embedding_for_head, is_leftover, layer_count_key

# family -> prefix of the layers, what one layer holds, what comes before, what comes after
FAMILIES: dict[str, tuple[str, list[str], list[str], list[str]]] = {
    "llama": (
        "model.layers.", ["self_attn.q_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight"],
        ["model.embed_tokens.weight"], ["model.norm.weight", "lm_head.weight"],
    ),
    "llama, tied": ("model.layers.", ["mlp.up_proj.weight"], ["model.embed_tokens.weight"], ["model.norm.weight"]),
    "llama, bare": ("layers.", ["mlp.up_proj.weight"], ["embed_tokens.weight"], ["norm.weight"]),
    "gpt2": (
        "transformer.h.", ["attn.c_attn.weight", "attn.bias", "ln_1.weight", "mlp.c_fc.bias"],
        ["transformer.wte.weight", "transformer.wpe.weight"], ["transformer.ln_f.weight", "transformer.ln_f.bias"],
    ),
    "gpt2, bare": ("h.", ["attn.c_attn.weight"], ["wte.weight", "wpe.weight"], ["ln_f.weight", "ln_f.bias"]),
    "gpt_neox": (
        "gpt_neox.layers.", ["attention.query_key_value.weight", "mlp.dense_h_to_4h.bias"],
        ["gpt_neox.embed_in.weight"],
        ["gpt_neox.final_layer_norm.weight", "gpt_neox.final_layer_norm.bias", "embed_out.weight"],
    ),
    "mixtral": (
        "model.layers.",
        [*(f"block_sparse_moe.experts.{n}.w1.weight" for n in range(12)), "block_sparse_moe.gate.weight"],
        ["model.embed_tokens.weight"], ["model.norm.weight", "lm_head.weight"],
    ),
    "phi": (
        "model.layers.", ["mlp.fc1.weight"], ["model.embed_tokens.weight"],
        ["model.final_layernorm.weight", "lm_head.weight", "lm_head.bias"],
    ),
    "falcon": (
        "transformer.h.", ["self_attention.dense.weight"], ["transformer.word_embeddings.weight"],
        ["transformer.ln_f.weight", "lm_head.weight"],
    ),
    "bloom": (
        "h.", ["self_attention.dense.weight"], ["word_embeddings.weight", "word_embeddings_layernorm.weight"],
        ["ln_f.weight"],
    ),
    "lfm2": (
        "model.layers.", ["feed_forward.w1.weight", "ffn_norm.weight"], ["model.embed_tokens.weight"],
        ["model.embedding_norm.weight"],
    ),
    "xglm": (
        "model.layers.", ["fc1.weight", "self_attn_layer_norm.weight"], ["model.embed_tokens.weight"],
        ["model.layer_norm.weight", "model.layer_norm.bias", "lm_head.weight"],
    ),
    "biogpt": (
        "biogpt.layers.", ["fc1.weight"], ["biogpt.embed_tokens.weight", "biogpt.embed_positions.weight"],
        ["biogpt.layer_norm.weight", "output_projection.weight"],
    ),
    "modernbert-decoder": (
        "model.layers.", ["attn_norm.weight"],
        ["model.embeddings.tok_embeddings.weight", "model.embeddings.norm.weight"],
        ["model.final_norm.weight", "lm_head.dense.weight", "decoder.weight", "decoder.bias"],
    ),
    "mamba": (
        "backbone.layers.", ["mixer.A_log", "norm.weight"], ["backbone.embeddings.weight"], ["backbone.norm_f.weight"],
    ),
}  # fmt: skip


def names(family: str, layers: int) -> list[str]:
    prefix, stems, before, after = FAMILIES[family]
    return [*before, *(f"{prefix}{layer}.{stem}" for layer in range(layers) for stem in stems), *after]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [1, 3, 12])
def test_layers_are_found_by_name_alone(family: str, layers: int) -> None:
    prefix, stems, before, after = FAMILIES[family]
    found = anatomy(names(family, layers), "m")
    assert found.prefix == prefix
    assert found.layers == (tuple(stems),) * layers
    assert found.before == tuple(before)
    assert found.after == tuple(after)


@given(st.permutations(names("llama", 11)))
def test_order_in_the_file_does_not_move_a_layer(shuffled: list[str]) -> None:
    found = anatomy(shuffled, "m")
    assert [sorted(layer) for layer in found.layers] == [sorted(FAMILIES["llama"][1])] * 11
    again = [*found.before, *(found.name(at, stem) for at, layer in enumerate(found.layers) for stem in layer)]
    assert sorted([*again, *found.after]) == sorted(shuffled)


def test_layers_that_differ_are_told_apart() -> None:
    found = anatomy(["h.0.a", "h.1.a", "h.1.b", "h.2.c.0.d"], "m")
    assert found.layers == (("a",), ("a", "b"), ("c.0.d",))


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(SourceError, match=r"m: has no numbered layers. mergelab works on decoder-only"):
        anatomy(["embed.weight", "norm.weight"], "m")


@pytest.mark.parametrize(
    "tower", ["vision_tower.encoder.layers.0.mlp.weight", "encoder.block.0.a", "visual.blocks.0.attn.qkv.weight"]
)
def test_a_model_of_several_modules_is_refused_by_their_names(tower: str) -> None:
    with pytest.raises(SourceError, match=r"several runs of layers: 'model.layers.' and .*not supported yet") as caught:
        anatomy([*names("llama", 2), tower], "m")
    assert repr(tower.partition("0.")[0]) in str(caught.value)


def test_missing_layers_are_named() -> None:
    with pytest.raises(SourceError, match=r"of 'model.layers.', layers 1, 3 are missing. The checkpoint is incomplete"):
        anatomy([name for name in names("llama", 5) if ".1." not in name and ".3." not in name], "m")


def test_a_layer_of_a_huge_number_neither_hangs_nor_floods() -> None:
    with pytest.raises(SourceError, match=r"layers 1, 2, 3, 4, 5, 6, 7, 8 and 999999990 more are missing") as caught:
        anatomy(["h.0.a", "h.999999999.a"], "m")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["h.01.a", "h.٣.a", "h." + "9" * 5000 + ".a", "h.-1.a", "h.1e3.a"])
def test_what_only_looks_like_a_number_is_no_layer(name: str) -> None:
    assert anatomy(["h.0.a", name], "m").before == (name,)


def test_the_layer_count_is_found_under_each_familys_key() -> None:
    for key in ("num_hidden_layers", "n_layer", "num_layers", "n_layers"):
        assert layer_count_key({"x": 1, key: 3}) == key
    assert layer_count_key({"num_hidden_layers": "3", "n_layer": True}) is None


def test_an_embedding_stands_in_for_a_head_of_its_shape_only() -> None:
    parts = anatomy(names("llama, tied", 1), "m")
    specs = {name: (13, 8) if "embed" in name else (8,) for name in names("llama, tied", 1)}
    assert embedding_for_head(specs, parts, "lm_head.weight", (13, 8)) == "model.embed_tokens.weight"
    assert embedding_for_head(specs, parts, "lm_head.weight", (14, 8)) is None
    assert embedding_for_head(specs, parts, "model.norm.weight", (13, 8)) is None


@pytest.mark.parametrize(
    ("name", "shape", "leftover"),
    [
        ("model.layers.3.self_attn.rotary_emb.inv_freq", (4,), True),
        ("gpt_neox.layers.0.attention.rotary_emb.inv_freq", (4,), True),
        ("model.layers.3.self_attn.rotary_emb.cos_cached", (1, 1, 64, 8), True),
        ("model.layers.3.self_attn.rotary_emb.sin_cached", (1, 1, 64, 8), True),
        ("h.0.attn.masked_bias", (), True),
        ("gpt_neox.layers.0.attention.masked_bias", (), True),
        ("transformer.h.0.attn.bias", (1, 1, 16, 16), True),
        ("gpt_neox.layers.0.attention.bias", (1, 1, 16, 16), True),
        ("transformer.h.0.attn.bias", (16,), False),
        ("transformer.h.0.attn.bias", (16, 16), False),
        ("transformer.h.0.attn.bias", (1, 2, 16, 16), False),
        ("transformer.h.0.attn.bias", (1, 1, 16, 8), False),
        ("transformer.h.0.attn.c_attn.bias", (48,), False),
        ("transformer.h.0.attn.c_attn.bias", (1, 1, 16, 16), False),
        ("transformer.h.0.attn.c_proj.bias", (16,), False),
        ("gpt_neox.layers.0.attention.dense.bias", (16,), False),
        ("model.layers.0.self_attn.q_proj.weight", (1, 1, 16, 16), False),
        ("model.layers.0.inv_freq", (4,), False),
    ],
)
def test_tables_of_older_transformers_are_told_from_weights(name: str, shape: tuple[int, ...], leftover: bool) -> None:
    assert is_leftover(name, shape) is leftover
