"""Widths: layers of unequal sizes brought to one, so that one config holds them, without changing what they compute.

Rows of zeros in a feed-forward's gate and up projection are units that are always 0, and columns of zeros in its down
projection take nothing from them. A key/value head that stands n times in a row serves the same query heads as before,
each copy an n-th of them (Ainslie et al., "GQA", arXiv:2305.13245, figure 2, read backwards).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mergelab.recipes.recipe import Recipe
from mergelab.recipes.step import Given, Origin, Padded, Repeated, Step
from mergelab.weights import Source

# Only under these names is it known which rows belong together; fused projections are left as they are.
ROWS: Final = re.compile(r"mlp\.(gate_proj|up_proj)\.(weight|bias)")
COLUMNS: Final = re.compile(r"mlp\.down_proj\.weight")
QUERIES: Final = re.compile(r"self_attn\.q_proj\.weight")
HEADS: Final = re.compile(r"self_attn\.(k_proj|v_proj)\.(weight|bias)")


@dataclass(frozen=True)
class Widths:
    """The sizes that all layers are brought to.

    Attributes:
        inner: units of the feed-forward; None: not brought together.
        heads: key/value heads; None: not brought together.
        head_size: rows of one head in its projections.
    """

    inner: int | None
    heads: int | None
    head_size: int

    @property
    def settings(self) -> dict[str, int]:
        """What a config says of them."""
        said = {"intermediate_size": self.inner, "num_key_value_heads": self.heads}
        return {key: value for key, value in said.items() if value is not None}

    def shape(self, stem: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that a tensor of a layer gets."""
        if self.inner is not None and ROWS.fullmatch(stem):
            return (self.inner, *shape[1:])
        if self.inner is not None and COLUMNS.fullmatch(stem):
            return (shape[0], self.inner)
        if self.heads is not None and HEADS.fullmatch(stem) and self._times(shape[0]):
            return (shape[0] * self._times(shape[0]), *shape[1:])
        return shape

    def step(self, step: Step, stem: str) -> Step:
        """The step that makes a tensor of a layer in the new shape: the same tensor made, and then widened."""
        shape = self.shape(stem, step.shape)
        if shape == step.shape:
            return step
        given: Given
        if HEADS.fullmatch(stem):
            given = Repeated(step, self.head_size, self._times(step.shape[0]))
        else:
            given = Padded(step, shape)
        numbers = (("scale", (1.0,)),)
        return Step(step.name, shape, step.dtype, "passthrough", (given,), None, numbers, step.seed, copies=False)

    def _times(self, rows: int) -> int:
        """How often each head is repeated; 0: it cannot be done."""
        heads, rest = divmod(rows, self.head_size)
        return 0 if rest or not heads or (self.heads or 0) % heads else (self.heads or 0) // heads


def widths(recipe: Recipe, origins: Mapping[Source, Origin]) -> Widths | None:
    """The sizes that the layers of a recipe are brought to; None: it does not ask for it.

    Args:
        origins: what its slices and its base name.
    """
    return common([origins[source] for source in (recipe.donor, *recipe.named)]) if recipe.widen else None


def common(origins: Sequence[Origin]) -> Widths:
    """The sizes that the layers of all these models can be brought to.

    The feed-forward gets the widest one's size; key/value heads become as many as the least number that all their
    counts divide, if it divides the number of query heads.

    Args:
        origins: the host, whose query heads tell the size of a head, and the others.
    """
    host = origins[0]
    inner = _rows(origins, ROWS)
    keys, queries = _rows(origins, HEADS), _rows([host], QUERIES)
    count = host.config.get("num_attention_heads")
    if not keys or len(queries) != 1 or type(count) is not int or count < 1 or queries[0] % count:
        return Widths(max(inner, default=None), None, 1)
    size = queries[0] // count
    heads = math.lcm(*(rows // size for rows in keys)) if all(rows % size == 0 for rows in keys) else 0
    return Widths(max(inner, default=None), heads if heads and count % heads == 0 else None, size)


def _rows(origins: Sequence[Origin], pattern: re.Pattern[str]) -> list[int]:
    """Numbers of rows of the tensors of this name, each once."""
    return list(
        dict.fromkeys(
            origin.specs[origin.anatomy.name(index, stem)].shape[0]
            for origin in origins
            for index, stems in enumerate(origin.anatomy.layers)
            for stem in stems
            if pattern.fullmatch(stem)
        )
    )
