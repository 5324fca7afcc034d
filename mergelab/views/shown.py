"""Shown: what the page shows of seams and of problems, as data for Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Figures:
    """Three measures of a seam; None where there is no number.

    Attributes:
        norm: how many times as long states are as at home.
        cosine: of a token's state with the one at home, from -1 to 1.
        frechet: distance of what the layer reads from what it reads at home, in its spread there.
    """

    norm: float | None
    cosine: float | None
    frechet: float | None


@dataclass(frozen=True)
class SeamShown:
    """One seam as measured, on average over both ends of the run that begins there.

    Attributes:
        at: the output layer above it; the number of layers where it is under the final norm.
        below: what is under it: a source and its layer, or "embeddings".
        above: what is over it: a source and its layer, or "final norm".
        low: what chance gives at least.
        high: what chance gives at most.
        off: it is further off than slightly.
        sentence: what that means, in words.
    """

    at: int
    below: str
    above: str
    value: Figures
    low: Figures
    high: Figures
    off: bool
    sentence: str


@dataclass(frozen=True)
class SeamsShown:
    """The seams of one recipe.

    Attributes:
        turn: of the recipe in the history.
        recipe: its fingerprint.
        seams: from the bottom up.
        note: on what they were measured, or why they could not be.
    """

    turn: int
    recipe: str
    seams: tuple[SeamShown, ...]
    note: str


@dataclass(frozen=True)
class ProblemShown:
    """One line of what stands in the way, or does not.

    Attributes:
        grade: ``"error"``: it cannot be saved, or read; ``"warning"``: it may disappoint; ``"note"``: good to know;
            ``"fine"``: all is well in this.
        where: which models, or which place of the recipe; "" for all of it.
        line: of the text, from 1; None where it is about no place of the text.
        column: where it begins there, from 1.
        end: and the column behind it.
        what: what it is.
        hint: what to do.
        fix: what could stand there instead.
    """

    grade: Literal["error", "warning", "note", "fine"]
    where: str
    line: int | None
    column: int | None
    end: int | None
    what: str
    hint: str
    fix: str | None


def seams_shown(told: Mapping[str, Any] | None) -> SeamsShown | None:
    """The ``_seams`` trait as data; None where nothing was measured yet."""
    return None if told is None else SeamsShown(**{**told, "seams": tuple(map(_seam, told["seams"]))})


def _seam(row: Mapping[str, Any]) -> SeamShown:
    names = ("norm", "cosine", "frechet")
    rest = {name: row[name] for name in ("at", "below", "above", "off", "sentence")}
    value, low, high = (
        Figures(**{name: figures[name] for name in names}) for figures in (row, row["low"], row["high"])
    )
    return SeamShown(**rest, value=value, low=low, high=high)
