// The stack under the hand: what is dragged, moved, stretched, split and refused, by pointer and by keys.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { seamInWords, seamsOf } from "../src/lib/seams_row.js";
import { METHODS, answerFor, passes, point, press, sourceOf } from "./page.mjs";
import { LOWER, UPPER, building } from "./building.mjs";

let page;
const START = { base: 0, widen: false, slices: [passes(0, 0, 4), passes(1, 2, 3), passes(0, 7, 3)] };
const open = (more) => (page = building({ sketch: structuredClone(START), ...more }));
const blend = { method: "ties", base: null, layers: 3, parts: [{ source: 0, start: 4, numbers: {} }, { source: 1, start: 4, numbers: { weight: [[null, 0.3]], density: [[null, 0.6]] } }], numbers: {} };
const fits = { grade: "fits", why: "", facts: [], widen: false };

beforeEach(() => open());
afterEach(() => page.close());

test("a run of a source lands where it is dropped, is seen there before, and is one edit of the hand", () => {
  const { columns, plot, model, context, hand, cell, at } = page;
  const place = (layer) => [page.border(layer), UPPER];
  page.drag(columns, cell(2, 3), cell(2, 5), place(4));
  assert.deepEqual(hand.held.ghosts, [4, 7]);
  assert.ok(plot.querySelector(".ml-ghost"));
  assert.equal(page.find(".ml-card-hand").textContent, "3 layers");
  assert.deepEqual(page.told(page.draft.sketch), ["passthrough 0@0 +4", "passthrough 2@3 +3", "passthrough 1@2 +3", "passthrough 0@7 +3"]);
  point(columns, "pointermove", at(2), 900);
  assert.deepEqual(page.draft.sketch, START, "outside the stack it is nowhere");
  page.drag(columns, [0, 0], place(4));
  page.drop(columns);
  assert.deepEqual(page.told(), ["passthrough 0@0 +4", "passthrough 2@3 +3", "passthrough 1@2 +3", "passthrough 0@7 +3"]);
  assert.deepEqual(model.get("selection"), [4, 5, 6]);
  assert.equal(context.cursor.at, 4);
  assert.equal(model.get("_held"), false);
  assert.match(page.said.at(-1), /^pirate 3–5 in front of output layer 4/);
});

test("on the lower half a run is blended in, and snaps to a slice that it is as long as", () => {
  page.drag(page.columns, page.cell(2, 4), page.cell(2, 6), [page.at(6), LOWER]);
  assert.deepEqual(page.hand.held.place, { at: 4, blend: true });
  page.drop(page.columns);
  assert.deepEqual(page.told(), ["passthrough 0@0 +4", "linear 1@2 2@4 +3", "passthrough 0@7 +3"]);
  const [first] = page.draft.sketch.slices[1].parts;
  assert.deepEqual(first.numbers, { weight: [[null, 0.5]] });
});

test("Escape in the middle of a drag puts it back", () => {
  page.drag(page.columns, page.cell(2, 3), [page.at(4), UPPER]);
  assert.notDeepEqual(page.draft.sketch, START);
  press(document.body, "Escape");
  page.drop(page.columns);
  assert.deepEqual(page.model.get("sketch"), START);
  assert.equal(page.hand.held, null);
});

test("the key that moves a run passes over its own place, and Delete takes every run that is selected", () => {
  page.draft.edit({ selection: [2, 3] });
  page.context.cursor.at = 3;
  press(page.plot, " ");
  press(page.plot, "ArrowRight");
  assert.deepEqual(page.hand.held.ghosts, [3, 5]);
  press(page.plot, "Escape");
  page.draft.edit({ selection: [1, 2, 8] });
  page.context.cursor.at = 8;
  press(page.plot, "Delete");
  assert.deepEqual(page.told(), ["passthrough 0@0 +1", "passthrough 0@3 +1", "passthrough 1@2 +3", "passthrough 0@7 +1", "passthrough 0@9 +1"]);
});

