// What the hand has moved, before Python has answered: few messages, the newest state, the hand's last word.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { draftOf } from "../src/lib/draft.js";
import { FakeModel, passes } from "./page.mjs";

let model;
let over;
let draft;
let frames;
const stack = (start) => ({ base: 0, widen: false, slices: [passes(0, start, 3)] });

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  model = new FakeModel();
  over = new AbortController();
  frames = 0;
  draft = draftOf(model, () => (frames += 1), over.signal);
});
afterEach(() => {
  over.abort();
  mock.timers.reset();
});

test("a thousand moves in a second: under 60 messages, the last one right, and the hand is told at both ends", () => {
  draft.hold();
  for (let move = 1; move <= 1000; move += 1) {
    draft.edit({ sketch: stack(move) });
    mock.timers.tick(1);
    if (move % 20 === 0) model.hear({ _answered: model.get("_turn") });
  }
  draft.release();
  mock.timers.tick(1000);
  assert.ok(model.sent.length < 60, `${model.sent.length} messages`);
  assert.ok(model.sent.length > 15, "it follows the hand");
  assert.deepEqual(model.get("sketch"), stack(1000));
  assert.equal(model.sent[0]._held, true);
  assert.equal(model.get("_held"), false);
  assert.deepEqual(model.sent.filter((each) => each._held === false).length, 1);
  const edits = model.sent.filter((each) => "sketch" in each);
  assert.equal(model.get("_turn"), edits.length, "a turn for every message of edits, none for letting go");
});

/** A drag of so many ms, a move every 8, each edit answered after so many ms unless a newer one comes first: when edits went, and how many were answered. */
function dragged(lasts, takes) {
  const went = [];
  let [due, answered] = [Infinity, 0];
  draft.hold();
  for (let at = 0; at < lasts; at += 1) {
    const before = model.sent.length;
    if (at % 8 === 0) draft.edit({ sketch: stack(1 + at) });
    if (at >= due) {
      model.hear({ _answered: model.get("_turn") });
      [due, answered] = [Infinity, answered + 1];
    }
    mock.timers.tick(1);
    if (model.sent.length === before) continue;
    went.push(at);
    due = at + takes;
  }
  return { went, answered };
}

test("while a hand moves each edit is answered before the next one goes, and Python rests as long as that took", () => {
  for (const takes of [20, 60, 150, 250, 400]) {
    const { went, answered } = dragged(4000, takes);
    assert.ok(answered >= went.length - 1 && answered > 4, `${takes} ms: ${answered} of ${went.length} answered`);
    const least = Math.max(50, takes + Math.min(300, takes));
    for (const [i, at] of went.slice(1).entries()) {
      const gap = at - went[i];
      assert.ok(gap >= least - 2 && gap <= least + 30, `${takes} ms: ${gap} ms between two edits, wanted ${least}`);
    }
    draft.edit({ sketch: stack(9000 + takes) });
    draft.release();
    assert.deepEqual(model.get("sketch"), stack(9000 + takes), "who lets go does not wait");
    model.hear({ _answered: model.get("_turn") });
    mock.timers.tick(5000);
  }
});

test("an answer that never comes holds an edit up for a second", () => {
  const { went, answered } = dragged(3500, Infinity);
  assert.deepEqual([went.length, answered], [4, 0]);
  draft.release();
});

test("what another view asks, and a hand that only lets go, are no measure of how long Python takes", () => {
  dragged(200, 20);
  model.hear({ _answered: model.get("_turn") });
  draft.release();
  mock.timers.tick(5000);
  model.hear({ _turn: model.get("_turn") + 1 });
  mock.timers.tick(20);
  model.hear({ _answered: model.get("_turn") });
  assert.ok(dragged(300, 20).went.length >= 5);
  draft.release();
});

