"""Atoms that merge task vectors: weights, votes, sums and means.

Notation: theta_0 is the base, tau_i = theta_i - theta_0 the task vector of model i, w_i its weight, D_i = w_i tau_i.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mergelab.methods.chain import Atom
from mergelab.methods.tensors import Array, Deltas

_SMALLEST = torch.finfo(torch.float32).tiny


def added_up(weight: Sequence[float], normalize: bool, factor: float) -> tuple[Atom, ...]:
    """The end of the linear methods: factor sum_i D_i, divided by sum_i w_i with ``normalize``."""
    return weigh(weight), mean(weight) if normalize else total(), scale(factor)


def agreed(weight: Sequence[float], normalize: bool, factor: float) -> tuple[Atom, ...]:
    """The end of ``ties`` and its like: factor times the sum of the D_i that have the elected sign, divided by their
    w_i with ``normalize``. TIES (arXiv:2306.01708), algorithm 1, steps 2 and 3.
    """
    return weigh(weight), elect_sign(), disjoint_mean(weight) if normalize else total(), scale(factor)


def weigh(weight: Sequence[float]) -> Atom:
    """D_i = w_i tau_i."""

    def run(deltas: Deltas) -> Deltas:
        return [delta.mul_(factor) for delta, factor in zip(deltas, weight, strict=True)]

    return Atom(
        "weigh", run, elementwise=True, doc="Each task vector is multiplied by its weight.", told={"weight": weight}
    )


def elect_sign() -> Atom:
    """For each element, elect the sign of sum_i D_i and zero every D_i of another sign.

    TIES (arXiv:2306.01708), section 3, step 2. A sum of zero elects plus, as in mergekit; the paper takes the majority
    sign of the whole model there.
    """

    def run(deltas: Deltas) -> Deltas:
        # Limits instead of masks, which cost ten times as much where the signs are as good as random: from 0 up where
        # plus is elected, down from 0 where minus is. A balance of -0.0 has no delta to lose. NaN stays.
        balance = _add(deltas)
        elected = balance.new_full((), math.inf).copysign(balance)
        least, most = elected.clamp_max(0), elected.clamp_min_(0)
        # What a clamp makes of -0.0 depends on its place among the lanes of a vector; with 0.0 added it is 0.0.
        return [torch.clamp(delta, least, most, out=delta).add_(0.0) for delta in deltas]

    doc = "Each element elects the sign of the sum; what has another sign becomes zero."
    return Atom("elect sign", run, elementwise=True, doc=doc, told={"elect": True})


def total() -> Atom:
    """sum_i D_i."""
    return Atom("sum", lambda deltas: [_add(deltas)], elementwise=True, doc="The task vectors are added up.", told={})


def mean(weight: Sequence[float]) -> Atom:
    """sum_i D_i / sum_i w_i; zero where all weights are. They must not cancel."""
    divisor = sum(weight) or 1.0
    doc = "The task vectors are added up and divided by the sum of the weights."

    def run(deltas: Deltas) -> Deltas:
        # By a tensor: CUDA would multiply by the reciprocal of a plain number, which rounds twice.
        return [_add(deltas).div_(deltas[0].new_full((), divisor))]

    return Atom("mean", run, elementwise=True, doc=doc, told={"divisor": divisor})


def disjoint_mean(weight: Sequence[float]) -> Atom:
    """sum_i D_i / sum of the w_i whose D_i is not zero, element by element.

    TIES, section 3, step 3, with weights as in mergekit. Where those weights cancel, the sum is left undivided;
    mergekit does so where they cancel exactly, ours also where only rounding keeps them from it (a remainder under
    1e-6 of the sum of their sizes).
    """
    positive = [factor for factor in weight if factor > 0]

    def divisor(deltas: Deltas) -> Array:
        total, negligible, agrees = (
            torch.zeros_like(deltas[0]),
            torch.zeros_like(deltas[0]),
            torch.empty_like(deltas[0]),
        )
        for delta, factor in zip(deltas, weight, strict=True):
            torch.ne(delta, 0, out=agrees)  # 1 or 0
            total.add_(agrees, alpha=factor)
            negligible.add_(agrees, alpha=1e-6 * abs(factor))
        divides = total.abs().gt_(negligible)  # 1 or 0; again without masks
        return total.mul_(divides).add_(divides.neg_().add_(1))

    def positive_divisor(deltas: Deltas) -> Array:
        total, agrees = torch.empty_like(deltas[0]), torch.empty_like(deltas[0])
        torch.ne(deltas[0], 0, out=total).mul_(weight[0])  # 1 or 0, times the weight
        for delta, factor in zip(deltas[1:], weight[1:], strict=True):
            total.add_(torch.ne(delta, 0, out=agrees), alpha=factor)
        return total.clamp_min_(min(positive, default=1.0))  # less is 0, where no delta is left

    divided_by = positive_divisor if all(factor == 0 or factor >= _SMALLEST for factor in weight) else divisor

    def run(deltas: Deltas) -> Deltas:
        return [_add(deltas).div_(divided_by(deltas))]

    doc = "Each element is divided by the sum of the weights that agreed on it."
    return Atom("disjoint mean", run, elementwise=True, doc=doc, told={"divisor": None})


def scale(factor: float) -> Atom:
    """The merged task vector times lambda."""

    def run(deltas: Deltas) -> Deltas:
        return deltas if factor == 1 else [delta.mul_(factor) for delta in deltas]

    doc = "The merged task vector is multiplied by lambda."
    return Atom("scale", run, elementwise=True, doc=doc, told={"factor": factor})


def _add(deltas: Deltas) -> Array:
    """The sum in the order of the models, in a fresh tensor."""
    if len(deltas) == 1:
        return deltas[0].clone()
    result = deltas[0] + deltas[1]
    for delta in deltas[2:]:
        result.add_(delta)
    return result
