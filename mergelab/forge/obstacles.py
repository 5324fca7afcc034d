"""Obstacles: what speaks against writing a merge to a place, seen before a byte is written.

Each function yields problems, so that all of them are told at once.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mergelab.errors import Problem
from mergelab.forge import card, provenance
from mergelab.forge.entered import part_of
from mergelab.forge.journal import bytes_in
from mergelab.recipes.plan import Plan
from mergelab.weights.files import TOKENIZER

RECIPE_FILE = "mergelab_recipe.yml"
_HEADER = 256  # bytes that a tensor takes in the header of its file and in the index, generously


def followed(folder: Path) -> Path:
    """The folder that is meant: absolute, links followed."""
    return Path(os.path.realpath(folder.expanduser()))


def beside(folder: Path) -> tuple[Path, Path]:
    """Where it is written, and where an earlier one steps aside."""
    return folder.parent / f".{folder.name}.partial", folder.parent / f".{folder.name}.replaced"


def in_the_way(folder: Path, *, force: bool) -> Iterator[Problem]:
    """What stands where the folder goes, and may not be replaced. An empty folder stands in nobody's way."""
    where = str(folder)
    if os.path.islink(folder):
        yield Problem(where, "is a link that leads back to itself.", "Choose another place.")
    elif not os.path.lexists(folder):
        return
    elif not folder.is_dir():
        yield Problem(where, "is a file.", "Choose another place: only folders are replaced.")
    elif os.path.ismount(folder):
        yield Problem(where, "is where a disk is mounted, and cannot be replaced.", "Choose a folder in it.")
    else:
        names = sorted(path.name for path in folder.iterdir())
        if not names:
            return
        if not {RECIPE_FILE, "config.json"} <= {*names}:
            what = f"exists already, and was not written by mergelab (it holds {names[0]!r})."
            yield Problem(where, what, "Only an earlier merge is replaced: choose another folder.")
        elif not force:
            hint = "Choose another folder, or replace it: force=True (--force)."
            yield Problem(where, "exists already.", hint)
        else:
            added = _added(folder)
            if added is None:
                what = f"has no {provenance.FILE} that tells what the merge wrote."
                yield Problem(
                    where, what, "To replace it might delete what is yours: move it away, or choose another folder."
                )
            elif added:
                what = f"holds {added[0]!r}, which the merge did not write{f' ({len(added)} such)' * (len(added) > 1)}."
                yield Problem(where, what, "To replace it would delete that: move it away, or choose another folder.")


def is_empty(folder: Path) -> bool:
    """Whether it is a folder with nothing in it."""
    return folder.is_dir() and not any(folder.iterdir())


def _added(folder: Path) -> list[str] | None:
    """What lies in an earlier merge and is not of it; None: its record does not tell."""
    try:
        own = [provenance.FILE, card.FILE]
        written = {*own, *map(part_of, own), *json.loads((folder / provenance.FILE).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return sorted(
        name
        for path in folder.rglob("*")
        if not path.is_dir() and (name := path.relative_to(folder).as_posix()) not in written
    )


def precious(planned: Plan, folder: Path) -> Iterator[Problem]:
    """What would be destroyed: sources, and the folder that one is in."""
    places = (folder, *beside(folder))
    for source, checkpoint in planned.checkpoints.items():
        homes = [path.resolve() for path in (*source.folders, *checkpoint.stamps)]
        if any(place in (home, *home.parents) for place in places for home in homes) or any(
            home in folder.parents for home in homes
        ):
            what = f"holds, or lies in, the source {str(source)!r}."
            yield Problem(str(folder), what, "A source is never changed: choose another folder.")
    here = Path.cwd().resolve()
    if folder in (here, *here.parents):
        yield Problem(str(folder), "is the current folder, or holds it.", "Choose another folder.")


def room(planned: Plan, folder: Path) -> Iterator[Problem]:
    """Why a folder of that size cannot be made there."""
    where = str(folder)
    if folder.parent == folder:  # the root
        return
    parent = next(parent for parent in folder.parents if os.path.lexists(parent))
    if not parent.is_dir():
        yield Problem(where, f"lies in {parent}, which is a file.", "Choose another place.")
        return
    if not os.access(parent, os.W_OK | os.X_OK):
        yield Problem(where, f"{parent} {_closed(parent)}.", "Choose another place.")
    *above, _ = folder.relative_to(parent).parts
    for name in (*above, *(path.name for path in beside(folder))):
        try:
            (parent / name).lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                what = f"its name is too long here (while it is written, {len(os.fsencode(name))} bytes)."
                yield Problem(where, what, "Choose a shorter one.")
                return
    disk = shutil.disk_usage(parent)
    # What an earlier run left is used, or removed: either way it is room.
    free = disk.free + bytes_in(beside(folder)[0])
    need = planned.bytes + _HEADER * len(planned.steps) + _words(planned)
    if need > free and disk.total:  # some filesystems do not tell how large they are
        what = f"needs {need:,} bytes, {parent} has {free:,} free."
        yield Problem(where, what, "Free space or choose another place.")


def _closed(folder: Path) -> str:
    """Why a folder cannot be written to."""
    if sys.platform != "win32" and os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "is on a filesystem that is read-only"
    return "may not be written to by you"


def _words(planned: Plan) -> int:
    """Bytes of the tokenizer, as far as its files are here."""
    files = filter(None, map(planned.root.kept, TOKENIZER))
    return sum(path.stat().st_size for path in files)
