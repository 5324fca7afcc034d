"""Licences: what the models of a merge ask of whoever publishes it, and which line its own card may bear.

A merge has the duties of all its parents together; two licences clash where both cannot be kept. Whether weights can
be owned at all is unsettled, and nothing here is legal advice. A merge on one's own disk is no publication: nothing
is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeAlias

from mergelab.recipes.card import Card, read_cards
from mergelab.recipes.licence_table import known
from mergelab.recipes.report import Finding, Grade
from mergelab.weights import Checkpoint, Source

ADVICE = "These are rules of thumb and no legal advice: the texts of the licences count."


@dataclass(frozen=True)
class Parent:
    """A model or an adapter that goes into a merge.

    Attributes:
        name: what it is called.
        address: where it lives.
        hub: that is the hub, and no folder of this machine.
        card: what its card states.
    """

    name: str
    address: str
    hub: bool
    card: Card


@dataclass(frozen=True)
class Line:
    """The licence line of a card: ``license``, ``license_name`` and ``license_link``."""

    licence: str
    name: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        return self.name or self.licence


@dataclass(frozen=True)
class Terms:
    """What becomes of the parents' licences.

    Attributes:
        line: the line that the merge may bear; None: no line would be true.
        duties: licence -> what it asks, for each that is known.
        findings: what to know before it is published.
    """

    line: Line | None
    duties: Mapping[str, str]
    findings: tuple[Finding, ...]


# Names of bases that are surely under terms of their own, whatever a card of their descendants says.
_KNOWN_BASES: Mapping[str, re.Pattern[str]] = {
    "Llama": re.compile(r"meta-llama/.+|deepseek-ai/DeepSeek-R1-Distill-Llama-.+", re.IGNORECASE),
    "Gemma": re.compile(r"google/(code)?gemma-?(\d+b|[123]n?)\b.*", re.IGNORECASE),
}
_SAYS_NOTHING = ("other", "unknown", "none")

_WEB = re.compile(r"https?://\S+", re.IGNORECASE)

Stated: TypeAlias = tuple[Parent, str]


def parents(checkpoints: Mapping[Source, Checkpoint], say: Callable[[Source], str]) -> tuple[Parent, ...]:
    """The models of a merge, and their adapters under the names of their models, with what their cards state.

    Raises:
        SourceError: the hub cannot be reached.
    """
    found = []
    for source, checkpoint in checkpoints.items():
        places = (source, *([source.adapter] if source.adapter else []))
        for place, card in zip(places, read_cards(checkpoint), strict=True):
            found.append(Parent(say(source), place.path, place.folder is None, card))
    return tuple(found)


def terms(models: Sequence[Parent]) -> Terms:
    """What the parents' licences ask together, and the line that a merge of them may bear."""
    models = [_folded(one) for one in models]
    stated = [(one, licence) for one in models for licence in one.card.licences if licence not in _SAYS_NOTHING]
    silent = [one for one in models if not any(parent is one for parent, _ in stated)]
    distinct = list(dict.fromkeys(licence for _, licence in stated))
    left = _strictest(distinct)
    clashes = [pair for pair in combinations(left, 2) if _clash(*pair)]
    clashes += [pair for pair in combinations(distinct, 2) if _barred(*pair)]
    doubts = [pair for pair in combinations(left, 2) if _doubt(*pair)]
    lifted = list(_lifted(models))
    fixed = [one for one in distinct if (asked := known(one)) and not asked.changes]
    untrue = silent or clashes or doubts or lifted or fixed or not left
    line = None if untrue else _line(left, stated)
    findings = (
        *_silent(silent),
        *_forbidden(stated),
        *_clashing(stated, clashes),
        *_doubtful(stated, doubts),
        *_relabelled(lifted),
        *_different(stated, distinct, line),
        *_own(stated, distinct),
        *_unknown(stated),
        *_unlinked(stated, line),
    )
    duties = {licence: found.asks for licence in distinct if (found := known(licence))}
    return Terms(line, duties, findings)


def _folded(parent: Parent) -> Parent:
    """With its licences in small letters, as the hub has them: cards do not agree on that."""
    licences = tuple(dict.fromkeys(licence.lower() for licence in parent.card.licences))
    return replace(parent, card=replace(parent.card, licences=licences))


