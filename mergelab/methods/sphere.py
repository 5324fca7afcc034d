"""Methods that walk on the sphere: they mix directions and lengths of tensors, instead of their elements.

Whatever lies between directions is a combination of the inputs. So coefficients are found first, in float64 from
lengths and inner products, and each element is combined once.

Values that are not numbers: an infinity or NaN spreads over the vector that it is in, because lengths and angles are
those of whole vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from mergelab.errors import Problem
from mergelab.methods import sums
from mergelab.methods.parameters import PerModel, Shared
from mergelab.methods.registry import method
from mergelab.methods.tensors import Array, Arrays, Vectors

_PARALLEL = {torch.float32: 1e-7, torch.float64: 1e-14}  # of sin^2: the roundings of an input may make as much
_OPPOSITE = 1e-6  # of the sine: nearer to the opposite point, the way there has no direction


@method(inputs=(2, 2))
def nuslerp(
    models: Arrays,
    base: Array | None,
    *,
    weight: Annotated[Sequence[float], PerModel(dial=(0, 1))],
    nuslerp_flatten: bool = True,
    nuslerp_row_wise: bool = False,
) -> Array:
    """NuSLERP: slerp between two models, or with a base between their task vectors.

    With t = w_1 / (w_0 + w_1), and theta the angle between the vectors x0 and x1: [sin((1 - t) theta) x0 + sin(t
    theta) x1] / sin theta, after Shoemake, "Animating rotation with quaternion curves" (SIGGRAPH 1985). With a base,
    the vectors are the task vectors, and the base is added to the result. Weights that sum to zero (under 1e-6)
    meet half way.

    As in mergekit, parallel and opposite vectors are interpolated linearly, (1 - t) x0 + t x1. Those are here the
    vectors with sin^2 theta up to 1e-7 (1e-14 for float64 sources), which is where float32's cosine rounds to 1. A
    vector of zeros counts as perpendicular to any other; so do, nearly, vectors shorter than 1e-7 in mergekit, but
    not here.

    Args:
        weight: How much each of the two models counts.
        nuslerp_flatten: Read the whole tensor as one vector; off: each of its rows, the vectors along the last
            dimension.
        nuslerp_row_wise: With flatten off, the vectors along the first dimension instead, which are the columns of a
            matrix (mergekit's name says the opposite of what it does, and is kept).
    """
    total = weight[0] + weight[1]
    t = 0.5 if abs(total) < 1e-6 else weight[1] / total
    shape = models[0].shape
    across = not nuslerp_flatten and nuslerp_row_wise and len(shape) > 1

    def vectors(tensor: Array) -> Vectors:
        tensor = tensor.movedim(0, -1) if across else tensor
        return tensor.reshape(1, -1) if nuslerp_flatten or not shape else tensor.reshape(-1, tensor.shape[-1])

    start, end = (vectors(model if base is None else model - base) for model in models)
    mixed = _arc(start, end, t)
    mixed = mixed.view(*shape[1:], shape[0]).movedim(-1, 0).contiguous() if across else mixed.view(shape)
    return mixed if base is None else mixed.add_(base)


def _arc(start: Vectors, end: Vectors, t: float) -> Vectors:
    """Slerp of each vector of ``start`` with that of ``end``; lerp where they are parallel or opposite."""
    lengths = (sums.dots(start, start) * sums.dots(end, end)).sqrt_()
    cosine = (sums.dots(start, end) / lengths).masked_fill_(lengths == 0, 0).clamp_(-1, 1)
    theta = cosine.acos()
    straight = 1 - cosine.square() <= _PARALLEL[start.dtype]
    first = torch.where(straight, 1 - t, torch.sin((1 - t) * theta) / theta.sin())
    second = torch.where(straight, t, torch.sin(t * theta) / theta.sin())
    return (start * first.to(start.dtype)[:, None]).addcmul_(end, second.to(start.dtype)[:, None])


def _weights_must_not_cancel(values: Mapping[str, Any]) -> Problem | None:
    weight = values["weight"]
    if values["normalize_weights"] and abs(sum(weight)) <= 1e-8 * sum(abs(factor) for factor in weight):
        return Problem("", "the weights sum to zero.", "Change a weight, or set normalize_weights: false.")
    return None


@method(inputs=(1, None), rule=_weights_must_not_cancel)
def multislerp(
    models: Arrays,
    base: Array | None,
    *,
    weight: Annotated[Sequence[float], PerModel(dial=(0, 1))],
    normalize_weights: bool = True,
    eps: Annotated[float, Shared(low=1e-12)] = 1e-8,
) -> Array:
    """Multi-SLERP: the weighted mean of directions times the weighted mean of lengths.

    With x_i the models, or with a base the task vectors, u_i = x_i / (|x_i| + eps) and the mean M = sum_i w_i u_i:
    (sum_i w_i |x_i|) cos(eps) M / |M|, plus the base. mergekit goes on from m = M / |M| along the mean of the u_i
    in the tangent space there, sum_i w_i (u_i - <u_i, m> m). That is M - |M| m = 0 for any weights: nothing is left
    of that step but its roundings, and the eps that is added to its length, whose cosine stands in the formula. Made
    for mergekit; no paper.

    Where directions cancel (|M| < eps), the result is sum_i w_i x_i, as in mergekit for two models; for more, mergekit
    stops with an error. One model comes out as it is, whatever its weight but zero. Weights that sum to zero are
    refused with ``normalize_weights``.

    Args:
        weight: How much each model counts.
        normalize_weights: Divide the weights by their sum.
        eps: The length of a mean direction that counts as none; also added to lengths before dividing by them.
    """
    if len(models) == 1:
        return models[0]
    divisor = sum(weight) if normalize_weights else 1.0
    weight = [factor / divisor for factor in weight]
    vectors = models if base is None else [model - base for model in models]
    lengths = [sums.norm(vector) for vector in vectors]
    mean = _combine(vectors, [w / (length + eps) for w, length in zip(weight, lengths, strict=True)])
    length = sums.norm(mean)
    if length < eps:
        mean = _combine(vectors, weight)
    else:
        mean.mul_(sum(w * one for w, one in zip(weight, lengths, strict=True)) * math.cos(eps) / length)
    return mean if base is None else mean.add_(base)


@method(inputs=(1, None))
def karcher(
    models: Arrays,
    *,
    max_iter: Annotated[int, Shared(low=1, dial=(1, 20))] = 10,
    tol: Annotated[float, Shared(low=1e-12)] = 1e-5,
) -> Array:
    """Karcher mean: the direction with the least squared angles to all models, times their mean length.

    Gradient descent on the sphere with steps of length 1: from the mean m of the directions u_i, follow the mean of
    the logarithms theta_i / sin theta_i (u_i - cos theta_i m), cos theta_i = <u_i, m>, until it is shorter than
    ``tol``: Karcher, "Riemannian center of mass and mollifier smoothing" (1977); for merging, arXiv:2603.04972. All
    models count alike, the base as one of them.

    As in mergekit, a model not longer than ``tol`` has no direction, but its length counts; directions that cancel
    start at the first model's; a model at an angle under ``tol`` does not pull. Nor does one opposite to m (sin theta
    under 1e-6), which has no way there before the others. All this takes place in the span of the models, so it is
    worked out on coefficients and the matrix of inner products: the number of steps costs nothing.

    Args:
        max_iter: The most steps.
        tol: Lengths and angles below count as zero.
    """
    lengths = [sums.norm(model) for model in models]
    long = [place for place, length in enumerate(lengths) if not length <= tol]
    if not long:
        return torch.zeros_like(models[0], memory_format=torch.contiguous_format)
    gram = torch.eye(len(long), dtype=torch.float64)
    for row, i in enumerate(long):
        for column, j in enumerate(long[:row]):
            cosine = sums.dot(models[i], models[j]) / lengths[i] / lengths[j]
            gram[row, column] = gram[column, row] = cosine
    mean_length = sum(lengths) / len(models)
    mean = _karcher_mean(gram, max_iter, tol).tolist()
    coefficients = [mean_length * one / lengths[place] for place, one in zip(long, mean, strict=True)]
    return _combine((models[place] for place in long), coefficients)


def _karcher_mean(gram: Tensor, steps: int, tol: float) -> Tensor:
    """Coefficients [n], over n unit vectors with the inner products ``gram`` [n, n], of their Karcher mean; float64."""

    def length(of: Tensor) -> float:
        return math.sqrt(max(0.0, float(of @ gram @ of)))

    count = len(gram)
    mean = torch.full((count,), 1 / count, dtype=torch.float64)
    mean = mean / length(mean) if length(mean) >= tol else torch.eye(count, dtype=torch.float64)[0]
    for _ in range(steps):
        cosine = (gram @ mean).clamp(-1, 1)
        theta = cosine.acos()
        pulls = (theta >= tol) & (theta.sin() >= _OPPOSITE)
        pull = torch.where(pulls, theta / theta.sin(), 0) / count
        step = pull - (pull @ cosine) * mean
        far = length(step)
        if far < tol:
            break
        mean = math.cos(far) * mean + math.sin(far) / far * step
        mean = mean / length(mean)
    return mean


def _combine(vectors: Iterable[Array], coefficients: Sequence[float]) -> Array:
    """sum_i c_i x_i, in a fresh tensor, by fused multiply-adds."""
    pairs = zip(vectors, coefficients, strict=True)
    vector, coefficient = next(pairs)
    total = vector * coefficient
    for vector, coefficient in pairs:
        total.add_(vector, alpha=coefficient)
    return total
