// @ts-check
// The coefficient over depth, as numbers: c(layer) says how much of a block's source is blended over the base there.

/** To two decimals, inside 0 and 1. @param {number} value */
export function settle(value) {
  return Math.round(Math.min(1, Math.max(0, value)) * 100) / 100;
}

/** Which output layers the coefficient acts on: a layer of the base itself stays the base whatever it says.
 * @param {readonly { source: number }[]} layers */
export function bendable(layers) {
  return layers.map(({ source }) => source !== 0);
}

/** @param {readonly number[]} curve @param {readonly boolean[]} free @returns {number | null} */
export function meanOf(curve, free) {
  const values = curve.filter((_, i) => free[i]);
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}

/**
 * Turn the dial: move the whole curve so that its mean is `mean`, keeping its shape as far as 0 and 1 allow. Upwards
 * every number covers the same part of its way to 1, downwards of its way to 0, so both ends are reached exactly and
 * turning back from the same start undoes it.
 * @param {readonly number[]} curve @param {readonly boolean[]} free @param {number} mean @returns {number[]}
 */
export function turnTo(curve, free, mean) {
  const from = meanOf(curve, free);
  if (from === null) return [...curve];
  return curve.map((value, i) => {
    if (!free[i]) return value;
    if (mean >= from) return from === 1 ? 1 : settle(value + ((1 - value) * (mean - from)) / (1 - from));
    return settle((value * mean) / from);
  });
}

/** One number changed. @param {readonly number[]} curve @param {number} layer @param {number} value @returns {number[]} */
export function bend(curve, layer, value) {
  return curve.map((old, i) => (i === layer ? settle(value) : old));
}

/** @param {readonly (readonly [number, number])[]} points */
export function pathOf(points) {
  return points.length ? `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}` : "";
}
