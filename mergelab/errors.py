"""The tree of errors. Every message says where, what, and what to do; all problems are reported at once.

    MergelabError
    ├── SourceError       a model cannot be opened: missing, truncated, lying, offline
    ├── RecipeError       a recipe says something that cannot be meant: unknown key, method, number out of range
    ├── FitError          the recipe is well formed, but these sources do not fit together
    ├── MethodError       tensors or numbers handed to a merge method are wrong
    ├── AssemblyError     a planned model could not be built, or is closed
    ├── InspectionError   these sources, prompts or layers cannot be looked into as asked
    └── OutputError       a merged model cannot be written

Imports nothing, so that every floor can raise them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: the place, as a person would point at it: ``"recipe.yml line 7, column 5, slices[1].sources[0]"``.
        what: what is wrong there, with the offending value.
        hint: what to do about it. May be empty where there is nothing sensible to say.
    """

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        gap = "" if self.what.startswith("\n") else " "  # no line ends with a blank
        text = f"{self.where}:{gap}{self.what}" if self.where else self.what
        return f"{text} {self.hint}" if self.hint else text


class MergelabError(Exception):
    """Base of all errors raised on purpose. ``problems`` holds every problem found, in order of discovery."""

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("an error without a problem explains nothing")
        self.problems: tuple[Problem, ...] = problems
        super().__init__(*problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = [f"{len(self.problems)} problems:"]
        lines += [f"  {number}. {problem}" for number, problem in enumerate(self.problems, start=1)]
        return "\n".join(lines)


class SourceError(MergelabError):
    """A model cannot be opened."""


class RecipeError(MergelabError):
    """A recipe says something that cannot be meant."""


class FitError(MergelabError):
    """The sources of a well-formed recipe do not fit together."""


class MethodError(MergelabError):
    """Tensors or numbers handed to a merge method are wrong."""


class AssemblyError(MergelabError):
    """A planned model could not be built, or is closed."""


class InspectionError(MergelabError):
    """These sources, prompts or layers cannot be looked into as asked."""


class OutputError(MergelabError):
    """A merged model cannot be written."""


def raise_all(kind: type[MergelabError], problems: Iterable[Problem]) -> None:
    """Raise ``kind`` with all ``problems``; return quietly when there are none."""
    found = tuple(problems)
    if found:
        raise kind(*found)


def closest(word: str, known: Sequence[str]) -> str | None:
    """The one of ``known`` that a misspelt word means, upper and lower case being the same; None: no one knows."""
    if word in known:
        return word
    folded = {one.lower(): one for one in reversed(known)}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint for a word that is not in ``known``: the closest one, or the whole list when it is short."""
    meant = closest(word, known)
    if meant is not None:
        return f"Did you mean {meant!r}?"
    if len(known) <= 24:
        return f"Known: {', '.join(known)}."
    return ""
