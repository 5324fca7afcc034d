// @ts-check
// The panel of coefficients as data: a row for every source that takes part, one for the slices' own numbers; each row
// has a cell for every slice, which can be bent or says why not.

import { WHOLE, basePart, methodOf } from "./mixing.js";
import { KINDS, expand, filterOf, inherited, settle, stepOf, withPoints } from "./setting.js";
import { setNumber } from "./sketch.js";

/** @typedef {import("./sketch.js").Sketch} Sketch */
/** @typedef {import("./mixing.js").Method} Method */
/** @typedef {import("./mixing.js").Declared} Declared */
/** @typedef {import("./setting.js").Kinds} Kinds */
/** @typedef {import("./setting.js").Kind} Kind */
/** @typedef {import("./setting.js").Setting} Setting */
/** @typedef {[low: number, high: number]} Range */
/**
 * @typedef {object} Cell  what a row has over one slice
 * @property {number} slice @property {number | null} part  null: the slice's own number, or no part
 * @property {number} from  first output layer @property {number} layers
 * @property {"open" | "absent" | "base" | "whole" | "without"} state
 * @property {Declared | null} number @property {Setting} setting  as it acts, all scopes and the default in it
 */
/**
 * @typedef {object} Row
 * @property {string} key @property {number | null} source  null: the slices' own @property {string} name  of the number
 * @property {Range} range  of the axis @property {Cell[]} cells
 */

/** Numbers that can be bent over depth. @param {Method} method @param {boolean} perPart */
const curvesOf = (method, perPart) => method.numbers.filter(({ curve, kind, per_part }) => curve && kind === "number" && per_part === perPart);

/**
 * The numbers to choose from: those of methods that blend first; `whole` are only of slices that are kept whole.
 * @param {Sketch} sketch @param {readonly Method[]} methods @param {boolean} perPart
 */
export function choicesOf({ slices }, methods, perPart) {
  /** @type {{ name: string, whole: boolean }[]} */
  const choices = [];
  for (const whole of [false, true]) {
    for (const { method } of slices) {
      if ((method === WHOLE) !== whole) continue;
      for (const { name } of curvesOf(methodOf(methods, method), perPart)) {
        if (!choices.some((each) => each.name === name)) choices.push({ name, whole });
      }
    }
  }
  return choices;
}

/** The range of a hand: the dial, else the bounds, else 0 to 1. @param {Declared} number @returns {Range} */
export const dialOf = ({ dial, low, high }) => dial ?? (low !== null && high !== null ? [low, high] : [0, 1]);

/** As many decimals as the dial has steps. @param {number} value @param {Declared} number */
export function inSteps(value, number) {
  const digits = Math.max(0, -Math.round(Math.log10(stepOf(dialOf(number)))));
  const figures = Math.abs(value).toFixed(digits);
  return `${value < 0 && Number(figures) ? "−" : ""}${figures}`;
}

/** A value of a hand: whole steps of the dial, inside it; where it was outside already it may stay. @param {Declared} number @param {number} value @param {number | null} old */
export function held(number, value, old) {
  const [low, high] = dialOf(number);
  const reach = old ?? low;
  return Math.min(number.high ?? Infinity, Math.max(number.low ?? -Infinity, Math.min(Math.max(high, reach), Math.max(Math.min(low, reach), settle(value, stepOf([low, high]))))));
}

/**
 * @param {Sketch} sketch @param {readonly Method[]} methods @param {string} name @param {number | null} source @param {number} nth  of the slice's parts that are of the source
 * @returns {Cell[]}
 */
function cellsOf(sketch, methods, name, source, nth) {
  let from = 0;
  return sketch.slices.map((slice, index) => {
    const method = methodOf(methods, slice.method);
    const number = curvesOf(method, source !== null).find((each) => each.name === name) ?? null;
    const own = slice.parts.flatMap((part, place) => (part.source === source ? [place] : []));
    const part = source === null ? null : (own[nth] ?? null);
    /** @type {Cell["state"]} */
    let state = "open";
    if (source !== null && part === null) state = "absent";
    else if (part !== null && part === basePart(sketch, slice, methods)) state = "base";
    else if (!number) state = slice.method === WHOLE && source !== null ? "whole" : "without";
    const scopes = [part === null ? undefined : slice.parts[part].numbers[name], slice.numbers[name]];
    const cell = { slice: index, part, from, layers: slice.layers, state, number, setting: state === "open" ? inherited(scopes, number?.default ?? null) : [] };
    from += slice.layers;
    return cell;
  });
}

