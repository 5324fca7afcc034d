"""The workbench under a real pointer and a real keyboard, with the real models of the sample family behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from mergelab import sample
from mergelab.views.workbench import Workbench
from tests.browser.conftest import Watched
from tests.browser.harness import Host, hosting
from tests.views.stand_in import StandIn

GRAFT = [[1, 0, 3], [2, 3, 7], [1, 7, 10]]
EVIL = "<img src=x onerror=\"document.title='broken in'\">"


class Stage:
    """A page with widgets on it. Afterwards nothing may have gone wrong, left the machine, or stayed alive."""

    def __init__(self, watched: Watched, host: Host) -> None:
        self.watched, self.page, self.host = watched, watched.page, host
        self.widgets: list[Workbench] = []

    def make(self, *names: str, **options: Any) -> Workbench:
        """A workbench of members of the family, shown."""
        widget = Workbench(*(sample.path(name) for name in names or ("base", "reverse", "pirate")), **options)
        widget.blocks = GRAFT
        self.widgets.append(widget)
        self.host.add("bench", widget)
        self.page.goto(self.host.address)
        self.page.wait_for_function("window.ready")
        self.show()
        return widget

    def show(self) -> None:
        self.page.evaluate("show('bench')")

    @property
    def root(self) -> Locator:
        return self.page.locator(".ml-root").first


@pytest.fixture
def stage(watched: Watched) -> Iterator[Stage]:
    before = threading.active_count()
    with hosting() as host:
        made = Stage(watched, host)
        yield made
        for widget in made.widgets:
            widget.close()
    assert made.watched.errors == []
    assert made.watched.strays == []
    assert threading.active_count() == before


def exact(stage: Stage) -> None:
    """Until the screen shows the answer to what the hand did last."""
    # What a key does is drawn in the next frame; until then the screen still says "exact" of the state before.
    stage.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(stage.root).to_have_attribute("data-state", "exact")


def drag(page: Page, start: tuple[float, float], end: tuple[float, float], steps: int = 12) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=steps)
    page.mouse.up()


def middle(target: Locator) -> tuple[float, float]:
    box = target.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def point(stage: Stage, layer: int, share: float) -> tuple[float, float]:
    """Where the curve is ``share`` high at an output layer: geometry of widgets/src/lib/scale.js and curve_view.js."""
    box = stage.root.locator(".ml-curve").bounding_box()
    assert box is not None
    column = (box["width"] - 54) / 10
    return box["x"] + 54 + (layer + 0.5) * column, box["y"] + 14 + (1 - share) * 132


def shares(stage: Stage) -> list[str]:
    """The next-token table, and how far the merged model is from each source: what is on screen."""
    return stage.root.locator(".ml-tokens :is(tbody .ml-first, tfoot td)").all_inner_texts()


def test_a_point_of_the_curve_under_the_pointer(stage: Stage) -> None:
    widget = stage.make()
    exact(stage)
    first = shares(stage)
    drag(stage.page, point(stage, 4, 1.0), point(stage, 4, 0.25))
    exact(stage)
    assert widget.coefficient == [1, 1, 1, 1, pytest.approx(0.25, abs=0.02), 1, 1, 1, 1, 1]
    assert shares(stage) != first
    assert widget.answer is not None
    assert widget.answer["made"]["coefficient"] == widget.coefficient


def test_every_answer_names_its_recipe(stage: Stage) -> None:
    widget = stage.make()
    exact(stage)
    line = stage.root.get_by_title("SHA-256 of the recipe's YAML, first 8 digits")
    first = widget.recipe.fingerprint
    expect(line).to_have_text(f"recipe {first}")
    border = stage.root.locator(".ml-border").first
    drag(stage.page, middle(border), (point(stage, 4, 0)[0], middle(border)[1]))
    exact(stage)
    assert widget.recipe.fingerprint != first
    expect(line).to_have_text(f"recipe {widget.recipe.fingerprint}")
    drag(stage.page, middle(border), (point(stage, 2, 0)[0], middle(border)[1]))
    exact(stage)
    assert widget.blocks == GRAFT
    expect(line).to_have_text(f"recipe {first}")


def test_edits_of_a_paused_cell_are_drawn_at_once_and_asked_once(stage: Stage) -> None:
    made: list[StandIn] = []

    def make(*given: Any) -> StandIn:
        made.append(StandIn(*given))
        return made[0]

    widget = stage.make(preview=make)
    (preview,) = made
    preview.answer()
    exact(stage)
    asked = len(preview.asked)
    with widget.paused():
        widget.blocks = [[1, 0, 5], [2, 5, 10]]
        for step in range(10):
            widget.coefficient = step / 10
        expect(stage.root.locator(".ml-border")).to_have_count(1)
        expect(stage.root.locator(".ml-value")).to_have_text("0.90")
        widget.method = "slerp"
        assert len(preview.asked) == asked
    assert preview.asked[asked:] == [(widget.recipe, widget.prompt)]
    preview.answer(token=" dog")
    expect(stage.root.locator(".ml-token").first).to_contain_text("dog")
    line = stage.root.get_by_title("SHA-256 of the recipe's YAML, first 8 digits")
    expect(line).to_have_text(f"recipe {widget.recipe.fingerprint}")


def test_a_slice_border_under_the_pointer(stage: Stage) -> None:
    widget = stage.make()
    exact(stage)
    first = shares(stage)
    border = stage.root.locator(".ml-border").first
    x, y = middle(border)
    target = stage.root.locator(".ml-border").nth(1).bounding_box()
    assert target is not None
    column = (target["x"] + 8 - x) / 4
    drag(stage.page, (x, y), (x - 2.1 * column, y + 3))
    exact(stage)
    assert widget.blocks == [[1, 0, 1], [2, 1, 7], [1, 7, 10]]
    expect(stage.root.locator(".ml-title")).to_have_text("pirate with reverse 0, reverse 7–9")
    assert shares(stage) != first


def test_the_dial_under_the_pointer(stage: Stage) -> None:
    widget = stage.make()
    exact(stage)
    dial = stage.root.locator(".ml-range")
    box = dial.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    drag(stage.page, (box["x"] + box["width"] - 8, y), (box["x"] + box["width"] / 2, y))
    exact(stage)
    assert widget.coefficient == [pytest.approx(0.5, abs=0.05)] * 10


def test_a_flood_of_moves_ends_in_the_last(stage: Stage) -> None:
    widget = stage.make()
    exact(stage)
    asked: list[Any] = []
    widget.observe(asked.append, names=["coefficient"])
    stage.page.mouse.move(*point(stage, 4, 1.0))
    stage.page.mouse.down()
    (x, top), (_, bottom) = point(stage, 4, 1.0), point(stage, 4, 0.0)
    # Faster than any hand: three hundred moves of the same pointer, ten at a time.
    stage.page.evaluate(
        """async ([x, top, bottom]) => {
          const plot = document.querySelector(".ml-curve");
          for (let i = 0; i < 300; i += 1) {
            const clientY = top + (bottom - top) * (0.5 + 0.5 * Math.sin(i / 7));
            plot.dispatchEvent(new PointerEvent("pointermove", { pointerId: 1, bubbles: true, clientX: x, clientY }));
            if (i % 10 === 0) await new Promise((done) => setTimeout(done, 10));
          }
        }""",
        [x, top, bottom],
    )
    stage.page.mouse.move(*point(stage, 4, 0.4))
    stage.page.mouse.up()
    exact(stage)
    assert widget.coefficient[4] == pytest.approx(0.4, abs=0.02)
    assert widget.answer is not None
    assert widget.answer["made"]["coefficient"] == widget.coefficient
    assert 3 < len(asked) < 100, "moves are coalesced"


def test_everything_from_the_keyboard(stage: Stage) -> None:
    widget = stage.make()
    exact(stage)
    stage.root.locator(".ml-stack").focus()
    keys = stage.page.keyboard
    keys.press("ArrowUp")
    exact(stage)
    assert widget.blocks[1] == [1, 3, 7]
    keys.press("ArrowDown")
    keys.press("Space")
    keys.press("ArrowRight")
    keys.press("Enter")
    exact(stage)
    assert widget.blocks == [[1, 0, 4], [2, 4, 7], [1, 7, 10]]
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    keys.press("s")
    exact(stage)
    assert len(widget.blocks) == 4
    keys.press("Delete")
    exact(stage)
    assert len(widget.blocks) == 3
    stage.root.locator(".ml-curve").focus()
    keys.press("Shift+ArrowDown")
    exact(stage)
    assert min(widget.coefficient) == 0.9
    keys.press("m")
    expect(stage.root.locator(".ml-select")).to_be_focused()
    stage.root.locator(".ml-select").select_option("slerp")
    exact(stage)
    assert widget.method == "slerp"


def test_the_stop_button_stops_and_the_next_edit_asks_again(stage: Stage) -> None:
    made: list[StandIn] = []

    def make(*given: Any) -> StandIn:
        made.append(StandIn(*given))
        return made[0]

    widget = stage.make(preview=make)
    (preview,) = made
    stage.root.get_by_role("button", name="Stop").click()
    expect(stage.root).to_have_attribute("data-state", "stopped")
    assert (preview.stops, widget.status) == (1, "stopped")
    widget.coefficient = 0.5
    preview.answer()
    exact(stage)
    expect(stage.root.get_by_role("button", name="Stop")).to_be_disabled()
    widget.coefficient = 0.25
    stage.root.get_by_role("button", name="Stop").click()
    expect(stage.root).to_have_attribute("data-state", "stopped")
    assert (preview.stops, widget.status) == (2, "stopped"), "also while a later answer is on its way"


def test_another_prompt_and_the_examples(stage: Stage) -> None:
    widget = stage.make()
    exact(stage)
    field = stage.root.locator(".ml-field")
    field.fill("copy dog cat :")
    field.press("Enter")
    exact(stage)
    assert widget.prompt == "copy dog cat :"
    assert widget.answer is not None
    assert widget.answer["prompt"] == "copy dog cat :"
    stage.root.locator(".ml-pick").nth(1).click()
    exact(stage)
    assert widget.prompt == sample.SKILLS["pirate"].prompts(1)[0]
    field.fill("")
    expect(stage.root).to_have_attribute("data-state", "waiting")


def test_a_layer_that_does_not_fit_is_refused_in_words(stage: Stage) -> None:
    widget = stage.make("base", "reverse", "stranger")
    alert = stage.root.get_by_role("alert")
    exact(stage)
    expect(alert).to_be_hidden()  # whole, it runs with settings of its own
    widget.coefficient = 0.5
    expect(alert).to_contain_text("128")
    expect(stage.root).to_have_attribute("data-state", "failed")
    stage.root.locator(".ml-giver").first.click()
    exact(stage)
    expect(alert).to_be_hidden()
    kept = shares(stage)
    stage.root.locator(".ml-giver").nth(2).click()
    expect(alert).to_be_visible()
    assert shares(stage) == kept, "the answer stays as it was"
    alert.get_by_role("button").click()
    exact(stage)
    assert widget.blocks[1][0] == 0


def test_text_of_models_is_never_markup(stage: Stage) -> None:
    made: list[StandIn] = []

    def make(*given: Any) -> StandIn:
        made.append(StandIn(*given))
        return made[0]

    widget = stage.make(names=[EVIL, "reverse", "pirate"], prompt=EVIL, preview=make)
    made[0].answer(token=EVIL, text=EVIL)
    exact(stage)
    widget.method = "ties"
    made[0].fail(EVIL)
    expect(stage.root.get_by_role("alert")).to_contain_text(EVIL)
    assert stage.root.locator("img").count() == 0
    assert stage.page.title() == "harness"
    expect(stage.root.locator(".ml-token")).to_contain_text("<img")


def test_two_views_agree_and_a_closed_one_is_silent(stage: Stage) -> None:
    widget = stage.make()
    stage.show()
    exact(stage)
    stage.root.locator(".ml-stack").focus()
    stage.page.keyboard.press("ArrowUp")
    exact(stage)
    views = stage.page.locator(".ml-root")
    assert views.count() == 2
    assert views.nth(0).locator(".ml-title").inner_text() == views.nth(1).locator(".ml-title").inner_text()
    widget.coefficient = 0.3
    for view in (views.nth(0), views.nth(1)):
        expect(view.locator(".ml-value")).to_have_text("0.30")
    stage.page.evaluate("window.views[0]()")
    widget.coefficient = 0.6
    expect(views.first.locator(".ml-value")).to_have_text("0.60")
    assert views.count() == 1


@pytest.mark.parametrize("wide", [1180, 800, 560])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_off_or_unreadable(stage: Stage, wide: int, theme: str) -> None:
    stage.page.set_viewport_size({"width": wide + 24, "height": 900})
    stage.make()
    stage.page.evaluate(f"document.body.dataset.jpThemeLight = '{str(theme == 'light').lower()}'")
    exact(stage)
    assert stage.page.evaluate("document.documentElement.scrollWidth") <= wide + 24
    background = stage.root.evaluate("root => getComputedStyle(root).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 29)"}[theme]
    # Words that must be whole at every width.
    cut = stage.root.evaluate(
        "root => [...root.querySelectorAll('h3, .ml-button, .ml-counts dd, .ml-detail, .ml-tokens td')]"
        ".filter((e) => e.offsetParent && e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"
    )
    assert cut == []
