// @ts-check
// The sources: every layer of each, those in the stack full, the others pale, with the size of the residual stream where it
// was measured. A press picks a layer, a drag a run of them; out of the column the run goes into the stack.

import { addView } from "./add_view.js";
import { h, label, pool, s, say, set } from "./dom.js";
import { onDrag } from "./drag.js";
import { layersInHand } from "./hand.js";
import { keeper, watcher } from "./keeping.js";
import { onKeys } from "./keys.js";
import { percents, sharesOf } from "./mixing.js";
import { depthOf, layersOf, rangeOf, usesOf } from "./sketch.js";
import { COLOURS, block, hue, swatch } from "./swatches.js";

const WIDE = 190;
const HEAD = 38; // colours, names and codes
const GAP = 4;
const ROW = 22;
const FACTS = 4; // rows of the card
const NARROWEST = 0.72; // of its width that a name may be drawn at
const TALLEST = 300; // px for all layers, where there are many
const SHARE = "Of the height of all blocks: what each source has of the sum that a layer is, as far as its method is a sum.";

/** A cell with round corners, as a part of a path. @param {number} y @param {number} wide @param {number} tall */
function cellAt(y, wide, tall) {
  const r = Math.min(2, tall / 2);
  return `M${r} ${y}h${wide - 2 * r}q${r} 0 ${r} ${r}v${tall - 2 * r}q0 ${r} ${-r} ${r}h${2 * r - wide}q${-r} 0 ${-r} ${-r}v${2 * r - tall}q0 ${-r} ${r} ${-r}z`;
}

