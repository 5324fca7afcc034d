"""Subspaces of changes: planted ranks and shared directions are found where they are; chance is what chance gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mergelab import sample
from mergelab.errors import InspectionError, SourceError
from mergelab.inspection import spectrum
from mergelab.inspection.subspace import Side, Subspaces, overlap, random_overlap, subspaces
from mergelab.weights import open_checkpoint
from tests.models.families import save
from tests.weights import folders

PLACE = "model.layers.2.mlp.down_proj.weight"  # (24, 40)
FURTHER = "model.layers.4.self_attn.q_proj.weight"  # (24, 24)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llama", tmp_path_factory.mktemp("family") / "base", seed=1)


def changed(base: Path, name: str, changes: dict[str, Tensor]) -> Path:
    """A copy of the base with something added to some of its tensors."""
    opened = open_checkpoint(base)
    tensors = {key: opened.tensor(key).clone() + changes.get(key, 0) for key in opened.specs}
    folder = base.parent / name
    folders.save(folder, tensors, **opened.config)
    return folder


def at(found: Subspaces, values: np.ndarray, module: str, layer: int) -> float:
    row = found.effective_rank(found.sources[0]).rows.index(module)
    return float(values[row, layer])


def low(seed: int, rank: int, rows: int, columns: int) -> Tensor:
    left, right = torch.linalg.qr(drawn(seed, rows, rank)).Q, torch.linalg.qr(drawn(seed + 50, columns, rank)).Q
    return left @ right.T


def test_planted_ranks_stand_where_they_were_planted(base: Path) -> None:
    source = changed(base, "planted", {PLACE: low(1, 3, 24, 40), FURTHER: drawn(9, 24, 24)})
    found = subspaces(base, source)
    for grid in (found.effective_rank("planted"), found.stable_rank("planted"), found.participation("planted")):
        assert grid.columns == tuple("012345")
        assert set(grid.rows) == {
            *(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
        }  # fmt: skip
        assert at(found, grid.values, "mlp.down_proj", 2) == pytest.approx(3, rel=1e-3)
        assert 2 < at(found, grid.values, "self_attn.q_proj", 4) < 24
        assert (~np.isnan(grid.values)).sum() == 2
        assert grid.chance is None
        assert "exactly" in grid.note
    values = np.linalg.svd(drawn(9, 24, 24).double().numpy(), compute_uv=False)
    shares = values / values.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert at(found, found.effective_rank("planted").values, "self_attn.q_proj", 4) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("exact", [True, False])
def test_shared_directions(base: Path, exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exact:
        monkeypatch.setattr(spectrum, "EXACT", 0)
    left, right = torch.linalg.qr(drawn(3, 24, 8)).Q, torch.linalg.qr(drawn(4, 40, 8)).Q
    mine = changed(base, "mine", {PLACE: left[:, :4] @ right[:, :4].T})
    output = changed(base, "output", {PLACE: (left[:, :4] * torch.tensor([4.0, 3, 2, 1])) @ right[:, 4:].T})
    half = changed(base, "half", {PLACE: left[:, 2:6] @ right[:, 2:6].T})
    fewer = changed(base, "fewer", {PLACE: left[:, :2] @ right[:, 3:5].T})
    found = subspaces(base, mine, output, half, fewer)

    def shared(one: str, other: str, side: Side) -> float:
        grid = found.overlap(one, other, side)
        assert (~np.isnan(grid.values)).sum() == 1
        return at(found, grid.values, "mlp.down_proj", 2)

    assert shared("mine", "output", "output") == pytest.approx(1, abs=1e-3)
    assert shared("mine", "output", "input") == pytest.approx(0, abs=1e-3)
    for side in ("output", "input"):
        assert shared("mine", "half", side) == pytest.approx(0.5, abs=1e-3)
        assert shared("half", "mine", side) == pytest.approx(0.5, abs=1e-3)
    assert shared("mine", "fewer", "output") == pytest.approx(1, abs=1e-3)  # all that the smaller one has
    assert shared("mine", "fewer", "input") == pytest.approx(0.5, abs=1e-3)
    chance = found.overlap("mine", "fewer").chance
    assert chance is not None
    assert at(found, np.asarray(chance.low), "mlp.down_proj", 2) < 4 / 24
    assert at(found, np.asarray(chance.high), "mlp.down_proj", 2) > 4 / 24
    assert ("exactly" in found.effective_rank("mine").note) == exact


@pytest.mark.parametrize(("dimensions", "one", "other"), [(60, 8, 8), (40, 1, 1), (50, 16, 3), (20, 12, 15)])
def test_random_subspaces_lie_in_the_band(dimensions: int, one: int, other: int) -> None:
    seen = np.array([
        overlap(*(torch.linalg.qr(drawn(1000 * side + number, dimensions, k)).Q for side, k in enumerate((one, other))))
        for number in range(600)
    ])  # fmt: skip
    low_end, high_end = random_overlap(dimensions, one, other)
    few, many = sorted((one, other))
    assert seen.mean() == pytest.approx(many / dimensions, rel=0.1 if few == 1 else 0.02)
    assert (seen < low_end).mean() == pytest.approx(0.025, abs=0.02)
    assert (seen > high_end).mean() == pytest.approx(0.025, abs=0.02)
    assert random_overlap(7, 7, 3) == (1, 1)


def test_a_whole_space_shares_all_and_nothing_is_left_to_chance(base: Path) -> None:
    """Rounding makes it no more than what chance gives."""
    names = {PLACE.replace(".2.", f".{layer}."): layer for layer in range(6)}
    one, other = (
        changed(base, f"all{seed}", {name: drawn(seed + layer, 24, 40) for name, layer in names.items()})
        for seed in (300, 400)
    )
    grid = subspaces(base, one, other, directions=24).overlap("all300", "all400")
    assert (grid.row("mlp.down_proj") == 1).all()
    assert not grid.outside.any()
    whole = torch.linalg.qr(drawn(1, 9, 9)).Q
    assert overlap(whole, torch.linalg.qr(drawn(2, 9, 4)).Q) == 1
    same = torch.linalg.qr(drawn(3, 30, 4)).Q
    assert overlap(same, same * (1 + 1e-7)) <= 1


def test_random_changes_overlap_by_chance(base: Path) -> None:
    every = [PLACE.replace(".2.", f".{layer}.") for layer in range(6)]
    one, other = (
        changed(base, f"random{seed}", {name: drawn(seed + number, 24, 40) for number, name in enumerate(every)})
        for seed in (100, 200)
    )
    found = subspaces(base, one, other, directions=4)
    for side in ("output", "input"):
        grid = found.overlap("random100", "random200", side)  # type: ignore[arg-type]
        row = grid.rows.index("mlp.down_proj")
        assert grid.chance is not None
        inside = (grid.values >= grid.chance.low) & (grid.values <= grid.chance.high)
        assert inside[row].sum() >= 5
        assert grid.values[row].mean() == pytest.approx(4 / (24 if side == "output" else 40), rel=0.4)


def test_the_same_change_is_the_same_subspace_even_in_a_sketch(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All sources get the same random numbers, so that noise of full rank cannot look like two subspaces."""
    monkeypatch.setattr(spectrum, "EXACT", 0)
    noise = drawn(5, 24, 40)
    one, other = changed(base, "noise", {PLACE: noise}), changed(base, "twice", {PLACE: 2 * noise})
    found = subspaces(base, one, other)
    assert at(found, found.overlap("noise", "twice").values, "mlp.down_proj", 2) == pytest.approx(1, abs=1e-3)


