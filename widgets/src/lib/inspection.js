// @ts-check
// What Python and the browser say to each other in the inspector, and what every part of the picture reads.

/** @typedef {import("./panels.js").Panel} Panel */
/**
 * @typedef {{ id: string, label: string, chosen: boolean, sources?: number[] }} Choice  sources: by place, for their swatches
 * @typedef {{ value: number, low: number, high: number, curve: number[], text: string }} Density  curve: 0 to 1, evenly from low to high
 * @typedef {"statistic" | "conflict" | "drift" | "between"} Variant what a figure shows of what was measured
 * @typedef {{ density?: Density | null, pairs?: Choice[], sources?: Choice[], against?: Choice[], prompts?: Choice[], variants?: { [name in Variant]?: Choice[] } }} Dials
 * @typedef {{ label: string, here: string, elsewhere: string }} Row
 * @typedef {{ facts?: [label: string, value: string][], pairs?: string, density?: string, readout?: string }} Words
 */
/**
 * Written by Python: panels, strip, dials, readout, words, busy, error. Written by the browser: turned, asked, and
 * selection, which Python may set as well.
 * @typedef {object} State
 * @property {Panel[]} panels
 * @property {{ name: string, code: string, layers: number }[]} strip
 * @property {Dials} dials
 * @property {Row[]} readout
 * @property {Words} words
 * @property {{ text: string, done: number, total: number } | null} busy
 * @property {string} error
 * @property {{ layers: number[] }} selection
 * @property {{ density?: number, pair?: string, source?: string, against?: string, prompt?: string } & { [name in Variant]?: string }} turned
 * @property {{ stop: number, measure: number }} asked
 */
/** @typedef {import("@anywidget/types").AnyModel<State>} Model */

/**
 * What is under the pointer or the keyboard's cursor.
 * @typedef {{ panel: string, kind: Panel["kind"], row: number, name: string, column: number, layer: number | null }} Spot
 * @typedef {object} Scene what every panel reads when it draws
 * @property {string} id of this view, for the ids of its elements
 * @property {string[]} sources names, in the order of their colours
 * @property {string} chosen name of the source that is shown by itself; empty where there is no choice
 * @property {readonly number[]} layers selected, ascending
 * @property {Spot | null} spot
 */

/**
 * What a dial can be turned to.
 * @param {Dials} dials @param {string} name @returns {readonly Choice[]}
 */
export function choicesOf({ pairs, sources, against, prompts, variants }, name) {
  return { pair: pairs, source: sources, against, prompt: prompts, ...variants }[name] ?? [];
}

/**
 * What the hand has turned and Python does not say yet: until it does, the dials stay as the hand left them.
 * @param {State["turned"]} turned @param {State["dials"]} dials @returns {State["turned"]}
 */
export function unanswered(turned, dials) {
  const open = Object.entries(turned).filter(([name, value]) => {
    if (name === "density") return dials.density?.value !== value;
    return !choicesOf(dials, name).some(({ id, chosen }) => chosen && id === value);
  });
  return Object.fromEntries(open);
}
