// @ts-check
// The key above a panel: which line is whose, or which colour is how much, with a mark where there is no effect.

import { h, s } from "./dom.js";
import { dot, stroke } from "./lines_view.js";
import { chanceHatch } from "./swatches.js";
import { placeOf, rangeOf } from "./panels.js";
import { bound, quantity } from "./quantity.js";

/** @typedef {import("./panels.js").Panel} Panel */

const WIDE = 82;
const TALL = 10;

/**
 * @param {Panel} panel @param {import("./panels.js").Values} values @param {(row: number) => number} colour
 * @param {number | null} column each name is followed by its value there, for which there is always room @param {string} id of the patterns
 */
export function linesKey(panel, values, colour, column, id) {
  const parts = panel.rows.map((name, row) => {
    const value = column === null ? Number.NaN : values.at(row, column);
    return h(
      "span",
      {},
      s("svg", { width: 24, height: 10, "aria-hidden": "true" }, stroke(colour(row), "M0 5H24")),
      h("span", { class: "ml-key-name" }, name),
      h("b", {}, Number.isNaN(value) ? "" : quantity(value, panel)),
    );
  });
  const rows = [...new Set((panel.points ?? []).map(([, , row]) => row))].sort((a, b) => a - b);
  if (rows.length) {
    const dots = rows.slice(0, 5).map((row, i) => dot(colour(row), 5 + 11 * i, 5));
    parts.push(h("span", {}, s("svg", { width: 11 * dots.length, height: 10, "aria-hidden": "true" }, ...dots), "sink tokens"));
  }
  if (panel.band) {
    const edges = s("svg", { width: 16, height: 10, "aria-hidden": "true" }, s("path", { d: "M0 1.5H16M0 8.5H16", class: "ml-spread", style: "stroke:var(--ml-ink-2)" }));
    parts.push(h("span", {}, edges, "5–95\u202f% of tokens"));
  }
  if (panel.chanceband) {
    const band = s("svg", { width: 16, height: 10, "aria-hidden": "true" }, s("rect", { x: 0.5, y: 1.5, width: 15, height: 7, class: "ml-by-chance", style: `fill:${chanceHatch(id)}` }));
    parts.push(h("span", {}, band, "by chance"));
  }
  return parts;
}

/**
 * @param {Panel} panel @param {import("./panels.js").Values} values @param {import("./ramp.js").Ramps} ramps
 * @param {boolean} dotted cells outside chance carry a dot
 */
export function coloursKey(panel, values, ramps, dotted) {
  const range = rangeOf(panel, values);
  const ramp = panel.scale === "diverging" ? ramps.diverging : ramps.sequential;
  const bar = h("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const context = bar.getContext("2d");
  if (context) {
    const image = context.createImageData(256, 1);
    image.data.set(ramp);
    context.putImageData(image, 0, 0);
  }
  const marks = s("svg", { width: WIDE, height: TALL, "aria-hidden": "true" });
  marks.append(s("rect", { x: 0.5, y: 0.5, width: WIDE - 1, height: TALL - 1, class: "ml-key-edge" }));
  const x = (/** @type {number} */ value) => placeOf(value, range, panel.scale) * WIDE;
  const { chanceband: band } = panel;
  if (band && typeof band.low === "number" && typeof band.high === "number") {
    const [from, to] = [x(band.low), x(band.high)];
    marks.append(s("rect", { x: from, y: TALL + 1, width: Math.max(1, to - from), height: 3, class: "ml-key-chance" }));
  }
  const words = [];
  if (panel.scale === "diverging") {
    marks.append(s("path", { d: `M${WIDE / 2} -3v${TALL + 6}`, class: "ml-key-mark" }));
    words.push(h("span", { class: "ml-key-middle" }, `mark at ${bound(panel.middle, panel)}`));
  }
  const missing = panel.values && panel.state !== "waiting" && panel.state !== "measuring" && panel.rows.some((_, row) => panel.columns.some((_, column) => Number.isNaN(values.at(row, column))));
  if (missing) words.unshift(h("span", { class: "ml-key-middle" }, h("i", { class: "ml-hatched", "aria-hidden": "true" }), "no value"));
  if (panel.chanceband) words.unshift(h("span", { class: "ml-key-middle" }, ...(dotted ? [h("i", { class: "ml-dotted", "aria-hidden": "true" }), "outside chance"] : ["pale: within chance"])));
  if (panel.scale === "log") words.push(h("span", { class: "ml-key-middle" }, "log scale"));
  return [...words, h("span", { class: "ml-key-range" }, bound(range[0], panel), h("span", { class: "ml-key-bar" }, bar, marks), bound(range[1], panel))];
}
