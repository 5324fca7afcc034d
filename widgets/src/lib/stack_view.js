// @ts-check
// The stack: output layers as columns, coloured by source, cut into slices whose borders can be moved.

import { bordersOf, giveTo, layersOf, moveBorder, ownShare, rangeOf, refit, splitAt, without } from "./blocks.js";
import { h, label, pool, s, say } from "./dom.js";
import { onDrag } from "./drag.js";
import { onKeys } from "./keys.js";
import { block, hue } from "./swatches.js";

/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./scale.js").Scale} Scale */

const TOP = 44; // pills and slice names
const TALL = 112; // the blocks
const HEIGHT = TOP + TALL + 24;

export const METHOD_WORDS = /** @type {Record<string, string>} */ ({
  passthrough: "Pass",
  linear: "Linear",
  slerp: "Slerp",
  task_arithmetic: "Task arithmetic",
  ties: "TIES",
});

/** @param {string} method */
export const methodWord = (method) => METHOD_WORDS[method] ?? method;

/**
 * @typedef {object} Cursor  which output layer has attention; shared by stack and curve
 * @property {number} at  chosen with keys or a click
 * @property {number | null} hover  under the pointer
 */

/**
 * @param {object} parts
 * @param {Draft} parts.draft @param {Cursor} parts.cursor @param {string} parts.id
 * @param {() => void} parts.redraw @param {() => Scale} parts.scale
 * @param {(words: string) => void} parts.announce @param {AbortSignal} parts.signal
 */
