// @ts-check
// Beside the panels: what is compared, the density, the selected layers in figures, the cell under the pointer, and
// what was measured in which time.

import { listView, menuView } from "./choices_view.js";
import { densityView } from "./density_view.js";
import { h, say } from "./dom.js";
import { seconds } from "./figures.js";
import { choicesOf } from "./inspection.js";
import { standing } from "./panel_view.js";
import { layersInWords } from "./selection.js";
import { stick } from "./stick.js";

/** @typedef {import("./inspection.js").State} State */
/** @typedef {import("./inspection.js").Scene} Scene */
/** @typedef {State["turned"]} Turned */
/** @typedef {ReturnType<typeof import("./panel_view.js").panelView>} PanelView */

const MENUS = /** @type {const} */ ([["source", "Source"], ["statistic", "Norms"], ["conflict", "Conflict"], ["drift", "Drift"], ["between", "Likeness"], ["against", "Against"], ["prompt", "Prompt"]]);

/** @param {[label: string, ...values: string[]][]} rows @param {string[]} [heads] */
function figures(rows, heads = []) {
  const table = h("table", { class: "ml-readout" });
  if (heads.length) table.append(h("thead", {}, h("tr", {}, h("td", {}), ...heads.map((words) => h("th", { scope: "col" }, words)))));
  table.append(h("tbody", {}, ...rows.map(([label, ...values]) => h("tr", {}, h("th", { scope: "row", title: label }, label), ...values.map((value) => h("td", {}, value))))));
  return table;
}

/**
 * @param {Scene} scene
 * @param {{ turn: (edits: Turned) => void, release: () => void, clear: () => void, turned: () => Turned }} act  turned: what is on its way
 * @param {AbortSignal} signal
 */
export function sideView(scene, act, signal) {
  const pairs = listView("Pair", scene.id, (pair) => act.turn({ pair }), signal);
  const menus = MENUS.map(([name, title]) => ({ name, ...menuView(title, (choice) => act.turn({ [name]: choice }), signal, name === "prompt") }));
  const chosen = h("section", { class: "ml-side-part ml-menus", "aria-label": "What is shown" }, ...menus.map(({ root }) => root));
  const density = densityView((value) => act.turn({ density: value }), act.release, signal);

  const clear = h("button", { class: "ml-button ml-small", type: "button" }, "Clear");
  clear.addEventListener("click", act.clear, { signal });
  const selection = h("h3", {});
  const readout = h("div", {});
  const readoutNote = h("p", { class: "ml-note" });

  const spot = h("p", { class: "ml-spot" });
  const here = h("div", {});
  const measured = h("h3", {});
  const times = h("div", {});

  const turning = h("fieldset", { class: "ml-side-group ml-turning", "aria-label": "Dials" }, pairs.root, chosen, density.root);
  const read = h(
    "fieldset",
    { class: "ml-side-group", "aria-label": "Read-outs" },
    h("section", { class: "ml-side-part", "aria-label": "Selected layers" }, h("div", { class: "ml-head" }, selection, clear), readout, readoutNote),
    h("section", { class: "ml-side-part ml-under", "aria-label": "Under the pointer" }, h("h3", {}, "Under the pointer"), spot, here),
    h("section", { class: "ml-side-part", "aria-label": "What was measured" }, measured, times),
  );
  const stuck = h("div", { class: "ml-stuck" }, turning, read);
  const root = h("aside", { class: "ml-side", "aria-label": "Dials and read-outs" }, stuck);
  stick(stuck, root, signal);

  return {
    root,
    /** Nothing answers any more. */
    shut() {
      turning.disabled = read.disabled = true;
    },
    /** @param {{ dials: State["dials"], words: State["words"], panels: State["panels"], readout: State["readout"] }} state */
    draw({ dials, words, panels, readout: rows }) {
      const turned = act.turned();
      pairs.root.hidden = !dials.pairs?.length;
      pairs.draw(dials.pairs ?? [], words.pairs ?? "", turned.pair ?? null);
      for (const menu of menus) {
        const choices = choicesOf(dials, menu.name);
        menu.root.hidden = choices.length < 2;
        menu.draw(choices, turned[menu.name] ?? null);
      }
      chosen.hidden = menus.every((menu) => menu.root.hidden);
      density.root.hidden = !dials.density;
      density.draw(dials.density, turned.density !== undefined);
      turning.hidden = pairs.root.hidden && chosen.hidden && density.root.hidden;
      const { layers } = scene;
      say(selection, layersInWords(layers));
      clear.hidden = !layers.length;
      readout.replaceChildren(...(layers.length && rows.length ? [figures(rows.map(({ label, here: one, elsewhere }) => [label, one, elsewhere]), ["here", "elsewhere"])] : []));
      say(readoutNote, layers.length ? (words.readout ?? "") : "Drag over layers in any panel, or press Enter on one.");
      readoutNote.hidden = !readoutNote.textContent;
      const open = panels.filter(({ state }) => state !== "done").length;
      say(measured, open ? `${panels.length - open} of ${panels.length} views measured` : `All ${panels.length} views measured`);
      measured.classList.toggle("ml-ticked", !open && panels.length > 0);
      times.replaceChildren(figures(panels.map((panel) => [panel.title, panel.state === "done" ? seconds(panel.seconds) : standing(panel)])));
    },
    /** What lies under the pointer, in every panel that has it. @param {readonly PanelView[]} views */
    point(views) {
      const at = scene.spot;
      if (!at) {
        say(spot, "Point at a cell, or move with the arrow keys.");
        here.replaceChildren();
        return;
      }
      spot.replaceChildren("layer ", h("b", {}, at.layer === null ? "–" : `${at.layer}`), ` ${at.kind === "tokens" ? "token" : at.kind === "lines" ? "model" : "module"} `, h("b", {}, at.name));
      const rows = views.flatMap((view) => {
        const value = view.saidAt(at);
        return value === null ? [] : [/** @type {[string, string]} */ ([view.panel.title, value])];
      });
      here.replaceChildren(figures(rows));
    },
  };
}
