// @ts-check
// What stands after each step: ten places side by side, a bar for each model, the step before as a dashed outline.

import { h, label, s, say } from "./dom.js";
import { hue } from "./swatches.js";

const WIDE = 560;
const TALL = 72;
const GUTTER = 30;
const NUMBERED = 14; // below the last row, for the places' numbers

/** @typedef {{ name: string, doc: string, change: boolean, each: boolean, rows: (number | null)[][] }} Stage */

/** @param {number | null} value */
const figure = (value) => (value === null ? "not a number" : `${Number(value.toFixed(2))}`.replace("-", "−"));

/** @param {number} model */
const colourOf = (model) => `var(${hue(model + 1)})`;

/** @param {Stage} stage @param {number} model */
const colour = (stage, model) => (stage.each ? colourOf(model) : "var(--ml-merged)");

/** What a row is called. @param {string[]} names @param {Stage} stage @param {number} model */
const whose = (names, stage, model) => (stage.each ? names[model] : "merged");

/**
 * @param {Stage} stage @param {Stage | undefined} before @param {number[] | null} base @param {number} limit
 * @param {string[]} names @param {boolean} last its places are numbered
 */
function bars(stage, before, base, limit, names, last) {
  const count = stage.rows.length;
  const places = stage.rows[0].length;
  const column = (WIDE - GUTTER) / places;
  const thick = Math.min(count > 1 ? 10 : 16, (column - 12) / count);
  const y = (/** @type {number} */ value) => TALL / 2 - (Math.max(-limit, Math.min(limit, value)) / limit) * (TALL / 2 - 3);
  const ghosts = before?.each === stage.each && before.rows.length === count && before.rows[0].length === places && before.change === stage.change;
  const svg = s("svg", { viewBox: `0 0 ${WIDE} ${TALL + (last ? NUMBERED : 0)}`, role: "img" });
  const words = stage.rows.map((row, model) => `${whose(names, stage, model)}: ${row.map(figure).join(", ")}`);
  svg.setAttribute("aria-label", `${stage.name}. ${words.join("; ")}`);
  svg.append(label(GUTTER - 8, 9, figure(limit), { "text-anchor": "end" }));
  svg.append(label(GUTTER - 8, TALL / 2 + 4, "0", { "text-anchor": "end" }));
  svg.append(s("line", { class: "ml-zero", x1: GUTTER, x2: WIDE, y1: TALL / 2, y2: TALL / 2 }));
  for (let place = 0; place < places; place += 1) {
    const left = GUTTER + place * column + (column - count * thick) / 2;
    const told = stage.rows.map((row, model) => `${whose(names, stage, model)} ${figure(row[place])}`).join(", ");
    const group = s("g", {}, s("title", {}, `number ${place + 1}: ${told}`));
    group.append(s("rect", { class: "ml-over-column", x: GUTTER + place * column, y: 0, width: column, height: TALL }));
    stage.rows.forEach((row, model) => {
      const x = left + model * thick;
      const was = ghosts ? before.rows[model][place] : null;
      const now = row[place];
      const rect = (/** @type {number} */ value) => ({
        x: x + 0.5, y: Math.min(y(value), y(0)), width: Math.max(1, thick - 1.5), height: Math.abs(y(value) - y(0)),
      });
      if (was !== null && was !== now) group.append(s("rect", { class: "ml-was", ...rect(was) }));
      if (now === null) group.append(label(x + thick / 2, TALL / 2 - 4, "×", { "text-anchor": "middle", class: "ml-ink" }));
      else if (now === 0) group.append(s("circle", { cx: x + thick / 2, cy: y(0), r: 1.6, style: `fill:${colour(stage, model)}` }));
      else group.append(s("rect", { ...rect(now), rx: 1, style: `fill:${colour(stage, model)}` }));
    });
    if (!stage.change && base && base.length === places) {
      group.append(s("line", { class: "ml-at-base", x1: left - 3, x2: left + count * thick + 3, y1: y(base[place]), y2: y(base[place]) }));
    }
    svg.append(group);
    if (last) svg.append(label(GUTTER + (place + 0.5) * column, TALL + 11, place + 1, { "text-anchor": "middle" }));
  }
  return svg;
}

export function stagesView() {
  const key = h("div", { class: "ml-key" });
  const list = h("div", { class: "ml-stages" });
  const axis = h("p", { class: "ml-axis-words" });
  const root = h("section", { "aria-label": "Step by step" }, h("div", { class: "ml-head" }, h("h3", {}, "Step by step"), key), list, axis);
  return {
    root,
    /** @param {{ names: string[], base: number[] | null, limit: number, stages: Stage[] }} shown */
    draw({ names, base, limit, stages }) {
      const swatch = (/** @type {string} */ style, /** @type {string} */ words, kind = "") => h("span", {}, h("i", { style, class: kind }), words);
      key.replaceChildren(
        ...names.map((name, model) => swatch(`background:${colourOf(model)}`, name)),
        swatch("background:var(--ml-merged)", "merged"),
        ...(base ? [swatch("", "base", "ml-at-base")] : []),
        swatch("", "step before", "ml-was"),
      );
      list.replaceChildren(
        ...stages.map((stage, at) => {
          const words = h("div", {}, h("h4", {}, stage.name), h("p", {}, stage.doc));
          return h("div", { class: "ml-stage" }, words, bars(stage, stages[at - 1], base, limit, names, at === stages.length - 1));
        }),
      );
      say(axis, `Ten numbers of one tensor, 2 rows of 5, from left to right. First and last step: their values${base ? "; between them: change against base" : ""}. Height: −${figure(limit)} to ${figure(limit)}. A dot is zero.`);
    },
  };
}
