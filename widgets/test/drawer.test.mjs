// The drawer: the recipe as text, what is wrong on its line, copies, snapshots and history.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { drawerView } from "../src/lib/drawer_view.js";
import { changedIn, mended, tokensOf } from "../src/lib/yaml.js";
import { frame, pause, press } from "./page.mjs";
import { stage, type } from "./views.mjs";

const TEXT = "merge_method: ties # two\nslices:\n  - sources: [{model: base}]\n  - sources:\n      - parameters: {wieght: [0.3, 0.48]}\n";
const PROBLEM = { grade: "error", where: "Line 5", line: 5, column: 22, end: 28, what: "no setting called wieght.", hint: "Did you mean weight?", fix: "weight" };
let scene;
let view;
function show(more) {
  scene = stage({ text: TEXT, _lines: [[1, 2], [3, 3], [4, 5]], ...more });
  view = scene.show(drawerView);
  return scene;
}
afterEach(() => scene?.close());
const find = (selector) => view.root.querySelector(selector);
const all = (selector) => [...view.root.querySelectorAll(selector)];
const button = (words) => all("button").find(({ textContent }) => textContent === words);
const field = () => find("textarea.ml-type");
const kinds = (line) => tokensOf(line).filter(({ kind }) => kind !== "space").map(({ text, kind }) => `${kind[0]}:${text}`);
const past = (more) => ({ undo: 0, redo: 0, undo_words: "", redo_words: "", entries: [], snapshots: [], showing: "", ...more });

test("a line of YAML in tokens: nothing is lost, whatever stands there", () => {
  assert.deepEqual(kinds("  - sources: [{model: base, layer_range: [0, 4]}] # x: y"), ["m:-", "k:sources", "m::", "m:[", "m:{", "k:model", "m::", "v:base", "m:,", "k:layer_range", "m::", "m:[", "v:0", "m:,", "v:4", "m:]", "m:}", "m:]", "c:# x: y"]);
  assert.deepEqual(kinds("model: org/na-me:x#1"), ["k:model", "m::", "v:org/na-me:x#1"]);
  assert.deepEqual(kinds("name: 'it''s: #no' "), ["k:name", "m::", "v:'it''s: #no'"]);
  assert.deepEqual(kinds("['a'#b]"), ["m:[", "v:'a'", "v:#b]"], "no comment without a space in front");
  for (const line of ["", "\t", "\"open", "a:b:c: {", "<script>alert('x')</script>", "é: ☃ 👍#", "-", ":", "--- #", "'a", "::", "k:\\"]) {
    assert.equal(tokensOf(line).map(({ text }) => text).join(""), line);
  }
});

test("only changed values are lit, and nothing where a line was rewritten", () => {
  const line = "  value: [0.3, 0.62]";
  assert.deepEqual(changedIn(line, "  value: [0.3, 0.48]"), [line.indexOf("0.62")]);
  assert.deepEqual(changedIn(line, line), []);
  assert.deepEqual(changedIn(line, "  value: [0.3]"), []);
  assert.deepEqual(changedIn(line, "  other: [0.3, 0.48]"), []);
});

test("a fix replaces the word and nothing else", () => {
  assert.equal(mended(TEXT, 5, 22, 28, "weight"), TEXT.replace("wieght", "weight"));
  assert.equal(mended("a", 1, 1, 2, "b"), "b");
});

test("the field holds the text as it is; the coloured lines say the same, with numbers", () => {
  show();
  assert.equal(field().value, TEXT);
  assert.deepEqual(all(".ml-line-text").map(({ textContent }) => textContent), TEXT.split("\n"));
  assert.deepEqual(all(".ml-line-number").map(({ textContent }) => textContent), ["1", "2", "3", "4", "5", "6"]);
});

