"""The folder of a merge: how it comes into place, and back where a process was killed."""

# ruff: noqa: PT012 - an error comes out of a place's whole block

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mergelab.errors import OutputError
from mergelab.forge import journal
from mergelab.forge.exchange import exchanged
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.place import Place
from mergelab.recipes import graft, plan
from tests.forge.placing import SHA, at, earlier, end, interrupted, may_exchange, names, recorded, word, write

Trio = tuple[Path, Path, Path]


@pytest.fixture
def renames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system lets no two folders trade names."""
    monkeypatch.setattr("mergelab.forge.place.exchanged", lambda *_: False)


def test_the_folder_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    out = tmp_path / "new" / "deep" / "out"
    with at(out) as place:
        assert place.partial.parent.parent == out.parent
        assert (place.finished, place.remark) == ({}, "")
        write(place, "w.safetensors")
        assert not out.exists()
        end(place)
        assert word(out) == "new"
    assert names(out) == sorted([RECIPE_FILE, "config.json", "mergelab.json", "w.safetensors"])
    assert names(out.parent) == ["out"]


def test_an_earlier_merge_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = earlier(tmp_path / "out")
    (out / "large").mkdir()
    (out / "large" / "file").write_text("x")
    recorded(out)
    with at(out, force=True) as place:
        write(place, "w.safetensors")
        assert word(out) == "old"
        end(place)
    assert names(out) == sorted([RECIPE_FILE, "config.json", "mergelab.json", "w.safetensors"])
    assert names(tmp_path) == ["out"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    earlier(tmp_path / "disk" / "model")
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "model")
    with at(tmp_path / "out", force=True) as place:
        write(place, "w.safetensors")
        end(place)
    assert (tmp_path / "out").is_symlink()
    assert word(tmp_path / "disk" / "model") == "new"
    assert names(tmp_path / "disk") == ["model"]
    (tmp_path / "ahead").symlink_to("disk/later")  # to nothing yet
    with at(tmp_path / "ahead") as place:
        write(place, "w.safetensors")
        end(place)
    assert word(tmp_path / "ahead") == word(tmp_path / "disk" / "later") == "new"


def test_what_came_in_the_way_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="exists already") as caught, at(out) as place:
        write(place, "w.safetensors")
        earlier(out)
        end(place)
    assert word(out) == "old"
    assert "is kept in" in caught.value.__notes__[0]
    with pytest.raises(OutputError, match="was not written by mergelab"), at(out, force=True) as place:
        assert place.finished == {"w.safetensors": SHA}
        (out / RECIPE_FILE).unlink()
        end(place)
    assert names(out) == ["config.json", "mergelab.json"]


@pytest.mark.usefixtures("renames")
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("step", [1, 2])
def test_a_disk_that_refuses_a_rename_loses_nothing(
    force: bool, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if force:
        earlier(out)
    count = iter(range(1, 10))
    rename = Path.rename

    def refusing(path: Path, target: Path) -> Path:
        if target.parent == tmp_path and next(count) == step:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return rename(path, target)

    def run() -> None:
        with at(out, force=force) as place:
            write(place, "w.safetensors")
            end(place)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refusing)
        if not force and step == 2:  # a new folder takes one rename
            run()
            return
        with pytest.raises(OutputError, match=r"cannot be written \(Input/output error\)"):
            run()
    assert names(tmp_path) == [".out.partial", "out"] if force else [".out.partial"]
    assert not force or word(out) == "old"
    with at(out, force=force) as place:
        assert place.finished == {"w.safetensors": SHA}
        end(place)
    assert word(out) == "new"
    assert names(tmp_path) == ["out"]


@pytest.mark.usefixtures("renames")
def test_an_interrupt_within_the_renames_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    for late in (1, 2):
        out = earlier(tmp_path / f"out{late}")
        count = iter(range(1, 10))

        def interrupted(path: Path, target: Path, count: Iterator[int] = count, late: int = late) -> Path:
            done = rename(path, target)
            if target.parent == tmp_path and next(count) == late:
                raise KeyboardInterrupt
            return done

        with pytest.raises(KeyboardInterrupt) as caught, monkeypatch.context() as patch, at(out, force=True) as place:
            write(place, "w.safetensors")
            patch.setattr(Path, "rename", interrupted)
            end(place)
        assert word(out) == ("old" if late == 1 else "new")
        assert ("is kept in" if late == 1 else "was in place by then") in caught.value.__notes__[0]
        assert names(tmp_path) == ([f".{out.name}.partial", out.name] if late == 1 else [out.name])
        shutil.rmtree(tmp_path / f".{out.name}.partial", ignore_errors=True)
        shutil.rmtree(out)


@pytest.mark.parametrize("force", [False, True])
def test_an_interrupt_while_tidying_up_leaves_the_new_folder_and_nothing_else(
    force: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = earlier(tmp_path / "out") if force else tmp_path / "out"
    plain = journal.clear
    cleared: list[Path] = []

    def interrupted(folder: Path) -> None:
        cleared.append(folder)
        if len(cleared) == 1:
            raise KeyboardInterrupt
        plain(folder)

    with pytest.raises(KeyboardInterrupt) as caught, monkeypatch.context() as patch, at(out, force=force) as place:
        write(place, "w.safetensors")
        end(place)
        patch.setattr(journal, "clear", interrupted)
    assert caught.value.__notes__ == [f"{out} was in place by then, and is whole."]
    assert word(out) == "new"
    assert names(tmp_path) == ["out"]


def test_an_empty_folder_is_written_to_without_force(tmp_path: Path) -> None:
    for force in (False, True):
        out = tmp_path / f"{force}"
        out.mkdir()
        with at(out, force=force) as place:
            write(place, "w.safetensors")
            end(place)
        assert word(out) == "new"
    assert names(tmp_path) == ["False", "True"]


def test_what_came_into_an_empty_folder_at_the_last_moment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    plain = Path.rename

    def late(path: Path, target: Path) -> Path:
        if target == out:
            (out / "mine").write_text("mine")
        return plain(path, target)

    with pytest.raises(OutputError, match="cannot be written"), at(out) as place:
        write(place, "w.safetensors")
        monkeypatch.setattr(Path, "rename", late)
        end(place)
    assert names(out) == ["mine"]


def test_an_earlier_merge_and_a_new_one_trade_names_at_one_stroke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = earlier(tmp_path / "out")
    if not may_exchange(tmp_path):
        monkeypatch.setattr("mergelab.forge.place.exchanged", _traded)
    plain = Path.rename

    def seen(path: Path, target: Path) -> Path:
        assert path.name == "w.safetensors.part" or (path, target) == (made.partial, made.partial.with_name("replaced"))
        return plain(path, target)

    monkeypatch.setattr(Path, "rename", seen)
    with at(out, force=True) as made:
        write(made, "w.safetensors")
        end(made)
        assert (word(out), word(made.partial)) == ("new", "old")
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("trading", [True, False])
def test_what_trades_names_is_in_place_whatever_its_inode_is(
    trading: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network filesystems give a folder another inode at any time."""
    out = earlier(tmp_path / "out")
    anew = itertools.count(1)
    for module in ("place", "journal"):
        monkeypatch.setattr(f"mergelab.forge.{module}.inode", lambda _: next(anew))
    monkeypatch.setattr("mergelab.forge.place.exchanged", _traded if trading else lambda *_: False)
    with at(out, force=True) as made:
        write(made, "w.safetensors")
        end(made)
    assert word(out) == "new"
    assert names(tmp_path) == ["out"]


