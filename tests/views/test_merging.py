"""The merge under way: told while it runs, stopped when asked, and honest about how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mergelab as ml
from mergelab.errors import OutputError, RecipeError
from mergelab.models.progress import Progress, Stopped
from mergelab.views import merging as module
from mergelab.views.merging import Merging


@pytest.fixture
def recipe() -> ml.Recipe:
    return ml.graft(ml.sample.path("pirate"), ml.sample.path("arithmetic"), (2, 4))


class Slow:
    """Stands in for the merge: tells what it is told to, and ends when it is asked to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.told = threading.Event()
        self.arguments: dict[str, Any] = {}
        self.stage = "writing"

    def __call__(
        self,
        _planned: object,
        _out: Path,
        *,
        progress: Callable[[Progress], None],
        stop: Callable[[], bool],
        **arguments: object,
    ) -> Path:
        self.arguments = arguments
        progress(Progress(self.stage, 40, 160, 2, 8, 2.0, 20))
        progress(Progress(self.stage, 40, 160, 2, 8, 2.0, 20, "Goes on from an earlier run."))  # never too often
        self.told.set()
        while not self.go.wait(0.01):
            if stop():
                error = Stopped()
                error.add_note("One file is kept.")
                raise error
        raise ZeroDivisionError("not <b>meant</b>")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(module, "merge", made)
    return made


def test_it_ends_with_the_folder_and_its_proof(recipe: ml.Recipe, tmp_path: Path) -> None:
    merging = Merging(recipe, tmp_path / "out")
    try:
        assert merging.wait(120) == tmp_path / "out"
        assert (tmp_path / "out" / "model.safetensors").is_file()
        assert merging.state == "done"
        shown = merging._shown
        assert shown["share"] == 1.0
        assert shown["left"] == ""
        assert shown["verdict"].startswith("Proven equal to the live model")
        assert {one["name"] for one in shown["checks"]} >= {"tensors", "values", "logits", "cache"}
        assert repr(merging).endswith(": written, 1.62 MB of 1.62 MB>")
    finally:
        merging.close()


def test_a_merge_that_is_not_proven_says_so(recipe: ml.Recipe, tmp_path: Path) -> None:
    merging = Merging(recipe, tmp_path / "out", prove=False)
    try:
        merging.wait(120)
        assert merging._shown["verdict"].startswith("Not proven")
        assert merging._shown["checks"] == []
    finally:
        merging.close()


def test_what_goes_wrong_is_shown_and_raised(recipe: ml.Recipe, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    merging = Merging(recipe, tmp_path / "out")
    try:
        with pytest.raises(OutputError, match="was not written by mergelab"):
            merging.wait(60)
        assert merging.state == "failed"
        assert "was not written by mergelab" in merging.error
        assert (tmp_path / "out" / "mine").read_text() == "mine"
    finally:
        merging.close()


def test_a_recipe_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        Merging("merge_method: tise\nmodels: []\n", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_it_says_when_it_looks_at_what_an_earlier_run_has_finished(
    slow: Slow, recipe: ml.Recipe, tmp_path: Path
) -> None:
    slow.stage = "checking"
    merging = Merging(recipe, tmp_path / "out")
    try:
        assert slow.told.wait(20)
        shown = merging._shown
        assert (shown["state"], shown["share"], shown["left"]) == ("checking", 0.25, "")
        assert (shown["words"], shown["detail"]) == (
            "Checking what an earlier run has finished",
            "40 bytes of 160 bytes",
        )
    finally:
        merging.close()


def test_it_is_told_while_it_runs_and_stops_when_asked(slow: Slow, recipe: ml.Recipe, tmp_path: Path) -> None:
    merging = Merging(recipe, tmp_path / "out", force=True, prove=True)
    try:
        assert slow.told.wait(20)
        with pytest.raises(TimeoutError, match="is not written yet: Writing"):
            merging.wait(0.01)
        shown = merging._shown
        assert (shown["state"], shown["share"]) == ("writing", 0.25)
        assert shown["detail"] == "40 bytes of 160 bytes, 10 bytes a second"
        assert shown["left"] == "12 s left"
        assert shown["remark"] == "Goes on from an earlier run."
        assert (slow.arguments["force"], slow.arguments["prove"]) == (True, True)
        merging._hear(merging, {"type": "nonsense"}, [])
        assert merging._thread.is_alive()
        merging._hear(merging, {"type": "stop"}, [])
        with pytest.raises(Stopped):
            merging.wait(20)
        assert (merging.state, merging._shown["remark"]) == ("stopped", "One file is kept.")
        assert merging.error == ""
    finally:
        merging.close()


def test_a_fault_of_ours_is_told_as_well_and_escaped(slow: Slow, recipe: ml.Recipe, tmp_path: Path) -> None:
    merging = Merging(recipe, tmp_path / "<script>alert(1)</script>")
    try:
        slow.go.set()
        with pytest.raises(ZeroDivisionError):
            merging.wait(20)
        assert merging.error == "ZeroDivisionError: not <b>meant</b>"
        still = merging.still()
        assert "&lt;b&gt;meant" in still
        assert "<script" not in still
        assert "&lt;script&gt;" in still
    finally:
        merging.close()


def test_closing_stops_it_and_leaves_no_thread(slow: Slow, recipe: ml.Recipe, tmp_path: Path) -> None:
    merging = Merging(recipe, tmp_path / "out")
    assert slow.told.wait(20)
    merging.close()
    merging.close()
    assert not merging._thread.is_alive()
    assert not any(thread.name == "mergelab-merging" for thread in threading.enumerate())


def test_an_interrupt_while_one_waits_stops_it(
    slow: Slow, recipe: ml.Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merging = Merging(recipe, tmp_path / "out")
    try:
        assert slow.told.wait(20)
        join = merging._thread.join

        def interrupted(timeout: float | None = None) -> None:
            monkeypatch.setattr(merging._thread, "join", join)
            raise KeyboardInterrupt

        monkeypatch.setattr(merging._thread, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            merging.wait()
        assert merging.state == "stopped"
    finally:
        merging.close()
