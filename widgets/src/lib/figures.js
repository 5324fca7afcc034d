// @ts-check
// Numbers and tokens in words. At most three figures, a thin gap before the unit, a true minus.

const THIN = " ";

/** @param {number} value @param {number} [figures] */
function plain(value, figures = 3) {
  const text = value >= 1000 ? value.toFixed(0) : value.toPrecision(figures);
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

/** 408,896 as "409 k". @param {number} value */
export function count(value) {
  for (const [size, unit] of /** @type {const} */ ([[1e9, "B"], [1e6, "M"], [1e3, "k"]])) {
    if (value >= size) return `${plain(value / size)}${THIN}${unit}`;
  }
  return `${value}`;
}

/** Decimal megabytes, as disks count. @param {number} value bytes */
export function bytes(value) {
  for (const [size, unit] of /** @type {const} */ ([[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]])) {
    if (value >= size) return `${plain(value / size)}${THIN}${unit}`;
  }
  return `${value}${THIN}B`;
}

/** @param {number} value */
export function seconds(value) {
  if (value < 1) return `${plain(value * 1000, value < 0.01 ? 2 : 3)}${THIN}ms`;
  return `${value.toFixed(1)}${THIN}s`;
}

/** A probability as a percentage without its sign: 58, 4.1, 0.3, "<0.1". @param {number} value */
export function percent(value) {
  const of100 = value * 100;
  if (!Number.isFinite(of100)) return "–";
  if (of100 >= 9.95) return of100.toFixed(0);
  if (of100 >= 0.05) return of100.toFixed(1);
  return of100 > 0 ? "<0.1" : "0";
}

/** @param {number | null} value nats */
export function nats(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  return Math.abs(value) < 0.005 ? "0.00" : value.toFixed(value < 10 ? 2 : 1).replace("-", "−");
}

/** A token as a person can see it: the space in front, line ends and tabs get a mark. @param {string} token */
export function tokenLabel(token) {
  if (token === "") return "∅";
  return token.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length));
}
