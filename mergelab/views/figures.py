"""Figures: the inspector's pictures as plotly's, for one's own reports. The same colours, the same fixed middle."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import plotly.graph_objects as go

from mergelab.errors import InspectionError, Problem
from mergelab.inspection.grid import Grid
from mergelab.views.captions import Floats, caption
from mergelab.views.palette import LIGHT
from mergelab.views.panels import BY_CHANCE, SINKS, SPREAD, Drawn, hatched, span

# The resolved light values of widgets/src/tokens.css.
DIVERGING = ((0.0, "#1f5a94"), (0.25, "#8fbbe0"), (0.5, "#f2f3f5"), (0.75, "#e9b08a"), (1.0, "#9c4313"))
SEQUENTIAL = ((0.0, "#eef0f5"), (0.5, "#949dbd"), (1.0, "#262b4d"))
INK, RULE = "#1b222c", "#dadde1"
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MARKS = ("circle", "diamond", "circle-open", "x", "square")


_WIDE = 110  # letters of a line of words


class Gridded(Protocol):
    """What has one grid that stands for it: seams, a probe."""

    def grid(self) -> Grid:
        """That grid."""


def figure(grid: Grid | Gridded, selection: Sequence[int] | None = None, drawn: Drawn | None = None) -> go.Figure:
    """A picture of a grid: lines on a log axis where its rows are sources, else a heatmap.

    Args:
        grid: a grid, or what has one that stands for it.
        selection: layers to mark.
        drawn: band and points of the lines, and the range of the colours, as the inspector has them.

    Returns:
        A figure of its own, with the caption below as its subtitle's text; every text is escaped.

    Raises:
        InspectionError: it is no grid and has none.
    """
    grid = _grid_of(grid)
    shown = Drawn(grid) if drawn is None else drawn
    lines = grid.axes[0] == "source"
    made = go.Figure(_lines(grid, shown) if lines else _heat(grid, shown))
    words = caption(grid, against_first=shown.against_first)
    told = textwrap.wrap(words.shows, _WIDE)
    told += textwrap.wrap(f"By chance: {shown.chance or words.chance}", _WIDE) if shown.chance or grid.chance else []
    unit = "" if grid.measure.unit in ("", "1") else f" ({grid.measure.unit})"
    made.update_layout(
        template="none",
        title={
            "text": _plain(f"{grid.title}{unit}"),
            "subtitle": {"text": "<br>".join(map(_plain, told))},
            "x": 0,
            "xref": "paper",
        },
        font={"color": INK, "size": 12},
        margin={"l": 130, "t": 62 + 17 * len(told), "r": 20, "b": 50},
        legend={"y": -0.12, "orientation": "h"},
        xaxis={
            "title": {"text": _plain(grid.axes[1])},
            "type": "category",
            "showgrid": False,
            "range": (-0.5, len(grid.columns) - 0.5),
        },
        yaxis=(
            {"type": "log" if grid.measure.scale == "log" else "linear", "gridcolor": RULE}
            if lines
            else {"type": "category", "autorange": "reversed", "showgrid": False}
        ),
    )
    for first, last in _runs(grid.columns, selection or ()):
        made.add_shape(
            type="rect",
            xref="x",
            yref="paper",
            x0=first - 0.5,
            x1=last + 0.5,
            y0=0,
            y1=1,
            line={"color": INK, "width": 1.4},
            fillcolor="rgba(27,34,44,0.06)",
        )
    return made


def _grid_of(given: Grid | Gridded) -> Grid:
    if isinstance(given, Grid):
        return given
    take = getattr(given, "grid", None)
    if take is None or any(one.default is one.empty for one in inspect.signature(take).parameters.values()):
        hint = "Take one of its grids, as trace(...).norms(), or what ml.seams and ml.probe give."
        raise InspectionError(Problem("figure", f"a {type(given).__name__} is no grid.", hint))
    return given.grid()


def _plain(text: str) -> str:
    """Escape: plotly reads a little HTML in every text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _columns(grid: Grid) -> list[str]:
    return [_plain(name) for name in grid.columns]


