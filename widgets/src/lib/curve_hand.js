// @ts-check
// The hand on a row of the panel: it draws, takes points, and does the same with keys.

import { linesOf, LOOKS } from "./curve_row.js";
import { cellAt, dialOf, held } from "./curves.js";
import { onDrag } from "./drag.js";
import { onKeys } from "./keys.js";
import { KINDS, SHAPES, stepOf } from "./setting.js";
import { depthOf } from "./sketch.js";

/** @typedef {import("./curves.js").Row} Row */
/** @typedef {import("./curves.js").Declared} Declared */
/** @typedef {import("./setting.js").Kind} Kind */
/**
 * @typedef {object} Panel  what its rows share
 * @property {Kind | null} chosen  the kind that the hand moves; null: all
 * @property {string} active  key of the row that was touched last
 * @property {{ key: string, layer: number, kind: Kind, before: Row } | null} hand  the point in hand, the row before
 * @property {() => readonly Kind[]} which  that the hand moves
 * @property {(row: Row, layer: number) => string} whyNot  it cannot be bent there; empty: it can
 * @property {(row: Row) => string} nameOf
 * @property {(layer: number) => void} reveal  scrolls to a layer
 * @property {(row: Row, first: number, last: number, kinds: readonly Kind[], next: (old: number | null, layer: number, number: Declared) => number | null) => void} bend
 */

const REACH = 10; // px: a press this near to a point takes it, elsewhere the hand draws

/**
 * @param {ReturnType<typeof import("./curve_row.js").curveRow>} view @param {() => Row} rowNow  as the sketch has it
 * @param {Panel} panel @param {{ lock: () => void, mirror: () => void, copy: () => void, paste: () => void, shape: (name: import("./setting.js").Shape) => void }} act
 * @param {() => void} type  opens the field of the layer
 * @param {Pick<import("../workbench.js").Context, "draft" | "cursor" | "redraw" | "scale" | "announce">} page
 * @param {AbortSignal} signal
 */
