// @ts-check
// What is looked at, to be chosen from: pairs as a list with their colours, the rest as menus.

import { h, say } from "./dom.js";
import { swatch } from "./swatches.js";

/** @typedef {import("./inspection.js").Choice} Choice */

/**
 * A list of which one is chosen.
 * @param {string} title @param {string} id of the view @param {(choice: string) => void} choose @param {AbortSignal} signal
 */
export function listView(title, id, choose, signal) {
  const list = h("div", { class: "ml-choices", role: "radiogroup", "aria-label": title });
  const note = h("p", { class: "ml-note" });
  let layout = "";
  return {
    root: h("section", { class: "ml-side-part" }, h("h3", {}, title), list, note),
    /** @param {readonly Choice[]} choices @param {string} words @param {string | null} turned what the hand chose last, while it is on its way */
    draw(choices, words, turned) {
      const now = JSON.stringify(choices.map(({ chosen, ...rest }) => rest));
      if (now !== layout) {
        layout = now;
        list.replaceChildren(
          ...choices.map((choice) => {
            const radio = h("input", { type: "radio", name: `${id}-${title}`, value: choice.id });
            radio.addEventListener("change", () => choose(choice.id), { signal });
            const names = h("span", { class: "ml-choice-name" }, choice.label);
            return h("label", { class: "ml-choice" }, radio, ...(choice.sources ?? []).map((source) => swatch(id, source, 11)), names);
          }),
        );
      }
      choices.forEach((choice, i) => {
        const radio = /** @type {HTMLInputElement} */ (list.children[i].firstElementChild);
        radio.checked = turned === null ? choice.chosen : choice.id === turned;
        list.children[i].classList.toggle("ml-on", radio.checked);
      });
      say(note, words);
      note.hidden = !words;
    },
  };
}

/**
 * A menu.
 * @param {string} title @param {(choice: string) => void} choose @param {AbortSignal} signal
 * @param {boolean} [long] the menu takes a line of its own
 */
export function menuView(title, choose, signal, long = false) {
  const select = h("select", { class: "ml-select", "aria-label": title });
  select.addEventListener("change", () => choose(select.value), { signal });
  let layout = "";
  return {
    root: h("label", { class: `ml-menu${long ? " ml-long" : ""}` }, h("span", {}, title), select),
    /** @param {readonly Choice[]} choices @param {string | null} turned */
    draw(choices, turned) {
      const now = JSON.stringify(choices.map(({ id, label }) => [id, label]));
      if (now !== layout) {
        layout = now;
        select.replaceChildren(...choices.map(({ id, label }) => h("option", { value: id }, label)));
      }
      const chosen = turned ?? choices.find((each) => each.chosen)?.id;
      if (chosen !== undefined) select.value = chosen;
      select.title = choices.find(({ id }) => id === chosen)?.label ?? "";
    },
  };
}
