// @ts-check
// The coefficient over depth: a dial for the whole curve, a point per output layer to bend it.

import { layersOf } from "./blocks.js";
import { bend, bendable, meanOf, pathOf, settle, turnTo } from "./curve.js";
import { h, icon, label, s, say } from "./dom.js";
import { onDrag } from "./drag.js";
import { onKeys } from "./keys.js";
import { GUTTER } from "./scale.js";
import { hatch, hue } from "./swatches.js";

/** @typedef {import("./draft.js").Draft} Draft */

const TOP = 14;
const TALL = 132;
const HEIGHT = TOP + TALL + 24;
const REACH = 16; // px: a press this near to a point takes the point, elsewhere it draws

/** @param {number} share */
const heightOf = (share) => TOP + TALL - share * TALL;
/** @param {number} py */
const shareAt = (py) => settle((TOP + TALL - py) / TALL);

/**
 * @param {object} parts
 * @param {Draft} parts.draft @param {import("./stack_view.js").Cursor} parts.cursor @param {string} parts.id
 * @param {() => void} parts.redraw @param {() => import("./scale.js").Scale} parts.scale @param {AbortSignal} parts.signal
 */
export function curveView({ draft, cursor, id, redraw, scale, signal }) {
  const picture = h("div", { class: "ml-picture" });
  const plot = h("div", { class: "ml-plot ml-curve", tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 1, "aria-orientation": "vertical", "aria-describedby": `${id}-curve-keys` }, picture);
  const keys = h("p", { class: "ml-hidden", id: `${id}-curve-keys` }, "Left and Right choose a layer. Up and Down bend the curve there by 0.01, with Shift by 0.10. Home and End set 0 and 1.");
  const root = h("div", { class: "ml-scroll" }, plot, keys);

  const dial = h("input", { type: "range", min: 0, max: 1, step: 0.01, class: "ml-range", "aria-label": "Coefficient of all layers" });
  const value = h("output", { class: "ml-value" });
  const knob = h("label", { class: "ml-dial" }, h("span", { class: "ml-mute" }, "all layers"), dial, value);

  const layers = () => layersOf(draft.dials.blocks);
  const free = () => (draft.dials.method === "passthrough" ? layers().map(() => false) : bendable(layers()));

  /** @type {number[] | null} the curve before this drag */
  let ghost = null;
  /** @type {number | null} the layer in hand */
  let inHand = null;

  /** @type {number[] | null} the curve where the dial was taken */
  let turned = null;
  dial.addEventListener("input", () => {
    turned ??= [...draft.dials.coefficient];
    ghost = turned;
    draft.hold();
    draft.edit({ coefficient: turnTo(turned, free(), Number(dial.value)) });
  }, { signal });
  const letGo = () => {
    if (!turned) return;
    turned = ghost = null;
    draft.release();
  };
  dial.addEventListener("change", letGo, { signal });
  dial.addEventListener("blur", letGo, { signal });

  /** @param {PointerEvent} event */
  const spot = (event) => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  onDrag(
    plot,
    (event) => {
      const [px, py] = spot(event);
      const start = draft.dials.coefficient;
      const near = scale().layerAt(px);
      if (px < GUTTER || !free()[near]) {
        cursor.at = near;
        plot.focus({ preventScroll: true });
        redraw();
        return null;
      }
      const grabbed = Math.abs(heightOf(start[near]) - py) <= REACH;
      const offset = grabbed ? heightOf(start[near]) - py : 0;
      let last = near;
      draft.hold();
      ghost = start;
      plot.focus({ preventScroll: true });
      /** @param {number} x @param {number} y */
      const pull = (x, y) => {
        const to = grabbed ? near : scale().layerAt(x);
        let curve = draft.dials.coefficient;
        // A fast hand skips columns: draw through the ones in between as well.
        for (let i = Math.min(last, to); i <= Math.max(last, to); i += 1) if (free()[i]) curve = bend(curve, i, shareAt(y + offset));
        last = inHand = cursor.at = to;
        draft.edit({ coefficient: curve });
      };
      if (grabbed) inHand = cursor.at = near;
      else pull(px, py);
      redraw();
      return {
        move(next) {
          const [x, y] = spot(next);
          pull(x, y);
          redraw();
        },
        end(kept) {
          ghost = inHand = null;
          if (!kept) draft.edit({ coefficient: start });
          draft.release();
        },
      };
    },
    signal,
  );

  /** @param {number} by */
  function step(by) {
    cursor.at = Math.min(layers().length - 1, Math.max(0, cursor.at + by));
    cursor.hover = null;
    redraw();
  }
  /** @param {(old: number) => number} next */
  const set = (next) => () => {
    if (free()[cursor.at]) draft.edit({ coefficient: bend(draft.dials.coefficient, cursor.at, next(draft.dials.coefficient[cursor.at])) });
  };
  onKeys(
    plot,
    {
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      ArrowUp: set((old) => old + 0.01),
      ArrowDown: set((old) => old - 0.01),
      "Shift+ArrowUp": set((old) => old + 0.1),
      "Shift+ArrowDown": set((old) => old - 0.1),
      PageUp: set((old) => old + 0.1),
      PageDown: set((old) => old - 0.1),
      Home: set(() => 0),
      End: set(() => 1),
    },
    signal,
  );
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

  function draw() {
    const { coefficient, method } = draft.dials;
    const { sources } = draft;
    const all = layers();
    const open = free();
    const scaled = scale();
    const { x, middle, column, depth } = scaled;
    const shown = inHand ?? cursor.hover ?? (plot.matches(":focus") ? cursor.at : null);
    const svg = s("svg", { width: scaled.width, height: HEIGHT, "aria-hidden": "true" });
    if (shown !== null) svg.append(s("rect", { x: x(shown), y: 0, width: column, height: HEIGHT, style: "fill:var(--ml-hover)" }));
    for (const tick of [0, 0.5, 1]) {
      svg.append(s("line", { x1: x(0), x2: x(depth), y1: heightOf(tick), y2: heightOf(tick), style: `stroke:var(--ml-line${tick === 0.5 ? "-soft" : ""})` }));
      svg.append(label(GUTTER - 6, heightOf(tick) + 4, tick === 0.5 ? "½" : tick, { "text-anchor": "end" }));
    }
    if (method === "ties") svg.append(label(0, TOP + 9, "density"));
    else {
      ["share", "over"].forEach((words, i) => svg.append(label(0, TOP + 9 + 14 * i, words)));
      svg.append(label(0, TOP + 37, sources[0].code, { class: "ml-b", style: `fill:var(${hue(0)}-text)` }));
    }

    // One curve: where a slice meets the next, a thin line carries it across.
    for (let i = 1; i < depth; i += 1) {
      if (open[i] && open[i - 1] && all[i].block !== all[i - 1].block) {
        const across = pathOf([[middle(i - 1), heightOf(coefficient[i - 1])], [middle(i), heightOf(coefficient[i])]]);
        svg.append(s("path", { d: across, style: "fill:none;stroke:var(--ml-line-firm);stroke-width:1;stroke-dasharray:2 3" }));
      }
    }
    // Runs of layers of one block, drawn in the colour of their source.
    for (let from = 0; from < depth; ) {
      let to = from;
      while (to < depth && all[to].block === all[from].block) to += 1;
      const { source } = all[from];
      const colour = `var(${hue(source)})`;
      const wide = x(to) - x(from);
      if (from > 0) svg.append(s("line", { x1: x(from), x2: x(from), y1: heightOf(1), y2: heightOf(0), style: "stroke:var(--ml-line)" }));
      if (!open[from]) {
        const words = source === 0 ? `${sources[0].name} itself` : "kept whole";
        svg.append(s("rect", { x: x(from) + 2, y: heightOf(1), width: wide - 4, height: TALL, style: `fill:${hatch(id)};opacity:.7` }));
        svg.append(s("line", { x1: middle(from), x2: middle(to - 1), y1: heightOf(1), y2: heightOf(1), style: `stroke:${colour};stroke-width:2` }));
        const fits = wide > words.length * 6.2 + 26;
        const at = x(from) + wide / 2;
        const lock = icon("lock");
        for (const [name, px] of Object.entries({ x: at - (fits ? words.length * 3.05 + 9 : 6), y: heightOf(0.5) - 7, width: 12, height: 12 })) lock.setAttribute(name, `${px}`);
        lock.classList.add("ml-lock");
        svg.append(lock);
        if (fits) svg.append(label(at + 8, heightOf(0.5) + 4, words, { "text-anchor": "middle", class: "ml-halo" }));
      } else {
        /** @param {readonly number[]} curve @returns {[number, number][]} */
        const points = (curve) => curve.slice(from, to).map((share, i) => [middle(from + i), heightOf(share)]);
        if (ghost) svg.append(s("path", { d: pathOf(points(ghost)), style: "fill:none;stroke:var(--ml-ink-3);stroke-width:1.3;stroke-dasharray:1.5 3;stroke-linecap:round" }));
        const line = points(coefficient);
        const [first, last] = [line[0][0], line[line.length - 1][0]];
        svg.append(s("path", { d: `${pathOf([[first, heightOf(0)], ...line, [last, heightOf(0)]])}Z`, style: `fill:${colour};fill-opacity:.10` }));
        svg.append(s("path", { d: pathOf(line), style: `fill:none;stroke:${colour};stroke-width:2;stroke-linejoin:round` }));
        line.forEach(([cx, cy], i) => {
          const hot = from + i === shown;
          if (hot) svg.append(s("circle", { cx, cy, r: 9, style: `fill:${colour};fill-opacity:.22` }));
          svg.append(s("circle", { cx, cy, r: hot ? 5 : 4, class: "ml-point", style: `fill:${hot ? colour : "var(--ml-surface)"};stroke:${colour};stroke-width:1.6` }));
        });
      }
      from = to;
    }
    for (let i = 0; i < depth; i += 1) svg.append(label(middle(i), TOP + TALL + 17, i, { "text-anchor": "middle", class: i === shown ? "ml-ink ml-b" : "ml-ink2" }));
    svg.append(label(0, TOP + TALL + 17, "output"));
    if (shown !== null && open[shown]) {
      const text = coefficient[shown].toFixed(2);
      const up = coefficient[shown] < 0.72;
      const cy = heightOf(coefficient[shown]) + (up ? -30 : 13);
      svg.append(
        s("rect", { x: middle(shown) - 17, y: cy, width: 34, height: 17, rx: 4, style: "fill:var(--ml-ink)" }),
        label(middle(shown), cy + 12.5, text, { "text-anchor": "middle", class: "ml-on-ink" }),
      );
    }
    picture.replaceChildren(svg);
    plot.style.width = `${scaled.width}px`;
    plot.style.height = `${HEIGHT}px`;
    plot.classList.toggle("ml-locked", !open.some(Boolean));

    const { source, home } = all[Math.min(cursor.at, depth - 1)];
    const name = sources[source].name;
    plot.setAttribute("aria-label", `Coefficient of output layer ${cursor.at}, ${name} ${home}`);
    plot.setAttribute("aria-valuenow", open[cursor.at] ? `${coefficient[cursor.at]}` : "1");
    plot.setAttribute("aria-valuetext", open[cursor.at] ? `${coefficient[cursor.at].toFixed(2)} of ${name}` : `${name}, kept whole`);

    const mean = meanOf(coefficient, open);
    dial.disabled = mean === null;
    if (!turned) dial.value = `${settle(mean ?? 1)}`;
    dial.style.setProperty("--ml-part", `${100 * Number(dial.value)}%`);
    say(value, mean === null ? "–" : (turned ? Number(dial.value) : mean).toFixed(2));
    const waits = method === "passthrough" ? "waits for a method that blends" : mean === null ? "waits for a slice of another source" : "";
    knob.title = waits;
  }
  return { root, plot, knob, draw };
}
