"""Lots: random words, each a function of a seed and a place, and masks of them.

Philox4x32-10 of Salmon, Moraes, Dror and Shaw ("Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): word i of a
seed is word i mod 4 of the block whose counter is i div 4 and whose key is the seed. So words can be drawn anywhere, in
any order and by any number of threads, and are the same on every machine. This is the definition; ``loops.draw`` gives
the same bits fifteen times as fast.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Words = np.ndarray[Any, np.dtype[np.uint32]]
Wide = np.ndarray[Any, np.dtype[np.uint64]]
Bits = np.ndarray[Any, np.dtype[np.uint8]]

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
STEPS = (0x9E3779B9, 0xBB67AE85)
"""What the two halves of the key grow by from round to round."""
_BLOCK = 1 << 16  # words drawn at a time: they stay in the cache
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


def words(seed: int, start: int, count: int) -> Words:
    """Words ``start`` and following of a seed of at most 64 bits, uniform on the integers of 32 bits."""
    first = start // 4
    counter = np.arange(first, (start + count + 3) // 4, dtype=np.uint64)
    zero = np.zeros_like(counter)
    state = philox((counter & _LOW, counter >> _HALF, zero, zero), (seed & 0xFFFFFFFF, seed >> 32))
    skipped = start - 4 * first
    return np.stack(state, axis=1).astype(np.uint32).reshape(-1)[skipped : skipped + count]


def philox(counter: tuple[Wide, Wide, Wide, Wide], key: tuple[int, int]) -> tuple[Wide, Wide, Wide, Wide]:
    """The blocks of these counters: four words of 32 bits each, as uint64."""
    a, b, c, d = counter
    low, high = key
    for _ in range(ROUNDS):
        one, other = a * np.uint64(MULTIPLIERS[0]), c * np.uint64(MULTIPLIERS[1])
        a, b = (other >> _HALF) ^ b ^ np.uint64(low), other & _LOW
        c, d = (one >> _HALF) ^ d ^ np.uint64(high), one & _LOW
        low, high = (low + STEPS[0]) & 0xFFFFFFFF, (high + STEPS[1]) & 0xFFFFFFFF
    return a, b, c, d


def below(chance: float) -> int:
    """So many of the 2^32 words, when divided by 2^32, are below ``chance``."""
    return math.ceil(chance * 2**32)


def mask(seed: int, chance: float, at: slice) -> Bits:
    """Whether each of the words ``at.start`` (a multiple of 8) to ``at.stop`` of a seed, divided by 2^32, is below
    ``chance``: eight to a uint8, the first in the lowest bit.
    """
    blocks = (range(start, min(start + _BLOCK, at.stop)) for start in range(at.start, at.stop, _BLOCK))
    return np.packbits(
        np.concatenate([words(seed, one.start, len(one)) < below(chance) for one in blocks]), bitorder="little"
    )