def test_matrices_stored_the_other_way_around_are_known(tmp_path: Path) -> None:
    """GPT-2 stores (input, output), even where both are as long."""
    base = save("gpt2", tmp_path / "base", seed=1)
    places = ("transformer.h.3.mlp.c_fc.weight", "transformer.h.3.attn.c_proj.weight")
    columns = {name: open_checkpoint(base).specs[name].shape[1] for name in places}
    same = {name: torch.linalg.qr(drawn(7, columns[name], 2)).Q for name in places}
    one, other = (
        changed(base, f"side{seed}", {name: torch.linalg.qr(drawn(seed, 24, 2)).Q @ same[name].T for name in places})
        for seed in (1, 2)
    )
    found = subspaces(base, one, other)
    for module in ("mlp.c_fc", "attn.c_proj"):
        assert at(found, found.overlap("side1", "side2", "output").values, module, 3) == pytest.approx(1, abs=1e-3)
        assert at(found, found.overlap("side1", "side2", "input").values, module, 3) < 0.6


def test_experts_are_averaged(tmp_path: Path) -> None:
    base = save("mixtral", tmp_path / "base", seed=1)
    names = [name for name in open_checkpoint(base).specs if name.startswith("model.layers.1.") and "experts" in name]
    ranks = dict(zip(names, (1, 2, 3, 2, 2, 2, 4, 4, 4), strict=True))
    shapes = {name: open_checkpoint(base).specs[name].shape for name in names}
    source = changed(
        base, "source", {name: low(number, rank, *shapes[name]) for number, (name, rank) in enumerate(ranks.items())}
    )
    found = subspaces(base, source)
    grid = found.effective_rank("source")
    for module in {name.split(".")[-2] for name in names}:
        own = [rank for name, rank in ranks.items() if name.split(".")[-2] == module]
        (row,) = [row for row in grid.rows if row.endswith(f"experts.*.{module}")]
        assert grid.row(row)[1] == pytest.approx(np.mean(own), rel=1e-3)
    assert (~np.isnan(grid.values)).sum() == 3


