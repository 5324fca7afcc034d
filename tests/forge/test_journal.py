"""What an unfinished merge leaves: taken up where it is what it was, else removed."""

# ruff: noqa: PT012 - an error comes out of a place's whole block

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from mergelab.errors import OutputError, Problem, SourceError
from mergelab.forge.extraction import extract_lora
from mergelab.forge.merge import merge
from mergelab.forge.place import Place, unchanged
from mergelab.models.progress import Progress, Stopped
from mergelab.recipes import Recipe, graft, plan
from tests.forge.placing import KEY, SHA, at, end, interrupted, names, write, written_in_place

Trio = tuple[Path, Path, Path]


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


def rotten(path: Path) -> None:
    """Another value, and as if nothing had been written."""
    written_in_place(path, path.read_bytes().replace(b"12345678", b"12345679"))


@pytest.mark.parametrize("spoil", [shorter, rotten, Path.unlink])
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


def test_a_hash_in_the_journal_is_not_believed(tmp_path: Path) -> None:
    hidden = interrupted(tmp_path / "out", "a.safetensors")
    text = (hidden / "journal.json").read_text()
    assert SHA in text
    (hidden / "journal.json").write_text(text.replace(SHA, "0" * 64))
    with at(tmp_path / "out") as place:
        assert place.finished == {}
        assert place.remark.endswith("its weight files are not as it had left them.")


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stopped])
def test_hashing_what_is_there_can_be_broken_off_and_nothing_is_lost(
    error: type[BaseException], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    hidden = interrupted(out, "a.safetensors", "b.safetensors")
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        if error is KeyboardInterrupt:
            raise error
        return True

    with pytest.raises(error) as caught, Place(out, key=KEY, bytes=1000, force=False, stop=stop):
        raise AssertionError
    assert asked == [True]
    assert caught.value.__notes__ == [f"What an earlier run had finished is kept in {hidden}."]
    with at(out) as place:
        assert place.finished == {"a.safetensors": SHA, "b.safetensors": SHA}


def test_hashing_what_is_there_is_told_as_it_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sizes = [path.stat().st_size for path in (interrupted(out, "a.safetensors", "b.safetensors") / "model").iterdir()]
    told: list[Progress] = []
    with Place(out, key=KEY, bytes=1000, force=False, progress=told.append):
        assert [(now.stage, now.done, now.total) for now in told] == [
            ("checking", sizes[0], sum(sizes)),
            ("checking", sum(sizes), sum(sizes)),
        ]
    told.clear()
    with Place(out, key="another", bytes=1000, force=False, progress=told.append):
        assert told == []  # what is of no use is not looked at


def test_a_merge_that_goes_on_says_that_it_checks_before_it_writes(llamas: Trio, tmp_path: Path) -> None:
    recipe, out = graft(llamas[0], llamas[1], (2, 4)), tmp_path / "out"

    def broken_off(now: Progress) -> None:
        if now.done > 40_000:  # the first file is on its way, on another thread
            end = time.monotonic() + 30
            while not list((tmp_path / ".out.partial" / "model").glob("*.safetensors")):
                assert time.monotonic() < end
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge(recipe, out, shard_bytes=20_000, prove=False, progress=broken_off)
    told: list[Progress] = []
    merge(recipe, out, shard_bytes=20_000, prove=False, progress=told.append)
    stages = list(dict.fromkeys(now.stage for now in told))
    assert stages == ["checking", "writing", "done"]
    assert next(now.remark for now in told if now.remark).startswith("Goes on from an earlier run")


@pytest.mark.parametrize("text", ["", "[]", '{"key": "x"}', '{"key": "x", "finished": {"a": 1}}', "[" * 100_000])
def test_a_damaged_journal_counts_as_none_and_is_said(text: str, tmp_path: Path) -> None:
    hidden = interrupted(tmp_path / "out", "a.safetensors")
    (hidden / "journal.json").write_text(text)
    with at(tmp_path / "out") as place:
        assert place.finished == {}
        assert place.remark.startswith("Removed what an earlier run had left, which did not end (")
        assert place.remark.endswith(": its journal is damaged.")
        assert names(place.partial) == []
    assert names(tmp_path) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(["all", "key", "finished", "sha256", "name"]), anything)
