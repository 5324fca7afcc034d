"""The proof that the loops of ``fused`` give the bits of the atoms on this machine, before they are trusted."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from mergelab.methods import fused, lots
from mergelab.methods.atoms import added_up, agreed, disjoint_mean, weigh
from mergelab.methods.chain import Atom, chain
from mergelab.methods.mix import Mix
from mergelab.methods.pieces import Pieces
from mergelab.methods.select import counted, magnitudes
from mergelab.methods.sparsify import divide, drop, restore_norm, trim_below, trim_both_ends
from mergelab.methods.sums import absolute_rows
from mergelab.methods.vectors import Scan, Sizes, TaskVectors

_SIZE, _START = 3001, 1000
_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
_ODD = (0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-40, -3e-39, 3e38, -3e38, 65519.0, 65520.0, 6e-8)
_CUTOFF, _DENSITY, _GAMMA = (1.0, 0.1, 0.5), (0.3, 0.9, 0.7), (0.05, 0.0, 0.2)
_POSITIVE, _MIXED, _CANCELLING = (0.3, 0.7, 0.4), (0.3, 0.7, -0.4), (0.3, 0.7, -1.0000005)


def proven() -> bool:
    """Whether lots, every step of a merge, a weighted mean, and what is found out about magnitudes come out of the
    loops as numpy and torch have them, of random and odd values in every dtype.
    """
    draws = torch.Generator().manual_seed(0)
    values = torch.randn(4, _SIZE, generator=draws)
    for row in values:
        row[torch.randperm(_SIZE, generator=draws)[: len(_ODD)]] = torch.tensor(_ODD)
    with Pieces(values.device) as pieces:
        return (
            _drawn()
            and all(_scanned(values.to(of)) for of in _DTYPES)
            and all(
                _merged(values.to(of), to, pieces) and _mixed(values.to(of), to, pieces)
                for of, to in itertools.product(_DTYPES, _DTYPES)
            )
        )


def _merged(values: Tensor, to: torch.dtype, pieces: Pieces) -> bool:
    thin = trim_both_ends(_DENSITY, _GAMMA), drop(_DENSITY, torch.Generator().manual_seed(0))
    below, tame = (trim_below(_CUTOFF), divide(_DENSITY)), _coarse(values).clamp(-9, 9)
    return (
        _made(values, to, pieces, *below, *agreed(_POSITIVE, normalize=True, factor=0.9))
        and _made(values, to, pieces, *below, *added_up(_MIXED, normalize=True, factor=0.9))
        and _made(values, to, pieces, *thin, *agreed(_CANCELLING, normalize=True, factor=1.0))
        and _made(tame, to, pieces, *thin, restore_norm(_DENSITY), weigh(_CANCELLING), disjoint_mean(_CANCELLING))
    )


def _made(values: Tensor, to: torch.dtype, pieces: Pieces, *atoms: Atom) -> bool:
    base, *models = values
    out, expected = (torch.empty(_SIZE, dtype=to) for _ in range(2))
    chain(models, base, *atoms).by_atoms(torch.float32, expected, pieces, {})
    vectors = TaskVectors.of(models, base, torch.float32, pieces, {})
    for atom in atoms:
        vectors = atom.after(vectors)
    work = fused.work(models, base, vectors.told or {}, out)
    if not work.fits():
        return False
    fused.loop(work, pieces)
    return _same(out, expected)


def _mixed(values: Tensor, to: torch.dtype, pieces: Pieces) -> bool:
    out, expected = (torch.empty(_SIZE, dtype=to) for _ in range(2))
    Mix(list(values), (*_MIXED, 0.1), 0.7).by_torch(torch.float32, expected, pieces)
    fused.add(fused.Sum(list(values), (*_MIXED, 0.1), 0.7, out), pieces)
    return _same(out, expected)


def _drawn() -> bool:
    seed, start, size = 0x0123456789ABCDEF, 1 << 36, 8 * _SIZE
    for chance in (1e-12, 0.3, 1 - 1e-12):
        mask = np.empty(_SIZE, np.uint8)
        fused.by_lot(seed, chance, start, mask)
        if not np.array_equal(mask, lots.mask(seed, chance, slice(start, start + size))):
            return False
    return True


def _scanned(values: Tensor) -> bool:
    base, *models = _coarse(values)
    scanner, part = fused.scanner(models, base), slice(_START, _SIZE)
    for place, model in enumerate(models):
        sizes = magnitudes(model.float() - base.float())
        low, middle, high = (int(one) for one in np.sort(sizes)[[_SIZE // 4, _SIZE // 2, -_SIZE // 4]])
        for bounds in ((0, high), (low, high), (middle, middle)):
            *counts, between = scanner.tally(place, *bounds, part)
            *expected, inside = counted(sizes[part], *bounds)
            if counts != expected or not np.array_equal(between, inside):
                return False
        equals = _START + np.flatnonzero(sizes[part] == middle)
        if any(scanner.nth(place, middle, rank, part) != equals[rank - 1] for rank in (1, len(equals) // 2)):
            return False
        if not np.array_equal(scanner.pick(place, equals), sizes[equals]):
            return False
        (rows,) = scanner.absolute([place], {}, slice(0, _SIZE)) or ([],)
        if rows != absolute_rows(model.float() - base.float()) or not _counted(scanner, place, sizes):
            return False
    return True


def _counted(scanner: Scan, place: int, sizes: Sizes) -> bool:
    part = scanner.count(place, slice(0, _SIZE))
    joined = None if part is None else scanner.join([part, part])
    if part is None or joined is None:
        return False
    known = dict(zip(*np.unique(sizes, return_counts=True), strict=True))
    twice = {size: 2 * count for size, count in known.items()}
    return dict(zip(*part, strict=True)) == known and dict(zip(*joined, strict=True)) == twice


def _coarse(values: Tensor) -> Tensor:
    """In steps of a quarter, so that many magnitudes are equal; without NaN, whose bits may be any."""
    return values.nan_to_num(0, 0, 0).mul(4).round().div(4)


def _same(left: Tensor, right: Tensor) -> bool:
    """Equal bits, those of zeros too; but every NaN is NaN."""
    bits = torch.int32 if left.dtype == torch.float32 else torch.int16
    return bool(((left.view(bits) == right.view(bits)) | (left.isnan() & right.isnan())).all())
