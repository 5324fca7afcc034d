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
