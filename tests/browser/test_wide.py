"""With a notebook's wide fonts and very long names nothing is cut, or its title has it all; a long stack scrolls under
what is dragged to its end.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mergelab import sample
from mergelab.views.workbench import Workbench
from tests.browser.stage import Stage, box, makes
from tests.browser.test_looks import OUTSIDE

LONG = "m" * 80
FONTS = """document.addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = ":root { --jp-ui-font-size1: 15px; --jp-ui-font-family: 'DejaVu Sans', Verdana; }";
  document.head.append(style); });"""
RECIPE = """\
merge_method: ties
base_model: {base}
slices:
  - sources:
      - {{model: {base}, layer_range: [0, 5]}}
      - {{model: {arithmetic}, layer_range: [0, 5], parameters: {{weight: 0.5, density: 0.5}}}}
  - sources:
      - {{model: {base}, layer_range: [5, 10]}}
      - {{model: {pirate}, layer_range: [5, 10], parameters: {{weight: 0.5, density: 0.5}}}}
"""
# Words with less room than they take, and no title that has them all. A menu tells its room only by its font.
CUT = """(root) => [...root.querySelectorAll("*")].flatMap((one) => {
  if (!one.checkVisibility() || one.closest("svg, .ml-hidden, .ml-code, .ml-scroll, input")) return [];
  const style = getComputedStyle(one);
  const whole = one.closest("[title]")?.title ?? "";
  if (one.matches("select")) {
    const words = one.selectedOptions[0]?.textContent ?? "";
    const context = document.createElement("canvas").getContext("2d");
    context.font = style.font;
    const pads = Number.parseFloat(style.paddingLeft) + Number.parseFloat(style.paddingRight);
    return context.measureText(words).width + pads + 16 > one.clientWidth && words.length < 40 ? [words] : [];
  }
  const own = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!own || style.display === "inline" || one.scrollWidth <= one.clientWidth + 1) return [];
  return whole.includes(one.textContent.trim()) ? [] : [`${one.className}: ${one.textContent}`];
})"""

# How many lines an element's words stand on.
LINES = """(one) => {
  const words = document.createRange();
  words.selectNodeContents(one);
  return new Set([...words.getClientRects()].map(({ top }) => top)).size;
}"""


@pytest.mark.parametrize("wide", [800, 1180, 1600])
def test_wide_fonts_and_long_names_are_not_cut(stage: Stage, tmp_path: Path, wide: int) -> None:
    long = tmp_path / LONG
    long.symlink_to(sample.path("stranger"))
    family = {name: sample.path(name) for name in ("base", "arithmetic", "pirate")}
    stage.page.add_init_script(FONTS)
    stage.page.set_viewport_size({"width": wide + 24, "height": 1700})
    stage.put(Workbench(*family.values(), long, recipe=RECIPE.format(**family), scorers=()))
    stage.exact()
    root = stage.root
    assert "DejaVu" in root.evaluate("(one) => getComputedStyle(one).fontFamily")
    stage.select(7, 7)
    for layer in (7, 2):
        stage.select(layer, layer)
        stage.exact()
        assert root.evaluate(CUT) == []
        assert root.evaluate(OUTSIDE) == []
    assert stage.page.locator(f'[title*="{LONG}"]').count() > 1, "the whole name is told where it has no room"


def test_a_long_stack_scrolls_under_what_is_dragged_to_its_end(stage: Stage) -> None:
    base = sample.path("base")
    slices = "".join(f"  - sources: [{{model: {base}, layer_range: [0, 10]}}]\n" for _ in range(4))
    bench = stage.make("base", "pirate", recipe=f"merge_method: passthrough\nslices:\n{slices}")
    stage.exact()
    scroller = stage.root.locator(".ml-stack-view .ml-scroll")
    seen, place = box(scroller), box(stage.stack)
    assert place["width"] > seen["width"] + 300
    mouse = stage.page.mouse
    mouse.move(*stage.source(1, 0))
    mouse.down()
    mouse.move(seen["x"] + seen["width"] - 60, place["y"] + 60, steps=5)
    assert scroller.evaluate("(one) => one.scrollLeft") == 0
    mouse.move(seen["x"] + seen["width"] - 4, place["y"] + 60, steps=3)
    stage.page.wait_for_function(
        "(one) => one.scrollLeft + one.clientWidth >= one.scrollWidth - 1", arg=scroller.element_handle()
    )
    mouse.up()
    stage.exact()
    assert [piece["parts"][0]["source"] for piece in bench.sketch["slices"]][-1] == 1, "it lands on top"
    assert makes(bench.recipe)


def test_a_name_above_figures_is_not_broken_inside(stage: Stage) -> None:
    stage.page.add_init_script(FONTS)
    stage.make("pirate", "arithmetic", "stranger")
    stage.exact()
    stage.pick(2, 2, 4)
    heads = stage.root.locator(".ml-facts th[scope=col]")
    for name in ("stranger", "arithmetic"):
        one = heads.filter(has_text=name)
        assert (one.evaluate(LINES), one.get_attribute("title")) == (1, name)
    assert heads.last.evaluate("(one) => one.scrollWidth > one.clientWidth"), "there is no room for it"
