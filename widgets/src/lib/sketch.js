// @ts-check
// The recipe's picture as data: slices of layers, each made of parts. Pure functions: an edit gives a new sketch in which
// every slice it did not touch is the very same object; one that goes too far is clamped; one that cannot be done gives null.

import { simplest, valueAt } from "./setting.js";

/** @typedef {number | boolean | string | number[]} Value  a list: points spread evenly over the slice, linear between */
/** @typedef {[filter: string | null, value: Value][]} Setting  the first rule whose filter is in the tensor's name counts */
/** @typedef {Record<string, Setting>} Numbers */
/** @typedef {{ source: number, start: number, numbers: Numbers }} Part  layers start .. start + layers - 1 of a source */
/** @typedef {{ method: string, base: number | null, layers: number, parts: Part[], numbers: Numbers }} Slice */
/** @typedef {{ base: number | null, widen: boolean, slices: Slice[] }} Sketch */
/** @typedef {{ source: number, start: number, end: number }} Run  layers [start, end) of a source */
/** @typedef {{ slice: number, offset: number, parts: { source: number, home: number }[] }} Layer  one output layer */

/** @param {Sketch} sketch */
export const depthOf = ({ slices }) => slices.reduce((sum, { layers }) => sum + layers, 0);

/** @param {Sketch} sketch @returns {Layer[]} bottom first */
export function layersOf({ slices }) {
  return slices.flatMap(({ layers, parts }, slice) =>
    Array.from({ length: layers }, (_, offset) => ({
      slice,
      offset,
      parts: parts.map(({ source, start }) => ({ source, home: start + offset })),
    })),
  );
}

/** First output layer of every slice, and the depth at the end. @param {Sketch} sketch */
export function bordersOf({ slices }) {
  const borders = [0];
  for (const { layers } of slices) borders.push(borders[borders.length - 1] + layers);
  return borders;
}

/** The slice that holds output layer `at`, the last one past the top. @param {Sketch} sketch @param {number} at */
export function sliceAt(sketch, at) {
  const borders = bordersOf(sketch);
  const found = sketch.slices.findIndex((_, i) => at < borders[i + 1]);
  return found < 0 ? sketch.slices.length - 1 : found;
}

/** How often each layer of a source is in the stack, by "source:home". @param {readonly Layer[]} layers @returns {Map<string, number>} */
export function usesOf(layers) {
  const uses = new Map();
  for (const { parts } of layers) {
    for (const { source, home } of parts) uses.set(`${source}:${home}`, (uses.get(`${source}:${home}`) ?? 0) + 1);
  }
  return uses;
}

// Cutting and laying. A piece is a run of layers of one slice, or a slice that is new (of: -1).

/** @typedef {{ slice: Slice, of: number, from: number, to: number }} Piece */

/** The slices cut in front of some output layers. @param {Sketch} sketch @param {...number} cuts @returns {Piece[]} */
function piecesOf(sketch, ...cuts) {
  const borders = bordersOf(sketch);
  return sketch.slices.flatMap((slice, of) => {
    const inside = cuts.map((cut) => cut - borders[of]).filter((cut) => cut > 0 && cut < slice.layers);
    const edges = [0, ...inside, slice.layers].sort((a, b) => a - b).filter((edge, i, all) => edge !== all[i - 1]);
    return edges.slice(1).map((to, i) => ({ slice, of, from: edges[i], to }));
  });
}

/** Pieces below, within and above output layers [from, end). @param {readonly Piece[]} pieces @param {number} from @param {number} end */
function around(pieces, from, end) {
  /** @type {[Piece[], Piece[], Piece[]]} */
  const groups = [[], [], []];
  let at = 0;
  for (const piece of pieces) {
    groups[at < from ? 0 : at < end ? 1 : 2].push(piece);
    at += piece.to - piece.from;
  }
  return groups;
}

/** @param {Slice} slice @returns {Piece} */
const fresh = (slice) => ({ slice, of: -1, from: 0, to: slice.layers });

/** A setting of layers [from, to) of a slice: every layer keeps its number. @param {Setting} setting @param {number} layers @param {number} from @param {number} to @returns {Setting} */
const cutSetting = (setting, layers, from, to) =>
  setting.map(([filter, value]) => {
    if (!Array.isArray(value)) return [filter, value];
    const each = Array.from({ length: to - from }, (_, i) => /** @type {number} */ (valueAt(value, from + i, layers)));
    return [filter, simplest(each)];
  });

