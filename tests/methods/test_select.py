"""Selection against sorting."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mergelab.errors import MethodError
from mergelab.methods import pieces, select
from mergelab.methods.pieces import Pieces
from mergelab.methods.vectors import TaskVectors
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


@contextmanager
def estimated(low: float, high: float) -> Iterator[None]:
    """However few the elements, pieces are short, and the magnitude is looked for between these first."""

    def bounds(vectors: TaskVectors, wanted: list[tuple[int, int]]) -> list[select._Bounds]:
        two = sorted(select.magnitudes(torch.tensor([low, high], dtype=vectors.dtype)).tolist())
        return [select._Bounds(*two) for _ in wanted]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select, "_estimates", bounds)
        patch.setattr(pieces, "LENGTH", 8)
        patch.setattr(pieces, "SHORT", 8)
        yield


@given(tensors, st.data())
def test_exactly_the_k_largest_are_chosen(values: Tensor, data: st.DataObject) -> None:
    """Whatever a sample says: estimates that miss, on either side, are found out."""
    k = data.draw(st.integers(0, values.numel()))
    wanted = sorted(reference.largest(values.double().tolist(), k))
    mask = select.largest(values, k)
    assert mask.nonzero().flatten().tolist() == wanted
    guess = st.sampled_from([0.0, math.inf, *values.double().abs().tolist()])
    with estimated(data.draw(guess), data.draw(guess)):
        assert torch.equal(mask, select.largest(values, k))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300), st.floats(0, 1))
def test_a_sample_bounds_the_rank(drawn: list[float], share: float) -> None:
    """Of the sample's own magnitudes those at the rank lie between the bounds; and all do that a sample cannot see."""
    ordered = np.sort(select.magnitudes(torch.tensor(drawn)))
    low, high = select._around(ordered, share, 2**31 - 1)
    at = min(int((1 - share) * len(ordered)), len(ordered) - 1)
    assert 0 <= low <= ordered[at] <= high <= 2**31 - 1
    assert select._around(ordered[:0], share, 7) == (0, 7)


@given(tensors, st.data())
def test_other_devices_choose_digit_by_digit(values: Tensor, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, values.numel()))
    wide = values if values.dtype == torch.float64 else values.float()
    found = select._by_digits(wide, k)
    order = reference.largest(wide.double().tolist(), len(wide))[:k]
    last = order[-1]
    assert found.magnitude == abs(wide[last].item()) or (math.isnan(found.magnitude) and wide[last].isnan())
    assert found.until == last + 1


@given(tensors, st.data())
def test_a_threshold_keeps_what_is_chosen(values: Tensor, data: st.DataObject) -> None:
    """Piece by piece. What is not finite and not kept becomes NaN."""
    values = values if values.dtype == torch.float64 else values.float()
    k = data.draw(st.integers(1, values.numel()))
    threshold = select.thresholds(TaskVectors.held([values], Pieces(values.device)), [(0, k)])[0]
    wanted = values * select.largest(values, k)
    kept = values.clone()
    cut = data.draw(st.integers(0, len(values)))
    threshold.keep(kept[:cut], 0)
    threshold.keep(kept[cut:], cut)
    assert torch.equal(kept.nan_to_num(nan=0.5), wanted.nan_to_num(nan=0.5))


@given(tensors, st.data())
def test_the_kth_magnitude_is_that_of_sorting(values: Tensor, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, values.numel()))
    wanted = abs(values[reference.largest(values.double().tolist(), k)[-1]].item())
    found = select.kth_magnitude(values, k)
    assert found == wanted or (math.isnan(found) and math.isnan(wanted))


@given(st.lists(tensors, min_size=1, max_size=4), st.data())
def test_the_kth_of_many_is_that_of_all_in_a_row(many: list[Tensor], data: st.DataObject) -> None:
    """Whatever their dtypes and shapes, read as float64."""
    row = torch.cat([values.double() for values in many])
    k = data.draw(st.integers(1, len(row)))
    wanted = select.kth_magnitude(row, k)
    found = select.kth_of_many(lambda: (values.view(1, -1, 1) for values in many), k, torch.float64)
    assert found == wanted or (math.isnan(found) and math.isnan(wanted))


def test_many_tensors_are_streamed_twice() -> None:
    """More than a block each, one at a time, float32 as it is and bfloat16 as float32."""
    generator = torch.Generator().manual_seed(4)
    many = [torch.randn(300_001, generator=generator), torch.randn(7, 7, generator=generator).bfloat16()]
    streams = []

    def stream() -> Iterator[Tensor]:
        streams.append(0)
        for values in many:
            streams[-1] += 1
            yield values

    k = 60_010
    ordered = torch.cat([values.float().flatten() for values in many]).abs().sort(descending=True).values
    assert select.kth_of_many(stream, k) == ordered[k - 1].item()
    assert streams == [2, 2]
    size = len(ordered)
    assert select.cutoff(stream, k / size, size) == ordered[select.kept(k / size, size) - 1].item()
    assert select.cutoff(stream, 0, size) == math.inf
    assert select.cutoff(stream, 1, size) == 0
    with pytest.raises(MethodError, match=f"rank {size + 1} among {size} elements"):
        select.kth_of_many(stream, size + 1)


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


def test_few_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many elements one pass is enough, and some per cent of them are sorted out."""
    values = torch.randn(1_000_000, generator=torch.Generator().manual_seed(3))
    passes = []
    count = select._count_pieces

    def counted(*asked: object) -> object:
        passes.append(count(*asked))
        return passes[-1]

    monkeypatch.setattr(select, "_count_pieces", counted)
    for k in (1, 1000, 200_000, 500_000, 999_999):
        select.kth_magnitude(values, k)
    assert len(passes) == 5
    assert all(sum(len(piece.between) for piece in parts) < 80_000 for (parts,), _ in passes)


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
