"""The nearest pair of a rank: against the singular values in float64, flat and tall, and what was made of little."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.forge.low_rank import low_rank, squares

sides = st.integers(1, 9)


def drawn(rows: int, columns: int, seed: int, rank: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return drawn(rows, rank, seed) @ drawn(rank, columns, seed + 1)


@settings(max_examples=60)
@given(rows=sides, columns=sides, rank=st.integers(1, 12), seed=st.integers(0, 99))
def test_it_keeps_the_largest_singular_values_and_says_how_much(rows: int, columns: int, rank: int, seed: int) -> None:
    difference = drawn(rows, columns, seed)
    pair = low_rank(difference.clone(), rank, torch.float64)
    values = np.linalg.svd(difference.numpy(), compute_uv=False)
    assert pair.a.shape == (rank, columns)
    assert pair.b.shape == (rows, rank)
    assert pair.energy == pytest.approx((values**2).sum(), rel=1e-12)
    assert pair.lost == pytest.approx((values[rank:] ** 2).sum(), rel=1e-9, abs=1e-24 * pair.energy)
    left, _, right = np.linalg.svd(difference.numpy(), full_matrices=False)
    best = (left[:, :rank] * values[:rank]) @ right[:rank]
    assert np.allclose((pair.b @ pair.a).numpy(), best, atol=1e-7)


@settings(max_examples=40)
@given(
    rows=sides, columns=sides, rank=st.integers(1, 9), size=st.sampled_from([1e-6, 1.0, 1e4]), seed=st.integers(0, 99)
)
def test_a_difference_of_low_rank_comes_back(rows: int, columns: int, rank: int, size: float, seed: int) -> None:
    difference = size * drawn(rows, columns, seed, min(rank, rows, columns))
    pair = low_rank(difference.clone(), rank, torch.float32)
    assert torch.allclose(pair.b.double() @ pair.a.double(), difference, atol=3e-6 * size, rtol=1e-5)
    assert pair.lost <= 1e-11 * pair.energy


def test_the_loss_is_that_of_the_values_as_they_are_stored() -> None:
    difference = drawn(7, 5, 3)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        pair = low_rank(difference.clone(), 5, dtype)
        assert pair.a.dtype == pair.b.dtype == dtype
        left = difference - pair.b.double() @ pair.a.double()
        assert pair.lost == pytest.approx(squares(left), rel=1e-9)
        assert pair.lost > 0


def test_both_sides_carry_the_same_and_no_sign_is_left_to_chance() -> None:
    for shape in ((6, 9), (9, 6)):
        pair = low_rank(drawn(*shape, 5), 3, torch.float64)
        assert torch.allclose(pair.a.norm(dim=1), pair.b.norm(dim=0))
        one_sided = pair.b if shape[0] < shape[1] else pair.a.T
        assert (one_sided.gather(0, one_sided.abs().argmax(0, keepdim=True)) > 0).all()


def test_no_difference_is_a_pair_of_zeros() -> None:
    pair = low_rank(torch.zeros(3, 4, dtype=torch.float64), 2, torch.float32)
    assert not pair.a.isnan().any()
    assert not pair.b.any()
    assert (pair.energy, pair.lost) == (0, 0)
