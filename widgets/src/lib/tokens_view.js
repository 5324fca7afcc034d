// @ts-check
// The next token: each speaker's probability for it as a bar and a number, and how far each is from the merged model.

import { h, pool, say } from "./dom.js";
import { nats, percent, tokenLabel } from "./figures.js";
import { colourOf, inkOf, nameOf, shortOf } from "./speakers.js";

/** A figure in its cell; where there is none, a dash that says why.
 * @param {Element} cell @param {string} figure @param {string | null} why */
function put(cell, figure, why) {
  say(cell, figure);
  for (const name of ["title", "aria-label"]) {
    if (why === null) cell.removeAttribute(name);
    else cell.setAttribute(name, why);
  }
}

const ROWS = 9; // that room is kept for: sources say different tokens, and more than that are rare

/** The height of a table of so many rows, in px: bars of every speaker in each. @param {number} rows @param {number} speakers */
const tallOf = (rows, speakers) => 47 + rows * (15 + 4.6 * (speakers - 1));

/** @param {import("../workbench.js").Context} context */
export function tokensView({ draft }) {
  const head = h("tr");
  const body = h("tbody");
  const foot = h("tr");
  const caption = h("caption", { class: "ml-hidden" }, "Probability of the next token, %, of the merged model and of each source");
  const table = h("table", { class: "ml-tokens" }, caption, h("thead", {}, head), body, h("tfoot", {}, foot));
  const root = h("div", {}, table); // its room is there before the figures are

  function draw() {
    const { answer, sources } = draft;
    const speakers = sources.length + 1;
    const rows = answer?.candidates ?? [];
    pool(head, speakers + 2, (i) => h("th", { scope: "col", class: i < 2 ? "ml-left" : "" })).forEach((cell, i) => {
      if (i === 0) return;
      if (i === 1) {
        if (!cell.childElementCount) cell.append(h("div", { class: "ml-ticks", "aria-hidden": "true" }, h("span", {}, "0"), h("span", {}, "50"), h("span", {}, "100")));
        return;
      }
      cell.style.color = inkOf(i - 2);
      cell.title = nameOf(sources, i - 2);
      say(cell, shortOf(sources, i - 2));
    });
    pool(body, rows.length, () => h("tr", {}, h("th", { scope: "row", class: "ml-token" }), h("td", { class: "ml-bars", "aria-hidden": "true" }))).forEach((row, r) => {
      const { token, probabilities } = rows[r];
      const shown = tokenLabel(token);
      const name = /** @type {HTMLElement} */ (row.children[0]);
      say(name, shown);
      name.title = shown;
      pool(row.children[1], speakers, (i) => h("div", { class: i ? "ml-bar" : "ml-bar ml-thick" })).forEach((bar, i) => {
        bar.style.background = colourOf(i);
        bar.style.width = `${(100 * (probabilities[i] || 0)).toFixed(2)}%`;
      });
      pool(row, speakers + 2, (i) => h("td", { class: i === 2 ? "ml-first" : "" })).slice(2).forEach((cell, i) => {
        const value = probabilities[i] ?? null;
        put(cell, percent(value), value === null ? "not in its vocabulary" : null);
      });
    });
    pool(foot, speakers + 1, (i) => (i ? h("td") : h("th", { scope: "row", colspan: 2, class: "ml-left" }, "KL from merged, nats"))).forEach((cell, i) => {
      if (i < 2) return;
      const value = answer?.kl[i - 1] ?? null;
      put(cell, nats(value), answer && value === null ? "no figure: its vocabulary differs" : null);
    });
    table.hidden = !rows.length;
    root.style.minHeight = `${Math.ceil(tallOf(ROWS, speakers))}px`;
  }
  return { root, draw };
}
