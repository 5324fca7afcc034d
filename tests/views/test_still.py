"""What a saved notebook shows: no script, no address, nothing from outside as markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

from mergelab import sample
from mergelab.views.dials import Guest
from mergelab.views.still import still
from mergelab.views.workbench import Workbench
from mergelab.weights import open_checkpoint
from tests.views.stand_in import StandIn

EVIL = "<img src=x onerror=alert(1)>\"'&</td></svg>"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def _read(text: str) -> _Tags:
    reader = _Tags()
    reader.feed(text)
    return reader


def test_the_bundle_of_a_cell_has_a_picture_without_scripts() -> None:
    made: list[StandIn] = []

    def make(*given: object) -> StandIn:
        made.append(StandIn(*given))  # type: ignore[arg-type]
        return made[0]

    bench = Workbench(sample.path("base"), sample.path("reverse"), sample.path("pirate"), preview=make)
    made[0].answer(token=EVIL, text=EVIL)
    bench.prompt = EVIL
    bundle = bench._repr_mimebundle_()
    bench.close()
    assert bundle is not None
    data, _ = bundle
    assert set(data) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert data["text/plain"] == "<Workbench of base, reverse, pirate: 10 layers in 3 slices, linear>"
    picture = _read(data["text/html"])
    assert re.search("recipe <code>[0-9a-f]{8}</code>", data["text/html"])
    assert not {"script", "img", "iframe", "link", "object"} & set(picture.tags)
    assert not [name for name in picture.attributes if name.startswith("on") or name in ("src", "href")]
    assert len(data["text/html"].encode()) < 50_000


def test_the_picture_is_well_formed_and_drawn_to_the_coefficient() -> None:
    guests = [
        Guest(EVIL, "A&", open_checkpoint(sample.path("base"))),
        Guest("b", "Bb", open_checkpoint(sample.path("pirate"))),
    ]
    text = still(guests, [[1, 0, 2], [0, 2, 3]], [0.25, 1.0, 0.0], "linear", EVIL, None)
    tree = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    boxes = [(box.get("class"), round(float(box.get("height") or 0))) for box in tree.iter(f"{space}rect")]
    assert boxes == [("s0", 62), ("s1", 20), ("s1", 83), ("s0", 83)]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


SPACE = "{http://www.w3.org/2000/svg}"


def _drawn(method: str) -> ET.Element:
    """A stack of twelve layers of ten-layer models, every coefficient another, with an answer."""
    guests = [
        Guest(name, code, open_checkpoint(sample.path(name)))
        for name, code in (("base", "Ba"), ("reverse", "Re"), ("pirate", "Pi"))
    ]
    answer = {
        "recipe": "3f2a9c01",
        "candidates": [
            {"token": " b", "probabilities": [0.5, 0.25, None, 0.125]},
            {"token": "\n", "probabilities": [0.375, 0.0004, 0.751, 1.0]},
        ],
        "texts": [" b d", " once <more>", None, " arr"],
    }
    return ET.fromstring(still(guests, STACK, CURVE, method, "sort: d b", answer))


STACK = [[1, 0, 7], [2, 2, 7]]
CURVE = [1.0, 0.0, 0.5, 0.25, 0.75, 1.0, 0.5, 0.0, 0.5, 1.0, 0.25, 0.75]


def _rows(tree: ET.Element) -> list[list[list[str]]]:
    return [[["".join(cell.itertext()) for cell in row] for row in table.iter("tr")] for table in tree.iter("table")]


def test_the_tables_can_be_read_back() -> None:
    tree = _drawn("linear")
    assert _rows(tree) == [
        [
            ["next token", "merged", "base", "reverse", "pirate"],
            ["' b'", "50.0%", "25.0%", "–", "12.5%"],
            ["'\\n'", "37.5%", "0.0%", "75.1%", "100.0%"],
        ],
        [["", "writes"], ["merged", " b d"], ["base", " once <more>"], ["reverse", ""], ["pirate", " arr"]],
    ]
    dashes = [cell for cell in tree.iter("td") if cell.text == "–"]
    assert [(cell.get("title"), cell.get("aria-label")) for cell in dashes] == [("not in its vocabulary",) * 2]
    words = "".join(tree.itertext())
    assert "sort: d b" in words
    assert "recipe 3f2a9c01" in words


def _shares(tree: ET.Element) -> list[dict[str, float]]:
    """For each output layer the part of its column that each source has, from the boxes as they are drawn."""
    found: dict[float, dict[str, float]] = {}
    for box in tree.iter(f"{SPACE}rect"):
        # A box is drawn 1 px lower than its part of the 84.
        tall = float(box.get("height") or 0) + 1
        found.setdefault(float(box.get("x") or 0), {})[box.get("class") or ""] = round(tall / 84, 2)
    return [found[x] for x in sorted(found)]


def _heights(tree: ET.Element) -> list[list[float]]:
    """The curve of each slice, read from its line."""
    lines = [line.get("points", "").split() for line in tree.iter(f"{SPACE}polyline")]
    return [[round(1 - (float(point.split(",")[1]) - 118) / 64, 2) for point in line] for line in lines]


def test_the_shares_of_a_deep_stack_can_be_read_back() -> None:
    tree = _drawn("linear")
    own = ["s1"] * 7 + ["s2"] * 5
    expected = [
        {source: share for source, share in (("s0", 1 - curve), (name, curve)) if share}
        for name, curve in zip(own, CURVE, strict=True)
    ]
    assert _shares(tree) == expected
    assert _heights(tree) == [CURVE[:7], CURVE[7:]]
    (picture,) = tree.iter(f"{SPACE}svg")
    assert picture.get("aria-label") == "12 output layers: reverse 0 to 6, pirate 2 to 6. Method linear."
    numbers = [text.text for text in tree.iter(f"{SPACE}text") if text.get("y") == "104" and text.text != "output"]
    assert numbers == [str(index) for index in range(12)]


def test_passthrough_draws_every_layer_whole() -> None:
    tree = _drawn("passthrough")
    assert _shares(tree) == [{"s1": 1.0}] * 7 + [{"s2": 1.0}] * 5
    assert _heights(tree) == [[1.0] * 7, [1.0] * 5]
    labels = [text.text for text in tree.iter(f"{SPACE}text") if (text.get("class") or "").startswith("t")]
    assert labels == [*(f"Re {home}" for home in range(7)), *(f"Pi {home}" for home in range(2, 7))]


def test_the_curve_says_what_it_is() -> None:
    for method, name in (("linear", "share"), ("ties", "density")):
        words = [text.text for text in _drawn(method).iter(f"{SPACE}text")]
        assert name in words
        assert ("share" in words) == (method == "linear")
