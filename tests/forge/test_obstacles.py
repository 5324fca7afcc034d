"""What speaks against a place: all of it is said before anything is written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mergelab.errors import OutputError
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.place import Place
from mergelab.recipes import graft, plan
from mergelab.recipes.plan import Plan
from tests.forge.placing import earlier, interrupted, names

Trio = tuple[Path, Path, Path]


@pytest.fixture
def planned(llamas: Trio) -> Plan:
    return plan(graft(llamas[0], llamas[1], (2, 4)))


def said(planned: Plan, folder: Path, *, force: bool = False) -> list[str]:
    with pytest.raises(OutputError) as caught:
        Place.check(planned, folder, force=force)
    return [problem.what for problem in caught.value.problems]


def test_a_place_where_nothing_is_has_nothing_against_it(planned: Plan, tmp_path: Path) -> None:
    Place.check(planned, tmp_path / "a" / "b" / "out", force=False)
    Place.check(planned, earlier(tmp_path / "old"), force=True)
    (tmp_path / "empty").mkdir()
    for force in (False, True):
        Place.check(planned, tmp_path / "empty", force=force)
    assert names(tmp_path) == ["empty", "old"]


def test_all_problems_are_said_at_once(planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = said(planned, tmp_path)
    assert [what.split()[0] for what in found] == ["exists", "is", str(tmp_path.parent), "needs"]


def test_what_is_no_folder_is_never_replaced(planned: Plan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    assert said(planned, tmp_path / "file", force=True) == ["is a file."]
    assert said(planned, tmp_path / "loop", force=True)[0] == "is a link that leads back to itself."
    assert said(planned, tmp_path / "file" / "out") == [f"lies in {tmp_path / 'file'}, which is a file."]
    assert said(planned, Path("/"), force=True)[0] == "is where a disk is mounted, and cannot be replaced."


@pytest.mark.parametrize("name", [".hidden", "folder"])
def test_a_folder_with_anything_in_it_is_not_empty(name: str, planned: Plan, tmp_path: Path) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    what = f"exists already, and was not written by mergelab (it holds {name!r})."
    assert said(planned, tmp_path / "out", force=True) == said(planned, tmp_path / "out") == [what]


@pytest.mark.parametrize("missing", [RECIPE_FILE, "config.json"])
def test_only_a_whole_merge_is_replaced(missing: str, planned: Plan, tmp_path: Path) -> None:
    out = earlier(tmp_path / "out")
    (out / missing).unlink()
    what = f"exists already, and was not written by mergelab (it holds {names(out)[0]!r})."
    assert said(planned, out, force=True) == said(planned, out) == [what]


@pytest.mark.parametrize("where", ["here", "above", "within", "file", "aside"])
def test_no_source_is_in_danger(where: str, llamas: Trio, tmp_path: Path) -> None:
    """Also one whose weights are links into the folder that would be replaced."""
    out = earlier(tmp_path / "out")
    home = {
        "here": out, "above": out / "model", "within": tmp_path, "file": tmp_path / "linked",
        "aside": tmp_path / ".out.partial",
    }[where]  # fmt: skip
    shutil.copytree(llamas[0], home, dirs_exist_ok=True)
    if where == "file":
        (home / "model.safetensors").rename(out / "weights")
        (home / "model.safetensors").symlink_to(out / "weights")
    found = said(plan(graft(home, llamas[1], (2, 4))), out, force=True)
    assert found[-1] == f"holds, or lies in, the source {str(home)!r}."


def test_names_that_get_too_long_are_said(planned: Plan, tmp_path: Path) -> None:
    Place.check(planned, tmp_path / ("n" * 245), force=False)
    for name in ("n" * 246, "ü" * 123):
        assert "too long" in said(planned, tmp_path / name)[0]
    assert "too long" in said(planned, tmp_path / "no" / ("n" * 246))[0]
    assert "too long" in said(planned, tmp_path / ("n" * 256) / "out")[0]


def test_room_is_needed_for_what_is_not_there_yet(
    planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def free(count: int, total: int = 1 << 40) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(total, 0, count))

    out, many = tmp_path / "out", planned.bytes + 100_000
    free(many)
    Place.check(planned, out, force=False)
    free(planned.bytes)  # the rest of the folder needs room too
    assert said(planned, out)[0].startswith("needs ")
    free(0, total=0)  # who does not tell is not asked
    Place.check(planned, out, force=False)
    hidden = interrupted(out, "a.safetensors")
    (hidden / "model" / "left.part").write_bytes(bytes(50_000))
    free(many - 50_000)  # what an earlier run left is used, or goes
    Place.check(planned, out, force=False)
    free(many - 90_000 - planned.bytes)
    assert said(planned, out)[0].startswith("needs ")
