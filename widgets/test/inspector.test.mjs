// The inspector in a page without a browser: panels, one pointer and one selection for all of them, dials, and words.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { COLUMN, DIALS, GUTTER, PANELS, SIX, all, become, begin, end, find, model, packed, painted, panel, plot, show, texts, x } from "./inspected.mjs";
import { frame, pause, point, press } from "./page.mjs";

beforeEach(begin);
afterEach(end);

test("panels stand in Python's order with what they show; chance that is not measured is said, and then there is no so", async () => {
  await show();
  assert.deepEqual(all(".ml-panel").map((each) => each.dataset.panel), ["norms", "conflict", "size", "tokens", "sinks"]);
  const caption = (panel) => [...find(`[data-panel=${panel}] .ml-caption`).children].filter((each) => !each.hidden).map((each) => each.textContent.trim());
  assert.deepEqual(caption("conflict"), ["Shows", "how large it is.", "By chance", "0.98 to 1.02.", "So nothing stands out."]);
  assert.deepEqual(caption("size").slice(2), ["Chance not measured."]);
  assert.equal(find("[data-panel=conflict] .ml-formula").textContent, "P(sign a ≠ sign b) / ½");
  assert.equal(find("[data-panel=size] .ml-more").hidden, true);
});

test("text of models and tokens stays text", async () => {
  await show();
  assert.equal(all("b").some((each) => each.textContent === "the"), false);
  assert.equal(find("img"), null);
  assert.ok(texts("tokens").includes("<b>the</b>"));
  assert.equal(find("[data-panel=sinks] td").textContent, "<img src=x>");
});

test("a cell is a pixel in the colour of its place; what is not measured is hatched and named", async () => {
  await show();
  const cells = painted.filter(({ width, height }) => width === 6 && height === 2);
  assert.equal(cells.length, 3);
  const [conflict, size] = cells;
  const grey = (image, row, column) => image.data[4 * (6 * row + column)];
  assert.ok(grey(size, 1, 0) > grey(size, 0, 1) && grey(size, 1, 5) > grey(size, 1, 0));
  const key = painted.filter(({ width, height }) => width === 256 && height === 1);
  assert.equal(key.length, 3);
  assert.equal(grey(conflict, 1, 0), key[0].data[4 * 128], "at the middle, whatever the values are");
  assert.equal(grey(conflict, 0, 0), key[0].data[0], "0 lies below 0.5: the lowest colour");
  const hatched = (id) => plot(id).querySelector("canvas").context.calls.length;
  assert.deepEqual([hatched("conflict"), hatched("size")], [0, 1]);
  assert.match(find("[data-panel=size] .ml-colours-key").textContent, /no value/);
  assert.doesNotMatch(find("[data-panel=conflict] .ml-colours-key").textContent, /no value/);
});

test("while numbers come in, what is to come is empty, not hatched", async () => {
  const panels = PANELS();
  panels[2] = { ...panels[2], state: "measuring", done: 5, total: 12 };
  become({ ...model.state, panels, busy: { text: "size", done: 5, total: 12 } });
  await show();
  assert.equal(plot("size").querySelector("canvas").context.calls.length, 0);
  assert.equal(find("[data-panel=size] .ml-progress").hidden, false);
  assert.match(find("[data-panel=size] .ml-heading").textContent, /5 of 12/);
  assert.match(find(".ml-strip").textContent, /size, 5 of 12/);
  model.hear({ busy: { text: "size", done: 12, total: 12 } });
  await frame();
  assert.match(find(".ml-strip").textContent, /size, all read, working it out/);
  find(".ml-strip-state button").click();
  assert.deepEqual(model.sent.at(-1), { asked: { stop: 1, measure: 0 } });
});

test("a cell that is pointed at is ringed in every heatmap, and its values stand beside", async () => {
  await show();
  point(plot("conflict"), "pointermove", x(2), 25);
  await frame();
  const rings = all(".ml-ring").map((each) => each.closest("[data-panel]").dataset.panel);
  assert.deepEqual(rings, ["conflict", "size"]);
  assert.ok(texts("conflict", ".ml-on-ink").includes("1.20×"));
  assert.ok(texts("size", ".ml-on-ink").includes("1.20"));
  assert.equal(all("[data-panel=tokens] .ml-pointed-column").length, 1);
  assert.match(find("[data-panel=norms] .ml-lines-key").textContent, /base1\.20pirate2\.20/);
  assert.match(find(".ml-under").textContent, /layer 2 module mlp\.up_proj/);
  assert.deepEqual(all(".ml-under tr").map((row) => row.textContent), ["conflict1.20×", "size1.20"]);
  point(plot("conflict"), "pointerleave", 0);
  await frame();
  assert.equal(all(".ml-ring").length, 0);
});

