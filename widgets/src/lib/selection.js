// @ts-check
// Selected layers: ascending numbers, seldom more than one run of them. What a press, a drag or a key makes of them.

/** @typedef {readonly [first: number, last: number]} Run */

/** Neighbouring numbers as runs, both ends included. @param {readonly number[]} sorted @returns {Run[]} */
export function runsOf(sorted) {
  /** @type {[number, number][]} */
  const runs = [];
  for (const each of sorted) {
    const last = runs[runs.length - 1];
    if (last && each === last[1] + 1) last[1] = each;
    else runs.push([each, each]);
  }
  return runs;
}

/** Ascending, each once. @param {readonly number[]} numbers */
export function ascending(numbers) {
  return [...numbers].sort((a, b) => a - b).filter((each, i, all) => each !== all[i - 1]);
}

/** "Layers 4–7 and 9". @param {readonly number[]} layers */
export function layersInWords(layers) {
  if (!layers.length) return "No layers selected";
  const words = runsOf(layers).map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`));
  const last = words.pop();
  return `${layers.length === 1 ? "Layer" : "Layers"} ${words.length ? `${words.join(", ")} and ${last}` : last}`;
}

/** @param {readonly number[]} one @param {readonly number[]} other */
export const same = (one, other) => one.length === other.length && one.every((each, i) => each === other[i]);

/** @param {number} a @param {number} b @returns {number[]} */
export function between(a, b) {
  const [from, to] = a < b ? [a, b] : [b, a];
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/**
 * Where a drag holds on, in columns: `anchor` stays, `others` are runs that are left alone.
 * A press near the edge of a run moves that edge; with Shift the nearest run grows to where the press is.
 * @param {readonly Run[]} runs in columns @param {number} px @param {import("./axis.js").Axis} axis @param {boolean} extend
 * @returns {{ anchor: number, others: Run[], edge: boolean }}
 */
export function grabbed(runs, px, axis, extend) {
  const reach = Math.min(6, axis.column / 3);
  for (const run of runs) {
    const others = runs.filter((each) => each !== run);
    if (Math.abs(px - axis.x(run[0])) <= reach) return { anchor: run[1], others, edge: true };
    if (Math.abs(px - axis.x(run[1] + 1)) <= reach) return { anchor: run[0], others, edge: true };
  }
  const at = axis.at(px);
  if (extend && runs.length) {
    const far = (/** @type {Run} */ [from, to]) => Math.max(from - at, at - to, 0);
    const run = runs.reduce((best, each) => (far(each) < far(best) ? each : best));
    return { anchor: at < run[0] ? run[1] : run[0], others: runs.filter((each) => each !== run), edge: true };
  }
  return { anchor: at, others: [], edge: false };
}

/**
 * Shift with an arrow: the run that ends at the cursor grows or shrinks by a column; elsewhere a new one begins there.
 * @param {readonly Run[]} runs in columns @param {number} at the cursor's column @param {number} by -1 or 1 @param {number} count of columns
 * @returns {{ at: number, run: Run }}
 */
export function grown(runs, at, by, count) {
  const to = Math.min(count - 1, Math.max(0, at + by));
  const run = runs.find(([from, last]) => from === at || last === at);
  const anchor = !run ? at : run[0] === at && run[1] === at ? at : run[0] === at ? run[1] : run[0];
  return { at: to, run: anchor < to ? [anchor, to] : [to, anchor] };
}