def _strictest(licences: Sequence[str]) -> list[str]:
    """Those that remain when each that asks no more than another is left out."""
    free = [one for one in licences if (asked := known(one)) and asked.kind == "free"]
    bound = [one for one in licences if one not in free]
    if not bound:
        return sorted(free, key=_rank, reverse=True)[:1]
    return [one for one in bound if not any(one in asked.takes for other in bound if (asked := known(other)))]


def _rank(licence: str) -> int:
    asked = known(licence)
    return asked.rank if asked else 0


def _clash(one: str, other: str) -> bool:
    """Whether both cannot be kept: each wants the whole for itself, or one does and the other has terms of its own."""
    kinds = _kinds(one, other)
    return "same" in kinds and "" not in kinds


def _doubt(one: str, other: str) -> bool:
    """Whether one wants the whole for itself, and nobody here knows what the other wants."""
    kinds = _kinds(one, other)
    return "same" in kinds and "" in kinds


def _kinds(*licences: str) -> list[str]:
    return [asked.kind if (asked := known(licence)) else "" for licence in licences]


def _barred(one: str, other: str) -> bool:
    """Whether one does not let anybody ask what the other asks, free as that is."""
    asked = known(one), known(other)
    return any(each is not None and free in each.bars for each, free in zip(asked, (other, one), strict=True))


def _line(licences: Sequence[str], stated: Sequence[Stated]) -> Line:
    link = None
    if len(licences) == 1:
        licence = licences[0]
        asked = known(licence)
        if asked and asked.listed:
            return Line(licence)
        links = list(dict.fromkeys(parent.card.link for parent, said in stated if said == licence))
        link = links[0] if len(links) == 1 and links[0] and _WEB.fullmatch(links[0]) else None
    return Line("other", "-and-".join(_slug(licence) for licence in licences), link)


