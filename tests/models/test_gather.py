"""Rows gathered from matrices: each one row, or the mean of several."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st

from mergelab.models.alignment import gather
from mergelab.recipes.step import ALL_ROWS, Rows
from mergelab.weights import Source


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[int], list[list[tuple[int, int]]]]:
    """Sizes of the matrices, and terms for each row: of each matrix at most one."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    terms = []
    for _ in range(draw(st.integers(0, 8))):
        lenders = sorted(draw(st.sets(st.integers(0, len(sizes) - 1))))
        terms.append([(lender, draw(st.integers(ALL_ROWS, sizes[lender] - 1))) for lender in lenders])
    return sizes, terms


def packed(terms: Sequence[Sequence[tuple[int, int]]], count: int) -> Rows:
    listed = [term for row in terms for term in row]
    parts = [len(row) for row in terms], [lender for lender, _ in listed], [number for _, number in listed]
    counts, lender, row = (array("i", part).tobytes() for part in parts)
    return Rows(tuple(Source(str(index)) for index in range(count)), counts, lender, row)


@given(
    rows(), st.sampled_from([(), (3,), (2, 2)]), st.sampled_from(["float32", "bfloat16", "float64"]), st.integers(0, 99)
)
def test_every_row_is_the_mean_of_its_terms(
    asked: tuple[list[int], list[list[tuple[int, int]]]], trailing: tuple[int, ...], dtype: str, seed: int
) -> None:
    sizes, terms = asked
    draw = torch.Generator().manual_seed(seed)
    kind = getattr(torch, dtype)
    matrices = [torch.randn(size, *trailing, generator=draw).to(kind) for size in sizes]
    before = [matrix.clone() for matrix in matrices]
    made = gather(packed(terms, len(sizes)), matrices)
    means = any(len(row) != 1 or row[0][1] == ALL_ROWS for row in terms if row)
    assert made.dtype == (torch.promote_types(kind, torch.float32) if means else kind)
    assert made.shape == (len(terms), *trailing)
    for number, row in enumerate(terms):
        values = [
            matrices[lender].double().mean(0) if at == ALL_ROWS else matrices[lender][at].double() for lender, at in row
        ]
        expected = sum(values, torch.zeros(trailing, dtype=torch.float64)) / max(1, len(values))
        copied = len(row) == 1 and row[0][1] != ALL_ROWS
        torch.testing.assert_close(
            made[number].double(), expected, rtol=0 if copied else 1e-6, atol=0 if copied else 1e-6
        )
    assert all(torch.equal(matrix, old) for matrix, old in zip(matrices, before, strict=True))


def test_a_copied_row_keeps_the_sign_of_zero_and_matrices_may_differ_in_dtype() -> None:
    one, other = torch.tensor([[-0.0, 1.0]], dtype=torch.bfloat16), torch.tensor([[2.0, 3.0]], dtype=torch.float16)
    made = gather(packed([[(0, 0)], [(1, 0)]], 2), [one, other])
    assert made.dtype == torch.float32
    assert made.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert made.signbit().tolist() == [[True, False], [False, False]]


def test_the_mean_of_all_rows_takes_every_block() -> None:
    matrix = torch.arange(5000.0).view(2500, 2)
    assert gather(packed([[(0, ALL_ROWS)]], 1), [matrix]).tolist() == [[2499.0, 2500.0]]


# ------------------------------------------------------------------------------------------------ whole models
