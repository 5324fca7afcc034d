/* mergelab widgets, built from widgets/src by esbuild 0.28.2; sources 9b95e733bc42593f */

// src/lib/blocks.js
function layersOf(blocks) {
  return blocks.flatMap(
    ([source, start, end], block2) => Array.from({ length: end - start }, (_, i) => ({ source, home: start + i, block: block2 }))
  );
}
function bordersOf(blocks) {
  const borders = [0];
  for (const [, start, end] of blocks) borders.push(borders[borders.length - 1] + end - start);
  return borders;
}
function moveBorder(blocks, index, by, depths) {
  const [left, right] = [blocks[index], blocks[index + 1]];
  if (!left || !right) return [...blocks];
  const low = Math.max(left[1] + 1 - left[2], -right[1]);
  const high = Math.min(depths[left[0]] - left[2], right[2] - 1 - right[1]);
  const step = Math.min(Math.max(by, low), Math.max(high, low));
  const moved = [...blocks];
  moved[index] = [left[0], left[1], left[2] + step];
  moved[index + 1] = [right[0], right[1] + step, right[2]];
  return moved;
}
function giveTo(blocks, index, source, depths) {
  if (blocks[index][2] > depths[source]) return null;
  return blocks.map((block2, i) => i === index ? [source, block2[1], block2[2]] : block2);
}
function splitAt(blocks, at) {
  const borders = bordersOf(blocks);
  const index = blocks.findIndex((_, i) => borders[i] < at && at < borders[i + 1]);
  if (index < 0) return null;
  const [source, start, end] = blocks[index];
  const cut = start + at - borders[index];
  return [...blocks.slice(0, index), [source, start, cut], [source, cut, end], ...blocks.slice(index + 1)];
}
function without(blocks, index) {
  return blocks.length > 1 ? blocks.filter((_, i) => i !== index) : null;
}
function refit(coefficient, before, after) {
  const [old, now] = [layersOf(before), layersOf(after)];
  if (old.length === now.length) return [...coefficient];
  const kept = /* @__PURE__ */ new Map();
  old.forEach(({ source, home }, i) => {
    const key = `${source}:${home}`;
    kept.set(key, [...kept.get(key) ?? [], coefficient[i] ?? 1]);
  });
  return now.map(({ source, home }) => kept.get(`${source}:${home}`)?.shift() ?? 1);
}
function ownShare(source, coefficient, method) {
  return source === 0 || method === "passthrough" ? 1 : Math.min(1, Math.max(0, coefficient ?? 1));
}
function sharesOf(blocks, coefficient, method, sources) {
  const shares = new Array(sources).fill(0);
  const layers = layersOf(blocks);
  layers.forEach(({ source }, i) => {
    const own = ownShare(source, coefficient[i], method);
    shares[source] += own / layers.length;
    shares[0] += (1 - own) / layers.length;
  });
  return shares;
}
function rangeOf([, start, end]) {
  return end - start === 1 ? `${start}` : `${start}–${end - 1}`;
}
function titleOf(blocks, names) {
  const held = new Array(names.length).fill(0);
  for (const [source, start, end] of blocks) held[source] += end - start;
  const host = held.indexOf(Math.max(...held));
  const guests = blocks.filter(([source]) => source !== host);
  if (!guests.length) return names[host];
  const shown = guests.slice(0, 2).map((block2) => `${names[block2[0]]} ${rangeOf(block2)}`);
  const rest = guests.length > 2 ? ` and ${guests.length - 2} more` : "";
  return `${names[host]} with ${shown.join(", ")}${rest}`;
}

