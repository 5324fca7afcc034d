"""Grid: what every measure returns and every view draws. Numbers with names, a unit, and what chance would give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergelab.columns import Table

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Measure:
    """What a figure means. The same for every model it is measured on.

    Attributes:
        name: one word for code and columns: ``"sign_conflict"``.
        title: as a panel is headed: ``"Sign conflict"``.
        unit: of a value: ``"x chance"``, ``"nats"``, ``"1"`` for a ratio ...
        shows: one sentence: what is shown, in ordinary words.
        formula: as in a paper, in plain text.
        source: where the formula comes from.
        scale: how it is drawn: ``"log"`` and ``"linear"`` are sizes, ``"diverging"`` has a middle that means something.
        middle: the value of no effect, for a diverging scale.
        reading: a sentence or two: what to make of large and small values, and what not to.
    """

    name: str
    title: str
    unit: str
    shows: str
    formula: str
    source: str
    scale: Literal["linear", "log", "diverging"] = "linear"
    middle: float = 0.0
    reading: str = ""


@dataclass(frozen=True, eq=False)
class Chance:
    """What chance alone would give: a band, for all values or for each.

    Attributes:
        low: lower end, a number or an array that broadcasts to the grid's values.
        high: upper end.
        how: one sentence: where the band comes from: ``"two halves of the same prompts, 200 splits, 95 %"``.
    """

    low: float | Floats
    high: float | Floats
    how: str


@dataclass(frozen=True, eq=False)
class Grid:
    """A 2-D array with named axes. NaN: not measured here, or has no meaning here; ``note`` says why.

    Attributes:
        measure: what a value means.
        values: float64, shape (rows, columns).
        axes: what rows and columns are: ``("module", "layer")``.
        rows: a name for each row.
        columns: a name for each column; layers are counted from 0.
        of: what was measured, in words: ``"pirate against base"``.
        chance: what chance alone gives; None: not measured, which a view has to say.
        note: what else one has to know: what was left out, and why.
    """

    measure: Measure
    values: Floats
    axes: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    of: str = ""
    chance: Chance | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.rows), len(self.columns)):
            raise ValueError(f"values of shape {self.values.shape} for {len(self.rows)} x {len(self.columns)} names")
        self.values.flags.writeable = False

    @property
    def title(self) -> str:
        """Heading, with what was measured."""
        return f"{self.measure.title}, {self.of}" if self.of else self.measure.title

    def row(self, name: str) -> Floats:
        """The values of one row, float64, shape (columns,)."""
        return self.values[self.rows.index(name)]

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Which values lie outside what chance gives, in the shape of the values; none where that is not known."""
        if self.chance is None:
            return np.zeros(self.values.shape, dtype=np.bool_)
        found: NDArray[np.bool_] = (self.values < self.chance.low) | (self.values > self.chance.high)
        return found

    def to_frame(self) -> pd.DataFrame:
        """Rows by columns, with named axes; ``attrs`` has title, unit and note."""
        index = pd.Index(self.rows, name=self.axes[0])
        frame = pd.DataFrame(self.values, index, pd.Index(self.columns, name=self.axes[1]))
        frame.attrs.update(title=self.title, unit=self.measure.unit, note=self.note)
        return frame

    def __repr__(self) -> str:
        return f"<Grid: {self.title}, {len(self.rows)} x {len(self.columns)}>"

    def __str__(self) -> str:
        return str(self._table())

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What a terminal shows."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def _table(self) -> Table:
        unit = "" if self.measure.unit == "1" else f" ({self.measure.unit})"
        heading = (f"{self.axes[0]} \\ {self.axes[1]}", *self.columns)
        outside = self.outside
        cells = tuple(
            (name, *map(_shown, values, stars))
            for name, values, stars in zip(self.rows, self.values.tolist(), outside.tolist(), strict=True)
        )
        below = tuple(filter(None, (self._by_chance(bool(outside.any())), self.note)))
        return Table(heading, cells, f"{self.title}{unit}", below)

    def _by_chance(self, starred: bool) -> str:
        """What the stars mean, or why there are none."""
        if self.chance is None:
            return "What chance gives was not measured."
        return f"{'* outside' if starred else 'No value is outside'} what chance gives: {self.chance.how}."


def _shown(value: float, starred: bool) -> str:
    return "-" if np.isnan(value) else f"{value:.3g}{'*' if starred else ''}".replace("-", "−")
