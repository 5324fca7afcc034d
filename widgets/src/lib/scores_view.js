// @ts-check
// The scores: value, unit, spread, the change since the turn before, and a line through the turns between two controls.

import { h, pool, s, say } from "./dom.js";
import { figure, signed } from "./figures.js";
import { changeOf, knownOf, parentOf, plotOf, skipOf } from "./scores.js";

/** @typedef {import("./draft.js").ScoreRow} ScoreRow */

const [WIDE, TALL] = [92, 40];
const TURNS = 9; // that the line shows
const LINES = { parent: "stroke-dasharray:4 2.5", skip: "stroke-dasharray:1.2 2.5;stroke-width:1.4" };

/** @param {ScoreRow} row @returns {ScoreRow} */
const recent = (row) => ({ ...row, past: knownOf(row).slice(-TURNS) });

/** A change to the place that the spread is known to: below that it is none. @param {number} change @param {number | null} spread */
function inSteps(change, spread) {
  if (!spread) return change;
  const step = 10 ** Math.floor(Math.log10(spread));
  return Math.round(change / step) * step;
}

/** Why there is no figure, or what the figure is. @param {ScoreRow} row @param {number | null} turn @param {boolean} stale @param {boolean} measuring */
function under(row, turn, stale, measuring) {
  if (row.value === null) return row.why || (measuring ? "being measured" : "not measured");
  const spread = row.spread === null ? "" : `±\u00a0${figure(row.spread, 1)}`;
  const change = changeOf(row, turn);
  const by = change ? inSteps(change.by, row.spread) : 0;
  const since = change ? `${by === 0 ? "as in" : `${signed(by, 2)} since`} turn ${change.turn}` : "";
  const when = stale ? (turn === null ? "of an earlier stack" : `from turn ${turn}`) : since;
  return [when, spread].filter(Boolean).join(", ");
}

/** The row in one sentence, for those who do not see the line. @param {ScoreRow} row */
function sentence(row) {
  const [parent, skip] = [parentOf(row), skipOf(row)];
  const turns = knownOf(row).map(([turn, value]) => `turn ${turn}: ${figure(value)}`).join(", ");
  const controls = [parent ? `best source, ${parent.name}: ${figure(parent.value)}` : "", skip ? `skip: ${figure(skip.value)}` : ""];
  return [`${row.name}, ${row.better} is better`, turns, ...controls].filter(Boolean).join("; ");
}

/** @param {ScoreRow} row @param {number | null} turn  of the value */
function line(row, turn) {
  const [parent, skip] = [parentOf(row), skipOf(row)];
  const svg = s("svg", { width: "100%", height: TALL, viewBox: `0 0 ${WIDE} ${TALL}`, preserveAspectRatio: "none", role: "img", "aria-label": sentence(row) });
  const { y, points } = plotOf(row, WIDE, TALL);
  if (row.value !== null && row.spread) {
    const [top, floor] = [y(row.value + row.spread), y(row.value - row.spread)].map((at) => Math.max(0, Math.min(TALL, at)));
    svg.append(s("rect", { class: "ml-spread", x: 0, width: WIDE, y: top, height: Math.max(1, floor - top) }));
  }
  for (const [control, style] of /** @type {const} */ ([[parent, LINES.parent], [skip, LINES.skip]])) {
    if (control) svg.append(s("line", { class: "ml-control", x1: 0, x2: WIDE, y1: y(control.value), y2: y(control.value), style, "vector-effect": "non-scaling-stroke" }));
  }
  const path = points.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
  if (points.length > 1) svg.append(s("path", { class: "ml-turns", d: path, "vector-effect": "non-scaling-stroke" }));
  const held = turn === null && row.value !== null ? [WIDE - 3, y(row.value)] : points.at(-1); // of a picture that a hand still holds
  const now = points[knownOf(row).findIndex(([each]) => each === turn)] ?? held;
  // A line of no length with round ends stays round however the picture is stretched.
  if (now) svg.append(s("path", { class: "ml-last", d: `M${now[0]} ${now[1]}h.01`, "vector-effect": "non-scaling-stroke" }));
  return svg;
}

/** @param {string} style @param {string} words @param {string} title */
const keyOf = (style, words, title) =>
  h("span", { title }, s("svg", { width: 16, height: 8, "aria-hidden": "true" }, s("path", { class: "ml-control", d: "M0 4H16", style })), h("span", {}, words));

/** @param {import("../workbench.js").Context} context */
export function scoresView({ draft }) {
  const cards = h("div", { class: "ml-scores" });
  const note = h("span", { class: "ml-mute" });
  const words = h("p", { class: "ml-caption ml-mute" });
  const root = h(
    "div",
    { class: "ml-part ml-part-wide" },
    h("div", { class: "ml-head" }, h("h3", {}, "Scores"), note),
    cards,
    words,
  );

  function draw() {
    const { scores, answer } = draft;
    root.hidden = !scores.rows.length;
    if (root.hidden) return;
    const stale = draft.state !== "exact" || (answer !== null && scores.recipe !== answer.recipe);
    const turns = Math.min(TURNS, Math.max(...scores.rows.map((row) => knownOf(row).length)));
    const none = scores.rows.every(({ value }) => value === null);
    const measuring = draft.status === "measuring" || !scores.done;
    say(note, stale && !none ? (draft.writing ? "of an earlier turn; being measured" : "of an earlier turn") : (stale && draft.writing) || measuring ? "being measured" : turns > 1 ? `last ${turns} turns` : "");
    // The turn that the values are of: after undo that is not the last one.
    const turn = [...draft.past.entries].reverse().find(({ recipe }) => recipe === scores.recipe)?.turn ?? null;
    const controls = [scores.rows.some(parentOf) ? "parent: the best source." : "", scores.rows.some(skipOf) ? "skip: the same stack without what was put in." : ""];
    say(words, controls.filter(Boolean).join(" "));
    pool(cards, scores.rows.length, () => h("div", { class: "ml-score", role: "group" })).forEach((card, i) => {
      const row = recent(scores.rows[i]);
      const key = JSON.stringify([row, turn, stale, measuring]);
      if (card.dataset.key === key) return;
      card.dataset.key = key;
      card.classList.toggle("ml-stale", stale && row.value !== null);
      card.setAttribute("aria-label", row.name);
      const [parent, skip] = [parentOf(row), skipOf(row)];
      card.replaceChildren(
        h("div", { class: "ml-score-name", title: `${row.name}: ${row.better} is better` }, row.name),
        h("div", { class: "ml-score-value" }, h("b", {}, figure(row.value)), row.value === null ? "" : h("small", { title: row.unit }, row.unit.split(" ")[0])),
        h("div", { class: "ml-score-change" }, under(row, turn, stale, measuring)),
        line(row, turn),
        ...(parent ? [keyOf(LINES.parent, `parent ${figure(parent.value)}`, parent.note || parent.name)] : []),
        ...(skip ? [keyOf(LINES.skip, `skip ${figure(skip.value)}`, skip.note || "the same stack without what was put in")] : []),
      );
    });
  }
  return { root, draw };
}
