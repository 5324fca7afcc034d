"""The recipe's text on the page: what is wrong with it, where and how to mend it, and which lines say which slice."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, Final

from mergelab.errors import MergelabError, Problem
from mergelab.models.verdict import check
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.report import GRADES, REFUSED, Finding
from mergelab.views.guests import Guest

NAME: Final = "recipe"  # what problems call the text

SWITCH: Final = "is neither true nor false."  # how problems of switches end
_PLACE: Final = re.compile(r"^\S* ?line (\d+), column (\d+)(?:, )?")
_MEANT: Final = re.compile(r"Did you mean '([^']*)'\?")
_QUOTED: Final = re.compile(r"^'([^']+)'|'([^']+)'")
_RUN: Final = re.compile(r"^asks for layers \[(\d+), (\d+)\)")  # as the sketch tells a run that a model has not
_SOURCE: Final = re.compile(r"^source '(.*)'$")
_WORD: Final = re.compile(r"[^\s:,\[\]{}]+")


def unreadable(problems: Sequence[Problem], text: str) -> list[dict[str, Any]]:
    """Problems of a text as rows of the ``_problems`` trait, with the word that each is about.

    Lines and columns count from 1; ``end`` is the column behind the word. ``fix`` is what to write in its place.
    """
    lines = text.splitlines()
    rows = []
    for problem in problems:
        found = _PLACE.match(problem.where)
        line, start = (int(found[1]), int(found[2])) if found else _mentioned(problem.where, lines)
        where = problem.where[found.end() :].rpartition(".")[2] if found else problem.where
        column, end = (
            _span(problem.what, lines[line - 1], start) if line and start and line <= len(lines) else (None,) * 2
        )
        rows.append(
            _row(
                "error",
                f"Line {line}" if line else "",
                f"{where}: {problem.what}" if where else problem.what,
                problem.hint,
                place=(line, column, end),
                fix=_meant(problem) if column else None,
            )
        )
    return rows


def _meant(problem: Problem) -> str | None:
    """What was meant, where that can be told."""
    if said := _MEANT.search(problem.hint):
        return said[1]
    word = _QUOTED.search(problem.what)
    if word and problem.what.endswith(SWITCH):
        return next(iter(difflib.get_close_matches((word[1] or word[2]).lower(), ("true", "false"), n=1)), None)
    return None


def _mentioned(name: str, lines: Sequence[str]) -> tuple[int | None, int | None]:
    """Line and column where a model is named first, for what is wrong with the model itself."""
    name = _SOURCE.sub(r"\1", name)
    for number, line in enumerate(lines, start=1):
        if name and name in line:
            return number, line.index(name) + 1
    return None, None


def _span(what: str, line: str, start: int) -> tuple[int, int]:
    """Columns from and to of what a problem is about: the value it quotes, else the key at its place."""
    run, quoted = _RUN.search(what), _QUOTED.search(what)
    value = None
    if run:
        value = rf"\[\s*{run[1]}\s*,\s*{run[2]}\s*,?\s*\]"
    elif quoted:
        value = re.escape(quoted[1] or quoted[2])
    found = re.compile(value).search(line, start - 1) if value else None
    found = found or _WORD.match(line, start - 1)
    return (found.start() + 1, found.end() + 1) if found else (start, len(line) + 1)


def before_saving(recipe: Recipe, guests: Sequence[Guest]) -> list[dict[str, Any]]:
    """What ``check`` finds out, as rows of the ``_problems`` trait: errors first; what is well comes last."""
    try:
        report = check(recipe, {guest.checkpoint.source: guest.checkpoint for guest in guests})
    except MergelabError as error:
        return [_row("error", one.where, one.what, one.hint) for one in error.problems]
    rows = [_found(one) for grade in GRADES for one in report.findings if one.grade == grade]
    well = [report.verdict, *report.merged] if report.works else list(report.merged)
    return rows + [_row("fine", "", sentence, "") for sentence in well]


def _found(one: Finding) -> dict[str, Any]:
    what = one.evidence if one.what == REFUSED else f"{one.what}: {one.evidence}"
    return _row(one.grade, one.about, f"{what}.", one.remedy)


def _row(
    grade: str,
    where: str,
    what: str,
    hint: str,
    *,
    place: tuple[int | None, int | None, int | None] = (None, None, None),
    fix: str | None = None,
) -> dict[str, Any]:
    line, column, end = place
    return {
        "grade": grade,
        "where": where,
        "line": line,
        "column": column,
        "end": end,
        "what": what,
        "hint": hint,
        "fix": fix,
    }


def lines_of(recipe: Recipe, text: str, *, written: bool) -> list[list[int]]:
    """First and last line, from 1, of each slice in the text of its recipe; a whole-model recipe is one slice.

    Args:
        written: the text is what ``to_yaml`` gives; else it is somebody's, and the recipe was read from it.
    """
    lines = text.splitlines()
    starts = _written(lines) if written else _read(recipe)
    if len(starts) != len(recipe.slices):
        return []
    ends = [start - 1 for start in starts[1:]] + [len(lines)]
    return [[start, _last(lines, start, end)] for start, end in zip(starts, ends, strict=True)]


def _written(lines: Sequence[str]) -> list[int]:
    """First lines of slices in a text that ``to_yaml`` gave: list entries have the indent of their key."""
    for at, line in enumerate(lines):
        key = line.lstrip(" ")
        pad = line[: len(line) - len(key)]
        if key.startswith("models:"):
            return [at + 1]
        if key.startswith("slices:"):
            return [place + 1 for place in range(at + 1, len(lines)) if lines[place].startswith(f"{pad}- ")]
    return []


def _read(recipe: Recipe) -> list[int]:
    """First lines of slices, by the places that reading noted."""
    found: dict[str, int] = {}
    for path, (line, _) in recipe.notes.places if recipe.notes else ():
        found.setdefault(re.sub(r"^modules\.[^.]+\.", "", path), line)
    if "models" in found:
        return [found["models"]]
    return [found[f"slices[{index}]"] for index in range(len(recipe.slices)) if f"slices[{index}]" in found]


def _last(lines: Sequence[str], start: int, end: int) -> int:
    """The last line of a block from ``start`` to ``end`` at most, without comments and empty lines behind it.

    What belongs to a block is deeper than the dash or key it begins with.
    """
    first = lines[start - 1]
    indent = len(first) - len(first.lstrip(" "))
    last = start
    for number in range(start + 1, end + 1):
        line = lines[number - 1]
        own = line.lstrip(" ")
        if not own or own.startswith("#"):
            continue
        dashed = own.startswith("- ") and not first.lstrip(" ").startswith("- ")
        if len(line) - len(own) <= indent and not (dashed and len(line) - len(own) == indent):
            break
        last = number
    return last
