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

// src/lib/inspection.js
var MANY = (
  /** @type {const} */
  { pair: "pairs", statistic: "statistics", source: "sources", prompt: "prompts" }
);
function unanswered(turned, dials) {
  const open = Object.entries(turned).filter(([name, value]) => {
    if (name === "density") return dials.density?.value !== value;
    return !dials[MANY[
      /** @type {keyof typeof MANY} */
      name
    ]]?.some(({ id, chosen }) => chosen && id === value);
  });
  return Object.fromEntries(open);
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

// src/lib/axis.js
function axisOf(gutter, width, count, right = 0) {
  const column = Math.max(1, width - gutter - right) / Math.max(1, count);
  return {
    gutter,
    column,
    count,
    end: gutter + column * count,
    /** Left edge. @param {number} i */
    x: (i) => gutter + i * column,
    /** @param {number} i */
    middle: (i) => gutter + (i + 0.5) * column,
    /** The column under px, held inside. @param {number} px */
    at: (px) => Math.min(count - 1, Math.max(0, Math.floor((px - gutter) / column)))
  };
}
function strideOf(column, wide) {
  for (let ten = 1; ; ten *= 10) {
    for (const step of [1, 2, 5]) if (step * ten * column >= wide) return step * ten;
  }
}
function ticksOf([low, high], log) {
  if (!log) {
    const raw = (high - low) / 4;
    const ten = 10 ** Math.floor(Math.log10(raw));
    const step = ten * ([1, 2, 5, 10].find((each) => each * ten >= raw) ?? 10);
    const first = Math.ceil(low / step - 1e-9);
    const last = Math.floor(high / step + 1e-9);
    return { major: Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12))), minor: [] };
  }
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / 6));
  const major = [];
  const minor = [];
  for (let exponent = Math.floor(Math.log10(low)); exponent <= Math.ceil(Math.log10(high)); exponent += 1) {
    for (let digit = 1; digit < 10; digit += 1) {
      const value = Number((digit * 10 ** exponent).toPrecision(6));
      if (value < low * 0.999999 || value > high * 1.000001) continue;
      if (digit === 1 ? exponent % every === 0 : decades < 3 && (digit === 3 || decades < 1 && (digit === 2 || digit === 5))) major.push(value);
      else if (decades < 4) minor.push(value);
    }
  }
  return { major, minor };
}
function apart(wished, gap, low, high) {
  const order = wished.map((_, i) => i).sort((a, b) => wished[a] - wished[b]);
  const placed = order.map((i) => Math.min(high, Math.max(low, wished[i])));
  for (let round = 0; round < 8; round += 1) {
    for (let i = 1; i < placed.length; i += 1) {
      const short = gap - (placed[i] - placed[i - 1]);
      if (short > 0) {
        placed[i - 1] -= short / 2;
        placed[i] += short / 2;
      }
    }
  }
  for (let i = 0; i < placed.length; i += 1) placed[i] = Math.max(placed[i], i ? placed[i - 1] + gap : low);
  for (let i = placed.length - 1; i >= 0; i -= 1) placed[i] = Math.min(placed[i], i < placed.length - 1 ? placed[i + 1] - gap : high);
  const out = [...wished];
  order.forEach((i, rank) => out[i] = placed[rank]);
  return out;
}

// src/lib/marks.js
function sheetsOf(svg, count) {
  const shown = Array(count).fill("");
  const groups = shown.map(() => s("g", {}));
  svg.append(...groups);
  return (i, what, make) => {
    const now = JSON.stringify(what);
    if (now === shown[i]) return;
    shown[i] = now;
    groups[i].replaceChildren(...make());
  };
}
function layerNumbers(columns, axis, y, runs, spot, ruler) {
  const widest = Math.max(...columns.map((each) => ruler.width(each, { bold: true })), 6) + 8;
  const stride = strideOf(axis.column, widest);
  const inside = (i) => runs.some(([from, to]) => from <= i && i <= to);
  const ends = runs.flat();
  const group = s("g", {}, label(axis.gutter - 8, y, "layer", { "text-anchor": "end" }));
  const standing2 = columns.map((_, i) => i).filter((i) => i % stride === 0);
  const wanted = stride > 1 ? [...spot === null ? [] : [spot], ...ends] : [];
  const kept = [];
  for (const i of [...wanted, ...standing2]) {
    if (kept.every((each) => each === i ? false : Math.abs(each - i) * axis.column >= widest)) kept.push(i);
  }
  for (const i of kept) {
    const strong = i === spot || inside(i);
    group.append(label(axis.middle(i), y, columns[i], { "text-anchor": "middle", class: strong ? "ml-ink ml-b" : "" }));
  }
  return group;
}
function selected(axis, runs, height, { grips, veil }) {
  const group = s("g", {});
  if (!runs.length) return group;
  if (veil) {
    const edges = [0, ...runs.flatMap(([from, to]) => [from, to + 1]), axis.count];
    for (let i = 0; i < edges.length; i += 2) {
      const width = axis.x(edges[i + 1]) - axis.x(edges[i]);
      if (width > 0) group.append(s("rect", { x: axis.x(edges[i]), y: 0, width, height, class: "ml-veil" }));
    }
  }
  for (const [from, to] of runs) {
    const box = { x: axis.x(from), y: -0.5, width: axis.x(to + 1) - axis.x(from), height: height + 1, rx: 3 };
    group.append(s("rect", { ...box, class: veil ? "ml-chosen" : "ml-chosen ml-filled" }));
    if (!grips || box.width < 16) continue;
    for (const x of [axis.x(from), axis.x(to + 1)]) {
      group.append(s("rect", { x: x - 3, y: height / 2 - 10, width: 6, height: 20, rx: 3, class: "ml-grip" }));
    }
  }
  return group;
}
function chip(x, top, bottom, words, room, ruler) {
  const width = ruler.width(words, { bold: true }) + 14;
  const left = Math.max(room[0], Math.min(room[1] - width, x - width / 2));
  const y = top >= 18 ? top - 22 : bottom + 4;
  return s(
    "g",
    {},
    s("rect", { x: left, y, width, height: 18, rx: 4, class: "ml-value-chip" }),
    label(left + width / 2, y + 12.7, words, { "text-anchor": "middle", class: "ml-on-ink" })
  );
}

// src/lib/panels.js
function decoded(text) {
  const letters = atob(text);
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
}
function unpack(packed) {
  if (!packed) return { rows: 0, columns: 0, at: () => Number.NaN };
  const [rows, columns] = packed.shape;
  const numbers = new Float32Array(bytesOf(packed).slice().buffer, 0, rows * columns);
  return { rows, columns, at: (row, column) => row < rows && column < columns ? numbers[row * columns + column] : Number.NaN };
}
function bytesOf({ view }) {
  return typeof view === "string" ? decoded(view) : new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
function alike(one, other) {
  if (JSON.stringify(one) !== JSON.stringify(other)) return false;
  const buffers = (panel) => [panel.values, panel.band?.low, panel.band?.high, panel.chanceband?.low, panel.chanceband?.high].flatMap((each) => each && typeof each === "object" ? [bytesOf(each)] : []);
  const others = buffers(other);
  return buffers(one).every((bytes, i) => bytes.length === others[i]?.length && bytes.every((byte, at) => byte === others[i][at]));
}
function boundOf(bound2) {
  return typeof bound2 === "number" ? () => bound2 : unpack(bound2).at;
}
function againstChance({ chanceband }, values) {
  if (!chanceband) return () => null;
  const [lows, highs] = [boundOf(chanceband.low), boundOf(chanceband.high)];
  return (row, column) => {
    const [value, low, high] = [values.at(row, column), lows(row, column), highs(row, column)];
    return [value, low, high].some(Number.isNaN) ? null : { low, high, outside: value < low || value > high };
  };
}
function layerOf(column) {
  return /^\d+$/.test(column) ? Number(column) : null;
}
function extentOf(values) {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let row = 0; row < values.rows; row += 1) {
    for (let column = 0; column < values.columns; column += 1) {
      const value = values.at(row, column);
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return low <= high ? [low, high] : null;
}
function rangeOf(panel, values) {
  const [least, most] = extentOf(values) ?? [panel.scale === "log" ? 1 : 0, 1];
  let low = panel.low ?? (panel.scale === "linear" ? Math.min(0, least) : least);
  let high = panel.high ?? most;
  if (panel.scale === "diverging") {
    const reach = Math.max(high - panel.middle, panel.middle - low) || 1;
    return [panel.middle - reach, panel.middle + reach];
  }
  if (panel.scale === "log") {
    low = Math.max(low, high * 1e-6, 1e-30);
    high = Math.max(high, low * 1.001);
  }
  return high > low ? [low, high] : [low, low + 1];
}
function placeOf(value, [low, high], scale) {
  if (Number.isNaN(value)) return Number.NaN;
  const place = scale === "log" ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
  return Math.min(1, Math.max(0, place));
}

// src/lib/quantity.js
var THIN = " ";
function figures(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 5e-4) {
    const [digits, power] = size.toExponential(1).split("e");
    return `${digits}·10${[...`${Number(power)}`].map((each) => each === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(each)]).join("")}`;
  }
  if (size >= 100) return size.toFixed(0);
  return size.toFixed(size >= 10 ? 1 : size >= 0.095 ? 2 : 3);
}
function bare(value) {
  return `${value < 0 ? "−" : ""}${Math.abs(value) >= 1e6 || value !== 0 && Math.abs(value) < 5e-4 ? figures(value) : Number(Math.abs(value).toPrecision(3))}`;
}
function withUnit(words, unit) {
  if (unit === "1" || unit === "") return words;
  if (unit === "x" || unit.startsWith("x ")) return `${words}×`;
  return `${words}${THIN}${unit}`;
}
function quantity(value, panel) {
  if (Number.isNaN(value)) return "no value";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "−infinite";
  const signed = panel.scale === "diverging" && panel.middle === 0;
  const words = figures(value);
  const zero = Number(words) === 0;
  return withUnit(`${zero ? "" : value < 0 ? "−" : signed ? "+" : ""}${words}`, panel.unit);
}
function bound(value, panel) {
  const signed = panel.scale === "diverging" && panel.middle === 0 && value > 0;
  return withUnit(`${signed ? "+" : ""}${bare(value)}`, panel.unit);
}
function withChance(value, panel, against) {
  const words = quantity(value, panel);
  if (!against) return words;
  return `${words}, ${against.outside ? "outside" : "within"} chance ${bare(against.low)} to ${bound(against.high, panel)}`;
}

// src/lib/ramp.js
var STEPS = 256;
var DIVERGING = ["--ml-div-neg-2", "--ml-div-neg-1", "--ml-div-zero", "--ml-div-pos-1", "--ml-div-pos-2"];
var SEQUENTIAL = ["--ml-seq-0", "--ml-seq-1", "--ml-seq-2"];
var linear = (value) => value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
var coded = (value) => 255 * Math.min(1, Math.max(0, value <= 31308e-7 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));
function toLab([red, green, blue]) {
  const [r, g, b] = [linear(red), linear(green), linear(blue)];
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s2 = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s2,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s2,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s2
  ];
}
function fromLab([light, a, b]) {
  const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s2 = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    coded(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s2),
    coded(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s2),
    coded(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s2)
  ];
}
function steps(stops) {
  const labs = stops.map(toLab);
  const table = new Uint8ClampedArray(STEPS * 4);
  for (let step = 0; step < STEPS; step += 1) {
    const along = step / (STEPS - 1) * (labs.length - 1);
    const from = Math.min(labs.length - 2, Math.floor(along));
    const part = along - from;
    const mixed = (
      /** @type {Lab} */
      labs[from].map((value, i) => value + part * (labs[from + 1][i] - value))
    );
    table.set([...fromLab(mixed).map(Math.round), 255], step * 4);
  }
  return table;
}
var stepOf = (place) => Math.round(place * (STEPS - 1));
function coloursOf(root, tokens) {
  const probe = document.createElement("i");
  probe.hidden = true;
  root.append(probe);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const colours = tokens.map((token) => {
    probe.style.color = `var(${token})`;
    if (!context) return (
      /** @type {Colour} */
      [0, 0, 0]
    );
    context.fillStyle = getComputedStyle(probe).color;
    context.fillRect(0, 0, 1, 1);
    const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
    return (
      /** @type {Colour} */
      [red, green, blue]
    );
  });
  probe.remove();
  return colours;
}
function rampsOf(root) {
  const [hatch, blank, surface] = coloursOf(root, ["--ml-line-firm", "--ml-sunk", "--ml-surface"]);
  return { diverging: steps(coloursOf(root, DIVERGING)), sequential: steps(coloursOf(root, SEQUENTIAL)), hatch, blank, surface };
}

