// Scores: the number, the spread, the change since the turn before, and the line between two controls.
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { changeOf, parentOf, plotOf, skipOf } from "../src/lib/scores.js";
import { scoresView } from "../src/lib/scores_view.js";
import { stage } from "./views.mjs";

let scene;
let view;
const row = (more = {}) => ({
  name: "Sums", unit: "% exact", better: "higher", value: 62, spread: 4.02,
  controls: [{ name: "Base", value: 12 }, { name: "Arith", value: 71 }, { name: "skip", value: 41 }],
  past: [[0, 31], [3, null], [8, 53], [9, 62]], ...more,
});
const entry = (turn, recipe, now = false) => ({ turn, recipe, words: "", scores: {}, now });
const past = (...entries) => ({ undo: 0, redo: 0, undo_words: "", redo_words: "", entries, snapshots: [], showing: "" });
function show(rows, more = {}) {
  scene = stage({ _scores: { recipe: "3f2a9c01", done: true, rows }, _past: past(entry(8, "00000008"), entry(9, "3f2a9c01", true)) });
  view = scene.show(scoresView);
  scene.model.answerNow(more);
}
afterEach(() => scene?.close());
const find = (selector) => view.root.querySelector(selector);
const all = (selector) => [...view.root.querySelectorAll(selector)];

test("the change is since the last turn that has a value, not since one that has none", () => {
  assert.deepEqual(changeOf(row()), { by: 9, turn: 8 });
  assert.deepEqual(changeOf(row({ past: [[0, 31], [3, null], [9, 62]] })), { by: 31, turn: 0 });
  assert.equal(changeOf(row({ past: [[9, 62]] })), null);
  assert.equal(changeOf(row({ past: [] })), null);
  assert.deepEqual(changeOf(row(), 8), { by: 22, turn: 0 }, "after undo");
  assert.equal(changeOf(row(), 0), null);
  assert.deepEqual(changeOf(row({ value: 100 }), null), { by: 38, turn: 9 }, "of a picture in hand: since the last turn");
  assert.equal(changeOf(row({ past: [] }), null), null);
});

test("the parent is the best source, by what better means there; skip is none", () => {
  assert.deepEqual(parentOf(row()), { name: "Arith", value: 71 });
  assert.deepEqual(parentOf(row({ better: "lower" })), { name: "Base", value: 12 });
  assert.deepEqual(parentOf(row({ controls: [{ name: "skip", value: 99 }, { name: "Base", value: null }] })), null);
  assert.deepEqual([skipOf(row()).value, skipOf(row({ controls: [] })), skipOf(row({ controls: [{ name: "skip", value: null }] }))], [41, null, null]);
});

test("everything that is drawn fits the picture, higher is further up, and turns go from left to right", () => {
  for (const past of [[[0, 1], [1, 2], [2, -5]], [[0, 3]], [[0, 7], [1, 7]], [[0, 1e9], [1, -1e9]]]) {
    const { y, points } = plotOf(row({ past }), 92, 40);
    for (const [x, height] of points) assert.ok(x >= 0 && x <= 92 && height >= 0 && height <= 40, `${x} ${height}`);
    for (const control of [71, 41]) assert.ok(y(control) >= 0 && y(control) <= 40);
    assert.ok(y(71) < y(41));
    points.slice(1).forEach(([x], i) => assert.ok(x > points[i][0]));
  }
});

test("a card has the value, its unit, the change, the spread and both controls", () => {
  show([row(), row({ name: "Tales", unit: "nats per token", better: "lower", value: 3.0512, spread: null, past: [[8, 3.1], [9, 3.0512]] })]);
  const [sums, tales] = all(".ml-score");
  assert.match(find(".ml-caption").textContent, /^parent: .* skip: /);
  assert.match(sums.textContent, /^Sums62%\+9 since turn 8, ±\u00a04parent 71skip 41$/);
  assert.match(tales.textContent, /^Tales3\.05nats−0\.049 since turn 8parent 12skip 41$/);
  assert.equal(tales.querySelector("small").title, "nats per token");
  assert.match(sums.querySelector("svg").getAttribute("aria-label"), /higher is better; turn 0: 31, turn 8: 53, turn 9: 62; best source, Arith: 71; skip: 41/);
  const dashes = [...sums.querySelectorAll("svg[role=img] .ml-control")].map((line) => line.getAttribute("style"));
  assert.equal(new Set(dashes).size, 2, "two controls, two dashes");
});