export function stackView({ draft, cursor, id, redraw, scale, announce, signal }) {
  const picture = h("div", { class: "ml-picture" });
  const options = h("div", { class: "ml-over" });
  const handles = h("div", { class: "ml-over" });
  const plot = h(
    "div",
    {
      class: "ml-plot ml-stack",
      tabindex: 0,
      role: "listbox",
      "aria-orientation": "horizontal",
      "aria-label": "Slices of the stack",
      "aria-describedby": `${id}-stack-keys`,
    },
    picture,
    options,
    handles,
  );
  const root = h(
    "div",
    { class: "ml-scroll" },
    plot,
    h(
      "p",
      { class: "ml-hidden", id: `${id}-stack-keys` },
      "Left and Right choose a layer. Up and Down give the slice to another source. Space picks up the nearest border. " +
        "S splits in front of the layer. Delete removes the slice.",
    ),
  );

  const depths = () => draft.sources.map(({ layers }) => layers);
  const current = () => layersOf(draft.dials.blocks)[cursor.at]?.block ?? 0;
  /** @param {import("./blocks.js").Block[] | null} blocks @param {string} done @param {string} [cannot] */
  function change(blocks, done, cannot = "") {
    if (!blocks) {
      announce(cannot);
      return;
    }
    const { blocks: before, coefficient } = draft.dials;
    draft.edit({ blocks, coefficient: refit(coefficient, before, blocks) });
    draft.flush();
    cursor.at = Math.min(cursor.at, layersOf(blocks).length - 1);
    announce(done);
    redraw();
  }

  const act = {
    /** @param {number} source */
    give(source) {
      const index = current();
      const { name, layers } = draft.sources[source];
      const range = rangeOf(draft.dials.blocks[index]);
      const cannot = `${name} has ${layers} layers, this slice needs layer ${draft.dials.blocks[index][2] - 1}.`;
      change(giveTo(draft.dials.blocks, index, source, depths()), `Slice ${index + 1} is now ${name} ${range}.`, cannot);
    },
    split() {
      change(splitAt(draft.dials.blocks, cursor.at), `Split in front of layer ${cursor.at}.`, "A slice starts here already.");
    },
    remove() {
      change(without(draft.dials.blocks, current()), "Slice removed.", "The last slice stays.");
    },
    current,
    canSplit: () => splitAt(draft.dials.blocks, cursor.at) !== null,
    canRemove: () => draft.dials.blocks.length > 1,
    /** @param {number} source */
    canGive: (source) => giveTo(draft.dials.blocks, current(), source, depths()) !== null,
  };

  /** @param {number} by */
  function step(by) {
    cursor.at = Math.min(layersOf(draft.dials.blocks).length - 1, Math.max(0, cursor.at + by));
    cursor.hover = null;
    redraw();
  }
  /** @param {number} by */
  function nextSource(by) {
    const count = draft.sources.length;
    const from = draft.dials.blocks[current()][0];
    for (let i = 1; i < count; i += 1) {
      const source = (from + by * i + count * i) % count;
      if (act.canGive(source)) return act.give(source);
    }
    return announce("No other source is deep enough for this slice.");
  }
  function pickUp() {
    const borders = bordersOf(draft.dials.blocks).slice(1, -1);
    if (!borders.length) return announce("There is one slice, so no border. S splits it.");
    const near = borders.map((at) => Math.abs(at - cursor.at - 0.5));
    const handle = /** @type {HTMLElement} */ (handles.children[near.indexOf(Math.min(...near))]);
    handle.focus();
    return announce("Border picked up. Left and Right move it, Enter drops it, Escape puts it back.");
  }
  onKeys(
    plot,
    {
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      Home: () => step(-Infinity),
      End: () => step(Infinity),
      ArrowUp: () => nextSource(-1),
      ArrowDown: () => nextSource(1),
      Space: pickUp,
      s: act.split,
      Delete: act.remove,
      Backspace: act.remove,
    },
    signal,
  );
  const px = (/** @type {PointerEvent} */ event) => event.clientX - plot.getBoundingClientRect().left;
  plot.addEventListener("pointermove", (event) => {
    const layer = scale().layerAt(px(event));
    if (layer !== cursor.hover) {
      cursor.hover = layer;
      redraw();
    }
  }, { signal });
  plot.addEventListener("pointerleave", () => {
    cursor.hover = null;
    redraw();
  }, { signal });
  plot.addEventListener("pointerdown", (event) => {
    if (/** @type {Element} */ (event.target).closest(".ml-border")) return;
    cursor.at = scale().layerAt(px(event));
    redraw();
  }, { signal });

  /** @type {{ index: number, px: number } | null} the border in hand */
  let moving = null;
  /** @param {number} index */
  function makeHandle(index) {
    const handle = h("div", { class: "ml-border", role: "slider", tabindex: -1, "aria-orientation": "horizontal" });
    /** @type {import("./draft.js").Dials | null} */
    let before = null;
    /** @param {import("./blocks.js").Block[]} from @param {number} by */
    const move = (from, by) => draft.edit({ blocks: moveBorder(from, index, by, depths()) });
    onDrag(
      handle,
      (event) => {
        const start = draft.dials.blocks;
        const border = bordersOf(start)[index + 1];
        draft.hold();
        handle.focus({ preventScroll: true });
        moving = { index, px: px(event) };
        return {
          move(next) {
            moving = { index, px: px(next) };
            move(start, scale().borderAt(px(next)) - border);
            redraw();
          },
          end(kept) {
            moving = null;
            if (!kept) draft.edit({ blocks: start });
            draft.release();
            announce(`Border at layer ${bordersOf(draft.dials.blocks)[index + 1]}.`);
          },
        };
      },
      signal,
    );
    handle.addEventListener("focus", () => (before = draft.dials), { signal });
    const nudge = (/** @type {number} */ by) => () => {
      move(draft.dials.blocks, by);
      draft.flush();
      announce(`Border at layer ${bordersOf(draft.dials.blocks)[index + 1]}.`);
    };
    onKeys(
      handle,
      {
        ArrowLeft: nudge(-1),
        ArrowRight: nudge(1),
        PageUp: nudge(-4),
        PageDown: nudge(4),
        Enter: () => plot.focus(),
        Space: () => plot.focus(),
        Escape: () => {
          if (before) draft.edit({ blocks: before.blocks });
          draft.flush();
          announce("Border put back.");
          plot.focus();
        },
      },
      signal,
    );
    return handle;
  }

  function draw() {
    const { blocks, coefficient, method } = draft.dials;
    const { sources } = draft;
    const layers = layersOf(blocks);
    const borders = bordersOf(blocks);
    const scaled = scale();
    const { x, middle, column } = scaled;
    const chosen = current();
    const shown = cursor.hover ?? (plot.matches(":focus-within") ? cursor.at : null);
    const svg = s("svg", { width: scaled.width, height: HEIGHT, "aria-hidden": "true" });
    if (shown !== null) svg.append(s("rect", { x: x(shown), y: 0, width: column, height: HEIGHT, style: "fill:var(--ml-hover)" }));
    ["source", "and its", "layer"].forEach((words, i) => svg.append(label(0, TOP + 13 + 14 * i, words)));

    const uses = new Map();
    for (const { source, home } of layers) uses.set(`${source}:${home}`, (uses.get(`${source}:${home}`) ?? 0) + 1);

    blocks.forEach((slice, index) => {
      const left = x(borders[index]) + 1.5;
      const wide = x(borders[index + 1]) - 1.5 - left;
      const strong = index === chosen;
      const whole = method === "passthrough" || slice[0] === 0 || layers.every((layer, i) => layer.block !== index || coefficient[i] === 1);
      const pill = whole ? "Pass" : methodWord(method);
      const pillWide = Math.min(wide, pill.length * 6.2 + 16);
      svg.append(
        s("path", {
          d: `M${left} ${TOP - 3}v-4h${wide}v4`,
          style: `fill:none;stroke:var(--ml-${strong ? "ink" : "line-firm"});stroke-width:${strong ? 1.5 : 1}`,
        }),
      );
      if (pill.length * 6.2 + 14 <= wide) {
        svg.append(
          s("rect", { x: left, y: 0, width: pillWide, height: 18, rx: 9, class: strong ? "ml-pill ml-strong" : "ml-pill" }),
          label(left + pillWide / 2, 13, pill, { class: strong ? "ml-on-ink" : "ml-ink", "text-anchor": "middle" }),
        );
      }
      const { name, code } = sources[slice[0]];
      const long = `${name} ${rangeOf(slice)}`;
      const words = long.length * 6.1 <= wide ? long : `${code} ${rangeOf(slice)}`;
      svg.append(label(left, TOP - 11, words, { class: strong ? "ml-ink" : "ml-ink2" }));
    });

    layers.forEach(({ source, home }, i) => {
      const left = x(i) + 1.5;
      const wide = column - 3;
      const own = ownShare(source, coefficient[i], method);
      /** @type {[number, number][]} */
      const parts = own === 1 ? [[source, 1]] : [[0, 1 - own], [source, own]];
      let y = TOP;
      for (const [whose, share] of parts) {
        const tall = share * TALL;
        if (tall > 1.5) svg.append(block(id, whose, left, y, wide, tall - (parts.length > 1 && whose === 0 ? 1.5 : 0)));
        if (tall > 14) {
          const stacked = column < 34;
          const at = y + (parts.length === 1 ? 17 : tall / 2 + 4);
          const halo = `paint-order:stroke;stroke:var(${hue(whose)}-fill);stroke-width:3px`;
          const text = s("text", { x: middle(i), y: at, "text-anchor": "middle", style: halo });
          text.append(s("tspan", { class: "ml-b", style: `fill:var(${hue(whose)}-text)` }, sources[whose].code));
          if (!stacked || parts.length === 1) {
            const place = stacked ? { x: middle(i), dy: 14 } : { dx: 3 };
            text.append(s("tspan", { ...place, class: "ml-b ml-ink" }, `${home}`));
          }
          svg.append(text);
        }
        y += tall;
      }
      const repeats = uses.get(`${source}:${home}`) ?? 1;
      if (repeats > 1) {
        svg.append(
          s("rect", { x: middle(i) - 11, y: TOP + TALL - 21, width: 22, height: 15, rx: 7.5, class: "ml-chip", style: `stroke:var(${hue(source)})` }),
          label(middle(i), TOP + TALL - 10, `×${repeats}`, { "text-anchor": "middle", class: "ml-ink" }),
        );
      }
      svg.append(label(middle(i), TOP + TALL + 17, i, { "text-anchor": "middle", class: i === shown ? "ml-ink ml-b" : "ml-ink2" }));
    });
    svg.append(label(0, TOP + TALL + 17, "output"));
    picture.replaceChildren(svg);
    plot.style.width = `${scaled.width}px`;
    plot.style.height = `${HEIGHT}px`;

    pool(options, blocks.length, (i) => h("div", { class: "ml-option", role: "option", id: `${id}-slice-${i}` })).forEach((option, i) => {
      const slice = blocks[i];
      const place = `output layers ${borders[i]} to ${borders[i + 1] - 1}`;
      option.setAttribute("aria-label", `Slice ${i + 1} of ${blocks.length}: ${sources[slice[0]].name} ${rangeOf(slice)}, ${place}`);
      option.setAttribute("aria-selected", `${i === chosen}`);
      option.style.cssText = `left:${x(borders[i])}px;width:${x(borders[i + 1]) - x(borders[i])}px;top:${TOP}px;height:${TALL}px`;
    });
    plot.setAttribute("aria-activedescendant", `${id}-slice-${chosen}`);

    pool(handles, blocks.length - 1, makeHandle).forEach((handle, i) => {
      const at = borders[i + 1];
      const [low, high] = [-Infinity, Infinity].map((by) => at + moveBorder(blocks, i, by, depths())[i][2] - blocks[i][2]);
      handle.setAttribute("aria-label", `Border between ${sources[blocks[i][0]].name} and ${sources[blocks[i + 1][0]].name}`);
      handle.setAttribute("aria-valuemin", `${low}`);
      handle.setAttribute("aria-valuemax", `${high}`);
      handle.setAttribute("aria-valuenow", `${at}`);
      handle.setAttribute("aria-valuetext", `in front of output layer ${at}`);
      const inHand = moving?.index === i;
      handle.classList.toggle("ml-held", inHand);
      const left = inHand && moving ? Math.min(x(high), Math.max(x(low), moving.px)) : x(at);
      handle.style.cssText = `left:${left - 8}px;top:${TOP - 3}px;height:${TALL + 6}px`;
    });
  }

  /** @param {HTMLElement} caption */
  function caption(caption) {
    const layers = layersOf(draft.dials.blocks);
    const seen = new Set(layers.map(({ source, home }) => `${source}:${home}`));
    const again = layers.length - seen.size;
    const slices = draft.dials.blocks.length;
    const repeats = again ? `; ${again} used again` : "";
    say(caption, `${layers.length} output layers from ${slices} slice${slices === 1 ? "" : "s"}${repeats}`);
  }
  return { root, plot, draw, caption, act };
}
