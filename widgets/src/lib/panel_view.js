// @ts-check
// One panel: its heading and key, the picture, what it shows, what chance gives, what to make of it. Pointer and keys
// choose a cell and select layers; every panel does it in the same way, and all of them follow.

import { h, say } from "./dom.js";
import { onDrag } from "./drag.js";
import { reached } from "./figures.js";
import { heatPicture } from "./heat_view.js";
import { coloursKey, linesKey } from "./key_view.js";
import { onKeys } from "./keys.js";
import { linesPicture } from "./lines_view.js";
import { layerOf } from "./panels.js";
import { quantity, withChance } from "./quantity.js";
import { ascending, between, grabbed, grown, runsOf, same } from "./selection.js";
import { foundIn, tableOf } from "./sinks_view.js";

/** @typedef {import("./panels.js").Panel} Panel */
/** @typedef {import("./inspection.js").Scene} Scene */
/** @typedef {import("./inspection.js").Spot} Spot */
/** @typedef {import("./ramp.js").Ramps} Ramps */
/** @typedef {import("./ruler.js").Ruler} Ruler */
/**
 * @typedef {object} Act what a panel asks of the widget
 * @property {(spot: Spot | null) => void} point
 * @property {(layers: readonly number[], settled: boolean) => void} select
 */

const STATES = /** @type {Record<string, string>} */ ({ waiting: "waits", stopped: "stopped", failed: "not measured" });
const MOVED = 3; // px: less is a click

/** "Shows how large ..." from "How large ..."; names and code keep their letters. @param {string} sentence */
export function after(sentence) {
  return /^[A-Z](?![A-Z])/.test(sentence) ? sentence[0].toLowerCase() + sentence.slice(1) : sentence;
}

/** @param {Panel} panel */
export function standing(panel) {
  if (panel.state === "done") return "";
  const far = panel.total > 0 ? `${panel.done} of ${panel.total}` : "";
  if (panel.state === "measuring") return reached(panel);
  return panel.state === "stopped" && far ? `stopped at ${far}` : (STATES[panel.state] ?? panel.state);
}

/**
 * @param {Panel} given @param {Scene} scene @param {Act} act @param {AbortSignal} signal
 */
