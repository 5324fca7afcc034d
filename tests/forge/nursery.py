"""Merges in processes of their own that are cut short: killed, interrupted, out of room, robbed of their sources.

A process that has loaded everything forks once for each order that it reads (a line of JSON), so that none waits for
imports. A child counts its events: what it does to the disk below ``root`` (files opened for writing, syncs, renames,
folders made and removed, two that trade names). Just before the n-th of these, something can happen to it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")


@dataclass(frozen=True)
class Order:
    """A merge, and what happens to it.

    Attributes:
        recipe: YAML.
        root: the folder in which events count. The merge goes to ``out`` in it.
        renames: the system lets no two folders trade names: an earlier merge steps aside.
        prove: None: by the command line, which decides itself.
        event: when something happens: just before this event, from 1; 0: never.
        deed: what happens: a signal by its number, ``fill`` (the disk is full from now on), or ``truncate``,
            ``replace``, ``delete`` (the file ``victim``).
        seconds: a signal comes so long after the beginning, instead of before an event; 0: never.
        limit: bytes of the largest file that the process may write; 0: any.
    """

    recipe: str
    root: str
    force: bool = False
    renames: bool = False
    prove: bool | None = False
    event: int = 0
    deed: str = str(int(signal.SIGKILL))
    victim: str = ""
    seconds: float = 0.0
    limit: int = 0


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        code: what the process returned; minus the number of the signal that killed it.
        said: what it wrote to its output and error streams.
        remark: what it found of earlier runs.
        seconds: how long it took.
        events: what it did to the disk; empty, where it was killed.
        left: the files in ``root`` thereafter, each with its SHA-256.
    """

    code: int
    said: str
    remark: str
    seconds: float
    events: list[str]
    left: dict[str, str]

    def within(self, folder: str) -> dict[str, str]:
        """The files in a folder of ``root``."""
        return {
            name.removeprefix(f"{folder}/"): sha for name, sha in self.left.items() if name.startswith(f"{folder}/")
        }


class Nursery:
    """The process that forks, seen from a test."""

    def __init__(self, recipe: str, notes: Path, before: Sequence[str] = ()) -> None:
        """Start it.

        Args:
            recipe: a merge that it does first, so that no child has to load anything.
            notes: a folder for what its children say.
            before: words of a command that runs it.
        """
        words = [*before, sys.executable, "-W", "ignore", "-m", __name__, str(notes)]
        pipe, here = subprocess.PIPE, Path(__file__).parents[2]
        env = os.environ | {"OMP_NUM_THREADS": "1"}  # a fork has none of the threads that a pool of torch's counts on
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=here, env=env)
        self.run(Order(recipe, str(notes)))

    def run(self, order: Order) -> Outcome:
        """Carry an order out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it. It has nothing to put in order, so that it may be killed."""
        self._process.kill()
        self._process.communicate()


# ------------------------------------------------------------------------------------------- in the process that forks


def _serve(notes: Path) -> None:
    import mergelab.__main__
    import mergelab.cli  # noqa: F401 - no child has to load it
    from mergelab.forge.merge import merge

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # a child is born with it: no interrupt while it forks
    said, told = notes / "said", notes / "told.json"
    first = Order(**json.loads(sys.stdin.readline()))
    merge(first.recipe, notes / "out", prove=True)
    for line in itertools.chain([json.dumps(asdict(first))], sys.stdin):
        order = Order(**json.loads(line))
        for path in (said, told):
            path.write_text("")
        begun = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(order, said, told)
        code = _waited(child, begun + order.seconds if order.seconds else None, order.deed)
        seconds = time.monotonic() - begun
        found: dict[str, Any] = {"remark": "", "events": []} | json.loads(told.read_text() or "{}")
        outcome = Outcome(code, said.read_text(), found["remark"], seconds, found["events"], _left(Path(order.root)))
        print(json.dumps(asdict(outcome)), flush=True)


def _waited(child: int, until: float | None, deed: str) -> int:
    while until is not None:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            os.kill(child, int(deed))
            break
        time.sleep(0.0005)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _left(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ------------------------------------------------------------------------------------------- in a child


def _child(order: Order, said: Path, told: Path) -> NoReturn:
    code = 1
    try:
        number = os.open(said, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(number, stream)
        code = _obey(order, told)
    except BaseException:  # noqa: BLE001 - nothing may get out into the code of the process that forks
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _obey(order: Order, told: Path) -> int:
    from mergelab.__main__ import door
    from mergelab.errors import MergelabError
    from mergelab.forge import place
    from mergelab.forge.merge import merge
    from mergelab.models.progress import Progress

    remarks: list[str] = []
    events: list[str] = []
    out = Path(order.root) / "out"

    def heard(progress: Progress) -> None:
        remarks.append(progress.remark)

    def met(what: str) -> None:
        events.append(what)
        if len(events) == order.event:
            _do(order)

    if order.limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.limit, order.limit))
    with suppress(OSError):
        (out.parent / "filler").unlink()
    watch(order.root, met)
    if order.renames:
        place.exchanged = lambda *_: False
    code = 0
    if order.prove is None:
        recipe = told.with_name("recipe.yml")
        recipe.write_text(order.recipe)
        sys.argv = ["mergelab", "merge", str(recipe), str(out), *(["--force"] if order.force else [])]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.addaudithook(partial(_listen, recipe))
        code = door()
    else:
        try:
            merge(order.recipe, out, force=order.force, shard_bytes=9_000, prove=order.prove, progress=heard)
        except MergelabError as error:
            print(type(error).__name__, error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
            code = 2
    told.write_text(json.dumps({"remark": " ".join(filter(None, remarks)), "events": events}))
    return code


def _listen(recipe: Path, event: str, given: tuple[Any, ...]) -> None:
    """Heed interrupts from the moment at which the command reads its recipe."""
    if event == "open" and given[0] in (recipe, str(recipe)):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _do(order: Order) -> None:
    victim = Path(order.victim)
    match order.deed:
        case "fill":
            _fill(Path(order.root) / "filler")
        case "truncate":
            os.truncate(victim, victim.stat().st_size - 8)
        case "replace":
            other = victim.with_name("other")
            other.write_bytes(victim.read_bytes()[::-1])
            other.replace(victim)
        case "delete":
            victim.unlink()
        case number:
            os.kill(os.getpid(), int(number))


def _fill(path: Path) -> None:
    """A file that takes what room there is."""
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def watch(root: str, met: Callable[[str], None]) -> None:
    """Call ``met`` just before something is done to the disk below ``root``, from now on."""
    plain = os.fsync

    def synced(number: int) -> None:
        met(f"sync {Path(os.readlink(f'/proc/self/fd/{number}')).name}" if sys.platform == "linux" else "sync")
        plain(number)

    def heard(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            if isinstance(path, str) and path.startswith(root) and isinstance(flags, int) and flags & _WRITES:
                met(f"open {Path(path).name}")
        elif event == "ctypes.dlsym" and given[1] in ("renameat2", "renamex_np"):  # looked up for each call
            met("exchange")
        elif event in _CHANGES:
            path = os.fsdecode(given[0])
            within = event in ("os.remove", "os.rmdir") and given[-1] != -1  # rmtree names what is in an open folder
            if within or path.startswith(root):
                met(f"{event[3:]} {Path(path).name}")

    os.fsync = synced
    sys.addaudithook(heard)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
