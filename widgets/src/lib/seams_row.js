// @ts-check
// Where slices meet: what the inspector measured there, against what the same layers see at home. A measurement that is not
// of this picture says so; one that is missing leaves a hollow mark.

import { h, label, pool, s, say } from "./dom.js";
import { watcher } from "./keeping.js";
import { basePart } from "./mixing.js";
import { AXIS, FLOOR, TOP } from "./stack_picture.js";
import { hatch } from "./swatches.js";

/** @typedef {import("./sketch.js").Sketch} Sketch */
/** @typedef {import("./draft.js").Seam} Measured */
/** @typedef {{ at: number, below: string, above: string, measured: Measured | null, stale: boolean }} Seam */

export const SEAMS = 60; // px under the axis
export const ROW = FLOOR + AXIS + 14; // y of the gauges
const GAUGE = 46;
const WIDEST = Math.log(2.2); // of the gauge, to each side of one: norm ratios beyond stand at its end

const EXPLAINED =
  "Norm and cosine: of states at both ends of what was put in, against the same layers at home, on average; the sentence gives the end that is further off. " +
  "Fréchet distance: how far apart two clouds of states are, by their middles and spreads; 0 where they are alike.";

const EMBEDDINGS = "embeddings";
const HEAD = "final norm";

/**
 * Borders where a layer does not follow the one below it at home, as inspection/borders.py finds them.
 * @param {Sketch} sketch @param {readonly import("./draft.js").Source[]} sources @param {readonly import("./mixing.js").Method[]} methods
 * @returns {{ at: number, below: string, above: string }[]}
 */
export function bordersApart(sketch, sources, methods) {
  const ends = sketch.slices.map((slice) => {
    const { layers, method } = slice;
    const base = basePart(sketch, slice, methods);
    // The base first: in the recipe it has no place among the others.
    const parts = base < 0 ? slice.parts : [slice.parts[base], ...slice.parts.filter((_, p) => p !== base)];
    const home = parts[0];
    const name = (/** @type {number} */ index) => `${sources[home.source].name} ${home.start + index}`;
    return { parts, layers, method, home, first: name(0), last: name(layers - 1) };
  });
  const found = [];
  let at = 0;
  if (ends[0].home.start > 0) found.push({ at, below: EMBEDDINGS, above: ends[0].first });
  for (let i = 1; i < ends.length; i += 1) {
    const [below, above] = [ends[i - 1], ends[i]];
    at += below.layers;
    const [one, other] = [below.parts, above.parts];
    const alike = other.length === 1 || below.method === above.method;
    const follows = alike && one.length === other.length && other.every(({ source, start }, p) => one[p].source === source && one[p].start + below.layers === start);
    if (!follows) found.push({ at, below: below.last, above: above.first });
  }
  const top = ends[ends.length - 1];
  if (top.home.start + top.layers < sources[top.home.source].layers) found.push({ at: at + top.layers, below: top.last, above: HEAD });
  return found;
}

/** The seams of the picture with what is known of each. @param {import("./draft.js").Draft} draft @returns {Seam[]} */
export function seamsOf({ sketch, sources, methods, seams, answer, state }) {
  const fresh = state === "exact" && seams?.recipe === answer?.recipe;
  return bordersApart(sketch, sources, methods).map(({ at, below, above }) => {
    // A run that is gone through again and again has the same seam in several places.
    const alike = seams?.seams.filter((each) => each.below === below && each.above === above) ?? [];
    const measured = alike.find((each) => each.at === at) ?? (fresh ? null : alike[0]) ?? null;
    return { at, below, above, measured, stale: measured !== null && !fresh };
  });
}

/** @param {number} ratio */
const times = (ratio) => `${ratio.toFixed(ratio >= 0.95 && ratio < 1.05 ? 2 : ratio >= 10 ? 0 : 1)}×`;
/** @param {number} value */
const cosine = (value) => value.toFixed(2).replace("-", "−");

/** @param {Seam} seam @param {number} depth @param {number} turn that it was measured in */
export function seamInWords({ at, below, above, measured, stale }, depth, turn) {
  const place = at === 0 ? "Seam above the embeddings" : at === depth ? "Seam under the final norm" : `Seam ${at - 1} to ${at}`;
  if (!measured) return `${place}, ${below} to ${above}: not measured yet.`;
  const figures = [measured.norm === null ? "" : `norm ${times(measured.norm)}`, measured.cosine === null ? "" : `cos ${cosine(measured.cosine)}`].filter(Boolean);
  const both = figures.length ? ` Both ends: ${figures.join(", ")}.` : "";
  const when = stale ? ` From turn ${turn}.` : "";
  return `${place}, ${below} to ${above}:${measured.off ? " risk." : ""}${both} ${measured.sentence}${when}`.trim();
}

