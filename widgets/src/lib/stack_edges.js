// @ts-check
// Handles on the edges of slices: between two slices they trade layers, outside or with Shift or Alt one slice alone grows.

import { h, pool, set } from "./dom.js";
import { onDrag } from "./drag.js";
import { watcher } from "./keeping.js";
import { onKeys } from "./keys.js";
import { borderRange, bordersOf, depthOf, moveBorder, stretch } from "./sketch.js";
import { TALL, TOP, titleOfSlice } from "./stack_picture.js";

/** @typedef {import("./sketch.js").Sketch} Sketch */
/** @typedef {"trade" | "below" | "above"} How  which slice gets the layers: both, the one below the edge, the one above it */

/** @param {{ shiftKey: boolean, altKey: boolean }} event @returns {How} */
const howOf = ({ shiftKey, altKey }) => (shiftKey ? "below" : altKey ? "above" : "trade");

/**
 * The sketch with edge `index` (0: the bottom, the number of slices: the top) moved up by `by` layers.
 * @param {Sketch} sketch @param {number} index @param {number} by @param {How} how @param {readonly number[]} depths
 */
export function movedEdge(sketch, index, by, how, depths) {
  if (index === 0) return stretch(sketch, 0, "start", -by, depths);
  if (index === sketch.slices.length || how === "below") return stretch(sketch, index - 1, "end", by, depths);
  if (how === "above") return stretch(sketch, index, "start", -by, depths);
  return moveBorder(sketch, index - 1, by, depths);
}

/**
 * @param {import("../workbench.js").Context} context @param {ReturnType<typeof import("./stack_edits.js").editsOf>} edits
 * @param {HTMLElement} plot @param {(left: number, right: number) => void} reveal  scrolls to px of the plot
 */
export function stackEdges({ draft, redraw, scale, announce, signal }, edits, plot, reveal) {
  const root = h("div", { class: "ml-over", role: "presentation" });
  const px = (/** @type {PointerEvent} */ event) => event.clientX - plot.getBoundingClientRect().left;
  /** @type {number | null} the edge in hand */
  let inHand = null;
  /** @type {number | null} the edge that keys have moved, until it is drawn */
  let keyed = null;

  /** @param {number} index */
  function told(index) {
    const at = bordersOf(draft.sketch)[index];
    const depth = depthOf(draft.sketch);
    return index === 0 || index === draft.sketch.slices.length ? `${depth} output layers` : `Edge in front of output layer ${at} of ${depth}`;
  }
  // One listener for all: a stack of a hundred slices has a hundred edges.
  const indexOf = (/** @type {Event} */ event) => [...root.children].indexOf(/** @type {Element} */ (event.target));
  /** @type {Sketch | null} as it was when the keyboard came to an edge */
  let before = null;
  root.addEventListener("focusin", () => (before = draft.sketch), { signal });
  onDrag(
    root,
    (event) => {
      const index = indexOf(event);
      if (index < 0) return null;
      const start = draft.sketch;
      const fixed = scale();
      const from = px(event);
      draft.hold();
      inHand = index;
      /** @type {HTMLElement} */ (event.target).focus({ preventScroll: true });
      redraw();
      return {
        move(next) {
          const by = Math.round((px(next) - from) / fixed.column);
          draft.edit({ sketch: movedEdge(start, index, by, howOf(next), edits.depths()) });
        },
        end(kept) {
          inHand = null;
          if (!kept) draft.edit({ sketch: start });
          draft.release();
          announce(`${told(index)}.`);
          redraw();
        },
      };
    },
    signal,
  );
  const nudge = (/** @type {number} */ by) => (/** @type {KeyboardEvent} */ event) => {
    const index = (keyed = indexOf(event));
    draft.edit({ sketch: movedEdge(draft.sketch, index, by, howOf(event), edits.depths()) });
    draft.flush();
    redraw(); // where nothing has moved too: it may be out of sight
    announce(`${told(index)}.`);
  };
  /** @type {Record<string, (event: KeyboardEvent) => void>} */
  const keys = {
    PageUp: nudge(-4),
    PageDown: nudge(4),
    Enter: () => plot.focus(),
    Space: () => plot.focus(),
    Escape: (event) => {
      keyed = indexOf(event);
      if (before) draft.edit({ sketch: before });
      draft.flush();
      announce("Edge put back.");
      plot.focus();
    },
  };
  // Up and Down as on any slider: the stack, where they mean another source, is not to hear of them.
  for (const held of ["", "Shift+", "Alt+"]) {
    for (const less of ["ArrowLeft", "ArrowDown"]) keys[held + less] = nudge(-1);
    for (const more of ["ArrowRight", "ArrowUp"]) keys[held + more] = nudge(1);
  }
  onKeys(root, keys, signal);
  const makeHandle = () => h("div", { class: "ml-border", role: "slider", tabindex: -1, "aria-orientation": "horizontal", title: "Drag to trade layers; with Shift or Alt one slice alone grows" });

  const isNew = watcher();
  /** @param {import("./scale.js").Scale} scaled */
  function draw(scaled) {
    place(scaled);
    if (keyed === null) return;
    const at = scaled.x(bordersOf(draft.sketch)[keyed]);
    keyed = null;
    reveal(at - scaled.column, at + scaled.column);
  }
  /** @param {import("./scale.js").Scale} scaled */
  function place(scaled) {
    const { sketch, sources } = draft;
    if (!isNew(sketch, sources, scaled.column, inHand)) return;
    root.style.cursor = inHand === null ? "" : "col-resize"; // it has the pointer then, wherever that goes
    const borders = bordersOf(sketch);
    const depths = edits.depths();
    const title = (/** @type {number} */ index) => titleOfSlice(sketch.slices[index], (source) => sources[source].name);
    pool(root, borders.length, makeHandle).forEach((handle, i) => {
      const [first, last] = [i === 0, i === sketch.slices.length];
      const ends = () => [-Infinity, Infinity].map((by) => depthOf(first ? stretch(sketch, 0, "start", by, depths) : stretch(sketch, i - 1, "end", by, depths)));
      const [low, high] = first || last ? ends() : borderRange(sketch, i - 1, depths).map((by) => borders[i] + by);
      const words = first ? `Bottom edge of ${title(0)}` : last ? `Top edge of ${title(i - 1)}` : `Edge between ${title(i - 1)} and ${title(i)}`;
      set(handle, { "aria-label": words, "aria-valuemin": `${low}`, "aria-valuemax": `${high}`, "aria-valuenow": `${first || last ? scaled.depth : borders[i]}`, "aria-valuetext": first || last ? `${scaled.depth} output layers` : `in front of output layer ${borders[i]}` });
      handle.classList.toggle("ml-held", inHand === i);
      handle.classList.toggle("ml-outer", first || last);
      const at = scaled.x(borders[i]) + (first ? -4 : last ? -5 : 0);
      handle.style.cssText = `left:${at - 8}px;top:${TOP - 3}px;height:${TALL + 6}px`;
    });
  }
  return { root, draw };
}
