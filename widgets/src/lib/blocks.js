// @ts-check
// The stack as data: blocks [source, start, end) in order, one coefficient per output layer. Pure functions; an edit
// that would leave the sources' layers is clamped, one that cannot be done returns the same value.

/** @typedef {[source: number, start: number, end: number]} Block */
/** @typedef {{ source: number, home: number, block: number }} Layer  one output layer: whose, which one there, in which block */

/** @param {readonly Block[]} blocks @returns {Layer[]} */
export function layersOf(blocks) {
  return blocks.flatMap(([source, start, end], block) =>
    Array.from({ length: end - start }, (_, i) => ({ source, home: start + i, block })),
  );
}

/** First output layer of every block, and the depth at the end. @param {readonly Block[]} blocks */
export function bordersOf(blocks) {
  const borders = [0];
  for (const [, start, end] of blocks) borders.push(borders[borders.length - 1] + end - start);
  return borders;
}

/**
 * Move the border after block `index` by `by` output layers: the left block grows at its end by as many layers as the
 * right one loses at its start, so the depth of the stack stays. Clamped so that both keep one layer and stay inside
 * their sources.
 * @param {readonly Block[]} blocks @param {number} index @param {number} by @param {readonly number[]} depths
 * @returns {Block[]}
 */
export function moveBorder(blocks, index, by, depths) {
  const [left, right] = [blocks[index], blocks[index + 1]];
  if (!left || !right) return [...blocks];
  const low = Math.max(left[1] + 1 - left[2], -right[1]);
  const high = Math.min(depths[left[0]] - left[2], right[2] - 1 - right[1]);
  const step = Math.min(Math.max(by, low), Math.max(high, low));
  const moved = [...blocks];
  moved[index] = [left[0], left[1], left[2] + step];
  moved[index + 1] = [right[0], right[1] + step, right[2]];
  return moved;
}

/**
 * Give a block to another source, same layers. Null where that source is not deep enough.
 * @param {readonly Block[]} blocks @param {number} index @param {number} source @param {readonly number[]} depths
 * @returns {Block[] | null}
 */
export function giveTo(blocks, index, source, depths) {
  if (blocks[index][2] > depths[source]) return null;
  return blocks.map((block, i) => (i === index ? [source, block[1], block[2]] : block));
}

/** Cut a block in two in front of output layer `at`. @param {readonly Block[]} blocks @param {number} at @returns {Block[] | null} */
export function splitAt(blocks, at) {
  const borders = bordersOf(blocks);
  const index = blocks.findIndex((_, i) => borders[i] < at && at < borders[i + 1]);
  if (index < 0) return null;
  const [source, start, end] = blocks[index];
  const cut = start + at - borders[index];
  return [...blocks.slice(0, index), [source, start, cut], [source, cut, end], ...blocks.slice(index + 1)];
}

/** Take a block out; the last one stays. @param {readonly Block[]} blocks @param {number} index @returns {Block[] | null} */
export function without(blocks, index) {
  return blocks.length > 1 ? blocks.filter((_, i) => i !== index) : null;
}

/**
 * Coefficients after an edit: a layer that is still there keeps its number (its n-th occurrence keeps the n-th one),
 * a layer of another source at the same place takes the number of that place, a new one is 1.
 * @param {readonly number[]} coefficient @param {readonly Block[]} before @param {readonly Block[]} after @returns {number[]}
 */
export function refit(coefficient, before, after) {
  const [old, now] = [layersOf(before), layersOf(after)];
  if (old.length === now.length) return [...coefficient];
  /** @type {Map<string, number[]>} */
  const kept = new Map();
  old.forEach(({ source, home }, i) => {
    const key = `${source}:${home}`;
    kept.set(key, [...(kept.get(key) ?? []), coefficient[i] ?? 1]);
  });
  return now.map(({ source, home }) => kept.get(`${source}:${home}`)?.shift() ?? 1);
}

/** How much of an output layer is its source's own, the rest being the base's: passthrough blends nothing, and the base
 * is the base. @param {number} source @param {number | undefined} coefficient @param {string} method */
export function ownShare(source, coefficient, method) {
  return source === 0 || method === "passthrough" ? 1 : Math.min(1, Math.max(0, coefficient ?? 1));
}

/** How many of the stack's layers each source holds, counting how much of a layer is blended in over the base.
 * @param {readonly Block[]} blocks @param {readonly number[]} coefficient @param {string} method @param {number} sources
 * @returns {number[]} shares, sum 1 */
export function sharesOf(blocks, coefficient, method, sources) {
  const shares = new Array(sources).fill(0);
  const layers = layersOf(blocks);
  layers.forEach(({ source }, i) => {
    const own = ownShare(source, coefficient[i], method);
    shares[source] += own / layers.length;
    shares[0] += (1 - own) / layers.length;
  });
  return shares;
}

/** "4–7", or "4" for one layer. @param {Block} block */
export function rangeOf([, start, end]) {
  return end - start === 1 ? `${start}` : `${start}–${end - 1}`;
}

/**
 * A name for the stack: the host, with the runs of others put into it.
 * @param {readonly Block[]} blocks @param {readonly string[]} names
 */
export function titleOf(blocks, names) {
  const held = new Array(names.length).fill(0);
  for (const [source, start, end] of blocks) held[source] += end - start;
  const host = held.indexOf(Math.max(...held));
  const guests = blocks.filter(([source]) => source !== host);
  if (!guests.length) return names[host];
  const shown = guests.slice(0, 2).map((block) => `${names[block[0]]} ${rangeOf(block)}`);
  const rest = guests.length > 2 ? ` and ${guests.length - 2} more` : "";
  return `${names[host]} with ${shown.join(", ")}${rest}`;
}