export function panelView(given, scene, act, signal) {
  let panel = given;
  const id = `${scene.id}-${panel.id}`;
  const table = panel.kind === "sinks";
  const lines = panel.kind === "lines" ? linesPicture(scene.id) : null;
  const heat = panel.kind === "heat" || panel.kind === "tokens" ? heatPicture() : null;

  const progress = h("div", { class: "ml-progress", "aria-hidden": "true" });
  const name = h("span", {});
  const what = h("span", { class: "ml-mute", id: `${id}-of` });
  const key = h("div", { class: lines ? "ml-lines-key" : "ml-colours-key" });
  const state = h("span", { class: "ml-mute" });
  const heading = h("h3", { id: `${id}-title` }, name);
  const cell = h("span", { role: "gridcell", id: `${id}-cell` });
  const line = h("span", { role: "row" }, cell);
  const plot = h(
    "div",
    { class: "ml-plot ml-layers", tabindex: 0, role: "grid", "aria-labelledby": `${id}-title ${id}-of`, "aria-describedby": `${scene.id}-keys`, "aria-readonly": "true", "aria-multiselectable": "true" },
    ...(lines ? [lines.root] : heat ? [heat.root] : []),
    h("span", { class: "ml-hidden" }, line),
  );
  const rows = h("div", { class: "ml-table-scroll", tabindex: 0, role: "region", "aria-labelledby": `${id}-title ${id}-of` });
  const every = h("button", { class: "ml-button ml-small", type: "button" });
  let all = false; // of a table: not only what is of the chosen source
  every.addEventListener("click", () => {
    all = !all;
    tabulate();
  }, { signal });
  const blank = h("div", { class: "ml-blank" });
  const words = { shows: h("span", {}), chance: h("span", {}), so: h("span", {}), use: h("span", {}) };
  const byChance = h("b", {}, "By chance");
  const so = h("span", {}, " ", h("b", {}, "So"), " ", words.so);
  const use = h("span", {}, " ", h("b", {}, "Reading"), " ", words.use);
  const caption = h("p", { class: "ml-caption" }, h("b", {}, "Shows"), " ", words.shows, " ", byChance, " ", words.chance, so, use);
  const formula = h("div", { class: "ml-formula" });
  const reading = h("p", { class: "ml-note" });
  const note = h("p", { class: "ml-note" });
  const more = h("details", { class: "ml-more" }, h("summary", {}, "How it is measured"), formula, reading, note);
  const root = h(
    "section",
    { class: "ml-panel", "aria-labelledby": `${id}-title`, "data-panel": panel.id, "data-kind": panel.kind },
    progress,
    h("div", { class: "ml-heading" }, h("div", {}, heading, state), h("div", {}, what, table ? every : key)),
    h("div", {}, table ? rows : plot, blank),
    caption,
    more,
  );

  /** @type {ReturnType<NonNullable<typeof heat>["layout"]> | ReturnType<NonNullable<typeof lines>["layout"]> | null} */
  let at = null;
  /** @type {{ row: number, column: number }} where the keyboard is */
  const cursor = { row: 0, column: 0 };
  /** @type {(number | null)[]} */
  let layers = [];
  /** The place of a source in the colours. @param {number} row */
  const colour = (row) => {
    const known = scene.sources.indexOf(panel.rows[row]);
    return known < 0 ? row : known;
  };

  /** px; where nothing can be measured, of a usual page. @param {Panel} of */
  const widthOf = (of) => plot.clientWidth || (of.wide ? 880 : 420);
  const columnsOf = (/** @type {readonly number[]} */ chosen) => layers.flatMap((layer, column) => (layer !== null && chosen.includes(layer) ? [column] : []));
  const runs = () => runsOf(columnsOf(scene.layers));
  /** @param {readonly (readonly [number, number])[]} chosen runs of columns */
  const layersOf = (chosen) => ascending(chosen.flatMap(([from, to]) => between(from, to)).flatMap((column) => layers[column] ?? []));

  /** @param {number} row @param {number} column @returns {Spot} */
  const spotOf = (row, column) => ({ panel: panel.id, kind: panel.kind, row, name: panel.rows[row] ?? "", column, layer: layers[column] ?? null });

  /** @param {PointerEvent} event @returns {[number, number]} */
  const under = (event) => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  if (!table) {
    plot.addEventListener("pointermove", (event) => {
      if (!at || !panel.columns.length || !panel.rows.length) return;
      const [px, py] = under(event);
      const inside = px >= at.axis.gutter && px < at.axis.end && py <= at.full;
      const near = at.axis.at(px);
      act.point(inside ? spotOf(at.rowAt(near, Math.min(py, at.height - 1)), near) : null);
      const edge = grabbed(runs(), px, at.axis, false).edge && inside;
      plot.style.cursor = edge ? "ew-resize" : "";
    }, { signal });
    plot.addEventListener("pointerleave", () => act.point(null), { signal });
    onDrag(
      plot,
      (event) => {
        if (!at || !layers.some((layer) => layer !== null)) return null;
        const axis = at.axis;
        const [px] = under(event);
        if (px < axis.gutter - 6 || px > axis.end + 6) return null;
        const before = scene.layers;
        const hold = grabbed(runs(), px, axis, event.shiftKey);
        plot.focus({ preventScroll: true });
        let moved = hold.edge && event.shiftKey;
        cursor.column = axis.at(px);
        /** @param {number} x */
        const pull = (x) => {
          cursor.column = axis.at(x);
          act.select(layersOf([...hold.others, [Math.min(hold.anchor, cursor.column), Math.max(hold.anchor, cursor.column)]]), false);
        };
        if (!hold.edge || event.shiftKey) pull(px);
        return {
          move(next) {
            const [x] = under(next);
            if (Math.abs(x - px) > MOVED) moved = true;
            if (moved) pull(x);
          },
          end(kept) {
            // A press on the one selected layer lets go of it.
            const lone = !moved && !hold.edge && before.length === 1 && same(before, scene.layers);
            act.select(!kept ? before : lone ? [] : scene.layers, true);
          },
        };
      },
      signal,
    );

    /** @param {number} row @param {number} column */
    const go = (row, column) => {
      cursor.row = Math.max(0, Math.min(panel.rows.length - 1, row));
      cursor.column = Math.max(0, Math.min(panel.columns.length - 1, column));
      act.point(spotOf(cursor.row, cursor.column));
    };
    /** @param {number} by */
    const grow = (by) => {
      const { at: column, run } = grown(runs(), cursor.column, by, panel.columns.length);
      go(cursor.row, column);
      act.select(layersOf([run]), true);
    };
    onKeys(
      plot,
      {
        ArrowLeft: () => go(cursor.row, cursor.column - 1),
        ArrowRight: () => go(cursor.row, cursor.column + 1),
        ArrowUp: () => go(cursor.row - 1, cursor.column),
        ArrowDown: () => go(cursor.row + 1, cursor.column),
        Home: () => go(cursor.row, 0),
        End: () => go(cursor.row, panel.columns.length - 1),
        "Shift+ArrowLeft": () => grow(-1),
        "Shift+ArrowRight": () => grow(1),
        Enter: () => act.select(layersOf([[cursor.column, cursor.column]]), true),
        Space: () => act.select(layersOf([[cursor.column, cursor.column]]), true),
        Escape: () => act.select([], true),
      },
      signal,
    );
    plot.addEventListener("focus", () => {
      if (plot.matches(":focus-visible")) go(cursor.row, cursor.column);
    }, { signal });
    plot.addEventListener("blur", () => act.point(null), { signal });
  }

  function heads() {
    say(name, panel.title);
    const scale = panel.scale === "log" && lines ? "log scale" : "";
    say(what, [panel.of, scale].filter(Boolean).join(" · "));
    root.classList.toggle("ml-wide", panel.wide);
    root.dataset.state = panel.state;
    const part = panel.total > 0 ? panel.done / panel.total : 0;
    progress.hidden = panel.state !== "measuring";
    progress.style.width = `${100 * part}%`;
    root.setAttribute("aria-busy", `${panel.state === "measuring" || panel.state === "waiting"}`);
    say(words.shows, after(panel.shows));
    const known = Boolean(panel.chance);
    byChance.hidden = !known;
    say(words.chance, known ? after(panel.chance) : "Chance not measured.");
    so.hidden = !panel.so;
    say(words.so, panel.so);
    // Where no band says what stands out, the reader has to know what is much.
    const told = Boolean(panel.reading) && !panel.chanceband;
    use.hidden = !told;
    say(words.use, panel.reading ?? "");
    more.hidden = !panel.formula && !panel.note && (told || !panel.reading);
    say(formula, panel.formula);
    formula.hidden = !panel.formula;
    reading.hidden = told || !panel.reading;
    reading.replaceChildren(h("b", {}, "Reading"), ` ${panel.reading ?? ""}`);
    say(note, panel.note);
    note.hidden = !panel.note;
    const empty = !panel.columns.length || !panel.rows.length;
    blank.hidden = !empty;
    say(state, empty ? "" : standing(panel));
    plot.hidden = rows.hidden = empty;
    say(blank, table && panel.state === "done" ? "none found" : panel.note || standing(panel));
  }

  /** The rows of a table, of the chosen source where there is a choice. */
  function tabulate() {
    const found = foundIn(panel, scene.chosen);
    every.hidden = !found.some;
    say(every, all ? `Only ${scene.chosen}` : "Show all");
    say(what, found.words);
    rows.replaceChildren(tableOf(panel, found.some && !all ? scene.chosen : ""));
  }

  /** The row that is pointed at, here: the same module in every heatmap. @param {Spot | null} spot */
  function rowOf(spot) {
    if (!spot) return null;
    if (spot.panel === panel.id) return spot.row < panel.rows.length ? spot.row : null;
    if (spot.kind !== panel.kind || panel.kind === "tokens") return null;
    const row = panel.rows.indexOf(spot.name);
    return row < 0 ? null : row;
  }

  return {
    root,
    kind: panel.kind,
    get panel() {
      return panel;
    },
    /** What stands at a spot of another panel. @param {Spot} spot @returns {string | null} */
    saidAt(spot) {
      const row = rowOf(spot);
      const column = layers.indexOf(spot.layer);
      if (!at || row === null || (spot.panel !== panel.id && (spot.layer === null || column < 0))) return null;
      return quantity(at.values.at(row, spot.panel === panel.id ? spot.column : column), panel);
    },
    /** Height of its picture without being stretched, px; 0 where it has none that stretches. @param {Panel} next @param {Ruler} ruler */
    natural: (next, ruler) => (heat && next.rows.length && next.columns.length ? heat.natural(next, widthOf(next), ruler) : 0),
    /**
     * Everything anew: other numbers, another width, another theme.
     * @param {Panel} next @param {Ramps} ramps @param {Ruler} ruler @param {number} room px: the height of its neighbour
     */
    draw(next, ramps, ruler, room) {
      panel = next;
      layers = panel.columns.map(layerOf);
      heads();
      if (table) {
        tabulate();
        return;
      }
      cursor.row = Math.min(cursor.row, Math.max(0, panel.rows.length - 1));
      cursor.column = Math.min(cursor.column, Math.max(0, panel.columns.length - 1));
      const width = widthOf(panel);
      plot.setAttribute("aria-rowcount", `${panel.rows.length}`);
      plot.setAttribute("aria-colcount", `${panel.columns.length}`);
      if (lines) {
        const laid = lines.layout(panel, width, ruler);
        at = laid;
        lines.paint(panel, laid, colour, ruler);
      } else if (heat) {
        const laid = heat.layout(panel, width, ruler, room);
        at = laid;
        heat.paint(panel, laid, ramps);
        key.replaceChildren(...(panel.values ? coloursKey(panel, laid.values, ramps, laid.dotted) : []));
      }
      plot.style.height = `${at?.full ?? 0}px`;
    },
    /** What is selected and pointed at. @param {boolean} first of the panels: it has grips @param {Ruler} ruler */
    mark(first, ruler) {
      if (!at) return;
      const { spot } = scene;
      const own = spot?.panel === panel.id;
      const column = !spot ? -1 : own ? spot.column : spot.layer === null ? -1 : layers.indexOf(spot.layer);
      const row = column < 0 ? null : rowOf(spot);
      const shown = { runs: runs(), row, column: column < 0 || column >= panel.columns.length ? null : column, grips: first || own, ruler };
      if (lines) {
        const laid = /** @type {ReturnType<typeof lines.layout>} */ (at);
        lines.over(panel, laid, colour, shown);
        key.replaceChildren(...linesKey(panel, laid.values, colour, shown.column, scene.id));
      } else if (heat) heat.over(panel, /** @type {ReturnType<typeof heat.layout>} */ (at), shown);
      line.setAttribute("aria-rowindex", `${cursor.row + 1}`);
      cell.setAttribute("aria-colindex", `${cursor.column + 1}`);
      cell.setAttribute("aria-selected", `${columnsOf(scene.layers).includes(cursor.column)}`);
      const value = withChance(at.values.at(cursor.row, cursor.column), panel, at.against(cursor.row, cursor.column));
      say(cell, panel.rows.length ? `${panel.rows[cursor.row]}, layer ${panel.columns[cursor.column]}: ${value}` : "nothing measured yet");
      plot.setAttribute("aria-activedescendant", cell.id);
    },
  };
}
