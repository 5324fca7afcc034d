"""Tiny checkpoints, honest and lying: folders of safetensors files written with safetensors' own writer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mergelab.weights import Checkpoint, open_checkpoint

Shapes = dict[str, tuple[int, ...]]

LAYERS, WIDTH, INNER, KEYS, VOCABULARY = 3, 8, 10, 4, 13
QUERY, KEY, DOWN = (f"model.layers.1.{stem}" for stem in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"))


def config(layers: int = LAYERS, **changes: Any) -> dict[str, Any]:
    """A config.json of a Llama whose dimensions all differ. A change to None leaves the key out."""
    table = {
        "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": layers,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }  # fmt: skip
    return {key: value for key, value in (table | changes).items() if value is not None}


def shapes(
    layers: int = LAYERS,
    *,
    width: int = WIDTH,
    inner: int = INNER,
    keys: int = KEYS,
    vocabulary: int = VOCABULARY,
    head: bool = True,
    prefix: str = "model.",
) -> Shapes:
    """Shapes of a Llama's tensors, in the order of the model."""
    found: Shapes = {f"{prefix}embed_tokens.weight": (vocabulary, width)}
    for layer in range(layers):
        stem = f"{prefix}layers.{layer}."
        found |= {
            f"{stem}input_layernorm.weight": (width,),
            f"{stem}self_attn.q_proj.weight": (width, width),
            f"{stem}self_attn.k_proj.weight": (keys, width),
            f"{stem}mlp.down_proj.weight": (width, inner),
        }
    found[f"{prefix}norm.weight"] = (width,)
    return found | ({"lm_head.weight": (vocabulary, width)} if head else {})


def tensors(named: Shapes, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Random tensors of these shapes."""
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draw).to(dtype) for name, shape in named.items()}


def save(folder: Path, weights: Mapping[str, torch.Tensor] | None = None, *, shards: int = 1, **changes: Any) -> Path:
    """Write a checkpoint: weights (a Llama's, when none are given) in so many shards, and a config.

    Args:
        changes: to the config; the number of layers is counted from the names unless it is changed as well.
    """
    weights = tensors(shapes()) if weights is None else weights
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(part) for name in weights for part in name.split(".") if part.isdigit()]
    (folder / "config.json").write_text(json.dumps(config(1 + max(numbers, default=-1), **changes)))
    names = list(weights)
    if shards == 1:
        save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    places = {
        name: f"model-{1 + at * shards // len(names):05}-of-{shards:05}.safetensors" for at, name in enumerate(names)
    }
    for file in dict.fromkeys(places.values()):
        save_file({name: weights[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def save_adapter(folder: Path, weights: Mapping[str, torch.Tensor], **settings: Any) -> Path:
    """Write a LoRA adapter: weights under the names that peft gives them, and its config. A setting of None is left
    out.
    """
    table = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "base_model_name_or_path": "org/base"} | settings
    folder.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in table.items() if value is not None}
    (folder / "adapter_config.json").write_text(json.dumps(kept))
    named = {f"base_model.model.{name}": tensor for name, tensor in weights.items()}
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def pair(
    module: str, out: int, into: int, *, rank: int = 2, seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """The two matrices of an adapter for a module: A (rank, into) and B (out, rank)."""
    named = {f"{module}.lora_A.weight": (rank, into), f"{module}.lora_B.weight": (out, rank)}
    return tensors(named, seed=seed, dtype=dtype)


def opened(
    place: Path, adapter: Mapping[str, torch.Tensor], base: Mapping[str, torch.Tensor] | None = None, **told: Any
) -> Checkpoint:
    """A base with this adapter on it."""
    if not (place / "base").exists():
        save(place / "base", base)
    return open_checkpoint(f"{place / 'base'}+{save_adapter(place / 'lora', adapter, **told)}")


def raw_file(path: Path, header: object, data: bytes = b"") -> Path:
    """A file with this header, truthful or not. Bytes are written as they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(shape: list[Any], begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    """A header entry of one tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
