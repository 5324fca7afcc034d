// @ts-check
// Coefficients over depth: a row for each source, in the columns of the stack. A hand draws, drags points, types.

import { curveHand } from "./curve_hand.js";
import { valueCard, valueStrip } from "./curve_readout.js";
import { LOOKS, curveRow, linesOf } from "./curve_row.js";
import { curveTools } from "./curve_tools.js";
import { bent, cellAt, choicesOf, coveredBy, crowded, dialOf, inSteps, numberAt, reasons, rowsOf } from "./curves.js";
import { h, s, set } from "./dom.js";
import { isIdle, methodOf } from "./mixing.js";
import { bare } from "./quantity.js";
import { GUTTER } from "./scale.js";
import { KINDS, SHAPES, expand, filterOf, fitted, isSeparate, mirrored, others, shaped, stepOf, valueOf, withValues } from "./setting.js";
import { rangeOf, setNumber } from "./sketch.js";

/** @typedef {import("./curves.js").Row} Row */
/** @typedef {import("./curves.js").Declared} Declared */
/** @typedef {import("./setting.js").Kind} Kind */
/** @typedef {import("./setting.js").Value} Value */

/** @param {number | null} value @param {number} low @param {number} high */
const outside = (value, low, high) => value !== null && (value < low || value > high);

/**
 * @param {object} parts
 * @param {import("./draft.js").Draft} parts.draft @param {{ at: number, hover: number | null }} parts.cursor @param {string} parts.id
 * @param {() => void} parts.redraw @param {() => import("./scale.js").Scale} parts.scale
 * @param {(words: string) => void} parts.announce @param {AbortSignal} parts.signal
 */
