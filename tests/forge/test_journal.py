"""What an unfinished merge leaves: taken up where it is what it was, else removed."""

# ruff: noqa: PT012 - an error comes out of a place's whole block

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mergelab.errors import OutputError, Problem, SourceError
from mergelab.forge.place import Place, key_of, unchanged
from mergelab.methods.registry import method
from mergelab.recipes import Recipe, graft, plan, stack
from mergelab.recipes.plan import Plan
from mergelab.weights.shards import Shard, layout
from tests.forge.placing import SHA, at, end, interrupted, names, write

Trio = tuple[Path, Path, Path]


def shards(planned: Plan, shard_bytes: int = 20_000) -> tuple[Shard, ...]:
    return layout(((step.name, step.dtype, step.shape) for step in planned.steps), shard_bytes=shard_bytes)


def test_an_error_before_the_first_weight_file_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "deep" / "out"
    interrupted(out)
    assert names(tmp_path) == []


def test_finished_weight_files_are_taken_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    hidden = interrupted(out, "a.safetensors", "b.safetensors")
    assert names(hidden) == ["journal.json", "model"]
    assert names(hidden / "model") == ["a.safetensors", "b.safetensors"]
    (hidden / "model" / "c.safetensors").write_text("renamed, and killed before it was entered")
    with at(out) as place:
        assert place.finished == {"a.safetensors": SHA, "b.safetensors": SHA}
        assert place.remark.startswith("Goes on from an earlier run, which did not end: ")
        assert place.remark.endswith("of 1 kB are there.")
        assert names(place.partial) == ["a.safetensors", "b.safetensors"]
        end(place)
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("recipe 2\nsources 1", "it was made with another recipe."),
        ("recipe 1\nsources 2", "it was made with sources that have changed since."),
        ("recipe 2\nsources 2", "it was made with another recipe and sources that have changed since."),
        ("recipe 1\nsources 1\ndevice 1", "it was made with another device."),
    ],
)
def test_what_another_merge_left_is_removed_and_said(key: str, why: str, tmp_path: Path) -> None:
    interrupted(tmp_path / "out", "a.safetensors")
    with at(tmp_path / "out", key=key) as place:
        assert place.finished == {}
        assert place.remark.startswith("Removed what an earlier run had left, which did not end (")
        assert place.remark.endswith(why)
        assert names(place.partial) == []
    assert names(tmp_path) == []


def test_remnants_without_a_journal_are_removed_and_said(tmp_path: Path) -> None:
    model = tmp_path / ".out.partial" / "model"
    model.mkdir(parents=True)
    (model / "w.safetensors.part").write_bytes(b"12")
    with at(tmp_path / "out") as place:
        assert place.remark.endswith("(2 bytes): none of its weight files was finished.")
    assert names(tmp_path) == []


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def lying(path: Path) -> None:
    """Another header, of the same length, and as if nothing had been written."""
    found = path.stat()
    path.write_bytes(path.read_bytes().replace(b"[0, 8]", b"[0, 7]"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("spoil", [shorter, touched, lying, Path.unlink])
def test_a_weight_file_that_is_not_as_it_was_left_is_written_again(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hidden = interrupted(out, "a.safetensors", "b.safetensors")
    spoil(hidden / "model" / "a.safetensors")
    with pytest.raises(KeyboardInterrupt), at(out) as place:
        assert place.finished == {"b.safetensors": SHA}
        assert place.remark.endswith("1 weight files are not as it had left them, and are written again.")
        assert names(place.partial) == ["b.safetensors"]
        raise KeyboardInterrupt
    spoil(hidden / "model" / "b.safetensors")
    with at(out) as place:
        assert place.finished == {}
        assert place.remark == "" or place.remark.endswith("its weight files are not as it had left them.")


@pytest.mark.parametrize("text", ["", "[]", '{"key": "x"}', '{"key": "x", "finished": {"a": 1}}', "[" * 100_000])
def test_a_damaged_journal_counts_as_none(text: str, tmp_path: Path) -> None:
    hidden = interrupted(tmp_path / "out", "a.safetensors")
    (hidden / "journal.json").write_text(text)
    with at(tmp_path / "out") as place:
        assert place.finished == {}
        assert place.remark.endswith("none of its weight files was finished.")


def test_what_was_found_wrong_is_never_taken_up(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="wrong"), at(tmp_path / "out") as place:
        write(place, "a.safetensors")
        place.forget()
        raise OutputError(Problem("x", "wrong"))
    assert names(tmp_path) == []


def test_the_key_tells_what_has_changed(llamas: Trio, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(llamas[0], model)
    recipe = stack([(model, 0, 3), (llamas[1], 3, 6)], base=llamas[2], method="task_arithmetic", coefficient=0.5)
    cpu = torch.device("cpu")

    def key(recipe: Recipe = recipe, shard_bytes: int = 20_000, device: torch.device = cpu) -> dict[str, str]:
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
    assert differ(first, key(device=torch.device("mps"))) == ["device"]
    os.utime(model / "model.safetensors")
    assert differ(first, key()) == ["sources"]


def test_methods_from_elsewhere_are_never_taken_up(llamas: Trio) -> None:
    name = "mine_of_test_place"

    @method(inputs=(1, None))
    def mine_of_test_place(models: Sequence[torch.Tensor]) -> torch.Tensor:
        """The first."""
        return models[0]

    planned = plan(Recipe.load(f"merge_method: {name}\nmodels: [{{model: {llamas[0]}}}]"))
    keys = [key_of(planned, torch.device("cpu"), shards(planned)) for _ in range(2)]
    assert keys[0] != keys[1]


def test_sources_that_change_or_vanish_are_named(llamas: Trio, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        shutil.copytree(llamas[0], path)
    planned = plan(graft(one, other, (2, 4)))
    unchanged(planned)
    (one / "model.safetensors").unlink()
    os.utime(other / "model.safetensors")
    with pytest.raises(SourceError) as caught:
        Place.check(planned, tmp_path / "out", force=False)
    assert [problem.where for problem in caught.value.problems] == [
        str(path / "model.safetensors") for path in (one, other)
    ]
    assert [problem.what.split()[0] for problem in caught.value.problems] == ["cannot", "changed"]


@pytest.mark.parametrize("where", ["in the place", "in a source"])
def test_what_the_system_refuses_is_said_of_the_file_that_it_is_about(where: str, tmp_path: Path) -> None:
    path = tmp_path / (".out.partial/model/x" if where == "in the place" else "source/x")
    kind, match = (OutputError, "out: cannot be written") if where == "in the place" else (SourceError, "source/x: ")
    with pytest.raises(kind, match=match) as caught, at(tmp_path / "out"):
        path.open()
    assert caught.value.__notes__ == ["Nothing was left behind."]
