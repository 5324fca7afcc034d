"""Task vectors: figures held against float64, planted truths found where they were planted, streams that add up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mergelab import sample
from mergelab.errors import InspectionError
from mergelab.inspection import rows
from mergelab.inspection.changes import TaskVectors, conflict, task_vectors
from mergelab.inspection.grid import Grid
from mergelab.inspection.subspace import subspaces
from mergelab.recipes.presets import graft
from mergelab.weights import open_checkpoint
from tests.weights import folders

Tensors = dict[str, Tensor]
WIDE = folders.shapes(3, width=48, inner=80, keys=24, vocabulary=61)
MODULES = ("input_layernorm", "mlp.down_proj", "self_attn.k_proj", "self_attn.q_proj")
QUERY = "model.layers.1.self_attn.q_proj.weight"


def moved(base: Tensors, seed: int, size: float = 0.1, dtype: torch.dtype = torch.float32) -> Tensors:
    """The base with independent normal changes."""
    draw = torch.Generator().manual_seed(seed)
    return {name: (one.float() + size * torch.randn(one.shape, generator=draw)).to(dtype) for name, one in base.items()}


def save(folder: Path, weights: Tensors, layers: int = 3) -> Path:
    return folders.save(folder, weights, num_hidden_layers=layers)


@pytest.fixture
def family(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A base and two models that changed it independently."""
    base = folders.tensors(WIDE)
    return save(tmp_path / "base", base), save(tmp_path / "a", moved(base, 1)), save(tmp_path / "b", moved(base, 2))


def delta(base: Path, model: Path, name: str) -> np.ndarray:
    one, other = (open_checkpoint(folder).tensor(name).double().numpy().ravel() for folder in (model, base))
    return one - other


