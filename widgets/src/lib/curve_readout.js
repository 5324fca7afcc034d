// @ts-check
// What the curves say in figures: under the rows, in their columns, the numbers of every layer; below, a card to type in.

import { strideOf } from "./axis.js";
import { LOOKS } from "./curve_row.js";
import { inSteps } from "./curves.js";
import { h, label, pool, s, say, set } from "./dom.js";
import { GUTTER, SIDE } from "./scale.js";
import { KINDS, expand, filterOf } from "./setting.js";
import { hue } from "./swatches.js";

/** @typedef {import("./curves.js").Row} Row */
/** @typedef {import("./curves.js").Declared} Declared */
/** @typedef {import("./setting.js").Kind} Kind */
/** @typedef {import("./setting.js").Kinds} Kinds */

const LINE = 15; // px
const LETTER = 6.2;

const FIGURES = 12; // letters that a field has room for

/** Every figure it has, where there is room; else three that count. @param {number} value */
export function inFull(value) {
  const all = `${value}`;
  return (all.length > FIGURES ? `${Number(value.toPrecision(3))}` : all).replace("-", "−");
}

/** What somebody typed; NaN where it is no number, or one too large to be told from infinity. @param {string} text */
export function typed(text) {
  const plain = text.trim().replace("−", "-").replace(",", ".");
  const value = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(plain) ? Number(plain) : Number.NaN;
  return Number.isFinite(value) ? value : Number.NaN;
}

/** The output layers, and under them the numbers of the row that has attention. */
export function valueStrip() {
  const heads = h("div", { class: "ml-curve-gutter" });
  const axis = s("g", {});
  const values = s("g", { class: "ml-curve-values" });
  const svg = s("svg", { "aria-hidden": "true" }, axis, values);
  const root = h("div", { class: "ml-curve-strip" }, svg, heads);
  return {
    root,
    /** @param {import("./scale.js").Scale} scale @param {number | null} shown @param {Row | null} row @param {Kinds} kinds @param {readonly Kind[]} told  kinds that are written out; one: it stands for all */
    draw(scale, shown, row, kinds, told) {
      const { middle, from, to, sight } = scale;
      const drawn = to - from;
      set(svg, { width: scale.width, height: LINE * (1 + told.length) + 4 });
      root.style.width = `${scale.width}px`;
      const words = ["output", ...told.map((kind) => (told.length > 1 ? LOOKS[kind].short : (row?.name ?? "")))];
      pool(heads, words.length, () => h("div", {})).forEach((line, i) => {
        say(line, words[i]);
        line.title = words[i];
      });
      pool(axis, drawn, () => label(0, 13, "", { "text-anchor": "middle" })).forEach((text, i) => {
        const layer = from + i;
        set(text, { x: middle(layer), class: layer === shown ? "ml-ink ml-b" : "ml-ink2" });
        say(text, `${layer}`);
      });
      const all = told.map((kind) =>
        (row?.cells ?? []).flatMap(({ state, number, setting, layers }) =>
          (state === "open" ? expand(setting, filterOf(kinds, kind), layers) : new Array(layers).fill(null)).map((value) => (value === null || !number ? "" : inSteps(value, number))),
        ),
      );
      const longest = Math.max(0, ...all.flat().map((each) => each.length));
      const stride = strideOf(scale.column, longest * LETTER + 3);
      values.style.fill = row && row.source !== null ? `var(${hue(row.source)}-text)` : "var(--ml-ink)";
      pool(values, told.length * drawn, () => label(0, 0, "", { "text-anchor": "middle" })).forEach((text, i) => {
        const layer = from + (i % drawn);
        const line = Math.floor(i / drawn);
        // Where there is no room for each, that of the layer with attention comes before its neighbours'.
        const crowds = layer % stride !== 0 || (shown !== null && layer !== shown && Math.abs(layer - shown) < stride);
        set(text, { x: middle(layer), y: 13 + LINE * (line + 1), class: layer === shown ? "ml-b" : "" });
        // Half a number would be read as another one.
        const cut = middle(layer) - (all[line][layer].length * LETTER) / 2 < sight[0] - GUTTER + SIDE;
        say(text, cut || (layer !== shown && crowds) ? "" : all[line][layer]);
      });
    },
  };
}

