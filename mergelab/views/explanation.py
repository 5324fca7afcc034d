"""The long form of every figure, in words: for a terminal and for a notebook."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from mergelab.columns import Table
from mergelab.views.panels import Panel

_WIDE = 100  # characters of a line


@dataclass(frozen=True)
class Explanation:
    """Figures, each with what there is to know about it. ``str`` gives text, a notebook shows an escaped table.

    Attributes:
        figures: title, and pairs of a word and what it says.
    """

    figures: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    def __str__(self) -> str:
        return "\n\n".join(
            "\n".join([title, *(_wrapped(*entry) for entry in entries)]) for title, entries in self.figures
        )

    def _repr_html_(self) -> str:
        return "".join(Table(("", ""), entries, title)._repr_html_() for title, entries in self.figures)


def _wrapped(word: str, text: str) -> str:
    return textwrap.fill(text, _WIDE, initial_indent=f"  {word + ':':<11}", subsequent_indent=" " * 13)


def explanation(panels: Sequence[Panel]) -> Explanation:
    """What every panel shows, how it is defined, what chance gives, what it says here, and how to read it."""
    return Explanation(tuple((_title(panel), _entries(panel)) for panel in panels))


def _title(panel: Panel) -> str:
    return panel.title if panel.drawn.grid is None else panel.drawn.grid.title


def _entries(panel: Panel) -> tuple[tuple[str, str], ...]:
    words, grid = panel.caption, panel.drawn.grid
    entries = [("shows", words.shows)]
    if grid is not None:
        measure = grid.measure
        entries += [
            ("formula", measure.formula),
            ("unit", "none: a plain number" if measure.unit in ("", "1") else measure.unit),
            ("source", measure.source),
        ]
    if panel.measured:
        entries += [("by chance", words.chance), ("so", words.so), ("reading", panel.reading)]
    entries.append(("note", panel.remarks))
    if panel.state != "done":
        entries.append(("state", f"{panel.state}. {panel.note}".strip()))
    return tuple((word, text) for word, text in entries if text)
