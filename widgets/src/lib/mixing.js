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
/**
 * @typedef {{ name: string, word: string, base: boolean, ground?: boolean, parts: [number, number | null], numbers: Declared[] }} Method
 *   base: it needs one; ground: one that is among the parts is its base; parts: the fewest and most besides it
 */
/** @typedef {{ blends: readonly string[][], sources: readonly { layers: number }[] }} Known  why two sources cannot be blended, or ""; how deep they are */

export const WHOLE = "passthrough"; // keeps its one part as it is
export const BLEND = "linear"; // what a slice becomes that gets a part too many for its method

/** @param {readonly Method[]} methods @param {string} name @returns {Method} a method that is not listed has no numbers to turn */
export const methodOf = (methods, name) =>
  methods.find((method) => method.name === name) ?? { name, word: name, base: false, parts: [1, null], numbers: [] };

/** The source that a slice's method starts from; null where there is none. @param {Sketch} sketch @param {Slice} slice @param {readonly Method[]} methods */
export function baseOf(sketch, slice, methods) {
  const method = methodOf(methods, slice.method);
  const base = slice.base ?? sketch.base;
  return method.base || (method.ground && slice.parts.some(({ source }) => source === base)) ? base : null;
}

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

/** A switch of a slice, as it is for most tensors. @param {Slice} slice @param {readonly Declared[]} declared @param {string} name */
function isOn({ numbers }, declared, name) {
  const found = declared.find((each) => each.name === name && each.effect);
  return found ? (numbers[name]?.at(-1)?.[1] ?? found.default) === true : false;
}

/** Whether only the ratio of the weights counts. @param {Slice} slice @param {Method} method */
function normalizes(slice, { base, numbers }) {
  const name = ["normalize", "normalize_weights"].find((each) => numbers.some((number) => number.name === each));
  return name ? isOn(slice, numbers, name) : !base;
}

/** Weights of methods whose result is no plain sum are what goes in, not what comes out. */
const BENDS = ["lines", "tsv_merge", "iso_c", "knots"];

/** @param {Method} method */
const hasWeight = ({ numbers }) => numbers.some(({ name, per_part }) => name === "weight" && per_part);
/** `t` as the way from the base to the other; the step of nearswap, which is named so too, is none. @param {Method} method */
const hasWay = ({ numbers }) => numbers.some(({ name, per_part, dial }) => name === "t" && !per_part && dial?.[1] === 1);

/**
 * How much of each part the result has: c of sum c x, below 0 where a part is taken away. In base + w (x - base) the base
 * has 1 - w. What density trims stays the base's, unless the rest is scaled up for it; where a mean is taken over what is
 * left, the base has the tensors' elements that every part trims (were they trimmed by chance).
 * @param {Sketch} sketch @param {Slice} slice @param {readonly Method[]} methods
 * @returns {((offset: number) => number[]) | null} of a layer of the slice; null: the method alone decides
 */
export function coefficientsOf(sketch, slice, methods) {
  const { parts, layers, numbers } = slice;
  const base = basePart(sketch, slice, methods);
  const method = methodOf(methods, slice.method);
  if (parts.length === 1) return () => [1];
  if (hasWay(method) && base >= 0 && parts.length === 2) {
    return (offset) => {
      const own = meanAt(numbers.t, offset, layers) ?? 0.5;
      return parts.map((_, i) => (i === base ? 1 - own : own));
    };
  }
  if (!hasWeight(method)) return null;
  /** @param {string} name @param {Part} part @param {number} offset */
  const read = (name, part, offset) => {
    const usual = method.numbers.find((each) => each.name === name)?.default;
    return meanAt(part.numbers[name] ?? numbers[name], offset, layers) ?? (typeof usual === "number" ? usual : 1);
  };
  const mean = normalizes(slice, method);
  const trims = method.numbers.some(({ name, effect }) => name === "density" && effect) && !isOn(slice, method.numbers, "rescale");
  return (offset) => {
    const kept = parts.map((part) => (trims ? read("density", part, offset) : 1));
    const sizes = parts.map((part, i) => (i === base ? 0 : read("weight", part, offset) * kept[i]));
    const sum = sizes.reduce((a, b) => a + b, 0);
    const lambda = meanAt(numbers.lambda, offset, layers) ?? 1;
    const trimmed = kept.reduce((left, each, i) => (i === base ? left : left * (1 - each)), 1);
    const found = sizes.map((size) => (mean && sum ? (size * (1 - trimmed)) / sum : size) * (base >= 0 ? lambda : 1));
    if (base >= 0) found[base] = 1 - found.reduce((a, b) => a + b, 0);
    return found;
  };
}

