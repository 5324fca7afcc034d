"""The loops of ``tally``, which alone imports this: compiled by numba, from the stored bits to counts.

Weights go through in runs that stay in the nearest cache; each step is one pass over a run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mergelab.inspection.magnitudes import BITS, CELLS, FLOOR, LEVELS, LOWEST
from mergelab.inspection.tally import KINDS, LANES, RUN
from mergelab.methods.machine import (
    as_bits,
    as_float,
    from_bfloat16,
    from_float16,
    load16,
    load32,
    loop,
    prefetch,
    step,
)

_BFLOAT16, _FLOAT16 = KINDS[torch.bfloat16], KINDS[torch.float16]
_Q1, _Q2, _Q3 = RUN // 4, RUN // 2, 3 * RUN // 4  # where quarters of a run begin
_S1, _S2, _S3 = _Q1 // 4, _Q1 // 2, 3 * _Q1 // 4  # and quarters of a quarter
_FULL = 65535 // (RUN // 2)  # runs, half of each to a table of uint16, small enough for the cache: it may be full then
_PADDED = CELLS + 16  # two tables of one size apart would compete for the same places of the cache
_MAGNITUDE, _LOWEST, _BITS = np.uint32(0x7FFFFFFF), np.uint32(LOWEST), np.uint32(BITS)
_FLOOR, _HIGHEST = np.float32(FLOOR), np.uint32(LEVELS - 1)
_WIDTH = LEVELS.bit_length() - 1  # bits of a level
_LEVEL, _SHIFT, _APART = np.uint16(LEVELS - 1), np.uint16(_WIDTH), np.uint16(1 << 2 * _WIDTH)
_SIGN, _DOWN = np.uint32(1 << 2 * _WIDTH), np.uint32(31 - 2 * _WIDTH)  # where a code has the sign, and the way there
_NONE, _STEP, _TWO, _ONE = np.uint64(0), np.uint64(1), np.uint64(2), np.uint16(1)


@loop  # type: ignore[untyped-decorator, unused-ignore]
def count(
    addresses: Any, kinds: Any, size: int, scales: Any, pairs: Any, totals: Any, largest: Any, cells: Any
) -> None:
    """What ``tally`` says of weights that lie in a row, all of it added to what is there.

    Args:
        addresses: int64, shape (1 + sources,): where the base's and the sources' weights begin.
        kinds: int64, their dtypes.
        size: how many weights.
        scales: float32, shape (sources,).
        pairs: int64, shape (pairs, 2).
        totals: float64, shape (1 + sources + 2 pairs, LANES).
        largest: uint32, shape (sources,): bits of magnitudes.
        cells: int64, shape (pairs, CELLS).
    """
    sources, joint = len(scales), len(pairs)
    rows = np.zeros((1 + sources, RUN + LANES), np.float32)
    codes = np.zeros((sources, RUN), np.uint16)
    cell = np.zeros(RUN, np.uint16)
    spare = np.zeros((2, _Q1), np.float32)
    tables = np.zeros((joint, 2, _PADDED), np.uint16)
    base = rows[0, :RUN]
    for at in range(0, size, RUN):
        length = min(RUN, size - at)
        if length < RUN:
            rows[:, length:] = 0
        for number in range(1 + sources):
            _expect(addresses[number], kinds[number], at + RUN)
        _read(addresses[0], kinds[0], at, base[:length])
        _square(base, spare[0], totals[0])
        for number in range(sources):
            row = rows[1 + number, :RUN]
            _read(addresses[1 + number], kinds[1 + number], at, row[:length])
            top = _change(row[:length], base[:length], scales[number], codes[number, :length])
            largest[number] = max(largest[number], top)
            _square(row, spare[0], totals[1 + number])
        for number in range(joint):
            one, other = pairs[number]
            place = 1 + sources + number
            _multiply(rows[1 + one, :RUN], rows[1 + other, :RUN], spare, totals[place], totals[place + joint])
            _join(codes[one, :length], codes[other, :length], cell[:length])
            _tally(cell[:length], tables[number, 0], tables[number, 1])
        if at // RUN % _FULL == _FULL - 1:
            _empty(tables, cells)
    _empty(tables, cells)


@step  # type: ignore[untyped-decorator, unused-ignore]
def _empty(tables: Any, cells: Any) -> None:
    for number in range(len(cells)):
        for place in range(CELLS):
            cells[number, place] += np.int64(tables[number, 0, place]) + np.int64(tables[number, 1, place])
    tables[:] = 0


@step  # type: ignore[untyped-decorator, unused-ignore]
def _read(address: int, kind: int, at: int, into: Any) -> None:
    """Stored weights from place ``at`` on, as float32."""
    if kind == _BFLOAT16:
        for i in range(len(into)):
            into[i] = from_bfloat16(load16(address, at + i))
    elif kind == _FLOAT16:
        for i in range(len(into)):
            into[i] = from_float16(load16(address, at + i))
    else:
        for i in range(len(into)):
            into[i] = as_float(load32(address, at + i))


@step  # type: ignore[untyped-decorator, unused-ignore]
def _expect(address: int, kind: int, at: int) -> None:
    """Have a run of stored weights brought into the cache while the one before it is worked on."""
    size = 2 if kind in (_BFLOAT16, _FLOAT16) else 4
    for line in range(address + size * at, address + size * (at + RUN), 64):
        prefetch(line)


@step  # type: ignore[untyped-decorator, unused-ignore]
def _change(row: Any, base: Any, scale: Any, codes: Any) -> Any:
    """Weights become scaled changes; codes are their levels and signs, as ``Coder`` has them; the largest is returned.

    All integers are kept to 32 bits by hand: numba would widen them, and half as many fit the machine's registers.
    """
    top = np.uint32(0)
    for i in range(len(row)):
        number = (row[i] - base[i]) * scale
        row[i] = number
        bits = as_bits(number)
        size = np.uint32(bits & _MAGNITUDE)
        top = max(top, size)
        level = np.uint32(np.uint32(as_bits(as_float(size) + _FLOOR) - _LOWEST) >> _BITS)
        codes[i] = np.uint16(min(level, _HIGHEST) | np.uint32(np.uint32(bits >> _DOWN) & _SIGN))
    return top


@step  # type: ignore[untyped-decorator, unused-ignore]
def _square(row: Any, spare: Any, total: Any) -> None:
    """The sum of a run's squares, by quarters of quarters."""
    for i in range(_Q1):
        a, b, c, d = row[i], row[i + _Q1], row[i + _Q2], row[i + _Q3]
        spare[i] = (a * a + b * b) + (c * c + d * d)
    _fold(spare, total)


