// @ts-check
// The prompt token by token: how surprised the merged model is by each, or how far a source's next prediction is from its.
// Shade and the height of the bar under a token say the same number; the number itself stands beside what is pointed at.

import { h, pool, say } from "./dom.js";
import { nats, tokenLabel } from "./figures.js";
import { roving } from "./toolbar.js";

/** @typedef {import("./draft.js").Shade} Shade */

const LEAST = 1; // nats: the top of the scale where all values are smaller, so that noise does not look like news

/** @param {import("../workbench.js").Context} context */
export function shadingView({ draft, redraw, signal }) {
  const choice = h("select", { class: "ml-select", "aria-label": "What the shading shows" });
  choice.addEventListener("change", redraw, { signal });
  const list = h("div", { class: "ml-shades", role: "listbox", "aria-label": "Tokens of the prompt", "aria-orientation": "horizontal" });
  const readout = h("p", { class: "ml-caption ml-readout" });
  const most = h("span", {});
  const key = h("span", { class: "ml-shade-key", "aria-hidden": "true" }, h("span", {}, "0"), h("span", { class: "ml-shade-ramp" }), most);
  const root = h("div", { class: "ml-part" }, h("div", { class: "ml-head" }, h("h3", {}, "The prompt, token by token"), choice), h("div", { class: "ml-figures" }, list, h("div", { class: "ml-under-shades" }, readout, key)));
  const settle = roving(list, signal, ".ml-shade");
  /** @type {number | null} */
  let at = null; // the token that is pointed at

  for (const [event, leave] of /** @type {[string, boolean][]} */ ([["pointerover", false], ["focusin", false], ["pointerleave", true], ["focusout", true]])) {
    list.addEventListener(event, ({ target }) => {
      const shade = target instanceof Element ? target.closest(".ml-shade") : null;
      at = leave || !shade ? null : [...list.children].indexOf(shade);
      redraw();
    }, { signal });
  }

  const choices = () => ["loss of merged", ...draft.sources.map(({ name }) => `KL to ${name}`)];
  /** @param {Shade} shade @param {number} what */
  const valueOf = ({ loss, kl }, what) => (what === 0 ? loss : (kl[what - 1] ?? null));
  /** @param {Shade} shade @param {number} index */
  const words = (shade, index) => {
    const loss = shade.loss === null ? (index === 0 ? "first token, none before it" : "no loss") : `loss ${nats(shade.loss)}`;
    return [loss, ...draft.sources.map(({ code }, i) => `KL ${code} ${nats(shade.kl[i] ?? null)}`)].join(", ");
  };

  function draw() {
    const { answer } = draft;
    const shades = answer?.shading ?? [];
    root.classList.toggle("ml-empty", !shades.length); // the room stays
    const names = choices();
    pool(choice, names.length, (i) => h("option", { value: i })).forEach((option, i) => say(option, names[i]));
    const what = Number(choice.value);
    const top = Math.max(LEAST, ...shades.map((shade) => valueOf(shade, what) ?? 0));
    pool(list, shades.length, () => h("span", { class: "ml-shade", role: "option", tabindex: -1 })).forEach((cell, i) => {
      const value = valueOf(shades[i], what);
      say(cell, tokenLabel(shades[i].token));
      cell.setAttribute("aria-label", `${tokenLabel(shades[i].token)}: ${words(shades[i], i)} nats`);
      cell.setAttribute("aria-selected", `${i === at}`);
      cell.classList.toggle("ml-none", value === null);
      cell.style.setProperty("--ml-part", `${(100 * Math.max(0, value ?? 0)) / top}%`);
    });
    const shown = at === null ? null : shades[at];
    say(readout, shown ? `${at}: ${words(shown, at ?? 0)} nats` : shades.length ? "Point at a token for its numbers." : draft.writing ? "Being measured." : "Not measured.");
    say(most, `${nats(top)} nats`);
    settle();
  }
  return { root, draw };
}
