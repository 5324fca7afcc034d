// @ts-check
// What this view shows right now: the recipe's picture as the hand has moved it, before Python has answered.
// Each view has its own; the model is where they meet.

import { outbox } from "./outbox.js";

/**
 * @typedef {number | boolean | string | number[]} Value  a list: a gradient over the slice's layers
 * @typedef {[filter: string | null, value: Value][]} Setting  the first rule whose filter is in the tensor's name wins
 * @typedef {Record<string, Setting>} Numbers
 * @typedef {{ source: number, start: number, numbers: Numbers }} Part
 * @typedef {{ method: string, base: number | null, layers: number, parts: Part[], numbers: Numbers }} Slice
 * @typedef {{ base: number | null, widen: boolean, slices: Slice[] }} Sketch  the recipe as a picture
 */
/** @typedef {{ sketch: Sketch, prompt: string, prompts: string[], selection: number[], text: string }} Edits  what a hand can move */
/** @typedef {{ parameters: number, bytes: number }} Size */
/**
 * @typedef {{ name: string, code: string, layers: number, norms: (number | null)[], parameters: number[], bytes: number[],
 *   rest: Size }} Source
 * @typedef {{ name: string, per_part: boolean, kind: "number" | "whole" | "switch" | "choice", default: number | boolean | string | null,
 *   needed: boolean, dial: [number, number] | null, low: number | null, high: number | null, choices: string[], doc: string,
 *   effect: boolean, curve: boolean }} Dial
 * @typedef {{ name: string, word: string, doc: string, base: boolean, ground: boolean, parts: [number, number | null],
 *   numbers: Dial[] }} Method  base: it needs one; ground: one that is among the parts is its base
 * @typedef {{ what: string, theirs: string, ours: string, differs: boolean, hinders: boolean }} Fact  hinders: in the way of one config
 * @typedef {{ grade: "fits" | "preview" | "no", why: string, facts: Fact[], widen: boolean }} Fit
 * @typedef {{ name: string, word: string, doc: string,
 *   numbers: { name: string, word: string, kind: "whole" | "source", default: number, low: number, high: number }[] }} Preset
 */
/** @typedef {{ token: string, probabilities: (number | null)[] }} Candidate  null: not in the speaker's vocabulary */
/** @typedef {{ token: string, loss: number | null, kl: (number | null)[] }} Shade  nats; kl: of each source */
/**
 * @typedef {object} Answer  what Python says; null until the first answer
 * @property {string} prompt @property {string} recipe  fingerprint of the recipe
 * @property {Sketch} made  the picture it was made of
 * @property {number} redone @property {number} steps @property {number} seconds
 * @property {string} warning  what memory did not suffice for, in words, or empty
 * @property {string} [unsaved]  why it cannot be saved as it is, in words, or empty
 * @property {number} layers @property {number} parameters @property {number} bytes
 * @property {Candidate[]} candidates @property {(number | null)[]} kl  of each speaker: merged first, then the sources
 * @property {(number | null)[]} entropy @property {(string | null)[]} texts @property {boolean[]} written  of each speaker
 * @property {Shade[] | null} shading  of the prompt's tokens; null until known
 */
/**
 * @typedef {{ norm: number | null, cosine: number | null, frechet?: number | null }} Edge
 * @typedef {{ at: number, below: string, above: string, norm: number | null, cosine: number | null, frechet: number | null,
 *   low: Edge, high: Edge, off: boolean, sentence: string }} Seam
 * @typedef {{ turn: number, recipe: string, seams: Seam[], note?: string }} Seams  note: on what they were measured, or why not
 * @typedef {{ name: string, value: number | null, note?: string }} Control  note: what model it is
 * @typedef {{ name: string, unit: string, better: "higher" | "lower", value: number | null, spread: number | null,
 *   controls: Control[], past: [turn: number, value: number | null][], why?: string }} ScoreRow
 * @typedef {{ recipe: string | null, done: boolean, rows: ScoreRow[] }} Scores
 * @typedef {{ turn: number, recipe: string, words: string, scores: Record<string, number | null>, now: boolean }} Entry
 * @typedef {{ undo: number, redo: number, undo_words: string, redo_words: string, entries: Entry[],
 *   snapshots: { name: string, recipe: string }[], showing: string }} Past
 * @typedef {{ grade: "error" | "warning" | "note" | "fine", where: string, line: number | null, column: number | null,
 *   end: number | null, what: string, hint: string, fix: string | null }} Problem
 * @typedef {{ mergekit: string | null, python: string | null, json: string | null, why: Record<string, string> }} Exports
 * @typedef {{ prompt: string, columns: { label: string, text: string }[], votes: number, of: number, verdict: string,
 *   names: string[] | null, same?: boolean }} Blind  same: all wrote the same
 */