/**
 * How much of an output layer each part is, for the eye: what it has of the sum, of all that is above 0; equal where the
 * method alone decides. Attention and feed-forward are averaged.
 * @param {Sketch} sketch @param {Slice} slice @param {readonly Method[]} methods
 * @returns {(offset: number) => number[]} of a layer of the slice: one a part, sum 1
 */
export function sharesOf(sketch, slice, methods) {
  const coefficients = coefficientsOf(sketch, slice, methods);
  const equal = slice.parts.map(() => 1 / slice.parts.length);
  return (offset) => {
    const sizes = (coefficients?.(offset) ?? equal).map((size) => Math.max(0, size));
    const all = sizes.reduce((a, b) => a + b, 0);
    return all > 0 ? sizes.map((size) => size / all) : equal;
  };
}

/** Which parts are taken away in a layer of the slice; the base never is. @param {Sketch} sketch @param {Slice} slice @param {readonly Method[]} methods @returns {(offset: number) => boolean[]} */
export function unlearnedOf(sketch, slice, methods) {
  const coefficients = coefficientsOf(sketch, slice, methods);
  const base = basePart(sketch, slice, methods);
  return (offset) => slice.parts.map((_, i) => i !== base && (coefficients?.(offset)[i] ?? 0) < 0);
}

/** Whether the weight changes nothing: one part over a base, divided by its own weight. @param {Sketch} sketch @param {Slice} slice @param {readonly Method[]} methods */
export function isIdle(sketch, slice, methods) {
  const method = methodOf(methods, slice.method);
  return hasWeight(method) && normalizes(slice, method) && slice.parts.length === 2 && basePart(sketch, slice, methods) >= 0;
}

/**
 * What the heights of a slice's blocks say, and which of its numbers change nothing.
 * @param {Sketch} sketch @param {Slice} slice @param {readonly Method[]} methods @returns {string[]} sentences
 */
export function heightsInWords(sketch, slice, methods) {
  const method = methodOf(methods, slice.method);
  const base = basePart(sketch, slice, methods);
  if (slice.parts.length === 1) return [];
  if (hasWay(method) && base >= 0) return ["Height: t is the other’s part, 1 − t the base’s."];
  if (!hasWeight(method)) return [`Equal heights: ${method.word} has no weights, it decides by itself.`];
  const mean = normalizes(slice, method);
  /** @type {string[]} */
  const words = [];
  if (isIdle(sketch, slice, methods)) words.push("One source and normalize: the weight changes nothing.");
  if (base < 0) words.push("Height: weight relative to the others.");
  else if (mean) words.push("Height: weight relative to the others; the base has what density and lambda leave out.");
  else words.push("Height: weight, times density and lambda where there are any; the base has what that leaves of 1.");
  if (BENDS.includes(method.name)) words.push(`A guide only: ${method.word} changes more than the sum.`);
  const taken = unlearnedOf(sketch, slice, methods);
  if (Array.from({ length: slice.layers }, (_, offset) => taken(offset)).flat().some(Boolean)) words.push("Hatched: below 0, unlearns; no height.");
  return words;
}

/**
 * Whole per cents that add up to 100: those rounded down furthest get what is left (largest remainders).
 * @param {readonly number[]} shares sum 1 @returns {number[]}
 */
