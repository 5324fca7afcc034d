// @ts-check
// The recipe as text: a plain field to type in over the same text in colours, with its lines numbered, the chosen slice
// marked, and what is wrong said on its line.

import { h, pool, say } from "./dom.js";
import { watcher } from "./keeping.js";
import { onKeys } from "./keys.js";
import { sliceAt } from "./sketch.js";
import { hue } from "./swatches.js";
import { changedIn, tokensOf } from "./yaml.js";

/** @typedef {import("./draft.js").Problem} Problem */

const PAUSE = 300; // ms of no typing before the text is read
const LINE = 18; // px
const MODEL = /^\s*-?\s*\{?\s*model:/; // the line that begins a part of a slice

/** Columns of a problem on its line, from 0; the whole line where none are told. @param {Problem} problem @param {number} length @returns {[number, number]} */
const spanOf = ({ column, end }, length) => (column === null ? [0, length] : [column - 1, Math.max(end ?? column + 1, column + 1) - 1]);

/** A line in colours. @param {string} line @param {readonly Problem[]} problems on it @param {readonly number[]} lit starts of words that the hand has just changed */
function painted(line, problems, lit) {
  const wrong = problems.map((problem) => spanOf(problem, line.length));
  const nodes = tokensOf(line).map(({ text, kind, start }) => {
    const classes = [`ml-y-${kind}`];
    if (kind !== "space" && wrong.some(([from, to]) => start < to && start + text.length > from)) classes.push("ml-wrong");
    if (lit.includes(start)) classes.push("ml-lit");
    return h("span", { class: classes.join(" ") }, text);
  });
  const message = problems.map(({ what, hint }) => [what, hint].filter(Boolean).join(" ")).join(" ");
  return message ? [...nodes, h("span", { class: "ml-line-message" }, message)] : nodes;
}

/** @param {import("../workbench.js").Context} context */
export function editorView({ draft, cursor, id, redraw, signal }) {
  const paint = h("div", { class: "ml-paint", "aria-hidden": "true" });
  const field = h("textarea", {
    class: "ml-type", "aria-label": "Recipe as YAML", spellcheck: "false", autocomplete: "off", autocapitalize: "off", wrap: "off",
    "aria-describedby": `${id}-text-problems`,
  });
  const root = h("div", { class: "ml-code" }, h("div", { class: "ml-sheet" }, paint, field));

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  let before = draft.text; // what stood there before the last edit of the picture
  /** @type {string[]} */
  let shown = [];
  let following = 0; // the frame that brings them there
  let seen = -1; // the slice of the keyboard, as its lines were last brought into sight

  function send() {
    clearTimeout(typing);
    typing = undefined;
    draft.edit({ text: field.value });
    draft.flush();
  }
  field.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(send, PAUSE);
    redraw();
  }, { signal });
  field.addEventListener("blur", () => {
    if (typing !== undefined) send();
  }, { signal });
  signal.addEventListener("abort", () => {
    clearTimeout(typing);
    cancelAnimationFrame(following);
  });
  onKeys(field, { "Mod+Enter": send }, signal);

  /** The lines of the slice that the keyboard is at, or that the pointer is over. @returns {[number, number]} */
  const chosen = () => draft.lines[sliceAt(draft.sketch, cursor.hover ?? cursor.at)] ?? [0, -1];

  /** The lines of the slice that the keyboard has gone to, into sight; not while somebody reads or types here. */
  function follow() {
    const slice = sliceAt(draft.sketch, cursor.at);
    const [first, last] = draft.lines[slice] ?? [0, -1];
    if (slice === seen || first > last || field.matches(":focus, :hover")) return;
    seen = slice;
    const [top, bottom] = [(first - 1) * LINE, last * LINE];
    // Asked for in the middle of drawing, the page would be laid out twice.
    cancelAnimationFrame(following);
    following = requestAnimationFrame(() => {
      if (top < root.scrollTop || bottom > root.scrollTop + root.clientHeight) root.scrollTop = Math.max(0, top - LINE);
    });
  }

  /** What the bar in front of each line says: whose layers it is about; ink where it is about several. @param {readonly string[]} lines */
  function barsOf(lines) {
    const bars = lines.map(() => "transparent");
    draft.lines.forEach(([first, last], i) => {
      const parts = draft.sketch.slices[i]?.parts ?? [];
      const named = lines.flatMap((line, at) => (at + 1 >= first && at < last && MODEL.test(line) ? [at] : []));
      for (let at = first - 1; at < Math.min(last, lines.length); at += 1) {
        const part = parts.length === 1 ? 0 : named.length === parts.length ? named.filter((each) => each <= at).length - 1 : -1;
        bars[at] = part < 0 ? "var(--ml-ink)" : `var(${hue(parts[part].source)})`;
      }
    });
    return bars;
  }

  const isNew = watcher();
  function draw() {
    if (typing === undefined && field.value !== draft.text) {
      before = shown.join("\n");
      field.value = draft.text;
    }
    const lines = field.value.split("\n");
    const was = before.split("\n");
    const alike = was.length === lines.length && typing === undefined;
    const [first, last] = chosen();
    if (!isNew(field.value, draft.lines, draft.problems, draft.sketch, first, last, typing === undefined)) return follow();
    const bars = barsOf(lines);
    const problems = draft.problems.filter(({ line, grade }) => line !== null && (grade === "error" || grade === "warning"));
    pool(paint, lines.length, (i) => h("div", { class: "ml-line" }, h("span", { class: "ml-line-number" }, `${i + 1}`), h("span", { class: "ml-line-bar" }), h("span", { class: "ml-line-text" }))).forEach((row, i) => {
      const here = problems.filter(({ line }) => line === i + 1);
      const lit = alike ? changedIn(lines[i], was[i]) : [];
      const key = JSON.stringify([lines[i], here, lit]);
      if (/** @type {HTMLElement} */ (row).dataset.key !== key) {
        /** @type {HTMLElement} */ (row).dataset.key = key;
        row.children[2].replaceChildren(...painted(lines[i], here, lit));
      }
      row.classList.toggle("ml-chosen", i + 1 >= first && i + 1 <= last);
      row.classList.toggle("ml-line-wrong", here.some(({ grade }) => grade === "error"));
      /** @type {HTMLElement} */ (row.children[1]).style.borderColor = bars[i];
    });
    shown = lines;
    follow();
    field.setAttribute("aria-invalid", `${problems.some(({ grade }) => grade === "error")}`);
  }

  return {
    root,
    draw,
    /** The keyboard into the text. @param {number} [line] from 1; the first of the chosen slice @param {number} [column] from 0 */
    focus(line = chosen()[0], column = 0) {
      const before = field.value.split("\n").slice(0, Math.max(0, line - 1)).join("\n").length;
      const at = before + (line > 1 ? 1 : 0) + column;
      field.focus({ preventScroll: true });
      field.setSelectionRange(at, at);
      root.scrollTop = Math.max(0, (line - 3) * LINE);
    },
    /** @param {string} text */
    put(text) {
      field.value = text;
      send();
    },
    get value() {
      return field.value;
    },
  };
}
