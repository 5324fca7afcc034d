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
    recipe: "3f2a9c01",
    made: { blocks: state.blocks, coefficient: state.coefficient, method: state.method },
    redone: 18,
    steps: 57,
    seconds: 0.0008,
    warning: "",
    layers: state.coefficient.length,
    parameters: 408_896,
    bytes: 1_635_584,
    candidates: [{ token: " cat", probabilities: speakers.map((_, i) => 0.5 / (i + 1)) }],
    kl: speakers.map((_, i) => 0.31 * i),
    texts: speakers.map((name) => `the cat of ${name}`),
    written: speakers.map(() => true),
    ...more,
  };
}

/** Backbone's part of a Jupyter model: set tells at once, save_changes sends what changed since the last time. */
export class FakeModel {
  constructor(more = {}) {
    this.state = {
      blocks: [[1, 0, 3], [2, 3, 7], [1, 7, 10]],
      coefficient: new Array(10).fill(1),
      method: "linear",
      prompt: "Once upon a time",
      answer: null,
      status: "loading",
      error: "",
      _turn: 0,
      _answered: -1,
      _sources: [
        { name: "base", code: "Ba", layers: 10 },
        { name: "reverse", code: "Re", layers: 10 },
        { name: "pirate", code: "Pi", layers: 10 },
      ],
      _methods: ["linear", "slerp", "task_arithmetic", "ties", "passthrough"],
      _prompts: ["Once upon a time", "27+35="],
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
  send(content) {
    this.messages.push(content);
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
