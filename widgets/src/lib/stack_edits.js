// @ts-check
// What keys and buttons do to the stack: each tells what it did, or why it cannot.

import { basePart, give, methodOf } from "./mixing.js";
import { bordersOf, depthOf, moveRun, remove, repeat, sliceAt, splitAt } from "./sketch.js";
import { ascending, between, layersInWords, runsOf } from "./selection.js";
import { clash, misfit } from "./suits.js";

/** @typedef {import("./sketch.js").Sketch} Sketch */
/** @typedef {ReturnType<typeof editsOf>} Edits */

/** @param {import("../workbench.js").Context} context */
export function editsOf({ draft, cursor, hand, redraw, announce }) {
  const depths = () => draft.sources.map(({ layers }) => layers);
  const current = () => sliceAt(draft.sketch, cursor.at);

  /** The layers that an action is about: the selected run with the cursor in it, else the cursor's layer. @returns {[from: number, end: number]} */
  function run() {
    const found = runsOf(draft.selection).find(([first, last]) => first <= cursor.at && cursor.at <= last);
    return found ? [found[0], found[1] + 1] : [cursor.at, cursor.at + 1];
  }
  /** Of the slice, where nothing is selected. @returns {[from: number, end: number]} */
  function runOrSlice() {
    if (draft.selection.includes(cursor.at)) return run();
    const borders = bordersOf(draft.sketch);
    return [borders[current()], borders[current() + 1]];
  }

  /** @param {Sketch | null} sketch @param {string} done @param {string} cannot @param {number[]} [selection] */
  function change(sketch, done, cannot, selection = []) {
    if (!sketch) return announce(cannot);
    draft.edit({ sketch, selection });
    draft.flush();
    cursor.at = Math.max(0, Math.min(cursor.at, depthOf(sketch) - 1));
    redraw();
    return announce(done);
  }

  /** @param {number} first @param {number} last */
  function select(first, last) {
    draft.edit({ selection: between(first, last) });
    redraw();
  }

  /** Into the selection or out of it, whatever else is selected. @param {number} layer */
  function toggle(layer) {
    const { selection } = draft;
    draft.edit({ selection: selection.includes(layer) ? selection.filter((each) => each !== layer) : ascending([...selection, layer]) });
    draft.flush();
    announce(draft.selection.length ? `${layersInWords(draft.selection)} selected.` : `${layersInWords([])}.`);
    redraw();
  }

  const edits = {
    current,
    run,
    runOrSlice,
    depths,
    change,
    select,
    toggle,
    split: () => change(splitAt(draft.sketch, cursor.at), `Split in front of layer ${cursor.at}.`, "A slice starts here already."),
    canSplit: () => splitAt(draft.sketch, cursor.at) !== null,
    repeat() {
      const [from, end] = runOrSlice();
      cursor.at = end;
      change(repeat(draft.sketch, from, end), `${end - from === 1 ? `Layer ${from}` : `Layers ${from} to ${end - 1}`} repeated.`, "", between(end, 2 * end - from - 1));
    },
    remove() {
      const runs = draft.selection.includes(cursor.at) ? runsOf(draft.selection).map(([first, last]) => [first, last + 1]) : [runOrSlice()];
      const count = runs.reduce((sum, [from, end]) => sum + end - from, 0);
      /** @type {Sketch | null} */
      let sketch = draft.sketch;
      for (const [from, end] of [...runs].reverse()) sketch = sketch && remove(sketch, from, end);
      if (sketch) cursor.at = Math.max(0, runs[0][0] - (runs[0][0] >= depthOf(sketch) ? 1 : 0));
      change(sketch, `${count} layer${count === 1 ? "" : "s"} removed.`, "The last layers stay: a stack needs one.");
    },
    canRemove: () => draft.sketch.slices.length > 1 || draft.selection.length > 0,
    /** Move the run by one place. @param {number} by -1 or 1 */
    nudge(by) {
      const [from, end] = runOrSlice();
      const at = by < 0 ? from - 1 : end + 1;
      if (at < 0 || at > depthOf(draft.sketch)) return announce(by < 0 ? "It is at the bottom." : "It is on top.");
      cursor.at += by;
      return change(moveRun(draft.sketch, from, end, at), `Moved to output layer ${from + by}.`, "", between(from + by, end + by - 1));
    },
    /** @param {number} index @param {number} part @param {number} source @returns {string} why a source cannot take a part's place; "" where it can */
    cannotGive(index, part, source) {
      const slice = draft.sketch.slices[index];
      const { name, layers } = draft.sources[source];
      const last = slice.parts[part].start + slice.layers - 1;
      if (last >= layers) return `${name} has ${layers} layers, this slice needs layer ${last}.`;
      if (slice.parts.some((each) => each.source === source)) return `${name} is in this slice already.`;
      return clash(draft, slice.parts.filter((_, i) => i !== part).map((each) => each.source), source);
    },
    /** @param {number} index @param {number} part @param {number} source */
    give(index, part, source) {
      const cannot = edits.cannotGive(index, part, source);
      const next = cannot ? null : give(draft.sketch, index, part, source, draft.methods, depths());
      const refusal = next ? misfit(draft, draft.sketch, source, next) : { what: cannot, more: "", ways: [] };
      if (refusal) return hand.refuse(refusal);
      return change(next, `Slice ${index + 1} is now of ${draft.sources[source].name}.`, cannot, draft.selection);
    },
    /** The next source that can take the donor's place. @param {number} by -1 or 1 */
    nextSource(by) {
      const index = current();
      const slice = draft.sketch.slices[index];
      const base = basePart(draft.sketch, slice, draft.methods);
      const part = slice.parts.findIndex((_, i) => i !== base);
      const count = draft.sources.length;
      if (part < 0) return announce(`${methodOf(draft.methods, slice.method).word} has no donor here.`);
      for (let i = 1; i < count; i += 1) {
        const source = (slice.parts[part].source + by * i + count * i) % count;
        const next = edits.cannotGive(index, part, source) ? null : give(draft.sketch, index, part, source, draft.methods, depths());
        if (next && !misfit(draft, draft.sketch, source, next)) return edits.give(index, part, source);
      }
      return announce("No other source can take this slice.");
    },
  };
  return edits;
}
