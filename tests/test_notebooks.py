"""Lessons run from top to bottom; what the first two say in words is held against their figures."""

from __future__ import annotations

import math
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from mergelab.views.explain import Explain
from tests.lessons import LESSONS, code_cells, complaints, executed, is_widget, shown_by, text_of


def test_there_are_lessons() -> None:
    assert [path.stem for path in LESSONS] == [
        "01_first_graft",
        "02_methods",
        "03_feel_a_merge",
        "04_look_inside",
        "05_workbench",
        "06_from_preview_to_disk",
    ]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_stored_without_outputs(path: Path) -> None:
    for cell in code_cells(nbformat.read(path, as_version=4)):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS[:2], ids=lambda path: path.stem)
def test_a_lesson_runs_without_complaints(path: Path) -> None:
    """The others where their words are tested: a file's tests run in one process, and each lesson once."""
    assert complaints(path) == ""


@pytest.fixture
def lesson() -> NotebookNode:
    """The first one."""
    return executed(LESSONS[0])


@pytest.mark.slow
def test_the_first_lesson_shows_what_it_promises(lesson: NotebookNode) -> None:
    text = text_of(lesson)
    assert "does not fit" in text, "the stranger is refused"
    assert "live and written are equal" in text
    shown = shown_by(lesson)
    assert any(map(is_widget, shown))


@pytest.mark.slow
@pytest.mark.real
def test_the_first_lesson_merges_models_that_are_not_ours(lesson: NotebookNode, shared: Path) -> None:
    assert (shared / "models").is_dir()
    rows = [re.split(r"  +", line) for line in text_of(lesson).splitlines()]
    table = {row[0]: row[1:] for row in rows if len(row) == 4}
    graft, skip = table["graft: st-bible 1-3 in stories260K"], table["control: skip 1-3"]
    host, donor = table["stories260K"], table["st-bible"]
    stories, bible = 0, 1
    assert float(donor[bible]) < float(graft[bible]) < float(host[bible]), "it learned something of the Bible"
    assert float(host[stories]) < float(graft[stories]) < float(donor[stories]), "and kept most of the stories"
    assert float(skip[stories]) > float(donor[stories]), "leaving the layers out is worse than either parent"


@pytest.mark.slow
@pytest.mark.real
def test_nats_come_before_exact_sums(lesson: NotebookNode, shared: Path) -> None:
    """Section 9: half of the vector brings most of the nats, and hardly a right answer."""
    assert (shared / "models").is_dir()
    table = text_of(lesson).split("share of st-arith")[1]
    rows = [row for line in table.splitlines() if len(row := re.findall(r"[\d.]+", line)) == 3]
    nats, exact = ({float(row[0]): float(row[column]) for row in rows} for column in (1, 2))
    assert (nats[0.0] - nats[0.5]) / (nats[0.0] - nats[1.0]) > 0.75
    assert exact[0.5] < 10
    assert exact[1.0] - exact[0.8] > exact[0.8] - exact[0.0], "most answers come with the last fifth"


@pytest.mark.slow
def test_the_first_lesson_reads_its_figures_right(lesson: NotebookNode) -> None:
    """What sections 5 and 7 say in words about the tables above them; 7 points: the noise of a difference."""
    lines = text_of(lesson).splitlines()
    cut = lines.index(next(line for line in lines if line.startswith("coefficient on 4-5")))
    bent = {row[0]: float(row[1]) for line in lines[cut + 2 : cut + 7] if (row := re.findall(r"[\d.]+", line))}
    assert bent["0.0"] - bent["0.25"] < 7
    assert 10 < bent["0.0"] - bent["0.5"] < 20
    assert bent["0.75"] < bent["0.5"] - 20
    rows = [
        found.groups()
        for line in lines
        if (found := re.match(r"(\d-\d)  +([\d.]+) %[ #]+([\d.]+) % +([\d.]+) %", line))
    ]
    depth = {where: tuple(map(float, values)) for where, *values in rows}
    assert len(depth) == 5
    for where, (graft, plain, skip) in depth.items():
        assert (plain - graft > 7) == (where == "6-7"), "only there do the donor's layers cost more than the base's"
        assert (skip > 50) == (where == "6-7"), "the host needs these least"
        assert (graft < 20) == (where in ("0-1", "4-5"))


