"""Panels: what each figure of the inspector is, as data: for the browser, for a saved picture, and in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from mergelab.inspection.grid import Chance, Grid
from mergelab.views.captions import CLEARLY, NO_CHANCE, Bools, Caption, Floats, bands, caption, number
from mergelab.views.visible import visible

Over: TypeAlias = tuple[float, float, float]
Kind = Literal["lines", "heat", "tokens", "sinks"]

_WIDE = 4.0  # times as wide as the band of the first quarter of values: of those that 16 times fewer weights make
_ROUND = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is drawn in a panel: a grid, or a table.

    Attributes:
        band: the ends of the spread of each value, for lines.
        points: values apart from their lines, ``(column, value, row)``: sinks.
        table: for a panel of rows in words.
        shows: one sentence, where what is shown hangs on what was found.
        note: what else one has to know of it.
        over: the figure over some layers together, and what chance gives (low, high; NaN: not known), where it is no
            mean or median of the values.
        reach: half of a diverging range, or the end of a linear one; 0: of these values.
        own: each row is held against its own chance, not against that of the first row; for lines.
        chances: for lines that are held against the first one's chance, what chance gives each: low and high, shaped
            like the values.
        chance: what chance alone gives, in words, where there is no band.
        reading: what to make of it, where there is no measure that says so.
        hues: for lines, the place of each row's source among the models, by which it is coloured; empty: in order.
    """

    grid: Grid | None = None
    band: tuple[Grid, Grid] | None = None
    points: tuple[tuple[int, float, int], ...] = ()
    table: pd.DataFrame | None = None
    shows: str = ""
    note: str = ""
    over: Callable[[Sequence[int]], Over] | None = None
    reach: float = 0.0
    own: bool = False
    chances: tuple[Floats, Floats] | None = None
    chance: str = ""
    reading: str = ""
    hues: tuple[int, ...] = ()

    @property
    def against_first(self) -> bool:
        """Whether rows are held against the first one's chance."""
        return self.grid is not None and self.grid.axes[0] == "source" and not self.own


@dataclass(frozen=True, eq=False)
class Panel:
    """One figure and how far it is.

    Attributes:
        name: as `Inspector.grid` and `to_frame` know it: ``"conflict"``.
        title: before anything is measured; then the measure has its own.
        shows: one sentence, likewise.
        state: "failed" may come right when it is measured again, "refused" will not.
        note: what went wrong.
    """

    name: str
    kind: Kind
    title: str
    shows: str
    wide: bool = False
    drawn: Drawn = Drawn()
    state: Literal["waiting", "measuring", "done", "stopped", "failed", "refused"] = "waiting"
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def caption(self) -> Caption:
        """What it shows, what chance gives, what to make of it."""
        grid, told = self.drawn.grid, self.drawn.chance or NO_CHANCE
        if grid is None:
            return Caption(self.drawn.shows or self.shows, told, "")
        words = caption(grid, against_first=self.drawn.against_first)
        return replace(words, chance=told) if words.chance == NO_CHANCE else words

    @property
    def reading(self) -> str:
        """What to make of large and small values, and what not to."""
        return self.drawn.reading if self.drawn.grid is None else self.drawn.grid.measure.reading

    @property
    def notes(self) -> str:
        """What went wrong, and the remarks."""
        return " ".join(filter(None, (self.note, self.remarks)))

    @property
    def remarks(self) -> str:
        """What was left out and why, what the words and colours of it mean."""
        grid = self.drawn.grid
        if grid is None:
            return self.drawn.note
        rule = CLEARLY if grid.chance is not None and self.caption.so else ""
        return " ".join(filter(None, (self.drawn.note, grid.note, rule, _beyond(self.drawn))))

    @property
    def measured(self) -> bool:
        """Whether there is anything to see."""
        return self.drawn.grid is not None or self.drawn.table is not None


def payload(panel: Panel) -> dict[str, Any]:
    """The panel for the browser: plain JSON and float32 buffers, NaN where nothing is known."""
    grid, words = panel.drawn.grid, panel.caption
    given = _of_grid(panel, grid) if grid is not None else _EMPTY
    table = panel.drawn.table
    if table is not None:
        given = {
            **given,
            "rows": [str(one) for one in range(len(table))],
            "columns": [str(one) for one in table.columns],
            "cells": [[cell_of(value) for value in row] for row in table.itertuples(index=False)],
        }
    return {
        "id": panel.name,
        "kind": panel.kind,
        "title": panel.title if grid is None else grid.measure.title,
        "shows": words.shows,
        "chance": "" if words.chance == NO_CHANCE else words.chance,
        "so": words.so,
        "note": panel.notes,
        "wide": panel.wide,
        "state": panel.state,
        "done": panel.done,
        "total": panel.total,
        "seconds": panel.seconds,
        **given,
        "reading": panel.reading,
    }