// src/lib/dom.js
var SVG = "http://www.w3.org/2000/svg";
function dress(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== void 0 && value !== false) element.setAttribute(name, value === true ? "" : `${value}`);
  }
}
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  dress(element, attributes);
  element.append(...children);
  return element;
}
function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  dress(element, attributes);
  element.append(...children);
  return element;
}
function label(x, y, words, attributes = {}) {
  return s("text", { x, y, ...attributes }, `${words}`);
}
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function pool(parent, count2, make) {
  while (parent.children.length > count2) parent.lastElementChild?.remove();
  while (parent.children.length < count2) parent.append(make(parent.children.length));
  return (
    /** @type {E[]} */
    [...parent.children]
  );
}
var ICONS = {
  stop: "M4.5 4.5h7v7h-7z",
  cross: "m4 4 8 8M12 4l-8 8",
  play: "M5 3.5v9l7-4.5z",
  split: "M8 2v12M5 5.5 2.5 8 5 10.5M11 5.5 13.5 8 11 10.5",
  remove: "M3.5 4.5h9M6.5 4.5V3h3v1.5M5 4.5l.6 8.5h4.8l.6-8.5",
  lock: "M4.5 7.5h7v5.5h-7zM6 7.5V5.2a2 2 0 0 1 4 0v2.3"
};
function icon(name) {
  return s("svg", { class: "ml-icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

// src/lib/figures.js
var THIN = " ";
function plain(value, figures = 3) {
  return value >= 1e3 ? value.toFixed(0) : `${Number(value.toPrecision(figures))}`;
}
function inUnits(value, units) {
  const [size, unit] = units.find(([each]) => Number((value / each).toPrecision(3)) >= 1) ?? [1, ""];
  return size === 1 ? null : `${plain(value / size)}${THIN}${unit}`;
}
function count(value) {
  return inUnits(value, [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) ?? `${value}`;
}
function bytes(value) {
  return inUnits(value, [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) ?? `${value}${THIN}B`;
}
function seconds(value) {
  const ms = Number((value * 1e3).toPrecision(value < 0.01 ? 2 : 3));
  if (ms >= 1e3) return `${value.toFixed(1)}${THIN}s`;
  return `${ms > 0 && ms < 1e-3 ? "<0.001" : ms}${THIN}ms`;
}
function percent(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  const of100 = value * 100;
  if (of100 >= 9.95) return of100.toFixed(0);
  if (of100 >= 0.05) return of100.toFixed(1);
  return of100 > 0 ? "<0.1" : "0";
}
function nats(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  return Math.abs(value) < 5e-3 ? "0.00" : value.toFixed(value < 9.995 ? 2 : 1).replace("-", "−");
}
function tokenLabel(token) {
  if (token === "") return "∅";
  return token.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length));
}

// src/lib/keys.js
function onKeys(element, actions, signal) {
  element.addEventListener(
    "keydown",
    (event) => {
      const action = actions[nameOf(event)];
      if (!action) return;
      event.preventDefault();
      event.stopPropagation();
      action(event);
    },
    { signal }
  );
}
function nameOf(event) {
  const key = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return `${event.ctrlKey || event.metaKey ? "Mod+" : ""}${event.altKey ? "Alt+" : ""}${event.shiftKey ? "Shift+" : ""}${key}`;
}

// src/lib/swatches.js
var COLOURS = 5;
function hue(source) {
  return `--ml-s${source % COLOURS}`;
}
function patterns(id) {
  const pattern = (i, size, mark, turn) => s("pattern", { id: `${id}-p${i}`, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: turn }, mark);
  const stroke = (i) => `stroke:var(${hue(i)});stroke-width:1.1;stroke-opacity:.42`;
  return s(
    "svg",
    { width: 0, height: 0, class: "ml-patterns", "aria-hidden": "true" },
    s(
      "defs",
      {},
      pattern(1, 5, s("line", { x1: 0, y1: 0, x2: 0, y2: 5, style: stroke(1) }), "rotate(45)"),
      pattern(2, 5, s("circle", { cx: 2.5, cy: 2.5, r: 0.95, style: `fill:var(${hue(2)});fill-opacity:.6` })),
      pattern(3, 6, s("path", { d: "M0 0L6 6M6 0L0 6", style: stroke(3) })),
      pattern(4, 4, s("line", { x1: 2, y1: 0, x2: 2, y2: 4, style: stroke(4) })),
      pattern(5, 6, s("line", { x1: 0, y1: 0, x2: 0, y2: 6, style: "stroke:var(--ml-line);stroke-width:1" }), "rotate(45)"),
      pattern(6, 4, s("line", { x1: 0, y1: 0, x2: 0, y2: 4, style: "stroke:var(--ml-ink-3);stroke-width:1.2" }), "rotate(-45)")
    )
  );
}
var hatch = (id) => `url(#${id}-p5)`;
function block(id, source, x, y, width, height, radius = 2) {
  const box = { x, y, width: Math.max(0, width), height: Math.max(0, height), rx: radius };
  const group = s("g", {}, s("rect", { ...box, style: `fill:var(${hue(source)}-fill)` }));
  if (source % COLOURS > 0) group.append(s("rect", { ...box, style: `fill:url(#${id}-p${source % COLOURS})` }));
  const edge = { x: x + 0.5, y: y + 0.5, width: Math.max(0, width - 1), height: Math.max(0, height - 1), rx: radius };
  group.append(s("rect", { ...edge, style: `fill:none;stroke:var(${hue(source)});stroke-width:.8;stroke-opacity:.75` }));
  return group;
}
function swatch(id, source, size = 12) {
  return s("svg", { width: size, height: size, class: "ml-swatch", "aria-hidden": "true" }, block(id, source, 0, 0, size, size));
}

// src/lib/words.js
function wordsOf(text) {
  return text.match(/\s*\S+(?:\s+$)?/g) ?? (text ? [text] : []);
}
function runsOf(text, reference) {
  const a = wordsOf(text);
  const b = wordsOf(reference).map((word) => word.trim());
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = a[i].trim() === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const runs = [];
  for (let i = 0, j = 0; i < a.length; i += 1) {
    while (j < b.length && a[i].trim() !== b[j] && lengths[i][j + 1] >= lengths[i + 1][j]) j += 1;
    const same = j < b.length && a[i].trim() === b[j];
    if (same) j += 1;
    const last = runs[runs.length - 1];
    if (last && last.differs === !same) last.text += a[i];
    else runs.push({ text: a[i], differs: !same });
  }
  return runs;
}

// src/lib/answers_view.js
var PAUSE = 250;
function put(cell, figure, why) {
  say(cell, figure);
  for (const name of ["title", "aria-label"]) {
    if (why === null) cell.removeAttribute(name);
    else cell.setAttribute(name, why);
  }
}
function answersView(draft, examples, id, signal) {
  const field = h("input", { class: "ml-field", type: "text", "aria-label": "Prompt", spellcheck: "false", autocomplete: "off" });
  const run = h("button", { class: "ml-button ml-square", type: "button", "aria-label": "Ask now" }, icon("play"));
  const picks = h("div", { class: "ml-picks", role: "group", "aria-label": "Example prompts" });
  const hint = h("p", { class: "ml-caption", role: "status" });
  const head = h("tr");
  const body = h("tbody");
  const foot = h("tr");
  const table = h("table", { class: "ml-tokens" }, h("caption", { class: "ml-hidden" }, "Probability of the next token, %, of the merged model and of each source"), h("thead", {}, head), body, h("tfoot", {}, foot));
  const texts = h("div", { class: "ml-texts" });
  const recipe = h("p", { class: "ml-caption", title: "SHA-256 of the recipe's YAML, first 8 digits" });
  const figures = h("div", { class: "ml-figures" }, table, recipe);
  const written = h("div", { class: "ml-figures" }, texts);
  const root = h(
    "section",
    { class: "ml-answers", "aria-label": "Answers" },
    h("div", { class: "ml-ask" }, h("div", { class: "ml-prompt" }, field, run), picks, hint),
    h("div", { class: "ml-part" }, h("div", { class: "ml-head" }, h("h3", {}, "Next token"), h("span", { class: "ml-mute" }, "probability, %")), figures),
    h("div", { class: "ml-part" }, h("div", { class: "ml-head" }, h("h3", {}, "What each one writes"), h("span", { class: "ml-mute" }, "underlined: differs")), written)
  );
  let typing;
  const ask = () => {
    clearTimeout(typing);
    draft.edit({ prompt: field.value });
    draft.flush();
  };
  field.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(ask, PAUSE);
  }, { signal });
  signal.addEventListener("abort", () => clearTimeout(typing));
  onKeys(field, { Enter: ask, "Mod+Enter": ask }, signal);
  run.addEventListener("click", ask, { signal });
  for (const example of examples) {
    const pick = h("button", { class: "ml-pick", type: "button", title: example }, example);
    pick.addEventListener("click", () => {
      field.value = example;
      ask();
    }, { signal });
    picks.append(pick);
  }
  const colour = (speaker) => speaker === 0 ? "var(--ml-merged)" : `var(${hue(speaker - 1)})`;
  const inkOf = (speaker) => speaker === 0 ? "var(--ml-ink)" : `var(${hue(speaker - 1)}-text)`;
  const nameOf2 = (speaker) => speaker === 0 ? "Merged" : draft.sources[speaker - 1].name;
  const shortOf = (speaker) => {
    if (speaker === 0) return "merged";
    const { name, code } = draft.sources[speaker - 1];
    return draft.sources.length > 3 || name.length > 7 ? code : name;
  };
  function drawTokens() {
    const { answer } = draft;
    const speakers = draft.sources.length + 1;
    const rows = answer?.candidates ?? [];
    const cells = speakers + 2;
    pool(head, cells, (i) => h("th", { scope: "col", class: i < 2 ? "ml-left" : "" })).forEach((cell, i) => {
      if (i === 0) return say(cell, "");
      if (i === 1) {
        if (!cell.childElementCount) cell.append(h("div", { class: "ml-ticks", "aria-hidden": "true" }, h("span", {}, "0"), h("span", {}, "100")));
        return void 0;
      }
      cell.style.color = inkOf(i - 2);
      cell.title = nameOf2(i - 2);
      return say(cell, shortOf(i - 2));
    });
    pool(body, rows.length, () => {
      const row = h("tr", {}, h("th", { scope: "row", class: "ml-token" }), h("td", { class: "ml-bars", "aria-hidden": "true" }));
      for (let i = 0; i < speakers; i += 1) row.append(h("td", { class: i ? "" : "ml-first" }));
      return row;
    }).forEach((row, r) => {
      const { token, probabilities } = rows[r];
      const shown = tokenLabel(token);
      const name = (
        /** @type {HTMLElement} */
        row.children[0]
      );
      say(name, shown);
      name.title = shown;
      pool(row.children[1], speakers, (i) => h("div", { class: i ? "ml-bar" : "ml-bar ml-thick" })).forEach((bar, i) => {
        bar.style.background = colour(i);
        bar.style.width = `${(100 * (probabilities[i] || 0)).toFixed(2)}%`;
      });
      probabilities.forEach((value, i) => put(row.children[2 + i], percent(value), value === null ? "not in its vocabulary" : null));
    });
    pool(foot, speakers + 1, (i) => i ? h("td") : h("th", { scope: "row", colspan: 2, class: "ml-left" }, "KL from merged, nats")).forEach((cell, i) => {
      if (i < 2) return;
      const value = answer?.kl[i - 1] ?? null;
      put(cell, nats(value), answer && value === null ? "no figure: its vocabulary differs" : null);
    });
    table.hidden = !rows.length;
  }
  function drawTexts() {
    const { answer } = draft;
    const merged = answer?.texts[0] ?? "";
    pool(texts, draft.sources.length + 1, (i) => {
      const mark = i === 0 ? h("span", { class: "ml-ink-swatch" }) : swatch(id, i - 1, 11);
      return h("div", { class: i ? "ml-text" : "ml-text ml-merged" }, h("div", { class: "ml-who" }, mark, h("span", {})), h("div", { class: "ml-words" }));
    }).forEach((row, i) => {
      say(
        /** @type {Element} */
        row.children[0].lastElementChild,
        nameOf2(i)
      );
      const words = (
        /** @type {HTMLElement} */
        row.children[1]
      );
      words.style.setProperty("--ml-c", colour(i));
      const text = (answer?.texts[i] ?? "").replace(/^ /, "");
      const busy = draft.writing && answer !== null && !answer.written[i];
      const key = JSON.stringify([text, i ? merged : "", busy]);
      if (words.dataset.key === key) return;
      words.dataset.key = key;
      const runs = i === 0 ? [{ text, differs: false }] : runsOf(text, merged);
      words.replaceChildren(
        ...runs.flatMap(({ text: run2, differs }) => {
          if (!differs) return [run2];
          const space = run2.match(/^\s*/)?.[0] ?? "";
          return [space, h("u", {}, run2.slice(space.length))];
        })
      );
      if (busy) words.append(h("span", { class: "ml-caret", "aria-hidden": "true" }));
    });
  }
  function draw() {
    if (field.ownerDocument.activeElement !== field && field.value !== draft.dials.prompt) field.value = draft.dials.prompt;
    [...picks.children].forEach((pick, i) => pick.classList.toggle("ml-on", examples[i] === draft.dials.prompt));
    say(hint, draft.state === "waiting" ? "Type a prompt to ask all of them." : draft.answer?.warning ?? "");
    hint.hidden = !hint.textContent;
    drawTokens();
    say(recipe, draft.answer ? `recipe ${draft.answer.recipe}` : "");
    recipe.hidden = !draft.answer;
    drawTexts();
  }
  return { root, draw };
}

// src/lib/curve.js
function settle(value) {
  return Math.round(Math.min(1, Math.max(0, value)) * 100) / 100;
}
function bendable(layers) {
  return layers.map(({ source }) => source !== 0);
}
function meanOf(curve, free) {
  const values = curve.filter((_, i) => free[i]);
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}
function turnTo(curve, free, mean) {
  const from = meanOf(curve, free);
  if (from === null) return [...curve];
  return curve.map((value, i) => {
    if (!free[i]) return value;
    if (mean >= from) return from === 1 ? 1 : settle(value + (1 - value) * (mean - from) / (1 - from));
    return settle(value * mean / from);
  });
}
function bend(curve, layer, value) {
  return curve.map((old, i) => i === layer ? settle(value) : old);
}
function pathOf(points) {
  return points.length ? `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}` : "";
}

// src/lib/drag.js
function onDrag(element, start, signal) {
  let drag = null;
  let pointer = -1;
  function finish(kept) {
    const ended = drag;
    drag = null;
    pointer = -1;
    ended?.end(kept);
  }
  const ours = (act) => (event) => {
    if (drag && /** @type {PointerEvent} */
    event.pointerId === pointer) act(
      /** @type {PointerEvent} */
      event
    );
  };
  element.addEventListener(
    "pointerdown",
    (raw) => {
      const event = (
        /** @type {PointerEvent} */
        raw
      );
      if (event.button !== 0 || drag) return;
      drag = start(event);
      if (!drag) return;
      pointer = event.pointerId;
      element.setPointerCapture?.(pointer);
      event.preventDefault();
    },
    { signal }
  );
  element.addEventListener("pointermove", ours((event) => drag?.move(event)), { signal });
  element.addEventListener("pointerup", ours(() => finish(true)), { signal });
  element.addEventListener("pointercancel", ours(() => finish(false)), { signal });
  element.addEventListener("lostpointercapture", ours(() => finish(true)), { signal });
  element.ownerDocument.addEventListener(
    "keydown",
    (event) => {
      if (!drag || event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      finish(false);
    },
    { signal, capture: true }
  );
}

// src/lib/scale.js
var GUTTER = 54;
var NARROWEST = 28;
var WIDEST = 120;
function scaleOf(width, depth) {
  const column = Math.min(WIDEST, Math.max(NARROWEST, (width - GUTTER) / Math.max(1, depth)));
  return {
    column,
    depth,
    /** Left edge of output layer i. @param {number} i */
    x: (i) => GUTTER + i * column,
    /** Middle of output layer i. @param {number} i */
    middle: (i) => GUTTER + (i + 0.5) * column,
    /** The output layer under px, clamped. @param {number} px */
    layerAt: (px) => Math.min(depth - 1, Math.max(0, Math.floor((px - GUTTER) / column))),
    /** The border nearest px, 0..depth. @param {number} px */
    borderAt: (px) => Math.min(depth, Math.max(0, Math.round((px - GUTTER) / column))),
    width: GUTTER + depth * column
  };
}

// src/lib/curve_view.js
var TOP = 14;
var TALL = 132;
var HEIGHT = TOP + TALL + 24;
var REACH = 16;
var heightOf = (share) => TOP + TALL - share * TALL;
var shareAt = (py) => settle((TOP + TALL - py) / TALL);
function curveView({ draft, cursor, id, redraw, scale, signal }) {
  const picture = h("div", { class: "ml-picture" });
  const plot = h("div", { class: "ml-plot ml-curve", tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 1, "aria-orientation": "vertical", "aria-describedby": `${id}-curve-keys` }, picture);
  const keys = h("p", { class: "ml-hidden", id: `${id}-curve-keys` }, "Left and Right choose a layer. Up and Down bend the curve there by 0.01, with Shift by 0.10. Home and End set 0 and 1.");
  const root = h("div", { class: "ml-scroll" }, plot, keys);
  const dial = h("input", { type: "range", min: 0, max: 1, step: 0.01, class: "ml-range", "aria-label": "Coefficient of all layers" });
  const value = h("output", { class: "ml-value" });
  const knob = h("label", { class: "ml-dial" }, h("span", { class: "ml-mute" }, "all layers"), dial, value);
  const layers = () => layersOf(draft.dials.blocks);
  const free = () => draft.dials.method === "passthrough" ? layers().map(() => false) : bendable(layers());
  let ghost = null;
  let inHand = null;
  let turned = null;
  dial.addEventListener("input", () => {
    turned ??= [...draft.dials.coefficient];
    ghost = turned;
    draft.hold();
    draft.edit({ coefficient: turnTo(turned, free(), Number(dial.value)) });
  }, { signal });
  const letGo = () => {
    if (!turned) return;
    turned = ghost = null;
    draft.release();
  };
  dial.addEventListener("change", letGo, { signal });
  dial.addEventListener("blur", letGo, { signal });
  const spot = (event) => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  onDrag(
    plot,
    (event) => {
      const [px, py] = spot(event);
      const start = draft.dials.coefficient;
      const near = scale().layerAt(px);
      if (px < GUTTER || !free()[near]) {
        cursor.at = near;
        plot.focus({ preventScroll: true });
        redraw();
        return null;
      }
      const grabbed = Math.abs(heightOf(start[near]) - py) <= REACH;
      const offset = grabbed ? heightOf(start[near]) - py : 0;
      let last = near;
      draft.hold();
      ghost = start;
      plot.focus({ preventScroll: true });
      const pull = (x, y) => {
        const to = grabbed ? near : scale().layerAt(x);
        let curve = draft.dials.coefficient;
        for (let i = Math.min(last, to); i <= Math.max(last, to); i += 1) if (free()[i]) curve = bend(curve, i, shareAt(y + offset));
        last = inHand = cursor.at = to;
        draft.edit({ coefficient: curve });
      };
      if (grabbed) inHand = cursor.at = near;
      else pull(px, py);
      redraw();
      return {
        move(next) {
          const [x, y] = spot(next);
          pull(x, y);
          redraw();
        },
        end(kept) {
          ghost = inHand = null;
          if (!kept) draft.edit({ coefficient: start });
          draft.release();
        }
      };
    },
    signal
  );
  function step(by) {
    cursor.at = Math.min(layers().length - 1, Math.max(0, cursor.at + by));
    cursor.hover = null;
    redraw();
  }
  const set = (next) => () => {
    if (free()[cursor.at]) draft.edit({ coefficient: bend(draft.dials.coefficient, cursor.at, next(draft.dials.coefficient[cursor.at])) });
  };
  onKeys(
    plot,
    {
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      ArrowUp: set((old) => old + 0.01),
      ArrowDown: set((old) => old - 0.01),
      "Shift+ArrowUp": set((old) => old + 0.1),
      "Shift+ArrowDown": set((old) => old - 0.1),
      PageUp: set((old) => old + 0.1),
      PageDown: set((old) => old - 0.1),
      Home: set(() => 0),
      End: set(() => 1)
    },
    signal
  );
  plot.addEventListener("pointermove", (event) => {
    const layer = scale().layerAt(spot(event)[0]);
    if (layer !== cursor.hover) {
      cursor.hover = layer;
      redraw();
    }
  }, { signal });
  plot.addEventListener("pointerleave", () => {
    cursor.hover = null;
    redraw();
  }, { signal });
  function draw() {
    const { coefficient, method } = draft.dials;
    const { sources } = draft;
    const all = layers();
    const open = free();
    const scaled = scale();
    const { x, middle, column, depth } = scaled;
    const shown = inHand ?? cursor.hover ?? (plot.matches(":focus") ? cursor.at : null);
    const svg = s("svg", { width: scaled.width, height: HEIGHT, "aria-hidden": "true" });
    if (shown !== null) svg.append(s("rect", { x: x(shown), y: 0, width: column, height: HEIGHT, style: "fill:var(--ml-hover)" }));
    for (const tick of [0, 0.5, 1]) {
      svg.append(s("line", { x1: x(0), x2: x(depth), y1: heightOf(tick), y2: heightOf(tick), style: `stroke:var(--ml-line${tick === 0.5 ? "-soft" : ""})` }));
      svg.append(label(GUTTER - 6, heightOf(tick) + 4, tick === 0.5 ? "½" : tick, { "text-anchor": "end" }));
    }
    if (method === "ties") svg.append(label(0, TOP + 9, "density"));
    else {
      ["share", "over"].forEach((words, i) => svg.append(label(0, TOP + 9 + 14 * i, words)));
      svg.append(label(0, TOP + 37, sources[0].code, { class: "ml-b", style: `fill:var(${hue(0)}-text)` }));
    }
    for (let i = 1; i < depth; i += 1) {
      if (open[i] && open[i - 1] && all[i].block !== all[i - 1].block) {
        const across = pathOf([[middle(i - 1), heightOf(coefficient[i - 1])], [middle(i), heightOf(coefficient[i])]]);
        svg.append(s("path", { d: across, style: "fill:none;stroke:var(--ml-line-firm);stroke-width:1;stroke-dasharray:2 3" }));
      }
    }
    for (let from = 0; from < depth; ) {
      let to = from;
      while (to < depth && all[to].block === all[from].block) to += 1;
      const { source: source2 } = all[from];
      const colour = `var(${hue(source2)})`;
      const wide = x(to) - x(from);
      if (from > 0) svg.append(s("line", { x1: x(from), x2: x(from), y1: heightOf(1), y2: heightOf(0), style: "stroke:var(--ml-line)" }));
      if (!open[from]) {
        const words = source2 === 0 ? `${sources[0].name} itself` : "kept whole";
        svg.append(s("rect", { x: x(from) + 2, y: heightOf(1), width: wide - 4, height: TALL, style: `fill:${hatch(id)};opacity:.7` }));
        svg.append(s("line", { x1: middle(from), x2: middle(to - 1), y1: heightOf(1), y2: heightOf(1), style: `stroke:${colour};stroke-width:2` }));
        const fits = wide > words.length * 6.2 + 26;
        const at = x(from) + wide / 2;
        const lock = icon("lock");
        for (const [name2, px] of Object.entries({ x: at - (fits ? words.length * 3.05 + 9 : 6), y: heightOf(0.5) - 7, width: 12, height: 12 })) lock.setAttribute(name2, `${px}`);
        lock.classList.add("ml-lock");
        svg.append(lock);
        if (fits) svg.append(label(at + 8, heightOf(0.5) + 4, words, { "text-anchor": "middle", class: "ml-halo" }));
      } else {
        const points = (curve) => curve.slice(from, to).map((share, i) => [middle(from + i), heightOf(share)]);
        if (ghost) svg.append(s("path", { d: pathOf(points(ghost)), style: "fill:none;stroke:var(--ml-ink-3);stroke-width:1.3;stroke-dasharray:1.5 3;stroke-linecap:round" }));
        const line = points(coefficient);
        const [first, last] = [line[0][0], line[line.length - 1][0]];
        svg.append(s("path", { d: `${pathOf([[first, heightOf(0)], ...line, [last, heightOf(0)]])}Z`, style: `fill:${colour};fill-opacity:.10` }));
        svg.append(s("path", { d: pathOf(line), style: `fill:none;stroke:${colour};stroke-width:2;stroke-linejoin:round` }));
        line.forEach(([cx, cy], i) => {
          const hot = from + i === shown;
          if (hot) svg.append(s("circle", { cx, cy, r: 9, style: `fill:${colour};fill-opacity:.22` }));
          svg.append(s("circle", { cx, cy, r: hot ? 5 : 4, class: "ml-point", style: `fill:${hot ? colour : "var(--ml-surface)"};stroke:${colour};stroke-width:1.6` }));
        });
      }
      from = to;
    }
    for (let i = 0; i < depth; i += 1) svg.append(label(middle(i), TOP + TALL + 17, i, { "text-anchor": "middle", class: i === shown ? "ml-ink ml-b" : "ml-ink2" }));
    svg.append(label(0, TOP + TALL + 17, "output"));
    if (shown !== null && open[shown]) {
      const text = coefficient[shown].toFixed(2);
      const up = coefficient[shown] < 0.72;
      const cy = heightOf(coefficient[shown]) + (up ? -30 : 13);
      svg.append(
        s("rect", { x: middle(shown) - 17, y: cy, width: 34, height: 17, rx: 4, style: "fill:var(--ml-ink)" }),
        label(middle(shown), cy + 12.5, text, { "text-anchor": "middle", class: "ml-on-ink" })
      );
    }
    picture.replaceChildren(svg);
    plot.style.width = `${scaled.width}px`;
    plot.style.height = `${HEIGHT}px`;
    plot.classList.toggle("ml-locked", !open.some(Boolean));
    const { source, home } = all[Math.min(cursor.at, depth - 1)];
    const name = sources[source].name;
    plot.setAttribute("aria-label", `Coefficient of output layer ${cursor.at}, ${name} ${home}`);
    plot.setAttribute("aria-valuenow", open[cursor.at] ? `${coefficient[cursor.at]}` : "1");
    plot.setAttribute("aria-valuetext", open[cursor.at] ? `${coefficient[cursor.at].toFixed(2)} of ${name}` : `${name}, kept whole`);
    const mean = meanOf(coefficient, open);
    dial.disabled = mean === null;
    if (!turned) dial.value = `${settle(mean ?? 1)}`;
    dial.style.setProperty("--ml-part", `${100 * Number(dial.value)}%`);
    say(value, mean === null ? "–" : (turned ? Number(dial.value) : mean).toFixed(2));
    const waits = method === "passthrough" ? "waits for a method that blends" : mean === null ? "waits for a slice of another source" : "";
    knob.title = waits;
  }
  return { root, plot, knob, draw };
}

// src/lib/outbox.js
function outbox(send, pause = 50) {
  let waiting = null;
  let timer;
  function post() {
    timer = void 0;
    if (!waiting) return;
    const edits = waiting;
    waiting = null;
    timer = setTimeout(post, pause);
    send(edits);
  }
  return {
    /** @param {Record<string, unknown>} edits */
    put(edits) {
      waiting = { ...waiting, ...edits };
      if (timer === void 0) post();
    },
    /** Send what waits, now: a pointer was lifted, Enter was pressed. */
    flush() {
      clearTimeout(timer);
      post();
    },
    get waiting() {
      return waiting !== null;
    }
  };
}

// src/lib/draft.js
var DIALS = (
  /** @type {const} */
  ["blocks", "coefficient", "method", "prompt"]
);
var HEARD = (
  /** @type {const} */
  ["answer", "status", "error", "_turn", "_answered"]
);
function draftOf(model, redraw, signal) {
  const box = outbox((edits) => {
    for (const [name, value] of Object.entries(edits)) model.set(
      /** @type {any} */
      name,
      /** @type {any} */
      value
    );
    model.set("_turn", model.get("_turn") + 1);
    model.save_changes();
  });
  let held = false;
  const touched = /* @__PURE__ */ new Set();
  const read = () => ({
    blocks: model.get("blocks"),
    coefficient: model.get("coefficient"),
    method: model.get("method"),
    prompt: model.get("prompt")
  });
  let dials = read();
  const current = () => !box.waiting && model.get("_answered") >= model.get("_turn");
  const adopt = () => {
    if (held || box.waiting) return;
    dials = read();
    redraw();
  };
  for (const name of DIALS) model.on(`change:${name}`, adopt);
  for (const name of HEARD) model.on(`change:${name}`, redraw);
  signal.addEventListener("abort", () => {
    box.flush();
    for (const name of DIALS) model.off(`change:${name}`, adopt);
    for (const name of HEARD) model.off(`change:${name}`, redraw);
  });
  return {
    get dials() {
      return dials;
    },
    get sources() {
      return model.get("_sources");
    },
    get answer() {
      return model.get("answer") ?? null;
    },
    get error() {
      return model.get("error") ?? "";
    },
    /** What the top bar and the answers are worth: of these dials, of earlier ones, or nothing yet. */
    get state() {
      const status = model.get("status");
      if (!current() || status === "loading") return model.get("answer") ? "draft" : "loading";
      return status === "failed" || status === "stopped" || status === "waiting" ? status : "exact";
    },
    /** Whether there is something to stop: the answer is on its way, or texts are still being written. */
    get writing() {
      return !current() || model.get("status") === "loading" || model.get("status") === "writing";
    },
    /** @param {Partial<Dials>} edits */
    edit(edits) {
      const changed = Object.entries(edits).filter(
        ([name, value]) => JSON.stringify(value) !== JSON.stringify(dials[
          /** @type {keyof Dials} */
          name
        ])
      );
      if (!changed.length) return;
      dials = { ...dials, ...edits };
      if (held) for (const [name] of changed) touched.add(
        /** @type {keyof Dials} */
        name
      );
      box.put(edits);
      redraw();
    },
    hold() {
      held = true;
    },
    release() {
      held = false;
      const won = [...touched].filter((name) => JSON.stringify(model.get(name)) !== JSON.stringify(dials[name]));
      touched.clear();
      if (won.length) box.put(Object.fromEntries(won.map((name) => [name, dials[name]])));
      box.flush();
      adopt();
      redraw();
    },
    flush: () => box.flush(),
    stop() {
      model.send({ type: "stop" });
    },
    /** The dials of the last answer, to go back to after a refusal. */
    putBack() {
      const made = model.get("answer")?.made;
      if (made) this.edit({ blocks: made.blocks, coefficient: made.coefficient, method: made.method });
      box.flush();
    }
  };
}

// src/lib/sources_view.js
var WIDE = 190;
var ROW = 22;
var fit = (name, wide) => name.length * 6.3 <= wide ? name : `${name.slice(0, Math.max(2, Math.floor(wide / 6.3) - 1))}…`;
function sourcesView(draft, id) {
  const columns = h("div", { class: "ml-columns" });
  const share = h("div", {}, h("div", { class: "ml-head ml-gap" }, h("h3", {}, "Share of the stack")));
  const shareOf = share.appendChild(h("div", { class: "ml-share" }));
  const root = h(
    "aside",
    { class: "ml-sources", "aria-label": "Sources" },
    h("div", { class: "ml-head" }, h("h3", {}, "Sources"), h("span", { class: "ml-mute" }, "layers in the stack")),
    columns,
    share
  );
  function draw() {
    const { sources, dials } = draft;
    const used = new Set(layersOf(dials.blocks).map(({ source, home }) => `${source}:${home}`));
    const gap = 4;
    const wide = Math.min(56, (WIDE - gap * (sources.length - 1)) / sources.length);
    const deepest = Math.max(...sources.map(({ layers }) => layers));
    const tall = Math.min(ROW, Math.max(6, 300 / deepest));
    const height = 38 + deepest * tall;
    const words = sources.map(({ name, layers }) => `${name}: ${layers} layers`).join(", ");
    const svg = s("svg", { width: WIDE, height, role: "img", "aria-label": words });
    sources.forEach(({ name, code, layers }, i) => {
      const x2 = i * (wide + gap);
      svg.append(block(id, i, x2, 0, wide, 5, 1.5));
      svg.append(s("g", {}, s("title", {}, name), label(x2, 19, fit(name, wide + 1), { class: "ml-ink ml-b" })));
      svg.append(label(x2, 32, code, { class: "ml-mono", style: `fill:var(${hue(i)}-text)` }));
      for (let l = 0; l < layers; l += 1) {
        const y = 38 + l * tall;
        const here = used.has(`${i}:${l}`);
        const cell = here ? block(id, i, x2, y, wide, tall - 2) : s("rect", { x: x2, y, width: wide, height: tall - 2, rx: 2, style: `fill:var(${hue(i)}-fill);opacity:.42` });
        svg.append(cell);
        if (tall >= 14) {
          const halo = here ? `paint-order:stroke;stroke:var(${hue(i)}-fill);stroke-width:3px` : "";
          svg.append(label(x2 + wide / 2, y + tall / 2 + 3, l, { class: here ? "ml-mono ml-ink" : "ml-mono", "text-anchor": "middle", style: halo }));
        }
      }
    });
    columns.replaceChildren(svg);
    share.hidden = dials.method === "ties";
    const shares = sharesOf(dials.blocks, dials.coefficient, dials.method, sources.length);
    const bar = s("svg", { width: WIDE, height: 14, "aria-hidden": "true" });
    const list = h("div", { class: "ml-shares" });
    let x = 0;
    shares.forEach((part, i) => {
      if (part < 5e-4) return;
      const long = part * WIDE;
      bar.append(block(id, i, x, 0, Math.max(1, long - 1.5), 14));
      x += long;
      list.append(h("div", {}, h("span", { style: `color:var(${hue(i)}-text)`, title: sources[i].name }, sources[i].name), h("b", {}, `${Math.round(part * 100)} %`)));
    });
    shareOf.replaceChildren(bar, list);
  }
  return { root, draw };
}

// src/lib/stack_view.js
var TOP2 = 44;
var TALL2 = 112;
var HEIGHT2 = TOP2 + TALL2 + 24;
var METHOD_WORDS = (
  /** @type {Record<string, string>} */
  {
    passthrough: "Pass",
    linear: "Linear",
    slerp: "Slerp",
    task_arithmetic: "Task arithmetic",
    ties: "TIES"
  }
);
var methodWord = (method) => METHOD_WORDS[method] ?? method;
function stackView({ draft, cursor, id, redraw, scale, announce, signal }) {
  const picture = h("div", { class: "ml-picture" });
  const options = h("div", { class: "ml-over" });
  const handles = h("div", { class: "ml-over" });
  const plot = h(
    "div",
    {
      class: "ml-plot ml-stack",
      tabindex: 0,
      role: "listbox",
      "aria-orientation": "horizontal",
      "aria-label": "Slices of the stack",
      "aria-describedby": `${id}-stack-keys`
    },
    picture,
    options,
    handles
  );
  const root = h(
    "div",
    { class: "ml-scroll" },
    plot,
    h(
      "p",
      { class: "ml-hidden", id: `${id}-stack-keys` },
      "Left and Right choose a layer. Up and Down give the slice to another source. Space picks up the nearest border. S splits in front of the layer. Delete removes the slice."
    )
  );
  const depths = () => draft.sources.map(({ layers }) => layers);
  const current = () => layersOf(draft.dials.blocks)[cursor.at]?.block ?? 0;
  function change(blocks, done, cannot = "") {
    if (!blocks) {
      announce(cannot);
      return;
    }
    const { blocks: before, coefficient } = draft.dials;
    draft.edit({ blocks, coefficient: refit(coefficient, before, blocks) });
    draft.flush();
    cursor.at = Math.min(cursor.at, layersOf(blocks).length - 1);
    announce(done);
    redraw();
  }
  const act = {
    /** @param {number} source */
    give(source) {
      const index = current();
      const { name, layers } = draft.sources[source];
      const range = rangeOf(draft.dials.blocks[index]);
      const cannot = `${name} has ${layers} layers, this slice needs layer ${draft.dials.blocks[index][2] - 1}.`;
      change(giveTo(draft.dials.blocks, index, source, depths()), `Slice ${index + 1} is now ${name} ${range}.`, cannot);
    },
    split() {
      change(splitAt(draft.dials.blocks, cursor.at), `Split in front of layer ${cursor.at}.`, "A slice starts here already.");
    },
    remove() {
      change(without(draft.dials.blocks, current()), "Slice removed.", "The last slice stays.");
    },
    current,
    canSplit: () => splitAt(draft.dials.blocks, cursor.at) !== null,
    canRemove: () => draft.dials.blocks.length > 1,
    /** @param {number} source */
    canGive: (source) => giveTo(draft.dials.blocks, current(), source, depths()) !== null
  };
  function step(by) {
    cursor.at = Math.min(layersOf(draft.dials.blocks).length - 1, Math.max(0, cursor.at + by));
    cursor.hover = null;
    redraw();
  }
  function nextSource(by) {
    const count2 = draft.sources.length;
    const from = draft.dials.blocks[current()][0];
    for (let i = 1; i < count2; i += 1) {
      const source = (from + by * i + count2 * i) % count2;
      if (act.canGive(source)) return act.give(source);
    }
    return announce("No other source is deep enough for this slice.");
  }
  function pickUp() {
    const borders = bordersOf(draft.dials.blocks).slice(1, -1);
    if (!borders.length) return announce("There is one slice, so no border. S splits it.");
    const near = borders.map((at) => Math.abs(at - cursor.at - 0.5));
    const handle = (
      /** @type {HTMLElement} */
      handles.children[near.indexOf(Math.min(...near))]
    );
    handle.focus();
    return announce("Border picked up. Left and Right move it, Enter drops it, Escape puts it back.");
  }
  onKeys(
    plot,
    {
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      Home: () => step(-Infinity),
      End: () => step(Infinity),
      ArrowUp: () => nextSource(-1),
      ArrowDown: () => nextSource(1),
      Space: pickUp,
      s: act.split,
      Delete: act.remove,
      Backspace: act.remove
    },
    signal
  );
  const px = (event) => event.clientX - plot.getBoundingClientRect().left;
  plot.addEventListener("pointermove", (event) => {
    const layer = scale().layerAt(px(event));
    if (layer !== cursor.hover) {
      cursor.hover = layer;
      redraw();
    }
  }, { signal });
  plot.addEventListener("pointerleave", () => {
    cursor.hover = null;
    redraw();
  }, { signal });
  plot.addEventListener("pointerdown", (event) => {
    if (
      /** @type {Element} */
      event.target.closest(".ml-border")
    ) return;
    cursor.at = scale().layerAt(px(event));
    redraw();
  }, { signal });
  let moving = null;
  function makeHandle(index) {
    const handle = h("div", { class: "ml-border", role: "slider", tabindex: -1, "aria-orientation": "horizontal" });
    let before = null;
    const move = (from, by) => draft.edit({ blocks: moveBorder(from, index, by, depths()) });
    onDrag(
      handle,
      (event) => {
        const start = draft.dials.blocks;
        const border = bordersOf(start)[index + 1];
        draft.hold();
        handle.focus({ preventScroll: true });
        moving = { index, px: px(event) };
        return {
          move(next) {
            moving = { index, px: px(next) };
            move(start, scale().borderAt(px(next)) - border);
            redraw();
          },
          end(kept) {
            moving = null;
            if (!kept) draft.edit({ blocks: start });
            draft.release();
            announce(`Border at layer ${bordersOf(draft.dials.blocks)[index + 1]}.`);
          }
        };
      },
      signal
    );
    handle.addEventListener("focus", () => before = draft.dials, { signal });
    const nudge = (by) => () => {
      move(draft.dials.blocks, by);
      draft.flush();
      announce(`Border at layer ${bordersOf(draft.dials.blocks)[index + 1]}.`);
    };
    onKeys(
      handle,
      {
        ArrowLeft: nudge(-1),
        ArrowRight: nudge(1),
        PageUp: nudge(-4),
        PageDown: nudge(4),
        Enter: () => plot.focus(),
        Space: () => plot.focus(),
        Escape: () => {
          if (before) draft.edit({ blocks: before.blocks });
          draft.flush();
          announce("Border put back.");
          plot.focus();
        }
      },
      signal
    );
    return handle;
  }
  function draw() {
    const { blocks, coefficient, method } = draft.dials;
    const { sources } = draft;
    const layers = layersOf(blocks);
    const borders = bordersOf(blocks);
    const scaled = scale();
    const { x, middle, column } = scaled;
    const chosen = current();
    const shown = cursor.hover ?? (plot.matches(":focus-within") ? cursor.at : null);
    const svg = s("svg", { width: scaled.width, height: HEIGHT2, "aria-hidden": "true" });
    if (shown !== null) svg.append(s("rect", { x: x(shown), y: 0, width: column, height: HEIGHT2, style: "fill:var(--ml-hover)" }));
    ["source", "and its", "layer"].forEach((words, i) => svg.append(label(0, TOP2 + 13 + 14 * i, words)));
    const uses = /* @__PURE__ */ new Map();
    for (const { source, home } of layers) uses.set(`${source}:${home}`, (uses.get(`${source}:${home}`) ?? 0) + 1);
    blocks.forEach((slice, index) => {
      const left = x(borders[index]) + 1.5;
      const wide = x(borders[index + 1]) - 1.5 - left;
      const strong = index === chosen;
      const whole = method === "passthrough" || slice[0] === 0 || layers.every((layer, i) => layer.block !== index || coefficient[i] === 1);
      const pill = whole ? "Pass" : methodWord(method);
      const pillWide = Math.min(wide, pill.length * 6.2 + 16);
      svg.append(
        s("path", {
          d: `M${left} ${TOP2 - 3}v-4h${wide}v4`,
          style: `fill:none;stroke:var(--ml-${strong ? "ink" : "line-firm"});stroke-width:${strong ? 1.5 : 1}`
        })
      );
      if (pill.length * 6.2 + 14 <= wide) {
        svg.append(
          s("rect", { x: left, y: 0, width: pillWide, height: 18, rx: 9, class: strong ? "ml-pill ml-strong" : "ml-pill" }),
          label(left + pillWide / 2, 13, pill, { class: strong ? "ml-on-ink" : "ml-ink", "text-anchor": "middle" })
        );
      }
      const { name, code } = sources[slice[0]];
      const long = `${name} ${rangeOf(slice)}`;
      const words = long.length * 6.1 <= wide ? long : `${code} ${rangeOf(slice)}`;
      svg.append(label(left, TOP2 - 11, words, { class: strong ? "ml-ink" : "ml-ink2" }));
    });
    layers.forEach(({ source, home }, i) => {
      const left = x(i) + 1.5;
      const wide = column - 3;
      const own = ownShare(source, coefficient[i], method);
      const parts = own === 1 ? [[source, 1]] : [[0, 1 - own], [source, own]];
      let y = TOP2;
      for (const [whose, share] of parts) {
        const tall = share * TALL2;
        if (tall > 1.5) svg.append(block(id, whose, left, y, wide, tall - (parts.length > 1 && whose === 0 ? 1.5 : 0)));
        if (tall > 14) {
          const stacked = column < 34;
          const at = y + (parts.length === 1 ? 17 : tall / 2 + 4);
          const halo = `paint-order:stroke;stroke:var(${hue(whose)}-fill);stroke-width:3px`;
          const text = s("text", { x: middle(i), y: at, "text-anchor": "middle", style: halo });
          text.append(s("tspan", { class: "ml-b", style: `fill:var(${hue(whose)}-text)` }, sources[whose].code));
          if (!stacked || parts.length === 1) {
            const place = stacked ? { x: middle(i), dy: 14 } : { dx: 3 };
            text.append(s("tspan", { ...place, class: "ml-b ml-ink" }, `${home}`));
          }
          svg.append(text);
        }
        y += tall;
      }
      const repeats = uses.get(`${source}:${home}`) ?? 1;
      if (repeats > 1) {
        svg.append(
          s("rect", { x: middle(i) - 11, y: TOP2 + TALL2 - 21, width: 22, height: 15, rx: 7.5, class: "ml-chip", style: `stroke:var(${hue(source)})` }),
          label(middle(i), TOP2 + TALL2 - 10, `×${repeats}`, { "text-anchor": "middle", class: "ml-ink" })
        );
      }
      svg.append(label(middle(i), TOP2 + TALL2 + 17, i, { "text-anchor": "middle", class: i === shown ? "ml-ink ml-b" : "ml-ink2" }));
    });
    svg.append(label(0, TOP2 + TALL2 + 17, "output"));
    picture.replaceChildren(svg);
    plot.style.width = `${scaled.width}px`;
    plot.style.height = `${HEIGHT2}px`;
    pool(options, blocks.length, (i) => h("div", { class: "ml-option", role: "option", id: `${id}-slice-${i}` })).forEach((option, i) => {
      const slice = blocks[i];
      const place = `output layers ${borders[i]} to ${borders[i + 1] - 1}`;
      option.setAttribute("aria-label", `Slice ${i + 1} of ${blocks.length}: ${sources[slice[0]].name} ${rangeOf(slice)}, ${place}`);
      option.setAttribute("aria-selected", `${i === chosen}`);
      option.style.cssText = `left:${x(borders[i])}px;width:${x(borders[i + 1]) - x(borders[i])}px;top:${TOP2}px;height:${TALL2}px`;
    });
    plot.setAttribute("aria-activedescendant", `${id}-slice-${chosen}`);
    pool(handles, blocks.length - 1, makeHandle).forEach((handle, i) => {
      const at = borders[i + 1];
      const [low, high] = [-Infinity, Infinity].map((by) => at + moveBorder(blocks, i, by, depths())[i][2] - blocks[i][2]);
      handle.setAttribute("aria-label", `Border between ${sources[blocks[i][0]].name} and ${sources[blocks[i + 1][0]].name}`);
      handle.setAttribute("aria-valuemin", `${low}`);
      handle.setAttribute("aria-valuemax", `${high}`);
      handle.setAttribute("aria-valuenow", `${at}`);
      handle.setAttribute("aria-valuetext", `in front of output layer ${at}`);
      const inHand = moving?.index === i;
      handle.classList.toggle("ml-held", inHand);
      const left = inHand && moving ? Math.min(x(high), Math.max(x(low), moving.px)) : x(at);
      handle.style.cssText = `left:${left - 8}px;top:${TOP2 - 3}px;height:${TALL2 + 6}px`;
    });
  }
  function caption(caption2) {
    const layers = layersOf(draft.dials.blocks);
    const seen = new Set(layers.map(({ source, home }) => `${source}:${home}`));
    const again = layers.length - seen.size;
    const slices = draft.dials.blocks.length;
    const repeats = again ? `; ${again} used again` : "";
    say(caption2, `${layers.length} output layers from ${slices} slice${slices === 1 ? "" : "s"}${repeats}`);
  }
  return { root, plot, draw, caption, act };
}

// src/lib/theme.js
function hostTheme(page = document) {
  const body = page.body;
  const html = page.documentElement;
  const jupyter = body.dataset.jpThemeLight;
  if (jupyter) return jupyter === "true" ? "light" : "dark";
  const code = body.dataset.vscodeThemeKind;
  if (code) return code.includes("dark") || code === "vscode-high-contrast" ? "dark" : "light";
  const named = html.dataset.theme ?? html.getAttribute("theme") ?? body.dataset.theme;
  if (named === "dark" || named === "light") return named;
  if (html.classList.contains("dark") || body.classList.contains("dark")) return "dark";
  return null;
}
function followTheme(root, signal) {
  const apply = () => {
    const theme = hostTheme();
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  const watch = new MutationObserver(apply);
  for (const element of [document.body, document.documentElement]) {
    watch.observe(element, {
      attributes: true,
      attributeFilter: ["class", "theme", "data-theme", "data-jp-theme-light", "data-vscode-theme-kind"]
    });
  }
  signal.addEventListener("abort", () => watch.disconnect());
  apply();
}

// src/lib/top_view.js
var STATES = (
  /** @type {Record<string, string>} */
  {
    loading: "Loading",
    draft: "Draft",
    exact: "Exact",
    failed: "Not built",
    stopped: "Stopped",
    waiting: "Waits"
  }
);
function topView(draft, signal) {
  const title = h("div", { class: "ml-title" });
  const under = h("div", { class: "ml-under" });
  const counts = h("div", { class: "ml-counts" });
  const light = h("span", { class: "ml-light", "aria-hidden": "true" });
  const state = h("b", { role: "status" });
  const detail = h("span", { class: "ml-detail" });
  const stop = h("button", { class: "ml-button", type: "button" }, icon("stop"), "Stop");
  stop.addEventListener("click", () => draft.stop(), { signal });
  const root = h(
    "header",
    { class: "ml-top" },
    h("div", { class: "ml-name" }, title, under),
    counts,
    h("div", { class: "ml-state" }, light, h("div", {}, state, detail)),
    stop
  );
  function sentence() {
    const { answer, sources } = draft;
    switch (draft.state) {
      case "loading":
        return `opening ${sources.length} model${sources.length === 1 ? "" : "s"}`;
      case "failed":
        return "see the message below";
      case "waiting":
        return "for a prompt";
      case "stopped":
        return "at your word";
      case "draft":
        return answer ? `exact in about ${seconds(Math.max(answer.seconds, 1e-3))}` : "";
      default:
        return answer ? `redone ${answer.redone} of ${answer.steps} steps, ${seconds(answer.seconds)}` : "";
    }
  }
  function draw() {
    const { answer, dials, sources } = draft;
    const words = titleOf(dials.blocks, sources.map(({ name }) => name));
    say(title, words);
    title.title = words;
    say(under, `${methodWord(dials.method)}, over ${sources[0].name}`);
    const figures = [
      [answer ? `${answer.layers}` : "–", "layers"],
      [answer ? count(answer.parameters) : "–", "parameters"],
      [answer ? bytes(answer.bytes) : "–", "on disk"]
    ];
    pool(counts, figures.length, () => h("div", {}, h("b", {}), h("span", {}))).forEach((cell, i) => {
      say(cell.children[0], figures[i][0]);
      say(cell.children[1], figures[i][1]);
    });
    light.dataset.state = draft.state;
    say(state, STATES[draft.state]);
    say(detail, sentence());
    stop.disabled = !draft.writing;
  }
  return { root, draw };
}

// src/workbench.js
var views = 0;
function render({ model, el, signal: outer }) {
  const over = new AbortController();
  const { signal } = over;
  outer?.addEventListener("abort", () => over.abort(), { once: true });
  const id = `ml-${views += 1}-${Math.random().toString(36).slice(2, 8)}`;
  const spoken = h("div", { class: "ml-hidden", role: "status", "aria-live": "polite" });
  const announce = (words) => say(spoken, words);
  let width = 0;
  let frame = 0;
  const redraw = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  };
  const draft = draftOf(model, redraw, signal);
  const cursor = { at: 0, hover: null };
  const guest = layersOf(draft.dials.blocks).findIndex(({ block: block2 }) => block2 === 1);
  cursor.at = Math.max(0, guest);
  const scale = () => scaleOf(width || 612, layersOf(draft.dials.blocks).length);
  const top = topView(draft, signal);
  const sources = sourcesView(draft, id);
  const stack = stackView({ draft, cursor, id, redraw, scale, announce, signal });
  const curve = curveView({ draft, cursor, id, redraw, scale, signal });
  const answers = answersView(draft, model.get("_prompts"), id, signal);
  const sliceName = h("span", { class: "ml-slice-name" });
  const givers = draft.sources.map(({ name, code }, source) => {
    const radio = h("input", { type: "radio", name: `${id}-source`, value: source, "aria-label": `Take this slice from ${name}` });
    radio.addEventListener("change", () => stack.act.give(source), { signal });
    return { radio, root: h("label", { class: "ml-giver", title: name }, radio, swatch(id, source, 11), h("span", {}, code)) };
  });
  const split = h("button", { class: "ml-button ml-small", type: "button", title: "Split in front of the chosen layer (S)" }, icon("split"), "Split");
  const remove = h("button", { class: "ml-button ml-small", type: "button", title: "Remove this slice (Delete)" }, icon("remove"), "Remove");
  split.addEventListener("click", () => stack.act.split(), { signal });
  remove.addEventListener("click", () => stack.act.remove(), { signal });
  const slice = h(
    "div",
    { class: "ml-slice", role: "group", "aria-label": "Chosen slice" },
    sliceName,
    h("span", { class: "ml-givers", role: "radiogroup", "aria-label": "Source of the slice" }, ...givers.map(({ root: giver }) => giver)),
    h("span", { class: "ml-edits" }, split, remove)
  );
  const errorText = h("div", { class: "ml-error-text" });
  const putBack = h("button", { class: "ml-button ml-small", type: "button" }, "Put back");
  putBack.addEventListener("click", () => draft.putBack(), { signal });
  const error = h("div", { class: "ml-error", role: "alert" }, icon("cross"), errorText, putBack);
  const method = h("select", { class: "ml-select", "aria-label": "Method" });
  for (const name of model.get("_methods")) method.append(h("option", { value: name }, methodWord(name)));
  method.addEventListener("change", () => {
    draft.edit({ method: method.value });
    draft.flush();
  }, { signal });
  const stackNote = h("span", { class: "ml-mute" });
  const middle = h(
    "section",
    { class: "ml-middle", "aria-label": "Stack and coefficient" },
    h("div", { class: "ml-head" }, h("h3", {}, "Stack"), stackNote),
    stack.root,
    slice,
    error,
    h("div", { class: "ml-head ml-gap" }, h("h3", {}, "Coefficient over depth"), curve.knob, method),
    curve.root
  );
  const root = h(
    "div",
    { class: "ml-root", "data-lm-suppress-shortcuts": "true", "data-jp-suppress-context-menu": "true" },
    patterns(id),
    top.root,
    h("div", { class: "ml-main" }, sources.root, middle, answers.root),
    spoken
  );
  const wrap = h("div", { class: "ml-wrap" }, root);
  for (const [one, other] of [[stack.root, curve.root], [curve.root, stack.root]]) {
    one.addEventListener("scroll", () => {
      if (other.scrollLeft !== one.scrollLeft) other.scrollLeft = one.scrollLeft;
    }, { signal });
  }
  for (const change of ["focusin", "focusout"]) root.addEventListener(change, redraw, { signal });
  onKeys(root, { "Mod+Enter": () => draft.flush(), ".": () => draft.stop(), m: () => method.focus() }, signal);
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && draft.error) draft.putBack();
    event.stopPropagation();
  }, { signal });
  function draw() {
    const { dials, sources: all } = draft;
    const depth = layersOf(dials.blocks).length;
    cursor.at = Math.min(cursor.at, depth - 1);
    if (cursor.hover !== null) cursor.hover = Math.min(cursor.hover, depth - 1);
    root.dataset.state = draft.state;
    top.draw();
    sources.draw();
    stack.draw();
    stack.caption(stackNote);
    curve.draw();
    answers.draw();
    const chosen = stack.act.current();
    const block2 = dials.blocks[chosen];
    say(sliceName, `${all[block2[0]].name} ${rangeOf(block2)}`);
    givers.forEach(({ radio, root: giver }, source) => {
      radio.checked = source === block2[0];
      radio.disabled = !stack.act.canGive(source);
      giver.classList.toggle("ml-on", radio.checked);
      giver.classList.toggle("ml-off", radio.disabled);
    });
    split.disabled = !stack.act.canSplit();
    remove.disabled = !stack.act.canRemove();
    if (method.value !== dials.method) method.value = dials.method;
    error.hidden = !draft.error;
    say(errorText, draft.error);
    putBack.hidden = !draft.answer;
  }
  const size = new ResizeObserver(() => {
    const inner = middle.clientWidth - 2 * Number.parseFloat(getComputedStyle(middle).paddingLeft || "0");
    if (inner > 0 && Math.abs(inner - width) >= 1) {
      width = inner;
      redraw();
    }
  });
  signal.addEventListener("abort", () => {
    size.disconnect();
    cancelAnimationFrame(frame);
    wrap.remove();
  });
  followTheme(root, signal);
  el.append(wrap);
  size.observe(middle);
  draw();
  return () => over.abort();
}
var workbench_default = { render };
export {
  workbench_default as default
};