@pytest.mark.slow
def test_the_second_lesson_shows_what_it_promises() -> None:
    """What it says in words about the figures above, and the picture that a saved notebook keeps."""
    lesson = executed(LESSONS[1])
    text = text_of(lesson)
    shown = shown_by(lesson)
    assert any("<svg" in data.get("text/html", "") for data in shown)
    ties = re.search(r"disjoint mean: .*\n +=(.*)", text)
    assert ties, "the steps of TIES are printed"
    merged = [float(word) for word in ties.group(1).split()]
    assert merged[5] == pytest.approx((-0.7 - 0.6) / 2), "C is outvoted at place 6"
    assert merged[4] == pytest.approx(0.9), "B keeps all of place 5"
    unlearned = {
        float(row[0]): (float(row[1]), float(row[2]))
        for row in re.findall(r"(-?[\d.]+) +([\d.]+) nats +([\d.]+) nats", text)
    }
    assert unlearned[-0.5][0] > unlearned[0.0][0] + 3
    assert unlearned[0.0][0] == pytest.approx(14, abs=0.5), "the base never talked pirate"
    assert unlearned[0.0][0] > math.log(528)
    assert unlearned[-0.5][1] == pytest.approx(unlearned[0.0][1], abs=0.05)
    strengths = {
        row[0]: (float(row[1]), float(row[2])) for row in re.findall(r"^(\w+) +([\d.]+)  ([\d.]+)$", text, re.MULTILINE)
    }
    assert strengths["iso_c"][0] == strengths["iso_c"][1]
    assert strengths["task_arithmetic"][0] == pytest.approx(1.8 * strengths["task_arithmetic"][1], rel=0.02)
    alone = re.findall(r"^model [ABC] +([\d.]+)  ([\d.]+)$", text, re.MULTILINE)
    assert len(alone) == 3
    assert 1.5 < max(float(strong) / float(weak) for strong, weak in alone) < 1.6
    assert strengths["tsv_merge"][0] < max(float(strong) for strong, _ in alone)
    assert "-0.00" not in text
    assert text.count("gives that model: True") == 7
    assert "gives that model: False" not in text


def test_what_the_second_lesson_asks_to_find_is_there_and_not_at_the_start() -> None:
    """Its three exercises, in the picture that it shows; with whom each place is shared after the election."""

    def kept(widget: Explain, step: str, place: int) -> list[bool]:
        [rows] = [stage["rows"] for stage in widget._shown["stages"] if stage["name"] == step]
        return [row[place - 1] != 0 for row in rows]

    widget = Explain("ties")
    a, b, c = [True, False, False], [False, True, False], [False, False, True]
    assert kept(widget, "elect sign", 10) == c
    widget.numbers = {"density": 0.7}
    assert kept(widget, "trim", 10) == [True, False, True]
    assert kept(widget, "elect sign", 10) == c, "A is outvoted as soon as it has a say"
    widget.numbers = {"density": 0.9}
    assert kept(widget, "elect sign", 10) == [False, True, True]
    widget.numbers = {}
    assert kept(widget, "elect sign", 7) == a
    widget.numbers = {"weight": [1.0, 1.2, 1.0]}
    assert kept(widget, "elect sign", 7) == b
    widget.method = "dare_linear"
    keeps_b = []
    for seed in range(8):
        widget.seed = seed
        keeps_b.append(kept(widget, "drop", 5)[1])
    assert keeps_b == [True, True, True, False, False, False, True, True]
    widget.close()