/** A curve over the slice is cut with it: every layer keeps its number. @param {Slice} slice @param {number} from @param {number} to @returns {Slice} */
function cut(slice, from, to) {
  if (from === 0 && to === slice.layers) return slice;
  const numbers = (/** @type {Numbers} */ all) =>
    Object.fromEntries(Object.entries(all).map(([name, setting]) => [name, cutSetting(setting, slice.layers, from, to)]));
  return {
    ...slice,
    layers: to - from,
    parts: slice.parts.map((part) => ({ ...part, start: part.start + from, numbers: numbers(part.numbers) })),
    numbers: numbers(slice.numbers),
  };
}

const alike = (/** @type {unknown} */ a, /** @type {unknown} */ b) => JSON.stringify(a) === JSON.stringify(b);
const isFlat = (/** @type {Numbers} */ numbers) => Object.values(numbers).flat().every(([, value]) => !Array.isArray(value));

/** Whether two slices could be one: each part goes on where it ended, with the same unbent numbers. @param {Slice} below @param {Slice} above */
function continues(below, above) {
  return (
    below.method === above.method &&
    below.base === above.base &&
    below.parts.length === above.parts.length &&
    isFlat(below.numbers) &&
    alike(below.numbers, above.numbers) &&
    below.parts.every(({ source, start, numbers }, i) => {
      const next = above.parts[i];
      return source === next.source && start + below.layers === next.start && isFlat(numbers) && alike(numbers, next.numbers);
    })
  );
}

/**
 * Slices from pieces: what was cut and lies together again is one, and so is what continues a new neighbour. Old neighbours
 * stay apart, since somebody split them.
 * @param {Sketch} sketch @param {readonly Piece[]} pieces @returns {Sketch}
 */
function laid(sketch, pieces) {
  /** @type {Piece[]} */
  const whole = [];
  for (const piece of pieces) {
    const last = whole[whole.length - 1];
    if (last && last.of >= 0 && last.of === piece.of && last.to === piece.from) whole[whole.length - 1] = { ...last, to: piece.to };
    else whole.push(piece);
  }
  /** @type {Slice[]} */
  const slices = [];
  whole.forEach((piece, i) => {
    const slice = cut(piece.slice, piece.from, piece.to);
    const below = slices[slices.length - 1];
    const before = whole[i - 1];
    const old = before && before.of >= 0 && piece.of === before.of + 1 && before.to === before.slice.layers && piece.from === 0;
    if (below && !old && continues(below, slice)) slices[slices.length - 1] = { ...below, layers: below.layers + slice.layers };
    else slices.push(slice);
  });
  return { ...sketch, slices };
}

/** Put a run of a source's layers, kept whole, in front of output layer `at`. @param {Sketch} sketch @param {number} at @param {Run} run @returns {Sketch} */
export function insertRun(sketch, at, { source, start, end }) {
  const slice = { method: "passthrough", base: null, layers: end - start, parts: [{ source, start, numbers: {} }], numbers: {} };
  const [below, , above] = around(piecesOf(sketch, at), at, at);
  return laid(sketch, [...below, fresh(slice), ...above]);
}

/** Move output layers [from, end) in front of output layer `at` (counted before the move). @param {Sketch} sketch @param {number} from @param {number} end @param {number} at @returns {Sketch} */
export function moveRun(sketch, from, end, at) {
  if (at >= from && at <= end) return sketch;
  const pieces = piecesOf(sketch, from, end, at);
  const [below, run, above] = around(pieces, from, end);
  if (at < from) {
    const [under, , over] = around(below, at, at);
    return laid(sketch, [...under, ...run, ...over, ...above]);
  }
  const [under, , over] = around(above, at - end, at - end);
  return laid(sketch, [...below, ...under, ...run, ...over]);
}

/** Output layers [from, end) once more, after themselves. @param {Sketch} sketch @param {number} from @param {number} end @returns {Sketch} */
export function repeat(sketch, from, end) {
  const [below, run, above] = around(piecesOf(sketch, from, end), from, end);
  return laid(sketch, [...below, ...run, ...run, ...above]);
}

/** Without output layers [from, end); null where nothing would stay. @param {Sketch} sketch @param {number} from @param {number} end @returns {Sketch | null} */
export function remove(sketch, from, end) {
  const [below, , above] = around(piecesOf(sketch, from, end), from, end);
  return below.length + above.length ? laid(sketch, [...below, ...above]) : null;
}

