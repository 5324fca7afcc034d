"""One way through the weights: what a sample missed, threads that fail or come late, sums in order."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from mergelab.inspection import magnitudes, rows
from mergelab.inspection.changes import task_vectors
from mergelab.inspection.magnitudes import DENSITIES, Lone
from mergelab.inspection.rows import Shared
from mergelab.inspection.sums import Alone, Sums
from mergelab.weights import open_checkpoint
from tests.weights import folders

QUERY = "model.layers.0.self_attn.q_proj.weight"


def save(folder: Path, tensor: torch.Tensor) -> Path:
    return folders.save(folder, {QUERY: tensor})


def test_rows_that_the_sample_missed_have_levels_of_their_own(tmp_path: Path) -> None:
    """Three rows of many were trained, far more than the rest: masses are theirs."""
    draw = torch.Generator().manual_seed(1)
    base = torch.randn(600, 512, generator=draw) * 0.02
    one, other = (base + 1e-6 * torch.randn(600, 512, generator=draw) for _ in range(2))
    for row in (101, 301, 501):
        one[row] += 0.05 * torch.randn(512, generator=draw)
        other[row] -= 0.9 * (one[row] - base[row])
    found = task_vectors(save(tmp_path / "base", base), save(tmp_path / "a", one), save(tmp_path / "b", other))
    first, second = (tensor.double() - base.double() for tensor in (one, other))
    whole = first.abs().sum() + second.abs().sum()
    lost = float(1 - (first + second).abs().sum() / whole)
    assert found.conflict().lost(1.0).values.item() == pytest.approx(lost, abs=0.01)
    few = int(0.001 * first.numel())
    energy = first.flatten().square().topk(few).values.sum() / first.square().sum()
    kept = np.interp(0.001, DENSITIES, found.kept().row("a"))
    assert kept == pytest.approx(float(energy.sqrt()), abs=0.02)
    assert found.largest("a").values.item() == pytest.approx(float(first.abs().max()), rel=1e-6)
    assert found.cosine().values.item() == pytest.approx(float((first * second).sum() / first.norm() / second.norm()))


def test_no_tensor_like_its_sample_is_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room above a sample's largest change: the largest of all may be some times as large."""
    change = torch.full((600, 512), 1.9)
    change[1, 5] = 7.0
    paths = [save(tmp_path / "base", torch.zeros(600, 512)), save(tmp_path / "a", change)]
    calls: list[int] = []
    tally = rows.tally

    def counted(*given: object) -> object:
        calls.append(1)
        return tally(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(rows, "tally", counted)
    task_vectors(*paths)
    assert len(calls) == 1


def test_a_tensor_that_could_not_be_opened_is_not_read_without_scales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread that comes after the one that failed begins anew."""
    base, one = (
        open_checkpoint(save(tmp_path / name, torch.full((4, 6), value))) for name, value in (("x", 1), ("y", 3.0))
    )
    reading = rows._Reading(base, {"y": one}, Shared((0, "self_attn.q_proj"), QUERY, {"y": QUERY}))
    sampled = magnitudes.sampled_scale

    def fail(*_given: torch.Tensor) -> float:
        raise OSError("no room")

    monkeypatch.setattr(magnitudes, "sampled_scale", fail)
    for _ in range(2):
        with pytest.raises(OSError, match="no room"):
            reading.read(0)
    monkeypatch.setattr(magnitudes, "sampled_scale", sampled)
    assert reading.read(0)
    assert reading.sums().alone["y"].largest == 2


def test_sums_do_not_depend_on_who_is_ready_first() -> None:
    place = (0, "self_attn.q_proj")
    tensors = [Shared(place, str(number), {"a": str(number)}) for number in range(3)]
    given = [
        Sums({"a": Alone(1, 1.0, energy, 1.0, Lone(np.zeros((3, len(DENSITIES)))))}, {})
        for energy in (1.0, 1.0, 2.0**53)  # in another order the ones are lost
    ]
    for order in permutations(range(3)):
        collected = rows._Collected(tensors, lambda _done, _total: None)
        for number in order:
            collected.add(number, given[number])
        assert collected.places()[place].alone["a"].energy == 2.0**53 + 2


def test_the_largest_is_found_among_those_that_look_alike_to_a_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one level two changes are: the second, in a later part, is the larger."""
    monkeypatch.setattr(rows, "PART", 64)
    change = torch.full((4, 64), 0.25)
    change[1, 5], change[3, 7] = 1.5, 1.5 + 2.0**-16
    found = task_vectors(save(tmp_path / "base", torch.zeros(4, 64)), save(tmp_path / "a", change))
    assert found.largest().values.item() == 1.5 + 2.0**-16
