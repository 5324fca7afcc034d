// @ts-check
// What every panel draws over its numbers in the same way: the layers' numbers, the selection, a value by the pointer.

import { strideOf } from "./axis.js";
import { label, s } from "./dom.js";

/** @typedef {import("./axis.js").Axis} Axis */
/** @typedef {import("./selection.js").Run} Run */

/**
 * Groups of a picture, one over the other. Each is made again only when what it shows has changed: the pointer moves
 * through many panels at once.
 * @param {SVGElement} svg @param {number} count
 */
export function sheetsOf(svg, count) {
  /** @type {string[]} */
  const shown = Array(count).fill("");
  const groups = shown.map(() => s("g", {}));
  svg.append(...groups);
  /** @param {number} i @param {readonly unknown[]} what @param {() => SVGElement[]} make */
  return (i, what, make) => {
    const now = JSON.stringify(what);
    if (now === shown[i]) return;
    shown[i] = now;
    groups[i].replaceChildren(...make());
  };
}

/**
 * Numbers below the columns; those selected or pointed at are bold and always there.
 * @param {readonly string[]} columns @param {Axis} axis @param {number} y of the baseline @param {readonly Run[]} runs
 * @param {number | null} spot @param {import("./ruler.js").Ruler} ruler
 */
export function layerNumbers(columns, axis, y, runs, spot, ruler) {
  const widest = Math.max(...columns.map((each) => ruler.width(each, { bold: true })), 6) + 8;
  const stride = strideOf(axis.column, widest);
  const inside = (/** @type {number} */ i) => runs.some(([from, to]) => from <= i && i <= to);
  const ends = runs.flat();
  const group = s("g", {}, label(axis.gutter - 8, y, "layer", { "text-anchor": "end" }));
  const standing = columns.map((_, i) => i).filter((i) => i % stride === 0);
  const wanted = stride > 1 ? [...(spot === null ? [] : [spot]), ...ends] : [];
  /** @type {number[]} */
  const kept = [];
  for (const i of [...wanted, ...standing]) {
    if (kept.every((each) => each === i ? false : Math.abs(each - i) * axis.column >= widest)) kept.push(i);
  }
  for (const i of kept) {
    const strong = i === spot || inside(i);
    group.append(label(axis.middle(i), y, columns[i], { "text-anchor": "middle", class: strong ? "ml-ink ml-b" : "" }));
  }
  return group;
}

/**
 * Runs of selected columns: an outline, what is outside paler; grips where they can be taken.
 * @param {Axis} axis @param {readonly Run[]} runs @param {number} height @param {{ grips: boolean, veil: boolean }} look
 */
export function selected(axis, runs, height, { grips, veil }) {
  const group = s("g", {});
  if (!runs.length) return group;
  if (veil) {
    const edges = [0, ...runs.flatMap(([from, to]) => [from, to + 1]), axis.count];
    for (let i = 0; i < edges.length; i += 2) {
      const width = axis.x(edges[i + 1]) - axis.x(edges[i]);
      if (width > 0) group.append(s("rect", { x: axis.x(edges[i]), y: 0, width, height, class: "ml-veil" }));
    }
  }
  for (const [from, to] of runs) {
    const box = { x: axis.x(from), y: -0.5, width: axis.x(to + 1) - axis.x(from), height: height + 1, rx: 3 };
    group.append(s("rect", { ...box, class: veil ? "ml-chosen" : "ml-chosen ml-filled" }));
    if (!grips || box.width < 16) continue;
    for (const x of [axis.x(from), axis.x(to + 1)]) {
      group.append(s("rect", { x: x - 3, y: height / 2 - 10, width: 6, height: 20, rx: 3, class: "ml-grip" }));
    }
  }
  return group;
}

/**
 * A value on ink, above a place; below it where there is no room.
 * @param {number} x middle @param {number} top @param {number} bottom of what it belongs to @param {string} words
 * @param {[number, number]} room least and largest x @param {import("./ruler.js").Ruler} ruler
 */
export function chip(x, top, bottom, words, room, ruler) {
  const width = ruler.width(words, { bold: true }) + 14;
  const left = Math.max(room[0], Math.min(room[1] - width, x - width / 2));
  const y = top >= 18 ? top - 22 : bottom + 4;
  return s(
    "g",
    {},
    s("rect", { x: left, y, width, height: 18, rx: 4, class: "ml-value-chip" }),
    label(left + width / 2, y + 12.7, words, { "text-anchor": "middle", class: "ml-on-ink" }),
  );
}
