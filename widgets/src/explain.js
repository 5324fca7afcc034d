// @ts-check
// One merge method at work on ten numbers: dials on the left, what stands after each step on the right.

import { h, icon, say } from "./lib/dom.js";
import { dialsView } from "./lib/dials_view.js";
import { keepKeys } from "./lib/keys.js";
import { outbox } from "./lib/outbox.js";
import { stagesView } from "./lib/stages_view.js";
import { followTheme } from "./lib/theme.js";

/** @typedef {import("./lib/dials_view.js").Dial} Dial */
/** @typedef {import("./lib/stages_view.js").Stage} Stage */
/**
 * @typedef {{ turn: number, method: string, summary: string, names: string[], dials: Dial[], base: number[] | null,
 *   limit: number, stages: Stage[] }} Shown
 * @typedef {{ method: string, numbers: Record<string, unknown>, depth: number, seed: number, error: string, _turn: number,
 *   _methods: string[], _shown: Shown }} State
 */

/** @param {{ model: import("@anywidget/types").AnyModel<State>, el: HTMLElement, signal?: AbortSignal }} context */
function render({ model, el, signal: outer }) {
  const over = new AbortController();
  const { signal } = over;
  outer?.addEventListener("abort", () => over.abort(), { once: true });

  const box = outbox((edits) => {
    for (const [name, value] of Object.entries({ ...edits, _turn: model.get("_turn") + 1 })) model.set(/** @type {keyof State} */ (name), /** @type {any} */ (value));
    model.save_changes();
  });
  const edit = (/** @type {Record<string, unknown>} */ edits) => box.put(edits);

  const method = h("select", { class: "ml-select", "aria-label": "Method" });
  for (const name of model.get("_methods")) method.append(h("option", { value: name }, name));
  method.addEventListener("change", () => {
    edit({ method: method.value, numbers: {} });
    lock();
  }, { signal });
  const does = h("p", { class: "ml-does" });
  const reset = h("button", { class: "ml-button ml-small", type: "button" }, "Reset");
  reset.addEventListener("click", () => edit({ numbers: {} }), { signal });
  const dials = dialsView(edit, signal);
  const stages = stagesView();
  const errorText = h("div", { class: "ml-error-text" });
  const error = h("div", { class: "ml-error", role: "alert" }, icon("cross"), errorText);

  const root = h(
    "section",
    { class: "ml-root", "aria-label": "A method, step by step" },
    h(
      "div",
      { class: "ml-explain" },
      h(
        "section",
        { class: "ml-turn", "aria-label": "Method and its numbers" },
        h("div", { class: "ml-method" }, method, reset),
        does,
        dials.root,
        error,
      ),
      stages.root,
    ),
  );
  keepKeys(root, signal);

  let drawn = ""; // the method whose dials stand there
  const lock = () => dials.lock(method.value !== model.get("_shown").method);

  function draw() {
    const shown = model.get("_shown");
    const wrong = model.get("error");
    say(does, shown.summary);
    stages.draw(shown);
    // While edits are on their way the dials stay as the hand left them.
    if (!box.waiting && shown.turn >= model.get("_turn") && (!wrong || shown.method !== drawn)) {
      method.value = drawn = shown.method;
      dials.draw(shown.dials, shown.names);
    }
    lock();
    root.dataset.state = wrong ? "stale" : "exact";
    error.hidden = !wrong;
    say(errorText, wrong);
  }
  for (const name of /** @type {const} */ (["_shown", "error"])) {
    model.on(`change:${name}`, draw);
    signal.addEventListener("abort", () => model.off(`change:${name}`, draw));
  }
  const wrap = h("div", { class: "ml-wrap-explain" }, root);
  signal.addEventListener("abort", () => {
    box.flush();
    wrap.remove();
  });
  followTheme(root, signal);
  el.append(wrap);
  draw();
  return () => over.abort();
}

export default { render };
