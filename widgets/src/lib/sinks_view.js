// @ts-check
// A panel that is a table: what was found, a row each, as Python words it.

import { h } from "./dom.js";
import { quantity } from "./quantity.js";

/** @typedef {import("./panels.js").Panel} Panel */

/** What stands in a column, for the pointer. */
const MEANT = /** @type {Record<string, string>} */ ({
  source: "the model",
  prompt: "number of the text, from 0",
  position: "place of the token in its text, from 0",
  token: "the token as text",
  layer: "the layer that made it a sink; a dash: the embeddings did",
  gone: "the layer that ended it; a dash: none did",
  times: "its norm over the median token's, at the layer where that is largest",
  channels: "its three largest channels where it was born, the largest first",
  value: "of the largest channel, with its sign",
  massive: "whether that is a massive activation: above 100 and above 1000 times the median channel (Sun et al., 2024)",
});
const OF = "source";

/**
 * How many rows there are, of which model, and whether those of one model are some of them.
 * @param {Panel} panel @param {string} chosen a source, or empty @returns {{ words: string, some: boolean }}
 */
export function foundIn(panel, chosen) {
  const cells = panel.cells ?? [];
  const place = panel.columns.indexOf(OF);
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const row of cells) counts.set(`${row[place]}`, (counts.get(`${row[place]}`) ?? 0) + 1);
  const each = [...counts.values()];
  const alike = each.every((count) => count === each[0]);
  const shared = counts.size < 2 ? "" : alike ? `: ${each[0]} in each` : `: ${[...counts].map(([name, count]) => `${count} in ${name}`).join(", ")}`;
  return { words: cells.length && place >= 0 ? `${cells.length} found${shared}` : "", some: counts.size > 1 && counts.has(chosen) };
}

/** @param {Panel} panel @param {string} only the source whose rows are shown; empty: all */
export function tableOf(panel, only) {
  const place = panel.columns.indexOf(OF);
  const cells = (panel.cells ?? []).filter((row) => !only || row[place] === only);
  const numeric = panel.columns.map((_, column) => cells.every((row) => typeof row[column] !== "string"));
  const table = h("table", { class: "ml-table", "aria-label": panel.title });
  table.append(h("thead", {}, h("tr", {}, ...panel.columns.map((name, i) => h("th", { scope: "col", class: numeric[i] ? "" : "ml-left", title: MEANT[name] ?? null }, name)))));
  const said = (/** @type {string | number | null} */ value) => (value === null ? "–" : typeof value === "number" ? (Number.isInteger(value) ? `${value}`.replace("-", "−") : quantity(value, { unit: "1", scale: "linear", middle: 0 })) : value);
  table.append(h("tbody", {}, ...cells.map((row) => h("tr", {}, ...row.map((value, i) => h("td", { class: numeric[i] ? "" : "ml-left" }, said(value)))))));
  return table;
}
