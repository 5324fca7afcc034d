"""Spectra of changes: exact ones against numpy in float64, sketched ones against exact ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mergelab.inspection import spectrum as module
from mergelab.inspection.spectrum import Change, Spectrum, spectrum


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_values(values: Tensor, rows: int, columns: int, seed: int = 1) -> Tensor:
    """A matrix of known singular values."""
    left, right = (
        torch.linalg.qr(drawn(seed + side, length, len(values))).Q for side, length in enumerate((rows, columns))
    )
    return (left * values) @ right.T


def change(matrix: Tensor) -> Change:
    """From a base that is not zero."""
    base = drawn(77, *matrix.shape)
    return Change((base.double() + matrix).double(), base.double())


def reference(matrix: Tensor) -> tuple[float, float, float]:
    """Effective, stable rank and participation ratio."""
    values = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    values = values[values > 1e-5 * values[0]]
    shares = values / values.sum()
    squares = values**2
    return (
        float(np.exp(-(shares * np.log(shares)).sum())),
        float(squares.sum() / squares[0]),
        float(squares.sum() ** 2 / (squares**2).sum()),
    )


def ranks(found: Spectrum) -> tuple[float, float, float]:
    return found.effective, found.stable, found.participation


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT", 0)


@given(
    st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(0, 99), st.sampled_from((1e-6, 1.0, 1e4))
)
@settings(max_examples=60)
def test_small_ones_are_exact(rows: int, columns: int, rank: int, seed: int, size: float) -> None:
    matrix = drawn(seed, rows, rank) @ drawn(seed + 1, rank, columns) * size
    found = spectrum(Change(matrix, torch.zeros(1).expand(rows, columns)), 4, "w")
    assert ranks(found) == pytest.approx(reference(matrix), rel=1e-3)
    assert found.size == pytest.approx(float(matrix.double().norm()), rel=1e-6)
    assert found.error == 0
    kept = min(4, rows, columns, rank)
    left, values, right = torch.linalg.svd(matrix.double())
    if min(rows, columns, rank) > 4 and values[4] > 0.9 * values[3]:
        return  # which of two that are nearly equal comes first is a matter of rounding
    assert found.left.shape[1] <= kept
    kept = found.left.shape[1]
    for mine, theirs in ((found.left, left[:, :kept]), (found.right, right[:kept].T)):
        torch.testing.assert_close(mine.T @ mine, torch.eye(kept), atol=1e-4, rtol=0)
        torch.testing.assert_close((mine.double() @ mine.double().T), theirs @ theirs.T, atol=2e-3, rtol=0)


def test_a_change_of_zero_or_without_numbers_has_no_rank() -> None:
    none = spectrum(Change(torch.ones(3, 5), torch.ones(3, 5)), 4, "w")
    assert none.size == 0
    assert all(map(math.isnan, ranks(none)))
    assert (none.left.shape, none.right.shape) == ((3, 0), (5, 0))
    for bad in (math.inf, math.nan):
        lost = spectrum(Change(torch.full((3, 5), bad), torch.ones(3, 5)), 4, "w")
        assert math.isnan(lost.size)
        assert all(map(math.isnan, ranks(lost)))
        assert lost.left.shape == (3, 0)


SPECTRA = {
    "falling": torch.arange(1, 151).float() ** -0.7,
    "steep": 0.8 ** torch.arange(150).float(),
    "flat": torch.ones(150),
    "one": torch.cat([torch.tensor([50.0]), torch.ones(149)]),
    "low": torch.tensor([3.0, 3.0, 2.0, 1.0, 1.0]),
}


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("kind", SPECTRA)
@pytest.mark.parametrize("shape", [(150, 260), (260, 150)])
@pytest.mark.parametrize("size", [1e-8, 1.0])
def test_a_sketch_comes_close(kind: str, shape: tuple[int, int], size: float) -> None:
    values = SPECTRA[kind]
    matrix = with_values(values * size, *shape)
    found = spectrum(Change(matrix, torch.zeros(shape)), 8, "w")
    effective, stable, participation = reference(matrix)
    assert found.effective == pytest.approx(effective, rel=0.05)
    assert found.stable == pytest.approx(stable, rel=0.03)
    assert found.participation == pytest.approx(participation, rel=0.05)
    assert found.size == pytest.approx(float(matrix.double().norm()), rel=1e-6)
    assert abs(found.effective - effective) <= 0.03 * effective + 3 * found.error * effective
    assert (found.left.shape, found.right.shape) == ((shape[0], min(8, len(values))), (shape[1], min(8, len(values))))
    for mine in (found.left, found.right):
        torch.testing.assert_close(mine.T @ mine, torch.eye(mine.shape[1]), atol=1e-4, rtol=0)
    if kind in ("falling", "steep", "low"):
        exact = torch.linalg.svd(matrix.double())
        kept = found.left.shape[1]
        share = float((found.left.double().T @ exact.U[:, :kept]).square().sum()) / kept
        assert share > 0.99
        share = float((found.right.double().T @ exact.Vh[:kept].T).square().sum()) / kept
        assert share > 0.99


HARD = {
    "slow": torch.exp(-torch.arange(400) / 30.0),
    "slower": torch.exp(-torch.arange(400) / 100.0),
    "rank beyond the sketch": 0.1 + torch.linspace(1, 0, 80),
    "two levels": torch.where(torch.arange(400) < 100, 1.0, 1e-3),
}


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("kind", HARD)
def test_a_tail_that_a_few_steps_miss_is_counted_and_the_error_says_how_well(kind: str) -> None:
    matrix = with_values(HARD[kind], 400, 420)
    effective, _, participation = reference(matrix)
    found = [spectrum(Change(matrix, torch.zeros(1).expand(400, 420)), 8, "w", seed) for seed in range(4)]
    assert [one.effective for one in found] == pytest.approx([effective] * 4, rel=0.06)
    assert [one.participation for one in found] == pytest.approx([participation] * 4, rel=0.04)
    away = np.array([one.effective / effective - 1 for one in found])
    told = np.array([one.error for one in found])
    assert np.sqrt((away**2).mean()) <= 3 * np.sqrt((told**2).mean())
    assert told.max() < 0.05


@pytest.mark.usefixtures("sketched")
def test_the_error_covers_steps_that_did_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEPS", (6,))
    matrix = with_values(HARD["slow"], 400, 420)
    found = spectrum(Change(matrix, torch.zeros(1).expand(400, 420)), 8, "w")
    assert abs(found.effective / reference(matrix)[0] - 1) > 0.03
    assert abs(found.effective / reference(matrix)[0] - 1) <= 2 * found.error


@pytest.mark.usefixtures("sketched")
def test_noise_of_full_rank_is_no_trouble() -> None:
    matrix = drawn(4, 200, 310)
    effective, stable, participation = reference(matrix)
    found = spectrum(change(matrix), 8, "w")
    assert found.effective == pytest.approx(effective, rel=0.03)
    assert found.stable == pytest.approx(stable, rel=0.03)
    assert found.participation == pytest.approx(participation, rel=0.06)
    assert 0 < found.error < 0.03


@pytest.mark.usefixtures("sketched")
def test_random_numbers_come_from_name_and_seed_alone() -> None:
    matrix = drawn(4, 60, 90)
    torch.manual_seed(1)
    one = spectrum(change(matrix), 5, "layers.1.q")
    torch.manual_seed(2)
    again, named, seeded = (
        spectrum(change(matrix), 5, name, seed)
        for name, seed in (("layers.1.q", 0), ("layers.2.q", 0), ("layers.1.q", 1))
    )
    assert torch.equal(one.left, again.left)
    assert one.effective == again.effective
    assert one.effective != named.effective
    assert one.effective != seeded.effective


@pytest.mark.usefixtures("sketched")
def test_a_change_too_large_to_hold_is_read_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    source, base = drawn(1, 70, 50).bfloat16(), drawn(2, 70, 50).bfloat16()
    held = spectrum(Change(source, base), 6, "w")
    monkeypatch.setattr(module, "HELD", 8 * 50 * 4)  # rows of 4
    streamed = Change(source, base)
    assert [rows.stop - rows.start for rows, _ in streamed.blocks()] == [4] * 17 + [2]
    assert ranks(spectrum(streamed, 6, "w")) == pytest.approx(ranks(held), rel=1e-4)
    monkeypatch.setattr(module, "EXACT", 50)
    assert ranks(spectrum(streamed, 6, "w")) == pytest.approx(reference(source.float() - base.float()), rel=1e-4)
