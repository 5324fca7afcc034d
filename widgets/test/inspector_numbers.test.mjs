// The inspector's arithmetic: buffers, ranges, axes, colours, selections, values in words. Nothing here needs a page.
import assert from "node:assert/strict";
import { test } from "node:test";
import { apart, axisOf, strideOf, ticksOf } from "../src/lib/axis.js";
import { linesOf, rowsOf } from "../src/lib/heat_view.js";
import { unanswered } from "../src/lib/inspection.js";
import { reachOf } from "../src/lib/lines_view.js";
import { after, standing } from "../src/lib/panel_view.js";
import { againstChance, boundOf, extentOf, layerOf, placeOf, rangeOf, unpack } from "../src/lib/panels.js";
import { bare, bound, quantity, withChance } from "../src/lib/quantity.js";
import { fromLab, stepOf, steps, toLab } from "../src/lib/ramp.js";
import { ascending, between, grabbed, grown, layersInWords, runsOf } from "../src/lib/selection.js";

/** A buffer that begins anywhere in a message. */
function packed(numbers, shape, offset = 3) {
  const bytes = new Uint8Array(new Float32Array(numbers).buffer);
  const message = new Uint8Array(offset + bytes.length + 7).fill(255);
  message.set(bytes, offset);
  return { view: new DataView(message.buffer, offset, bytes.length), dtype: "float32", shape };
}
const panel = (more = {}) => ({ kind: "heat", unit: "1", scale: "linear", middle: 0, low: null, high: null, values: null, ...more });
const near = (a, b, by = 1e-6) => assert.ok(Math.abs(a - b) <= by, `${a} is not ${b}`);

test("numbers are read where their buffer lies, row after row", () => {
  for (const offset of [0, 3, 8]) {
    const values = unpack(packed([1, 2, 3, 4, Number.NaN, 6], [2, 3], offset));
    assert.deepEqual([values.rows, values.columns, values.at(0, 2), values.at(1, 0)], [2, 3, 3, 4]);
    assert.ok(Number.isNaN(values.at(1, 1)));
    assert.ok(Number.isNaN(values.at(2, 0)) && Number.isNaN(values.at(0, 3)), "outside there is nothing");
  }
});

test("base64 stands in for a buffer, and nothing for no values", () => {
  const text = Buffer.from(new Float32Array([0.5, -2]).buffer).toString("base64");
  assert.equal(unpack({ view: text, dtype: "float32", shape: [1, 2] }).at(0, 1), -2);
  assert.equal(unpack(null).rows, 0);
  assert.equal(boundOf(0.25)(5, 7), 0.25);
  assert.equal(boundOf(packed([1, 2], [1, 2]))(0, 1), 2);
});

test("only numbers name layers", () => {
  assert.deepEqual(["0", "17", "embedding", "-1", ""].map(layerOf), [0, 17, null, null, null]);
});

test("ranges: a middle stays in the middle, sizes begin at zero, a log is above zero", () => {
  const values = unpack(packed([0.9, 1.4, Number.NaN, Number.POSITIVE_INFINITY], [2, 2]));
  assert.deepEqual(extentOf(values)?.map((each) => Number(each.toFixed(3))), [0.9, 1.4]);
  const [low, high] = rangeOf(panel({ scale: "diverging", middle: 1 }), values);
  near(low, 0.6);
  near(high, 1.4);
  assert.deepEqual(rangeOf(panel({ scale: "diverging", middle: 1, low: 0.9, high: 1.5 }), values), [0.5, 1.5]);
  near(rangeOf(panel(), values)[0], 0);
  assert.deepEqual(rangeOf(panel({ low: 0.2, high: 3 }), values), [0.2, 3]);
  const [least] = rangeOf(panel({ scale: "log", low: 0, high: 100 }), values);
  assert.ok(least > 0);
  assert.deepEqual(rangeOf(panel(), unpack(null)), [0, 1]);
  const [from, to] = rangeOf(panel({ scale: "diverging", middle: 1 }), unpack(packed([1, 1], [1, 2])));
  assert.deepEqual([from, to], [0, 2], "no difference at all still has a range");
});