/** @param {import("../workbench.js").Context} context */
export function seamsRow({ draft, id }) {
  const svg = s("g");
  const list = h("ul", { class: "ml-hidden", "aria-label": "Seams" });
  const words = h("p", { class: "ml-seam-words", tabindex: 0 });
  const root = h("div", { class: "ml-seam-room" }, words); // two lines; with the focus or under the pointer it shows all
  const chosen = s("g"); // figures of the seam in sight, where there is no room for those of all

  /** @param {Seam} seam @param {number} cx @param {boolean} small */
  function markOf({ measured, stale }, cx, small) {
    const risk = measured?.off ?? false;
    const group = s("g", { class: `ml-seam${risk ? " ml-risk" : ""}${stale ? " ml-stale" : ""}` });
    if (risk) group.append(s("line", { x1: cx, x2: cx, y1: TOP - 2, y2: FLOOR + 2, class: "ml-rule" }));
    group.append(s("line", { x1: cx, x2: cx, y1: FLOOR + 3, y2: ROW - 9, class: "ml-drop" }));
    const px = (/** @type {number} */ ratio) => cx + (Math.max(-1, Math.min(1, Math.log(ratio) / WIDEST)) * GAUGE) / 2;
    const norm = measured?.norm ?? null;
    const at = small || norm === null || !(norm > 0) ? cx : px(norm);
    if (!small) {
      group.append(s("rect", { x: cx - GAUGE / 2 - 4, y: ROW - 9, width: GAUGE + 8, height: 18, rx: 9, class: "ml-gauge" }));
      if (stale) group.append(s("rect", { x: cx - GAUGE / 2 - 4, y: ROW - 9, width: GAUGE + 8, height: 18, rx: 9, style: `fill:${hatch(id)}` }));
      const [low, high] = [measured?.low.norm ?? null, measured?.high.norm ?? null];
      if (low !== null && high !== null && low > 0) group.append(s("rect", { x: px(low), y: ROW - 4, width: Math.max(2, px(high) - px(low)), height: 8, rx: 2, style: "fill:var(--ml-line)" }));
      group.append(s("line", { x1: cx - GAUGE / 2, x2: cx + GAUGE / 2, y1: ROW, y2: ROW, style: "stroke:var(--ml-line-firm);stroke-width:.8" }));
    }
    if (!measured) group.append(s("circle", { cx: at, cy: ROW, r: 3, class: "ml-hollow" }));
    else if (risk) group.append(s("path", { d: `M${at} ${ROW - 5.5}l5.5 10h-11z`, style: "fill:var(--ml-risk)" }));
    else group.append(s("circle", { cx: at, cy: ROW, r: 3, style: "fill:var(--ml-ink-2)" }));
    if (!small) group.append(...figuresOf({ measured, stale }, cx));
    return group;
  }

  /** Under its mark. @param {Pick<Seam, "measured" | "stale">} seam @param {number} cx */
  function figuresOf({ measured, stale }, cx) {
    const norm = measured?.norm ?? null;
    const risk = measured?.off ?? false;
    const look = { "text-anchor": "middle", class: risk ? "ml-riskwords ml-b" : stale ? "ml-old" : "ml-ink2" };
    const lines = measured ? [norm === null ? "–" : times(norm), measured.cosine === null ? "–" : `cos ${cosine(measured.cosine)}`] : ["not yet", "measured"];
    return lines.map((line, i) => label(cx, ROW + 24 + 13 * i, line, look));
  }

  /** @type {{ px: number, small: boolean }[]} where they are marked, and whether without figures */
  let marked = [];
  /** @type {Seam[]} */
  let found = [];
  /** @type {string[]} */
  let told = [];
  /** @param {import("./scale.js").Scale} scale */
  function drawMarks({ x, depth, from, to }) {
    found = seamsOf(draft);
    told = found.map((seam) => seamInWords(seam, depth, draft.seams?.turn ?? 0));
    /** @type {SVGElement[]} */
    const marks = found.length ? [s("line", { x1: x(0), x2: x(depth), y1: ROW, y2: ROW, style: "stroke:var(--ml-line-soft)" })] : [];
    const px = found.map(({ at }) => Math.min(x(depth) - 20, x(at)));
    const near = (/** @type {number} */ i, /** @type {number} */ other) => other in px && Math.abs(px[other] - px[i]) < GAUGE + 12;
    marked = px.map((at, i) => ({ px: at, small: near(i, i - 1) || near(i, i + 1) }));
    found.forEach((seam, i) => {
      if (seam.at >= from && seam.at <= to) marks.push(markOf(seam, px[i], marked[i].small));
    });
    svg.replaceChildren(...marks, chosen);
    pool(list, found.length, () => h("li")).forEach((item, i) => say(item, told[i]));
  }

  const isNew = watcher();
  /** @param {import("./scale.js").Scale} scale @param {number | null} shown layer */
  function draw(scale, shown) {
    const { sketch, sources, methods, seams, answer, state } = draft;
    if (isNew(sketch, sources, methods, seams, answer, state, scale.column, scale.from, scale.to)) drawMarks(scale);
    // In sight: the seam at the layer that has attention, else the first that is off.
    const beside = found.findIndex(({ at }) => at === shown || (at === scale.depth && shown === at - 1));
    const first = beside >= 0 ? beside : found.findIndex(({ measured }) => measured?.off);
    const count = found.length ? `${found.length} seam${found.length === 1 ? "" : "s"}. Grey bands: what the same layers see at home.` : "No seams: every layer follows the one below it at home.";
    const sentence = told[first] ?? count;
    say(words, sentence);
    words.title = told[first] ? `${sentence}\n${EXPLAINED}` : "";
    chosen.replaceChildren(...(marked[first]?.small ? figuresOf(found[first], marked[first].px) : []));
    words.classList.toggle("ml-risk", found[first]?.measured?.off ?? false);
  }
  return {
    svg,
    list,
    root,
    draw,
    get count() {
      return found.length;
    },
  };
}
