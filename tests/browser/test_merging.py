"""A merge on its way to disk, on a page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

import mergelab as ml
from mergelab.models.progress import Progress, Stopped
from mergelab.views import merging as module
from mergelab.views.merging import Merging
from tests.browser.conftest import Watched
from tests.browser.harness import hosting

HOSTILE = "<img src=x onerror=alert(1)>"


def test_it_is_written_and_proven(watched: Watched, tmp_path: Path) -> None:
    with hosting() as host:
        recipe = ml.graft(ml.sample.path("pirate"), ml.sample.path("arithmetic"), (2, 4))
        widget = Merging(recipe, tmp_path / HOSTILE)
        host.add("merging", widget)
        watched.page.goto(host.address)
        watched.page.wait_for_function("window.ready")
        watched.page.evaluate("show('merging')")
        try:
            expect(watched.page.locator("p", has_text="Proven equal to the live model")).to_be_visible(timeout=90_000)
            expect(watched.page.get_by_role("heading", name="Written")).to_be_visible()
            expect(watched.page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "100")
            expect(watched.page.locator("code")).to_have_text(str(tmp_path / HOSTILE))
            expect(watched.page.get_by_role("listitem")).to_have_count(len(widget._shown["checks"]))
            expect(watched.page.get_by_role("button", name="Stop")).to_be_hidden()
            assert watched.page.locator("img").count() == 0
        finally:
            widget.close()
    assert watched.errors == []
    assert watched.strays == []


@pytest.mark.parametrize("key", ["pointer", "keyboard"])
def test_a_button_stops_it(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    def slow(
        _planned: object, _out: Path, *, progress: Callable[[Progress], None], stop: Callable[[], bool], **_more: object
    ) -> Path:
        progress(Progress("writing", 40, 160, 2, 8, 2.0, 20, f"Goes on. {HOSTILE}"))
        pause = threading.Event()
        while not stop():
            pause.wait(0.01)
        raise Stopped

    monkeypatch.setattr(module, "merge", slow)
    with hosting() as host:
        recipe = ml.graft(ml.sample.path("pirate"), ml.sample.path("arithmetic"), (2, 4))
        widget = Merging(recipe, tmp_path / "out")
        host.add("merging", widget)
        watched.page.goto(host.address)
        watched.page.wait_for_function("window.ready")
        watched.page.evaluate("show('merging')")
        try:
            bar = watched.page.get_by_role("progressbar")
            expect(bar).to_have_attribute("aria-valuetext", "Writing: 25 %")
            expect(watched.page.get_by_text("12 s left")).to_be_visible()
            expect(watched.page.get_by_text(HOSTILE)).to_be_visible()
            stop = watched.page.get_by_role("button", name="Stop")
            if key == "pointer":
                stop.click()
            else:
                stop.focus()
                watched.page.keyboard.press("Enter")
            expect(watched.page.get_by_role("heading", name="Stopped")).to_be_visible()
            expect(stop).to_be_hidden()
            if key == "keyboard":
                expect(watched.page.get_by_role("region", name="Merge to disk")).to_be_focused()
        finally:
            widget.close()
    assert watched.errors == []
    assert watched.strays == []
