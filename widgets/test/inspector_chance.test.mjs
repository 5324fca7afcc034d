// The inspector in a page without a browser: values against chance, readings, tables, and a view that is closed.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { FakeModel, frame, openPage, pause, point, press } from "./page.mjs";

const GUTTER = 102; // px: the 15 letters of the longest name, and air
const WIDE = 420; // of a narrow panel, where nothing can be measured
const COLUMN = (WIDE - GUTTER) / 6;

function packed(numbers, shape) {
  const bytes = new Uint8Array(new Float32Array(numbers).buffer);
  const message = new Uint8Array(bytes.length + 3);
  message.set(bytes, 3);
  return { view: new DataView(message.buffer, 3), dtype: "float32", shape };
}
const LAYERS = ["0", "1", "2", "3", "4", "5"];
const SIX = (value) => LAYERS.map((_, i) => value + i / 10);
const panel = (id, more = {}) => ({
  id, kind: "heat", title: id, unit: "1", scale: "linear", middle: 0, rows: ["self_attn.q_pro", "mlp.up_proj"], columns: LAYERS, of: "", shows: "How large it is.",
  chance: "", so: "", note: "", formula: "", low: 0, high: 2, values: packed([...SIX(0), ...SIX(1)], [2, 6]), band: null, points: null, chanceband: null, cells: null, wide: false,
  state: "done", done: 0, total: 0, seconds: 0.012, ...more,
});
const PANELS = () => [
  panel("norms", { kind: "lines", scale: "log", rows: ["base", "pirate"], values: packed([...SIX(1), ...SIX(2)], [2, 6]), low: null, high: null, points: [[0, 50, 1]], wide: true }),
  panel("conflict", { unit: "x chance", scale: "diverging", middle: 1, low: 0.5, high: 1.5, chance: "0.98 to 1.02.", so: "nothing stands out.", formula: "P(sign a ≠ sign b) / ½" }),
  panel("size", { values: packed([Number.NaN, ...SIX(0).slice(1), ...SIX(1)], [2, 6]) }),
  panel("tokens", { kind: "tokens", rows: ["<b>the</b>", "mlp.up_proj"] }),
  panel("sinks", { kind: "sinks", rows: ["0"], columns: ["token", "norm"], values: null, cells: [["<img src=x>", 241.25]] }),
];
const DIALS = {
  density: { value: 0.6, low: 0, high: 1, curve: [0, 0.8, 1], text: "Keeping 60 % keeps 94 %." },
  pairs: [{ id: "1-2", label: "pirate with sort", chosen: true, sources: [1, 2] }, { id: "1-3", label: "pirate with stranger", chosen: false }],
  statistics: [{ id: "median", label: "median", chosen: true }, { id: "rms", label: "RMS", chosen: false }],
  sources: [], prompts: [],
};

let model;
let close;
let root;
let painted;
const find = (selector) => root.querySelector(selector);
const all = (selector) => [...root.querySelectorAll(selector)];
const plot = (id) => find(`[data-panel=${id}] .ml-plot`);
const texts = (id, selector = "text") => all(`[data-panel=${id}] ${selector}`).map((each) => each.textContent);
const x = (column) => GUTTER + (column + 0.5) * COLUMN;

/** A canvas that remembers its pixels; six px a letter; every token is a grey of its own. */
function fakeCanvas() {
  painted = [];
  let greys = 0;
  window.HTMLCanvasElement.prototype.getContext = function getContext() {
    this.context ??= {
      canvas: this,
      calls: [],
      measureText: (words) => ({ width: 6 * words.length }),
      createImageData: (width, height) => ({ width, height, data: new Uint8ClampedArray(width * height * 4) }),
      putImageData: (image) => painted.push(image),
      getImageData: () => ({ data: [(greys += 5), greys, greys, 255] }),
      clip: () => this.context.calls.push("hatched"),
      arc: (x, y) => this.context.calls.push([Math.round(x), Math.round(y)]),
      ...Object.fromEntries(["fillRect", "clearRect", "drawImage", "setTransform", "save", "restore", "beginPath", "rect", "moveTo", "lineTo", "stroke", "fill"].map((name) => [name, () => {}])),
    };
    return this.context;
  };
}

