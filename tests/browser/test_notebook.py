"""The first lesson in JupyterLab: every cell is run, then a real pointer moves the workbench and the answer is read."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Watched
from tests.browser.stage import GUTTER

ROOT = Path(__file__).resolve().parents[2]
LESSON = ROOT / "notebooks" / "01_first_graft.ipynb"
TOKEN = "mergelab-test"
SETTINGS = {
    # All cells stay in the page, so that the widget is there before it is scrolled to.
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
}
# Whether every cell has been run to its end.
ALL_RUN = """
window.jupyterapp.shell.currentWidget.content.widgets.filter((cell) => cell.model.type === "code")
  .every((cell) => cell.model.executionCount && cell.model.executionState !== "running")
"""
UNSAVED = "window.jupyterapp.shell.currentWidget.context.model.dirty"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """A JupyterLab server on a copy of the lesson; yields its address."""
    shutil.copy(LESSON, tmp_path / LESSON.name)
    for name, values in SETTINGS.items():
        place = tmp_path / "settings" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {name: str(tmp_path / "home" / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={tmp_path}",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
        f"--LabApp.user_settings_dir={tmp_path / 'settings'}", f"--LabApp.workspaces_dir={tmp_path / 'workspaces'}",
    ]  # fmt: skip
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    log = tmp_path / "lab.log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api?token={TOKEN}", server, log)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)  # the server says nothing before it listens
    raise AssertionError(log.read_text())


def _open(page: Page, address: str) -> None:
    """Open the lesson alone on the page and run all its cells."""
    page.goto(f"{address}/doc/tree/{LESSON.name}?token={TOKEN}")
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel", timeout=90_000)
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.info.then(() => true)")
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")


def _until(page: Page, happened: Callable[[], bool], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"not within {seconds} s"
        page.wait_for_timeout(200)


def _exact(root: Locator) -> None:
    expect(root).to_have_attribute("data-state", "exact", timeout=60_000)


def _drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=8)
    page.mouse.up()


def _box(target: Locator) -> dict[str, float]:
    box = target.bounding_box()
    assert box is not None
    return {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}


def _border(page: Page, root: Locator, index: int, by: int) -> None:
    """Drag an edge of a slice by so many layers."""
    stack, box = root.locator(".ml-stack"), _box(root.locator(".ml-border").nth(index))
    column = (_box(stack)["width"] - GUTTER) / stack.get_by_role("option").count()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    _drag(page, (x, y), (x + by * column, y))


@pytest.mark.slow
def test_the_lesson_under_a_real_pointer(lab: str, watched: Watched) -> None:
    page = watched.page
    page.set_viewport_size({"width": 1330, "height": 1500})
    _open(page, lab)
    root = page.locator(".ml-root")
    wrong = page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']")
    _until(page, lambda: wrong.count() > 0 or page.evaluate(ALL_RUN))
    assert wrong.all_inner_texts() == []
    expect(root).to_be_visible()
    root.scroll_into_view_if_needed()
    _exact(root)
    # The lesson's stack: pirate, with arithmetic 2-3 inside.
    title, table = root.locator(".ml-title"), root.locator(".ml-tokens")
    expect(title).to_have_text("pirate with arithmetic 2–3")
    before = table.inner_text()
    _border(page, root, 2, 4)
    _exact(root)
    expect(title).to_have_text("arithmetic with pirate 0–1 and 8–9")
    grafted = table.inner_text()
    assert grafted != before

    # The slice blended with the base, which does not know pirate: pressed into the plot, its weights bend.
    root.get_by_label("Blend a further source into the slice").select_option(label="base")
    _exact(root)
    row = root.get_by_role("slider", name="weight of arithmetic", exact=True)
    expect(row).to_be_visible()
    place = _box(row)
    middle = (place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
    _drag(page, middle, (middle[0] + 80, middle[1] + 20))
    _exact(root)
    assert table.inner_text() != grafted
    expect(root.locator(".ml-merged .ml-words")).not_to_be_empty()

    # Undone by the widget's own key, which is not a command of the notebook; nor is "a", which would insert a cell.
    cells = page.locator(".jp-Cell").count()
    root.locator(".ml-stack").focus()
    for _ in range(3):
        page.keyboard.press("Control+z")
    expect(title).to_have_text("pirate with arithmetic 2–3")
    _exact(root)
    assert table.inner_text() == before
    page.keyboard.press("a")
    assert page.locator(".jp-Cell").count() == cells

    # The key that saves is the notebook's, wherever the focus is.
    assert page.evaluate(UNSAVED)
    page.keyboard.press("Control+s")
    page.wait_for_function(f"!{UNSAVED}")
    page.keyboard.press("a")
    assert page.locator(".jp-Cell").count() == cells
    assert watched.strays == []
