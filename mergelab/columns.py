"""Tables of words, for a terminal and for a notebook. Imports nothing of ours."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH = 100  # characters of a line of text below a table
_CELL = "text-align:left;vertical-align:top;padding:2px 14px 2px 0;white-space:pre-wrap"


def columns(rows: Sequence[Sequence[object]]) -> str:
    """Rows under a heading, as text.

    Args:
        rows: the heading first; all of one length. Cells are shown with ``str``.

    Returns:
        Lines without trailing spaces. Columns that are empty below the heading are left out.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    kept = [column for column in zip(*cells, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in kept]
    head, *body = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*kept, strict=True)
    ]
    return "\n".join([head, "  ".join("-" * width for width in widths), *body])


@dataclass(frozen=True)
class Table:
    """Rows under a heading; ``str`` gives text, a notebook shows HTML with every cell escaped.

    Attributes:
        heading: a word for each column.
        rows: cells, as many in each row as in the heading; shown with ``str``.
        title: a line above it, or nothing.
        below: paragraphs under it.
    """

    heading: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    title: str = ""
    below: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = columns([self.heading, *self.rows])
        told = "\n".join(textwrap.fill(one, _WIDTH, subsequent_indent="  ") for one in self.below)
        return "\n\n".join(filter(None, (self.title, text, told)))

    def _repr_html_(self) -> str:
        def line(cells: Sequence[object], kind: str) -> str:
            cell = "".join(f'<{kind} style="{_CELL}">{html.escape(str(one))}</{kind}>' for one in cells)
            return f"<tr>{cell}</tr>"

        kept = [place for place in range(len(self.heading)) if any(str(row[place]) for row in self.rows)]
        head = line([self.heading[place] for place in kept], "th")
        body = "".join(line([row[place] for place in kept], "td") for row in self.rows)
        # Above the table and not its caption, which is squeezed into the table's width.
        title = f"<p>{html.escape(self.title)}</p>" if self.title else ""
        below = "".join(f"<p>{html.escape(one)}</p>" for one in self.below)
        return f"{title}<table><thead>{head}</thead><tbody>{body}</tbody></table>{below}"


def in_bytes(count: int) -> str:
    """Bytes in the largest decimal unit that leaves at least one: ``1.64 MB``."""
    return _scaled(count, ("bytes", "kB", "MB", "GB", "TB"))


def in_count(count: int) -> str:
    """A number of parameters in the same way: ``8.03 B``."""
    return _scaled(count, ("", "k", "M", "B", "T"))


def _scaled(count: int, units: Sequence[str]) -> str:
    if count < 1000:
        return f"{count} {units[0]}".rstrip()
    size, step = float(count), 0
    while size >= 1000 and step < len(units) - 1:
        size, step = size / 1000, step + 1
    return f"{size:.3g} {units[step]}"
