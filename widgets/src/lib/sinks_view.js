// @ts-check
// A panel that is a table: what was found, a row each, as Python words it.

import { h } from "./dom.js";
import { quantity } from "./quantity.js";

/** @typedef {import("./panels.js").Panel} Panel */

/** @param {Panel} panel */
export function tableOf(panel) {
  const cells = panel.cells ?? [];
  const numeric = panel.columns.map((_, column) => cells.every((row) => typeof row[column] !== "string"));
  const table = h("table", { class: "ml-table", "aria-label": panel.title });
  table.append(h("thead", {}, h("tr", {}, ...panel.columns.map((name, i) => h("th", { scope: "col", class: numeric[i] ? "" : "ml-left" }, name)))));
  const said = (/** @type {string | number | null} */ value) => (value === null ? "–" : typeof value === "number" ? (Number.isInteger(value) ? `${value}`.replace("-", "−") : quantity(value, { unit: "1", scale: "linear", middle: 0 })) : value);
  table.append(h("tbody", {}, ...cells.map((row) => h("tr", {}, ...row.map((value, i) => h("td", { class: numeric[i] ? "" : "ml-left" }, said(value)))))));
  return table;
}
