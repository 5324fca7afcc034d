"""Pouring single steps: dtypes, whole models trimmed at once, and what is kept between turns."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mergelab.forge import rehearsal
from mergelab.forge.merge import merge
from mergelab.methods import select
from mergelab.models import assemble, pour
from mergelab.models.config import stack_config
from mergelab.models.findings import Findings, _bytes
from mergelab.models.pour import DTYPES
from mergelab.recipes import Part, Plan, Recipe, Slice, numbers, plan, stack
from mergelab.recipes.step import Input, TaskVector
from mergelab.weights import ITEM_BITS, Source
from tests.weights import folders

Trio = tuple[Path, Path, Path]
SHAPES = {"embed.weight": (7, 3)} | {
    f"model.layers.{layer}.{stem}": shape
    for layer in range(3)
    for stem, shape in (("a.weight", (5, 3)), ("b.weight", (3, 11)), ("norm.weight", (3,)))
}


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Trio:
    """A base and two models whose changes are of other sizes in other tensors, with many equal magnitudes."""
    root = tmp_path_factory.mktemp("trio")
    made = []
    for seed, name in enumerate(("base", "x", "y")):
        generator = torch.Generator().manual_seed(seed)
        tensors = {
            name: torch.randint(-9, 10, shape, generator=generator).float() * (0.25 if "a.w" in name else 1.0)
            for name, shape in SHAPES.items()
        }
        made.append(folders.save(root / name, tensors))
    return made[0], made[1], made[2]


def whole(base: Path, *models: Path, density: float, **more: object) -> Recipe:
    parts = tuple(
        Part(Source(str(model)), None, numbers({"weight": 0.5 + place})) for place, model in enumerate(models)
    )
    said = numbers({"density": density, "trim_scope": "model", **more})
    return Recipe("ties", (Slice(parts),), Source(str(base)), said)


def poured(planned: Plan, findings: Findings | None = None) -> dict[str, torch.Tensor]:
    findings = Findings() if findings is None else findings
    return {step.name: pour.pour(step, planned.checkpoints, findings=findings) for step in planned.steps}


def by_the_paper(
    base: dict[str, torch.Tensor], models: list[dict[str, torch.Tensor]], density: float
) -> dict[str, torch.Tensor]:
    """TIES in float64, each model trimmed as one long vector: all that equals the k-th magnitude is kept."""
    kept = []
    for place, model in enumerate(models):
        delta = {name: (model[name].double() - base[name].double()) for name in base}
        sizes = torch.cat([one.abs().flatten() for one in delta.values()]).sort(descending=True).values
        least = float(sizes[max(1, int(density * len(sizes))) - 1]) if density > 0 else math.inf
        kept.append({name: torch.where(one.abs() >= least, one, 0.0) * (0.5 + place) for name, one in delta.items()})
    made = {}
    for name, ground in base.items():
        each = torch.stack([one[name] for one in kept])
        sign = torch.where(each.sum(0) >= 0, 1.0, -1.0).double()
        agree = torch.sign(each) == sign
        weights = torch.tensor([0.5 + place for place in range(len(kept))]).double().view(-1, *[1] * ground.dim())
        share = (agree * weights).sum(0)
        made[name] = ground.double() + (each * agree).sum(0) / torch.where(share == 0, 1.0, share)
    return made


@settings(max_examples=12)
@given(density=st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 0.77, 0.99, 1.0]))
def test_ties_over_whole_models_is_the_papers(density: float, trio: Trio) -> None:
    base, x, y = (load_file(folder / "model.safetensors") for folder in trio)
    ours = poured(plan(whole(*trio, density=density)))
    expected = by_the_paper(base, [x, y], density)
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(ours[name].double(), tensor, rtol=0, atol=1e-5), name


def test_trimming_whole_models_differs_from_trimming_each_tensor(trio: Trio) -> None:
    ours = poured(plan(whole(*trio, density=0.3)))
    each = poured(plan(whole(*trio, density=0.3, trim_scope="tensor")))
    assert any(not torch.equal(ours[name], each[name]) for name in ours)


def test_live_equals_disk_where_whole_models_are_trimmed(llamas: Trio, tmp_path: Path) -> None:
    recipe = whole(*llamas, density=0.2)
    written = load_file(merge(recipe, tmp_path / "out") / "model.safetensors")
    with assemble(recipe) as assembly:
        live = assembly.model.state_dict()
        assert all(torch.equal(live[name], tensor) for name, tensor in written.items())
        turned = whole(*llamas, density=0.7)
        assert assembly.turn(turned).redone == len(assembly.plan.steps)
        with assemble(turned) as fresh:
            expected = fresh.model.state_dict()
            assert all(torch.equal(expected[name], one) for name, one in assembly.model.state_dict().items())


def test_each_model_is_searched_once(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = counted(monkeypatch, select, "cutoff")
    findings = Findings()
    first = poured(plan(whole(*trio, density=0.3)), findings)
    assert len(searched) == 2
    again = poured(plan(whole(*trio, density=0.3)), findings)
    assert len(searched) == 2
    assert all(torch.equal(first[name], again[name]) for name in first)
    poured(plan(whole(*trio, density=0.4)), findings)
    assert len(searched) == 4


def counted(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[str]:
    """Count the calls of a function."""
    calls: list[str] = []
    function: Callable[..., object] = getattr(module, name)

    def wrapped(*args: object) -> object:
        calls.append(name)
        return function(*args)

    monkeypatch.setattr(module, name, wrapped)
    return calls


def trimmed(trio: Trio, density: float, method: str = "ties") -> Plan:
    base, x, y = trio
    parts = tuple(Part(Source(str(model)), None, numbers({"weight": 1.0})) for model in (x, y))
    return plan(Recipe(method, (Slice(parts),), Source(str(base)), numbers({"density": density})))


@pytest.mark.parametrize("method", ["ties", "breadcrumbs", "breadcrumbs_ties"])
def test_what_was_found_out_is_kept_between_turns_and_changes_no_bit(
    method: str, trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = Findings()
    calls = counted(monkeypatch, select, "thresholds")
    for density in (0.3, 0.5):
        turned = poured(trimmed(trio, density, method), findings)
        assert calls
        assert all(torch.equal(turned[name], one) for name, one in poured(trimmed(trio, density, method)).items())
        calls.clear()
    turned = poured(trimmed(trio, 0.3, method), findings)
    assert calls == []
    assert all(torch.equal(turned[name], one) for name, one in poured(trimmed(trio, 0.3, method)).items())


def test_findings_stay_within_their_budget_and_the_oldest_go_first(trio: Trio) -> None:
    planned = trimmed(trio, 0.3)
    all_of_them = Findings()
    poured(planned, all_of_them)
    known = list(all_of_them._found)
    sizes = [_bytes(found) for found in all_of_them._found.values()]
    assert all_of_them.bytes == sum(sizes) > 0
    thresholds = [key for key, found in all_of_them._found.items() if isinstance(found, select.Threshold)]
    pour.pour(planned.steps[0], planned.checkpoints, findings=all_of_them)
    rest = [key for key in known if key not in thresholds[:2]]
    assert list(all_of_them._found) == [*rest, *thresholds[:2]], "what was used last goes last"
    assert all_of_them.bytes == sum(sizes)
    small = Findings(budget=sum(sizes[-3:]))
    results = poured(planned, small)
    assert list(small._found) == known[-3:]
    assert small.bytes == sum(sizes[-3:])
    assert all(torch.equal(results[name], tensor) for name, tensor in poured(planned, Findings(budget=0)).items())


def test_masks_count_with_their_bytes() -> None:
    vector = TaskVector(Input(Source("a"), "w"), Input(Source("b"), "w"), double=False)
    findings = Findings(budget=10_000)
    about = findings.about([vector])
    about[0, "mask"] = torch.zeros(4000, dtype=torch.uint8)
    once = findings.bytes
    assert 4000 <= once < 5000
    about[0, "mask"] = torch.zeros(4000, dtype=torch.uint8)
    assert findings.bytes == once, "the same answer again takes no more"
    about[0, "another"] = torch.zeros(4000, dtype=torch.uint8)
    about[0, "number"] = 0.0
    about[0, "large"] = torch.zeros(20_000, dtype=torch.uint8)
    assert findings.bytes == 0
    assert about.get((0, "mask")) is None


def test_findings_about_a_task_vector_in_float64_are_others(trio: Trio, tmp_path: Path) -> None:
    """Beside a float64 model everything is computed in float64, so that magnitudes have other bits."""
    base, x, y = trio
    tensors = load_file(y / "model.safetensors")
    wide = folders.save(tmp_path / "wide", {name: one.double() for name, one in tensors.items()})
    findings = Findings()
    poured(trimmed(trio, 0.3), findings)
    known = len(findings._found)
    mixed = poured(trimmed((base, x, wide), 0.3), findings)
    assert len(findings._found) == 2 * known
    assert all(torch.equal(mixed[name], one) for name, one in poured(trimmed((base, x, wide), 0.3)).items())


@pytest.mark.parametrize("dtype", sorted(set(ITEM_BITS) - {"F4", "F6_E2M3", "F6_E3M2"}))
def test_a_copied_tensor_of_every_dtype_keeps_its_bytes(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No model of transformers has such tensors.
    monkeypatch.setattr(rehearsal, "rehearsed", lambda planned: rehearsal.Settings(stack_config(planned), None))
    assert DTYPES[dtype].itemsize * 8 == ITEM_BITS[dtype]
    bits = torch.arange(6).to(torch.uint8).view(2, 3).repeat(1, DTYPES[dtype].itemsize) % 2
    scales = {f"model.layers.{layer}.attn.scales": bits.clone().view(DTYPES[dtype]) for layer in range(2)}
    folder = folders.save(tmp_path / "source", folders.tensors(folders.shapes(2), seed=1) | scales)
    planned = plan(stack([(folder, 0, 2), (folder, 1, 2)], base=folder))
    written = load_file(merge(planned, tmp_path / "out", prove=False) / "model.safetensors")
    for made in (poured(planned), written):
        copied = made["model.layers.2.attn.scales"]
        assert copied.dtype == DTYPES[dtype]
        assert torch.equal(copied.contiguous().view(torch.uint8), bits)


@pytest.mark.parametrize("dtype", ["U16", "U32", "U64", "I8", "BOOL"])
def test_equal_whole_numbers_pass_through_a_merge_of_models(dtype: str, tmp_path: Path) -> None:
    made = []
    for seed in range(2):
        tensors = folders.tensors(folders.shapes(2), seed=seed)
        extra = {f"model.layers.{layer}.attn.mask": torch.tensor([0, 1, 1]).to(DTYPES[dtype]) for layer in range(2)}
        made.append(folders.save(tmp_path / f"m{seed}", tensors | extra))
    planned = plan(stack([(made[1], 0, 2)], base=made[0], method="linear", coefficient=0.5))
    assert torch.equal(poured(planned)["model.layers.1.attn.mask"], torch.tensor([0, 1, 1]).to(DTYPES[dtype]))
