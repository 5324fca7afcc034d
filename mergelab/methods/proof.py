"""The proof that the loops of ``fused`` give the bits of the atoms on this machine, before they are trusted."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from mergelab.methods import fused
from mergelab.methods.atoms import added_up, agreed
from mergelab.methods.chain import chain
from mergelab.methods.mix import Mix
from mergelab.methods.pieces import Pieces
from mergelab.methods.select import Threshold
from mergelab.methods.sparsify import divide, trim_below

_SIZE = 3001
_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
_ODD = (0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-40, -3e-39, 3e38, -3e38, 65519.0, 65520.0, 6e-8)
_WEIGHT, _CUTOFF, _DENSITY = (0.3, 0.7, -0.4), (1.0, 0.1, 0.5), (0.3, 0.9, 0.7)


def proven() -> bool:
    """Whether TIES, a thinned mean and a weighted mean of random and odd values come out of the loops as torch has
    them, in every dtype.
    """
    draws = torch.Generator().manual_seed(0)
    values = torch.randn(4, _SIZE, generator=draws)
    for row in values:
        row[torch.randperm(_SIZE, generator=draws)[: len(_ODD)]] = torch.tensor(_ODD)
    with Pieces(values.device) as pieces:
        return all(
            _alike(values.to(of), torch.empty(_SIZE, dtype=to), pieces)
            for of, to in itertools.product(_DTYPES, _DTYPES)
        )


def _alike(values: Tensor, expected: Tensor, pieces: Pieces) -> bool:
    base, *models = values
    out, rest = torch.empty_like(expected), (torch.float32, expected, pieces)
    thin = trim_below(_CUTOFF), divide(_DENSITY)
    pairs = zip(models, _WEIGHT, _CUTOFF, _DENSITY, strict=True)
    terms = [fused.Term(model, weight, Threshold(cut, _SIZE), share=share) for model, weight, cut, share in pairs]
    chain(models, base, *thin, *agreed(_WEIGHT, normalize=True, factor=0.9)).by_atoms(*rest, {})
    fused.loop(fused.Work(terms, base, out, elect=True, divisor=None, factor=0.9), pieces)
    if not _same(out, expected):
        return False
    chain(models, base, *thin, *added_up(_WEIGHT, normalize=True, factor=0.9)).by_atoms(*rest, {})
    fused.loop(fused.Work(terms, base, out, divisor=sum(_WEIGHT), factor=0.9), pieces)
    if not _same(out, expected):
        return False
    Mix(models, _WEIGHT, 0.6).by_torch(*rest)
    fused.add(fused.Sum(models, _WEIGHT, 0.6, out), pieces)
    return _same(out, expected)


def _same(left: Tensor, right: Tensor) -> bool:
    """Equal bits, those of zeros too; but every NaN is NaN."""
    bits = torch.int32 if left.dtype == torch.float32 else torch.int16
    return bool(((left.view(bits) == right.view(bits)) | (left.isnan() & right.isnan())).all())
