"""The loops of ``fused`` on the CPU, which alone imports this: compiled by numba, from the stored bits to the rounded
bits of the result.

A tensor goes through blocks that stay in the nearest cache: each step is one pass over a block. What differs from
tensor to tensor (dtypes, models, steps) is decided once for a block, so that one compiled loop serves all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mergelab.methods.lots import MULTIPLIERS, ROUNDS, STEPS
from mergelab.methods.machine import (
    TOGETHER,
    as_bits,
    as_float,
    from_bfloat16,
    from_float16,
    fused,
    inlined,
    keep_some,
    load8,
    load16,
    load32,
    loop,
    prefetch,
    step,
    store16,
    store32,
    to_bfloat16,
    to_float16,
)

BLOCK = 1024  # elements: 4 KiB of float32 for each model
SHORT = 512  # elements: where there is little to do to a block, less is expected at a time
BFLOAT16, FLOAT16, FLOAT32 = 0, 1, 2
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_NOUGHT, _ONE = np.float32(0), np.float32(1)
_NOTHING = np.float32(-0.0)  # a sum begins with it, because of -0.0
_FIRST, _SECOND = (np.uint64(number) for number in MULTIPLIERS)
_HALF, _WORD = np.uint64(32), np.uint64(0xFFFFFFFF)


@loop
def merge(
    row: Any, kinds: Any, elects: bool, divides: bool, disjoint: bool, mixed: bool, start: int, stop: int
) -> None:
    """Elements ``start`` to ``stop`` of a tensor of the delta family.

    Args:
        row: int64, as ``fused.Work.row``.
        kinds: int64, the dtypes of the result, the base and the models.
        elects, divides, disjoint, mixed: as ``fused.Work`` has them.
        start: a multiple of 8, because of packed masks.
    """
    models = len(kinds) - 2
    blocks = np.empty((5 + models, BLOCK), np.float32)
    for at in range(start, stop, BLOCK):
        count = min(BLOCK, stop - at)
        base, balance, total = blocks[0][:count], blocks[1][:count], blocks[2][:count]
        weights, spare, deltas = blocks[3][:count], blocks[4][:count], blocks[5:]
        for place in range(models + 1):
            address = row[2] if place == models else row[5 + 10 * place]
            expect(address, kinds[1 + (place + 1) % (models + 1)], at + BLOCK, BLOCK)
        read(row[2], kinds[1], at, base)
        _fill(balance, _NOTHING)
        for place in range(models):
            delta, term = deltas[place][:count], row[5 + 10 * place : 15 + 10 * place]
            read_change(term[0], kinds[2 + place], at, base, delta)
            _thin(delta, term, at, spare)
            _weigh(delta, _number(term[4]), _number(term[5]), _number(term[2]), balance)
        _fill(weights, _NOUGHT)
        if elects:
            _fill(total, _NOTHING)
            for place in range(models):
                _elect(deltas[place][:count], balance, total, _number(row[7 + 10 * place]), weights)
        else:
            _copy(balance, total)
        if disjoint:
            if not elects:
                for place in range(models):
                    _add_where(deltas[place][:count], _number(row[7 + 10 * place]), weights)
            _fill(spare, _NOUGHT)
            if mixed:
                for place in range(models):
                    _add_where(deltas[place][:count], _number(row[8 + 10 * place]), spare)
            _divide_by_weights(total, weights, spare)
        if divides:
            _divide(total, _number(row[4]))
        _finish(total, _number(row[3]), base)
        write(row[1], kinds[0], at, total)


@loop
def mix(row: Any, kinds: Any, divides: bool, start: int, stop: int) -> None:
    """Elements ``start`` to ``stop`` of a sum of weighted models, by fused multiply-adds.

    Args:
        row: int64: the address of the result, the bits of the divisor, then for each model its address and the bits of
            its weight.
        kinds: int64, the dtypes of the result and the models.
        divides: whether the sum is divided.
    """
    blocks = np.empty((2, SHORT), np.float32)
    for at in range(start, stop, SHORT):
        count = min(SHORT, stop - at)
        total, model = blocks[0][:count], blocks[1][:count]
        for place in range(len(kinds)):
            expect(row[2 * place], kinds[place], at + SHORT, SHORT)
        read(row[2], kinds[1], at, total)
        _scale(total, _number(row[3]))
        for place in range(1, len(kinds) - 1):
            read(row[2 + 2 * place], kinds[1 + place], at, model)
            _add_scaled(total, model, _number(row[3 + 2 * place]))
        if divides:
            _divide(total, _number(row[1]))
        write(row[0], kinds[0], at, total)


@loop
def absolute(term: Any, kinds: Any, base: int, start: int, stop: int, row: int, lanes: Any, into: Any) -> None:
    """``sums.absolute_rows`` of elements ``start`` to ``stop`` of a thinned task vector.

    Args:
        term: int64, as ``fused.Term.row``; its numbers are left aside.
        kinds: int64, the dtypes of the base and the model.
        base: address.
        start: a multiple of ``row``, the length of a row.
        lanes: float64, room for the sums side by side in a row; their number is a power of two.
        into: float64, one for each row.
    """
    width = len(lanes)
    blocks = np.empty((3, width), np.float32)
    for place in range(len(into)):
        first = start + place * row
        _fill(lanes, 0.0)
        for at in range(first, min(first + row, stop), width):
            count = min(width, stop - at)
            delta = blocks[1][:count]
            expect(base, kinds[0], at + width, width)
            expect(term[0], kinds[1], at + width, width)
            read(base, kinds[0], at, blocks[0][:count])
            read_change(term[0], kinds[1], at, blocks[0], delta)
            _thin(delta, term, at, blocks[2][:count])
            for i in range(count):
                lanes[i] += np.float64(abs(delta[i]))
        left = width
        while left > 1:
            left //= 2
            for i in range(left):
                lanes[i] += lanes[left + i]
        into[place] = lanes[0]


@loop
def draw(low: int, high: int, limit: int, start: int, into: Any) -> None:
    """``lots.mask``: eight lots to each uint8 of ``into``.

    Args:
        low, high: halves of the seed.
        limit: words up to it, itself included, are kept.
        start: place of the first lot, a multiple of 8.
    """
    keys = np.empty((ROUNDS, 2), np.uint32)
    for turn in range(ROUNDS):
        keys[turn, 0] = (low + turn * STEPS[0]) & 0xFFFFFFFF
        keys[turn, 1] = (high + turn * STEPS[1]) & 0xFFFFFFFF
    most, first = np.uint32(limit), np.uint64(start // 4)
    for i in range(len(into)):
        block = first + np.uint64(2 * i)
        into[i] = _four_lots(keys, most, block) | (_four_lots(keys, most, block + np.uint64(1)) << 4)


@inlined
def _four_lots(keys: Any, limit: Any, block: Any) -> Any:
    """Which words of a block are kept: four bits, the first word in the lowest.

    What carries beyond 32 bits is left where it is until it would count: so all stays in one kind of register.
    """
    a, b, c, d = block & _WORD, block >> _HALF, np.uint64(0), np.uint64(0)
    for turn in range(ROUNDS):
        one, other = (a & _WORD) * _FIRST, (c & _WORD) * _SECOND
        a, b = (other >> _HALF) ^ b ^ np.uint64(keys[turn, 0]), other
        c, d = (one >> _HALF) ^ d ^ np.uint64(keys[turn, 1]), one
    kept = np.uint8(np.uint32(a) <= limit) | (np.uint8(np.uint32(b) <= limit) << 1)
    return np.uint8(kept | (np.uint8(np.uint32(c) <= limit) << 2) | (np.uint8(np.uint32(d) <= limit) << 3))


@step
def read(address: int, kind: int, at: int, into: Any) -> None:
    """Stored elements from place ``at`` on, as float32."""
    if kind == BFLOAT16:
        for i in range(len(into)):
            into[i] = from_bfloat16(load16(address, at + i))
    elif kind == FLOAT16:
        for i in range(len(into)):
            into[i] = from_float16(load16(address, at + i))
    else:
        for i in range(len(into)):
            into[i] = as_float(load32(address, at + i))


@step
def expect(address: int, kind: int, at: int, count: int) -> None:
    """Have ``count`` stored elements from place ``at`` on brought into the cache while those before are worked on."""
    size = 4 if kind == FLOAT32 else 2
    for line in range(address + size * at, address + size * (at + count), 64):
        prefetch(line)


@step
def write(address: int, kind: int, at: int, values: Any) -> None:
    """float32 values, rounded once, into storage from place ``at`` on."""
    if kind == BFLOAT16:
        for i in range(len(values)):
            store16(address, at + i, to_bfloat16(values[i]))
    elif kind == FLOAT16:
        for i in range(len(values)):
            store16(address, at + i, to_float16(values[i]))
    else:
        for i in range(len(values)):
            store32(address, at + i, as_bits(values[i]))


@step
def _number(word: int) -> Any:
    """The float32 whose bits are the lower half of a word."""
    return as_float(np.uint32(word & 0xFFFFFFFF))


@step
def read_change(address: int, kind: int, at: int, base: Any, into: Any) -> None:
    """Stored elements from place ``at`` on, minus ``base``."""
    if kind == BFLOAT16:
        for i in range(len(into)):
            into[i] = from_bfloat16(load16(address, at + i)) - base[i]
    elif kind == FLOAT16:
        for i in range(len(into)):
            into[i] = from_float16(load16(address, at + i)) - base[i]
    else:
        for i in range(len(into)):
            into[i] = as_float(load32(address, at + i)) - base[i]


@step
def _thin(delta: Any, term: Any, at: int, large: Any) -> None:
    """What is trimmed becomes 0.0; outliers are subtracted, as the atom does: of an infinity that leaves NaN."""
    if term[8] != 0x7FFFFFFF:
        _copy(delta, large)
        _trim(large, term[8], term[9] - at)
        _trim(delta, term[6], term[7] - at)
        for i in range(len(delta)):
            delta[i] -= large[i]
    elif term[6] >= 0:
        _trim(delta, term[6], term[7] - at)
    if term[1]:
        whole, mask = len(delta) // TOGETHER * TOGETHER, term[1] + at // 8
        for i in range(0, whole, TOGETHER):
            keep_some(delta.ctypes.data + 4 * i, mask + i // 8)
        for i in range(whole, len(delta)):
            delta[i] *= np.float32((load8(mask, i // 8) >> (i % 8)) & 1)


@step
def _trim(delta: Any, pattern: int, until: int) -> None:
    """Keep magnitudes above that of ``pattern``, and equal ones before place ``until``."""
    cut = min(max(until, 0), len(delta))
    _keep_above(delta[:cut], pattern - 1)
    _keep_above(delta[cut:], pattern)


@step
def _keep_above(delta: Any, pattern: int) -> None:
    limit = np.int32(pattern)
    for i in range(len(delta)):
        delta[i] = delta[i] if np.int32(as_bits(delta[i]) & _MAGNITUDE) > limit else _NOUGHT


@step
def _weigh(delta: Any, gain: Any, share: Any, weight: Any, total: Any) -> None:
    if gain != _ONE:
        _scale(delta, gain)
    if share != _ONE:
        _divide(delta, share)
    for i in range(len(delta)):
        delta[i] *= weight
        total[i] += delta[i]


@step
def _elect(delta: Any, balance: Any, total: Any, weight: Any, weights: Any) -> None:
    """``atoms.elect_sign``: what is zero or against the balance becomes 0.0; NaN is neither. What is left is added up,
    and so are the weights of what is not zero.
    """
    for i in range(len(delta)):
        along = as_float(as_bits(delta[i]) ^ (as_bits(balance[i]) & ~_MAGNITUDE))
        kept = _NOUGHT if along <= _NOUGHT else delta[i]
        delta[i] = kept
        total[i] += kept
        weights[i] += weight if abs(kept) > _NOUGHT else _NOUGHT


@step
def _divide_by_weights(total: Any, weights: Any, negligible: Any) -> None:
    """``atoms.disjoint_mean``: by 1 where they cancel."""
    for i in range(len(total)):
        total[i] /= weights[i] if abs(weights[i]) > negligible[i] else _ONE


@step
def _add_where(delta: Any, weight: Any, total: Any) -> None:
    for i in range(len(delta)):
        total[i] += weight if abs(delta[i]) > _NOUGHT else _NOUGHT


@step
def _fill(values: Any, value: Any) -> None:
    for i in range(len(values)):
        values[i] = value


@step
def _copy(values: Any, into: Any) -> None:
    for i in range(len(values)):
        into[i] = values[i]


@step
def _scale(values: Any, factor: Any) -> None:
    for i in range(len(values)):
        values[i] *= factor


@step
def _add_scaled(total: Any, values: Any, factor: Any) -> None:
    for i in range(len(total)):
        total[i] = fused(values[i], factor, total[i])


@step
def _divide(values: Any, divisor: Any) -> None:
    for i in range(len(values)):
        values[i] /= divisor


@step
def _finish(total: Any, factor: Any, base: Any) -> None:
    for i in range(len(total)):
        total[i] = total[i] * factor + base[i]
