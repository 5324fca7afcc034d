// @ts-check
// The top bar: what the stack is, what it costs, and whether what is on screen is of this stack.

import { titleOf } from "./blocks.js";
import { h, icon, pool, say } from "./dom.js";
import { bytes, count, seconds } from "./figures.js";
import { methodWord } from "./stack_view.js";

/** @typedef {import("./draft.js").Draft} Draft */

const STATES = /** @type {Record<string, string>} */ ({
  loading: "Loading",
  draft: "Draft",
  exact: "Exact",
  failed: "Not built",
  stopped: "Stopped",
  waiting: "Waits",
});

/** @param {Draft} draft @param {AbortSignal} signal */
export function topView(draft, signal) {
  const title = h("div", { class: "ml-title" });
  const under = h("div", { class: "ml-under" });
  const counts = h("div", { class: "ml-counts" });
  const light = h("span", { class: "ml-light", "aria-hidden": "true" });
  const state = h("b", { role: "status" });
  const detail = h("span", { class: "ml-detail" });
  const stop = h("button", { class: "ml-button", type: "button" }, icon("stop"), "Stop");
  stop.addEventListener("click", () => draft.stop(), { signal });
  const root = h(
    "header",
    { class: "ml-top" },
    h("div", { class: "ml-name" }, title, under),
    counts,
    h("div", { class: "ml-state" }, light, h("div", {}, state, detail)),
    stop,
  );

  function sentence() {
    const { answer, sources } = draft;
    switch (draft.state) {
      case "loading":
        return `opening ${sources.length} model${sources.length === 1 ? "" : "s"}`;
      case "failed":
        return "see the message below";
      case "waiting":
        return "for a prompt";
      case "stopped":
        return "at your word";
      case "draft":
        return answer ? `exact in about ${seconds(Math.max(answer.seconds, 0.001))}` : "";
      default:
        return answer ? `redone ${answer.redone} of ${answer.steps} steps, ${seconds(answer.seconds)}` : "";
    }
  }

  function draw() {
    const { answer, dials, sources } = draft;
    const words = titleOf(dials.blocks, sources.map(({ name }) => name));
    say(title, words);
    title.title = words;
    say(under, `${methodWord(dials.method)}, over ${sources[0].name}`);
    /** @type {[string, string][]} */
    const figures = [
      [answer ? `${answer.layers}` : "–", "layers"],
      [answer ? count(answer.parameters) : "–", "parameters"],
      [answer ? bytes(answer.bytes) : "–", "on disk"],
    ];
    pool(counts, figures.length, () => h("div", {}, h("b", {}), h("span", {}))).forEach((cell, i) => {
      say(cell.children[0], figures[i][0]);
      say(cell.children[1], figures[i][1]);
    });
    light.dataset.state = draft.state;
    say(state, STATES[draft.state]);
    say(detail, sentence());
    stop.disabled = !draft.writing;
  }
  return { root, draw };
}