test("typing is read at a pause, by Ctrl+Enter, and on leaving the field", async () => {
  show();
  type(field(), `${TEXT}# a`);
  assert.equal(scene.model.sent.length, 0);
  assert.equal(all(".ml-line-text").at(-1).textContent, "# a", "the colours follow at once");
  await pause(350);
  assert.equal(scene.model.get("text"), `${TEXT}# a`);
  type(field(), "x");
  press(field(), "Enter", { ctrlKey: true });
  assert.equal(scene.model.get("text"), "x");
  type(field(), "y");
  field().dispatchEvent(new window.Event("blur"));
  assert.equal(scene.model.get("text"), "y");
});

test("the text follows the picture, but not under the hand that types", () => {
  show();
  type(field(), "half");
  scene.model.hear({ text: "from the picture" });
  assert.equal(field().value, "half");
  field().dispatchEvent(new window.Event("blur"));
  scene.model.hear({ text: "from the picture" });
  assert.equal(field().value, "from the picture");
});

test("a number that the picture has changed is lit in the text", () => {
  show();
  assert.deepEqual(all(".ml-lit"), []);
  scene.model.hear({ text: TEXT.replace("0.48", "0.62") });
  assert.deepEqual(all(".ml-lit").map(({ textContent }) => textContent), ["0.62"]);
  scene.model.hear({ text: TEXT.replace("0.48", "0.62").replace("0.3", "0.4") });
  assert.deepEqual(all(".ml-lit").map(({ textContent }) => textContent), ["0.4"], "what was changed last");
});

test("the lines of the chosen slice are marked; the pointer's slice comes first", () => {
  show();
  const marked = () => all(".ml-line").flatMap((line, i) => (line.classList.contains("ml-chosen") ? [i + 1] : []));
  assert.deepEqual(marked(), [1, 2]);
  scene.context.cursor.at = 4;
  scene.context.redraw();
  assert.deepEqual(marked(), [3]);
  scene.context.cursor.hover = 9;
  scene.context.redraw();
  assert.deepEqual(marked(), [4, 5]);
});

test("the text scrolls to the slice that the keyboard goes to, but not away from what is in sight", async () => {
  const lines = Array.from({ length: 60 }, (_, i) => `- ${i}`).join("\n");
  show({ text: lines, _lines: [[1, 4], [5, 8], [40, 44]] });
  const code = find(".ml-code");
  Object.defineProperty(code, "clientHeight", { value: 10 * 18 });
  const tops = [];
  for (const [at, hover] of [[0, null], [4, null], [4, 9], [9, null], [8, null], [0, null]]) {
    Object.assign(scene.context.cursor, { at, hover });
    scene.context.redraw();
    await frame();
    tops.push(code.scrollTop / 18);
  }
  assert.deepEqual(tops, [0, 0, 0, 38, 38, 0]);
});

test("the bar in front of a line says whose layers it is about", () => {
  const text = "slices:\n- sources:\n  - model: a\n- sources:\n  - model: b\n    layer_range: [0, 1]\n  - {model: c}\n";
  const part = (source) => ({ source, start: 0, numbers: {} });
  const slice = (...parts) => ({ method: "linear", base: null, layers: 1, parts, numbers: {} });
  show({ text, _lines: [[2, 3], [4, 7]], sketch: { base: 0, widen: false, slices: [slice(part(2)), slice(part(0), part(1))] } });
  const bars = () => all(".ml-line-bar").map(({ style }) => style.borderColor.replace(/var\(--ml-|\)/g, ""));
  assert.deepEqual(bars(), ["transparent", "s2", "s2", "ink", "s0", "s0", "s1", "transparent"]);
  scene.model.hear({ text: text.replace("  - {model: c}", "    # more") });
  assert.deepEqual(bars().slice(3, 7), ["ink", "ink", "ink", "ink"], "where the parts cannot be told apart");
});

