"""Methods that blend the models themselves: copying, weighted means, paths on the sphere.

Values that are not numbers: passthrough and linear keep an infinity or NaN at its own element (a weight of 0
does not hide it: 0 inf = NaN); slerp spreads it over the tensor, because lengths and angles are those of the
whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from mergelab.methods.arc import Arc
from mergelab.methods.mix import Mix
from mergelab.methods.parameters import PerModel, Shared, weights_must_count
from mergelab.methods.registry import method

if TYPE_CHECKING:
    from mergelab.methods.tensors import Array, Arrays


@method(inputs=(1, 1), unchanged=lambda values: values["scale"] == (1.0,))
def passthrough(models: Arrays, *, scale: Annotated[Sequence[float], PerModel(dial=(0, 1.5), default=1.0)]) -> Mix:
    """Passthrough: one model's tensor as it is, or scaled.

    x, or scale x. Stacking slices of this method makes frankenmodels. Without a scale, and with no change of
    dtype, the result is the source's own tensor, shared rather than copied. mergekit multiplies in the
    tensor's dtype; the result is the same.

    Args:
        scale: Factor on the tensor; 1 shares it, 0 on the output projections of a block makes the block do
            nothing.
    """
    return Mix(models, scale)


@method(inputs=(1, None), rule=weights_must_count)
def linear(models: Arrays, *, weight: Annotated[Sequence[float], PerModel(dial=(0, 1))], normalize: bool = True) -> Mix:
    """Linear: the weighted mean of the models ("model soup").

    sum_i w_i x_i, divided by sum_i w_i with ``normalize``: Wortsman et al., "Model soups" (arXiv:2203.05482),
    with a weight per model. Each step is a fused multiply-add in the order of the models, as in mergekit
    0.1.5, which float32 results equal bit for bit. Weights that sum to zero are refused where mergekit writes
    inf and NaN.

    Args:
        weight: How much each model counts.
        normalize: Divide by the sum of the weights.
    """
    return Mix(models, weight, sum(weight) if normalize else None)


@method(inputs=(1, 1))
def slerp(models: Arrays, base: Array, *, t: Annotated[float, Shared(dial=(0, 1))]) -> Arc:
    """Slerp: walk from the base to the model along the arc between them.

    With the tensors read as vectors x0 (base) and x1 at the angle theta: [sin((1 - t) theta) x0 + sin(t
    theta) x1] / sin theta; Shoemake, "Animating rotation with quaternion curves" (SIGGRAPH 1985), there for
    vectors of length 1. As in mergekit, the angle is that of the normalised vectors, a vector shorter than
    1e-8 counts as perpendicular to any other, and nearly parallel or opposite vectors (|cos theta| > 0.9995)
    are interpolated linearly: (1 - t) x0 + t x1. Opposite vectors therefore meet at zero. t = 0 is the base,
    whatever the order in the recipe; t outside 0 to 1 goes on along the arc.

    Args:
        t: Place on the way: 0 is the base, 1 the model.
    """
    return Arc((base, models[0]), t)