/** @typedef {{ values: Record<"attention" | "feed_forward" | "rest", Value>, words: string }} Copied  a curve, and where it is from */
/** @typedef {Pick<State, "_locks" | "_copied">} Shared  what views and a reload keep that is nothing of the recipe */
/**
 * @typedef {Edits & {
 *   answer: Answer | null, status: string, error: string, _turn: number, _answered: number, _held: boolean,
 *   _sources: Source[], _methods: Method[], _fits: Fit[], _blends: string[][],
 *   _kinds: { attention: string, feed_forward: string } | null, _presets: Preset[], _seams: Seams | null,
 *   _scores: Scores, _past: Past, _problems: Problem[], _behind: boolean, _exports: Exports, _lines: [number, number][],
 *   _blind: Blind | null, _locks: string[], _copied: Copied | null,
 * }} State
 */
/** @typedef {import("@anywidget/types").AnyModel<State>} Model */

/** @type {readonly (keyof Edits)[]} */
export const EDITS = ["sketch", "prompt", "prompts", "selection", "text"];
/** @type {readonly (keyof State)[]} */
const HEARD = [
  "answer", "status", "error", "_turn", "_answered", "_sources", "_methods", "_fits", "_blends", "_kinds", "_presets",
  "_seams", "_scores", "_past", "_problems", "_behind", "_exports", "_lines", "_blind",
  "_locks", "_copied",
];

const LEAST = 50; // ms between two edits that are sent while a hand moves
const MOST = 300; // ms of rest
const LONG = 1000; // ms that an answer is waited for
const LOOK = 16; // ms between two looks whether it has come

