"""Trying out the loops of ``fused`` on the CPU, aside. Only ``fused`` imports this.

What was compiled before is loaded in half a second. What was not takes the compiler some eight, most of them in Python:
on a thread it would keep all others of the process waiting for their turn, so it has a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import cache

_OFTEN = 0.05  # seconds between two looks at whether this process ends
_PROGRAM = """
import sys
sys.path[:] = sys.argv[1:]
from mergelab.methods.proof import proven
sys.exit(not proven())
"""


_compiling = threading.Event()


@cache
def begun() -> Future[bool]:
    """Whether the loops give the bits of the atoms on this machine: known some time after the first call.

    A process that ends earlier waits for what is tried out in it, half a second at most, but for no compiler. (Were the
    thread a daemon, as one begun by a daemon is by itself, it would be torn off inside a library, and take the process
    with it.)
    """
    answer = Future[bool]()
    threading.Thread(target=lambda: answer.set_result(passed()), name="mergelab-trial", daemon=False).start()
    return answer


def passed_already() -> bool:
    """Whether that is known by now, and so."""
    return begun.cache_info().currsize > 0 and begun().done() and begun().result()


def awaited(heed: Callable[[], object]) -> None:
    """Wait until that is known, where it has begun, but for no compiler.

    Args:
        heed: called again and again; what it raises ends the waiting.
    """
    while begun.cache_info().currsize > 0 and not begun().done() and not _compiling.is_set():
        heed()
        wait([begun()], _OFTEN)


def passed() -> bool:
    """The same, worked out here and now; what has to be compiled for it is compiled by another process, and kept."""
    try:
        from mergelab.methods import kept
        from mergelab.methods.proof import proven

        try:
            with kept.alone():
                return proven()
        except kept.NotKeptError:
            return compiled() and proven()  # which compiles it once more where nothing could be kept
    except Exception:  # noqa: BLE001 - a library absent, without a compiler, too old: whatever it is, the atoms do the work
        return False


def compiled() -> bool:
    """Have another process compile the loops, keep them where there is a place, and prove them: whether it could.

    It has a session of its own, so that an interrupt of this process is none of it, and goes on where this process
    ends: the next one finds what it kept.
    """
    _compiling.set()
    program = [sys.executable, "-c", _PROGRAM, *sys.path]
    silent = subprocess.DEVNULL
    child = subprocess.Popen(program, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)
    while threading.main_thread().is_alive():
        try:
            return child.wait(_OFTEN) == 0
        except subprocess.TimeoutExpired:
            continue
    child.returncode = 0  # it is left to itself
    return False
