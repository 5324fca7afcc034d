"""Random words: the published answers of Philox4x32-10, any place at once, and loops that give the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergelab.methods import fused, lots
from tests.methods.table import philox

SEEDS = st.integers(0, 2**64 - 1)
STARTS = st.integers(0, 99) | st.integers(2**34 - 50, 2**34 + 50) | st.integers(0, 2**40)


# Random123, the authors' own library, file kat_vectors: counter, key, block.
@pytest.mark.parametrize(
    ("counter", "key", "block"),
    [
        ([0x00000000] * 4, [0x00000000] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_published_blocks(counter: list[int], key: list[int], block: list[int]) -> None:
    a, b, c, d = (np.array([word], np.uint64) for word in counter)
    found = lots.philox((a, b, c, d), (key[0], key[1]))
    assert [int(word[0]) for word in found] == block
    assert list(philox((counter[0], counter[1], counter[2], counter[3]), key[0] + (key[1] << 32))) == block


@given(SEEDS, STARTS, st.integers(1, 40))
def test_words_are_those_of_their_places(seed: int, start: int, count: int) -> None:
    blocks = [philox((at // 4 % 2**32, at // 4 >> 32, 0, 0), seed)[at % 4] for at in range(start, start + count)]
    assert lots.words(seed, start, count).tolist() == blocks


@given(SEEDS, STARTS, st.integers(1, 99), st.integers(1, 2**32) | st.sampled_from((1, 2**32 - 1, 2**32)))
def test_a_mask_is_what_lies_below(seed: int, start: int, count: int, most: int) -> None:
    start *= 8
    chance = most / 2**32
    kept = lots.words(seed, start, count) / 2**32 < chance
    assert (
        np.unpackbits(lots.mask(seed, chance, slice(start, start + count)), count=count, bitorder="little").tolist()
        == kept.tolist()
    )


@pytest.mark.parametrize("chance", [5e-324, 2.0**-32, 0.3, 0.5, 1 - 2.0**-32, 1 - 2.0**-53])
@pytest.mark.parametrize("count", [1, 127, 128, 129, 4099])
def test_loops_draw_the_same(chance: float, count: int) -> None:
    """Also where a mask ends within a block, and counters leave 32 bits."""
    for seed, start in ((0, 0), (2**64 - 1, 8), (0x0123456789ABCDEF, 2**34 - 64)):
        into = np.zeros(count, np.uint8)
        fused.by_lot(seed, chance, start, into)
        assert np.array_equal(into, lots.mask(seed, chance, slice(start, start + 8 * count)))
