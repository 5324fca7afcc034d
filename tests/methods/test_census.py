"""A census counts every magnitude, answers for any k, and is not taken where there are too many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mergelab.methods import census, fused, scan, select
from mergelab.methods.pieces import LENGTH, Pieces
from mergelab.methods.vectors import Scan, TaskVectors
from mergelab.models.findings import Findings

CPU = torch.device("cpu")


def changed(size: int, steps: int, dtype: torch.dtype, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    base = torch.randn(size, generator=draws).to(dtype)
    return (base.float() + torch.randint(-steps, steps + 1, (size,), generator=draws) / 64).to(dtype), base


def vectors(model: torch.Tensor, base: torch.Tensor, pieces: Pieces) -> tuple[TaskVectors, Scan]:
    scanner = fused.scan([model], base, torch.float32)
    assert scanner is not None
    return TaskVectors.of([model], base, torch.float32, pieces, {}, scanner), scanner


@pytest.fixture(autouse=True)
def loops_are_there() -> None:
    assert fused.ready(CPU)


@settings(max_examples=40)
@given(
    st.sampled_from((1, 2, 1023, 1025, LENGTH + 1, 3 * LENGTH - 7)),
    st.sampled_from((0, 1, 40)),
    st.sampled_from((torch.bfloat16, torch.float16)),
    st.data(),
)
def test_any_k(size: int, steps: int, dtype: torch.dtype, data: st.DataObject) -> None:
    model, base = changed(size, steps, dtype, seed=size)
    model[: size // 3] = base[: size // 3]  # zeros lie in a row, so that pieces differ
    delta = (model.float() - base.float()).abs().numpy()
    expected = np.sort(delta)[::-1]
    with Pieces(CPU) as pieces:
        whole, _ = vectors(model, base, pieces)
        (known,) = census.taken(whole, [0]).values()
        assert sum(part.counts.sum() for part in known.parts) == size == known.up_to[-1]
        for k in (1, size, data.draw(st.integers(1, size))):
            chosen = known.kth(k)
            value = np.int32(chosen.pattern).view(np.float32)
            assert value == expected[k - 1]
            assert chosen.missing == k - np.count_nonzero(delta > value)
            spans = zip(known.starts, known.starts[1:], strict=False)
            assert chosen.equals.tolist() == [np.count_nonzero(delta[a:b] == value) for a, b in spans]


def test_too_many_are_left_to_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a piece, or in all pieces together."""
    draws = torch.Generator().manual_seed(1)
    base, model = torch.zeros(2 * LENGTH), torch.randn(2 * LENGTH, generator=draws)
    with Pieces(CPU) as pieces:
        assert census.taken(vectors(model, base, pieces)[0], [0]) == {}
        repeated = torch.cat([model[:3000].repeat(100)[:LENGTH], model[3000:6000].repeat(100)[:LENGTH]])
        whole, scanner = vectors(repeated, base, pieces)
        assert set(census.taken(whole, [0])) == {0}
        halves = [scanner.count(0, slice(at, at + LENGTH)) for at in (0, LENGTH)]
        assert [len(half.sizes) for half in halves if half] == [3000, 3000]
        monkeypatch.setattr(scan, "join", lambda *_: -1)
        again, _ = vectors(repeated, base, pieces)
        assert census.taken(again, [0]) == {}
        found = select.thresholds(again, [(0, 1000)])
        monkeypatch.undo()
        assert found == select.thresholds(vectors(repeated, base, pieces)[0], [(0, 1000)])


@pytest.mark.parametrize(("many", "fits"), [(6144, True), (6145, False)])
def test_a_table_is_filled_to_three_quarters(many: int, fits: bool) -> None:
    model = torch.arange(many, dtype=torch.float32).repeat(2)
    with Pieces(CPU) as pieces:
        _, scanner = vectors(model, torch.zeros(2 * many), pieces)
        part = scanner.count(0, slice(0, 2 * many))
        assert (part is not None) == fits
        if part is not None:
            assert sorted(part.sizes.view(np.float32)) == list(range(many))
            assert set(part.counts) == {2}


def test_a_new_density_reads_nothing_but_where_equals_end(monkeypatch: pytest.MonkeyPatch) -> None:
    model, base = changed(2 * LENGTH + 5, 40, torch.bfloat16)
    refuse: Callable[..., None] = lambda *_: pytest.fail("read again")  # noqa: E731
    with Pieces(CPU) as pieces:
        whole, _ = vectors(model, base, pieces)
        select.thresholds(whole, [(0, 1000)])
        for name in ("count", "tally", "pick"):
            monkeypatch.setattr(scan, name, refuse)
        found = [select.thresholds(whole, [(0, k)]) for k in (1, 5000, LENGTH, 2 * LENGTH)]
    monkeypatch.undo()
    with Pieces(CPU) as pieces:
        plain = TaskVectors.of([model], base, torch.float32, pieces, {})
        assert found == [select.thresholds(plain, [(0, k)]) for k in (1, 5000, LENGTH, 2 * LENGTH)]


def test_findings_know_how_much_a_census_holds() -> None:
    model, base = changed(LENGTH + 1, 40, torch.bfloat16)
    with Pieces(CPU) as pieces:
        (known,) = census.taken(vectors(model, base, pieces)[0], [0]).values()
    held = sum(one.nbytes for part in known.parts for one in part) + known.sizes.nbytes + known.up_to.nbytes
    assert known.nbytes == held > 10_000
    findings = Findings(budget=held - 1)
    findings.keep(("vector", "census"), known)  # type: ignore[arg-type]
    assert findings.get(("vector", "census")) is None  # type: ignore[arg-type]