/**
 * @param {Sketch} sketch @param {readonly Method[]} methods
 * @param {string | null} name  of the number of each part; null: none is shown @param {string | null} own  of the number of each slice
 * @returns {Row[]} sources in order, the slices' own last
 */
export function rowsOf(sketch, methods, name, own) {
  /** @param {string} key @param {number | null} source @param {string} number @param {number} nth @returns {Row} */
  const row = (key, source, number, nth) => {
    const cells = cellsOf(sketch, methods, number, source, nth);
    const dials = cells.flatMap((cell) => (cell.state === "open" && cell.number ? [dialOf(cell.number)] : []));
    return { key, source, name: number, range: dials.length ? [Math.min(...dials.map(([low]) => low)), Math.max(...dials.map(([, high]) => high))] : [0, 1], cells };
  };
  const most = new Map(); // of a source in one slice: a model may be blended with other layers of itself
  for (const { parts } of sketch.slices) {
    for (const { source } of parts) most.set(source, Math.max(most.get(source) ?? 0, parts.filter((part) => part.source === source).length));
  }
  const rows = [...most.keys()]
    .sort((a, b) => a - b)
    .flatMap((source) => Array.from({ length: most.get(source) }, (_, nth) => row(`${source}.${nth}`, source, name ?? "", nth)));
  return own === null ? rows : [...rows, row("own", null, own, 0)];
}

/** The cell over an output layer. @param {Row} row @param {number} layer */
export const cellAt = (row, layer) => row.cells.find(({ from, layers }) => layer < from + layers) ?? row.cells[row.cells.length - 1];

/** The number of an output layer; null where it has none. @param {Row} row @param {number} layer @param {Kinds} kinds @param {Kind} kind */
export function numberAt(row, layer, kinds, kind) {
  const cell = cellAt(row, layer);
  return cell.state === "open" ? expand(cell.setting, filterOf(kinds, kind), cell.layers)[layer - cell.from] : null;
}

/**
 * Those of some output layers that a row has numbers for, and the bounds that hold for all of them.
 * @param {Row} row @param {readonly number[]} layers @returns {{ layers: number[], low: number | null, high: number | null }}
 */
export function coveredBy(row, layers) {
  const found = layers.flatMap((layer) => {
    const { from, layers: long, state, number } = cellAt(row, layer);
    return state === "open" && number && layer < from + long ? [{ layer, number }] : [];
  });
  const low = Math.max(...found.map(({ number }) => number.low ?? -Infinity));
  const high = Math.min(...found.map(({ number }) => number.high ?? Infinity));
  return { layers: found.map(({ layer }) => layer), low: Number.isFinite(low) ? low : null, high: Number.isFinite(high) ? high : null };
}

/**
 * The sketch with other numbers in a row, over output layers [first, last]; null: as it is.
 * @param {Sketch} sketch @param {Row} row @param {Kinds} kinds @param {readonly Kind[]} which @param {number} first @param {number} last
 * @param {(old: number | null, layer: number, number: Declared) => number | null} next
 */
export function bent(sketch, row, kinds, which, first, last, next) {
  for (const { slice, part, from, layers, state, number, setting } of row.cells) {
    if (state !== "open" || !number) continue;
    const changed = withPoints(setting, kinds, layers, which, (old, offset) => (from + offset < first || from + offset > last ? null : next(old, from + offset, number)));
    if (changed !== setting) sketch = setNumber(sketch, slice, part, row.name, changed);
  }
  return sketch;
}

/** Kinds whose value has as many points as the slice has layers. @param {Cell} cell @param {Kinds} kinds */
export function crowded({ setting, layers }, kinds) {
  return KINDS.filter((kind) => {
    if (kind !== "rest" && !kinds) return false;
    const rule = setting.find(([filter]) => filter === filterOf(kinds, kind));
    return layers > 2 && Array.isArray(rule?.[1]) && rule[1].length >= layers;
  });
}

/**
 * Why a cell cannot be bent, longest words first, for as much room as there is.
 * @param {Cell} cell @param {string} method its word @param {string} name of the number @returns {string[]}
 */
export function reasons({ state }, method, name) {
  if (state === "absent") return ["not here"];
  if (state === "base") return [`base of ${method}: no ${name || "number"}`, `base of ${method}`, "base"];
  if (state === "whole") return ["kept whole", "whole"];
  return state === "without" ? [`no ${name} in ${method}`, `no ${name}`] : [];
}
