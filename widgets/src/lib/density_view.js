// @ts-check
// The density dial: what share of the changes is kept, with a curve of what that keeps of them.

import { h, s, say } from "./dom.js";

/** @typedef {import("./inspection.js").Density} Density */

const TALL = 40;
const INSET = 7; // px: half of the slider's thumb, so that the curve stands over it

/** @param {(value: number) => void} turn @param {() => void} release @param {AbortSignal} signal */
export function densityView(turn, release, signal) {
  const value = h("output", { class: "ml-value" });
  const picture = s("svg", { "aria-hidden": "true", width: "100%", height: TALL + 2 });
  const range = h("input", { type: "range", class: "ml-range", step: 0.01, "aria-label": "Density kept" });
  const text = h("p", { class: "ml-note" });
  /** @type {Density | null} */
  let drawn = null;
  let held = false;

  function curve() {
    if (!drawn) return;
    const { low, high, curve: points } = drawn;
    const at = Number(range.value);
    const wide = range.clientWidth || 222;
    const x = (/** @type {number} */ share) => INSET + share * (wide - 2 * INSET);
    const y = (/** @type {number} */ part) => TALL - Math.min(1, Math.max(0, part)) * (TALL - 5);
    const share = (at - low) / (high - low || 1);
    const parts = [];
    if (points.length > 1) {
      const place = share * (points.length - 1);
      const before = Math.min(points.length - 2, Math.floor(place));
      const here = points[before] + (place - before) * (points[before + 1] - points[before]);
      const all = points.map((part, i) => [x(i / (points.length - 1)), y(part)]);
      const kept = [...all.slice(0, before + 1), [x(share), y(here)]];
      const path = (/** @type {number[][]} */ line) => `M${line.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L")}`;
      parts.push(
        s("path", { d: `${path([...kept, [x(share), TALL], [x(0), TALL]])}Z`, class: "ml-kept" }),
        s("path", { d: path(all), class: "ml-kept-line" }),
        s("line", { x1: x(share), x2: x(share), y1: y(here), y2: TALL + 2, class: "ml-kept-at" }),
        s("circle", { cx: x(share), cy: y(here), r: 3, class: "ml-kept-dot" }),
      );
    }
    picture.replaceChildren(...parts);
    range.style.setProperty("--ml-part", `${100 * share}%`);
    say(value, at.toFixed(2));
  }
  range.addEventListener("input", () => {
    held = true;
    curve();
    turn(Number(range.value));
  }, { signal });
  const letGo = () => {
    if (!held) return;
    held = false;
    release();
  };
  range.addEventListener("change", letGo, { signal });
  range.addEventListener("blur", letGo, { signal });
  return {
    root: h("section", { class: "ml-side-part", "aria-label": "Density" }, h("div", { class: "ml-head" }, h("h3", {}, "Density kept"), value), picture, h("div", { class: "ml-density" }, range), text),
    /** @param {Density | null | undefined} density @param {boolean} waiting edits are on their way: the hand is ahead of Python */
    draw(density, waiting) {
      drawn = density ?? null;
      if (!drawn) return;
      range.min = `${drawn.low}`;
      range.max = `${drawn.high}`;
      if (!held && !waiting) range.value = `${drawn.value}`;
      say(text, drawn.text);
      curve();
    },
  };
}
