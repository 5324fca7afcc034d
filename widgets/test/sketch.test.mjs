// The stack as data. Every edit is compared with what it does to the list of output layers, on random sketches.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as mixing from "../src/lib/mixing.js";
import { valueAt } from "../src/lib/setting.js";
import * as sketches from "../src/lib/sketch.js";
import { titleOf } from "../src/lib/title.js";

const { bordersOf, depthOf, layersOf } = sketches;
const DEPTHS = [12, 9, 7];
const number = (name, per_part, more = {}) => ({ name, per_part, kind: "number", default: null, needed: !("default" in more), dial: [0, 1], low: null, high: null, choices: [], doc: "", effect: true, curve: true, ...more });
const METHODS = [
  { name: "passthrough", word: "Pass", base: false, parts: [1, 1], numbers: [number("scale", true, { default: 1 })] },
  { name: "linear", word: "Linear", base: false, parts: [1, null], numbers: [number("weight", true), number("normalize", false, { kind: "switch", default: true })] },
  { name: "slerp", word: "Slerp", base: true, parts: [1, 1], numbers: [number("t", false)] },
  { name: "ties", word: "TIES", base: true, parts: [1, null], numbers: [number("weight", true), number("density", true, { default: 1 }), number("lambda", false, { default: 1 })] },
  { name: "karcher", word: "Karcher", base: false, parts: [2, null], numbers: [] },
];

