// @ts-check
// How a source looks: a fill, a pattern over it, a two-letter code. Colour is never the only cue.

import { s } from "./dom.js";

export const COLOURS = 5;

/** @param {number} source */
export function hue(source) {
  return `--ml-s${source % COLOURS}`;
}

/** Dash of a source's line in a chart. */
export const DASHES = ["", "5 3", "1.5 3", "7 3 1.5 3", "3 2"];

/** Patterns, inside the widget's root (outside it the tokens do not resolve). @param {string} id unique in the page */
export function patterns(id) {
  /** @param {number} i @param {number} size @param {SVGElement} mark @param {string} [turn] */
  const pattern = (i, size, mark, turn) =>
    s("pattern", { id: `${id}-p${i}`, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: turn }, mark);
  const stroke = (/** @type {number} */ i) => `stroke:var(${hue(i)});stroke-width:1.1;stroke-opacity:.42`;
  return s(
    "svg",
    { width: 0, height: 0, class: "ml-patterns", "aria-hidden": "true" },
    s(
      "defs",
      {},
      pattern(1, 5, s("line", { x1: 0, y1: 0, x2: 0, y2: 5, style: stroke(1) }), "rotate(45)"),
      pattern(2, 5, s("circle", { cx: 2.5, cy: 2.5, r: 0.95, style: `fill:var(${hue(2)});fill-opacity:.6` })),
      pattern(3, 6, s("path", { d: "M0 0L6 6M6 0L0 6", style: stroke(3) })),
      pattern(4, 4, s("line", { x1: 2, y1: 0, x2: 2, y2: 4, style: stroke(4) })),
      pattern(5, 6, s("line", { x1: 0, y1: 0, x2: 0, y2: 6, style: "stroke:var(--ml-line);stroke-width:1" }), "rotate(45)"),
      pattern(7, 6, s("line", { x1: 0, y1: 0, x2: 0, y2: 6, style: "stroke:var(--ml-risk);stroke-width:1.2;stroke-opacity:.35" }), "rotate(-45)"),
      pattern(6, 4, s("line", { x1: 0, y1: 0, x2: 0, y2: 4, style: "stroke:var(--ml-ink-3);stroke-width:1.2" }), "rotate(-45)"),
    ),
  );
}

/** @param {string} id of the patterns */
export const hatch = (id) => `url(#${id}-p5)`;

/** What was refused. @param {string} id of the patterns */
export const riskHatch = (id) => `url(#${id}-p7)`;

/** What chance alone gives. @param {string} id of the patterns */
export const chanceHatch = (id) => `url(#${id}-p6)`;

/**
 * A filled, patterned, outlined box in a source's look.
 * @param {string} id @param {number} source @param {number} x @param {number} y @param {number} width @param {number} height
 */
export function block(id, source, x, y, width, height, radius = 2) {
  const box = { x: x + 0.5, y: y + 0.5, width: Math.max(0, width - 1), height: Math.max(0, height - 1), rx: radius };
  const fill = s("rect", { ...box, class: `ml-block${source % COLOURS}` });
  return source % COLOURS > 0 ? s("g", {}, fill, s("rect", { ...box, style: `fill:url(#${id}-p${source % COLOURS})` })) : fill;
}

/** @param {string} id @param {number} source */
export function swatch(id, source, size = 12) {
  return s("svg", { width: size, height: size, class: "ml-swatch", "aria-hidden": "true" }, block(id, source, 0, 0, size, size));
}
