// The pure parts: slices, curve, scale, words, figures.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bordersOf, giveTo, layersOf, moveBorder, refit, sharesOf, splitAt, titleOf, without } from "../src/lib/blocks.js";
import { bend, bendable, meanOf, settle, turnTo } from "../src/lib/curve.js";
import { bytes, count, nats, percent, seconds, tokenLabel } from "../src/lib/figures.js";
import { GUTTER, scaleOf } from "../src/lib/scale.js";
import { runsOf, wordsOf } from "../src/lib/words.js";

const graft = [[1, 0, 3], [2, 3, 7], [1, 7, 10]];
const depths = [10, 10, 10];

/** Random numbers that are the same every time (mulberry32). */
function random(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

test("output layers carry their source, their layer there and their slice", () => {
  assert.deepEqual(bordersOf(graft), [0, 3, 7, 10]);
  assert.deepEqual(layersOf(graft)[3], { source: 2, home: 3, block: 1 });
  assert.equal(layersOf(graft).length, 10);
});

test("moving a border keeps the depth, at least one layer each, and stays inside the sources", () => {
  assert.deepEqual(moveBorder(graft, 0, 2, depths), [[1, 0, 5], [2, 5, 7], [1, 7, 10]]);
  assert.deepEqual(moveBorder(graft, 0, 99, depths), [[1, 0, 6], [2, 6, 7], [1, 7, 10]]);
  assert.deepEqual(moveBorder(graft, 1, -99, depths), [[1, 0, 3], [2, 3, 4], [1, 4, 10]]);
  const next = random(1);
  for (let round = 0; round < 500; round += 1) {
    const deep = [4 + next(8), 4 + next(8), 4 + next(8)];
    const blocks = Array.from({ length: 1 + next(5) }, () => {
      const source = next(3);
      const start = next(deep[source] - 1);
      return [source, start, start + 1 + next(deep[source] - start - 1)];
    });
    const index = next(blocks.length);
    const moved = moveBorder(blocks, index, next(21) - 10, deep);
    assert.equal(layersOf(moved).length, layersOf(blocks).length);
    for (const [source, start, end] of moved) assert.ok(start >= 0 && start < end && end <= deep[source]);
    moved.forEach((block, i) => {
      if (i !== index && i !== index + 1) assert.deepEqual(block, blocks[i]);
    });
  }
});

test("split, give and remove say null where they cannot", () => {
  assert.deepEqual(splitAt(graft, 5), [[1, 0, 3], [2, 3, 5], [2, 5, 7], [1, 7, 10]]);
  assert.equal(splitAt(graft, 3), null);
  assert.deepEqual(giveTo(graft, 1, 0, depths), [[1, 0, 3], [0, 3, 7], [1, 7, 10]]);
  assert.equal(giveTo(graft, 1, 0, [5, 10, 10]), null);
  assert.deepEqual(without(graft, 1), [[1, 0, 3], [1, 7, 10]]);
  assert.equal(without([[0, 0, 3]], 0), null);
});

test("a layer that stays keeps its coefficient, a repeated one in order", () => {
  const curve = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
  assert.deepEqual(refit(curve, graft, without(graft, 1)), [0, 0.1, 0.2, 0.7, 0.8, 0.9]);
  assert.deepEqual(refit([0.1, 0.2], [[0, 4, 5], [0, 4, 5]], [[0, 4, 5], [0, 4, 5], [0, 4, 6]]), [0.1, 0.2, 1, 1]);
});

test("shares of the stack sum to 1 and give the base what the coefficient leaves", () => {
  const shares = sharesOf(graft, new Array(10).fill(0.5), "linear", 3);
  assert.ok(Math.abs(shares.reduce((a, b) => a + b) - 1) < 1e-12);
  assert.deepEqual(shares.map((share) => Math.round(100 * share)), [50, 30, 20]);
});

test("passthrough blends nothing, so each source has its layers whole", () => {
  const shares = sharesOf(graft, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "passthrough", 3);
  assert.deepEqual(shares.map((share) => Math.round(100 * share)), [0, 60, 40]);
});

test("the title names the host and what was put into it", () => {
  assert.equal(titleOf(graft, ["base", "reverse", "pirate"]), "reverse with pirate 3–6");
  assert.equal(titleOf([[0, 0, 5]], ["base"]), "base");
});

test("the dial moves the mean exactly, keeps the order, reaches both ends, and leaves the base alone", () => {
  const next = random(2);
  for (let round = 0; round < 300; round += 1) {
    const curve = Array.from({ length: 2 + next(20) }, () => next(101) / 100);
    const free = curve.map((_, i) => i === 0 || next(3) > 0);
    const mean = next(101) / 100;
    const turned = turnTo(curve, free, mean);
    // Each number is rounded to two decimals, so the mean may be off by half of that.
    assert.ok(Math.abs(meanOf(turned, free) - mean) <= 0.005 + 1e-9);
    turned.forEach((value, i) => {
      assert.ok(value >= 0 && value <= 1);
      if (!free[i]) assert.equal(value, curve[i]);
    });
    for (const end of [0, 1]) turnTo(curve, free, end).forEach((value, i) => free[i] && assert.equal(value, end));
  }
  assert.deepEqual(turnTo([1, 0.5], [true, true], 0.75), [1, 0.5]);
  assert.deepEqual(turnTo([1, 1], [false, false], 0.2), [1, 1]);
  assert.deepEqual(bend([1, 1, 1], 1, 1.7), [1, 1, 1]);
  assert.deepEqual(bendable([{ source: 0 }, { source: 2 }]), [false, true]);
  assert.equal(settle(0.12345), 0.12);
});

test("one x for all: columns fill the panel, never narrower than text", () => {
  const scale = scaleOf(614, 10);
  assert.equal(scale.column, 56);
  assert.equal(scale.layerAt(GUTTER + 56 * 3 + 1), 3);
  assert.equal(scale.layerAt(-5), 0);
  assert.equal(scale.borderAt(GUTTER + 56 * 3 - 20), 3);
  assert.equal(scaleOf(300, 80).column, 28);
});

test("words that differ are those outside the longest common subsequence", () => {
  assert.deepEqual(wordsOf(" a  b "), [" a", "  b "]);
  assert.deepEqual(runsOf(" the old cat sat", " the cat sat down"), [
    { text: " the", differs: false },
    { text: " old", differs: true },
    { text: " cat sat", differs: false },
  ]);
  assert.deepEqual(runsOf("", "a"), []);
  for (const [a, b] of [["x y z", ""], ["a b a b a", "b a b"], [" p q", " q p"]]) {
    assert.equal(runsOf(a, b).map(({ text }) => text).join(""), a);
  }
});

test("figures: three at most, a unit, marks for what cannot be seen", () => {
  assert.equal(count(408_896), "409 k");
  assert.equal(count(7_241_732_096), "7.24 B");
  assert.equal(bytes(1_635_584), "1.64 MB");
  assert.equal(seconds(0.0008), "0.8 ms");
  assert.equal(seconds(0.153), "153 ms");
  assert.equal(seconds(2.34), "2.3 s");
  assert.deepEqual([0.584, 0.0412, 0.0004, 0, Number.NaN].map(percent), ["58", "4.1", "<0.1", "0", "–"]);
  assert.deepEqual([percent(null), nats(null), nats(Number.NaN)], ["–", "–", "–"]);
  assert.equal(nats(9.996), "10.0");
  assert.equal(nats(0.001), "0.00");
  assert.deepEqual([" cat", "\n", "", "a b"].map(tokenLabel), ["·cat", "↵", "∅", "a b"]);
});

test("a figure that rounds up to a thousand goes into the next unit", () => {
  const thin = count(408_896)[3];
  const plain = (words) => words.replace(thin, " ");
  assert.deepEqual([999, 1000, 999_499, 999_600, 999_600_000, 999_600_000_000, 1_234_500_000_000].map((n) => plain(count(n))), ["999", "1 k", "999 k", "1 M", "1 B", "1000 B", "1235 B"]);
  assert.deepEqual([999, 999_600, 999_400_000, 999_600_000].map((n) => plain(bytes(n))), ["999 B", "1 MB", "999 MB", "1 GB"]);
  assert.deepEqual([0, 1e-8, 0.00996, 0.9994, 0.9996, 1, 61.26].map((n) => plain(seconds(n))), ["0 ms", "<0.001 ms", "10 ms", "999 ms", "1.0 s", "1.0 s", "61.3 s"]);
  for (let power = 0; power < 13; power += 0.01) {
    for (const words of [count(Math.round(10 ** power)), bytes(Math.round(10 ** power)), seconds(10 ** (power - 9))]) assert.doesNotMatch(words, /e[+-]/);
  }
});
