"""The kernel of ``fused``, which alone imports this: it needs triton."""
# ruff: noqa: RUF005 - triton has no unpacking into tuples

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

_BLOCK = 1024  # elements a program takes at a time: with 4 warps, 16 bytes of bfloat16 for each thread
_PROGRAMS = 1024  # for one tensor, at most: a large one fills the device
_DTYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


def launch(rows: Sequence[Sequence[int]], form: tuple[Any, ...], device: torch.device) -> None:
    """Start the kernel for ``Work.row()`` of tensors that share ``Work.form()``. Nothing waits for the device."""
    dtypes, *steps = form
    cuda = device.type == "cuda"
    table = torch.tensor(rows, dtype=torch.int64, pin_memory=cuda).to(device, non_blocking=True)
    grid = (min(_PROGRAMS, max(-(-row[0] // _BLOCK) for row in rows)), len(rows))
    with torch.cuda.device(device if cuda else -1):
        # Without fusion: a product and a sum round twice, as the atoms do.
        merge[grid](table, tuple(_DTYPES[one] for one in dtypes), *steps, _BLOCK, enable_fp_fusion=False)


@triton.jit
def merge(
    table,
    DTYPES: tl.constexpr,
    TRIM: tl.constexpr,
    CAP: tl.constexpr,
    MASKS: tl.constexpr,
    GAIN: tl.constexpr,
    SHARE: tl.constexpr,
    ELECT: tl.constexpr,
    MEAN: tl.constexpr,
    DISJOINT: tl.constexpr,
    MIXED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One stripe of one tensor: row ``program_id(1)`` of ``table``, blocks ``program_id(0)`` and every so many."""
    MODELS: tl.constexpr = len(DTYPES) - 2
    row = table + tl.program_id(1).to(tl.int64) * (5 + 10 * MODELS)
    size = tl.load(row)
    out = _address(row + 1, DTYPES[0])
    base_at = _address(row + 2, DTYPES[1])
    factor = _number(row + 3)
    divisor = _number(row + 4)
    terms = ()
    for place in tl.static_range(MODELS):
        at = row + 5 + 10 * place
        addresses = (_address(at, DTYPES[place + 2]), tl.load(at + 1).to(tl.pointer_type(tl.uint8)))
        numbers = (_number(at + 2), _number(at + 3), _number(at + 4), _number(at + 5))
        limits = (tl.load(at + 6).to(tl.int32), tl.load(at + 7), tl.load(at + 8).to(tl.int32), tl.load(at + 9))
        terms = terms + ((addresses, numbers, limits),)
    lane = tl.arange(0, BLOCK)
    for start in range(tl.program_id(0).to(tl.int64) * BLOCK, size, tl.num_programs(0) * BLOCK):
        # Sizes come in sixteens, so that whole vectors are inside or outside.
        inside = lane < tl.multiple_of(tl.minimum(size - start, BLOCK).to(tl.int32), 16)
        base = tl.load(base_at + start + lane, mask=inside, other=0).to(tl.float32)
        deltas = ()
        for place in tl.static_range(MODELS):
            pointers, scales, limits = terms[place]  # triton 3.7, torch 2.13's own, unpacks nothing nested
            model, mask = pointers
            weight, _, gain, share = scales
            delta = tl.load(model + start + lane, mask=inside, other=0).to(tl.float32) - base
            delta = _trimmed(delta, limits, start, lane, TRIM, CAP)
            if MASKS[place]:
                eight = tl.load(mask + ((start + lane) >> 3), mask=inside, other=0)
                delta *= ((eight.to(tl.int32) >> (lane & 7)) & 1).to(tl.float32)
            if GAIN:
                delta *= gain
            if SHARE:
                delta = tl.math.div_rn(delta, share)
            deltas = deltas + (delta * weight,)
        if ELECT:
            deltas = _agreed(deltas)
        total = _sum(deltas)
        if MEAN:
            total = tl.math.div_rn(total, divisor)
        if DISJOINT:
            total = tl.math.div_rn(total, _divisor(deltas, terms, MIXED))
        tl.store(out + start + lane, (total * factor + base).to(DTYPES[0]), mask=inside)


@triton.jit
def _trimmed(delta, limits, start, lane, TRIM: tl.constexpr, CAP: tl.constexpr):
    lowest, until, outliers, until_outliers = limits
    kept = delta
    if TRIM:
        kept = tl.where(_exceeds(delta, lowest, until - start, lane), kept, 0.0)
    if CAP:  # subtracted, as the atom does: of an infinity it leaves NaN
        kept -= tl.where(_exceeds(delta, outliers, until_outliers - start, lane), delta, 0.0)
    return kept


@triton.jit
def _exceeds(delta, pattern, until, lane):
    """Whether a magnitude is above that of ``pattern``, or equal and in a lane before ``until``."""
    nearby = tl.minimum(tl.maximum(until, 0), 2147483647).to(tl.int32)
    size = delta.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    return size > tl.where(lane < nearby, pattern - 1, pattern)


@triton.jit
def _agreed(deltas):
    """``atoms.elect_sign``: what is zero or against the sum becomes 0.0; NaN is neither."""
    elected = tl.where(_sum(deltas).to(tl.int32, bitcast=True) < 0, -1.0, 1.0)
    agreed = ()
    for place in tl.static_range(len(deltas)):
        agreed = agreed + (tl.where(deltas[place] * elected <= 0, 0.0, deltas[place]),)
    return agreed


@triton.jit
def _divisor(deltas, terms, MIXED: tl.constexpr):
    """``atoms.disjoint_mean``: the weights of what is not zero, or 1 where they cancel."""
    weights = tl.zeros_like(deltas[0])
    negligible = tl.zeros_like(deltas[0])
    for place in tl.static_range(len(deltas)):
        agrees = tl.abs(deltas[place]) > 0
        weights += tl.where(agrees, terms[place][1][0], 0.0)
        if MIXED:
            negligible += tl.where(agrees, terms[place][1][1], 0.0)
    return tl.where(tl.abs(weights) > negligible, weights, 1.0)


@triton.jit
def _sum(deltas):
    total = deltas[0]
    for place in tl.static_range(1, len(deltas)):
        total += deltas[place]
    return total


@triton.jit
def _address(place, DTYPE: tl.constexpr):
    return tl.multiple_of(tl.load(place).to(tl.pointer_type(DTYPE)), 16)


@triton.jit
def _number(place):
    return tl.load(place).to(tl.int32).to(tl.float32, bitcast=True)