test("a drag selects layers, everywhere, and tells Python; the last word always arrives", async () => {
  await show();
  point(plot("size"), "pointerdown", x(1));
  point(plot("size"), "pointermove", x(3));
  point(plot("size"), "pointermove", x(4));
  point(plot("size"), "pointerup", x(4));
  await frame();
  assert.deepEqual(model.sent.at(-1), { selection: { layers: [1, 2, 3, 4] } });
  assert.deepEqual(all(".ml-chosen").map((each) => each.closest("[data-panel]").dataset.panel), ["norms", "conflict", "size", "tokens"]);
  assert.deepEqual(texts("conflict", "text.ml-b").filter((each) => /^\d$/.test(each)), ["1", "2", "3", "4"]);
  assert.equal(find("[role=status].ml-hidden").textContent, "Layers 1–4");
  point(plot("conflict"), "pointerdown", GUTTER + 5 * COLUMN - 2);
  point(plot("conflict"), "pointermove", x(2));
  point(plot("conflict"), "pointerup", x(2));
  assert.deepEqual(model.sent.at(-1), { selection: { layers: [1, 2] } }, "an edge was moved");
});

test("Escape in a drag puts back what was selected; a press on the one selected layer lets go", async () => {
  become({ ...model.state, selection: { layers: [5] } });
  await show();
  point(plot("size"), "pointerdown", x(0));
  point(plot("size"), "pointermove", x(2));
  press(plot("size"), "Escape");
  assert.deepEqual(model.get("selection"), { layers: [5] });
  point(plot("size"), "pointerdown", x(5));
  point(plot("size"), "pointerup", x(5));
  assert.deepEqual(model.get("selection"), { layers: [] });
});

test("keys go through cells and layers, and stop in the widget", async () => {
  await show();
  let escaped = 0;
  document.body.addEventListener("keydown", () => (escaped += 1));
  const grid = plot("conflict");
  grid.focus();
  for (const key of ["ArrowRight", "ArrowRight", "ArrowDown"]) press(grid, key);
  await frame();
  const cell = document.getElementById(grid.getAttribute("aria-activedescendant"));
  assert.equal(cell.textContent, "mlp.up_proj, layer 2: 1.20×");
  assert.deepEqual([cell.getAttribute("aria-colindex"), cell.parentElement.getAttribute("aria-rowindex"), grid.getAttribute("aria-rowcount")], ["3", "2", "2"]);
  press(grid, "ArrowRight", { shiftKey: true });
  press(grid, "ArrowRight", { shiftKey: true });
  press(grid, "ArrowLeft", { shiftKey: true });
  assert.deepEqual(model.get("selection"), { layers: [2, 3] });
  await frame();
  assert.equal(cell.getAttribute("aria-selected"), "true");
  press(grid, "End");
  press(grid, "Enter");
  assert.deepEqual(model.get("selection"), { layers: [5] });
  press(grid, "Home");
  press(grid, "ArrowUp");
  await frame();
  assert.equal(cell.textContent, "self_attn.q_pro, layer 0: 0×");
  press(grid, "Escape");
  assert.deepEqual(model.get("selection"), { layers: [] });
  press(grid, "a");
  assert.equal(escaped, 0);
});

test("columns that are no layers are shown and never selected", async () => {
  const panels = PANELS();
  panels[2] = { ...panels[2], columns: ["embedding", "0", "1", "2", "3", "4"] };
  become({ ...model.state, panels });
  await show();
  point(plot("size"), "pointerdown", x(0));
  point(plot("size"), "pointermove", x(2));
  point(plot("size"), "pointerup", x(2));
  assert.deepEqual(model.get("selection"), { layers: [0, 1] });
});

test("Python selects too, but not from under a moving hand", async () => {
  await show();
  model.hear({ selection: { layers: [4, 3] } });
  await frame();
  assert.equal(all("[data-panel=size] .ml-chosen").length, 1);
  assert.match(find("[aria-label='Selected layers']").textContent, /Layers 3–4/);
  point(plot("size"), "pointerdown", x(0));
  model.hear({ selection: { layers: [5] } });
  await frame();
  assert.match(find("[aria-label='Selected layers']").textContent, /Layer 0/);
  point(plot("size"), "pointerup", x(0));
  find("[aria-label='Selected layers'] button").click();
  assert.deepEqual(model.get("selection"), { layers: [] });
});

test("the selection in figures, only while there is one", async () => {
  await show();
  const part = find("[aria-label='Selected layers']");
  model.hear({ readout: [{ label: "sign conflict", here: "1.14×", elsewhere: "1.00×" }] });
  await frame();
  assert.equal(part.querySelectorAll("tr").length, 0);
  model.hear({ selection: { layers: [1] } });
  await frame();
  assert.deepEqual([...part.querySelectorAll("tbody tr")].map((row) => row.textContent), ["sign conflict1.14×1.00×"]);
});