test("a seam's figures are under it where there is room, else for the one in sight; its sentence can be read in full", () => {
  const slices = Array.from({ length: 10 }, (_, i) => passes(i % 2, i, 1));
  const at = (i) => ({ at: i, below: `${i % 2 ? "base" : "reverse"} ${i - 1}`, above: `${i % 2 ? "reverse" : "base"} ${i}`, norm: 1 + i / 10, cosine: 0.5, frechet: null, low: {}, high: {}, off: false, sentence: "It fits." });
  page.model.hear({ sketch: { base: 0, widen: false, slices }, _seams: { turn: 1, recipe: "aa", seams: [1, 2, 3].map(at) } });
  const figures = () => [...page.plot.querySelectorAll("text")].map(({ textContent }) => textContent).filter((words) => words.endsWith("×"));
  assert.deepEqual(figures(), []);
  page.context.cursor.at = 2;
  page.plot.focus();
  page.context.redraw();
  assert.deepEqual(figures(), ["1.2×"]);
  const words = page.find(".ml-seam-words");
  assert.deepEqual([words.tabIndex, /Both ends: norm 1\.2×, cos 0\.50\. It fits/.test(words.textContent)], [0, true]);
  assert.match(words.title, /Fréchet distance: how far/);
});

test("a drag over layers selects them, a drag of what is selected moves it, and so does a slice's head", () => {
  page.drag(page.plot, [page.at(1), UPPER], [page.at(2), UPPER]);
  page.drop(page.plot);
  assert.deepEqual(page.model.get("selection"), [1, 2]);
  page.drag(page.plot, [page.at(2), UPPER], [page.border(7), UPPER]);
  page.drop(page.plot);
  assert.deepEqual(page.told(), ["passthrough 0@0 +1", "passthrough 0@3 +1", "passthrough 1@2 +3", "passthrough 0@1 +2", "passthrough 0@7 +3"]);
  assert.deepEqual(page.model.get("selection"), [5, 6]);
  page.drag(page.plot, [page.at(3), 30], [page.border(0), 30]);
  page.drop(page.plot);
  assert.equal(page.told()[0], "passthrough 1@2 +3");
  press(page.plot, "Escape");
  assert.deepEqual(page.model.get("selection"), []);
});

test("with Shift a press extends what is selected from the chosen layer", () => {
  point(page.plot, "pointerdown", page.at(2), UPPER);
  page.drop(page.plot);
  point(page.plot, "pointerdown", page.at(6), UPPER, { shiftKey: true });
  page.drop(page.plot);
  assert.deepEqual(page.draft.selection, [2, 3, 4, 5, 6]);
});

test("edges trade layers; with Shift the slice below grows alone, with Alt the one above; outside the stack grows", () => {
  const { column } = page.context.scale();
  const edge = (i) => page.root.querySelectorAll(".ml-border")[i];
  const pull = (i, by, more = {}) => {
    page.model.hear({ sketch: structuredClone(START) });
    point(edge(i), "pointerdown", 300, 90, more);
    point(edge(i), "pointermove", 300 + by * column, 90, more);
    point(edge(i), "pointerup", 300 + by * column, 90, more);
    return page.told();
  };
  assert.deepEqual(pull(1, 2), ["passthrough 0@0 +6", "passthrough 1@4 +1", "passthrough 0@7 +3"]);
  assert.deepEqual(pull(1, 2, { shiftKey: true }), ["passthrough 0@0 +6", "passthrough 1@2 +3", "passthrough 0@7 +3"]);
  assert.deepEqual(pull(1, -2, { altKey: true }), ["passthrough 0@0 +4", "passthrough 1@0 +5", "passthrough 0@7 +3"]);
  assert.deepEqual(pull(0, 3), ["passthrough 0@3 +1", "passthrough 1@2 +3", "passthrough 0@7 +3"]);
  assert.deepEqual(pull(3, -2), ["passthrough 0@0 +4", "passthrough 1@2 +3", "passthrough 0@7 +1"]);
  assert.deepEqual(pull(3, 5), ["passthrough 0@0 +4", "passthrough 1@2 +3", "passthrough 0@7 +3"], "there is no layer above its last");
});