async function show() {
  const { default: widget } = await import("../src/inspector.js");
  const el = document.createElement("div");
  document.body.append(el);
  close = widget.render({ model, el });
  root = el.querySelector(".ml-root");
  await frame();
  return el;
}

beforeEach(() => {
  openPage();
  fakeCanvas();
  model = new FakeModel({
    panels: PANELS(), strip: ["base", "pirate", "sort", "stranger"].map((name) => ({ name, code: name.slice(0, 2), layers: 6 })), dials: structuredClone(DIALS), readout: [],
    words: { facts: [["prompts", "5 texts"]] }, busy: null, selection: { layers: [] }, turned: {}, asked: { stop: 0, measure: 0 },
  });
});
afterEach(() => {
  close?.();
  close = undefined;
});

test("what lies within chance is pale, what does not carries a dot, cell by cell, and the chip says so", async () => {
  const panels = PANELS();
  const [low, high] = [0.35, 1].map((each) => packed([...SIX(0).map(() => each), Number.NaN, ...SIX(0).slice(1).map(() => each)], [2, 6]));
  panels[1] = { ...panels[1], low: 0, high: 2, chanceband: { low, high } };
  panels[2] = { ...panels[2], values: panels[1].values, chanceband: { low: 0, high: 9 } };
  panels[3] = { ...panels[3], values: panels[1].values, low: 0, high: 2, scale: "diverging", middle: 1 };
  model = new FakeModel({ ...model.state, panels });
  await show();
  const [conflict, , plain] = painted.filter(({ width, height }) => width === 6 && height === 2);
  const grey = (image, row, column) => image.data[4 * (6 * row + column)];
  assert.deepEqual([0, 1, 2, 3].map((column) => grey(conflict, 0, column) === grey(plain, 0, column)), [true, true, true, true], "below the band");
  assert.deepEqual([4, 5].map((column) => grey(conflict, 0, column) === grey(plain, 0, column)), [false, false], "in it");
  assert.equal(grey(conflict, 1, 0), grey(plain, 1, 0), "chance is not known here: neither pale nor dotted");
  const dots = (id) => plot(id).querySelector("canvas").context.calls.filter(Array.isArray);
  assert.deepEqual(dots("conflict").map(([, y]) => y), [9, 9, 9, 9, 31, 31, 31, 31, 31]);
  assert.deepEqual([dots("size"), dots("tokens")], [[], []]);
  assert.match(find("[data-panel=conflict] .ml-colours-key").textContent, /^outside chance/);
  assert.doesNotMatch(find("[data-panel=tokens] .ml-colours-key").textContent, /chance/);
  point(plot("conflict"), "pointermove", x(2), 25);
  await frame();
  assert.ok(texts("conflict", ".ml-on-ink").includes("1.20×, outside chance 0.35 to 1×"));
  point(plot("conflict"), "pointermove", x(5), 5);
  await frame();
  assert.ok(texts("conflict", ".ml-on-ink").includes("0.50×, within chance 0.35 to 1×"));
  point(plot("conflict"), "pointermove", x(0), 25);
  await frame();
  assert.ok(texts("conflict", ".ml-on-ink").includes("1.00×"));
});

