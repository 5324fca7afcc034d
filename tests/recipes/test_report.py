"""A report reads well in 100 columns, keeps every figure, and never becomes HTML by what a model says."""

from __future__ import annotations

import pytest

from mergelab.columns import Table
from mergelab.recipes.report import REFUSED, Finding, Report, graded

SOURCES = Table(("model", "layers"), (("a", 4), ("b", 5)))


def report(*findings: Finding, merged: tuple[str, ...] = ()) -> Report:
    return Report(graded(findings), SOURCES, merged)


def error(what: str = "width", about: str = "b does not fit a", *, one_config: bool = False) -> Finding:
    return Finding("error", about, what, "12 against 8", "Leave them out.", one_config)


NOTE = Finding("note", "a", "licence", "none stated", "Ask.")
WARNING = Finding("warning", "b beside a", "tokens", "3 of 9", "Align them.")


def test_without_errors_it_works() -> None:
    found = report(NOTE, WARNING, merged=("Small.",))
    assert found.works
    assert found.verdict == "This will load and run."
    assert found.errors == ()
    assert str(found) == (
        "This will load and run.\n\nmodel  layers\n-----  ------\na      4\nb      5\n\nSmall.\n\n"
        "warning  b beside a\n         tokens  3 of 9\n         -> Align them.\n\n"
        "note     a\n         licence  none stated\n         -> Ask."
    )


def test_each_finding_is_said_once_worst_first_and_by_model() -> None:
    found = report(
        NOTE, error(), WARNING, error("head size"), error("depth", "c does not fit a"), error(), error("rope")
    )
    assert [(one.grade, one.what) for one in found.findings] == [
        ("error", "width"), ("error", "head size"), ("error", "rope"), ("error", "depth"),
        ("warning", "tokens"), ("note", "licence"),
    ]  # fmt: skip
    assert str(found).count("b does not fit a") == 1
    assert str(found).count("Leave them out.") == 2, "once for each pair of models"


@pytest.mark.parametrize(
    ("whats", "one_config", "said"),
    [
        (["width"], False, "This cannot work. In the way: width."),
        (["width", "head size"], False, "This cannot work. In the way: width and head size."),
        (["rope theta"], True, "This runs here, but no standard config can hold it. Its layers differ in rope theta; "
            "a config states this once for all layers."),
        (["rope theta", "head size", "norm epsilon"], True, "This runs here, but no standard config can hold it. Its "
            "layers differ in rope theta, head size and norm epsilon; a config states each of these once for all "
            "layers."),
    ],
)  # fmt: skip
def test_the_verdict_names_what_stands_in_the_way(whats: list[str], one_config: bool, said: str) -> None:
    found = report(*(error(what, one_config=one_config) for what in whats), WARNING)
    assert not found.works
    assert found.runs is one_config
    assert found.verdict == said


def test_a_problem_in_its_own_words_stands_in_the_way_in_these() -> None:
    first, *others = (Finding("error", where, REFUSED, "filter 'x' matches no tensor", "") for where in "pqr")
    said = "This cannot work. In the way: p (filter 'x' matches no tensor)"
    assert report(first).verdict == f"{said}."
    assert report(first, others[0]).verdict == f"{said} and q (filter 'x' matches no tensor)."
    assert report(first, *others).verdict == f"{said} and 2 problems more."
    assert report(error(), first).verdict == "This cannot work. In the way: width and p (filter 'x' matches no tensor)."


def test_one_error_of_another_kind_makes_it_plainly_impossible() -> None:
    assert report(error("rope theta", one_config=True), error()).verdict.startswith(
        "This cannot work. In the way: rope"
    )


def test_lines_fit_100_columns_and_lose_nothing() -> None:
    long = Finding("warning", "b beside a", "tokens", "word " * 60, "Do this and that. " * 12)
    text = str(report(long, merged=("Much to say. " * 20,)))
    assert max(map(len, text.splitlines())) <= 100
    assert (text.count("word"), text.count("that."), text.count("Much")) == (60, 12, 20)


def test_in_a_notebook_every_word_is_escaped() -> None:
    bad = "<script>alert('x')</script>"
    shown = Report(
        graded([Finding("error", bad, bad, bad, bad)]), Table((bad,), ((bad,),)), (bad,)
    )._repr_html_()  # fmt: skip
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") == 8


def test_the_table_of_findings_leaves_out_what_stands_above() -> None:
    rows = report(error(), error("head size"), NOTE).table().rows
    assert rows == (
        ("error", "b does not fit a", "width", "12 against 8", "Leave them out."),
        ("", "", "head size", "12 against 8", ""),
        ("note", "a", "licence", "none stated", "Ask."),
    )


def test_in_a_console_it_is_one_line() -> None:
    assert repr(report(NOTE, WARNING)) == "<Report: This will load and run, 1 warning, 1 note>"
    assert repr(report(error(), error("depth"))) == "<Report: This cannot work, 2 errors>"
