// The sources, the chosen slice and the layouts: what they show, what they ask for, what they refuse.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { LOWER, building } from "./building.mjs";
import { METHODS, passes, point, press, sourceOf } from "./page.mjs";
import { type } from "./views.mjs";

let page;
const START = { base: 0, widen: false, slices: [passes(0, 0, 4), passes(1, 4, 3), passes(0, 7, 3)] };
const open = (more) => (page = building({ sketch: structuredClone(START), ...more }));
const labelled = (words) => page.find(`[aria-label="${words}"]`);
const choose = (select, value) => {
  select.value = value;
  select.dispatchEvent(new window.Event("change", { bubbles: true }));
};
const slice = (index) => page.draft.sketch.slices[index];
const toSlice = (layer) => {
  page.context.cursor.at = layer;
  page.context.redraw();
};

beforeEach(() => open());
afterEach(() => page.close());

test("a press picks a layer, a drag along the column a run, Shift extends, and the card tells what differs", () => {
  page.close();
  const facts = [{ what: "width", theirs: "64", ours: "64", differs: false }, { what: "feed-forward", theirs: "96", ours: "128", differs: true }];
  const fit = { grade: "fits", why: "", facts: [], widen: false };
  open({ _fits: [fit, fit, { grade: "preview", why: "Feed-forward 96 against 128.", facts, widen: true }] });
  const card = page.find(".ml-card");
  assert.equal(card.hidden, true);
  page.drag(page.columns, page.cell(2, 3), page.cell(2, 5));
  page.drop(page.columns);
  assert.equal(card.querySelector("b").textContent, "pirate 3–5");
  assert.equal(page.said.at(-1), "pirate 3–5");
  assert.deepEqual([...card.querySelectorAll("tr")].map((row) => [...row.children].map((cell) => cell.textContent)), [["", "pirate", "base"], ["feed-forward", "96", "128"], ["width", "64", "64"]]);
  assert.equal(card.querySelectorAll(".ml-off").length, 1);
  assert.equal(page.columns.querySelectorAll(".ml-glyph-risk").length, 1);
  point(page.columns, "pointerdown", ...page.cell(2, 8), { shiftKey: true });
  page.drop(page.columns);
  assert.equal(card.querySelector("b").textContent, "pirate 3–8");
  page.drag(page.columns, page.cell(2, 4));
  page.drop(page.columns);
  assert.equal(card.querySelector("b").textContent, "pirate 4", "a press inside a run picks the layer anew");
  assert.equal(page.model.sent.length, 0, "picking is no edit");
});

test("arrows walk the layers; the one with the focus is named with its place in the stack", () => {
  const option = page.columns.querySelector("[role=option]");
  page.columns.focus();
  press(page.columns, "ArrowRight");
  press(page.columns, "End");
  assert.equal(option.getAttribute("aria-label"), "reverse 9, not in the stack");
  press(page.columns, "ArrowLeft");
  assert.equal(option.getAttribute("aria-label"), "base 9, in the stack");
  assert.deepEqual(["aria-posinset", "aria-setsize", "aria-selected"].map((name) => option.getAttribute(name)), ["10", "10", "true"]);
  press(page.columns, "Home", { shiftKey: true });
  assert.equal(page.find(".ml-card b").textContent, "base 0–9");
  page.draft.edit({ sketch: { ...START, slices: [passes(0, 0, 4), passes(0, 0, 4)] } });
  assert.equal(option.getAttribute("aria-label"), "base 0, in the stack 2 times");
});

test("the share of the stack counts weights, and the residual norm is a line once it is measured", () => {
  const shares = () => [...page.root.querySelectorAll(".ml-shares > div")].map((line) => line.textContent);
  assert.deepEqual(shares(), ["base70 %", "reverse30 %"]);
  const weight = [["self_attn", 0.2], ["mlp", 0.6]];
  page.draft.edit({ sketch: { ...START, slices: [{ method: "ties", base: null, layers: 5, parts: [{ source: 0, start: 0, numbers: {} }, { source: 2, start: 0, numbers: { weight } }], numbers: {} }, passes(0, 5, 5)] } });
  assert.deepEqual(shares(), ["base80 %", "pirate20 %"]);
  const odd = { method: "linear", base: null, layers: 10, parts: [0, 2].map((source) => ({ source, start: 0, numbers: { weight: [[null, source ? 0.125 : 0.875]] } })), numbers: {} };
  page.draft.edit({ sketch: { ...START, slices: [odd] } });
  assert.deepEqual(shares(), ["base88 %", "pirate12 %"], "100 in all");
  const lines = () => page.columns.querySelectorAll('path[style*="fill:none"]').length;
  assert.equal(lines(), 0);
  const norms = Array.from({ length: 10 }, (_, i) => (i === 3 ? null : 4 + i));
  page.model.hear({ _sources: ["base", "reverse", "pirate"].map((name, i) => ({ ...sourceOf(name), norms: i ? norms : sourceOf(name).norms })) });
  assert.equal(lines(), 2);
  assert.match(page.find(".ml-note").textContent, /length of the hidden state/);
});