export function percents(shares) {
  const exact = shares.map((share) => share * 100);
  const whole = exact.map((each) => Math.floor(each + 1e-9));
  const left = Math.round(exact.reduce((a, b) => a + b, 0)) - whole.reduce((a, b) => a + b, 0);
  const order = exact.map((each, i) => ({ i, rest: each - whole[i] })).sort((a, b) => b.rest - a.rest || a.i - b.i);
  for (const { i } of order.slice(0, left)) whole[i] += 1;
  return whole;
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

const COMMON = 0; // task vectors are against the first source, whichever is the host

/** Whether the common base can be that of a slice with enough other parts. @param {Slice} slice @param {number} fewest @param {Known} known */
function takesCommon({ parts, layers }, fewest, { blends, sources }) {
  if (parts.some(({ source }) => source === COMMON)) return parts.filter(({ source }) => source !== COMMON).length >= fewest;
  const fits = parts[0].start + layers <= (sources[COMMON]?.layers ?? Infinity);
  return fits && parts.every(({ source }) => !blends[COMMON]?.[source]);
}

/**
 * Make a slice by another method. Parts too many are dropped, from the last on, the base never; a base that is needed joins
 * at the same layers: that which the slice has or names, else the first source where it can be, else the host. Null where
 * the method wants more parts than there are, or there is no base to name.
 * @param {Sketch} sketch @param {number} index @param {string} name @param {readonly Method[]} methods @param {Known} [known] @returns {Sketch | null}
 */
export function setMethod(sketch, index, name, methods, known = { blends: [], sources: [] }) {
  const slice = sketch.slices[index];
  const method = methodOf(methods, name);
  const [fewest, most] = method.parts;
  const shares = sharesOf(sketch, slice, methods)(Math.floor(slice.layers / 2));
  const named = baseOf(sketch, slice, methods) ?? slice.base;
  const common = takesCommon(slice, fewest, known) ? COMMON : sketch.base;
  const grounds = method.ground ? [named, common, sketch.base] : [];
  const base = method.base ? (named ?? common ?? slice.parts[0].source) : (grounds.find((each) => slice.parts.some(({ source }) => source === each)) ?? null);
  const host = base ?? named ?? sketch.base;
  let parts = slice.parts.map((part, i) => ({ part, share: shares[i] }));
  const others = parts.filter(({ part }) => part.source !== host);
  const few = base === null ? parts : others;
  if (few.length < fewest) return null;
  if (most !== null && few.length > most) {
    const kept = (others.length ? others : parts).slice(0, most);
    parts = parts.filter((each) => kept.includes(each) || each.part.source === base);
  }
  if (base !== null && !parts.some(({ part }) => part.source === base)) {
    parts = [{ part: { source: base, start: parts[0].part.start, numbers: {} }, share: 0 }, ...parts];
  }
  const next = { ...slice, base: base === sketch.base ? null : base, parts: parts.map(({ part }) => part) };
  return withSlice(sketch, index, fitted(next, method, base, parts.map(({ share }) => share)));
}

/**
 * A slice whose last part is new, with weights that favour none: the same for all where they were the same, of 1 as many
 * parts as there are in a plain mean; the mean of the others' where a hand has set them apart.
 * @param {Slice} slice @param {Method} method @param {number | null} base @returns {Slice}
 */
function evened(slice, method, base) {
  const { parts, layers } = slice;
  const usual = method.numbers.find(({ name, per_part }) => name === "weight" && per_part)?.default;
  const last = parts.length - 1;
  if (!hasWeight(method) || slice.numbers.weight || parts[last].source === base) return slice;
  const others = parts.slice(0, last).filter(({ source }) => source !== base);
  const flat = others.map(({ numbers: { weight } }) => (!weight ? usual : weight.length === 1 && weight[0][0] === null ? weight[0][1] : null));
  const same = typeof flat[0] === "number" && flat.every((each) => each === flat[0]);
  if (same && !others.some(({ numbers }) => numbers.weight)) return slice;
  const middle = Math.floor(layers / 2);
  const usualOne = typeof usual === "number" ? usual : 1;
  const average = others.reduce((sum, { numbers }) => sum + (meanAt(numbers.weight, middle, layers) ?? usualOne), 0) / Math.max(1, others.length);
  const value = same ? (base === null ? rounded(1 / parts.length) : flat[0]) : rounded(average);
  const dressed = (/** @type {Part} */ part) => ({ ...part, numbers: { ...part.numbers, weight: /** @type {Setting} */ ([[null, value]]) } });
  return { ...slice, parts: parts.map((part, i) => (part.source !== base && (same || i === last) ? dressed(part) : part)) };
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
  const joined = { ...slice, parts: [...slice.parts, { source, start, numbers: {} }] };
  const shares = joined.parts.map(() => 1 / joined.parts.length);
  const base = baseOf(sketch, joined, methods);
  const full = most !== null && joined.parts.filter((part) => part.source !== base).length > most;
  if (full) return withSlice(sketch, index, fitted({ ...joined, base: null }, methodOf(methods, BLEND), null, shares));
  return withSlice(sketch, index, fitted(evened(joined, method, base), method, base, shares));
}

/** Take a part out; what is left too few for the method is kept whole, or mixed linearly. Null for the last one. @param {Sketch} sketch @param {number} index @param {number} part @param {readonly Method[]} methods @returns {Sketch | null} */
export function removePart(sketch, index, part, methods) {
  const slice = sketch.slices[index];
  if (slice.parts.length < 2) return null;
  const method = methodOf(methods, slice.method);
  const parts = slice.parts.filter((_, i) => i !== part);
  const base = baseOf(sketch, slice, methods);
  const based = !method.base || parts.some(({ source }) => source === base);
  const enough = based && parts.filter(({ source }) => source !== base).length >= method.parts[0];
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
  const next = { ...slice, base, parts: slice.parts.map((each, i) => (i === part ? { ...each, source } : each)) };
  if (isBase || part !== basePart(sketch, next, methods)) return withSlice(sketch, index, next);
  // What may stand under the method does so now.
  const method = methodOf(methods, slice.method);
  return next.parts.length - 1 < method.parts[0] ? null : withSlice(sketch, index, fitted(next, method, source, next.parts.map(() => 0)));
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
