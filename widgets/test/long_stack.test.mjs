// A stack that is longer than its panel: what keys move stays in sight, and so do the words of what is scrolled.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { GUTTER } from "../src/lib/scale.js";
import { passes, press, sourceOf } from "./page.mjs";
import { building } from "./building.mjs";

const WIDE = 612;
const COLUMN = 28; // the narrowest
let page;
let scroller;

beforeEach(() => {
  page = building({
    sketch: { base: 0, widen: false, slices: [passes(0, 0, 10), passes(1, 10, 90)] },
    _sources: [sourceOf("base", 100), sourceOf("reverse", 100)],
  });
  scroller = page.find(".ml-stack-view .ml-scroll");
  Object.defineProperty(scroller, "clientWidth", { value: WIDE });
});
afterEach(() => page.close());

const edge = (i) => page.root.querySelectorAll(".ml-border")[i];
/** Whether an edge lies in sight, beside the gutter. */
const seen = (i) => {
  const x = Number.parseFloat(edge(i).style.left) + 8 - scroller.scrollLeft;
  return x > GUTTER && x < WIDE;
};

test("an edge that keys move stays in sight, also when one has scrolled away, and when it is put back", () => {
  page.context.cursor.at = 10;
  press(page.plot, "e");
  for (let i = 0; i < 5; i += 1) press(edge(1), "PageDown");
  assert.deepEqual(page.told(), ["passthrough 0@0 +30", "passthrough 1@30 +70"]);
  assert.deepEqual([seen(1), scroller.scrollLeft], [true, GUTTER + 31 * COLUMN - WIDE], "it comes no further than it has to");
  scroller.scrollLeft = 2000;
  press(edge(1), "ArrowLeft");
  assert.deepEqual([seen(1), scroller.scrollLeft], [true, 28 * COLUMN]);
  scroller.scrollLeft = 2000;
  press(edge(1), "Escape");
  assert.deepEqual([page.told()[0], seen(1)], ["passthrough 0@0 +10", true]);
  press(edge(2), "PageDown");
  assert.deepEqual([page.told()[1], scroller.scrollLeft > 2000], ["passthrough 1@10 +90", true], "where it cannot move it is shown all the same");
  const before = (scroller.scrollLeft = 700);
  page.context.redraw();
  assert.equal(scroller.scrollLeft, before, "nothing scrolls but for a key");
});

test("the words of a slice that begins out of sight stand in the part in sight, and never leave the slice", () => {
  const head = (i) => page.root.querySelectorAll(".ml-picture svg > g:first-of-type > g")[i].lastElementChild;
  const moved = (i) => Number(/translate\((\S+) 0\)/.exec(head(i).getAttribute("transform") ?? "")?.[1] ?? 0);
  assert.deepEqual([head(1).textContent, moved(0), moved(1)], ["Passreverse 10–99", 0, 0]);
  page.scrolled.left = 400;
  page.context.redraw();
  assert.equal(moved(1), 400 - 10 * COLUMN);
  const most = moved(0);
  assert.ok(most > 0 && most < 10 * COLUMN - 30, "the first has its own words to its end");
  page.scrolled.left = 500;
  page.context.redraw();
  assert.equal(moved(0), most);
  page.scrolled.left = 0;
  page.context.redraw();
  assert.deepEqual([moved(0), moved(1)], [0, 0]);
});