// src/lib/heat_view.js
var ROW = 17;
var LINES = 28;
var STRETCHED = 56;
var TALLEST = 420;
var GAP = 5;
var FOOT = 20;
var DIVIDED = 7;
var PALE = 0.18;
function rowsOf(names, grouped, twofold = false, room = 0) {
  const count = Math.max(1, names.length);
  const usual = twofold ? LINES : ROW;
  const group = (name) => name.slice(0, Math.max(0, name.lastIndexOf(".")));
  const parted = (row) => row > 0 && grouped && count * usual <= TALLEST && group(names[row]) !== group(names[row - 1]);
  const gaps = GAP * names.filter((_, row) => parted(row)).length;
  const least = Math.max(2, Math.min(usual, TALLEST / count));
  const tall = Math.max(least, Math.min(STRETCHED, (room - gaps) / count));
  const tops = [];
  let y = 0;
  names.forEach((_, row) => {
    if (parted(row)) y += GAP;
    tops.push(y);
    y += tall;
  });
  return {
    tall,
    tops,
    height: y,
    /** The row under py, held inside. @param {number} py */
    at: (py) => Math.max(0, tops.filter((top) => py >= top).length - 1)
  };
}
function linesOf(name, fits) {
  if (fits(name)) return [name];
  const breaks = [...name.matchAll(/[._]/g)].map(({ index }) => index + 1).filter((at) => at < name.length);
  const good = breaks.filter((at) => fits(name.slice(0, at)) && fits(name.slice(at))).at(-1);
  return good === void 0 ? [name] : [name.slice(0, good), name.slice(good)];
}
function heatPicture() {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const svg = s("svg", { "aria-hidden": "true" });
  const root = h("div", { class: "ml-picture" }, canvas, svg);
  const cells = document.createElement("canvas");
  const sheet = sheetsOf(svg, 4);
  let drawn = 0;
  function namesOf(panel, width, ruler) {
    const mono = panel.kind === "tokens";
    const face = { mono, bold: true };
    const widest = Math.max(...panel.rows.map((each) => ruler.width(each, face)), 0);
    const gutter = Math.min(Math.max(50, widest + 12), 0.36 * width);
    const room = gutter - 10;
    const roomy = !mono && panel.rows.length * LINES <= TALLEST;
    const names = panel.rows.map((each) => (roomy ? linesOf(each, (words) => ruler.width(words, face) <= room) : [each]).map((words) => ruler.fit(words, room, face, !mono)));
    return { mono, gutter, names, twofold: names.some((each) => each.length > 1) };
  }
  function natural(panel, width, ruler) {
    const { mono, twofold } = namesOf(panel, width, ruler);
    return rowsOf(panel.rows, !mono, twofold).height;
  }
  function layout(panel, width, ruler, room = 0) {
    const { mono, gutter, names, twofold } = namesOf(panel, width, ruler);
    const rows = rowsOf(panel.rows, !mono, twofold, room);
    const axis = axisOf(gutter, width, panel.columns.length);
    const values = unpack(panel.values);
    drawn += 1;
    return {
      axis,
      rows,
      values,
      against: againstChance(panel, values),
      dotted: Math.min(axis.column, rows.tall) >= DIVIDED,
      range: rangeOf(panel, values),
      height: rows.height,
      full: rows.height + FOOT,
      width,
      names,
      /** @param {number} _column @param {number} py */
      rowAt: (_column, py) => rows.at(py)
    };
  }
  function paint(panel, at, ramps) {
    const { axis, rows, values, range } = at;
    const count = axis.count;
    const dense = globalThis.devicePixelRatio || 1;
    const wide = Math.max(1, axis.end - axis.gutter);
    canvas.width = Math.round(wide * dense);
    canvas.height = Math.max(1, Math.round(rows.height * dense));
    Object.assign(canvas.style, { left: `${axis.gutter}px`, width: `${wide}px`, height: `${rows.height}px` });
    const context = canvas.getContext("2d");
    const small = cells.getContext("2d");
    if (!context || !small || !count || !panel.rows.length) return;
    cells.width = count;
    cells.height = panel.rows.length;
    const image = small.createImageData(cells.width, cells.height);
    const ramp = panel.scale === "diverging" ? ramps.diverging : ramps.sequential;
    const missing = [];
    const outside = [];
    for (let row = 0, to = 0; row < cells.height; row += 1) {
      for (let column = 0; column < count; column += 1, to += 4) {
        const place = placeOf(values.at(row, column), range, panel.scale);
        if (Number.isNaN(place)) {
          image.data.set([...ramps.blank, 255], to);
          missing.push([row, column]);
        } else {
          const chance = at.against(row, column);
          const full = [...ramp.subarray(4 * stepOf(place), 4 * stepOf(place) + 3)];
          image.data.set([...full.map((each, i) => chance && !chance.outside ? PALE * each + (1 - PALE) * ramps.surface[i] : each), 255], to);
          if (chance?.outside) outside.push([row, column, 0.3 * full[0] + 0.59 * full[1] + 0.11 * full[2] < 128]);
        }
      }
    }
    small.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.setTransform(dense, 0, 0, dense, 0, 0);
    for (let from = 0; from < cells.height; ) {
      let to = from + 1;
      while (to < cells.height && rows.tops[to] - rows.tops[to - 1] < rows.tall + 1) to += 1;
      context.drawImage(cells, 0, from, count, to - from, 0, rows.tops[from], wide, (to - from) * rows.tall);
      from = to;
    }
    if (missing.length && panel.state !== "measuring" && panel.state !== "waiting") {
      context.strokeStyle = `rgb(${ramps.hatch.join(" ")} / .55)`;
      context.lineWidth = 1;
      for (const [row, column] of missing) {
        const [x, y] = [column * axis.column, rows.tops[row]];
        context.save();
        context.beginPath();
        context.rect(x, y, axis.column, rows.tall);
        context.clip();
        context.beginPath();
        for (let slant = Math.floor((x - rows.tall) / 5) * 5; slant < x + axis.column + rows.tall; slant += 5) {
          context.moveTo(slant, y + rows.tall);
          context.lineTo(slant + rows.tall, y);
        }
        context.stroke();
        context.restore();
      }
    }
    if (axis.column >= DIVIDED) for (let column = 1; column < count; column += 1) context.clearRect(column * axis.column - 0.5, 0, 1, rows.height);
    if (rows.tall >= DIVIDED) for (const top of rows.tops.slice(1)) context.clearRect(0, top - 0.5, wide, 1);
    if (!at.dotted) return;
    for (const [row, column, dark] of outside) {
      context.fillStyle = dark ? "#fffd" : "#000b";
      context.beginPath();
      context.arc((column + 0.5) * axis.column, rows.tops[row] + rows.tall / 2, 1.5, 0, 2 * Math.PI);
      context.fill();
    }
  }
  function over(panel, at, { runs, row, column, grips, ruler }) {
    const { axis, rows } = at;
    svg.setAttribute("width", `${at.width}`);
    svg.setAttribute("height", `${at.full}`);
    const every = Math.ceil(11 / rows.tall);
    sheet(
      0,
      [drawn, row],
      () => at.names.flatMap((name, i) => {
        if (i !== row && (i % every || row !== null && Math.abs(i - row) < every)) return [];
        const kind = `${panel.kind === "tokens" ? "ml-mono " : ""}${i === row ? "ml-ink ml-b" : "ml-ink2"}`;
        const middle = rows.tops[i] + rows.tall / 2 + 4;
        return name.map((words, line) => label(axis.gutter - 8, middle + 12 * (line - (name.length - 1) / 2), words, { "text-anchor": "end", class: kind }));
      })
    );
    sheet(1, [drawn, runs, grips], () => [selected(axis, runs, rows.height, { grips, veil: true })]);
    sheet(2, [drawn, runs, column], () => [layerNumbers(panel.columns, axis, rows.height + 15, runs, column, ruler)]);
    sheet(3, [drawn, row, column], () => {
      if (column === null) return [];
      if (row === null) return [s("rect", { x: axis.x(column), y: 0, width: axis.column, height: rows.height, class: "ml-pointed-column" })];
      const box = { x: axis.x(column), y: rows.tops[row], width: axis.column, height: rows.tall, rx: 2 };
      const words = withChance(at.values.at(row, column), panel, at.against(row, column));
      return [
        s("rect", { ...box, class: "ml-ring-halo" }),
        s("rect", { ...box, class: "ml-ring" }),
        chip(axis.middle(column), box.y, box.y + rows.tall, words, [0, at.width], ruler)
      ];
    });
  }
  return { root, natural, layout, paint, over };
}

