"""The key: it tells all that the bytes of weight files depend on, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mergelab.forge import key
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

    def told(recipe: Recipe = recipe, shard_bytes: int = 20_000, device: str = "cpu") -> dict[str, str]:
        planned = plan(recipe)
        text = key_of(planned, device, shards(planned, shard_bytes))
        return dict(line.split(" ") for line in text.splitlines())

    def differ(one: dict[str, str], other: dict[str, str]) -> list[str]:
        assert one.keys() == other.keys()
        return [aspect for aspect in one if one[aspect] != other[aspect]]

    first = told()
    assert differ(first, told()) == []
    assert differ(first, told(replace(recipe, seed=7))) == ["recipe"]
    assert differ(first, told(replace(recipe, dtype="BF16"))) == ["recipe", "files"]
    assert differ(first, told(shard_bytes=30_000)) == ["files"]
    assert differ(first, told(device="mps")) == ["device"]
    weights = model / "model.safetensors"
    written_in_place(weights, weights.read_bytes()[:-1] + b"\x01")
    second = told()
    assert differ(first, second) == ["sources"]
    os.utime(weights)
    assert differ(second, told()) == ["sources"]


def test_the_key_knows_what_is_in_every_file(llamas: Trio) -> None:
    """Also where no name of a file tells: a tensor of another shape or dtype."""
    planned = plan(graft(llamas[0], llamas[1], (2, 4)))
    (first, *others) = shards(planned)
    name, spec = next(iter(first.specs.items()))
    named = [shard.name for shard in (first, *others)]
    for specs in (
        {**first.specs, name: replace(spec, shape=(*spec.shape, 1))},
        {**first.specs, name: replace(spec, dtype="I32" if spec.dtype == "F32" else "F32")},
    ):
        changed = (replace(first, specs=specs), *others)
        assert [shard.name for shard in changed] == named
        keys = [key_of(planned, "cpu", given).splitlines() for given in ((first, *others), changed)]
        assert [line.split()[0] for line in keys[0] if line not in keys[1]] == ["files"]


def test_the_key_knows_the_code_of_every_floor_that_makes_bytes(
    llamas: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(graft(llamas[0], llamas[1], (2, 4)))
    files = [tmp_path / floor / "mine.py" for floor in ("methods", "weights", "recipes", "models", "forge")]
    for path in files:
        path.parent.mkdir()
        path.write_text("1")
    monkeypatch.setattr(key, "__file__", str(tmp_path / "forge" / "key.py"))
    before = key_of(planned, "cpu", shards(planned)).splitlines()
    for path in files:
        path.write_text("2")
        after = key_of(planned, "cpu", shards(planned)).splitlines()
        assert [line.split()[0] for line in before if line not in after] == ["code"]
        before = after


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