test("an error is on its line: the word waved, the message beside it, the line tinted", () => {
  show({ _problems: [PROBLEM] });
  const line = all(".ml-line")[4];
  assert.ok(line.classList.contains("ml-line-wrong"));
  assert.deepEqual([...line.querySelectorAll(".ml-wrong")].map(({ textContent }) => textContent), ["wieght"]);
  assert.equal(line.querySelector(".ml-line-message").textContent, "no setting called wieght. Did you mean weight?");
  assert.equal(field().getAttribute("aria-invalid"), "true");
  assert.match(find(".ml-yaml .ml-mute").textContent, /last text that could be read/);
  assert.match(find(".ml-before").textContent, /waits for line 5/);
  scene.model.hear({ _problems: [] });
  scene.model.hear({ _problems: [{ ...PROBLEM, fix: null }] });
  assert.equal(button("Correct it"), undefined, "where nobody knows how");
  scene.model.hear({ _problems: [] });
  assert.deepEqual([all(".ml-wrong").length, field().getAttribute("aria-invalid")], [0, "false"]);
});

test("Correct it writes the fix and sends the text at once", () => {
  show({ _problems: [PROBLEM] });
  button("Correct it").click();
  assert.equal(scene.model.get("text"), TEXT.replace("wieght", "weight"));
  assert.equal(field().value, TEXT.replace("wieght", "weight"));
  const at = TEXT.indexOf("wieght") + "weight".length;
  assert.deepEqual([document.activeElement, field().selectionStart], [field(), at], "the keyboard is where it was mended");
});

test("before saving: each finding with its grade in words, and a count of them", () => {
  const fine = (what) => ({ ...PROBLEM, grade: "fine", where: "", line: null, column: null, end: null, what, hint: "", fix: null });
  show({ _problems: [{ ...fine("norm ratio 1.8×."), grade: "warning", where: "Seam 7 to 8", hint: "Ease it in." }, fine("Tokenizers match.")] });
  assert.deepEqual(all(".ml-checks li").map(({ textContent }) => textContent.trim()), ["To look at: Seam 7 to 8: norm ratio 1.8×. Ease it in.", "Well: Tokenizers match."]);
  assert.match(find(".ml-before .ml-mute").textContent, /^1 to look at$/);
  assert.equal(button("Correct it"), undefined);
  assert.match(find(".ml-before").textContent, /mergelab\.merge\(workbench\.recipe/);
});

test("what was found of an earlier recipe says so, until this one is looked at", () => {
  const row = { ...PROBLEM, grade: "fine", where: "", line: null, column: null, end: null, what: "12 layers.", hint: "", fix: null };
  const now = () => [find(".ml-before .ml-mute").textContent, find(".ml-before").classList.contains("ml-behind")];
  show({ _behind: true });
  assert.deepEqual(now(), ["not checked yet", true]);
  scene.model.hear({ _problems: [row], _behind: false });
  assert.deepEqual(now(), ["nothing stands in the way", false]);
  scene.model.hear({ _behind: true });
  assert.deepEqual(now(), ["of an earlier recipe", true]);
});

test("the same advice is said once, for all that it is about", () => {
  const wrong = (what, hint, more) => ({ ...PROBLEM, where: "stranger", line: null, column: null, end: null, what, hint, fix: null, ...more });
  show({ _problems: [wrong("Width 96.", "Leave it out."), wrong("Heads 4.", "Leave it out."), wrong("Depth.", "Leave it out.", { grade: "warning" }), wrong("One.", ""), wrong("Two.", "")] });
  assert.deepEqual(all(".ml-checks li").map(({ textContent }) => textContent.trim()), [
    "To fix: stranger: Width 96. stranger: Heads 4. Leave it out.", "To look at: stranger: Depth. Leave it out.", "To fix: stranger: One.", "To fix: stranger: Two.",
  ]);
  assert.match(find(".ml-before .ml-mute").textContent, /^4 to fix, 1 to look at$/);
});

test("what can be copied is; what cannot says why", async () => {
  const written = [];
  show({ _exports: { mergekit: "slices: []", python: "ml.Recipe()", json: null, why: { json: "a source is a folder" } } });
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { clipboard: { writeText: async (text) => written.push(text) } } });
  button("mergekit YAML").click();
  button("Python").click();
  button("JSON").click();
  await pause(0);
  assert.deepEqual(written, ["slices: []", "ml.Recipe()"]);
  assert.equal(button("JSON").title, "a source is a folder");
  assert.deepEqual(scene.said, ["Copied as mergekit YAML", "Copied as Python"]);
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: {} });
  button("Python").click();
  await pause(0);
  assert.match(scene.said.at(-1), /Copying failed/);
});

