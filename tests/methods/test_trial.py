"""Nobody waits for the compiler: the loops are tried out aside, and the atoms do the work until that is done."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mergelab import methods
from mergelab.methods import fused, kept, proof, trial
from mergelab.models.bank import Bank

CPU = torch.device("cpu")


@pytest.fixture
def untried() -> Iterator[None]:
    """As in a process that has not begun to try."""
    trial.begun.cache_clear()
    yield
    trial.begun.cache_clear()


class Trial:
    """One that lasts until it is told how it ends."""

    def __init__(self) -> None:
        self.begun = 0
        self.outcome = False
        self.ends = threading.Event()

    def passed(self) -> bool:
        self.begun += 1
        assert self.ends.wait(60)
        return self.outcome


@pytest.fixture
def trying(untried: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    lasting = Trial()
    monkeypatch.setattr(trial, "passed", lasting.passed)
    yield lasting
    lasting.ends.set()
    trial.begun().result(60)


def test_large_work_waits_for_the_answer_and_for_no_compiler(trying: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_compiling", threading.Event())
    fused.awaited(lambda: pytest.fail("nothing has begun"))
    fused.prepare(CPU)
    looks = iter(range(3))
    fused.awaited(lambda: trying.ends.set() if next(looks) == 2 else None)
    assert trial.begun().done()
    assert next(looks, None) is None

    trial.begun.cache_clear()
    trying.ends.clear()
    fused.prepare(CPU)
    monkeypatch.setattr(trial, "_compiling", threading.Event())
    fused.awaited(trial._compiling.set)
    assert not trial.begun().done()
    monkeypatch.setattr(trial, "_compiling", threading.Event())
    with pytest.raises(KeyboardInterrupt):
        fused.awaited(lambda: (_ for _ in ()).throw(KeyboardInterrupt))


@pytest.mark.parametrize("outcome", [True, False])
def test_the_answer_is_no_until_it_is_known(trying: Trial, outcome: bool) -> None:
    assert not fused.available(CPU)
    assert trying.begun == 0, "nobody said that it would pay"
    fused.prepare(CPU)
    assert [fused.available(CPU) for _ in range(3)] == [False] * 3
    trying.outcome = outcome
    trying.ends.set()
    assert fused.ready(CPU) is outcome
    assert fused.available(CPU) is outcome
    assert trying.begun == 1


def test_the_atoms_do_the_work_meanwhile(trying: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> list[torch.Tensor]:
        return [
            methods.apply(methods.get(name), models, base, {"weight": 0.3}, dtype=torch.bfloat16)
            for name, base in (("linear", None), ("ties", start))
        ]

    start, *models = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0)).bfloat16()
    looped: list[str] = []
    for name in ("loop", "add", "scanner"):
        work = getattr(fused, name)
        monkeypatch.setattr(fused, name, lambda *given, name=name, work=work: looped.append(name) or work(*given))
    by_atoms = made()
    assert not looped
    trying.outcome = True
    trying.ends.set()
    assert fused.ready(CPU)
    assert all(torch.equal(one, other) for one, other in zip(by_atoms, made(), strict=True))
    assert sorted(looped) == ["add", "loop", "scanner"]


def test_a_bank_begins_it(trying: Trial) -> None:
    made: list[Bank] = []
    beginner = threading.Thread(target=lambda: made.append(Bank(device="cpu")), daemon=True)  # as a preview's is
    beginner.start()
    beginner.join(60)
    (bank,) = made
    (thread,) = (one for one in threading.enumerate() if one.name == "mergelab-trial")
    assert not thread.daemon
    trying.ends.set()
    thread.join(60)
    assert trying.begun == 1
    bank.close()


def test_what_is_not_on_the_cpu_begins_nothing(trying: Trial) -> None:
    fused.prepare(torch.device("meta"))
    assert not fused.available(torch.device("meta"))
    assert not fused.ready(torch.device("meta"))
    assert not trying.begun


def test_a_process_that_ends_earlier_ends() -> None:
    program = """
import torch
from mergelab.methods import fused, trial
trial._PROGRAM, trial.passed = "import time; time.sleep(60)", trial.compiled
fused.prepare(torch.device("cpu"))
assert not fused.available(torch.device("cpu"))
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=50)


def test_a_process_that_ends_in_the_middle_of_a_trial_ends_well() -> None:
    """A thread that is torn off inside numba or torch ends the process with an abort."""
    program = """
import sys, time
from mergelab.methods import trial
trial.begun()
time.sleep(float(sys.argv[1]))
"""
    for seconds in ("0.5", "0.9"):
        ended = subprocess.run([sys.executable, "-W", "error", "-c", program, seconds], check=False, timeout=50)
        assert ended.returncode == 0


# Who compiles ---------------------------------------------------------------------------------------------


def test_what_is_kept_is_compiled_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "compiled", lambda: pytest.fail("another process was started"))
    assert trial.passed()


@pytest.mark.parametrize(("compiled", "outcome"), [(True, True), (True, False), (False, True)])
def test_what_is_not_kept_is_compiled_by_another(
    compiled: bool, outcome: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it fails there, it is not tried here."""
    asked: list[str] = []

    def proven() -> bool:
        asked.append("proof")
        if len(asked) == 1:
            raise kept.NotKeptError
        return outcome

    monkeypatch.setattr(proof, "proven", proven)
    monkeypatch.setattr(trial, "compiled", lambda: asked.append("compiled") or compiled)
    assert trial.passed() is (compiled and outcome)
    assert asked == ["proof", "compiled", *(["proof"] if compiled else [])]


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def proven() -> bool:
        raise kept.NotKeptError

    monkeypatch.setattr(proof, "proven", proven)
    monkeypatch.setattr(sys, "executable", "no such program")
    assert not trial.passed()


@pytest.mark.parametrize(("answer", "outcome"), [("True", True), ("False", False), ("1 / 0", False)])
def test_the_other_process_looks_where_this_one_does(
    answer: str, outcome: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mergelab" / "methods"
    folder.mkdir(parents=True)
    (folder / "proof.py").write_text(f"def proven():\n    print('heard by nobody')\n    return {answer}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    assert trial.compiled() is outcome


def test_a_machine_where_nothing_is_compiled(tmp_path: Path) -> None:
    """This very process compiles none of the loops."""
    program = """
import torch
from mergelab.methods import fused
assert fused.ready(torch.device("cpu"))
from mergelab.methods import loops, scan
compiled = (loops.merge, loops.mix, loops.absolute, loops.draw, scan.tally, scan.pick, scan.nth, scan.count, scan.join)
for one in compiled:
    assert one.stats.cache_hits and not one.stats.cache_misses, one
"""
    there = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=there, timeout=300)
    assert len(list(tmp_path.rglob("*.nbi"))) == 9