/** Cut in front of output layer `at`; null where a slice begins there. @param {Sketch} sketch @param {number} at @returns {Sketch | null} */
export function splitAt(sketch, at) {
  if (bordersOf(sketch).includes(at) || at < 0 || at > depthOf(sketch)) return null;
  return { ...sketch, slices: piecesOf(sketch, at).map(({ slice, from, to }) => cut(slice, from, to)) };
}

/** A number of a slice (part null) or of one part; null takes it out, so that the default counts. @param {Sketch} sketch @param {number} index @param {number | null} part @param {string} name @param {Setting | null} setting @returns {Sketch} */
export function setNumber(sketch, index, part, name, setting) {
  const slice = sketch.slices[index];
  /** @param {Numbers} numbers @returns {Numbers} */
  const next = ({ [name]: _, ...rest }) => (setting === null ? rest : { ...rest, [name]: setting });
  if (part === null) return withSlice(sketch, index, { ...slice, numbers: next(slice.numbers) });
  return withSlice(sketch, index, { ...slice, parts: slice.parts.map((each, i) => (i === part ? { ...each, numbers: next(each.numbers) } : each)) });
}

/** @param {Sketch} sketch @param {number} index @param {Slice} slice @returns {Sketch} */
export const withSlice = (sketch, index, slice) => ({ ...sketch, slices: sketch.slices.map((each, i) => (i === index ? slice : each)) });

/** @param {number} value @param {number} low @param {number} high */
const within = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));

/** How many layers a slice can gain at its end, and at its start. @param {Slice} slice @param {readonly number[]} depths */
const roomOf = ({ layers, parts }, depths) => ({
  end: Math.min(...parts.map(({ source, start }) => depths[source] - start - layers)),
  start: Math.min(...parts.map(({ start }) => start)),
});

/** A slice with an edge moved: its curves keep their shape over more or fewer layers. @param {Slice} slice @param {"start" | "end"} edge @param {number} by layers gained @returns {Slice} */
function grown(slice, edge, by) {
  const parts = edge === "end" || by === 0 ? slice.parts : slice.parts.map((part) => ({ ...part, start: part.start - by }));
  return by === 0 ? slice : { ...slice, layers: slice.layers + by, parts };
}

/** How far the border after slice `index` can go down and up. @param {Sketch} sketch @param {number} index @param {readonly number[]} depths @returns {[number, number]} */
export function borderRange({ slices }, index, depths) {
  const [left, right] = [slices[index], slices[index + 1]];
  const low = Math.max(1 - left.layers, 0 - roomOf(right, depths).start);
  return [low, Math.max(low, Math.min(roomOf(left, depths).end, right.layers - 1))];
}

/**
 * Move the border after slice `index` by `by` layers: what the lower slice gains at its end the upper one loses at its start,
 * so the depth stays. Clamped so that both keep a layer and stay inside their sources.
 * @param {Sketch} sketch @param {number} index @param {number} by @param {readonly number[]} depths @returns {Sketch}
 */
export function moveBorder(sketch, index, by, depths) {
  const [low, high] = borderRange(sketch, index, depths);
  const step = within(by, low, high);
  const slices = [...sketch.slices];
  slices[index] = grown(slices[index], "end", step);
  slices[index + 1] = grown(slices[index + 1], "start", -step);
  return { ...sketch, slices };
}

/**
 * Let a slice gain `by` layers at an edge (lose them where negative); what lies above moves along.
 * @param {Sketch} sketch @param {number} index @param {"start" | "end"} edge @param {number} by @param {readonly number[]} depths @returns {Sketch}
 */
export function stretch(sketch, index, edge, by, depths) {
  const slice = sketch.slices[index];
  return withSlice(sketch, index, grown(slice, edge, within(by, 1 - slice.layers, roomOf(slice, depths)[edge])));
}

/** Move one part along its source, the slice staying where it is. @param {Sketch} sketch @param {number} index @param {number} part @param {number} by @param {readonly number[]} depths @returns {Sketch} */
export function shift(sketch, index, part, by, depths) {
  const slice = sketch.slices[index];
  const old = slice.parts[part];
  const start = within(old.start + by, 0, depths[old.source] - slice.layers);
  return withSlice(sketch, index, { ...slice, parts: slice.parts.map((each, i) => (i === part ? { ...old, start } : each)) });
}

/** "4–7", or "4" for one layer. @param {number} start @param {number} layers */
export const rangeOf = (start, layers) => (layers === 1 ? `${start}` : `${start}–${start + layers - 1}`);