test("snapshots are kept by name, shown, restored, compared blind and dropped", () => {
  show({ _past: past({ snapshots: [{ name: "one", recipe: "1" }] }) });
  find("details").open = true;
  scene.context.redraw();
  const name = find(".ml-keep input");
  button("Keep this").click();
  assert.deepEqual([scene.model.messages.length, document.activeElement], [0, name], "it wants a name");
  name.value = " two ";
  press(name, "Enter");
  for (const words of ["Show", "Restore", "Blind", "Drop"]) button(words).click();
  assert.deepEqual(scene.model.messages, [
    { type: "keep", name: "two" }, { type: "show", name: "one" }, { type: "restore", name: "one" }, { type: "blind", names: ["now", "one"] }, { type: "drop", name: "one" },
  ]);
  scene.model.hear({ _past: past({ snapshots: [{ name: "one", recipe: "1" }], showing: "one" }) });
  button("Hide").click();
  assert.deepEqual(scene.model.messages.at(-1), { type: "show", name: "" });
});

test("history: newest first, with scores, and where the hand is now", () => {
  const entries = [{ turn: 0, recipe: "a", words: "", scores: { Sums: 31.04 }, now: false }, { turn: 1, recipe: "b", words: "weight 0.5 to 0.6", scores: { Tales: 3 }, now: true }];
  show({ _past: past({ entries }) });
  assert.equal(all(".ml-history tbody tr").length, 0, "not drawn while it is closed");
  find("details").open = true;
  scene.context.redraw();
  const rows = all(".ml-history tr").map((row) => [...row.children].map(({ textContent }) => textContent));
  assert.deepEqual(rows, [["turn", "what was done", "Tales", "Sums", ""], ["1", "weight 0.5 to 0.6", "3", "–", "Restore"], ["0", "the beginning", "–", "31", "Restore"]]);
  assert.deepEqual(all("[aria-current]").map(({ textContent }) => textContent.slice(0, 1)), ["1"]);
  const [now, first] = all(".ml-history button");
  assert.deepEqual([now.getAttribute("aria-disabled"), now.tabIndex, first.tabIndex, first.getAttribute("aria-label")], ["true", 0, -1, "Restore turn 0"]);
  now.click();
  first.click();
  assert.deepEqual(scene.model.messages, [{ type: "restore", turn: 0 }]);
  scene.model.hear({ _past: past({ entries: [...entries, { turn: 2, recipe: "c", words: "", scores: { Sums: 1, Tales: 2, More: 3 }, now: true }] }) });
  assert.deepEqual(all(".ml-history tbody tr").map((row) => row.lastElementChild.textContent), ["Restore", "Restore", "Restore"]);
  all(".ml-history button")[2].click();
  assert.deepEqual(scene.model.messages.at(-1), { type: "restore", turn: 0 });
});

test("the drawer opens with the keyboard in the text, at the chosen slice", () => {
  show();
  scene.context.cursor.at = 9;
  view.open();
  assert.equal(document.activeElement, field());
  assert.equal(field().value.slice(0, field().selectionStart).split("\n").length, 4);
  assert.equal(view.root.dataset.open, "true");
});

test("text of recipes, problems and snapshots is text, never markup", () => {
  const evil = "<img src=x onerror=alert(1)>";
  show({ text: `${evil}: ${evil} # ${evil}`, _problems: [{ ...PROBLEM, where: evil, what: evil, hint: evil, line: 1, column: 1, end: 3, fix: evil }], _past: past({ snapshots: [{ name: evil, recipe: evil }], entries: [{ turn: 0, recipe: evil, words: evil, scores: { [evil]: 1 }, now: true }] }) });
  find("details").open = true;
  scene.context.redraw();
  assert.equal(view.root.querySelectorAll("img, script").length, 0);
  assert.ok(find(".ml-history").textContent.includes("<img"));
});
