// @ts-check
// The first widget: a stack of slices, one coefficient over depth, a prompt, and what each model answers.

import { layersOf, rangeOf } from "./lib/blocks.js";
import { answersView } from "./lib/answers_view.js";
import { curveView } from "./lib/curve_view.js";
import { h, icon, say } from "./lib/dom.js";
import { draftOf } from "./lib/draft.js";
import { onKeys } from "./lib/keys.js";
import { scaleOf } from "./lib/scale.js";
import { sourcesView } from "./lib/sources_view.js";
import { methodWord, stackView } from "./lib/stack_view.js";
import { patterns, swatch } from "./lib/swatches.js";
import { followTheme } from "./lib/theme.js";
import { topView } from "./lib/top_view.js";

/** @typedef {import("./lib/draft.js").State} State */

let views = 0; // ids must differ between two views of one page; nothing else is kept here

/** @param {{ model: import("@anywidget/types").AnyModel<State>, el: HTMLElement, signal?: AbortSignal }} context */
function render({ model, el, signal: outer }) {
  const over = new AbortController();
  const { signal } = over;
  outer?.addEventListener("abort", () => over.abort(), { once: true });
  const id = `ml-${(views += 1)}-${Math.random().toString(36).slice(2, 8)}`;

  const spoken = h("div", { class: "ml-hidden", role: "status", "aria-live": "polite" });
  const announce = (/** @type {string} */ words) => say(spoken, words);

  let width = 0;
  let frame = 0;
  const redraw = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  };
  const draft = draftOf(model, redraw, signal);
  /** @type {import("./lib/stack_view.js").Cursor} */
  const cursor = { at: 0, hover: null };
  const guest = layersOf(draft.dials.blocks).findIndex(({ block }) => block === 1);
  cursor.at = Math.max(0, guest);
  const scale = () => scaleOf(width || 612, layersOf(draft.dials.blocks).length);

  const top = topView(draft, signal);
  const sources = sourcesView(draft, id);
  const stack = stackView({ draft, cursor, id, redraw, scale, announce, signal });
  const curve = curveView({ draft, cursor, id, redraw, scale, signal });
  const answers = answersView(draft, model.get("_prompts"), id, signal);

  // The slice under the cursor, and what can be done with it.
  const sliceName = h("span", { class: "ml-slice-name" });
  const givers = draft.sources.map(({ name, code }, source) => {
    const radio = h("input", { type: "radio", name: `${id}-source`, value: source, "aria-label": `Take this slice from ${name}` });
    radio.addEventListener("change", () => stack.act.give(source), { signal });
    return { radio, root: h("label", { class: "ml-giver", title: name }, radio, swatch(id, source, 11), h("span", {}, code)) };
  });
  const split = h("button", { class: "ml-button ml-small", type: "button", title: "Split in front of the chosen layer (S)" }, icon("split"), "Split");
  const remove = h("button", { class: "ml-button ml-small", type: "button", title: "Remove this slice (Delete)" }, icon("remove"), "Remove");
  split.addEventListener("click", () => stack.act.split(), { signal });
  remove.addEventListener("click", () => stack.act.remove(), { signal });
  const slice = h(
    "div",
    { class: "ml-slice", role: "group", "aria-label": "Chosen slice" },
    sliceName,
    h("span", { class: "ml-givers", role: "radiogroup", "aria-label": "Source of the slice" }, ...givers.map(({ root: giver }) => giver)),
    h("span", { class: "ml-edits" }, split, remove),
  );

  const errorText = h("div", { class: "ml-error-text" });
  const putBack = h("button", { class: "ml-button ml-small", type: "button" }, "Put back");
  putBack.addEventListener("click", () => draft.putBack(), { signal });
  const error = h("div", { class: "ml-error", role: "alert" }, icon("cross"), errorText, putBack);

  const method = h("select", { class: "ml-select", "aria-label": "Method" });
  for (const name of model.get("_methods")) method.append(h("option", { value: name }, methodWord(name)));
  method.addEventListener("change", () => {
    draft.edit({ method: method.value });
    draft.flush();
  }, { signal });

  const stackNote = h("span", { class: "ml-mute" });
  const middle = h(
    "section",
    { class: "ml-middle", "aria-label": "Stack and coefficient" },
    h("div", { class: "ml-head" }, h("h3", {}, "Stack"), stackNote),
    stack.root,
    slice,
    error,
    h("div", { class: "ml-head ml-gap" }, h("h3", {}, "Coefficient over depth"), curve.knob, method),
    curve.root,
  );
  const root = h(
    "div",
    { class: "ml-root", "data-lm-suppress-shortcuts": "true", "data-jp-suppress-context-menu": "true" },
    patterns(id),
    top.root,
    h("div", { class: "ml-main" }, sources.root, middle, answers.root),
    spoken,
  );
  const wrap = h("div", { class: "ml-wrap" }, root);

  // The two plots share one x, so they scroll together.
  for (const [one, other] of [[stack.root, curve.root], [curve.root, stack.root]]) {
    one.addEventListener("scroll", () => {
      if (other.scrollLeft !== one.scrollLeft) other.scrollLeft = one.scrollLeft;
    }, { signal });
  }
  // What has focus shows its layer, so that the keys can be seen to act.
  for (const change of ["focusin", "focusout"]) root.addEventListener(change, redraw, { signal });
  onKeys(root, { "Mod+Enter": () => draft.flush(), ".": () => draft.stop(), m: () => method.focus() }, signal);
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && draft.error) draft.putBack();
    event.stopPropagation();
  }, { signal });

  function draw() {
    const { dials, sources: all } = draft;
    const depth = layersOf(dials.blocks).length;
    cursor.at = Math.min(cursor.at, depth - 1);
    if (cursor.hover !== null) cursor.hover = Math.min(cursor.hover, depth - 1);
    root.dataset.state = draft.state;
    top.draw();
    sources.draw();
    stack.draw();
    stack.caption(stackNote);
    curve.draw();
    answers.draw();
    const chosen = stack.act.current();
    const block = dials.blocks[chosen];
    say(sliceName, `${all[block[0]].name} ${rangeOf(block)}`);
    givers.forEach(({ radio, root: giver }, source) => {
      radio.checked = source === block[0];
      radio.disabled = !stack.act.canGive(source);
      giver.classList.toggle("ml-on", radio.checked);
      giver.classList.toggle("ml-off", radio.disabled);
    });
    split.disabled = !stack.act.canSplit();
    remove.disabled = !stack.act.canRemove();
    if (method.value !== dials.method) method.value = dials.method;
    error.hidden = !draft.error;
    say(errorText, draft.error);
    putBack.hidden = !draft.answer;
  }

  const size = new ResizeObserver(() => {
    // Off-screen outputs measure 0; the last width stays until they come back.
    const inner = middle.clientWidth - 2 * Number.parseFloat(getComputedStyle(middle).paddingLeft || "0");
    if (inner > 0 && Math.abs(inner - width) >= 1) {
      width = inner;
      redraw();
    }
  });
  signal.addEventListener("abort", () => {
    size.disconnect();
    cancelAnimationFrame(frame);
    wrap.remove();
  });
  followTheme(root, signal);
  el.append(wrap);
  size.observe(middle);
  draw();
  return () => over.abort();
}

export default { render };
