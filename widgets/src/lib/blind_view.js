// @ts-check
// A blind comparison: what two or more say, in an order that only Python knows, until the hand has voted enough to ask.

import { h, icon, pool, say } from "./dom.js";
import { press, roving } from "./toolbar.js";

/** @param {import("../workbench.js").Context} context */
export function blindView({ draft, announce, signal }) {
  const prompt = h("p", { class: "ml-caption ml-blind-prompt" });
  const columns = h("div", { class: "ml-blind-columns", role: "toolbar", "aria-label": "Which one is better" });
  const count = h("span", { class: "ml-mute" });
  const verdict = h("p", { class: "ml-caption", role: "status" });
  const reveal = press(["Reveal"], () => draft.tell({ type: "reveal" }), signal, { class: "ml-small" });
  const end = press([icon("cross"), "End"], () => draft.tell({ type: "blind", names: [] }), signal, { class: "ml-small" });
  const root = h("div", { class: "ml-part ml-part-wide ml-blind", role: "region", "aria-label": "Blind comparison" }, h("div", { class: "ml-head" }, h("h3", {}, "Which one is better?"), count), prompt, columns, verdict, h("div", { class: "ml-edits" }, reveal, end));
  const settle = roving(columns, signal);

  function draw() {
    const { blind } = draft;
    root.hidden = blind === null;
    if (blind === null) return;
    const told = blind.names !== null;
    say(count, blind.of ? `${blind.votes} of ${blind.of} votes` : `${blind.votes} votes`);
    say(prompt, blind.prompt);
    pool(columns, blind.columns.length, (i) => {
      const vote = press([h("span", {})], () => {
        const column = draft.blind?.columns[i]?.label;
        draft.tell({ type: "vote", column });
        announce(`Voted for ${column}`);
      }, signal, { class: "ml-small" });
      return h("div", { class: "ml-blind-column" }, h("div", { class: "ml-words" }), vote);
    }).forEach((column, i) => {
      const { label, text } = blind.columns[i];
      say(column.children[0], text.replace(/^ /, ""));
      const vote = /** @type {HTMLElement} */ (column.children[1]);
      say(/** @type {Element} */ (vote.firstElementChild), told ? label : `${label} is better`);
      vote.setAttribute("aria-disabled", `${told}`);
    });
    say(verdict, blind.verdict);
    verdict.hidden = !blind.verdict;
    reveal.hidden = told;
    settle();
  }
  return { root, draw };
}
