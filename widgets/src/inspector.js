// @ts-check
// Look inside: panels over the layers of several models, one selection and one pointer for all of them.

import { h, icon, say } from "./lib/dom.js";
import { unanswered } from "./lib/inspection.js";
import { keepKeys } from "./lib/keys.js";
import { outbox } from "./lib/outbox.js";
import { panelView } from "./lib/panel_view.js";
import { alike } from "./lib/panels.js";
import { rampsOf } from "./lib/ramp.js";
import { rulerOf } from "./lib/ruler.js";
import { ascending, layersInWords, same } from "./lib/selection.js";
import { sideView } from "./lib/side_view.js";
import { stripView } from "./lib/strip_view.js";
import { patterns } from "./lib/swatches.js";
import { followTheme } from "./lib/theme.js";

/** @typedef {import("./lib/inspection.js").State} State */
/** @typedef {import("./lib/inspection.js").Scene} Scene */
/** @typedef {import("./lib/inspection.js").Spot} Spot */
/** @typedef {ReturnType<typeof panelView>} PanelView */

const PAUSE = 60; // ms between two messages while a hand moves
const CLOSED = "This view is closed and shows what it last showed. Run the cell again to go on.";
const HELD = /** @type {const} */ (["panels", "strip", "dials", "readout", "words", "busy", "error"]);

/** The source that is shown by itself, where there is a choice. @param {State["dials"]} dials */
function chosenIn({ sources = [] }) {
  return sources.length > 1 ? (sources.find(({ chosen }) => chosen)?.label ?? "") : "";
}

let views = 0; // ids must differ between two views of one page; nothing else is kept here

