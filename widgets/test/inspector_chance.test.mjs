// The inspector in a page without a browser: values against chance, readings, tables, and a view that is closed.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { DIALS, PANELS, SIX, all, become, begin, end, find, model, packed, painted, panel, plot, show, texts, x } from "./inspected.mjs";
import { frame, pause, point, press } from "./page.mjs";

beforeEach(begin);
afterEach(end);

test("what lies within chance is pale, what does not carries a dot, cell by cell, and the chip says so", async () => {
  const panels = PANELS();
  const [low, high] = [0.35, 1].map((each) => packed([...SIX(0).map(() => each), Number.NaN, ...SIX(0).slice(1).map(() => each)], [2, 6]));
  panels[1] = { ...panels[1], low: 0, high: 2, chanceband: { low, high } };
  panels[2] = { ...panels[2], values: panels[1].values, chanceband: { low: 0, high: 9 } };
  panels[3] = { ...panels[3], values: panels[1].values, low: 0, high: 2, scale: "diverging", middle: 1 };
  become({ ...model.state, panels });
  await show();
  const [conflict, , plain] = painted.filter(({ width, height }) => width === 6 && height === 2);
  const grey = (image, row, column) => image.data[4 * (6 * row + column)];
  assert.deepEqual([0, 1, 2, 3].map((column) => grey(conflict, 0, column) === grey(plain, 0, column)), [true, true, true, true], "below the band");
  assert.deepEqual([4, 5].map((column) => grey(conflict, 0, column) === grey(plain, 0, column)), [false, false], "in it");
  assert.equal(grey(conflict, 1, 0), grey(plain, 1, 0), "chance is not known here: neither pale nor dotted");
  const dots = (id) => plot(id).querySelector("canvas").context.calls.filter(Array.isArray);
  assert.deepEqual(dots("conflict").map(([, y]) => y), [9, 9, 9, 9, 31, 31, 31, 31, 31]);
  assert.deepEqual([dots("size"), dots("tokens")], [[], []]);
  assert.match(find("[data-panel=conflict] .ml-colours-key").textContent, /^outside chance/);
  assert.doesNotMatch(find("[data-panel=tokens] .ml-colours-key").textContent, /chance/);
  point(plot("conflict"), "pointermove", x(2), 25);
  await frame();
  assert.ok(texts("conflict", ".ml-on-ink").includes("1.20×, outside chance 0.35 to 1×"));
  point(plot("conflict"), "pointermove", x(5), 5);
  await frame();
  assert.ok(texts("conflict", ".ml-on-ink").includes("0.50×, within chance 0.35 to 1×"));
  point(plot("conflict"), "pointermove", x(0), 25);
  await frame();
  assert.ok(texts("conflict", ".ml-on-ink").includes("1.00×"));
});

