// Coefficients over depth as data: which rows there are, what can be bent, what bending writes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bent, choicesOf, crowded, held, inSteps, numberAt, reasons, rowsOf } from "../src/lib/curves.js";
import { inFull, typed } from "../src/lib/curve_readout.js";
import { KINDS } from "../src/lib/setting.js";
import { KINDS_HERE, METHODS, mixed, part, slice } from "./bending.mjs";

test("a row for every source that takes part, in order, and one for the slices' own", () => {
  const sketch = mixed();
  assert.deepEqual(choicesOf(sketch, METHODS, true), [{ name: "weight", whole: false }, { name: "density", whole: false }, { name: "scale", whole: true }]);
  assert.deepEqual(choicesOf(sketch, METHODS, false), [{ name: "lambda", whole: false }]);
  const rows = rowsOf(sketch, METHODS, "weight", "lambda");
  assert.deepEqual(rows.map(({ key }) => key), ["0.0", "1.0", "2.0", "own"]);
  assert.deepEqual(rows.map(({ cells }) => cells.map(({ state }) => state)), [
    ["whole", "base", "absent", "open"],
    ["absent", "open", "whole", "absent"],
    ["absent", "open", "absent", "open"],
    ["without", "open", "without", "without"],
  ]);
  assert.deepEqual(rows.map(({ range }) => range), [[0, 1], [-1, 2], [-1, 2], [0, 2]], "the axis holds every dial of the row");
  assert.deepEqual(rowsOf(sketch, METHODS, "scale", null)[1].cells.map(({ state }) => state), ["absent", "without", "open", "absent"]);
  assert.deepEqual(rows[0].cells.map((cell) => reasons(cell, "TIES", "weight")[0]), ["kept whole", "base of TIES: no weight", "not here", undefined]);
  assert.deepEqual(rowsOf({ ...sketch, base: 2 }, METHODS, "weight", null)[0].cells[1].state, "open", "another base");
});

test("a source that is blended with other layers of itself has a row for each", () => {
  const sketch = { base: null, widen: false, slices: [slice("linear", 2, [part(0, 0, { weight: [[null, 0.2]] }), part(0, 4, { weight: [[null, 0.8]] })]), slice("passthrough", 1, [part(0, 2)])] };
  const rows = rowsOf(sketch, METHODS, "weight", null);
  assert.deepEqual(rows.map(({ key }) => key), ["0.0", "0.1"]);
  assert.deepEqual(rows.map((row) => numberAt(row, 1, null, "rest")), [0.2, 0.8]);
  assert.equal(rows[1].cells[1].state, "absent");
});

test("the numbers shown are those of the nearest scope, the default last", () => {
  const rows = rowsOf(mixed(), METHODS, "weight", "lambda");
  assert.equal(numberAt(rows[1], 5, KINDS_HERE, "attention"), 0.48);
  assert.equal(numberAt(rows[1], 4, KINDS_HERE, "feed_forward"), 0.45);
  assert.equal(numberAt(rows[2], 5, KINDS_HERE, "rest"), 0.25, "of the slice");
  assert.equal(numberAt(rows[3], 5, KINDS_HERE, "attention"), 1, "of the method");
  assert.equal(numberAt(rows[0], 0, KINDS_HERE, "attention"), null);
});

test("bending touches the layers it names, in every open cell they reach, and no other slice", () => {
  const sketch = mixed();
  const row = rowsOf(sketch, METHODS, "weight", null)[2];
  const next = bent(sketch, row, KINDS_HERE, KINDS, 6, 10, () => 0.7);
  assert.deepEqual(next.slices[1].parts[2].numbers.weight, [[null, [0.25, 0.25, 0.7, 0.7]]], "written at the part, the slice's stays");
  assert.deepEqual(next.slices[1].numbers, sketch.slices[1].numbers);
  assert.deepEqual(next.slices[3].parts[1].numbers.weight, [["q_proj", 0.9], [null, [0.7, 0.2 + 2.3 * (1 / 3), 0.2 + 2.3 * (2 / 3), 2.5]]]);
  for (const index of [0, 2]) assert.equal(next.slices[index], sketch.slices[index]);
  assert.equal(bent(sketch, row, KINDS_HERE, KINDS, 0, 3, () => 1), sketch);
});

test("a hand stays in the dial and inside what is allowed; what was outside may stay", () => {
  const weight = METHODS[2].numbers[0];
  const density = METHODS[2].numbers[1];
  assert.equal(held(weight, 5, 0.5), 2);
  assert.equal(held(weight, 2.6, 2.5), 2.5);
  assert.equal(held(weight, 2.4, 2.5), 2.4);
  assert.equal(held(weight, -1.5, -2), -1.5);
  assert.equal(held(weight, -3, null), -1);
  assert.equal(held(density, 0.4567, 0), 0.46);
  assert.equal(held({ ...density, dial: [0, 2] }, 1.5, 1), 1);
  assert.deepEqual([inSteps(-0.5, weight), inSteps(0.00123, { ...weight, dial: [0, 0.01] })], ["−0.50", "0.0012"]);
});

test("a value as long as its slice is told, one of fewer points is not", () => {
  const cell = (setting, layers) => ({ slice: 0, part: 0, from: 0, layers, state: "open", number: METHODS[1].numbers[0], setting });
  assert.deepEqual(crowded(cell([["self_attn", [1, 0, 0.4]], [null, [0, 1]]], 3), KINDS_HERE), ["attention"]);
  assert.deepEqual(crowded(cell([[null, [0, 1]]], 2), KINDS_HERE), []);
  assert.deepEqual(crowded(cell([[null, [0, 1, 0]]], 5), KINDS_HERE), []);
});

test("figures in a field: all of them where there is room, else three that count; no negative nothing", () => {
  assert.deepEqual([-0.5588, 0.123456789, 0.2 + 2.3 / 3, -1e-9].map(inFull), ["−0.5588", "0.123456789", "0.967", "−1e-9"]);
  const weight = METHODS[2].numbers[0];
  assert.deepEqual([-0.001, 0.001, -0.006].map((value) => inSteps(value, weight)), ["0.00", "0.00", "−0.01"]);
});

test("typed numbers", () => {
  assert.deepEqual(["0.5", " ,5", "−1", "1e-3", "+2", "7."].map(typed), [0.5, 0.5, -1, 0.001, 2, 7]);
  for (const text of ["", "x", "1 2", "0x10", "Infinity", "--1", "1e400", "−1e400"]) assert.ok(Number.isNaN(typed(text)), text);
});
