// @ts-check
// A further source, by its path. One that cannot be had keeps what was typed, to be mended, and says why there.

import { focusedBeside, h, icon, say } from "./dom.js";

/** @param {Pick<import("../workbench.js").Context, "draft" | "announce" | "id" | "redraw" | "signal">} context */
export function addView({ draft, announce, id, redraw, signal }) {
  const path = h("input", { class: "ml-path", type: "text", placeholder: "folder or model name", "aria-label": "Folder or model name of a further source", spellcheck: "false" });
  const answer = h("p", { class: "ml-why", id: `${id}-add-answer`, role: "status" });
  path.setAttribute("aria-describedby", answer.id);
  const add = h("form", { class: "ml-add", hidden: true }, path, h("button", { class: "ml-button ml-small", type: "submit" }, "Add"), answer);
  const more = h("button", { class: "ml-button ml-dashed", type: "button", "aria-expanded": "false" }, icon("plus"), "Add a source");
  const root = h("div", {}, more, add);

  /** The source that was asked for: how many there were, and the error that was there before. @type {{ path: string, count: number, before: string, told: boolean } | null} */
  let asked = null;
  let refused = ""; // why it could not be had
  let says = ""; // the error that was told here
  function closeAdd() {
    const had = add.contains(focusedBeside(add));
    add.hidden = true;
    asked = null;
    refused = "";
    more.setAttribute("aria-expanded", "false");
    if (had) more.focus({ preventScroll: true });
  }

  more.addEventListener("click", () => {
    if (!add.hidden) return closeAdd();
    add.hidden = false;
    more.setAttribute("aria-expanded", "true");
    return path.focus();
  }, { signal });
  add.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = path.value.trim();
    if (!words) return;
    // The same path gives the same error, which is then no news.
    asked = { path: words, count: draft.sources.length, before: words === asked?.path ? "" : draft.error, told: false };
    refused = "";
    draft.tell({ type: "add", source: words });
    announce(`Opening ${words}.`);
    draw();
  }, { signal });
  // What is written anew has not been refused; and one may change one's mind.
  path.addEventListener("input", () => {
    refused = "";
    redraw();
  }, { signal });
  path.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    closeAdd();
  }, { signal });

  /** A source that was asked for comes, or does not: then what was typed stays, to be mended. */
  function draw() {
    if (asked && draft.sources.length > asked.count) {
      announce(`${draft.sources[draft.sources.length - 1].name} is a source now.`);
      path.value = "";
      closeAdd();
    } else if (asked?.path === path.value.trim() && !asked.told && draft.error && draft.error !== asked.before) {
      asked.told = true; // what is wrong after that is about something else
      refused = says = draft.error;
    } else if (asked && !draft.error) asked.before = "";
    if (!draft.error) says = refused = "";
    path.setAttribute("aria-invalid", `${refused !== ""}`);
    say(answer, refused || (asked && asked.path === path.value.trim() ? "Opening it." : ""));
    answer.classList.toggle("ml-waits", !refused);
  }
  return {
    root,
    draw,
    /** The error that is told here, beside what it is about. */
    get says() {
      return says;
    },
  };
}