export function curvesView({ draft, cursor, id, redraw, scale, announce, signal }) {
  /** @type {string | null} numbers that were chosen; null: the first there is */
  let chosenNumber = null;
  /** @type {string | null} */
  let chosenOwn = null;

  // What there is to bend.
  const pick = () => {
    const { sketch, methods } = draft;
    const numbers = choicesOf(sketch, methods, true);
    const owns = choicesOf(sketch, methods, false);
    const number = numbers.find(({ name }) => name === chosenNumber) ?? numbers.find(({ whole }) => !whole);
    const own = owns.find(({ name }) => name === chosenOwn) ?? owns[0];
    return { numbers, owns, number: number?.name ?? null, own: own?.name ?? null };
  };
  const rowsNow = () => {
    const { number, own } = pick();
    return rowsOf(draft.sketch, draft.methods, number, own);
  };
  const isLocked = (/** @type {Row} */ row) => draft.locks.includes(`${row.key} ${row.name}`);
  const nameOf = (/** @type {Row} */ row) => (row.source === null ? "slices" : draft.sources[row.source].name);
  /** The row that tools and card are about. @param {Row[]} rows */
  const current = (rows) => rows.find(({ key }) => key === panel.active) ?? rows.find((row) => cellAt(row, cursor.at).state === "open") ?? rows[0];
  /** @param {Row} row @param {number} layer */
  const placeOf = (row, layer) => {
    const { slice, from, layers, part } = cellAt(row, layer);
    const run = part === null ? rangeOf(from, layers) : rangeOf(draft.sketch.slices[slice].parts[part].start, layers);
    return row.source === null ? `slice ${slice + 1}, layers ${run}` : `${nameOf(row)} ${run}`;
  };
  /** What a number typed at a layer sets: the selected layers where that is one of several. @param {Row} row @param {number} layer */
  const typedOver = (row, layer) => coveredBy(row, draft.selection.includes(layer) ? draft.selection : [layer]);
  /** Why a row cannot be bent at a layer; empty: it can. @param {Row} row @param {number} layer */
  const whyNot = (row, layer) => {
    const cell = cellAt(row, layer);
    if (cell.state !== "open") return reasons(cell, methodOf(draft.methods, draft.sketch.slices[cell.slice].method).word, row.name)[0];
    return isLocked(row) ? "locked" : "";
  };

  /** @type {import("./curve_hand.js").Panel} */
  const panel = {
    chosen: null,
    active: "",
    hand: null,
    which: () => (panel.chosen && draft.kinds ? [panel.chosen] : KINDS),
    whyNot,
    nameOf,
    reveal(layer) {
      const { x, column } = scale();
      const seen = scroller.clientWidth;
      const [left, right] = [x(layer) - GUTTER, x(layer) + column - seen];
      scroller.scrollLeft = Math.max(right, Math.min(left, scroller.scrollLeft));
    },
    bend(row, first, last, kinds, next) {
      draft.edit({ sketch: bent(draft.sketch, row, draft.kinds, kinds, first, last, next) });
    },
  };
  /** The curve of the slice at the cursor made anew, in one go. @param {(old: Value | null, kind: Kind, number: Declared, layers: number) => Value | null} make @param {string} done */
  function remake(make, done) {
    const row = current(rowsNow());
    if (!row) return;
    const why = whyNot(row, cursor.at);
    const { slice, part, layers, number, setting } = cellAt(row, cursor.at);
    if (why || !number) {
      announce(`${placeOf(row, cursor.at)}: ${why}.`);
      return;
    }
    /** @type {Partial<Record<Kind, Value>>} */
    const values = {};
    for (const kind of panel.which()) values[kind] = make(valueOf(setting, filterOf(draft.kinds, kind)), kind, number, layers) ?? undefined;
    draft.edit({ sketch: setNumber(draft.sketch, slice, part, row.name, withValues(setting, draft.kinds, layers, values)) });
    draft.flush();
    announce(`${row.name} of ${placeOf(row, cursor.at)}: ${done}.`);
    redraw();
  }

  const act = {
    number: (/** @type {string} */ name) => {
      chosenNumber = name;
      redraw();
    },
    own: (/** @type {string} */ name) => {
      chosenOwn = name;
      redraw();
    },
    chosen: (/** @type {Kind | null} */ kind) => {
      panel.chosen = kind;
      redraw();
    },
    shape: (/** @type {import("./setting.js").Shape} */ name) => {
      const row = current(rowsNow());
      if (!row) return;
      const cell = cellAt(row, cursor.at);
      // A shape for all kinds is one shape: between the numbers that attention has.
      const all = expand(cell.setting, filterOf(draft.kinds, panel.chosen ?? "attention"), cell.layers);
      remake((_, kind, number) => shaped(name, all.map((each) => each ?? dialOf(number)[0]), dialOf(number)), SHAPES[name].word.toLowerCase());
    },
    mirror: () => remake((old) => (old === null ? null : mirrored(old)), "mirrored"),
    copy: () => {
      const row = current(rowsNow());
      const cell = row && cellAt(row, cursor.at);
      if (!row || cell.state !== "open") return announce("Nothing to copy here.");
      const values = KINDS.map((kind) => [kind, valueOf(cell.setting, filterOf(draft.kinds, kind))]);
      if (values.some(([, value]) => value === null)) return announce("This curve has no number yet.");
      const words = `${row.name} of ${placeOf(row, cursor.at)}`;
      draft.share({ _copied: { values: Object.fromEntries(values), words } });
      return announce(`Copied ${words}.`);
    },
    paste: () => {
      const from = draft.copied;
      if (!from) return announce("Nothing is copied.");
      return remake((_, kind, number, layers) => fitted(from.values[kind], number.low ?? -Infinity, number.high ?? Infinity, layers, stepOf(dialOf(number))), `pasted ${from.words}`);
    },
    lock: () => {
      const row = current(rowsNow());
      if (!row) return;
      const name = `${row.key} ${row.name}`;
      const { locks } = draft;
      draft.share({ _locks: locks.includes(name) ? locks.filter((each) => each !== name) : [...locks, name] });
      announce(`${row.name} of ${nameOf(row)} ${isLocked(row) ? "locked" : "unlocked"}.`);
    },
  };

  const tools = curveTools(act, id, signal);
  const strip = valueStrip();
  const card = valueCard(
    (kind, value) => {
      const row = current(rowsNow());
      if (!row) return;
      const { layers } = typedOver(row, cursor.at);
      panel.bend(row, layers[0], layers[layers.length - 1], kind ? [kind] : panel.which(), (_, layer) => (layers.includes(layer) ? value : null));
      if (layers.length > 1) announce(`${row.name} of ${nameOf(row)}: ${bare(value)} in ${layers.length} selected layers.`);
      draft.flush();
    },
    id,
    signal,
  );
  const plots = h("div", {});
  const scroller = h("div", { class: "ml-scroll" }, plots, strip.root);
  const ghostKey = h("span", { class: "ml-curve-key" }, s("svg", { width: 22, height: 10, "aria-hidden": "true" }, s("path", { d: "M1 5H21", style: "fill:none;stroke:var(--ml-ink-3);stroke-width:1.3;stroke-dasharray:1.5 3" })), "before this drag");
  const empty = h("p", { class: "ml-mute" }, "No slice, so nothing to bend.");
  const root = h(
    "section",
    { class: "ml-curves", "aria-label": "Coefficients over depth" },
    h("div", { class: "ml-head ml-gap" }, h("h3", {}, "Coefficients over depth"), tools.bar),
    h("div", { class: "ml-curve-tools" }, ...tools.choices, ghostKey),
    empty,
    scroller,
    card.root,
    h(
      "p",
      { class: "ml-hidden", id: `${id}-curve-keys` },
      "Left and Right choose a layer, Alt with Up and Down another row. Up and Down bend the curve there by a hundredth of the dial, with Shift by a tenth. Home and End set its ends. Enter types a number. K changes the tensors that the hand moves; 1 to 5 make that curve flat, linear, a U, a bell, a step over the slice. L locks, R mirrors.",
    ),
  );

  /** @type {{ view: ReturnType<typeof curveRow>, over: AbortController }[]} */
  const views = [];
  /** @param {number} index */
  function addRow(index) {
    const over = new AbortController();
    const view = curveRow({ id, index });
    curveHand(view, () => rowsNow()[index], panel, act, () => {
      draw(); // a key may have chosen another layer since
      card.focus(panel.chosen);
    }, { draft, cursor, redraw, scale, announce }, over.signal);
    views.push({ view, over });
    plots.append(view.plot);
  }

  /** In words, for who listens. @param {Row} row @param {number} layer */
  function spokenOf(row, layer) {
    const why = whyNot(row, layer);
    const cell = cellAt(row, layer);
    if (cell.state !== "open" || !cell.number) return `layer ${layer}, ${why}`;
    const { number } = cell;
    const lines = linesOf(cell, draft.kinds, panel.chosen).filter(({ kind, alone }) => alone || !panel.chosen || kind === panel.chosen);
    const words = lines.map(({ kind, values, alone }) => {
      const value = values[layer - cell.from];
      return `${alone ? (panel.chosen ? LOOKS[panel.chosen].word : row.name) : LOOKS[kind].word} ${value === null ? "none" : inSteps(value, number)}`;
    });
    return `layer ${layer}, ${words.join(", ")}${why ? `, ${why}` : ""}`;
  }

  /** What the card says beside the numbers. @param {Row} row @param {number} layer */
  function noteOf(row, layer) {
    const cell = cellAt(row, layer);
    if (cell.state !== "open") return whyNot(row, layer);
    /** @type {string[]} */
    const notes = [];
    const { layers: many } = typedOver(row, layer);
    if (many.length > 1 && !isLocked(row)) notes.push(`sets ${many.length} selected layers`);
    const { hand } = panel;
    if (hand && hand.key === row.key && cell.number) {
      const [before, now] = [hand.before, row].map((each) => numberAt(each, hand.layer, draft.kinds, hand.kind));
      if (before !== null && now !== null && before !== now) notes.push(`was ${inSteps(before, cell.number)}, now ${inSteps(now, cell.number)} at ${hand.layer}`);
    }
    const [low, high] = cell.number ? dialOf(cell.number) : row.range;
    if (KINDS.some((kind) => outside(numberAt(row, layer, draft.kinds, kind), low, high))) notes.push(`outside the dial, ${bare(low)} to ${bare(high)}`);
    if (row.name === "weight" && KINDS.some((kind) => (numberAt(row, layer, draft.kinds, kind) ?? 0) < 0)) notes.push(cell.part !== null && isIdle(draft.sketch, draft.sketch.slices[cell.slice], draft.methods) ? "one source and normalize: the weight changes nothing" : "below 0: unlearns");
    if (crowded(cell, draft.kinds).length) notes.push(`a point for each of ${cell.layers} layers`);
    const more = others(cell.setting, draft.kinds).length;
    if (more) notes.push(`${more} more ${more === 1 ? "rule" : "rules"} in the text`);
    return notes.join(" · ");
  }

  function draw() {
    const { hand } = panel;
    const layer = hand?.layer ?? cursor.at;
    const { sketch, methods, kinds, sources } = draft;
    const scaled = scale();
    const rows = rowsNow();
    while (views.length > rows.length) {
      const { view, over } = /** @type {{ view: ReturnType<typeof curveRow>, over: AbortController }} */ (views.pop());
      over.abort();
      view.plot.remove();
    }
    while (views.length < rows.length) addRow(views.length);
    empty.hidden = rows.length > 0;
    scroller.hidden = card.root.hidden = !rows.length;
    ghostKey.style.visibility = hand ? "visible" : "hidden";
    const focused = views.some(({ view }) => view.plot.matches(":focus"));
    const shown = hand?.layer ?? cursor.hover ?? (focused || root.matches(":focus-within") ? cursor.at : null);
    const main = current(rows);
    const short = rows.some(({ source }) => source !== null && sources[source].name.length > 6); // all alike
    rows.forEach((row, i) => {
      const { view } = views[i];
      const held = hand && hand.key === row.key ? hand : null;
      view.draw({
        row, scale: scaled, kinds, source: row.source === null ? null : sources[row.source], short, lock: isLocked(row), chosen: panel.chosen, shown, hand: held,
        wordOf: (slice) => methodOf(methods, sketch.slices[slice].method).word,
      });
      const cell = cellAt(row, layer);
      const value = numberAt(row, layer, kinds, panel.chosen ?? "attention");
      const [low, high] = cell.number ? dialOf(cell.number) : row.range;
      const { plot } = view;
      set(plot, {
        tabindex: row === main ? 0 : -1, // one stop of Tab for all rows
        "aria-label": `${row.name || "Numbers"} of ${nameOf(row)}`,
        "aria-valuemin": low, "aria-valuemax": high, "aria-valuenow": value ?? low, "aria-valuetext": spokenOf(row, layer),
        "aria-disabled": cell.state !== "open" || isLocked(row),
      });
    });
    const picked = pick();
    if (!main) return;
    const cell = cellAt(main, layer);
    const lines = cell.state === "open" ? linesOf(cell, kinds, panel.chosen) : [];
    const apart = main.cells.some((each) => each.state === "open" && isSeparate(each.setting, kinds, each.layers));
    tools.draw({
      ...picked, split: kinds !== null, rest: apart, chosen: panel.chosen, why: whyNot(main, layer), where: placeOf(main, layer),
      held: draft.copied?.words ?? "", locked: isLocked(main), lockable: main.cells.some(({ state }) => state === "open"),
    });
    const told = apart ? KINDS.filter((kind) => kind !== "rest" || main.cells.some((each) => each.state === "open" && linesOf(each, kinds, panel.chosen).some((line) => line.kind === "rest"))) : KINDS.slice(0, 1);
    strip.draw(scaled, shown, main, kinds, told);
    const { low, high } = typedOver(main, layer);
    card.draw(
      `output layer ${layer} (${main.source === null || cell.part === null ? `slice ${cell.slice + 1}` : `${nameOf(main)} ${sketch.slices[cell.slice].parts[cell.part].start + layer - cell.from}`})`,
      cell.number && { ...cell.number, low, high },
      lines.map(({ kind, values, alone }) => ({ kind, value: values[layer - cell.from], alone, word: alone && !panel.chosen ? main.name : LOOKS[(alone && panel.chosen) || kind].word })),
      noteOf(main, layer),
      isLocked(main),
    );
  }
  signal.addEventListener("abort", () => views.forEach(({ over }) => over.abort()));
  return { root, scroller, draw };
}
