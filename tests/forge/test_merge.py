"""The folder on disk: equal to the live model, whole or not there at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from mergelab.errors import AssemblyError, FitError, OutputError, Problem, SourceError
from mergelab.forge.merge import RECIPE_FILE, merge
from mergelab.models import assemble
from mergelab.models.progress import Progress
from mergelab.recipes import Recipe, graft, plan, repeat, stack
from tests.models.families import save

Trio = tuple[Path, Path, Path]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no dict
    return found


@pytest.mark.parametrize("method", ["linear", "slerp", "task_arithmetic", "ties"])
@pytest.mark.parametrize("dtype", [None, "BF16"])
def test_every_tensor_on_disk_equals_the_live_one(method: str, dtype: str | None, llamas: Trio, tmp_path: Path) -> None:
    from dataclasses import replace

    base, a, b = llamas
    recipe = stack([(a, 0, 3), (b, 1, 5), (a, 4, 6)], base=base, method=method, coefficient=[0.1 * i for i in range(9)])
    recipe = replace(recipe, dtype=dtype)
    out = merge(recipe, tmp_path / "out")
    with assemble(recipe) as assembly:
        live = assembly.model.state_dict()
        written = tensors(out)
        assert written.keys() == live.keys()
        for name, tensor in written.items():
            assert tensor.dtype == live[name].dtype
            assert torch.equal(tensor, live[name]), name
        loaded, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
        assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert loaded.dtype == assembly.model.dtype
        assert AutoTokenizer.from_pretrained(out)("hi there").input_ids == assembly.tokenizer("hi there").input_ids


def test_the_recipe_lies_beside_the_weights(llamas: Trio, tmp_path: Path) -> None:
    recipe = graft(llamas[0], llamas[1], (2, 4))
    out = merge(recipe, tmp_path / "out")
    assert Recipe.load(out / RECIPE_FILE) == recipe
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_shards_carry_every_tensor_once_and_load(llamas: Trio, tmp_path: Path) -> None:
    recipe = repeat(llamas[0], (1, 3))
    whole = tensors(merge(recipe, tmp_path / "whole"))
    out = merge(recipe, tmp_path / "shards", shard_bytes=20_000)
    sizes = [sum(value.nbytes for value in tensors_of(path).values()) for path in sorted(out.glob("*.safetensors"))]
    assert len(sizes) > 3
    assert max(sizes) <= 20_000
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == whole.keys()
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in whole.values())
    parts = tensors(out)
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
    ids = torch.tensor([[1, 9, 30, 4]])
    one, other = (AutoModelForCausalLM.from_pretrained(tmp_path / name)(ids).logits for name in ("whole", "shards"))
    assert torch.equal(one, other)


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_an_existing_folder_is_kept_unless_it_is_an_earlier_merge_and_forced(llamas: Trio, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"was not written by mergelab \(it holds 'precious.txt'\)") as refused:
        merge(graft(llamas[0], llamas[1], (2, 4)), out)
    assert "force" not in str(refused.value), "which would not help"
    with pytest.raises(OutputError, match=r"was not written by mergelab \(it holds 'precious.txt'\)"):
        merge(graft(llamas[0], llamas[1], (2, 4)), out, force=True)
    assert files(out) == {"precious.txt": b"mine"}
    (out / "precious.txt").unlink()
    merge(graft(llamas[0], llamas[1], (2, 4)), out, force=True)  # an empty folder
    before = files(out)
    with pytest.raises(OutputError, match=r"exists already\. .*force"):
        merge(graft(llamas[0], llamas[1], (2, 4)), out)
    assert files(out) == before
    merge(graft(llamas[0], llamas[2], (2, 4)), out, force=True)  # an earlier merge
    (out / "inner").mkdir()
    (out / "inner" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds 'inner/notes.txt', which the merge did not write\. .*move it"):
        merge(graft(llamas[0], llamas[1], (2, 4)), out, force=True)
    shutil.rmtree(out / "inner")
    told = (out / "mergelab.json").read_bytes()
    for record in (None, b"{", b"{}"):
        (out / "mergelab.json").unlink() if record is None else (out / "mergelab.json").write_bytes(record)
        (out / "precious.txt").write_text("mine")
        with pytest.raises(OutputError, match=r"has no mergelab.json that tells what the merge wrote"):
            merge(graft(llamas[0], llamas[1], (2, 4)), out, force=True)
        assert (out / "precious.txt").read_text() == "mine"
    (out / "precious.txt").unlink()
    (out / "mergelab.json").write_bytes(told)
    (out / "README.md").write_text("a card that I have edited")
    merge(graft(llamas[0], llamas[2], (2, 4)), out, force=True)
    after = files(out)
    assert before.keys() == after.keys()
    assert before["model.safetensors"] != after["model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("prove", [True, False])
def test_a_tokenizer_that_changes_midway_is_named(name: str, prove: bool, llamas: Trio, tmp_path: Path) -> None:
    """What was copied before would not be what is recorded."""
    model = tmp_path / "model"
    shutil.copytree(llamas[0], model)
    changed = []

    def change(told: Progress) -> None:
        if told.stage == "writing" and not changed:
            changed.append((model / name).read_bytes())
            (model / name).write_bytes(changed[0] + b"\n")

    with pytest.raises(SourceError, match=rf"{name}: changed"):
        merge(graft(model, llamas[1], (2, 4)), tmp_path / "out", prove=prove, progress=change)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["model", ".", "model/inside"])
def test_a_place_that_holds_a_source_or_lies_in_one_is_never_written_to(
    place: str, llamas: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(llamas[0], tmp_path / "model")
    (tmp_path / RECIPE_FILE).write_text("as if it were an earlier merge")
    before = files(tmp_path)
    with pytest.raises(OutputError, match="holds, or lies in, the source"):
        merge(graft(tmp_path / "model", llamas[1], (2, 4)), place, force=True)
    assert files(tmp_path) == before


def test_the_current_folder_is_never_replaced(llamas: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    (tmp_path / RECIPE_FILE).write_text("as if it were an earlier merge")
    for place in (".", ".."):
        with pytest.raises(OutputError, match="is the current folder, or holds it"):
            merge(graft(llamas[0], llamas[1], (2, 4)), place, force=True)
    assert (tmp_path / "deep").is_dir()


@pytest.mark.parametrize("size", ["5GB", 0, -1, True, 2.5, None])
def test_a_size_of_files_that_is_none_is_refused(size: Any, llamas: Trio, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"shard_bytes: .* is no number of bytes"):
        merge(graft(llamas[0], llamas[1], (2, 4)), tmp_path / "out", shard_bytes=size)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_live_here_is_not_proven_unless_asked(
    llamas: Trio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless(*_: object, **_more: object) -> None:
        raise AssemblyError(Problem("model", "does not fit."))

    monkeypatch.setattr("mergelab.forge.proof.prove", homeless)
    recipe, said = graft(llamas[0], llamas[1], (2, 4)), []
    with pytest.raises(AssemblyError, match="does not fit"):
        merge(recipe, tmp_path / "out", prove=True)
    assert not (tmp_path / "out").exists()
    merge(recipe, tmp_path / "out", progress=lambda now: said.append(now.remark))
    assert said[-2:] == ["It was not proven: model: does not fit.", ""]
    first = next(filter(None, said))
    assert first.startswith("Goes on from an earlier run"), "what was asked to be proven waited"
    assert json.loads((tmp_path / "out" / "mergelab.json").read_text())["proof"] is None


def test_what_does_not_fit_writes_nothing(llamas: Trio, tmp_path: Path) -> None:
    wide = save("llama", tmp_path / "wide", seed=4, intermediate_size=56)
    with pytest.raises(FitError):
        merge(graft(llamas[0], wide, (2, 4)), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wide"]


@pytest.mark.parametrize("force", [False, True])
def test_an_interrupt_midway_leaves_things_as_they_were(force: bool, llamas: Trio, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if force:
        merge(graft(llamas[0], llamas[2], (1, 2)), out)
    before = files(out)

    def interrupt(now: Progress) -> None:
        if now.tensors == now.of // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(graft(llamas[0], llamas[1], (2, 4)), out, force=force, progress=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == (["out"] if force else [])
    assert files(out) == before


def test_a_source_that_changes_midway_leaves_nothing(llamas: Trio, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(llamas[1], copy)

    def overwrite(now: Progress) -> None:
        if now.tensors == 5:
            shutil.copyfile(llamas[2] / "model.safetensors", copy / "model.safetensors")

    recipe = stack([(copy, 0, 6)], base=llamas[0], method="task_arithmetic", coefficient=0.5)
    with pytest.raises(SourceError, match="changed after it was opened"):
        merge(recipe, tmp_path / "out", progress=overwrite)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_process_that_is_killed_leaves_no_folder_and_the_next_run_cleans_up(llamas: Trio, tmp_path: Path) -> None:
    script = f"""
