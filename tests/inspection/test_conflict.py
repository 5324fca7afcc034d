"""Bands: of independent changes about one in twenty lies outside; and sums over what is frozen, broken or tiny."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mergelab.inspection.changes import TaskVectors, task_vectors
from mergelab.inspection.conflict import Conflict, _Kept, _overlap
from mergelab.inspection.grid import Grid
from mergelab.inspection.magnitudes import LEVELS, both, lone
from tests.weights import folders

LAYERS, SHAPE = 200, (24, 40)
Draw = Callable[[torch.Generator], Tensor]


def query(layer: int) -> str:
    return f"model.layers.{layer}.self_attn.q_proj.weight"


def measured(folder: Path, one: list[Tensor], other: list[Tensor], base: Tensor | None = None) -> TaskVectors:
    """Two models that changed a base of zeros, or of this, layer by layer."""
    start = torch.zeros_like(one[0]) if base is None else base
    paths = []
    for name, layers in (("base", [torch.zeros_like(start)] * len(one)), ("a", one), ("b", other)):
        weights = {query(layer): start + change for layer, change in enumerate(layers)}
        paths.append(folders.save(folder / name, weights))
    return task_vectors(*paths)


def normal(draw: torch.Generator) -> Tensor:
    return torch.randn(SHAPE, generator=draw)


def in_one_corner(draw: torch.Generator) -> Tensor:
    """Both change the same twentieth of the weights."""
    return normal(draw) * (torch.arange(SHAPE[0] * SHAPE[1]).view(SHAPE) % 20 == 0)


def few_large(draw: torch.Generator) -> Tensor:
    """The same rows change much, the others little."""
    return normal(draw) * (1 + 30 * (torch.arange(SHAPE[0]) % 8 == 0))[:, None]


def independent(folder: Path, kind: Draw) -> TaskVectors:
    draw = torch.Generator().manual_seed(5)
    return measured(folder, [kind(draw) for _ in range(LAYERS)], [kind(draw) for _ in range(LAYERS)])


def share_inside(grid: Grid) -> float:
    assert grid.chance is not None
    inside = (grid.values >= grid.chance.low) & (grid.values <= grid.chance.high)
    return float(inside.mean())


@pytest.mark.parametrize("kind", [normal, in_one_corner, few_large])
def test_bands_hold_nineteen_in_twenty(tmp_path: Path, kind: Draw) -> None:
    changes = independent(tmp_path, kind)
    found = changes.conflict()
    assert 0.9 <= share_inside(changes.cosine()) <= 0.99
    for figure in (found.at, found.weighted, found.lost):
        assert 0.9 <= share_inside(figure(1.0)) <= 0.99, figure.__name__


def test_choices_of_weights_have_bands_that_hold(tmp_path: Path) -> None:
    found = independent(tmp_path, normal).conflict()
    for density in (0.3, 0.6):
        assert 0.9 <= share_inside(found.overlap(density)) <= 0.99, density


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> TaskVectors:
    """Two trainings of every other layer."""
    draw = torch.Generator().manual_seed(6)
    one, other = ([normal(draw) * (layer % 2) for layer in range(LAYERS)] for _ in range(2))
    return measured(tmp_path_factory.mktemp("frozen"), one, other)


@pytest.mark.parametrize("density", [0.3, 1.0])
def test_layers_that_both_left_alone_make_no_overlap(frozen: TaskVectors, density: float) -> None:
    """What is expected of two choices is expected tensor by tensor: the figure of all does not grow with the frozen."""
    row = frozen.conflict().summary(density).loc["support_overlap"]
    assert row["value"] == pytest.approx(1, abs=0.02)
    assert row["low"] <= row["value"] <= row["high"]
    odd = frozen.conflict().summary(density, range(1, LAYERS, 2)).loc["support_overlap"]
    np.testing.assert_allclose(row.iloc[:3].astype(float), odd.iloc[:3].astype(float))


@pytest.mark.parametrize("density", [0.0002, 0.0503, 0.1, 0.2])
def test_between_the_points_of_the_curves_overlap_has_no_bias(density: float) -> None:
    """Of half a billion weights the band is narrower than the difference between a square and a straight line."""
    falling = np.exp(-(np.linspace(6, 0, LEVELS) ** 2))
    counts = np.round(np.outer(falling, falling) / falling.sum() ** 2 * 2.5e8).astype(np.int64)
    joint = np.stack([counts, counts])
    size = int(joint.sum())
    one, other = (lone(joint.sum(axis=(0, axis)), 1.0, size) for axis in (2, 1))
    kept = _Kept(one, other, both(joint, (1.0, 1.0), size), np.array(float(size))).at(density)
    found = _overlap(kept)
    assert found.low < found.values < found.high
    assert found.values == pytest.approx(1, abs=2e-5)


def figures(found: Conflict, density: float) -> list[Grid]:
    return [found.at(density), found.weighted(density), found.lost(density), found.overlap(density)]


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8, 1.0])
def test_bands_end_where_values_do(tmp_path: Path, density: float) -> None:
    """Of tensors of a few weights, anything that can be is within the band, and nothing that cannot be."""
    draw = torch.Generator().manual_seed(7)
    one, other = ([torch.randn(1, 3, generator=draw) for _ in range(40)] for _ in range(2))
    changes = measured(tmp_path, one, other)
    rate, weighted, lost, overlap = figures(changes.conflict(), density)
    most_of_two = 1 / density
    for grid, most in ((rate, 2.0), (weighted, 2.0), (lost, 1.0), (overlap, most_of_two), (changes.cosine(), 1.0)):
        assert grid.chance is not None
        assert np.nanmax(grid.chance.high) <= most + 1e-9, grid.title
        assert np.nanmin(grid.chance.low) >= (-1 if grid.measure.name == "change_cosine" else 0)
        assert (grid.chance.low <= grid.chance.high)[~np.isnan(grid.values)].all()


def test_a_weight_that_is_no_number_spoils_its_own_place_only(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(9)
    one, other = ([normal(draw) for _ in range(4)] for _ in range(2))
    whole = measured(tmp_path / "whole", one, other)
    one[2][3, 4] = torch.nan
    found = measured(tmp_path / "broken", one, other)
    rest = [0, 1, 3]
    np.testing.assert_array_equal(found.conflict().summary(0.5)["value"], whole.conflict().summary(0.5, rest)["value"])
    assert found.summary().loc["a", "size":"largest"].isna().tolist() == [True, False, False]  # type: ignore[misc]
    assert found.summary().loc["a", "largest"] == whole.summary(rest).loc["a", "largest"]
    assert found.summary().loc["a", "weights"] == 3 * 24 * 40
    assert found.summary()["share"].tolist() == pytest.approx([1, 1])
    np.testing.assert_array_equal(found.kept().row("b"), whole.kept().row("b"))
    assert np.isfinite(found.kept().values).all()
    assert np.isfinite(found.conflict().kept().values).all()
    assert "a: layer 2 self_attn.q_proj has NaN or infinite weights." in found.kept().note


def test_a_base_that_is_no_number_is_the_one_that_is_blamed(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(10)
    base, change = normal(draw), normal(draw)
    base[0, 0] = torch.inf
    note = measured(tmp_path, [change], [change], base).cosine().note
    assert note.count("has NaN or infinite weights") == 1
    assert note.startswith("base: layer 0 self_attn.q_proj has")


def test_what_a_source_has_beyond_the_base_is_told(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(11)
    base = folders.save(tmp_path / "base", {query(layer): normal(draw) for layer in range(2)})
    more = {query(layer): normal(draw) for layer in range(3)} | {query(0).replace("weight", "bias"): torch.ones(24)}
    note = task_vectors(base, folders.save(tmp_path / "deep", more)).size().note
    assert "deep: model.layers.0.self_attn.q_proj.bias is not in base, and 1 more tensors do not fit." in note
