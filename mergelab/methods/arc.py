"""Places on the arc between two stored tensors, said before they are worked out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergelab.methods.mix import Mix
from mergelab.methods.parameters import Pending

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mergelab.methods.pieces import Pieces
    from mergelab.methods.vectors import Found

_SHORT = 1e-8  # length of a vector that has no direction
_PARALLEL = 0.9995  # cosine from which two vectors are


@dataclass(frozen=True)
class Arc(Pending):
    """The place ``t`` on the way from the first of two tensors, read as vectors, to the second: see ``blend.slerp``.

    Tensors are as they are stored. Their lengths and their product are found out once: ``t`` changes neither.
    """

    inputs: Sequence[Tensor]
    t: float

    def result(self, dtype: torch.dtype, out: Tensor, pieces: Pieces, found: Found) -> Tensor:
        """That place in ``out``, which is contiguous, computed in ``dtype`` and rounded once."""
        key = (0, "products")
        products = found.get(key)
        if products is None:
            products = found[key] = self._products(pieces)
        return Mix(self.inputs, self._shares(*products)).result(dtype, out, pieces, found)

    def _products(self, pieces: Pieces) -> tuple[float, ...]:
        """Of the first with itself, the second with itself, and of both."""
        from mergelab.methods import sums  # which loads torch: an arc that is only declared does without

        start, end = (tensor.reshape(-1) for tensor in self.inputs)
        rows = pieces.map(len(start), lambda at: sums.product_rows(start[at], end[at]))
        return tuple(sum(term for piece in own for term in piece) for own in zip(*rows, strict=True))

    def _shares(self, start: float, end: float, both: float) -> tuple[float, float]:
        """What each tensor is multiplied with."""
        lengths = [length if length > _SHORT else 1.0 for length in (math.sqrt(start), math.sqrt(end))]
        cosine = both / lengths[0] / lengths[1]
        if abs(cosine) > _PARALLEL:
            return 1 - self.t, self.t
        theta = math.acos(cosine)
        return math.sin((1 - self.t) * theta) / math.sin(theta), math.sin(self.t * theta) / math.sin(theta)