test("a further source is asked for by its path", () => {
  const form = page.find(".ml-add");
  assert.equal(form.hidden, true);
  page.find(".ml-dashed").click();
  assert.equal(form.hidden, false);
  form.querySelector("input").value = "  models/next ";
  form.dispatchEvent(new window.Event("submit", { cancelable: true }));
  assert.deepEqual(page.model.messages, [{ type: "add", source: "models/next" }]);
  assert.match(form.textContent, /Opening it/);
  page.model.hear({ _sources: ["base", "reverse", "pirate", "next"].map((name) => sourceOf(name)) });
  assert.deepEqual([form.hidden, form.querySelector("input").value, document.activeElement], [true, "", page.find(".ml-dashed")]);
  form.dispatchEvent(new window.Event("submit", { cancelable: true }));
  assert.equal(page.model.messages.length, 1, "nothing is asked for by nothing");
});

test("a source that cannot be had keeps the field, the text and the focus, and says why there", () => {
  page.model.hear({ error: "something else" });
  page.find(".ml-dashed").click();
  const form = page.find(".ml-add");
  const path = form.querySelector("input");
  const submit = (words) => {
    type(path, words);
    form.dispatchEvent(new window.Event("submit", { cancelable: true }));
  };
  submit("wrong");
  assert.doesNotMatch(form.textContent, /something else/);
  page.model.hear({ error: "'wrong' is no <b>folder." });
  assert.deepEqual([form.hidden, path.value, document.activeElement, path.getAttribute("aria-invalid")], [false, "wrong", path, "true"]);
  assert.match(form.textContent, /no <b>folder/);
  assert.equal(page.sources.says, "'wrong' is no <b>folder.", "nobody else has to say it");
  submit("wrong");
  assert.match(form.textContent, /no <b>folder/, "once more the same");
  page.model.hear({ error: "another matter" });
  assert.notEqual(page.sources.says, "another matter", "what is about something else is said elsewhere");
  type(path, "right");
  assert.doesNotMatch(form.textContent, /no <b>folder/);
  assert.equal(path.getAttribute("aria-invalid"), "false");
  press(path, "Escape");
  assert.deepEqual([form.hidden, document.activeElement], [true, page.find(".ml-dashed")]);
});

test("a method brings base and numbers; one that blends brings the first source that can be blended in", () => {
  toSlice(5);
  choose(labelled("Method of the slice"), "ties");
  assert.deepEqual(page.told()[1], "ties 0@4 1@4 +3");
  toSlice(0);
  choose(labelled("Method of the slice"), "slerp");
  assert.deepEqual(page.told()[0], "slerp 0@0 1@0 +4");
  assert.deepEqual(slice(0).numbers, { t: [[null, 0.5]] });
  assert.match(page.said.at(-1), /reverse joins/);
  choose(labelled("Method of the slice"), "passthrough");
  assert.deepEqual(page.told()[0], "passthrough 1@0 +4");
});

test("the card says what the heights are, and which number changes nothing", () => {
  assert.equal(page.find(".ml-slice-note").textContent, "");
  const parts = [{ source: 0, start: 0, numbers: {} }, { source: 2, start: 0, numbers: { weight: [[null, 0.5]] } }];
  page.draft.edit({ sketch: { ...START, slices: [{ method: "ties", base: null, layers: 10, parts, numbers: {} }] } });
  assert.match(page.find(".ml-slice-note").textContent, /^Height: weight, times density and lambda/);
  page.model.hear({ _methods: page.model.get("_methods").map((each) => (each.name === "ties" ? { ...each, numbers: [...each.numbers, { ...each.numbers[0], name: "normalize", per_part: false, kind: "switch", default: true, dial: null, curve: false }] } : each)) });
  assert.match(page.find(".ml-slice-note").textContent, /^One source and normalize: the weight changes nothing\./);
});

