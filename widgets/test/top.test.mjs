// The top bar: counts that follow the hand, time back and forth, what is on screen and of what.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { costsOf } from "../src/lib/counts.js";
import { signed } from "../src/lib/figures.js";
import { topView } from "../src/lib/top_view.js";
import { pause, passes, press, sourceOf } from "./page.mjs";
import { stage } from "./views.mjs";

let scene;
let view;
function show(more) {
  scene = stage(more);
  view = scene.show(topView);
  return scene;
}
afterEach(() => scene?.close());
const find = (selector) => view.root.querySelector(selector);
const button = (name) => [...view.root.querySelectorAll("button")].find((each) => (each.getAttribute("aria-label") ?? each.textContent) === name);
const counts = () => [...view.root.querySelectorAll(".ml-counts > div")].map((cell) => cell.querySelector("dd").textContent.trim());
const past = (more) => ({ undo: 0, redo: 0, undo_words: "", redo_words: "", entries: [], snapshots: [], showing: "", ...more });

/** Slow, plain reference: a stack layer by layer. */
function slowly(sketch, sources) {
  const host = sources[sketch.base ?? sketch.slices[0].parts[0].source];
  const all = { layers: 0, parameters: host.rest.parameters, bytes: host.rest.bytes };
  for (const slice of sketch.slices) {
    for (let i = 0; i < slice.layers; i += 1) {
      const { source, start } = slice.parts[0];
      all.layers += 1;
      all.parameters += sources[source].parameters[start + i];
      all.bytes += sources[source].bytes[start + i];
    }
  }
  return all;
}

test("costs are those of the layers, one by one", () => {
  const sources = ["base", "other"].map((name, s) => ({ ...sourceOf(name), parameters: Array.from({ length: 10 }, (_, i) => 10 + i + 100 * s), bytes: Array.from({ length: 10 }, (_, i) => 3 * i + s) }));
  for (const base of [0, 1, null]) {
    const sketch = { base, widen: false, slices: [passes(1, 2, 3), passes(0, 0, 4), passes(1, 2, 3)] };
    const { layers, parameters, bytes } = costsOf(sketch, sources);
    assert.deepEqual({ layers, parameters, bytes }, slowly(sketch, sources));
  }
});

test("layers kept whole take no memory beside their sources, blended ones do; reading is against the host alone", () => {
  const sources = [sourceOf("base"), sourceOf("other")]; // 2,000 bytes outside the layers, 200 a layer
  const whole = costsOf({ base: 0, widen: false, slices: [passes(0, 0, 10), passes(1, 5, 5)] }, sources);
  assert.equal(whole.memory, 8000);
  assert.equal(whole.decode, (2000 + 15 * 200) / 4000);
  const blend = { method: "linear", base: null, layers: 4, parts: [{ source: 0, start: 0, numbers: {} }, { source: 1, start: 0, numbers: {} }], numbers: {} };
  assert.equal(costsOf({ base: 0, widen: false, slices: [passes(0, 0, 1), blend] }, sources).memory, 8800);
  const scaled = { ...passes(0, 0, 2), parts: [{ source: 0, start: 0, numbers: { scale: [[null, 0.5]] } }] };
  assert.equal(costsOf({ base: 0, widen: false, slices: [passes(0, 5, 1), scaled] }, sources).memory, 8400);
  assert.equal(costsOf({ base: 0, widen: false, slices: [blend] }, sources).memory, 10800, "embeddings are blended as the first slice is");
  assert.equal(costsOf({ base: 0, widen: false, slices: [passes(0, 0, 1), blend, passes(1, 0, 1), blend] }, sources).memory, 8800, "a repeat is computed once");
  const curved = { ...blend, parts: [{ ...blend.parts[0], numbers: { weight: [[null, [0, 1]]] } }, blend.parts[1]] };
  assert.equal(costsOf({ base: 0, widen: false, slices: [passes(0, 0, 1), blend, curved] }, sources).memory, 9600, "the same layers by other numbers are others");
});

