// What is done to a whole curve at once, and what the card and the rows say of it.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { GUTTER } from "../src/lib/scale.js";
import { METHODS, mixed, part, slice } from "./bending.mjs";
import { frame, press } from "./page.mjs";
import { all, begin, button, column, cursor, end, find, rowAt, said, scrolled, show, state, view, weightOf } from "./curving.mjs";

beforeEach(begin);
afterEach(end);

test("shapes, mirror, copy and paste act on the slice at the cursor, each as one edit", async () => {
  await show();
  rowAt(2).focus();
  await frame();
  button("Linear").click();
  assert.deepEqual(weightOf(1, 2), [[null, [0, 0.92]]], "from a curve above 0: the dial goes below, the shape does not");
  assert.equal(said.pop(), "weight of Bible 4–7: linear.");
  button("Mirror").click();
  assert.deepEqual(weightOf(1, 2), [[null, [0.92, 0]]]);
  button("Copy the curve").click();
  assert.equal(said.pop(), "Copied weight of Bible 4–7.");
  rowAt(1).focus();
  cursor.at = 4;
  await frame();
  button("Paste the curve").click();
  assert.deepEqual(weightOf(1, 1), [[null, [0.92, 0]]]);
  assert.equal(said.pop(), "weight of Arith 4–7: pasted weight of Bible 4–7.");
  button("Step").click();
  assert.deepEqual(weightOf(1, 1), [[null, [0, 0, 0.92, 0.92]]]);
  button("Flat").click();
  assert.deepEqual(weightOf(1, 1), [[null, 0.46]]);
  assert.equal(state.flushed, 5);
  cursor.at = 0;
  button("U").click();
  assert.equal(said.pop(), "Arith 0–3: not here.");
  assert.equal(state.flushed, 5);
});

test("after K a shape is of that kind alone, from the toolbar and by the digits in the row", async () => {
  await show();
  const row = rowAt(2);
  row.focus();
  press(row, "k");
  button("Linear").focus();
  button("Linear").click();
  assert.deepEqual(weightOf(1, 2), [["self_attn", [0, 0.92]], [null, 0.25]]);
  row.focus();
  press(row, "k");
  press(row, "5");
  assert.deepEqual(weightOf(1, 2), [["self_attn", [0, 0.92]], ["mlp", [0, 0, 0.92, 0.92]], [null, 0.25]]);
  for (const [key, points] of [["1", 0.46], ["2", [0.13, 0.79]], ["3", [0.79, 0.13, 0.13, 0.79]], ["4", [0.13, 0.79, 0.79, 0.13]]]) {
    press(row, key);
    const value = weightOf(1, 2).find(([filter]) => filter === "mlp")[1];
    if (key === "1" || key === "2") assert.equal(Array.isArray(value), Array.isArray(points), key);
    else assert.equal(value.length, 4);
  }
  assert.deepEqual(weightOf(1, 2)[0], ["self_attn", [0, 0.92]], "the other kind is as it was");
  assert.match(button("Step").title, /\(5\)$/);
  await frame();
  assert.match(find("#t-curve-keys").textContent, /1 to 5/);
});

test("a curve drawn below 0 says what that does; where the weight changes nothing it says that", async () => {
  const sketch = mixed();
  sketch.slices[1].parts[2].numbers.weight = [[null, -0.5]];
  await show(sketch);
  rowAt(2).focus();
  await frame();
  assert.equal(find(".ml-curve-note").textContent, "below 0: unlearns");
  const alone = mixed();
  alone.slices[1] = { ...alone.slices[1], parts: alone.slices[1].parts.slice(0, 2), numbers: { normalize: [[null, true]] } };
  alone.slices[1].parts[1].numbers.weight = [[null, -0.5]];
  await show(alone);
  const ties = METHODS[2].numbers;
  ties.push({ ...ties[0], name: "normalize", per_part: false, kind: "switch", default: true, dial: null, curve: false });
  try {
    rowAt(1).focus();
    view.draw();
    assert.equal(find(".ml-curve-note").textContent, "one source and normalize: the weight changes nothing");
  } finally {
    ties.pop();
  }
});

test("the card says which output layer and which layer of the source it is about", async () => {
  await show();
  rowAt(1).focus();
  cursor.at = 6;
  view.draw();
  assert.equal(find(".ml-curve-where").textContent, "output layer 6 (Arith 6)");
  rowAt(3).focus();
  view.draw();
  assert.equal(find(".ml-curve-where").textContent, "output layer 6 (slice 2)");
  for (const input of all("input, select")) assert.ok(input.getAttribute("aria-label") || input.closest("label")?.textContent.trim(), input.outerHTML);
});

