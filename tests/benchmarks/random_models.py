"""Llamas of random weights, for measuring: a base and two models beside it, with a tokenizer of made-up words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

NAMES = ("base", "a", "b")
SHARD = 2_000_000_000  # bytes of one file


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama; feed-forward and heads follow Llama's proportions."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int

    def config(self) -> LlamaConfig:
        return LlamaConfig(
            hidden_size=self.width,
            intermediate_size=self.feed_forward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            vocab_size=self.vocabulary,
            max_position_embeddings=2048,
            tie_word_embeddings=False,
            architectures=["LlamaForCausalLM"],
            dtype="bfloat16",
        )


def llama(layers: int, width: int) -> Shape:
    """24 layers of width 1024 are 317 M parameters."""
    heads = max(1, width // 64)
    return Shape(layers, width, 11 * width // 4, heads, heads, 4096)


LLAMA_8B = Shape(32, 4096, 14336, 32, 8, 128256)


def write(folder: Path, shape: Shape, *, device: str = "cpu") -> int:
    """Write ``base``, ``a`` and ``b`` into a folder, in bfloat16.

    The base is drawn with a deviation of 0.02 (norms around 1), the models lie 0.002 from it in every weight.

    Returns:
        Parameters of each.
    """
    config = shape.config()
    with torch.device("meta"):
        sizes = {name: tensor.shape for name, tensor in LlamaForCausalLM(config).state_dict().items()}
    draw = torch.Generator(device).manual_seed(0)
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(config.to_json_string())
        _tokenizer(shape.vocabulary).save(str(folder / name / "tokenizer.json"))
        (folder / name / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    shards: list[list[str]] = [[]]
    for name in sizes:
        if 2 * sum(sizes[one].numel() for one in shards[-1]) > SHARD:
            shards.append([])
        shards[-1].append(name)
    for number, held in enumerate(shards, start=1):
        drawn: dict[str, dict[str, torch.Tensor]] = {name: {} for name in NAMES}
        for tensor in held:
            size = sizes[tensor]
            base = 0.02 * torch.randn(size, generator=draw, device=device) + (len(size) == 1)
            drawn["base"][tensor] = base.bfloat16().cpu()
            for model in ("a", "b"):
                moved = base + 0.002 * torch.randn(size, generator=draw, device=device)
                drawn[model][tensor] = moved.bfloat16().cpu()
        for name in NAMES:
            save_file(drawn[name], folder / name / _file(number, len(shards)), {"format": "pt"})
    if len(shards) > 1:
        where = {tensor: _file(number, len(shards)) for number, held in enumerate(shards, start=1) for tensor in held}
        for name in NAMES:
            (folder / name / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return sum(size.numel() for size in sizes.values())


def prompts(count: int, tokens: int) -> list[str]:
    """Made-up prompts, each of ``tokens`` words, which are ``tokens`` tokens."""
    return [" ".join(f"w{7 + 13 * place + 101 * prompt}" for place in range(tokens)) for prompt in range(count)]


def _file(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number:05}-of-{count:05}.safetensors"


def _tokenizer(vocabulary: int) -> Tokenizer:
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer
