// What each part is of a layer, for the eye: the same cases as tests/views/test_shares.py, and the words for them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { addPart, heightsInWords, percents, setMethod, sharesOf, unlearnedOf } from "../src/lib/mixing.js";
import { part, slice } from "./bending.mjs";

const { methods, cases } = JSON.parse(readFileSync(new URL("shares.json", import.meta.url), "utf8"));
const stack = (...slices) => ({ base: 0, widen: false, slices });
const near = (found, told, what) => found.forEach((share, i) => assert.ok(Math.abs(share - told[i]) < 1e-12, `${what}: ${found}`));

for (const { what, slice: piece, offset, shares, unlearned } of cases) {
  test(what, () => {
    near(sharesOf(stack(piece), piece, methods)(offset), shares, what);
    assert.deepEqual(unlearnedOf(stack(piece), piece, methods)(offset).flatMap((taken, i) => (taken ? [i] : [])), unlearned);
  });
}

test("what the heights say, and which number changes nothing", () => {
  const words = (piece) => heightsInWords(stack(piece), piece, methods);
  const weight = (value) => ({ weight: [[null, value]] });
  const one = slice("ties", 2, [part(0, 0), part(1, 0, weight(0.5))]);
  assert.equal(words(one)[0], "One source and normalize: the weight changes nothing.");
  assert.match(words(one)[1], /the base has what density and lambda leave out/);
  assert.equal(words({ ...one, numbers: { normalize: [[null, false]] } }).length, 1);
  assert.doesNotMatch(words({ ...one, parts: [...one.parts, part(2, 0, weight(1))] }).join(), /changes nothing/);
  const task = slice("task_arithmetic", 2, [part(0, 0), part(1, 0, weight([0.5, -0.5]))]);
  assert.match(words(task).at(-1), /below 0, unlearns/, "somewhere in the slice");
  assert.doesNotMatch(words({ ...task, parts: [part(0, 0), part(1, 0, weight(0.5))] }).join(), /unlearns/);
  assert.match(words(slice("linear", 2, [part(0, 0, weight(1)), part(1, 0, weight(1))]))[0], /^Height: weight relative to the others\.$/);
  assert.match(words(slice("nearswap", 2, [part(0, 0), part(1, 0)]))[0], /^Equal heights/);
  assert.deepEqual(words(slice("passthrough", 2, [part(0, 0)])), []);
});

test("a further source counts as much as the others", () => {
  const weights = (sketch) => sketch.slices[0].parts.map(({ numbers }) => numbers.weight?.[0][1] ?? null);
  const depths = [9, 9, 9, 9];
  const join = (sketch, source) => addPart(sketch, 0, { source, start: 0 }, methods, depths);
  let blend = stack(slice("passthrough", 4, [part(0, 0)]));
  for (const [source, expected] of [[1, 0.5], [2, 0.33], [3, 0.25]]) {
    blend = join(blend, source);
    assert.deepEqual(weights(blend), new Array(source + 1).fill(expected));
  }
  const ties = join(setMethod(stack(slice("passthrough", 4, [part(1, 0)])), 0, "ties", methods), 2);
  assert.deepEqual(weights(ties), [null, 1, 1]);
  assert.deepEqual(weights(join(ties, 3)), [null, 1, 1, 1]);
  const drawn = stack(slice("linear", 4, [part(0, 0, { weight: [[null, [0, 1]]] }), part(1, 0, { weight: [[null, 0.33]] })]));
  const three = join(drawn, 2);
  assert.deepEqual(three.slices[0].parts.slice(0, 2), drawn.slices[0].parts, "what a hand has set apart stays");
  assert.equal(weights(three)[2], 0.5, "and the new one counts as the mean of the others");
  const all = stack(slice("linear", 4, [part(0, 0), part(1, 0)], { weight: [[null, 0.7]] }));
  assert.deepEqual(weights(join(all, 2)), [null, null, null], "the slice says it for all");
});

test("whole per cents add up to 100, the nearest that do", () => {
  assert.deepEqual(percents([0.875, 0.125]), [88, 12]);
  assert.deepEqual(percents([1 / 3, 1 / 3, 1 / 3]), [34, 33, 33]);
  assert.deepEqual(percents([0.07, 0.93]), [7, 93]);
  assert.deepEqual(percents([1, 0]), [100, 0]);
  assert.deepEqual(percents([0.005, 0.005, 0.99]), [1, 0, 99]);
});
