// Sources, stack, slice and layouts on a page without a browser, sharing one hand, as the workbench has them.
import { handOf } from "../src/lib/hand.js";
import { h } from "../src/lib/dom.js";
import { presetsView } from "../src/lib/presets_view.js";
import { GUTTER } from "../src/lib/scale.js";
import { sliceView } from "../src/lib/slice_view.js";
import { sourcesView } from "../src/lib/sources_view.js";
import { stackView } from "../src/lib/stack_view.js";
import { point } from "./page.mjs";
import { stage } from "./views.mjs";

export const LOWER = 44 + 112 * 0.75; // y in the lower half of the blocks
export const UPPER = 44 + 112 * 0.25;

/** @param more of the model's state */
export function building(more = {}) {
  const table = stage(more);
  const { context, model, draft } = table;
  context.hand = handOf(context);
  let sources;
  const { root } = table.show((given) => {
    sources = sourcesView(given);
    const views = [sources, presetsView(given), stackView(given), sliceView(given)];
    return { root: h("div", { class: "ml-root" }, ...views.map((view) => view.root)), draw: () => views.forEach((view) => view.draw()) };
  });
  const find = (selector) => root.querySelector(selector);
  const plot = find(".ml-stack");
  const columns = find(".ml-source-plot");
  // Without layout every element is at 0, 0: the sources are put beside the stack.
  columns.getBoundingClientRect = () => ({ left: -1000, top: 0, width: 190, height: 300 });
  const wide = () => Math.min(56, (190 - 4 * (draft.sources.length - 1)) / draft.sources.length);
  return {
    ...table,
    sources,
    root,
    find,
    plot,
    columns,
    hand: context.hand,
    /** The middle of an output layer, and a border. */
    at: (layer) => GUTTER + (layer + 0.5) * context.scale().column,
    border: (layer) => GUTTER + layer * context.scale().column,
    /** A layer in a source's column. */
    cell: (source, layer) => [-1000 + source * (wide() + 4) + wide() / 2, 38 + (layer + 0.5) * Math.min(22, Math.max(5, 300 / Math.max(...draft.sources.map(({ layers }) => layers))))],
    /** Press, move and let go; points are [x, y]. */
    drag(element, from, ...to) {
      point(element, "pointerdown", ...from);
      for (const each of to) point(element, "pointermove", ...each);
    },
    drop: (element, where = [0, 0]) => point(element, "pointerup", ...where),
    /** The stack in short: method, then source@start+layers of every part. */
    told: (sketch = model.get("sketch")) => sketch.slices.map(({ method, layers, parts }) => `${method} ${parts.map(({ source, start }) => `${source}@${start}`).join(" ")} +${layers}`),
  };
}
