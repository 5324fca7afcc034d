"""The page under a fast hand: a thousand moves in a second end where the hand let go, in few messages."""

from __future__ import annotations

import pytest

import mergelab as ml
from mergelab import sample
from tests.browser.stage import Stage, box

BASE, PIRATE = sample.path("base"), sample.path("pirate")
BLEND = f"""\
merge_method: task_arithmetic
base_model: {BASE}
slices:
  - sources:
      - {{model: {BASE}, layer_range: [0, 10]}}
      - {{model: {PIRATE}, layer_range: [0, 10], parameters: {{weight: 0.5}}}}
"""
# Moves spread evenly over a second of wall clock, along a wave: more than any mouse sends.
FLOOD = """async ([selector, x, top, bottom]) => {
  const plot = document.querySelector(selector);
  const start = performance.now();
  let sent = 0;
  while (sent < 1000) {
    await new Promise((done) => setTimeout(done));
    const due = Math.min(1000, Math.ceil(performance.now() - start));
    for (; sent < due; sent += 1) {
      const clientY = top + (bottom - top) * (0.5 + 0.5 * Math.sin(sent / 7));
      plot.dispatchEvent(new PointerEvent("pointermove", { pointerId: 1, bubbles: true, clientX: x, clientY }));
    }
  }
  return performance.now() - start;
}"""


def test_a_thousand_moves_in_a_second(stage: Stage) -> None:
    bench = stage.make("base", "pirate", recipe=BLEND)
    stage.exact()
    row, before = "weight of pirate", stage.page.evaluate("models.bench.sent")
    place = box(stage.row(row))
    x, y = stage.curve(row, 4, 0.5)
    stage.page.mouse.move(x, y)
    stage.page.mouse.down()
    ends = [x, place["y"] + 10, place["y"] + 70]
    took = stage.page.evaluate(FLOOD, ['[aria-label="weight of pirate"]', *ends])
    stage.page.mouse.move(*stage.curve(row, 4, 1.0))
    stage.page.mouse.up()
    stage.exact()
    messages = stage.page.evaluate("models.bench.sent") - before
    weight = bench.sketch["slices"][0]["parts"][1]["numbers"]["weight"][0][1]
    assert weight[4] == pytest.approx(2, abs=0.05)
    assert bench.answer is not None
    assert bench.answer["made"] == bench.sketch
    assert bench.answer["recipe"] == bench.recipe.fingerprint
    assert bench._past["undo"] == 1, "one drag is one edit"
    assert 3 < messages < 60 * max(1, took / 1000)
    assert isinstance(bench.recipe, ml.Recipe)