test("places on a scale are held inside, and what is not known has none", () => {
  assert.deepEqual([0, 0.5, 2, -1].map((value) => placeOf(value, [0, 1], "linear")), [0, 0.5, 1, 0]);
  near(placeOf(10, [1, 100], "log"), 0.5);
  assert.equal(placeOf(0, [1, 100], "log"), 0);
  assert.equal(placeOf(Number.POSITIVE_INFINITY, [0, 1], "linear"), 1);
  assert.ok(Number.isNaN(placeOf(Number.NaN, [0, 1], "linear")));
  near(placeOf(1, [0.6, 1.4], "diverging"), 0.5);
});

test("columns are equally wide and know what is under them", () => {
  const axis = axisOf(50, 450, 10, 20);
  assert.deepEqual([axis.column, axis.x(3), axis.middle(3), axis.end], [38, 164, 183, 430]);
  assert.deepEqual([-5, 50, 87.9, 88.1, 1000].map(axis.at), [0, 0, 0, 1, 9]);
});

test("numbers keep apart: every one, every second, fifth, tenth ...", () => {
  assert.deepEqual([30, 12, 8, 3, 1, 0.2].map((column) => strideOf(column, 16)), [1, 2, 2, 10, 20, 100]);
});

test("ticks are round and inside", () => {
  assert.deepEqual(ticksOf([2, 400], true).major, [3, 10, 30, 100, 300]);
  assert.ok(ticksOf([2, 400], true).minor.every((each) => each >= 2 && each <= 400 && ![1, 3, 10, 30, 100, 300].includes(each)));
  assert.deepEqual(ticksOf([0.5, 1.2], true).major, [0.5, 1]);
  assert.deepEqual(ticksOf([1, 1e12], true).major, [1, 100, 1e4, 1e6, 1e8, 1e10, 1e12]);
  assert.deepEqual(ticksOf([-0.25, 0.25], false).major, [-0.2, 0, 0.2]);
  assert.deepEqual(ticksOf([0, 7], false).major, [0, 2, 4, 6]);
});

test("labels are moved apart, keep their order and stay inside", () => {
  const placed = apart([50, 52, 51, 10], 12, 6, 100);
  assert.deepEqual([...placed].sort((a, b) => a - b), [3, 0, 2, 1].map((i) => placed[i]));
  const sorted = [...placed].sort((a, b) => a - b);
  for (let i = 1; i < sorted.length; i += 1) assert.ok(sorted[i] - sorted[i - 1] >= 12 - 1e-9);
  near(placed[3], 10);
  assert.ok(Math.abs(placed[2] - 51) < 1, "a crowd stays round its middle");
  assert.deepEqual(apart([99, 99], 12, 6, 100).map(Math.round), [88, 100]);
  assert.deepEqual(apart([], 12, 0, 9), []);
});

test("rows are grouped by the module they are part of, and thinner where there are many", () => {
  const rows = rowsOf(["self_attn.q", "self_attn.k", "mlp.up"], true);
  assert.deepEqual([rows.tops, rows.height], [[0, 17, 39], 56]);
  assert.deepEqual([-3, 16, 18, 36, 40, 99].map(rows.at), [0, 0, 1, 1, 2, 2]);
  const many = rowsOf(Array.from({ length: 100 }, (_, i) => `${i}.x`), true);
  assert.deepEqual([many.tall, many.height], [4.2, many.tops[99] + 4.2]);
  assert.equal(rowsOf(["a.b", "c.d"], false).height, 34, "tokens are no modules");
});

test("few rows fill the height of their neighbour, as far as that looks well; names may take two lines", () => {
  assert.deepEqual([rowsOf(["a", "b"], true, false, 90).tall, rowsOf(["a", "b"], true, false, 10).tall], [45, 17]);
  assert.equal(rowsOf(["a"], true, false, 400).tall, 56);
  const rows = rowsOf(["self_attn.q", "self_attn.k", "mlp.up"], true, false, 95);
  assert.deepEqual([rows.tall, rows.tops, rows.height], [30, [0, 30, 65], 95]);
  assert.equal(rowsOf(["a_b", "c"], true, true).height, 56);
  const fits = (words) => words.length <= 16;
  assert.deepEqual(linesOf("post_attention_layernorm", fits), ["post_attention_", "layernorm"]);
  assert.deepEqual(linesOf("input_layernorm", fits), ["input_layernorm"]);
  assert.deepEqual(linesOf("a_of_twenty_and_more_letters_in_a_name", fits), ["a_of_twenty_and_more_letters_in_a_name"], "no place to break it");
});

