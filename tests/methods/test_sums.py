"""Sums of whole tensors against exact ones."""

from __future__ import annotations

import math

import pytest
import torch

from mergelab.methods import sums


@pytest.mark.parametrize("size", [0, 1, 7, (1 << 14) - 1, 1 << 14, (1 << 18) + 5, 700_001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_are_exact_to_the_last_digits(size: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(size)
    left = torch.randn(size, generator=generator, dtype=dtype) * 1e25  # its square is beyond float32
    right = torch.randn(size, generator=generator, dtype=dtype) * 1e25
    before = left.clone()
    products = (left.double() * right.double()).tolist()
    scale = math.fsum(abs(one) for one in products)
    assert abs(sums.dot(left, right) - math.fsum(products)) <= 1e-12 * scale
    assert math.isclose(sums.norm(left), math.sqrt(math.fsum(x * x for x in left.tolist())), rel_tol=1e-12)
    assert math.isclose(
        sum(row for piece in left.split(1 << 16) for row in sums.absolute_rows(piece)),
        math.fsum(abs(x) for x in left.tolist()),
        rel_tol=1e-12,
    )
    assert torch.equal(left, before)


@pytest.mark.parametrize("size", [0, 1, 1 << 14, (1 << 18) + 5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_products_by_pieces_are_those_of_the_whole(size: int, dtype: torch.dtype) -> None:
    """Bit for bit, in pieces of any multiple of a row."""
    left, right = torch.randn(2, size, generator=torch.Generator().manual_seed(size)).to(dtype)
    expected = sums.dot(left, left), sums.dot(right, right), sums.dot(left, right)
    for length in (sums.ROW, 3 * sums.ROW, 1 << 18):
        pieces = zip(left.split(length), right.split(length), strict=True)
        own = zip(*(sums.product_rows(*piece) for piece in pieces), strict=True)
        assert tuple(sum(term for piece in terms for term in piece) for terms in own) == expected


def test_threads_do_not_matter() -> None:
    """Of values over twelve decades, whose sum shows in its digits in what order they were added."""
    generator = torch.Generator().manual_seed(1)
    size = (1 << 18) + 40_001
    values = torch.randn(size, generator=generator) * 10 ** (2 * torch.randn(size, generator=generator))
    other = torch.randn(size, generator=generator)
    threads = torch.get_num_threads()
    try:
        found = []
        for many in (1, 2, 3, 5):
            torch.set_num_threads(many)
            found.append((sums.norm(values), sum(sums.absolute_rows(values)), sums.dot(values, other)))
    finally:
        torch.set_num_threads(threads)
    assert len(set(found)) == 1
