// @ts-check
// What bends a curve at once: which number, which tensors the hand moves, shapes, mirror, copy, paste, lock.

import { LOOKS } from "./curve_row.js";
import { h, icon, pool, s, say } from "./dom.js";
import { KINDS, SHAPES } from "./setting.js";
import { allow, press, roving } from "./toolbar.js";

/** @typedef {import("./setting.js").Kind} Kind */
/** @typedef {import("./setting.js").Shape} Shape */

const FACES = {
  flat: "M2 8h12",
  linear: "M2 13 14 3",
  u: "M2 3c1 13 11 13 12 0",
  bell: "M1.5 13c4.5 0 4-10 6.5-10s2 10 6.5 10",
  step: "M2 12.5h6v-9h6",
  mirror: "M8 2v12M5.5 5 2.5 8l3 3M10.5 5l3 3-3 3",
  paste: "M4 3.5h8v10H4zM6.5 2h3v3h-3zM6 8h4M6 10.5h4",
};
/** @param {keyof typeof FACES} name */
const face = (name) => s("svg", { class: "ml-icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: FACES[name] }));

/** A line with its mark, as in the plot. @param {Kind} kind */
function sample(kind) {
  const { dash, wide, mark } = LOOKS[kind];
  return s(
    "svg",
    { width: 24, height: 10, "aria-hidden": "true", class: "ml-curve-sample" },
    s("path", { d: "M1 5H23", style: `stroke:var(--ml-ink-2);stroke-width:${wide}${dash ? `;stroke-dasharray:${dash}` : ""}` }),
    s("path", { d: `M12 5${mark}`, style: "fill:var(--ml-surface);stroke:var(--ml-ink-2);stroke-width:1.5" }),
  );
}

/**
 * @param {string} title @param {(name: string) => void} choose @param {AbortSignal} signal
 */
function numberMenu(title, choose, signal) {
  const select = h("select", { class: "ml-select", "aria-label": title });
  select.addEventListener("change", () => choose(select.value), { signal });
  return {
    select,
    /** @param {readonly { value: string, words: string }[]} options @param {string} chosen */
    draw(options, chosen) {
      select.hidden = !options.length;
      pool(select, options.length, () => h("option", {})).forEach((option, i) => {
        option.setAttribute("value", options[i].value); // setting the property to "" sets none, and the words would be the value
        say(option, options[i].words);
      });
      if (select.value !== chosen) select.value = chosen;
    },
  };
}

/**
 * @param {{ number: (name: string) => void, own: (name: string) => void, chosen: (kind: Kind | null) => void,
 *   shape: (name: Shape) => void, mirror: () => void, copy: () => void, paste: () => void, lock: () => void }} act
 * @param {string} id @param {AbortSignal} signal
 */
export function curveTools(act, id, signal) {
  const number = numberMenu("Number of each source", act.number, signal);
  const own = numberMenu("Number of each slice", act.own, signal);

  /** @type {(Kind | null)[]} */
  const choices = [null, ...KINDS];
  const kinds = choices.map((kind) => {
    const radio = h("input", { type: "radio", name: `${id}-curve-kind`, value: kind ?? "both" });
    radio.addEventListener("change", () => act.chosen(kind), { signal });
    return { kind, radio, root: h("label", { class: "ml-curve-kind" }, radio, ...(kind ? [sample(kind)] : []), kind ? LOOKS[kind].word : "all") };
  });
  const group = h("div", { class: "ml-curve-kinds", role: "radiogroup", "aria-label": "Tensors that the hand moves" }, ...kinds.map(({ root }) => root));

  const small = (/** @type {string} */ words) => ({ class: "ml-square", "aria-label": words });
  const shapes = /** @type {Shape[]} */ (Object.keys(SHAPES)).map((name, i) => ({ button: press([face(name)], () => act.shape(name), signal, small(SHAPES[name].word)), words: `${SHAPES[name].word} over the slice (${i + 1})` }));
  const mirror = press([face("mirror")], act.mirror, signal, small("Mirror"));
  const copy = press([icon("copy")], act.copy, signal, small("Copy the curve"));
  const paste = press([face("paste")], act.paste, signal, small("Paste the curve"));
  const lock = press([icon("lock")], act.lock, signal, small("Lock"));
  const bar = h("div", { class: "ml-curve-bar", role: "toolbar", "aria-label": "Curve of the slice" }, ...shapes.map(({ button }) => button), h("span", { class: "ml-curve-gap" }), mirror, copy, paste, lock);
  const settled = roving(bar, signal);

  return {
    bar,
    choices: [number.select, own.select, group],
    /**
     * @param {object} now
     * @param {readonly { name: string, whole: boolean }[]} now.numbers @param {string | null} now.number
     * @param {readonly { name: string }[]} now.owns @param {string | null} now.own
     * @param {boolean} now.split  whether the tensors' kinds are known @param {boolean} now.rest  whether the rest differs
     * @param {Kind | null} now.chosen @param {string} now.why  the curve at the cursor cannot be bent; empty: it can
     * @param {string} now.where  the curve at the cursor @param {string} now.held  the curve that was copied; empty: none
     * @param {boolean} now.locked @param {boolean} now.lockable
     */
    draw({ numbers, number: name, owns, own: ownName, split, rest, chosen, why, where, held, locked, lockable }) {
      const options = numbers.map((each) => ({ value: each.name, words: each.whole ? `${each.name} (kept whole)` : each.name }));
      number.draw(name === null && options.length ? [{ value: "", words: "kept whole" }, ...options] : options, name ?? "");
      own.draw(owns.map((each) => ({ value: each.name, words: each.name })), ownName ?? "");
      group.hidden = !split;
      for (const { kind, radio, root: choice } of kinds) {
        choice.hidden = kind === "rest" && !rest && chosen !== "rest";
        radio.checked = kind === chosen;
        choice.classList.toggle("ml-on", kind === chosen);
      }
      for (const { button, words } of shapes) allow(button, why, words);
      allow(mirror, why, `Mirror ${where}: last layer first (R)`);
      allow(copy, locked ? "" : why, `Copy ${where}`);
      allow(paste, why || (held ? "" : "Nothing is copied"), `Paste ${held}`);
      allow(lock, lockable ? "" : "Nothing to lock here", locked ? "Unlock this row (L)" : "Lock this row (L)");
      lock.setAttribute("aria-pressed", `${locked}`);
      settled();
    },
  };
}
