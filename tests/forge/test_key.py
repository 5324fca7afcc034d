"""The key: it tells all that the bytes of weight files depend on, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mergelab.forge.key import key_of
from mergelab.methods import registry
from mergelab.models.copies import computes
from mergelab.recipes import Recipe, graft, plan, stack
from mergelab.recipes.plan import Plan
from mergelab.weights.shards import Shard, layout
from tests.forge.placing import written_in_place

Trio = tuple[Path, Path, Path]


def shards(planned: Plan, shard_bytes: int = 20_000) -> tuple[Shard, ...]:
    return layout(((step.name, step.dtype, step.shape) for step in planned.steps), shard_bytes=shard_bytes)


def test_the_key_tells_what_has_changed(llamas: Trio, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(llamas[0], model)
    recipe = stack([(model, 0, 3), (llamas[1], 3, 6)], base=llamas[2], method="task_arithmetic", coefficient=0.5)

    def key(recipe: Recipe = recipe, shard_bytes: int = 20_000, device: str = "cpu") -> dict[str, str]:
        planned = plan(recipe)
        text = key_of(planned, device, shards(planned, shard_bytes))
        return dict(line.split(" ") for line in text.splitlines())

    def differ(one: dict[str, str], other: dict[str, str]) -> list[str]:
        assert one.keys() == other.keys()
        return [aspect for aspect in one if one[aspect] != other[aspect]]

    first = key()
    assert differ(first, key()) == []
    assert differ(first, key(replace(recipe, seed=7))) == ["recipe"]
    assert differ(first, key(replace(recipe, dtype="BF16"))) == ["recipe", "files"]
    assert differ(first, key(shard_bytes=30_000)) == ["files"]
    assert differ(first, key(device="mps")) == ["device"]
    weights = model / "model.safetensors"
    written_in_place(weights, weights.read_bytes()[:-1] + b"\x01")
    second = key()
    assert differ(first, second) == ["sources"]
    os.utime(weights)
    assert differ(second, key()) == ["sources"]


def test_methods_from_elsewhere_are_never_taken_up(llamas: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "mine_of_test_place"
    known = {one: registry.get(one) for one in registry.names()}
    monkeypatch.setattr(registry, "_METHODS", known)  # other tests know nothing of it

    @registry.method(inputs=(1, None))
    def mine_of_test_place(models: Sequence[torch.Tensor]) -> torch.Tensor:
        """The first."""
        return models[0]

    planned = plan(Recipe.load(f"merge_method: {name}\nmodels: [{{model: {llamas[0]}}}]"))
    keys = [key_of(planned, "cpu", shards(planned)) for _ in range(2)]
    assert keys[0] != keys[1]


def test_the_device_counts_for_what_is_computed_only(llamas: Trio) -> None:
    """A copy that was begun on one device is gone on with on another."""
    grafted = graft(llamas[0], llamas[1], (2, 4))
    blended = stack([(llamas[0], 0, 6)], base=llamas[2], method="task_arithmetic", coefficient=0.5)
    for recipe, counts in ((grafted, False), (replace(grafted, dtype="BF16"), True), (blended, True)):
        planned = plan(recipe)
        assert computes(planned) == counts
        assert (key_of(planned, "cpu", shards(planned)) != key_of(planned, "mps", shards(planned))) == counts
