// Coefficients over depth in a page: what a hand does to them, with a pointer and with keys, and what is said of it.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { numberAt, rowsOf } from "../src/lib/curves.js";
import { GUTTER } from "../src/lib/scale.js";
import { KINDS_HERE, METHODS, mixed, part, slice } from "./bending.mjs";
import { frame, point, press } from "./page.mjs";
import { all, begin, button, column, cursor, end, field, find, heightOf, middle, rowAt, said, show, state, view, weightOf } from "./curving.mjs";

beforeEach(begin);
afterEach(end);

test("a point in hand bends its layer and its kind; the ghost shows the curve before", async () => {
  await show();
  const row = rowAt(1);
  point(row, "pointerdown", middle(6), heightOf(0.5));
  point(row, "pointermove", middle(6) + 3, heightOf(0.5));
  assert.equal(state.edits.length, 0, "nothing is rounded before it moves up or down");
  point(row, "pointermove", middle(7), heightOf(0.62) + 0.5);
  await frame();
  assert.ok(state.held);
  assert.equal(cursor.at, 5, "the layer is not chosen before the hand lets go: what is shown of it could move the row away");
  assert.notEqual(row.querySelector("path[style*='1.5 3']").getAttribute("d"), "", "ghost");
  assert.match(find(".ml-curve-note").textContent, /^was 0\.50, now 0\.6\d at 6 · a point for each of 4 layers$/);
  point(row, "pointermove", middle(6), heightOf(0.62));
  point(row, "pointerup", middle(6), heightOf(0.62));
  await frame();
  assert.deepEqual(weightOf(1, 1), [["self_attn", [0.3, 0.48, 0.62, 0.5]], [null, [0.45, 0.3]]]);
  assert.ok(!state.held);
  assert.equal(row.querySelector("path[style*='1.5 3']").getAttribute("d"), "");
  assert.equal(cursor.at, 6);
  assert.match(row.getAttribute("aria-valuetext"), /^layer 6, attention 0\.62, feed-forward 0\.35/);
});

test("away from points the hand draws, through columns it skips, across slices, round what cannot be bent", async () => {
  await show();
  const row = rowAt(2);
  point(row, "pointerdown", middle(6), heightOf(1));
  point(row, "pointermove", middle(11), heightOf(2));
  assert.equal(cursor.at, 5, "the layer is chosen when the hand lets go");
  point(row, "pointerup", middle(11), heightOf(2));
  assert.deepEqual(weightOf(1, 2), [[null, [0.25, 0.25, 1, 1.2]]]);
  assert.deepEqual(weightOf(3, 1)[0], ["q_proj", 0.9], "other rules stay");
  const drawn = weightOf(3, 1).at(-1)[1];
  assert.equal(drawn[0], 1, "at the dial of this slice: 1.8 is above it");
  assert.deepEqual(state.sketch.slices[0], mixed().slices[0]);
});

test("a press beside a point draws on into the next columns, and does not take the point", async () => {
  await show();
  const row = rowAt(2);
  point(row, "pointerdown", middle(4) + 14, heightOf(0.25));
  point(row, "pointermove", middle(5), heightOf(0.4));
  point(row, "pointerup", middle(5), heightOf(0.4));
  assert.deepEqual(weightOf(1, 2), [[null, [0.25, 0.4, 0.25, 0.25]]]);
});

test("Escape puts the curve back; where nothing can be bent a press says why", async () => {
  await show();
  point(rowAt(2), "pointerdown", middle(5), heightOf(1.5));
  point(rowAt(2), "pointermove", middle(7), heightOf(0));
  press(document.body, "Escape");
  assert.deepEqual(state.sketch, mixed());
  assert.equal(said.pop(), "Put back.");
  for (const [layer, why] of [[0, "kept whole"], [5, "base of TIES: no weight"], [9, "not here"]]) {
    point(rowAt(0), "pointerdown", middle(layer), heightOf(0.5, [0, 1]));
    point(rowAt(0), "pointerup", middle(layer), 0);
    assert.equal(said.pop(), `Base, output layer ${layer}: ${why}.`);
    assert.equal(cursor.at, layer);
  }
  assert.deepEqual(state.sketch, mixed());
});

