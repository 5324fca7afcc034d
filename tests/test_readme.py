"""What the README shows runs as it stands, and prints what it says; its pictures and links are there."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

import mergelab as ml
from mergelab import cli, sample
from tests.lessons import LESSONS, ROOT, execute, printed

README = ROOT / "README.md"


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
    code = blocks()[2].splitlines()
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
    (line,) = [line for line in blocks()[2].splitlines() if "Inspector" in line]
    with eval(line, names) as look:
        assert [one["name"] for one in look.strip] == ["base", "pirate", "arithmetic"]


def test_the_lines_about_feeling_a_merge(names: dict[str, Any]) -> None:
    lines = said(blocks()[3], names)
    variants = names["variants"]
    try:
        assert [lines[0]] == promised(blocks()[3])
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
    lines = said(blocks()[4], names)
    assert [lines[0]] == promised(blocks()[4])
    assert [line.split(" writes ")[0] for line in lines[1:]] == [
        speaker for speaker in ("merged", "pirate", "arithmetic") for _ in names["prompts"]
    ]
    assert lines[1].split() == ["merged", "writes", "ahoy", "me", "matey", "be", "in", "the", "cabin"]
    with pytest.raises(ml.AssemblyError, match="closed"):
        names["preview"].ask(names["recipe"], "again")


def test_the_lines_about_picking_by_hand(
    names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = said(blocks()[1], names)
    bench = names["bench"]
    try:
        assert [lines[0].strip()] == promised(blocks()[1])
        assert bench.recipe.slices == names["recipe"].slices, "the graft that it opens with"
        assert (bench.answer["recipe"], bench.answer["made"]) == (bench.recipe.fingerprint, bench.sketch)
        assert lines[1].split() == ["recipe", "now", "arithmetic", "pirate"]
        assert bench.selection == [4, 5]
        bent = bench.history["recipe"].iloc[2]
        bench.show("less attention")
        assert bench.recipe.fingerprint == bent
        assert "filter: self_attn\n        value: [1, 0.25, 0, 0.25, 1]" in bench.text
        bench.show()
        assert ml.Recipe.load("recipe.yml") == bench.recipe
        told: dict[str, Any] = {}
        exec("\n".join(lines[lines.index("import mergelab as ml") :]).replace("print", "repr"), told)
        assert told["recipe"] == bench.recipe
        with pytest.raises(ml.RecipeError, match="Did you mean 'json'"):
            bench.export("jsn")
    finally:
        bench.close()


def test_the_lines_about_writing_to_disk(
    names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        assert said(blocks()[5], names) == promised(blocks()[5])
        assert names["out"] == tmp_path / "merged"
        same = [Path(name, "mergelab.json").read_bytes() for name in ("merged", "merged again")]
        assert same[0] == same[1], "the same merge gives the same record"
        assert ml.open(f"{names['base']}+pirate adapter").layers == 10
    finally:
        names["merging"].close()


def test_the_keys_are_those_that_the_page_tells_of() -> None:
    """Letters of the table are keys that the stack, the curves or the widget listen to."""
    table = README.read_text().split("| key | does |")[1].split("\n\n")[0]
    page = "".join(path.read_text() for path in sorted((ROOT / "widgets" / "src").rglob("*.js")))
    letters = re.findall(r"\b([A-Z])\b", "".join(row.split("|")[1] for row in table.splitlines() if row.count("|") > 2))
    assert len(letters) > 10
    for letter in letters:
        assert re.search(rf"^ +(\"Mod\+{letter.lower()}\"|{letter.lower()}): ", page, re.MULTILINE), letter


def test_the_lessons_are_listed() -> None:
    text = README.read_text()
    assert [text.count(f"(notebooks/{path.name})") > 0 for path in LESSONS] == [True] * 6


def test_a_fingerprint_is_of_the_text_without_comments_and_with_paths_as_written(tmp_path: Path) -> None:
    pirate = ml.sample.path("pirate")
    elsewhere = tmp_path / "pirate"
    elsewhere.symlink_to(pirate)
    yaml = ml.repeat(pirate, (6, 8)).to_yaml()
    digits = ml.Recipe.load(yaml).fingerprint
    assert re.fullmatch("[0-9a-f]{8}", digits)
    assert ml.Recipe.load(f"# deeper\n{yaml}").fingerprint == digits
    assert ml.Recipe.load(yaml.replace(str(pirate), str(elsewhere))).fingerprint != digits, "the same merge"


def test_the_first_five_lines_of_the_readme(tmp_path: Path) -> None:
    code = blocks()[0]
    assert len(list(filter(None, code.splitlines()))) == 5
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    [cell] = execute(notebook, tmp_path)["cells"]
    expected = re.search(r"# -> (.*)", code)
    assert expected, "the README says what the fourth line prints"
    assert printed(cell).strip() == expected.group(1).strip()
    assert "application/vnd.jupyter.widget-view+json" in cell["outputs"][-1]["data"]
    assert list(tmp_path.iterdir()) == [], "nothing is written to disk"


WRONG = """\
merge_method: ties
base_model: org/base
models:
  - model: org/model-a
    parameters: {wieght: 1, density: 50}
"""


STRANGER = """\
merge_method: passthrough
slices:
  - sources: [{model: base, layer_range: [0, 4]}]
  - sources: [{model: stranger, layer_range: [4, 8]}]
"""


def test_the_readme_shows_what_check_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report, errors = re.findall(r"\$ mergelab check recipe.yml\n(.*?)```", README.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for name in ("base", "stranger"):
        Path(name).symlink_to(sample.path(name))
    Path("recipe.yml").write_text(STRANGER)
    assert cli.main(["check", "recipe.yml"]) == 2
    assert capsys.readouterr().out == report
    Path("recipe.yml").write_text(WRONG)
    assert cli.main(["check", "recipe.yml"]) == 2
    assert capsys.readouterr().err == errors


def test_the_readme_shows_a_picture_that_exists() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text())
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG"), picture


def test_links_of_the_documents_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            assert (ROOT / link).exists(), f"{page} links to {link}"
