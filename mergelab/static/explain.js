/* mergelab widgets, built from widgets/src by esbuild 0.28.2; sources 9b95e733bc42593f */

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

// src/lib/swatches.js
var COLOURS = 5;
function hue(source) {
  return `--ml-s${source % COLOURS}`;
}

// src/lib/dials_view.js
var shownAs = (value, unset) => typeof value === "number" ? `${Number(value.toFixed(3))}`.replace("-", "−") : unset;
function dialsView(edit, signal) {
  const root = h("fieldset", { class: "ml-numbers" });
  let dials = [];
  let layout = "";
  let setters = [];
  function turn(at, model, value) {
    dials[at].values[model] = value;
    const { place, name } = dials[at];
    if (place === "trait") return edit({ [name]: value });
    const numbers = dials.filter((one) => one.place === "numbers" && one.values.every((each) => each !== null));
    edit({ numbers: Object.fromEntries(numbers.map((one) => [one.name, one.perModel ? [...one.values] : one.values[0]])) });
  }
  function control(dial, at, names) {
    if (dial.kind === "bool") {
      const input = h("input", { type: "checkbox", "aria-label": dial.name });
      input.addEventListener("change", () => turn(at, 0, input.checked), { signal });
      setters[at] = [(value) => input.checked = value === true];
      return { beside: input, below: [] };
    }
    if (dial.kind === "str") {
      const select = h("select", { class: "ml-select", "aria-label": dial.name });
      for (const word of dial.choices) select.append(h("option", { value: word }, word));
      select.addEventListener("change", () => turn(at, 0, select.value), { signal });
      setters[at] = [(value) => select.value = `${value}`];
      return { beside: select, below: [] };
    }
    const rows = dial.values.map((_, model) => {
      const { low: min, high: max, step } = dial;
      const who = dial.perModel ? names[model] : "";
      const range = h("input", { type: "range", class: "ml-range", min, max, step, "aria-label": `${dial.name}${who ? ` of ${who}` : ""}` });
      const output = h("output");
      const paint = (value) => {
        range.style.setProperty("--ml-part", `${100 * (Number(range.value) - min) / (max - min)}%`);
        range.classList.toggle("ml-unset", value === null);
        say(output, shownAs(value, dial.unset));
      };
      range.addEventListener("input", () => {
        paint(Number(range.value));
        turn(at, model, Number(range.value));
      }, { signal });
      setters[at][model] = (value) => {
        if (value !== null) range.value = `${value}`;
        paint(value);
      };
      const name = h("span", { style: dial.perModel ? `color:var(${hue(model + 1)}-text);font-weight:600` : "" }, who);
      return h("label", { class: "ml-turned" }, name, range, output);
    });
    return { beside: "", below: rows };
  }
  return {
    root,
    /** @param {boolean} away the dials of another method are on their way: what is turned now would be meant for none */
    lock(away) {
      root.disabled = away;
    },
    /** @param {Dial[]} given @param {string[]} names of the models */
    draw(given, names) {
      dials = structuredClone(given);
      const now = JSON.stringify([names, dials.map(({ values, ...rest }) => [rest, values.length])]);
      if (now !== layout) {
        layout = now;
        setters = dials.map(() => []);
        root.replaceChildren(
          ...dials.map((dial, at) => {
            const { beside, below } = control(dial, at, names);
            const name = h("div", { class: "ml-number-name" }, h("span", {}, dial.name), beside);
            return h("div", { class: "ml-number" }, name, h("div", { class: "ml-number-doc" }, dial.doc), ...below);
          })
        );
      }
      dials.forEach((dial, at) => dial.values.forEach((value, model) => setters[at][model](value)));
    }
  };
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

// src/lib/stages_view.js
var WIDE = 560;
var TALL = 72;
var GUTTER = 30;
var NUMBERED = 14;
var figure = (value) => value === null ? "not a number" : `${Number(value.toFixed(2))}`.replace("-", "−");
var colourOf = (model) => `var(${hue(model + 1)})`;
var colour = (stage, model) => stage.each ? colourOf(model) : "var(--ml-merged)";
var whose = (names, stage, model) => stage.each ? names[model] : "merged";
function bars(stage, before, base, limit, names, last) {
  const count = stage.rows.length;
  const places = stage.rows[0].length;
  const column = (WIDE - GUTTER) / places;
  const thick = Math.min(count > 1 ? 10 : 16, (column - 12) / count);
  const y = (value) => TALL / 2 - Math.max(-limit, Math.min(limit, value)) / limit * (TALL / 2 - 3);
  const ghosts = before?.each === stage.each && before.rows.length === count && before.rows[0].length === places && before.change === stage.change;
  const svg = s("svg", { viewBox: `0 0 ${WIDE} ${TALL + (last ? NUMBERED : 0)}`, role: "img" });
  const words = stage.rows.map((row, model) => `${whose(names, stage, model)}: ${row.map(figure).join(", ")}`);
  svg.setAttribute("aria-label", `${stage.name}. ${words.join("; ")}`);
  svg.append(label(GUTTER - 8, 9, figure(limit), { "text-anchor": "end" }));
  svg.append(label(GUTTER - 8, TALL / 2 + 4, "0", { "text-anchor": "end" }));
  svg.append(s("line", { class: "ml-zero", x1: GUTTER, x2: WIDE, y1: TALL / 2, y2: TALL / 2 }));
  for (let place = 0; place < places; place += 1) {
    const left = GUTTER + place * column + (column - count * thick) / 2;
    const told = stage.rows.map((row, model) => `${whose(names, stage, model)} ${figure(row[place])}`).join(", ");
    const group = s("g", {}, s("title", {}, `number ${place + 1}: ${told}`));
    group.append(s("rect", { class: "ml-over-column", x: GUTTER + place * column, y: 0, width: column, height: TALL }));
    stage.rows.forEach((row, model) => {
      const x = left + model * thick;
      const was = ghosts ? before.rows[model][place] : null;
      const now = row[place];
      const rect = (value) => ({
        x: x + 0.5,
        y: Math.min(y(value), y(0)),
        width: Math.max(1, thick - 1.5),
        height: Math.abs(y(value) - y(0))
      });
      if (was !== null && was !== now) group.append(s("rect", { class: "ml-was", ...rect(was) }));
      if (now === null) group.append(label(x + thick / 2, TALL / 2 - 4, "×", { "text-anchor": "middle", class: "ml-ink" }));
      else if (now === 0) group.append(s("circle", { cx: x + thick / 2, cy: y(0), r: 1.6, style: `fill:${colour(stage, model)}` }));
      else group.append(s("rect", { ...rect(now), rx: 1, style: `fill:${colour(stage, model)}` }));
    });
    if (!stage.change && base && base.length === places) {
      group.append(s("line", { class: "ml-at-base", x1: left - 3, x2: left + count * thick + 3, y1: y(base[place]), y2: y(base[place]) }));
    }
    svg.append(group);
    if (last) svg.append(label(GUTTER + (place + 0.5) * column, TALL + 11, place + 1, { "text-anchor": "middle" }));
  }
  return svg;
}
function stagesView() {
  const key = h("div", { class: "ml-key" });
  const list = h("div", { class: "ml-stages" });
  const axis = h("p", { class: "ml-axis-words" });
  const root = h("section", { "aria-label": "Step by step" }, h("div", { class: "ml-head" }, h("h3", {}, "Step by step"), key), list, axis);
  return {
    root,
    /** @param {{ names: string[], base: number[] | null, limit: number, stages: Stage[] }} shown */
    draw({ names, base, limit, stages }) {
      const swatch = (style, words, kind = "") => h("span", {}, h("i", { style, class: kind }), words);
      key.replaceChildren(
        ...names.map((name, model) => swatch(`background:${colourOf(model)}`, name)),
        swatch("background:var(--ml-merged)", "merged"),
        ...base ? [swatch("", "base", "ml-at-base")] : [],
        swatch("", "step before", "ml-was")
      );
      list.replaceChildren(
        ...stages.map((stage, at) => {
          const words = h("div", {}, h("h4", {}, stage.name), h("p", {}, stage.doc));
          return h("div", { class: "ml-stage" }, words, bars(stage, stages[at - 1], base, limit, names, at === stages.length - 1));
        })
      );
      say(axis, `Ten numbers of one tensor, 2 rows of 5, from left to right. First and last step: their values${base ? "; between them: change against base" : ""}. Height: −${figure(limit)} to ${figure(limit)}. A dot is zero.`);
    }
  };
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

// src/explain.js
function render({ model, el, signal: outer }) {
  const over = new AbortController();
  const { signal } = over;
  outer?.addEventListener("abort", () => over.abort(), { once: true });
  const box = outbox((edits) => {
    for (const [name, value] of Object.entries({ ...edits, _turn: model.get("_turn") + 1 })) model.set(
      /** @type {keyof State} */
      name,
      /** @type {any} */
      value
    );
    model.save_changes();
  });
  const edit = (edits) => box.put(edits);
  const method = h("select", { class: "ml-select", "aria-label": "Method" });
  for (const name of model.get("_methods")) method.append(h("option", { value: name }, name));
  method.addEventListener("change", () => {
    edit({ method: method.value, numbers: {} });
    lock();
  }, { signal });
  const does = h("p", { class: "ml-does" });
  const reset = h("button", { class: "ml-button ml-small", type: "button" }, "Reset");
  reset.addEventListener("click", () => edit({ numbers: {} }), { signal });
  const dials = dialsView(edit, signal);
  const stages = stagesView();
  const errorText = h("div", { class: "ml-error-text" });
  const error = h("div", { class: "ml-error", role: "alert" }, icon("cross"), errorText);
  const root = h(
    "div",
    { class: "ml-root", "data-lm-suppress-shortcuts": "true" },
    h(
      "div",
      { class: "ml-explain" },
      h(
        "section",
        { class: "ml-turn", "aria-label": "Method and its numbers" },
        h("div", { class: "ml-method" }, method, reset),
        does,
        dials.root,
        error
      ),
      stages.root
    )
  );
  root.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
  let drawn = "";
  const lock = () => dials.lock(method.value !== model.get("_shown").method);
  function draw() {
    const shown = model.get("_shown");
    const wrong = model.get("error");
    say(does, shown.summary);
    stages.draw(shown);
    if (!box.waiting && shown.turn >= model.get("_turn") && (!wrong || shown.method !== drawn)) {
      method.value = drawn = shown.method;
      dials.draw(shown.dials, shown.names);
    }
    lock();
    root.dataset.state = wrong ? "stale" : "exact";
    error.hidden = !wrong;
    say(errorText, wrong);
  }
  for (
    const name of
    /** @type {const} */
    ["_shown", "error"]
  ) {
    model.on(`change:${name}`, draw);
    signal.addEventListener("abort", () => model.off(`change:${name}`, draw));
  }
  const wrap = h("div", { class: "ml-wrap" }, root);
  signal.addEventListener("abort", () => {
    box.flush();
    wrap.remove();
  });
  followTheme(root, signal);
  el.append(wrap);
  draw();
  return () => over.abort();
}
var explain_default = { render };
export {
  explain_default as default
};
