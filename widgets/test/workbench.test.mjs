// The whole widget in a page without a browser: what the hand does reaches the model, what Python says reaches the eye.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { FakeModel, answerFor, frame, openPage, passes, pause, press, sourceOf } from "./page.mjs";

let model;
let closes;
let root;
const find = (selector) => root.querySelector(selector);
const layers = () => model.get("sketch").slices.map(({ layers: count, parts }) => [parts[0].source, parts[0].start, count]);

async function show(target = model) {
  const { default: widget } = await import("../src/workbench.js");
  const el = document.createElement("div");
  document.body.append(el);
  closes.push(widget.render({ model: target, el }));
  root = el.querySelector(".ml-root");
  await frame();
  return el;
}

beforeEach(() => {
  openPage();
  model = new FakeModel();
  closes = [];
});
afterEach(() => closes.forEach((close) => close()));

test("the regions are there in the order of Tab, each with a name", async () => {
  await show();
  assert.equal(root.getAttribute("aria-label"), "Workbench");
  const parts = ":is(header, aside, section, footer):not(.ml-root)";
  const regions = [...root.querySelectorAll(parts)].filter((each) => !each.parentElement.closest(parts));
  assert.deepEqual(regions.map(({ className }) => className), ["ml-top", "ml-sources", "ml-middle", "ml-answers", "ml-drawer"]);
  assert.deepEqual([...root.querySelectorAll(".ml-middle h3")].map(({ textContent }) => textContent), ["Stack", "Coefficients over depth"]);
});

test("the layers are there at once, the other panels a frame later", async () => {
  const { default: widget } = await import("../src/workbench.js");
  const el = document.createElement("div");
  document.body.append(el);
  closes.push(widget.render({ model, el }));
  root = el.querySelector(".ml-root");
  assert.deepEqual([find(".ml-undrawn"), root.classList.contains("ml-undrawn"), root.classList.contains("ml-begun")], [null, false, true]);
  assert.equal(root.querySelectorAll(".ml-options [role=option]").length, 10);
  assert.equal(root.querySelectorAll(".ml-curve-row, .ml-pick").length, 0, "nothing that is hidden is drawn");
  await frame();
  assert.equal(root.classList.contains("ml-begun"), false);
  assert.ok(find(".ml-curve-row") && find(".ml-pick"));
});

test("a button that a frame takes away hands the focus on; one of the history stays in its place", async () => {
  await show();
  const drop = [...root.querySelectorAll("button")].find(({ textContent }) => textContent === "Drop");
  drop.focus();
  drop.click();
  await frame();
  assert.ok(drop.closest("[hidden]"));
  assert.notEqual(document.activeElement, document.body);
  assert.ok(drop.parentElement.contains(document.activeElement), "to its neighbour");
  const entry = (turn, now) => ({ turn, recipe: "1", words: "made", scores: {}, now });
  find(".ml-kept").open = true;
  model.hear({ _past: { ...model.get("_past"), entries: [entry(0, false), entry(1, true)] } });
  await frame();
  const restore = find("[aria-label='Restore turn 0']");
  restore.focus();
  await frame();
  assert.equal(document.activeElement, restore);
  model.hear({ _past: { ...model.get("_past"), entries: [{ ...entry(0, false), scores: { pirate: 1 } }, entry(1, true)] } });
  await frame();
  assert.equal(document.activeElement, restore, "also where a column comes before it");
  assert.deepEqual([...restore.closest("tr").children].map(({ textContent }) => textContent).slice(0, 2), ["0", "made"]);
  press(restore, "Enter");
  restore.click();
  assert.deepEqual(model.messages.at(-1), { type: "restore", turn: 0 });
});

