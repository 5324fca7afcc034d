// @ts-check
// A line for each source over the layers, dotted edges round most of its tokens; dots for what is left out of the lines;
// chance hatched.

import { apart, axisOf, ticksOf } from "./axis.js";
import { h, label, s } from "./dom.js";
import { chip, layerNumbers, selected, sheetsOf } from "./marks.js";
import { againstChance, boundOf, extentOf, unpack } from "./panels.js";
import { bare, withChance } from "./quantity.js";
import { chanceHatch, DASHES, hue } from "./swatches.js";

/** @typedef {import("./panels.js").Panel} Panel */

const TALL = 214;
const FOOT = 22;
const COLOURS = 5;

/** A mark for dots of a source: its shape is the second cue. @param {number} source @param {number} x @param {number} y */
export function dot(source, x, y) {
  const colour = `var(${hue(source)})`;
  switch (source % COLOURS) {
    case 0:
      return s("circle", { cx: x, cy: y, r: 3.2, style: `fill:${colour}` });
    case 1:
      return s("path", { d: `M${x} ${y - 4.2}l4.2 4.2-4.2 4.2-4.2-4.2z`, style: `fill:${colour}` });
    case 2:
      return s("circle", { cx: x, cy: y, r: 2.8, style: `fill:var(--ml-surface);stroke:${colour};stroke-width:1.7` });
    case 3:
      return s("path", { d: `M${x - 3} ${y - 3}l6 6M${x + 3} ${y - 3}l-6 6`, style: `stroke:${colour};stroke-width:1.8` });
    default:
      return s("path", { d: `M${x} ${y - 4}l4 7h-8z`, style: `fill:${colour}` });
  }
}

/** A piece of line as a source draws it. @param {number} source @param {string} d @param {number} [width] */
export function stroke(source, d, width = 2) {
  return s("path", { d, style: `fill:none;stroke:var(${hue(source)});stroke-width:${width};stroke-linejoin:round;stroke-dasharray:${DASHES[source % COLOURS]}` });
}

/** Runs of points without a hole. @param {readonly (readonly [number, number])[]} points */
function unbroken(points) {
  /** @type {(readonly [number, number])[][]} */
  const runs = [[]];
  for (const point of points) {
    if (Number.isFinite(point[1])) runs[runs.length - 1].push(point);
    else if (runs[runs.length - 1].length) runs.push([]);
  }
  return runs.filter((run) => run.length);
}

/** @param {readonly (readonly [number, number])[]} points */
const path = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;

/** A closed band between two lines, hole by hole. @param {(i: number) => number} x @param {readonly number[]} low @param {readonly number[]} high */
function bands(x, low, high) {
  const both = low.map((each, i) => /** @type {[number, number]} */ ([i, Number.isFinite(each) && Number.isFinite(high[i]) ? each : Number.NaN]));
  return unbroken(both).map((run) => `${path([...run.map(([i]) => /** @type {const} */ ([x(i), high[i]])), ...[...run].reverse().map(([i, y]) => /** @type {const} */ ([x(i), y]))])}Z`);
}

/** The range of everything drawn, with a little air. @param {Panel} panel @returns {[number, number]} */
export function reachOf(panel) {
  const log = panel.scale === "log";
  const all = [panel.values, panel.band?.low, panel.band?.high].flatMap((each) => extentOf(unpack(each)) ?? []);
  for (const [, value] of panel.points ?? []) all.push(value);
  const good = all.filter((each) => Number.isFinite(each) && (!log || each > 0));
  let low = panel.low ?? Math.min(...good, log ? Number.POSITIVE_INFINITY : 0);
  let high = panel.high ?? Math.max(...good);
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = log ? [1, 10] : [0, 1];
  if (panel.scale === "diverging") {
    const far = Math.max(high - panel.middle, panel.middle - low) || 1;
    return [panel.middle - 1.05 * far, panel.middle + 1.05 * far];
  }
  if (log) return [low / 1.2, high * 1.2];
  const air = 0.06 * (high - low || 1);
  return [low === 0 ? 0 : low - air, high + air];
}

