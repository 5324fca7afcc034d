"""Tiny models of numbers, layers to which something was done, and what transformers itself shows of their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from mergelab.inspection.grid import Floats, Grid
from mergelab.inspection.trace import Trace, trace
from tests.models.families import FAMILIES


class Numerals:
    """A tokenizer of texts such as "3 17 5"."""

    bos_token_id: int | None = None

    def __call__(self, text: str, verbose: bool = True) -> dict[str, list[int]]:  # noqa: ARG002 - as transformers has it
        return {"input_ids": [int(word) for word in text.split()]}

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(str, ids))


def text(seed: int, long: int) -> str:
    return " ".join(map(str, np.random.default_rng(seed).integers(3, 95, long)))


PROMPTS = tuple(text(seed, 5 + seed % 4) for seed in range(12))


def model(kind: str = "llama", seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(FAMILIES[kind] | changes))).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return made


class Changed(LlamaDecoderLayer):  # type: ignore[misc]  # transformers is not typed through
    """A layer that does something to what it gives."""

    def forward(self, *args: Any, **named: Any) -> Tensor:
        found: Tensor = self.change(super().forward(*args, **named))
        return found


def plant(made: Any, layer: int, change: Any) -> Any:
    own = made.model.layers[layer]
    own.__class__, own.change = Changed, change
    return made


def leap(size: float) -> Any:
    """Adds to channel 5 of the fourth token."""

    def change(states: Tensor) -> Tensor:
        states = states.clone()
        states[:, 3, 5] += size
        return states

    return change


def traced(*made: Any, prompts: Sequence[str] = PROMPTS, **options: Any) -> Trace:
    names = ("base", "other", "third")
    return trace({name: (one, Numerals()) for name, one in zip(names, made, strict=False)}, prompts, **options)


def states(made: Any, prompts: Sequence[str] = PROMPTS) -> tuple[list[Floats], dict[str, list[Floats]]]:
    """Each border's states of all tokens but the first of each prompt, and each layer's parts; from plain passes."""
    last: list[Tensor] = []
    added: dict[str, list[Tensor]] = {}
    layers = made.model.layers
    hooks = [layers[-1].register_forward_hook(lambda _layer, _args, out: last.append(out))]
    for role, name in (("attention", "self_attn"), ("feed-forward", "mlp")):
        for number, layer in enumerate(layers):

            def hook(_module: Any, _args: Any, out: Any, key: str = f"{role} {number}") -> None:
                added.setdefault(key, []).append(out[0] if isinstance(out, tuple) else out)

            hooks.append(getattr(layer, name).register_forward_hook(hook))
    borders: list[list[Tensor]] = [[] for _ in range(len(layers) + 1)]
    with torch.no_grad():
        for prompt in prompts:
            ids = torch.tensor([Numerals()(prompt)["input_ids"]])
            hidden = made(ids, output_hidden_states=True).hidden_states
            for border, one in zip(borders, (*hidden[:-1], last[-1]), strict=True):
                border.append(one)
    for one in hooks:
        one.remove()

    def flat(found: list[Tensor]) -> Floats:
        return torch.cat([one[0, 1:] for one in found]).double().numpy()

    parts = {
        role: [flat(added[f"{role} {layer}"]) for layer in range(len(layers))] for role in ("attention", "feed-forward")
    }
    return [flat(one) for one in borders], parts


def sizes(vectors: Floats) -> Floats:
    return np.linalg.norm(vectors, axis=-1)


def cosines(one: Floats, other: Floats) -> Floats:
    return (one * other).sum(-1) / sizes(one) / sizes(other)


def inside(grid: Grid, row: str) -> list[bool]:
    assert grid.chance is not None
    low, high = (
        np.broadcast_to(grid.chance.low, grid.values.shape),
        np.broadcast_to(grid.chance.high, grid.values.shape),
    )
    place = grid.rows.index(row)
    return ((low <= grid.values) & (grid.values <= high))[place].tolist()
