// @ts-check
// What each one writes, as it comes; where a source differs from the merged model its words are underlined.

import { h, pool, say } from "./dom.js";
import { colourOf, nameOf } from "./speakers.js";
import { swatch } from "./swatches.js";
import { runsOf } from "./words.js";

/** Text as nodes, its runs that differ underlined; where no word is where the other has it, that is said as well.
 * @param {string} text @param {string} reference */
function marked(text, reference) {
  const runs = runsOf(text, reference);
  const nodes = runs.flatMap(({ text: run, differs }) => {
    if (!differs) return [run];
    const space = run.match(/^\s*/)?.[0] ?? "";
    return [space, h("u", {}, run.slice(space.length))];
  });
  const none = reference && runs.length > 0 && runs.every(({ differs }) => differs);
  return none ? [...nodes, h("small", { class: "ml-mute" }, " all of it differs")] : nodes;
}

/** @param {import("../workbench.js").Context} context */
export function textsView({ draft, id }) {
  const root = h("div", { class: "ml-texts" });

  function draw() {
    const { answer, sources } = draft;
    const merged = answer?.texts[0] ?? "";
    pool(root, sources.length + 1, (i) => {
      const mark = i === 0 ? h("span", { class: "ml-ink-swatch" }) : swatch(id, i - 1, 11);
      return h("div", { class: i ? "ml-text" : "ml-text ml-merged" }, h("div", { class: "ml-who" }, mark, h("span", {})), h("div", { class: "ml-words" }));
    }).forEach((row, i) => {
      const who = /** @type {HTMLElement} */ (row.children[0].lastElementChild);
      say(who, nameOf(sources, i));
      who.title = nameOf(sources, i);
      const words = /** @type {HTMLElement} */ (row.children[1]);
      words.style.setProperty("--ml-c", colourOf(i));
      const text = (answer?.texts[i] ?? "").replace(/^ /, ""); // the space that joins it to the prompt
      const busy = draft.writing && answer !== null && !answer.written[i];
      const key = JSON.stringify([text, i ? merged : "", busy]);
      if (words.dataset.key === key) return;
      words.dataset.key = key;
      words.replaceChildren(...(i === 0 ? [text] : marked(text, merged)));
      if (busy) words.append(h("span", { class: "ml-caret", "aria-hidden": "true" }));
    });
  }
  return { root, draw };
}
