// @ts-check
// The workbench: sources, the stack that is built of them, its numbers over depth, what it says, and the recipe as text.

import { answersView } from "./lib/answers_view.js";
import { curvesView } from "./lib/curves_view.js";
import { h, heir, icon, say } from "./lib/dom.js";
import { draftOf } from "./lib/draft.js";
import { drawerView } from "./lib/drawer_view.js";
import { handOf } from "./lib/hand.js";
import { keepKeys, nameOf } from "./lib/keys.js";
import { presetsView } from "./lib/presets_view.js";
import { rulerOf } from "./lib/ruler.js";
import { scaleOf } from "./lib/scale.js";
import { depthOf, layersOf } from "./lib/sketch.js";
import { sliceView } from "./lib/slice_view.js";
import { sourcesView } from "./lib/sources_view.js";
import { stackView } from "./lib/stack_view.js";
import { patterns } from "./lib/swatches.js";
import { followTheme } from "./lib/theme.js";
import { topView } from "./lib/top_view.js";

/** @typedef {import("./lib/draft.js").State} State */
/** @typedef {{ at: number, hover: number | null }} Cursor  output layers: of the keyboard, of the pointer */
/**
 * @typedef {object} Context  what every view is given
 * @property {import("./lib/draft.js").Draft} draft @property {Cursor} cursor
 * @property {import("./lib/hand.js").Hand} hand  what is carried between the views
 * @property {string} id  unique in the page
 * @property {() => void} redraw  asks for a frame
 * @property {() => import("./lib/scale.js").Scale} scale  the x that stack, seams and curves share
 * @property {(words: string) => void} announce  to people who listen
 * @property {import("./lib/ruler.js").Ruler} ruler  how wide words are
 * @property {AbortSignal} signal
 */

let views = 0; // ids must differ between two views of one page; nothing else is kept here

/** Whether keys pressed there are letters of a text. @param {EventTarget | null} target */
const isText = (target) =>
  target instanceof Element && target.matches("textarea, select, input:not([type=range], [type=checkbox], [type=radio])");

/** The first output layer that is not the base's own: what one came to see. @param {import("./lib/draft.js").Sketch} sketch */
const guestOf = (sketch) => Math.max(0, layersOf(sketch).findIndex(({ parts }) => parts.some(({ source }) => source !== sketch.base)));

