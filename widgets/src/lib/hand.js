// @ts-check
// What a hand carries: layers of a source on their way into the stack, or layers of the stack to another place in it. One
// for pointer and keys; the stack shows where the load would land, live, and Escape puts it back.

import { depthOf, moveRun, rangeOf } from "./sketch.js";
import { brought } from "./suits.js";

/** @typedef {import("./sketch.js").Sketch} Sketch */
/** @typedef {import("./sketch.js").Run} Run */
/** @typedef {import("./suits.js").Refusal} Refusal */
/** @typedef {{ run: Run } | { layers: readonly [from: number, end: number] }} Load  of a source, or output layers of the stack */
/** @typedef {{ at: number, blend: boolean }} Place  in front of output layer `at`, or blended in from there on */
/**
 * @typedef {object} Held
 * @property {Load} load @property {boolean} keys  whether keys move it: then a click drops it too
 * @property {Sketch} before @property {import("./scale.js").Scale} scale  of `before`: what is under the pointer must not move away
 * @property {Place | null} place @property {readonly [number, number] | null} ghosts  output layers where it would land
 * @property {Refusal | null} refusal @property {HTMLElement | null} home  what gets the focus back
 */
/** @typedef {{ clientX: number, clientY: number }} Spot  of a pointer */
/** @typedef {{ refusal: Refusal, load: Load | null, place: Place | null }} Refused */
/** @typedef {ReturnType<typeof handOf>} Hand */

/** @param {Load} load */
export const lengthOf = (load) => ("run" in load ? load.run.end - load.run.start : load.layers[1] - load.layers[0]);

/** @param {number} count */
export const layersInHand = (count) => `${count} layer${count === 1 ? "" : "s"}`;

/** @param {Pick<import("../workbench.js").Context, "draft" | "cursor" | "redraw" | "scale" | "announce">} context */
export function handOf({ draft, cursor, redraw, scale, announce }) {
  /** @type {Held | null} */
  let held = null;
  /** @type {Refused | null} */
  let refused = null;
  /** @type {(event: Spot) => Place | null} */
  let placeUnder = () => null;
  /** @type {Spot | null} */
  let pointer = null;

  /** @param {Load} load @param {boolean} keys @param {HTMLElement | null} [home] */
  function take(load, keys, home = null) {
    refused = null;
    held = { load, keys, before: draft.sketch, scale: scale(), place: null, ghosts: null, refusal: null, home };
    draft.hold();
    if (keys) announce(`${nameOf(load)} picked up. Left and Right choose where, Enter drops, Escape puts back.`);
    redraw();
  }

  /** @param {Load} load */
  function nameOf(load) {
    if (!("run" in load)) return layersInHand(lengthOf(load));
    const { source, start } = load.run;
    return `${draft.sources[source].name} ${rangeOf(start, lengthOf(load))}`;
  }

  /** Where the load is; null: nowhere. @param {Place | null} place */
  function over(place) {
    if (!held || (place?.at === held.place?.at && place?.blend === held.place?.blend)) return;
    const { load, before } = held;
    const count = lengthOf(load);
    held.place = place;
    held.refusal = held.ghosts = null;
    if (!place) draft.edit({ sketch: before });
    else if ("run" in load) {
      const { next, refusal } = brought(draft, before, load.run, place);
      held.refusal = refusal;
      if (!refusal) held.ghosts = [place.at, place.at + count];
      draft.edit({ sketch: refusal ? before : next });
    } else {
      const [from, end] = load.layers;
      const to = place.at < from ? place.at : Math.max(from, place.at - count);
      held.ghosts = [to, to + count];
      draft.edit({ sketch: moveRun(before, from, end, place.at) });
    }
    redraw();
  }

  /** @param {Place} place */
  function placeInWords({ at, blend }) {
    if (blend) return `blended in from output layer ${at}`;
    return at >= depthOf(held?.before ?? draft.sketch) ? "on top" : `in front of output layer ${at}`;
  }

  /** Keys choose the place, from the chosen layer on. @param {number} by borders @param {boolean} [blend] */
  function step(by, blend = held?.place?.blend ?? false) {
    if (!held) return;
    const { load, place, before } = held;
    const first = "run" in load ? cursor.at : load.layers[0];
    const depth = depthOf(before) - (blend ? lengthOf(load) : 0);
    // Borders inside the load's own place change nothing: they are passed over.
    let at = (place?.at ?? first) + by;
    if (!("run" in load) && at > load.layers[0] && at <= load.layers[1]) at = by > 0 ? load.layers[1] + 1 : load.layers[0];
    at = Math.max(0, Math.min(depth, at));
    over({ at, blend: blend && "run" in load });
    const why = held.refusal ? `: ${held.refusal.what}` : "";
    announce(`${placeInWords({ at, blend })}${why}`);
  }

  /** @param {boolean} [back] whether the focus goes back where it came from */
  function end(back = true) {
    const home = held?.home;
    held = pointer = null;
    draft.release();
    if (back) home?.focus({ preventScroll: true });
    redraw();
  }

  /** @param {boolean} [back] whether the focus goes back where it came from */
  function putBack(back = true) {
    if (!held) return;
    draft.edit({ sketch: held.before });
    announce(`${nameOf(held.load)} put back.`);
    end(back);
  }

  function drop() {
    if (!held) return;
    const { load, place, ghosts, refusal, before } = held;
    if (!place) return putBack();
    if (refusal) {
      draft.edit({ sketch: before });
      end();
      return refuse(refusal, load, place);
    }
    const words = `${nameOf(load)} ${placeInWords(place)}.`;
    if (ghosts) {
      cursor.at = ghosts[0];
      draft.edit({ selection: Array.from({ length: ghosts[1] - ghosts[0] }, (_, i) => ghosts[0] + i) });
    }
    end();
    return announce(words);
  }

  /** What cannot be done stays in sight until it is answered. @param {Refusal} refusal @param {Load | null} [load] @param {Place | null} [place] */
  function refuse(refusal, load = null, place = null) {
    refused = { refusal, load, place };
    announce(`Not added. ${refusal.what} ${refusal.more}`.trim());
    redraw();
  }

  return {
    get held() {
      return held;
    },
    get refused() {
      return refused;
    },
    /** The pointer while it carries something. */
    get pointer() {
      return pointer;
    },
    /** The stack says what lies under a pointer. @param {(event: Spot) => Place | null} find */
    ground(find) {
      placeUnder = find;
    },
    /** @param {Spot} event */
    at({ clientX, clientY }) {
      if (!held) return;
      pointer = { clientX, clientY };
      over(placeUnder(pointer));
      redraw();
    },
    /** Columns to leave free above the stack, for what may not go there. */
    get spare() {
      const [load, place, refusal] = held ? [held.load, held.place, held.refusal] : [refused?.load, refused?.place, refused?.refusal];
      return load && place && refusal && !place.blend && place.at === depthOf(draft.sketch) ? lengthOf(load) : 0;
    },
    take,
    step,
    drop,
    putBack,
    refuse,
    /** @param {import("./suits.js").Way | null} way  null: leave it as it was */
    answer(way) {
      refused = null;
      if (way) {
        draft.edit({ sketch: way.sketch });
        draft.flush();
      }
      announce(way ? `${way.words}: done.` : "Left as it was.");
      redraw();
    },
  };
}
