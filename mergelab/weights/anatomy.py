"""Anatomy: the parts of a checkpoint by name, without a table per architecture.

A decoder is one numbered run of layers with something before (embeddings) and something after (final norm, head). The
run is found in the tensor names: the prefix before the first number that has the most tensors and counts 0, 1, 2 ...
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from mergelab.errors import Problem, SourceError

LAYER_COUNT_KEYS: tuple[str, ...] = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_NUMBERED = re.compile(r"^(.*?)(?<![^.])(0|[1-9][0-9]{0,8})\.(.+)$", re.DOTALL)
# Tables that older versions of transformers computed and stored beside the weights: no version reads them any more.
LEFTOVERS: tuple[str, ...] = (
    ".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached",  # Llama, Mistral, GPT-NeoX ...
    ".attn.masked_bias", ".attention.masked_bias",  # GPT-2 and GPT-J; GPT-Neo and GPT-NeoX
)  # fmt: skip
LEFTOVER_MASKS: tuple[str, ...] = (".attn.bias", ".attention.bias")  # of the same four: who may look at whom
HEADS: tuple[str, ...] = ("lm_head.weight", "embed_out.weight")
"""How heads are called that may be tied to the embeddings; GPT-NeoX's has had both names."""
# LFM2 calls its final norm embedding_norm; ModernBERT's decoder has a norm among its embeddings.
_AFTER = re.compile(
    r"^(?!(.*\.)?embeddings\.)(.*\.)?"
    r"(lm_head|embed_out|head|output|output_projection|ln_f|norm_f|norm|layer_norm|embedding_norm|final_[a-z_]*norm|"
    r"decoder(?=\.(weight|bias)$))"
    r"(\.|$)"
)


@dataclass(frozen=True)
class Anatomy:
    """Which tensor belongs where.

    Attributes:
        prefix: what stands before the layer number: ``"model.layers."``, ``"transformer.h."`` ...
        layers: for each layer, the rest of its tensors' names (``"self_attn.q_proj.weight"``), in file order.
        before: names outside the layers that come before them (embeddings), in file order.
        after: names outside the layers that come after them (final norm, head), in file order.
    """

    prefix: str
    layers: tuple[tuple[str, ...], ...]
    before: tuple[str, ...]
    after: tuple[str, ...]

    def name(self, layer: int, stem: str) -> str:
        """Full name of the tensor ``stem`` of a layer."""
        return f"{self.prefix}{layer}.{stem}"


def anatomy(names: Iterable[str], where: str) -> Anatomy:
    """Sort tensor names into layers, what comes before them and what comes after.

    Raises:
        SourceError: there is no run of numbered layers, a layer is missing, or there are several runs (several
        modules).
    """
    runs: dict[str, dict[int, list[str]]] = {}
    outside: list[str] = []
    for name in names:
        match = _NUMBERED.match(name)
        if match is None:
            outside.append(name)
        else:
            runs.setdefault(match[1], {}).setdefault(int(match[2]), []).append(match[3])
    if not runs:
        raise SourceError(Problem(where, "has no numbered layers.", "mergelab works on decoder-only language models."))
    prefix, run = max(runs.items(), key=lambda item: (sum(map(len, item[1].values())), item[0]))
    others = [other for other in runs if other != prefix]
    if others:
        raise SourceError(
            Problem(where, f"has several runs of layers: {prefix!r} and {', '.join(map(repr, others))}.",
                    "Models of several modules (vision towers, encoders) are not supported yet.")
        )  # fmt: skip
    missing = list(islice((index for index in count() if index not in run), min(8, max(run) + 1 - len(run))))
    if missing:
        more = max(run) + 1 - len(run) - len(missing)
        listed = ", ".join(map(str, missing)) + (f" and {more} more" if more else "")
        raise SourceError(
            Problem(
                where,
                f"of {prefix!r}, layers {listed} are missing.",
                "The checkpoint is incomplete: download it again.",
            )
        )
    return Anatomy(
        prefix,
        tuple(tuple(run[index]) for index in range(len(run))),
        tuple(name for name in outside if not _AFTER.search(name)),
        tuple(name for name in outside if _AFTER.search(name)),
    )


def is_leftover(name: str, shape: Sequence[int]) -> bool:
    """Whether a stored tensor is no weight but a table that transformers computes by itself and ignores on loading.

    A causal mask has the shape (1, 1, n, n); a tensor of such a name and another shape is a bias, which is a weight.
    """
    mask = len(shape) == 4 and tuple(shape[:2]) == (1, 1) and shape[2] == shape[3]
    return name.endswith(LEFTOVERS) or (mask and name.endswith(LEFTOVER_MASKS))


def layer_count_key(config: Mapping[str, Any]) -> str | None:
    """The key under which a config holds its number of layers, or None."""
    return next((key for key in LAYER_COUNT_KEYS if type(config.get(key)) is int), None)


def embedding_for_head(
    specs: Mapping[str, Sequence[int]], parts: Anatomy, head: str, shape: Sequence[int]
) -> str | None:
    """The embedding matrix that stands in for ``head`` in a checkpoint with tied embeddings.

    Args:
        specs: name -> shape of the tied checkpoint.
        head: name of the head in another checkpoint, of the given shape.
    """
    if not head.endswith(HEADS):
        return None
    return next((name for name in parts.before if tuple(specs[name]) == tuple(shape)), None)
