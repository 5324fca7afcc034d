"""Loops over the magnitudes of stored task vectors: ``select`` looks for the k-th among them, ``census`` counts them.
Compiled by numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mergelab.methods.loops import BLOCK, expect, read, read_change
from mergelab.methods.machine import TOGETHER, as_bits, collect, inlined, loop, step

_MAGNITUDE = np.uint32(0x7FFFFFFF)
EMPTY = np.int32(-1)
"""A place of a table where no magnitude is."""
_SPREAD = np.uint32(0x9E3779B1)  # 2^32 over the golden ratio: Knuth, vol. 3, 6.4


@loop
def tally(
    model: int, kind: int, base: int, base_kind: int, low: int, high: int, start: int, stop: int, between: Any
) -> tuple[int, int, int, int]:
    """Count the magnitudes of elements ``start`` to ``stop`` of a task vector.

    Args:
        model, kind, base, base_kind: addresses of the stored tensors, and their dtypes as in ``loops``.
        low, high: patterns of two magnitudes.
        between: int32, room for all of them: gets those between the two, both excluded.

    Returns:
        How many lie above ``high``, at it, at ``low`` (0 where this is ``high``), and between.
    """
    blocks = np.empty((2, BLOCK), np.float32)
    least, most = np.int32(low), np.int32(high)
    above, at_high, at_low, inside = 0, 0, 0, 0
    for at in range(start, stop, BLOCK):
        count = min(BLOCK, stop - at)
        delta = _delta(model, kind, base, base_kind, at, blocks[0][:count], blocks[1][:count])
        above += _larger(delta, most)
        at_high += _equal(delta, most)
        at_low += _equal(delta, least) if least < most else 0
        inside += _collect(delta, least, most, between[inside:])
    return above, at_high, at_low, inside


@loop
def pick(model: int, kind: int, base: int, base_kind: int, places: Any, into: Any) -> None:
    """The magnitudes of elements at ``places`` (int64), as int32 patterns."""
    blocks = np.empty((2, 1), np.float32)
    for i in range(len(places)):
        read(base, base_kind, places[i], blocks[0])
        read_change(model, kind, places[i], blocks[0], blocks[1])
        into[i] = np.int32(as_bits(blocks[1, 0]) & _MAGNITUDE)


@loop
def nth(model: int, kind: int, base: int, base_kind: int, pattern: int, rank: int, start: int, stop: int) -> int:
    """The place of the ``rank``-th element (from 1) from ``start`` on whose magnitude is that of ``pattern``; -1: there
    are fewer before ``stop``.
    """
    blocks = np.empty((2, BLOCK), np.float32)
    wanted = np.int32(pattern)
    for at in range(start, stop, BLOCK):
        count = min(BLOCK, stop - at)
        delta = _delta(model, kind, base, base_kind, at, blocks[0][:count], blocks[1][:count])
        here = _equal(delta, wanted)
        if here < rank:
            rank -= here
            continue
        for i in range(len(delta)):
            rank -= np.int32(as_bits(delta[i]) & _MAGNITUDE) == wanted
            if rank == 0:
                return at + i
    return -1


@step
def _delta(model: int, kind: int, base: int, base_kind: int, at: int, start: Any, into: Any) -> Any:
    expect(model, kind, at + BLOCK, BLOCK)
    expect(base, base_kind, at + BLOCK, BLOCK)
    read(base, base_kind, at, start)
    read_change(model, kind, at, start, into)
    return into


@step
def _larger(delta: Any, limit: Any) -> Any:
    found = np.int32(0)
    for i in range(len(delta)):
        found = np.int32(found + np.int32(np.int32(as_bits(delta[i]) & _MAGNITUDE) > limit))
    return found


@step
def _equal(delta: Any, wanted: Any) -> Any:
    found = np.int32(0)
    for i in range(len(delta)):
        found = np.int32(found + np.int32(np.int32(as_bits(delta[i]) & _MAGNITUDE) == wanted))
    return found


@step
def _collect(delta: Any, low: Any, high: Any, into: Any) -> Any:
    found, whole = np.int64(0), len(delta) // TOGETHER * TOGETHER
    for i in range(0, whole, TOGETHER):
        found += collect(delta.ctypes.data + 4 * i, low, high, into.ctypes.data + 4 * found)
    for i in range(whole, len(delta)):
        size = np.int32(as_bits(delta[i]) & _MAGNITUDE)
        if low < size < high:
            into[found] = size
            found += 1
    return found


@loop
def count(model: int, kind: int, base: int, base_kind: int, start: int, stop: int, sizes: Any, counts: Any) -> Any:
    """Count each magnitude of elements ``start`` to ``stop`` of a task vector.

    Args:
        model, kind, base, base_kind: as in ``tally``.
        sizes, counts: int32, a hash table, empty: as many as a power of two.

    Returns:
        How many magnitudes there are; -1: too many for the table.
    """
    blocks, here, many = np.empty((2, BLOCK), np.float32), np.empty(BLOCK, np.int32), np.int64(0)
    for at in range(start, stop, BLOCK):
        width = min(BLOCK, stop - at)
        delta = _delta(model, kind, base, base_kind, at, blocks[0][:width], blocks[1][:width])
        for i in range(width):
            here[i] = np.int32(as_bits(delta[i]) & _MAGNITUDE)
        for i in range(width):
            many = _enter(here[i], np.int32(1), sizes, counts, many)
            if many < 0:
                return -1
    return many


@loop
def join(sizes: Any, counts: Any, into: Any, sums: Any) -> Any:
    """Enter magnitudes that were counted into another table, as ``count`` does."""
    many = np.int64(0)
    for i in range(len(sizes)):
        many = _enter(sizes[i], counts[i], into, sums, many)
        if many < 0:
            return -1
    return many


@inlined
def _enter(size: Any, times: Any, sizes: Any, counts: Any, many: Any) -> Any:
    """Of a table that a quarter of is kept empty: how many magnitudes it has then; -1: too many."""
    last = np.uint32(len(sizes) - 1)
    place = (np.uint32(size) * _SPREAD >> np.uint32(16)) & last
    while sizes[place] != size:
        if sizes[place] == EMPTY:
            many += 1
            sizes[place] = size
            break
        place = (place + np.uint32(1)) & last
    counts[place] += times
    return many if 4 * many <= 3 * len(sizes) else -1