test("rows are called alike; words of what is kept whole stand inside one slice", async () => {
  await show(mixed(), ["Base", "Arith", "Biblical"]);
  const named = () => all(".ml-curve-words").map(({ textContent }) => textContent);
  assert.deepEqual(named(), ["Ba", "Ar", "Bi", "slices"]);
  await show();
  assert.deepEqual(named(), ["Base", "Arith", "Bible", "slices"]);
  await show({ base: 0, widen: false, slices: [slice("passthrough", 4, [part(0, 0)]), slice("passthrough", 4, [part(0, 5)])] });
  const x = Number(rowAt(0).querySelector("g[data-state=whole] text").getAttribute("x"));
  const border = GUTTER + 4 * column();
  assert.ok(Math.abs(x - border) > 40, `${x} is clear of the border at ${border}`);
});

test("words stand in the part in sight; half a number under the gutter is not shown", async () => {
  await show({ base: 0, widen: false, slices: [slice("passthrough", 40, [part(0, 0)]), slice("linear", 8, [part(0, 4, { weight: [[null, 0.25]] })])] });
  const place = () => Number(rowAt(0).querySelector("g[data-state=whole] text").getAttribute("x"));
  const values = () => all(".ml-curve-values text").map((text) => text.textContent);
  const first = place();
  assert.ok(first > GUTTER + 100 && first < 614, `${first} is in sight`);
  scrolled.left = 500;
  view.draw();
  assert.ok(place() > 500 + GUTTER && place() < 500 + 614, `${place()} is in sight`);
  scrolled.left = 40 * column() - 30;
  view.draw();
  assert.ok(place() < GUTTER + 40 * column(), `${place()} stays in its slice`);
  assert.equal(values().filter(Boolean).length, 8);
  scrolled.left = 40 * column() + 14; // the first number lies half under the gutter
  view.draw();
  assert.equal(values().filter(Boolean).length, 7);
});

test("where all is kept whole the menu says so; where nothing can be chosen there is none", async () => {
  await show({ base: 0, widen: false, slices: [slice("passthrough", 6, [part(1, 0)])] });
  const [number, own] = all(".ml-select");
  assert.equal(number.value, "");
  assert.equal(number.selectedOptions[0]?.textContent, "kept whole");
  assert.deepEqual([number.hidden, own.hidden], [false, true]);
});

test("a pasted curve with bounds stays inside them", async () => {
  const far = mixed();
  far.slices[1].parts[2].numbers.weight = [[null, [-1, 1.5]]];
  await show(far);
  rowAt(2).focus();
  button("Copy the curve").click();
  const menu = find(".ml-select");
  menu.value = "density";
  menu.dispatchEvent(new window.Event("change"));
  await frame();
  button("Paste the curve").click();
  assert.deepEqual(state.sketch.slices[1].parts[2].numbers.density, [[null, [0, 1]]]);
});

test("a curve pasted on a shorter slice has the steps of a hand between its points", async () => {
  const long = mixed();
  long.slices[1].parts[2].numbers.weight = [[null, [1, 0.25, 0, 0.25, 1]]];
  await show(long);
  rowAt(2).focus();
  button("Copy the curve").click();
  rowAt(1).focus();
  await frame();
  button("Paste the curve").click();
  assert.deepEqual(weightOf(1, 1), [[null, [1, 0.17, 0.17, 1]]]);
});

test("all rows are one stop of Tab; Alt and arrows go from row to row, and bend nothing", async () => {
  await show();
  const stops = () => all(".ml-curve-row").map(({ tabIndex }) => tabIndex);
  assert.equal(stops().filter((each) => each === 0).length, 1);
  rowAt(1).focus();
  await frame();
  assert.deepEqual(stops(), [-1, 0, -1, -1]);
  const before = state.sketch;
  press(rowAt(1), "ArrowDown", { altKey: true });
  await frame();
  assert.equal(document.activeElement, rowAt(2));
  assert.deepEqual(stops(), [-1, -1, 0, -1]);
  press(rowAt(2), "ArrowDown", { altKey: true });
  press(rowAt(3), "ArrowDown", { altKey: true });
  assert.equal(document.activeElement, rowAt(3), "no further than the last");
  press(rowAt(3), "ArrowUp", { altKey: true });
  assert.equal(document.activeElement, rowAt(2));
  assert.deepEqual([state.sketch, state.holds], [before, 0]);
});
