// @ts-check
// A blind comparison: what two or more say, in an order that only Python knows, until the hand has voted enough to ask.

import { focusedBeside, h, icon, pool, say } from "./dom.js";
import { press, roving } from "./toolbar.js";

const SAME = "same"; // the vote of who has no preference

/** @param {import("../workbench.js").Context} context @param {() => HTMLElement} next  where the keyboard goes when it is over */
export function blindView({ draft, announce, signal }, next) {
  const prompt = h("p", { class: "ml-caption ml-blind-prompt" });
  const columns = h("div", { class: "ml-blind-columns" });
  /** @param {string | undefined} column */
  function vote(column) {
    draft.tell({ type: "vote", column });
    announce(column === SAME ? "No preference" : `Voted for ${column}`);
  }
  const neither = press(["No preference"], () => vote(SAME), signal, { class: "ml-small" });
  const votes = h("div", { class: "ml-votes", role: "toolbar", "aria-label": "Which one is better" }, columns, neither);
  const count = h("span", { class: "ml-mute" });
  const verdict = h("p", { class: "ml-caption", role: "status" });
  const how = h("p", { class: "ml-caption ml-mute" });
  const reveal = press(["Reveal"], () => draft.tell({ type: "reveal" }), signal, { class: "ml-small" });
  const end = press([icon("cross"), "End"], () => draft.tell({ type: "blind", names: [] }), signal, { class: "ml-small" });
  const root = h("div", { class: "ml-part ml-part-wide ml-blind", role: "region", "aria-label": "Blind comparison", hidden: true }, h("div", { class: "ml-head" }, h("h3", {}, "Which one is better?"), count), prompt, votes, how, verdict, h("div", { class: "ml-edits" }, reveal, end));
  const settle = roving(votes, signal);

  const openerHasFocus = () => root.closest(".ml-root")?.querySelector("[data-opens=blind]:focus") != null;
  const holds = () => root.contains(focusedBeside(root));
  /** It was asked for here: into sight, with the keyboard on the first vote. A comparison that a cell asks for takes no focus. */
  function enter() {
    root.scrollIntoView?.({ block: "nearest" });
    columns.querySelector("button")?.focus({ preventScroll: true });
  }

  function draw() {
    const { blind } = draft;
    const asked = root.hidden && blind !== null && openerHasFocus();
    if (blind === null && !root.hidden && holds()) next().focus();
    root.hidden = blind === null;
    if (blind === null) return;
    const told = blind.names !== null;
    if (told && !reveal.hidden && focusedBeside(root) === reveal) end.focus();
    say(count, blind.of ? `${blind.votes} of ${blind.of} votes` : `${blind.votes} votes`);
    say(prompt, blind.prompt);
    pool(columns, blind.columns.length, (i) => {
      const button = press([h("span", {})], () => vote(draft.blind?.columns[i]?.label), signal, { class: "ml-small" });
      return h("div", { class: "ml-blind-column" }, h("div", { class: "ml-words" }), button);
    }).forEach((column, i) => {
      const { label, text } = blind.columns[i];
      say(column.children[0], text.replace(/^ /, ""));
      const button = /** @type {HTMLElement} */ (column.children[1]);
      say(/** @type {Element} */ (button.firstElementChild), told ? label : `${label} is better`);
      button.setAttribute("aria-disabled", `${told}`);
    });
    say(verdict, blind.verdict);
    how.hidden = neither.hidden = told;
    say(how, `${blind.same ? "All wrote the same. " : ""}Arrows choose, Enter votes.`);
    reveal.hidden = told;
    settle();
    if (asked) enter();
  }
  return { root, draw };
}