def test_no_journal_ends_a_run(field: str, value: Any) -> None:
    with TemporaryDirectory() as folder:
        journal = interrupted(Path(folder) / "out", "a.safetensors") / "journal.json"
        found = json.loads(journal.read_bytes())
        match field:
            case "all":
                found = value
            case "sha256":
                found["finished"]["a.safetensors"] = value
            case "name":
                found["finished"] = {str(value): SHA}
            case _:
                found[field] = value
        journal.write_text(json.dumps(found))
        with at(Path(folder) / "out") as place:
            assert place.finished == {}
            assert place.remark.startswith("Removed what an earlier run had left, which did not end (")
            assert names(place.partial) == []
        assert names(Path(folder)) == []


def test_what_was_found_wrong_is_never_taken_up(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="wrong"), at(tmp_path / "out") as place:
        write(place, "a.safetensors")
        place.forget()
        raise OutputError(Problem("x", "wrong"))
    assert names(tmp_path) == []


def test_what_leaves_the_weights_alone_ends_no_run(llamas: Trio, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(llamas[0], model)
    planned = plan(graft(model, llamas[1], (2, 4)))
    (model / "model.safetensors").chmod(0o600)
    (tmp_path / "too").hardlink_to(model / "model.safetensors")
    config = json.loads((model / "config.json").read_bytes())
    (model / "config.json").write_text(json.dumps(dict(reversed(config.items()))))
    unchanged(planned)


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """A JSON file with something changed in it."""
    found = json.loads(path.read_bytes())
    change(found)
    path.write_text(json.dumps(found))


def test_configs_that_change_or_vanish_are_named(llamas: Trio, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        shutil.copytree(llamas[0], path)
    planned = plan(graft(one, other, (2, 4)))
    rewrite(one / "config.json", lambda config: config.update(rms_norm_eps=0.5))
    (other / "config.json").unlink()
    with pytest.raises(SourceError) as caught:
        merge(planned, tmp_path / "out")
    assert [(problem.where, problem.what.split()[0]) for problem in caught.value.problems] == [
        (str(one / "config.json"), "changed"),
        (str(other / "config.json"), "cannot"),
    ]
    (one / "config.json").write_text("{")
    with pytest.raises(SourceError, match=r"one/config.json: changed after it was opened"):
        unchanged(planned)


def test_a_config_that_changes_while_it_is_merged_is_seen_before_the_folder_is_there(
    llamas: Trio, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(llamas[0], model)

    def heard(now: Progress) -> None:
        if now.stage == "proving":
            rewrite(model / "config.json", lambda config: config.update(rms_norm_eps=0.5))

    with pytest.raises(SourceError, match=r"model/config.json: changed after it was opened"):
        merge(graft(model, llamas[1], (2, 4)), tmp_path / "out", prove=True, progress=heard)
    assert not (tmp_path / "out").exists()


def test_the_config_of_an_adapter_counts(llamas: Trio, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    tuned, base = tmp_path / "tuned", llamas[0]
    shutil.copytree(base, tuned)
    tensors = load_file(tuned / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name] = tensors[name] + 0.5
    save_file(tensors, tuned / "model.safetensors")
    extract_lora(tuned, base, adapter, rank=1)
    planned = plan(Recipe.load(f"merge_method: passthrough\nmodels: [{{model: {base}+{adapter}}}]"))
    unchanged(planned)
    rewrite(adapter / "adapter_config.json", lambda config: config.update(lora_alpha=8))
    with pytest.raises(SourceError, match=r"adapter_config.json: changed after it was opened"):
        unchanged(planned)


def test_tokens_that_change_are_named_where_they_were_aligned(llamas: Trio, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        shutil.copytree(llamas[0], path)
    models = f"merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: {one}}}, {{model: {other}}}]\n"
    loose, aligned = plan(Recipe.load(models)), plan(Recipe.load(f"{models}tokenizer: {{source: union}}"))
    staged = plan(
        Recipe.load(f"""
name: first
{models}tokenizer: {{source: union}}
---
merge_method: passthrough
models: [{{model: first}}]
""")
    )
    for planned in (loose, aligned, staged):
        unchanged(planned)
    vocabulary = other / "tokenizer.json"

    def swap(found: dict[str, Any]) -> None:
        ids = found["model"]["vocab"]
        a, b = list(ids)[-2:]
        ids[a], ids[b] = ids[b], ids[a]

    rewrite(vocabulary, swap)
    unchanged(loose)
    for planned in (aligned, staged):
        with pytest.raises(SourceError, match="other: its tokenizer changed after it was opened"):
            unchanged(planned)
    vocabulary.write_text("{")
    with pytest.raises(SourceError, match="other: its tokenizer cannot be read"):
        unchanged(aligned)


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