test("an edge says where it is and how far it goes, moves by keys, and goes back with Escape", () => {
  press(page.plot, "ArrowRight");
  for (let i = 0; i < 3; i += 1) press(page.plot, "ArrowRight");
  press(page.plot, "e");
  const edge = page.root.querySelectorAll(".ml-border")[1];
  assert.equal(document.activeElement, edge);
  assert.deepEqual(["aria-valuemin", "aria-valuenow", "aria-valuemax"].map((name) => edge.getAttribute(name)), ["2", "4", "6"]);
  assert.equal(edge.getAttribute("aria-label"), "Edge between base 0–3 and reverse 2–4");
  press(edge, "ArrowRight");
  press(edge, "ArrowRight");
  press(edge, "ArrowRight");
  assert.equal(edge.getAttribute("aria-valuenow"), "6");
  assert.deepEqual(page.told(), ["passthrough 0@0 +6", "passthrough 1@4 +1", "passthrough 0@7 +3"]);
  press(edge, "Escape");
  assert.deepEqual(page.model.get("sketch"), START);
  assert.equal(document.activeElement, page.plot);
});

for (const [less, more] of [["ArrowLeft", "ArrowRight"], ["ArrowDown", "ArrowUp"]]) {
  test(`${less} and ${more} on an edge trade layers, and the stack does not hear of them`, () => {
    const edge = page.root.querySelectorAll(".ml-border")[1];
    const after = (key, held = {}) => {
      page.model.hear({ sketch: structuredClone(START) });
      edge.focus();
      press(edge, key, held);
      return page.told();
    };
    assert.deepEqual(after(less), ["passthrough 0@0 +3", "passthrough 1@1 +4", "passthrough 0@7 +3"]);
    assert.deepEqual(after(more), ["passthrough 0@0 +5", "passthrough 1@3 +2", "passthrough 0@7 +3"]);
    assert.deepEqual(after(more, { shiftKey: true }), ["passthrough 0@0 +5", "passthrough 1@2 +3", "passthrough 0@7 +3"]);
    assert.deepEqual(after(less, { altKey: true }), ["passthrough 0@0 +4", "passthrough 1@1 +4", "passthrough 0@7 +3"]);
    assert.deepEqual([document.activeElement, page.context.cursor.at, page.draft.selection], [edge, 0, []]);
  });
}

test("keys alone build: pick up, choose, drop, move, repeat, split, delete, swap", () => {
  const { plot, columns, context } = page;
  columns.focus();
  press(columns, "ArrowRight");
  press(columns, "ArrowRight");
  for (let i = 0; i < 3; i += 1) press(columns, "ArrowDown");
  press(columns, "ArrowDown", { shiftKey: true });
  press(columns, " ");
  assert.match(page.said.join("|"), /pirate 3–4 picked up/);
  for (let i = 0; i < 7; i += 1) press(columns, "ArrowRight");
  assert.deepEqual(page.hand.held.place, { at: 7, blend: false });
  press(columns, "Enter");
  assert.deepEqual(page.told(), ["passthrough 0@0 +4", "passthrough 1@2 +3", "passthrough 2@3 +2", "passthrough 0@7 +3"]);
  plot.focus();
  assert.deepEqual([context.cursor.at, page.draft.selection], [7, [7, 8]]);
  press(plot, "ArrowLeft", { altKey: true });
  press(plot, "ArrowLeft", { altKey: true });
  press(plot, "ArrowLeft", { altKey: true });
  assert.deepEqual(page.told(), ["passthrough 0@0 +4", "passthrough 2@3 +2", "passthrough 1@2 +3", "passthrough 0@7 +3"]);
  press(plot, "d");
  assert.deepEqual(page.told().slice(0, 3), ["passthrough 0@0 +4", "passthrough 2@3 +2", "passthrough 2@3 +2"]);
  press(plot, "Delete");
  assert.deepEqual(page.told(), ["passthrough 0@0 +4", "passthrough 2@3 +2", "passthrough 1@2 +3", "passthrough 0@7 +3"]);
  context.cursor.at = 2;
  press(plot, "s");
  assert.deepEqual(page.told().slice(0, 2), ["passthrough 0@0 +2", "passthrough 0@2 +2"]);
  press(plot, "s");
  assert.equal(page.said.at(-1), "A slice starts here already.");
  press(plot, "ArrowDown");
  assert.equal(page.told()[1], "passthrough 1@2 +2");
  press(plot, "ArrowRight", { shiftKey: true });
  assert.deepEqual(page.draft.selection, [2, 3]);
  press(plot, " ");
  press(plot, "ArrowLeft");
  press(plot, "ArrowLeft");
  assert.deepEqual(page.hand.held.ghosts, [0, 2]);
  press(plot, "Enter");
  assert.deepEqual(page.told().slice(0, 2), ["passthrough 1@2 +2", "passthrough 0@0 +2"]);
});

