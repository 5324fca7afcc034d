"""A script that closes nothing ends in good order, whatever its widgets are at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mergelab as ml

_PROGRAM = """
import atexit, sys, threading, time
import mergelab as ml

def left():
    names = [one.name for one in threading.enumerate()]
    print(sorted(name for name in names if name.startswith("mergelab-") and name != "mergelab-trial"))

atexit.register(left)
base, pirate, arithmetic = map(ml.sample.path, ("base", "pirate", "arithmetic"))
"""
_BUSY = """
bench = ml.Workbench(base, pirate, arithmetic)
bench.lay("alternate", {"one": 0, "other": 1, "size": 1})
inspector = ml.Inspector(base, pirate)
said = threading.Event()
preview = ml.Preview({"base": base, "pirate": pirate}, lambda event: said.set(), max_new_tokens=5000)
preview.ask(ml.graft(base, pirate, (2, 4)), "Once upon a time")
said.wait()
"""
_MERGING = """
merging = ml.Merging(ml.graft(base, pirate, (2, 4)), sys.argv[1], shard_bytes=20_000)
while merging.state in ("starting", "checking"):
    time.sleep(0.001)
"""


def _ran(body: str, *words: str) -> tuple[int, str, str]:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM + body, *words], capture_output=True, text=True, check=False, timeout=300
    )
    return ran.returncode, ran.stdout.strip(), ran.stderr


def test_a_script_with_busy_widgets_ends_well() -> None:
    assert _ran(_BUSY) == (0, "[]", "")


def test_a_merge_that_nobody_waits_for_is_stopped_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, left, said = _ran(_MERGING, str(out))
    assert (code, left) == (0, "[]")
    assert said.startswith(f"{out} is not written: the program ended before the merge. wait() waits for it.")
    assert said.count("\n") == 1
    assert not out.exists()
    recipe = ml.graft(ml.sample.path("base"), ml.sample.path("pirate"), (2, 4))
    assert ml.merge(recipe, out, shard_bytes=20_000, prove=False) == out
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