test("the key of the lines names the spread of the tokens and chance; chance is hatched over the spread", async () => {
  const panels = PANELS();
  const [least, most] = [0.5, 2].map((times) => packed([...SIX(1), ...SIX(2)].map((each) => each * times), [2, 6]));
  panels[0] = { ...panels[0], band: { low: least, high: most }, chanceband: { low: least, high: most } };
  become({ ...model.state, panels });
  await show();
  assert.match(find("[data-panel=norms] .ml-lines-key").textContent, /sink tokens5–95\u202f% of tokensby chance$/);
  const drawn = all("[data-panel=norms] .ml-plot :is(.ml-spread, .ml-by-chance)");
  assert.deepEqual(drawn.map((each) => each.getAttribute("class")), ["ml-spread", "ml-spread", "ml-by-chance", "ml-by-chance"]);
  const [, pattern] = /url\(#(.+)\)/.exec(drawn[2].getAttribute("style"));
  assert.ok(document.getElementById(pattern), "the hatch is there");
  assert.match(drawn[3].getAttribute("style"), /stroke:var/, "each in the colour of its source");
  const filled = () => all("[data-panel=norms] .ml-plot path").filter((each) => /fill-opacity/.test(each.getAttribute("style") ?? "")).length;
  assert.equal(filled(), 0);
  point(plot("norms"), "pointermove", 200, 60);
  await frame();
  assert.equal(filled(), 1, "of the model that is pointed at");
});

test("chance of each source is drawn where it is known, one band for all where it is one", async () => {
  const panels = PANELS();
  const ends = (low, high) => ({ low: packed([...SIX(1), ...SIX(low)], [2, 6]), high: packed([...SIX(2), ...SIX(high)], [2, 6]) });
  const bands = () => all("[data-panel=norms] .ml-by-chance").filter((each) => each.localName === "path").map((each) => each.getAttribute("style"));
  panels[0] = { ...panels[0], chanceband: ends(1, 2) };
  become({ ...model.state, panels });
  await show();
  assert.equal(bands().length, 1);
  assert.doesNotMatch(bands()[0], /stroke/);
  model.hear({ panels: [{ ...panels[0], chances: ends(3, 4) }, ...panels.slice(1)] });
  await frame();
  assert.equal(bands().length, 2);
});

test("the reading stands in the fold, and the fold is there for it alone; where there is no band, beside the words", async () => {
  const panels = PANELS();
  panels[2] = { ...panels[2], reading: "Below 0.01: little.", chance: "1.", chanceband: { low: 0, high: 1 } };
  become({ ...model.state, panels });
  await show();
  const fold = find("[data-panel=size] .ml-more");
  assert.equal(fold.hidden, false);
  assert.deepEqual([...fold.children].filter((each) => !each.hidden).map((each) => each.textContent), ["How it is measured", "Reading Below 0.01: little."]);
  const seen = () => [...find("[data-panel=size] .ml-caption").children].filter((each) => !each.hidden).map((each) => each.textContent.trim());
  assert.deepEqual(seen(), ["Shows", "how large it is.", "By chance", "1."]);
  model.hear({ panels: panels.map((each) => (each.id === "size" ? { ...each, so: "largest at a.", chanceband: null } : each)) });
  await frame();
  assert.deepEqual(seen(), ["Shows", "how large it is.", "By chance", "1.", "So largest at a.", "Reading Below 0.01: little."]);
  assert.equal(fold.hidden, true);
  assert.equal([...find("[data-panel=conflict] .ml-more").children].filter((each) => !each.hidden).length, 2);
});

test("a table says how many rows there are, shows those of the chosen source, and all when asked", async () => {
  const panels = PANELS();
  const cells = ["base", "base", "pirate", "pirate", "pirate"].map((name, i) => [name, i, 1.5]);
  panels[4] = { ...panels[4], rows: ["0", "1", "2", "3", "4"], columns: ["source", "gone", "times"], cells };
  const sources = ["pirate", "sort"].map((label, i) => ({ id: `${i + 1}`, label, chosen: i === 0 }));
  become({ ...model.state, panels, dials: { ...structuredClone(DIALS), sources } });
  await show();
  const shown = () => all("[data-panel=sinks] tbody tr").map((row) => row.firstChild.textContent).join(" ");
  const every = find("[data-panel=sinks] button");
  assert.match(find("[data-panel=sinks] .ml-heading").textContent, /5 found: 2 in base, 3 in pirate/);
  assert.match(find("[data-panel=sinks] th:nth-child(2)").title, /the layer that ended it/);
  assert.deepEqual([shown(), every.textContent], ["pirate pirate pirate", "Show all"]);
  every.click();
  assert.deepEqual([shown(), every.textContent], ["base base pirate pirate pirate", "Only pirate"]);
  every.click();
  model.hear({ dials: { ...structuredClone(DIALS), sources: sources.map((each, i) => ({ ...each, chosen: i === 1 })) } });
  await frame();
  assert.deepEqual([shown(), every.hidden], ["base base pirate pirate pirate", true], "sort has none");
});

test("a view whose Python half is gone says so, and sends nothing any more", async () => {
  await show();
  point(plot("size"), "pointerdown", x(1));
  point(plot("size"), "pointerup", x(1));
  const density = find("[aria-label='Density kept']");
  for (const value of [0.5, 0.4]) {
    density.value = value;
    density.dispatchEvent(new window.Event("input"));
  }
  assert.equal(find(".ml-closed").textContent, "");
  const sent = model.sent.length;
  for (const call of model.heard.get("comm:close")) call();
  assert.match(find(".ml-closed").textContent, /closed.*Run the cell again/);
  assert.ok(all("aside :is(input, select, button), .ml-strip button").every((each) => each.matches(":disabled")));
  point(plot("size"), "pointerdown", x(3));
  point(plot("size"), "pointerup", x(3));
  press(plot("size"), "Escape");
  await pause(90);
  assert.equal(model.sent.length, sent);
  assert.deepEqual(model.get("selection"), { layers: [1] });
  point(plot("size"), "pointermove", x(2), 25);
  await frame();
  assert.match(find("[aria-label='Selected layers']").textContent, /Layer 1/);
  assert.ok(texts("size", ".ml-on-ink").includes("1.20"), "what is drawn can still be read");
});
