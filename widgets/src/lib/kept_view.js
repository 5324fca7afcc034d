// @ts-check
// The memory of the hand: snapshots by name, and every turn with its scores.

import { h, icon, pool, say } from "./dom.js";
import { figure } from "./figures.js";
import { onKeys } from "./keys.js";
import { allow, press, roving } from "./toolbar.js";

/** @param {import("../workbench.js").Context} context */
export function keptView({ draft, announce, signal }) {
  const name = h("input", { class: "ml-input", type: "text", "aria-label": "Name of a new snapshot", placeholder: "name", spellcheck: "false", autocomplete: "off" });
  const keepIt = press([icon("keep"), "Keep this"], () => keep(), signal, { class: "ml-small" });
  const list = h("ul", { class: "ml-snapshots", role: "toolbar", "aria-label": "Snapshots", "aria-orientation": "vertical" });
  const none = h("p", { class: "ml-caption ml-mute" }, "None kept. A snapshot can be shown beside what is there now (B), compared blind, and restored.");
  const head = h("tr");
  const body = h("tbody");
  const table = h("table", { class: "ml-history" }, h("caption", { class: "ml-hidden" }, "Every turn, newest first, with its scores"), h("thead", {}, head), body);
  const count = h("span", { class: "ml-mute" });
  const summary = h("summary", {}, h("h3", {}, "Snapshots and history"), count);
  const root = h(
    "details",
    { class: "ml-kept" },
    summary,
    h("div", { class: "ml-kept-both" }, h("div", {}, h("div", { class: "ml-keep" }, name, keepIt), list, none), h("div", { class: "ml-history-scroll", tabindex: 0, role: "region", "aria-label": "History" }, table)),
  );
  const settle = roving(list, signal);
  const settleHistory = roving(body, signal);

  function keep() {
    const words = name.value.trim();
    if (!words) return name.focus();
    draft.tell({ type: "keep", name: words });
    announce(`Kept as ${words}`);
    name.value = "";
    return undefined;
  }
  onKeys(name, { Enter: keep }, signal);

  let asked = ""; // the snapshot that a blind comparison was asked for: it takes a moment
  /** @param {string} which */
  function compare(which) {
    asked = which;
    draft.tell({ type: "blind", names: ["now", which] });
    announce("Both are asked every prompt of the list");
    drawSnapshots();
  }
  /** @type {[word: string, title: string, act: (name: string) => void][]} */
  const ACTS = [
    ["Show", "on screen, in place of what is there now", (which) => draft.tell({ type: "show", name: draft.past.showing === which ? "" : which })],
    ["Restore", "go on from it; what is there now can be had back by undo", (which) => draft.tell({ type: "restore", name: which })],
    ["Blind", "compare it with what is there now without knowing which is which", compare],
    ["Drop", "forget it", (which) => draft.tell({ type: "drop", name: which })],
  ];

  function drawSnapshots() {
    const { snapshots, showing } = draft.past;
    if (draft.blind || draft.error) asked = "";
    pool(list, snapshots.length, (i) =>
      h("li", {}, h("span", { class: "ml-snapshot-name" }), h("span", { class: "ml-fingerprint" }), ...ACTS.map(([word, title, act]) =>
        press([word], () => act(draft.past.snapshots[i].name), signal, { class: "ml-small ml-plain", title, "data-opens": word === "Blind" && "blind" }))),
    ).forEach((item, i) => {
      const snapshot = snapshots[i];
      const on = snapshot.name === showing;
      say(item.children[0], snapshot.name);
      say(item.children[1], snapshot.recipe);
      say(item.children[2], on ? "Hide" : "Show");
      say(item.children[4], snapshot.name === asked ? "asking" : "Blind");
      item.classList.toggle("ml-on", on);
      ACTS.forEach(([word], each) => item.children[2 + each].setAttribute("aria-label", `${each === 0 && on ? "Hide" : word} ${snapshot.name}`));
    });
    none.hidden = snapshots.length > 0;
    allow(keepIt, "", "keep the stack as it is now under this name");
    settle();
  }

  /** The last cell of a row of the history. @param {HTMLElement} row */
  function wayBack(row) {
    const restore = press(["Restore"], () => {
      draft.tell({ type: "restore", turn: Number(row.dataset.turn) });
      announce(`Turn ${row.dataset.turn} restored`);
    }, signal, { class: "ml-small ml-plain" });
    return h("td", {}, restore);
  }

  function drawHistory() {
    const entries = [...draft.past.entries].reverse();
    const scores = [...new Set(entries.flatMap((entry) => Object.keys(entry.scores)))];
    const titles = ["turn", "what was done", ...scores, ""];
    pool(head, titles.length, () => h("th", { scope: "col" })).forEach((cell, i) => say(cell, titles[i]));
    pool(body, entries.length, () => h("tr")).forEach((row, i) => {
      const { turn, recipe, words, scores: known, now } = entries[i];
      const cells = [`${turn}`, words || "the beginning", ...scores.map((score) => figure(known[score] ?? null))];
      row.dataset.turn = `${turn}`;
      // The way back stays where it is, whatever comes before it: taken out of the page, its button would lose the focus and the press.
      const way = row.lastElementChild ?? row.appendChild(wayBack(row));
      while (row.childElementCount > cells.length + 1) way.previousElementSibling?.remove();
      while (row.childElementCount < cells.length + 1) way.before(h("td"));
      cells.forEach((cell, c) => say(row.children[c], cell));
      const restore = /** @type {HTMLElement} */ (way.firstElementChild);
      allow(restore, now ? "this is what is there now" : "", "go on from it; what is there now can be had back by undo");
      restore.setAttribute("aria-label", `Restore turn ${turn}`);
      row.title = `recipe ${recipe}`;
      row.classList.toggle("ml-now", now);
      if (now) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    });
    settleHistory();
  }

  function draw() {
    const { snapshots, entries } = draft.past;
    say(count, `${snapshots.length} kept, ${entries.length} turn${entries.length === 1 ? "" : "s"}`);
    if (!root.open) return; // 200 rows that nobody sees
    drawSnapshots();
    drawHistory();
  }
  root.addEventListener("toggle", draw, { signal });
  return { root, draw };
}
