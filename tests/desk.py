"""Three tiny models and a recipe in a folder: what the command line is tried on."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

LAYERS, WIDTH, INNER, VOCABULARY = 3, 8, 12, 17


def tiny(folder: Path, *, seed: int, inner: int = INNER, layers: int = LAYERS) -> Path:
    """A Llama with unequal dimensions: 2 heads of 4, 1 key/value head."""
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "float32",
        "hidden_size": WIDTH, "intermediate_size": inner, "num_hidden_layers": layers,
        "vocab_size": VOCABULARY, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
        "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": True,
    }  # fmt: skip
    shapes = {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "model.norm.weight": (WIDTH,)}
    for layer in range(layers):
        stem = f"model.layers.{layer}."
        shapes |= {stem + "self_attn.q_proj.weight": (8, WIDTH), stem + "self_attn.o_proj.weight": (WIDTH, 8)}
        shapes |= {stem + f"self_attn.{name}_proj.weight": (4, WIDTH) for name in "kv"}
        shapes |= {stem + f"mlp.{name}_proj.weight": (inner, WIDTH) for name in ("gate", "up")}
        shapes |= {stem + "mlp.down_proj.weight": (WIDTH, inner)}
        shapes |= {stem + f"{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")}
    draw = torch.Generator().manual_seed(seed)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


def laid(folder: Path) -> Path:
    """A folder, with models a, b and the stranger c put into it."""
    tiny(folder / "a", seed=1)
    tiny(folder / "b", seed=2)
    tiny(folder / "c", seed=3, inner=20)
    return folder


def recipe(*runs: tuple[str, int, int], name: str = "recipe.yml", method: str = "passthrough") -> Path:
    lines = [f"  - sources: [{{model: {model}, layer_range: [{start}, {end}]}}]" for model, start, end in runs]
    path = Path(name)
    path.write_text("\n".join([f"merge_method: {method}", "slices:", *lines]) + "\n")
    return path
