"""A stage for the workbench: the real widget in a real page, its geometry, and what a hand does there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Locator, expect

import mergelab as ml
from mergelab import sample
from mergelab.views.workbench import Workbench
from tests.browser.harness import Host, hosting

if TYPE_CHECKING:
    from tests.browser.conftest import Watched

Point = tuple[float, float]

expect.set_options(timeout=20_000)

# Geometry of the page, px: lib/scale.js, lib/stack_picture.js, lib/sources_view.js, lib/curve_row.js.
GUTTER = 54
TOP, TALL = 44, 112  # of the blocks
HEAD, ROW, WIDE, GAP = 38, 22, 190, 4  # of the sources
CURVE_TOP, CURVE_TALL = 9, 62


class Stage:
    """A page with workbenches on it."""

    def __init__(self, watched: Watched, host: Host) -> None:
        self.watched, self.page, self.host = watched, watched.page, host
        self.widgets: list[Workbench] = []
        self.page.set_viewport_size({"width": 1204, "height": 1400})  # nothing has to be scrolled to

    def make(self, *names: str, scorers: Any = (), **options: Any) -> Workbench:
        """A workbench of members of the family, shown alone on a new page. Nothing is scored unless said."""
        members = map(sample.path, names or ("base", "reverse", "pirate"))
        return self.put(Workbench(*members, scorers=scorers, **options))

    def put(self, widget: Workbench) -> Workbench:
        """A workbench of the test's own on a new page."""
        self.widgets.append(widget)
        self.host.add("bench", widget)
        self.load()
        return widget

    def load(self) -> None:
        """The page anew, as after F5: the kernel and the widget go on."""
        self.page.goto(self.host.address)
        self.page.wait_for_function("window.ready")
        self.show()

    def show(self) -> None:
        """One more view."""
        self.page.evaluate("show('bench')")

    @property
    def root(self) -> Locator:
        return self.page.locator(".ml-root").first

    @property
    def stack(self) -> Locator:
        return self.root.locator(".ml-stack")

    def exact(self) -> None:
        """Until the screen shows the answer to what the hand did last."""
        # What a key does is drawn in the next frame; until then the screen still says "exact" of the state before.
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        expect(self.root).to_have_attribute("data-state", "exact")

    def heard(self) -> None:
        """Until Python has taken what the page has sent."""
        self.page.wait_for_function("!models.bench.flying && !Object.keys(models.bench.dirty).length")

    def button(self, name: str) -> Locator:
        """A button by its whole name."""
        return self.root.get_by_role("button", name=name, exact=True)

    def table(self) -> list[str]:
        """The next-token table of the merged model, and how far it is from each source: what is on screen."""
        return self.root.locator(".ml-tokens :is(tbody .ml-first, tfoot td)").all_inner_texts()

    def title(self, words: str) -> None:
        """Until the title is this."""
        expect(self.root.locator(".ml-title")).to_have_text(words)

    # -- where things are ----------------------------------------------------------------------------------------

    def column(self) -> float:
        """Width of an output layer."""
        return (box(self.stack)["width"] - GUTTER) / self.root.locator(".ml-stack [role=option]").count()

    def layer(self, at: float, share: float = 0.25) -> Point:
        """A place over an output layer, ``share`` of the way down its block; ``at`` x.5 is the border after x."""
        place = box(self.stack)
        return place["x"] + GUTTER + (at + 0.5) * self.column(), place["y"] + TOP + share * TALL

    def head(self, at: int) -> Point:
        """The head of the slice over an output layer."""
        x, _ = self.layer(at)
        return x, box(self.stack)["y"] + 28

    def source(self, source: int, layer: int) -> Point:
        """A layer of a source."""
        plot = self.root.locator(".ml-source-plot")
        place = box(plot)
        count = self.page.evaluate("window.models.bench.get('_sources').length")
        wide = min(56, (WIDE - GAP * (count - 1)) / count)
        return place["x"] + source * (wide + GAP) + wide / 2, place["y"] + HEAD + (layer + 0.5) * ROW

    def row(self, name: str) -> Locator:
        """A row of curves, such as "weight of pirate"."""
        return self.root.get_by_role("slider", name=name, exact=True)

    def curve(self, name: str, layer: int, share: float) -> Point:
        """Where a row's curve is ``share`` of its dial high."""
        place = box(self.row(name))
        x = place["x"] + GUTTER + (layer + 0.5) * self.column()
        return x, place["y"] + CURVE_TOP + (1 - share) * CURVE_TALL

    # -- what a hand does ----------------------------------------------------------------------------------------

    def drag(self, start: Point, *way: Point, steps: int = 6, key: str = "") -> None:
        """Press, move along the way, let go; with a key held if one is named."""
        mouse = self.page.mouse
        mouse.move(*start)
        if key:
            self.page.keyboard.down(key)
        mouse.down()
        for place in way:
            mouse.move(*place, steps=steps)
        mouse.up()
        if key:
            self.page.keyboard.up(key)

    def select(self, first: int, last: int) -> None:
        """Output layers, by a drag over them."""
        self.drag(self.layer(first), self.layer(last))

    def pick(self, source: int, first: int, last: int) -> None:
        """A run of a source's layers, by a drag over them."""
        self.drag(self.source(source, first), self.source(source, last))

    def bring(self, source: int, first: int, last: int, to: Point) -> None:
        """A run of a source's layers into the stack, in one drag: along the column, out of it sideways, and there."""
        x, y = self.source(source, last)
        self.drag(self.source(source, first), (x, y), (x + 2 * WIDE, y), to)

    def press(self, *keys: str) -> None:
        """Keys, one after the other; ``"ArrowDown*3"``: three times."""
        for key in keys:
            name, _, times = key.partition("*")
            for _ in range(int(times or 1)):
                self.page.keyboard.press(name)

    def tab_to(self, target: Locator) -> None:
        """Tab until something has the focus."""
        for _ in range(60):
            if target.evaluate("one => one === document.activeElement"):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {target}")

    def arrow_to(self, target: Locator, key: str = "ArrowRight") -> None:
        """An arrow, inside what is one stop of Tab, until something has the focus."""
        for _ in range(30):
            if target.evaluate("one => one === document.activeElement"):
                return
            self.page.keyboard.press(key)
        raise AssertionError(f"{key} does not lead to {target}")


