"""Rows of words as columns of equal width, for a terminal or a notebook. Imports nothing."""

from __future__ import annotations

from collections.abc import Sequence


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
