"""Weighted sums of stored tensors, said before they are worked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mergelab.methods.parameters import Pending

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mergelab.methods.pieces import Pieces
    from mergelab.methods.tensors import Array
    from mergelab.methods.vectors import Found


@dataclass(frozen=True)
class Mix(Pending):
    """sum_i w_i x_i, divided by ``divisor`` unless that is None; not yet run.

    Each step is a fused multiply-add in the order of the models. Models are as they are stored; the arithmetic is that
    of the dtype which is asked for.
    """

    inputs: Sequence[Tensor]
    weight: Sequence[float]
    divisor: float | None = None

    def result(self, dtype: torch.dtype, out: Tensor, pieces: Pieces, _found: Found) -> Tensor:
        """The sum in ``out``, which is contiguous, computed in ``dtype`` and rounded once."""
        from mergelab.methods import fused  # which loads torch: a mix that is only declared does without

        if not fused.added(fused.Sum(self.inputs, self.weight, self.divisor, out), dtype, pieces):
            self.by_torch(dtype, out, pieces)
        return out

    def by_torch(self, dtype: torch.dtype, out: Tensor, pieces: Pieces) -> None:
        """The same by torch's operations alone."""
        flat, place = [model.reshape(-1) for model in self.inputs], out.view(-1)

        def make(at: slice) -> None:
            place[at].copy_(self._sum([model[at] for model in flat], dtype))

        pieces.map(len(place), make)

    def _sum(self, models: Sequence[Tensor], dtype: torch.dtype) -> Array:
        pairs = zip(models, self.weight, strict=True)
        model, factor = next(pairs)
        total = model.to(dtype) * factor
        for model, factor in pairs:
            total.add_(model.to(dtype), alpha=factor)  # rounds once, where a product and a sum would round twice
        # By a tensor: CUDA would multiply by the reciprocal of a plain number, which rounds twice.
        return total if self.divisor is None else total.div_(total.new_full((), self.divisor))