test("a method that nothing can be blended in for is refused with words", () => {
  page.close();
  open({ _blends: [["", "No.", "No."], ["No.", "", "No."], ["No.", "No.", ""]] });
  const select = labelled("Method of the slice");
  choose(select, "ties");
  assert.equal(select.value, "passthrough");
  assert.match(page.find(".ml-refuse-words").textContent, /TIES wants 1 source besides the base/);
  assert.deepEqual(page.model.get("sketch"), START);
});

test("parts: blend in, move along the source, swap, make the base, take out", () => {
  toSlice(5);
  choose(labelled("Blend a further source into the slice"), "2");
  assert.equal(page.told()[1], "linear 1@4 2@4 +3");
  type(labelled("First layer of pirate"), "6");
  assert.equal(slice(1).parts[1].start, 6);
  type(labelled("First layer of pirate"), "99");
  assert.equal(slice(1).parts[1].start, 7, "no further than the last layer");
  choose(labelled("Method of the slice"), "ties");
  assert.deepEqual(slice(1).parts.map(({ source }) => source), [0, 1, 2]);
  labelled("pirate is the base of the slice").click();
  assert.equal(slice(1).base, 2);
  assert.deepEqual(slice(1).parts[2].numbers, {});
  labelled("Take base out of the slice").click();
  assert.deepEqual(slice(1).parts.map(({ source }) => source), [1, 2]);
  choose(labelled("Source of part 1"), "0");
  assert.deepEqual(slice(1).parts.map(({ source }) => source), [0, 2]);
  const offered = [...labelled("Source of part 1").options].map((option) => [option.value, option.disabled]);
  assert.deepEqual(offered, [["0", false], ["1", false], ["2", true]], "pirate is in the slice already");
});

test("a source that is not deep enough is not offered, and says why", () => {
  page.close();
  open({ _sources: [sourceOf("base"), sourceOf("reverse"), sourceOf("short", 5)] });
  toSlice(5);
  const [giver, adder] = [labelled("Source of part 1"), labelled("Blend a further source into the slice")];
  assert.equal(giver.options[2].disabled, true);
  assert.equal(giver.options[2].title, "short has 5 layers, this slice needs layer 6.");
  assert.equal([...adder.options].find(({ value }) => value === "2").disabled, false, "it can join with layers of its own");
  choose(adder, "2");
  assert.equal(slice(1).parts[1].start, 2);
});

test("numbers of the slice: a switch, a choice, a figure within its bounds; a bent one says so", () => {
  page.close();
  const more = { per_part: false, kind: "choice", default: "tensor", dial: null, low: null, high: null, choices: ["tensor", "model"], doc: "", effect: true, curve: false, name: "trim_scope" };
  const idle = { ...more, name: "int8_mask", kind: "switch", default: false, choices: [], effect: false };
  const flag = { ...more, name: "normalize", kind: "switch", default: true, choices: [] };
  const ties = METHODS.find(({ name }) => name === "ties");
  open({ _methods: [...METHODS.filter((each) => each !== ties), { ...ties, numbers: [...ties.numbers, more, flag, idle] }] });
  toSlice(5);
  choose(labelled("Method of the slice"), "ties");
  assert.equal(labelled("int8_mask"), null, "what has no effect is not shown");
  assert.equal(labelled("weight"), null, "a number of every part is a curve");
  assert.equal(labelled("normalize").checked, true);
  labelled("normalize").click();
  choose(labelled("trim_scope"), "model");
  type(labelled("lambda"), "0.8");
  assert.deepEqual(slice(1).numbers, { normalize: [[null, false]], trim_scope: [[null, "model"]], lambda: [[null, 0.8]] });
  type(labelled("lambda"), "-1");
  assert.equal(labelled("lambda").getAttribute("aria-invalid"), "true");
  assert.deepEqual(slice(1).numbers.lambda, [[null, 0.8]]);
  page.model.hear({ sketch: { ...page.draft.sketch, slices: page.draft.sketch.slices.map((each, i) => (i === 1 ? { ...each, numbers: { lambda: [[null, [0, 1]]] } } : each)) } });
  assert.deepEqual([labelled("lambda").value, labelled("lambda").placeholder], ["", "bent"]);
});

