"""The tiny random models of the floor below, and a merge of them that a test may spoil."""

from __future__ import annotations

import shutil
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest

from mergelab.forge.merge import merge
from mergelab.recipes import stack
from tests.models.conftest import family, llamas

__all__ = ["family", "llamas"]

Trio = tuple[Path, Path, Path]


@pytest.fixture(scope="session")
def made(llamas: Trio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three models and a merge of them that calls them by their names there."""
    root = tmp_path_factory.mktemp("made")
    for path, name in zip(llamas, "xyz", strict=True):
        shutil.copytree(path, root / name)
    with chdir(root):
        blocks = [("./y", 0, 3), ("./z", 1, 5)]
        recipe = stack(blocks, base="./x", method="ties", coefficient=[0.1 * i for i in range(7)])
        merge(replace(recipe, dtype="BF16"), "out", prove=False)
    return root


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may spoil, and where it works."""
    folder = Path(shutil.copytree(made, tmp_path / "here"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def models(here: Path) -> tuple[str, str, str]:
    """Their addresses, as the recipe has them."""
    return "./x", "./y", "./z"


@pytest.fixture
def out(here: Path) -> Path:
    return here / "out"
