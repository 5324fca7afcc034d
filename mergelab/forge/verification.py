"""Verification: what became of a merge since it was written, in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Grade: TypeAlias = Literal["changed", "unseen", "note", "same"]
GRADES: tuple[Grade, ...] = ("changed", "unseen", "note", "same")


@dataclass(frozen=True)
class Sighting:
    """What was found of one thing.

    Attributes:
        grade: "changed": it is not what it was; "unseen": it is gone, or could not be looked at; "note": it is not what
            it was, and may be, as a card that was written on; "same": it is what it was.
        about: a file, a tensor, a source, or several of a kind.
        said: what is the matter, with what it was.
    """

    grade: Grade
    about: str
    said: str

    def __str__(self) -> str:
        return f"{self.grade:8} {self.about}: {self.said}"


@dataclass(frozen=True)
class Verification:
    """What became of a merge since it was written."""

    folder: Path
    findings: tuple[Sighting, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is changed, as far as it could be looked at: ``unseen`` says how far that is."""
        return not any(one.grade == "changed" for one in self.findings)

    @property
    def changed(self) -> tuple[Sighting, ...]:
        """What is not what it was."""
        return tuple(one for one in self.findings if one.grade == "changed")

    @property
    def unseen(self) -> tuple[Sighting, ...]:
        """What could not be looked at, and why."""
        return tuple(one for one in self.findings if one.grade == "unseen")

    def __str__(self) -> str:
        verdict = f"{self.folder} has changed, or its sources have:"
        if self.holds:
            verdict = f"{self.folder} holds{self._short_of}:"
        return "\n".join([verdict, *(f"  {one}" for grade in GRADES for one in self.findings if one.grade == grade)])

    @property
    def _short_of(self) -> str:
        """What a verdict does not reach."""
        grades = [one.grade for one in self.findings if one.about == "tensors"]
        if "unseen" in grades and "same" not in grades:
            return " but for its tensors, none of which was made anew"
        return ", as far as it could be looked at" if self.unseen else ""

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))
