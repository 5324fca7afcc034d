"""The table of methods in the README and on the command line says what the functions declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergelab import cli, methods
from mergelab.methods.handbook import handbook, markdown, page, refreshed, source

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_table_of_the_readme_is_fresh() -> None:
    text = README.read_text(encoding="utf-8")
    assert refreshed(text) == text, "stale: run python -m mergelab.methods.handbook README.md"


def test_each_method_has_a_row_that_says_what_it_declares() -> None:
    rows = {str(row[0]): row[1:] for row in handbook().rows}
    assert tuple(rows) == methods.names()
    assert rows["slerp"][:3] == ("needed", "1", "t")
    assert rows["linear"][:3] == ("none", "1 or more", "weight*, normalize = true")
    assert rows["knots"][2] == "weight* = 1, density* = 1, lambda = 1"
    assert rows["lines"][2] == "weight* = 1, alpha = of its own, beta = of its own"
    assert "int8_mask" not in rows["ties"][2]
    assert rows["iso_c"][3:] == (
        "Sum the task vectors and make every direction of the sum equally strong.",
        "arXiv:2502.04959",
    )
    assert (source(methods.get("slerp")), source(methods.get("passthrough"))) == ("SIGGRAPH 1985", "")


def test_the_markdown_is_one_table() -> None:
    lines = markdown().splitlines()[1:-1]
    assert len(lines) == len(methods.names()) + 2
    assert {line.count(" | ") for line in lines if "---" not in line} == {5}


@pytest.mark.parametrize("name", methods.names())
def test_a_page_tells_all(name: str) -> None:
    method, text = methods.get(name), page(methods.get(name))
    assert method.summary in text
    assert all(parameter.doc in text for parameter in method.parameters.values())
    assert "Args:" not in text


def test_a_readme_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="once each"):
        refreshed("# README")


def test_the_command_line_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()[2:]] == list(methods.names())
    assert cli.main(["methods", "tsv_merge"]) == 0
    assert capsys.readouterr().out.startswith("tsv_merge\n\nTSV-Merge: keep each task's strongest")
    assert cli.main(["methods", "tsv_merg"]) == 2
    assert "Did you mean 'tsv_merge'" in capsys.readouterr().err