@step  # type: ignore[untyped-decorator, unused-ignore]
def _multiply(one: Any, other: Any, spare: Any, total: Any, squares: Any) -> None:
    """The sum of the products of two runs, and that of the products' squares."""
    for i in range(_Q1):
        a, b = one[i] * other[i], one[i + _Q1] * other[i + _Q1]
        c, d = one[i + _Q2] * other[i + _Q2], one[i + _Q3] * other[i + _Q3]
        spare[0, i] = (a + b) + (c + d)
        spare[1, i] = (a * a + b * b) + (c * c + d * d)
    _fold(spare[0], total)
    _fold(spare[1], squares)


@step  # type: ignore[untyped-decorator, unused-ignore]
def _fold(spare: Any, total: Any) -> None:
    for i in range(_S1):
        spare[i] = (spare[i] + spare[i + _S1]) + (spare[i + _S2] + spare[i + _S3])
    for i in range(LANES):
        total[i] += np.float64((spare[i] + spare[i + LANES]) + (spare[i + 2 * LANES] + spare[i + 3 * LANES]))


@step  # type: ignore[untyped-decorator, unused-ignore]
def _join(one: Any, other: Any, cell: Any) -> None:
    """Cells of a joint count: signs alike or apart, level of one, level of the other."""
    for i in range(len(cell)):
        a, b = one[i], other[i]
        cell[i] = ((a ^ b) & _APART) | np.uint16((a & _LEVEL) << _SHIFT) | (b & _LEVEL)


@step  # type: ignore[untyped-decorator, unused-ignore]
def _tally(cell: Any, even: Any, odd: Any) -> None:
    """By turns into two tables: adding to one place twice in a row would have to wait for the first."""
    whole = np.uint64(len(cell)) & ~_STEP
    for i in range(_NONE, whole, _TWO):  # unsigned: no place is counted from the end
        even[cell[i]] += _ONE
        odd[cell[i + _STEP]] += _ONE
    for i in range(whole, np.uint64(len(cell))):
        even[cell[i]] += _ONE
