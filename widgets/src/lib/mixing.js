// @ts-check
// What a slice is mixed of: its method, its base, its parts and their numbers. Pure functions on sketches, as in sketch.js.

import { valueAt } from "./setting.js";
import { splitAt, withSlice } from "./sketch.js";

/** @typedef {import("./sketch.js").Sketch} Sketch */
/** @typedef {import("./sketch.js").Slice} Slice */
/** @typedef {import("./sketch.js").Part} Part */
/** @typedef {import("./sketch.js").Numbers} Numbers */
/** @typedef {import("./sketch.js").Run} Run */
/** @typedef {import("./sketch.js").Setting} Setting */
/**
 * @typedef {object} Declared  a number of a method
 * @property {string} name @property {boolean} per_part @property {"number" | "whole" | "switch" | "choice"} kind
 * @property {number | boolean | string | null} default  what counts where it is not said; of one that must be, where it begins
 * @property {boolean} [needed]  it must be said
 * @property {[number, number] | null} dial  range worth turning @property {number | null} low @property {number | null} high
 * @property {string[]} choices @property {string} doc @property {boolean} effect @property {boolean} curve
 */
/** @typedef {{ name: string, word: string, base: boolean, parts: [number, number | null], numbers: Declared[] }} Method */

export const WHOLE = "passthrough"; // keeps its one part as it is
export const BLEND = "linear"; // what a slice becomes that gets a part too many for its method

/** @param {readonly Method[]} methods @param {string} name @returns {Method} a method that is not listed has no numbers to turn */
export const methodOf = (methods, name) =>
  methods.find((method) => method.name === name) ?? { name, word: name, base: false, parts: [1, null], numbers: [] };

/** The source that a slice's method starts from; null where it needs none. @param {Sketch} sketch @param {Slice} slice @param {readonly Method[]} methods */
export const baseOf = (sketch, slice, methods) => (methodOf(methods, slice.method).base ? (slice.base ?? sketch.base) : null);

/** The place of the base among a slice's parts, or -1. @param {Sketch} sketch @param {Slice} slice @param {readonly Method[]} methods */
export function basePart(sketch, slice, methods) {
  const base = baseOf(sketch, slice, methods);
  return base === null ? -1 : slice.parts.findIndex(({ source }) => source === base);
}

/** Over its rules: of attention and feed-forward half each. @param {Setting | undefined} setting @param {number} offset @param {number} layers */
function meanAt(setting, offset, layers) {
  const values = (setting ?? []).map(([, value]) => valueAt(value, offset, layers)).filter((value) => typeof value === "number");
  return values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
}

/**
 * How much of an output layer each part is, for the eye: weights by size, the base being what they leave of 1; `t` between
 * base and the other; equal where the method has neither. Attention and feed-forward are averaged.
 * @param {Sketch} sketch @param {Slice} slice @param {readonly Method[]} methods
 * @returns {(offset: number) => number[]} of a layer of the slice: one a part, sum 1
 */
export function sharesOf(sketch, slice, methods) {
  const { parts, layers, numbers } = slice;
  const base = basePart(sketch, slice, methods);
  const declared = methodOf(methods, slice.method).numbers;
  const equal = parts.map(() => 1 / parts.length);
  if (parts.length === 1) return () => equal;
  const t = declared.find(({ name, per_part }) => name === "t" && !per_part);
  if (t && base >= 0 && parts.length === 2) {
    return (offset) => {
      const own = Math.min(1, Math.max(0, meanAt(numbers.t, offset, layers) ?? 0.5));
      return parts.map((_, i) => (i === base ? 1 - own : own));
    };
  }
  const weight = declared.find(({ name, per_part }) => name === "weight" && per_part);
  if (!weight) return () => equal;
  const usual = typeof weight.default === "number" ? weight.default : 1;
  return (offset) => {
    const sizes = parts.map((part, i) => (i === base ? 0 : Math.abs(meanAt(part.numbers.weight ?? numbers.weight, offset, layers) ?? usual)));
    const sum = sizes.reduce((a, b) => a + b, 0);
    if (base >= 0) sizes[base] = Math.max(0, 1 - sum);
    const all = sum + (base >= 0 ? sizes[base] : 0);
    return all > 0 ? sizes.map((size) => size / all) : equal;
  };
}