/** @param {{ model: import("@anywidget/types").AnyModel<State>, el: HTMLElement, signal?: AbortSignal }} context */
function render({ model, el, signal: outer }) {
  const over = new AbortController();
  const { signal } = over;
  outer?.addEventListener("abort", () => over.abort(), { once: true });
  const id = `ml-${(views += 1)}-${Math.random().toString(36).slice(2, 8)}`;

  const spoken = h("div", { class: "ml-hidden", role: "status", "aria-live": "polite" });
  const announce = (/** @type {string} */ words) => say(spoken, words);

  let width = 0;
  let left = 0; // px that the plots are scrolled by
  let frame = 0;
  let begun = false;
  const redraw = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  };
  const draft = draftOf(model, redraw, signal);
  /** @type {Cursor} */
  const cursor = { at: guestOf(draft.sketch), hover: null };
  const scale = () => scaleOf(width || 612, depthOf(draft.sketch), hand.spare, left);
  const hand = handOf({ draft, cursor, redraw, scale, announce });
  const root = h("section", { class: "ml-root ml-workbench ml-undrawn", "aria-label": "Workbench", "data-jp-suppress-context-menu": "true" });
  const ruler = rulerOf(root);
  /** @type {Context} */
  const context = { draft, cursor, hand, id, redraw, scale, announce, ruler, signal };

  const top = topView(context);
  const sources = sourcesView(context);
  const presets = presetsView(context);
  const stack = stackView(context);
  const slice = sliceView(context);
  const curves = curvesView(context);
  const answers = answersView(context);
  const drawer = drawerView(context);
  const parts = [top, sources, presets, stack, slice, curves, answers, drawer];

  const errorText = h("div", { class: "ml-error-text" });
  const putBack = h("button", { class: "ml-button ml-small", type: "button" }, "Put back");
  let answered = ""; // an error that was answered where there was nothing to put back
  const canPutBack = () => draft.answer !== null && JSON.stringify(draft.answer.made) !== JSON.stringify(draft.sketch);
  const answer = () => {
    if (canPutBack()) return draft.putBack();
    answered = draft.error;
    return redraw();
  };
  putBack.addEventListener("click", answer, { signal });
  const error = h("div", { class: "ml-error", role: "alert" }, icon("cross"), errorText, putBack);

  const middle = h("section", { class: "ml-middle", "aria-label": "Stack and coefficients" }, presets.root, stack.root, error, slice.root, curves.root);
  root.append(patterns(id), top.root, h("div", { class: "ml-main" }, sources.root, middle, answers.root), drawer.root, spoken);
  const wrap = h("div", { class: "ml-wrap-workbench" }, root);

  /** Keys of the whole widget; what has focus has been asked before them. @type {Record<string, () => void>} */
  const keys = {
    "Mod+z": () => top.undo(),
    "Mod+Shift+z": () => top.redo(),
    "Mod+y": () => top.redo(),
    "Mod+Enter": () => answers.ask(),
    ".": () => draft.stop(),
    Escape: () => (error.hidden ? draft.stop() : answer()),
    a: () => top.show(""),
    b: () => top.peek(),
    y: () => drawer.open(),
    "?": () => top.keys(),
    "Shift+?": () => top.keys(),
  };
  keepKeys(root, signal);
  // The list of keys lies over the page: before anything else is put back or stopped, Escape closes it, wherever the focus is.
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !top.shut()) return;
    event.preventDefault();
    event.stopPropagation();
  }, { capture: true, signal });
  root.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || (isText(event.target) && nameOf(event) !== "Mod+Enter")) return;
    const act = keys[nameOf(event)];
    if (!act) return;
    event.preventDefault();
    act();
  }, { signal });
  root.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "b") top.unpeek();
    event.stopPropagation();
  }, { signal });
  root.addEventListener("focusout", ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Element) || !root.contains(relatedTarget)) top.unpeek();
  }, { signal });
  // The plots share one x, so they scroll together.
  middle.addEventListener("scroll", ({ target }) => {
    if (!(target instanceof Element) || !target.matches(".ml-scroll")) return;
    for (const other of middle.querySelectorAll(".ml-scroll")) if (other.scrollLeft !== target.scrollLeft) other.scrollLeft = target.scrollLeft;
    if (left === target.scrollLeft) return;
    left = target.scrollLeft;
    redraw(); // other columns, and words go along
  }, { capture: true, signal });
  // What has focus shows its layer, so that the keys can be seen to act.
  for (const change of ["focusin", "focusout"]) root.addEventListener(change, redraw, { signal });

  function draw() {
    const pass = heir(root);
    const depth = depthOf(draft.sketch);
    cursor.at = Math.max(0, Math.min(cursor.at, depth - 1));
    if (cursor.hover !== null) cursor.hover = Math.min(cursor.hover, depth - 1);
    root.dataset.state = draft.state;
    for (const part of begun ? parts : [top, sources, presets, stack]) part.draw();
    root.classList.toggle("ml-begun", !begun);
    root.classList.remove("ml-undrawn");
    if (!begun) redraw(); // the rest comes with the next frame, so that the layers are there in half the time
    begun = true;
    if (draft.error !== answered) answered = "";
    error.hidden = !draft.error || draft.error === answered || sources.says === draft.error;
    say(errorText, draft.error);
    say(putBack, !error.hidden && canPutBack() ? "Put back" : "Close");
    pass();
  }

  // The first time there is nothing in the columns yet, and nothing has to be laid out to know how wide they are.
  function measure() {
    // Off-screen outputs measure 0; the last width stays until they come back.
    const inner = middle.clientWidth - 2 * Number.parseFloat(getComputedStyle(middle).paddingLeft || "0");
    if (!(inner > 0) || Math.abs(inner - width) < 1) return;
    width = inner;
    ruler.width(" "); // while the styles are worked out: asked in the midst of drawing the page would do it once more
    redraw();
  }
  const size = new ResizeObserver(measure);
  signal.addEventListener("abort", () => {
    size.disconnect();
    cancelAnimationFrame(frame);
    wrap.remove();
  });
  followTheme(root, signal);
  el.append(wrap);
  size.observe(middle);
  // A notebook puts an output on its page later: it is drawn there, once, when its width and its fonts are known.
  if (root.isConnected) {
    measure();
    cancelAnimationFrame(frame);
    frame = 0;
    draw();
  }
  return () => over.abort();
}

export default { render };
