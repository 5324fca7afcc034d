// The explainer in a page without a browser: dials reach the model as whole numbers of a method, steps reach the eye.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { FakeModel, openPage, pause } from "./page.mjs";

const dial = (name, more = {}) => ({
  name, place: "numbers", kind: "float", perModel: false, low: 0, high: 2, step: 0.05, choices: [], doc: `What ${name} does.`, unset: "own", values: [1], ...more,
});
const SHOWN = {
  turn: 0,
  method: "ties",
  summary: "TIES: trim.",
  names: ["A", "B"],
  base: [0.5, 0, -0.5, 0],
  limit: 2,
  dials: [
    dial("weight", { perModel: true, low: -1, values: [1, 0.5] }),
    dial("normalize", { kind: "bool", values: [true] }),
    dial("trim_scope", { kind: "str", choices: ["tensor", "model"], values: ["tensor"] }),
    dial("alpha", { high: 1, unset: "1/T", values: [null] }),
    dial("depth", { place: "trait", high: 1, values: [0.5] }),
  ],
  stages: [
    { name: "models", doc: "What they hold.", change: false, each: true, rows: [[1, 2, 0, -1], [0, 1, 1, 1]] },
    { name: "task vectors", doc: "Changes.", change: true, each: true, rows: [[0.5, 2, 0.5, -1], [-0.5, 1, 1.5, 1]] },
    { name: "trim", doc: "The largest.", change: true, each: true, rows: [[0, 2, 0, -1], [0, 1, 1.5, null]] },
    { name: "sum", doc: "Added up.", change: true, each: false, rows: [[0, 3, 1.5, 0]] },
    { name: "add to base", doc: "The end.", change: false, each: false, rows: [[0.5, 3, 1, 0]] },
  ],
};

let model;
let close;
let root;
const find = (selector) => root.querySelector(selector);
const all = (selector) => [...root.querySelectorAll(selector)];
const labelled = (words) => find(`[aria-label="${words}"]`);

async function show() {
  const { default: widget } = await import("../src/explain.js");
  const el = document.createElement("div");
  document.body.append(el);
  close = widget.render({ model, el });
  root = el.querySelector(".ml-root");
  return el;
}

function turn(input, value, kind = "input") {
  if (input.type === "checkbox") input.checked = value;
  else input.value = `${value}`;
  input.dispatchEvent(new window.Event(kind, { bubbles: true }));
}

beforeEach(() => {
  openPage();
  model = new FakeModel({ method: "ties", numbers: {}, depth: 0.5, seed: 0, _methods: ["linear", "ties"], _shown: structuredClone(SHOWN) });
});
afterEach(() => {
  close?.();
  close = undefined;
});

test("a slider sends all numbers of the method but those not given", async () => {
  await show();
  turn(labelled("weight of B"), -0.5);
  assert.deepEqual(model.sent.at(-1), { numbers: { weight: [1, -0.5], normalize: true, trim_scope: "tensor" }, _turn: 1 });
  assert.equal(labelled("weight of B").closest("label").querySelector("output").textContent, "−0.5");
  await pause(60);
  assert.equal(labelled("alpha").closest("label").querySelector("output").textContent, "1/T");
  turn(labelled("alpha"), 0.25);
  assert.equal(model.sent.at(-1).numbers.alpha, 0.25);
});

test("boxes, lists and traits of their own", async () => {
  await show();
  turn(labelled("normalize"), false, "change");
  assert.equal(model.sent.at(-1).numbers.normalize, false);
  await pause(60);
  turn(labelled("trim_scope"), "model", "change");
  assert.equal(model.sent.at(-1).numbers.trim_scope, "model");
  await pause(60);
  turn(labelled("depth"), 1);
  assert.deepEqual(model.sent.at(-1), { depth: 1, _turn: 3 });
});

test("another method starts from its own numbers, whatever waits to be sent", async () => {
  await show();
  turn(labelled("weight of A"), 0);
  turn(labelled("weight of A"), 0.5);
  turn(labelled("Method"), "linear", "change");
  await pause(60);
  assert.deepEqual(model.sent.at(-1), { numbers: {}, method: "linear", _turn: 2 });
});