def test_what_does_not_fit_is_said_or_refused(base: Path, tmp_path: Path) -> None:
    found = subspaces(sample.path("base"), sample.path("pirate"), sample.path("stranger"))
    assert "stranger" in found.effective_rank("stranger").note
    assert "stranger" not in found.effective_rank("pirate").note
    assert np.isnan(found.effective_rank("stranger").row("mlp.down_proj")).all()
    assert not np.isnan(found.effective_rank("stranger").row("self_attn.q_proj")[:8]).any()
    other = save("llama", tmp_path / "other", seed=1, hidden_size=32, intermediate_size=56, num_attention_heads=2)
    with pytest.raises(InspectionError, match="no matrix in common"):
        subspaces(base, other)
    with pytest.raises(InspectionError, match="nothing to compare"):
        subspaces(base)
    with pytest.raises(InspectionError, match="whole number"):
        subspaces(base, base, directions=0)
    with pytest.raises(SourceError):
        subspaces(base, tmp_path / "absent")
    with pytest.raises(InspectionError, match="Did you mean 'pirate'"):
        found.stable_rank("pirat")
    with pytest.raises(InspectionError, match="Name one: pirate, stranger"):
        found.effective_rank()
    with pytest.raises(InspectionError, match="itself"):
        found.overlap("pirate", "pirate")
    with pytest.raises(InspectionError, match="'middle'"):
        found.overlap("pirate", "stranger", "middle")  # type: ignore[arg-type]


def test_stopping_leaves_what_was_done(base: Path) -> None:
    told: list[tuple[int, int]] = []
    source = changed(base, "whole", {PLACE.replace(".2.", f".{layer}."): drawn(layer, 24, 40) for layer in range(6)})
    found = subspaces(
        base, source, progress=lambda done, total: told.append((done, total)), stop=lambda: len(told) == 20
    )
    assert told == [(number + 1, 42) for number in range(20)]
    assert found.partial
    assert "Stopped" in found.effective_rank("whole").note
    row = found.effective_rank("whole").row("mlp.down_proj")
    assert not np.isnan(row[:2]).any()
    assert np.isnan(row[3:]).all()
    assert not subspaces(base, source).partial
    assert found.effective_rank().of == "whole against base"
    assert subspaces(base, base).sources == ("base 2",)
