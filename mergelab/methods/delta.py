"""Task arithmetic and its family: methods that work on what fine-tuning changed, each a chain of atoms.

Task vectors are the differences between fine-tuned models and their base. Notation: tau_i = theta_i - theta_0
for model i and base theta_0, w_i its weight, D_i = w_i tau_i. A method thins the task vectors out (``sparsify``),
merges them (``atoms``), and adds the result to the base:

========================  ==================  =======================
thinned out by            merged by the sum   merged by elected signs
========================  ==================  =======================
nothing                   task_arithmetic
largest magnitudes                            ties
lot                       dare_linear         dare_ties
lot, by rank              della_linear        della
magnitudes in the middle  breadcrumbs         breadcrumbs_ties
========================  ==================  =======================

What all have in common: mergekit computes in the dtype of the inputs, here it is float32 rounded once, and breaks
ties in magnitude in no fixed order, where ours counts the lowest index as the larger. Without signs, ``normalize``
refuses weights that cancel; mergekit leaves the sum undivided there, which is what ``normalize: false`` gives.
``int8_mask`` is accepted without effect. Random methods agree with mergekit in distribution: it draws from one
stream for the whole model, ours from one for each tensor and model.

Values that are not numbers: an infinity or NaN in an input makes its own element NaN and leaves the others
alone, but it counts as the largest magnitude when a method trims, and with ``rescale`` it can spread over the
tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch

from mergelab.errors import MethodError, Problem
from mergelab.methods.atoms import added_up, agreed
from mergelab.methods.chain import Atom, Chain, chain
from mergelab.methods.parameters import INT8_MASK, Parameter, PerModel, Shared, weights_must_not_cancel
from mergelab.methods.registry import method
from mergelab.methods.sparsify import divide, drop, drop_by_rank, restore_norm, trim, trim_below, trim_both_ends
from mergelab.methods.tensors import Array, Arrays

Weight = Annotated[Sequence[float], PerModel(dial=(-1, 2))]
Density = Annotated[Sequence[float], PerModel(dial=(0, 1), default=1.0, low=0, high=1)]
Lambda = Annotated[float, Shared(dial=(0, 2))]

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


@method(inputs=(1, None), rule=weights_must_not_cancel, accepts=(_UNUSED_DENSITY, _UNUSED_RESCALE, INT8_MASK))
def task_arithmetic(
    models: Arrays, base: Array, *, weight: Weight, normalize: bool = False, lambda_: Lambda = 1.0
) -> Chain:
    """Task arithmetic: add weighted task vectors to the base.

    theta_0 + lambda sum_i w_i tau_i: Ilharco et al., "Editing Models with Task Arithmetic"
    (arXiv:2212.04089), section 2, with a weight per model. A negative weight unlearns (their "negation").
    ``density`` and ``rescale`` are accepted without effect: mergekit takes them and ignores them.

    Args:
        weight: How much of each model's task vector is added.
        normalize: Divide the sum by the sum of the weights.
        lambda_: Factor on the merged task vector.
    """
    return chain(models, base, *added_up(weight, normalize, lambda_))


@method(inputs=(1, None), accepts=(INT8_MASK,))
def ties(
    models: Arrays,
    base: Array,
    *,
    weight: Weight,
    density: Density,
    normalize: bool = True,
    rescale: bool = False,
    trim_scope: Literal["tensor", "model"] = "tensor",
    lambda_: Lambda = 1.0,
    cutoffs: Sequence[float] | None,
) -> Chain:
    """TIES: trim task vectors, elect a sign for each element, and merge only those that agree with it.

    Yadav et al., "TIES-Merging: Resolving Interference When Merging Models" (arXiv:2306.01708), section 3 and
    algorithm 1: trim each tau_i to its largest magnitudes, gamma = sign(sum_i D_i), mean of the D_i whose sign is
    gamma, theta_0 + lambda times that. As in mergekit, ``density`` is 1 unless given (the paper keeps 20 %), models
    are weighted before the election, a tie elects plus, and each tensor is trimmed on its own. The paper trims the
    whole model at once: ``trim_scope: model``, which keeps all that equals the last magnitude kept, as the paper's
    code does.

    Args:
        weight: How much each model's task vector counts, in the election and in the mean.
        density: Share of each task vector's elements that survives the trim, from 0 to 1.
        normalize: Divide each element by the weights that agreed on it; off: the plain sum of those that
            agree.
        rescale: After trimming, scale each task vector back to its L1 norm.
        trim_scope: Whether a density is a share of each tensor, as in mergekit, or of the whole model, as in the paper.
        lambda_: Factor on the merged task vector.
    """
    trimmed = trim(density)
    if trim_scope == "model" and any(share < 1 for share in density):
        if cutoffs is None:
            what = "trim_scope: model needs the magnitudes from which whole models are kept, and has none."
            raise MethodError(Problem("ties", what, "Merge whole models, or set trim_scope: tensor."))
        trimmed = trim_below(cutoffs)
    back = _rescaled(density, rescale)
    return chain(models, base, trimmed, *back, *agreed(weight, normalize, lambda_))


@method(inputs=(1, None), rule=weights_must_not_cancel, accepts=(INT8_MASK,))
def dare_linear(
    models: Arrays,
    base: Array,
    *,
    weight: Weight,
    density: Density,
    normalize: bool = False,
    rescale: bool = True,
    rescale_by: Literal["norm", "probability"] = "norm",
    lambda_: Lambda = 1.0,
    generator: torch.Generator,
) -> Chain:
    """DARE: drop elements of task vectors by lot, scale up the rest, and add them to the base.

    Yu et al., "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch"
    (arXiv:2311.03099), section 3: m ~ Bernoulli(p), (1 - m) tau / (1 - p), then task arithmetic; density is 1 - p.
    The division by 1 - p, which keeps the expectation, is ``rescale_by: probability``. mergekit scales each tensor to
    the L1 norm that it had: ``rescale_by: norm``, the default; on large tensors the two are nearly the same.

    Args:
        weight: How much of each model's task vector is added.
        density: Share of each task vector's elements that is kept, from 0 to 1.
        normalize: Divide the sum by the sum of the weights.
        rescale: Make up for what was dropped.
        rescale_by: Whether to restore each tensor's L1 norm, as in mergekit, or divide by the density, as in the paper.
        lambda_: Factor on the merged task vector.
    """
    back = _rescaled(density, rescale, rescale_by)
    return chain(models, base, drop(density, generator), *back, *added_up(weight, normalize, lambda_))


@method(inputs=(1, None), accepts=(INT8_MASK,))
def dare_ties(
    models: Arrays,
    base: Array,
    *,
    weight: Weight,
    density: Density,
    normalize: bool = False,
    rescale: bool = True,
    rescale_by: Literal["norm", "probability"] = "norm",
    lambda_: Lambda = 1.0,
    generator: torch.Generator,
) -> Chain:
    """DARE with TIES: drop elements by lot, scale up the rest, and merge those that agree with the elected sign.

    Thinned out as by ``dare_linear`` (arXiv:2311.03099, section 3), merged by steps 2 and 3 of TIES
    (arXiv:2306.01708, algorithm 1) as by ``ties``, whose mean is a sum here unless ``normalize`` is set: mergekit's
    default.

    Args:
        weight: How much each model's task vector counts, in the election and in the sum.
        density: Share of each task vector's elements that is kept, from 0 to 1.
        normalize: Divide each element by the weights that agreed on it.
        rescale: Make up for what was dropped.
        rescale_by: Whether to restore each tensor's L1 norm, as in mergekit, or divide by the density, as in the paper.
        lambda_: Factor on the merged task vector.
    """
    back = _rescaled(density, rescale, rescale_by)
    return chain(models, base, drop(density, generator), *back, *agreed(weight, normalize, lambda_))


def _window_fits(values: Mapping[str, Any]) -> Problem | None:
    """Rule of the DELLA family: probabilities from density - epsilon to density + epsilon, both inside 0 to 1."""
    count = max(len(values["density"]), len(values["epsilon"]))
    densities, epsilons = (one * count if len(one) == 1 else one for one in (values["density"], values["epsilon"]))
    for place, (density, epsilon) in enumerate(zip(densities, epsilons, strict=False), start=1):
        if 0 < density < 1 and not (density - epsilon > 0 and density + epsilon < 1):
            what = f"density {density:g} ± epsilon {epsilon:g} reaches beyond 0 to 1, for model {place}."
            room = min(density, 1 - density)
            return Problem("", what, f"Give an epsilon below {room:.6g}, or another density.")
    return None


def _della_linear_rule(values: Mapping[str, Any]) -> Problem | None:
    return _window_fits(values) or weights_must_not_cancel(values)


Epsilon = Annotated[Sequence[float], PerModel(dial=(0, 0.5), default=0.15, low=0, high=1)]


@method(inputs=(1, None), rule=_window_fits, accepts=(INT8_MASK,))
def della(
    models: Arrays,
    base: Array,
    *,
    weight: Weight,
    density: Density,
    epsilon: Epsilon,
    normalize: bool = True,
    rescale: bool = True,
    rescale_by: Literal["norm", "probability"] = "norm",
    lambda_: Lambda = 1.0,
    generator: torch.Generator,
) -> Chain:
    """DELLA: drop elements by lot, small ones more often, and merge those that agree with the elected sign.

    Deep et al., "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling"
    (arXiv:2406.11617), section 3: drop (MagPrune), elect, fuse. An element is kept with a probability from density -
    epsilon for the smallest magnitude of its row to density + epsilon for the largest; both must lie inside 0 to 1,
    and the paper's epsilon is the whole width, twice as much. The paper divides what is kept by its own probability:
    ``rescale_by: probability``. mergekit scales each tensor to the L1 norm that it had, ``rescale_by: norm``, the
    default, which makes large elements larger and small ones smaller than they were on average. Rows are lines along
    dimension 1, also of tensors with more than two; in a row of one element its probability is the density, where
    mergekit stops.

    Args:
        weight: How much each model's task vector counts, in the election and in the mean.
        density: Share of each task vector's elements that is kept on average, from 0 to 1.
        epsilon: How much more than the density the probability of the largest element of a row is, and how much
            less that of the smallest.
        normalize: Divide each element by the weights that agreed on it; off: the plain sum of those that agree.
        rescale: Make up for what was dropped.
        rescale_by: Whether to restore each tensor's L1 norm, as in mergekit, or divide each element by its
            probability, as in the paper.
        lambda_: Factor on the merged task vector.
    """
    thinned = _dropped_by_rank(density, epsilon, rescale, rescale_by, generator)
    return chain(models, base, *thinned, *agreed(weight, normalize, lambda_))


@method(inputs=(1, None), rule=_della_linear_rule, accepts=(INT8_MASK,))
def della_linear(
    models: Arrays,
    base: Array,
    *,
    weight: Weight,
    density: Density,
    epsilon: Epsilon,
    normalize: bool = False,
    rescale: bool = True,
    rescale_by: Literal["norm", "probability"] = "norm",
    lambda_: Lambda = 1.0,
    generator: torch.Generator,
) -> Chain:
    """DELLA without signs: drop elements by lot, small ones more often, and add the rest to the base.

    Thinned out as by ``della`` (arXiv:2406.11617, section 3, drop), merged as by ``task_arithmetic``.

    Args:
        weight: How much of each model's task vector is added.
        density: Share of each task vector's elements that is kept on average, from 0 to 1.
        epsilon: How much more than the density the probability of the largest element of a row is, and how much
            less that of the smallest.
        normalize: Divide the sum by the sum of the weights.
        rescale: Make up for what was dropped.
        rescale_by: Whether to restore each tensor's L1 norm, as in mergekit, or divide each element by its
            probability, as in the paper.
        lambda_: Factor on the merged task vector.
    """
    thinned = _dropped_by_rank(density, epsilon, rescale, rescale_by, generator)
    return chain(models, base, *thinned, *added_up(weight, normalize, lambda_))


Gamma = Annotated[Sequence[float], PerModel(dial=(0, 0.1), default=0.01, low=0, high=1)]


@method(inputs=(1, None), rule=weights_must_not_cancel, accepts=(INT8_MASK,))
def breadcrumbs(
    models: Arrays,
    base: Array,
    *,
    weight: Weight,
    density: Density,
    gamma: Gamma,
    normalize: bool = False,
    rescale: bool = False,
    lambda_: Lambda = 1.0,
) -> Chain:
    """Breadcrumbs: drop the largest and the smallest elements of task vectors, and add the rest to the base.

    Davari and Belilovsky, "Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks"
    (arXiv:2312.06795), section 3: a mask for each layer cuts off both tails, then theta_0 + lambda times the sum. As in
    mergekit, the tails are given by what is kept: ``density`` of the elements, below the share ``gamma`` of outliers;
    each tensor is masked on its own, and a density of 1 drops nothing, outliers included.

    Args:
        weight: How much of each model's task vector is added.
        density: Share of each task vector's elements that is kept, from 0 to 1.
        gamma: Share of the largest elements that is dropped, as long as enough are left for the density.
        normalize: Divide the sum by the sum of the weights.
        rescale: Scale each task vector back to its L1 norm.
        lambda_: Factor on the merged task vector.
    """
    thinned = trim_both_ends(density, gamma), *_rescaled(density, rescale)
    return chain(models, base, *thinned, *added_up(weight, normalize, lambda_))


@method(inputs=(1, None), accepts=(INT8_MASK,))
def breadcrumbs_ties(
    models: Arrays,
    base: Array,
    *,
    weight: Weight,
    density: Density,
    gamma: Gamma,
    normalize: bool = False,
    rescale: bool = False,
    lambda_: Lambda = 1.0,
) -> Chain:
    """Breadcrumbs with TIES: drop the largest and the smallest elements, and merge those that agree in sign.

    Thinned out as by ``breadcrumbs`` (arXiv:2312.06795, section 3), merged by steps 2 and 3 of TIES
    (arXiv:2306.01708, algorithm 1) as by ``ties``, with the sum for the mean unless ``normalize`` is set.

    Args:
        weight: How much each model's task vector counts, in the election and in the sum.
        density: Share of each task vector's elements that is kept, from 0 to 1.
        gamma: Share of the largest elements that is dropped, as long as enough are left for the density.
        normalize: Divide each element by the weights that agreed on it.
        rescale: Scale each task vector back to its L1 norm.
        lambda_: Factor on the merged task vector.
    """
    thinned = trim_both_ends(density, gamma), *_rescaled(density, rescale)
    return chain(models, base, *thinned, *agreed(weight, normalize, lambda_))


def _rescaled(density: Sequence[float], rescale: bool, rescale_by: str = "norm") -> tuple[Atom, ...]:
    if not rescale:
        return ()
    return (divide(density) if rescale_by == "probability" else restore_norm(density),)


def _dropped_by_rank(
    density: Sequence[float],
    epsilon: Sequence[float],
    rescale: bool,
    rescale_by: str,
    generator: torch.Generator,
) -> tuple[Atom, ...]:
    if rescale and rescale_by == "probability":
        return (drop_by_rank(density, epsilon, generator, unbiased=True),)
    return drop_by_rank(density, epsilon, generator), *_rescaled(density, rescale)
