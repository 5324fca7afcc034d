"""The inspector under a real pointer and a real keyboard: what is done in the browser arrives in Python, and back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from mergelab import sample
from mergelab.views.inspector import Inspector
from tests.browser.conftest import Watched
from tests.browser.harness import hosting
from tests.views.measured import LAYERS, Taken

EVIL = "<img src=x onerror=alert(1)>"
OUTSIDE = """() => [...document.querySelectorAll(".ml-panel, .ml-side-part, .ml-strip")].flatMap((part) =>
  [...part.querySelectorAll(":not(.ml-hidden, .ml-hidden *, svg *)")].filter(
    (one) => one.getBoundingClientRect().right > part.getBoundingClientRect().right + 1).map((one) => one.textContent))
"""


@contextmanager
def looking(
    watched: Watched, *names: str, held: tuple[str, ...] = (), **options: Any
) -> Iterator[tuple[Page, Inspector, Taken]]:
    """An inspector on a page; afterwards nothing may have gone wrong or left the machine."""
    made: list[Taken] = []

    def make(*given: Any) -> Taken:
        made.append(Taken(*given, held={name: threading.Event() for name in held}))
        return made[0]

    with hosting() as host:
        widget = Inspector(*map(sample.path, names or ("base", "pirate", "sort")), measures=make, **options)
        if not held:
            assert widget.wait(10)
        host.add("look", widget)
        watched.page.goto(host.address)
        watched.page.wait_for_function("window.ready")
        watched.page.evaluate("show('look')")
        yield watched.page, widget, made[0]
        widget.close()
    assert watched.errors == []
    assert watched.strays == []


@pytest.fixture
def shown(watched: Watched) -> Iterator[tuple[Page, Inspector]]:
    with looking(watched) as (page, widget, _):
        yield page, widget


def plot(page: Page, panel: str) -> Locator:
    return page.locator(f'[data-panel="{panel}"] [role="grid"]')


def middle_of(page: Page, panel: str, layer: int) -> tuple[float, float]:
    """Where a layer of a heatmap is on the page, in its first row."""
    plot(page, panel).scroll_into_view_if_needed()
    box = plot(page, panel).locator("canvas").bounding_box()
    assert box is not None
    return box["x"] + (layer + 0.5) * box["width"] / LAYERS, box["y"] + 8


def pixels(page: Page, panel: str) -> str:
    return str(plot(page, panel).locator("canvas").evaluate("(canvas) => canvas.toDataURL()"))


def until(page: Page, true: Callable[[], bool]) -> None:
    for _ in range(200):
        if true():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it never came to that")


def test_a_brush_over_a_heatmap_selects_layers_everywhere(shown: tuple[Page, Inspector]) -> None:
    page, widget = shown
    heard: list[Any] = []
    widget.observe(lambda change: heard.append(change["new"]["layers"]), "selection")
    page.mouse.move(*middle_of(page, "conflict", 4))
    page.mouse.down()
    page.mouse.move(*middle_of(page, "conflict", 5), steps=5)
    page.mouse.move(*middle_of(page, "conflict", 6), steps=5)
    page.mouse.up()
    until(page, lambda: widget.selection == {"layers": [4, 5, 6]})
    assert all(layers == list(range(4, 4 + len(layers))) for layers in heard), "it grows under the pointer"
    side = page.get_by_label("Selected layers")
    expect(side).to_contain_text("Layers 4–6")
    expect(side).to_contain_text("1.13×")
    for panel in ("norms", "conflict", "drift", "cosine", "size"):
        assert plot(page, panel).locator("rect.ml-chosen").count() == 1, panel
    page.get_by_role("button", name="Clear").click()
    until(page, lambda: widget.selection == {"layers": []})


def test_colours_are_those_of_the_theme_though_the_view_is_drawn_before_it_is_in_the_page(
    shown: tuple[Page, Inspector],
) -> None:
    """Of a page without a style sheet every colour is black."""
    page, _ = shown
    lightest = """(canvas) => {
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let most = 0;
      for (let at = 0; at < pixels.length; at += 4) most = Math.max(most, pixels[at] * (pixels[at + 3] > 0));
      return most;
    }"""
    for panel in ("conflict", "size"):
        canvas = plot(page, panel).locator("canvas").first
        page.wait_for_function(f"(canvas) => ({lightest})(canvas) > 130", arg=canvas.element_handle())


def test_the_keyboard_selects_too(shown: tuple[Page, Inspector]) -> None:
    page, widget = shown
    plot(page, "cosine").focus()
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    until(page, lambda: widget.selection == {"layers": [3]})
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    until(page, lambda: widget.selection == {"layers": [3, 4, 5]})
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    cell = page.locator(f"#{plot(page, 'cosine').get_attribute('aria-activedescendant')}")
    expect(cell).to_have_text("mlp.up_proj, layer 5: +0.10, within chance −1 to +1")
    page.keyboard.press("Escape")
    until(page, lambda: widget.selection == {"layers": []})


def test_python_selects_and_the_browser_shows_it(shown: tuple[Page, Inspector]) -> None:
    page, widget = shown
    widget.selection = [1, 2, 8]
    side = page.get_by_label("Selected layers")
    expect(side).to_contain_text("Layers 1–2 and 8")
    expect(plot(page, "size").locator("rect.ml-chosen")).to_have_count(2)
    plot(page, "size").focus()
    page.keyboard.press("Escape")
    until(page, lambda: widget.selection == {"layers": []})


def test_the_density_dial_changes_the_heatmap(shown: tuple[Page, Inspector]) -> None:
    page, widget = shown
    before, others = pixels(page, "conflict"), pixels(page, "size")
    slider = page.get_by_label("Density kept", exact=True)
    slider.focus()
    page.keyboard.press("Home")
    until(page, lambda: widget.dials["density"]["value"] == pytest.approx(0.01))
    until(page, lambda: pixels(page, "conflict") != before)
    assert pixels(page, "size") == others, "what does not hang on the density stays"
    expect(page.get_by_label("Density", exact=True)).to_contain_text("The largest 1 % of each change")
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 7, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=20)
    page.mouse.up()
    until(page, lambda: widget.dials["density"]["value"] == pytest.approx(0.5, abs=0.05))
    page.mouse.move(0, 0)
    expect(page.locator('[data-panel="conflict"]')).to_contain_text("3 of 29 values lie clearly above the band")

    def follows() -> bool:
        return widget.grid("conflict").values[2, 5] == pytest.approx(1 + 0.4 * widget.dials["density"]["value"])

    until(page, follows)


def test_pair_source_statistic_and_prompt(watched: Watched) -> None:
    with looking(watched, "base", "pirate", "sort", "reverse") as (page, widget, taken):
        page.get_by_label("pirate with reverse").check()
        expect(page.locator('[data-panel="conflict"]')).to_contain_text("pirate with reverse")
        page.get_by_label("Source", exact=True).select_option("sort")
        expect(page.locator('[data-panel="drift"]')).to_contain_text("sort against base")
        assert ("drift", "sort") in taken.tasks
        page.get_by_label("Norms", exact=True).select_option("per channel")
        until(page, lambda: widget.grid("norms").values[0, 0] == pytest.approx(0.125))
        for dial, choice, panel, title in (
            ("Conflict", "by size", "conflict", "Sign conflict by size"),
            ("Drift", "scale part", "drift", "Loudness"),
            ("Likeness", "prediction (KL)", "between", "Distance from the final prediction"),
        ):
            page.get_by_label(dial, exact=True).select_option(choice)
            expect(page.locator(f'[data-panel="{panel}"] h3')).to_have_text(title)
        expect(page.locator('[data-panel="between"]')).to_contain_text("nats")
        page.get_by_label("Against", exact=True).select_option("sort")
        expect(page.locator('[data-panel="between"]')).to_contain_text("to sort’s own")
        page.get_by_label("Prompt", exact=True).select_option(index=1)
        expect(page.locator('[data-panel="tokens"]')).to_contain_text(f"sort, “{taken.prompts[1]}”")
        assert widget.error == ""


def test_figures_come_in_one_by_one_and_stop_stops(watched: Watched) -> None:
    with looking(watched, held=("drift",)) as (page, widget, taken):
        expect(page.locator('[data-panel="conflict"]')).to_have_attribute("data-state", "done")
        expect(page.locator('[data-panel="drift"]')).to_have_attribute("data-state", "measuring")
        expect(page.locator('[data-panel="norms"]')).to_have_attribute("data-state", "waiting")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator('[data-panel="norms"]')).to_have_attribute("data-state", "stopped")
        assert widget.wait(10)
        taken.held.clear()
        page.get_by_role("button", name="Measure the rest").click()
        expect(page.locator('[data-panel="norms"]')).to_have_attribute("data-state", "done")
        expect(page.get_by_label("What was measured")).to_contain_text("All 8 views measured")


def test_hostile_names_and_tokens_stay_text(watched: Watched) -> None:
    names = [f"{EVIL}{place}" for place in range(3)]
    with looking(watched, names=names, prompts=[f"the cat {EVIL.replace(' ', '_')}", EVIL]) as (page, widget, _):
        expect(page.get_by_role("list", name="Models")).to_contain_text(names[1])
        expect(page.locator('[data-panel="sinks"]')).to_contain_text(names[0])
        assert page.locator("img").count() == 0
        page.set_content(f"<body>{widget.still()}</body>")
        expect(page.locator("body")).to_contain_text(names[2])
        assert page.locator("img, script").count() == 0


def test_a_name_without_a_break_stays_in_its_panel(watched: Watched) -> None:
    with looking(watched, names=["e" * 90, "f" * 90, "g" * 90]) as (page, _, _):
        expect(page.locator('[data-panel="conflict"] .ml-heading')).to_contain_text("f" * 90)
        for width in (1200, 700):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function(f"!({OUTSIDE})().length", timeout=5000)  # pictures follow a frame later


def test_what_python_refuses_is_said_in_the_browser(shown: tuple[Page, Inspector]) -> None:
    page, widget = shown
    widget.selection = [2]
    page.evaluate("models.look.set('selection', { layers: [99] }); models.look.save_changes()")
    expect(page.get_by_role("alert")).to_contain_text("99 is no layer. Known: 0 to 9")
    assert widget.selection == {"layers": [2]}
    expect(page.get_by_label("Selected layers")).to_contain_text("Layer 2")
    plot(page, "size").focus()
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_saved_picture_is_drawn_in_the_colours_of_the_page(shown: tuple[Page, Inspector], scheme: Any) -> None:
    page, widget = shown
    page.emulate_media(color_scheme=scheme)
    page.set_content(f"<!doctype html><body>{widget.still()}</body>")
    expect(page.get_by_role("img", name="Sign conflict, pirate with sort")).to_be_visible()
    ink = page.locator("svg.mli text").first.evaluate("(text) => getComputedStyle(text).fill")
    assert ink == {"light": "rgb(61, 70, 81)", "dark": "rgb(198, 204, 214)"}[scheme]


def test_the_dials_stay_in_sight_while_the_figures_are_scrolled(shown: tuple[Page, Inspector]) -> None:
    page, _ = shown
    page.set_viewport_size({"width": 1200, "height": 620})
    # As notebooks do: boxes that could scroll and never do, inside one that does.
    page.evaluate("""() => {
      const inner = document.createElement("div");
      inner.style.overflow = "auto";
      const outer = document.createElement("div");
      outer.style.cssText = "position: fixed; inset: 40px 0 0; overflow: auto";
      inner.append(document.querySelector(".view"));
      outer.append(inner);
      outer.id = "outer";
      document.body.append(outer);
    }""")
    density = page.get_by_label("Density kept")
    for far in (0, 700, 300):
        page.evaluate(f"outer.scrollTop = {far}")
        page.wait_for_timeout(150)
        box = density.bounding_box()
        assert box is not None
        assert 40 <= box["y"] < 620 - box["height"], far
    page.set_viewport_size({"width": 800, "height": 900})
    page.wait_for_timeout(150)
    parts = (".ml-turning", ".ml-looks", ".ml-under")
    tops = [page.locator(one).evaluate("(part) => part.getBoundingClientRect().top") for one in parts]
    assert tops == sorted(tops), "narrow: dials, figures, read-outs"


def test_an_inspector_that_is_closed_looks_closed(shown: tuple[Page, Inspector]) -> None:
    page, widget = shown
    widget.close()
    expect(page.get_by_text("Run the cell again")).to_be_visible()
    expect(page.get_by_label("Density kept")).to_be_disabled()
    expect(page.get_by_label("Norms", exact=True)).to_be_disabled()
    page.mouse.click(*middle_of(page, "conflict", 4))
    assert plot(page, "conflict").locator("rect.ml-chosen").count() == 0


def test_names_are_whole_and_panels_side_by_side_are_as_tall(shown: tuple[Page, Inspector]) -> None:
    page, _ = shown
    heights = [plot(page, panel).evaluate("(plot) => plot.clientHeight") for panel in ("conflict", "drift")]
    assert abs(heights[0] - heights[1]) <= 1, "two rows beside three"
    shown_whole = page.locator('[data-panel="conflict"] .ml-heading > div:last-child > .ml-mute')
    page.set_viewport_size({"width": 700, "height": 900})
    expect(shown_whole).to_have_text("pirate with sort")
    assert shown_whole.evaluate("(words) => words.scrollWidth <= words.clientWidth")