_EMPTY: Mapping[str, Any] = {
    "unit": "1", "scale": "linear", "middle": 0.0, "rows": [], "columns": [], "of": "", "formula": "",
    "low": None, "high": None, "values": None, "band": None, "points": None, "chanceband": None, "chances": None,
    "cells": None,
}  # fmt: skip


def _of_grid(panel: Panel, grid: Grid) -> dict[str, Any]:
    low, high = span(panel.drawn)
    band, chances = panel.drawn.band, panel.drawn.chances
    measure = grid.measure
    return {
        "unit": measure.unit,
        "scale": measure.scale,
        "middle": measure.middle,
        "rows": [visible(row) for row in grid.rows],
        "columns": list(grid.columns),
        "of": visible(grid.of),
        "formula": measure.formula,
        "low": low,
        "high": high,
        "values": _packed(grid.values),
        "band": None if band is None else {"low": _packed(band[0].values), "high": _packed(band[1].values)},
        "points": [[column, value, row] for column, value, row in panel.drawn.points if math.isfinite(value)],
        "chanceband": None if grid.chance is None else _chanceband(grid, grid.chance),
        "chances": None if chances is None else {"low": _packed(chances[0]), "high": _packed(chances[1])},
        "cells": None,
    }


@dataclass(frozen=True, eq=False)
class Hatched:
    """What chance alone gives, as it lies behind lines: NaN where that is not known.

    Attributes:
        row: the line it belongs to; None: to all of them.
    """

    row: int | None
    low: Floats
    high: Floats


def hatched(drawn: Drawn) -> tuple[Hatched, ...]:
    """The bands of chance of a panel of lines, as widgets/src/lib/lines_view.js draws them: one where all are alike."""
    grid = drawn.grid
    if grid is None or (drawn.chances is None and grid.chance is None):
        return ()
    low, high = drawn.chances or bands(grid, grid.chance)  # type: ignore[arg-type]
    if all(np.array_equal(end, end[:1].repeat(len(end), 0), equal_nan=True) for end in (low, high)):
        return (Hatched(None, low[0], high[0]),)
    return tuple(Hatched(row, *ends) for row, ends in enumerate(zip(low, high, strict=True)))


def within(grid: Grid) -> Bools:
    """Which values chance alone gives, in the shape of the values; none where that is not known."""
    if grid.chance is None:
        return np.zeros(grid.values.shape, dtype=np.bool_)
    low, high = bands(grid, grid.chance)
    found: Bools = (grid.values >= low) & (grid.values <= high)
    return found


# What is written beside the marks of lines: the words of widgets/src/lib/key_view.js.
SPREAD, BY_CHANCE, SINKS = "5–95\u202f% of tokens", "by chance", "sink tokens"


def _packed(values: Floats) -> dict[str, Any]:
    return {"view": values.astype("<f4").tobytes(), "dtype": "float32", "shape": list(values.shape)}


def _chanceband(grid: Grid, chance: Chance) -> dict[str, Any]:
    ends = [np.asarray(end, dtype=np.float64) for end in (chance.low, chance.high)]
    if all(end.size == 1 and np.isfinite(end).all() for end in ends):
        return {"low": float(ends[0].ravel()[0]), "high": float(ends[1].ravel()[0])}
    low, high = bands(grid, chance)
    return {"low": _packed(low), "high": _packed(high)}


