"""Opened checkpoints that exist as headers only, for plans: no file behind them, however deep they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mergelab.weights import Checkpoint, Source, TensorSpec
from mergelab.weights.anatomy import anatomy
from mergelab.weights.files import Folder, Mapped
from mergelab.weights.header import ITEM_BITS
from tests.weights import folders

Models = dict[Source, Checkpoint]


def checkpoint(
    name: str,
    shapes: folders.Shapes | None = None,
    *,
    layers: int = 4,
    dtype: str = "F32",
    dtypes: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
    **dimensions: Any,
) -> Checkpoint:
    """A checkpoint of this name, a Llama unless shapes are given.

    Args:
        dtypes: by a part of the tensor's name, where they differ from ``dtype``.
        config: changes to the config.
        dimensions: as for ``folders.shapes``.
    """
    shapes = folders.shapes(layers, **dimensions) if shapes is None else shapes
    parts = anatomy(shapes, name)
    specs, begin = {}, 0
    for tensor, shape in shapes.items():
        kind = next((kind for part, kind in (dtypes or {}).items() if part in tensor), dtype)
        need = math.prod(shape) * ITEM_BITS[kind] // 8
        specs[tensor] = TensorSpec(tensor, kind, shape, "model.safetensors", begin, begin + need)
        begin += need
    settings = folders.config(len(parts.layers), hidden_size=dimensions.get("width", folders.WIDTH), **(config or {}))
    return Checkpoint(Source(name), settings, specs, parts, Folder(Path(name)), Mapped({}), {})


def opened(*models: Checkpoint) -> Models:
    """By address, as ``plan`` takes them."""
    return {model.source: model for model in models}


def family(count: int = 3, **dimensions: Any) -> Models:
    """Models a, b, c ... of one shape."""
    return opened(*(checkpoint(name, **dimensions) for name in "abcdefgh"[:count]))