// src/lib/swatches.js
var COLOURS = 5;
function hue(source) {
  return `--ml-s${source % COLOURS}`;
}
var DASHES = ["", "5 3", "1.5 3", "7 3 1.5 3", "3 2"];
function patterns(id) {
  const pattern = (i, size, mark, turn) => s("pattern", { id: `${id}-p${i}`, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: turn }, mark);
  const stroke2 = (i) => `stroke:var(${hue(i)});stroke-width:1.1;stroke-opacity:.42`;
  return s(
    "svg",
    { width: 0, height: 0, class: "ml-patterns", "aria-hidden": "true" },
    s(
      "defs",
      {},
      pattern(1, 5, s("line", { x1: 0, y1: 0, x2: 0, y2: 5, style: stroke2(1) }), "rotate(45)"),
      pattern(2, 5, s("circle", { cx: 2.5, cy: 2.5, r: 0.95, style: `fill:var(${hue(2)});fill-opacity:.6` })),
      pattern(3, 6, s("path", { d: "M0 0L6 6M6 0L0 6", style: stroke2(3) })),
      pattern(4, 4, s("line", { x1: 2, y1: 0, x2: 2, y2: 4, style: stroke2(4) })),
      pattern(5, 6, s("line", { x1: 0, y1: 0, x2: 0, y2: 6, style: "stroke:var(--ml-line);stroke-width:1" }), "rotate(45)"),
      pattern(6, 4, s("line", { x1: 0, y1: 0, x2: 0, y2: 4, style: "stroke:var(--ml-ink-3);stroke-width:1.2" }), "rotate(-45)")
    )
  );
}
var chanceHatch = (id) => `url(#${id}-p6)`;
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

