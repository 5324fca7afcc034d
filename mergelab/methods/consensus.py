"""Methods that ask what several models agree on: how near to trust their mean, whose elements count, what is shared.

Notation: tau_i = theta_i - theta_0 for model i and base theta_0. Sums over elements are float64, variances are exact.

Values that are not numbers: ram and ramplus_tl keep an infinity or NaN at its own element; model_stock spreads it over
the vector that it is in, sce over the tensor.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from mergelab.methods import select, sums
from mergelab.methods.parameters import INT8_MASK, Shared
from mergelab.methods.registry import method
from mergelab.methods.tensors import Array, Arrays, Vectors

_BLOCK = 1 << 16  # elements whose differences are taken at a time: they stay in the cache


@method(inputs=(2, None))
def model_stock(models: Arrays, base: Array, *, filter_wise: bool = False) -> Array:
    """Model Stock: as far from the base towards the mean of the models as the angle between them tells.

    theta_0 + t (mean_i theta_i - theta_0) with t = k cos / (1 + (k - 1) cos), for k models whose task vectors have on
    the average of all pairs the cosine cos: Jang et al., "Model Stock: All we need is just a few fine-tuned models"
    (arXiv:2403.19522), section 4.2 and the equation for N models. Equal task vectors give t = 1, perpendicular ones
    the base.

    As in mergekit, a product of two lengths below 1e-6 counts as 1e-6 in the cosine, t = 0 where its denominator is
    under 1e-6, and cosines below zero give a negative t, away from the models.

    Args:
        filter_wise: An angle for each row of the tensor instead of one for the whole: for each vector along the last
            dimension.
    """
    size = base.shape[-1] if filter_wise and base.dim() else base.numel()
    taus: list[Vectors] = [(model - base).reshape(-1, size) for model in models]
    lengths = [sums.dots(tau, tau).sqrt_() for tau in taus]
    cosines = [
        (sums.dots(taus[i], taus[j]) / (lengths[i] * lengths[j]).clamp_min_(1e-6)).clamp_(-1, 1)
        for i, j in itertools.combinations(range(len(taus)), 2)
    ]
    count = len(taus)
    cosine = _total(cosines) / len(cosines)
    divisor = 1 + (count - 1) * cosine
    t = torch.where(divisor.abs() < 1e-6, 0, count * cosine / divisor)
    merged = _total(taus).mul_((t / count).to(base.dtype)[:, None])
    return merged.view(base.shape).add_(base)


@method(inputs=(1, None), accepts=(INT8_MASK,))
def sce(
    models: Arrays, base: Array, *, select_topk: Annotated[float, Shared(dial=(0, 1), low=0, high=1)] = 1.0
) -> Array:
    """SCE: select the elements on which the models differ most, calculate a weight for each model, erase minorities.

    Wan et al., "FuseChat: Knowledge Fusion of Chat Models" (arXiv:2408.07990), section 3.3. Select: of the elements
    whose variance over the tau_i is not zero the share ``select_topk`` with the largest, unless that is 1; the others
    become zero. Calculate: w_i = mean(tau_i^2) / sum_j mean(tau_j^2), equal weights where that sum is under 1e-6.
    Erase: the elements whose sign is not that of sum_i tau_i, a sum of zero counting as plus. Then theta_0 + sum_i w_i
    tau_i / sum_i w_i over the models that are left at an element, the divisor at least 1e-6.

    Among equal variances the lowest index is selected first; mergekit keeps no fixed order. ``int8_mask`` is accepted
    without effect.

    Args:
        select_topk: Share of the elements with a variance that is merged, from 0 to 1.
    """
    taus = [model - base for model in models]
    if select_topk < 1:
        variance = _variance(models)
        selected = select.largest(variance, int(int(variance.count_nonzero()) * select_topk))
        taus = [tau.mul_(selected) for tau in taus]
    energies = [sums.dot(tau, tau) / tau.numel() for tau in taus]
    energy = sum(energies)
    weight = [1 / len(taus) if energy < 1e-6 else one / energy for one in energies]
    balance = _total(taus)
    elected = torch.ones_like(balance).copysign_(balance)
    merged, divisor = torch.zeros_like(base), torch.zeros_like(base)
    for tau, factor in zip(taus, weight, strict=True):
        agrees = (tau * elected).sign_().clamp_min_(0)
        merged.addcmul_(tau, agrees, value=factor)
        divisor.add_(agrees, alpha=factor)
    return merged.div_(divisor.clamp_min_(1e-6)).add_(base)


def _variance(models: Arrays) -> Array:
    """k^2 times the variance over the k models, element by element: the squares of the differences of all pairs.

    Summed in float64, where the differences of float32 numbers are exact, so that neither the base nor the order of
    the models shows in it, and equal models have none.
    """
    flat = [model.reshape(-1) for model in models]
    found = torch.empty_like(flat[0])
    for place, *pieces in zip(*(tensor.split(_BLOCK) for tensor in (found, *flat)), strict=True):
        total = torch.zeros_like(place, dtype=torch.float64)
        for one, other in itertools.combinations([piece.double() for piece in pieces], 2):
            total.add_((one - other).square_())
        place.copy_(total)
    return found.view(models[0].shape)


@method(inputs=(1, None), elementwise=True)
def ram(models: Arrays, base: Array, *, epsilon: Annotated[float, Shared(dial=(0, 1e-2), low=0)] = 1e-5) -> Array:
    """RAM: keep what one model alone changed, average what several changed.

    A model changed an element where |tau_i| > epsilon. theta_0 + the sum of those tau_i divided by their number:
    arXiv:2601.13572, for experts made by reinforcement learning, whose task vectors are sparse.

    Args:
        epsilon: A change up to this size counts as none.
    """
    return _shared_and_unique(models, base, epsilon, r=0.0, alpha=0.0)


@method(inputs=(1, None))
def ramplus_tl(
    models: Arrays,
    base: Array,
    *,
    epsilon: Annotated[float, Shared(dial=(0, 1e-2), low=0)] = 1e-5,
    r: Annotated[float, Shared(dial=(0, 1))] = 0.1,
    alpha: Annotated[float, Shared(dial=(0, 1), low=0)] = 0.2,
) -> Array:
    """RAM+: as RAM, and what one model alone changed grows by what it lost where it was averaged.

    A model's changes that no other shares are multiplied by 1 + r min(shared_i / max(unique_i, epsilon), alpha), where
    shared_i and unique_i count its changed elements in this tensor: arXiv:2601.13572, tensor by tensor ("tl").

    The result has the dtype of the recipe; mergekit's is float32 even of bfloat16 models.

    Args:
        epsilon: A change up to this size counts as none.
        r: Growth for each shared element per unique one.
        alpha: The most shared elements per unique one that count.
    """
    return _shared_and_unique(models, base, epsilon, r=r, alpha=alpha)


def _shared_and_unique(models: Arrays, base: Array, epsilon: float, *, r: float, alpha: float) -> Array:
    taus = [_changes(model - base, epsilon) for model in models]
    sharers = _total([tau.sign().abs_() for tau in taus])
    alone = sharers == 1
    merged = torch.zeros_like(base)
    for tau in taus:
        merged.add_(tau)
        if r and (unique := int((alone & (tau != 0)).sum())):
            shared = int(tau.count_nonzero()) - unique
            merged.addcmul_(tau, alone, value=r * min(shared / max(unique, epsilon), alpha))
    return merged.div_(sharers.clamp_min_(1)).add_(base)


def _changes(tau: Array, epsilon: float) -> Array:
    """Zero where |tau| <= epsilon. NaN stays."""
    return tau.masked_fill_(tau.abs() <= epsilon, 0)


def _total(tensors: Sequence[Tensor]) -> Tensor:
    """The sum in the order of the models, in a fresh tensor."""
    result = tensors[0].clone()
    for tensor in tensors[1:]:
        result.add_(tensor)
    return result