def _slug(licence: str) -> str:
    """A name as the hub wants it: small letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", licence).strip("-.")[:96] or "unnamed"


# ---------------------------------------------------------------------------------------------- what is found


def _names(models: Sequence[Parent]) -> str:
    return ", ".join(dict.fromkeys(one.name for one in models))


def _listing(stated: Sequence[Stated]) -> str:
    """``a llama3, b mit``"""
    told: dict[str, dict[str, None]] = {}
    for parent, licence in stated:
        told.setdefault(parent.name, {})[licence] = None
    return ", ".join(f"{name} {' + '.join(said)}" for name, said in told.items())


def _silent(models: Sequence[Parent]) -> Iterator[Finding]:
    """A model of the hub without a licence is somebody else's; a folder may well be one's own."""
    remedy = "No licence is no permission: do not publish the merge before the owners say that you may."
    grades: tuple[Grade, ...] = ("warning", "note")
    for grade in grades:
        group = [one for one in models if (one.hub or bool(one.card.licences)) == (grade == "warning")]
        if group:
            said = dict.fromkeys(licence for one in group for licence in one.card.licences)
            evidence = f"none stated but {', '.join(said)!r}" if said else "none stated"
            yield Finding(grade, _names(group), "licence", evidence, remedy)


def _forbidden(stated: Sequence[Stated]) -> Iterator[Finding]:
    asked = [(parent, licence, found) for parent, licence in stated if (found := known(licence))]
    fixed = [(parent, licence) for parent, licence, found in asked if not found.changes]
    if fixed:
        remedy = "The merge cannot be published, and its card bears no licence: leave the model out, or ask its owners."
        evidence = f"{_listing(fixed)}: nothing that is made from it may be passed on"
        yield Finding("warning", _names([one for one, _ in fixed]), "forbids to publish the merge", evidence, remedy)
    unpaid = [(parent, licence) for parent, licence, found in asked if not found.commercial]
    if unpaid:
        grade: Grade = "note" if len(unpaid) == len(stated) else "warning"
        remedy = "It reaches the whole: the merge is for non-commercial use only, whatever the others allow."
        yield Finding(grade, _names([one for one, _ in unpaid]), "non-commercial", _listing(unpaid), remedy)


def _clashing(stated: Sequence[Stated], clashes: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    for pair in clashes:
        theirs = [one for one in stated if one[1] in pair]
        wants = [licence for licence in pair if (asked := known(licence)) and asked.kind == "same"]
        whole = f"{' and '.join(wants)} {'each want' if len(wants) > 1 else 'wants'} the whole merge under that licence"
        remedy = "Both cannot be kept at once: do not publish it without the consent of the owners."
        yield Finding("warning", "licences", "they clash", f"{_listing(theirs)}: {whole}", remedy)
    llamas = [one for one in stated if _family(one[1]) == "Llama"]
    others = [one for one in stated if _family(one[1]) != "Llama"]
    if any(licence in ("llama2", "llama3") for _, licence in llamas) and others:
        evidence = f"{_listing(llamas)} beside {_listing(others)}"
        remedy = "The terms of Llama 2 and 3 forbid using it to improve other language models: ask before you publish."
        yield Finding("warning", "licences", "Llama among others", evidence, remedy)


def _doubtful(stated: Sequence[Stated], doubts: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    for pair in doubts:
        theirs = [one for one in stated if one[1] in pair]
        (unknown,), (whole,) = ([one for one in pair if (known(one) is None) == strange] for strange in (True, False))
        evidence = f"{_listing(theirs)}: {whole} wants the whole merge under that licence"
        remedy = f"Whether {unknown} lets that be is not known here: read its terms before you publish the merge."
        yield Finding("warning", "licences", "they may clash", evidence, remedy)


def _lifted(models: Sequence[Parent]) -> Iterator[tuple[Parent, str, str]]:
    """Models whose cards state less than the model is surely under that they name as their base: with the family of
    its terms, and the base.
    """
    for parent in models:
        for family, names in _KNOWN_BASES.items():
            base = next((one for one in (parent.address, *parent.card.bases) if names.fullmatch(one)), None)
            if base is not None and not any(_family(licence) == family for licence in parent.card.licences):
                yield parent, family, base


def _relabelled(lifted: Sequence[tuple[Parent, str, str]]) -> Iterator[Finding]:
    for parent, family, base in lifted:
        if parent.card.licences:
            whence = f"it is made from {family}" if base == parent.address else f"that it comes from {base}"
            evidence = f"its card says {' + '.join(parent.card.licences)}, and {whence}"
            remedy = f"The terms of {family} reach what is made from it: a card cannot lift them."
            yield Finding("warning", parent.name, "licence of its base", evidence, remedy)


def _different(stated: Sequence[Stated], distinct: Sequence[str], line: Line | None) -> Iterator[Finding]:
    if len(distinct) > 1:
        bears = f"; its own card may say {line}" if line else ""
        remedy = f"A merge that you publish has to keep the terms of all of them{bears}."
        yield Finding("note", "licences", "they differ", _listing(stated), remedy)


def _own(stated: Sequence[Stated], distinct: Sequence[str]) -> Iterator[Finding]:
    for licence in distinct:
        asked = known(licence)
        if asked is None or asked.kind != "own" or not asked.changes:
            continue
        named = f" Its name has to begin with '{asked.title}'." if asked.title else ""
        theirs = _names([parent for parent, said in stated if said == licence])
        yield Finding("note", theirs, "terms", licence, f"Before you publish the merge: {asked.asks}{named}")


def _unknown(stated: Sequence[Stated]) -> Iterator[Finding]:
    strange = [(parent, licence) for parent, licence in stated if known(licence) is None]
    if strange:
        remedy = "Read its terms before you publish the merge: mergelab knows nothing of them."
        yield Finding("note", _names([one for one, _ in strange]), "unknown licence", _listing(strange), remedy)


def _unlinked(stated: Sequence[Stated], line: Line | None) -> Iterator[Finding]:
    """Places of terms that would be on the card, and are none that its readers could go to."""
    if line is None or line.licence != "other" or line.link:
        return
    for parent in dict.fromkeys(parent for parent, licence in stated if _slug(licence) == line.name):
        if parent.card.link and not _WEB.fullmatch(parent.card.link):
            remedy = "It is no address on the web, and is left out of the card: put a copy of the terms beside it."
            yield Finding("note", parent.name, "licence link", parent.card.link, remedy)


def _family(licence: str) -> str:
    asked = known(licence)
    return asked.family if asked else ""
