"""The lock: one process at a time, whatever becomes of the others."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from mergelab.errors import OutputError
from tests.forge.placing import at, end, names, write

Trio = tuple[Path, Path, Path]


def test_two_merges_into_one_place_refuse_each_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with at(out) as place:
        write(place, "w.safetensors")
        with pytest.raises(OutputError, match="another merge is writing there now"), at(out):
            raise AssertionError
        assert names(place.partial) == ["w.safetensors"]  # the other one has touched nothing
        end(place)
    with at(out, force=True) as place:
        pass
    assert names(tmp_path) == ["out"]


_HOLDER = """
import sys, time
from pathlib import Path
from mergelab.forge.place import Place
with Place(Path(sys.argv[1]), key="k", bytes=1, force=False):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    out = tmp_path / "out"
    other = subprocess.Popen([sys.executable, "-c", _HOLDER, str(out)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other, other.stdout:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another merge"), at(out):
            raise AssertionError
        other.kill()
    with at(out) as place:
        write(place, "w.safetensors")
        end(place)
    assert names(tmp_path) == ["out"]


_CONTENDER = """
import os, random, sys, time
from pathlib import Path
from mergelab.errors import OutputError
from mergelab.forge.lock import Lock

folder, held, children = Path(sys.argv[1]), Path(sys.argv[2]), []
for number in range(4):
    child = os.fork()
    if child == 0:
        random.seed(number)
        code, end, times = 0, time.monotonic() + 1.5, 0
        while time.monotonic() < end:
            try:
                lock = Lock(folder, "x")
            except OutputError:
                continue
            try:
                os.close(os.open(held, os.O_CREAT | os.O_EXCL))  # fails where somebody else is in here
                times += 1
                time.sleep(random.random() * 1e-4)
                held.unlink()
            except FileExistsError:
                code = 1
            lock.release()
            try:
                folder.rmdir()
            except OSError:
                pass
            if code:
                break
        os._exit(code or (2 if times < 5 else 0))
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_the_lock_is_never_held_twice_while_its_folder_comes_and_goes(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _CONTENDER, str(tmp_path / "locked"), str(tmp_path / "held")]
    assert subprocess.run(words, check=False).returncode == 0
    assert names(tmp_path) == []


def test_a_filesystem_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("mergelab.forge.lock._claim", refuse)
    with at(tmp_path / "out") as place:
        assert "knows no locks" in place.remark
