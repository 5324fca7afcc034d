"""Recipes with mergekit's own outputs: the same recipe means the same tensors here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mergelab import methods
from mergelab.errors import RecipeError
from mergelab.models.pour import pour
from mergelab.recipes import Recipe, plan

pytestmark = pytest.mark.real

# A few units in the last place of a float32, relative to the tensor's largest value.
FEW_ULPS = 4 * 2.0**-23
# Recipes that ask for what this version does not have yet; each must be refused in words.
LATER = {"tok_union": "Tokenizer surgery is not supported yet"}


def cases(shared: Path) -> list[Path]:
    return sorted(path.parent for path in (shared / "mergekit-cases" / "cases").glob("*/config.yml"))


def expected(case: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted((case / "output").glob("*.safetensors")):
        found |= load_file(path)
    return found


def made(case: Path, shared: Path) -> dict[str, torch.Tensor]:
    planned = plan(Recipe.load(case / "config.yml", root=shared / "mergekit-cases"))
    return {step.name: pour(step, planned.checkpoints) for step in planned.steps}


def test_every_case_whose_method_is_here_gives_mergekits_tensors(shared: Path) -> None:
    compared = []
    for case in cases(shared):
        text = yaml.safe_load((case / "config.yml").read_text())
        known = text["merge_method"] in methods.names() and case.name not in LATER
        if not known or not json.loads((case / "meta.json").read_text())["deterministic"]:
            continue
        ours, theirs = made(case, shared), expected(case)
        assert ours.keys() == theirs.keys(), case.name
        if case.name == "dtype_bf16_ties":
            continue  # magnitudes tie in bfloat16; the test below compares
        for name, tensor in theirs.items():
            assert ours[name].dtype == tensor.dtype, (case.name, name)
            assert ours[name].shape == tensor.shape, (case.name, name)
            bound = FEW_ULPS * float(tensor.abs().max())
            worst = float((ours[name].double() - tensor.double()).abs().max())
            exact = text["merge_method"] == "passthrough"
            assert worst <= (0 if exact else bound), (case.name, name, worst, bound)
        compared.append(case.name)
    assert len(compared) >= 18, compared


def test_cases_of_later_methods_are_refused_with_the_line(shared: Path) -> None:
    refused = []
    for case in cases(shared):
        text = yaml.safe_load((case / "config.yml").read_text())
        if text["merge_method"] in methods.names() and case.name not in LATER:
            continue
        with pytest.raises(RecipeError, match=r"config\.yml line \d+") as caught:
            Recipe.load(case / "config.yml")
        assert LATER.get(case.name, f"no method '{text['merge_method']}'") in str(caught.value)
        refused.append(case.name)
    assert len(refused) + 18 <= len(cases(shared))


def test_bfloat16_ties_is_nearer_to_float64_than_mergekits(shared: Path) -> None:
    """mergekit computes the task-vector family in bfloat16; ours is float32 inside, rounded once.

    Compared where no magnitude ties with the threshold of its tensor, so that both keep the same elements.
    """
    case = shared / "mergekit-cases" / "cases" / "dtype_bf16_ties"
    recipe = yaml.safe_load((case / "config.yml").read_text())
    root = shared / "mergekit-cases"

    def read(path: str) -> dict[str, torch.Tensor]:
        return load_file(root / path / "model.safetensors")

    base = read(recipe["base_model"])
    listed = [entry for entry in recipe["models"] if entry["model"] != recipe["base_model"]]
    models = [read(entry["model"]) for entry in listed]
    numbers = [recipe.get("parameters", {}) | entry.get("parameters", {}) for entry in listed]
    ours, theirs = made(case, shared), expected(case)
    errors = torch.zeros(2, dtype=torch.float64)
    for name, ground in base.items():
        kept, sure = [], torch.ones_like(ground, dtype=torch.bool)
        for model, given in zip(models, numbers, strict=True):
            delta = model[name].double() - ground.double()
            size = delta.abs().flatten()
            keep = max(1, int(given["density"] * size.numel())) if given["density"] < 1 else size.numel()
            threshold = size.sort(descending=True).values[keep - 1]
            rounded = (model[name] - ground).double().abs()  # what mergekit sorts by
            border = rounded.flatten().sort(descending=True).values[keep - 1]
            sure &= (delta.abs() != threshold) & (rounded != border)
            sure &= (delta.abs() > threshold) == (rounded > border)
            kept.append(torch.where(delta.abs() >= threshold, delta, 0.0) * given["weight"])
        total = torch.stack(kept).sum(0)
        sure &= total.abs() > 1e-3 * torch.stack(kept).abs().sum(0)  # where the election is close, rounding decides it
        sign = torch.where(total >= 0, 1.0, -1.0).double()
        agree = [torch.sign(part) == sign for part in kept]
        weights = sum(mask * given["weight"] for mask, given in zip(agree, numbers, strict=True))
        mean = sum(part * mask for part, mask in zip(kept, agree, strict=True)) / torch.where(
            weights == 0, 1.0, weights
        )
        reference = ground.double() + mean * float(recipe.get("parameters", {}).get("lambda", 1.0))
        for index, result in enumerate((ours[name], theirs[name])):
            errors[index] += ((result.double() - reference).abs() * sure).sum()
    assert errors[0] <= errors[1]
    assert errors[0] > 0


def test_paths_count_from_the_current_folder_as_in_mergekit(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = shared / "mergekit-cases" / "cases" / "linear" / "config.yml"
    monkeypatch.chdir(shared / "mergekit-cases")
    here = {step.name: step.numbers for step in plan(Recipe.load(os.path.relpath(case))).steps}
    rooted = {step.name: step.numbers for step in plan(Recipe.load(case, root=shared / "mergekit-cases")).steps}
    assert here == rooted
