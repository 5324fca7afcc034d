// @ts-check
// Above every panel: which models these are, what was read with them, how far the measuring is.

import { h, icon, say } from "./dom.js";
import { reached } from "./figures.js";
import { swatch } from "./swatches.js";

/** @typedef {import("./inspection.js").State} State */

/** @param {string} id @param {() => void} stop @param {() => void} measure @param {AbortSignal} signal */
export function stripView(id, stop, measure, signal) {
  const sources = h("div", { class: "ml-strip-sources", role: "list", "aria-label": "Models" });
  const facts = h("dl", { class: "ml-facts" });
  const busy = h("span", { class: "ml-busy", role: "status" });
  const stopping = h("button", { class: "ml-button ml-small", type: "button" }, icon("stop"), "Stop");
  const measuring = h("button", { class: "ml-button ml-small", type: "button" }, icon("play"), "Measure the rest");
  stopping.addEventListener("click", stop, { signal });
  measuring.addEventListener("click", measure, { signal });
  return {
    /** Nothing answers any more. */
    shut() {
      stopping.disabled = measuring.disabled = true;
      busy.hidden = stopping.hidden = measuring.hidden = true;
    },
    root: h("header", { class: "ml-strip" }, sources, facts, h("div", { class: "ml-strip-state" }, busy, stopping, measuring)),
    /** @param {State["strip"]} strip @param {State["words"]} words @param {State["busy"]} now @param {boolean} halted */
    draw(strip, words, now, halted) {
      sources.replaceChildren(
        ...strip.map(({ name, code, layers }, source) =>
          h("span", { role: "listitem", title: `${name}, ${layers} layers` }, swatch(id, source, 11), h("b", {}, name), h("span", { class: "ml-code" }, code), h("span", { class: "ml-many" }, `${layers} layers`)),
        ),
      );
      facts.replaceChildren(...(words.facts ?? []).map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
      say(busy, now?.text ? `${now.text}, ${reached(now)}` : "");
      busy.title = busy.textContent ?? "";
      busy.hidden = !now?.text;
      stopping.hidden = !now?.text;
      measuring.hidden = Boolean(now?.text) || !halted;
    },
  };
}