/**
 * The layer that has attention, each kind's number in a field.
 * @param {(kind: Kind | null, value: number) => void} put @param {string} id @param {AbortSignal} signal
 */
export function valueCard(put, id, signal) {
  const where = h("b", { class: "ml-curve-where" });
  const note = h("span", { class: "ml-curve-note" });
  const wrong = h("span", { class: "ml-curve-wrong", role: "alert", id: `${id}-curve-wrong` });
  /** @type {Declared | null} */
  let number = null;
  const fields = KINDS.map((kind) => {
    const word = h("span", {});
    const input = h("input", { class: "ml-curve-field", inputmode: "decimal", autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-curve-wrong` });
    const root = h("label", { class: "ml-curve-entry" }, word, input);
    /** @type {number | null} */
    let value = null;
    let alone = false;
    const show = () => {
      const whole = input.matches(":focus") && input.selectionStart === 0 && input.selectionEnd === input.value.length;
      input.value = value === null ? "" : inFull(value);
      if (whole) input.select(); // what is typed next replaces the number, the new one too
      input.style.width = `${Math.max(5, input.value.length) + 3}ch`;
      input.setAttribute("aria-invalid", "false");
      say(wrong, "");
    };
    const take = () => {
      if (!number || input.value === (value === null ? "" : inFull(value))) return show();
      const next = typed(input.value);
      const [low, high] = [number.low ?? -Infinity, number.high ?? Infinity];
      if (next >= low && next <= high) {
        put(alone ? null : kind, next);
        say(wrong, "");
        return input.setAttribute("aria-invalid", "false");
      }
      input.setAttribute("aria-invalid", "true");
      const bounds = low > -Infinity && high < Infinity ? `a number from ${low} to ${high}` : low > -Infinity ? `a number from ${low} up` : "a number";
      return say(wrong, `“${input.value}” is not ${bounds}.`);
    };
    input.addEventListener("change", take, { signal });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === "Enter") take();
      else show();
      input.select();
    }, { signal });
    return {
      kind,
      input,
      /** @param {number | null} next @param {string} words @param {boolean} only  one number for all kinds @param {boolean} hidden @param {boolean} disabled */
      draw(next, words, only, hidden, disabled) {
        root.hidden = hidden;
        input.setAttribute("aria-label", words || LOOKS[kind].word);
        input.disabled = disabled;
        say(word, words);
        alone = only;
        if (Object.is(next, value) && input.value !== "") return;
        value = next;
        show();
      },
    };
  });
  const root = h("div", { class: "ml-curve-card", role: "group", "aria-label": "Numbers of the layer" }, where, ...fields.flatMap(({ input }) => (input.parentElement ? [input.parentElement] : [])), note, wrong);
  return {
    root,
    /** The field for a kind takes the keyboard. @param {Kind | null} kind */
    focus(kind) {
      const { input } = fields.find((each) => each.kind === (kind ?? "attention") && !each.input.parentElement?.hidden) ?? fields[0];
      input.focus();
      input.select();
    },
    /**
     * @param {string} place  the output layer, and whose @param {Declared | null} declared @param {readonly { kind: Kind, value: number | null, alone: boolean, word: string }[]} values
     * @param {string} words @param {boolean} locked
     */
    draw(place, declared, values, words, locked) {
      number = declared;
      say(where, place);
      for (const field of fields) {
        const found = values.find(({ kind }) => kind === field.kind);
        field.draw(found?.value ?? null, found?.word ?? "", found?.alone ?? false, !found, locked);
      }
      say(note, words);
    },
  };
}
