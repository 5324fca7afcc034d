// @ts-check
// The keys, for those who look: a list beside the page, not in front of it. It takes nothing away while it is open.

import { focusedBeside, h, icon } from "./dom.js";
import { press } from "./toolbar.js";

/** @type {[title: string, keys: [key: string, does: string][]][]} */
const KEYS = [
  ["Everywhere", [
    ["Ctrl Z, Ctrl Shift Z", "undo, redo"],
    ["A, B", "the stack as it is now, the newest snapshot; hold B to peek"],
    ["Ctrl Enter", "ask now"],
    [". or Esc", "stop; Esc also puts back what is carried or was refused"],
    ["Y", "to the recipe as text"],
    ["?", "this list; Esc closes it first"],
  ]],
  ["Sources", [
    ["← →", "source"],
    ["↑ ↓, with Shift", "layer, a run of layers"],
    ["Space", "pick up; then ← → where, ↓ blend in, Enter drops"],
  ]],
  ["Stack", [
    ["← →, with Shift", "layer, select a run"],
    ["X, Ctrl press", "one layer into the selection, or out"],
    ["Alt ← →", "move what is selected"],
    ["Space", "pick up what is selected; Enter drops"],
    ["↑ ↓", "give the slice to another source"],
    ["S, D, Delete", "split, repeat, remove"],
    ["M, E", "to the method, to the nearest edge"],
  ]],
  ["Chosen slice", [
    ["← →", "method, numbers, parts, buttons"],
    ["↑ ↓", "what a menu or a number says"],
  ]],
  ["Edges of slices", [
    ["← →", "trade layers"],
    ["Shift, Alt", "the slice below alone, the one above alone"],
    ["Esc", "back where it was"],
  ]],
  ["Curves", [
    ["← →", "layer"],
    ["Alt ↑ ↓", "row"],
    ["↑ ↓, with Shift", "bend by a hundredth, a tenth of the dial"],
    ["Home, End", "the bottom, the top of the dial"],
    ["Enter", "type a number"],
    ["K", "all tensors, attention, feed-forward"],
    ["1 to 5", "flat, linear, a U, a bell, a step"],
    ["L, R", "lock, mirror"],
    ["Ctrl C, Ctrl V", "copy, paste the curve"],
  ]],
  ["Lists and bars", [
    ["Tab", "to the next part; arrows move inside"],
    ["Delete", "in the prompts: off the list"],
  ]],
];

/** @param {string} id of the view @param {AbortSignal} signal */
export function keysView(id, signal) {
  const button = press(["Keys"], () => toggle(), signal, { class: "ml-keys-button", "aria-expanded": "false", "aria-controls": `${id}-keys`, title: "the list of keys (?)" });
  const close = press([icon("cross")], () => toggle(), signal, { class: "ml-small ml-square", "aria-label": "Close the list of keys" });
  const groups = h("div", { class: "ml-keys-groups" });
  const root = h("div", { class: "ml-keys", id: `${id}-keys`, role: "dialog", "aria-label": "Keys", hidden: true }, h("div", { class: "ml-head" }, h("h3", {}, "Keys"), close), groups);
  /** @type {HTMLElement | null} */
  let from = null; // where the focus was

  function toggle() {
    const inside = root.contains(focusedBeside(root));
    root.hidden = !root.hidden;
    // Made when somebody looks: with the rest it would hold up the first picture.
    if (!groups.childElementCount) {
      groups.append(
        ...KEYS.map(([title, keys]) => h("section", {}, h("h4", {}, title), h("dl", {}, ...keys.flatMap(([key, does]) => [h("dt", {}, key), h("dd", {}, does)])))),
      );
    }
    button.setAttribute("aria-expanded", `${!root.hidden}`);
    // Who has gone on to work beside it stays there.
    if (root.hidden) return inside ? (from?.isConnected ? from : button).focus() : undefined;
    from = focusedBeside(root);
    return close.focus();
  }
  /** Closes it, and tells whether it was open. */
  function shut() {
    if (root.hidden) return false;
    toggle();
    return true;
  }
  return { button, root, toggle, shut };
}
