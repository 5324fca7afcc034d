"""Task vectors by depth: how much of what fine-tuning changed is added, from the first layer to the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from mergelab.methods.atoms import added_up
from mergelab.methods.chain import Chain, chain
from mergelab.methods.parameters import PerModel, Shared
from mergelab.methods.registry import method
from mergelab.methods.tensors import Array, Arrays


@method(inputs=(1, None))
def lines(
    models: Arrays,
    base: Array,
    *,
    weight: Annotated[Sequence[float], PerModel(dial=(-1, 2), default=1.0)],
    alpha: Annotated[float | None, Shared(dial=(0, 1))] = None,
    beta: Annotated[float | None, Shared(dial=(0, 1))] = None,
    depth: float,
) -> Chain:
    """LiNeS: task arithmetic that adds little in the first layer and more with every layer above.

    theta_0 + lambda(l) sum_i w_i tau_i with lambda(l) = alpha + beta l / (L - 1) in layer l of the L of the merged
    model, and alpha outside the layers: Wang et al., "LiNeS: Post-training Layer Scaling Prevents Forgetting and
    Enhances Model Merging" (arXiv:2410.17146), with a weight per model.

    For T models the paper sets alpha = |sum_i tau_i|_1 / |tau_merged|_1 / T, which for the plain sum is 1 / T: the
    default. It finds beta on validation data, and for one model takes 1 - alpha, so that the last layer gets the whole
    sum: the default here for any T. Any method with a ``lambda`` is scaled like this by ``lambda: [alpha, alpha +
    beta]`` over one slice.

    Args:
        weight: How much of each model's task vector counts.
        alpha: Factor on the merged task vector in the first layer and outside the layers; 1 / T unless given.
        beta: What the last layer gets more than the first; 1 - alpha unless given.
    """
    first = 1 / len(models) if alpha is None else alpha
    rise = 1 - first if beta is None else beta
    return chain(models, base, *added_up(weight, normalize=False, factor=first + rise * depth))