test("with keys: a hundredth, a tenth, the ends; one hold until the key is up", async () => {
  await show();
  const row = rowAt(2);
  row.focus();
  const key = (name, more) => press(row, name, more);
  key("ArrowUp");
  key("ArrowUp");
  assert.ok(state.held && state.holds === 1);
  row.dispatchEvent(new window.KeyboardEvent("keyup", { key: "ArrowUp", bubbles: true }));
  assert.ok(!state.held);
  assert.deepEqual(weightOf(1, 2), [[null, [0.25, 0.27, 0.25, 0.25]]]);
  key("ArrowRight");
  key("ArrowDown", { shiftKey: true });
  key("PageDown");
  assert.equal(weightOf(1, 2)[0][1][2], 0.05);
  key("End");
  assert.equal(weightOf(1, 2)[0][1][2], 2);
  key("ArrowUp");
  assert.equal(weightOf(1, 2)[0][1][2], 2, "not past the dial");
  key("Home");
  assert.equal(weightOf(1, 2)[0][1][2], -1);
  row.blur();
  assert.ok(!state.held, "a lost key lets go too");
  await frame();
  assert.equal(row.getAttribute("aria-valuenow"), "-1");
  assert.equal(row.getAttribute("aria-valuetext"), "layer 6, weight −1.00");
  assert.deepEqual([row.getAttribute("aria-valuemin"), row.getAttribute("aria-valuemax")], ["-1", "2"]);
  key("ArrowLeft");
  assert.equal(cursor.at, 5);
});

test("K chooses the tensors that the hand moves; both move by the same step", async () => {
  await show();
  const row = rowAt(1);
  row.focus();
  press(row, "ArrowUp", { shiftKey: true });
  assert.deepEqual(weightOf(1, 1), [["self_attn", [0.3, 0.58, 0.5, 0.5]], [null, [0.45, 0.5, 0.35, 0.3]]]);
  press(row, "k");
  press(row, "k");
  assert.equal(said.pop(), "The hand moves feed-forward.");
  press(row, "End");
  assert.deepEqual(weightOf(1, 1).map(([filter]) => filter), ["self_attn", "mlp", null]);
  assert.equal(weightOf(1, 1)[1][1][1], 2);
  assert.equal(weightOf(1, 1)[2][1][1], 0.5, "the rest stays");
  await frame();
  assert.ok(field("rest"), "and is told apart now");
});

test("a typed number is taken as it is, or refused with the bounds", async () => {
  await show();
  rowAt(2).focus();
  await frame();
  press(rowAt(2), "Enter");
  const input = field("weight");
  assert.equal(document.activeElement, input);
  input.value = "0,123456789";
  press(input, "Enter");
  assert.deepEqual(weightOf(1, 2), [[null, [0.25, 0.123456789, 0.25, 0.25]]]);
  assert.equal(state.flushed, 1);
  input.value = "<b>much</b>";
  press(input, "Enter");
  assert.equal(find(".ml-curve-wrong").textContent, "“<b>much</b>” is not a number.");
  assert.equal(input.getAttribute("aria-invalid"), "true");
  press(input, "Escape");
  await frame();
  assert.equal(input.value, "0.123456789");
  assert.equal(find(".ml-curve-wrong").textContent, "");
  const menu = find(".ml-select");
  menu.value = "density";
  menu.dispatchEvent(new window.Event("change"));
  await frame();
  const density = field("density");
  density.value = "1.5";
  press(density, "Enter");
  assert.equal(find(".ml-curve-wrong").textContent, "“1.5” is not a number from 0 to 1.");
  assert.equal(state.edits.length, 1);
});

test("attention and feed-forward have fields of their own where they differ", async () => {
  await show();
  rowAt(1).focus();
  await frame();
  const input = field("feed-forward");
  assert.equal(input.value, "0.4");
  input.value = "0.9";
  input.dispatchEvent(new window.Event("change"));
  assert.deepEqual(weightOf(1, 1), [["self_attn", [0.3, 0.48, 0.5, 0.5]], ["mlp", [0.45, 0.9, 0.35, 0.3]], [null, [0.45, 0.3]]]);
});

