"""Checkpoints: opened from headers alone, refused in words, never stale and never mixed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mergelab.errors import Problem, SourceError
from mergelab.weights import Source, open_checkpoint
from tests.weights import folders

INDEX = "model.safetensors.index.json"
SHARD = "model-00002-of-00003.safetensors"


def problems(folder: Path | str) -> tuple[Problem, ...]:
    """What opening this folder complains about."""
    with pytest.raises(SourceError) as caught:
        open_checkpoint(folder)
    assert all(problem.where and problem.what and problem.hint for problem in caught.value.problems)
    return caught.value.problems


def only(folder: Path | str) -> str:
    """The one complaint, as text; it names the folder."""
    (problem,) = problems(folder)
    assert str(folder) in problem.where
    return str(problem)


def rewrite(path: Path, change: Callable[[dict], object]) -> None:
    """Change a JSON file in place."""
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layers=st.integers(1, 4), shards=st.integers(1, 5), head=st.booleans(), seed=st.integers(0, 9))
def test_what_was_saved_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, layers: int, shards: int, head: bool, seed: int
) -> None:
    named = folders.shapes(layers, head=head)
    weights = folders.tensors(named, seed=seed)
    model = open_checkpoint(folders.save(tmp_path_factory.mktemp("m"), weights, shards=shards))
    assert sorted(model.specs) == sorted(named)
    assert {name: spec.shape for name, spec in model.specs.items()} == named
    assert all(torch.equal(model.tensor(name), weights[name]) for name in named)
    assert (model.layers, model.width) == (layers, folders.WIDTH)
    assert model.parameters == sum(tensor.numel() for tensor in weights.values())
    assert model.bytes == 4 * model.parameters
    assert len({spec.file for spec in model.specs.values()}) == shards


@pytest.mark.parametrize("shards", [1, 3])
def test_tables_that_old_files_hold_beside_the_weights_are_no_tensors(shards: int, tmp_path: Path) -> None:
    weights = folders.tensors(folders.shapes())
    tables = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.rand(2) for layer in range(folders.LAYERS)}
    old = open_checkpoint(folders.save(tmp_path / "old", tables | weights, shards=shards))
    new = open_checkpoint(folders.save(tmp_path / "new", weights))
    assert sorted(old.specs) == sorted(weights)
    assert (old.parameters, old.bytes) == (new.parameters, new.bytes)
    assert [sorted(layer) for layer in old.anatomy.layers] == [sorted(layer) for layer in new.anatomy.layers]
    assert all(torch.equal(old.tensor(name), tensor) for name, tensor in weights.items())


def test_a_tensor_is_mapped_once_and_shared(tmp_path: Path) -> None:
    model = open_checkpoint(folders.save(tmp_path / "m"))
    assert model.tensor("lm_head.weight") is model.tensor("lm_head.weight")


def test_an_opened_checkpoint_opens_as_itself(tmp_path: Path) -> None:
    model = open_checkpoint(folders.save(tmp_path / "m"))
    assert open_checkpoint(model) is model


def test_a_misspelt_tensor_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    model = open_checkpoint(folders.save(tmp_path / "m"))
    with pytest.raises(SourceError, match=r"has no tensor 'lm_heads.weight'. Did you mean 'lm_head.weight'\?"):
        model.tensor("lm_heads.weight")


def test_opening_reads_no_weights(tmp_path: Path) -> None:
    # A hole of 40 GB on disk: whoever reads it is found out by the time or the memory that it takes.
    size = 10_000_000_000
    names = list(folders.shapes(1))
    header = {name: folders.entry([size], at * 4 * size, (at + 1) * 4 * size) for at, name in enumerate(names)}
    (tmp_path / "config.json").write_text(json.dumps(folders.config(1)))
    path = folders.raw_file(tmp_path / "model.safetensors", header)
    os.truncate(path, path.stat().st_size + len(names) * 4 * size)
    assert open_checkpoint(tmp_path).bytes == len(names) * 4 * size


def test_opening_imports_neither_torch_nor_the_hub(tmp_path: Path) -> None:
    folders.save(tmp_path / "m", shards=2)
    code = (
        "import sys; from mergelab.weights import open_checkpoint; print(open_checkpoint(sys.argv[1]).layers,"
        "[name for name in ('torch', 'safetensors', 'huggingface_hub', 'transformers') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path / "m")]
    told = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert told.stdout.strip() == "3 []", told.stderr


# ------------------------------------------------------------------------------------- what cannot be opened


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "there is no such folder" in only(tmp_path / "none")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    assert "is a file, not a folder. Name the folder that holds config.json" in only(path)


def test_an_empty_folder_is_refused_with_everything_it_lacks(tmp_path: Path) -> None:
    said = [problem.what for problem in problems(tmp_path)]
    assert said == ["has no config.json.", "has no model.safetensors and no index of shards."]


def test_pickled_weights_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(folders.config()))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert "convert it to safetensors first" in only(tmp_path)


def test_shards_without_an_index_are_not_guessed_at(tmp_path: Path) -> None:
    folders.save(tmp_path, shards=3)
    (tmp_path / INDEX).unlink()
    assert "has no model.safetensors and no index of shards." in only(tmp_path)


def test_a_single_weight_file_of_another_name_is_found(tmp_path: Path) -> None:
    folders.save(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "weights.safetensors")
    assert open_checkpoint(tmp_path).layers == folders.LAYERS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "config.json: is not JSON"),
        (b"\xff\xfe", "config.json: is not JSON"),
        (b"[" * 100_000, "config.json: is not JSON"),
        (b'{"num_hidden_layers": ' + b"9" * 5000 + b"}", "config.json: is not JSON"),
        (b"[]", "config.json: does not name a model_type"),
        (b"{}", "config.json: does not name a model_type"),
        (b'{"model_type": 5}', "config.json: does not name a model_type"),
    ],
)
def test_a_broken_config_is_refused(tmp_path: Path, text: bytes, said: str) -> None:
    folders.save(tmp_path)
    (tmp_path / "config.json").write_bytes(text)
    assert said in only(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_hidden_layers": 4}, "config.json says num_hidden_layers = 4, the weights hold 3 layers."),
        ({"num_hidden_layers": None}, "config.json does not say how many layers there are, the weights hold 3 layers."),
        ({"num_hidden_layers": "3"}, "config.json does not say how many layers there are"),
        ({"num_hidden_layers": True}, "config.json does not say how many layers there are"),
        ({"num_hidden_layers": None, "n_layer": 2}, "config.json says n_layer = 2, the weights hold 3 layers."),
    ],
)
def test_a_config_that_lies_about_the_layers_is_refused(tmp_path: Path, change: dict, said: str) -> None:
    folders.save(tmp_path / "m")
    table = folders.config() | change
    (tmp_path / "m" / "config.json").write_text(
        json.dumps({key: value for key, value in table.items() if value is not None})
    )
    assert said in only(tmp_path / "m")


def test_several_problems_are_told_at_once(tmp_path: Path) -> None:
    folders.save(tmp_path, shards=3)
    (tmp_path / "config.json").write_text("{")
    (tmp_path / SHARD).unlink()
    first = tmp_path / "model-00001-of-00003.safetensors"
    first.write_bytes(first.read_bytes()[:-3])
    found = problems(tmp_path)
    starts = ["is not JSON", "its tensors need", f"the index names '{SHARD}', which is missing"]
    assert [problem.what.startswith(start) for problem, start in zip(found, starts, strict=True)] == [True] * 3


# -------------------------------------------------------------------------------------------------- indices


def test_an_index_that_names_a_missing_shard_is_refused(tmp_path: Path) -> None:
    folders.save(tmp_path, shards=3)
    (tmp_path / SHARD).unlink()
    assert f"the index names '{SHARD}', which is missing. The checkpoint is incomplete" in only(tmp_path)


def test_an_index_whose_only_present_shard_is_whole_is_refused_all_the_same(tmp_path: Path) -> None:
    folders.save(tmp_path, shards=3)
    for number in (2, 3):
        (tmp_path / f"model-0000{number}-of-00003.safetensors").unlink()
    assert len(problems(tmp_path)) == 2


def test_an_index_that_names_a_missing_tensor_is_refused(tmp_path: Path) -> None:
    folders.save(tmp_path, shards=3)
    rewrite(tmp_path / INDEX, lambda table: table["weight_map"].update({"model.extra": SHARD, "model.more": SHARD}))
    assert f"says '{SHARD}' holds 'model.extra', it does not (2 such)." in only(tmp_path)


@pytest.mark.parametrize("shard", ["../secret.safetensors", "sub/x.safetensors", "..", "", "."])
def test_an_index_that_points_out_of_its_folder_is_refused(tmp_path: Path, shard: str) -> None:
    folder = folders.save(tmp_path / "m", shards=3)
    for place in (tmp_path / "secret.safetensors", folder / "sub" / "x.safetensors"):
        place.parent.mkdir(exist_ok=True)
        save_file({"model.extra": torch.ones(1)}, place)
    rewrite(folder / INDEX, lambda table: table["weight_map"].update({"model.extra": shard}))
    said = only(folder)
    assert f"names a file outside the folder: {shard!r}" in said or f"the index names {shard!r}" in said


def test_an_absolute_path_in_an_index_is_refused(tmp_path: Path) -> None:
    folder = folders.save(tmp_path / "m", shards=3)
    secret = tmp_path / "secret.safetensors"
    save_file({"model.extra": torch.ones(1)}, secret)
    rewrite(folder / INDEX, lambda table: table["weight_map"].update({"model.extra": str(secret)}))
    assert "names a file outside the folder" in only(folder)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = folders.save(tmp_path / "m", shards=3)
    shutil.copyfile(folder / "model-00001-of-00003.safetensors", folder / SHARD)
    said = [problem.what for problem in problems(folder)]
    assert any("lies in 'model-00001-of-00003.safetensors' and in" in what for what in said), said


@pytest.mark.parametrize(
    "text",
    [b"{", b"[]", b"{}", b"[" * 100_000, b'{"weight_map": 5}', b'{"weight_map": [["a", "b"]]}',
     b'{"weight_map": {"a": 5}}', b'{"weight_map": {"a": ["b"]}}'],
)  # fmt: skip
def test_a_broken_index_is_refused(tmp_path: Path, text: bytes) -> None:
    folders.save(tmp_path, shards=3)
    (tmp_path / INDEX).write_bytes(text)
    assert "is not an index with a weight_map." in only(tmp_path)


def test_a_single_file_goes_before_an_index_left_by_an_older_save(tmp_path: Path) -> None:
    folders.save(tmp_path, folders.tensors(folders.shapes(), seed=1), shards=3)
    new = folders.tensors(folders.shapes(), seed=2)
    folders.save(tmp_path, new)  # as transformers reads it too: the single file wins
    model = open_checkpoint(tmp_path)
    assert torch.equal(model.tensor("lm_head.weight"), new["lm_head.weight"])
    assert {spec.file for spec in model.specs.values()} == {"model.safetensors"}


# ------------------------------------------------------------------------------------- changes after opening


def replaced(path: Path) -> None:
    save_file(folders.tensors(folders.shapes(), seed=9), path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def written_over(path: Path) -> None:
    content = path.read_bytes()
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(len(content) - 8)
        file.write(b"\1" * 8)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # clocks of file systems are coarse


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [replaced, written_over, cut, removed])
@pytest.mark.parametrize("warm", [False, True])
def test_a_file_that_changes_after_opening_is_an_error(
    tmp_path: Path, change: Callable[[Path], None], warm: bool
) -> None:
    model = open_checkpoint(folders.save(tmp_path))
    if warm:
        model.tensor("model.norm.weight")
    change(tmp_path / "model.safetensors")
    for name in ("model.norm.weight", "lm_head.weight"):
        with pytest.raises(SourceError, match=r"changed after it was opened|is gone") as caught:
            model.tensor(name)
        assert "open" in caught.value.problems[0].hint.lower()


def test_a_folder_written_again_and_opened_again_gives_the_new_weights(tmp_path: Path) -> None:
    for seed in range(3):
        weights = folders.tensors(folders.shapes(), seed=seed)
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        model = open_checkpoint(folders.save(tmp_path / "m", weights))
        assert all(torch.equal(model.tensor(name), tensor) for name, tensor in weights.items())


def test_a_file_written_over_in_place_and_opened_again_gives_the_new_weights(tmp_path: Path) -> None:
    for seed in range(3):
        weights = folders.tensors(folders.shapes(), seed=seed)
        folders.save(tmp_path, weights)
        model = open_checkpoint(tmp_path)
        assert all(torch.equal(model.tensor(name), tensor) for name, tensor in weights.items())


def test_one_file_under_two_addresses_is_opened_apart(tmp_path: Path) -> None:
    first, second = (open_checkpoint(Source(str(folders.save(tmp_path / "m")))) for _ in range(2))
    replaced(tmp_path / "m" / "model.safetensors")
    third = open_checkpoint(tmp_path / "m")
    assert third.tensor("lm_head.weight").shape == (folders.VOCABULARY, folders.WIDTH)
    for old in (first, second):
        with pytest.raises(SourceError):
            old.tensor("lm_head.weight")