test("a field keeps the hand in it while the picture changes around it", () => {
  toSlice(5);
  choose(labelled("Method of the slice"), "ties");
  const field = labelled("lambda");
  field.focus();
  type(field, "0.5");
  page.draft.edit({ sketch: { ...page.draft.sketch, slices: [...page.draft.sketch.slices.slice(0, 2), passes(0, 7, 2)] } });
  assert.equal(document.activeElement, labelled("lambda"));
  assert.equal(labelled("lambda").value, "0.5");
});

test("a source that cannot be saved is refused in the slice as well, and its way out does it", () => {
  page.close();
  const fit = { grade: "fits", why: "", facts: [], widen: false };
  open({ _fits: [fit, fit, { ...fit, grade: "preview", why: "pirate: heads 4 against 8." }] });
  toSlice(5);
  choose(labelled("Source of part 1"), "2");
  assert.equal(page.told()[1], "passthrough 1@4 +3");
  assert.match(page.find(".ml-refuse-words").textContent, /heads 4 against 8/);
  page.find(".ml-refuse button").click();
  assert.equal(page.told()[1], "passthrough 2@4 +3");
});

test("a layout is asked for with its numbers, and the form goes", () => {
  page.close();
  const numbers = [{ name: "donor", word: "donor", kind: "source", default: 1, low: 0, high: 2 }, { name: "start", word: "from layer", kind: "whole", default: 4, low: 0, high: 9 }];
  open({ _presets: [{ name: "upscale", word: "Depth up-scaling", doc: "Twice.", numbers: [] }, { name: "graft", word: "Graft", doc: "A run of the donor's.", numbers }] });
  const form = page.find("form.ml-presets");
  const button = page.find(`[aria-controls="${form.id}"]`);
  button.click();
  assert.equal(form.hidden, false);
  choose(labelled("Layout"), "graft");
  assert.equal(form.querySelector("p").textContent, "A run of the donor's.");
  form.querySelector("[name=donor]").value = "2";
  form.querySelector("[name=start]").value = "6";
  form.dispatchEvent(new window.Event("submit", { cancelable: true }));
  assert.deepEqual(page.model.messages, [{ type: "preset", name: "graft", numbers: { donor: 2, start: 6 } }]);
  assert.deepEqual([form.hidden, button.getAttribute("aria-expanded"), document.activeElement], [true, "false", button]);
});

test("five sources of a hundred layers are shown and taken from", () => {
  page.close();
  const many = ["a1", "b2", "c3", "d4", "e5"].map((name) => sourceOf(name, 100));
  const fit = { grade: "fits", why: "", facts: [], widen: false };
  open({ _sources: many, _fits: many.map(() => fit), _blends: many.map(() => many.map(() => "")), sketch: { base: 0, widen: false, slices: [passes(0, 0, 100)] } });
  page.drag(page.columns, page.cell(4, 60), page.cell(4, 69), [page.at(60), LOWER]);
  page.drop(page.columns);
  assert.deepEqual(page.told(), ["passthrough 0@0 +60", "linear 0@60 4@60 +10", "passthrough 0@70 +30"]);
});

test("the chosen slice is one stop of Tab: Left and Right move inside, Up and Down are a field's own", () => {
  toSlice(5);
  choose(labelled("Method of the slice"), "ties");
  const controls = [...page.find(".ml-slice").querySelectorAll("select, input, button")];
  const stops = () => controls.filter(({ tabIndex }) => tabIndex === 0);
  const [method, field] = [labelled("Method of the slice"), labelled("lambda")];
  assert.equal(page.find(".ml-slice").getAttribute("role"), "toolbar");
  assert.deepEqual(stops(), [method]);
  method.focus();
  for (const key of ["ArrowDown", "Home"]) assert.equal(press(method, key).defaultPrevented, false, key);
  press(method, "ArrowRight");
  assert.equal(document.activeElement, field);
  assert.deepEqual(stops(), [field]);
  for (const key of ["ArrowUp", "End"]) assert.equal(press(field, key).defaultPrevented, false, key);
  type(field, "0.5");
  assert.equal(press(field, "ArrowLeft").defaultPrevented, false, "in what is typed they move between the letters");
  field.dispatchEvent(new window.Event("change", { bubbles: true }));
  press(field, "ArrowRight");
  const split = page.find(".ml-slice [aria-label=Split]");
  assert.equal(document.activeElement, split);
  press(split, "Home");
  assert.equal(document.activeElement, method);
});