test("with Down the load in the keys is blended in, Escape puts it back and returns the focus", () => {
  page.columns.focus();
  press(page.columns, "ArrowRight");
  press(page.columns, " ");
  press(page.columns, "ArrowDown");
  assert.deepEqual(page.told(page.draft.sketch)[0], "linear 0@0 1@0 +1");
  press(page.columns, "Escape");
  assert.deepEqual(page.draft.sketch, START);
  assert.equal(document.activeElement, page.columns);
  assert.equal(page.hand.held, null);
});

test("a load picked up by a button is dropped by a click in the stack", () => {
  point(page.columns, "pointerdown", ...page.cell(2, 5));
  page.drop(page.columns);
  page.find(".ml-card button").click();
  point(page.plot, "pointermove", page.border(4), UPPER);
  assert.deepEqual(page.hand.held.place, { at: 4, blend: false });
  point(page.plot, "pointerdown", page.border(4), UPPER);
  assert.equal(page.told()[1], "passthrough 2@5 +1");
});

test("the last layers stay, and the selection never outlives its layers", () => {
  press(page.plot, "a", { ctrlKey: true });
  assert.equal(page.draft.selection.length, 10);
  press(page.plot, "Delete");
  assert.match(page.said.at(-1), /a stack needs one/);
  page.draft.edit({ selection: [8, 9] });
  page.context.cursor.at = 9;
  press(page.plot, "Delete");
  assert.deepEqual([page.draft.selection, page.context.cursor.at, page.told().at(-1)], [[], 7, "passthrough 0@7 +1"]);
});

test("layers and slices have names, repeats are counted, blends are as high as their shares", () => {
  page.model.hear({ sketch: { base: 0, widen: false, slices: [passes(1, 2, 3), blend, passes(1, 2, 3)] } });
  const options = [...page.plot.querySelectorAll("[role=option]")];
  assert.deepEqual(options.map((option) => option.getAttribute("aria-label")).slice(2, 5), ["Output layer 2: reverse 4, used 3 times", "Output layer 3: base 4 with reverse 4, used 3 times", "Output layer 4: base 5 with reverse 5"]);
  assert.equal(page.plot.querySelectorAll("[role=group]")[1].getAttribute("aria-label"), "Slice 2 of 3: TIES 0.60, base, reverse 4–6");
  assert.equal(page.plot.getAttribute("aria-activedescendant"), options[0].id);
  const heights = [...page.plot.querySelectorAll("rect.ml-block0")].map((box) => Number(box.getAttribute("height")));
  assert.equal(heights.length, 3);
  assert.ok(heights.every((height) => Math.abs(height - (0.82 * 112 - 2.5)) < 0.01), `${heights}`);
  assert.match(page.plot.textContent, /×2/);
  assert.match(page.root.textContent, /9 output layers from 3 slices; 3 layers used again/);
});

