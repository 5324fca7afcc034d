// @ts-check
// Numbers and tokens in words. At most three figures, a thin gap before the unit, a true minus.

const THIN = " ";

/** To so many figures, never with an exponent. @param {number} value @param {number} [figures] */
function plain(value, figures = 3) {
  return value >= 1000 ? value.toFixed(0) : `${Number(value.toPrecision(figures))}`;
}

/** In the largest unit of which there is one, as rounded: 999,600 is "1 M", not a thousand k.
 * @param {number} value @param {readonly (readonly [size: number, unit: string])[]} units largest first */
function inUnits(value, units) {
  const [size, unit] = units.find(([each]) => Number((value / each).toPrecision(3)) >= 1) ?? [1, ""];
  return size === 1 ? null : `${plain(value / size)}${THIN}${unit}`;
}

/** 408,896 as "409 k". @param {number} value */
export function count(value) {
  return inUnits(value, [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) ?? `${value}`;
}

/** 408896 as "408,896". The page's own way to say it reads tables of languages first, which takes as long as drawing a panel.
 * @param {number} value whole */
export function inThousands(value) {
  return `${value}`.replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Decimal megabytes, as disks count. @param {number} value bytes */
export function bytes(value) {
  return inUnits(value, [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) ?? `${value}${THIN}B`;
}

/** @param {number} value */
export function seconds(value) {
  const ms = Number((value * 1000).toPrecision(value < 0.01 ? 2 : 3));
  if (ms >= 1000) return `${value.toFixed(1)}${THIN}s`;
  return `${ms > 0 && ms < 0.001 ? "<0.001" : ms}${THIN}ms`;
}

/** A probability as a percentage without its sign: 58, 4.1, 0.3, "<0.1"; a dash where there is none.
 * @param {number | null} value */
export function percent(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  const of100 = value * 100;
  if (of100 >= 9.95) return of100.toFixed(0);
  if (of100 >= 0.05) return of100.toFixed(1);
  return of100 > 0 ? "<0.1" : "0";
}

/** @param {number | null} value nats */
export function nats(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  return Math.abs(value) < 0.005 ? "0.00" : value.toFixed(value < 9.995 ? 2 : 1).replace("-", "−");
}

/** A token as a person can see it: the space in front, line ends and tabs get a mark. @param {string} token */
export function tokenLabel(token) {
  if (token === "") return "∅";
  return token.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length));
}

/** A change with its sign: +2, −0.04. @param {number} value @param {number} [figures] */
export function signed(value, figures = 3) {
  const size = plain(Math.abs(value), figures);
  return Number(size) === 0 ? "±0" : `${value < 0 ? "−" : "+"}${size}`;
}

/** A figure of any size, with a true minus; a dash where there is none. @param {number | null} value @param {number} [figures] at most */
export function figure(value, figures = 3) {
  if (value === null || !Number.isFinite(value)) return "–";
  return `${value < 0 ? "−" : ""}${plain(Math.abs(value), figures)}`;
}

/**
 * How far a measurement is, and what is being done before and after all that is counted.
 * @param {{ done: number, total: number }} so
 */
export function reached({ done, total }) {
  if (total <= 0) return "opening the models";
  return done < total ? `${done} of ${total}` : "all read, working it out";
}
