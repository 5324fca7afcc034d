// @ts-check
// Colours of a scale: read from the tokens of the theme that is on, mixed in OKLab, kept as 256 steps.

const STEPS = 256;
const DIVERGING = ["--ml-div-neg-2", "--ml-div-neg-1", "--ml-div-zero", "--ml-div-pos-1", "--ml-div-pos-2"];
const SEQUENTIAL = ["--ml-seq-0", "--ml-seq-1", "--ml-seq-2"];

/** @typedef {[red: number, green: number, blue: number]} Colour each 0 to 255 */
/** @typedef {[number, number, number]} Lab */

/** @param {number} value 0 to 255 */
const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
/** @param {number} value */
const coded = (value) => 255 * Math.min(1, Math.max(0, value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));

/** Björn Ottosson, "A perceptual color space for image processing", 2020. @param {Colour} colour @returns {Lab} */
export function toLab([red, green, blue]) {
  const [r, g, b] = [linear(red), linear(green), linear(blue)];
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/** @param {Lab} lab @returns {Colour} */
export function fromLab([light, a, b]) {
  const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    coded(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    coded(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    coded(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

/**
 * Steps from the first stop to the last, stops equally far apart.
 * @param {readonly Colour[]} stops @returns {Uint8ClampedArray} 256 times red, green, blue, opacity
 */
export function steps(stops) {
  const labs = stops.map(toLab);
  const table = new Uint8ClampedArray(STEPS * 4);
  for (let step = 0; step < STEPS; step += 1) {
    const along = (step / (STEPS - 1)) * (labs.length - 1);
    const from = Math.min(labs.length - 2, Math.floor(along));
    const part = along - from;
    const mixed = /** @type {Lab} */ (labs[from].map((value, i) => value + part * (labs[from + 1][i] - value)));
    table.set([...fromLab(mixed).map(Math.round), 255], step * 4);
  }
  return table;
}

/** The step of a place between 0 and 1. @param {number} place */
export const stepOf = (place) => Math.round(place * (STEPS - 1));

/**
 * What tokens look like now. They may be mixed from the host's colours, so the browser has to work them out.
 * @param {HTMLElement} root @param {readonly string[]} tokens @returns {Colour[]}
 */
export function coloursOf(root, tokens) {
  const probe = document.createElement("i");
  probe.hidden = true;
  root.append(probe);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const colours = tokens.map((token) => {
    probe.style.color = `var(${token})`;
    if (!context) return /** @type {Colour} */ ([0, 0, 0]);
    context.fillStyle = getComputedStyle(probe).color;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
    return /** @type {Colour} */ ([red, green, blue]);
  });
  probe.remove();
  return colours;
}

/** @typedef {{ diverging: Uint8ClampedArray, sequential: Uint8ClampedArray, hatch: Colour, blank: Colour, surface: Colour }} Ramps */

/** @param {HTMLElement} root @returns {Ramps} */
export function rampsOf(root) {
  const [hatch, blank, surface] = coloursOf(root, ["--ml-line-firm", "--ml-sunk", "--ml-surface"]);
  return { diverging: steps(coloursOf(root, DIVERGING)), sequential: steps(coloursOf(root, SEQUENTIAL)), hatch, blank, surface };
}
