// @ts-check
// A matrix as colours: rows by layers, on a canvas, one pixel a cell, stretched. What is not measured is hatched.

import { axisOf } from "./axis.js";
import { h, label, s } from "./dom.js";
import { chip, layerNumbers, selected, sheetsOf } from "./marks.js";
import { placeOf, rangeOf, unpack } from "./panels.js";
import { quantity } from "./quantity.js";
import { stepOf } from "./ramp.js";

/** @typedef {import("./panels.js").Panel} Panel */

const ROW = 17; // px, where there is room
const TALLEST = 420; // px: from here on rows become thinner
const GAP = 5; // px between groups of modules
const FOOT = 20; // px below, for the layers' numbers
const DIVIDED = 7; // px: cells smaller than this touch

/**
 * Rows from top to bottom; a gap where the part of the name before the last dot changes.
 * @param {readonly string[]} names @param {boolean} grouped
 */
export function rowsOf(names, grouped) {
  const tall = Math.max(2, Math.min(ROW, TALLEST / Math.max(1, names.length)));
  const group = (/** @type {string} */ name) => name.slice(0, Math.max(0, name.lastIndexOf(".")));
  /** @type {number[]} */
  const tops = [];
  let y = 0;
  names.forEach((name, row) => {
    if (row && grouped && tall === ROW && group(name) !== group(names[row - 1])) y += GAP;
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

export function heatPicture() {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const svg = s("svg", { "aria-hidden": "true" });
  const root = h("div", { class: "ml-picture" }, canvas, svg);
  const cells = document.createElement("canvas"); // a pixel a cell
  const sheet = sheetsOf(svg, 4);
  let drawn = 0; // how often everything was laid out

  /**
   * @param {Panel} panel @param {number} width @param {import("./ruler.js").Ruler} ruler
   */
  function layout(panel, width, ruler) {
    const mono = panel.kind === "tokens";
    const rows = rowsOf(panel.rows, !mono);
    const widest = Math.max(...panel.rows.map((each) => ruler.width(each, { mono, bold: true })), 0);
    const gutter = Math.min(Math.max(50, widest + 12), 0.36 * width);
    const axis = axisOf(gutter, width, panel.columns.length);
    const values = unpack(panel.values);
    drawn += 1;
    return {
      axis,
      rows,
      values,
      range: rangeOf(panel, values),
      height: rows.height,
      full: rows.height + FOOT,
      width,
      names: panel.rows.map((each) => ruler.fit(each, gutter - 10, { mono, bold: true }, !mono)),
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
    for (let row = 0, to = 0; row < cells.height; row += 1) {
      for (let column = 0; column < count; column += 1, to += 4) {
        const place = placeOf(values.at(row, column), range, panel.scale);
        if (Number.isNaN(place)) {
          image.data.set([...ramps.blank, 255], to);
          missing.push([row, column]);
        } else image.data.set(ramp.subarray(4 * stepOf(place), 4 * stepOf(place) + 4), to);
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
        return [label(axis.gutter - 8, rows.tops[i] + rows.tall / 2 + 4, name, { "text-anchor": "end", class: kind })];
      }),
    );
    sheet(1, [drawn, runs, grips], () => [selected(axis, runs, rows.height, { grips, veil: true })]);
    sheet(2, [drawn, runs, column], () => [layerNumbers(panel.columns, axis, rows.height + 15, runs, column, ruler)]);
    sheet(3, [drawn, row, column], () => {
      if (column === null) return [];
      if (row === null) return [s("rect", { x: axis.x(column), y: 0, width: axis.column, height: rows.height, class: "ml-pointed-column" })];
      const box = { x: axis.x(column), y: rows.tops[row], width: axis.column, height: rows.tall, rx: 2 };
      const words = quantity(at.values.at(row, column), panel);
      return [
        s("rect", { ...box, class: "ml-ring-halo" }),
        s("rect", { ...box, class: "ml-ring" }),
        chip(axis.middle(column), box.y, box.y + rows.tall, words, [0, at.width], ruler),
      ];
    });
  }
  return { root, layout, paint, over };
}
