"""Atoms that merge task vectors: weights, votes, sums and means.

Notation: theta_0 is the base, tau_i = theta_i - theta_0 the task vector of model i, w_i its weight, D_i = w_i tau_i.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mergelab.methods.chain import Atom
from mergelab.methods.tensors import Array, Deltas


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

    return Atom("weigh", run, elementwise=True, doc="Each task vector is multiplied by its weight.")


def elect_sign() -> Atom:
    """For each element, elect the sign of sum_i D_i and zero every D_i of another sign.

    TIES (arXiv:2306.01708), section 3, step 2. A sum of zero elects plus, as in mergekit; the paper takes the majority
    sign of the whole model there.
    """

    def run(deltas: Deltas) -> Deltas:
        # Arithmetic instead of masks, which cost ten times as much where the signs are as good as random. A balance
        # of -0.0 has no delta to lose. NaN passes through the clamp and stays.
        balance = _add(deltas)
        elected = torch.ones_like(balance).copysign_(balance)
        return [delta.mul_(elected).clamp_min_(0).mul_(elected) for delta in deltas]

    doc = "Each element elects the sign of the sum; what has another sign becomes zero."
    return Atom("elect sign", run, elementwise=True, doc=doc)


def total() -> Atom:
    """sum_i D_i."""
    return Atom("sum", lambda deltas: [_add(deltas)], elementwise=True, doc="The task vectors are added up.")


def mean(weight: Sequence[float]) -> Atom:
    """sum_i D_i / sum_i w_i; zero where all weights are. They must not cancel."""
    divisor = sum(weight) or 1.0
    doc = "The task vectors are added up and divided by the sum of the weights."
    return Atom("mean", lambda deltas: [_add(deltas).div_(divisor)], elementwise=True, doc=doc)


def disjoint_mean(weight: Sequence[float]) -> Atom:
    """sum_i D_i / sum of the w_i whose D_i is not zero, element by element.

    TIES, section 3, step 3, with weights as in mergekit. Where those weights cancel, the sum is left undivided;
    mergekit does so where they cancel exactly, ours also where only rounding keeps them from it (a remainder under
    1e-6 of the sum of their sizes).
    """
    may_cancel = min(weight) < 0 < max(weight)

    def run(deltas: Deltas) -> Deltas:
        divisor = torch.zeros_like(deltas[0])
        negligible = torch.zeros_like(deltas[0]) if may_cancel else divisor.new_zeros(())
        for delta, factor in zip(deltas, weight, strict=True):
            agrees = delta.sign().abs_()  # 1 where it is not zero
            divisor.add_(agrees, alpha=factor)
            if may_cancel:
                negligible.add_(agrees, alpha=1e-6 * abs(factor))
        divides = divisor.abs().gt_(negligible)  # 1 or 0; again without masks
        divisor.mul_(divides).add_(divides.neg_().add_(1))
        return [_add(deltas).div_(divisor)]

    doc = "Each element is divided by the sum of the weights that agreed on it."
    return Atom("disjoint mean", run, elementwise=True, doc=doc)


def scale(factor: float) -> Atom:
    """The merged task vector times lambda."""

    def run(deltas: Deltas) -> Deltas:
        return deltas if factor == 1 else [delta.mul_(factor) for delta in deltas]

    return Atom("scale", run, elementwise=True, doc="The merged task vector is multiplied by lambda.")


def _add(deltas: Deltas) -> Array:
    """The sum in the order of the models, in a fresh tensor."""
    result = deltas[0].clone()
    for delta in deltas[1:]:
        result.add_(delta)
    return result