// src/lib/lines_view.js
var TALL = 214;
var FOOT2 = 22;
var COLOURS2 = 5;
function dot(source, x, y) {
  const colour = `var(${hue(source)})`;
  switch (source % COLOURS2) {
    case 0:
      return s("circle", { cx: x, cy: y, r: 3.2, style: `fill:${colour}` });
    case 1:
      return s("path", { d: `M${x} ${y - 4.2}l4.2 4.2-4.2 4.2-4.2-4.2z`, style: `fill:${colour}` });
    case 2:
      return s("circle", { cx: x, cy: y, r: 2.8, style: `fill:var(--ml-surface);stroke:${colour};stroke-width:1.7` });
    case 3:
      return s("path", { d: `M${x - 3} ${y - 3}l6 6M${x + 3} ${y - 3}l-6 6`, style: `stroke:${colour};stroke-width:1.8` });
    default:
      return s("path", { d: `M${x} ${y - 4}l4 7h-8z`, style: `fill:${colour}` });
  }
}
function stroke(source, d, width = 2) {
  return s("path", { d, style: `fill:none;stroke:var(${hue(source)});stroke-width:${width};stroke-linejoin:round;stroke-dasharray:${DASHES[source % COLOURS2]}` });
}
function unbroken(points) {
  const runs = [[]];
  for (const point of points) {
    if (Number.isFinite(point[1])) runs[runs.length - 1].push(point);
    else if (runs[runs.length - 1].length) runs.push([]);
  }
  return runs.filter((run) => run.length);
}
var path = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`;
function bands(x, low, high) {
  const both = low.map((each, i) => (
    /** @type {[number, number]} */
    [i, Number.isFinite(each) && Number.isFinite(high[i]) ? each : Number.NaN]
  ));
  return unbroken(both).map((run) => `${path([...run.map(([i]) => (
    /** @type {const} */
    [x(i), high[i]]
  )), ...[...run].reverse().map(([i, y]) => (
    /** @type {const} */
    [x(i), y]
  ))])}Z`);
}
function reachOf(panel) {
  const log = panel.scale === "log";
  const all = [panel.values, panel.band?.low, panel.band?.high].flatMap((each) => extentOf(unpack(each)) ?? []);
  for (const [, value] of panel.points ?? []) all.push(value);
  const good = all.filter((each) => Number.isFinite(each) && (!log || each > 0));
  let low = panel.low ?? Math.min(...good, log ? Number.POSITIVE_INFINITY : 0);
  let high = panel.high ?? Math.max(...good);
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = log ? [1, 10] : [0, 1];
  if (panel.scale === "diverging") {
    const far = Math.max(high - panel.middle, panel.middle - low) || 1;
    return [panel.middle - 1.05 * far, panel.middle + 1.05 * far];
  }
  if (log) return [low / 1.2, high * 1.2];
  const air = 0.06 * (high - low || 1);
  return [low === 0 ? 0 : low - air, high + air];
}
function linesPicture(id) {
  const under = s("svg", { "aria-hidden": "true" });
  const svg = s("svg", { "aria-hidden": "true" });
  const root = h("div", { class: "ml-picture" }, under, svg);
  const sheet = sheetsOf(svg, 3);
  let drawn = 0;
  function layout(panel, width, ruler) {
    const [low, high] = reachOf(panel);
    const log = panel.scale === "log";
    const ticks = ticksOf([low, high], log);
    const gutter = Math.max(50, ...ticks.major.map((each) => ruler.width(bare(each)) + 14));
    const right = Math.min(0.3 * width, 16 + Math.max(20, ...panel.rows.map((each) => ruler.width(each, { bold: true }))));
    const axis = axisOf(gutter, width, panel.columns.length, right);
    const values = unpack(panel.values);
    const [least, most] = [unpack(panel.band?.low), unpack(panel.band?.high)];
    drawn += 1;
    const part = (value) => log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    const y = (value) => TALL - part(value) * TALL;
    const line = (row) => panel.columns.map((_, i) => (
      /** @type {const} */
      [axis.middle(i), y(values.at(row, i))]
    ));
    return {
      axis,
      values,
      against: againstChance(panel, values),
      ticks,
      y,
      line,
      /** The area between 5 and 95 % of a source's tokens. @param {number} row */
      spread: (row) => bands(axis.middle, panel.columns.map((_, i) => y(least.at(row, i))), panel.columns.map((_, i) => y(most.at(row, i)))),
      height: TALL,
      full: TALL + FOOT2,
      width,
      right,
      /** The line nearest to py at a column. @param {number} column @param {number} py */
      rowAt(column, py) {
        const far = panel.rows.map((_, row) => Math.abs(y(values.at(row, column)) - py));
        const best = far.reduce((found, each, row) => each < (far[found] ?? Infinity) || Number.isNaN(far[found]) ? row : found, 0);
        return best;
      }
    };
  }
  function paint(panel, at, colour, ruler) {
    const { axis, ticks, y } = at;
    under.setAttribute("width", `${at.width}`);
    under.setAttribute("height", `${at.full}`);
    const parts = [];
    for (const tick of ticks.major) {
      parts.push(s("line", { x1: axis.gutter, x2: axis.end, y1: y(tick), y2: y(tick), class: "ml-gridline" }));
      parts.push(label(axis.gutter - 8, y(tick) + 4, bare(tick), { "text-anchor": "end" }));
    }
    for (const tick of ticks.minor) parts.push(s("line", { x1: axis.gutter - 4, x2: axis.gutter, y1: y(tick), y2: y(tick), class: "ml-tick" }));
    if (panel.scale === "diverging") parts.push(s("line", { x1: axis.gutter, x2: axis.end, y1: y(panel.middle), y2: y(panel.middle), class: "ml-tick" }));
    panel.rows.forEach((_, row) => {
      for (const d of at.spread(row)) parts.push(s("path", { d, class: "ml-spread", style: `stroke:var(${hue(colour(row))})` }));
    });
    if (panel.chanceband) {
      const [low, high] = [boundOf(panel.chanceband.low), boundOf(panel.chanceband.high)];
      for (const d of bands(axis.middle, panel.columns.map((_, i) => y(low(0, i))), panel.columns.map((_, i) => y(high(0, i))))) {
        parts.push(s("path", { d, class: "ml-by-chance", style: `fill:${chanceHatch(id)}` }));
      }
    }
    panel.rows.forEach((_, row) => {
      for (const run of unbroken(at.line(row))) {
        if (run.length > 1) parts.push(stroke(colour(row), path(run)));
        else parts.push(s("circle", { cx: run[0][0], cy: run[0][1], r: 2, style: `fill:var(${hue(colour(row))})` }));
      }
    });
    const spread = Math.min(9, axis.column / (panel.rows.length + 1));
    for (const [column, value, row] of panel.points ?? []) {
      if (Number.isFinite(y(value))) parts.push(dot(colour(row), axis.middle(column) + (row - (panel.rows.length - 1) / 2) * spread, y(value)));
    }
    const ends = panel.rows.map((_, row) => unbroken(at.line(row)).at(-1)?.at(-1));
    const named = panel.rows.map((_, row) => row).filter((row) => ends[row]);
    const heights = apart(named.map((row) => (
      /** @type {[number, number]} */
      ends[row][1]
    )), 12.5, 6, TALL - 4);
    named.forEach((row, i) => {
      const words = ruler.fit(panel.rows[row], at.right - 12, { bold: true });
      parts.push(label(axis.end + 8, heights[i] + 4, words, { class: "ml-b", style: `fill:var(${hue(colour(row))}-text)` }));
    });
    under.replaceChildren(...parts);
  }
  function over(panel, at, colour, { runs, row, column, grips, ruler }) {
    const { axis, y, values } = at;
    svg.setAttribute("width", `${at.width}`);
    svg.setAttribute("height", `${at.full}`);
    sheet(0, [drawn, runs, grips], () => [selected(axis, runs, TALL, { grips, veil: false })]);
    sheet(1, [drawn, runs, column], () => [layerNumbers(panel.columns, axis, TALL + 17, runs, column, ruler)]);
    sheet(2, [drawn, row, column], () => {
      if (column === null) return [];
      const x = axis.middle(column);
      const parts = [s("line", { x1: x, x2: x, y1: 0, y2: TALL, class: "ml-pointed-line" })];
      if (row !== null) for (const d of at.spread(row)) parts.push(s("path", { d, style: `fill:var(${hue(colour(row))});fill-opacity:.13` }));
      panel.rows.forEach((_, each) => {
        const cy2 = y(values.at(each, column));
        if (Number.isFinite(cy2)) parts.push(s("circle", { cx: x, cy: cy2, r: each === row ? 5 : 3.6, class: "ml-on-line", style: `fill:var(${hue(colour(each))})` }));
      });
      const cy = row === null ? Number.NaN : y(values.at(row, column));
      if (row !== null && Number.isFinite(cy)) parts.push(chip(x, cy - 6, cy + 6, `${panel.rows[row]} ${withChance(values.at(row, column), panel, at.against(row, column))}`, [axis.gutter, at.width], ruler));
      return parts;
    });
  }
  return { root, layout, paint, over };
}

// src/lib/key_view.js
var WIDE = 82;
var TALL2 = 10;
function linesKey(panel, values, colour, column, id) {
  const parts = panel.rows.map((name, row) => {
    const value = column === null ? Number.NaN : values.at(row, column);
    return h(
      "span",
      {},
      s("svg", { width: 24, height: 10, "aria-hidden": "true" }, stroke(colour(row), "M0 5H24")),
      h("span", { class: "ml-key-name" }, name),
      h("b", {}, Number.isNaN(value) ? "" : quantity(value, panel))
    );
  });
  const rows = [...new Set((panel.points ?? []).map(([, , row]) => row))].sort((a, b) => a - b);
  if (rows.length) {
    const dots = rows.slice(0, 5).map((row, i) => dot(colour(row), 5 + 11 * i, 5));
    parts.push(h("span", {}, s("svg", { width: 11 * dots.length, height: 10, "aria-hidden": "true" }, ...dots), "sink tokens"));
  }
  if (panel.band) {
    const edges = s("svg", { width: 16, height: 10, "aria-hidden": "true" }, s("path", { d: "M0 1.5H16M0 8.5H16", class: "ml-spread", style: "stroke:var(--ml-ink-2)" }));
    parts.push(h("span", {}, edges, "5–95 % of tokens"));
  }
  if (panel.chanceband) {
    const band = s("svg", { width: 16, height: 10, "aria-hidden": "true" }, s("rect", { x: 0.5, y: 1.5, width: 15, height: 7, class: "ml-by-chance", style: `fill:${chanceHatch(id)}` }));
    parts.push(h("span", {}, band, "by chance"));
  }
  return parts;
}
function coloursKey(panel, values, ramps, dotted) {
  const range = rangeOf(panel, values);
  const ramp = panel.scale === "diverging" ? ramps.diverging : ramps.sequential;
  const bar = h("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const context = bar.getContext("2d");
  if (context) {
    const image = context.createImageData(256, 1);
    image.data.set(ramp);
    context.putImageData(image, 0, 0);
  }
  const marks = s("svg", { width: WIDE, height: TALL2, "aria-hidden": "true" });
  marks.append(s("rect", { x: 0.5, y: 0.5, width: WIDE - 1, height: TALL2 - 1, class: "ml-key-edge" }));
  const x = (value) => placeOf(value, range, panel.scale) * WIDE;
  const { chanceband: band } = panel;
  if (band && typeof band.low === "number" && typeof band.high === "number") {
    const [from, to] = [x(band.low), x(band.high)];
    marks.append(s("rect", { x: from, y: TALL2 + 1, width: Math.max(1, to - from), height: 3, class: "ml-key-chance" }));
  }
  const words = [];
  if (panel.scale === "diverging") {
    marks.append(s("path", { d: `M${WIDE / 2} -3v${TALL2 + 6}`, class: "ml-key-mark" }));
    words.push(h("span", { class: "ml-key-middle" }, `mark at ${bound(panel.middle, panel)}`));
  }
  const missing = panel.values && panel.state !== "waiting" && panel.state !== "measuring" && panel.rows.some((_, row) => panel.columns.some((_2, column) => Number.isNaN(values.at(row, column))));
  if (missing) words.unshift(h("span", { class: "ml-key-middle" }, h("i", { class: "ml-hatched", "aria-hidden": "true" }), "no value"));
  if (panel.chanceband) words.unshift(h("span", { class: "ml-key-middle" }, ...dotted ? [h("i", { class: "ml-dotted", "aria-hidden": "true" }), "outside chance"] : ["pale: within chance"]));
  if (panel.scale === "log") words.push(h("span", { class: "ml-key-middle" }, "log scale"));
  return [...words, h("span", { class: "ml-key-range" }, bound(range[0], panel), h("span", { class: "ml-key-bar" }, bar, marks), bound(range[1], panel))];
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

// src/lib/selection.js
function runsOf(sorted) {
  const runs = [];
  for (const each of sorted) {
    const last = runs[runs.length - 1];
    if (last && each === last[1] + 1) last[1] = each;
    else runs.push([each, each]);
  }
  return runs;
}
function ascending(numbers) {
  return [...numbers].sort((a, b) => a - b).filter((each, i, all) => each !== all[i - 1]);
}
function layersInWords(layers) {
  if (!layers.length) return "No layers selected";
  const words = runsOf(layers).map(([from, to]) => from === to ? `${from}` : `${from}–${to}`);
  const last = words.pop();
  return `${layers.length === 1 ? "Layer" : "Layers"} ${words.length ? `${words.join(", ")} and ${last}` : last}`;
}
var same = (one, other) => one.length === other.length && one.every((each, i) => each === other[i]);
function between(a, b) {
  const [from, to] = a < b ? [a, b] : [b, a];
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}
function grabbed(runs, px, axis, extend) {
  const reach = Math.min(6, axis.column / 3);
  for (const run of runs) {
    const others = runs.filter((each) => each !== run);
    if (Math.abs(px - axis.x(run[0])) <= reach) return { anchor: run[1], others, edge: true };
    if (Math.abs(px - axis.x(run[1] + 1)) <= reach) return { anchor: run[0], others, edge: true };
  }
  const at = axis.at(px);
  if (extend && runs.length) {
    const far = ([from, to]) => Math.max(from - at, at - to, 0);
    const run = runs.reduce((best, each) => far(each) < far(best) ? each : best);
    return { anchor: at < run[0] ? run[1] : run[0], others: runs.filter((each) => each !== run), edge: true };
  }
  return { anchor: at, others: [], edge: false };
}
function grown(runs, at, by, count) {
  const to = Math.min(count - 1, Math.max(0, at + by));
  const run = runs.find(([from, last]) => from === at || last === at);
  const anchor = !run ? at : run[0] === at && run[1] === at ? at : run[0] === at ? run[1] : run[0];
  return { at: to, run: anchor < to ? [anchor, to] : [to, anchor] };
}

// src/lib/sinks_view.js
var MEANT = (
  /** @type {Record<string, string>} */
  {
    source: "the model",
    prompt: "number of the text, from 0",
    position: "place of the token in its text, from 0",
    token: "the token as text",
    layer: "the layer that made it a sink; a dash: the embeddings did",
    gone: "the layer that ended it; a dash: none did",
    times: "its norm over the median token's, at the layer where that is largest",
    channels: "its three largest channels where it was born, the largest first",
    value: "of the largest channel, with its sign",
    massive: "whether that is a massive activation: above 100 and above 1000 times the median channel (Sun et al., 2024)"
  }
);
var OF = "source";
function foundIn(panel, chosen) {
  const cells = panel.cells ?? [];
  const place = panel.columns.indexOf(OF);
  const counts = /* @__PURE__ */ new Map();
  for (const row of cells) counts.set(`${row[place]}`, (counts.get(`${row[place]}`) ?? 0) + 1);
  const each = [...counts.values()];
  const alike2 = each.every((count) => count === each[0]);
  const shared = counts.size < 2 ? "" : alike2 ? `: ${each[0]} in each` : `: ${[...counts].map(([name, count]) => `${count} in ${name}`).join(", ")}`;
  return { words: cells.length && place >= 0 ? `${cells.length} found${shared}` : "", some: counts.size > 1 && counts.has(chosen) };
}
function tableOf(panel, only) {
  const place = panel.columns.indexOf(OF);
  const cells = (panel.cells ?? []).filter((row) => !only || row[place] === only);
  const numeric = panel.columns.map((_, column) => cells.every((row) => typeof row[column] !== "string"));
  const table = h("table", { class: "ml-table", "aria-label": panel.title });
  table.append(h("thead", {}, h("tr", {}, ...panel.columns.map((name, i) => h("th", { scope: "col", class: numeric[i] ? "" : "ml-left", title: MEANT[name] ?? null }, name)))));
  const said = (value) => value === null ? "–" : typeof value === "number" ? Number.isInteger(value) ? `${value}`.replace("-", "−") : quantity(value, { unit: "1", scale: "linear", middle: 0 }) : value;
  table.append(h("tbody", {}, ...cells.map((row) => h("tr", {}, ...row.map((value, i) => h("td", { class: numeric[i] ? "" : "ml-left" }, said(value)))))));
  return table;
}

// src/lib/panel_view.js
var STATES = (
  /** @type {Record<string, string>} */
  { waiting: "waits", stopped: "stopped", failed: "not measured" }
);
var MOVED = 3;
function after(sentence) {
  return /^[A-Z](?![A-Z])/.test(sentence) ? sentence[0].toLowerCase() + sentence.slice(1) : sentence;
}
function standing(panel) {
  if (panel.state === "done") return "";
  const far = panel.total > 0 ? `${panel.done} of ${panel.total}` : "";
  if (panel.state === "measuring") return far || "measuring";
  return panel.state === "stopped" && far ? `stopped at ${far}` : STATES[panel.state] ?? panel.state;
}
function panelView(given, scene, act, signal) {
  let panel = given;
  const id = `${scene.id}-${panel.id}`;
  const table = panel.kind === "sinks";
  const lines = panel.kind === "lines" ? linesPicture(scene.id) : null;
  const heat = panel.kind === "heat" || panel.kind === "tokens" ? heatPicture() : null;
  const progress = h("div", { class: "ml-progress", "aria-hidden": "true" });
  const name = h("span", {});
  const what = h("span", { class: "ml-mute", id: `${id}-of` });
  const key = h("div", { class: lines ? "ml-lines-key" : "ml-colours-key" });
  const state = h("span", { class: "ml-mute" });
  const heading = h("h3", { id: `${id}-title` }, name);
  const cell = h("span", { role: "gridcell", id: `${id}-cell` });
  const line = h("span", { role: "row" }, cell);
  const plot = h(
    "div",
    { class: "ml-plot ml-layers", tabindex: 0, role: "grid", "aria-labelledby": `${id}-title ${id}-of`, "aria-describedby": `${scene.id}-keys`, "aria-readonly": "true", "aria-multiselectable": "true" },
    ...lines ? [lines.root] : heat ? [heat.root] : [],
    h("span", { class: "ml-hidden" }, line)
  );
  const rows = h("div", { class: "ml-table-scroll", tabindex: 0, role: "region", "aria-labelledby": `${id}-title ${id}-of` });
  const every = h("button", { class: "ml-button ml-small", type: "button" });
  let all = false;
  every.addEventListener("click", () => {
    all = !all;
    tabulate();
  }, { signal });
  const blank = h("div", { class: "ml-blank" });
  const words = { shows: h("span", {}), chance: h("span", {}), so: h("span", {}) };
  const byChance = h("b", {}, "By chance");
  const so = h("span", {}, " ", h("b", {}, "So"), " ", words.so);
  const caption = h("p", { class: "ml-caption" }, h("b", {}, "Shows"), " ", words.shows, " ", byChance, " ", words.chance, so);
  const formula = h("div", { class: "ml-formula" });
  const reading = h("p", { class: "ml-note" });
  const note = h("p", { class: "ml-note" });
  const more = h("details", { class: "ml-more" }, h("summary", {}, "How it is measured"), formula, reading, note);
  const root = h(
    "section",
    { class: "ml-panel", "aria-labelledby": `${id}-title`, "data-panel": panel.id, "data-kind": panel.kind },
    progress,
    h("div", { class: "ml-heading" }, h("div", {}, heading, state), h("div", {}, what, table ? every : key)),
    h("div", {}, table ? rows : plot, blank),
    caption,
    more
  );
  let at = null;
  const cursor = { row: 0, column: 0 };
  let layers = [];
  const colour = (row) => {
    const known = scene.sources.indexOf(panel.rows[row]);
    return known < 0 ? row : known;
  };
  const widthOf = (of) => plot.clientWidth || (of.wide ? 880 : 420);
  const columnsOf = (chosen) => layers.flatMap((layer, column) => layer !== null && chosen.includes(layer) ? [column] : []);
  const runs = () => runsOf(columnsOf(scene.layers));
  const layersOf = (chosen) => ascending(chosen.flatMap(([from, to]) => between(from, to)).flatMap((column) => layers[column] ?? []));
  const spotOf = (row, column) => ({ panel: panel.id, kind: panel.kind, row, name: panel.rows[row] ?? "", column, layer: layers[column] ?? null });
  const under = (event) => {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  if (!table) {
    plot.addEventListener("pointermove", (event) => {
      if (!at || !panel.columns.length || !panel.rows.length) return;
      const [px, py] = under(event);
      const inside = px >= at.axis.gutter && px < at.axis.end && py <= at.full;
      const near = at.axis.at(px);
      act.point(inside ? spotOf(at.rowAt(near, Math.min(py, at.height - 1)), near) : null);
      const edge = grabbed(runs(), px, at.axis, false).edge && inside;
      plot.style.cursor = edge ? "ew-resize" : "";
    }, { signal });
    plot.addEventListener("pointerleave", () => act.point(null), { signal });
    onDrag(
      plot,
      (event) => {
        if (!at || !layers.some((layer) => layer !== null)) return null;
        const axis = at.axis;
        const [px] = under(event);
        if (px < axis.gutter - 6 || px > axis.end + 6) return null;
        const before = scene.layers;
        const hold = grabbed(runs(), px, axis, event.shiftKey);
        plot.focus({ preventScroll: true });
        let moved = hold.edge && event.shiftKey;
        cursor.column = axis.at(px);
        const pull = (x) => {
          cursor.column = axis.at(x);
          act.select(layersOf([...hold.others, [Math.min(hold.anchor, cursor.column), Math.max(hold.anchor, cursor.column)]]), false);
        };
        if (!hold.edge || event.shiftKey) pull(px);
        return {
          move(next) {
            const [x] = under(next);
            if (Math.abs(x - px) > MOVED) moved = true;
            if (moved) pull(x);
          },
          end(kept) {
            const lone = !moved && !hold.edge && before.length === 1 && same(before, scene.layers);
            act.select(!kept ? before : lone ? [] : scene.layers, true);
          }
        };
      },
      signal
    );
    const go = (row, column) => {
      cursor.row = Math.max(0, Math.min(panel.rows.length - 1, row));
      cursor.column = Math.max(0, Math.min(panel.columns.length - 1, column));
      act.point(spotOf(cursor.row, cursor.column));
    };
    const grow = (by) => {
      const { at: column, run } = grown(runs(), cursor.column, by, panel.columns.length);
      go(cursor.row, column);
      act.select(layersOf([run]), true);
    };
    onKeys(
      plot,
      {
        ArrowLeft: () => go(cursor.row, cursor.column - 1),
        ArrowRight: () => go(cursor.row, cursor.column + 1),
        ArrowUp: () => go(cursor.row - 1, cursor.column),
        ArrowDown: () => go(cursor.row + 1, cursor.column),
        Home: () => go(cursor.row, 0),
        End: () => go(cursor.row, panel.columns.length - 1),
        "Shift+ArrowLeft": () => grow(-1),
        "Shift+ArrowRight": () => grow(1),
        Enter: () => act.select(layersOf([[cursor.column, cursor.column]]), true),
        Space: () => act.select(layersOf([[cursor.column, cursor.column]]), true),
        Escape: () => act.select([], true)
      },
      signal
    );
    plot.addEventListener("focus", () => {
      if (plot.matches(":focus-visible")) go(cursor.row, cursor.column);
    }, { signal });
    plot.addEventListener("blur", () => act.point(null), { signal });
  }
  function heads() {
    say(name, panel.title);
    const scale = panel.scale === "log" && lines ? "log scale" : "";
    say(what, [panel.of, scale].filter(Boolean).join(" · "));
    root.classList.toggle("ml-wide", panel.wide);
    root.dataset.state = panel.state;
    const part = panel.total > 0 ? panel.done / panel.total : 0;
    progress.hidden = panel.state !== "measuring";
    progress.style.width = `${100 * part}%`;
    root.setAttribute("aria-busy", `${panel.state === "measuring" || panel.state === "waiting"}`);
    say(words.shows, after(panel.shows));
    const known = Boolean(panel.chance);
    byChance.hidden = !known;
    say(words.chance, known ? after(panel.chance) : "Chance not measured.");
    so.hidden = !known || !panel.so;
    say(words.so, panel.so);
    more.hidden = !panel.formula && !panel.note && !panel.reading;
    say(formula, panel.formula);
    formula.hidden = !panel.formula;
    reading.hidden = !panel.reading;
    reading.replaceChildren(h("b", {}, "Reading"), ` ${panel.reading ?? ""}`);
    say(note, panel.note);
    note.hidden = !panel.note;
    const empty = !panel.columns.length || !panel.rows.length;
    blank.hidden = !empty;
    say(state, empty ? "" : standing(panel));
    plot.hidden = rows.hidden = empty;
    say(blank, panel.state === "done" ? "none found" : panel.note || standing(panel));
  }
  function tabulate() {
    const found = foundIn(panel, scene.chosen);
    every.hidden = !found.some;
    say(every, all ? `Only ${scene.chosen}` : "Show all");
    say(what, found.words);
    rows.replaceChildren(tableOf(panel, found.some && !all ? scene.chosen : ""));
  }
  function rowOf(spot) {
    if (!spot) return null;
    if (spot.panel === panel.id) return spot.row < panel.rows.length ? spot.row : null;
    if (spot.kind !== panel.kind || panel.kind === "tokens") return null;
    const row = panel.rows.indexOf(spot.name);
    return row < 0 ? null : row;
  }
  return {
    root,
    kind: panel.kind,
    get panel() {
      return panel;
    },
    /** What stands at a spot of another panel. @param {Spot} spot @returns {string | null} */
    saidAt(spot) {
      const row = rowOf(spot);
      const column = layers.indexOf(spot.layer);
      if (!at || row === null || spot.panel !== panel.id && (spot.layer === null || column < 0)) return null;
      return quantity(at.values.at(row, spot.panel === panel.id ? spot.column : column), panel);
    },
    /** Height of its picture without being stretched, px; 0 where it has none that stretches. @param {Panel} next @param {Ruler} ruler */
    natural: (next, ruler) => heat && next.rows.length && next.columns.length ? heat.natural(next, widthOf(next), ruler) : 0,
    /**
     * Everything anew: other numbers, another width, another theme.
     * @param {Panel} next @param {Ramps} ramps @param {Ruler} ruler @param {number} room px: the height of its neighbour
     */
    draw(next, ramps, ruler, room) {
      panel = next;
      layers = panel.columns.map(layerOf);
      heads();
      if (table) {
        tabulate();
        return;
      }
      cursor.row = Math.min(cursor.row, Math.max(0, panel.rows.length - 1));
      cursor.column = Math.min(cursor.column, Math.max(0, panel.columns.length - 1));
      const width = widthOf(panel);
      plot.setAttribute("aria-rowcount", `${panel.rows.length}`);
      plot.setAttribute("aria-colcount", `${panel.columns.length}`);
      if (lines) {
        const laid = lines.layout(panel, width, ruler);
        at = laid;
        lines.paint(panel, laid, colour, ruler);
      } else if (heat) {
        const laid = heat.layout(panel, width, ruler, room);
        at = laid;
        heat.paint(panel, laid, ramps);
        key.replaceChildren(...panel.values ? coloursKey(panel, laid.values, ramps, laid.dotted) : []);
      }
      plot.style.height = `${at?.full ?? 0}px`;
    },
    /** What is selected and pointed at. @param {boolean} first of the panels: it has grips @param {Ruler} ruler */
    mark(first, ruler) {
      if (!at) return;
      const { spot } = scene;
      const own = spot?.panel === panel.id;
      const column = !spot ? -1 : own ? spot.column : spot.layer === null ? -1 : layers.indexOf(spot.layer);
      const row = column < 0 ? null : rowOf(spot);
      const shown = { runs: runs(), row, column: column < 0 || column >= panel.columns.length ? null : column, grips: first || own, ruler };
      if (lines) {
        const laid = (
          /** @type {ReturnType<typeof lines.layout>} */
          at
        );
        lines.over(panel, laid, colour, shown);
        key.replaceChildren(...linesKey(panel, laid.values, colour, shown.column, scene.id));
      } else if (heat) heat.over(
        panel,
        /** @type {ReturnType<typeof heat.layout>} */
        at,
        shown
      );
      line.setAttribute("aria-rowindex", `${cursor.row + 1}`);
      cell.setAttribute("aria-colindex", `${cursor.column + 1}`);
      cell.setAttribute("aria-selected", `${columnsOf(scene.layers).includes(cursor.column)}`);
      const value = withChance(at.values.at(cursor.row, cursor.column), panel, at.against(cursor.row, cursor.column));
      say(cell, panel.rows.length ? `${panel.rows[cursor.row]}, layer ${panel.columns[cursor.column]}: ${value}` : "nothing measured yet");
      plot.setAttribute("aria-activedescendant", cell.id);
    }
  };
}

// src/lib/ruler.js
function rulerOf(root) {
  const context = document.createElement("canvas").getContext("2d");
  const known = /* @__PURE__ */ new Map();
  function width(words, { mono = false, bold = false } = {}) {
    const key = `${mono}${bold}${words}`;
    let px = known.get(key);
    if (px === void 0) {
      const style = getComputedStyle(root);
      const family = mono ? style.getPropertyValue("--ml-mono") : style.fontFamily;
      if (context) context.font = `${bold ? 600 : 400} 11px ${family || "sans-serif"}`;
      px = context?.measureText(words).width ?? words.length * 6.3;
      known.set(key, px);
    }
    return px;
  }
  return {
    width,
    /**
     * Words cut until they fit, at the front or the back; a mark says so.
     * @param {string} words @param {number} room px @param {Face} [face] @param {boolean} [front]
     */
    fit(words, room, face, front = false) {
      if (width(words, face) <= room) return words;
      const letters = [...words];
      while (letters.length > 1) {
        if (front) letters.shift();
        else letters.pop();
        const cut = front ? `…${letters.join("").trimStart()}` : `${letters.join("").trimEnd()}…`;
        if (width(cut, face) <= room) return cut;
      }
      return "…";
    }
  };
}

// src/lib/choices_view.js
function listView(title, id, choose, signal) {
  const list = h("div", { class: "ml-choices", role: "radiogroup", "aria-label": title });
  const note = h("p", { class: "ml-note" });
  let layout = "";
  return {
    root: h("section", { class: "ml-side-part" }, h("h3", {}, title), list, note),
    /** @param {readonly Choice[]} choices @param {string} words @param {string | null} turned what the hand chose last, while it is on its way */
    draw(choices, words, turned) {
      const now = JSON.stringify(choices.map(({ chosen, ...rest }) => rest));
      if (now !== layout) {
        layout = now;
        list.replaceChildren(
          ...choices.map((choice) => {
            const radio = h("input", { type: "radio", name: `${id}-${title}`, value: choice.id });
            radio.addEventListener("change", () => choose(choice.id), { signal });
            const names = h("span", { class: "ml-choice-name" }, choice.label);
            return h("label", { class: "ml-choice" }, radio, ...(choice.sources ?? []).map((source) => swatch(id, source, 11)), names);
          })
        );
      }
      choices.forEach((choice, i) => {
        const radio = (
          /** @type {HTMLInputElement} */
          list.children[i].firstElementChild
        );
        radio.checked = turned === null ? choice.chosen : choice.id === turned;
        list.children[i].classList.toggle("ml-on", radio.checked);
      });
      say(note, words);
      note.hidden = !words;
    }
  };
}
function menuView(title, choose, signal, long = false) {
  const select = h("select", { class: "ml-select", "aria-label": title });
  select.addEventListener("change", () => choose(select.value), { signal });
  let layout = "";
  return {
    root: h("label", { class: `ml-menu${long ? " ml-long" : ""}` }, h("span", {}, title), select),
    /** @param {readonly Choice[]} choices @param {string | null} turned */
    draw(choices, turned) {
      const now = JSON.stringify(choices.map(({ id, label: label2 }) => [id, label2]));
      if (now !== layout) {
        layout = now;
        select.replaceChildren(...choices.map(({ id, label: label2 }) => h("option", { value: id }, label2)));
      }
      const chosen = turned ?? choices.find((each) => each.chosen)?.id;
      if (chosen !== void 0) select.value = chosen;
      select.title = choices.find(({ id }) => id === chosen)?.label ?? "";
    }
  };
}

// src/lib/density_view.js
var TALL3 = 40;
var INSET = 7;
function densityView(turn, release, signal) {
  const value = h("output", { class: "ml-value" });
  const picture = s("svg", { "aria-hidden": "true", width: "100%", height: TALL3 + 2 });
  const range = h("input", { type: "range", class: "ml-range", step: 0.01, "aria-label": "Density kept" });
  const text = h("p", { class: "ml-note" });
  let drawn = null;
  let held = false;
  function curve() {
    if (!drawn) return;
    const { low, high, curve: points } = drawn;
    const at = Number(range.value);
    const wide = range.clientWidth || 222;
    const x = (share2) => INSET + share2 * (wide - 2 * INSET);
    const y = (part) => TALL3 - Math.min(1, Math.max(0, part)) * (TALL3 - 5);
    const share = (at - low) / (high - low || 1);
    const parts = [];
    if (points.length > 1) {
      const place = share * (points.length - 1);
      const before = Math.min(points.length - 2, Math.floor(place));
      const here = points[before] + (place - before) * (points[before + 1] - points[before]);
      const all = points.map((part, i) => [x(i / (points.length - 1)), y(part)]);
      const kept = [...all.slice(0, before + 1), [x(share), y(here)]];
      const path2 = (line) => `M${line.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L")}`;
      parts.push(
        s("path", { d: `${path2([...kept, [x(share), TALL3], [x(0), TALL3]])}Z`, class: "ml-kept" }),
        s("path", { d: path2(all), class: "ml-kept-line" }),
        s("line", { x1: x(share), x2: x(share), y1: y(here), y2: TALL3 + 2, class: "ml-kept-at" }),
        s("circle", { cx: x(share), cy: y(here), r: 3, class: "ml-kept-dot" })
      );
    }
    picture.replaceChildren(...parts);
    range.style.setProperty("--ml-part", `${100 * share}%`);
    say(value, at.toFixed(2));
  }
  range.addEventListener("input", () => {
    held = true;
    curve();
    turn(Number(range.value));
  }, { signal });
  const letGo = () => {
    if (!held) return;
    held = false;
    release();
  };
  range.addEventListener("change", letGo, { signal });
  range.addEventListener("blur", letGo, { signal });
  return {
    root: h("section", { class: "ml-side-part", "aria-label": "Density" }, h("div", { class: "ml-head" }, h("h3", {}, "Density kept"), value), picture, h("div", { class: "ml-density" }, range), text),
    /** @param {Density | null | undefined} density @param {boolean} waiting edits are on their way: the hand is ahead of Python */
    draw(density, waiting) {
      drawn = density ?? null;
      if (!drawn) return;
      range.min = `${drawn.low}`;
      range.max = `${drawn.high}`;
      if (!held && !waiting) range.value = `${drawn.value}`;
      say(text, drawn.text);
      curve();
    }
  };
}

