// @ts-check
// What a stack costs, counted from the sizes of its sources' layers, so that it can be told while the hand moves.

/** @typedef {import("./draft.js").Sketch} Sketch */
/** @typedef {import("./draft.js").Source} Source */
/** @typedef {{ layers: number, parameters: number, bytes: number, memory: number, decode: number }} Costs */

const sum = (/** @type {readonly number[]} */ values) => values.reduce((all, value) => all + value, 0);

/** The source that gives the config, the embeddings and the head. @param {Sketch} sketch */
export const hostOf = ({ base, slices }) => base ?? slices[0].parts[0].source;

/**
 * memory: what the preview holds: every source whole, since each of them speaks, and once every blended layer; layers kept
 * whole are the source's own. decode: bytes of weights read for a written token, against the host alone.
 * @param {Sketch} sketch @param {readonly Source[]} sources @returns {Costs}
 */
export function costsOf(sketch, sources) {
  const host = sources[hostOf(sketch)];
  let [layers, parameters, bytes, made] = [0, host.rest.parameters, host.rest.bytes, 0];
  for (const { method, base, parts, layers: long } of sketch.slices) {
    // All parts of a layer are of one size, but where they are widened: then it is the base's.
    const { source, start } = parts.find((part) => part.source === (base ?? sketch.base)) ?? parts[0];
    const size = sum(sources[source].bytes.slice(start, start + long));
    layers += long;
    parameters += sum(sources[source].parameters.slice(start, start + long));
    bytes += size;
    if (method !== "passthrough" || Object.keys(parts[0].numbers).length) made += size;
  }
  const alone = host.rest.bytes + sum(host.bytes);
  const held = sum(sources.map((source) => source.rest.bytes + sum(source.bytes)));
  return { layers, parameters, bytes, memory: held + made, decode: bytes / alone };
}
