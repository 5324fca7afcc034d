// What the stack refuses where it is dropped, with the reason and the ways out.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { passes, press, sourceOf } from "./page.mjs";
import { LOWER, UPPER, building } from "./building.mjs";

let page;
const START = { base: 0, widen: false, slices: [passes(0, 0, 4), passes(1, 2, 3), passes(0, 7, 3)] };
const open = (more) => (page = building({ sketch: structuredClone(START), ...more }));
const preview = (more = {}) => ({ grade: "preview", why: "Feed-forward 96 against 128.", facts: [{ what: "layers", theirs: "8", ours: "10", differs: true, hinders: false }, { what: "feed-forward", theirs: "96", ours: "128", differs: true, hinders: true }], widen: true, ...more });
const fits = { grade: "fits", why: "", facts: [], widen: false };

beforeEach(() => open());
afterEach(() => page.close());

test("what cannot be saved is refused where it is dropped, with the reason and the ways out, until it is answered", () => {
  page.close();
  open({ _sources: ["base", "arith", "odd"].map((name) => sourceOf(name)), _fits: [fits, fits, preview()] });
  page.drag(page.columns, page.cell(2, 8), page.cell(2, 9), [page.border(10), UPPER]);
  assert.equal(page.find(".ml-card-hand").textContent, "not here");
  assert.equal(page.hand.held.ghosts, null);
  assert.deepEqual(page.draft.sketch, START, "what is refused is not in the picture");
  page.drop(page.columns);
  const bar = page.find(".ml-refuse");
  bar.querySelector("button").focus();
  assert.equal(bar.hidden, false);
  assert.equal(bar.querySelector(".ml-refuse-words").textContent, "odd: Feed-forward 96 against 128. Previews here, cannot be saved.");
  assert.deepEqual([...bar.querySelectorAll("button")].map((button) => button.textContent), ["Widen to 128", "Preview only", "Put back"]);
  assert.match(page.plot.textContent, /not added.*96 ≠ 128/);
  assert.equal(page.hand.spare, 2, "on top there is room for it beside the stack");
  page.draft.edit({ prompt: "elsewhere" });
  assert.equal(bar.hidden, false);
  bar.querySelector("button").click();
  assert.equal(page.draft.sketch.widen, true);
  assert.deepEqual(page.told(), ["passthrough 0@0 +4", "passthrough 1@2 +3", "passthrough 0@7 +3", "passthrough 2@8 +2"]);
  assert.equal(bar.hidden, true);
  assert.equal(document.activeElement, page.plot, "the keyboard goes to the stack");
  page.drag(page.columns, page.cell(2, 0), [page.border(0), UPPER]);
  page.drop(page.columns);
  assert.equal(page.told()[0], "passthrough 2@0 +1", "once it is widened, more of it may come");
});

test("Escape answers a refusal, and a source that fits in no way has no way out", () => {
  page.close();
  open({ _fits: [fits, fits, { grade: "no", why: "pirate: another architecture.", facts: [], widen: false }] });
  page.drag(page.columns, page.cell(2, 0), [page.border(2), UPPER]);
  page.drop(page.columns);
  assert.deepEqual([...page.root.querySelectorAll(".ml-refuse button")].map((button) => button.textContent), ["Put back"]);
  press(page.plot, "Escape");
  assert.equal(page.find(".ml-refuse").hidden, true);
  assert.deepEqual(page.model.get("sketch"), START);
});

test("a source that was let in for the preview alone is not refused again", () => {
  page.close();
  open({ _fits: [fits, fits, preview({ widen: false })] });
  page.drag(page.columns, page.cell(2, 0), [page.border(2), UPPER]);
  page.drop(page.columns);
  const ways = [...page.root.querySelectorAll(".ml-refuse button")];
  assert.deepEqual(ways.map((button) => button.textContent), ["Preview only", "Put back"]);
  ways[0].click();
  page.drag(page.columns, page.cell(2, 5), [page.border(0), UPPER]);
  page.drop(page.columns);
  assert.deepEqual(page.told().slice(0, 3), ["passthrough 2@5 +1", "passthrough 0@0 +2", "passthrough 2@0 +1"]);
  assert.equal(page.draft.sketch.widen, false);
});

test("sources that cannot be blended are refused on the lower half, and may go between", () => {
  page.close();
  open({ _blends: [["", "", ""], ["", "", "Heads 4 against 8."], ["", "Heads 4 against 8.", ""]] });
  page.drag(page.columns, page.cell(2, 4), page.cell(2, 6), [page.at(5), LOWER]);
  page.drop(page.columns);
  assert.match(page.find(".ml-refuse-words").textContent, /Heads 4 against 8/);
  assert.deepEqual([...page.root.querySelectorAll(".ml-refuse button")].map((button) => button.textContent), ["Use a slice of its own", "Put back"]);
  page.find(".ml-refuse button").click();
  assert.deepEqual(page.told(), ["passthrough 0@0 +4", "passthrough 2@4 +3", "passthrough 1@2 +3", "passthrough 0@7 +3"]);
});

test("where a source fits neither way, its own slice can be heard", () => {
  page.close();
  const apart = ["", "Heads 4 against 8.", ""];
  open({ _fits: [fits, fits, preview({ widen: false })], _blends: [["", "", apart[1]], ["", "", apart[1]], [apart[1], apart[1], ""]] });
  page.drag(page.columns, page.cell(2, 4), page.cell(2, 6), [page.at(5), LOWER]);
  page.drop(page.columns);
  assert.match(page.find(".ml-refuse-words").textContent, /Heads 4 against 8.*cannot be saved/);
  assert.deepEqual([...page.root.querySelectorAll(".ml-refuse button")].map((button) => button.textContent), ["Use a slice of its own", "Put back"]);
  page.find(".ml-refuse button").click();
  assert.ok(page.told().includes("passthrough 2@4 +3"));
});