test("a value against chance: outside beyond its own ends only, not known where one of the three is not", () => {
  const values = unpack(packed([0.9, 1, 1.1, Number.NaN], [2, 2]));
  const one = againstChance({ chanceband: { low: 1, high: 1 } }, values);
  assert.deepEqual([one(0, 0)?.outside, one(0, 1)?.outside, one(1, 0)?.outside, one(1, 1)], [true, false, true, null]);
  const each = againstChance({ chanceband: { low: packed([0.8, 1.05, 1, 1], [2, 2]), high: packed([1, 2, Number.NaN, 2], [2, 2]) } }, values);
  assert.deepEqual([each(0, 0)?.outside, each(0, 1)?.outside, each(1, 0), each(1, 1)], [false, true, null, null]);
  assert.equal(againstChance({ chanceband: null }, values)(0, 0), null);
  assert.equal(withChance(0.897, { unit: "x", scale: "diverging", middle: 1 }, { low: 0.957, high: 1.043, outside: true }), "0.90×, outside chance 0.957 to 1.04×");
});

test("the reach of lines takes in bands and dots, and leaves out what a log cannot show", () => {
  const lines = panel({ scale: "log", values: packed([2, 8], [1, 2]), band: { low: packed([1, 4], [1, 2]), high: packed([3, 9], [1, 2]) }, points: [[0, 300, 0], [1, 0, 0]] });
  const [low, high] = reachOf(lines);
  near(low, 1 / 1.2);
  near(high, 360);
  assert.equal(reachOf(panel({ values: packed([2, 8], [1, 2]) }))[0], 0);
  const [from, to] = reachOf(panel({ scale: "diverging", middle: 1, values: packed([0.8, 1.1], [1, 2]) }));
  near((from + to) / 2, 1, 1e-6);
});

test("values in words", () => {
  const of = (value, more = {}) => quantity(value, { unit: "1", scale: "linear", middle: 0, ...more });
  assert.equal(of(1.3617, { unit: "x chance" }), "1.36×");
  assert.equal(of(-0.2149, { scale: "diverging" }), "−0.21");
  assert.equal(of(0.2149, { scale: "diverging" }), "+0.21");
  assert.equal(of(1.2, { scale: "diverging", middle: 1 }), "1.20");
  assert.equal(of(0.00004, { scale: "diverging" }), "+4.0·10⁻⁵");
  assert.equal(of(0, { scale: "diverging" }), "0");
  assert.equal(of(0.0123), "0.012");
  assert.equal(of(12.34, { unit: "nats" }), "12.3\u202fnats");
  assert.equal(of(262.4), "262");
  assert.equal(of(3.2e7), "3.2·10⁷");
  assert.equal(of(Number.NaN), "no value");
  assert.equal(of(Number.NEGATIVE_INFINITY), "−infinite");
  assert.equal(bound(0.08, { unit: "1", scale: "diverging", middle: 0 }), "+0.08");
  assert.equal(bound(1.25, { unit: "x chance", scale: "diverging", middle: 1 }), "1.25×");
  assert.equal(bound(0.6, { unit: "x chance", scale: "diverging", middle: 1 }), "0.6×");
  assert.deepEqual([300, 0.5, -2, 1e-7].map(bare), ["300", "0.5", "−2", "1.0·10⁻⁷"]);
});

test("OKLab there and back, white and grey where they belong", () => {
  const white = toLab([255, 255, 255]);
  near(white[0], 1, 1e-4);
  near(white[1], 0, 1e-4);
  for (const colour of [[31, 90, 148], [156, 67, 19], [0, 0, 0], [242, 243, 245]]) fromLab(toLab(colour)).forEach((each, i) => near(each, colour[i], 0.01));
});