test("Enter at once after an arrow selects the number of the layer that was chosen", async () => {
  await show();
  cursor.at = 4;
  rowAt(1).focus();
  await frame();
  press(rowAt(1), "ArrowRight");
  press(rowAt(1), "Enter");
  const input = field("attention");
  assert.ok(input.matches(":focus"));
  const selected = () => input.value.slice(input.selectionStart, input.selectionEnd);
  assert.equal(input.value, "0.48");
  assert.equal(selected(), "0.48");
  await frame();
  assert.equal(selected(), "0.48", "and a redraw leaves it so");
  input.value = "0.7";
  press(input, "Enter");
  assert.equal(selected(), "0.7");
  await frame();
  assert.equal(selected(), "0.7");
  state.sketch = mixed();
  view.draw();
  assert.equal(selected(), "0.48", "a number that changes under it is selected too");
});

test("a number typed over selected layers sets all that the curve covers", async () => {
  await show();
  state.selection = [3, 4, 6, 9, 13];
  cursor.at = 6;
  rowAt(2).focus();
  await frame();
  assert.match(find(".ml-curve-note").textContent, /^sets 3 selected layers/);
  const input = field("weight");
  input.value = "0.75";
  press(input, "Enter");
  assert.deepEqual(weightOf(1, 2), [[null, [0.75, 0.25, 0.75, 0.25]]]);
  assert.equal(numberAt(rowsOf(state.sketch, METHODS, "weight", null)[2], 13, KINDS_HERE, "rest"), 0.75);
  assert.deepEqual([state.sketch.slices[0], state.sketch.slices[2]], [mixed().slices[0], mixed().slices[2]]);
  assert.equal(state.edits.length, 1);
  assert.equal(said.pop(), "weight of Bible: 0.75 in 3 selected layers.");
  cursor.at = 5;
  await frame();
  view.draw();
  assert.doesNotMatch(find(".ml-curve-note").textContent, /selected/, "not where the layer is none of them");
  input.value = "0.1";
  press(input, "Enter");
  assert.deepEqual(weightOf(1, 2), [[null, [0.75, 0.1, 0.75, 0.25]]]);
  state.selection = [5, 12];
  rowAt(1).focus();
  await frame();
  assert.doesNotMatch(find(".ml-curve-note").textContent, /selected/, "Arith is not in layer 12");
  state.selection = [5];
  view.draw();
  assert.doesNotMatch(find(".ml-curve-note").textContent, /selected/);
});

test("a number typed while the hand moves one kind is of that kind", async () => {
  await show();
  rowAt(2).focus();
  press(rowAt(2), "k");
  await frame();
  const input = field("attention");
  input.value = "0.9";
  press(input, "Enter");
  assert.deepEqual(weightOf(1, 2), [["self_attn", [0.25, 0.9, 0.25, 0.25]], [null, 0.25]]);
});

test("a locked row is left alone until it is unlocked", async () => {
  await show();
  const row = rowAt(2);
  row.focus();
  press(row, "l");
  assert.equal(said.pop(), "weight of Bible locked.");
  press(row, "ArrowUp");
  point(row, "pointerdown", middle(5), heightOf(1));
  point(row, "pointerup", middle(5), heightOf(1));
  button("U").click();
  await frame();
  const input = field("weight");
  assert.ok(input.disabled);
  assert.equal(button("Lock").getAttribute("aria-pressed"), "true");
  assert.match(row.getAttribute("aria-valuetext"), /locked$/);
  assert.equal(state.edits.length, 0);
  press(row, "l");
  press(row, "ArrowUp");
  assert.equal(state.edits.length, 1);
});

