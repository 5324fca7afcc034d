"""A merge of models that talk, to prove and to harm: layers of two types, a head of their own, a chat template."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from mergelab.forge.merge import merge
from mergelab.forge.proof import Proof
from mergelab.recipes import stack
from tests.models import tongues
from tests.models.families import save

Trio = tuple[Path, Path, Path]
Edit = Callable[[dict[str, Any]], object]

CHECKS = (
    "files", "tensors", "values", "finite", "opening", "config", "tokenizer", "logits", "cache", "padding", "ending",
)  # fmt: skip
TALKING = (*CHECKS[:7], "round trip", "chat template", *CHECKS[7:])
ANSWERS = ("logits", "cache", "padding")
SILENT = "model.layers.0.self_attn.o_proj.weight"  # all zeros, in every model

_TEMPLATE = "{% for one in messages %}{{ one.role }}: {{ one.content }}\n{% endfor %}"
_SHORT = ["sliding_attention", "full_attention", "full_attention"] * 2


def talkers(root: Path) -> Trio:
    """Three models of the same shape with the same tokenizer, which gives every text back."""
    changes = {"vocab_size": 290, "tie_word_embeddings": False, "use_sliding_window": True, "sliding_window": 4}
    one, two, three = (
        save("smollm3", root / str(seed), seed=seed, layer_types=_SHORT, **changes) for seed in (1, 2, 3)
    )
    for path in (one, two, three):
        tensors = load_file(path / "model.safetensors")
        tensors[SILENT].zero_()
        save_file(tensors, path / "model.safetensors", {"format": "pt"})
        words = tongues.bytes_and_merges("the cat", "don't")
        tongues.save(words, path, pad_token="<unk>", chat_template=_TEMPLATE)
    return one, two, three


def merged(models: Trio, out: Path) -> Path:
    """A merge of them, of five layers and several weight files."""
    recipe = stack([(models[1], 0, 3), (models[1], 4, 6)], base=models[0], method="linear", coefficient=0.3)
    return merge(recipe, out, shard_bytes=60_000, prove=False)


def broken(proof: Proof) -> tuple[str, ...]:
    """Names of the checks that fail."""
    return tuple(check.name for check in proof.broken)


def said(proof: Proof, name: str) -> str:
    """What the check of this name says."""
    (check,) = (check for check in proof.checks if check.name == name)
    return check.said


def in_table(file: str, edit: Edit) -> Callable[[Path], None]:
    """A change of a JSON file in a folder."""

    def change(folder: Path) -> None:
        table = json.loads((folder / file).read_text())
        edit(table)
        (folder / file).write_text(json.dumps(table))

    return change
