// @ts-check
// One row of the panel of coefficients, drawn: the same nodes in every frame.

import { ticksOf } from "./axis.js";
import { inSteps, reasons } from "./curves.js";
import { h, icon, label, pool, s, say, set } from "./dom.js";
import { bare } from "./quantity.js";
import { SIDE } from "./scale.js";
import { KINDS, expand, filterOf } from "./setting.js";
import { hatch, hue, swatch } from "./swatches.js";

/** @typedef {import("./curves.js").Row} Row */
/** @typedef {import("./curves.js").Cell} Cell */
/** @typedef {import("./setting.js").Kind} Kind */
/** @typedef {import("./setting.js").Kinds} Kinds */

const TOP = 9;
const TALL = 62;
export const HEIGHT = TOP + TALL + 9;
const LETTER = 6; // px of a letter, 11 px high

/** How the line and the marks of a kind look; the marks as a path round 0, 0. @type {Record<Kind, { word: string, short: string, dash: string, wide: number, mark: string }>} */
export const LOOKS = {
  attention: { word: "attention", short: "attention", dash: "", wide: 2, mark: "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0" },
  feed_forward: { word: "feed-forward", short: "feed-fwd", dash: "5 3", wide: 1.5, mark: "m-3 -3h6v6h-6z" },
  rest: { word: "rest", short: "rest", dash: "7 3 1.5 3", wide: 1.2, mark: "m0 -4l4 4l-4 4l-4 -4z" },
};

/** Kinds with a line of their own in a cell: one for all where they agree. @param {Cell} cell @param {Kinds} kinds @param {Kind | null} chosen */
export function linesOf({ setting, layers }, kinds, chosen) {
  const lines = KINDS.map((kind) => ({ kind, values: expand(setting, filterOf(kinds, kind), layers) }));
  const same = (/** @type {(number | null)[]} */ one, /** @type {(number | null)[]} */ other) => one.every((value, i) => value === other[i]);
  const [attention, forward, rest] = lines;
  if (same(attention.values, forward.values) && same(attention.values, rest.values)) return [{ ...attention, alone: true }];
  const hidden = chosen !== "rest" && (same(rest.values, attention.values) || same(rest.values, forward.values));
  return (hidden ? [attention, forward] : lines).map((line) => ({ ...line, alone: false }));
}

/**
 * @param {object} look
 * @param {string} look.id @param {number} look.index
 */