test("numbers outside the dial are marked and stay until they are touched; other rules are told", async () => {
  await show();
  cursor.at = 13;
  rowAt(2).focus();
  await frame();
  // The axis goes to 2 because of TIES; 2.5 is above it.
  assert.equal((rowAt(2).querySelector(".ml-curve-outside").getAttribute("d").match(/M/g) ?? []).length, 1);
  assert.equal(rowAt(1).querySelector(".ml-curve-outside").getAttribute("d"), "");
  assert.equal(find(".ml-curve-note").textContent, "outside the dial, 0 to 1 · 1 more rule in the text");
  assert.equal(field("weight").value, "2.5");
  assert.equal(state.edits.length, 0);
  press(rowAt(2), "ArrowDown");
  assert.equal(numberAt(rowsOf(state.sketch, METHODS, "weight", null)[2], 13, KINDS_HERE, "rest"), 2.49);
});

test("every layer's number is written under its column; a hover is shared", async () => {
  await show();
  rowAt(1).focus();
  await frame();
  const texts = () => [...find(".ml-curve-strip > svg").children[1].children].map(({ textContent }) => textContent);
  assert.deepEqual(texts().slice(4, 8), ["0.30", "0.48", "0.50", "0.50"]);
  assert.deepEqual(texts().slice(14 + 4, 14 + 8), ["0.45", "0.40", "0.35", "0.30"]);
  point(rowAt(2), "pointermove", middle(9), 10);
  assert.equal(cursor.hover, 9);
  await frame();
  for (const row of all(".ml-curve-row")) assert.equal(Number(row.querySelector("svg > rect").getAttribute("x")), GUTTER + 9 * column());
  point(rowAt(2), "pointerleave", 0, 0);
  assert.equal(cursor.hover, null);
});

test("a stack of whole layers has nothing to bend but their scale, and that only when asked", async () => {
  await show({ base: 0, widen: false, slices: [slice("passthrough", 6, [part(1, 0)])] });
  assert.equal(all(".ml-curve-row").length, 1);
  assert.match(rowAt(0).getAttribute("aria-valuetext"), /kept whole/);
  point(rowAt(0), "pointerdown", middle(2), 30);
  point(rowAt(0), "pointerup", middle(2), 30);
  assert.equal(state.edits.length, 0);
  const menu = find(".ml-select");
  assert.deepEqual([...menu.options].map(({ textContent }) => textContent), ["kept whole", "scale (kept whole)"]);
  menu.value = "scale";
  menu.dispatchEvent(new window.Event("change"));
  await frame();
  rowAt(0).focus();
  press(rowAt(0), "ArrowDown");
  assert.deepEqual(state.sketch.slices[0].parts[0].numbers.scale, [[null, [1, 1, 0.99, 1, 1, 1]]]);
});

test("names are text, rows come and go with the sources", async () => {
  await show(mixed(), ["<img src=x>", "Arith", "Bible"]);
  assert.equal(view.root.querySelector("img"), null);
  assert.equal(rowAt(0).querySelector(".ml-curve-words").textContent, "<i");
  assert.equal(rowAt(0).getAttribute("aria-label"), "weight of <img src=x>");
  state.sketch = { ...state.sketch, slices: state.sketch.slices.slice(0, 1) };
  cursor.at = 0;
  view.draw();
  assert.equal(all(".ml-curve-row").length, 1);
  state.sketch = { ...state.sketch, slices: [] };
  view.draw();
  assert.equal(all(".ml-curve-row").length, 0);
});

test("100 layers of three sources: the same nodes in every frame, few of them", async () => {
  const weights = (from) => ({ weight: [["self_attn", Array.from({ length: 25 }, (_, i) => ((from + i * 7) % 100) / 100)], [null, [0.2, 0.8]]] });
  await show({ base: 0, widen: false, slices: [0, 25, 50, 75].map((start) => slice("ties", 25, [part(0, start), part(1, start, weights(start)), part(2, start, weights(start + 3))])) });
  const nodes = all("*");
  const path = rowAt(1).querySelector(".ml-curve-line[data-kind=attention]");
  const before = path.getAttribute("d");
  assert.ok(nodes.length < 900, `${nodes.length} nodes`);
  rowAt(1).focus();
  press(rowAt(1), "ArrowUp", { shiftKey: true });
  await frame();
  assert.notEqual(path.getAttribute("d"), before);
  const kept = all("*");
  assert.ok(nodes.every((node) => kept.includes(node)));
});