test("keys of the widget: undo, redo, stop, A and B, the drawer", async () => {
  model.state._past = { ...model.state._past, undo: 1, redo: 1, snapshots: [{ name: "one", recipe: "1" }] };
  await show();
  const stack = find(".ml-stack");
  press(stack, "z", { ctrlKey: true });
  press(stack, "Z", { metaKey: true, shiftKey: true });
  press(stack, ".");
  press(stack, "b");
  press(stack, "b", { repeat: true });
  stack.dispatchEvent(new window.KeyboardEvent("keyup", { bubbles: true, key: "b" }));
  press(stack, "a");
  assert.deepEqual(model.messages, [{ type: "undo" }, { type: "redo" }, { type: "stop" }, { type: "show", name: "one" }]);
  press(stack, "y");
  assert.ok(document.activeElement.classList.contains("ml-type"));
});

test("a question mark opens the keys; an error about a source is said where it was asked for", async () => {
  await show();
  find(".ml-stack").focus();
  press(find(".ml-stack"), "?", { shiftKey: true });
  assert.equal(find(".ml-keys").hidden, false);
  press(document.activeElement, "Escape");
  assert.deepEqual([find(".ml-keys").hidden, document.activeElement], [true, find(".ml-stack")]);
  press(find(".ml-stack"), "?", { shiftKey: true });
  const columns = find(".ml-source-plot");
  columns.focus();
  model.set("selection", [2]);
  press(find(".ml-stack"), "Escape");
  assert.deepEqual([find(".ml-keys").hidden, document.activeElement, model.get("selection")], [true, columns, [2]], "from anywhere, and nothing else");
  press(find(".ml-stack"), "Escape");
  assert.deepEqual(model.get("selection"), [], "after it the stack has the key again");
  find(".ml-dashed").click();
  find(".ml-path").value = "wrong";
  find(".ml-add").dispatchEvent(new window.Event("submit", { cancelable: true }));
  model.hear({ error: "'wrong' is no folder." });
  await frame();
  assert.deepEqual([find(".ml-error").hidden, find(".ml-add .ml-why").textContent], [true, "'wrong' is no folder."]);
});

test("letters that are typed are letters", async () => {
  model.state._past = { ...model.state._past, undo: 1, snapshots: [{ name: "one", recipe: "1" }] };
  await show();
  for (const field of [find(".ml-field"), find(".ml-type")]) {
    for (const key of ["a", "b", "y", ".", "Escape"]) assert.equal(press(field, key).defaultPrevented, false, key);
    assert.equal(press(field, "z", { ctrlKey: true }).defaultPrevented, false);
  }
  assert.deepEqual(model.messages, []);
});

test("a peek ends when the widget loses the keyboard", async () => {
  model.state._past = { ...model.state._past, snapshots: [{ name: "one", recipe: "1" }] };
  await show();
  const stack = find(".ml-stack");
  stack.focus();
  press(stack, "b");
  await pause(350);
  stack.dispatchEvent(new window.FocusEvent("focusout", { bubbles: true, relatedTarget: null }));
  assert.deepEqual(model.messages, [{ type: "show", name: "one" }, { type: "show", name: "" }]);
});

test("keys stop at the widget, so that the notebook does not act on them", async () => {
  await show();
  let leaked = 0;
  for (const kind of ["keydown", "keyup"]) document.body.addEventListener(kind, () => (leaked += 1));
  for (const where of [".ml-stack", ".ml-field", ".ml-type", ".ml-act button"]) {
    for (const key of ["a", "b", "m", "s", "y", "z", "Delete", "ArrowDown", "Escape"]) {
      press(find(where), key);
      find(where)?.dispatchEvent(new window.KeyboardEvent("keyup", { bubbles: true, key }));
    }
  }
  assert.equal(leaked, 0);
  assert.equal(root.dataset.lmSuppressShortcuts, "true");
});

test("draft until Python has answered this very edit, then exact", async () => {
  await show();
  assert.equal(root.dataset.state, "loading");
  model.answerNow();
  await frame();
  assert.equal(root.dataset.state, "exact");
  press(find(".ml-stack"), "d");
  await frame();
  assert.equal(root.dataset.state, "draft");
  assert.equal(find(".ml-first").textContent, "50", "the old figure stays");
  model.answerNow();
  await frame();
  assert.equal(root.dataset.state, "exact");
});

