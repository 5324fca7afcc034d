"""Recipes with mergekit's own outputs: the same recipe means the same tensors here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoTokenizer

from mergelab.models.pour import pour
from mergelab.recipes import Recipe, plan
from mergelab.recipes.step import Aligned

pytestmark = pytest.mark.real

# A few units in the last place of a float32, relative to the tensor's largest value.
FEW_ULPS = 4 * 2.0**-23
RANDOM = ("dare_linear", "dare_ties", "della", "della_linear")
MERGEKITS = (
    "linear", "slerp", "nuslerp", "multislerp", "karcher", "task_arithmetic", "ties", *RANDOM, "breadcrumbs",
    "breadcrumbs_ties", "model_stock", "sce", "nearswap", "arcee_fusion", "ram", "ramplus_tl", "passthrough",
)  # fmt: skip
# mergekit's appended ids come in the order of a hash: compared by token, below.
UNIONS = ("tok_union",)


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


def chosen(shared: Path, deterministic: bool) -> list[Path]:
    found = [case for case in cases(shared) if case.name not in UNIONS]
    return [case for case in found if json.loads((case / "meta.json").read_text())["deterministic"] is deterministic]


def test_every_deterministic_case_gives_mergekits_tensors(shared: Path) -> None:
    compared = set()
    for case in chosen(shared, deterministic=True):
        ours, theirs = made(case, shared), expected(case)
        assert ours.keys() == theirs.keys(), case.name
        method = yaml.safe_load((case / "config.yml").read_text())["merge_method"]
        compared.add(method)
        for name, tensor in theirs.items():
            assert ours[name].dtype == tensor.dtype, (case.name, name)
            assert ours[name].shape == tensor.shape, (case.name, name)
            if case.name == "dtype_bf16_ties":
                continue  # magnitudes tie in bfloat16; the test below compares
            bound = 0 if method == "passthrough" else FEW_ULPS * float(tensor.abs().max())
            worst = float((ours[name].double() - tensor.double()).abs().max())
            assert worst <= bound, (case.name, name, worst, bound)
    assert compared >= {method for method in MERGEKITS if method not in RANDOM}


@pytest.mark.parametrize("name", UNIONS)
def test_a_union_of_vocabularies_has_mergekits_row_for_every_token(name: str, shared: Path) -> None:
    case = shared / "mergekit-cases" / "cases" / name
    planned = plan(Recipe.load(case / "config.yml", root=shared / "mergekit-cases"))
    ours, theirs = made(case, shared), expected(case)
    vocabulary = AutoTokenizer.from_pretrained(case / "output").get_vocab()
    assert planned.alignment is not None
    assert planned.alignment.ids.keys() == vocabulary.keys()
    assert ours.keys() == theirs.keys()
    order = torch.tensor([vocabulary[text] for text in planned.alignment.ids])
    here = torch.tensor(list(planned.alignment.ids.values()))
    aligned = [step.name for step in planned.steps if any(isinstance(given, Aligned) for given in step.inputs)]
    assert aligned == ["model.embed_tokens.weight", "lm_head.weight"]
    for tensor, values in theirs.items():
        mine, same = (ours[tensor][here], values[order]) if tensor in aligned else (ours[tensor], values)
        assert ours[tensor].shape == values.shape
        worst = float((mine.double() - same.double()).abs().max())
        assert worst <= FEW_ULPS * float(values.abs().max()), (tensor, worst)


def test_random_cases_agree_in_distribution(shared: Path) -> None:
    """How many elements change, how far, and which way: within five standard errors, tensor by tensor and in all."""
    compared = set()
    for case in chosen(shared, deterministic=False):
        recipe = Recipe.load(case / "config.yml", root=shared / "mergekit-cases")
        assert recipe.base is not None
        ground = load_file(Path(recipe.base.path) / "model.safetensors")
        ours, theirs = made(case, shared), expected(case)
        assert ours.keys() == theirs.keys(), case.name
        moves = [[(one[name] - ground[name]).double().flatten() for one in (ours, theirs)] for name in theirs]
        moves.append([torch.cat(one) for one in zip(*moves, strict=True)])
        for mine, other in moves:
            for aspect in (lambda x: (x != 0).double(), torch.abs, lambda x: x):
                one, two = aspect(mine), aspect(other)
                error = ((one.var() + two.var()) / len(one)).sqrt()
                assert (one.mean() - two.mean()).abs() <= 5 * error, (case.name, len(one))
        assert not torch.equal(*moves[-1])  # another generator drew
        compared.add(recipe.method)
    assert compared == {"dare_linear", "dare_ties", "della"}


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
