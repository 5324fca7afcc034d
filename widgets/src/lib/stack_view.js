// @ts-check
// The stack: output layers as columns, cut into slices. A press selects, a drag over selects a run, a drag of what is
// selected or of a slice's head moves it; layers of sources land here. Keys do all of it too.

import { h, label, pool, s, say, set } from "./dom.js";
import { onDrag } from "./drag.js";
import { watcher } from "./keeping.js";
import { onKeys } from "./keys.js";
import { refusalView } from "./refusal_view.js";
import { GUTTER } from "./scale.js";
import { ROW, SEAMS, seamsRow } from "./seams_row.js";
import { between, grown, layersInWords, runsOf } from "./selection.js";
import { bordersOf, depthOf, layersOf, sliceAt, usesOf } from "./sketch.js";
import { editsOf } from "./stack_edits.js";
import { stackEdges } from "./stack_edges.js";
import { AXIS, FLOOR, TALL, TOP, pillOf, stackPicture, titleOfSlice } from "./stack_picture.js";
import { layersInHand, lengthOf } from "./hand.js";

const HEIGHT = FLOOR + AXIS + SEAMS;
const EDGE = 36; // px from an end where a load makes the columns scroll
const NEAR = 30; // px beside the blocks where a load still lands

/** @param {import("../workbench.js").Context} context */
export function stackView(context) {
  const { draft, cursor, hand, id, redraw, scale, announce, signal } = context;
  const edits = editsOf(context);
  const picture = h("div", { class: "ml-picture" });
  const groups = h("div", { class: "ml-options", role: "presentation" });
  // The gutter stays while the columns scroll under it.
  const word = (/** @type {string} */ words, /** @type {number} */ y) => label(0, y, words);
  const measured = s("g", {}, word("seams", ROW + 4), word("norm", ROW + 24), word("angle", ROW + 37));
  const lines = ["source", "and its", "layer"].map((words, i) => word(words, TOP + 13 + 14 * i));
  const gutter = h("div", { class: "ml-gutter", "aria-hidden": "true" }, s("svg", { width: GUTTER, height: HEIGHT }, ...lines, word("output", FLOOR + 17), measured));
  const plot = h("div", {
    class: "ml-plot ml-stack", tabindex: 0, role: "listbox", "aria-orientation": "horizontal", "aria-multiselectable": "true",
    "aria-label": "Output layers of the stack", "aria-describedby": `${id}-stack-keys`,
  }, gutter, picture, groups);
  const scroller = h("div", { class: "ml-scroll" }, plot);
  const keys = h("p", { class: "ml-hidden", id: `${id}-stack-keys` },
    "Left and Right choose a layer, with Shift they select, with Alt they move what is selected. X takes one layer into the selection or out of it. Space picks it up: arrows choose where, Enter drops. " +
      "Up and Down give the slice to another source. S splits, D repeats, Delete removes, M chooses the method, E takes the nearest edge.");
  const card = h("div", { class: "ml-card-hand", "aria-hidden": "true", hidden: true });
  const seams = seamsRow(context);
  const refusal = refusalView(context);
  const root = h("div", { class: "ml-stack-view" }, scroller, seams.root, refusal.root, seams.list, keys, card);
  const blocks = stackPicture(context, HEIGHT);
  blocks.svg.append(seams.svg);
  picture.append(blocks.svg);
  const edges = stackEdges(context, edits, plot, reveal);
  plot.append(edges.root);

  /** @param {{ clientX: number, clientY: number }} event */
  function spot({ clientX, clientY }) {
    const box = plot.getBoundingClientRect();
    return [clientX - box.left, clientY - box.top];
  }
  // Looked up while a pointer moves: asked in the midst of drawing, the page would be laid out once more.
  const sight = { left: 0, right: 0, x: 0, y: 0 };
  /** Where the load in hand would land. @param {{ clientX: number, clientY: number }} event @returns {import("./hand.js").Place | null} */
  function placeUnder(event) {
    const { held } = hand;
    if (!held) return null;
    const [x, y] = spot(event);
    const fixed = held.scale;
    const { left, right } = scroller.getBoundingClientRect();
    const under = root.offsetParent?.getBoundingClientRect();
    Object.assign(sight, { left, right, x: under?.left ?? 0, y: under?.top ?? 0 });
    // What has scrolled out of sight lies under other things on the page.
    if (y < -NEAR || y > FLOOR + NEAR || event.clientX < left - NEAR || (right > left && event.clientX > right + NEAR)) return null;
    const count = lengthOf(held.load);
    const depth = depthOf(held.before);
    if (!("run" in held.load) || y < TOP + TALL / 2 || count > depth) return { at: fixed.borderAt(x), blend: false };
    // The lower half of a slice: it snaps to the slice that it fits into.
    const layer = fixed.layerAt(x);
    const index = sliceAt(held.before, layer);
    const [from, end] = bordersOf(held.before).slice(index, index + 2);
    const at = end - from >= count ? Math.min(Math.max(layer, from), end - count) : Math.min(layer, depth - count);
    return { at, blend: true };
  }
  hand.ground(placeUnder);

  /** The slice whose head is under a press above the blocks, or -1. @param {number} x @param {number} y */
  const headAt = (x, y) => (y < TOP - 2 && x >= scale().x(0) && x <= scale().width ? sliceAt(draft.sketch, scale().layerAt(x)) : -1);
  const toMethod = () => {
    const select = /** @type {HTMLSelectElement | null | undefined} */ (root.closest(".ml-root")?.querySelector(`#${id}-method`));
    select?.focus();
    return select;
  };

  onDrag(
    plot,
    (event) => {
      if (/** @type {Element} */ (event.target).closest?.(".ml-border")) return null;
      plot.focus({ preventScroll: true });
      if (hand.held?.keys) {
        hand.at(event);
        hand.drop();
        return null;
      }
      const [x, y] = spot(event);
      const layer = scale().layerAt(x);
      const head = headAt(x, y);
      const [from, end] = bordersOf(draft.sketch).slice(head, head + 2);
      if (head < 0 && (event.ctrlKey || event.metaKey)) {
        cursor.at = layer;
        edits.toggle(layer);
        return null;
      }
      const anchor = event.shiftKey ? cursor.at : layer;
      const takes = head >= 0 || (draft.selection.includes(layer) && !event.shiftKey);
      cursor.at = layer;
      if (head >= 0) edits.select(from, end - 1);
      else if (!takes) edits.select(...ordered(anchor, layer));
      redraw();
      /** @type {readonly [number, number] | null} */
      const load = takes ? (head >= 0 ? [from, end] : edits.run()) : null;
      let moved = false;
      return {
        move(next) {
          if (load) {
            if (!moved && Math.abs(spot(next)[0] - x) < 4 && Math.abs(spot(next)[1] - y) < 4) return;
            if (!moved) hand.take({ layers: load }, false);
            moved = true;
            hand.at(next);
          } else {
            const to = scale().layerAt(spot(next)[0]);
            if (to === cursor.at) return;
            cursor.at = cursor.hover = to;
            edits.select(...ordered(anchor, to));
          }
        },
        end(kept) {
          if (moved && kept) hand.drop();
          else if (moved) hand.putBack();
          else if (head >= 0 && kept && y < 20) toMethod();
          else if (takes && kept && head < 0) edits.select(layer, layer);
          else if (!takes && draft.selection.length > 1) announce(`${layersInWords(draft.selection)} selected.`);
          draft.flush();
        },
      };
    },
    signal,
  );
  plot.addEventListener("pointermove", (event) => {
    if (hand.held?.keys) hand.at(event);
    const layer = scale().layerAt(spot(event)[0]);
    if (hand.held || layer === cursor.hover) return;
    cursor.hover = layer;
    redraw();
  }, { signal });
  plot.addEventListener("pointerleave", () => {
    cursor.hover = null;
    redraw();
  }, { signal });

  /** @param {number} a @param {number} b @returns {[number, number]} */
  const ordered = (a, b) => (a < b ? [a, b] : [b, a]);
  /** @param {number} by */
  const step = (by) => () => {
    if (hand.held) return hand.step(by);
    cursor.at = Math.min(depthOf(draft.sketch) - 1, Math.max(0, cursor.at + by));
    cursor.hover = null;
    follow();
    return redraw();
  };
  /** The chosen layer is in sight, also where the columns scroll. */
  function follow() {
    const { x, column } = scale();
    reveal(x(cursor.at), x(cursor.at) + column);
  }
  /** What lies between is in sight, beside the gutter. @param {number} left px of the plot @param {number} right */
  function reveal(left, right) {
    const [most, least] = [left - GUTTER, right - scroller.clientWidth];
    if (scroller.scrollLeft > most) scroller.scrollLeft = most;
    else if (scroller.scrollLeft < least) scroller.scrollLeft = least;
  }
  /** @param {number} by */
  const grow = (by) => () => {
    const { at, run } = grown(runsOf(draft.selection), cursor.at, by, depthOf(draft.sketch));
    cursor.at = at;
    cursor.hover = null;
    edits.select(run[0], run[1]);
    follow();
    announce(`${layersInWords(between(run[0], run[1]))} selected.`);
  };
  /** @param {() => void} act */
  const free = (act) => () => {
    if (!hand.held) act();
  };
  function edge() {
    const borders = bordersOf(draft.sketch);
    const near = borders.map((at) => Math.abs(at - cursor.at - 0.5));
    const handle = /** @type {HTMLElement} */ (edges.root.children[near.indexOf(Math.min(...near))]);
    handle.focus();
    announce("Edge taken. Left and Right move it, with Shift or Alt one slice alone grows. Enter lets go, Escape puts back.");
  }
  onKeys(
    plot,
    {
      ArrowLeft: step(-1),
      ArrowRight: step(1),
      Home: step(-Infinity),
      End: step(Infinity),
      "Shift+ArrowLeft": free(grow(-1)),
      "Shift+ArrowRight": free(grow(1)),
      "Alt+ArrowLeft": free(() => edits.nudge(-1)),
      "Alt+ArrowRight": free(() => edits.nudge(1)),
      ArrowUp: () => (hand.held ? hand.step(0, false) : edits.nextSource(-1)),
      ArrowDown: () => (hand.held ? hand.step(0, true) : edits.nextSource(1)),
      Space: () => {
        if (hand.held) return hand.drop();
        hand.take({ layers: edits.run() }, true, plot);
        return hand.step(0);
      },
      Enter: () => (hand.held ? hand.drop() : edits.select(...sliceRange())),
      x: free(() => edits.toggle(cursor.at)),
      s: free(edits.split),
      d: free(edits.repeat),
      m: free(toMethod),
      e: free(edge),
      Delete: free(edits.remove),
      Backspace: free(edits.remove),
      "Mod+a": free(() => edits.select(0, depthOf(draft.sketch) - 1)),
    },
    signal,
  );
  const sliceRange = () => {
    const [from, end] = bordersOf(draft.sketch).slice(edits.current(), edits.current() + 2);
    return /** @type {[number, number]} */ ([from, end - 1]);
  };
  // Escape puts back what is in hand, then answers a refusal, then lets the selection go; the widget has it after that.
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (hand.held) hand.putBack();
    else if (hand.refused) hand.answer(null);
    else if (draft.selection.length) draft.edit({ selection: [] });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, { signal });
  plot.addEventListener("blur", () => {
    if (hand.held?.keys) hand.putBack(false);
  }, { signal });

  /** Names of slices and layers for those who listen. @param {number} chosen slice */
  function name(chosen) {
    const { sketch, sources, methods, selection } = draft;
    const layers = layersOf(sketch);
    const borders = bordersOf(sketch);
    const uses = usesOf(layers);
    const picked = new Set(selection);
    pool(groups, sketch.slices.length, () => h("div", { role: "group" })).forEach((group, index) => {
      const slice = sketch.slices[index];
      const title = titleOfSlice(slice, (source) => sources[source].name);
      set(group, { "aria-label": `Slice ${index + 1} of ${sketch.slices.length}: ${pillOf(sketch, slice, methods)}, ${title}${index === chosen ? ", chosen" : ""}` });
      pool(group, slice.layers, () => h("div", { role: "option" })).forEach((option, offset) => {
        const at = borders[index] + offset;
        const made = layers[at].parts.map(({ source, home }) => `${sources[source].name} ${home}`).join(" with ");
        const times = Math.max(...layers[at].parts.map(({ source, home }) => uses.get(`${source}:${home}`) ?? 1));
        set(option, { id: `${id}-layer-${at}`, "aria-label": `Output layer ${at}: ${made}${times > 1 ? `, used ${times} times` : ""}`, "aria-selected": `${picked.has(at)}` });
      });
    });
  }

  const isNew = watcher();
  function draw() {
    const scaled = scale();
    const chosen = edits.current();
    const shown = hand.held ? null : (cursor.hover ?? (plot.matches(":focus-within") ? cursor.at : null));
    blocks.draw(scaled, chosen, shown);
    seams.draw(scaled, shown);
    measured.toggleAttribute("hidden", !seams.count);
    set(plot, { style: `width:${scaled.width}px;height:${HEIGHT}px` });
    plot.classList.toggle("ml-carrying", hand.held !== null);
    edges.draw(scaled);
    set(groups, { style: `left:${scaled.x(0)}px;width:${scaled.x(scaled.depth) - scaled.x(0)}px;top:${TOP}px;height:${TALL}px` });
    if (isNew(draft.sketch, draft.sources, draft.methods, draft.selection, chosen)) name(chosen);
    set(plot, { "aria-activedescendant": `${id}-layer-${cursor.at}` });
    refusal.draw();
    carry();
  }
  /** Near an end of what is in sight of a long stack, it scrolls under the load. @param {import("./hand.js").Spot} pointer */
  function scrollUnder(pointer) {
    if (sight.left === sight.right || !hand.held?.place) return;
    const [under, over] = [sight.left + GUTTER + EDGE - pointer.clientX, pointer.clientX - sight.right + EDGE];
    const by = Math.round(Math.max(-EDGE, Math.min(EDGE, over > 0 ? over : under > 0 ? -under : 0)) / 3);
    if (!by) return;
    const before = scroller.scrollLeft;
    scroller.scrollLeft += by;
    if (scroller.scrollLeft !== before) requestAnimationFrame(() => hand.at(hand.pointer ?? pointer));
  }
  /** A card at the pointer says what it carries. */
  function carry() {
    const { held, pointer } = hand;
    card.hidden = !held || !pointer;
    if (!held || !pointer) return;
    say(card, held.refusal ? "not here" : `${layersInHand(lengthOf(held.load))}${held.place?.blend ? ", blend" : ""}`);
    scrollUnder(pointer);
    set(card, { style: `left:${pointer.clientX - sight.x + 12}px;top:${pointer.clientY - sight.y + 14}px` });
  }
  return { root, scroller, draw };
}
