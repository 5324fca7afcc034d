// @ts-check
// The drawer under the picture: the recipe as text, what is to be said before saving, snapshots and history.

import { checksView } from "./checks_view.js";
import { focusedBeside, h, icon, say } from "./dom.js";
import { editorView } from "./editor_view.js";
import { keptView } from "./kept_view.js";
import { allow, press, roving } from "./toolbar.js";
import { mended } from "./yaml.js";

const COPIES = /** @type {const} */ ([["mergekit", "mergekit YAML"], ["python", "Python"], ["json", "JSON"]]);

/** Put text on the clipboard; where the page may not, select it so that the person can. @param {string} text @param {HTMLElement} near */
async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = h("textarea", { class: "ml-hidden", "aria-hidden": "true", tabindex: -1 });
    field.value = text;
    near.append(field);
    const focused = focusedBeside(near);
    field.select();
    const done = document.execCommand?.("copy") ?? false;
    field.remove();
    focused?.focus();
    return done;
  }
}

/** @param {import("../workbench.js").Context} context */
export function drawerView(context) {
  const { draft, announce, id, signal } = context;
  const editor = editorView(context);
  const checks = checksView(context, ({ line, column, end, fix }) => {
    if (line === null || column === null || fix === null) return;
    editor.put(mended(editor.value, line, column, end ?? column, fix));
    editor.focus(line, column - 1 + fix.length); // the button goes with what it has mended
  });
  const kept = keptView(context);

  const note = h("span", { class: "ml-mute" });
  const copies = h("span", { class: "ml-copies", role: "toolbar", "aria-label": "Copy the recipe" });
  const buttons = COPIES.map(([kind, word]) => {
    const button = press([icon("copy"), word], () => {
      const text = draft.exports[kind];
      if (text !== null) copy(text, root).then((done) => announce(done ? `Copied as ${word}` : `Copying failed; mark the text and press Ctrl+C`));
    }, signal, { class: "ml-small ml-plain" });
    return copies.appendChild(button);
  });
  const settle = roving(copies, signal);

  const toggle = h("button", { class: "ml-toggle", type: "button", "aria-controls": `${id}-drawer` }, icon("open"), h("h3", {}, "Recipe as YAML"));
  const yaml = h("section", { class: "ml-yaml", "aria-label": "Recipe as YAML" }, h("div", { class: "ml-head" }, toggle, note, copies), editor.root);
  const root = h("footer", { class: "ml-drawer" }, h("div", { class: "ml-drawer-body", id: `${id}-drawer` }, yaml, checks.root), kept.root);
  // Until somebody says so the width decides: where it is narrow the drawer starts closed.
  const isOpen = () => getComputedStyle(editor.root).display !== "none";
  const told = () => toggle.setAttribute("aria-expanded", `${isOpen()}`);
  /** @param {boolean} open */
  const set = (open) => {
    root.dataset.open = `${open}`;
    told();
  };
  toggle.addEventListener("click", () => set(!isOpen()), { signal });
  const size = new ResizeObserver(told);
  size.observe(root);
  signal.addEventListener("abort", () => size.disconnect());

  function draw() {
    const unread = draft.problems.some(({ line, grade }) => line !== null && grade === "error");
    say(note, unread ? "the picture shows the last text that could be read" : "follows the picture; edits here move the picture");
    buttons.forEach((button, i) => {
      const [kind, word] = COPIES[i];
      allow(button, draft.exports[kind] === null ? draft.exports.why[kind] || "not possible for this recipe" : "", `copy as ${word}`);
    });
    settle();
    editor.draw();
    checks.draw();
    kept.draw();
  }
  return {
    root,
    draw,
    open() {
      set(true);
      editor.focus();
    },
  };
}
