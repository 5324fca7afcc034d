"""Small models on disk with cards and tokenizers, recipes of them, and what a report says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mergelab.recipes.recipe import Part, Recipe, Slice, numbers
from mergelab.recipes.report import Finding, Report
from mergelab.weights import Source
from tests.weights import folders
from tests.weights.folders import Shapes

TOKENS = {"the": 0, "cat": 1, "sat": 2, "on": 3, "<0x00>": 4}
SWAPPED = {"the": 0, "cat": 2, "sat": 1, "on": 3, "<0x00>": 5, "<0x01>": 4}


def small(folder: Path, *, seed: int = 1, card: str = "", tokens: dict[str, int] | None = None, **config: Any) -> Path:
    """A Llama that transformers loads, 3 layers, with a tokenizer.json if ``tokens`` are given, and a model card."""
    shapes: Shapes = {"model.embed_tokens.weight": (13, 8), "model.norm.weight": (8,), "lm_head.weight": (13, 8)}
    for layer in range(3):
        stem = f"model.layers.{layer}."
        shapes |= {stem + f"self_attn.{name}_proj.weight": (8, 8) for name in "qo"}
        shapes |= {stem + f"self_attn.{name}_proj.weight": (4, 8) for name in "kv"}
        shapes |= {stem + f"mlp.{name}_proj.weight": (10, 8) for name in ("gate", "up")}
        shapes |= {stem + "mlp.down_proj.weight": (8, 10)}
        shapes |= {stem + f"{name}_layernorm.weight": (8,) for name in ("input", "post_attention")}
    folders.save(folder, folders.tensors(shapes, seed=seed), **({"tie_word_embeddings": False} | config))
    if card:
        (folder / "README.md").write_text(f"---\n{card}\n---\n\nA model.\n")
    if tokens is not None:
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordLevel", "vocab": tokens}}))
    return folder


def linear(*models: Path | str, **changes: Any) -> Recipe:
    parts = tuple(Part(Source.parse(str(model)), None, numbers({"weight": 1.0})) for model in models)
    return Recipe("linear", (Slice(parts),), **changes)


def runs(*blocks: tuple[Path | str, int, int]) -> Recipe:
    """Runs of layers on top of each other."""
    return Recipe("passthrough", tuple(Slice((Part(Source(str(name)), (start, end)),)) for name, start, end in blocks))


def about(report: Report, what: str) -> Finding:
    """The one finding of this kind."""
    (found,) = [one for one in report.findings if one.what == what]
    return found


def whats(report: Report) -> list[str]:
    return [one.what for one in report.findings]
