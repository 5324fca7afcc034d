"""Models with a truth planted in them: the base of the sample family, changed in a known way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mergelab import sample

Tensors = dict[str, Tensor]
LAYERS, WIDTH = 10, 64
READERS = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
WRITERS = ("self_attn.o_proj", "mlp.down_proj")


def plant(folder: Path, change: Callable[[Tensors], None]) -> Path:
    """The base with its tensors changed in place, with embeddings and head apart, as a folder."""
    base = sample.path("base")
    folder.mkdir()
    for file in base.iterdir():
        if file.suffix == ".json":
            shutil.copy(file, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"tie_word_embeddings": False}))
    tensors = load_file(base / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def weights(*names: str, layers: range = range(LAYERS)) -> list[str]:
    """Names of these weights in these layers."""
    return [f"model.layers.{layer}.{name}.weight" for layer in layers for name in names]


def longer(size: float, layers: range) -> Callable[[Tensors], None]:
    """Embeddings, and what those layers add, times a number: a stream of other length whose layers do the same."""

    def change(tensors: Tensors) -> None:
        for name in ["model.embed_tokens.weight", *weights(*WRITERS, layers=layers)]:
            tensors[name] *= size

    return change


def silent(layers: range) -> Callable[[Tensors], None]:
    """These layers add nothing."""

    def change(tensors: Tensors) -> None:
        for name in weights(*WRITERS, layers=layers):
            tensors[name] *= 0

    return change


def turned(tensors: Tensors) -> None:
    """The stream in another basis, turned at random: the same function of tokens, to rounding."""
    around = torch.linalg.qr(
        torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )[0]

    def times(name: str, how: Callable[[Tensor], Tensor]) -> None:
        tensors[name] = how(tensors[name].double()).float().contiguous()

    for layer in range(LAYERS):  # a gain belongs to channels, which are no longer there: into what reads it
        for norm, readers in READERS.items():
            gain = tensors[f"model.layers.{layer}.{norm}.weight"]
            for name in weights(*readers, layers=range(layer, layer + 1)):
                times(name, lambda weight, gain=gain: weight * gain @ around.T)
            gain.fill_(1)
    final = tensors["model.norm.weight"]
    times("lm_head.weight", lambda weight: weight * final @ around.T)
    final.fill_(1)
    times("model.embed_tokens.weight", lambda weight: weight @ around.T)
    for name in weights(*WRITERS):
        times(name, lambda weight: around @ weight)


def noisy(layers: range, amount: float, *, seed: int) -> Callable[[Tensors], None]:
    """Noise on what these layers add, as a share of each weight's own spread."""

    def change(tensors: Tensors) -> None:
        draw = torch.Generator().manual_seed(seed)
        for name in weights(*WRITERS, layers=layers):
            noise = torch.randn(tensors[name].shape, generator=draw)
            tensors[name] += amount * tensors[name].std() * noise

    return change


def same(_: Tensors) -> None:
    """Nothing is changed."""