test("a ramp begins, turns and ends at its stops", () => {
  const table = steps([[31, 90, 148], [242, 243, 245], [156, 67, 19]]);
  assert.equal(table.length, 1024);
  assert.deepEqual([...table.slice(0, 4)], [31, 90, 148, 255]);
  assert.deepEqual([...table.slice(-4)], [156, 67, 19, 255]);
  const middle = [...table.slice(4 * stepOf(0.5), 4 * stepOf(0.5) + 3)];
  middle.forEach((each, i) => near(each, [242, 243, 245][i], 3));
});

test("runs, and layers in words", () => {
  assert.deepEqual(runsOf([4, 5, 6, 9]), [[4, 6], [9, 9]]);
  assert.deepEqual(runsOf([]), []);
  assert.deepEqual(ascending([9, 4, 9, 5]), [4, 5, 9]);
  assert.deepEqual(between(7, 5), [5, 6, 7]);
  assert.deepEqual([[], [3], [4, 5, 6], [1, 3, 5, 6]].map(layersInWords), ["No layers selected", "Layer 3", "Layers 4–6", "Layers 1, 3 and 5–6"]);
});

test("a press takes an edge that is near, else begins anew; with Shift the run grows", () => {
  const axis = axisOf(0, 200, 10); // columns of 20 px
  const runs = [[2, 4], [7, 7]];
  assert.deepEqual(grabbed(runs, 43, axis, false), { anchor: 4, others: [[7, 7]], edge: true });
  assert.deepEqual(grabbed(runs, 97, axis, false), { anchor: 2, others: [[7, 7]], edge: true });
  assert.deepEqual(grabbed(runs, 70, axis, false), { anchor: 3, others: [], edge: false });
  assert.deepEqual(grabbed(runs, 190, axis, true), { anchor: 7, others: [[2, 4]], edge: true });
  assert.deepEqual(grabbed(runs, 10, axis, true), { anchor: 4, others: [[7, 7]], edge: true });
  assert.deepEqual(grabbed([], 10, axis, true), { anchor: 0, others: [], edge: false });
  assert.equal(grabbed([[2, 2]], 50, axisOf(0, 40, 10), false).edge, false, "columns of 4 px have a middle too");
});

test("Shift with an arrow grows and shrinks the run that ends at the cursor", () => {
  assert.deepEqual(grown([], 3, 1, 10), { at: 4, run: [3, 4] });
  assert.deepEqual(grown([[3, 4]], 4, 1, 10), { at: 5, run: [3, 5] });
  assert.deepEqual(grown([[3, 5]], 5, -1, 10), { at: 4, run: [3, 4] });
  assert.deepEqual(grown([[3, 5]], 3, -1, 10), { at: 2, run: [2, 5] });
  assert.deepEqual(grown([[3, 3]], 3, -1, 10), { at: 2, run: [2, 3] });
  assert.deepEqual(grown([[8, 9]], 9, 1, 10), { at: 9, run: [8, 9] });
});

test("what the hand turned stays until Python says the same", () => {
  const dials = { density: { value: 0.5 }, pairs: [{ id: "1-2", chosen: true }, { id: "1-3", chosen: false }] };
  assert.deepEqual(unanswered({ density: 0.3, pair: "1-3" }, dials), { density: 0.3, pair: "1-3" });
  assert.deepEqual(unanswered({ density: 0.5, pair: "1-3" }, dials), { pair: "1-3" });
  assert.deepEqual(unanswered({ pair: "1-2" }, dials), {});
});

test("sentences are joined to the word before them, and a state is said", () => {
  assert.deepEqual(["How large", "CKA of both", "−0.01 to 0.01", ""].map(after), ["how large", "CKA of both", "−0.01 to 0.01", ""]);
  const far = { done: 5, total: 12 };
  assert.deepEqual(["done", "measuring", "stopped", "failed"].map((state) => standing({ state, ...far })), ["", "5 of 12", "stopped at 5 of 12", "not measured"]);
  assert.equal(standing({ state: "waiting", done: 0, total: 0 }), "waits");
  assert.equal(standing({ state: "measuring", done: 0, total: 0 }), "opening the models");
  assert.equal(standing({ state: "measuring", done: 990, total: 990 }), "all read, working it out");
});
