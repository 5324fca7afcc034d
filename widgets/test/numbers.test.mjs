// The pure parts: scale, words, figures.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, count, inThousands, nats, percent, seconds, tokenLabel } from "../src/lib/figures.js";
import { GUTTER, scaleOf } from "../src/lib/scale.js";
import { runsOf, wordsOf } from "../src/lib/words.js";

test("one x for all: columns fill the panel, never narrower than text", () => {
  const scale = scaleOf(614, 10);
  assert.equal(scale.column, 56);
  assert.equal(scale.layerAt(GUTTER + 56 * 3 + 1), 3);
  assert.equal(scale.layerAt(-5), 0);
  assert.equal(scale.borderAt(GUTTER + 56 * 3 - 20), 3);
  assert.equal(scaleOf(300, 80).column, 28);
  const roomy = scaleOf(614, 8, 2);
  assert.deepEqual([roomy.column, roomy.depth, roomy.width, roomy.layerAt(600)], [56, 8, 614, 7], "spare columns are beside the stack, not in it");
});

test("what is drawn: the columns in sight and half as many on either side, in blocks", () => {
  const drawn = (...given) => {
    const { from, to } = scaleOf(...given);
    return [from, to];
  };
  assert.deepEqual(drawn(614, 10), [0, 10]);
  assert.deepEqual(drawn(616, 100), [0, 40], "28 px each: 22 in sight, 11 beside them, to a block's end");
  assert.deepEqual(drawn(616, 100, 0, 28 * 50), [32, 88]);
  assert.deepEqual(drawn(616, 100, 0, 28 * 78), [64, 100]);
  assert.deepEqual(drawn(616, 10, 0, 28 * 78), [10, 10], "scrolled by more than there is, until the page has taken that back");
});

test("a whole number with its thousands apart", () => {
  assert.deepEqual([0, 999, 1000, 408896, 1234567].map(inThousands), ["0", "999", "1,000", "408,896", "1,234,567"]);
});

test("a word aligns where the texts run side by side, not wherever it comes again", () => {
  const differing = (text, reference) => runsOf(text, reference).filter(({ differs }) => differs).map(({ text: run }) => run.trim());
  assert.deepEqual(differing("ship", "ye be near the park with yer ship"), ["ship"]);
  assert.deepEqual(differing("jam the", "ye be near the park"), ["jam the"]);
  assert.deepEqual(differing("ye be avast ye farm", "ye be near the park with yer ship"), ["avast ye farm"]);
  assert.deepEqual(differing("ye near the park", "ye be near the park"), [], "one word that is left out shifts the rest");
  assert.deepEqual(differing("ye be quite near the park", "ye be near the park"), ["quite"]);
  assert.deepEqual(differing("ye", "ye be near"), []);
  assert.deepEqual(differing("the dog sat", "the cat sat"), ["dog"]);
});

test("words that differ are those outside the best alignment", () => {
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
