"""Tiny random models of many decoder families, with unequal dimensions, as folders on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

DEPTH = 6
_PLAIN: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": DEPTH, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_SHORT = ["sliding_attention", "sliding_attention", "full_attention"] * 2

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _PLAIN,
    "mistral": _PLAIN | {"sliding_window": 5, "head_dim": 6},
    "qwen2": _PLAIN | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2, "layer_types": _SHORT},
    "qwen3": _PLAIN | {"head_dim": 8},
    "gemma": _PLAIN | {"head_dim": 8},
    "gemma2": _PLAIN | {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8},
    "gemma3_text": _PLAIN | {"head_dim": 8, "sliding_window": 4, "query_pre_attn_scalar": 8, "layer_types": _SHORT},
    "phi3": _PLAIN,
    "olmo2": _PLAIN,
    "granite": _PLAIN,
    "stablelm": _PLAIN,
    "cohere": _PLAIN,
    "smollm3": _PLAIN | {"no_rope_layers": [1, 1, 0, 1, 1, 0]},
    "gpt_neox": {key: value for key, value in _PLAIN.items() if key != "num_key_value_heads"},
    "gpt2": {
        "vocab_size": 96, "n_embd": 24, "n_inner": 40, "n_layer": DEPTH, "n_head": 4, "n_positions": 64,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    },
    "mixtral": _PLAIN | {"num_local_experts": 3, "num_experts_per_tok": 2},
    "qwen3_moe": _PLAIN | {"head_dim": 8, "num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 12},
}  # fmt: skip


def save(kind: str, folder: Path, *, seed: int, **changes: Any) -> Path:
    """A random model of a family. The weights are spread wide enough for layers to matter."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(FAMILIES[kind] | changes)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder
