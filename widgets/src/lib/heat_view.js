// @ts-check
// A matrix as colours: rows by layers, on a canvas, one pixel a cell, stretched. What is not measured is hatched; what
// chance alone gives too is pale, what it does not carries a dot.

import { axisOf } from "./axis.js";
import { h, label, s } from "./dom.js";
import { chip, layerNumbers, selected, sheetsOf } from "./marks.js";
import { againstChance, placeOf, rangeOf, unpack } from "./panels.js";
import { withChance } from "./quantity.js";
import { stepOf } from "./ramp.js";

/** @typedef {import("./panels.js").Panel} Panel */

const ROW = 17; // px, where there is room
const LINES = 28; // px of a row whose name takes two lines
const STRETCHED = 56; // px, at most, of a row beside a taller panel
const TALLEST = 420; // px: from here on rows become thinner
const GAP = 5; // px between groups of modules
const FOOT = 20; // px below, for the layers' numbers
const DIVIDED = 7; // px: cells smaller than this touch and carry no dots
const PALE = 0.18; // of the colour stays, within chance

/**
 * Rows from top to bottom; a gap where the part of the name before the last dot changes.
 * @param {readonly string[]} names @param {boolean} grouped @param {boolean} [twofold] names take two lines
 * @param {number} [room] px to fill, as far as rows may be stretched
 */
export function rowsOf(names, grouped, twofold = false, room = 0) {
  const count = Math.max(1, names.length);
  const usual = twofold ? LINES : ROW;
  const group = (/** @type {string} */ name) => name.slice(0, Math.max(0, name.lastIndexOf(".")));
  const parted = (/** @type {number} */ row) => row > 0 && grouped && count * usual <= TALLEST && group(names[row]) !== group(names[row - 1]);
  const gaps = GAP * names.filter((_, row) => parted(row)).length;
  const least = Math.max(2, Math.min(usual, TALLEST / count));
  const tall = Math.max(least, Math.min(STRETCHED, (room - gaps) / count));
  /** @type {number[]} */
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
    at: (py) => Math.max(0, tops.filter((top) => py >= top).length - 1),
  };
}

/**
 * A name on one line or, broken behind a dot or an underscore, on two.
 * @param {string} name @param {(words: string) => boolean} fits
 */
export function linesOf(name, fits) {
  if (fits(name)) return [name];
  const breaks = [...name.matchAll(/[._]/g)].map(({ index }) => index + 1).filter((at) => at < name.length);
  const good = breaks.filter((at) => fits(name.slice(0, at)) && fits(name.slice(at))).at(-1);
  return good === undefined ? [name] : [name.slice(0, good), name.slice(good)];
}

export function heatPicture() {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const svg = s("svg", { "aria-hidden": "true" });
  const root = h("div", { class: "ml-picture" }, canvas, svg);
  const cells = document.createElement("canvas"); // a pixel a cell
  const sheet = sheetsOf(svg, 4);
  let drawn = 0; // how often everything was laid out

  /** Room for names, and the names in it. @param {Panel} panel @param {number} width @param {import("./ruler.js").Ruler} ruler */
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

  /** Height of the cells without being stretched, px. @param {Panel} panel @param {number} width @param {import("./ruler.js").Ruler} ruler */
  function natural(panel, width, ruler) {
    const { mono, twofold } = namesOf(panel, width, ruler);
    return rowsOf(panel.rows, !mono, twofold).height;
  }

  /**
   * @param {Panel} panel @param {number} width @param {import("./ruler.js").Ruler} ruler @param {number} [room] px: the height of its neighbour
   */
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
      rowAt: (_column, py) => rows.at(py),
    };
  }

  /** The colours. @param {Panel} panel @param {ReturnType<typeof layout>} at @param {import("./ramp.js").Ramps} ramps */
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
    /** @type {[number, number][]} */
    const missing = [];
    /** @type {[row: number, column: number, dark: boolean][]} */
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
          image.data.set([...full.map((each, i) => (chance && !chance.outside ? PALE * each + (1 - PALE) * ramps.surface[i] : each)), 255], to);
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
    // While numbers still come in, a cell without one is empty, not missing.
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

  /**
   * Names, numbers, selection, what is pointed at.
   * @param {Panel} panel @param {ReturnType<typeof layout>} at
   * @param {{ runs: import("./selection.js").Run[], row: number | null, column: number | null, grips: boolean, ruler: import("./ruler.js").Ruler }} shown
   */
  function over(panel, at, { runs, row, column, grips, ruler }) {
    const { axis, rows } = at;
    svg.setAttribute("width", `${at.width}`);
    svg.setAttribute("height", `${at.full}`);
    const every = Math.ceil(11 / rows.tall);
    sheet(0, [drawn, row], () =>
      at.names.flatMap((name, i) => {
        if (i !== row && (i % every || (row !== null && Math.abs(i - row) < every))) return [];
        const kind = `${panel.kind === "tokens" ? "ml-mono " : ""}${i === row ? "ml-ink ml-b" : "ml-ink2"}`;
        const middle = rows.tops[i] + rows.tall / 2 + 4;
        return name.map((words, line) => label(axis.gutter - 8, middle + 12 * (line - (name.length - 1) / 2), words, { "text-anchor": "end", class: kind }));
      }),
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
        chip(axis.middle(column), box.y, box.y + rows.tall, words, [0, at.width], ruler),
      ];
    });
  }
  return { root, natural, layout, paint, over };
}
