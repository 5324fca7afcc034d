"""Figures of the live benchmark: what is timed, and the tables that show it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from mergelab.columns import columns

COLUMNS = """\
turn ms     from the change of the recipe to the new weights; median
table ms    to the next-token table of all prompts; median (stacks: the model stands, nothing is asked)
p95 ms      95th percentile of table ms
x folder    how many times faster than mergelab's own merge to a folder, from_pretrained and forward pass
x mergekit  how many times faster than the same by mergekit
MB moved    what the arithmetic read of the sources and wrote
floor ms    what moving as many bytes takes at the measured copy bandwidth
x floor     turn ms over floor ms"""


@dataclass(frozen=True)
class Row:
    """Figures of one kind of change.

    Attributes:
        turn, table: seconds, medians.
        late: 95th percentile of ``table``.
        moved: bytes that the arithmetic read and wrote, median.
        timed: how many changes were timed.
    """

    method: str
    what: str
    turn: float
    table: float
    late: float
    moved: int
    timed: int


@dataclass(frozen=True)
class Turned:
    """One change: seconds to the weights and to the table, bytes read and written."""

    turn: float
    table: float
    moved: int


def row(method: str, what: str, turned: Sequence[Turned]) -> Row:
    tables = sorted(one.table for one in turned)
    return Row(
        method,
        what,
        statistics.median(one.turn for one in turned),
        statistics.median(tables),
        tables[math.ceil(0.95 * len(tables)) - 1],
        int(statistics.median(one.moved for one in turned)),
        len(turned),
    )


def table(rows: Sequence[Row], copied: float, folder: dict[str, float], mergekit: dict[str, float]) -> str:
    def cells(one: Row) -> tuple[str, ...]:
        floor = one.moved / copied
        return (
            one.method,
            one.what,
            f"{1000 * one.turn:.1f}",
            f"{1000 * one.table:.1f}",
            f"{1000 * one.late:.1f}",
            times(folder, one),
            times(mergekit, one),
            f"{one.moved / 1e6:.1f}" if one.moved else "0",
            f"{1000 * floor:.1f}",
            f"{one.turn / floor:.1f}" if floor else "-",
        )

    def times(seconds: dict[str, float], one: Row) -> str:
        return f"{seconds[one.method] / one.table:.1f}" if one.method in seconds else ""

    heading = ("method", "what changes", *(line.split("  ")[0] for line in COLUMNS.splitlines()))
    return columns([heading, *map(cells, rows)])


def drawn(rows: Sequence[Row], heading: str) -> str:
    """A picture in text: for each row both times, and a bar as long as the second."""
    most = max(one.table for one in rows)
    bars = [
        (one.what, f"{1000 * one.turn:.1f}", f"{1000 * one.table:.1f}", "#" * round(40 * one.table / most))
        for one in rows
    ]
    return columns([(heading, "turn ms", "table ms", ""), *bars])
