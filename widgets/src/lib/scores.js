// @ts-check
// Scores as numbers and paths: what changed since the turn before, how far the best source and the stack without its
// grafts are, and a line through the turns.

/** @typedef {import("./draft.js").ScoreRow} ScoreRow */
/** @typedef {{ name: string, value: number, note?: string }} Known  a control that has a value */

export const SKIP = "skip"; // the control that is the same stack without what was put in

/** @param {ScoreRow} row @returns {[turn: number, value: number][]} the turns it is known of, oldest first */
export const knownOf = ({ past }) => /** @type {[number, number][]} */ (past.filter(([, value]) => value !== null));

/**
 * What it is since the turn before it; null where there is none.
 * @param {ScoreRow} row @param {number | null} [turn]  of the value; null: it is of none yet; by default the last
 * @returns {{ by: number, turn: number } | null}
 */
export function changeOf(row, turn) {
  const known = knownOf(row);
  const last = known.at(-1);
  if (turn === null) return row.value !== null && last ? { by: row.value - last[1], turn: last[0] } : null;
  const at = turn === undefined ? known.length - 1 : known.findIndex(([each]) => each === turn);
  const [now, before] = [known[at], known[at - 1]];
  return now && before ? { by: now[1] - before[1], turn: before[0] } : null;
}

/** The best of the sources. @param {ScoreRow} row @returns {Known | null} */
export function parentOf({ better, controls }) {
  const known = /** @type {Known[]} */ (controls.filter(({ name, value }) => name !== SKIP && value !== null));
  const sign = better === "lower" ? -1 : 1;
  return known.length ? known.reduce((best, each) => (sign * each.value > sign * best.value ? each : best)) : null;
}

/** @param {ScoreRow} row @returns {Known | null} */
export function skipOf({ controls }) {
  const skip = controls.find(({ name }) => name === SKIP);
  return skip && skip.value !== null ? /** @type {Known} */ (skip) : null;
}

const LEAST = { spreads: 4, part: 0.01 }; // that a picture's height stands for, so that noise does not look like news

/**
 * Where a value lies in a picture: all of the row's values and controls fit, with a margin of 4 px. The height stands for four
 * spreads and a hundredth of the values at least; the spread is a band.
 * @param {ScoreRow} row @param {number} width @param {number} height
 */
export function plotOf(row, width, height) {
  const known = knownOf(row);
  const all = [...known.map(([, value]) => value), row.value ?? undefined, parentOf(row)?.value, skipOf(row)?.value].filter((value) => value !== undefined);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const span = Math.max(most - least, LEAST.spreads * (row.spread ?? 0), LEAST.part * Math.max(Math.abs(least), Math.abs(most)));
  const high = (least + most + span) / 2;
  const y = (/** @type {number} */ value) => (span > 0 ? 4 + ((high - value) / span) * (height - 8) : height / 2);
  const x = (/** @type {number} */ index) => (known.length > 1 ? 3 + (index / (known.length - 1)) * (width - 9) : width - 6);
  return { y, points: known.map(([, value], i) => /** @type {[number, number]} */ ([x(i), y(value)])) };
}