test("the key of the lines names the spread of the tokens and chance; chance is hatched over the spread", async () => {
  const panels = PANELS();
  const [least, most] = [0.5, 2].map((times) => packed([...SIX(1), ...SIX(2)].map((each) => each * times), [2, 6]));
  panels[0] = { ...panels[0], band: { low: least, high: most }, chanceband: { low: least, high: most } };
  model = new FakeModel({ ...model.state, panels });
  await show();
  assert.match(find("[data-panel=norms] .ml-lines-key").textContent, /sink tokens5–95\u202f% of tokensby chance$/);
  const drawn = all("[data-panel=norms] .ml-plot :is(.ml-spread, .ml-by-chance)");
  assert.deepEqual(drawn.map((each) => each.getAttribute("class")), ["ml-spread", "ml-spread", "ml-by-chance"]);
  const [, pattern] = /url\(#(.+)\)/.exec(drawn[2].getAttribute("style"));
  assert.ok(document.getElementById(pattern), "the hatch is there");
  const filled = () => all("[data-panel=norms] .ml-plot path").filter((each) => /fill-opacity/.test(each.getAttribute("style") ?? "")).length;
  assert.equal(filled(), 0);
  point(plot("norms"), "pointermove", 200, 60);
  await frame();
  assert.equal(filled(), 1, "of the model that is pointed at");
});

test("the reading stands in the fold, and the fold is there for it alone", async () => {
  const panels = PANELS();
  panels[2] = { ...panels[2], reading: "Below 0.01: little." };
  model = new FakeModel({ ...model.state, panels });
  await show();
  const fold = find("[data-panel=size] .ml-more");
  assert.equal(fold.hidden, false);
  assert.deepEqual([...fold.children].filter((each) => !each.hidden).map((each) => each.textContent), ["How it is measured", "Reading Below 0.01: little."]);
  assert.equal([...find("[data-panel=conflict] .ml-more").children].filter((each) => !each.hidden).length, 2);
});

test("a table says how many rows there are, shows those of the chosen source, and all when asked", async () => {
  const panels = PANELS();
  const cells = ["base", "base", "pirate", "pirate", "pirate"].map((name, i) => [name, i, 1.5]);
  panels[4] = { ...panels[4], rows: ["0", "1", "2", "3", "4"], columns: ["source", "gone", "times"], cells };
  const sources = ["pirate", "sort"].map((label, i) => ({ id: `${i + 1}`, label, chosen: i === 0 }));
  model = new FakeModel({ ...model.state, panels, dials: { ...structuredClone(DIALS), sources } });
  await show();
  const shown = () => all("[data-panel=sinks] tbody tr").map((row) => row.firstChild.textContent).join(" ");
  const every = find("[data-panel=sinks] button");
  assert.match(find("[data-panel=sinks] .ml-heading").textContent, /5 found: 2 in base, 3 in pirate/);
  assert.match(find("[data-panel=sinks] th:nth-child(2)").title, /the layer that ended it/);
  assert.deepEqual([shown(), every.textContent], ["pirate pirate pirate", "Show all"]);
  every.click();
  assert.deepEqual([shown(), every.textContent], ["base base pirate pirate pirate", "Only pirate"]);
  every.click();
  model.hear({ dials: { ...structuredClone(DIALS), sources: sources.map((each, i) => ({ ...each, chosen: i === 1 })) } });
  await frame();
  assert.deepEqual([shown(), every.hidden], ["base base pirate pirate pirate", true], "sort has none");
});

test("a view whose Python half is gone says so, and sends nothing any more", async () => {
  await show();
  point(plot("size"), "pointerdown", x(1));
  point(plot("size"), "pointerup", x(1));
  const density = find("[aria-label='Density kept']");
  for (const value of [0.5, 0.4]) {
    density.value = value;
    density.dispatchEvent(new window.Event("input"));
  }
  assert.equal(find(".ml-closed").textContent, "");
  const sent = model.sent.length;
  for (const call of model.heard.get("comm:close")) call();
  assert.match(find(".ml-closed").textContent, /closed.*Run the cell again/);
  assert.ok(all("aside :is(input, select, button), .ml-strip button").every((each) => each.matches(":disabled")));
  point(plot("size"), "pointerdown", x(3));
  point(plot("size"), "pointerup", x(3));
  press(plot("size"), "Escape");
  await pause(90);
  assert.equal(model.sent.length, sent);
  assert.deepEqual(model.get("selection"), { layers: [1] });
  point(plot("size"), "pointermove", x(2), 25);
  await frame();
  assert.match(find("[aria-label='Selected layers']").textContent, /Layer 1/);
  assert.ok(texts("size", ".ml-on-ink").includes("1.20"), "what is drawn can still be read");
});
