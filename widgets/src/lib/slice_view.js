// @ts-check
// The chosen slice: its method, the parts it is mixed of, and those of its numbers that are no curve.

import { h, icon, say } from "./dom.js";
import { addPart, baseOf, basePart, heightsInWords, methodOf, removePart, setBase, setMethod } from "./mixing.js";
import { setNumber, shift } from "./sketch.js";
import { editsOf } from "./stack_edits.js";
import { titleOfSlice } from "./stack_picture.js";
import { clash, misfit } from "./suits.js";
import { swatch } from "./swatches.js";
import { allow, press, roving } from "./toolbar.js";

/** @typedef {import("./mixing.js").Declared} Declared */
/** @typedef {import("./sketch.js").Slice} Slice */

/** @param {import("../workbench.js").Context} context */
export function sliceView(context) {
  const { draft, hand, id, signal } = context;
  const edits = editsOf(context);
  const name = h("b", { class: "ml-slice-name" });
  const method = h("select", { class: "ml-select", id: `${id}-method`, "aria-label": "Method of the slice" });
  const numbers = h("div", { class: "ml-numbers" });
  const parts = h("div", { class: "ml-parts", role: "group", "aria-label": "Parts of the slice" });
  const heights = h("p", { class: "ml-slice-note" });
  const button = (/** @type {"split" | "loop" | "remove"} */ glyph, /** @type {string} */ words, /** @type {() => void} */ act) =>
    press([icon(glyph)], act, signal, { class: "ml-small ml-square", "aria-label": words });
  const split = button("split", "Split", edits.split);
  const repeat = button("loop", "Repeat", edits.repeat);
  const remove = button("remove", "Remove", edits.remove);
  allow(repeat, "", "The selected layers, or the slice, once more (D)");
  const root = h(
    "div",
    { class: "ml-slice", role: "toolbar", "aria-label": "Chosen slice" },
    h("div", { class: "ml-slice-head" }, name, method, numbers, h("span", { class: "ml-edits" }, split, repeat, remove)),
    parts,
    heights,
  );
  const settle = roving(root, signal, "select, input, button");

  const slice = () => draft.sketch.slices[edits.current()];
  const word = () => methodOf(draft.methods, slice().method).word;

  method.addEventListener("change", () => {
    const { sketch, methods, sources } = draft;
    const index = edits.current();
    const to = methodOf(methods, method.value);
    let next = setMethod(sketch, index, to.name, methods, draft);
    let joined = "";
    // It blends and there is one part: the first source that can be blended in joins at the same layers.
    for (let i = 0; !next && i < sources.length; i += 1) {
      const old = slice().parts;
      const mixed = clash(draft, old.map(({ source }) => source), i) || old.some(({ source }) => source === i) ? null : addPart(sketch, index, { source: i, start: old[0].start }, methods, edits.depths());
      if (!mixed || misfit(draft, sketch, i, mixed)) continue;
      next = setMethod(mixed, index, to.name, methods, draft);
      joined = ` ${sources[i].name} joins at the same layers.`;
    }
    if (next) return edits.change(next, `Slice ${index + 1} is made by ${to.word}.${joined}`, "", draft.selection);
    method.value = slice().method;
    const [fewest] = to.parts;
    return hand.refuse({ what: `${to.word} wants ${fewest} source${fewest === 1 ? "" : "s"}${to.base ? " besides the base" : ""}.`, more: "Blend one in first.", ways: [] });
  }, { signal });

  /** What a setting is where it is one value; null: it bends, or has rules. @param {Declared} number @param {number | null} part */
  function valueOf({ name: key, default: usual }, part) {
    const { numbers: shared, parts: all } = slice();
    const setting = part === null ? shared[key] : (all[part].numbers[key] ?? shared[key]);
    if (!setting) return usual;
    return setting.length === 1 && setting[0][0] === null && !Array.isArray(setting[0][1]) ? setting[0][1] : null;
  }

  /** A control for a number, of the slice or of one part. @param {Declared} number @param {number | null} part */
  function fieldOf(number, part) {
    const { kind, low, high, dial, choices, doc } = number;
    const about = { title: doc, "aria-label": part === null ? number.name : `${number.name} of ${draft.sources[slice().parts[part].source].name}` };
    /** @param {number | boolean | string} value */
    const set = (value) => draft.edit({ sketch: setNumber(draft.sketch, edits.current(), part, number.name, [[null, value]]) });
    /** @param {boolean | string} value */
    const chosen = (value) => {
      set(value);
      draft.flush();
    };
    const told = h("span", {}, number.name);
    if (kind === "switch") {
      const box = h("input", { type: "checkbox", ...about });
      box.addEventListener("change", () => chosen(box.checked), { signal });
      return { root: h("label", { class: "ml-number", title: doc }, box, told), show: () => void (box.checked = valueOf(number, part) === true) };
    }
    if (kind === "choice") {
      const select = h("select", { class: "ml-select", ...about }, ...choices.map((choice) => h("option", { value: choice }, choice)));
      select.addEventListener("change", () => chosen(select.value), { signal });
      return { root: h("label", { class: "ml-number", title: doc }, told, select), show: () => void (select.value = `${valueOf(number, part) ?? ""}`) };
    }
    const step = kind === "whole" ? 1 : dial ? (dial[1] - dial[0]) / 100 : "any";
    const input = h("input", { class: "ml-figure", type: "number", min: low, max: high, step, ...about });
    input.addEventListener("input", () => {
      const value = input.valueAsNumber;
      const wrong = !Number.isFinite(value) || (low !== null && value < low) || (high !== null && value > high) || (kind === "whole" && !Number.isInteger(value));
      input.setAttribute("aria-invalid", `${wrong}`);
      if (!wrong) set(value);
    }, { signal });
    input.addEventListener("change", () => draft.flush(), { signal });
    const show = () => {
      if (input.matches(":focus")) return;
      const value = valueOf(number, part);
      input.value = value === null ? "" : `${value}`;
      input.placeholder = value === null ? "bent" : "";
      input.removeAttribute("aria-invalid");
    };
    return { root: h("label", { class: "ml-number", title: doc }, told, input), show };
  }

  /** The sources to choose from, those that cannot be chosen saying why. @param {HTMLSelectElement} select @param {(source: number) => string} cannot */
  function offer(select, cannot) {
    [...select.options].forEach((option) => {
      if (option.value === "") return;
      const why = cannot(Number(option.value));
      option.disabled = why !== "";
      option.title = why;
    });
  }
  const options = () => draft.sources.map((source, i) => h("option", { value: i }, source.name));

  /** @param {number} place */
  function partOf(place) {
    const { sources, methods, sketch } = draft;
    const index = edits.current();
    const now = slice();
    const part = now.parts[place];
    const { name: who } = sources[part.source];
    const giver = h("select", { class: "ml-select", "aria-label": `Source of part ${place + 1}` }, ...options());
    giver.value = `${part.source}`;
    giver.addEventListener("change", () => {
      const to = Number(giver.value);
      giver.value = `${part.source}`; // until the picture says otherwise
      edits.give(index, place, to);
    }, { signal });
    const start = h("input", { class: "ml-figure", type: "number", min: 0, step: 1, "aria-label": `First layer of ${who}`, title: `First layer of ${who}` });
    const last = h("span", { class: "ml-mute" });
    start.addEventListener("input", () => {
      const at = slice().parts[place].start;
      if (Number.isInteger(start.valueAsNumber)) draft.edit({ sketch: shift(draft.sketch, index, place, start.valueAsNumber - at, edits.depths()) });
    }, { signal });
    start.addEventListener("change", () => draft.flush(), { signal });
    const made = h("div", { class: "ml-part-chip" }, swatch(id, part.source, 12), giver, start, last);
    /** @type {(() => void)[]} */
    const shows = [];
    if (methodOf(methods, now.method).base) {
      const radio = h("input", { type: "radio", name: `${id}-base`, "aria-label": `${who} is the base of the slice` });
      radio.checked = part.source === baseOf(sketch, now, methods);
      radio.addEventListener("change", () => edits.change(setBase(draft.sketch, index, place, methods), `${who} is the base of the slice.`, "It is the base already.", draft.selection), { signal });
      made.append(h("label", { class: "ml-number", title: "What the others are compared with" }, radio, h("span", {}, "base")));
    }
    if (place !== basePart(sketch, now, methods)) {
      for (const number of methodOf(methods, now.method).numbers.filter(({ per_part, curve, effect }) => per_part && !curve && effect)) {
        const field = fieldOf(number, place);
        made.append(field.root);
        shows.push(field.show);
      }
    }
    if (now.parts.length > 1) {
      const out = h("button", { class: "ml-button ml-small ml-square", type: "button", title: `Take ${who} out of the slice`, "aria-label": `Take ${who} out of the slice` }, icon("cross"));
      out.addEventListener("click", () => edits.change(removePart(draft.sketch, index, place, draft.methods), `${who} is out of the slice.`, "", draft.selection), { signal });
      made.append(out);
    }
    shows.push(() => {
      const each = slice();
      const { source, start: at } = each.parts[place];
      offer(giver, (to) => (to === source ? "" : edits.cannotGive(index, place, to)));
      start.max = `${draft.sources[source].layers - each.layers}`;
      if (!start.matches(":focus")) start.value = `${at}`;
      say(last, each.layers > 1 ? `–${at + each.layers - 1}` : "");
    });
    return { root: made, show: () => shows.forEach((show) => show()) };
  }

  function adder() {
    const select = h("select", { class: "ml-select ml-adder", "aria-label": "Blend a further source into the slice" }, h("option", { value: "" }, "+ blend in"), ...options());
    const index = edits.current();
    select.addEventListener("change", () => {
      const source = Number(select.value);
      select.value = "";
      const start = Math.min(slice().parts[0].start, draft.sources[source].layers - slice().layers);
      const next = addPart(draft.sketch, index, { source, start }, draft.methods, edits.depths());
      const refusal = next && misfit(draft, draft.sketch, source, next);
      if (refusal) return hand.refuse(refusal);
      return edits.change(next, `${draft.sources[source].name} is blended in by ${next ? methodOf(draft.methods, next.slices[index].method).word : ""}.`, `${draft.sources[source].name} cannot join here.`, draft.selection);
    }, { signal });
    const show = () =>
      offer(select, (to) => {
        const { parts: ours, layers } = slice();
        const { name: who, layers: depth } = draft.sources[to];
        if (ours.some(({ source }) => source === to)) return `${who} is in this slice.`;
        if (depth < layers) return `${who} has ${depth} layers, this slice ${layers}.`;
        return clash(draft, ours.map(({ source }) => source), to);
      });
    return { root: select, show };
  }

  let built = "";
  /** @type {(() => void)[]} */
  let shows = [];
  /** Controls are made again only when the slice is another one or made of others, so that a field keeps the hand in it. */
  function build() {
    const { sketch, sources, methods } = draft;
    const now = slice();
    const of = JSON.stringify([edits.current(), now.method, baseOf(sketch, now, methods), now.parts.map(({ source }) => source), sources.map((source) => source.name)]);
    if (of === built) return;
    built = of;
    const all = () => /** @type {HTMLElement[]} */ ([...root.querySelectorAll("select, input, button")]);
    const focused = all().findIndex((each) => each.matches(":focus"));
    const shared = methodOf(methods, now.method).numbers.filter(({ per_part, effect }) => !per_part && effect).map((number) => fieldOf(number, null));
    const each = [...now.parts.map((_, i) => partOf(i)), adder()];
    numbers.replaceChildren(...shared.map((field) => field.root));
    parts.replaceChildren(...each.map((part) => part.root));
    shows = [...shared, ...each].map(({ show }) => show);
    if (focused >= 0) all()[focused]?.focus({ preventScroll: true });
  }

  function draw() {
    build();
    const now = slice();
    say(name, `Slice ${edits.current() + 1}`);
    name.title = titleOfSlice(now, (source) => draft.sources[source].name);
    const known = draft.methods.some((each) => each.name === now.method) ? draft.methods : [methodOf([], now.method), ...draft.methods];
    if (known.map((each) => each.name).join() !== [...method.options].map(({ value }) => value).join()) {
      method.replaceChildren(...known.map((each) => h("option", { value: each.name }, each.word)));
    }
    if (method.value !== now.method) method.value = now.method;
    method.title = word();
    allow(split, edits.canSplit() ? "" : "A slice begins at the chosen layer already", "Split in front of the chosen layer (S)");
    allow(remove, edits.canRemove() ? "" : "The last slice stays", "Remove the selected layers, or the slice (Delete)");
    for (const show of shows) show();
    settle();
    const words = heightsInWords(draft.sketch, now, draft.methods).join(" ");
    say(heights, words);
    heights.title = words;
  }
  return { root, draw };
}
