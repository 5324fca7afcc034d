// @ts-check
// What was not done and why, with the ways out. It stays until it is answered.

import { focusedBeside, h, icon, say } from "./dom.js";

/** @param {import("../workbench.js").Context} context */
export function refusalView({ hand, signal }) {
  const what = h("b");
  const more = h("span");
  const ways = h("span", { class: "ml-ways" });
  const root = h("div", { class: "ml-refuse", role: "group", "aria-label": "Not added" }, icon("risk"), h("div", { class: "ml-refuse-words" }, what, " ", more), ways);
  /** @type {import("./suits.js").Refusal | null} */
  let shown = null;

  function draw() {
    const refusal = hand.refused?.refusal ?? null;
    // The buttons go with what they have answered; the keyboard goes to the stack.
    if (!refusal && root.contains(focusedBeside(root))) root.parentElement?.querySelector(/** @type {"div"} */ (".ml-stack"))?.focus({ preventScroll: true });
    root.hidden = !refusal;
    if (refusal === shown) return;
    shown = refusal;
    if (!refusal) return;
    say(what, refusal.what);
    say(more, refusal.more);
    const buttons = [...refusal.ways, null].map((way, i) => {
      const button = h("button", { class: `ml-button ml-small${way && i === 0 ? " ml-prime" : ""}`, type: "button" }, way ? way.words : "Put back");
      button.addEventListener("click", () => hand.answer(way), { signal });
      return button;
    });
    ways.replaceChildren(...buttons);
  }
  return { root, draw };
}