export function curveHand(view, rowNow, panel, act, type, { draft, cursor, redraw, scale, announce }, signal) {
  const { plot } = view;
  let keyed = false; // a key that bends is down

  /** @param {PointerEvent} event @returns {[number, number]} */
  const spot = (event) => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  /** The kind whose point lies under the pointer, and how far off. @param {Row} row @param {number} layer @param {number} px @param {number} py */
  const pointAt = (row, layer, px, py) => {
    const cell = cellAt(row, layer);
    if (cell.state !== "open" || Math.abs(scale().middle(layer) - px) > REACH) return null;
    const near = linesOf(cell, draft.kinds, panel.chosen).flatMap(({ kind, values, alone }) => {
      const value = values[layer - cell.from];
      const off = value === null ? Infinity : view.y(value) - py;
      return Math.abs(off) <= REACH && (alone || panel.chosen === kind || (!panel.chosen && kind !== "rest")) ? [{ kind, alone, off }] : [];
    });
    return near.sort((one, other) => Math.abs(one.off) - Math.abs(other.off))[0] ?? null;
  };
  onDrag(
    plot,
    (event) => {
      if (view.gutter.contains(/** @type {Node} */ (event.target))) return null;
      const [px, py] = spot(event);
      const row = rowNow();
      const layer = scale().layerAt(px);
      panel.active = row.key;
      plot.focus({ preventScroll: true });
      redraw();
      const why = panel.whyNot(row, layer);
      if (why) {
        cursor.at = layer;
        announce(`${panel.nameOf(row)}, output layer ${layer}: ${why}.`);
        return null;
      }
      const point = pointAt(row, layer, px, py);
      const kinds = point && !point.alone ? [point.kind] : panel.which();
      const start = draft.sketch;
      /** @type {[number, number]} */
      let last = [px, py];
      let moved = false;
      draft.hold();
      panel.hand = { key: row.key, layer, kind: point?.kind ?? panel.chosen ?? "attention", before: row };
      /** @param {number} x @param {number} y */
      const pull = (x, y) => {
        const { layerAt, middle } = scale();
        const now = rowNow();
        if (!panel.hand) return;
        if (point) {
          moved ||= Math.abs(y - py) >= 1; // a press alone rounds nothing
          if (moved) panel.bend(now, layer, layer, kinds, (old, _, number) => held(number, view.valueAt(y + point.off), old));
        } else {
          // A fast hand skips columns: a straight line leads through those between.
          const [from, to] = [layerAt(last[0]), layerAt(x)];
          const height = (/** @type {number} */ at) => {
            const way = at === to || x === last[0] ? 1 : Math.min(1, Math.max(0, (middle(at) - last[0]) / (x - last[0])));
            return last[1] + (y - last[1]) * way;
          };
          panel.bend(now, Math.min(from, to), Math.max(from, to), kinds, (old, at, number) => held(number, view.valueAt(height(at)), old));
          panel.hand.layer = to;
        }
        last = [x, y];
      };
      if (!point) pull(px, py);
      return {
        move(next) {
          pull(...spot(next));
          redraw();
        },
        end(kept) {
          // Not before: what the page shows of the layer may be taller, and the row would move away under the hand.
          cursor.at = panel.hand?.layer ?? layer;
          panel.hand = null;
          if (!kept) {
            draft.edit({ sketch: start });
            announce("Put back.");
          }
          draft.release();
          redraw();
        },
      };
    },
    signal,
  );

  const letGo = () => {
    if (!keyed) return;
    keyed = false;
    panel.hand = null;
    draft.release();
    redraw();
  };
  /** @param {(old: number, number: Declared) => number} next */
  const turn = (next) => () => {
    const row = rowNow();
    const why = panel.whyNot(row, cursor.at);
    if (why) return announce(`${panel.nameOf(row)}, output layer ${cursor.at}: ${why}.`);
    if (!keyed) {
      keyed = true;
      draft.hold();
      panel.hand = { key: row.key, layer: cursor.at, kind: panel.chosen ?? "attention", before: row };
    }
    return panel.bend(row, cursor.at, cursor.at, panel.which(), (old, _, number) => held(number, next(old ?? dialOf(number)[0], number), old));
  };
  /** @param {number} steps */
  const by = (steps) => turn((old, number) => old + steps * stepOf(dialOf(number)));
  /** @param {number} to */
  const go = (to) => {
    letGo();
    cursor.at = Math.min(depthOf(draft.sketch) - 1, Math.max(0, to));
    cursor.hover = null;
    panel.reveal(cursor.at);
    redraw();
  };
  /** @param {Element | null} row  another, where there is one */
  const leap = (row) => {
    letGo();
    /** @type {HTMLElement | null} */ (row)?.focus();
  };
  onKeys(
    plot,
    {
      "Alt+ArrowUp": () => leap(plot.previousElementSibling),
      "Alt+ArrowDown": () => leap(plot.nextElementSibling),
      ArrowLeft: () => go(cursor.at - 1),
      ArrowRight: () => go(cursor.at + 1),
      ArrowUp: by(1),
      ArrowDown: by(-1),
      "Shift+ArrowUp": by(10),
      "Shift+ArrowDown": by(-10),
      PageUp: by(10),
      PageDown: by(-10),
      Home: turn((_, number) => dialOf(number)[0]),
      End: turn((_, number) => dialOf(number)[1]),
      Enter: () => type(),
      k: () => {
        const all = [null, ...KINDS.slice(0, 2)];
        if (!draft.kinds) return announce("Attention and feed-forward cannot be told apart here.");
        panel.chosen = all[(all.indexOf(panel.chosen) + 1) % all.length];
        redraw();
        return announce(`The hand moves ${panel.chosen ? LOOKS[panel.chosen].word : "all tensors"}.`);
      },
      ...Object.fromEntries(Object.keys(SHAPES).map((name, i) => [`${i + 1}`, () => act.shape(/** @type {import("./setting.js").Shape} */ (name))])),
      l: act.lock,
      r: act.mirror,
      "Mod+c": act.copy,
      "Mod+v": act.paste,
    },
    signal,
  );
  plot.addEventListener("keyup", (event) => {
    if (!["Shift", "Control", "Alt", "Meta"].includes(event.key)) letGo();
  }, { signal });
  plot.addEventListener("blur", letGo, { signal });
  plot.addEventListener("focus", () => {
    panel.active = rowNow()?.key ?? "";
    redraw();
  }, { signal });
  plot.addEventListener("pointermove", (event) => {
    const layer = scale().layerAt(spot(event)[0]);
    if (layer !== cursor.hover) {
      cursor.hover = layer;
      redraw();
    }
  }, { signal });
  plot.addEventListener("pointerleave", () => {
    cursor.hover = null;
    redraw();
  }, { signal });
}