/** @param {number} value */
const rounded = (value) => Math.round(value * 100) / 100;

/** Only numbers that the method knows. @param {Numbers} numbers @param {readonly Declared[]} declared @returns {Numbers} */
const known = (numbers, declared) => Object.fromEntries(Object.entries(numbers).filter(([name]) => declared.some((each) => each.name === name)));

/**
 * A slice of other parts or by another method, with the numbers that are known there; those that must be given begin at what
 * `shares` says.
 * @param {Slice} slice @param {Method} method @param {number | null} base @param {readonly number[]} shares of `slice.parts`
 * @returns {Slice}
 */
function fitted(slice, method, base, shares) {
  const own = method.numbers.filter(({ per_part }) => per_part);
  const needsWeight = own.some(({ name, needed }) => name === "weight" && needed);
  /** @param {Part} part @param {number} i @returns {Part} */
  const dressed = (part, i) => {
    if (part.source === base) return { ...part, numbers: {} };
    const numbers = known(part.numbers, own);
    if (needsWeight && !numbers.weight && !slice.numbers.weight) numbers.weight = [[null, rounded(shares[i])]];
    return { ...part, numbers };
  };
  const numbers = known(slice.numbers, method.numbers);
  const t = method.numbers.find(({ name, per_part, needed }) => name === "t" && !per_part && needed);
  if (t && !numbers.t) {
    const share = rounded(shares[slice.parts.findIndex(({ source }) => source !== base)] ?? 0.5);
    numbers.t = [[null, t.dial && share > t.dial[1] ? (t.default ?? share) : share]];
  }
  return { ...slice, method: method.name, parts: slice.parts.map(dressed), numbers };
}

/**
 * Make a slice by another method. Parts too many are dropped, from the last on, the base never; a base that is needed joins
 * at the same layers. Null where the method wants more parts than there are, or there is no base to name.
 * @param {Sketch} sketch @param {number} index @param {string} name @param {readonly Method[]} methods @returns {Sketch | null}
 */
export function setMethod(sketch, index, name, methods) {
  const slice = sketch.slices[index];
  const method = methodOf(methods, name);
  const [fewest, most] = method.parts;
  const shares = sharesOf(sketch, slice, methods)(Math.floor(slice.layers / 2));
  const base = method.base ? (slice.base ?? sketch.base ?? slice.parts[0].source) : null;
  const host = base ?? slice.base ?? sketch.base;
  let parts = slice.parts.map((part, i) => ({ part, share: shares[i] }));
  const others = parts.filter(({ part }) => part.source !== host);
  const few = method.base ? others : parts;
  if (few.length < fewest) return null;
  if (most !== null && few.length > most) {
    const kept = (others.length ? others : parts).slice(0, most);
    parts = parts.filter((each) => kept.includes(each) || (method.base && each.part.source === base));
  }
  if (base !== null && !parts.some(({ part }) => part.source === base)) {
    parts = [{ part: { source: base, start: parts[0].part.start, numbers: {} }, share: 0 }, ...parts];
  }
  const next = { ...slice, base: method.base && base !== sketch.base ? base : null, parts: parts.map(({ part }) => part) };
  return withSlice(sketch, index, fitted(next, method, base, parts.map(({ share }) => share)));
}

/**
 * Blend layers of a further source into a slice; a method that has no room for it gives way to linear. Null where the source
 * has not that many layers, or is in the slice with the same ones.
 * @param {Sketch} sketch @param {number} index @param {{ source: number, start: number }} added
 * @param {readonly Method[]} methods @param {readonly number[]} depths @returns {Sketch | null}
 */
