"""Methods that see a change as a matrix, and merge its singular values and directions.

Notation as in ``delta``; tau_i = U_i S_i V_i^T, singular values falling. Matrices are the last two dimensions of a
tensor, one by one along the others (experts). A tensor of one dimension or none has no directions; each method says
what it does there.

A library is free to choose among the bases of equal singular values and the signs of all vectors, and the vectors of
the value zero are anything. Here none of that reaches a result, but for one case that ``knots`` names: singular values
below 1e-5 of a matrix's largest count as zero and their vectors take no part, so that changes of low rank, such as
LoRA's, are merged on the directions that they have. (What storing the weights rounded away is a change of full rank:
in bfloat16 it is larger than 1e-5, and nobody can tell it from what was learned.)

All is computed in float64 and rounded once. The library (LAPACK) shares its sums among torch's threads: with another
number of them the float64 values differ in their last bits, and now and then so does the last bit of what is rounded.
How many threads there are is the process's business: to set it for one merge would set it for whatever else runs.

A model of weight 0 takes no part. Values that are not numbers: one infinity or NaN makes its whole matrix NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from mergelab.methods.atoms import agreed, scale, total, weigh
from mergelab.methods.chain import Atom, Chain, chain
from mergelab.methods.parameters import PerModel, Shared
from mergelab.methods.registry import method
from mergelab.methods.sparsify import trim
from mergelab.methods.tensors import Array, Arrays, Deltas

_NEGLIGIBLE = 1e-5
"""Of the largest singular value: what is smaller is zero. Official KnOTS has this number, without the "of"."""
_TIE = 1e-9
"""Singular values that differ by less, relative to themselves, are equal."""


# Matrices ------------------------------------------------------------------------------------------------


def svd(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (..., m, r), S (..., r) and V^T (..., r, n), r = min(m, n), of matrices (..., m, n), float64.

    Vectors of negligible singular values are zero, and so are those values. A matrix that is not finite has U of NaN.
    """
    finite = matrices.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    matrices = torch.where(finite, matrices, 0)
    # A power of two brings the values near 1, so that no size can overflow or fall below a limit of the library.
    unit = torch.ldexp(matrices.new_ones(()), torch.frexp(matrices.abs().amax()).exponent)
    left, values, right = torch.linalg.svd(matrices / unit, full_matrices=False)
    counts = values > _NEGLIGIBLE * values[..., :1]
    left = torch.where(counts[..., None, :], left, 0)
    right = torch.where(counts[..., :, None], right, 0)
    return torch.where(finite, left, torch.nan), torch.where(counts, values, 0) * unit, right


def nearest_orthonormal(vectors: Tensor) -> Tensor:
    """The matrix nearest to ``vectors`` (..., m, n) whose columns (rows, where n > m) are orthonormal: U V^T.

    The orthogonal Procrustes problem. Where the vectors span less, the nearest with the same span: U V^T over their
    singular values other than zero, which unlike the rest of U and V are no free choice.
    """
    left, _, right = svd(vectors)
    return left @ right


# Atoms ---------------------------------------------------------------------------------------------------


def decorrelate(weight: Sequence[float]) -> Atom:
    """Each task's strongest directions, made orthogonal to the other tasks'. (Vectors: divided by T.)"""
    tasks = _count(weight)

    def run(deltas: Deltas) -> Deltas:
        if deltas[0].dim() < 2:
            return [delta.div_(tasks) for delta in deltas]
        parts = [_strongest(delta, tasks) for delta in deltas]
        lefts, values, rights = zip(*parts, strict=True)
        widths = [one.shape[-1] for one in values]
        new_left = nearest_orthonormal(torch.cat(lefts, dim=-1)).split(widths, dim=-1)
        new_right = nearest_orthonormal(torch.cat(rights, dim=-2)).split(widths, dim=-2)
        return [(u * s[..., None, :]) @ v for u, s, v in zip(new_left, values, new_right, strict=True)]

    doc = "Each task keeps its strongest directions, and those of different tasks are made orthogonal."
    return Atom("decorrelate", run, doc=doc)


def flatten_spectrum(weight: Sequence[float]) -> Atom:
    """Every singular value other than zero becomes their mean. (Vectors: divided by T.)"""

    def run(deltas: Deltas) -> Deltas:
        (delta,) = deltas
        if delta.dim() < 2:
            return [delta.div_(_count(weight))]
        left, values, right = svd(delta)
        rank = (values > 0).sum(-1, keepdim=True).clamp_min(1)
        mean = values.sum(-1, keepdim=True) / rank
        return [(left * mean[..., None]) @ right]

    return Atom("flatten spectrum", run, doc="Every direction of the matrix becomes as strong as the mean of them.")


def into(directions: Tensor) -> Atom:
    """Coordinates along orthonormal ``directions`` (..., m, r): (..., r, n) for each delta (..., m, n)."""
    doc = "Task vectors are written as coordinates along directions that they share."
    return Atom("shared directions", lambda deltas: [directions.mT @ delta for delta in deltas], doc=doc)


def out_of(directions: Tensor) -> Atom:
    """Back from coordinates along ``directions``."""
    doc = "The coordinates become a matrix of the model again."
    return Atom("rebuild", lambda deltas: [directions @ delta for delta in deltas], doc=doc)


def _count(weight: Sequence[float]) -> int:
    """T: how many models take part."""
    return max(1, sum(factor != 0 for factor in weight))