def _traded(one: Path, other: Path) -> bool:
    """Two folders with each other's names, as a system does it that can."""
    between = one.with_name("between")
    for path, name in ((one, between), (other, one), (between, other)):
        os.rename(path, name)
    return True


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_beside_the_trade_leaves_the_old_folder_or_the_new_one(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = earlier(tmp_path / "out")

    def interrupted(one: Path, other: Path) -> bool:
        if when == "after":
            _traded(one, other)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught, at(out, force=True) as made:
        write(made, "w.safetensors")
        monkeypatch.setattr("mergelab.forge.place.exchanged", interrupted)
        end(made)
    assert word(out) == ("old" if when == "before" else "new")
    assert ("is kept in" if when == "before" else "was in place by then") in caught.value.__notes__[0]
    assert names(tmp_path) == ([".out.partial", "out"] if when == "before" else ["out"])


@pytest.mark.parametrize("how", ["check", "enter"])
def test_a_commit_that_was_killed_once_the_two_had_traded_is_ended(how: str, llamas: Trio, tmp_path: Path) -> None:
    out = earlier(tmp_path / "out")
    hidden = interrupted(out, "a.safetensors", force=True)
    for name, text in ((RECIPE_FILE, "new"), ("config.json", "{}")):
        (hidden / "model" / name).write_text(text)
    recorded(hidden / "model")
    _traded(hidden / "model", out)
    shutil.copy(out / "a.safetensors", hidden / "model")  # an old merge of the same recipe has the same weights
    removed = "Removed an earlier merge that had been replaced, by a run that was killed before it could do so."
    planned = plan(graft(llamas[0], llamas[1], (2, 4)))
    if how == "check":
        with pytest.raises(OutputError, match="exists already") as caught:
            Place.check(planned, out, force=False)
        assert caught.value.__notes__ == [removed]
    else:
        with at(out, force=True) as place:
            assert (place.remark, place.finished) == (removed, {})
    assert word(out) == "new"
    assert names(tmp_path) == ["out"]


def test_two_folders_trade_names_or_stay(tmp_path: Path) -> None:
    may = may_exchange(tmp_path)
    old = earlier(tmp_path / "old")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / RECIPE_FILE).write_text("new")
    assert exchanged(old, tmp_path / "new") == may
    assert (word(old), word(tmp_path / "new")) == (("new", "old") if may else ("old", "new"))
    assert exchanged(tmp_path / "new", old) == may
    shutil.rmtree(tmp_path / "new")
    assert not exchanged(old, tmp_path / "nowhere")
    assert (names(tmp_path), word(old)) == (["old"], "old")


