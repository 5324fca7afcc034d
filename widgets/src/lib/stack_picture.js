// @ts-check
// The stack drawn: output layers as columns, each of the parts it is made of, under the heads of their slices.

import { label, s, set } from "./dom.js";
import { lengthOf } from "./hand.js";
import { keeper, watcher } from "./keeping.js";
import { basePart, methodOf, sharesOf, unlearnedOf } from "./mixing.js";
import { runsOf } from "./selection.js";
import { bordersOf, layersOf, rangeOf, usesOf } from "./sketch.js";
import { unlike } from "./suits.js";
import { COLOURS, block, hue, riskHatch } from "./swatches.js";

/** @typedef {import("./sketch.js").Sketch} Sketch */
/** @typedef {import("./sketch.js").Slice} Slice */
/** @typedef {import("./scale.js").Scale} Scale */

export const TOP = 44; // pills and slice names
export const TALL = 112; // the blocks
export const FLOOR = TOP + TALL;
export const AXIS = 24; // numbers under the blocks
const STRIP = 15; // of a part that is taken away

/** "Base, Arith 4–7", or with each its own run where they differ. @param {Slice} slice @param {(source: number) => string} name */
export function titleOfSlice({ layers, parts }, name) {
  const [first] = parts;
  if (parts.every(({ start }) => start === first.start)) return `${parts.map(({ source }) => name(source)).join(", ")} ${rangeOf(first.start, layers)}`;
  return parts.map(({ source, start }) => `${name(source)} ${rangeOf(start, layers)}`).join(", ");
}

/** The method with the number that tells most, where that is one number. @param {Sketch} sketch @param {Slice} slice @param {readonly import("./mixing.js").Method[]} methods */
export function pillOf(sketch, slice, methods) {
  const { word } = methodOf(methods, slice.method);
  const base = basePart(sketch, slice, methods);
  const given = slice.parts.filter((_, i) => i !== base).map(({ numbers }) => numbers.density ?? slice.numbers.density);
  const values = [slice.numbers.t ?? given[0], ...(slice.numbers.t ? [] : given)].map((setting) => (setting?.length === 1 ? setting[0][1] : null));
  const [first] = values;
  return typeof first === "number" && values.every((value) => value === first) ? `${word} ${first.toFixed(2)}` : word;
}

/** @param {Sketch} sketch */
export function captionOf(sketch) {
  const layers = layersOf(sketch);
  const again = [...usesOf(layers).values()].reduce((sum, times) => sum + (times > 1 ? 1 : 0), 0);
  const { length } = sketch.slices;
  const repeats = again ? `; ${again} layer${again === 1 ? "" : "s"} used again` : "";
  return `${layers.length} output layer${layers.length === 1 ? "" : "s"} from ${length} slice${length === 1 ? "" : "s"}${repeats}`;
}