test("a dial goes to Python, newest wins, and stays where the hand left it until Python agrees", async () => {
  await show();
  const density = find("[aria-label='Density kept']");
  for (const value of [0.5, 0.4, 0.3]) {
    density.value = value;
    density.dispatchEvent(new window.Event("input"));
  }
  density.dispatchEvent(new window.Event("change"));
  assert.deepEqual(model.sent.map(({ turned }) => turned.density), [0.5, 0.3]);
  model.hear({ dials: structuredClone(DIALS) });
  await frame();
  assert.equal(density.value, "0.3", "this answer is older than the hand");
  model.hear({ dials: { ...structuredClone(DIALS), density: { ...DIALS.density, value: 0.3, text: "Now less." } } });
  model.hear({ dials: { ...structuredClone(DIALS), density: { ...DIALS.density, value: 0.8 } } });
  await frame();
  assert.equal(density.value, "0.8");
});

test("choices travel together with what was turned before", async () => {
  await show();
  const [, other] = all("input[type=radio]");
  other.checked = true;
  other.dispatchEvent(new window.Event("change"));
  const statistic = find("[aria-label='Norms']");
  statistic.value = "rms";
  statistic.dispatchEvent(new window.Event("change"));
  await pause(90);
  assert.deepEqual(model.sent.at(-1), { turned: { pair: "1-3", statistic: "rms" } });
  await frame();
  assert.deepEqual(all(".ml-choice").map((each) => each.classList.contains("ml-on")), [false, true]);
  model.hear({ error: "pair: there is none." });
  await frame();
  assert.deepEqual(all(".ml-choice").map((each) => each.classList.contains("ml-on")), [true, false], "refused: back to what stands");
  assert.equal(find(".ml-error").hidden, false);
  assert.equal(find("[aria-label='Source']").closest("label").hidden, true, "a choice of none is no choice");
});

test("panels keep their place and their focus while they are measured again; others come and go", async () => {
  await show();
  const grid = plot("conflict");
  grid.focus();
  model.hear({ panels: PANELS().filter(({ id }) => id !== "norms" && id !== "sinks") });
  await frame();
  assert.equal(document.activeElement, grid);
  assert.deepEqual(all(".ml-panel").map((each) => each.dataset.panel), ["conflict", "size", "tokens"]);
  model.hear({ panels: [panel("size", { values: null, rows: [], columns: [], state: "waiting" })] });
  await frame();
  assert.equal(find(".ml-blank").hidden, false);
  assert.equal(find(".ml-blank").textContent, "waits");
  assert.equal(plot("size").hidden, true);
});

test("only what has changed is painted again, but for another width, theme or name", async () => {
  await show();
  const cells = () => painted.filter(({ width, height }) => width === 6 && height === 2).length;
  const before = cells();
  model.hear({ panels: PANELS() });
  await frame();
  assert.equal(cells(), before);
  const panels = PANELS();
  panels[2] = { ...panels[2], values: packed([...SIX(0), ...SIX(1)], [2, 6]) };
  model.hear({ panels });
  model.hear({ readout: [] });
  await frame();
  assert.equal(cells(), before + 1, "one number is new");
  document.body.dataset.jpThemeLight = "false";
  await pause(5);
  await frame();
  assert.equal(cells(), before + 4);
});

test("what was measured and how long; what was stopped can be gone on with", async () => {
  await show();
  const part = find("[aria-label='What was measured']");
  assert.match(part.textContent, /All 5 views measured.*conflict12\sms/s);
  assert.deepEqual(all(".ml-strip-state button").map((each) => each.hidden), [true, true]);
  const panels = PANELS();
  panels[1] = { ...panels[1], state: "stopped", done: 3, total: 6 };
  model.hear({ panels });
  await frame();
  assert.match(part.textContent, /4 of 5 views measured.*stopped at 3 of 6/s);
  all(".ml-strip-state button")[1].click();
  assert.deepEqual(model.sent.at(-1), { asked: { stop: 0, measure: 1 } });
});

test("closing leaves nothing behind, and sends what still waits", async () => {
  const el = await show();
  const density = find("[aria-label='Density kept']");
  for (const value of [0.5, 0.4]) {
    density.value = value;
    density.dispatchEvent(new window.Event("input"));
  }
  end();
  assert.deepEqual(model.sent.at(-1), { turned: { density: 0.4 } });
  assert.equal(el.children.length, 0);
  assert.equal(model.listeners, 0);
});
