// What a recipe says of a number over depth: the same arithmetic as in Python, the simplest words for it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  KINDS, at, expand, filterOf, fitted, inherited, isSeparate, mirrored, others, settle, shaped, simplest, stepOf, valueAt, valueOf, withPoints, withValues,
} from "../src/lib/setting.js";

const NAMES = { attention: "self_attn", feed_forward: "mlp" };
const values = (value, layers) => Array.from({ length: layers }, (_, i) => valueAt(value, i, layers));

/** The same numbers in every run (mulberry32). */
function randomly(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
const pick = (random, list) => list[Math.floor(random() * list.length)];
const number = (random) => pick(random, [random() * 3 - 1, Math.round(random() * 100) / 100, 0, 1, 0.5]);
const someValue = (random) => (random() < 0.3 ? number(random) : Array.from({ length: 1 + Math.floor(random() * 9) }, () => number(random)));
/** Rules as a recipe may have them, sensible or not. */
const someSetting = (random) => [
  ...Array.from({ length: Math.floor(random() * 5) }, () => [pick(random, ["self_attn", "mlp", "q_proj", "attn", "norm", "*", null]), someValue(random)]),
  ...(random() < 0.8 ? [[null, someValue(random)]] : []),
];
/** What a tensor gets, from the rules alone. */
const ofTensor = (setting, name, offset, layers) => {
  const rule = setting.find(([filter]) => filter === null || filter === "*" || name.includes(filter));
  return rule ? valueAt(rule[1], offset, layers) : null;
};

test("layers are what mergelab.methods.curve.gradient makes of the points, to the last bit", () => {
  const rows = JSON.parse(readFileSync(new URL("gradients.json", import.meta.url), "utf8"));
  assert.ok(rows.length > 100);
  for (const { points, layers } of rows) assert.deepEqual(values(points, layers.length), layers);
});

test("the first rule that catches the name counts; without a kind only rules for all", () => {
  const setting = [["self_attn.q", 9], ["attn", [0, 1]], ["*", 0.5], ["mlp", 7]];
  assert.equal(at(setting, "self_attn", 1, 3), 0.5);
  assert.equal(at(setting, "self_attn", 2, 3), 1);
  assert.equal(at(setting, "mlp", 0, 3), 0.5);
  assert.equal(at(setting, null, 0, 3), 0.5);
  assert.equal(at([["mlp", 1]], null, 0, 3), null);
  assert.deepEqual(expand([["mlp", [0, 1]]], "mlp", 3), [0, 0.5, 1]);
});

test("the simplest value gives the same layers to the last bit, and none shorter does", () => {
  const random = randomly(1);
  for (let round = 0; round < 400; round += 1) {
    const layers = 1 + Math.floor(random() * 33);
    const given = values(someValue(random), layers);
    const short = simplest(given);
    assert.deepEqual(values(short, layers), given);
    const points = Array.isArray(short) ? short.length : 1;
    for (let fewer = 2; fewer < points; fewer += 1) {
      if ((layers - 1) % (fewer - 1)) continue;
      const tried = given.filter((_, i) => i % ((layers - 1) / (fewer - 1)) === 0);
      assert.notDeepEqual(values(tried, layers), given);
    }
  }
  assert.equal(simplest([0.3, 0.3, 0.3]), 0.3);
  assert.deepEqual(simplest([0.3, 0.30000000000000004]), [0.3, 0.30000000000000004]);
  assert.deepEqual(simplest([0, 0.25, 0.5, 0.75, 1]), [0, 1]);
  assert.deepEqual(simplest([1, 0.75, 0.5, 0.75, 1]), [1, 0.5, 1]);
  assert.deepEqual(simplest([0.1, 0.7, 0.2]), [0.1, 0.7, 0.2]);
});

test("bending one kind leaves every other tensor what it was, whatever the rules", () => {
  const random = randomly(2);
  for (let round = 0; round < 600; round += 1) {
    const layers = 1 + Math.floor(random() * 9);
    const before = someSetting(random);
    const copy = structuredClone(before);
    const which = KINDS.filter(() => random() < 0.5);
    const offset = Math.floor(random() * layers);
    const put = Math.round(random() * 100) / 100;
    const after = withPoints(before, NAMES, layers, which, (_, i) => (i === offset ? put : null));
    assert.deepEqual(before, copy, "pure");
    for (const kind of KINDS) {
      const name = filterOf(NAMES, kind);
      const was = expand(before, name, layers);
      const now = expand(after, name, layers);
      if (!which.includes(kind)) was.forEach((old, i) => assert.ok(old === null || Object.is(now[i], old), JSON.stringify([before, after, kind])));
      else was.forEach((old, i) => assert.equal(now[i], i === offset ? put : (old ?? put), JSON.stringify([before, after, kind, i])));
    }
    // Tensors that only the other rules name keep them.
    for (const name of ["self_attn.q_proj.weight", "q_proj.weight", "layernorm.weight"]) {
      const filter = before.find(([each]) => each === null || each === "*" || name.includes(each))?.[0];
      if (!["q_proj", "norm"].includes(filter)) continue;
      for (let i = 0; i < layers; i += 1) assert.deepEqual(ofTensor(after, name, i, layers), ofTensor(before, name, i, layers), JSON.stringify([before, after, name]));
    }
  }
});

test("equal kinds become one rule again; a kind apart becomes a rule of its own", () => {
  const one = withPoints([[null, 0.5]], NAMES, 4, KINDS, (old, i) => (i === 2 ? 0.62 : null));
  assert.deepEqual(one, [[null, [0.5, 0.5, 0.62, 0.5]]]);
  const apart = withPoints(one, NAMES, 4, ["attention"], () => 0.4);
  assert.deepEqual(apart, [["self_attn", 0.4], [null, [0.5, 0.5, 0.62, 0.5]]]);
  assert.ok(isSeparate(apart, NAMES, 4) && !isSeparate(one, NAMES, 4));
  assert.deepEqual(withPoints(apart, NAMES, 4, KINDS, () => 0.3), [[null, 0.3]]);
  const rest = withPoints([[null, 0.5]], NAMES, 2, ["rest"], () => 1);
  assert.deepEqual(rest, [["self_attn", 0.5], ["mlp", 0.5], [null, 1]]);
  assert.deepEqual(withPoints([[null, 0.5]], null, 2, KINDS, () => 1), [[null, 1]], "no kinds: one rule for all");
  assert.deepEqual(withValues([[null, 1]], NAMES, 3, { feed_forward: [0, 1] }), [["mlp", [0, 1]], [null, 1]]);
});

test("other rules stay where they are and are counted while something reaches them", () => {
  const setting = [["q_proj", 0.9], ["self_attn", 0.2], ["norm", 1], [null, 0.5], ["k_proj", 3]];
  assert.deepEqual(others(setting, NAMES), [["q_proj", 0.9], ["norm", 1]]);
  assert.deepEqual(others([["self_attn", 1]], null), [["self_attn", 1]], "without kinds a filter is another rule");
  assert.deepEqual(withPoints(setting, NAMES, 2, KINDS, () => 0.4), [["q_proj", 0.9], ["self_attn", 0.4], ["norm", 1], [null, 0.4]]);
});

test("nothing changes where nothing is said", () => {
  const setting = [[null, [0, 0.5, 1]]];
  assert.equal(withPoints(setting, NAMES, 5, KINDS, () => null), setting);
  assert.equal(withPoints(setting, NAMES, 5, KINDS, (old) => old), setting, "the points as written, though simpler ones would do");
  assert.deepEqual(withPoints([], NAMES, 3, KINDS, (old, i) => (i === 1 ? 0.4 : null)), [[null, 0.4]], "no number yet: the first one is for every layer");
});

test("scopes in order, the default last, nothing behind a rule for all", () => {
  assert.deepEqual(inherited([[["mlp", 1]], [["self_attn", 2]]], 0.5), [["mlp", 1], ["self_attn", 2], [null, 0.5]]);
  assert.deepEqual(inherited([[[null, 1]], [["self_attn", 2]]], 0.5), [[null, 1]]);
  assert.deepEqual(inherited([undefined, undefined], null), []);
  assert.deepEqual(valueOf([["mlp", 1], [null, [0, 1]]], "self_attn"), [0, 1]);
});

test("shapes stay between the numbers that were, in few points, to the dial's step", () => {
  const dial = [0, 1];
  const drawn = [0.2, 0.7, 0.4, 0.8, 0.3, 0.31, 0.32, 0.33, 0.5];
  assert.equal(shaped("flat", drawn, dial), 0.43);
  assert.equal(shaped("flat", [0.123, 0.123], dial), 0.123, "flat already");
  assert.deepEqual(shaped("linear", drawn, dial), [0.2, 0.5]);
  assert.deepEqual(shaped("u", drawn, dial), [0.8, 0.35, 0.2, 0.35, 0.8]);
  assert.deepEqual(shaped("bell", drawn, dial), [0.2, 0.35, 0.65, 0.8, 0.65, 0.35, 0.2]);
  assert.deepEqual(shaped("step", drawn, dial), [0.2, 0.2, 0.2, 0.2, 0.2, 0.8, 0.8, 0.8, 0.8]);
  assert.deepEqual(shaped("u", [0.5, 0.5, 0.5], dial), [0.83, 0.17, 0.83], "flat: opened by a third; no more points than layers");
  assert.deepEqual(shaped("linear", [1, 1, 1, 1], dial), [0.67, 1], "never past the dial");
  assert.equal(shaped("bell", [0.5], dial), 0.5);
  const wide = [-1, 2];
  for (const name of ["linear", "u", "bell", "step"]) {
    for (const value of [0, 0.33, 1, 2]) {
      const made = shaped(name, new Array(10).fill(value), wide);
      assert.ok(Math.min(...made) >= 0 && Math.max(...made) <= 2, `${name} from ${value}: ${made}`);
      assert.ok(Math.max(...made) - Math.min(...made) > 0.5, "and can be seen");
    }
  }
  assert.ok(Math.min(...shaped("u", new Array(5).fill(-0.2), wide)) < -0.2, "a curve below 0 may go on");
});

test("steps, mirror and paste", () => {
  assert.deepEqual([[0, 1], [-1, 2], [0, 0.5], [0, 0.1], [0, 0.01], [0, 10]].map(stepOf).map((step) => Number(step.toPrecision(3))), [0.01, 0.01, 0.001, 0.001, 0.0001, 0.1]);
  assert.equal(settle(0.1 + 0.2, 0.01), 0.3);
  assert.ok(Object.is(settle(-0.001, 0.01), 0), "no negative zero");
  assert.deepEqual(mirrored([0, 0.5, 1]), [1, 0.5, 0]);
  assert.equal(mirrored(0.5), 0.5);
  assert.deepEqual(fitted([-1, 0.5, 2], 0, 1, 8, 0.01), [0, 0.5, 1]);
  assert.deepEqual(fitted([0, 0.25, 0.5, 0.75, 1], -Infinity, Infinity, 3, 0.01), [0, 1], "no more points than layers");
  assert.equal(fitted(5, 0, 1, 3, 0.01), 1);
});

test("a curve pasted on fewer layers is rounded between its points only, and stays symmetric", () => {
  const paste = (points, layers, low = -Infinity, high = Infinity, step = 0.01) => fitted(points, low, high, layers, step);
  assert.deepEqual(paste([1.17, 0.44, 0.19, 0.44, 1.17], 4), [1.17, 0.357, 0.357, 1.17]);
  assert.deepEqual(paste([1, 0.25, 0, 0.25, 1], 4), [1, 0.17, 0.17, 1], "to the step of a hand");
  assert.deepEqual(paste([20, 5, 0, 5, 20], 4), [20, 3.33, 3.33, 20], "however high it is");
  assert.deepEqual(paste([0.00125, 0.0005, 0.00025, 0.0005, 0.00125], 4), [0.00125, 0.00042, 0.00042, 0.00125], "a flat one in such steps");
  assert.deepEqual(paste([0.12345678, 0.3, 0.87654321, 0.3, 0.12345678], 3), [0.12345678, 0.87654321, 0.12345678], "given, not made");
  assert.deepEqual(paste([0.12345678, 0.3, 0.5], 3), [0.12345678, 0.3, 0.5]);
  assert.deepEqual(paste([0, 0.25, 0.5, 0.75, 1], 4), [0, 1], "a line is a line");
  assert.deepEqual(paste([5, 0.1241, 0.1243, 0.1241, 5], 4, 0.1241), [5, 0.1241, 0.1241, 5], "inside");
  const random = randomly(3);
  for (let round = 0; round < 3000; round += 1) {
    const half = Array.from({ length: 1 + Math.floor(random() * 5) }, () => Math.round(random() * 200) / 100);
    const points = [...half, ...half.toReversed().slice(random() < 0.5 ? 1 : 0)];
    const layers = 1 + Math.floor(random() * points.length);
    const made = paste(points, layers);
    if (layers === 1) continue;
    assert.deepEqual(values(made, layers).map((each) => Number(each.toPrecision(12))), values(mirrored(made), layers).map((each) => Number(each.toPrecision(12))), `${points} on ${layers}`);
    for (const each of [made].flat()) assert.ok(`${each}`.length <= 6, `${points} on ${layers}: ${made}`);
    values(made, layers).forEach((each, i) => assert.ok(Math.abs(each - valueAt(points, i, layers)) <= 0.005 + 1e-9));
  }
});