def box(target: Locator) -> dict[str, float]:
    """Where an element lies on the page."""
    found = target.bounding_box()
    assert found is not None
    return {"x": found["x"], "y": found["y"], "width": found["width"], "height": found["height"]}


def middle(target: Locator) -> Point:
    """The middle of an element."""
    place = box(target)
    return place["x"] + place["width"] / 2, place["y"] + place["height"] / 2


@contextmanager
def staged(watched: Watched) -> Iterator[Stage]:
    """A stage; afterwards nothing may have gone wrong on it, left the machine, or stayed alive."""
    before = threading.enumerate()
    with hosting() as host:
        made = Stage(watched, host)
        yield made
        for widget in made.widgets:
            widget.close()
    known = [*before, *(thread for thread in threading.enumerate() if thread.name == "mergelab-trial")]
    alive = [thread.name for thread in threading.enumerate() if thread not in known]
    for what, found in (("errors", made.watched.errors), ("requests", made.watched.strays), ("threads", alive)):
        assert not found, f"{what}: {found}"


def makes(recipe: ml.Recipe) -> tuple[str, tuple[object, ...]]:
    """What a plan makes of a recipe, however that is written: whose config, and every tensor with its parts."""
    planned = ml.plan(recipe)
    return planned.donor.source.path, planned.steps


def answered(stage: Stage, widget: Workbench, recipe: ml.Recipe) -> None:
    """The recipe at hand makes what ``recipe`` makes, the answer is of it, and the screen shows that answer."""
    stage.exact()
    assert makes(widget.recipe) == makes(recipe)
    answer = widget.answer
    assert answer is not None
    assert (answer["recipe"], answer["made"]) == (widget.recipe.fingerprint, widget.sketch)
    assert answer["candidates"]
    rows = [percent(row["probabilities"][0]) for row in answer["candidates"]]
    assert stage.table()[: len(rows)] == rows
    expect(stage.root.locator(".ml-top .ml-fingerprint")).to_have_text(widget.recipe.fingerprint)


def percent(value: float) -> str:
    """A probability as the table writes it: lib/figures.js."""
    whole, tenths, small = 9.95, 0.05, 100 * value
    return f"{small:.0f}" if small >= whole else f"{small:.1f}" if small >= tenths else "<0.1" if small else "0"
