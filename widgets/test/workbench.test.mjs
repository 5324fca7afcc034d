// The widget in a page without a browser: what the hand does reaches the model, what Python says reaches the eye.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { GUTTER } from "../src/lib/scale.js";
import { FakeModel, answerFor, frame, openPage, pause, point, press } from "./page.mjs";

let model;
let close;
let root;
const find = (selector) => root.querySelector(selector);
const COLUMN = (612 - GUTTER) / 10; // jsdom has no layout: the view falls back to 612 px

async function show(target = model) {
  const { default: widget } = await import("../src/workbench.js");
  const el = document.createElement("div");
  document.body.append(el);
  close = widget.render({ model: target, el });
  root = el.querySelector(".ml-root");
  await frame();
  return el;
}

beforeEach(() => {
  openPage();
  model = new FakeModel();
});
afterEach(() => {
  close?.();
  close = undefined;
});

test("dragging a slice border changes the slices live and ends with the last one", async () => {
  await show();
  const handle = find(".ml-border");
  point(handle, "pointerdown", GUTTER + 3 * COLUMN);
  for (let x = 3; x <= 5.1; x += 0.1) point(handle, "pointermove", GUTTER + x * COLUMN);
  await frame();
  assert.equal(handle.getAttribute("aria-valuenow"), "5", "the picture follows at once");
  point(handle, "pointerup", GUTTER + 5 * COLUMN);
  assert.deepEqual(model.get("blocks"), [[1, 0, 5], [2, 5, 7], [1, 7, 10]]);
  assert.deepEqual(model.sent.at(-1).blocks, model.get("blocks"));
  assert.equal(model.get("_turn"), model.sent.length);
});

test("Escape in the middle of a drag puts the border back", async () => {
  await show();
  const handle = find(".ml-border");
  point(handle, "pointerdown", GUTTER + 3 * COLUMN);
  point(handle, "pointermove", GUTTER + 5 * COLUMN);
  press(document.body, "Escape");
  point(handle, "pointermove", GUTTER + 6 * COLUMN);
  await frame();
  assert.deepEqual(model.get("blocks"), [[1, 0, 3], [2, 3, 7], [1, 7, 10]]);
});

test("dragging a point bends the curve there and nowhere else; elsewhere the hand draws", async () => {
  await show();
  const plot = find(".ml-curve");
  const middle = (layer) => GUTTER + (layer + 0.5) * COLUMN;
  point(plot, "pointerdown", middle(4), 14);
  point(plot, "pointermove", middle(6), 14 + 66);
  point(plot, "pointerup", middle(6), 14 + 66);
  assert.deepEqual(model.get("coefficient"), [1, 1, 1, 1, 0.5, 1, 1, 1, 1, 1]);
  point(plot, "pointerdown", middle(0), 14 + 132);
  point(plot, "pointermove", middle(2), 14 + 132);
  point(plot, "pointerup", middle(2), 14 + 132);
  assert.deepEqual(model.get("coefficient").slice(0, 4), [0, 0, 0, 1]);
});

test("a layer of the base cannot be bent, and passthrough locks the curve", async () => {
  model.state.blocks = [[0, 0, 3], [2, 3, 7], [0, 7, 10]];
  await show();
  const plot = find(".ml-curve");
  point(plot, "pointerdown", GUTTER + COLUMN / 2, 100);
  point(plot, "pointerup", GUTTER + COLUMN / 2, 100);
  assert.equal(model.sent.length, 0);
  const select = find(".ml-select");
  select.value = "passthrough";
  select.dispatchEvent(new window.Event("change"));
  await frame();
  assert.equal(model.get("method"), "passthrough");
  assert.ok(plot.classList.contains("ml-locked"));
  assert.ok(find(".ml-range").disabled);
});

test("the dial moves the whole curve", async () => {
  await show();
  const dial = find(".ml-range");
  for (const value of ["0.9", "0.6", "0.4"]) {
    dial.value = value;
    dial.dispatchEvent(new window.Event("input"));
  }
  dial.dispatchEvent(new window.Event("change"));
  assert.deepEqual(model.get("coefficient"), new Array(10).fill(0.4));
});

