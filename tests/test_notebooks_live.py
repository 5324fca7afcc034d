"""What lessons 3 and 4 say in words about the figures above, held against those figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mergelab.models.comparison import chance
from tests.lessons import LESSONS, complaints, dict_of, executed, is_widget, rows_of, shown_by, text_of


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS[2:4], ids=lambda path: path.stem)
def test_a_lesson_runs_without_complaints(path: Path) -> None:
    assert complaints(path) == ""


@pytest.mark.slow
def test_the_third_lesson_shows_what_it_promises() -> None:
    """Counts and bytes, which do not differ between machines, and what it says in words about its figures."""
    lesson = executed(LESSONS[2])
    text = text_of(lesson)
    shown = shown_by(lesson)
    assert any(map(is_widget, shown)), "a workbench"
    assert re.search(r"^recipe [0-9a-f]{8}: 92 of 92 tensors computed; it writes 69$", text, re.MULTILINE)
    assert re.search(r"^layer 4 +9 of 92 +0 ", text, re.MULTILINE)
    assert "92 of 92 tensors are equal to a fresh assembly's" in text
    costs = {int(row[0]): int(row[1]) for row in rows_of(text, "layers turned")}
    assert costs == {1: 9, 2: 18, 4: 36, 6: 54, 8: 72, 10: 92}
    [chart] = [data["application/vnd.plotly.v1+json"] for data in shown if "application/vnd.plotly.v1+json" in data]
    assert chart["data"][0]["x"] == list(costs)
    assert chart["layout"]["xaxis"]["title"]["text"] == "layers turned, of 10"
    assert "milliseconds" in chart["layout"]["yaxis"]["title"]["text"]
    assert re.search(r"^and back +0 of 92 +92 +0 bytes +0 bytes ", text, re.MULTILINE)
    assert [row[1:] for row in rows_of(text, "strength turned")] == [
        ["0", "10 of 10"], ["3", "7 of 10"], ["6", "4 of 10"], ["9", "1 of 10"],
    ]  # fmt: skip
    assert "the last thing heard, Done, belongs to question 200 of 200" in text
    moved = [line for line in text.splitlines() if line.startswith(("graft of", "pirate, 6-7"))]
    assert len(moved) == 6
    assert all(re.search(r" 0 of \d+ +\d+ +0 bytes +0 bytes ", line) for line in moved)
    whole, strange, without = (float(row[1]) for row in rows_of(text, "stack "))
    assert whole < without < strange, "worse than leaving the layers out"
    refused = text.split("stories, nats per token")[1]
    assert "norm epsilon: 1e-06 against 1e-05\n    rope theta: 50,000 against 10,000" in refused
    assert "feed-forward size: 160" not in refused, "that could be widened"
    assert "feed-forward size: 96 against 128" in refused
    apart = re.search(r"ahoy me matey be in the cabin \| largest difference of a logit: (\S+)", text)
    assert apart
    assert float(apart[1]) < 1e-4
    votes = {row[0]: int(row[1]) for row in rows_of(text, "variant ")}
    assert votes == {"first": 0, "strong": 7}
    assert "p = 0.0156" in text
    assert chance([5, 0]) == pytest.approx(0.06, abs=0.003)
    losses = re.search(r"loss on '62', nats a token +([\d.]+) +([\d.]+)", text)
    assert losses
    assert float(losses[1]) > 5 > 0.1 > float(losses[2]), "only the strong one expects the right sum"
    assert [(row[0], *row[-2:]) for row in rows_of(text, "after ")] == [
        ("two variants", "3.23 MB", "0 bytes"),
        ("keep and switch", "3.23 MB", "0 bytes"),
        ("turn to 0.5", "3.38 MB", "0 bytes"),
        ("turn to 0.2", "3.38 MB", "148 kB"),
        ("undo", "3.38 MB", "148 kB"),
        ("redo", "3.38 MB", "148 kB"),
    ]
    assert len(re.findall(r"^(?:undo|redo) +0 of 92 ", text, re.MULTILINE)) == 2
    assert text.endswith("closed: 0 bytes\n")


@pytest.mark.slow
def test_the_exercises_of_the_third_lesson_can_be_done_and_show_what_they_ask_for() -> None:
    text = text_of(executed(LESSONS[2]))
    _, strength, density = text.split("layers turned")
    assert {row[1] for row in rows_of(f"layers turned{density}", "layers turned")} == {"92"}, "it has no depth"
    assert {row[1] for row in rows_of(f"layers turned{strength}", "layers turned")} == {
        "9",
        "18",
        "36",
        "54",
        "72",
        "92",
    }
    assert re.search(r"^upscaled +0 of 146 +\d+ +0 bytes +0 bytes ", text, re.MULTILINE)
    scores = {
        (row[0], place): (float(row[1].removesuffix(" %")), float(row[2].removesuffix(" nats")))
        for place, part in enumerate(text.split("pirate's layers 4-7")[1:])
        for row in rows_of(f"pirate's layers 4-7{part}", "pirate's layers 4-7")
    }
    assert scores["thin", 0] == pytest.approx((100, 0), abs=0.01), "96 of 128 units are enough"
    assert scores["thin", 1][0] < 95, "16 are not quite"
    assert scores["thin", 1][1] > 0.02
    assert scores["left out", 0] == scores["left out", 1]
    assert scores["left out", 0][0] == 0
    assert text.count(" ahoy me matey be in the cabin | largest difference") == 2, "and one answer does not tell"


@pytest.mark.slow
def test_the_fourth_lesson_shows_what_it_promises() -> None:
    """What it says in words about the figures above them."""
    text = text_of(lesson := executed(LESSONS[3]))
    shown = shown_by(lesson)
    html = [data.get("text/html", "") for data in shown]
    assert any("widget-view+json" in kind for data in shown for kind in data)
    cosines = {title: dict_of(text, title)["median"] for title in ("pirate against base", "stranger against base")}
    assert min(cosines["pirate against base"]) > 0.9
    assert max(map(abs, cosines["stranger against base"])) < 0.15
    drifts = [max(max(row) for row in dict_of(text, f"Norm drift, {name}").values()) for name in ("pirate", "stranger")]
    assert drifts[1] > 10 * drifts[0]
    conflicts = dict_of(text, "Sign conflict, pirate with arithmetic, density 1 ")
    assert all(0.85 < value < 1.1 for name, row in conflicts.items() if "norm" not in name for value in row)
    assert any("stranger 3" in one and "Another basis" in one for one in html)
    assert any("put in its place" in one for one in html)