export function curveRow({ id, index }) {
  const gutter = h("div", { class: "ml-curve-gutter" });
  const ticks = s("svg", { width: SIDE, height: HEIGHT, "aria-hidden": "true" });
  const name = h("div", { class: "ml-curve-name" });
  const badge = h("span", {});
  const words = h("span", { class: "ml-curve-words" });
  const locked = icon("lock");
  name.append(badge, words, locked);
  gutter.append(ticks, name);

  const column = s("rect", { y: 0, height: HEIGHT, style: "fill:var(--ml-hover)" });
  const grid = s("g", {});
  const borders = s("path", { style: "fill:none;stroke:var(--ml-line)" });
  const zones = s("g", {});
  const ghost = s("path", { style: "fill:none;stroke:var(--ml-ink-3);stroke-width:1.3;stroke-dasharray:1.5 3;stroke-linecap:round" });
  const lines = KINDS.map((kind) => ({ kind, line: s("path", { class: "ml-curve-line", "data-kind": kind }), marks: s("path", { class: "ml-curve-marks", "data-kind": kind }) }));
  const outside = s("path", { class: "ml-curve-outside" });
  const halo = s("circle", { r: 9, class: "ml-curve-halo" });
  const hot = s("path", { class: "ml-curve-hot" });
  const chip = s("g", { class: "ml-curve-chip" }, s("rect", { width: 38, height: 17, rx: 4, style: "fill:var(--ml-ink)" }), label(19, 12.5, "", { "text-anchor": "middle", class: "ml-on-ink" }));
  // Attention is drawn last, over the others.
  const svg = s("svg", { height: HEIGHT, "aria-hidden": "true" }, column, grid, borders, zones, ghost, ...[...lines].reverse().flatMap(({ line, marks }) => [line, marks]), outside, halo, hot, chip);
  const plot = h("div", { class: "ml-plot ml-curve-row", tabindex: 0, role: "slider", "aria-orientation": "vertical", "aria-describedby": `${id}-curve-keys`, "data-row": index }, svg, gutter);

  /** @type {[number, number]} */
  let range = [0, 1];
  const within = (/** @type {number} */ value) => Math.min(range[1], Math.max(range[0], value));
  /** @param {number} value */
  const y = (value) => TOP + TALL - ((within(value) - range[0]) / (range[1] - range[0])) * TALL;

  return {
    plot,
    gutter,
    y,
    /** @param {number} py */
    valueAt: (py) => range[0] + ((TOP + TALL - py) / TALL) * (range[1] - range[0]),
    /**
     * @param {object} scene
     * @param {Row} scene.row @param {import("./scale.js").Scale} scene.scale @param {Kinds} scene.kinds
     * @param {{ name: string, code: string } | null} scene.source @param {boolean} scene.short  codes for names @param {boolean} scene.lock
     * @param {Kind | null} scene.chosen  kind that the hand moves; null: all
     * @param {number | null} scene.shown  layer with attention
     * @param {{ layer: number, kind: Kind, before: Row } | null} scene.hand  the point that the hand is on, and the row before
     * @param {(slice: number) => string} scene.wordOf  a slice's method in words
     */
    draw({ row, scale, kinds, source, short, lock, chosen, shown, hand, wordOf }) {
      range = row.range;
      const { x, middle, depth, from: first, to: end, sight } = scale;
      const seen = (/** @type {Cell} */ { from, layers }) => [Math.max(x(from), sight[0]), Math.min(x(from + layers), sight[1])];
      const roomIn = (/** @type {Cell} */ cell) => Math.round(seen(cell)[1] - seen(cell)[0]);
      const colour = row.source === null ? "var(--ml-ink)" : `var(${hue(row.source)})`;
      set(svg, { width: scale.width });
      plot.style.width = `${scale.width}px`;
      plot.style.setProperty("--ml-c", colour);
      plot.classList.toggle("ml-locked", lock);

      const full = source ? source.name : "slices";
      const nth = Number(row.key.split(".")[1] ?? 0); // of a source that is twice in one slice
      const title = `${short && source ? source.code : full}${nth ? ` ${nth + 1}` : ""}`;
      say(words, title);
      name.title = full;
      name.style.color = row.source === null ? "var(--ml-ink)" : `var(${hue(row.source)}-text)`;
      if (badge.dataset.source !== `${row.source}`) {
        badge.dataset.source = `${row.source}`;
        badge.replaceChildren(...(row.source === null ? [] : [swatch(id, row.source, 11)]));
      }
      locked.style.display = lock ? "" : "none";

      const major = row.cells.some(({ state }) => state === "open") ? ticksOf(range, false).major : [0, 1];
      pool(grid, major.length, () => s("line", {})).forEach((line, i) => {
        const edge = major[i] === range[0] || major[i] === range[1];
        set(line, { x1: x(0), x2: x(depth), y1: y(major[i]), y2: y(major[i]), style: `stroke:var(--ml-line${edge ? "" : "-soft"})` });
      });
      const told = major.filter((value) => Number.isInteger(value) || value === range[0] || value === range[1]); // the name needs the room between
      pool(ticks, told.length, () => label(SIDE - 4, 0, "", { "text-anchor": "end" })).forEach((text, i) => {
        set(text, { y: y(told[i]) + 4 });
        say(text, bare(told[i]));
      });
      set(borders, { d: row.cells.slice(1).map(({ from }) => `M${x(from)} ${TOP}V${TOP + TALL}`).join("") });
      column.style.display = shown === null ? "none" : "";
      if (shown !== null) set(column, { x: x(shown), width: scale.column });

      // What cannot be bent, neighbours with the same reason together.
      /** @type {{ from: number, to: number, state: Cell["state"], texts: string[], widest: Cell }[]} */
      const closed = [];
      for (const cell of row.cells) {
        if (cell.state === "open") continue;
        const texts = reasons(cell, wordOf(cell.slice), row.name);
        const last = closed[closed.length - 1];
        if (last && last.to === cell.from && last.texts[0] === texts[0]) {
          last.to += cell.layers;
          if (roomIn(cell) > roomIn(last.widest)) last.widest = cell;
        } else closed.push({ from: cell.from, to: cell.from + cell.layers, state: cell.state, texts, widest: cell });
      }
      const inSight = closed.filter(({ from, to }) => from < end && to > first);
      pool(zones, inSight.length, () => {
        const lockIcon = icon("lock");
        lockIcon.classList.add("ml-lock");
        return s("g", {}, s("rect", {}), s("line", {}), lockIcon, label(0, 0, "", { "text-anchor": "middle", class: "ml-halo" }));
      }).forEach((zone, i) => {
        const { from, to, state, texts, widest } = inSight[i];
        const [area, top, mark, text] = zone.children;
        const wide = x(to) - x(from);
        const whole = state === "whole";
        // Words stay clear of the borders of slices: they stand in the widest of them, in the part of it in sight.
        const room = scale.column * widest.layers;
        const fits = texts.find((each) => each.length * LETTER + (whole ? 24 : 8) <= room) ?? "";
        const half = Math.min(room, fits.length * LETTER + (whole ? 24 : 8)) / 2;
        const [left, right] = seen(widest);
        const at = Math.max(x(widest.from) + half, Math.min((left + right) / 2, x(widest.from) + room - half));
        set(area, { x: x(from) + 1, y: TOP, width: Math.max(0, wide - 2), height: TALL, style: state === "absent" ? `fill:${hatch(id)}` : "fill:none" });
        set(top, { x1: middle(from) - 6, x2: middle(to - 1) + 6, y1: TOP, y2: TOP, style: `display:${whole ? "inline" : "none"};stroke:${colour};stroke-width:2` });
        set(mark, { x: at - (fits ? fits.length * (LETTER / 2) + 8 : 6), y: TOP + 8, width: 12, height: 12, style: `display:${whole ? "inline" : "none"}` });
        set(text, { x: at + (whole ? 7 : 0), y: whole ? TOP + 18 : TOP + TALL / 2 + 4 });
        say(text, fits);
        set(zone, { "data-state": state });
      });

      /** @param {Row} from @param {Kind | null} only @returns {Record<Kind, { line: string, marks: string }> & { outside: string }} */
      const paths = (from, only) => {
        const made = { attention: { line: "", marks: "" }, feed_forward: { line: "", marks: "" }, rest: { line: "", marks: "" }, outside: "" };
        for (const cell of from.cells) {
          if (cell.state !== "open") continue;
          for (const { kind, values, alone } of linesOf(cell, kinds, chosen)) {
            if (only && only !== kind && !alone) continue;
            values.forEach((value, offset) => {
              if (value === null) return;
              const [px, py] = [middle(cell.from + offset).toFixed(1), y(value).toFixed(1)];
              made[kind].line += `${offset && values[offset - 1] !== null ? "L" : "M"}${px} ${py}`;
              made[kind].marks += `M${px} ${py}${LOOKS[kind].mark}`;
              if (value > range[1]) made.outside += `M${px} ${TOP - 8}m-3.5 3.5l3.5 -4l3.5 4z`;
              if (value < range[0]) made.outside += `M${px} ${TOP + TALL + 8}m-3.5 -3.5l3.5 4l3.5 -4z`;
            });
          }
        }
        return made;
      };
      const now = paths(row, null);
      for (const { kind, line, marks } of lines) {
        const { dash, wide } = LOOKS[kind];
        set(line, { d: now[kind].line, style: `stroke-width:${wide}${dash ? `;stroke-dasharray:${dash}` : ""}` });
        set(marks, { d: kind === "rest" && chosen !== "rest" ? "" : now[kind].marks });
      }
      set(outside, { d: now.outside });
      const was = hand ? paths(hand.before, hand.kind) : null;
      set(ghost, { d: was ? KINDS.map((kind) => was[kind].line).join("") : "" });

      const point = hand ?? (shown !== null ? { layer: shown, kind: chosen ?? "attention" } : null);
      const cell = point ? row.cells.find(({ from, layers }) => point.layer < from + layers) : undefined;
      const drawn = cell?.state === "open" && point ? linesOf(cell, kinds, chosen) : [];
      const at = drawn.find(({ kind }) => kind === point?.kind) ?? drawn[0];
      const value = at && cell && point ? at.values[point.layer - cell.from] : null;
      for (const each of [halo, hot]) each.style.display = value === null ? "none" : "";
      chip.style.display = hand && value !== null ? "" : "none";
      if (value !== null && point) {
        const [px, py] = [middle(point.layer), y(value)];
        set(halo, { cx: px, cy: py });
        set(hot, { d: `M${px} ${py}${LOOKS[at.kind].mark}` });
        set(chip, { transform: `translate(${px + (px + 56 > scale.width ? -50 : 12)} ${Math.max(0, py - 22)})` });
        say(chip.children[1], cell?.number ? inSteps(value, cell.number) : "");
      }
    },
  };
}
