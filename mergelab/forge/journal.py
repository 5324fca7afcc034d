"""Journal: what an unfinished merge has finished, so that the next run can go on from there.

It lies as ``journal.json`` beside the folder ``model`` that is being written, and is replaced as a whole: a process
that is killed leaves the old one or the new one. A weight file is entered when it is synced, never before.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mergelab.columns import in_bytes
from mergelab.errors import SourceError
from mergelab.forge.lock import FILE as LOCK
from mergelab.forge.watch import Watch
from mergelab.weights.header import read_header

FILE = "journal.json"
MODEL = "model"

# The lines of a key, and what a run was made with where its line was another.
ASPECTS: Mapping[str, str] = {
    "recipe": "another recipe",
    "methods": "a merge method of your own, which may have changed since",
    "sources": "sources that have changed since",
    "code": "another version of mergelab or torch",
    "device": "another device",
    "files": "another size of weight files",
}


@dataclass(frozen=True)
class Finished:
    """A weight file that is complete.

    Attributes:
        sha256: of the whole file, in hexadecimal.
        weights: bytes of the tensors in it.
    """

    sha256: str
    weights: int


class Journal:
    """The journal of one run.

    Attributes:
        finished: the weight files that are complete, by name.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Nothing is read or written yet.

        Args:
            folder: where the journal and ``model`` lie.
            key: what the bytes of the weight files depend on: lines of an aspect and its digest.
        """
        self.finished: dict[str, Finished] = {}
        self._folder = folder
        self._key = key

    @property
    def weights(self) -> int:
        """Bytes of the tensors that are written."""
        return sum(one.weights for one in self.finished.values())

    def take_up(self, total: int, watch: Watch) -> str:
        """Enter what an earlier run finished and this one can use; remove everything else that it left.

        A file is used where its hash is the one that it was left with. That takes about a second for each GB, which is
        less than writing it, and nothing else tells what a disk has lost since. Until all are hashed nothing is
        touched.

        Args:
            total: bytes of all weight files, to be named.
            watch: is told what is to be hashed and what has been; what it raises ends the work.

        Returns:
            What was found, in a sentence or two; "" where there is nothing to tell.
        """
        found = _read(self._folder / FILE)
        key, left = found or ("", {})
        model = self._folder / MODEL
        same = key == self._key
        there = {name: model / name for name in left if same and os.path.isfile(model / name)}
        watch.expect(sum(path.stat().st_size for path in there.values()))
        kept = {name: _as_left(path, left[name], watch) for name, path in there.items()}
        self.finished = {name: one for name, one in kept.items() if one is not None}
        size = bytes_in(model)
        if not self.finished:
            clear(self._folder)
            why = (
                "its journal is damaged" if found is None
                else "none of its weight files was finished" if not left
                else "its weight files are not as it had left them" if same
                else f"it was made with {_difference(key, self._key)}"
            )  # fmt: skip
            return f"Removed what an earlier run had left, which did not end ({in_bytes(size)}): {why}." if size else ""
        self.prune()
        self._write(self.finished)
        told = (
            f"Goes on from an earlier run, which did not end: {in_bytes(self.weights)} of {in_bytes(total)} are there."
        )
        lost = len(left) - len(self.finished)
        return f"{told} {lost} weight files are not as it had left them, and are written again." if lost else told

    def enter(self, name: str, sha256: str) -> None:
        """The weight file of that name is complete and synced."""
        more = self.finished | {name: Finished(sha256, _weights(self._folder / MODEL / name))}
        self._write(more)
        self.finished = more

    def prune(self) -> None:
        """Remove what lies in ``model`` beside the finished files."""
        for path in (self._folder / MODEL).iterdir():
            if path.name not in self.finished:
                _remove(path)

    def forget(self) -> None:
        """Nothing is finished."""
        (self._folder / FILE).unlink(missing_ok=True)
        self.finished = {}

    def _write(self, finished: Mapping[str, Finished]) -> None:
        names = {name: one.sha256 for name, one in finished.items()}
        text = json.dumps({"key": self._key, "inode": inode(self._folder / MODEL), "finished": names})
        new = self._folder / f"{FILE}.part"
        new.write_text(text, encoding="utf-8")
        sync(new)
        new.replace(self._folder / FILE)
        sync(self._folder)


def clear(folder: Path) -> None:
    """Remove everything in a folder but the lock. The journal goes first: it never names what is gone."""
    _remove(folder / FILE)
    for path in folder.iterdir():
        if path.name != LOCK:
            _remove(path)


def is_in_place(folder: Path, name: Path) -> bool:
    """Whether ``name`` is the very folder that was written as ``model`` in ``folder``, as its journal knows it."""
    try:
        return bool(json.loads((folder / FILE).read_bytes())["inode"] == inode(name))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def inode(folder: Path) -> int:
    """The number by which the system knows a folder, whatever its name is; OSError where there is none."""
    return os.stat(folder).st_ino


def bytes_in(folder: Path) -> int:
    """Bytes of the files in a folder and below it; 0 where there is none."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def sync(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders, and keeps their lists by itself
        return
    number = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # some network filesystems sync no folders
            raise
    finally:
        os.close(number)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[str, dict[str, str]] | None:
    """Key of a journal, and the SHA-256 of the files that it names; None, where it is not as it was written. One that
    is not there names nothing.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return "", {}
    except (OSError, ValueError, RecursionError):
        return None
    match found:
        case {"key": str(key), "finished": dict(finished)} if all(isinstance(one, str) for one in finished.values()):
            return key, finished
    return None


def _as_left(path: Path, sha256: str, watch: Watch) -> Finished | None:
    """A file that has this hash; None, where it has another or cannot be read."""
    try:
        return Finished(sha256, _weights(path)) if watch.sha256(path) == sha256 else None
    except (OSError, ValueError, SourceError):  # ValueError: no file has such a name
        return None


def _weights(path: Path) -> int:
    """Bytes of the tensors in a weight file."""
    return sum(spec.bytes for spec in read_header(path)[0].values())


def _difference(old: str, new: str) -> str:
    """What tells two keys apart, in words."""
    theirs, ours = (dict(line.partition(" ")[::2] for line in key.splitlines()) for key in (old, new))
    other = [words for aspect, words in ASPECTS.items() if theirs.get(aspect) != ours.get(aspect)]
    return " and ".join(other) or "another recipe"
