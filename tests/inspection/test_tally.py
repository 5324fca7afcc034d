"""Counting weights: compiled loops and torch give the same bits, and these are those of float64."""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mergelab.inspection import tally as counted
from mergelab.inspection.changes import task_vectors
from mergelab.inspection.magnitudes import CELLS, FLOOR, LEVELS, Reals, edges, scale
from mergelab.inspection.tally import RUN, available, by_loops, by_torch, tally
from tests.inspection.test_magnitudes import KINDS, draw
from tests.weights import folders

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
SIZES = (1, 2, 7, RUN - 1, RUN, RUN + 1, 3 * RUN + 5)
ODD = (float("nan"), float("inf"), float("-inf"), -0.0, 1e-45, 3e38, 65504.0, 6e-8)


def pairs(sources: int) -> tuple[tuple[int, int], ...]:
    return tuple(combinations(range(sources), 2)) or ((0, 0),)


def weights(kinds: list[str], dtypes: list[torch.dtype], size: int, seed: int) -> list[Tensor]:
    """A base and what moved from it, at addresses that fit no register."""
    base = np.random.default_rng(seed).normal(size=size + 1)
    moved = [base, *(base + draw(kind, size + 1, seed + place) for place, kind in enumerate(kinds, 1))]
    return [torch.from_numpy(one).to(dtype)[1:] for one, dtype in zip(moved, dtypes, strict=True)]


