"""How fast the workbench is in a real browser, on the sample family's real models. Nothing is judged by time.

release   pointer release to the new next-token table painted in the page, ms
frames    while a point of a curve, and a run of layers, is dragged: frames a second
layout    100 layers of 3 sources laid out: for the first time on a page, with the panels that follow a frame later, and
          then a new stack of as many slices, ms
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import itertools

from playwright.sync_api import Browser, sync_playwright

from mergelab.columns import columns
from tests.browser.conftest import FLAGS, NAMES, Watched
from tests.browser.stage import Stage, box, staged
from tests.browser.test_flood import BLEND

FIRSTS = 5  # pages
# From the release to the frame after the one in which the table changed.
WATCH = """() => {
  const table = document.querySelector(".ml-tokens");
  const root = document.querySelector(".ml-root");
  window.released = null;
  window.addEventListener("pointerup", () => {
    const start = performance.now();
    const turn = models.bench.get("_turn");
    const look = () => {
      const fresh = models.bench.get("_answered") >= models.bench.get("_turn") && models.bench.get("_turn") >= turn;
      if (fresh && !models.bench.flying && root.dataset.state === "exact") {
        requestAnimationFrame(() => { window.released = performance.now() - start; });
      } else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, { once: true, capture: true });
}"""
FRAMES = """() => {
  window.frames = []; window.counting = true;
  const count = (time) => { window.frames.push(time); if (window.counting) requestAnimationFrame(count); };
  requestAnimationFrame(count);
}"""
# A model of the page's own: what 100 layers of 3 sources cost, without Python.
LAYOUT = """async ([slices, repeats]) => {
  const real = window.models.bench;
  const state = structuredClone(real.state);
  const whole = (source, start, layers) =>
    ({ method: "passthrough", base: null, layers, parts: [{ source, start, numbers: {} }], numbers: {} });
  const deep = (layers) => state._sources.slice(0, 3).map((one) => ({ ...one, layers, norms: new Array(layers).fill(1),
    parameters: new Array(layers).fill(one.parameters[0]), bytes: new Array(layers).fill(one.bytes[0]) }));
  state._sources = deep(100); state._fits = state._fits.slice(0, 3); state._seams = null; state.selection = [];
  const each = 100 / slices;
  const built = (shift) => ({ base: 0, widen: false,
    slices: Array.from({ length: slices }, (_, i) => whole((i + shift) % 3, i * each, each)) });
  state.sketch = built(0);
  const heard = {};
  const model = { get: (key) => state[key], set: (key, value) => { state[key] = value; }, save_changes() {}, send() {},
    on(event, call) { (heard[event] ??= []).push(call); }, off() {} };
  const address = URL.createObjectURL(new Blob([real.get("_esm")], { type: "text/javascript" }));
  const { default: widget } = await import(address);
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  const start = performance.now();
  const end = await widget.render({ model, el });
  el.getBoundingClientRect();
  const first = performance.now() - start;
  await new Promise(requestAnimationFrame);  // behind the page's own, in which the rest is drawn
  el.getBoundingClientRect();
  const all = performance.now() - start;
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const times = [];
  const queue = window.requestAnimationFrame;
  for (let turn = 1; turn <= repeats; turn += 1) {
    state.sketch = built(turn);
    const took = new Promise((done) => {
      let began = 0;
      requestAnimationFrame(() => { began = performance.now(); });  // in front of the page's own frame, and behind it
      for (const call of heard["change:sketch"]) call();
      requestAnimationFrame(() => { el.getBoundingClientRect(); done(performance.now() - began); });
    });
    times.push(await took);
    await new Promise((done) => setTimeout(done));
  }
  end();
  return [first, all, times];
}"""


def late(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def releases(stage: Stage, count: int, what: str) -> list[float]:
    """Drags of a point of a curve, of a border, each to another place than before."""
    taken = []
    for turn in range(count):
        stage.page.evaluate(WATCH)
        if what == "a point of a curve":
            heights = [0.3 + 0.03 * (turn % 11), 0.35 + 0.02 * (turn % 17)]
            stage.drag(
                stage.curve("weight of pirate", turn % 10, 0.6),
                *(stage.curve("weight of pirate", turn % 10, height) for height in heights),
                steps=4,
            )
        else:
            x, y = stage.layer((2, 3)[turn % 2] - 0.5)
            stage.drag((x, y), (x + (1, -1)[turn % 2] * stage.column(), y), steps=4)
        stage.page.wait_for_function("window.released !== null")
        taken.append(stage.page.evaluate("window.released"))
    return taken


def frames(stage: Stage, seconds: float, what: str) -> list[float]:
    """Frames a second, one figure for each frame, while something is dragged to and fro by a mouse that says 125 times
    a second where it is.
    """
    start = stage.curve("weight of pirate", 0, 0.5) if what == "a point of a curve" else stage.source(1, 2)
    place, mouse = box(stage.stack), stage.page.mouse
    mouse.move(*start)
    mouse.down()
    if what != "a point of a curve":
        mouse.move(*stage.source(1, 4), steps=2)
    stage.page.evaluate(FRAMES)
    began = time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        moves = 60 * now
        way = 0.5 + 0.45 * math.sin(moves / 9)
        x = place["x"] + 60 + way * (place["width"] - 70)
        y = start[1] + 20 * math.sin(moves / 5) if what == "a point of a curve" else place["y"] + 70
        mouse.move(x, y)
        time.sleep(max(0.0, now + 0.008 - (time.perf_counter() - began)))
    times = stage.page.evaluate("(window.counting = false, window.frames)")
    mouse.up()
    stage.exact()
    return [1000 / (after - before) for before, after in itertools.pairwise(times) if after > before]


def measured(browser: Browser, options: argparse.Namespace) -> None:
    rows: list[Sequence[Any]] = [("what", "median", "worst twentieth", "worst", "of")]

    def told(what: str, values: Sequence[float], low: bool = False) -> None:
        worst = late(values, 0.05) if low else late(values, 0.95)
        most = min(values) if low else max(values)
        rows.append((what, *(f"{value:.1f}" for value in (statistics.median(values), worst, most)), len(values)))

    page = browser.new_page(viewport={"width": 1204, "height": 1400})
    with staged(Watched(page)) as stage:
        stage.make("base", "pirate", "reverse", recipe=BLEND, scorers=None)
        stage.exact()
        releases(stage, 5, "a point of a curve")
        told("release: a point of a curve, ms", releases(stage, options.releases, "a point of a curve"))
        told("frames a second: a point of a curve", frames(stage, options.seconds, "a point of a curve"), low=True)
        told("frames a second: layers of a source", frames(stage, options.seconds, "layers of a source"), low=True)
        stage.make(scorers=None)
        stage.exact()
        told("release: a border of slices, ms", releases(stage, options.releases, "a border of slices"))
        for slices in (1, 20, 100):
            firsts, wholes = [], []
            for _ in range(FIRSTS):
                first, whole, later = stage.page.evaluate(LAYOUT, [slices, 10])
                firsts.append(first)
                wholes.append(whole)
                stage.load()
            what = f"layout: 100 layers x 3 sources, {slices} slices"
            told(f"{what}, first of a page, ms", firsts)
            told(f"{what}, all other panels too, ms", wholes)
            told(f"{what}, then, ms", later)
        for widget in stage.widgets:
            widget.stop()
    page.close()
    print(columns([tuple(map(str, row)) for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--releases", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        raise SystemExit(f"no browser: install one of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        measured(browser, options)
        browser.close()


if __name__ == "__main__":
    main()
