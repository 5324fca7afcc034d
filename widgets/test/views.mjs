// One view of the workbench on a page without a browser: a model, the draft of it, and frames when somebody asks.
import { draftOf } from "../src/lib/draft.js";
import { rulerOf } from "../src/lib/ruler.js";
import { scaleOf } from "../src/lib/scale.js";
import { depthOf } from "../src/lib/sketch.js";
import { FakeModel, openPage } from "./page.mjs";

/** @returns everything a view is given, and what it did: words it announced */
export function stage(more = {}, width = 612) {
  openPage();
  const model = new FakeModel(more);
  const over = new AbortController();
  const said = [];
  const scrolled = { left: 0 };
  let view = null;
  const redraw = () => view?.draw();
  const draft = draftOf(model, redraw, over.signal);
  const context = {
    draft,
    cursor: { at: 0, hover: null },
    hand: null,
    id: "t",
    redraw,
    scale: () => scaleOf(width, depthOf(draft.sketch), 0, scrolled.left),
    announce: (words) => said.push(words),
    ruler: rulerOf(document.body),
    signal: over.signal,
  };
  return {
    model,
    draft,
    context,
    said,
    /** How far the plots are. */
    scrolled,
    close: () => over.abort(),
    /** Put a view on the page; it is drawn anew at every change. */
    show(make) {
      view = make(context);
      document.body.append(view.root);
      view.draw();
      return view;
    },
  };
}

/** Type into a field, as a person does: the text, then the event. */
export function type(field, text) {
  field.value = text;
  field.dispatchEvent(new window.Event("input", { bubbles: true }));
}
