// @ts-check
// One x for the middle column: stack and curve share it. A gutter, then equal columns, one per output layer.

export const GUTTER = 54;
export const SIDE = 44; // of it, under which the columns scroll away; the rest is air
const NARROWEST = 28; // below this the plots scroll sideways; text is never shrunk
const WIDEST = 120;
const BLOCK = 8; // columns come into the picture and leave it by so many

/** @typedef {ReturnType<typeof scaleOf>} Scale */

/**
 * @param {number} width of the panel, px @param {number} depth output layers @param {number} [spare] empty columns above them
 * @param {number} [left] px that the columns are scrolled by
 */
export function scaleOf(width, depth, spare = 0, left = 0) {
  const column = Math.min(WIDEST, Math.max(NARROWEST, (width - GUTTER) / Math.max(1, depth + spare)));
  // What is drawn: the columns in sight and half as many on either side, so that scrolling uncovers no empty ones.
  const aside = width / 2;
  const from = Math.max(0, BLOCK * Math.floor((left - aside) / column / BLOCK));
  const to = Math.min(depth, BLOCK * Math.ceil((left + width + aside) / column / BLOCK));
  return {
    column,
    depth,
    from: Math.min(from, to),
    to,
    /** px between the gutter and the right end of the panel. */
    sight: /** @type {const} */ ([left + GUTTER, left + width]),
    /** Left edge of output layer i. @param {number} i */
    x: (i) => GUTTER + i * column,
    /** Middle of output layer i. @param {number} i */
    middle: (i) => GUTTER + (i + 0.5) * column,
    /** The output layer under px, clamped. @param {number} px */
    layerAt: (px) => Math.min(depth - 1, Math.max(0, Math.floor((px - GUTTER) / column))),
    /** The border nearest px, 0..depth. @param {number} px */
    borderAt: (px) => Math.min(depth, Math.max(0, Math.round((px - GUTTER) / column))),
    width: GUTTER + (depth + spare) * column,
  };
}
