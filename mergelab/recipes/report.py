"""Report: the answer to "will these models merge?", in words, for a terminal and for a notebook."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, TypeAlias

from mergelab.columns import Table
from mergelab.errors import Problem
from mergelab.weights import Source

Grade: TypeAlias = Literal["error", "warning", "note"]
GRADES: tuple[Grade, ...] = ("error", "warning", "note")
WIDTH = 100

REFUSED = "refused"
"""What a finding is of that tells of a problem in the problem's own words."""


@dataclass(frozen=True)
class Finding:
    """One thing to know before merging.

    Attributes:
        grade: ``"error"``: it cannot work; ``"warning"``: it will run, and may well disappoint; ``"note"``: good to
            know.
        about: which models, or which place of the recipe.
        what: what was looked at: ``"rope theta"``.
        evidence: the figures.
        remedy: what to do about it.
        one_config: an error only because a config states this once for all layers: the layers run in one process, each
            with its own model's settings.
        source: the model that differs, where it is about one.
    """

    grade: Grade
    about: str
    what: str
    evidence: str
    remedy: str
    one_config: bool = field(default=False, repr=False)
    source: Source | None = field(default=None, repr=False)


@dataclass(frozen=True, repr=False)
class Report:
    """What was found out about a recipe from headers, configs and model cards.

    ``str`` gives text of up to 100 columns, a notebook shows tables; every word of a model is escaped there.

    Attributes:
        findings: errors first, then warnings, then notes.
        sources: the models, one a row.
        merged: sentences about the merged model; none where there can be none.
    """

    findings: tuple[Finding, ...]
    sources: Table
    merged: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stand in the way."""
        return tuple(finding for finding in self.findings if finding.grade == "error")

    @property
    def works(self) -> bool:
        """Whether the merge can be written to disk, and will load and run."""
        return not self.errors

    @property
    def runs(self) -> bool:
        """Whether it can be assembled and heard in this process, where each layer may have settings of its own."""
        return all(finding.one_config for finding in self.errors)

    @property
    def verdict(self) -> str:
        """The answer in a sentence or two."""
        if self.works:
            return "This will load and run."
        reasons = list(dict.fromkeys(finding.what for finding in self.errors if finding.what != REFUSED))
        if self.runs:
            return (
                f"This runs here, but no standard config can hold it. Its layers differ in {_listed(reasons)}; "
                f"a config states {'this' if len(reasons) == 1 else 'each of these'} once for all layers."
            )
        told = [f"{one.about} ({one.evidence})" for one in self.errors if one.what == REFUSED]
        more = [f"{len(told) - 1} problems more"] if len(told) > 2 else told[1:]  # sentences: they stand below
        return f"This cannot work. In the way: {_listed([*reasons, *told[:1], *more])}."

    def problems(self) -> tuple[Problem, ...]:
        """The errors, as a FitError carries them: one for each pair of models or place."""
        return tuple(
            Problem(about, _together([f"{one.what}: {one.evidence}" for one in group]), remedy)
            for about, remedy, group in _grouped(self.errors)
        )

    def table(self) -> Table:
        """The findings, one a row; what is as in the row above is left out."""
        rows: list[tuple[object, ...]] = []
        above: tuple[str, str, str] = ("", "", "")
        for one in self.findings:
            same = (one.grade, one.about, one.remedy)
            grade, about = ("", "") if same[:2] == above[:2] else (one.grade, one.about)
            rows.append((grade, about, one.what, one.evidence, "" if same == above else one.remedy))
            above = same
        return Table(("grade", "about", "finding", "figures", "what to do"), tuple(rows))

    def __repr__(self) -> str:
        counts = [sum(one.grade == grade for one in self.findings) for grade in GRADES]
        told = [f"{count} {grade}{'s' * (count != 1)}" for count, grade in zip(counts, GRADES, strict=True) if count]
        return f"<Report: {', '.join([self.verdict.partition('.')[0], *told])}>"

    def __str__(self) -> str:
        blocks = ["\n".join(_wrapped(self.verdict)), str(self.sources)]
        if self.merged:
            blocks.append("\n".join(line for sentence in self.merged for line in _wrapped(sentence, hang=2)))
        for grade in GRADES:
            for about, remedy, group in _grouped([one for one in self.findings if one.grade == grade]):
                blocks.append("\n".join(_block(grade, about, remedy, group)))
        return "\n\n".join(blocks)

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.merged)
        found = self.table()._repr_html_() if self.findings else ""
        return f"<p><b>{html.escape(self.verdict)}</b></p>{self.sources._repr_html_()}{lines}{found}"


def graded(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Each finding once, errors first; those about the same models stay together."""
    once = dict.fromkeys(findings)
    first = {about: place for place, about in enumerate(dict.fromkeys(one.about for one in once))}
    return tuple(sorted(once, key=lambda one: (GRADES.index(one.grade), first[one.about])))


def _grouped(findings: Sequence[Finding]) -> list[tuple[str, str, list[Finding]]]:
    """Runs of findings about the same models with the same remedy."""
    return [(*key, list(run)) for key, run in groupby(findings, key=lambda one: (one.about, one.remedy))]


def _together(reasons: Sequence[str]) -> str:
    if len(reasons) == 1:
        return f"{reasons[0]}."
    return "".join(f"\n    {reason}" for reason in reasons) + "\n   "


def _block(grade: Grade, about: str, remedy: str, group: Sequence[Finding]) -> list[str]:
    """A group as lines: whom it is about, each finding with its figures, what to do."""
    margin = " " * 9
    widest = max(len(one.what) for one in group)
    lines = [f"{grade:9}{about}"]
    for one in group:
        lines += textwrap.wrap(
            one.evidence,
            WIDTH,
            initial_indent=f"{margin}{one.what:{widest}}  ",
            subsequent_indent=margin + " " * (widest + 2),
            break_on_hyphens=False,
            break_long_words=False,
        )
    if remedy:
        lines += textwrap.wrap(
            remedy, WIDTH, initial_indent=f"{margin}-> ", subsequent_indent=f"{margin}   ", break_on_hyphens=False
        )
    return lines


def _wrapped(sentence: str, hang: int = 0) -> list[str]:
    return textwrap.wrap(sentence, WIDTH, subsequent_indent=" " * hang, break_on_hyphens=False, break_long_words=False)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
