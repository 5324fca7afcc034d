// @ts-check
// The head of the stack: what it amounts to, and the named layouts that lay a whole stack in one step.

import { h, icon, say } from "./dom.js";
import { captionOf } from "./stack_picture.js";

/** @param {import("../workbench.js").Context} context */
export function presetsView({ draft, id, announce, signal }) {
  const caption = h("span", { class: "ml-mute" });
  const open = h("button", { class: "ml-button ml-small", type: "button", "aria-expanded": "false", "aria-controls": `${id}-presets` }, "Layouts", icon("down"));
  const which = h("select", { class: "ml-select", "aria-label": "Layout" });
  const fields = h("span", { class: "ml-numbers" });
  const doc = h("p", { class: "ml-doc" });
  const lay = h("button", { class: "ml-button ml-small ml-prime", type: "submit" }, "Lay it");
  const form = h("form", { class: "ml-presets", id: `${id}-presets`, hidden: true }, h("div", { class: "ml-numbers" }, which, fields, lay), doc);
  const root = h("div", {}, h("div", { class: "ml-head" }, h("h3", {}, "Stack"), caption, open), form);

  let built = "";
  const chosen = () => draft.presets.find(({ name }) => name === which.value) ?? draft.presets[0];

  /** @param {boolean} now */
  function toggle(now) {
    form.hidden = !now;
    open.setAttribute("aria-expanded", `${now}`);
    (now ? which : open).focus();
  }
  function ask() {
    const preset = chosen();
    if (!preset) return;
    say(doc, preset.doc);
    fields.replaceChildren(
      ...preset.numbers.map(({ name, word, kind, default: usual, low, high }) => {
        const field =
          kind === "source"
            ? h("select", { class: "ml-select", name }, ...draft.sources.map((source, i) => h("option", { value: i }, source.name)))
            : h("input", { class: "ml-figure", type: "number", name, min: low, max: high, step: 1, required: true });
        field.value = `${usual}`;
        return h("label", { class: "ml-number" }, h("span", {}, word), field);
      }),
    );
  }
  open.addEventListener("click", () => toggle(form.hidden), { signal });
  which.addEventListener("change", ask, { signal });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    toggle(false);
  }, { signal });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const preset = chosen();
    if (!preset) return;
    const given = /** @type {NodeListOf<HTMLInputElement | HTMLSelectElement>} */ (fields.querySelectorAll("input, select"));
    draft.tell({ type: "preset", name: preset.name, numbers: Object.fromEntries([...given].map(({ name, value }) => [name, Number(value)])) });
    announce(`${preset.word} laid.`);
    toggle(false);
  }, { signal });

  function draw() {
    say(caption, captionOf(draft.sketch));
    open.hidden = !draft.presets.length;
    const now = JSON.stringify([draft.presets, draft.sources.map(({ name }) => name)]);
    if (now === built) return;
    built = now;
    const before = which.value;
    which.replaceChildren(...draft.presets.map(({ name, word }) => h("option", { value: name }, word)));
    if (draft.presets.some(({ name }) => name === before)) which.value = before;
    ask();
  }
  return { root, draw };
}
