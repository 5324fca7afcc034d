"""Merges into a place, without a merge: a few small files."""

# ruff: noqa: PT012 - an error comes out of a place's whole block

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.place import Place
from mergelab.forge.provenance import FILE

KEY = "recipe 1\nsources 1"
_HEADER = json.dumps({"x": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
_FILE = len(_HEADER).to_bytes(8, "little") + _HEADER + b"12345678"
SHA = hashlib.sha256(_FILE).hexdigest()


def write(place: Place, name: str) -> None:
    """A weight file with one tensor of bytes, handed to the place."""
    (place.partial / f"{name}.part").write_bytes(_FILE)
    place.finish(name, SHA)


def written_in_place(path: Path, data: bytes) -> None:
    """The file has the same inode, size and time as before."""
    found = path.stat()
    assert len(data) == found.st_size
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def end(place: Place, word: str = "new") -> None:
    """The rest of a folder, and the folder in place."""
    (place.partial / RECIPE_FILE).write_text(word)
    (place.partial / "config.json").write_text("{}")
    recorded(place.partial)
    place.commit()


def earlier(folder: Path) -> Path:
    """An earlier merge."""
    folder.mkdir(parents=True)
    (folder / RECIPE_FILE).write_text("old")
    (folder / "config.json").write_text("{}")
    recorded(folder)
    return folder


def recorded(folder: Path) -> None:
    """All that lies in it is of the merge."""
    files = {path.relative_to(folder).as_posix(): "" for path in folder.rglob("*") if path.is_file()}
    (folder / FILE).write_text(json.dumps({"files": files}))


def at(folder: Path, *, key: str = KEY, force: bool = False) -> Place:
    return Place(folder, key=key, bytes=1000, force=force)


def may_exchange(folder: Path) -> bool:
    """Whether two folders can trade names in there: the system decides that, and the filesystem. It is asked here, and
    not through mergelab, so that an exchange that never works does not look like a system that has none.
    """
    if sys.platform != "linux":
        return sys.platform == "darwin"  # every filesystem that it installs itself on
    one, other = (os.fsencode(folder / name) for name in ("one", "other"))
    os.mkdir(one)
    os.mkdir(other)
    trade = getattr(ctypes.CDLL(None), "renameat2", None)  # not in an old C library
    found = trade is not None and trade(-100, one, -100, other, 2) == 0  # AT_FDCWD, RENAME_EXCHANGE
    os.rmdir(one)
    os.rmdir(other)
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def word(folder: Path) -> str:
    return (folder / RECIPE_FILE).read_text()


def interrupted(out: Path, *files: str, key: str = KEY, force: bool = False) -> Path:
    """A run that ended after these weight files; its hidden folder."""
    with pytest.raises(KeyboardInterrupt), at(out, key=key, force=force) as place:
        for name in files:
            write(place, name)
        (place.partial / "half.safetensors.part").write_bytes(b"half")
        raise KeyboardInterrupt
    return out.with_name(f".{out.name}.partial")