test("a dtype of the recipe is known from its last answer: figures on disk, reading and memory follow it", () => {
  const sources = [sourceOf("base"), sourceOf("other")];
  const made = { base: 0, widen: false, slices: [passes(0, 0, 10)] };
  const answer = { made, layers: 10, parameters: 2000, bytes: 2000 }; // one byte each, two in the sources
  assert.deepEqual(costsOf(made, sources, answer, true), { layers: 10, parameters: 2000, bytes: 2000, memory: 10000, decode: 0.5 });
  const drafted = { ...made, slices: [passes(0, 0, 10), passes(1, 5, 5), passes(0, 3, 2)] };
  assert.deepEqual(costsOf(drafted, sources, answer), { layers: 17, parameters: 2700, bytes: 2700, memory: 10500, decode: 2700 / 4000 }, "two layers are repeats");
  const own = { ...answer, bytes: 4000 };
  assert.deepEqual(costsOf(drafted, sources, own), costsOf(drafted, sources), "that of the sources is no other");
  assert.equal(costsOf(made, sources, { ...own, parameters: 2001 }, true).parameters, 2001, "what Python has counted");
  const wide = [sources[0], { ...sources[1], bytes: new Array(10).fill(400) }];
  const blend = { method: "linear", base: null, layers: 2, parts: [0, 1].map((source) => ({ source, start: 0, numbers: {} })), numbers: {} };
  assert.equal(costsOf({ ...made, slices: [passes(0, 0, 1), blend] }, wide).bytes, 2000 + 200 + 800, "the widest dtype of a blend");
  const kept = { base: 0, widen: false, slices: [passes(0, 0, 5), passes(1, 5, 5)] };
  assert.deepEqual(costsOf(kept, wide, { made: kept, layers: 10, parameters: 2000, bytes: 5000 }), costsOf(kept, wide), "each layer in its source's own");
});

test("counts follow the hand before Python has answered, and take its figures when it has", () => {
  show();
  assert.deepEqual(counts(), ["10", "2 k", "4 kB", "12 kB", "1.00×"]);
  scene.draft.edit({ sketch: { ...scene.draft.sketch, slices: [...scene.draft.sketch.slices, passes(1, 6, 2)] } });
  assert.deepEqual(counts().slice(0, 3), ["12 +2", "2.2 k", "4.4 kB"]);
  scene.model.answerNow({ parameters: 777 });
  assert.deepEqual(counts().slice(0, 2), ["12 +2", "777"]);
  scene.draft.edit({ sketch: { ...scene.draft.sketch, slices: [passes(0, 0, 7)] } });
  assert.deepEqual(counts().slice(0, 2), ["7 −3", "1.7 k"], "an old figure is not of this stack");
});

test("undo and redo say what they would do, and do nothing where there is nothing", () => {
  show();
  button("Undo").click();
  view.undo();
  assert.deepEqual(scene.model.messages, []);
  assert.equal(button("Undo").title, "nothing to undo");
  scene.model.hear({ _past: past({ undo: 2, redo: 1, undo_words: "weight 0.5", redo_words: "slice dropped" }) });
  assert.deepEqual([button("Undo").title, button("Redo").title], ["undo: weight 0.5", "redo: slice dropped"]);
  button("Undo").click();
  button("Redo").click();
  assert.deepEqual(scene.model.messages, [{ type: "undo" }, { type: "redo" }]);
});

test("A and B: now and the newest snapshot; a tap stays, a held key only looks", async () => {
  show();
  view.peek();
  assert.deepEqual(scene.model.messages, [], "nothing is kept yet");
  const snapshots = [{ name: "one", recipe: "1" }, { name: "two", recipe: "2" }];
  scene.model.hear({ _past: past({ snapshots }) });
  button("B saved").click();
  assert.deepEqual(scene.model.messages, [{ type: "show", name: "two" }]);
  scene.model.hear({ _past: past({ snapshots, showing: "two" }) });
  assert.deepEqual([button("A now"), button("B saved")].map((each) => each.getAttribute("aria-pressed")), ["false", "true"]);
  assert.match(find(".ml-under").textContent, /showing two/);
  view.show("");
  scene.model.hear({ _past: past({ snapshots }) });
  scene.model.messages.length = 0;
  view.peek();
  view.unpeek();
  assert.deepEqual(scene.model.messages, [{ type: "show", name: "two" }], "a tap");
  view.peek();
  await pause(350);
  view.unpeek();
  assert.deepEqual(scene.model.messages.slice(1), [{ type: "show", name: "two" }, { type: "show", name: "" }], "held");
});

test("keeping finds a name that is free", () => {
  show({ _past: past({ snapshots: [{ name: "mine", recipe: "1" }, { name: "snapshot 3", recipe: "2" }] }) });
  button("Keep a snapshot of this").click();
  assert.deepEqual(scene.model.messages, [{ type: "keep", name: "snapshot 4" }]);
});