test("what is taken away has no height but a strip with its sign", () => {
  const away = { method: "ties", base: null, layers: 3, parts: [{ source: 0, start: 4, numbers: {} }, { source: 1, start: 4, numbers: { weight: [[null, [0.5, -0.5]]] } }], numbers: {} };
  page.model.hear({ sketch: { base: 0, widen: false, slices: [away] } });
  const columns = [...page.plot.querySelectorAll(".ml-blocks > g")];
  assert.deepEqual(columns.map((column) => column.querySelectorAll(".ml-taken").length), [0, 0, 1]);
  assert.match(columns[2].textContent, /−Re/);
  const tall = (column, index) => Number(column.querySelector(`rect.ml-block${index}`)?.getAttribute("height") ?? 0);
  assert.ok(Math.abs(tall(columns[2], 0) + 15 - tall(columns[0], 0) - tall(columns[0], 1)) < 3 && tall(columns[2], 1) === 0);
});

test("drawing again makes no new columns, and a hover touches nothing but the hover", async () => {
  const columns = [...page.plot.querySelectorAll(".ml-blocks > g")];
  assert.equal(columns.length, 10);
  let changes = 0;
  const watch = new MutationObserver((records) => (changes += records.length));
  page.context.cursor.hover = 3;
  page.context.redraw();
  page.context.cursor.hover = 5;
  watch.observe(page.plot.querySelector(".ml-blocks"), { childList: true, attributes: true, subtree: true });
  page.context.redraw();
  await Promise.resolve();
  assert.equal(changes, 0);
  page.draft.edit({ sketch: { ...START, slices: [START.slices[0], passes(2, 0, 1), ...START.slices.slice(1)] } });
  const after = [...page.plot.querySelectorAll(".ml-blocks > g")];
  const width = page.context.scale().column;
  assert.equal(after.length, 11);
  page.draft.edit({ sketch: { ...START, slices: [START.slices[0], passes(2, 1, 1), ...START.slices.slice(1)] } });
  const later = [...page.plot.querySelectorAll(".ml-blocks > g")];
  assert.equal(page.context.scale().column, width);
  assert.equal(later.filter((column) => after.includes(column)).length, 10, "only the column that changed is made anew");
  watch.disconnect();
});

test("seams are where layers do not follow, with what was measured, stale or missing told apart", () => {
  const sources = ["base", "reverse", "pirate"].map((name) => sourceOf(name));
  const sketch = { base: 0, widen: false, slices: [passes(0, 0, 2), passes(0, 2, 2), passes(1, 4, 2), blend, passes(1, 7, 2)] };
  const measured = { at: 4, below: "base 3", above: "reverse 4", norm: 1.8, cosine: -0.71, frechet: null, low: { norm: 0.9, cosine: 0.9 }, high: { norm: 1.2, cosine: 1 }, off: true, sentence: "It arrives too large." };
  const draft = { sketch, sources, methods: METHODS, seams: { turn: 3, recipe: "aa", seams: [measured] }, answer: { recipe: "aa" }, state: "exact" };
  const seams = seamsOf(draft);
  assert.deepEqual(seams.map(({ at, below, above }) => [at, below, above]), [[4, "base 3", "reverse 4"], [6, "reverse 5", "base 4"], [9, "base 6", "reverse 7"], [11, "reverse 8", "final norm"]]);
  assert.deepEqual(seams.map((seam) => [seam.measured !== null, seam.stale]), [[true, false], [false, false], [false, false], [false, false]]);
  assert.equal(seamInWords(seams[0], 11, 3), "Seam 3 to 4, base 3 to reverse 4: risk. Both ends: norm 1.8×, cos −0.71. It arrives too large.");
  assert.equal(seamInWords(seams[3], 11, 3), "Seam under the final norm, reverse 8 to final norm: not measured yet.");
  const thrice = { base: 0, widen: false, slices: [passes(0, 0, 4), passes(0, 2, 2), passes(0, 2, 2), passes(0, 2, 8)] };
  const places = seamsOf({ ...draft, sketch: thrice, seams: { ...draft.seams, seams: [4, 6, 8].map((at) => ({ ...measured, at, below: "base 3", above: "base 2", norm: at })) } });
  assert.deepEqual(places.map((seam) => [seam.at, seam.measured?.norm]), [[4, 4], [6, 6], [8, 8]], "the same border in several places");
  assert.equal(seamsOf({ ...draft, state: "draft" })[0].stale, true);
  assert.equal(seamsOf({ ...draft, answer: { recipe: "bb" } })[0].stale, true);
  assert.match(seamInWords(seamsOf({ ...draft, state: "draft" })[0], 11, 3), /From turn 3\.$/);
  page.model.hear({ sketch, _seams: draft.seams });
  assert.equal(page.plot.querySelectorAll(".ml-seam.ml-risk.ml-stale").length, 1);
  assert.match(page.find(".ml-seam-words").textContent, /risk/);
  assert.equal(page.root.querySelectorAll(".ml-seam").length, 4);
  page.model.hear({ answer: answerFor(page.model.state, { recipe: "aa" }), status: "done", _answered: page.model.get("_turn") });
  assert.equal(page.plot.querySelectorAll(".ml-seam.ml-stale").length, 0);
});

