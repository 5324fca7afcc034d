// @ts-check
// What a stack costs, counted from the sizes of its sources' layers, so that it can be told while the hand moves.

import { WHOLE } from "./mixing.js";
import { valueAt } from "./setting.js";

/** @typedef {import("./draft.js").Sketch} Sketch */
/** @typedef {import("./draft.js").Slice} Slice */
/** @typedef {import("./draft.js").Source} Source */
/** @typedef {import("./draft.js").Answer} Answer */
/** @typedef {{ layers: number, parameters: number, bytes: number, memory: number, decode: number }} Costs */

const ALIKE = 0.01; // dtypes differ by a factor, the norms of a layer that are kept more exactly by less than this

const sum = (/** @type {Iterable<number>} */ values) => [...values].reduce((all, value) => all + value, 0);

/** @param {number} one @param {number} other */
const near = (one, other) => Math.abs(one - other) <= ALIKE * other;

/** The source that gives the config, the embeddings and the head. @param {Sketch} sketch */
export const hostOf = ({ base, slices }) => base ?? slices[0].parts[0].source;

/** Whether the layers of a slice are no source's own. @param {Slice} slice */
const isMade = ({ method, parts }) => method !== WHOLE || Object.keys(parts[0].numbers).length > 0;

/** All that a layer is made of: of two that say the same, one is computed. @param {Slice} slice @param {number} offset */
function keyOf({ method, base, layers, parts, numbers }, offset) {
  const told = (/** @type {import("./draft.js").Numbers} */ all) =>
    Object.entries(all).map(([name, setting]) => [name, setting.map(([filter, value]) => [filter, valueAt(value, offset, layers)])]);
  return JSON.stringify([method, base, told(numbers), parts.map((part) => [part.source, part.start + offset, told(part.numbers)])]);
}

/**
 * @param {Sketch} sketch @param {readonly Source[]} sources @param {number | null} width  bytes of a parameter, where the recipe says a dtype
 * @returns {{ layers: number, parameters: number, bytes: number, made: number }} made: bytes that no source holds already
 */
function counted(sketch, sources, width) {
  const { rest } = sources[hostOf(sketch)];
  /** @type {Map<string, number>} */
  const made = new Map();
  let [layers, parameters, bytes] = [0, 0, 0];
  /** @param {string} key @param {number} count @param {number} own  bytes in the dtype of the sources @param {boolean} blends */
  const add = (key, count, own, blends) => {
    const size = width === null ? own : Math.round(count * width);
    parameters += count;
    bytes += size;
    if (blends || !near(size, own)) made.set(key, size);
  };
  // Embeddings are made as the first slice is.
  add("rest", rest.parameters, rest.bytes, isMade(sketch.slices[0]));
  for (const slice of sketch.slices) {
    const { base, parts, layers: long } = slice;
    // All parts of a layer are of one shape, but where they are widened: then it is the base's.
    const home = parts.find((part) => part.source === (base ?? sketch.base)) ?? parts[0];
    layers += long;
    for (let offset = 0; offset < long; offset += 1) {
      const count = sources[home.source].parameters[home.start + offset];
      // Of several dtypes the widest holds what is made of them.
      const widths = parts.map(({ source, start }) => sources[source].bytes[start + offset] / sources[source].parameters[start + offset]);
      add(keyOf(slice, offset), count, Math.round(count * Math.max(...widths)), isMade(slice));
    }
  }
  return { layers, parameters, bytes, made: sum(made.values()) };
}

/** Bytes of a parameter where an answer's recipe has a dtype of its own; null: it keeps those of its sources. @param {Answer} answer @param {readonly Source[]} sources */
function widthOf({ made, parameters, bytes }, sources) {
  const own = counted(made, sources, null);
  const width = bytes / parameters;
  return near(width, own.bytes / own.parameters) ? null : width;
}

/**
 * layers, parameters, bytes: Python's where it has counted this very picture. memory: what the preview holds: every source
 * whole, since each of them speaks, and once every layer that is blended or in another dtype; layers kept whole are the
 * source's own. The final norm, and a head of its own, count with the embeddings. decode: bytes of weights read for a written
 * token, against the host alone.
 * @param {Sketch} sketch @param {readonly Source[]} sources
 * @param {Answer | null} [answer]  the last one: what dtype the recipe says @param {boolean} [exact]  it is of this picture
 * @returns {Costs}
 */
export function costsOf(sketch, sources, answer = null, exact = false) {
  const { made, ...drafted } = counted(sketch, sources, answer && widthOf(answer, sources));
  const { layers, parameters, bytes } = answer && exact ? answer : drafted;
  const host = sources[hostOf(sketch)];
  const held = sum(sources.map((source) => source.rest.bytes + sum(source.bytes)));
  return { layers, parameters, bytes, memory: held + made, decode: bytes / (host.rest.bytes + sum(host.bytes)) };
}
