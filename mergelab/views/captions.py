"""Captions: what a figure shows, what chance gives, and what to make of it. Every word of the last is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mergelab.inspection.grid import Chance, Grid

NO_CHANCE = "Chance not measured."
CLEARLY = "Clearly: beyond the band by more than half of its width."
_SHOWN = 4  # runs of layers that are named; the others are counted

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Caption:
    """Three sentences under a figure. ``so`` is empty where there is nothing to compare."""

    shows: str
    chance: str
    so: str


def caption(grid: Grid, *, against_first: bool = False) -> Caption:
    """The caption of a grid.

    Args:
        against_first: rows are compared with the band of the first row, not each value with its own: what one source
            gives by chance says when another one differs from it.
    """
    if grid.chance is None:
        return Caption(grid.measure.shows, NO_CHANCE, _so_ends(grid))
    so = _so_rows(grid, grid.chance) if against_first else _so_cells(grid, grid.chance)
    return Caption(grid.measure.shows, _chance(grid, grid.chance), so)


def number(value: float, unit: str = "1") -> str:
    """Three significant digits, a true minus, and the unit: ``"1.36×"`` for one that begins with x, ``"2.1 nats"``.

    The space before a unit does not break.
    """
    if not np.isfinite(value):
        return "not measured" if np.isnan(value) else ("∞" if value > 0 else "−∞")
    rounded = float(f"{value:.3g}")
    text = f"{rounded:.0f}" if 100 <= abs(rounded) < 1e6 else f"{rounded:g}"
    if unit == "x" or unit.startswith("x "):
        return f"{text}×".replace("-", "−")
    return text.replace("-", "−") + ("" if unit in ("", "1") else f"\u00a0{unit}")


def runs(names: Sequence[str], chosen: Bools) -> str:
    """Columns in words, neighbours together: ``"layers 4–7 and 9"``; names that are no numbers stand for themselves."""
    places = [place for place, name in enumerate(names) if chosen[place] and name.isdigit()]
    apart = [place for place in range(1, len(places)) if places[place] != places[place - 1] + 1]
    words = [
        names[part[0]] if len(part) == 1 else f"{names[part[0]]}–{names[part[-1]]}" for part in _split(places, apart)
    ]
    if len(words) > _SHOWN:
        words[_SHOWN:] = [f"{len(words) - _SHOWN} more"]
    others = [name for name, out in zip(names, chosen, strict=True) if out and not name.isdigit()]
    head = "layer" if len(places) == 1 else "layers"
    return _listed([f"{head} {words[0]}", *words[1:], *others] if words else others)


def _split(places: Sequence[int], at: Sequence[int]) -> list[Sequence[int]]:
    ends = [0, *at, len(places)]
    return [places[start:end] for start, end in pairwise(ends) if start < end]


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def clear(values: Floats, low: float | Floats, high: float | Floats) -> tuple[Bools, Bools, Bools]:
    """Values that are clearly above and clearly below a band, and those outside it at all.

    A band of 95 % leaves out one value in twenty of those that chance made. Clear is what lies beyond it by more than
    half of its width: of values with normal errors one in ten thousand. NaN is never outside.

    Args:
        values: any shape; ``low`` and ``high`` broadcast to it.
    """
    half = (np.asarray(high) - np.asarray(low)) / 2
    with np.errstate(invalid="ignore"):
        return values > high + half, values < low - half, (values > high) | (values < low)


def _chance(grid: Grid, chance: Chance) -> str:
    low, high = bands(grid, chance)
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return NO_CHANCE
    low, high = low[known], high[known]
    # Of bands around one middle, that of middle width is told. Others have nothing in common but where they come from.
    usual = np.argsort(high - low)[len(low) // 2]
    within = _range(float(low[usual]), float(high[usual]), grid.measure.unit)
    if _each(low, high):
        around = grid.measure.scale == "diverging"
        within = f"about {within}, a band for each value" if around else "each value has a band of its own"
    return f"{within}: {chance.how.rstrip('.')}."


def bands(grid: Grid, chance: Chance) -> tuple[Floats, Floats]:
    """Lower and upper ends of chance for each value of a grid, float64, shaped like its values."""
    low, high = (np.broadcast_to(np.asarray(end, np.float64), grid.values.shape) for end in (chance.low, chance.high))
    return low, high


def _each(low: Floats, high: Floats) -> bool:
    """Whether bands differ from one another."""
    return len(np.unique(low[np.isfinite(low)])) > 1 or len(np.unique(high[np.isfinite(high)])) > 1


def _range(low: float, high: float, unit: str) -> str:
    return number(high, unit) if low == high else f"{number(low)} to {number(high, unit)}"


def _so_cells(grid: Grid, chance: Chance) -> str:
    above, below, outside = clear(grid.values, chance.low, chance.high)
    known = np.isfinite(grid.values)
    total = int(known.sum())
    if not total:
        return "nothing was measured."
    found = [
        _standing(grid, chance, out & known, side)
        for out, side in ((above, "above"), (below, "below"))
        if (out & known).any()
    ]
    if found:
        return f"{'; '.join(found)}."
    slight = int((outside & known).sum())
    if slight:
        return f"nothing stands out: {slight} of {total} values {_lies(slight)} outside the band, none of them clearly."
    return f"nothing stands out: {'the value lies' if total == 1 else f'all {total} values lie'} within the band."


def _lies(count: int) -> str:
    return "lies" if count == 1 else "lie"


def _standing(grid: Grid, chance: Chance, out: Bools, side: str) -> str:
    """``"12 of 70 values lie clearly above the band, mostly in layers 4–7, most of all up at 6 (1.36)"``.

    Where bands differ, the one of the value that is named is told with it.
    """
    known = np.isfinite(grid.values)
    count, total = int(out.sum()), int(known.sum())
    furthest = np.where(out, grid.values, -np.inf if side == "above" else np.inf)
    row, column = np.unravel_index(np.argmax(furthest) if side == "above" else np.argmin(furthest), out.shape)
    told = number(float(grid.values[row, column]), grid.measure.unit)
    low, high = bands(grid, chance)
    if _each(low, high):
        told += f", chance there {_range(float(low[row, column]), float(high[row, column]), grid.measure.unit)}"
    most = f"{grid.rows[row]} at {grid.columns[column]} ({told})"
    share = "every value lies" if count == total else f"{count} of {total} values {_lies(count)}"
    where = _where(grid, out, known) if count < total else ""
    return ", ".join(filter(None, (f"{share} clearly {side} the band", where, f"most of all {most}")))


def _where(grid: Grid, out: Bools, known: Bools) -> str:
    """Where the values that are out lie: in one row; in columns, else rows, that are mostly out and hold most of them.

    "" where there is no such place.
    """
    rows = np.flatnonzero(out.any(1))
    if len(rows) == 1 and len(grid.rows) > 1:
        return f"all in {grid.rows[rows[0]]}, {runs(grid.columns, out[rows[0]])}"
    for axis, names in ((0, grid.columns), (1, grid.rows)):
        full = (out.sum(axis) * 2 > known.sum(axis)) & known.any(axis)
        held = out.sum(axis)[full].sum()
        if not full.all() and held * 2 > out.sum():
            whole = [name for name, one in zip(names, full, strict=True) if one]
            return f"mostly in {runs(names, full) if axis == 0 else _listed(whole[:_SHOWN])}"
    return ""


def _so_ends(grid: Grid) -> str:
    """Where a heatmap without a band is largest and smallest: what there is to say without chance."""
    if grid.axes[0] == "source" or np.isfinite(grid.values).sum() < 2:
        return ""
    known, unit = np.where(np.isfinite(grid.values), grid.values, np.nan), grid.measure.unit
    ends = [
        f"{word} at {grid.rows[at // len(grid.columns)]}, {grid.columns[at % len(grid.columns)]} "
        f"({number(float(known.flat[at]), unit)})"
        for word, at in (("largest", int(np.nanargmax(known))), ("smallest", int(np.nanargmin(known))))
    ]
    return f"{', '.join(ends)}; the middle value is {number(float(np.nanmedian(known)), unit)}."


def _so_rows(grid: Grid, chance: Chance) -> str:
    if len(grid.rows) < 2:
        return ""
    low, high = (end[0] for end in bands(grid, chance))
    first = grid.values[0]
    found = []
    for name, values in zip(grid.rows[1:], grid.values[1:], strict=True):
        above, below, _ = clear(values, low, high)
        out = above | below
        if out.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.abs(np.log(values / first)) if grid.measure.scale == "log" else np.abs(values - first)
            place = int(np.argmax(np.where(out & np.isfinite(ratio), ratio, -1.0)))
            theirs, ours = number(float(values[place])), number(float(first[place]), grid.measure.unit)
            where = f"{runs(grid.columns, out)}, furthest at {grid.columns[place]}"
            there = f"chance there {_range(float(low[place]), float(high[place]), grid.measure.unit)}"
            found.append(f"{name} clearly leaves it at {where} ({theirs} against {ours}, {there})")
    if not found:
        return f"nothing stands out: no source clearly leaves the band of {grid.rows[0]}."
    return f"{'; '.join(found)}."
