// @ts-check
// The top bar: what the stack is, what it costs, back and forth in time, and whether what is on screen is of this stack.

import { costsOf, hostOf } from "./counts.js";
import { h, icon, pool, say } from "./dom.js";
import { bytes, count, inThousands, seconds, signed } from "./figures.js";
import { keysView } from "./keys_view.js";
import { methodOf } from "./mixing.js";
import { titleOf } from "./title.js";
import { allow, press, roving } from "./toolbar.js";

/** @typedef {import("../workbench.js").Context} Context */

const STATES = /** @type {Record<string, string>} */ ({
  loading: "Loading",
  draft: "Draft",
  exact: "Exact",
  failed: "Not built",
  stopped: "Stopped",
  waiting: "Waits",
});

const SETTLED = 600; // ms that a state has to last before it is said aloud: a drag goes through many
const TAP = 300; // ms; a key that is down for longer is held

/** @param {Context} context */
export function topView({ draft, announce, id, signal }) {
  const title = h("div", { class: "ml-title" });
  const fingerprint = h("span", { class: "ml-fingerprint", title: "SHA-256 of the recipe's YAML, first 8 digits" });
  const kept = h("span", {});
  const counts = h("dl", { class: "ml-counts" });
  const light = h("span", { class: "ml-light", "aria-hidden": "true" });
  const state = h("b");
  const told = h("span", { class: "ml-hidden", role: "status" }); // the state to those who listen, once it has settled
  const detail = h("span", { class: "ml-detail" });

  const undoButton = press([icon("undo")], () => act.undo(), signal, { class: "ml-square", "aria-label": "Undo" });
  const redoButton = press([icon("redo")], () => act.redo(), signal, { class: "ml-square", "aria-label": "Redo" });
  const nowButton = press(["A now"], () => act.show(""), signal);
  const savedButton = press(["B saved"], () => act.show(newest()), signal);
  const keepButton = press([icon("keep")], () => act.keep(), signal, { class: "ml-square", "aria-label": "Keep a snapshot of this" });
  const stop = press([icon("stop"), "Stop"], () => draft.stop(), signal, { class: "ml-stop" });
  const keys = keysView(id, signal);
  const bar = h(
    "div",
    { class: "ml-act", role: "toolbar", "aria-label": "History and running" },
    h("span", { class: "ml-group" }, undoButton, redoButton),
    h("span", { class: "ml-either", role: "group", "aria-label": "Compare" }, nowButton, savedButton),
    keepButton,
    h("div", { class: "ml-state" }, light, h("div", {}, state, detail), told),
    stop,
    keys.button,
  );
  const settle = roving(bar, signal);
  const root = h("header", { class: "ml-top" }, h("div", { class: "ml-name" }, title, h("div", { class: "ml-under" }, fingerprint, kept)), counts, bar, keys.root);

  const newest = () => draft.past.snapshots.at(-1)?.name ?? "";
  const recipeNow = () => draft.past.entries.find(({ now }) => now)?.recipe ?? "";
  /** When B went down, in ms; null: it is up. @type {number | null} */
  let peeking = null;

  const act = {
    undo() {
      if (draft.past.undo) draft.tell({ type: "undo" });
      announce(draft.past.undo ? `Undone: ${draft.past.undo_words}` : "Nothing to undo");
    },
    redo() {
      if (draft.past.redo) draft.tell({ type: "redo" });
      announce(draft.past.redo ? `Redone: ${draft.past.redo_words}` : "Nothing to redo");
    },
    /** @param {string} name  of a snapshot; empty: the stack as it is now */
    show(name) {
      if (name !== draft.past.showing) draft.tell({ type: "show", name });
    },
    /** The snapshot: for good after a tap on the key, while it is down after a longer press. */
    peek() {
      if (peeking !== null || draft.past.showing || !newest()) return;
      peeking = performance.now();
      draft.tell({ type: "show", name: newest() });
    },
    unpeek() {
      if (peeking !== null && performance.now() - peeking > TAP) draft.tell({ type: "show", name: "" });
      peeking = null;
    },
    keep() {
      const taken = draft.past.snapshots.map(({ name }) => name);
      let number = taken.length + 1;
      while (taken.includes(`snapshot ${number}`)) number += 1;
      draft.tell({ type: "keep", name: `snapshot ${number}` });
      announce(`Kept as snapshot ${number}`);
    },
  };

  /** How much work it was. @param {import("./draft.js").Answer} answer */
  const made = ({ redone, steps, seconds: took }) => `${steps} tensors, ${redone || "none"} computed, ${seconds(took)}`;

  function sentence() {
    const { answer, scores, sources, status } = draft;
    switch (draft.state) {
      case "loading":
        return `opening ${sources.length} model${sources.length === 1 ? "" : "s"}`;
      case "failed":
        return "see the message below";
      case "waiting":
        return "for a prompt";
      case "stopped":
        return "at your word";
      case "draft":
        return answer ? `exact in about ${seconds(Math.max(answer.seconds, 0.001))}` : "";
      default:
        if (!answer) return "";
        if (status.startsWith("measuring: ")) return `waiting for ${status.slice("measuring: ".length)}`;
        if (scores.rows.length && (scores.recipe !== answer.recipe || !scores.done)) {
          // The light is about the answers; the scores come after them.
          if (status === "measuring" || status === "writing") return "scores measuring";
          if (scores.recipe !== answer.recipe) return "scores of an earlier turn";
        }
        if (status === "measuring") return "seams measuring";
        return answer.unsaved ? "cannot be saved as it is" : made(answer);
    }
  }

  function whereKept() {
    const { showing, snapshots } = draft.past;
    if (showing) return `showing ${showing}`;
    if (!snapshots.length) return "no snapshot yet";
    const here = snapshots.find(({ recipe }) => recipe === recipeNow());
    return here ? `kept as ${here.name}` : `changed since ${newest()}`;
  }

  let last = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let settling;
  signal.addEventListener("abort", () => clearTimeout(settling));
  function tell() {
    if (draft.state === last) return;
    last = draft.state;
    clearTimeout(settling);
    say(told, "");
    settling = setTimeout(() => say(told, STATES[last]), SETTLED);
  }

  function draw() {
    const { answer, past, sketch, sources } = draft;
    const words = titleOf(sketch, sources, (method) => methodOf(draft.methods, method).word);
    say(title, words);
    title.title = words;
    say(fingerprint, (draft.state === "draft" ? "" : draft.state === "exact" && answer ? answer.recipe : recipeNow()) || "–");
    say(kept, whereKept());
    kept.title = kept.textContent ?? "";

    const host = sources[hostOf(sketch)];
    const { layers, parameters, bytes: size, memory, decode } = costsOf(sketch, sources, answer, draft.state === "exact");
    /** @type {[figure: string, more: string, name: string, title: string][]} */
    const figures = [
      [`${layers}`, layers === host.layers ? "" : signed(layers - host.layers), "layers", `${host.name} has ${host.layers}`],
      [count(parameters), "", "parameters", `${inThousands(parameters)} parameters`],
      [bytes(size), "", "on disk", `${inThousands(size)} bytes`],
      [bytes(memory), "", "preview memory", "What the preview keeps in memory: every source, and once every layer that is blended or in another dtype. Layers kept whole, and repeats, are shared and take none"],
      [`${decode.toFixed(2)}×`, "", "decode cost", `Bytes of weights that are read for each token written, against ${host.name} alone: where memory sets the pace, a token takes that much longer`],
    ];
    pool(counts, figures.length, () => h("div", {}, h("dd", {}, h("span", {}), " ", h("em", {})), h("dt", {}))).forEach((cell, i) => {
      const [figure, more, name, why] = figures[i];
      const [value, beside] = cell.children[0].children;
      say(value, figure);
      say(beside, more);
      say(cell.children[1], name);
      /** @type {HTMLElement} */ (cell).title = why;
    });

    allow(undoButton, past.undo ? "" : "nothing to undo", `undo: ${past.undo_words}`);
    allow(redoButton, past.redo ? "" : "nothing to redo", `redo: ${past.redo_words}`);
    allow(nowButton, "", "the stack as it is now (A)");
    const other = past.showing || newest();
    allow(savedButton, other ? "" : "keep a snapshot first", `${other} (hold B to peek)`);
    for (const [button, on] of /** @type {[HTMLElement, boolean][]} */ ([[nowButton, !past.showing], [savedButton, past.showing !== ""]])) {
      button.setAttribute("aria-pressed", `${on}`);
    }
    allow(keepButton, "", "keep a snapshot of this");
    light.dataset.state = draft.state;
    say(state, STATES[draft.state]);
    say(detail, sentence());
    detail.title = draft.state === "exact" && answer ? [answer.unsaved, `${made(answer)}: what is kept whole, or was computed before, is shared`].filter(Boolean).join(" ") : "";
    tell();
    allow(stop, draft.writing ? "" : "nothing is running", "stop (full stop, Escape)");
    settle();
  }
  return { root, draw, ...act, keys: () => keys.toggle(), shut: () => keys.shut() };
}
