"""Methods that take one model into its base element by element, as much of it as differs little or matters much.

Values that are not numbers: an infinity or NaN stays at its own element.
"""

from __future__ import annotations

from typing import Annotated

import torch

from mergelab.methods import select, sums
from mergelab.methods.parameters import Shared
from mergelab.methods.registry import method
from mergelab.methods.tensors import Array, Arrays, PerVector, Vectors

_ROUNDINGS = 1e-9  # of a threshold in float64, and more besides


@method(inputs=(1, 1), elementwise=True)
def nearswap(models: Arrays, base: Array, *, t: Annotated[float, Shared(dial=(0, 0.1), low=0)]) -> Array:
    """NearSwap: take the model where it is near the base, and elsewhere a step of fixed size towards it.

    w x + (1 - w) theta_0 with w = t / |x - theta_0|, at most 1: what differs by less than t is swapped, every other
    element moves by t. Published with the model NearSwap-7B by Alchemonaut; no paper. As in mergekit, a difference
    below 1e-6 counts as 1e-6.

    Args:
        t: How far an element may move from the base.
    """
    (model,) = models
    share = (model - base).abs_().clamp_min_(1e-6).reciprocal_().mul_(t).clamp_max_(1)
    return torch.lerp(base, model, share).add_(0.0)  # the sign of zero hangs on the place among the lanes of a vector


@method(inputs=(1, 1))
def arcee_fusion(models: Arrays, base: Array) -> Array:
    """Arcee Fusion: take the model's elements that matter most, and the base's elsewhere.

    The importance of an element is |x - theta_0| times the divergence sum P ln(P / Q) of its row, where P and Q are the
    softmax of the model's and the base's row (along the last dimension) plus 1e-8. Taken are the elements whose
    importance is at least q50 + 1.5 (q75 - q25) over the tensor. By Arcee AI, in mergekit; no paper.

    The quantile q is the value at place int(q (n - 1)) in ascending order. Here it is exact for every size, and an
    importance that equals the threshold but for roundings is taken; mergekit looks at a million random elements of a
    larger tensor. The result has the dtype of the recipe; mergekit's is float32 even of bfloat16 models.
    """
    (model,) = models
    size = base.shape[-1] if base.dim() else 1
    divergence = _divergence(model.reshape(-1, size), base.reshape(-1, size))
    tau = model - base
    importance = (tau.abs().double().view(-1, size) * divergence[:, None]).view(base.shape)
    count = importance.numel()
    low, middle, high = (select.kth_magnitude(importance, count - int(q * (count - 1))) for q in (0.25, 0.5, 0.75))
    threshold = middle + 1.5 * (high - low)
    return tau.mul_(importance >= threshold * (1 - _ROUNDINGS)).add_(base)


def _divergence(model: Vectors, base: Vectors) -> PerVector:
    """The sum P ln(P / Q) of each row, float64, at least 0.

    P and Q stay in the working precision: rows that differ little owe some of their divergence to the roundings of
    float32, and mergekit's choice of elements shows it.
    """
    p, q = (rows.softmax(dim=-1).add_(1e-8) for rows in (model, base))
    return sums.dots(p, q.div_(p).log_().neg_()).clamp_min_(0)
