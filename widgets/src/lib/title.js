// @ts-check
// What was done to get a stack, in a few words.

import { rangeOf } from "./sketch.js";

/** @typedef {import("./sketch.js").Sketch} Sketch */
/** @typedef {import("./sketch.js").Slice} Slice */

const RUNS = 3; // that are listed; more are counted

/** "a, b and c" @param {readonly string[]} words */
const listed = (words) => (words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}` : (words[0] ?? ""));
/** @param {number} times */
const often = (times) => (times === 2 ? "twice" : `${times} times`);

/** Runs of neighbours of which `found` says the same, where it says something. @param {readonly number[]} found  by layer @returns {{ start: number, layers: number, is: number }[]} */
function runsOf(found) {
  /** @type {{ start: number, layers: number, is: number }[]} */
  const runs = [];
  found.forEach((is, layer) => {
    const last = runs[runs.length - 1];
    if (!is) return;
    if (last && last.is === is && last.start + last.layers === layer) last.layers += 1;
    else runs.push({ start: layer, layers: 1, is });
  });
  return runs;
}

/** What became of the layers of the only source. @param {readonly number[]} homes bottom first @param {number} depth of the source */
function ownWords(homes, depth) {
  const uses = new Array(depth).fill(0);
  for (const home of homes) uses[home] += 1;
  const again = runsOf(uses.map((times) => (times > 1 ? times : 0)));
  const gone = runsOf(uses.map((times) => (times ? 0 : 1)));
  const ranges = (/** @type {typeof gone} */ runs) => runs.map(({ start, layers }) => rangeOf(start, layers));
  const without = gone.length > RUNS ? `without ${gone.reduce((sum, { layers }) => sum + layers, 0)} of its layers` : gone.length ? `without ${listed(ranges(gone))}` : "";
  if (again.length) {
    const told = again.length > RUNS ? `${again.reduce((sum, { layers }) => sum + layers, 0)} of them more than once` : listed(again.map(({ start, layers, is }) => `${rangeOf(start, layers)} ${often(is)}`));
    return [`, ${homes.length} layers: ${told}`, without].filter(Boolean).join(", ");
  }
  const moved = homes.some((home, i) => i > 0 && home < homes[i - 1]);
  return `${without ? ` ${without}` : ""}${moved ? ", in another order" : ""}`;
}

/** The methods of some slices, each once. @param {readonly Slice[]} slices @param {(method: string) => string} wordOf */
function methodsIn(slices, wordOf) {
  return [...new Set(slices.map(({ method }) => wordOf(method)))].join(", ");
}

/**
 * A name for the stack: the source that gives most layers, and what was done to it: layers of others put in, blended in, its
 * own repeated or left out.
 * @param {Sketch} sketch @param {readonly { name: string, layers: number }[]} sources @param {(method: string) => string} wordOf a method
 */
export function titleOf({ slices }, sources, wordOf) {
  const held = new Array(sources.length).fill(0);
  for (const { layers, parts } of slices) for (const { source } of parts) held[source] += layers / parts.length;
  const host = held.indexOf(Math.max(...held));
  const { name, layers: own } = sources[host];
  const depth = slices.reduce((sum, { layers }) => sum + layers, 0);
  const blends = slices.filter(({ parts }) => parts.length > 1);
  const blended = [...new Set(blends.flatMap(({ parts }) => parts.map(({ source }) => source)))].sort((a, b) => a - b);
  const deeper = depth === own ? "" : `, ${depth} layers`;
  if (blends.length === slices.length) return `${listed(blended.map((source) => sources[source].name))} blended (${methodsIn(blends, wordOf)})${deeper}`;

  const plain = slices.filter(({ parts }) => parts.length === 1);
  const guests = plain.filter(({ parts }) => parts[0].source !== host).map(({ layers, parts: [{ source, start }] }) => ({ source, range: rangeOf(start, layers) }));
  if (!guests.length && !blends.length) return `${name}${ownWords(slices.flatMap(({ layers, parts: [{ start }] }) => Array.from({ length: layers }, (_, i) => start + i)), own)}`;
  const others = [...new Set(guests.map(({ source }) => source))];
  const ranges = (/** @type {number} */ source) => guests.filter((each) => each.source === source).map(({ range }) => range);
  const told = others.map((source) => `${sources[source].name} ${guests.length > RUNS ? `in ${ranges(source).length} place${ranges(source).length === 1 ? "" : "s"}` : listed(ranges(source))}`);
  const into = blended.filter((source) => source !== host).map((source) => sources[source].name);
  const borders = slices.map((_, i) => slices.slice(0, i).reduce((sum, { layers }) => sum + layers, 0));
  const where = slices.flatMap(({ layers, parts }, i) => (parts.length > 1 ? [rangeOf(borders[i], layers)] : []));
  const blend = blends.length ? `${listed(into)} blended in at ${where.length > RUNS ? `${where.length} places` : listed(where)} (${methodsIn(blends, wordOf)})` : "";
  return `${name}${guests.length ? ` with ${listed(told)}` : ""}${blend ? `${guests.length ? ", " : " with "}${blend}` : ""}${deeper}`;
}