import os
from mergelab.forge.merge import merge
from mergelab.recipes import graft
recipe = graft({str(llamas[0])!r}, {str(llamas[1])!r}, (2, 4))
merge(recipe, {str(tmp_path / "out")!r}, progress=lambda now: now.tensors == 9 and os._exit(9))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    out = merge(graft(llamas[0], llamas[1], (2, 4)), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert AutoModelForCausalLM.from_pretrained(out).config.num_hidden_layers == 6


def test_no_room_on_disk_is_said_before_anything_is_written(llamas: Trio, tmp_path: Path, monkeypatch) -> None:
    planned = plan(graft(llamas[0], llamas[1], (2, 4)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(OutputError, match="has 1 free"):
        merge(planned, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_progress_tells_of_every_tensor_and_byte(llamas: Trio, tmp_path: Path) -> None:
    seen: list[Progress] = []
    planned = plan(graft(llamas[0], llamas[1], (2, 4)))
    merge(planned, tmp_path / "out", progress=seen.append)
    count = len(planned.steps)
    writing = [now for now in seen if now.stage == "writing"]
    assert [now.tensors for now in writing] == list(range(count + 1))
    assert [now.stage for now in seen[count + 1 :]] == ["proving", "done"]
    assert {(now.of, now.total, now.resumed, now.remark) for now in seen} == {(count, planned.bytes, 0, "")}
    sizes = sorted(after.done - before.done for before, after in pairwise(writing))
    assert sizes == sorted(step.bytes for step in planned.steps)
    assert seen[-1].done == planned.bytes
