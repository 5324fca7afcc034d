"""What a saved notebook shows: no script, no address, nothing from outside as markup; and the figures as they are."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from mergelab import sample
from mergelab.views.faces import Faces
from mergelab.views.guests import Guest
from mergelab.views.layouts import beginning
from mergelab.views.still import still
from mergelab.weights import open_checkpoint
from tests.views.stand_in import Bench, blend, run, sketch

EVIL = "<img src=x onerror=alert(1)>\"'&</td></svg>"
SPACE = "{http://www.w3.org/2000/svg}"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def _faces(*slices: dict[str, Any], names: tuple[str, ...] = ("base", "reverse", "pirate")) -> Faces:
    members = ("base", "reverse", "pirate")
    guests = tuple(
        Guest(name, member[:2].capitalize(), open_checkpoint(sample.path(member)))
        for name, member in zip(names, members, strict=False)
    )
    faces = Faces.of(beginning(guests), guests)
    return faces.drawn(sketch(*slices)) if slices else faces


def test_the_bundle_of_a_cell_has_a_picture_without_scripts() -> None:
    bench = Bench(names=[EVIL, f"{EVIL} 2", "pirate"])
    bench.preview.answer(token=EVIL, text=EVIL)
    bench.widget.prompt = EVIL
    bench.widget.text = f"# {EVIL}\n{bench.widget.text}"
    data, _ = bench.widget._repr_mimebundle_() or ({}, {})
    bench.widget.close()
    assert set(data) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert data["text/plain"].endswith(f"pirate: 10 layers in 3 slices, {bench.widget.recipe.fingerprint}>")
    picture = _Tags()
    picture.feed(data["text/html"])
    assert re.search("recipe <code>[0-9a-f]{8}</code>", data["text/html"])
    assert not {"script", "img", "iframe", "link", "object"} & set(picture.tags)
    assert not [name for name in picture.attributes if name.startswith("on") or name in ("src", "href")]
    assert len(data["text/html"].encode()) < 50_000
    tree = ET.fromstring(data["text/html"])
    assert "".join(tree.itertext()).count(EVIL) >= 6
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", data["text/html"])


def test_names_and_unfinished_texts_are_escaped() -> None:
    faces = replace(_faces(names=(EVIL, "b", "c")).typed(f"{EVIL}: ["))
    tree = ET.fromstring(still(faces, EVIL, None, {}))
    assert EVIL in (next(tree.iter(f"{SPACE}svg")).get("aria-label") or "") or EVIL in "".join(tree.itertext())
    assert f"{EVIL}: [" in "".join(tree.itertext())


ANSWER = {
    "recipe": "3f2a9c01",
    "candidates": [
        {"token": " b", "probabilities": [0.5, 0.25, None, 0.125]},
        {"token": "\n", "probabilities": [0.0425, 0.0004, 0.751, 0.0]},
    ],
    "texts": [" b d", " once <more>", None, " arr"],
}
SCORES = {
    "recipe": "3f2a9c01",
    "rows": [
        {
            "name": "sums",
            "unit": "%",
            "value": 62.25,
            "spread": 4.0,
            "controls": [{"name": "base", "value": 0.0}, {"name": "skip", "value": None}],
        },
        {"name": "bible", "unit": "nats", "value": None, "spread": None, "controls": []},
    ],
}


SEAMS = {
    "recipe": "3f2a9c01",
    "seams": [
        {
            "at": 2,
            "below": f"{EVIL} 1",
            "above": "reverse 2",
            "norm": 1.8,
            "cosine": None,
            "sentence": "It arrives too large.",
        }
    ],
}


def _rows(tree: ET.Element) -> list[list[list[str]]]:
    return [[["".join(cell.itertext()) for cell in row] for row in table.iter("tr")] for table in tree.iter("table")]


def test_the_tables_can_be_read_back() -> None:
    faces = _faces()
    tree = ET.fromstring(still(faces, "sort: d b", ANSWER, SCORES))
    assert _rows(tree) == [
        [
            ["next token, %", "merged", "base", "reverse", "pirate"],
            ["' b'", "50", "25", "–", "13"],
            ["'\\n'", "4.3", "<0.1", "75", "0"],
        ],
        [["", "writes"], ["merged", " b d"], ["base", " once <more>"], ["reverse", ""], ["pirate", " arr"]],
        [["", "merged", "base", "skip"], ["sums (%)", "62.2 ± 4", "0", "–"]],
    ]
    dashes = [cell for cell in tree.iter("td") if cell.text == "–" and cell.get("title")]
    assert [(cell.get("title"), cell.get("aria-label")) for cell in dashes] == [("not in its vocabulary",) * 2]
    words = "".join(tree.itertext())
    assert "sort: d b" in words
    assert "recipe 3f2a9c01, an earlier one than the picture's" in words
    assert faces.text in words
    now = {"recipe": faces.recipe.fingerprint}
    assert "an earlier one" not in still(faces, "", {**ANSWER, **now}, {**SCORES, **now}, {**SEAMS, **now})


def test_what_is_of_an_earlier_recipe_is_marked_under_its_heading() -> None:
    faces = _faces()
    now = faces.recipe.fingerprint

    def headings(*, answer: str, scores: str, seams: str) -> list[str]:
        given = ({**ANSWER, "recipe": answer}, {**SCORES, "recipe": scores}, {**SEAMS, "recipe": seams})
        tree = ET.fromstring(still(faces, "", *given))
        return ["".join(one.itertext()) for one in tree if one.tag in ("h3", "h4")]

    told = headings(answer=now, scores="3f2a9c01", seams=now)
    assert told == [
        "Merge of base, reverse, pirate",
        f"Seams recipe {now}",
        "Answers",
        "Scores recipe 3f2a9c01, an earlier one than the picture's",
        "Text",
    ]
    assert headings(answer=now, scores=now, seams="3f2a9c01")[1].endswith("an earlier one than the picture's")
    unread = still(faces.typed("a: ["), "", None, {})
    assert "Text <small>cannot be read; the picture is of the last one that could</small>" in unread
    assert [heading for heading in ("Scores", "Seams") if heading in unread] == []


def test_seams_are_told_in_figures_and_words() -> None:
    tree = ET.fromstring(still(_faces(), "", None, {}, SEAMS))
    assert _rows(tree) == [
        [
            ["seam", "norm, times that at home", "cosine to home", ""],
            [f"{EVIL} 1 to reverse 2", "1.8", "–", "It arrives too large."],
        ]
    ]
    words = "".join(tree.itertext())
    assert "10 output layers: reverse 0 to 1, passthrough; pirate 2 to 3, passthrough;" in words


def test_a_source_that_joined_since_has_no_column() -> None:
    answer = {**ANSWER, "texts": ANSWER["texts"][:3], "candidates": []}
    assert _rows(ET.fromstring(still(_faces(), "", answer, {})))[1][-1][0] == "reverse"


def _shares(tree: ET.Element) -> list[dict[str, float]]:
    """For each output layer the part of its column that each source has, from the boxes as they are drawn."""
    found: dict[float, dict[str, float]] = {}
    for box in tree.iter(f"{SPACE}rect"):
        # A box is drawn 1 px lower than its part of the 84.
        tall = float(box.get("height") or 0) + 1
        found.setdefault(float(box.get("x") or 0), {})[box.get("class") or ""] = round(tall / 84, 2)
    return [found[x] for x in sorted(found)]


def test_the_stack_and_its_numbers_can_be_read_back() -> None:
    curve = [1.0, 0.0, 0.5, 0.25]
    tree = ET.fromstring(still(_faces(run(1, 0, 7), blend(2, 2, 6, curve)), "", None, {}))
    expected: list[dict[str, float]] = [{"s1": 1.0}] * 7
    expected += [{"s2": 1.0}, {"s0": 1.0}, {"s0": 0.5, "s2": 0.5}, {"s0": 0.75, "s2": 0.25}]
    assert _shares(tree) == expected
    (line,) = tree.iter(f"{SPACE}polyline")
    assert line.get("class") == "l2"
    points = [point.split(",") for point in line.get("points", "").split()]
    assert [round(1 - (float(y) - 122) / 64, 2) for _, y in points] == curve
    (picture,) = tree.iter(f"{SPACE}svg")
    assert picture.get("aria-label") == (
        "11 output layers: reverse 0 to 6, passthrough; base 2 to 5 with pirate 2 to 5, task_arithmetic."
    )
    labels = [text.text for text in tree.iter(f"{SPACE}text") if text.get("y") == "104" and text.text != "output"]
    assert labels == [str(index) for index in range(11)]
    codes = [text.text for text in tree.iter(f"{SPACE}text") if (text.get("class") or "").startswith("t")]
    assert codes[:8] == [*(f"Re {home}" for home in range(7)), "Pi 2"]


def test_what_is_taken_away_is_a_strip_under_the_others() -> None:
    tree = ET.fromstring(still(_faces(blend(1, 0, 10, [-0.5, 0.5])), "", None, {}))
    away = [box for box in tree.iter(f"{SPACE}rect") if "away" in (box.get("class") or "")]
    assert [box.get("class") for box in away] == ["s1 away"] * 5
    assert [float(box.get("y") or 0) + float(box.get("height") or 0) for box in away] == [87.0] * 5
    assert [text.text for text in tree.iter(f"{SPACE}text")].count("\u2212Re") == 5


def test_curves_of_filters_are_told_apart() -> None:
    piece = blend(1, 0, 10)
    piece["parts"][1]["numbers"]["weight"] = [["self_attn", [0.25, 0.5]], ["mlp", 0.75], [None, 0.5]]
    tree = ET.fromstring(still(_faces(piece), "", None, {}))
    assert [line.get("class") for line in tree.iter(f"{SPACE}polyline")] == ["l1", "l1 d", "l1"]
    assert "solid self_attn, dashed mlp, solid all" in "".join(tree.itertext())


@pytest.mark.parametrize("layers", [10, 100])
def test_deep_stacks_stay_small(layers: int) -> None:
    slices = [blend(1 + at % 2, 0, 10, [0, 1]) for at in range(layers // 10)]
    text = still(_faces(*slices), "", None, {})
    (picture,) = ET.fromstring(text).iter(f"{SPACE}svg")
    assert float(picture.get("width") or 0) <= 763
    assert len(text) < 60_000