function dice(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
function partOf(roll, source, layers) {
  const points = Array.from({ length: 1 + roll(4) }, () => roll(100) / 100);
  const weight = roll(2) ? [[null, points]] : [["mlp", roll(10) / 10], [null, points]];
  return { source, start: roll(DEPTHS[source] - layers + 1), numbers: roll(3) ? { weight } : {} };
}
function sketchOf(roll) {
  const slices = Array.from({ length: 1 + roll(4) }, () => {
    const layers = 1 + roll(5);
    const method = METHODS[roll(3)].name;
    const sources = method === "passthrough" ? [roll(3)] : [0, 1 + roll(2)];
    return { method, base: null, layers, parts: sources.map((source) => partOf(roll, source, layers)), numbers: method === "slerp" ? { t: [[null, [0, roll(10) / 10]]] } : {} };
  });
  return { base: 0, widen: false, slices };
}
/** All that one output layer is: whose layers, how, with which numbers. */
function said(sketch) {
  return layersOf(sketch).map(({ slice, offset }) => {
    const { method, base, layers, parts, numbers } = sketch.slices[slice];
    const told = (all) => Object.fromEntries(Object.entries(all).map(([name, setting]) => [name, setting.map(([filter, value]) => [filter, valueAt(value, offset, layers)])]));
    return JSON.stringify({ method, base, numbers: told(numbers), parts: parts.map((part) => ({ source: part.source, home: part.start + offset, numbers: told(part.numbers) })) });
  });
}
const whole = (source, start, layers) => ({ method: "passthrough", base: null, layers, parts: [{ source, start, numbers: {} }], numbers: {} });
const stack = (...slices) => ({ base: 0, widen: false, slices });
const runs = (sketch) => sketch.slices.map(({ layers, parts: [{ source, start }] }) => [source, start, start + layers]);
const each = (check) => { for (let seed = 1; seed <= 400; seed += 1) { const roll = dice(seed); check(sketchOf(roll), roll); } };
const freeze = (value) => { Object.values(Object(value)).forEach((one) => typeof one === "object" && one && freeze(one)); return Object.freeze(value); };

test("borders and layers tell the same depth", () => {
  each((sketch) => {
    const layers = layersOf(sketch);
    assert.equal(layers.length, depthOf(sketch));
    assert.equal(bordersOf(sketch).at(-1), layers.length);
    layers.forEach(({ slice, offset }, at) => {
      assert.equal(bordersOf(sketch)[slice] + offset, at);
      assert.equal(sketches.sliceAt(sketch, at), slice);
    });
  });
});

test("insert, move, repeat, remove and split do to the layers what they say, and keep every number of each", () => {
  each((sketch, roll) => {
    freeze(sketch);
    const before = said(sketch);
    const depth = before.length;
    const from = roll(depth);
    const end = from + 1 + roll(depth - from);
    const at = roll(depth + 1);
    const added = said(stack(whole(1, 2, 3)));
    assert.deepEqual(said(sketches.insertRun(sketch, at, { source: 1, start: 2, end: 5 })), [...before.slice(0, at), ...added, ...before.slice(at)]);
    const rest = [...before.slice(0, from), ...before.slice(end)];
    const to = at <= from ? at : Math.max(from, at - (end - from));
    assert.deepEqual(said(sketches.moveRun(sketch, from, end, at)), [...rest.slice(0, to), ...before.slice(from, end), ...rest.slice(to)]);
    assert.deepEqual(said(sketches.repeat(sketch, from, end)), [...before.slice(0, end), ...before.slice(from)]);
    const removed = sketches.remove(sketch, from, end);
    if (rest.length) assert.deepEqual(said(removed), rest);
    else assert.equal(removed, null);
    const split = sketches.splitAt(sketch, at);
    if (bordersOf(sketch).includes(at)) assert.equal(split, null);
    else {
      assert.deepEqual(said(split), before);
      assert.equal(split.slices.length, sketch.slices.length + 1);
    }
  });
});

test("a slice that an edit does not cut is the very same object", () => {
  const sketch = stack(whole(0, 0, 4), whole(1, 2, 3), whole(0, 6, 4));
  const next = sketches.insertRun(sketch, 8, { source: 2, start: 0, end: 2 });
  assert.equal(next.slices[0], sketch.slices[0]);
  assert.equal(next.slices[1], sketch.slices[1]);
  assert.deepEqual(runs(next), [[0, 0, 4], [1, 2, 5], [0, 6, 7], [2, 0, 2], [0, 7, 10]]);
});

test("moving a run away and back gives the sketch back", () => {
  const bent = { ...whole(1, 2, 3), parts: [{ source: 1, start: 2, numbers: { scale: [[null, 0.5]] } }] };
  const sketch = stack(whole(0, 0, 6), bent);
  const away = sketches.moveRun(sketch, 2, 4, 8);
  assert.deepEqual(runs(away), [[0, 0, 2], [0, 4, 6], [1, 2, 4], [0, 2, 4], [1, 4, 5]]);
  assert.deepEqual(sketches.moveRun(away, 6, 8, 2), sketch);
});

test("new neighbours that go on become one slice; what was split stays split", () => {
  const split = sketches.splitAt(stack(whole(0, 0, 6)), 3);
  assert.deepEqual(runs(sketches.insertRun(split, 6, { source: 0, start: 6, end: 8 })), [[0, 0, 3], [0, 3, 8]]);
  const bent = stack({ ...whole(0, 0, 3), parts: [{ source: 0, start: 0, numbers: { scale: [[null, [0, 1]]] } }] });
  assert.deepEqual(runs(sketches.insertRun(bent, 3, { source: 0, start: 3, end: 5 })), [[0, 0, 3], [0, 3, 5]], "a curve is not spread further");
  const slerp = (start, t) => ({ ...whole(0, start, 2), method: "slerp", numbers: { t: [[null, t]] } });
  const joined = (t) => sketches.moveRun(stack(slerp(0, t), whole(1, 0, 1), slerp(2, t)), 2, 3, 5).slices.length;
  assert.deepEqual([joined(0.5), joined([0, 1])], [2, 3], "nor is one of the slice");
  assert.deepEqual(runs(sketches.repeat(stack(whole(0, 0, 10)), 2, 8)), [[0, 0, 8], [0, 2, 10]], "depth up-scaling is a repeat");
});

test("a border trades layers between two slices and stops where a source ends", () => {
  each((sketch, roll) => {
    if (sketch.slices.length < 2) return;
    const index = roll(sketch.slices.length - 1);
    const [low, high] = sketches.borderRange(sketch, index, DEPTHS);
    for (const by of [-99, -1, 0, 1, 99]) {
      const moved = sketches.moveBorder(sketch, index, by, DEPTHS);
      assert.equal(depthOf(moved), depthOf(sketch));
      assert.equal(bordersOf(moved)[index + 1] - bordersOf(sketch)[index + 1], Math.min(high, Math.max(low, by)));
      inside(moved);
    }
    for (const [by, side] of [[high + 1, 0], [low - 1, 1]]) {
      const slices = [sketch.slices[index], sketch.slices[index + 1]].map((slice, i) => ({ ...slice, layers: slice.layers + (i ? -by : by), parts: slice.parts.map((part) => ({ ...part, start: part.start + (i ? by : 0) })) }));
      assert.ok(slices.some(({ layers, parts }) => layers < 1 || parts.some(({ source, start }) => start < 0 || start + layers > DEPTHS[source])), `one further is wrong (${side})`);
    }
  });
});

function inside(sketch) {
  for (const { layers, parts } of sketch.slices) {
    assert.ok(layers >= 1);
    for (const { source, start } of parts) assert.ok(start >= 0 && start + layers <= DEPTHS[source]);
  }
}

test("an edge stretches its slice alone, a shift moves a part alone, both inside the sources", () => {
  each((sketch, roll) => {
    const index = roll(sketch.slices.length);
    const slice = sketch.slices[index];
    for (const by of [-99, -1, 1, 99]) {
      for (const edge of ["start", "end"]) {
        const next = sketches.stretch(sketch, index, edge, by, DEPTHS);
        inside(next);
        const now = next.slices[index];
        now.parts.forEach(({ source, start }, i) => {
          const old = slice.parts[i];
          if (edge === "end") assert.equal(start, old.start);
          else assert.equal(start + now.layers, old.start + slice.layers);
          assert.equal(source, old.source);
        });
        next.slices.forEach((other, i) => i !== index && assert.equal(other, sketch.slices[i]));
      }
      const part = roll(slice.parts.length);
      const shifted = sketches.shift(sketch, index, part, by, DEPTHS);
      inside(shifted);
      assert.equal(shifted.slices[index].layers, slice.layers);
      shifted.slices[index].parts.forEach((one, i) => i !== part && assert.equal(one, slice.parts[i]));
    }
  });
  const long = stack(whole(0, 3, 4));
  assert.deepEqual(runs(sketches.stretch(long, 0, "start", 2, DEPTHS)), [[0, 1, 7]]);
  assert.deepEqual(runs(sketches.stretch(long, 0, "end", 99, DEPTHS)), [[0, 3, 12]]);
});

test("a method brings its base, drops what it has no room for, and starts from the shares before", () => {
  const set = (sketch, name) => mixing.setMethod(sketch, 0, name, METHODS);
  const arith = stack(whole(1, 4, 3));
  const ties = set(arith, "ties").slices[0];
  assert.deepEqual(ties, { method: "ties", base: null, layers: 3, parts: [{ source: 0, start: 4, numbers: {} }, { source: 1, start: 4, numbers: { weight: [[null, 1]] } }], numbers: {} });
  assert.equal(set(stack(whole(0, 4, 3)), "ties"), null, "the base alone is nothing to blend");
  assert.equal(set(arith, "karcher"), null);
  const three = stack({ ...ties, parts: [ties.parts[0], { ...ties.parts[1], numbers: { weight: [[null, 0.3]], density: [[null, 0.5]] } }, { source: 2, start: 1, numbers: { weight: [[null, 0.2]] } }], numbers: { lambda: [[null, 0.9]] } });
  const linear = set(three, "linear").slices[0];
  assert.deepEqual(linear.parts.map(({ numbers }) => numbers), [{ weight: [[null, 0.69]] }, { weight: [[null, 0.3]] }, { weight: [[null, 0.2]] }]);
  assert.deepEqual(linear.numbers, {}, "lambda is not linear's");
  const slerp = set(three, "slerp").slices[0];
  assert.deepEqual(slerp.parts.map(({ source, numbers }) => [source, numbers]), [[0, {}], [1, {}]]);
  assert.deepEqual(slerp.numbers, { t: [[null, 0.14]] }, "what the specialist had: 0.3 of 0.5 by 0.9");
  const pass = set(three, "passthrough").slices[0];
  assert.deepEqual(pass.parts, [{ source: 1, start: 4, numbers: {} }], "what was brought stays, the base goes");
  assert.deepEqual(set(stack({ ...whole(0, 0, 2), base: 2 }), "ties").slices[0].base, 2, "a base of its own is kept");
});

test("the first source is the common base of task vectors, whichever is the host", () => {
  const hosted = (slice) => ({ base: 1, widen: false, slices: [slice] });
  const set = (slice, name, known) => mixing.setMethod(hosted(slice), 0, name, METHODS, known)?.slices[0];
  const said = ({ base, parts }) => [base, parts.map(({ source, start, numbers }) => [source, start, numbers.weight?.[0][1] ?? null])];
  assert.deepEqual(said(set(whole(1, 2, 4), "ties")), [0, [[0, 2, null], [1, 2, 1]]]);
  assert.deepEqual(said(set(whole(2, 2, 4), "ties")), [0, [[0, 2, null], [2, 2, 1]]]);
  assert.deepEqual(said(set(whole(0, 2, 4), "ties")), [null, [[1, 2, null], [0, 2, 1]]], "it is the only other part: the host");
  const both = mixing.addPart(hosted(whole(1, 2, 4)), 0, { source: 0, start: 3 }, METHODS, DEPTHS).slices[0];
  assert.deepEqual(said(set(both, "ties")), [0, [[1, 2, 0.5], [0, 3, null]]]);
  assert.deepEqual(said(set({ ...whole(2, 2, 4), base: 1 }, "ties"))[0], null, "a base that the slice names stays: the host");
  assert.deepEqual(said(set({ ...whole(1, 2, 4), base: 2 }, "ties"))[0], 2);
  const hostBased = set(whole(0, 2, 4), "ties");
  assert.deepEqual(set(hostBased, "slerp").base, null, "and so does the one that it has");
  const known = (why, deep) => ({ blends: [["", why, ""], [why, "", ""], ["", "", ""]], sources: [{ layers: deep }, { layers: 9 }, { layers: 9 }] });
  assert.equal(set(whole(1, 2, 4), "ties", known("96 against 128", 12)), undefined, "the host alone is nothing to blend");
  assert.deepEqual(said(set(whole(2, 2, 4), "ties", known("", 12)))[0], 0);
  assert.deepEqual(said(set(whole(2, 2, 4), "ties", known("", 5))), [null, [[1, 2, null], [2, 2, 1]]], "it is not that deep");
  const slerp = set(whole(1, 2, 4), "slerp");
  assert.deepEqual([slerp.base, slerp.numbers.t], [0, [[null, 1]]]);
  assert.deepEqual(set(slerp, "passthrough"), whole(1, 2, 4));
  assert.deepEqual(set(slerp, "linear").base, null);
  const ran = mixing.blendRun(hosted(slerp), 0, { source: 2, start: 0, end: 4 }, METHODS, DEPTHS).slices[0];
  assert.deepEqual([ran.method, ran.base], ["linear", null], "no room in it");
  const ties = mixing.blendRun(hosted(set(whole(1, 2, 4), "ties")), 0, { source: 2, start: 0, end: 4 }, METHODS, DEPTHS).slices[0];
  assert.deepEqual(said(ties), [0, [[0, 2, null], [1, 2, 1], [2, 0, 1]]]);
});

test("a method that may have a base has the slice's where that is among the parts", () => {
  const GROUND = [...METHODS, { name: "nuslerp", word: "NuSLERP", base: false, ground: true, parts: [2, 2], numbers: [number("weight", true, { default: 1 })] }];
  const blend = (...sources) => stack({ method: "linear", base: null, layers: 2, parts: sources.map((source) => ({ source, start: 0, numbers: { weight: [[null, 0.4]] } })), numbers: {} });
  const set = (sketch, name) => mixing.setMethod(sketch, 0, name, GROUND);
  const baseOf = (sketch) => [mixing.baseOf(sketch, sketch.slices[0], GROUND), mixing.basePart(sketch, sketch.slices[0], GROUND)];
  const free = set(blend(1, 2), "nuslerp");
  assert.deepEqual(baseOf(free), [null, -1]);
  assert.deepEqual(free.slices[0].parts, blend(1, 2).slices[0].parts);
  const based = set(blend(1, 0, 2), "nuslerp");
  assert.deepEqual(baseOf(based), [0, 1]);
  assert.deepEqual(based.slices[0].parts.map(({ numbers }) => Object.keys(numbers).length), [1, 0, 1], "the base has no numbers of its own");
  assert.equal(set(blend(0, 1), "nuslerp"), null, "two besides the base");
  const joined = mixing.addPart(free, 0, { source: 0, start: 3 }, GROUND, DEPTHS);
  assert.deepEqual([joined.slices[0].method, ...baseOf(joined)], ["nuslerp", 0, 2]);
  assert.deepEqual(joined.slices[0].parts[2].numbers, {});
  assert.equal(mixing.addPart(joined, 0, { source: 0, start: 0 }, GROUND, DEPTHS), null, "the base is in it once");
  assert.deepEqual(mixing.removePart(joined, 0, 2, GROUND).slices[0], free.slices[0]);
  assert.equal(mixing.removePart(joined, 0, 0, GROUND).slices[0].method, "linear", "one besides the base is too few");
  assert.equal(mixing.give(free, 0, 1, 0, GROUND, DEPTHS), null);
  const ties = { ...set(blend(1, 0, 2), "ties"), base: 1 };
  ties.slices[0].base = 0;
  assert.deepEqual(baseOf(set(ties, "nuslerp")), [0, 1], "the base that the slice has stays");
  const hosted = set({ ...blend(0, 1, 2), base: 1 }, "nuslerp");
  assert.deepEqual([hosted.slices[0].base, ...baseOf(hosted)], [0, 0, 0], "the first source comes before the host");
  const shares = mixing.sharesOf(based, based.slices[0], GROUND)(0);
  assert.deepEqual(shares, [0.5, 0, 0.5]);
});

test("parts come and go: a pass becomes linear, a blend of one becomes a pass", () => {
  const sketch = stack(whole(0, 4, 3), whole(0, 7, 2));
  const added = mixing.addPart(sketch, 0, { source: 1, start: 2 }, METHODS, DEPTHS);
  assert.deepEqual(added.slices[0], { method: "linear", base: null, layers: 3, parts: [{ source: 0, start: 4, numbers: { weight: [[null, 0.5]] } }, { source: 1, start: 2, numbers: { weight: [[null, 0.5]] } }], numbers: {} });
  assert.equal(added.slices[1], sketch.slices[1]);
  assert.equal(mixing.addPart(sketch, 0, { source: 1, start: 7 }, METHODS, DEPTHS), null, "not that deep");
  assert.equal(mixing.addPart(sketch, 0, { source: 0, start: 4 }, METHODS, DEPTHS), null, "in it already");
  const ties = mixing.setMethod(added, 0, "ties", METHODS);
  const more = mixing.addPart(ties, 0, { source: 2, start: 4 }, METHODS, DEPTHS);
  assert.equal(more.slices[0].method, "ties");
  assert.deepEqual(more.slices[0].parts[2], { source: 2, start: 4, numbers: { weight: [[null, 0.5]] } });
  assert.equal(mixing.addPart(ties, 0, { source: 0, start: 0 }, METHODS, DEPTHS), null, "the base is in it once");
  assert.deepEqual(mixing.removePart(more, 0, 1, METHODS).slices[0].parts.map(({ source }) => source), [0, 2]);
  const unbased = mixing.removePart(more, 0, 0, METHODS).slices[0];
  assert.deepEqual([unbased.method, unbased.base], ["linear", null]);
  assert.deepEqual(mixing.removePart(ties, 0, 1, METHODS).slices[0], whole(0, 4, 3));
  assert.equal(mixing.removePart(sketch, 0, 0, METHODS), null);
});

test("a donor is swapped for one that is deep enough; the base may be another", () => {
  const ties = mixing.setMethod(stack(whole(1, 4, 3)), 0, "ties", METHODS);
  assert.deepEqual(mixing.give(ties, 0, 1, 2, METHODS, DEPTHS).slices[0].parts[1], { source: 2, start: 4, numbers: { weight: [[null, 1]] } });
  assert.equal(mixing.give(ties, 0, 1, 2, METHODS, [12, 9, 6]), null);
  assert.equal(mixing.give(ties, 0, 1, 0, METHODS, DEPTHS), null);
  const other = mixing.give(ties, 0, 0, 2, METHODS, DEPTHS);
  assert.deepEqual([other.base, other.slices[0].base, other.slices[0].parts[0].source], [0, 2, 2]);
  const turned = mixing.setBase(ties, 0, 1, METHODS).slices[0];
  assert.equal(turned.base, 1);
  assert.deepEqual(turned.parts.map(({ numbers }) => numbers), [{ weight: [[null, 0]] }, {}]);
  assert.equal(mixing.setBase(ties, 0, 0, METHODS), null);
});

test("a run is blended in where it is dropped, splitting what it does not cover", () => {
  const blended = mixing.blendRun(stack(whole(0, 0, 8)), 2, { source: 1, start: 5, end: 8 }, METHODS, DEPTHS);
  assert.deepEqual(blended.slices.map(({ method, layers, parts }) => [method, layers, parts.map(({ source, start }) => [source, start])]), [
    ["passthrough", 2, [[0, 0]]],
    ["linear", 3, [[0, 2], [1, 5]]],
    ["passthrough", 3, [[0, 5]]],
  ]);
  assert.equal(mixing.blendRun(stack(whole(0, 0, 8)), 6, { source: 1, start: 5, end: 8 }, METHODS, DEPTHS), null, "past the top");
});

test("numbers are set and taken out again", () => {
  const sketch = stack(whole(0, 0, 4));
  const set = sketches.setNumber(sketch, 0, 0, "scale", [[null, 0.5]]);
  assert.deepEqual(set.slices[0].parts[0].numbers, { scale: [[null, 0.5]] });
  assert.deepEqual(sketches.setNumber(set, 0, 0, "scale", null), sketch);
  assert.deepEqual(sketches.setNumber(sketch, 0, null, "t", [[null, [0, 1]]]).slices[0].numbers, { t: [[null, [0, 1]]] });
});

test("a stack is named after its host and what was done to it", () => {
  const names = ["base", "arith", "bible"];
  const title = (...slices) => titleOf(stack(...slices), names.map((name) => ({ name, layers: 8 })), (method) => method.toUpperCase());
  assert.equal(title(whole(0, 0, 8)), "base");
  assert.equal(title(whole(0, 0, 4), whole(1, 4, 2), whole(0, 6, 2)), "base with arith 4–5");
  assert.equal(title(whole(0, 0, 4), whole(1, 4, 2), whole(0, 4, 4)), "base with arith 4–5, 10 layers");
  assert.equal(title(whole(0, 0, 6), whole(1, 0, 1), whole(2, 0, 1)), "base with arith 0 and bible 0");
  assert.equal(title(whole(0, 0, 3), whole(1, 0, 2), whole(0, 1, 3), whole(1, 2, 2), whole(0, 3, 3), whole(1, 4, 1), whole(0, 4, 4), whole(1, 6, 1)), "base with arith in 4 places, 19 layers");
  // of one source
  assert.equal(title(whole(0, 0, 8), whole(0, 2, 6)), "base, 14 layers: 2–7 twice");
  assert.equal(title(whole(0, 0, 2), whole(0, 4, 4)), "base without 2–3");
  assert.equal(title(whole(0, 0, 2), whole(0, 1, 1), whole(0, 1, 1), whole(0, 3, 5)), "base, 9 layers: 1 3 times, without 2");
  assert.equal(title(whole(0, 4, 4), whole(0, 0, 4)), "base, in another order");
  assert.equal(title(whole(0, 0, 1), whole(0, 2, 1), whole(0, 4, 1), whole(0, 6, 1)), "base without 4 of its layers");
  // blended
  const blend = (layers, ...sources) => ({ ...whole(sources[0], 0, layers), method: "linear", parts: sources.map((source) => ({ source, start: 0, numbers: {} })) });
  assert.equal(title(blend(8, 0, 1)), "base and arith blended (LINEAR)");
  assert.equal(title(blend(8, 0, 2, 1)), "base, arith and bible blended (LINEAR)");
  assert.equal(title(whole(0, 0, 4), blend(2, 0, 1), whole(0, 6, 2)), "base with arith blended in at 4–5 (LINEAR)");
  assert.equal(title(whole(0, 0, 3), whole(2, 3, 1), blend(2, 0, 1), whole(0, 6, 2)), "base with bible 3, arith blended in at 4–5 (LINEAR)");
});
