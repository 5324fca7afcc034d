// @ts-check
// Where things stand in a plot: columns in x, one for each layer; values in y; labels that do not touch.

/** @typedef {ReturnType<typeof axisOf>} Axis */

/** A gutter, equal columns, room on the right. @param {number} gutter @param {number} width px @param {number} count @param {number} [right] */
export function axisOf(gutter, width, count, right = 0) {
  const column = Math.max(1, width - gutter - right) / Math.max(1, count);
  return {
    gutter,
    column,
    count,
    end: gutter + column * count,
    /** Left edge. @param {number} i */
    x: (i) => gutter + i * column,
    /** @param {number} i */
    middle: (i) => gutter + (i + 0.5) * column,
    /** The column under px, held inside. @param {number} px */
    at: (px) => Math.min(count - 1, Math.max(0, Math.floor((px - gutter) / column))),
  };
}

/** Every how many columns a number fits: 1, 2, 5, 10, ... @param {number} column px @param {number} wide px of the widest number */
export function strideOf(column, wide) {
  for (let ten = 1; ; ten *= 10) {
    for (const step of [1, 2, 5]) if (step * ten * column >= wide) return step * ten;
  }
}

/**
 * Round values on an axis, and the small marks between. On a log axis 1 and 3 of each decade, or decades only where
 * there are many; on a linear one steps of 1, 2 or 5.
 * @param {[number, number]} range @param {boolean} log @returns {{ major: number[], minor: number[] }}
 */
export function ticksOf([low, high], log) {
  if (!log) {
    const raw = (high - low) / 4;
    const ten = 10 ** Math.floor(Math.log10(raw));
    const step = ten * ([1, 2, 5, 10].find((each) => each * ten >= raw) ?? 10);
    const first = Math.ceil(low / step - 1e-9);
    const last = Math.floor(high / step + 1e-9);
    return { major: Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12))), minor: [] };
  }
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / 6));
  /** @type {number[]} */
  const major = [];
  /** @type {number[]} */
  const minor = [];
  for (let exponent = Math.floor(Math.log10(low)); exponent <= Math.ceil(Math.log10(high)); exponent += 1) {
    for (let digit = 1; digit < 10; digit += 1) {
      const value = Number((digit * 10 ** exponent).toPrecision(6));
      if (value < low * 0.999999 || value > high * 1.000001) continue;
      if (digit === 1 ? exponent % every === 0 : decades < 3 && (digit === 3 || (decades < 1 && (digit === 2 || digit === 5)))) major.push(value);
      else if (decades < 4) minor.push(value);
    }
  }
  return { major, minor };
}

/**
 * Places as near to those wished for as they can be with `gap` between neighbours, inside [low, high].
 * @param {readonly number[]} wished @param {number} gap @param {number} low @param {number} high @returns {number[]}
 */
export function apart(wished, gap, low, high) {
  const order = wished.map((_, i) => i).sort((a, b) => wished[a] - wished[b]);
  const placed = order.map((i) => Math.min(high, Math.max(low, wished[i])));
  // Pushed down from the top, then up from the bottom; each group settles round its own middle.
  for (let round = 0; round < 8; round += 1) {
    for (let i = 1; i < placed.length; i += 1) {
      const short = gap - (placed[i] - placed[i - 1]);
      if (short > 0) {
        placed[i - 1] -= short / 2;
        placed[i] += short / 2;
      }
    }
  }
  for (let i = 0; i < placed.length; i += 1) placed[i] = Math.max(placed[i], i ? placed[i - 1] + gap : low);
  for (let i = placed.length - 1; i >= 0; i -= 1) placed[i] = Math.min(placed[i], i < placed.length - 1 ? placed[i + 1] - gap : high);
  const out = [...wished];
  order.forEach((i, rank) => (out[i] = placed[rank]));
  return out;
}
