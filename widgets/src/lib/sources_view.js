// @ts-check
// The sources: every layer of each, those in the stack full, the others pale; and each one's share of the stack.

import { layersOf, sharesOf } from "./blocks.js";
import { h, label, s } from "./dom.js";
import { block, hue } from "./swatches.js";

/** @typedef {import("./draft.js").Draft} Draft */

const WIDE = 190;
const ROW = 22;

/** Cut to what fits at 11 px bold; the full name is the title. @param {string} name @param {number} wide */
const fit = (name, wide) => (name.length * 6.3 <= wide ? name : `${name.slice(0, Math.max(2, Math.floor(wide / 6.3) - 1))}…`);

/** @param {Draft} draft @param {string} id */
export function sourcesView(draft, id) {
  const columns = h("div", { class: "ml-columns" });
  const share = h("div", {}, h("div", { class: "ml-head ml-gap" }, h("h3", {}, "Share of the stack")));
  const shareOf = share.appendChild(h("div", { class: "ml-share" }));
  const root = h(
    "aside",
    { class: "ml-sources", "aria-label": "Sources" },
    h("div", { class: "ml-head" }, h("h3", {}, "Sources"), h("span", { class: "ml-mute" }, "layers in the stack")),
    columns,
    share,
  );

  function draw() {
    const { sources, dials } = draft;
    const used = new Set(layersOf(dials.blocks).map(({ source, home }) => `${source}:${home}`));
    const gap = 4;
    const wide = Math.min(56, (WIDE - gap * (sources.length - 1)) / sources.length);
    const deepest = Math.max(...sources.map(({ layers }) => layers));
    const tall = Math.min(ROW, Math.max(6, 300 / deepest));
    const height = 38 + deepest * tall;
    const words = sources.map(({ name, layers }) => `${name}: ${layers} layers`).join(", ");
    const svg = s("svg", { width: WIDE, height, role: "img", "aria-label": words });
    sources.forEach(({ name, code, layers }, i) => {
      const x = i * (wide + gap);
      svg.append(block(id, i, x, 0, wide, 5, 1.5));
      svg.append(s("g", {}, s("title", {}, name), label(x, 19, fit(name, wide + 1), { class: "ml-ink ml-b" })));
      svg.append(label(x, 32, code, { class: "ml-mono", style: `fill:var(${hue(i)}-text)` }));
      for (let l = 0; l < layers; l += 1) {
        const y = 38 + l * tall;
        const here = used.has(`${i}:${l}`);
        const cell = here ? block(id, i, x, y, wide, tall - 2) : s("rect", { x, y, width: wide, height: tall - 2, rx: 2, style: `fill:var(${hue(i)}-fill);opacity:.42` });
        svg.append(cell);
        if (tall >= 14) {
          const halo = here ? `paint-order:stroke;stroke:var(${hue(i)}-fill);stroke-width:3px` : "";
          svg.append(label(x + wide / 2, y + tall / 2 + 3, l, { class: here ? "ml-mono ml-ink" : "ml-mono", "text-anchor": "middle", style: halo }));
        }
      }
    });
    columns.replaceChildren(svg);

    share.hidden = dials.method === "ties"; // there the coefficient is a density: how much of a change is kept
    const shares = sharesOf(dials.blocks, dials.coefficient, dials.method, sources.length);
    const bar = s("svg", { width: WIDE, height: 14, "aria-hidden": "true" });
    const list = h("div", { class: "ml-shares" });
    let x = 0;
    shares.forEach((part, i) => {
      if (part < 0.0005) return;
      const long = part * WIDE;
      bar.append(block(id, i, x, 0, Math.max(1, long - 1.5), 14));
      x += long;
      list.append(h("div", {}, h("span", { style: `color:var(${hue(i)}-text)`, title: sources[i].name }, sources[i].name), h("b", {}, `${Math.round(part * 100)} %`)));
    });
    shareOf.replaceChildren(bar, list);
  }
  return { root, draw };
}
