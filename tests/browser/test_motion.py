"""What moves: layers glide to where a load would land; who asks for less motion sees the same without it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.stage import Stage

# Every movement that begins, by the property that changes or the animation's name.
WATCH = """() => {
  window.moved = [];
  document.addEventListener("transitionrun", ({ target, propertyName }) => {
    window.moved.push(`${target.tagName} ${propertyName}`);
  }, true);
  document.addEventListener("animationstart", ({ animationName }) => window.moved.push(animationName), true);
}"""
# Where the columns are, from left to right, px, once nothing moves any more.
SETTLED = """async (plot) => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  await Promise.all(document.getAnimations().map((each) => each.finished.catch(() => null)));
  const left = plot.getBoundingClientRect().left;
  return [...plot.querySelectorAll(".ml-blocks > g")].map((one) => Math.round(one.getBoundingClientRect().left - left));
}"""
CARET = """(root) => {
  const caret = root.appendChild(Object.assign(document.createElement("span"), { className: "ml-caret" }));
  const name = getComputedStyle(caret).animationName;
  caret.remove();
  return name;
}"""


def columns(stage: Stage) -> list[int]:
    found: list[int] = stage.stack.evaluate(SETTLED)
    return found


@pytest.mark.parametrize("hand", ["pointer", "keyboard"])
@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_layers_glide_unless_less_motion_is_asked_for(stage: Stage, motion: Any, hand: str) -> None:
    stage.page.emulate_media(reduced_motion=motion)
    bench = stage.make()
    stage.exact()
    still = columns(stage)
    stage.select(2, 3)
    stage.exact()
    stage.page.evaluate(WATCH)
    mouse = stage.page.mouse
    if hand == "pointer":
        mouse.move(*stage.layer(2))
        mouse.down()
        mouse.move(*stage.layer(5.5), steps=4)
    else:
        stage.press("Space", "ArrowRight*2")
    stage.page.wait_for_function("document.querySelector('.ml-carrying') !== null")
    assert columns(stage) == still, "they end in the columns, whichever way they came"
    moved = stage.page.evaluate("window.moved")
    # Where a hand takes them from column to column, and in nothing but their place.
    assert ("g transform" in moved) is (motion == "no-preference"), moved
    if motion == "reduce":
        assert moved == []
    if hand == "pointer":
        mouse.up()
    else:
        stage.press("Enter")
    stage.exact()
    assert columns(stage) == still
    assert bench.selection == [4, 5]
    assert stage.root.evaluate(CARET) == ("ml-blink" if motion == "no-preference" else "none")


def test_what_a_hand_carries_is_named_beside_the_pointer(stage: Stage) -> None:
    stage.make()
    stage.exact()
    mouse = stage.page.mouse
    mouse.move(*stage.source(1, 2))
    mouse.down()
    mouse.move(*stage.source(1, 4), steps=2)
    for layer in (3, 6):
        x, y = stage.layer(layer)
        mouse.move(x, y, steps=3)
        stage.page.wait_for_function(
            """([x, y]) => {
              const { left, top, width } = document.querySelector(".ml-card-hand").getBoundingClientRect();
              return width > 0 && Math.hypot(left - x - 12, top - y - 14) < 3;
            }""",
            arg=[x, y],
        )
    mouse.up()
    stage.exact()
