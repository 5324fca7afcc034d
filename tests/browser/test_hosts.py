"""Pages unlike the tests' own: where other widgets of ours lie, and where a widget lives in a shadow root."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from mergelab.views._base import bundle
from tests.browser.conftest import Watched
from tests.browser.stage import GUTTER, Stage, box, middle
from tests.browser.test_inspector import looking

# What sheets change in where things are and what they look like; at once, as the page goes on with its work.
CHANGED = """(root, sheets) => {
  const looks = ["display", "font", "color", "backgroundColor", "border", "opacity", "fill", "stroke"];
  const look = () => [...root.querySelectorAll("*")].map((one) => {
    const { x, y, width, height } = one.getBoundingClientRect();
    const style = getComputedStyle(one);
    return [one.getAttribute("class"), x, y, width, height, ...looks.map((each) => style[each])].join(" ");
  });
  const before = look();
  const styled = (textContent) => Object.assign(document.createElement("style"), { textContent });
  document.head.append(...sheets.map(styled));
  return look().flatMap((after, i) => (after === before[i] ? [] : [before[i], after]));
}"""


def changed_by_others(page: Page, name: str) -> list[str]:
    others = [bundle(f"{other}.css") for other in ("workbench", "inspector", "explain", "merging") if other != name]
    return list(page.locator(".ml-root").evaluate(CHANGED, others))


def test_other_sheets_change_nothing_in_a_workbench(stage: Stage) -> None:
    stage.make()
    stage.exact()
    assert changed_by_others(stage.page, "workbench") == []


def test_other_sheets_change_nothing_in_an_inspector(watched: Watched) -> None:
    with looking(watched) as (page, _, _):
        assert changed_by_others(page, "inspector") == []


# What JupyterLab does with keys, on the way down, and another host, on the way up: who heard what.
LISTENING = """() => {
  window.heard = [];
  const held = ({ target }) => target.closest("[data-lm-suppress-shortcuts]") !== null;
  const named = ({ ctrlKey, metaKey, shiftKey, key }) =>
    [ctrlKey && "Control", metaKey && "Meta", shiftKey && "Shift", key].filter(Boolean).join("+");
  document.addEventListener("keydown", (event) => {
    if (["Control", "Meta", "Shift"].includes(event.key)) return;
    if (event.key.toLowerCase() === "s") event.preventDefault();
    if (!held(event)) window.heard.push(`down ${named(event)}`);
  }, true);
  document.addEventListener("keydown", (event) => {
    if (!["Control", "Meta", "Shift"].includes(event.key)) window.heard.push(`up ${named(event)}`);
  });
}"""


@pytest.mark.parametrize("place", [".ml-stack", ".ml-field", ".ml-type"])
def test_the_host_hears_of_no_key_but_the_one_that_saves(stage: Stage, place: str) -> None:
    widget = stage.make()
    stage.exact()
    sketch = widget.sketch
    stage.page.evaluate(LISTENING)
    stage.root.locator(place).focus()
    stage.press("a", "Control+z", "Control+s", "Meta+s", "Control+Shift+S", "s", "Control+z")
    assert stage.page.evaluate("heard") == ["down Control+s", "up Control+s", "down Meta+s", "up Meta+s"]
    stage.heard()
    stage.exact()
    assert widget.sketch == sketch


def test_an_inspector_keeps_its_keys_too(watched: Watched) -> None:
    with looking(watched) as (page, _, _):
        page.evaluate(LISTENING)
        page.get_by_role("grid").first.focus()
        for key in ("ArrowRight", "Control+s", "s"):
            page.keyboard.press(key)
        assert page.evaluate("heard") == ["down Control+s", "up Control+s"]


def test_a_workbench_in_a_shadow_root(stage: Stage) -> None:
    """As in marimo: the page knows neither what has the focus in there nor how it is styled."""
    widget = stage.make()
    stage.page.goto(stage.host.address)
    stage.page.wait_for_function("window.ready")
    stage.page.evaluate("show('bench', true)")
    stage.exact()
    assert stage.root.evaluate("one => getComputedStyle(one).colorScheme") == "light"
    stage.page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    expect(stage.root).to_have_css("color-scheme", "dark")

    layers = len(widget.sketch["slices"])
    column = (box(stage.stack)["width"] - GUTTER) / stage.root.locator(".ml-stack [role=option]").count()
    x, y = middle(stage.root.locator(".ml-border").nth(1))
    before = stage.root.locator(".ml-title").inner_text()
    stage.drag((x, y), (x + column, y))
    stage.exact()
    assert len(widget.sketch["slices"]) == layers
    expect(stage.root.locator(".ml-title")).not_to_have_text(before)

    # What takes the focus away for a while gives it back.
    stage.stack.focus()
    stage.press("?")
    expect(stage.button("Close the list of keys")).to_be_focused()
    stage.press("Escape")
    expect(stage.stack).to_be_focused()
    stage.button("Add a source").click()
    stage.press("Escape")
    expect(stage.button("Add a source")).to_be_focused()