def _strongest(delta: Tensor, tasks: int) -> tuple[Tensor, Tensor, Tensor]:
    """The 1/T largest singular triplets of a delta, at least one, and those that tie with the last of them."""
    left, values, right = svd(delta)
    last = max(1, values.shape[-1] // tasks) - 1
    kept = (values >= values[..., last : last + 1] * (1 - _TIE)) & (values > 0)
    width = max(1, int(kept.sum(-1).max()))
    left = torch.where(kept[..., None, :], left, 0 * left)  # 0 NaN stays NaN
    right = torch.where(kept[..., :, None], right, 0)
    return left[..., :width], torch.where(kept, values, 0)[..., :width], right[..., :width, :]


def _shared_directions(deltas: Deltas) -> Tensor:
    """U of [tau_1 ... tau_T] side by side, without the columns of zeros; the largest element of each is positive."""
    core = torch.linalg.qr(torch.cat(deltas, dim=-1).mT, mode="r").R.mT  # the same U and S, and no V, which is T wide
    left, values, _ = svd(core)
    rank = max(1, int((values > 0).sum(-1).max()))
    left = left[..., :rank]
    largest = left.abs().argmax(dim=-2, keepdim=True)
    return left * torch.where(left.gather(-2, largest) < 0, -1.0, 1.0)


def _double(tensors: Arrays) -> list[Array]:
    return [tensor.to(torch.float64, memory_format=torch.contiguous_format) for tensor in tensors]


# Methods -------------------------------------------------------------------------------------------------


@method(inputs=(1, None))
def tsv_merge(
    models: Arrays,
    base: Array,
    *,
    weight: Annotated[Sequence[float], PerModel(dial=(-1, 2), default=1.0)],
    lambda_: Annotated[float, Shared(dial=(0, 2))] = 1.0,
) -> Chain:
    """TSV-Merge: keep each task's strongest directions and make those of different tasks orthogonal.

    Gargiulo et al., "Task Singular Vectors: Reducing Task Interference in Model Merging" (arXiv:2412.00081), method
    TSV-M. Of w_i tau_i the int(r / T) largest singular triplets are kept, r = min(m, n), T models; U = [U_1 ... U_T]
    and V = [V_1 ... V_T] are replaced by the nearest matrices with orthonormal columns (orthogonal Procrustes), and
    theta_0 + lambda sum_i U_i' S_i V_i'^T is the result. The paper has no weights and lambda = 1. Tensors of one
    dimension: the mean of the w_i tau_i.

    At least one triplet of each task is kept, and those that tie with the last; the paper leaves ties to the library.
    Directions that tasks share in full are divided between them. With another number of threads the last bit of an
    element may differ.

    Args:
        weight: Factor on each model's task vector.
        lambda_: Factor on the merged task vector.
    """
    return chain(_double(models), base.double(), weigh(weight), decorrelate(weight), total(), scale(lambda_))


@method(inputs=(1, None))
def iso_c(
    models: Arrays,
    base: Array,
    *,
    weight: Annotated[Sequence[float], PerModel(dial=(-1, 2), default=1.0)],
    lambda_: Annotated[float, Shared(dial=(0, 2))] = 1.0,
) -> Chain:
    """Iso-C: sum the task vectors and make every direction of the sum equally strong.

    Marczak et al., "No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces"
    (arXiv:2502.04959), Iso-C: with sum_i w_i tau_i = U S V^T, the result is theta_0 + lambda s U V^T, s the mean of the
    singular values. The paper has no weights, and finds lambda on validation data. Tensors of one dimension: the mean
    of the w_i tau_i.

    s is the mean over the singular values that are not zero, and only their directions are filled; the sum of singular
    values stays what it was, as in the paper, which fills directions of the value zero too, those that the library
    happens to return. Small singular values are raised most: whatever noise they hold is raised with them.

    Args:
        weight: Factor on each model's task vector.
        lambda_: Factor on the merged task vector.
    """
    return chain(_double(models), base.double(), weigh(weight), total(), flatten_spectrum(weight), scale(lambda_))


@method(inputs=(1, None))
def knots(
    models: Arrays,
    base: Array,
    *,
    weight: Annotated[Sequence[float], PerModel(dial=(-1, 2), default=1.0)],
    density: Annotated[Sequence[float], PerModel(dial=(0, 1), default=1.0, low=0, high=1)],
    lambda_: Annotated[float, Shared(dial=(0, 2))] = 1.0,
) -> Chain:
    """KnOTS: turn the task vectors into directions that they share, and merge them there with TIES.

    Stoica et al., "Model merging with SVD to tie the Knots" (arXiv:2410.19735), KnOTS-TIES, made for LoRA: [tau_1 ...
    tau_T] = U S [V_1^T ... V_T^T] side by side; the S V_i^T, which are U^T tau_i, are trimmed to their largest
    magnitudes, weighted, elected and averaged as by ``ties``, and the result is theta_0 + lambda U times that. The
    paper trims all matrices of a model at once, to 20 or 30 %; here each tensor on its own, and not at all unless
    ``density`` is given. Tensors of one dimension: ``ties`` itself.

    TIES depends on the basis. Where singular values of the whole are equal, U is a free choice of the library, and the
    result with it.

    Args:
        weight: How much each model counts, in the election and in the mean.
        density: Share of each model's coordinates that survives the trim, from 0 to 1.
        lambda_: Factor on the merged task vector.
    """
    wide, start = _double(models), base.double()
    merge = (trim(density), *agreed(weight, normalize=True, factor=lambda_))
    if start.dim() > 1:
        present = [model - start for model, factor in zip(wide, weight, strict=True) if factor]
        directions = _shared_directions(present or [torch.zeros_like(start)])
        merge = (into(directions), *merge, out_of(directions))
    return chain(wide, start, *merge)