def cell_of(value: object) -> str | float | None:
    """A cell of a table, as text or as a number that JSON knows."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    if not isinstance(plain, int | float):
        return None if plain is None or plain is pd.NA else visible(str(plain))
    return plain if math.isfinite(plain) else None


def span(drawn: Drawn) -> tuple[float | None, float | None]:
    """The ends of a panel's colours or of its axis: what is finite in it. A diverging range is as wide on both sides,
    and values that chance moves far, because few weights make them, do not widen it.

    None, None where nothing is finite.
    """
    grid = drawn.grid
    if grid is None:
        return None, None
    parts = [
        _steady(grid),
        *(one.values for one in drawn.band or ()),
        *(bands(grid, grid.chance) if drawn.own and grid.chance is not None else ()),
        np.array([value for _, value, _ in drawn.points]),
    ]
    finite = np.concatenate([part[np.isfinite(part)] for part in parts])
    measure = grid.measure
    if measure.scale == "log":
        finite = finite[finite > 0]
    if not finite.size:
        return None, None
    if measure.scale == "diverging":
        reach = max(_rounded(float(np.abs(finite - measure.middle).max())), drawn.reach) or 1.0
        return measure.middle - reach, measure.middle + reach
    least, most = float(finite.min()), float(finite.max())
    if measure.scale == "log":
        return least, most
    most = max(_rounded(most), drawn.reach)
    return (0.0 if least >= 0 else -_rounded(-least)), most or 1.0


def _steady(grid: Grid) -> Floats:
    """The values that set the range: on a diverging scale those whose band is not far wider than that of others."""
    if grid.measure.scale != "diverging" or grid.chance is None:
        return grid.values
    low, high = bands(grid, grid.chance)
    width = high - low
    known = np.isfinite(grid.values) & np.isfinite(width)
    return grid.values[known & (width <= _WIDE * np.quantile(width[known], 0.25))] if known.any() else grid.values


def _beyond(drawn: Drawn) -> str:
    """That there are values beyond the ends of the colours, in words; "" where there are none."""
    low, high = span(drawn)
    if drawn.grid is None or low is None or high is None:
        return ""
    values = drawn.grid.values[np.isfinite(drawn.grid.values)]
    beyond = int(((values < low) | (values > high)).sum()) if drawn.grid.measure.scale == "diverging" else 0
    lie = "1 value with a wide band lies" if beyond == 1 else f"{beyond} values with wide bands lie"
    return f"{lie} beyond the ends of the colours." if beyond else ""


def _rounded(size: float) -> float:
    """The next round number that is no smaller."""
    if size <= 0:
        return 0.0
    step = 10.0 ** math.floor(math.log10(size))
    return next(one * step for one in _ROUND if one * step >= size * (1 - 1e-9))


def reaching(drawn: Drawn, before: float) -> Drawn:
    """``drawn`` with a range no smaller than it was: colours mean the same while a dial is turned.

    ``reach`` of what comes back is to be handed in the next time.
    """
    grid = drawn.grid
    low, high = span(drawn)
    if grid is None or high is None or low is None or grid.measure.scale == "log":
        return drawn
    end = high - grid.measure.middle if grid.measure.scale == "diverging" else high
    return replace(drawn, reach=max(end, before))


# What is selected, in figures --------------------------------------------------------------------------------


def readout(panels: Iterable[Panel], layers: Sequence[int]) -> list[dict[str, str]]:
    """A row for each figure, over the selected layers together, and over the others.

    With what chance gives where that is known. What was not summed up over weights is the mean, or the median on a log
    scale. Lines of several sources give a row for each: how many times the first one's, or, where each has its own
    chance, its mean.
    """
    rows: list[dict[str, str]] = []
    for panel in panels:
        grid = panel.drawn.grid
        if grid is None or panel.kind == "tokens":
            continue
        chosen = np.array([name.isdigit() and int(name) in layers for name in grid.columns])
        others = np.array([name.isdigit() and int(name) not in layers for name in grid.columns])
        if panel.drawn.own:
            for name, values in zip(grid.rows, grid.values, strict=True):
                here, elsewhere = (_middle(values[columns], np.mean) for columns in (chosen, others))
                rows.append(_row(f"{grid.measure.title}, {name}", grid.measure.unit, here, elsewhere))
        elif panel.kind == "lines" and len(grid.rows) > 1:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = grid.values / grid.values[0]
            for name, values in zip(grid.rows[1:], ratio[1:], strict=True):
                label = f"{grid.measure.title}, {name} against {grid.rows[0]}"
                here, elsewhere = (_middle(values[columns], np.median) for columns in (chosen, others))
                rows.append(_row(label, "x", here, elsewhere))
        else:
            (here, low, high), (elsewhere, _, _) = (_together(panel.drawn, grid, part) for part in (chosen, others))
            unit = grid.measure.unit
            known = math.isfinite(low) and math.isfinite(high)
            chance = f"; by chance here {number(low)} to {number(high, unit)}" if known else ""
            rows.append(_row(grid.title + chance, unit, here, elsewhere))
    return rows


def _together(drawn: Drawn, grid: Grid, columns: Bools) -> Over:
    """A figure over some columns together.

    Values that have a band around one middle each are weighed by one over its square: those count that chance moves
    little, and the band of their mean is known.
    """
    if drawn.over is not None:
        layers = [int(name) for name, chosen in zip(grid.columns, columns, strict=True) if chosen]
        return drawn.over(layers) if layers else (np.nan, np.nan, np.nan)
    values, middle = grid.values[:, columns], grid.measure.middle
    if grid.measure.scale != "diverging" or grid.chance is None or np.size(grid.chance.high) == 1:
        return _middle(values, np.median if grid.measure.scale == "log" else np.mean), np.nan, np.nan
    half = bands(grid, grid.chance)[1][:, columns] - middle
    known = np.isfinite(values) & np.isfinite(half) & (half > 0)
    if not known.any():
        return np.nan, np.nan, np.nan
    weights = half[known] ** -2.0
    width = float(weights.sum() ** -0.5)
    return float(np.average(values[known], weights=weights)), middle - width, middle + width


def _middle(values: Floats, middle: Callable[[Floats], Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(middle(finite)) if finite.size else np.nan


def _row(label: str, unit: str, here: float, elsewhere: float) -> dict[str, str]:
    said = ("–" if np.isnan(value) else number(value, unit) for value in (here, elsewhere))
    return {"label": label, **dict(zip(("here", "elsewhere"), said, strict=True))}