test("it says what it is of: kept, changed since, draft, exact, stopped", () => {
  const snapshots = [{ name: "one", recipe: "aaaa" }];
  show({ _past: past({ snapshots, entries: [{ turn: 3, recipe: "aaaa", words: "", scores: {}, now: true }] }) });
  assert.equal(find(".ml-under").textContent, "aaaakept as one");
  assert.deepEqual([find(".ml-state b").textContent, find(".ml-detail").textContent], ["Loading", "opening 3 models"]);
  scene.model.answerNow();
  assert.deepEqual([find(".ml-state b").textContent, find(".ml-detail").textContent], ["Exact", "57 tensors, 18 computed, 0.8 ms"]);
  scene.model.hear({ status: "measuring" });
  assert.equal(find(".ml-detail").textContent, "seams measuring");
  scene.model.answerNow({ redone: 0 });
  assert.equal(find(".ml-detail").textContent, "57 tensors, none computed, 0.8 ms");
  const rows = [{ name: "Sums", unit: "%", better: "higher", value: 1, spread: null, controls: [], past: [] }];
  scene.model.hear({ status: "measuring", _scores: { recipe: "00000000", done: true, rows } });
  assert.deepEqual([find(".ml-state b").textContent, find(".ml-detail").textContent], ["Exact", "scores measuring"], "the light is about the table");
  scene.model.hear({ status: "done" });
  assert.equal(find(".ml-detail").textContent, "scores of an earlier turn");
  scene.model.answerNow({ unsaved: "It cannot be saved as it is: its layers differ in <b>width." });
  scene.model.hear({ _scores: { recipe: "3f2a9c01", done: true, rows } });
  assert.equal(find(".ml-detail").textContent, "cannot be saved as it is");
  assert.match(find(".ml-detail").title, /differ in <b>width\. 57 tensors/);
  scene.model.hear({ _past: past({ snapshots, entries: [{ turn: 4, recipe: "bbbb", words: "", scores: {}, now: true }] }) });
  assert.match(find(".ml-under").textContent, /changed since one/);
  scene.draft.edit({ prompt: "x" });
  assert.equal(find(".ml-top .ml-fingerprint").textContent, "–", "no recipe is answered yet");
  assert.deepEqual([find(".ml-state b").textContent, find(".ml-light").dataset.state], ["Draft", "draft"]);
  scene.model.hear({ status: "stopped", _answered: 1 });
  assert.equal(find(".ml-state b").textContent, "Stopped");
});

test("the state is said aloud once it has settled, not at every move of a drag", async () => {
  show();
  const told = () => find("[role=status]").textContent;
  for (let i = 0; i < 4; i += 1) {
    scene.draft.edit({ prompt: `${i}` });
    await pause(60);
    scene.model.answerNow();
    assert.equal(told(), "");
  }
  await pause(700);
  assert.equal(told(), "Exact");
  scene.draft.edit({ prompt: "x" });
  assert.equal(told(), "");
});

test("Stop works while there is something to stop, and keeps the focus", () => {
  show();
  const stop = button("Stop");
  stop.focus();
  stop.click();
  scene.model.answerNow();
  assert.equal(stop.getAttribute("aria-disabled"), "true");
  assert.equal(document.activeElement, stop);
  stop.click();
  assert.deepEqual(scene.model.messages, [{ type: "stop" }]);
});

test("the bar is one stop of Tab, with arrows inside", () => {
  show();
  const stops = () => [...view.root.querySelectorAll(".ml-act button")].filter(({ tabIndex }) => tabIndex === 0);
  assert.deepEqual(stops(), [button("Undo")]);
  button("Undo").focus();
  press(button("Undo"), "ArrowRight");
  assert.equal(document.activeElement, button("Redo"));
  assert.deepEqual(stops(), [button("Redo")]);
  press(button("Redo"), "End");
  assert.equal(document.activeElement, button("Keys"));
});

test("the keys are a list beside the page: opened by a button, closed by the widget, the focus goes back", () => {
  show();
  button("Keys").focus();
  button("Keys").click();
  const list = find(".ml-keys");
  assert.deepEqual([list.hidden, button("Keys").getAttribute("aria-expanded"), list.contains(document.activeElement)], [false, "true", true]);
  assert.equal(list.getAttribute("aria-modal"), null);
  assert.match(list.textContent, /undo, redo.*split, repeat, remove/);
  assert.equal(view.shut(), true);
  assert.deepEqual([list.hidden, document.activeElement], [true, button("Keys")]);
  assert.equal(view.shut(), false, "it is closed already");
});

test("a change has its sign, and none is told apart from a small one", () => {
  assert.deepEqual([signed(2), signed(-0.0412), signed(0), signed(9.04)], ["+2", "−0.0412", "±0", "+9.04"]);
});
