"""Selection against sorting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mergelab.errors import MethodError
from mergelab.methods import select
from tests.methods.rows import delta as reference

AWKWARD32 = [0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x3F800000, 0xBF800000]
AWKWARD32 += [0x3F800001, 0x3F80FFFF, 0x3F810000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000]
patterns32 = st.one_of(st.sampled_from(AWKWARD32), st.integers(0, 2**32 - 1))
patterns64 = st.one_of(
    st.sampled_from([pattern << 32 for pattern in AWKWARD32]),
    st.sampled_from([0x3FF0000000000000 + low for low in (0, 1, 0xFFFF, 0x10000, 0xFFFFFFFF, 0x100000000)]),
    st.integers(0, 2**64 - 1),
)


def one_nan(values: Tensor) -> Tensor:
    """One pattern for every NaN: selection would rank their payloads."""
    return torch.where(values.isnan(), torch.nan, values)


def float32(patterns: list[int]) -> Tensor:
    return one_nan(torch.from_numpy(np.array(patterns, dtype=np.uint32).view(np.float32)))


def float64(patterns: list[int]) -> Tensor:
    return one_nan(torch.from_numpy(np.array(patterns, dtype=np.uint64).view(np.float64)))


tensors = st.one_of(
    st.lists(patterns32, min_size=1, max_size=40).map(float32),
    st.lists(patterns64, min_size=1, max_size=40).map(float64),
    st.lists(st.sampled_from(AWKWARD32), min_size=1, max_size=60).map(float32),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20).map(lambda drawn: float32(drawn).bfloat16()),
)


@given(tensors, st.data())
def test_exactly_the_k_largest_are_chosen(values: Tensor, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, values.numel()))
    wanted = sorted(reference.largest(values.double().tolist(), k))
    mask = select.largest(values, k)
    assert mask.nonzero().flatten().tolist() == wanted
    kept = select.largest(values, k, select.magnitude_counts(values))
    assert torch.equal(mask, kept)


@given(tensors, st.data())
def test_the_kth_magnitude_is_that_of_sorting(values: Tensor, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, values.numel()))
    wanted = abs(values[reference.largest(values.double().tolist(), k)[-1]].item())
    for found in (select.kth_magnitude(values, k), select.kth_magnitude(values, k, select.magnitude_counts(values))):
        assert found == wanted or (math.isnan(found) and math.isnan(wanted))


@given(tensors)
def test_counts_add_up(values: Tensor) -> None:
    counts = select.magnitude_counts(values)
    assert counts.shape == (32768,)
    assert counts.sum() == values.numel()


@pytest.mark.parametrize("kind", ["normal", "few distinct", "constant", "zeros", "float64"])
@pytest.mark.parametrize("share", [0.0, 1e-6, 0.2, 0.5, 0.999, 1.0])
def test_long_tensors_over_many_blocks(kind: str, share: float) -> None:
    """600 003 elements, more than two blocks, in two dimensions, against a stable sort."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(3, 200_001, generator=generator, dtype=torch.float64 if kind == "float64" else torch.float32)
    if kind == "few distinct":
        values = values.round()
    elif kind in ("constant", "zeros"):
        values = torch.full_like(values, -1.5 if kind == "constant" else 0.0)
    k = int(share * values.numel())
    wanted = torch.zeros(values.numel(), dtype=torch.bool)
    wanted[values.abs().flatten().sort(descending=True, stable=True).indices[:k]] = True
    assert torch.equal(select.largest(values, k), wanted.view(values.shape))


def test_strided_and_scalar_tensors() -> None:
    values = torch.tensor([[1.0, -4.0], [3.0, 2.0]]).T
    assert torch.equal(select.largest(values, 2), torch.tensor([[False, True], [True, False]]))
    assert select.largest(torch.tensor(2.0), 1).shape == ()
    assert select.largest(torch.empty(0, 3), 0).shape == (0, 3)


@pytest.mark.parametrize("k", [-1, 4])
def test_there_is_no_such_rank(k: int) -> None:
    with pytest.raises(MethodError, match=f"{k} of 3"):
        select.largest(torch.ones(3), k)
    with pytest.raises(MethodError, match=f"rank {k} among 3"):
        select.kth_magnitude(torch.ones(3), k)


@given(st.floats(0, 1), st.integers(0, 300))
def test_density_keeps_at_least_one_and_at_most_all(density: float, size: int) -> None:
    count = select.kept(density, size)
    if density == 0 or size == 0:
        assert count == 0
    else:
        assert 1 <= count <= size
        assert count == 1 or count <= density * size < count + 1


@pytest.mark.parametrize(
    ("density", "size", "count"), [(0.5, 7, 3), (0.01, 7, 1), (1.0, 7, 7), (0.2, 99, 19), (0, 7, 0)]
)
def test_counts_as_in_mergekit(density: float, size: int, count: int) -> None:
    assert select.kept(density, size) == count
