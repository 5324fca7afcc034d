// The panel of coefficients in a page, for its tests.
import { GUTTER, scaleOf } from "../src/lib/scale.js";
import { depthOf } from "../src/lib/sketch.js";
import { KINDS_HERE, METHODS, mixed, slice } from "./bending.mjs";
import { openPage } from "./page.mjs";

export const WIDTH = 614;
export let state;
export let view;
export let said;
export let over;
export let cursor;
export const scrolled = { left: 0 };
export const find = (selector) => view.root.querySelector(selector);
export const all = (selector) => [...view.root.querySelectorAll(selector)];
export const rowAt = (index) => all(".ml-curve-row")[index];
export const column = () => scaleOf(WIDTH, depthOf(state.sketch)).column;
export const middle = (layer) => GUTTER + (layer + 0.5) * column();
export const TOP = 9;
export const TALL = 62;
/** @param {number} value @param {[number, number]} range */
export const heightOf = (value, [low, high] = [-1, 2]) => TOP + TALL - ((value - low) / (high - low)) * TALL;
export const button = (name) => find(`.ml-curve-bar [aria-label="${name}"]`);
export const weightOf = (index, place) => state.sketch.slices[index].parts[place].numbers.weight;
export const field = (kind) => all(".ml-curve-entry").filter((each) => !each.hidden).find((each) => each.textContent === kind)?.querySelector("input");

export async function show(sketch = mixed(), names = ["Base", "Arith", "Bible"]) {
  const { curvesView } = await import("../src/lib/curves_view.js");
  state = { sketch, selection: [], held: false, edits: [], flushed: 0, holds: 0, _locks: [], _copied: null };
  said = [];
  over = new AbortController();
  cursor = { at: 5, hover: null };
  let waiting = 0;
  const redraw = () => {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      view.draw();
    });
  };
  const draft = {
    get sketch() {
      return state.sketch;
    },
    get selection() {
      return state.selection;
    },
    sources: names.map((name) => ({ name, code: name.slice(0, 2), layers: 12 })),
    methods: METHODS,
    kinds: KINDS_HERE,
    edit({ sketch: next }) {
      state.sketch = next;
      state.edits.push(next);
      redraw();
    },
    hold() {
      state.held = true;
      state.holds += 1;
    },
    release() {
      state.held = false;
    },
    flush() {
      state.flushed += 1;
    },
    get locks() {
      return state._locks;
    },
    get copied() {
      return state._copied;
    },
    share(shared) {
      Object.assign(state, shared);
      redraw();
    },
  };
  view = curvesView({ draft, cursor, id: "t", redraw, scale: () => scaleOf(WIDTH, depthOf(state.sketch), 0, scrolled.left), announce: (words) => said.push(words), signal: over.signal });
  document.body.append(view.root);
  view.draw();
}

export const begin = () => openPage();
export const end = () => {
  over?.abort();
  scrolled.left = 0;
};