def every(grid: Grid) -> Iterator[tuple[str, int, float]]:
    for row, module in enumerate(grid.rows):
        for layer in range(len(grid.columns)):
            yield module, layer, float(grid.values[row, layer])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_figures_are_those_of_float64(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = folders.tensors(WIDE, dtype=dtype)
    paths = [save(tmp_path / "base", weights)]
    paths += [save(tmp_path / name, moved(weights, seed, 0.004, dtype)) for seed, name in enumerate("ab", 1)]
    changes = task_vectors(*paths)
    assert changes.sources == ("a", "b")
    for number, source in enumerate(changes.sources, start=1):
        size, zeros, largest = changes.size(source), changes.zeros(source), changes.largest(source)
        assert size.rows == MODULES
        assert size.columns == ("0", "1", "2")
        for module, layer, value in every(size):
            name = f"model.layers.{layer}.{module}.weight"
            change = delta(paths[0], paths[number], name)
            before = open_checkpoint(paths[0]).tensor(name).double().numpy()
            assert value == pytest.approx(np.linalg.norm(change) / np.linalg.norm(before), rel=1e-5)
            assert zeros.row(module)[layer] == pytest.approx((change == 0).mean(), abs=1e-12)
            assert largest.row(module)[layer] == pytest.approx(np.abs(change).max(), rel=1e-6)
    for module, layer, value in every(changes.cosine()):
        one, other = (delta(paths[0], path, f"model.layers.{layer}.{module}.weight") for path in paths[1:])
        expected = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
        assert value == pytest.approx(expected, abs=2e-6)
    if dtype == torch.bfloat16:
        assert 0.2 < changes.zeros("a").row("self_attn.q_proj")[0] < 0.9, "small changes are rounded away"


def test_a_float64_change_far_below_the_weights_is_seen(tmp_path: Path) -> None:
    weights = folders.tensors(WIDE, dtype=torch.float64)
    one = {name: tensor + 1e-12 for name, tensor in weights.items()}
    size = task_vectors(save(tmp_path / "base", weights), save(tmp_path / "a", one)).largest()
    np.testing.assert_allclose(size.values, 1e-12, rtol=1e-3)


def test_nothing_depends_on_how_tensors_are_cut(
    family: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = task_vectors(*family)
    monkeypatch.setattr(rows, "PART", 640)
    cut = task_vectors(*family)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        threads = task_vectors(*family)
    finally:
        torch.set_num_threads(before)
    for density in (0.1, 1.0):
        for figure in ("at", "weighted", "lost", "overlap"):
            first, second, third = (getattr(one.conflict(), figure)(density).values for one in (whole, cut, threads))
            np.testing.assert_array_equal(first, second)
            np.testing.assert_array_equal(second, third)
    for figure in ("size", "zeros", "largest"):
        first, second, third = (getattr(one, figure)("a").values for one in (whole, cut, threads))
        np.testing.assert_allclose(first, second, rtol=1e-6)
        np.testing.assert_array_equal(second, third)
    np.testing.assert_allclose(whole.cosine().values, cut.cosine().values, atol=1e-6)
    np.testing.assert_array_equal(cut.cosine().values, threads.cosine().values)


def test_independent_changes_stay_in_their_bands(family: tuple[Path, Path, Path]) -> None:
    changes = task_vectors(*family)
    found = changes.conflict()
    for density in (0.2, 0.6, 1.0):
        grids = [found.at(density), found.weighted(density), found.lost(density), changes.cosine()]
        for grid in [*grids, *([found.overlap(density)] if density < 1 else [])]:
            assert grid.chance is not None
            inside = (grid.values >= grid.chance.low) & (grid.values <= grid.chance.high)
            assert inside.sum() >= 10, f"{grid.title}: {inside.sum()} of 12"
    summary = found.summary(0.5)
    assert ((summary["value"] >= summary["low"]) & (summary["value"] <= summary["high"])).all()


def test_signs_flipped_in_a_known_share_are_found_where_they_are(tmp_path: Path) -> None:
    """Two models with one change, but for signs: a tenth of them differ at one place, half of them elsewhere."""
    base = folders.tensors(WIDE)
    one = moved(base, 1)
    draw = torch.Generator().manual_seed(9)
    other = {}
    for name, tensor in one.items():
        apart = torch.rand(tensor.shape, generator=draw) < 0.5
        if name == QUERY:
            apart = (torch.arange(tensor.numel()) % 10 == 0).view(tensor.shape)
        other[name] = torch.where(apart, 2 * base[name] - tensor, tensor)
    paths = [save(tmp_path / "base", base), save(tmp_path / "a", one), save(tmp_path / "b", other)]
    found = task_vectors(*paths).conflict()
    size = 48 * 48
    assert found.at(1.0).row("self_attn.q_proj")[1] == pytest.approx(2 * np.ceil(size / 10) / size)
    assert found.at(0.3).row("self_attn.q_proj")[1] == pytest.approx(0.2, abs=0.05)
    assert found.weighted(1.0).row("self_attn.q_proj")[1] == pytest.approx(0.2, abs=0.02)
    assert found.lost(1.0).row("self_attn.q_proj")[1] == pytest.approx(0.1, abs=0.01)
    assert found.overlap(0.3).row("self_attn.q_proj")[1] == pytest.approx(1 / 0.3, rel=0.05)
    for grid in (found.at(0.3), found.at(1.0)):
        assert grid.chance is not None
        outside = (grid.values < grid.chance.low) | (grid.values > grid.chance.high)
        assert outside[3, 1]
        assert outside.sum() <= 2
    np.testing.assert_array_equal(conflict(*paths, 0.3).values, found.at(0.3).values)


def test_weighted_conflict_tells_small_clashes_from_large_ones(tmp_path: Path) -> None:
    base = folders.tensors(WIDE)
    one = moved(base, 1)
    other = {
        name: torch.where((tensor - base[name]).abs() < 0.05, 2 * base[name] - tensor, tensor)
        for name, tensor in one.items()
    }
    paths = [save(tmp_path / "base", base), save(tmp_path / "a", one), save(tmp_path / "b", other)]
    found = task_vectors(*paths).conflict()
    change = delta(paths[0], paths[1], QUERY)
    small = np.abs(change) < 0.05
    assert found.at(1.0).row("self_attn.q_proj")[1] == pytest.approx(2 * small.mean(), rel=1e-3)
    expected = 2 * np.abs(change[small]).sum() / np.abs(change).sum()
    assert found.weighted(1.0).row("self_attn.q_proj")[1] == pytest.approx(expected, rel=0.03)
    assert expected < 0.6 * small.mean() * 2
    assert found.at(0.3).row("self_attn.q_proj")[1] == 0


def test_changes_of_different_weights_do_not_clash(tmp_path: Path) -> None:
    base = folders.tensors(WIDE)
    halves = [(torch.arange(tensor.numel()) % 2 == 0).view(tensor.shape) for tensor in base.values()]
    one = {name: tensor + half for (name, tensor), half in zip(base.items(), halves, strict=True)}
    other = {name: tensor - ~half * 1.0 for (name, tensor), half in zip(base.items(), halves, strict=True)}
    paths = [save(tmp_path / "base", base), save(tmp_path / "a", one), save(tmp_path / "b", other)]
    changes = task_vectors(*paths)
    found = changes.conflict()
    np.testing.assert_allclose(changes.zeros("a").values, 0.5)
    np.testing.assert_allclose(changes.cosine().values, 0)
    assert np.isnan(found.at(1.0).values).all()
    assert (found.overlap(1.0).values == 0).all()
    assert (found.lost(1.0).values == 0).all()
    np.testing.assert_allclose(found.kept().row("a"), np.sqrt(np.minimum(np.linspace(0, 1, 129) ** 2 * 2, 1)))


def test_sums_over_layers_are_those_of_all_their_weights(family: tuple[Path, Path, Path]) -> None:
    changes = task_vectors(*family)
    names = [f"model.layers.{layer}.{module}.weight" for layer in (0, 2) for module in MODULES]
    one, other = (np.concatenate([delta(family[0], path, name) for name in names]) for path in family[1:])
    before = np.concatenate([open_checkpoint(family[0]).tensor(name).double().numpy().ravel() for name in names])
    row = changes.summary([0, 2]).loc["a"]
    assert row["size"] == pytest.approx(np.linalg.norm(one) / np.linalg.norm(before))
    assert row["largest"] == pytest.approx(np.abs(one).max())
    assert row["weights"] == len(one)
    whole = [*names, *(f"model.layers.1.{module}.weight" for module in MODULES)]
    whole += ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    energy = sum((delta(family[0], family[1], name) ** 2).sum() for name in whole)
    assert row["share"] == pytest.approx((one**2).sum() / energy)
    assert changes.summary().loc["a", "share"] == pytest.approx(1)
    figures = changes.conflict().summary(1.0, [0, 2])
    assert figures.loc["sign_conflict", "value"] == pytest.approx(2 * (one * other < 0).mean())
    frame = changes.to_frame()
    assert len(frame) == 2 * 15
    outside = frame[frame["layer"].isna()]["module"]
    assert list(outside) == 2 * ["model.embed_tokens", "lm_head", "model.norm"]


def test_what_lies_outside_the_layers_is_told(family: tuple[Path, Path, Path]) -> None:
    changes = task_vectors(*family)
    expected = changes.to_frame().set_index(["source", "module"]).loc[("a", "lm_head"), "size"]
    assert f"lm_head {float(expected):.3g}" in changes.size("a").note
    assert "Outside the layers" in changes.conflict().at(0.5).note


def test_pairs_can_be_named_in_any_order(family: tuple[Path, Path, Path]) -> None:
    changes = task_vectors(*family)
    there, back = changes.conflict("a", "b"), changes.conflict("b", "a")
    np.testing.assert_array_equal(there.at(0.4).values, back.at(0.4).values)
    np.testing.assert_array_equal(there.kept().row("a"), back.kept().row("a"))
    assert there.kept().rows == back.kept().rows[::-1]
    assert changes.cosine("b", "a").of == "b with a"
    np.testing.assert_array_equal(changes.kept().values, there.kept().values)


def test_three_sources_are_the_same_as_two_and_one(family: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, one, other = family
    third = save(tmp_path / "c", moved(folders.tensors(WIDE), 3, 0.7))
    changes = task_vectors(base, one, other, third)
    two = task_vectors(base, other, third)
    for density in (0.2, 1.0):
        np.testing.assert_array_equal(changes.conflict("b", "c").at(density).values, two.conflict().at(density).values)
    np.testing.assert_allclose(changes.size("b").values, task_vectors(base, other).size().values, rtol=1e-6)
    np.testing.assert_array_equal(changes.kept().row("c"), task_vectors(base, third).kept().row("c"))


def test_tensors_that_do_not_fit_are_told_and_missing(tmp_path: Path) -> None:
    base = folders.tensors(WIDE)
    other = moved(base, 1)
    for layer in range(3):
        other[f"model.layers.{layer}.mlp.down_proj.weight"] = torch.ones(48, 64)
    other = {name: tensor for name, tensor in other.items() if not name.startswith("model.layers.2.")}
    fits = save(tmp_path / "fits", moved(base, 2))
    changes = task_vectors(save(tmp_path / "base", base), save(tmp_path / "odd", other, layers=2), fits)
    grid = changes.size("odd")
    assert np.isnan(grid.row("mlp.down_proj")).all()
    assert np.isnan(grid.row("self_attn.q_proj")).tolist() == [False, False, True]
    assert "mlp.down_proj.weight is (48, 64) against (48, 80), and 5 more tensors do not fit" in grid.note
    assert not np.isnan(changes.size("fits").values).any()
    assert "do not fit" not in changes.size("fits").note
    found = changes.conflict().at(0.5)
    np.testing.assert_array_equal(np.isnan(found.values), np.isnan(grid.values))
    assert changes.summary([2]).loc["odd", "weights"] == 0


def test_another_prefix_is_no_difference(family: tuple[Path, Path, Path], tmp_path: Path) -> None:
    renamed = {
        name.removeprefix("model."): tensor
        for name, tensor in moved(folders.tensors(WIDE), 1).items()
        if "layers" in name
    }
    bare = task_vectors(family[0], save(tmp_path / "bare", renamed))
    np.testing.assert_array_equal(bare.size().values, task_vectors(*family[:2]).size().values)


def test_experts_are_one_module(tmp_path: Path) -> None:
    shapes = {
        f"model.layers.{layer}.mlp.experts.{expert}.w1.weight": (6, 9) for layer in range(2) for expert in range(3)
    }
    base = folders.tensors(shapes)
    changes = task_vectors(save(tmp_path / "base", base, 2), save(tmp_path / "a", moved(base, 1), 2))
    assert changes.size().rows == ("mlp.experts.*.w1",)
    assert changes.summary([1]).loc["a", "weights"] == 3 * 6 * 9


def test_an_adapter_is_folded_in(tmp_path: Path) -> None:
    base = folders.save(tmp_path / "base")
    named = {f"{folders.QUERY}.lora_A.weight": (2, 8), f"{folders.QUERY}.lora_B.weight": (8, 2)}
    lora = folders.save_adapter(tmp_path / "lora", folders.tensors(named))
    size = task_vectors(base, f"{base}+{lora}").size()
    assert size.row("self_attn.q_proj")[1] > 0
    assert np.count_nonzero(size.values) == 1


def test_weights_that_are_not_finite_are_told(family: tuple[Path, Path, Path], tmp_path: Path) -> None:
    broken = moved(folders.tensors(WIDE), 1)
    broken[QUERY][3, 4] = torch.nan
    changes = task_vectors(*family, save(tmp_path / "broken", broken))
    grid = changes.size("broken")
    assert np.isnan(grid.row("self_attn.q_proj")).tolist() == [False, True, False]
    assert "layer 1 self_attn.q_proj has NaN or infinite weights" in grid.note
    assert np.isnan(changes.cosine("a", "broken").row("self_attn.q_proj")[1])
    assert np.isnan(changes.conflict("a", "broken").at(0.5).row("self_attn.q_proj")[1])


def test_a_stopped_pass_tells_what_it_has(family: tuple[Path, Path, Path]) -> None:
    whole = task_vectors(*family)
    told: list[tuple[int, int]] = []
    part = task_vectors(*family, progress=lambda *done: told.append(done), stop=lambda: len(told) >= 6)
    assert part.partial
    assert not whole.partial
    assert told[:2] == [(1, 15), (2, 15)]
    there = ~np.isnan(part.size("a").values)
    assert 0 < there.sum() < 12
    np.testing.assert_array_equal(part.size("a").values[there], whole.size("a").values[there])
    assert "Stopped before the end." in part.size("a").note
    found = part.conflict()
    np.testing.assert_array_equal(~np.isnan(found.at(0.5).values), there)
    np.testing.assert_array_equal(found.at(0.5).values[there], whole.conflict().at(0.5).values[there])


def test_a_pass_that_never_began_has_no_figures(family: tuple[Path, Path, Path]) -> None:
    changes = task_vectors(*family, stop=lambda: True)
    assert changes.partial
    assert np.isnan(changes.size("a").values).all()
    assert np.isnan(changes.conflict().at(0.5).values).all()
    assert np.isnan(changes.kept().values).all()
    assert np.isnan(changes.conflict().kept().values).all()
    assert changes.summary().loc["a", "weights"] == 0
    assert changes.conflict().summary(0.5)["value"].isna().all()


def problems(error: pytest.ExceptionInfo[InspectionError]) -> list[str]:
    return [str(problem) for problem in error.value.problems]


def test_sources_that_share_nothing_are_refused_together(family: tuple[Path, Path, Path], tmp_path: Path) -> None:
    odd = [save(tmp_path / name, folders.tensors(folders.shapes(3, width=7, inner=9, keys=3))) for name in ("x", "y")]
    with pytest.raises(InspectionError) as caught:
        task_vectors(family[0], family[1], *odd)
    assert [text.split(":")[0] for text in problems(caught)] == ["x", "y"]
    assert "no tensor in common with base" in problems(caught)[0]
    with pytest.raises(InspectionError, match="nothing to compare"):
        task_vectors(family[0])


def test_layers_that_are_not_there_are_refused(family: tuple[Path, Path, Path]) -> None:
    with pytest.raises(InspectionError, match="there is no layer 3"):
        task_vectors(*family).summary([1, 3])


@pytest.mark.parametrize("density", [0.0, -0.1, 1.01, np.nan])
def test_a_density_is_a_share(family: tuple[Path, Path, Path], density: float) -> None:
    with pytest.raises(InspectionError, match="is no share of the weights"):
        conflict(*family, density)


def test_sources_of_one_name_are_told_apart(family: tuple[Path, Path, Path]) -> None:
    changes = task_vectors(family[0], family[1], family[1])
    assert changes.sources == ("a", "a 2")
    np.testing.assert_allclose(changes.cosine().values, 1, rtol=1e-6)
    assert (changes.conflict().at(0.5).values == 0).all()


def test_the_sample_family_is_a_family_and_the_stranger_is_none() -> None:
    changes = task_vectors(*(sample.path(name) for name in ("base", "pirate", "stranger")))
    assert isinstance(changes, TaskVectors)
    summary = changes.summary()
    assert 0.05 < summary.loc["pirate", "size"] < 0.3
    assert summary.loc["stranger", "size"] > 1
    assert "against" in changes.size("stranger").note


@pytest.mark.real
def test_models_of_another_family(shared: Path) -> None:
    changes = task_vectors(shared / "models" / "gpt2-base", shared / "models" / "gpt2-bible")
    assert "attn.c_attn" in changes.size().rows
    assert np.isfinite(changes.size().values).all()
    assert (changes.size().values < 1).all()


def test_what_is_no_file_is_refused(family: tuple[Path, Path, Path]) -> None:
    """Weights are read from disk: a recipe has to be poured first."""
    recipe = graft(family[0], family[1], (1, 2))
    for measure, name in ((task_vectors, "task_vectors"), (subspaces, "subspaces")):
        with pytest.raises(InspectionError) as caught:
            measure(family[0], recipe, torch.nn.Linear(2, 2))  # type: ignore[arg-type]
        assert [problem.where for problem in caught.value.problems] == [name, name]
        assert "argument 2, a Recipe," in str(caught.value)
        assert "argument 3, a Linear," in str(caught.value)
        assert "merge(recipe, folder)" in str(caught.value)