export function addPart(sketch, index, { source, start }, methods, depths) {
  const slice = sketch.slices[index];
  if (start < 0 || start + slice.layers > depths[source]) return null;
  const isBase = source === baseOf(sketch, slice, methods);
  if (slice.parts.some((part) => part.source === source && (isBase || part.start === start))) return null;
  const method = methodOf(methods, slice.method);
  const [, most] = method.parts;
  const count = slice.parts.length + 1;
  const full = most !== null && count - (method.base ? 1 : 0) > most;
  const next = { ...slice, base: full ? null : slice.base, parts: [...slice.parts, { source, start, numbers: {} }] };
  const shares = full ? next.parts.map(() => 1 / count) : [...slice.parts.map(() => 0), 1 / count];
  const to = full ? methodOf(methods, BLEND) : method;
  return withSlice(sketch, index, fitted(next, to, full ? null : baseOf(sketch, slice, methods), shares));
}

/** Take a part out; what is left too few for the method is kept whole, or mixed linearly. Null for the last one. @param {Sketch} sketch @param {number} index @param {number} part @param {readonly Method[]} methods @returns {Sketch | null} */
export function removePart(sketch, index, part, methods) {
  const slice = sketch.slices[index];
  if (slice.parts.length < 2) return null;
  const method = methodOf(methods, slice.method);
  const parts = slice.parts.filter((_, i) => i !== part);
  const base = baseOf(sketch, slice, methods);
  const enough = base === null ? parts.length >= method.parts[0] : parts.length - 1 >= method.parts[0] && parts.some(({ source }) => source === base);
  if (enough && parts.length > 1) return withSlice(sketch, index, { ...slice, parts });
  const to = methodOf(methods, parts.length === 1 ? WHOLE : BLEND);
  return withSlice(sketch, index, fitted({ ...slice, base: null, parts }, to, null, parts.map(() => 1 / parts.length)));
}

/**
 * Give a part to another source, same layers. Null where that source is not deep enough, or is in the slice already.
 * @param {Sketch} sketch @param {number} index @param {number} part @param {number} source @param {readonly Method[]} methods
 * @param {readonly number[]} depths @returns {Sketch | null}
 */
export function give(sketch, index, part, source, methods, depths) {
  const slice = sketch.slices[index];
  const old = slice.parts[part];
  if (old.start + slice.layers > depths[source] || slice.parts.some((each) => each.source === source)) return null;
  const isBase = part === basePart(sketch, slice, methods);
  const base = isBase ? (source === sketch.base ? null : source) : slice.base;
  return withSlice(sketch, index, { ...slice, base, parts: slice.parts.map((each, i) => (i === part ? { ...each, source } : each)) });
}

/** Make a part the base of its slice, the old base becoming a part like others. Null where the method takes none, or it is. @param {Sketch} sketch @param {number} index @param {number} part @param {readonly Method[]} methods @returns {Sketch | null} */
export function setBase(sketch, index, part, methods) {
  const slice = sketch.slices[index];
  const { source } = slice.parts[part];
  const method = methodOf(methods, slice.method);
  if (!method.base || source === baseOf(sketch, slice, methods)) return null;
  const shares = sharesOf(sketch, slice, methods)(Math.floor(slice.layers / 2));
  return withSlice(sketch, index, fitted({ ...slice, base: source === sketch.base ? null : source }, method, source, shares));
}

/**
 * Blend a run of a source's layers over output layers `at` .. , slices being split where the run ends.
 * Null where it does not fit there in one of them.
 * @param {Sketch} sketch @param {number} at @param {Run} run @param {readonly Method[]} methods @param {readonly number[]} depths @returns {Sketch | null}
 */
export function blendRun(sketch, at, { source, start, end }, methods, depths) {
  const top = at + end - start;
  /** @type {Sketch | null} */
  let next = sketch;
  for (const edge of [at, top]) next = splitAt(next, edge) ?? next;
  let first = 0;
  for (let i = 0; next && i < next.slices.length; i += 1) {
    const { layers } = next.slices[i];
    if (first >= at && first + layers <= top) next = addPart(next, i, { source, start: start + first - at }, methods, depths);
    first += layers;
  }
  return next && top <= first ? next : null;
}