def equal(one: tuple[NDArray, ...], other: tuple[NDArray, ...]) -> None:  # type: ignore[type-arg]
    for found, expected in zip(one, other, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@st.composite
def works(drawn: st.DrawFn) -> tuple[list[Tensor], list[float]]:
    sources = drawn(st.integers(1, 4))
    kinds = drawn(st.lists(st.sampled_from(KINDS), min_size=sources, max_size=sources))
    dtypes = drawn(st.lists(st.sampled_from(DTYPES), min_size=1 + sources, max_size=1 + sources))
    flat = weights(kinds, dtypes, drawn(st.sampled_from(SIZES)), drawn(st.integers(0, 9999)))
    return flat, drawn(st.lists(st.sampled_from([1.0, 0.25, 2.0**30]), min_size=sources, max_size=sources))


def test_the_loops_are_at_work() -> None:
    assert available()


@given(works())
def test_loops_give_the_bits_that_torch_gives(work: tuple[list[Tensor], list[float]]) -> None:
    equal(by_loops(*work, pairs(len(work[1]))), by_torch(*work, pairs(len(work[1]))))


@given(st.lists(st.sampled_from(ODD), min_size=3, max_size=3), st.sampled_from(SIZES), st.sampled_from(DTYPES))
def test_loops_take_every_number(odd: list[float], size: int, dtype: torch.dtype) -> None:
    flat = weights(["normal", "sparse"], [dtype] * 3, size, 1)
    for tensor, number in zip(flat, odd, strict=True):
        tensor[size // 2] = number
    with np.errstate(invalid="ignore"):
        found, expected = (by(flat, [1.0, 4.0], pairs(2)) for by in (by_loops, by_torch))
    equal(found[:2], expected[:2])
    if np.isfinite(found[0]).all():
        equal(found[2:], expected[2:])
    assert found[2].sum() == expected[2].sum() == size


@given(works())
def test_sums_and_counts_are_those_of_float64(work: tuple[list[Tensor], list[float]]) -> None:
    flat, _ = work
    base, *changes = (tensor.double().numpy() for tensor in flat)
    changes = [(change.astype(np.float32) - base.astype(np.float32)).astype(np.float64) for change in changes]
    scales = [scale(np.abs(change).max()) for change in changes]
    found, cells = tally(flat, scales, pairs(len(changes)))
    near = {"rtol": 2e-6}
    np.testing.assert_allclose(found.base, (base**2).sum(), **near)
    np.testing.assert_allclose(found.energy, [(change**2).sum() for change in changes], **near)
    np.testing.assert_array_equal(found.largest, [np.abs(change).max() for change in changes])
    for (one, other), dot, products, joint in zip(pairs(len(changes)), found.dots, found.squares, cells, strict=True):
        product = changes[one] * changes[other]
        np.testing.assert_allclose(dot, product.sum(), atol=2e-6 * np.abs(product).sum())
        np.testing.assert_allclose(products, (product**2).sum(), rtol=2e-6, atol=1e-38)
        rows, columns = (level(changes[place] * scales[place]) for place in (one, other))
        signs = np.signbit(changes[one]) != np.signbit(changes[other])
        expected = np.zeros((2, LEVELS, LEVELS), np.int64)
        np.add.at(expected, (signs.astype(int), rows, columns), 1)
        np.testing.assert_array_equal(joint.reshape(expected.shape), expected)


def level(scaled: Reals) -> NDArray[np.int64]:
    total = (np.abs(scaled) + FLOOR).astype(np.float32).astype(np.float64)
    return np.minimum(np.searchsorted(edges() + FLOOR, total), LEVELS - 1)


def test_torch_counts_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = weights(["normal", "heavy", "far"], [torch.float32] * 4, 9 * RUN + 17, 3)
    work = flat, [1.0, 0.5, 2.0], pairs(3)
    whole = by_torch(*work)
    monkeypatch.setattr(counted, "_PIECE", 2 * RUN)
    monkeypatch.setattr(counted, "_COUNTED", 4 * RUN)
    equal(by_torch(*work), whole)


def test_a_run_is_folded_by_quarters() -> None:
    """In float32, where ones beside 2**24 count only if they were added up before."""
    base = torch.zeros(2 * RUN)
    one = torch.zeros(2 * RUN)
    one[0], one[RUN // 2], one[3 * RUN // 4] = 2.0**12, 1.0, 1.0
    for found in (by_loops, by_torch):
        lanes, *_ = found([base, one], [1.0], ((0, 0),))
        assert lanes[1].tolist() == [2.0**24 + 2] + [0.0] * 15
    one[RUN // 4], one[3 * RUN // 4] = 1.0, 0.0
    for found in (by_loops, by_torch):
        lanes, *_ = found([base, one], [1.0], ((0, 0),))
        assert lanes[1, 0] == 2.0**24, "a half of the last place, to even, twice"
    one[RUN] = 1.0
    for found in (by_loops, by_torch):
        lanes, *_ = found([base, one], [1.0], ((0, 0),))
        assert lanes[1, 0] == 2.0**24 + 1, "from run to run in float64"


def test_a_cell_takes_any_number() -> None:
    size = (1 << 17) + 300 * RUN + 1
    base = torch.zeros(size)
    found = by_loops([base, base, base], [1.0, 1.0], ((0, 1), (1, 1)))
    assert found[2].max(axis=1).tolist() == found[2].sum(axis=1).tolist() == [size, size]


def test_a_change_beyond_its_scale_is_of_the_highest_level() -> None:
    flat = [torch.zeros(4), torch.tensor([1.9, 2.0, -1e30, 1.0])]
    for found in (by_loops, by_torch):
        _, largest, cells = found(flat, [1.0], ((0, 0),))
        assert largest == np.float32(1e30)
        assert cells.shape == (1, CELLS)
        assert cells.reshape(2, LEVELS, LEVELS)[0, -1, -1] == 3


def family(folder: Path, dtype: torch.dtype) -> list[Path]:
    shapes = folders.shapes(2, width=24, inner=40, keys=8, vocabulary=61)
    base = folders.tensors(shapes, dtype=dtype)
    paths = [folders.save(folder / "base", base, num_hidden_layers=2)]
    for number, name in enumerate("ab", 1):
        draw = torch.Generator().manual_seed(number)
        moved = {key: (one + 0.1 * torch.randn(one.shape, generator=draw)).to(dtype) for key, one in base.items()}
        paths.append(folders.save(folder / name, moved, num_hidden_layers=2))
    return paths


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_loops_every_figure_is_the_same(
    tmp_path: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = family(tmp_path, dtype)
    calls: list[int] = []
    monkeypatch.setattr(counted, "by_loops", lambda *given: calls.append(1) or by_loops(*given))
    fast = task_vectors(*paths)
    assert calls
    monkeypatch.setattr(counted, "available", lambda: False)
    monkeypatch.setattr(counted, "by_loops", None)
    slow = task_vectors(*paths)
    assert fast.to_frame().equals(slow.to_frame())
    np.testing.assert_array_equal(fast.cosine().values, slow.cosine().values)
    for density in (0.1, 1.0):
        assert fast.conflict().summary(density).equals(slow.conflict().summary(density))


def test_float64_is_counted_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "by_loops", None)
    flat = [torch.ones(5, dtype=torch.float64), torch.full((5,), 1 + 1e-12, dtype=torch.float64)]
    found, _ = tally(flat, [scale(1e-12)], ((0, 0),))
    assert found.largest == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize("module", ["numba", "mergelab.inspection.counting"])
def test_without_numba_there_are_no_loops(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numba", "mergelab.methods.machine", "mergelab.inspection.counting"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("mergelab.inspection.counting", raising=False)
    monkeypatch.delattr("mergelab.methods.machine", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    assert not available.__wrapped__()


def test_loops_that_count_otherwise_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*given: object) -> object:
        lanes, largest, cells = by_torch(*given)  # type: ignore[arg-type]
        return lanes * (1 + 2e-16), largest, cells

    monkeypatch.setattr(counted, "by_loops", other)
    assert not available.__wrapped__()
