"""A program ends in good order, whatever still runs in the background and however it hangs."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref

from mergelab.models.worker import Worker

_PROGRAM = """
import atexit, threading, time
from mergelab.models.worker import Worker

def left():
    print(sorted(one.name for one in threading.enumerate() if one.name.startswith("a ")))

atexit.register(left)

class Owner:
    def __init__(self, name, patience=60, then=None):
        self.ended, self.begun, self.then = threading.Event(), threading.Event(), then
        self.thread = Worker(self.work, name, self.close, patience)
        self.thread.start()
        self.begun.wait()
    def work(self):
        self.begun.set()
        self.ended.wait()
        time.sleep(0.1)
        if self.then:
            self.then()
    def close(self):
        self.ended.set()
        self.thread.join()

class Deaf(Owner):
    def close(self):
        threading.Event().wait()

def for_ever():
    threading.Event().wait()

{body}
"""


def _ran(body: str) -> tuple[int, str, str, float]:
    """How a program ended, its two streams, and the seconds from its last line on."""
    code = _PROGRAM.replace("{body}", body + "\nprint(time.time(), flush=True)")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    last, _, out = ran.stdout.partition("\n")
    return ran.returncode, out.strip(), ran.stderr, time.time() - float(last)


def test_an_exit_ends_what_runs_also_what_is_begun_meanwhile() -> None:
    code, left, said, _ = _ran('Owner("a one"); Owner("a two", then=lambda: Owner("a third"))')
    assert (code, left, said) == (0, "[]", "")


def test_work_may_share_out_its_last_among_threads() -> None:
    """From ``concurrent.futures``' own end on that is refused; an exit ends workers before."""
    code, left, said, _ = _ran(
        "from concurrent.futures import ThreadPoolExecutor\n"
        'Owner("a one", then=lambda: ThreadPoolExecutor(1).submit(print, "shared").result())'
    )
    assert (code, left.split(), said) == (0, ["shared", "[]"], "")


def test_an_exit_has_only_so_much_patience() -> None:
    """With work that nobody can break off, and with an end that hangs, as behind a lock."""
    code, left, said, seconds = _ran('Worker(for_ever, "a first", patience=0.3).start(); Deaf("a second", 0.3)')
    assert (code, left, said) == (0, "['a first', 'a first-end', 'a second', 'a second-end']", "")
    assert 0.3 <= seconds < 60


def test_nothing_is_kept_of_a_worker_that_ended() -> None:
    class Owner:
        def __init__(self) -> None:
            self.thread = Worker(self.work, "one", self.close)

        def work(self) -> None: ...

        def close(self) -> None: ...

    owner = Owner()
    owner.thread.start()
    owner.thread.join()
    ends = [weakref.ref(owner), weakref.ref(owner.thread)]
    gc.disable()
    try:
        del owner
        assert [end() for end in ends] == [None, None]
    finally:
        gc.enable()
    assert not any(isinstance(one, Worker) and one.name == "one" for one in threading.enumerate())