/** @param {string} id of the patterns */
export function linesPicture(id) {
  const under = s("svg", { "aria-hidden": "true" });
  const svg = s("svg", { "aria-hidden": "true" });
  const root = h("div", { class: "ml-picture" }, under, svg);
  const sheet = sheetsOf(svg, 3);
  let drawn = 0; // how often everything was laid out

  /** @param {Panel} panel @param {number} width @param {import("./ruler.js").Ruler} ruler */
  function layout(panel, width, ruler) {
    const [low, high] = reachOf(panel);
    const log = panel.scale === "log";
    const ticks = ticksOf([low, high], log);
    const gutter = Math.max(50, ...ticks.major.map((each) => ruler.width(bare(each)) + 14));
    const right = Math.min(0.3 * width, 16 + Math.max(20, ...panel.rows.map((each) => ruler.width(each, { bold: true }))));
    const axis = axisOf(gutter, width, panel.columns.length, right);
    const values = unpack(panel.values);
    const [least, most] = [unpack(panel.band?.low), unpack(panel.band?.high)];
    drawn += 1;
    const part = (/** @type {number} */ value) => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
    /** Not finite where there is no place for a value. @param {number} value */
    const y = (value) => TALL - part(value) * TALL;
    /** @param {number} row */
    const line = (row) => panel.columns.map((_, i) => /** @type {const} */ ([axis.middle(i), y(values.at(row, i))]));
    return {
      axis,
      values,
      against: againstChance(panel, values),
      ticks,
      y,
      line,
      /** The area between 5 and 95 % of a source's tokens. @param {number} row */
      spread: (row) => bands(axis.middle, panel.columns.map((_, i) => y(least.at(row, i))), panel.columns.map((_, i) => y(most.at(row, i)))),
      height: TALL,
      full: TALL + FOOT,
      width,
      right,
      /** The line nearest to py at a column. @param {number} column @param {number} py */
      rowAt(column, py) {
        const far = panel.rows.map((_, row) => Math.abs(y(values.at(row, column)) - py));
        const best = far.reduce((found, each, row) => (each < (far[found] ?? Infinity) || Number.isNaN(far[found]) ? row : found), 0);
        return best;
      },
    };
  }

  /** @param {Panel} panel @param {ReturnType<typeof layout>} at @param {(row: number) => number} colour the source of a row @param {import("./ruler.js").Ruler} ruler */
  function paint(panel, at, colour, ruler) {
    const { axis, ticks, y } = at;
    under.setAttribute("width", `${at.width}`);
    under.setAttribute("height", `${at.full}`);
    const parts = [];
    for (const tick of ticks.major) {
      parts.push(s("line", { x1: axis.gutter, x2: axis.end, y1: y(tick), y2: y(tick), class: "ml-gridline" }));
      parts.push(label(axis.gutter - 8, y(tick) + 4, bare(tick), { "text-anchor": "end" }));
    }
    for (const tick of ticks.minor) parts.push(s("line", { x1: axis.gutter - 4, x2: axis.gutter, y1: y(tick), y2: y(tick), class: "ml-tick" }));
    if (panel.scale === "diverging") parts.push(s("line", { x1: axis.gutter, x2: axis.end, y1: y(panel.middle), y2: y(panel.middle), class: "ml-tick" }));
    panel.rows.forEach((_, row) => {
      for (const d of at.spread(row)) parts.push(s("path", { d, class: "ml-spread", style: `stroke:var(${hue(colour(row))})` }));
    });
    const chance = panel.chances ?? panel.chanceband;
    if (chance) {
      const [low, high] = [boundOf(chance.low), boundOf(chance.high)];
      const each = panel.rows.map((_, row) => bands(axis.middle, panel.columns.map((_, i) => y(low(row, i))), panel.columns.map((_, i) => y(high(row, i)))));
      const one = new Set(each.map((found) => found.join(" "))).size === 1;
      each.slice(0, one ? 1 : undefined).forEach((found, row) => {
        const style = `${one ? "" : `stroke:var(${hue(colour(row))});`}fill:${chanceHatch(id)}`;
        for (const d of found) parts.push(s("path", { d, class: "ml-by-chance", style }));
      });
    }
    panel.rows.forEach((_, row) => {
      for (const run of unbroken(at.line(row))) {
        if (run.length > 1) parts.push(stroke(colour(row), path(run)));
        else parts.push(s("circle", { cx: run[0][0], cy: run[0][1], r: 2, style: `fill:var(${hue(colour(row))})` }));
      }
    });
    const spread = Math.min(9, axis.column / (panel.rows.length + 1));
    for (const [column, value, row] of panel.points ?? []) {
      if (Number.isFinite(y(value))) parts.push(dot(colour(row), axis.middle(column) + (row - (panel.rows.length - 1) / 2) * spread, y(value)));
    }
    // Names at the ends of the lines; the dots have a word of their own in the key.
    const ends = panel.rows.map((_, row) => unbroken(at.line(row)).at(-1)?.at(-1));
    const named = panel.rows.map((_, row) => row).filter((row) => ends[row]);
    const heights = apart(named.map((row) => /** @type {[number, number]} */ (ends[row])[1]), 12.5, 6, TALL - 4);
    named.forEach((row, i) => {
      const words = ruler.fit(panel.rows[row], at.right - 12, { bold: true });
      parts.push(label(axis.end + 8, heights[i] + 4, words, { class: "ml-b", style: `fill:var(${hue(colour(row))}-text)` }));
    });
    under.replaceChildren(...parts);
  }

  /**
   * @param {Panel} panel @param {ReturnType<typeof layout>} at @param {(row: number) => number} colour
   * @param {{ runs: import("./selection.js").Run[], row: number | null, column: number | null, grips: boolean, ruler: import("./ruler.js").Ruler }} shown
   */
  function over(panel, at, colour, { runs, row, column, grips, ruler }) {
    const { axis, y, values } = at;
    svg.setAttribute("width", `${at.width}`);
    svg.setAttribute("height", `${at.full}`);
    sheet(0, [drawn, runs, grips], () => [selected(axis, runs, TALL, { grips, veil: false })]);
    sheet(1, [drawn, runs, column], () => [layerNumbers(panel.columns, axis, TALL + 17, runs, column, ruler)]);
    sheet(2, [drawn, row, column], () => {
      if (column === null) return [];
      const x = axis.middle(column);
      /** @type {SVGElement[]} */
      const parts = [s("line", { x1: x, x2: x, y1: 0, y2: TALL, class: "ml-pointed-line" })];
      if (row !== null) for (const d of at.spread(row)) parts.push(s("path", { d, style: `fill:var(${hue(colour(row))});fill-opacity:.13` }));
      panel.rows.forEach((_, each) => {
        const cy = y(values.at(each, column));
        if (Number.isFinite(cy)) parts.push(s("circle", { cx: x, cy, r: each === row ? 5 : 3.6, class: "ml-on-line", style: `fill:var(${hue(colour(each))})` }));
      });
      const cy = row === null ? Number.NaN : y(values.at(row, column));
      if (row !== null && Number.isFinite(cy)) parts.push(chip(x, cy - 6, cy + 6, `${panel.rows[row]} ${withChance(values.at(row, column), panel, at.against(row, column))}`, [axis.gutter, at.width], ruler));
      return parts;
    });
  }
  return { root, layout, paint, over };
}