/** @param {import("../workbench.js").Context} context @param {number} height */
export function stackPicture({ draft, hand, ruler, id }, height) {
  const shade = s("rect", { y: 0, height, style: "fill:var(--ml-hover)" });
  const [heads, columns, axis, marks] = [s("g"), s("g", { class: "ml-blocks" }), s("g"), s("g")];
  const svg = s("svg", { height, "aria-hidden": "true" }, shade, heads, columns, axis, marks);
  const [keepHeads, keepColumns, keepAxis] = [keeper(heads), keeper(columns), keeper(axis)];

  /** One column at x = 0. @param {{ source: number, home: number, share: number, taken: boolean, uses: number }[]} parts @param {number} column */
  function columnOf(parts, column) {
    const group = s("g");
    const wide = column - 3;
    let y = TOP;
    const strips = parts.filter(({ taken }) => taken);
    parts.forEach(({ source, home, share, uses }, i) => {
      const tall = share * (TALL - STRIP * strips.length);
      if (tall > 1.5) group.append(block(id, source, 1.5, y, wide, tall - (i < parts.length - 1 ? 1.5 : 0)));
      const twoLines = column < 32;
      if (tall > 13) {
        const room = tall > 28;
        const at = parts.length === 1 ? y + 17 : y + tall / 2 + (twoLines && room ? -3 : 4);
        const colour = source % COLOURS;
        const text = s("text", { x: column / 2, y: at, "text-anchor": "middle", class: `ml-on${colour}` }, s("tspan", { class: `ml-code${colour}` }, draft.sources[source].code));
        if (!twoLines || room) text.append(s("tspan", twoLines ? { x: column / 2, dy: 13 } : { dx: 3 }, `${home}`));
        group.append(text);
      }
      y += tall;
      if (uses > 1 && tall > 58) {
        group.append(
          s("rect", { x: column / 2 - 11, y: y - 21, width: 22, height: 15, rx: 7.5, class: "ml-chip", style: `stroke:var(${hue(source)})` }),
          label(column / 2, y - 10, `×${uses}`, { "text-anchor": "middle", class: "ml-ink" }),
        );
      }
    });
    // What is taken away has no share: a strip under the others that says so.
    strips.forEach(({ source }, i) => {
      const top = FLOOR - STRIP * (i + 1) + 1;
      const box = { x: 2.5, y: top, width: wide - 2, height: 14, rx: 2 };
      group.append(
        s("rect", { ...box, style: "fill:var(--ml-surface)" }),
        s("rect", { ...box, class: "ml-taken", style: `fill:${riskHatch(id)};stroke:var(${hue(source)})` }),
        label(column / 2, top + 11, `−${draft.sources[source].code}`, { "text-anchor": "middle", class: "ml-b ml-halo", style: `fill:var(${hue(source)}-text)` }),
      );
    });
    return group;
  }

  /** @type {WeakMap<Element, number>} px that the words of a head are wide */
  const spans = new WeakMap();
  /** The head of a slice at x = 0, its words in a group that can go along. @param {{ wide: number, strong: boolean, pill: string, title: string, codes: string, again: boolean }} head */
  function headOf({ wide, strong, pill, title, codes, again }) {
    const group = s("g");
    const chevron = strong ? 12 : 0;
    const pillWide = ruler.width(pill, { bold: strong }) + 14 + chevron;
    let end = 0;
    if (pillWide <= wide + 2) {
      group.append(
        s("rect", { x: 0, y: 0, width: pillWide, height: 18, rx: 9, class: strong ? "ml-pill ml-strong" : "ml-pill" }),
        label((pillWide - chevron) / 2, 13, pill, { class: strong ? "ml-on-ink" : "ml-ink", "text-anchor": "middle" }),
      );
      if (strong) group.append(s("path", { d: `M${pillWide - 16} 7.5l3 3 3-3`, class: "ml-chevron" }));
      end = pillWide;
    }
    const loops = again && end + 18 <= wide;
    if (loops) group.append(s("path", { d: "M3 8a5 5 0 1 1 1.6 3.7M3 12.5V9.3h3.2", transform: `translate(${end + 3} 2) scale(.85)`, class: "ml-loop" }));
    const words = ruler.width(title) <= wide ? title : codes;
    const fitting = ruler.fit(words, wide + 2);
    group.append(label(0, TOP - 11, fitting, { class: strong ? "ml-ink" : "ml-ink2" }));
    const head = s("g", {}, s("path", { d: `M0 ${TOP - 3}v-4h${wide}v4`, class: strong ? "ml-bracket ml-strong" : "ml-bracket" }), group);
    spans.set(head, Math.max(end + (loops ? 18 : 0), ruler.width(fitting)));
    return head;
  }

  /** @param {number} from @param {number} end @param {Scale} scale @param {string} look */
  const outline = (from, end, { x }, look) => s("rect", { x: x(from), y: TOP - 1.5, width: x(end) - x(from), height: TALL + 3, rx: 4, class: look });

  /** What was refused, over the place where it was dropped. @param {number} at @param {import("./hand.js").Load} load @param {Scale} scale */
  function refusedAt(at, load, { x, column, depth }) {
    const count = hand.spare || Math.min(lengthOf(load), depth);
    const left = x(hand.spare ? depth : Math.min(at, depth - count));
    const group = s("g", { class: "ml-refused" });
    for (let i = 0; i < count; i += 1) {
      const box = { x: left + i * column + 2, y: TOP + 0.5, width: column - 4, height: TALL - 1, rx: 3 };
      group.append(s("rect", { ...box, style: "fill:var(--ml-surface);fill-opacity:.88" }), s("rect", { ...box, style: `fill:${riskHatch(id)}`, class: "ml-no" }));
      if (!("run" in load)) continue;
      const { source, start } = load.run;
      const twoLines = column < 32;
      const text = s("text", { x: left + (i + 0.5) * column, y: TOP + 17, "text-anchor": "middle", class: "ml-halo" });
      text.append(s("tspan", { class: `ml-code${source % COLOURS}` }, draft.sources[source].code));
      text.append(s("tspan", { ...(twoLines ? { x: left + (i + 0.5) * column, dy: 13 } : { dx: 3 }), class: "ml-b ml-ink" }, `${start + i}`));
      group.append(text);
    }
    const why = "run" in load ? unlike(draft, load.run.source) : "";
    const words = ["not added", why];
    const wide = Math.max(...words.map((each) => ruler.width(each, { bold: true }))) + 8;
    const edge = Math.max(x(0), Math.min(left, x(depth + hand.spare) - wide));
    group.append(s("rect", { x: edge - 2, y: 0, width: wide, height: TOP - 6, rx: 3, style: "fill:var(--ml-surface)" }));
    words.forEach((each, i) => group.append(label(edge + 2, i ? TOP - 11 : 13, each, { class: i ? "ml-riskwords" : "ml-riskwords ml-b" })));
    return group;
  }

  /** @type {{ at: number, wide: number }[]} the slices whose heads are drawn */
  let drawn = [];
  /** Where a slice begins out of sight, its words stand in the part in sight. @param {Scale} scale */
  function goAlong({ x, sight }) {
    drawn.forEach(({ at, wide }, i) => {
      const head = heads.children[i];
      const by = Math.max(0, Math.min(sight[0] - x(at), wide - (spans.get(head) ?? 0)));
      const words = /** @type {Element} */ (head.lastElementChild);
      const to = by ? `translate(${by} 0)` : "";
      if ((words.getAttribute("transform") ?? "") !== to) words.setAttribute("transform", to);
    });
  }

  const isNew = watcher();
  /** @param {Scale} scale @param {number} chosen slice */
  function drawSlices({ x, middle, column, from, to }, chosen) {
    const { sketch, sources, methods } = draft;
    const layers = layersOf(sketch);
    const borders = bordersOf(sketch);
    const uses = usesOf(layers);
    const wide = Math.round(column * 100) / 100;
    const codes = sources.map(({ code }) => code).join(" ");
    const shares = sketch.slices.map((slice) => sharesOf(sketch, slice, methods));
    const taken = sketch.slices.map((slice) => unlearnedOf(sketch, slice, methods));
    const parts = layers.slice(from, to).map(({ slice, offset, parts: all }) => {
      const [here, away] = [shares[slice](offset), taken[slice](offset)];
      return all.map(({ source, home }, i) => ({ source, home, share: Math.round(here[i] * 1000) / 1000, taken: away[i], uses: uses.get(`${source}:${home}`) ?? 1 }));
    });
    keepColumns(
      parts.map((all) => `${wide} ${codes} ${all.map((part) => `${part.source}:${part.home}:${part.share}:${part.taken}:${part.uses}`).join(" ")}`),
      (i) => columnOf(parts[i], column),
      (element, i) => set(element, { transform: `translate(${x(from + i)} 0)` }),
    );

    /** @type {Set<string>} */
    const seen = new Set();
    const begun = sketch.slices.flatMap((slice, index) => {
      const run = layers.slice(borders[index], borders[index + 1]).flatMap((layer) => layer.parts.map(({ source, home }) => `${source}:${home}`));
      const again = run.some((each) => seen.has(each));
      for (const each of run) seen.add(each);
      if (borders[index] >= to || borders[index + 1] <= from) return [];
      return {
        at: borders[index],
        wide: Math.round((borders[index + 1] - borders[index]) * column * 100) / 100 - 3,
        strong: index === chosen,
        pill: pillOf(sketch, slice, methods),
        title: titleOfSlice(slice, (source) => sources[source].name),
        codes: titleOfSlice(slice, (source) => sources[source].code),
        again,
      };
    });
    keepHeads(
      begun.map(({ at: _, ...head }) => JSON.stringify(head)),
      (i) => headOf(begun[i]),
      (element, i) => set(element, { transform: `translate(${x(begun[i].at) + 1.5} 0)` }),
    );
    drawn = begun;
    keepAxis(
      parts.map((_, i) => `${from + i}`),
      (i) => label(0, FLOOR + 17, from + i, { "text-anchor": "middle", class: "ml-ink2" }),
      (element, i) => set(element, { x: middle(from + i) }),
    );
  }

  /** @type {Element | undefined} the number of the layer that is shown */
  let bold;
  /** @param {Scale} scale @param {number} chosen slice @param {number | null} shown layer */
  function draw(scale, chosen, shown) {
    const { sketch, sources, methods, selection } = draft;
    const { x, column, depth, from, to } = scale;
    if (isNew(sketch, sources, methods, column, from, to, chosen)) drawSlices(scale, chosen);
    goAlong(scale);
    set(svg, { width: scale.width });
    set(shade, { x: x(shown ?? 0), width: shown === null ? 0 : column });
    bold?.setAttribute("class", "ml-ink2");
    bold = shown === null ? undefined : axis.children[shown - from];
    bold?.setAttribute("class", "ml-ink ml-b");

    const { held, refused } = hand;
    /** @type {SVGElement[]} */
    const over = runsOf(selection.filter((layer) => layer < depth)).map(([first, last]) => outline(first, last + 1, scale, "ml-brush"));
    if (held?.ghosts) over.push(outline(held.ghosts[0], held.ghosts[1], scale, "ml-ghost"));
    if (held?.refusal && held.place) over.push(refusedAt(held.place.at, held.load, scale));
    else if (refused?.load && refused.place) over.push(refusedAt(refused.place.at, refused.load, scale));
    marks.replaceChildren(...over);
  }
  return { svg, draw };
}
