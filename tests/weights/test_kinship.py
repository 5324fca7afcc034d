"""Relatives are told from strangers by a few thousand weights, and nothing is said where nothing can be told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mergelab.weights import Checkpoint, open_checkpoint
from mergelab.weights.kinship import kinship
from tests.weights import folders

WIDE = {"width": 72, "inner": 80, "keys": 32}


def model(folder: Path, *, seed: int, layers: int = 3, noise: float = 0.0, dtype: torch.dtype = torch.float32) -> Path:
    """Random weights, with more noise in them if asked for."""
    weights = folders.tensors(folders.shapes(layers, **WIDE), seed=seed)
    draw = torch.Generator().manual_seed(99)
    weights = {
        name: (value + noise * torch.randn(value.shape, generator=draw)).to(dtype) for name, value in weights.items()
    }
    return folders.save(folder, weights, hidden_size=72)


def pair(tmp_path: Path, **second: object) -> tuple[Checkpoint, Checkpoint]:
    one = open_checkpoint(model(tmp_path / "one", seed=1))
    return one, open_checkpoint(model(tmp_path / "other", **second))  # type: ignore[arg-type]


def test_the_correlation_is_pearsons_of_the_middle_block(tmp_path: Path) -> None:
    one, other = pair(tmp_path, seed=1, noise=0.5)
    found = kinship(one, other)
    assert found is not None
    name = "model.layers.1.mlp.down_proj.weight"
    assert found.tensors == (name, name)
    rows = [round(at * 71 / 63) for at in range(64)]
    block = [model.tensor(name)[rows, 8:72].double().flatten() for model in (one, other)]
    expected = torch.corrcoef(torch.stack(block))[0, 1].item()
    assert found.count == 64 * 64
    assert found.correlation == pytest.approx(expected, abs=1e-12)
    assert found.correlation == pytest.approx(1 / 1.25**0.5, abs=0.02), "noise of half the size"
    assert found.related


def test_strangers_are_within_the_band(tmp_path: Path) -> None:
    found = kinship(*pair(tmp_path, seed=2))
    assert found is not None
    assert found.band == 1 / 64
    assert abs(found.correlation) < 4 / 64
    assert not found.related


def test_the_dtype_does_not_matter(tmp_path: Path) -> None:
    found = kinship(*pair(tmp_path, seed=1, dtype=torch.bfloat16))
    assert found is not None
    assert found.correlation > 0.999


def test_a_relative_whose_layers_moved_is_found(tmp_path: Path) -> None:
    one = open_checkpoint(model(tmp_path / "one", seed=1))
    weights = folders.tensors(folders.shapes(3, **WIDE), seed=1)
    strange = folders.tensors(folders.shapes(6, **WIDE), seed=2)
    moved = {name.replace("layers.1.", "layers.5."): value for name, value in weights.items() if "layers.1." in name}
    other = open_checkpoint(folders.save(tmp_path / "other", strange | moved, hidden_size=72))
    found = kinship(one, other)
    assert found is not None
    assert found.tensors == ("model.layers.1.mlp.down_proj.weight", "model.layers.5.mlp.down_proj.weight")
    assert found.correlation == pytest.approx(1)


def test_names_may_begin_otherwise(tmp_path: Path) -> None:
    one = open_checkpoint(model(tmp_path / "one", seed=1))
    weights = {name.removeprefix("model."): one.tensor(name).clone() for name in one.specs}
    found = kinship(one, open_checkpoint(folders.save(tmp_path / "other", weights, hidden_size=72)))
    assert found is not None
    assert found.tensors[1] == "layers.1.mlp.down_proj.weight"
    assert found.related


def test_nothing_is_said_of_other_shapes_few_values_or_constants(tmp_path: Path) -> None:
    one = open_checkpoint(model(tmp_path / "one", seed=1))
    tiny = open_checkpoint(folders.save(tmp_path / "tiny"))
    assert kinship(one, tiny) is None
    assert kinship(tiny, tiny) is None
    zeros = {name: torch.zeros(shape) for name, shape in folders.shapes(3, **WIDE).items()}
    assert kinship(one, open_checkpoint(folders.save(tmp_path / "zeros", zeros, hidden_size=72))) is None