test("an error is shown in words, as an alert, beside the picture; it can be put back, by Escape too", async () => {
  await show();
  model.answerNow();
  const before = layers();
  for (const back of [() => find(".ml-error button").click(), () => press(find(".ml-act button"), "Escape")]) {
    press(find(".ml-stack"), "d");
    assert.notDeepEqual(layers(), before);
    model.hear({ error: "stranger: feed-forward 160 against 128.", status: "failed", _answered: model.get("_turn") });
    await frame();
    const alert = find(".ml-error");
    assert.deepEqual([alert.hidden, alert.getAttribute("role"), root.dataset.state], [false, "alert", "failed"]);
    assert.match(alert.textContent, /160 against 128/);
    assert.equal(find(".ml-first").textContent, "50");
    back();
    assert.deepEqual(layers(), before);
    model.hear({ error: "", status: "done", _answered: model.get("_turn") });
    await frame();
  }
});

test("an error that there is nothing to put back for can be closed; the next one is shown", async () => {
  await show();
  model.answerNow();
  model.hear({ error: "there is a snapshot 'one' already." });
  await frame();
  assert.deepEqual([find(".ml-error").hidden, find(".ml-error button").textContent], [false, "Close"]);
  find(".ml-error button").click();
  await frame();
  assert.equal(find(".ml-error").hidden, true);
  assert.equal(model.get("_turn"), 0);
  for (const error of ["another", "", "there is a snapshot 'one' already."]) {
    model.hear({ error });
    await frame();
    assert.equal(find(".ml-error").hidden, error === "");
  }
});

test("what Python sets is drawn, however deep or shallow", async () => {
  await show();
  for (const slices of [[passes(2, 0, 10)], Array.from({ length: 60 }, (_, i) => passes(i % 3, i % 10, 1)), [passes(0, 9, 1)]]) {
    model.hear({ sketch: { base: 0, widen: false, slices } });
    model.answerNow();
    await frame();
    const depth = slices.reduce((sum, slice) => sum + slice.layers, 0);
    assert.match(find(".ml-counts dd").textContent, new RegExp(`^${depth}\\b`));
  }
});

test("two views of one model agree, share no id, and closed ones leave nothing behind", async () => {
  const first = await show();
  const second = await show();
  press(first.querySelector(".ml-stack"), "d");
  await pause(60);
  await frame();
  const counts = (el) => el.querySelector(".ml-counts").textContent;
  assert.equal(counts(first), counts(second));
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  closes.forEach((close) => close());
  assert.equal(model.listeners, 0);
  assert.equal(document.querySelectorAll(".ml-root").length, 0);
});

test("a page that is loaded again shows what the traits say", async () => {
  model.answerNow();
  model.hear({ status: "done", _seams: null, _scores: { recipe: "3f2a9c01", done: true, rows: [{ name: "Sums", unit: "%", better: "higher", value: 62, spread: null, controls: [], past: [[0, 62]] }] } });
  await show();
  assert.equal(root.dataset.state, "exact");
  assert.equal(find(".ml-first").textContent, "50");
  assert.equal(find(".ml-score b").textContent, "62");
});

test("text of a model is text, never markup", async () => {
  const evil = "<img src=x onerror=alert(1)>";
  model = new FakeModel({
    _sources: [evil, "a.b", "c<d"].map((name) => sourceOf(name)), prompt: evil, prompts: [evil], text: evil, _lines: [[1, 1], [1, 1], [1, 1]],
    _fits: [evil, evil, evil].map((why) => ({ grade: "no", why, facts: [{ what: why, theirs: why, ours: why, differs: true }], widen: false })),
    _presets: [{ name: evil, word: evil, doc: evil, numbers: [] }],
  });
  await show();
  const answer = { ...answerFor(model.state), texts: [evil, evil, evil, evil], recipe: evil, warning: evil };
  answer.candidates[0].token = evil;
  model.hear({
    answer, status: "done", error: evil, _answered: 0,
    _seams: { turn: 0, recipe: evil, note: evil, seams: [{ at: 3, below: evil, above: evil, norm: 2, cosine: 0.5, frechet: null, low: {}, high: {}, off: true, sentence: evil }] },
    _problems: [{ grade: "error", where: evil, line: 1, column: 1, end: 3, what: evil, hint: evil, fix: evil }],
  });
  await frame();
  assert.equal(root.querySelectorAll("img, script").length, 0);
  assert.ok(find(".ml-error").textContent.includes(evil));
});