test("every change has a key", async () => {
  await show();
  const stack = find(".ml-stack");
  const curve = find(".ml-curve");
  press(stack, "ArrowDown"); // the middle slice has the cursor
  assert.deepEqual(model.get("blocks")[1], [0, 3, 7]);
  press(stack, "ArrowUp");
  press(stack, "ArrowRight");
  press(stack, "s");
  assert.deepEqual(model.get("blocks"), [[1, 0, 3], [2, 3, 4], [2, 4, 7], [1, 7, 10]]);
  press(stack, "Delete");
  assert.equal(model.get("blocks").length, 3);
  await frame();
  press(stack, " ");
  const border = document.activeElement;
  assert.ok(border.classList.contains("ml-border"));
  const before = model.get("blocks");
  press(border, "ArrowRight");
  assert.notDeepEqual(model.get("blocks"), before);
  press(border, "Escape");
  assert.deepEqual(model.get("blocks"), before);
  press(curve, "ArrowDown");
  press(curve, "ArrowDown", { shiftKey: true });
  await pause(60);
  assert.equal(Math.min(...model.get("coefficient")), 0.89);
  press(curve, "Home");
  await pause(60);
  assert.equal(Math.min(...model.get("coefficient")), 0);
});

test("keys stop at the widget, so that the notebook does not act on them", async () => {
  await show();
  let leaked = 0;
  document.body.addEventListener("keydown", () => (leaked += 1));
  for (const key of ["a", "b", "m", "s", "Delete", "ArrowDown"]) press(find(".ml-stack"), key);
  assert.equal(leaked, 0);
  assert.equal(root.dataset.lmSuppressShortcuts, "true");
});

test("text of a model is text, never markup", async () => {
  const evil = "<img src=x onerror=alert(1)>";
  model = new FakeModel({ _sources: [{ name: evil, code: "<b", layers: 10 }, { name: "a", code: "A1", layers: 10 }, { name: "b", code: "B1", layers: 10 }], prompt: evil, _prompts: [evil] });
  await show();
  const answer = answerFor(model.state);
  answer.candidates[0].token = evil;
  answer.texts = answer.texts.map(() => `${evil} <script>alert(2)</script>`);
  model.hear({ answer, status: "done", error: evil, _answered: 0 });
  await frame();
  assert.equal(root.querySelectorAll("img, script, b[onerror]").length, 0);
  assert.ok(find(".ml-token").textContent.includes("<img"));
  assert.ok(find(".ml-error").textContent.includes(evil));
});

test("draft until Python has answered this very edit, then exact", async () => {
  await show();
  assert.equal(root.dataset.state, "loading");
  model.answerNow();
  await frame();
  assert.equal(root.dataset.state, "exact");
  assert.match(find(".ml-detail").textContent, /redone 18 of 57 steps, 0\.8 ms/);
  press(find(".ml-curve"), "ArrowDown");
  await pause(60);
  await frame();
  assert.equal(root.dataset.state, "draft");
  assert.equal(find(".ml-first").textContent, "50", "the old figure stays");
  model.answerNow();
  await frame();
  assert.equal(root.dataset.state, "exact");
});

test("an answer names the recipe it is of; before the first there is none", async () => {
  await show();
  const line = () => [...root.querySelectorAll(".ml-answers p")].find((each) => each.title.includes("SHA-256"));
  assert.equal(line().hidden, true);
  model.answerNow();
  await frame();
  assert.deepEqual([line().hidden, line().textContent], [false, "recipe 3f2a9c01"]);
  model.answerNow({ recipe: "<b>00000" });
  await frame();
  assert.deepEqual([line().textContent, line().childElementCount], ["recipe <b>00000", 0]);
});

test("a warning stands beside the answer it is about, and goes with it", async () => {
  await show();
  const hint = () => find(".ml-ask [role=status]");
  model.answerNow({ warning: "There was not enough memory on cuda: the model is on the CPU now." });
  await frame();
  assert.deepEqual([hint().hidden, hint().textContent], [false, "There was not enough memory on cuda: the model is on the CPU now."]);
  model.answerNow();
  await frame();
  assert.equal(hint().hidden, true);
});

test("an error is shown in words, as an alert, beside the picture as it was; it can be put back", async () => {
  await show();
  model.answerNow();
  press(find(".ml-stack"), "ArrowDown");
  model.hear({ error: "stranger: feed-forward 160 against 128.", status: "failed", _answered: model.get("_turn") });
  await frame();
  const alert = find("[role=alert]");
  assert.equal(alert.hidden, false);
  assert.match(alert.textContent, /160 against 128/);
  assert.equal(root.dataset.state, "failed");
  assert.equal(find(".ml-first").textContent, "50");
  alert.querySelector("button").click();
  await frame();
  assert.deepEqual(model.get("blocks"), [[1, 0, 3], [2, 3, 7], [1, 7, 10]]);
});

test("two views of one model agree, and a closed one leaves nothing behind", async () => {
  const first = await show();
  const closeFirst = close;
  const second = await show();
  press(first.querySelector(".ml-stack"), "ArrowDown");
  await pause(60);
  await frame();
  const label = (el) => el.querySelectorAll("[role=option]")[1].getAttribute("aria-label");
  assert.equal(label(first), label(second));
  assert.match(label(first), /base 3–6/);
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  closeFirst();
  close();
  assert.equal(model.listeners, 0);
  assert.equal(document.querySelectorAll(".ml-root").length, 0);
});