/** @param {{ model: import("@anywidget/types").AnyModel<State>, el: HTMLElement, signal?: AbortSignal }} context */
function render({ model, el, signal: outer }) {
  const over = new AbortController();
  const { signal } = over;
  outer?.addEventListener("abort", () => over.abort(), { once: true });
  const id = `ml-${(views += 1)}-${Math.random().toString(36).slice(2, 8)}`;

  /** @type {Scene} */
  const scene = { id, sources: [], chosen: chosenIn(model.get("dials")), layers: model.get("selection").layers, spot: null };
  const spoken = h("div", { class: "ml-hidden", role: "status", "aria-live": "polite" });

  /** @type {State["turned"]} what the hand chose and Python has not answered yet */
  let turned = {};
  let holding = false; // a selection is being dragged
  let closed = false; // Python has let go: nothing is sent, nothing comes
  const box = outbox((edits) => {
    if (closed) return;
    const { layers, ...turns } = edits;
    if (layers) model.set("selection", { layers: /** @type {number[]} */ (layers) });
    if (Object.keys(turns).length) model.set("turned", { ...model.get("turned"), ...turns });
    model.save_changes();
  }, PAUSE);

  /** @param {Partial<State["asked"]>} edits */
  const ask = (edits) => {
    model.set("asked", { ...model.get("asked"), ...edits });
    model.save_changes();
  };
  const strip = stripView(id, () => ask({ stop: model.get("asked").stop + 1 }), () => ask({ measure: model.get("asked").measure + 1 }), signal);

  let stale = { panels: true, look: true, marks: true, side: true }; // look: width, theme or names changed
  let frame = 0;
  /** @param {Partial<typeof stale>} parts */
  function redraw(parts) {
    for (const part of /** @type {(keyof typeof stale)[]} */ (Object.keys(parts))) stale[part] ||= parts[part] ?? false;
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  }

  /** @param {readonly number[]} layers @param {boolean} settled */
  function select(layers, settled) {
    if (closed) return;
    holding = !settled;
    const changed = !same(layers, scene.layers);
    scene.layers = layers;
    if (changed) box.put({ layers: [...layers] });
    if (settled) {
      box.flush();
      say(spoken, layersInWords(layers));
    }
    redraw({ marks: true, side: true });
  }
  /** @param {Spot | null} spot */
  function point(spot) {
    const before = scene.spot;
    if (spot === before || (spot && before && spot.panel === before.panel && spot.row === before.row && spot.column === before.column)) return;
    scene.spot = spot;
    redraw({ marks: true });
  }
  const side = sideView(scene, {
    turn(edits) {
      turned = { ...turned, ...edits };
      box.put(edits);
      redraw({ side: true });
    },
    release: () => box.flush(),
    clear: () => select([], true),
    turned: () => turned,
  }, signal);

  const closing = h("div", { class: "ml-closed", role: "status" });
  const grid = h("div", { class: "ml-panels" });
  const errorText = h("div", { class: "ml-error-text" });
  const error = h("div", { class: "ml-error", role: "alert" }, icon("cross"), errorText);
  const keys = h("p", { class: "ml-hidden", id: `${id}-keys` }, "Left and Right go through the layers, Up and Down through the rows, Home and End to the first and the last layer. Enter selects a layer, Shift with Left or Right makes the selection larger or smaller, Escape clears it.");
  const root = h(
    "section",
    { class: "ml-root", "aria-label": "Inspector", "data-jp-suppress-context-menu": "true" },
    patterns(id),
    closing,
    strip.root,
    h("div", { class: "ml-inspect" }, h("div", { class: "ml-looks" }, error, grid), side.root),
    keys,
    spoken,
  );
  keepKeys(root, signal);
  const wrap = h("div", { class: "ml-wrap-inspector" }, root);

  /** @type {Map<string, { view: PanelView, end: AbortController }>} */
  const panels = new Map();
  /** The height each panel was given to fill. @type {Map<string, number>} */
  let rooms = new Map();
  let ruler = rulerOf(root);
  /** @type {import("./lib/ramp.js").Ramps | null} */
  let ramps = null;

  /** Heatmaps side by side are as tall as the taller one. @param {readonly import("./lib/panels.js").Panel[]} given */
  function roomsOf(given) {
    /** @type {Map<string, number>} */
    const found = new Map();
    if (getComputedStyle(grid).gridTemplateColumns.split(" ").length < 2) return found;
    for (let i = 0; i + 1 < given.length; i += 1) {
      const pair = [given[i], given[i + 1]];
      if (pair.some(({ wide }) => wide)) continue;
      const room = Math.max(...pair.map((panel) => panels.get(panel.id)?.view.natural(panel, ruler) ?? 0));
      for (const { id: name } of pair) found.set(name, room);
      i += 1;
    }
    return found;
  }

  /** @param {boolean} everything else only those with other numbers */
  function drawPanels(everything) {
    const given = model.get("panels");
    scene.sources = model.get("strip").map(({ name }) => name);
    for (const [name, { view, end }] of panels) {
      if (given.some((panel) => panel.id === name && panel.kind === view.kind)) continue;
      end.abort();
      view.root.remove();
      panels.delete(name);
      if (scene.spot?.panel === name) scene.spot = null;
    }
    const changed = new Set();
    given.forEach((panel, i) => {
      let kept = panels.get(panel.id);
      if (!kept) {
        const end = new AbortController();
        signal.addEventListener("abort", () => end.abort(), { signal: end.signal });
        kept = { view: panelView(panel, scene, { point, select }, end.signal), end };
        panels.set(panel.id, kept);
        changed.add(panel.id);
      } else if (everything || !alike(panel, kept.view.panel)) changed.add(panel.id);
      // Moved only where it has to be: what is moved loses its focus.
      if (grid.children[i] !== kept.view.root) grid.insertBefore(kept.view.root, grid.children[i] ?? null);
    });
    ramps ??= rampsOf(root);
    const before = rooms;
    rooms = roomsOf(given);
    for (const panel of given) {
      const room = rooms.get(panel.id) ?? 0;
      if (changed.has(panel.id) || room !== (before.get(panel.id) ?? 0)) panels.get(panel.id)?.view.draw(panel, ramps, ruler, room);
    }
  }

  function draw() {
    const { panels: numbers, look, marks, side: beside } = stale;
    stale = { panels: false, look: false, marks: false, side: false };
    if (numbers) drawPanels(look);
    const shown = model.get("panels").flatMap((panel) => panels.get(panel.id)?.view ?? []);
    if (numbers || marks) {
      const first = shown.find((view) => view.kind !== "sinks");
      for (const view of shown) view.mark(view === first, ruler);
      side.point(shown);
    }
    if (numbers || beside) {
      const states = model.get("panels");
      const busy = model.get("busy");
      if (!closed) strip.draw(model.get("strip"), model.get("words"), busy, states.some(({ state }) => state === "stopped" || state === "failed"));
      side.draw({ dials: model.get("dials"), words: model.get("words"), panels: states, readout: model.get("readout") });
      const wrong = model.get("error");
      error.hidden = !wrong;
      say(errorText, wrong);
    }
  }

  /** @param {string} event @param {() => void} call */
  function heard(event, call) {
    model.on(event, call);
    signal.addEventListener("abort", () => model.off(event, call));
  }
  for (const name of HELD) {
    heard(`change:${name}`, () => {
      if (name === "dials") turned = unanswered(turned, model.get("dials"));
      if (name === "error" && model.get("error")) turned = {};
      const chosen = chosenIn(model.get("dials"));
      const look = name === "strip" || chosen !== scene.chosen;
      scene.chosen = chosen;
      redraw({ panels: name === "panels" || look, look, side: true });
    });
  }
  // Some hosts leave a view standing whose other half is gone.
  heard("comm:close", () => {
    if (closed) return;
    closed = true;
    root.classList.add("ml-shut");
    say(closing, CLOSED);
    strip.shut();
    side.shut();
    redraw({ side: true });
  });
  heard("change:selection", () => {
    // What the hand has since done is newer than what Python says.
    if (holding || box.waiting) return;
    scene.layers = ascending(model.get("selection").layers);
    redraw({ marks: true, side: true });
  });

  const repaint = () => {
    ramps = null;
    ruler = rulerOf(root);
    redraw({ panels: true, look: true, side: true });
  };
  let width = 0;
  const size = new ResizeObserver(() => {
    // Off-screen outputs measure 0; the last width stays until they come back.
    if (grid.clientWidth > 0 && grid.clientWidth !== width) {
      width = grid.clientWidth;
      repaint(); // JupyterLab draws before it puts the view into the page, and only there are colours known
    }
  });
  const themes = new MutationObserver(repaint);
  const system = globalThis.matchMedia?.("(prefers-color-scheme: dark)");
  system?.addEventListener("change", repaint, { signal });
  signal.addEventListener("abort", () => {
    box.flush();
    size.disconnect();
    themes.disconnect();
    cancelAnimationFrame(frame);
    wrap.remove();
  });
  followTheme(root, signal);
  themes.observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  el.append(wrap);
  size.observe(grid);
  draw();
  return () => over.abort();
}

export default { render };