test("of a long stack the columns near those in sight are drawn; scrolling brings the others", async () => {
  model.state._sources = model.state._sources.map(({ name }) => sourceOf(name, 100));
  model.state.sketch = { base: 0, widen: false, slices: Array.from({ length: 50 }, (_, i) => passes(i % 3, 2 * i, 2)) };
  await show();
  const numbers = (selector) => [...root.querySelectorAll(selector)].map(({ textContent }) => textContent);
  const axis = () => numbers(".ml-picture > svg > g:nth-of-type(3) > text");
  const [near, far] = [Array.from({ length: 40 }, (_, i) => `${i}`), Array.from({ length: 52 }, (_, i) => `${i + 48}`)];
  assert.deepEqual(axis(), near);
  assert.equal(root.querySelectorAll(".ml-blocks > g").length, 40);
  assert.equal(root.querySelectorAll(".ml-stack [role=option]").length, 100, "who listens has all of them");
  const [scroller] = root.querySelectorAll(".ml-scroll");
  scroller.scrollLeft = 28 * 60;
  scroller.dispatchEvent(new window.Event("scroll"));
  await frame();
  assert.deepEqual(axis().slice(0, 40), far.slice(0, 40));
  assert.deepEqual(numbers(".ml-curve-strip g:first-of-type > text"), axis(), "the numbers under the curves too");
  const [first] = root.querySelectorAll(".ml-blocks > g");
  assert.deepEqual([first.getAttribute("transform"), first.textContent], [`translate(${54 + 28 * 48} 0)`, "Ba48"]);
  press(find(".ml-stack"), "End");
  await frame();
  assert.equal(find(".ml-picture > svg > g:nth-of-type(3) > .ml-b"), null, "nothing is shown without the focus");
});

test("a lock and a copied curve are there in the other view, and after a reload", async () => {
  model.state.sketch = { base: 0, widen: false, slices: [{ method: "linear", base: null, layers: 10, numbers: {}, parts: [1, 2].map((source) => ({ source, start: 0, numbers: { weight: [[null, [source, 1]]] } })) }] };
  await show();
  const other = await show();
  const [one] = document.querySelectorAll(".ml-root");
  const locked = (view) => [...view.querySelectorAll(".ml-curve-row")].map((row) => row.classList.contains("ml-locked"));
  const row = one.querySelectorAll(".ml-curve-row")[1];
  row.focus();
  press(row, "l");
  press(row, "c", { ctrlKey: true });
  await frame();
  assert.deepEqual([locked(one), locked(other)], [[false, true], [false, true]]);
  closes.splice(0).forEach((close) => close());
  const state = JSON.parse(JSON.stringify(model.state));
  assert.deepEqual([state._locks, state._copied.words], [["2.0 weight"], "weight of pirate 0–9"]);
  assert.deepEqual([state._turn, state.sketch], [0, model.state.sketch], "neither is an edit");
  model = new FakeModel(state);
  await show();
  assert.deepEqual(locked(root), [false, true]);
  const [first, second] = root.querySelectorAll(".ml-curve-row");
  second.focus();
  press(second, "ArrowUp");
  first.focus();
  press(first, "v", { ctrlKey: true });
  const [free, kept] = model.get("sketch").slices[0].parts.map(({ numbers }) => numbers.weight);
  assert.deepEqual([free, kept], [kept, [[null, [2, 1]]]]);
});
