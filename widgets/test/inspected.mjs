// The inspector on a page without a browser: its set-up, for the tests of what it shows.
import { FakeModel, frame, openPage } from "./page.mjs";

export const GUTTER = 102; // px: the 15 letters of the longest name, and air
export const WIDE = 420; // of a narrow panel, where nothing can be measured
export const COLUMN = (WIDE - GUTTER) / 6;

export function packed(numbers, shape) {
  const bytes = new Uint8Array(new Float32Array(numbers).buffer);
  const message = new Uint8Array(bytes.length + 3);
  message.set(bytes, 3);
  return { view: new DataView(message.buffer, 3), dtype: "float32", shape };
}
export const LAYERS = ["0", "1", "2", "3", "4", "5"];
export const SIX = (value) => LAYERS.map((_, i) => value + i / 10);
export const panel = (id, more = {}) => ({
  id, kind: "heat", title: id, unit: "1", scale: "linear", middle: 0, rows: ["self_attn.q_pro", "mlp.up_proj"], columns: LAYERS, of: "", shows: "How large it is.",
  chance: "", so: "", note: "", formula: "", low: 0, high: 2, values: packed([...SIX(0), ...SIX(1)], [2, 6]), band: null, points: null, chanceband: null, cells: null, wide: false,
  state: "done", done: 0, total: 0, seconds: 0.012, ...more,
});
export const PANELS = () => [
  panel("norms", { kind: "lines", scale: "log", rows: ["base", "pirate"], values: packed([...SIX(1), ...SIX(2)], [2, 6]), low: null, high: null, points: [[0, 50, 1]], wide: true }),
  panel("conflict", { unit: "x chance", scale: "diverging", middle: 1, low: 0.5, high: 1.5, chance: "0.98 to 1.02.", so: "nothing stands out.", formula: "P(sign a ≠ sign b) / ½" }),
  panel("size", { values: packed([Number.NaN, ...SIX(0).slice(1), ...SIX(1)], [2, 6]) }),
  panel("tokens", { kind: "tokens", rows: ["<b>the</b>", "mlp.up_proj"] }),
  panel("sinks", { kind: "sinks", rows: ["0"], columns: ["token", "norm"], values: null, cells: [["<img src=x>", 241.25]] }),
];
export const DIALS = {
  density: { value: 0.6, low: 0, high: 1, curve: [0, 0.8, 1], text: "Keeping 60 % keeps 94 %." },
  pairs: [{ id: "1-2", label: "pirate with sort", chosen: true, sources: [1, 2] }, { id: "1-3", label: "pirate with stranger", chosen: false }],
  variants: { statistic: [{ id: "median", label: "median", chosen: true }, { id: "rms", label: "RMS", chosen: false }] },
  sources: [], prompts: [],
};

export let model;
let close;
export let root;
export let painted;
export const find = (selector) => root.querySelector(selector);
export const all = (selector) => [...root.querySelectorAll(selector)];
export const plot = (id) => find(`[data-panel=${id}] .ml-plot`);
export const texts = (id, selector = "text") => all(`[data-panel=${id}] ${selector}`).map((each) => each.textContent);
export const x = (column) => GUTTER + (column + 0.5) * COLUMN;

/** A canvas that remembers its pixels; six px a letter; every token is a grey of its own. */
export function fakeCanvas() {
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

export async function show() {
  const { default: widget } = await import("../src/inspector.js");
  const el = document.createElement("div");
  document.body.append(el);
  close = widget.render({ model, el });
  root = el.querySelector(".ml-root");
  await frame();
  return el;
}

/** Give the next view a model in another state. */
export function become(state) {
  model = new FakeModel(state);
}

/** A fresh page, and a model of five panels. */
export function begin() {
  openPage();
  fakeCanvas();
  become({
    panels: PANELS(), strip: ["base", "pirate", "sort", "stranger"].map((name) => ({ name, code: name.slice(0, 2), layers: 6 })), dials: structuredClone(DIALS), readout: [],
    words: { facts: [["prompts", "5 texts"]] }, busy: null, selection: { layers: [] }, turned: {}, asked: { stop: 0, measure: 0 },
  });
}

/** Take the view away. */
export function end() {
  close?.();
  close = undefined;
}