// src/lib/figures.js
var THIN2 = " ";
function seconds(value) {
  const ms = Number((value * 1e3).toPrecision(value < 0.01 ? 2 : 3));
  if (ms >= 1e3) return `${value.toFixed(1)}${THIN2}s`;
  return `${ms > 0 && ms < 1e-3 ? "<0.001" : ms}${THIN2}ms`;
}

// src/lib/stick.js
function sight(element) {
  let [top, bottom] = [0, globalThis.innerHeight];
  for (let each = element.parentElement; each && each !== document.body; each = each.parentElement) {
    if (each.scrollHeight <= each.clientHeight + 1 || !/auto|scroll/.test(getComputedStyle(each).overflowY)) continue;
    const box = each.getBoundingClientRect();
    [top, bottom] = [Math.max(top, box.top), Math.min(bottom, box.bottom)];
  }
  return [top, bottom];
}
var LEAST = 240;
function stick(part, track, signal) {
  let frame = 0;
  const place = () => {
    frame = 0;
    if (getComputedStyle(track).display === "contents") {
      part.style.maxHeight = part.style.transform = "";
      return;
    }
    const [top, bottom] = sight(track);
    const limit = `${Math.max(LEAST, Math.floor(bottom - top))}px`;
    if (part.style.maxHeight !== limit) part.style.maxHeight = limit;
    const box = track.getBoundingClientRect();
    const shift = Math.max(0, Math.min(box.height - part.offsetHeight, top - box.top));
    part.style.transform = shift ? `translateY(${Math.round(shift)}px)` : "";
  };
  const soon = () => {
    frame ||= requestAnimationFrame(place);
  };
  const size = new ResizeObserver(soon);
  size.observe(track);
  document.addEventListener("scroll", soon, { capture: true, passive: true, signal });
  globalThis.addEventListener?.("resize", soon, { signal });
  signal.addEventListener("abort", () => {
    size.disconnect();
    cancelAnimationFrame(frame);
  });
}