test("the text goes along with the picture in a hand that holds still, unless the hand is on the text", () => {
  draft.hold();
  draft.edit({ sketch: stack(1) });
  model.hear({ text: "slices: [1]\n", sketch: stack(7) });
  assert.deepEqual([draft.text, draft.sketch], ["slices: [1]\n", stack(1)]);
  draft.release();
  draft.hold();
  draft.edit({ text: "mine" });
  mock.timers.tick(100);
  model.hear({ _answered: model.get("_turn"), text: "theirs" });
  assert.equal(draft.text, "mine");
  draft.release();
});

test("the first edit goes at once; an edit that changes nothing goes nowhere", () => {
  draft.edit({ prompt: "hello" });
  assert.deepEqual(model.sent, [{ prompt: "hello", _turn: 1 }]);
  draft.edit({ prompt: "hello" });
  mock.timers.tick(500);
  assert.equal(model.sent.length, 1);
});

test("a press without a move asks for nothing", () => {
  draft.hold();
  draft.release();
  mock.timers.tick(500);
  assert.deepEqual(model.sent, []);
});

test("while a hand holds, what Python sets waits; the hand wins on what it moved and nothing else", () => {
  draft.hold();
  draft.edit({ sketch: stack(1) });
  mock.timers.tick(100);
  model.hear({ sketch: stack(7), prompt: "from a cell" });
  assert.deepEqual([draft.sketch, draft.prompt], [stack(1), "Once upon a time"]);
  draft.release();
  assert.deepEqual([draft.sketch, draft.prompt], [stack(1), "from a cell"]);
  assert.deepEqual(model.get("sketch"), stack(1), "and it says so");
  model.hear({ sketch: stack(2) });
  assert.deepEqual(draft.sketch, stack(2));
});

test("draft until Python has answered this very edit; measuring is exact already", () => {
  assert.equal(draft.state, "loading");
  model.answerNow();
  assert.deepEqual([draft.state, draft.writing], ["exact", false]);
  draft.edit({ sketch: stack(1) });
  assert.deepEqual([draft.state, draft.writing], ["draft", true]);
  model.hear({ status: "done", _answered: 0 });
  assert.equal(draft.state, "draft", "an answer to an earlier edit");
  model.hear({ status: "measuring", _answered: 1 });
  assert.deepEqual([draft.state, draft.writing], ["exact", true]);
  for (const status of ["failed", "stopped", "waiting"]) {
    model.hear({ status });
    assert.deepEqual([draft.state, draft.writing], [status, false]);
  }
});

test("a request goes behind the edits that were made before it", () => {
  draft.edit({ sketch: stack(1) });
  draft.edit({ sketch: stack(2) });
  assert.deepEqual(model.get("sketch"), stack(1), "the second waits");
  let before = null;
  model.send = () => (before = structuredClone(model.get("sketch")));
  draft.tell({ type: "undo" });
  assert.deepEqual(before, stack(2));
});

test("put back is an edit to the picture of the last answer", () => {
  model.answerNow();
  const made = structuredClone(model.get("sketch"));
  draft.edit({ sketch: stack(1) });
  draft.putBack();
  assert.deepEqual(model.get("sketch"), made);
});

test("a request says which edit it comes behind, held back or not", () => {
  draft.edit({ sketch: stack(1) });
  draft.edit({ sketch: stack(4) });
  draft.tell({ type: "undo" });
  assert.deepEqual(model.get("sketch"), stack(4));
  assert.deepEqual([model.messages, model.after, model.get("_turn")], [[{ type: "undo" }], 2, 2]);
});

test("a view that is closed in the middle of a drag lets go and leaves nothing behind", () => {
  draft.hold();
  draft.edit({ sketch: stack(1) });
  draft.edit({ sketch: stack(4) });
  over.abort();
  assert.deepEqual([model.get("sketch"), model.get("_held")], [stack(4), false]);
  assert.equal(model.listeners, 0);
});

test("everything that Python tells asks for a frame", () => {
  for (const name of ["answer", "status", "_seams", "_scores", "_past", "_problems", "_behind", "_exports", "_lines", "_blind", "_fits"]) {
    frames = 0;
    model.hear({ [name]: model.get(name) });
    assert.equal(frames, 1, name);
  }
});
