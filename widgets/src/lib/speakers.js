// @ts-check
// Who speaks: the merged model, 0, always in ink, and the sources after it, each in its colour.

import { hue } from "./swatches.js";

/** @typedef {readonly import("./draft.js").Source[]} Sources */

/** @param {number} speaker */
export const colourOf = (speaker) => (speaker === 0 ? "var(--ml-merged)" : `var(${hue(speaker - 1)})`);

/** @param {number} speaker */
export const inkOf = (speaker) => (speaker === 0 ? "var(--ml-ink)" : `var(${hue(speaker - 1)}-text)`);

/** @param {Sources} sources @param {number} speaker */
export const nameOf = (sources, speaker) => (speaker === 0 ? "Merged" : sources[speaker - 1].name);

/** Names where there is room for all of them, else codes. @param {Sources} sources @param {number} speaker */
export function shortOf(sources, speaker) {
  if (speaker === 0) return "merged";
  const room = sources.length <= 3 && sources.every(({ name }) => name.length <= 7);
  return sources[speaker - 1][room ? "name" : "code"];
}