def _heat(grid: Grid, drawn: Drawn) -> list[go.Heatmap | go.Scatter]:
    low, high = span(drawn)
    measure = grid.measure
    log = measure.scale == "log"
    values = grid.values
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log10(np.where(values > 0, values, np.nan))
        low, high = (None, None) if low is None or high is None else (np.log10(low), np.log10(high))
    columns, rows = _columns(grid), _distinct(grid.rows)
    out = np.argwhere(grid.outside).tolist()
    dots = go.Scatter(
        x=[columns[column] for _, column in out],
        y=[rows[row] for row, _ in out],
        mode="markers",
        name="outside chance",
        marker={"color": "#ffffff", "size": 5, "line": {"color": INK, "width": 1}},
        showlegend=True,
        hoverinfo="skip",
    )
    return [
        go.Heatmap(
            z=values,
            x=columns,
            y=rows,
            customdata=grid.values,
            zmin=low,
            zmax=high,
            colorscale=[list(one) for one in (DIVERGING if measure.scale == "diverging" else SEQUENTIAL)],
            xgap=1,
            ygap=1,
            hoverongaps=False,
            hovertemplate="%{y}, %{x}: %{customdata:.3g}<extra></extra>",
            colorbar={"title": {"text": "log₁₀" if log else ""}, "thickness": 10},
        ),
        *([dots] if out else []),
    ]


def _distinct(names: Sequence[str]) -> list[str]:
    """Rows by name and, where names repeat, as tokens do, told apart by blanks that nobody sees."""
    found: list[str] = []
    for name in names:
        found.append(_plain(name) + "\u200b" * names[: len(found)].count(name))
    return found


def _lines(grid: Grid, drawn: Drawn) -> list[go.Scatter]:
    columns = _columns(grid)
    hues = [place % len(LIGHT) for place in drawn.hues or range(len(grid.rows))]
    log = grid.measure.scale == "log"
    traces = []
    for number, one in enumerate(hatched(drawn)):
        colour = INK if one.row is None else LIGHT[hues[one.row]][0]
        hatch = {"shape": "\\", "fgcolor": _faint(colour, 0.5), "bgcolor": "rgba(0,0,0,0)", "size": 5, "solidity": 0.2}
        edge = {"width": 0.8, "color": _faint(colour, 0.5)}
        outline = _between(columns, one.low, one.high, log=log)
        traces.append(_area(outline, BY_CHANCE, first=not number).update(line=edge, fillpattern=hatch))
    for row in range(len(grid.rows)) if drawn.band is not None else ():
        colour = LIGHT[hues[row]][0]
        outline = _between(columns, *(one.values[row] for one in drawn.band or ()), log=log)
        edge = {"width": 1, "color": _faint(colour, 0.6), "dash": "dot"}
        traces.append(_area(outline, SPREAD, first=not row).update(line=edge, fillcolor=_faint(colour, 0.07)))
    for row, name in enumerate(grid.rows):
        colour = LIGHT[hues[row]][0]
        traces.append(
            go.Scatter(
                x=columns,
                y=grid.values[row],
                mode="lines",
                name=_plain(name),
                line={"color": colour, "dash": DASHES[hues[row]]},
                hovertemplate="%{x}: %{y:.3g}",
            )
        )
        own = [(column, value) for column, value, of in drawn.points if of == row]
        if own:
            traces.append(
                go.Scatter(
                    x=[columns[column] for column, _ in own],
                    y=[value for _, value in own],
                    mode="markers",
                    name=f"{_plain(name)}, {SINKS}",
                    marker={"color": colour, "symbol": MARKS[hues[row]]},
                )
            )
    return traces


_Outline: TypeAlias = tuple[list[str | None], list[float | None]]


def _area(outline: _Outline, name: str, *, first: bool) -> go.Scatter:
    """What lies inside an outline. All of one name are shown and hidden together and have one line in the key."""
    x, y = outline
    return go.Scatter(
        x=x, y=y, mode="lines", fill="toself", name=name, legendgroup=name, showlegend=first, hoverinfo="skip"
    )


def _between(columns: Sequence[str], low: Floats, high: Floats, *, log: bool) -> _Outline:
    """The outline of the area between two lines, one piece after another where there are holes."""
    x: list[str | None] = []
    y: list[float | None] = []
    fits = np.isfinite(low) & np.isfinite(high) & ((low > 0) | (not log))
    places = np.flatnonzero(fits)
    for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        there_and_back = [*run, *run[::-1]]
        x += [*(columns[place] for place in there_and_back), None]
        y += [*low[run].tolist(), *high[run[::-1]].tolist(), None]
    return x, y


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def _runs(columns: Sequence[str], layers: Sequence[int]) -> list[tuple[int, int]]:
    """Places of the selected columns, neighbours together."""
    places = [place for place, name in enumerate(columns) if name.isdigit() and int(name) in layers]
    found: list[tuple[int, int]] = []
    for place in places:
        if found and place == found[-1][1] + 1:
            found[-1] = (found[-1][0], place)
        else:
            found.append((place, place))
    return found