// src/lib/side_view.js
var MENUS = (
  /** @type {const} */
  [["source", "sources", "Source"], ["statistic", "statistics", "Statistic"], ["prompt", "prompts", "Prompt"]]
);
function figures2(rows, heads = []) {
  const table = h("table", { class: "ml-readout" });
  if (heads.length) table.append(h("thead", {}, h("tr", {}, h("td", {}), ...heads.map((words) => h("th", { scope: "col" }, words)))));
  table.append(h("tbody", {}, ...rows.map(([label2, ...values]) => h("tr", {}, h("th", { scope: "row", title: label2 }, label2), ...values.map((value) => h("td", {}, value))))));
  return table;
}
function sideView(scene, act, signal) {
  const pairs = listView("Pair", scene.id, (pair) => act.turn({ pair }), signal);
  const menus = MENUS.map(([name, many, title]) => ({ name, many, ...menuView(title, (choice) => act.turn({ [name]: choice }), signal, name === "prompt") }));
  const chosen = h("section", { class: "ml-side-part ml-menus", "aria-label": "What is shown" }, ...menus.map(({ root: root2 }) => root2));
  const density = densityView((value) => act.turn({ density: value }), act.release, signal);
  const clear = h("button", { class: "ml-button ml-small", type: "button" }, "Clear");
  clear.addEventListener("click", act.clear, { signal });
  const selection = h("h3", {});
  const readout = h("div", {});
  const readoutNote = h("p", { class: "ml-note" });
  const spot = h("p", { class: "ml-spot" });
  const here = h("div", {});
  const measured = h("h3", {});
  const times = h("div", {});
  const turning = h("fieldset", { class: "ml-side-group ml-turning", "aria-label": "Dials" }, pairs.root, chosen, density.root);
  const read = h(
    "fieldset",
    { class: "ml-side-group", "aria-label": "Read-outs" },
    h("section", { class: "ml-side-part", "aria-label": "Selected layers" }, h("div", { class: "ml-head" }, selection, clear), readout, readoutNote),
    h("section", { class: "ml-side-part ml-under", "aria-label": "Under the pointer" }, h("h3", {}, "Under the pointer"), spot, here),
    h("section", { class: "ml-side-part", "aria-label": "What was measured" }, measured, times)
  );
  const stuck = h("div", { class: "ml-stuck" }, turning, read);
  const root = h("aside", { class: "ml-side", "aria-label": "Dials and read-outs" }, stuck);
  stick(stuck, root, signal);
  return {
    root,
    /** Nothing answers any more. */
    shut() {
      turning.disabled = read.disabled = true;
    },
    /** @param {{ dials: State["dials"], words: State["words"], panels: State["panels"], readout: State["readout"] }} state */
    draw({ dials, words, panels, readout: rows }) {
      const turned = act.turned();
      pairs.root.hidden = !dials.pairs?.length;
      pairs.draw(dials.pairs ?? [], words.pairs ?? "", turned.pair ?? null);
      for (const menu of menus) {
        const choices = dials[menu.many] ?? [];
        menu.root.hidden = choices.length < 2;
        menu.draw(choices, turned[menu.name] ?? null);
      }
      chosen.hidden = menus.every((menu) => menu.root.hidden);
      density.root.hidden = !dials.density;
      density.draw(dials.density, turned.density !== void 0);
      turning.hidden = pairs.root.hidden && chosen.hidden && density.root.hidden;
      const { layers } = scene;
      say(selection, layersInWords(layers));
      clear.hidden = !layers.length;
      readout.replaceChildren(...layers.length && rows.length ? [figures2(rows.map(({ label: label2, here: one, elsewhere }) => [label2, one, elsewhere]), ["here", "elsewhere"])] : []);
      say(readoutNote, layers.length ? words.readout ?? "" : "Drag over layers in any panel, or press Enter on one.");
      readoutNote.hidden = !readoutNote.textContent;
      const open = panels.filter(({ state }) => state !== "done").length;
      say(measured, open ? `${panels.length - open} of ${panels.length} views measured` : `All ${panels.length} views measured`);
      measured.classList.toggle("ml-ticked", !open && panels.length > 0);
      times.replaceChildren(figures2(panels.map((panel) => [panel.title, panel.state === "done" ? seconds(panel.seconds) : standing(panel)])));
    },
    /** What lies under the pointer, in every panel that has it. @param {readonly PanelView[]} views */
    point(views2) {
      const at = scene.spot;
      if (!at) {
        say(spot, "Point at a cell, or move with the arrow keys.");
        here.replaceChildren();
        return;
      }
      spot.replaceChildren("layer ", h("b", {}, at.layer === null ? "–" : `${at.layer}`), ` ${at.kind === "tokens" ? "token" : at.kind === "lines" ? "model" : "module"} `, h("b", {}, at.name));
      const rows = views2.flatMap((view) => {
        const value = view.saidAt(at);
        return value === null ? [] : [
          /** @type {[string, string]} */
          [view.panel.title, value]
        ];
      });
      here.replaceChildren(figures2(rows));
    }
  };
}

