"""A model seen through another vocabulary: every matrix with a row for each token has that vocabulary's rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mergelab.recipes.step import Aligned, Given, Input, Origin, Rows, Spec, Step
from mergelab.weights import Anatomy, Source
from mergelab.weights.anatomy import embedding_for_head

# Outside the layers, what has as many rows as there are tokens by coincidence only: norms, tables of positions.
_NO_VOCABULARY = re.compile(r"norm|ln_f|wpe|position")


@dataclass(frozen=True)
class Fitted:
    """A model in another vocabulary, for a plan to read like any other.

    Attributes:
        origin: the model as it is.
        rows: where its rows come from.
        lenders: the models that they come from, as ``rows.lenders`` names them: itself first.
    """

    origin: Origin
    rows: Rows
    lenders: tuple[Origin, ...]

    @property
    def source(self) -> Source:
        """Its address."""
        return self.origin.source

    @property
    def config(self) -> Mapping[str, Any]:
        """Its config.json with the new number of rows."""
        return {**self.origin.config, "vocab_size": self.rows.count}

    @cached_property
    def specs(self) -> Mapping[str, Spec]:
        """Its tensors by name. A tied model whose lender has a head gets one: its embedding, with rows of that head."""
        found: dict[str, Spec] = dict(self.origin.specs)
        outside = [name for lender in self.lenders for name in (*lender.anatomy.before, *lender.anatomy.after)]
        for name in dict.fromkeys(outside):
            own = self.origin.specs.get(_stored_as(self.origin, name))
            if own and own.shape[:1] == (self.origin.config["vocab_size"],) and not _NO_VOCABULARY.search(name):
                matrices = tuple(_given(lender, _stored_as(lender, name)) for lender in self.lenders)
                found[name] = Aligned((self.rows.count, *own.shape[1:]), own.dtype, self.rows, matrices)
        return found

    @property
    def anatomy(self) -> Anatomy:
        """Which tensor belongs to which layer."""
        return self.origin.anatomy

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self.origin.layers

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return self.origin.width

    def path(self, file: str) -> Path | None:
        """Local path of one of its files, or None where it has none."""
        return self.origin.path(file)


def _stored_as(origin: Origin, name: str) -> str:
    """The name under which a model has a tensor: a tied head is stored as the embedding matrix."""
    if name in origin.specs:
        return name
    shapes = {key: spec.shape for key, spec in origin.specs.items()}
    return embedding_for_head(shapes, origin.anatomy, name, (origin.config["vocab_size"], origin.width)) or name


def _given(origin: Origin, name: str) -> Given:
    spec = origin.specs.get(name)
    return spec if isinstance(spec, Step) else Input(origin.source, name)
