// @ts-check
// A panel as Python hands it over: names, numbers as buffers, sentences. And the numbers taken out of their buffers.

/**
 * A matrix of float32, row after row. `view` is a DataView; text is base64, for hosts that lose buffers.
 * @typedef {{ view: DataView | string, dtype: "float32", shape: [number, number] }} Packed
 * @typedef {number | Packed} Bound one number for all cells, or one for each
 */
/**
 * @typedef {object} Panel
 * @property {string} id stays the same while the panel is measured again
 * @property {"lines" | "heat" | "tokens" | "sinks"} kind
 * @property {string} title
 * @property {string} unit as Measure.unit; "1" is none, "x chance" is written 1.36×
 * @property {"log" | "linear" | "diverging"} scale
 * @property {number} middle the value of no effect, for a diverging scale
 * @property {string[]} rows sources, modules or tokens
 * @property {string[]} columns layers by number; what is no number ("embedding") cannot be selected
 * @property {string} of what was measured
 * @property {string} shows first sentence of the caption
 * @property {string} chance empty: not measured
 * @property {string} so empty: nothing can be said
 * @property {string} note what was left out and why; why a cell is NaN
 * @property {string} formula the long form, shown on request
 * @property {string} [reading] what a small, a usual and a large value mean; shown on request
 * @property {number | null} low end of the range; null: of the data
 * @property {number | null} high
 * @property {Packed | null} values shape (rows, columns); null until something is measured
 * @property {{ low: Packed, high: Packed } | null} [band] for lines: where 5 and 95 % of the tokens lie
 * @property {[column: number, value: number, row: number][] | null} [points] sinks, for lines
 * @property {{ low: Bound, high: Bound } | null} [chanceband] NaN where chance is not known
 * @property {{ low: Packed, high: Packed } | null} [chances] for lines: each one's own, where the band is the first one's
 * @property {(string | number | null)[][] | null} [cells] kind "sinks": a table under `columns`, one list for each row
 * @property {boolean} wide
 * @property {"waiting" | "measuring" | "done" | "stopped" | "failed"} state
 * @property {number} done
 * @property {number} total
 * @property {number} seconds
 */
/** @typedef {{ rows: number, columns: number, at: (row: number, column: number) => number }} Values */
/** @typedef {{ low: number, high: number, outside: boolean }} Against a value against what chance alone gives */

/** @param {string} text base64 */
function decoded(text) {
  const letters = atob(text);
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
}

/**
 * The numbers of a buffer, which may lie anywhere in a message; NaN where there are none.
 * @param {Packed | null | undefined} packed @returns {Values}
 */
export function unpack(packed) {
  if (!packed) return { rows: 0, columns: 0, at: () => Number.NaN };
  const [rows, columns] = packed.shape;
  const numbers = new Float32Array(bytesOf(packed).slice().buffer, 0, rows * columns);
  return { rows, columns, at: (row, column) => (row < rows && column < columns ? numbers[row * columns + column] : Number.NaN) };
}

/** @param {Packed} packed */
function bytesOf({ view }) {
  return typeof view === "string" ? decoded(view) : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/**
 * Whether two panels look the same. All panels come in one message; while a dial is turned few of them are new.
 * @param {Panel} one @param {Panel} other
 */
export function alike(one, other) {
  if (JSON.stringify(one) !== JSON.stringify(other)) return false;
  const buffers = (/** @type {Panel} */ panel) => [panel.values, panel.band?.low, panel.band?.high, panel.chanceband?.low, panel.chanceband?.high, panel.chances?.low, panel.chances?.high].flatMap((each) => (each && typeof each === "object" ? [bytesOf(each)] : []));
  const others = buffers(other);
  return buffers(one).every((bytes, i) => bytes.length === others[i]?.length && bytes.every((byte, at) => byte === others[i][at]));
}

/** @param {Bound} bound @returns {(row: number, column: number) => number} */
export function boundOf(bound) {
  return typeof bound === "number" ? () => bound : unpack(bound).at;
}

/**
 * Each value against chance; null where one of both is not known.
 * @param {Panel} panel @param {Values} values @returns {(row: number, column: number) => Against | null}
 */
export function againstChance({ chanceband }, values) {
  if (!chanceband) return () => null;
  const [lows, highs] = [boundOf(chanceband.low), boundOf(chanceband.high)];
  return (row, column) => {
    const [value, low, high] = [values.at(row, column), lows(row, column), highs(row, column)];
    return [value, low, high].some(Number.isNaN) ? null : { low, high, outside: value < low || value > high };
  };
}

/** The layer a column stands for, or null. @param {string} column */
export function layerOf(column) {
  return /^\d+$/.test(column) ? Number(column) : null;
}

/** @param {Values} values @returns {[low: number, high: number] | null} of what is finite */
export function extentOf(values) {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let row = 0; row < values.rows; row += 1) {
    for (let column = 0; column < values.columns; column += 1) {
      const value = values.at(row, column);
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return low <= high ? [low, high] : null;
}

/**
 * The ends of a panel's colours. A diverging range is as wide on both sides of its middle, so that the same colour is
 * the same distance from no effect; a linear one of sizes begins at zero.
 * @param {Panel} panel @param {Values} values @returns {[low: number, high: number]}
 */
export function rangeOf(panel, values) {
  const [least, most] = extentOf(values) ?? [panel.scale === "log" ? 1 : 0, 1];
  let low = panel.low ?? (panel.scale === "linear" ? Math.min(0, least) : least);
  let high = panel.high ?? most;
  if (panel.scale === "diverging") {
    const reach = Math.max(high - panel.middle, panel.middle - low) || 1;
    return [panel.middle - reach, panel.middle + reach];
  }
  if (panel.scale === "log") {
    low = Math.max(low, high * 1e-6, 1e-30);
    high = Math.max(high, low * 1.001);
  }
  return high > low ? [low, high] : [low, low + 1];
}

/**
 * Where a value lies in its range, 0 to 1, held inside; NaN stays NaN.
 * @param {number} value @param {[number, number]} range @param {Panel["scale"]} scale
 */
export function placeOf(value, [low, high], scale) {
  if (Number.isNaN(value)) return Number.NaN;
  const place = scale === "log" ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
  return Math.min(1, Math.max(0, place));
}