test("a change is told to the place that the spread is known to", () => {
  const since = (before, value, spread) => {
    scene?.close();
    show([row({ value, spread, past: [[8, before], [9, value]] })]);
    return find(".ml-score-change").textContent.replace(/\u00a0/g, " ");
  };
  assert.equal(since(0.34576, 0.3457617, 0.004), "as in turn 8, ± 0.004");
  assert.equal(since(3.0912, 3.05, 0.0203), "−0.04 since turn 8, ± 0.02");
  assert.equal(since(53.2, 62, 4.02), "+9 since turn 8, ± 4");
  assert.equal(since(120, 355, 31), "+240 since turn 8, ± 30");
  assert.equal(since(1, 1.00004, null), "+0.00004 since turn 8");
  assert.equal(since(1, 1, 0), "as in turn 8, ± 0");
});

test("a score of an earlier stack keeps its figure and says of which turn it is", () => {
  show([row()]);
  assert.equal(find(".ml-stale"), null);
  scene.draft.edit({ prompt: "x" });
  assert.match(find(".ml-stale").textContent, /62.*from turn 9, ±\u00a04/);
  scene.model.answerNow();
  assert.equal(find(".ml-stale"), null);
  scene.model.answerNow({ recipe: "ffffffff" });
  assert.match(find(".ml-stale").textContent, /from turn 9/);
  assert.match(find(".ml-mute").textContent, /earlier turn/);
});

test("after undo the figure, its change and the dot are of the turn that is there again", () => {
  show([row()]);
  const dot = () => find(".ml-last").getAttribute("d");
  const last = dot();
  scene.model.hear({ _past: past(entry(8, "3f2a9c01", true), entry(9, "00000009")), _scores: { recipe: "3f2a9c01", done: true, rows: [row({ value: 53 })] } });
  assert.match(find(".ml-score").textContent, /^Sums53%\+22 since turn 0/);
  assert.notEqual(dot(), last);
});

test("noise does not fill the picture: it stands for four spreads, and for a hundredth of the value, at least", () => {
  const quiet = (more) => row({ controls: [], value: 0.346, spread: 0, past: [[1, 0.3457], [2, 0.346]], ...more });
  const apart = (of) => Math.abs(of.points[0][1] - of.points[1][1]);
  assert.ok(Math.abs(apart(plotOf(quiet(), 90, 40)) - (0.0003 / 0.00346) * 32) < 1e-6);
  assert.ok(Math.abs(apart(plotOf(quiet({ spread: 0.004 }), 90, 40)) - (0.0003 / 0.016) * 32) < 1e-6);
  assert.equal(apart(plotOf(quiet({ past: [[1, 0], [2, 1]], value: 1 }), 90, 40)), 32, "what is no noise fills it");
  assert.ok(plotOf(quiet({ value: 0, past: [[1, 0], [2, 0]] }), 90, 40).points.every(([, y]) => y === 20));
  show([quiet({ spread: 0.004 })]);
  const band = find(".ml-spread");
  assert.ok(Math.abs(Number(band.getAttribute("height")) - 16) < 0.1, "plus and minus one spread: half of four");
});

test("before there are scores they are being measured, not of an earlier turn", () => {
  scene = stage({ _scores: { recipe: null, done: false, rows: [row({ value: null, spread: null, past: [] })] } });
  view = scene.show(scoresView);
  assert.equal(find(".ml-head .ml-mute").textContent, "being measured");
  scene.model.answerNow();
  scene.model.hear({ status: "measuring", _scores: { recipe: "3f2a9c01", done: true, rows: [row()] } });
  scene.draft.edit({ prompt: "x" });
  assert.equal(find(".ml-head .ml-mute").textContent, "of an earlier turn; being measured");
});

test("what has no figure says why, beside its name", () => {
  show([row({ value: null, spread: null, past: [], controls: [] })]);
  assert.match(find(".ml-score").textContent, /^Sums–not measured$/);
  scene.model.hear({ _scores: { recipe: "3f2a9c01", done: false, rows: [row({ value: null, past: [] })] } });
  assert.match(find(".ml-score-change").textContent, /being measured/);
  scene.model.hear({ _scores: { recipe: "3f2a9c01", done: true, rows: [row({ value: null, past: [], why: "ValueError: <b>no</b>" })] } });
  assert.equal(find(".ml-score-change").textContent, "ValueError: <b>no</b>");
});

test("without scorers there is no such part", () => {
  show([]);
  assert.equal(view.root.hidden, true);
});

test("the line shows the last nine turns", () => {
  const past = Array.from({ length: 30 }, (_, i) => [i, i]);
  show([row({ past, value: 29 })]);
  assert.equal(find(".ml-turns").getAttribute("d").match(/[ML]/g).length, 9);
  assert.match(find(".ml-head .ml-mute").textContent, /last 9 turns/);
});
