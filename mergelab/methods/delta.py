"""Task arithmetic and its family: methods that work on what fine-tuning changed.

Task vectors are the differences between fine-tuned models and their base. Notation: tau_i = theta_i - theta_0
for model i and base theta_0, w_i its weight, D_i = w_i tau_i.

Values that are not numbers: an infinity or NaN in an input makes its own element NaN and leaves the others
alone, but it counts as the largest magnitude when a method trims, and with ``rescale`` it spreads over the
tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch

from mergelab.methods import select, sums
from mergelab.methods.chain import Atom, Chain, chain
from mergelab.methods.parameters import Parameter, PerModel, Shared, weights_must_not_cancel
from mergelab.methods.registry import method
from mergelab.methods.tensors import Array, Arrays, Deltas

_INT8_MASK = Parameter(
    name="int8_mask",
    per_model=False,
    kind=bool,
    default=False,
    doc="In mergekit: masks in less memory. No effect here.",
    effect=False,
)
_UNUSED_DENSITY = Parameter(
    name="density",
    per_model=True,
    kind=float,
    default=1.0,
    low=0,
    high=1,
    doc="No effect: mergekit takes it here and does not use it.",
    effect=False,
)
_UNUSED_RESCALE = Parameter(
    name="rescale",
    per_model=False,
    kind=bool,
    default=False,
    doc="No effect: mergekit takes it here and does not use it.",
    effect=False,
)


# Atoms ---------------------------------------------------------------------------------------------------


def trim(density: Sequence[float], rescale: bool = False) -> Atom:
    """Keep the largest magnitudes of each delta, max(1, int(density n)) of its n elements, and zero the rest.

    TIES (arXiv:2306.01708, section 3, step 1), but for each tensor on its own as in mergekit, where the paper
    trims the whole model at once. Equal magnitudes: the lowest index is kept first. ``rescale`` restores the
    L1 norm: tau *= |tau|_1 / |trimmed|_1.
    """

    def run(deltas: Deltas) -> Deltas:
        for delta, share in zip(deltas, density, strict=True):
            count = select.kept(share, delta.numel())
            if count == delta.numel():
                continue
            before = sums.absolute(delta) if rescale else 0.0
            delta.mul_(select.largest(delta, count))
            after = sums.absolute(delta) if rescale else 0.0
            if after:
                delta.mul_(before / after)
        return deltas

    return Atom("trim", run, elementwise=all(share == 1 for share in density))


def weigh(weight: Sequence[float]) -> Atom:
    """D_i = w_i tau_i."""

    def run(deltas: Deltas) -> Deltas:
        return [delta.mul_(factor) for delta, factor in zip(deltas, weight, strict=True)]

    return Atom("weigh", run, elementwise=True)


def elect_sign() -> Atom:
    """For each element, elect the sign of sum_i D_i and zero every D_i of another sign.

    TIES, section 3, step 2. A sum of zero elects plus, as in mergekit; the paper takes the majority sign of
    the whole model there.
    """

    def run(deltas: Deltas) -> Deltas:
        # Arithmetic instead of masks, which cost ten times as much where the signs are as good as random. A balance
        # of -0.0 has no delta to lose. NaN passes through the clamp and stays.
        balance = _add(deltas)
        elected = torch.ones_like(balance).copysign_(balance)
        return [delta.mul_(elected).clamp_min_(0).mul_(elected) for delta in deltas]

    return Atom("elect sign", run, elementwise=True)


def total() -> Atom:
    """sum_i D_i."""
    return Atom("sum", lambda deltas: [_add(deltas)], elementwise=True)


def mean(weight: Sequence[float]) -> Atom:
    """sum_i D_i / sum_i w_i. The weights must not cancel."""
    divisor = sum(weight)
    return Atom("mean", lambda deltas: [_add(deltas).div_(divisor)], elementwise=True)


def disjoint_mean(weight: Sequence[float]) -> Atom:
    """sum_i D_i / sum of the w_i whose D_i is not zero, element by element.

    TIES, section 3, step 3, with weights as in mergekit. Where those weights cancel, the sum is left
    undivided; mergekit does so where they cancel exactly, ours also where only rounding keeps them from it (a
    remainder under 1e-6 of sum |w|).
    """
    negligible = 1e-6 * sum(abs(factor) for factor in weight)

    def run(deltas: Deltas) -> Deltas:
        divisor = torch.zeros_like(deltas[0])
        for delta, factor in zip(deltas, weight, strict=True):
            divisor.add_(delta.sign().abs_(), alpha=factor)  # 1 where it is not zero
        divides = divisor.abs().gt_(negligible)  # 1 or 0; again without masks
        divisor.mul_(divides).add_(divides.neg_().add_(1))
        return [_add(deltas).div_(divisor)]

    return Atom("disjoint mean", run, elementwise=True)


def scale(factor: float) -> Atom:
    """The merged task vector times lambda."""

    def run(deltas: Deltas) -> Deltas:
        return deltas if factor == 1 else [delta.mul_(factor) for delta in deltas]

    return Atom("scale", run, elementwise=True)


def _add(deltas: Deltas) -> Array:
    """The sum in the order of the models, in a fresh tensor."""
    result = deltas[0].clone()
    for delta in deltas[1:]:
        result.add_(delta)
    return result


# Methods -------------------------------------------------------------------------------------------------


@method(
    inputs=(1, None),
    rule=weights_must_not_cancel,
    accepts=(_UNUSED_DENSITY, _UNUSED_RESCALE, _INT8_MASK),
)
def task_arithmetic(
    models: Arrays,
    base: Array,
    *,
    weight: Annotated[Sequence[float], PerModel(dial=(-1, 2))],
    normalize: bool = False,
    lambda_: Annotated[float, Shared(dial=(0, 2))] = 1.0,
) -> Chain:
    """Task arithmetic: add weighted task vectors to the base.

    theta_0 + lambda sum_i w_i tau_i: Ilharco et al., "Editing Models with Task Arithmetic"
    (arXiv:2212.04089), section 2, with a weight per model. A negative weight unlearns (their "negation").

    With ``normalize``, weights that cancel are refused; mergekit leaves the sum undivided there, which is
    what ``normalize: false`` gives. ``density``, ``rescale`` and ``int8_mask`` are accepted without effect:
    mergekit takes them and ignores them.

    Args:
        weight: How much of each model's task vector is added.
        normalize: Divide the sum by the sum of the weights.
        lambda_: Factor on the merged task vector.
    """
    merged = mean(weight) if normalize else total()
    return chain(models, base, weigh(weight), merged, scale(lambda_))


@method(inputs=(1, None), accepts=(_INT8_MASK,))
def ties(
    models: Arrays,
    base: Array,
    *,
    weight: Annotated[Sequence[float], PerModel(dial=(-1, 2))],
    density: Annotated[Sequence[float], PerModel(dial=(0, 1), default=1.0, low=0, high=1)],
    normalize: bool = True,
    rescale: bool = False,
    lambda_: Annotated[float, Shared(dial=(0, 2))] = 1.0,
) -> Chain:
    """TIES: trim task vectors, elect a sign for each element, and merge only those that agree with it.

    Yadav et al., "TIES-Merging: Resolving Interference When Merging Models" (arXiv:2306.01708), section 3 and
    algorithm 1: trim each tau_i to its largest magnitudes, gamma = sign(sum_i D_i), mean of the D_i whose
    sign is gamma, theta_0 + lambda times that. The paper trims the whole model at once and keeps 20 %; here,
    as in mergekit, each tensor is trimmed on its own, ``density`` is 1 unless given, models are weighted
    before the election, and a tie elects plus.

    mergekit computes in the dtype of the inputs and breaks ties in magnitude in no fixed order; ours computes
    in float32 and keeps the lowest index. ``int8_mask`` is accepted without effect.

    Args:
        weight: How much each model's task vector counts, in the election and in the mean.
        density: Share of each task vector's elements that survives the trim, from 0 to 1.
        normalize: Divide each element by the weights that agreed on it; off: the plain sum of those that
            agree.
        rescale: After trimming, scale each task vector back to its L1 norm.
        lambda_: Factor on the merged task vector.
    """
    merged = disjoint_mean(weight) if normalize else total()
    return chain(models, base, trim(density, rescale), weigh(weight), elect_sign(), merged, scale(lambda_))