test("the dials of the old method cannot be turned while those of the new one are on their way", async () => {
  await show();
  const dials = find("fieldset");
  turn(labelled("Method"), "linear", "change");
  assert.equal(dials.disabled, true);
  model.hear({ error: "something else is wrong" });
  assert.equal(dials.disabled, true);
  const next = { ...structuredClone(SHOWN), turn: 1, method: "linear", dials: SHOWN.dials.slice(0, 1) };
  model.hear({ _shown: next });
  assert.equal(dials.disabled, false);
  assert.equal(find('[aria-label="normalize"]'), null, "the dials are those of linear, error or not");
  assert.equal(labelled("Method").value, "linear");
});

test("while edits are on their way the dials stay; then they follow Python", async () => {
  await show();
  turn(labelled("weight of A"), 0);
  turn(labelled("weight of A"), 2);
  model.hear({ _shown: { ...structuredClone(SHOWN), turn: 1 } });
  assert.equal(labelled("weight of A").value, "2", "a second edit still waits");
  await pause(60);
  model.hear({ _shown: { ...structuredClone(SHOWN), turn: 1 } });
  assert.equal(labelled("weight of A").value, "2", "this picture is older than the hand");
  model.hear({ _shown: { ...structuredClone(SHOWN), turn: 2 } });
  assert.equal(labelled("weight of A").value, "1");
});

test("each step is a picture that can be read out; what went is an outline, nothing is a dot", async () => {
  await show();
  const pictures = all(".ml-stage svg");
  assert.equal(pictures.length, 5);
  assert.equal(pictures[2].getAttribute("aria-label"), "trim. A: 0, 2, 0, −1; B: 0, 1, 1.5, not a number");
  assert.equal(pictures[3].getAttribute("aria-label"), "sum. merged: 0, 3, 1.5, 0");
  const marks = (at, selector) => pictures[at].querySelectorAll(selector).length;
  assert.deepEqual([marks(1, ".ml-was"), marks(2, ".ml-was"), marks(3, ".ml-was")], [0, 4, 0]);
  assert.deepEqual([marks(2, "circle"), marks(3, "circle")], [3, 2]);
  assert.deepEqual([marks(0, ".ml-at-base"), marks(2, ".ml-at-base"), marks(4, ".ml-at-base")], [4, 0, 4]);
  assert.equal(pictures[0].querySelector("title").textContent, "number 1: A 1, B 0");
});

test("the places are numbered once, below the last step", async () => {
  await show();
  const numbered = (picture) => [...picture.querySelectorAll("text")].filter((text) => Number(text.getAttribute("y")) > 72).map((text) => text.textContent);
  assert.deepEqual(all(".ml-stage svg").map(numbered), [[], [], [], [], ["1", "2", "3", "4"]]);
});

test("the one model of a method has its colour, what comes of it that of merged", async () => {
  const [first, , , , end] = structuredClone(SHOWN).stages;
  first.rows.pop();
  model = new FakeModel({ ...model.state, _shown: { ...structuredClone(SHOWN), names: ["A"], stages: [first, end] } });
  await show();
  const [before, after] = all(".ml-stage svg");
  assert.equal(before.getAttribute("aria-label"), "models. A: 1, 2, 0, −1");
  assert.equal(after.getAttribute("aria-label"), "add to base. merged: 0.5, 3, 1, 0");
  const colours = (picture) => new Set([...picture.querySelectorAll("[style]")].map((mark) => mark.getAttribute("style")));
  assert.equal(colours(after).has("fill:var(--ml-merged)"), true);
  assert.equal(colours(before).has("fill:var(--ml-merged)"), false);
  assert.equal(after.querySelectorAll(".ml-was").length, 0);
});

test("what is wrong is said, and what stands stays", async () => {
  await show();
  model.hear({ error: "the weights sum to zero." });
  assert.equal(find(".ml-error").hidden, false);
  assert.equal(find(".ml-error-text").textContent, "the weights sum to zero.");
  assert.equal(root.dataset.state, "stale");
  model.hear({ error: "" });
  assert.equal(find(".ml-error").hidden, true);
});

test("closing leaves nothing behind", async () => {
  const el = await show();
  close();
  assert.equal(el.children.length, 0);
  assert.equal(model.listeners, 0);
});
