"""What the README shows of live models runs as it stands, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

import mergelab as ml

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks() -> list[str]:
    """The Python of the README, in order."""
    return re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def promised(code: str) -> list[str]:
    """What its comments say is printed."""
    return re.findall(r"# -> (.*)", code)


@pytest.fixture
def names() -> dict[str, Any]:
    """What the first five lines leave behind, those left out that say something."""
    made: dict[str, Any] = {}
    exec("\n".join(line for line in blocks()[0].splitlines() if "print" not in line and "Workbench" not in line), made)
    return made


def said(code: str, names: dict[str, Any]) -> list[str]:
    """The lines that code prints."""
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard):
        exec(code, names)
    return heard.getvalue().splitlines()


def test_the_lines_about_looking_inside(names: dict[str, Any]) -> None:
    code = blocks()[1].splitlines()
    shown = [line for line in code if "Inspector" not in line]
    text = "\n".join(said("\n".join(shown), names))
    for title in (
        "Norm of the residual stream",
        "Same direction, pirate against base",
        "Size of the change, pirate against base",
        "Sign conflict, pirate with arithmetic, density 0.2",
        "Norm drift, pirate against base",
        "Seams, average of entry and exit against home",
        "What a linear probe reads, class in pirate",
    ):
        assert title in text


def test_the_line_about_the_inspector(names: dict[str, Any]) -> None:
    (line,) = [line for line in blocks()[1].splitlines() if "Inspector" in line]
    with eval(line, names) as look:
        assert [one["name"] for one in look.strip] == ["base", "pirate", "arithmetic"]


def test_the_lines_about_feeling_a_merge(names: dict[str, Any]) -> None:
    lines = said(blocks()[2], names)
    variants = names["variants"]
    try:
        assert [lines[0]] == promised(blocks()[2])
        assert any(line.startswith("2  27+35=") for line in lines)
        assert any("loss on '62'" in line for line in lines)
        assert any(line.startswith("1 vote. ") for line in lines)
        assert variants.names == ("first", "three layers")
        assert variants.current == "first", "after keep one stays"
        variants.switch("three layers")
        assert variants.current == "three layers"
        assert variants.turn(variants.recipe).first == 11, "layers + 1: nothing differs"
    finally:
        variants.close()


def test_the_lines_about_a_preview(names: dict[str, Any]) -> None:
    names["prompts"] = ["pirate hello my friend is in the house :", ml.Prompt("27+35=", "62")]
    lines = said(blocks()[3], names)
    assert [lines[0]] == promised(blocks()[3])
    assert [line.split(" writes ")[0] for line in lines[1:]] == [
        speaker for speaker in ("merged", "pirate", "arithmetic") for _ in names["prompts"]
    ]
    assert lines[1].split() == ["merged", "writes", "ahoy", "me", "matey", "be", "in", "the", "cabin"]
    with pytest.raises(ml.AssemblyError, match="closed"):
        names["preview"].ask(names["recipe"], "again")


def test_the_lines_about_a_bench_that_is_paused(names: dict[str, Any]) -> None:
    said(blocks()[4], names)
    bench = names["bench"]
    try:
        assert bench.wait(60)
        assert bench.answer["recipe"] == bench.recipe.fingerprint
        assert (bench.answer["prompt"], bench.answer["made"]) == ("52+17=", bench.sketch)
        assert bench.recipe == ml.stack(
            [(names["arithmetic"], 0, 10)], base=names["base"], method="task_arithmetic", coefficient=0.7
        )
        bench.undo()
        assert bench.recipe.slices == names["recipe"].slices, "the graft that it opens with"
    finally:
        bench.close()


def test_a_fingerprint_is_of_the_text_without_comments_and_with_paths_as_written(tmp_path: Path) -> None:
    pirate = ml.sample.path("pirate")
    elsewhere = tmp_path / "pirate"
    elsewhere.symlink_to(pirate)
    yaml = ml.repeat(pirate, (6, 8)).to_yaml()
    digits = ml.Recipe.load(yaml).fingerprint
    assert re.fullmatch("[0-9a-f]{8}", digits)
    assert ml.Recipe.load(f"# deeper\n{yaml}").fingerprint == digits
    assert ml.Recipe.load(yaml.replace(str(pirate), str(elsewhere))).fingerprint != digits, "the same merge"
