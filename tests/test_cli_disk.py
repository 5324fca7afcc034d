"""The command line, writing: how large files are, what is broken off, verified, taken away."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

import pytest
import torch

from mergelab import cli
from mergelab.models.progress import Progress
from tests.desk import laid, recipe, tiny


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models a, b and the stranger c, and the current folder of the test."""
    monkeypatch.chdir(tmp_path)
    return laid(tmp_path)


def test_a_merge_that_nobody_watches_says_nothing_but_its_result(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["merge", str(recipe(("a", 0, 2), ("b", 1, 3))), "merged"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[-1].endswith("merged")
    assert re.search(r"^Proven equal to the live model: \d+ checks hold\.$", printed.out, re.MULTILINE)
    assert cli.main(["merge", "recipe.yml", "unproven", "--no-prove"]) == 0
    assert "\nNot proven: " in capsys.readouterr().out


def test_weights_are_hashed_from_the_start_whatever_the_recipe_looks_like(models: Path) -> None:
    both = [Path("a/model.safetensors"), Path("b/model.safetensors")]
    for text in ("models: [{model: a}, {model: b+lora}]", "base_model: \"a\"\nmodels:\n- model: 'b'\n", "{a: b}"):
        Path("recipe.yml").write_text(text)
        assert cli._weights_named_in(Path("recipe.yml")) == both
    Path("recipe.yml").write_bytes(b"\xff\x00 nowhere **/* / ~")
    assert cli._weights_named_in(Path("recipe.yml")) == []


@pytest.mark.parametrize(("size", "most"), [("2KB", 2_000), ("2.5 kB", 2_500), ("1800", 1_800), ("2KiB", 2_048)])
def test_the_size_of_files_is_said_as_people_write_it(models: Path, size: str, most: int) -> None:
    assert cli.main(["merge", str(recipe(("a", 0, 3))), "merged", "--shard-size", size]) == 0
    sizes = [sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in entries(path)) for path in shards()]
    assert len(sizes) > 1
    assert max(sizes) <= most


def shards() -> list[Path]:
    return sorted(Path("merged").glob("*.safetensors"))


def entries(path: Path) -> list[dict[str, list[int]]]:
    """Of the header of a weight file."""
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return [entry for name, entry in header.items() if name != "__metadata__"]


@pytest.mark.parametrize("size", ["five", "-3MB", "5XB", ""])
def test_a_size_that_is_none_is_refused(models: Path, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["merge", str(recipe(("a", 0, 3))), "merged", f"--shard-size={size}"])
    assert f"{size!r} is no size: write 5GB" in capsys.readouterr().err


def test_a_merge_goes_on_where_an_earlier_one_was_broken_off(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(recipe(("a", 0, 3)))

    def interrupted(now: Progress) -> None:
        if now.tensors > 15:
            while not any(Path(".merged.partial/model").glob("*.safetensors")):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cli, "_progress", lambda *_: contextlib.nullcontext(interrupted))
        assert cli.main(["merge", path, "merged", "--shard-size", "1KB"]) == 130
    said = capsys.readouterr().err
    assert said.startswith("mergelab merge: stopped. ")
    assert ".merged.partial" in said
    assert not Path("merged").exists()
    assert cli.main(["merge", path, "merged", "--shard-size", "1KB"]) == 0
    assert "earlier run" in capsys.readouterr().err
    assert cli.main(["verify", "merged"]) == 0


def test_verify_says_whether_a_merge_is_still_what_was_written(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["merge", str(recipe(("a", 0, 2), ("b", 1, 3))), "merged"]) == 0
    capsys.readouterr()
    assert cli.main(["verify", "merged"]) == 0
    printed = capsys.readouterr()
    assert "holds" in printed.out
    assert printed.err == ""
    config = Path("merged/config.json")
    config.write_text(config.read_text().replace("1e-05", "1e-06"))
    assert cli.main(["verify", "merged"]) == 2
    assert "config.json" in capsys.readouterr().out
    assert cli.main(["verify", "a"]) == 2
    assert capsys.readouterr().err.startswith("mergelab verify: ")


def test_a_fine_tune_is_taken_away_as_an_adapter(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["extract-lora", "b", "a", "adapter", "--rank", "8"]) == 0
    assert "Kept: " in capsys.readouterr().out
    assert cli.main(["merge", str(recipe(("a+adapter", 0, 3))), "merged"]) == 0
    from safetensors.torch import load_file

    merged, tuned = load_file("merged/model.safetensors"), load_file("b/model.safetensors")
    assert merged.keys() == tuned.keys()
    for name, tensor in tuned.items():
        torch.testing.assert_close(merged[name], tensor, rtol=0, atol=1e-5)
    assert cli.main(["extract-lora", "b", "a", "other", "--rank", "0"]) == 2
    assert capsys.readouterr().err.startswith("mergelab extract-lora: ")


@pytest.mark.parametrize("verb", ["check", "merge"])
def test_a_range_beyond_the_layers_is_said_with_the_folders_that_are_missing(
    verb: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(recipe(("./nowhere", 0, 9), ("a", 1, 9), ("b", 0, 3)))
    assert cli.main([verb, path, *(["merged"] if verb == "merge" else [])]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mergelab {verb}: 2 problems:\n  1. ")
    assert "nowhere" in said.splitlines()[1]
    assert "slices[1], source 'a': layer range: asks for layers [1, 9], it has 3. Layers are 0 to 2; " in said


def test_what_is_no_fine_tune_of_that_base_is_said_without_the_advice_of_a_blend(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(models / "short", seed=4, layers=2)
    tiny(models / "both", seed=5, inner=20)
    config = json.loads(Path("both/config.json").read_text())
    Path("both/config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1, "model_type": "mistral"}))
    for other in ("c", "short", "both"):
        assert cli.main(["extract-lora", other, "a", "x"]) == 2
        said = capsys.readouterr().err
        assert said.count("name the model that it was trained from.") == 1
        assert not re.search("blend|slices|leave it out|widen", said)
        assert not re.search(" $", said, re.MULTILINE)
    config = json.loads(Path("b/config.json").read_text())
    Path("b/config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    assert cli.main(["extract-lora", "b", "a", "x"]) == 2
    assert "dequantise it" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["check", "show", "merge"])
def test_a_model_is_no_recipe_and_what_may_be_meant_is_said(
    verb: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        assert cli.main([verb, *words, *(["merged"] if verb == "merge" else [])]) == 2
        return capsys.readouterr().err

    told = said("a")
    assert "a: is a model, not a recipe. A recipe is a YAML file that names models, such as merge_method: " in told
    (models / "a" / "mergekit_config.yml").write_text("merge_method: linear\n")
    inner = Path("a") / "mergekit_config.yml"
    assert f"A YAML file in it is {inner}: give the recipe itself." in said("a")
    for name in "bcdef":
        (models / "a" / f"{name}.yaml").touch()
    listed = ", ".join(str(Path("a") / f"{name}.yaml") for name in "bcde")
    assert f"YAML files in it are {listed} and 2 more: give the recipe itself." in said("a")
    (models / "empty").mkdir()
    assert "empty: is a folder, not a recipe." in said("empty")


def test_an_empty_folder_takes_a_merge_and_an_adapter(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("merged").mkdir()
    Path("adapter").mkdir()
    assert cli.main(["merge", str(recipe(("a", 0, 3))), "merged", "--no-prove"]) == 0
    assert cli.main(["merge", "recipe.yml", "merged", "--no-prove"]) == 2
    assert cli.main(["extract-lora", "b", "a", "adapter", "--rank", "2", "--device", "cpu"]) == 0
    assert cli.main(["extract-lora", "b", "a", "adapter", "--rank", "2"]) == 2
    assert capsys.readouterr().err.count("exists already") == 2
    assert cli.main(["extract-lora", "b", "a", "other", "--rank", "2", "--device", "mps"]) == 2
    assert capsys.readouterr().err.startswith("mergelab extract-lora: ")