test("a split inside one blend is no seam, as in inspection/borders.py", () => {
  const cut = (start, layers, more = {}) => ({ ...blend, layers, parts: blend.parts.map((part) => ({ ...part, start })), ...more });
  const sources = page.model.get("_sources");
  const at = (...slices) => seamsOf({ sketch: { base: 0, widen: false, slices }, sources, methods: METHODS, seams: null, answer: null, state: "exact" }).map((seam) => seam.at);
  assert.deepEqual(at(cut(0, 4), cut(4, 6)), []);
  const turned = cut(4, 6);
  assert.deepEqual(at(cut(0, 4), { ...turned, parts: [...turned.parts].reverse() }), [], "the base has no place among the others");
  assert.deepEqual(at(cut(0, 4), cut(4, 6, { method: "task_arithmetic" })), [4], "another method blends in another way");
  assert.deepEqual(at(cut(0, 4), passes(0, 4, 6)), [4]);
  assert.deepEqual(at(cut(0, 4), cut(5, 5)), [4]);
});

test("hostile names are text", () => {
  page.close();
  const name = "<img src=x onerror=alert(1)>";
  open({ _sources: [name, "b</text><script>", "c"].map((each) => ({ ...sourceOf("base"), name: each, code: "<b" })) });
  assert.equal(page.root.querySelectorAll("img, script, b > b").length, 0);
  assert.match(page.root.textContent, /<img src=x/);
});

test("nothing is heard after the page is gone", () => {
  page.close();
  press(page.plot, "s");
  point(page.plot, "pointerdown", 200, UPPER);
  assert.equal(page.model.listeners, 0);
  assert.deepEqual(page.model.get("sketch"), START);
});

test("who leaves with a load in the keys puts it back, and keeps the focus where it went", () => {
  page.columns.focus();
  press(page.columns, " ");
  const elsewhere = page.find("#t-method");
  elsewhere.focus();
  assert.deepEqual([page.hand.held, document.activeElement], [null, elsewhere]);
  page.plot.focus();
  press(page.plot, " ");
  press(page.plot, "ArrowRight");
  elsewhere.focus();
  assert.deepEqual([page.hand.held, document.activeElement], [null, elsewhere]);
  assert.deepEqual(page.draft.sketch, START);
});

test("one layer at a time comes into the selection or leaves it, by X and by a press with Ctrl", () => {
  const { plot, context, model, at, said } = page;
  point(plot, "pointerdown", at(1), UPPER);
  point(plot, "pointerup", at(1), UPPER);
  point(plot, "pointerdown", at(7), UPPER, { ctrlKey: true });
  point(plot, "pointerup", at(7), UPPER);
  assert.deepEqual(model.get("selection"), [1, 7]);
  assert.equal(said.at(-1), "Layers 1 and 7 selected.");
  context.cursor.at = 4;
  press(plot, "x");
  assert.deepEqual([model.get("selection"), context.cursor.at], [[1, 4, 7], 4]);
  point(plot, "pointerdown", at(1), UPPER, { metaKey: true });
  assert.deepEqual(model.get("selection"), [4, 7]);
  context.cursor.at = 4;
  const depth = () => model.get("sketch").slices.reduce((sum, { layers }) => sum + layers, 0);
  const before = depth();
  press(plot, "Delete");
  assert.equal(depth(), before - 2, "what is done is done to both runs");
});
