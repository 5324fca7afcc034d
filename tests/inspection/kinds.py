"""Decoders to look into: every family of tests/models, and some that write to the stream in ways of their own."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama import modeling_llama

from tests.models.families import FAMILIES

_PLAIN: dict[str, Any] = FAMILIES["llama"]

# What is special about each: parallel, and added in place; one dropout for both sub-layers; tokens in a row without
# prompts; experts that flatten; a factor; a factor and scaled logits; three writers; one writer; keys and values
# that later layers share; biases.
ODD: dict[str, dict[str, Any]] = {
    "falcon": {**_PLAIN, "new_decoder_architecture": False, "parallel_attn": True},
    "phi": _PLAIN | {"hidden_size": 32},
    "opt": {
        "vocab_size": 96, "hidden_size": 24, "word_embed_proj_dim": 24, "ffn_dim": 40, "num_hidden_layers": 6,
        "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0,
    },
    "llama4_text": _PLAIN | {
        "head_dim": 6, "num_local_experts": 3, "intermediate_size_mlp": 40, "interleave_moe_layer_step": 2,
        "attention_chunk_size": 5,
    },
    "minicpm3": _PLAIN | {
        "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 12, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4,
        "v_head_dim": 6, "scale_depth": 1.4, "scale_emb": 3,
    },
    "granite": _PLAIN | {"residual_multiplier": 0.22, "logits_scaling": 3.0, "embedding_multiplier": 5.0},
    "granitemoehybrid": _PLAIN | {
        "layer_types": ["mamba", "attention", "mamba", "mamba", "attention", "mamba"], "num_local_experts": 3,
        "num_experts_per_tok": 2, "shared_intermediate_size": 20, "mamba_n_heads": 4, "mamba_d_head": 12,
        "mamba_d_state": 8, "mamba_n_groups": 1, "residual_multiplier": 0.5,
    },
    "mamba": {"vocab_size": 96, "hidden_size": 24, "num_hidden_layers": 6, "state_size": 4, "pad_token_id": 0},
    "gemma4_text": _PLAIN | {
        "head_dim": 8, "sliding_window": 4, "num_kv_shared_layers": 2, "hidden_size_per_layer_input": 6,
        "vocab_size_per_layer_input": 96, "global_head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
    },
    "bloom": {"vocab_size": 96, "hidden_size": 24, "n_layer": 6, "n_head": 4, "pad_token_id": 0},
}  # fmt: skip


def made(
    kind: str, settings: dict[str, Any] | None = None, *, seed: int = 1, dtype: torch.dtype = torch.float32
) -> Any:
    """A random model of a kind. The weights are spread wide enough for layers to matter."""
    torch.manual_seed(seed)
    settings = {**FAMILIES, **ODD}[kind] if settings is None else settings
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model.to(dtype)


class Between(modeling_llama.LlamaModel):
    """A Llama that does something between its layers, or tells them of their states: none can be called alone."""

    between = True

    def forward(self, input_ids: torch.Tensor, **_: object) -> Any:  # type: ignore[override]
        hidden = self.embed_tokens(input_ids)
        places = torch.arange(input_ids.shape[1])[None]
        cosines, sines = self.rotary_emb(hidden, position_ids=places)
        for layer in self.layers:
            told = (cosines, sines) if self.between else (cosines + hidden.mean(), sines)
            hidden = layer(hidden, position_embeddings=told, position_ids=places) * (1.5 if self.between else 1)
        return modeling_llama.BaseModelOutputWithPast(last_hidden_state=self.norm(hidden))


def between(between: bool = True) -> Any:
    """A causal language model around ``Between``."""
    model = made("llama")
    body = Between(model.config).eval()
    body.load_state_dict(model.model.state_dict())
    model.model, body.between = body, between
    return model