// src/lib/strip_view.js
function stripView(id, stop, measure, signal) {
  const sources = h("div", { class: "ml-strip-sources", role: "list", "aria-label": "Models" });
  const facts = h("dl", { class: "ml-facts" });
  const busy = h("span", { class: "ml-busy", role: "status" });
  const stopping = h("button", { class: "ml-button ml-small", type: "button" }, icon("stop"), "Stop");
  const measuring = h("button", { class: "ml-button ml-small", type: "button" }, icon("play"), "Measure the rest");
  stopping.addEventListener("click", stop, { signal });
  measuring.addEventListener("click", measure, { signal });
  return {
    /** Nothing answers any more. */
    shut() {
      stopping.disabled = measuring.disabled = true;
      busy.hidden = stopping.hidden = measuring.hidden = true;
    },
    root: h("header", { class: "ml-strip" }, sources, facts, h("div", { class: "ml-strip-state" }, busy, stopping, measuring)),
    /** @param {State["strip"]} strip @param {State["words"]} words @param {State["busy"]} now @param {boolean} halted */
    draw(strip, words, now, halted) {
      sources.replaceChildren(
        ...strip.map(
          ({ name, code, layers }, source) => h("span", { role: "listitem", title: `${name}, ${layers} layers` }, swatch(id, source, 11), h("b", {}, name), h("span", { class: "ml-code" }, code), h("span", { class: "ml-many" }, `${layers} layers`))
        )
      );
      facts.replaceChildren(...(words.facts ?? []).map(([label2, value]) => h("div", {}, h("dt", {}, label2), h("dd", {}, value))));
      say(busy, now?.text ? `${now.text}${now.total > 1 ? `, ${now.done} of ${now.total}` : ""}` : "");
      busy.title = now?.text ?? "";
      busy.hidden = !now?.text;
      stopping.hidden = !now?.text;
      measuring.hidden = Boolean(now?.text) || !halted;
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

// src/inspector.js
var PAUSE = 60;
var CLOSED = "This view is closed and shows what it last showed. Run the cell again to go on.";
var HELD = (
  /** @type {const} */
  ["panels", "strip", "dials", "readout", "words", "busy", "error"]
);
function chosenIn({ sources = [] }) {
  return sources.length > 1 ? sources.find(({ chosen }) => chosen)?.label ?? "" : "";
}
var views = 0;
function render({ model, el, signal: outer }) {
  const over = new AbortController();
  const { signal } = over;
  outer?.addEventListener("abort", () => over.abort(), { once: true });
  const id = `ml-${views += 1}-${Math.random().toString(36).slice(2, 8)}`;
  const scene = { id, sources: [], chosen: chosenIn(model.get("dials")), layers: model.get("selection").layers, spot: null };
  const spoken = h("div", { class: "ml-hidden", role: "status", "aria-live": "polite" });
  let turned = {};
  let holding = false;
  let closed = false;
  const box = outbox((edits) => {
    if (closed) return;
    const { layers, ...turns } = edits;
    if (layers) model.set("selection", { layers: (
      /** @type {number[]} */
      layers
    ) });
    if (Object.keys(turns).length) model.set("turned", { ...model.get("turned"), ...turns });
    model.save_changes();
  }, PAUSE);
  const ask = (edits) => {
    model.set("asked", { ...model.get("asked"), ...edits });
    model.save_changes();
  };
  const strip = stripView(id, () => ask({ stop: model.get("asked").stop + 1 }), () => ask({ measure: model.get("asked").measure + 1 }), signal);
  let stale = { panels: true, look: true, marks: true, side: true };
  let frame = 0;
  function redraw(parts) {
    for (
      const part of
      /** @type {(keyof typeof stale)[]} */
      Object.keys(parts)
    ) stale[part] ||= parts[part] ?? false;
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  }
  function select(layers, settled) {
    if (closed) return;
    holding = !settled;
    const changed = !same(layers, scene.layers);
    scene.layers = layers;
    if (changed) box.put({ layers: [...layers] });
    if (settled) {
      box.flush();
      say(spoken, layersInWords(layers));
    }
    redraw({ marks: true, side: true });
  }
  function point(spot) {
    const before = scene.spot;
    if (spot === before || spot && before && spot.panel === before.panel && spot.row === before.row && spot.column === before.column) return;
    scene.spot = spot;
    redraw({ marks: true });
  }
  const side = sideView(scene, {
    turn(edits) {
      turned = { ...turned, ...edits };
      box.put(edits);
      redraw({ side: true });
    },
    release: () => box.flush(),
    clear: () => select([], true),
    turned: () => turned
  }, signal);
  const closing = h("div", { class: "ml-closed", role: "status" });
  const grid = h("div", { class: "ml-panels" });
  const errorText = h("div", { class: "ml-error-text" });
  const error = h("div", { class: "ml-error", role: "alert" }, icon("cross"), errorText);
  const keys = h("p", { class: "ml-hidden", id: `${id}-keys` }, "Left and Right go through the layers, Up and Down through the rows, Home and End to the first and the last layer. Enter selects a layer, Shift with Left or Right makes the selection larger or smaller, Escape clears it.");
  const root = h(
    "div",
    { class: "ml-root", "data-lm-suppress-shortcuts": "true", "data-jp-suppress-context-menu": "true" },
    patterns(id),
    closing,
    strip.root,
    h("div", { class: "ml-inspect" }, h("div", { class: "ml-looks" }, error, grid), side.root),
    keys,
    spoken
  );
  root.addEventListener("keydown", (event) => event.stopPropagation(), { signal });
  const wrap = h("div", { class: "ml-wrap" }, root);
  const panels = /* @__PURE__ */ new Map();
  let rooms = /* @__PURE__ */ new Map();
  let ruler = rulerOf(root);
  let ramps = null;
  function roomsOf(given) {
    const found = /* @__PURE__ */ new Map();
    if (getComputedStyle(grid).gridTemplateColumns.split(" ").length < 2) return found;
    for (let i = 0; i + 1 < given.length; i += 1) {
      const pair = [given[i], given[i + 1]];
      if (pair.some(({ wide }) => wide)) continue;
      const room = Math.max(...pair.map((panel) => panels.get(panel.id)?.view.natural(panel, ruler) ?? 0));
      for (const { id: name } of pair) found.set(name, room);
      i += 1;
    }
    return found;
  }
  function drawPanels(everything) {
    const given = model.get("panels");
    scene.sources = model.get("strip").map(({ name }) => name);
    for (const [name, { view, end }] of panels) {
      if (given.some((panel) => panel.id === name && panel.kind === view.kind)) continue;
      end.abort();
      view.root.remove();
      panels.delete(name);
      if (scene.spot?.panel === name) scene.spot = null;
    }
    const changed = /* @__PURE__ */ new Set();
    given.forEach((panel, i) => {
      let kept = panels.get(panel.id);
      if (!kept) {
        const end = new AbortController();
        signal.addEventListener("abort", () => end.abort(), { signal: end.signal });
        kept = { view: panelView(panel, scene, { point, select }, end.signal), end };
        panels.set(panel.id, kept);
        changed.add(panel.id);
      } else if (everything || !alike(panel, kept.view.panel)) changed.add(panel.id);
      if (grid.children[i] !== kept.view.root) grid.insertBefore(kept.view.root, grid.children[i] ?? null);
    });
    ramps ??= rampsOf(root);
    const before = rooms;
    rooms = roomsOf(given);
    for (const panel of given) {
      const room = rooms.get(panel.id) ?? 0;
      if (changed.has(panel.id) || room !== (before.get(panel.id) ?? 0)) panels.get(panel.id)?.view.draw(panel, ramps, ruler, room);
    }
  }
  function draw() {
    const { panels: numbers, look, marks, side: beside } = stale;
    stale = { panels: false, look: false, marks: false, side: false };
    if (numbers) drawPanels(look);
    const shown = model.get("panels").flatMap((panel) => panels.get(panel.id)?.view ?? []);
    if (numbers || marks) {
      const first = shown.find((view) => view.kind !== "sinks");
      for (const view of shown) view.mark(view === first, ruler);
      side.point(shown);
    }
    if (numbers || beside) {
      const states = model.get("panels");
      const busy = model.get("busy");
      if (!closed) strip.draw(model.get("strip"), model.get("words"), busy, states.some(({ state }) => state === "stopped" || state === "failed"));
      side.draw({ dials: model.get("dials"), words: model.get("words"), panels: states, readout: model.get("readout") });
      const wrong = model.get("error");
      error.hidden = !wrong;
      say(errorText, wrong);
    }
  }
  function heard(event, call) {
    model.on(event, call);
    signal.addEventListener("abort", () => model.off(event, call));
  }
  for (const name of HELD) {
    heard(`change:${name}`, () => {
      if (name === "dials") turned = unanswered(turned, model.get("dials"));
      if (name === "error" && model.get("error")) turned = {};
      const chosen = chosenIn(model.get("dials"));
      const look = name === "strip" || chosen !== scene.chosen;
      scene.chosen = chosen;
      redraw({ panels: name === "panels" || look, look, side: true });
    });
  }
  heard("comm:close", () => {
    if (closed) return;
    closed = true;
    root.classList.add("ml-shut");
    say(closing, CLOSED);
    strip.shut();
    side.shut();
    redraw({ side: true });
  });
  heard("change:selection", () => {
    if (holding || box.waiting) return;
    scene.layers = ascending(model.get("selection").layers);
    redraw({ marks: true, side: true });
  });
  const repaint = () => {
    ramps = null;
    ruler = rulerOf(root);
    redraw({ panels: true, look: true, side: true });
  };
  let width = 0;
  const size = new ResizeObserver(() => {
    if (grid.clientWidth > 0 && grid.clientWidth !== width) {
      width = grid.clientWidth;
      repaint();
    }
  });
  const themes = new MutationObserver(repaint);
  const system = globalThis.matchMedia?.("(prefers-color-scheme: dark)");
  system?.addEventListener("change", repaint, { signal });
  signal.addEventListener("abort", () => {
    box.flush();
    size.disconnect();
    themes.disconnect();
    cancelAnimationFrame(frame);
    wrap.remove();
  });
  followTheme(root, signal);
  themes.observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  el.append(wrap);
  size.observe(grid);
  draw();
  return () => over.abort();
}
var inspector_default = { render };
export {
  inspector_default as default
};
