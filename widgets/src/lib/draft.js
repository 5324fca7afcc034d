// @ts-check
// What this view shows right now: the recipe's dials as the hand has moved them, before Python has answered.
// Each view has its own; the model is where they meet.

import { outbox } from "./outbox.js";

/** @typedef {import("./blocks.js").Block} Block */
/** @typedef {{ blocks: Block[], coefficient: number[], method: string, prompt: string }} Dials */
/** @typedef {{ name: string, code: string, layers: number }} Source */
/** @typedef {{ token: string, probabilities: (number | null)[] }} Candidate  null: not in the speaker's vocabulary */
/**
 * @typedef {object} Answer  what Python says; null until the first answer
 * @property {string} recipe  fingerprint of the recipe
 * @property {Omit<Dials, "prompt">} made  the dials it was made with
 * @property {number} redone @property {number} steps @property {number} seconds
 * @property {string} warning  what memory did not suffice for, in words, or empty
 * @property {number} layers @property {number} parameters @property {number} bytes
 * @property {Candidate[]} candidates @property {(number | null)[]} kl  of each speaker: merged first, then the sources
 * @property {(string | null)[]} texts @property {boolean[]} written  of each speaker
 */
/**
 * @typedef {Dials & {
 *   answer: Answer | null, status: string, error: string, notice: string,
 *   _turn: number, _answered: number, _sources: Source[], _methods: string[], _prompts: string[],
 * }} State
 */
/** @typedef {import("@anywidget/types").AnyModel<State>} Model */

export const DIALS = /** @type {const} */ (["blocks", "coefficient", "method", "prompt"]);
const HEARD = /** @type {const} */ (["answer", "status", "error", "_turn", "_answered"]);

/** @param {Model} model @param {() => void} redraw @param {AbortSignal} signal */
export function draftOf(model, redraw, signal) {
  const box = outbox((edits) => {
    for (const [name, value] of Object.entries(edits)) model.set(/** @type {any} */ (name), /** @type {any} */ (value));
    model.set("_turn", model.get("_turn") + 1);
    model.save_changes();
  });
  let held = false; // a hand is on a dial: what Python or another view says waits until it lets go
  /** @type {Set<keyof Dials>} */
  const touched = new Set(); // by that hand

  /** @returns {Dials} */
  const read = () => ({
    blocks: model.get("blocks"),
    coefficient: model.get("coefficient"),
    method: model.get("method"),
    prompt: model.get("prompt"),
  });
  let dials = read();

  /** Whether what Python has said is about the newest edit. */
  const current = () => !box.waiting && model.get("_answered") >= model.get("_turn");
  const adopt = () => {
    if (held || box.waiting) return;
    dials = read();
    redraw();
  };
  for (const name of DIALS) model.on(`change:${name}`, adopt);
  for (const name of HEARD) model.on(`change:${name}`, redraw);
  signal.addEventListener("abort", () => {
    box.flush();
    for (const name of DIALS) model.off(`change:${name}`, adopt);
    for (const name of HEARD) model.off(`change:${name}`, redraw);
  });

  return {
    get dials() {
      return dials;
    },
    get sources() {
      return model.get("_sources");
    },
    get answer() {
      return model.get("answer") ?? null;
    },
    get error() {
      return model.get("error") ?? "";
    },
    /** What the top bar and the answers are worth: of these dials, of earlier ones, or nothing yet. */
    get state() {
      const status = model.get("status");
      if (!current() || status === "loading") return model.get("answer") ? "draft" : "loading";
      return status === "failed" || status === "stopped" || status === "waiting" ? status : "exact";
    },
    /** Whether there is something to stop: the answer is on its way, or texts are still being written. */
    get writing() {
      return !current() || model.get("status") === "loading" || model.get("status") === "writing";
    },
    /** @param {Partial<Dials>} edits */
    edit(edits) {
      const changed = Object.entries(edits).filter(
        ([name, value]) => JSON.stringify(value) !== JSON.stringify(dials[/** @type {keyof Dials} */ (name)]),
      );
      if (!changed.length) return;
      dials = { ...dials, ...edits };
      if (held) for (const [name] of changed) touched.add(/** @type {keyof Dials} */ (name));
      box.put(edits);
      redraw();
    },
    hold() {
      held = true;
    },
    release() {
      held = false;
      // The hand has the last word on what it moved, Python and the other views on the rest.
      const won = [...touched].filter((name) => JSON.stringify(model.get(name)) !== JSON.stringify(dials[name]));
      touched.clear();
      if (won.length) box.put(Object.fromEntries(won.map((name) => [name, dials[name]])));
      box.flush();
      adopt();
      redraw();
    },
    flush: () => box.flush(),
    stop() {
      model.send({ type: "stop" });
    },
    /** The dials of the last answer, to go back to after a refusal. */
    putBack() {
      const made = model.get("answer")?.made;
      if (made) this.edit({ blocks: made.blocks, coefficient: made.coefficient, method: made.method });
      box.flush();
    },
  };
}
/** @typedef {ReturnType<typeof draftOf>} Draft */
