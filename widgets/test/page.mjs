// A page without a browser: jsdom, a model that behaves as Jupyter's does, and a hand that points and types.
import { JSDOM } from "jsdom";

/** Start a fresh page and make its names global, as a browser would. */
export function openPage() {
  const dom = new JSDOM("<!doctype html><body data-jp-theme-light='true'></body>", { pretendToBeVisual: true });
  const { window } = dom;
  window.ResizeObserver = class {
    observe() {}
    disconnect() {}
  };
  window.HTMLCanvasElement.prototype.getContext = () => null; // there is no font to measure
  for (const name of ["window", "document", "MutationObserver", "ResizeObserver", "getComputedStyle", "requestAnimationFrame", "cancelAnimationFrame", "AbortController", "Element"]) {
    globalThis[name] = name === "window" ? window : typeof window[name] === "function" && !/^[A-Z]/.test(name) ? window[name].bind(window) : window[name];
  }
  return dom;
}

export const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export function answerFor(state, more = {}) {
  const speakers = ["merged", ...state._sources.map(({ name }) => name)];
  return {
    prompt: state.prompt,
    recipe: "3f2a9c01",
    made: state.sketch,
    redone: 18,
    steps: 57,
    seconds: 0.0008,
    warning: "",
    layers: state.sketch.slices.reduce((sum, { layers }) => sum + layers, 0),
    parameters: 408_896,
    bytes: 1_635_584,
    candidates: [{ token: " cat", probabilities: speakers.map((_, i) => 0.5 / (i + 1)) }],
    kl: speakers.map((_, i) => 0.31 * i),
    entropy: speakers.map(() => 1.5),
    texts: speakers.map((name) => `the cat of ${name}`),
    written: speakers.map(() => true),
    shading: null,
    ...more,
  };
}

/** A source of a recipe: layers of 100 parameters, 1,000 outside them, two bytes each. */
export function sourceOf(name, layers = 10) {
  const each = (value) => new Array(layers).fill(value);
  return { name, code: name[0].toUpperCase() + name[1], layers, norms: each(null), parameters: each(100), bytes: each(200), rest: { parameters: 1000, bytes: 2000 } };
}

const number = (name, value, more = {}) => ({
  name, per_part: true, kind: "number", default: value, needed: value === null, dial: [0, 1], low: 0, high: null, choices: [], doc: `What ${name} does.`, effect: true, curve: true, ...more,
});

/** Methods as Python tells them. */
export const METHODS = [
  { name: "passthrough", word: "Pass", base: false, parts: [1, 1], numbers: [number("scale", 1)] },
  { name: "linear", word: "Linear", base: false, parts: [1, null], numbers: [number("weight", null), number("normalize", true, { per_part: false, kind: "switch", dial: null, curve: false })] },
  { name: "slerp", word: "Slerp", base: true, parts: [1, 1], numbers: [number("t", null, { per_part: false })] },
  { name: "ties", word: "TIES", base: true, parts: [1, null], numbers: [number("weight", 1), number("density", 1), number("lambda", 1, { per_part: false, dial: [0, 2] })] },
];

/** A slice of one source, as it is. */
export const passes = (source, start, layers) => ({ method: "passthrough", base: null, layers, parts: [{ source, start, numbers: {} }], numbers: {} });
const fits = (grade = "fits", why = "") => ({ grade, why, facts: [], widen: false });

/** Backbone's part of a Jupyter model: set tells at once, save_changes sends what changed since the last time. */
export class FakeModel {
  constructor(more = {}) {
    this.state = {
      sketch: { base: 0, widen: false, slices: [passes(1, 0, 3), passes(2, 3, 4), passes(1, 7, 3)] },
      prompt: "Once upon a time",
      prompts: ["Once upon a time", "27+35="],
      selection: [],
      text: "slices: []\n",
      answer: null,
      status: "loading",
      error: "",
      _turn: 0,
      _answered: -1,
      _held: false,
      _sources: ["base", "reverse", "pirate"].map((name) => sourceOf(name)),
      _methods: METHODS,
      _fits: [fits(), fits(), fits()],
      _blends: [["", "", ""], ["", "", ""], ["", "", ""]],
      _kinds: { attention: "self_attn", feed_forward: "mlp" },
      _presets: [],
      _seams: null,
      _scores: { recipe: null, done: false, rows: [] },
      _past: { undo: 0, redo: 0, undo_words: "", redo_words: "", entries: [], snapshots: [], showing: "" },
      _problems: [],
      _behind: false,
      _exports: { mergekit: null, python: null, json: null, why: {} },
      _lines: [],
      _blind: null,
      _locks: [],
      _copied: null,
      ...more,
    };
    this.heard = new Map();
    this.dirty = {};
    this.sent = [];
    this.messages = [];
  }
  get(key) {
    return this.state[key];
  }
  set(key, value) {
    if (JSON.stringify(this.state[key]) === JSON.stringify(value)) return;
    this.state[key] = value;
    this.dirty[key] = value;
    this.tell(key);
  }
  tell(key) {
    for (const call of [...(this.heard.get(`change:${key}`) ?? [])]) call();
  }
  on(event, call) {
    this.heard.set(event, [...(this.heard.get(event) ?? []), call]);
  }
  off(event, call) {
    this.heard.set(event, (this.heard.get(event) ?? []).filter((each) => each !== call));
  }
  save_changes() {
    this.sent.push(structuredClone(this.dirty));
    this.dirty = {};
  }
  /** What is asked, and apart from that behind which edit. */
  send({ after, ...content }) {
    this.messages.push(content);
    this.after = after;
  }
  /** What Python says. */
  hear(values) {
    Object.assign(this.state, values);
    for (const key of Object.keys(values)) this.tell(key);
  }
  answerNow(more) {
    this.hear({ answer: answerFor(this.state, more), status: "done", error: "", _answered: this.state._turn });
  }
  get listeners() {
    return [...this.heard.values()].reduce((sum, calls) => sum + calls.length, 0);
  }
}

export function point(element, kind, x, y = 0, more = {}) {
  const event = new window.MouseEvent(kind, { bubbles: true, cancelable: true, clientX: x, clientY: y, button: 0, ...more });
  Object.defineProperty(event, "pointerId", { value: 1 }); // jsdom has no pointer events of its own
  element.dispatchEvent(event);
  return event;
}

export function press(element, key, more = {}) {
  const event = new window.KeyboardEvent("keydown", { bubbles: true, cancelable: true, key, ...more });
  element.dispatchEvent(event);
  return event;
}