/** @param {import("../workbench.js").Context} context */
export function sourcesView({ draft, hand, id, redraw, announce, ruler, signal }) {
  const columns = s("g");
  const marks = s("g");
  const svg = s("svg", { "aria-hidden": "true" }, columns, marks);
  const option = h("div", { role: "option", id: `${id}-source-layer` });
  const group = h("div", { class: "ml-over", role: "group" }, option);
  const plot = h("div", {
    class: "ml-plot ml-source-plot", tabindex: 0, role: "listbox", "aria-orientation": "vertical", "aria-multiselectable": "true",
    "aria-label": "Layers of the sources", "aria-describedby": `${id}-source-keys`, "aria-activedescendant": `${id}-source-layer`,
  }, svg, group);
  const note = h("p", { class: "ml-note", title: "The norm of the residual stream after each layer: the median over the tokens of the prompts" });
  const keys = h("p", { class: "ml-hidden", id: `${id}-source-keys` },
    "Left and Right choose a source, Up and Down a layer, with Shift a run. Space picks it up: arrows then choose where in the stack, Down blends, Enter drops.");
  const cardName = h("b");
  const cardCount = h("span", { class: "ml-mute" });
  const cardSwatch = h("span", { class: "ml-inline" });
  const facts = h("table", { class: "ml-facts" });
  const why = h("p", { class: "ml-why" });
  const pick = h("button", { class: "ml-button ml-small", type: "button", title: "Then click where it goes in the stack (Space)" }, "Pick up");
  const card = h("div", { class: "ml-card", role: "group", "aria-label": "Picked layers" }, h("div", { class: "ml-card-head" }, cardSwatch, cardName, cardCount), facts, why, pick);
  const bar = s("svg", { width: WIDE, height: 14, "aria-hidden": "true" });
  const shares = h("div", { class: "ml-shares" });
  const further = addView({ draft, announce, id, redraw, signal });
  const body = h("div", { class: "ml-columns" }, plot, note, card);
  const opener = h("button", { class: "ml-button ml-small ml-open-sources", type: "button", "aria-expanded": "false" });
  const root = h(
    "aside",
    { class: "ml-sources", "aria-label": "Sources" },
    h("div", { class: "ml-head" }, h("h3", {}, "Sources"), h("span", { class: "ml-mute" }, "drag layers")),
    opener,
    body,
    keys,
    h("div", { class: "ml-head ml-gap", title: SHARE }, h("h3", {}, "Share of the stack")),
    bar,
    shares,
    further.root,
  );
  const keep = keeper(columns);

  /** @type {{ source: number, anchor: number, to: number }} the picked run, both ends included */
  let picked = { source: 0, anchor: 0, to: 0 };
  let touched = false; // before anything is picked no run is outlined
  const runOf = () => ({ source: picked.source, start: Math.min(picked.anchor, picked.to), end: Math.max(picked.anchor, picked.to) + 1 });

  const deepest = () => Math.max(1, ...draft.sources.map(({ layers }) => layers));
  const wideOf = () => Math.min(56, (WIDE - GAP * (draft.sources.length - 1)) / draft.sources.length);
  const tallOf = () => Math.min(ROW, Math.max(5, TALLEST / deepest()));

  /** @param {{ clientX: number, clientY: number }} event */
  function under(event) {
    const box = plot.getBoundingClientRect();
    const source = Math.min(draft.sources.length - 1, Math.max(0, Math.floor((event.clientX - box.left + GAP / 2) / (wideOf() + GAP))));
    return { source, layer: layerAt(event, source) };
  }
  /** @param {{ clientY: number }} event @param {number} source */
  const layerAt = ({ clientY }, source) => Math.min(draft.sources[source].layers - 1, Math.max(0, Math.floor((clientY - plot.getBoundingClientRect().top - HEAD) / tallOf())));
  /** Whether a pointer has left the column it started in. @param {{ clientX: number }} event */
  function outside({ clientX }) {
    const x = clientX - plot.getBoundingClientRect().left;
    const left = picked.source * (wideOf() + GAP);
    return x < left - 8 || x > left + wideOf() + 8;
  }

  onDrag(
    plot,
    (event) => {
      plot.focus({ preventScroll: true });
      const { source, layer } = under(event);
      const run = runOf();
      const inside = touched && source === picked.source && layer >= run.start && layer < run.end && !event.shiftKey;
      if (event.shiftKey && source === picked.source) picked = { ...picked, to: layer };
      else if (!inside) picked = { source, anchor: layer, to: layer };
      touched = true;
      redraw();
      let carried = false;
      let moved = false;
      let from = event; // where the run was last changed
      return {
        move(next) {
          if (!carried && outside(next)) {
            carried = true;
            hand.take({ run: runOf() }, false);
          }
          if (carried) return hand.at(next);
          const to = layerAt(next, picked.source);
          if (to === layer && !moved) return undefined;
          // On its way out a hand that goes aslant still means the run it has drawn.
          const shorter = moved && Math.abs(to - picked.anchor) < Math.abs(picked.to - picked.anchor);
          if (shorter && 2 * Math.abs(next.clientX - from.clientX) > Math.abs(next.clientY - from.clientY)) return undefined;
          if (to !== picked.to) from = next;
          if (!moved && inside) picked = { source, anchor: layer, to: layer };
          moved = true;
          picked = { ...picked, to };
          return redraw();
        },
        end(kept) {
          if (carried && kept) hand.drop();
          else if (carried) hand.putBack();
          else {
            if (inside && !moved) picked = { source, anchor: layer, to: layer };
            announce(pickedInWords());
            redraw();
          }
        },
      };
    },
    signal,
  );

  function pickedInWords() {
    const { source, start, end } = runOf();
    return `${draft.sources[source].name} ${rangeOf(start, end - start)}`;
  }
  /** @param {number} by @param {boolean} [extend] */
  const layer = (by, extend = false) => () => {
    if (hand.held) return hand.step(0, by > 0);
    const to = Math.min(draft.sources[picked.source].layers - 1, Math.max(0, picked.to + by));
    picked = { ...picked, to, anchor: extend ? picked.anchor : to };
    touched = true;
    announce(pickedInWords());
    return redraw();
  };
  /** @param {number} by */
  const source = (by) => () => {
    if (hand.held) return hand.step(by);
    const next = Math.min(draft.sources.length - 1, Math.max(0, picked.source + by));
    const to = Math.min(picked.to, draft.sources[next].layers - 1);
    picked = { source: next, anchor: to, to };
    touched = true;
    announce(pickedInWords());
    return redraw();
  };
  function take() {
    touched = true;
    plot.focus({ preventScroll: true });
    hand.take({ run: runOf() }, true, plot);
    hand.step(0, false);
  }
  onKeys(
    plot,
    {
      ArrowUp: layer(-1),
      ArrowDown: layer(1),
      "Shift+ArrowUp": layer(-1, true),
      "Shift+ArrowDown": layer(1, true),
      ArrowLeft: source(-1),
      ArrowRight: source(1),
      Home: layer(-Infinity),
      End: layer(Infinity),
      "Shift+Home": layer(-Infinity, true),
      "Shift+End": layer(Infinity, true),
      Space: () => (hand.held ? hand.drop() : take()),
      Enter: () => (hand.held ? hand.drop() : take()),
    },
    signal,
  );
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !(hand.held || hand.refused)) return;
    if (hand.held) hand.putBack();
    else hand.answer(null);
    event.preventDefault();
    event.stopPropagation();
  }, { signal });
  // Picked up by keys it can be dropped in the stack; who goes elsewhere puts it back.
  plot.addEventListener("blur", ({ relatedTarget: to }) => {
    if (hand.held?.keys && !(to instanceof Element && to.closest(".ml-stack"))) hand.putBack(false);
  }, { signal });
  pick.addEventListener("click", take, { signal });
  opener.addEventListener("click", () => {
    const open = root.classList.toggle("ml-opened");
    opener.setAttribute("aria-expanded", `${open}`);
  }, { signal });

  /** A name over its column: bold, else plain, else a little narrower; cut only where it would not be read that way.
   * @param {string} name @param {number} room px */
  function nameOf(name, room) {
    if (ruler.width(name, { bold: true }) <= room) return label(0, 19, name, { class: "ml-ink ml-b" });
    const plain = ruler.width(name);
    if (plain <= room) return label(0, 19, name, { class: "ml-ink" });
    if (plain * NARROWEST <= room) return label(0, 19, name, { class: "ml-ink", textLength: room, lengthAdjust: "spacingAndGlyphs" });
    return label(0, 19, ruler.fit(name, room), { class: "ml-ink" });
  }

  /** One source at x = 0. @param {number} i @param {ReadonlyMap<string, number>} uses @param {readonly [number, number]} norms least and largest */
  function columnOf(i, uses, [least, largest]) {
    const { name, code, layers, norms } = draft.sources[i];
    const [wide, tall] = [wideOf(), tallOf()];
    const unfit = (draft.fits[i]?.grade ?? "fits") !== "fits";
    const group = s("g", {}, block(id, i, 0, 0, wide, 5, 1.5));
    group.append(s("g", {}, s("title", {}, name), nameOf(name, wide - 1)));
    group.append(label(0, 32, code, { class: "ml-mono", style: `fill:var(${hue(i)}-text)` }));
    if (unfit) group.append(s("path", { d: "M8 2.5 14.2 13H1.8zM8 6.5v3M8 11.2v.1", transform: `translate(${wide - 12} 21.5) scale(.75)`, class: "ml-glyph-risk" }));
    for (const here of [false, true]) {
      const cells = Array.from({ length: layers }, (_, l) => l).flatMap((l) => (uses.has(`${i}:${l}`) === here ? [cellAt(HEAD + l * tall + 0.5, wide, Math.max(1, tall - (tall > 10 ? 2 : 1)))] : []));
      group.append(s("path", { d: cells.join(""), class: here ? `ml-block${i % COLOURS}` : `ml-block${i % COLOURS} ml-unused` }));
    }
    for (let l = 0; l < layers; l += 1) {
      if (tall < 13 && (l % 10 || l + 1 === layers)) continue;
      const look = uses.has(`${i}:${l}`) ? "ml-mono ml-ink" : "ml-mono ml-ink2";
      group.append(label(Math.min(wide - 4, 17), HEAD + l * tall + Math.max(9, tall / 2 + 4), l, { class: look, "text-anchor": "end" }));
    }
    const known = norms.flatMap((norm, l) => (norm !== null && norm > 0 ? [[Math.log(norm), l]] : []));
    if (known.length > 1 && wide > 30) {
      const span = Math.max(1e-9, largest - least);
      const points = known.map(([size, l]) => `${(22 + ((size - least) / span) * (wide - 26)).toFixed(1)} ${(HEAD + (l + 0.5) * tall).toFixed(1)}`);
      group.append(s("path", { d: `M${points.join("L")}`, style: `fill:none;stroke:var(${hue(i)});stroke-width:1.4;stroke-linejoin:round` }));
    }
    return group;
  }

  function drawCard() {
    const { source: i, start, end } = runOf();
    const { name, code } = draft.sources[i];
    card.hidden = !touched;
    if (!touched) return;
    say(cardName, `${ruler.width(name, { bold: true }) < 96 ? name : code} ${rangeOf(start, end - start)}`);
    cardName.title = pickedInWords();
    say(cardCount, layersInHand(end - start));
    cardSwatch.replaceChildren(swatch(id, i, 11));
    const fit = draft.fits[i];
    const all = fit?.facts ?? [];
    // What differs, and the first of the rest where there is room.
    const differing = all.filter(({ differs }) => differs);
    const told = [...differing, ...all.filter(({ differs }) => !differs)].slice(0, Math.max(FACTS, differing.length));
    const base = draft.sketch.base === null ? "stack" : draft.sources[draft.sketch.base].name;
    facts.hidden = !all.length || i === draft.sketch.base;
    const row = (/** @type {string} */ what, /** @type {string} */ theirs, /** @type {string} */ ours, /** @type {boolean} */ off) =>
      h("tr", off ? { class: "ml-off" } : {}, h("th", { scope: "row", title: what }, what), h("td", { title: theirs }, theirs), h("td", { title: ours }, ours));
    const head = h("tr", {}, h("td"), h("th", { scope: "col", title: name }, name), h("th", { scope: "col", title: base }, base));
    const rest = all.length - told.length;
    const tail = rest ? [h("tr", {}, h("td", { colspan: 3 }, `${rest} more alike`))] : [];
    facts.replaceChildren(head, ...told.map(({ what, theirs, ours, differs }) => row(what, theirs, ours, differs)), ...tail);
    why.hidden = !fit || fit.grade === "fits" || differing.length > 0;
    say(why, fit?.why ?? "");
  }

  /** How much of the stack is of each source. */
  function drawShares() {
    const { sources, sketch, methods } = draft;
    const depth = depthOf(sketch);
    const held = new Array(sources.length).fill(0);
    for (const slice of sketch.slices) {
      const shares = sharesOf(sketch, slice, methods);
      for (let offset = 0; offset < slice.layers; offset += 1) shares(offset).forEach((share, part) => (held[slice.parts[part].source] += share / depth));
    }
    const whole = percents(held);
    const shown = held.flatMap((share, of) => (share < 0.0005 ? [] : [{ of, share, percent: whole[of] }]));
    let x = 0;
    bar.replaceChildren(
      ...shown.map(({ of, share }) => {
        x += share * WIDE;
        return block(id, of, x - share * WIDE, 0, Math.max(1, share * WIDE - 1.5), 14);
      }),
    );
    pool(shares, shown.length, () => h("div", {}, h("span"), h("b"))).forEach((line, place) => {
      const [name, figure] = /** @type {HTMLElement[]} */ ([...line.children]);
      const { of, share, percent } = shown[place];
      say(name, sources[of].name);
      name.title = sources[of].name;
      name.style.color = `var(${hue(of)}-text)`;
      say(figure, percent ? `${percent} %` : "<1 %");
    });
  }

  /** @param {ReadonlyMap<string, number>} uses */
  function drawColumns(uses) {
    const { sources, fits } = draft;
    const [wide, tall] = [wideOf(), tallOf()];
    const height = HEAD + deepest() * tall;
    const sizes = sources.flatMap(({ norms }) => norms.flatMap((norm) => (norm !== null && norm > 0 ? [Math.log(norm)] : [])));
    const range = /** @type {[number, number]} */ ([Math.min(...sizes), Math.max(...sizes)]);
    svg.setAttribute("width", `${WIDE}`);
    svg.setAttribute("height", `${height}`);
    plot.style.height = `${height}px`;
    keep(
      sources.map(({ name, code, layers, norms }, i) => JSON.stringify([i, name, code, wide, tall, norms, range, fits[i]?.grade, Array.from({ length: layers }, (_, l) => (uses.has(`${i}:${l}`) ? 1 : 0)).join("")])),
      (i) => columnOf(i, uses, range),
      (element, i) => set(element, { transform: `translate(${i * (wide + GAP)} 0)` }),
    );
    say(note, sizes.length ? "line: length of the hidden state, log scale" : "");
    say(opener, sources.map(({ name }) => name).join(", "));
  }

  /** The layer with the focus, for those who listen. @param {ReadonlyMap<string, number>} uses */
  function nameLayer(uses) {
    const { source: i, to } = picked;
    const { name, layers } = draft.sources[i];
    const times = uses.get(`${i}:${to}`) ?? 0;
    const words = `${name} ${to}, ${times ? `in the stack${times > 1 ? ` ${times} times` : ""}` : "not in the stack"}`;
    set(option, { "aria-label": words, "aria-selected": touched, "aria-posinset": to + 1, "aria-setsize": layers });
    set(group, { "aria-label": name });
  }

  function drawPicked() {
    const { source: i, start, end } = runOf();
    const [wide, tall] = [wideOf(), tallOf()];
    const box = { x: i * (wide + GAP) - 2, y: HEAD + start * tall - 1.5, width: wide + 4, height: (end - start) * tall + 1, rx: 4 };
    const grip = (/** @type {number} */ y) => s("rect", { x: box.x + box.width / 2 - 7, y: y - 2, width: 14, height: 4, rx: 2, class: "ml-run-grip" });
    marks.replaceChildren(...(touched ? [s("rect", { ...box, class: "ml-brush" }), grip(box.y), grip(box.y + box.height)] : []));
    drawCard();
  }

  const [isNewStack, isNewPick] = [watcher(), watcher()];
  function draw() {
    const { sources, sketch, methods, fits } = draft;
    if (picked.source >= sources.length) picked = { source: 0, anchor: 0, to: 0 };
    const stackChanged = isNewStack(sketch, sources, methods, fits);
    const pickChanged = isNewPick(picked, touched, sources, fits, sketch.base);
    if (stackChanged || pickChanged) {
      const uses = usesOf(layersOf(sketch));
      if (stackChanged) drawColumns(uses);
      if (stackChanged) drawShares();
      if (pickChanged) drawPicked();
      nameLayer(uses);
    }
    plot.classList.toggle("ml-carrying", hand.held !== null);
    further.draw();
  }
  return {
    root,
    draw,
    /** The error that is told here, beside what it is about. */
    get says() {
      return further.says;
    },
  };
}
