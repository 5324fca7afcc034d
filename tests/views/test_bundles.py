"""The committed bundles: built from these sources, whole, small, and reaching nowhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "widgets" / "src"
STATIC = ROOT / "mergelab" / "static"
WIDGETS = ["explain", "inspector", "merging", "workbench"]


def _hash() -> str:
    """The hash of the sources as widgets/build.mjs computes it."""
    digest = hashlib.sha256()
    files = [path for path in SOURCES.rglob("*") if path.suffix in (".js", ".css")]
    for path in sorted(files, key=lambda path: path.relative_to(ROOT / "widgets").as_posix()):
        digest.update(path.relative_to(ROOT / "widgets").as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", [f"{widget}.{kind}" for widget in WIDGETS for kind in ("js", "css")])
def test_bundles_are_fresh_small_and_reach_nowhere(name: str) -> None:
    text = (STATIC / name).read_text(encoding="utf-8")
    banner = text.splitlines()[0]
    assert f"sources {_hash()} " in banner, "stale: run make js"
    assert len(text.encode()) < 150_000
    plain = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|\bimport\s*\(|innerHTML|\beval\(", plain)


@pytest.mark.parametrize("name", WIDGETS)
def test_the_module_has_what_anywidget_asks_for(name: str) -> None:
    text = (STATIC / f"{name}.js").read_text(encoding="utf-8")
    assert re.search(r"export\s*\{\s*\w+ as default\s*\}", text)
    assert not re.search(r"(?:^|[;}\n])\s*import\s*[\w{*\"']", text), "a blob cannot import its neighbours"


def test_no_bundle_is_left_over() -> None:
    made = [f"{name}.{kind}" for name in WIDGETS for kind in ("css", "js")]
    assert sorted(path.name for path in STATIC.iterdir()) == made
    assert sorted(path.stem for path in SOURCES.glob("*.js")) == WIDGETS


@pytest.mark.parametrize("name", WIDGETS)
def test_a_style_holds_in_its_own_widget_alone(name: str) -> None:
    """On the page of a notebook lie the sheets of all; what two widgets call ``.ml-note`` need not look alike."""
    text = re.sub(r"/\*.*?\*/", "", (STATIC / f"{name}.css").read_text(encoding="utf-8"), flags=re.DOTALL)
    outside, depth = "", 0
    for letter in text:
        depth -= letter == "}"
        outside += "" if depth else letter
        depth += letter == "{"
    tops = [top.strip() for top in outside.replace("{", "").split("}") if top.strip()]
    assert [top for top in tops if not top.startswith("@keyframes ml-")] == [f".ml-wrap-{name}"]