/** @param {unknown} one @param {unknown} other */
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** @param {Model} model @param {() => void} redraw @param {AbortSignal} signal */
export function draftOf(model, redraw, signal) {
  let held = false; // a hand is on something: what Python or another view says waits until it lets go
  /** The newest edit that was sent and is not answered yet. @type {{ turn: number, at: number } | null} */
  let asked = null;
  let rested = 0; // when Python has rested from the last answer
  // Python and the page may share two processors: while a hand moves, Python is asked once it has answered and rested as long as
  // that took, so that it finishes what it is at, and the hand is not held up.
  const rest = () => (!held ? 0 : asked ? Math.min(LOOK, asked.at + LONG - Date.now()) : rested - Date.now());
  const heard = () => {
    if (!asked || model.get("_answered") < asked.turn) return;
    rested = Date.now() + Math.min(MOST, Date.now() - asked.at);
    asked = null;
  };
  const box = outbox((edits) => {
    for (const [name, value] of Object.entries(edits)) model.set(/** @type {any} */ (name), /** @type {any} */ (value));
    // A hand that only lets go asks for nothing.
    if (Object.keys(edits).some((name) => name !== "_held")) {
      model.set("_turn", model.get("_turn") + 1);
      asked = { turn: model.get("_turn"), at: Date.now() };
    }
    model.save_changes();
  }, LEAST, rest);
  /** @type {Set<keyof Edits>} */
  const touched = new Set(); // by that hand

  const read = () => /** @type {Edits} */ (Object.fromEntries(EDITS.map((name) => [name, model.get(name)])));
  let now = read();

  /** Whether what Python has said is about the newest edit. */
  const current = () => !box.waiting && model.get("_answered") >= model.get("_turn");
  const adopt = () => {
    if (box.waiting || (held && touched.has("text"))) return;
    now = held ? { ...now, text: model.get("text") } : read(); // the text goes along with the picture in hand
    redraw();
  };
  for (const name of EDITS) model.on(`change:${name}`, adopt);
  for (const name of HEARD) model.on(`change:${name}`, redraw);
  model.on("change:_answered", heard);

  const draft = {
    get sketch() {
      return now.sketch;
    },
    get prompt() {
      return now.prompt;
    },
    get prompts() {
      return now.prompts;
    },
    get selection() {
      return now.selection;
    },
    get text() {
      return now.text;
    },
    get sources() {
      return model.get("_sources");
    },
    get methods() {
      return model.get("_methods");
    },
    get fits() {
      return model.get("_fits");
    },
    get blends() {
      return model.get("_blends");
    },
    get kinds() {
      return model.get("_kinds") ?? null;
    },
    get presets() {
      return model.get("_presets");
    },
    get answer() {
      return model.get("answer") ?? null;
    },
    get seams() {
      return model.get("_seams") ?? null;
    },
    get scores() {
      return model.get("_scores");
    },
    get past() {
      return model.get("_past");
    },
    get problems() {
      return model.get("_problems");
    },
    get behind() {
      return model.get("_behind");
    },
    get exports() {
      return model.get("_exports");
    },
    get lines() {
      return model.get("_lines");
    },
    get blind() {
      return model.get("_blind") ?? null;
    },
    /** Rows of curves that the hand leaves alone: "row number". */
    get locks() {
      return model.get("_locks");
    },
    get copied() {
      return model.get("_copied") ?? null;
    },
    get error() {
      return model.get("error") ?? "";
    },
    get status() {
      return model.get("status");
    },
    /** What the figures are worth: of this picture ("exact"), of an earlier one ("draft"), or nothing yet.
     * @returns {"loading" | "draft" | "exact" | "failed" | "stopped" | "waiting"} */
    get state() {
      const status = model.get("status");
      if (!current() || status === "loading") return model.get("answer") ? "draft" : "loading";
      return status === "failed" || status === "stopped" || status === "waiting" ? status : "exact";
    },
    /** Whether there is something to stop: the answer is on its way, texts are being written, figures measured. */
    get writing() {
      return !current() || /^(loading|writing|measuring)/.test(model.get("status"));
    },
    /** @param {Partial<Edits>} edits */
    edit(edits) {
      const changed = EDITS.filter((name) => name in edits && !same(edits[name], now[name]));
      if (!changed.length) return;
      now = { ...now, ...edits };
      if (held) for (const name of changed) touched.add(name);
      box.put({ ...Object.fromEntries(changed.map((name) => [name, edits[name]])), ...(held ? { _held: true } : {}) });
      redraw();
    },
    hold() {
      held = true;
    },
    release() {
      if (!held) return;
      held = false;
      // The hand has the last word on what it moved, Python and the other views on the rest.
      const won = [...touched].filter((name) => !same(model.get(name), now[name]));
      if (touched.size) box.put({ ...Object.fromEntries(won.map((name) => [name, now[name]])), _held: false });
      touched.clear();
      box.flush();
      adopt();
      redraw();
    },
    flush: () => box.flush(),
    /** @param {Partial<Shared>} shared */
    share(shared) {
      for (const [name, value] of Object.entries(shared)) model.set(/** @type {keyof Shared} */ (name), value);
      model.save_changes();
    },
    stop() {
      draft.tell({ type: "stop" });
    },
    /** The picture of the last answer, to go back to after a refusal. */
    putBack() {
      const made = model.get("answer")?.made;
      if (made) draft.edit({ sketch: made });
      box.flush();
    },
    /** A request to Python, behind the edits that were made before it: Jupyter may still hold those back, so it says
     * which was the last. @param {Record<string, unknown>} message */
    tell(message) {
      box.flush();
      model.send({ ...message, after: model.get("_turn") });
    },
  };
  signal.addEventListener("abort", () => {
    draft.release();
    box.flush();
    for (const name of EDITS) model.off(`change:${name}`, adopt);
    for (const name of HEARD) model.off(`change:${name}`, redraw);
    model.off("change:_answered", heard);
  });
  return draft;
}
/** @typedef {ReturnType<typeof draftOf>} Draft */