test("what Python sets is drawn, but not over the hand that holds the dial", async () => {
  await show();
  model.hear({ blocks: [[2, 0, 10]] });
  await frame();
  assert.equal(root.querySelectorAll("[role=option]").length, 1);
  const plot = find(".ml-curve");
  point(plot, "pointerdown", GUTTER + COLUMN / 2, 14);
  point(plot, "pointermove", GUTTER + COLUMN / 2, 80);
  model.hear({ coefficient: new Array(10).fill(0.2) });
  point(plot, "pointermove", GUTTER + COLUMN / 2, 14 + 66);
  point(plot, "pointerup", GUTTER + COLUMN / 2, 14 + 66);
  assert.deepEqual(model.get("coefficient"), [0.5, ...new Array(9).fill(1)]);
});

test("a prompt is asked on Enter, at a pause, or from the examples", async () => {
  await show();
  const field = find(".ml-field");
  field.value = "copy a b :";
  press(field, "Enter");
  assert.equal(model.get("prompt"), "copy a b :");
  find(".ml-pick:nth-child(2)").click();
  assert.equal(model.get("prompt"), "27+35=");
  field.focus();
  field.value = "sort";
  field.dispatchEvent(new window.Event("input"));
  assert.equal(model.get("prompt"), "27+35=");
  await pause(300);
  assert.equal(model.get("prompt"), "sort");
});

test("stop asks Python to stop", async () => {
  await show();
  find(".ml-top .ml-button").click();
  assert.deepEqual(model.messages, [{ type: "stop" }]);
});

test("the share of the stack counts layers whole where passthrough blends nothing", async () => {
  model.state.coefficient = new Array(10).fill(0.5);
  await show();
  const shares = () => [...root.querySelectorAll(".ml-shares > div")].map((line) => line.textContent);
  assert.deepEqual(shares(), ["base50 %", "reverse30 %", "pirate20 %"]);
  model.hear({ method: "passthrough" });
  await frame();
  assert.deepEqual(shares(), ["reverse60 %", "pirate40 %"]);
});

test("what a vocabulary does not have is a dash that says so, not a nought; a later figure takes its place", async () => {
  await show();
  model.answerNow({ candidates: [{ token: " cat", probabilities: [0.5, 0, null, 0.25] }], kl: [0, 0.31, null, 1.5] });
  await frame();
  const cells = () => [...root.querySelectorAll(".ml-tokens tbody td:not(.ml-bars)")];
  const below = () => [...root.querySelectorAll(".ml-tokens tfoot td")].slice(1);
  const read = (list) => list.map((cell) => [cell.textContent, cell.getAttribute("title"), cell.getAttribute("aria-label")]);
  const missing = "not in its vocabulary";
  const differs = "no figure: its vocabulary differs";
  assert.deepEqual(read(cells()), [["50", null, null], ["0", null, null], ["–", missing, missing], ["25", null, null]]);
  assert.deepEqual(read(below()), [["0.31", null, null], ["–", differs, differs], ["1.50", null, null]]);
  assert.deepEqual([...root.querySelectorAll(".ml-bar")].map((bar) => bar.style.width), ["50%", "0%", "0%", "25%"]);
  model.answerNow({ candidates: [{ token: " cat", probabilities: [0.5, 0.1, 0.2, 0.25] }], kl: [0, 0.31, 0.2, 1.5] });
  await frame();
  assert.deepEqual(read(cells())[2], ["20", null, null]);
  assert.deepEqual(read(below())[1], ["0.20", null, null]);
});

test("Stop works while an answer is on its way, the first one and every later one", async () => {
  await show();
  const stop = find(".ml-top .ml-button");
  model.answerNow();
  await frame();
  assert.equal(stop.disabled, true);
  model.hear({ coefficient: new Array(10).fill(0.5), status: "loading" });
  await frame();
  assert.equal(stop.disabled, false);
  assert.equal(find(".ml-state b").textContent, "Draft");
  model.hear({ status: "stopped" });
  await frame();
  assert.equal(stop.disabled, true);
  assert.equal(find(".ml-state b").textContent, "Stopped");
});

test("under ties the coefficient is a density and no share of the stack", async () => {
  await show();
  const share = find(".ml-share").parentElement;
  assert.equal(share.hidden, false);
  assert.match(find(".ml-curve").textContent, /share/);
  model.hear({ method: "ties" });
  await frame();
  assert.equal(share.hidden, true);
  assert.match(find(".ml-curve").textContent, /density/);
  assert.doesNotMatch(find(".ml-curve").textContent, /share/);
});
