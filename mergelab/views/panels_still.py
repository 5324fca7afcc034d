"""The inspector as a saved picture: inline SVG and tables, without scripts, for a notebook that is read anywhere.

There is no PNG beside it: where SVG is taken out, the captions and tables stay.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mergelab.inspection.grid import Grid
from mergelab.views.captions import Floats, number, runs
from mergelab.views.palette import DARK, LIGHT
from mergelab.views.panels import BY_CHANCE, SINKS, SPREAD, Drawn, Panel, cell_of, hatched, span, within
from mergelab.views.subjects import Subject
from mergelab.views.visible import visible

# The resolved values of widgets/src/tokens.css: from low to high, light and dark.
_DIVERGING = (
    ("#1f5a94", "#8fbbe0", "#f2f3f5", "#e9b08a", "#9c4313"),
    ("#9ccbf7", "#3f77ab", "#23282f", "#a8623a", "#ffc19a"),
)
_SEQUENTIAL = (("#eef0f5", "#949dbd", "#262b4d"), ("#20242d", "#6672a4", "#e2e7ff"))
_INKS = ("#3d4651", "#c6ccd6")
_LEVELS = 13  # colours of a heatmap: cells of one level are one path
_DASHES = ("", "6 3", "2 3", "7 3 2 3", "10 4")
_WIDE, _GUTTER, _ROW, _TALL = 430, 130, 14, 150  # px
_TABLE = "<table style='color:inherit;font:inherit'>"
_ROWS = 24  # tokens and sinks that are kept: a saved picture is small


def still(
    models: Sequence[Subject],
    panels: Sequence[Panel],
    layers: Sequence[int],
    prompts: str,
    read: Sequence[Mapping[str, str]],
) -> str:
    """Every panel that has something to show, its caption, and the selection in figures. Text is escaped, `visible`."""
    names = ", ".join(f"<bdi>{html.escape(one.name)}</bdi> ({one.layers} layers)" for one in models)
    shown = "".join(_panel(panel, layers) for panel in panels if panel.measured)
    missing = ", ".join(panel.title.lower() for panel in panels if not panel.measured)
    left = f"<p>Not measured: {html.escape(missing)}.</p>" if missing else ""
    return visible(
        '<div class="mergelab-still" style="font:13px/1.45 system-ui,sans-serif;max-width:760px;'
        'overflow-wrap:break-word">'
        f"<p><b>{names}</b>. Prompts: {html.escape(prompts)}.</p>{shown}{left}{_readout(read, layers)}"
        '<p style="opacity:.7">Saved picture; run the cell to work on it.</p>'
        f"{_palette()}</div>"
    )


def _palette() -> str:
    """The colours, once for all panels: an SVG of no size, whose style holds in the whole document."""

    def rules(side: int) -> str:
        lines = "".join(
            f".mli .l{at}{{stroke:{one[0]}}}.mli .f{at}{{fill:{one[0]}}}.mli .t{at}{{fill:{one[2]}}}"
            for at, one in enumerate((LIGHT, DARK)[side])
        )
        levels = "".join(
            f".mli .{kind}{level}{{stroke:{_between(stops[side], level / (_LEVELS - 1))}}}"
            for kind, stops in (("d", _DIVERGING), ("q", _SEQUENTIAL))
            for level in range(_LEVELS)
        )
        ink = _INKS[side]
        inked = f".mli text{{fill:{ink}}}.mli .ax,.mli .n,.mli .c,.mli .k{{stroke:{ink}}}"
        return f"{inked}{lines}{levels}"

    common = (
        ".mli text{font:11px system-ui,sans-serif}.mli .ln{fill:none;stroke-width:1.6}.mli .e{text-anchor:end}"
        ".mli .m{text-anchor:middle}.mli .ax{stroke-opacity:.3}.mli .n{stroke-opacity:.25}"
        ".mli .b{fill:none;stroke-opacity:.6;stroke-dasharray:1.5 2.5}"
        ".mli .s{fill:none;stroke-width:1.4;stroke-opacity:1}"
        ".mli .p{stroke-opacity:.18}"
        ".mli .c{stroke-width:.8;stroke-opacity:.55}.mli .h{stroke-width:1.2;stroke-opacity:.55}"
    )
    # Hatched as in the widget; with lines of its own in each band's colour, as a pattern has one colour.
    lines = "".join(
        f'<pattern id="mli-{look}" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">'
        f'<line class="h {look}" y2="4"/></pattern>'
        for look in ("k", *(f"l{place}" for place in range(len(LIGHT))))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="mli" width="0" height="0" aria-hidden="true">'
        f"<style>{common}{rules(0)}@media(prefers-color-scheme:dark){{{rules(1)}}}</style><defs>{lines}</defs></svg>"
    )


def _between(stops: Sequence[str], place: float) -> str:
    """A colour on the way through ``stops``, in sRGB."""
    at = min(int(place * (len(stops) - 1)), len(stops) - 2)
    share = place * (len(stops) - 1) - at
    ends = [[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in stops[at : at + 2]]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*ends, strict=True))


def _panel(panel: Panel, layers: Sequence[int]) -> str:
    drawn, words = panel.drawn, panel.caption
    if drawn.grid is not None:
        measure = drawn.grid.measure
        title, unit = drawn.grid.title, "" if measure.unit in ("", "1") else f" ({measure.unit})"
        picture = _lines(drawn.grid, drawn, layers) if panel.kind == "lines" else _heat(drawn.grid, drawn, layers)
    else:
        title, unit = panel.title, ""
        picture = "" if drawn.table is None else _table(drawn.table)
    so = f" <b>So</b> {html.escape(words.so)}" if words.so else ""
    if panel.reading and (drawn.grid is None or drawn.grid.chance is None):
        so += f" <b>Reading</b> {html.escape(panel.reading)}"
    state = "" if panel.state == "done" else f" <b>{panel.state.capitalize()}</b>: a part of it."
    chance = words.chance if words.chance.startswith("Chance") else f"<b>By chance</b> {html.escape(words.chance)}"
    return (
        f"<p style='margin:14px 0 2px'><b>{html.escape(title)}</b>{html.escape(unit)}</p>{picture}"
        f"<p style='margin:2px 0'><b>Shows</b> {html.escape(_running(words.shows))} {chance}{so}{state} "
        f"<span style='opacity:.7'>{html.escape(panel.notes)}</span></p>"
    )


def _running(sentence: str) -> str:
    """A sentence that goes on from a word."""
    return sentence[:1].lower() + sentence[1:]


def _svg(label: str, height: float, inside: str) -> str:
    wide = _WIDE + _GUTTER + 8
    return (
        f'<svg class="mli" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(label, quote=True)}" '
        f'width="{wide}" height="{height:g}" viewBox="0 0 {wide} {height:g}" style="max-width:100%">{inside}</svg>'
    )


def _axis(grid: Grid, y: float) -> str:
    """Names of the columns, as many as there is room for."""
    step = _WIDE / max(1, len(grid.columns))
    every = max(1, math.ceil(26 / step))
    return f'<text x="0" y="{y:g}">{html.escape(grid.axes[1])}</text>' + "".join(
        f'<text class="m" x="{_GUTTER + (place + 0.5) * step:.1f}" y="{y:g}">{html.escape(_short(name, 6))}</text>'
        for place, name in enumerate(grid.columns)
        if place % every == 0
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _selected(grid: Grid, layers: Sequence[int], height: float) -> str:
    step = _WIDE / max(1, len(grid.columns))
    places = [place for place, name in enumerate(grid.columns) if name.isdigit() and int(name) in layers]
    place = f'y="1" height="{height:g}"'
    return "".join(
        f'<rect class="ax s" x="{_GUTTER + run[0] * step:.1f}" width="{len(run) * step:.1f}" {place}/>'
        for run in _neighbours(places)
    )


def _neighbours(places: Sequence[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for place in places:
        if run and place != run[-1] + 1:
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _heat(grid: Grid, drawn: Drawn, layers: Sequence[int]) -> str:
    low, high = span(drawn)
    count = min(len(grid.rows), _ROWS)
    values = grid.values[:count]
    height = count * _ROW
    step = _WIDE / max(1, len(grid.columns))
    paths: dict[str, list[str]] = {}
    if low is not None and high is not None:
        levels = _levels(values, low, high, log=grid.measure.scale == "log")
        kind = "d" if grid.measure.scale == "diverging" else "q"
        pale = within(grid)[:count].tolist()
        for row, line in enumerate(levels):
            looks = [
                "n" if level < 0 else f"{kind}{level}{' p' * one}" for level, one in zip(line, pale[row], strict=True)
            ]
            for run in _alike(looks):
                look = looks[run[0]]
                paths.setdefault(look, []).append(f"M{run[0]} {row}h{len(run)}")
    # In cells, not in pixels, and as strokes: seven letters for each cell keep a model of eighty layers small.
    placed = f'transform="translate({_GUTTER} {_ROW / 2 + 1:g}) scale({step:.5g} {_ROW})" stroke-width=".94"'
    drawn_cells = (f'<path class="{look}" d="{"".join(parts)}"/>' for look, parts in sorted(paths.items()))
    cells = f"<g {placed}>{''.join(drawn_cells)}</g>"
    names = "".join(
        f'<text class="e" x="{_GUTTER - 6}" y="{row * _ROW + 11}">{html.escape(_short(name, 20))}</text>'
        for row, name in enumerate(grid.rows[:count])
    )
    key = ""
    if low is not None and high is not None:
        middle = f", middle {number(grid.measure.middle)}" if grid.measure.scale == "diverging" else ""
        log = ", log scale" if grid.measure.scale == "log" else ""
        key = f"Colours: {number(low)} to {number(high, grid.measure.unit)}{middle}{log}."
    if within(grid)[:count].any():
        key = f"{key} Pale: within chance."
    if np.isnan(values).any():
        key = f"{key} Thin grey: no value.".strip()
    left = f" The first {count} of {len(grid.rows)} rows." if count < len(grid.rows) else ""
    label = f"{grid.title}. {count} rows, {len(grid.columns)} columns. {key}"
    inside = f"{cells}{_selected(grid, layers, height)}{names}{_axis(grid, height + 14)}"
    return _svg(label, height + 20, inside) + f"<p style='margin:0;opacity:.7'>{html.escape(key + left)}</p>"


def _levels(values: Floats, low: float, high: float, *, log: bool) -> list[list[int]]:
    """The level of each value, 0 to _LEVELS - 1; -1 where there is none."""
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):
            values, low, high = np.log(np.where(values > 0, values, np.nan)), math.log(low), math.log(high)
    place = (values - low) / ((high - low) or 1.0)
    found = np.clip(np.nan_to_num(place, nan=-1.0, posinf=1.0, neginf=0.0) * (_LEVELS - 1), 0, _LEVELS - 1).round()
    return [[int(one) for one in row] for row in np.where(np.isnan(values), -1, found)]


def _alike(looks: Sequence[str]) -> Iterator[list[int]]:
    run: list[int] = []
    for place, look in enumerate(looks):
        if run and look != looks[run[0]]:
            yield run
            run = []
        run.append(place)
    if run:
        yield run


@dataclass(frozen=True)
class _Field:
    """Where lines are drawn: from what range of values, in how many columns."""

    low: float
    high: float
    log: bool
    columns: int

    def x(self, place: int) -> float:
        return _GUTTER + (place + 0.5) * _WIDE / max(1, self.columns)

    def y(self, value: float) -> float:
        low, high = self.low, self.high
        share = math.log(value / low) / math.log(high / low) if self.log else (value - low) / (high - low)
        return 6 + (1 - share) * (_TALL - 12)

    def runs(self, *lines: Floats) -> Iterator[list[int]]:
        """Columns in which all lines have a value that can be drawn, neighbours together."""
        fits = [np.isfinite(line) & ((line > 0) | (not self.log)) for line in lines]
        return _neighbours([int(place) for place in np.flatnonzero(np.logical_and.reduce(fits))])

    def line(self, values: Floats, look: str) -> Iterator[str]:
        for run in self.runs(values):
            yield f'<polyline {look} points="{self._points((place, values[place]) for place in run)}"/>'

    def area(self, lows: Floats, highs: Floats, look: str) -> Iterator[str]:
        """What lies between two lines, as far as it is in the picture."""
        for run in self.runs(lows, highs):
            outline = [*((place, lows[place]) for place in run), *((place, highs[place]) for place in reversed(run))]
            held = ((place, min(max(value, self.low), self.high)) for place, value in outline)
            yield f'<polygon {look} points="{self._points(held)}"/>'

    def _points(self, points: Iterable[tuple[int, float]]) -> str:
        return " ".join(f"{self.x(place):.1f},{self.y(float(value)):.1f}" for place, value in points)


def _lines(grid: Grid, drawn: Drawn, layers: Sequence[int]) -> str:
    low, high = span(drawn)
    if low is None or high is None:
        return ""
    log = grid.measure.scale == "log"
    field = _Field(low, high if high > low else low * 1.1 + 1e-9, log, len(grid.columns))
    hues = [place % len(LIGHT) for place in drawn.hues or range(len(grid.rows))]
    by_chance = hatched(drawn)
    parts = [_selected(grid, layers, _TALL)]
    for level in (field.low, math.sqrt(low * field.high) if log else (low + field.high) / 2, field.high):
        y = field.y(level)
        parts.append(f'<line class="ax" x1="{_GUTTER}" x2="{_GUTTER + _WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="e" x="{_GUTTER - 6}" y="{y + 4:.1f}">{number(level)}</text>')
    for band in by_chance:
        look = "k" if band.row is None else f"l{hues[band.row]}"
        parts += field.area(band.low, band.high, f'class="c {look}" fill="url(#mli-{look})"')
    for row, name in enumerate(grid.rows):
        hue = hues[row]
        if drawn.band is not None:
            least, most = drawn.band
            parts += field.area(least.values[row], most.values[row], f'class="b l{hue}"')
        dash = f' stroke-dasharray="{_DASHES[hue]}"' if _DASHES[hue] else ""
        parts += field.line(grid.values[row], f'class="ln l{hue}"{dash}')
        parts.append(f'<text class="t{hue}" x="0" y="{16 + 15 * row}">{html.escape(_short(name, 14))}</text>')
    for column, value, row in drawn.points:
        if list(field.runs(np.array([value]))):
            at = f'cx="{field.x(column):.1f}" cy="{field.y(value):.1f}"'
            parts.append(f'<circle class="f{hues[row]}" {at} r="2.5"/>')
    label = f"{grid.title}: {', '.join(grid.rows)}, over {len(grid.columns)} columns, {number(low)} to {number(high)}."
    marks = (("Dots", SINKS, drawn.points), ("Dotted", SPREAD, drawn.band), ("Hatched", BY_CHANCE, by_chance))
    key = ". ".join(f"{mark}: {means}" for mark, means, there in marks if there)
    picture = _svg(label, _TALL + 20, f"{''.join(parts)}{_axis(grid, _TALL + 14)}")
    return f"{picture}<p style='margin:0;opacity:.7'>{key}.</p>" if key else picture


def _table(table: pd.DataFrame) -> str:
    if table.empty:
        return "<p>None.</p>"
    head = "".join(f"<th style='text-align:left'>{html.escape(str(name))}</th>" for name in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(_word(value))}</td>" for value in row) + "</tr>"
        for row in table.head(_ROWS).itertuples(index=False)
    )
    left = f"<p>The first {_ROWS} of {len(table)}.</p>" if len(table) > _ROWS else ""
    return f"{_TABLE}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{left}"


def _word(value: object) -> str:
    cell = cell_of(value)
    return number(cell) if isinstance(cell, float) else "" if cell is None else str(cell)


def _readout(read: Sequence[Mapping[str, str]], layers: Sequence[int]) -> str:
    if not read:
        return ""
    chosen = np.zeros(max(layers) + 1, dtype=np.bool_)
    chosen[list(layers)] = True
    named = runs([str(one) for one in range(len(chosen))], chosen)
    cells = ([html.escape(row[key]) for key in ("label", "here", "elsewhere")] for row in read)
    rows = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in row) + "</tr>" for row in cells
    )
    return (
        f"{_TABLE}<thead><tr><th style='text-align:left'>{html.escape(named)}</th><th>here</th><th>elsewhere</th></tr>"
        f"</thead><tbody>{rows}</tbody></table>"
    )