def killed_between_renames(tmp_path: Path) -> Path:
    out = earlier(tmp_path / "out")
    interrupted(out, "a.safetensors", force=True)
    out.rename(tmp_path / ".out.replaced")
    return out


def test_an_old_folder_that_a_killed_run_moved_aside_comes_back(llamas: Trio, tmp_path: Path) -> None:
    out = killed_between_renames(tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        Place.check(plan(graft(llamas[0], llamas[1], (2, 4))), out, force=False)
    assert word(out) == "old"
    assert names(tmp_path) == [".out.partial", "out"]
    out.rename(tmp_path / ".out.replaced")
    with pytest.raises(KeyboardInterrupt), at(out, force=True) as place:
        assert place.remark.startswith(f"Brought back {out}, which a run that was killed had moved aside. Goes on from")
        assert word(out) == "old"
        raise KeyboardInterrupt
    out.rename(tmp_path / ".out.replaced")
    shutil.rmtree(tmp_path / ".out.partial")  # as the note of an error says
    with at(out, force=True):
        assert word(out) == "old"
    assert names(tmp_path) == ["out"]


def test_what_a_running_merge_has_moved_aside_is_left_to_it(llamas: Trio, tmp_path: Path) -> None:
    out = earlier(tmp_path / "out")
    with at(out, force=True):
        out.rename(tmp_path / ".out.replaced")
        with pytest.raises(OutputError, match="another merge is writing there now"):
            Place.check(plan(graft(llamas[0], llamas[1], (2, 4))), out, force=True)
        assert not out.exists()
        (tmp_path / ".out.replaced").rename(out)


@pytest.mark.parametrize("how", ["check", "enter"])
def test_a_commit_that_was_killed_at_its_end_is_ended(how: str, llamas: Trio, tmp_path: Path) -> None:
    out = killed_between_renames(tmp_path)
    (tmp_path / ".out.partial" / "model").rename(out)
    (out / RECIPE_FILE).write_text("new")
    (out / "config.json").write_text("{}")
    recorded(out)
    if how == "check":
        with pytest.raises(OutputError, match="exists already"):
            Place.check(plan(graft(llamas[0], llamas[1], (2, 4))), out, force=False)
    else:
        with at(out, force=True) as place:
            assert place.remark.startswith("Removed an earlier merge that had been replaced")
    assert word(out) == "new"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("partial", [True, False])
def test_two_folders_of_which_nobody_knows_are_both_kept(partial: bool, tmp_path: Path) -> None:
    out = killed_between_renames(tmp_path)
    if not partial:
        shutil.rmtree(tmp_path / ".out.partial")
    earlier(out)
    with pytest.raises(OutputError, match=r"stands beside .*\.out\.replaced, the earlier merge"), at(out, force=True):
        raise AssertionError
    assert names(tmp_path) == [*([".out.partial"] if partial else []), ".out.replaced", "out"]
