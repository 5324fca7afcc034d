"""What is compiled is kept from process to process as long as its source is the same, and files can do no harm."""

from __future__ import annotations

import importlib
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import pytest

from mergelab.inspection import counting
from mergelab.methods import kept, loops, lots, scan

INNER = """
from mergelab.methods.machine import step
FACTOR = 2
@step
def times(number):
    return number * FACTOR
"""
OUTER = """
from copied.inner import times
from mergelab.methods.machine import loop
@loop
def doubled(number):
    return times(number) + 1
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a package lies that has a loop, and what is compiled is kept."""
    package = tmp_path / "copied"
    package.mkdir()
    for name, text in (("__init__", ""), ("inner", INNER), ("outer", OUTER)):
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path


def ran() -> tuple[int, int]:
    """What the loop gives in a new process, as it were: 5 times 2 plus 1 if nothing changed; and 1 if it was kept."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "copied"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    kept._digest.cache_clear()
    doubled = importlib.import_module("copied.outer").doubled
    return doubled(5), sum(doubled.stats.cache_hits.values())


def files(place: Path, ending: str) -> list[Path]:
    return sorted((place / "kept").rglob(f"*{ending}"))


def test_another_source_is_compiled_anew_and_both_are_kept(place: Path) -> None:
    assert [ran(), ran()] == [(11, 0), (11, 1)]
    inner = place / "copied" / "inner.py"
    inner.write_text(INNER.replace("FACTOR = 2", "FACTOR = 3"))
    assert [ran(), ran()] == [(16, 0), (16, 1)]
    inner.write_text(INNER)
    assert ran() == (11, 1)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def spoil(file: Path) -> None:
    file.write_bytes(b"no such thing" * 99)


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [empty, cut, spoil, Path.unlink])
def test_damaged_files_are_written_anew(place: Path, ending: str, damage: Callable[[Path], None]) -> None:
    ran()
    (file,) = files(place, ending)
    damage(file)
    assert [ran(), ran()] == [(11, 0), (11, 1)]


@pytest.mark.parametrize("room", [0, 900, 4000])
def test_without_room_nothing_is_kept(place: Path, room: int) -> None:
    """And nothing of it misleads those who have room; the index may fit and the code not."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        results = [ran(), ran()]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert results == [(11, 0), (11, 0)]
    assert bool(files(place, ".nbi")) == (room > 0)
    assert [ran(), ran()] == [(11, 0), (11, 1)]


def test_the_working_directory_is_no_place_to_keep_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "copied" / "__pycache__").write_text("a file where a folder should be")
    before = sorted(place.rglob("*"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert ran() == ran() == (11, 0)
    assert sorted(place.rglob("*")) == before


def test_alone_what_is_not_kept_is_refused(place: Path) -> None:
    with kept.alone(), pytest.raises(kept.NotKeptError):
        ran()
    assert ran() == (11, 0)
    with kept.alone():
        assert ran() == (11, 1)
    (file,) = files(place, ".nbc")
    cut(file)
    with kept.alone(), pytest.raises(kept.NotKeptError):
        ran()
    assert [ran(), ran()] == [(11, 0), (11, 1)]


def test_alone_what_has_no_place_is_compiled(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept._Files, "_locator_classes", [])
    with kept.alone():
        assert ran() == (11, 0)


def test_all_that_is_compiled_into_a_loop_is_its_source() -> None:
    machine = ["mergelab.methods.kept", "mergelab.methods.machine"]
    own = [*machine, loops.__name__, lots.__name__]
    assert kept.sources(loops.__name__) == sorted(own)
    assert kept.sources(scan.__name__) == sorted([*own, scan.__name__])
    tables = ["mergelab.inspection.magnitudes", "mergelab.inspection.tally"]
    assert kept.sources(counting.__name__) == sorted([*machine, *tables, counting.__name__])
