// @ts-check
// A value in words: at most three figures, its unit after a thin gap that no line breaks at, a true minus, a sign on what has a middle.

/** @typedef {import("./panels.js").Panel} Panel */
/** @typedef {import("./panels.js").Against} Against */

const THIN = "\u202f";

/** @param {number} value */
function figures(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 0.0005) {
    const [digits, power] = size.toExponential(1).split("e");
    return `${digits}·10${[...`${Number(power)}`].map((each) => (each === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(each)])).join("")}`;
  }
  if (size >= 100) return size.toFixed(0);
  return size.toFixed(size >= 10 ? 1 : size >= 0.095 ? 2 : 3);
}

/** Without a unit, as on an axis. @param {number} value */
export function bare(value) {
  return `${value < 0 ? "−" : ""}${Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 0.0005) ? figures(value) : Number(Math.abs(value).toPrecision(3))}`;
}

/** @param {string} words @param {string} unit as Measure.unit */
function withUnit(words, unit) {
  if (unit === "1" || unit === "") return words;
  if (unit === "x" || unit.startsWith("x ")) return `${words}×`;
  return `${words}${THIN}${unit}`;
}

/** @param {number} value @param {Pick<Panel, "unit" | "scale" | "middle">} panel */
export function quantity(value, panel) {
  if (Number.isNaN(value)) return "no value";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "−infinite";
  const signed = panel.scale === "diverging" && panel.middle === 0;
  const words = figures(value);
  const zero = Number(words) === 0;
  return withUnit(`${zero ? "" : value < 0 ? "−" : signed ? "+" : ""}${words}`, panel.unit);
}

/** An end of a colour key. @param {number} value @param {Pick<Panel, "unit" | "scale" | "middle">} panel */
export function bound(value, panel) {
  const signed = panel.scale === "diverging" && panel.middle === 0 && value > 0;
  return withUnit(`${signed ? "+" : ""}${bare(value)}`, panel.unit);
}

/**
 * A value, and where chance alone would put it.
 * @param {number} value @param {Pick<Panel, "unit" | "scale" | "middle">} panel @param {Against | null} against
 */
export function withChance(value, panel, against) {
  const words = quantity(value, panel);
  if (!against) return words;
  return `${words}, ${against.outside ? "outside" : "within"} chance ${bare(against.low)} to ${bound(against.high, panel)}`;
}
