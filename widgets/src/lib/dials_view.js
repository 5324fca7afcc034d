// @ts-check
// A control for each number of a method: a slider for a number, a box for true and false, a list for words.

import { h, say } from "./dom.js";
import { hue } from "./swatches.js";

/**
 * @typedef {number | boolean | string | null} Value null: not given
 * @typedef {{ name: string, place: "numbers" | "trait", kind: "float" | "int" | "bool" | "str", perModel: boolean, low: number,
 *   high: number, step: number, choices: string[], doc: string, unset: string, values: Value[] }} Dial
 */

/** @param {Value} value @param {string} unset what to say where nothing is given */
const shownAs = (value, unset) => (typeof value === "number" ? `${Number(value.toFixed(3))}`.replace("-", "−") : unset);

/** @param {(edits: Record<string, unknown>) => void} edit @param {AbortSignal} signal */
export function dialsView(edit, signal) {
  const root = h("fieldset", { class: "ml-numbers" });
  /** @type {Dial[]} */
  let dials = [];
  let layout = "";
  /** @type {((value: Value) => void)[][]} */
  let setters = [];

  /** @param {number} at @param {number} model @param {Value} value */
  function turn(at, model, value) {
    dials[at].values[model] = value;
    const { place, name } = dials[at];
    if (place === "trait") return edit({ [name]: value });
    const numbers = dials.filter((one) => one.place === "numbers" && one.values.every((each) => each !== null));
    edit({ numbers: Object.fromEntries(numbers.map((one) => [one.name, one.perModel ? [...one.values] : one.values[0]])) });
  }

  /** @param {Dial} dial @param {number} at @param {string[]} names */
  function control(dial, at, names) {
    if (dial.kind === "bool") {
      const input = h("input", { type: "checkbox", "aria-label": dial.name });
      input.addEventListener("change", () => turn(at, 0, input.checked), { signal });
      setters[at] = [(value) => (input.checked = value === true)];
      return { beside: input, below: [] };
    }
    if (dial.kind === "str") {
      const select = h("select", { class: "ml-select", "aria-label": dial.name });
      for (const word of dial.choices) select.append(h("option", { value: word }, word));
      select.addEventListener("change", () => turn(at, 0, select.value), { signal });
      setters[at] = [(value) => (select.value = `${value}`)];
      return { beside: select, below: [] };
    }
    const rows = dial.values.map((_, model) => {
      const { low: min, high: max, step } = dial;
      const who = dial.perModel ? names[model] : "";
      const range = h("input", { type: "range", class: "ml-range", min, max, step, "aria-label": `${dial.name}${who ? ` of ${who}` : ""}` });
      const output = h("output");
      const paint = (/** @type {Value} */ value) => {
        range.style.setProperty("--ml-part", `${(100 * (Number(range.value) - min)) / (max - min)}%`);
        range.classList.toggle("ml-unset", value === null);
        say(output, shownAs(value, dial.unset));
      };
      range.addEventListener("input", () => {
        paint(Number(range.value));
        turn(at, model, Number(range.value));
      }, { signal });
      setters[at][model] = (value) => {
        if (value !== null) range.value = `${value}`;
        paint(value);
      };
      const name = h("span", { style: dial.perModel ? `color:var(${hue(model + 1)}-text);font-weight:600` : "" }, who);
      return h("label", { class: "ml-turned" }, name, range, output);
    });
    return { beside: "", below: rows };
  }

  return {
    root,
    /** @param {boolean} away the dials of another method are on their way: what is turned now would be meant for none */
    lock(away) {
      root.disabled = away;
    },
    /** @param {Dial[]} given @param {string[]} names of the models */
    draw(given, names) {
      dials = structuredClone(given);
      const now = JSON.stringify([names, dials.map(({ values, ...rest }) => [rest, values.length])]);
      if (now !== layout) {
        layout = now;
        setters = dials.map(() => []);
        root.replaceChildren(
          ...dials.map((dial, at) => {
            const { beside, below } = control(dial, at, names);
            const name = h("div", { class: "ml-number-name" }, h("span", {}, dial.name), beside);
            return h("div", { class: "ml-number" }, name, h("div", { class: "ml-number-doc" }, dial.doc), ...below);
          }),
        );
      }
      dials.forEach((dial, at) => dial.values.forEach((value, model) => setters[at][model](value)));
    },
  };
}
