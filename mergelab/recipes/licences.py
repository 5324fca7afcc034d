"""Licences: what the models of a merge ask of whoever publishes it, and which line its own card may bear.

A merge has the duties of all its parents together; two licences clash where both cannot be kept. The table says what
the texts of common licences ask, in a sentence each; whether weights can be owned at all is unsettled, and nothing
here is legal advice. A merge on one's own disk is no publication: nothing is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias

from mergelab.recipes.card import Card, read_cards
from mergelab.recipes.report import Finding, Grade
from mergelab.weights import Checkpoint, Source

ADVICE = "These are rules of thumb and no legal advice: the texts of the licences count."


@dataclass(frozen=True)
class Licence:
    """What one licence asks.

    Attributes:
        asks: what whoever passes a changed model on has to do, as a sentence.
        kind: "free": any licence may stand over the whole as long as notices are kept; "same": the whole has to be
            under this licence; "own": its terms go along with the weights.
        commercial: the model may be put to commercial use.
        changes: a changed model may be passed on.
        family: whose terms they are, where several versions belong together.
        title: how the name of a changed model has to begin.
        rank: of two free ones, the one that asks more has the higher.
        takes: other licences that ask no more than this one.
        listed: the hub has this id in its list; else it is written as "other" with a name.
    """

    asks: str
    kind: Literal["free", "same", "own"]
    commercial: bool = True
    changes: bool = True
    family: str = ""
    title: str = ""
    rank: int = 0
    takes: tuple[str, ...] = ()
    listed: bool = True


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


_NOTICES = "Keep its copyright notices and its text."
_LGPL = ("lgpl", "lgpl-2.1", "lgpl-3.0")
_RAIL = "Pass its restrictions of use on with the weights, word for word."
_RESEARCH = "Research and other non-commercial use only; pass its text on."


def _llama(title: str, built: str) -> Licence:
    asks = (
        f"Pass a copy of the agreement and its acceptable use policy on, with its line in a file called Notice{built}. "
        "Above 700 million users a month it needs a licence from Meta."
    )
    return Licence(asks, "own", family="Llama", title=title)


_TABLE: Mapping[str, Licence] = {
    **dict.fromkeys(("cc0-1.0", "unlicense", "wtfpl", "pddl"), Licence("Nothing.", "free")),
    **dict.fromkeys(
        ("mit", "isc", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "zlib", "ncsa", "postgresql",
            "afl-3.0", "bsl-1.0", "ms-pl", "openmdw-1.0"),
        Licence(_NOTICES, "free", rank=1),
    ),
    "apache-2.0": Licence("Keep its notices and its text, and state what was changed.", "free", rank=2),
    **dict.fromkeys(_LGPL, Licence("Put the changed model under the same licence.", "same")),
    **dict.fromkeys(("gpl", "gpl-2.0"), Licence("Put the whole under the same licence.", "same", takes=_LGPL)),
    "gpl-3.0": Licence("Put the whole under the same licence.", "same", takes=_LGPL),
    "agpl-3.0": Licence(
        "Put the whole under the same licence, where it is only served over a network too.", "same",
        takes=("gpl-3.0", "lgpl-3.0"),
    ),
    "llama2": _llama("", ""),
    "llama3": _llama("Llama 3", ", and show 'Built with Meta Llama 3'"),
    **dict.fromkeys(
        ("llama3.1", "llama3.2", "llama3.3", "llama4"), _llama("Llama", ", and show 'Built with Llama'")
    ),
    "gemma": Licence("Pass the Gemma Terms of Use and its Prohibited Use Policy on, and say what was changed.", "own",
        family="Gemma"),
    **dict.fromkeys(
        ("openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
            "bigcode-openrail-m"),
        Licence(_RAIL, "own"),
    ),
    **dict.fromkeys(("deepseek", "deepseek-license"), Licence(_RAIL, "own", family="DeepSeek", listed=False)),
    **dict.fromkeys(
        ("qwen", "qwen-license", "tongyi-qianwen"),
        Licence("Pass its text on and keep its notice; it limits large commercial use.", "own", family="Qwen",
            listed=False),
    ),
    **dict.fromkeys(
        ("qwen-research", "qwen-research-license", "tongyi-qianwen-research", "mrl", "mnpl",
            "microsoft-research-license"),
        Licence(_RESEARCH, "own", commercial=False, listed=False),
    ),
    **dict.fromkeys(
        ("apple-amlr", "h-research", "intel-research", "fair-noncommercial-research-license"),
        Licence(_RESEARCH, "own", commercial=False),
    ),
    "falcon-180b-license": Licence("Pass its text on; it limits hosting for others.", "own", listed=False),
}  # fmt: skip
_CREATIVE = re.compile(r"cc-by(?P<nc>-nc)?(?P<how>-sa|-nd)?(?P<version>-\d\.\d)?")
# Names of bases that are surely under terms of their own, whatever a card of their descendants says.
_KNOWN_BASES: Mapping[str, re.Pattern[str]] = {
    "Llama": re.compile(r"meta-llama/.+", re.IGNORECASE),
    "Gemma": re.compile(r"google/(code)?gemma-?(\d+b|[123])\b.*", re.IGNORECASE),
}
_SAYS_NOTHING = ("other", "unknown", "none")

Stated: TypeAlias = tuple[Parent, str]


def known(licence: str) -> Licence | None:
    """What a licence asks, by its id on the hub or its usual name; None: the table does not have it."""
    licence = licence.lower()
    found = _CREATIVE.fullmatch(licence)
    if found is None:
        return _TABLE.get(licence)
    alike, fixed = found["how"] == "-sa", found["how"] == "-nd"
    asks = ["Name the authors", "link the licence", "say what was changed"]
    asks += ["put the merge under the same licence"] * alike + ["make no money with it"] * bool(found["nc"])
    sentence = f"{', '.join(asks[:-1])} and {asks[-1]}."
    return Licence(
        "Nothing made from it may be passed on." if fixed else sentence,
        "same" if alike else "own" if found["nc"] or fixed else "free",
        commercial=not found["nc"],
        changes=not fixed,
        rank=3,
        takes=(f"cc-by-nc{found['version'] or ''}",) if alike and found["nc"] else (),
        listed=found["version"] is not None,
    )


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
    stated = [(one, licence) for one in models for licence in one.card.licences if licence not in _SAYS_NOTHING]
    silent = [one for one in models if not any(parent is one for parent, _ in stated)]
    distinct = list(dict.fromkeys(licence for _, licence in stated))
    left = _strictest(distinct)
    clashes = [pair for pair in combinations(left, 2) if _clash(*pair)]
    line = None if silent or clashes or not left else _line(left, stated)
    findings = (
        *_silent(silent),
        *_forbidden(stated),
        *_clashing(stated, clashes),
        *_relabelled(stated),
        *_different(stated, distinct, line),
        *_own(stated, distinct),
        *_unknown(stated),
    )
    duties = {licence: found.asks for licence in distinct if (found := known(licence))}
    return Terms(line, duties, findings)


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
    kinds = [asked.kind if (asked := known(licence)) else "" for licence in (one, other)]
    return "same" in kinds and "" not in kinds


def _line(licences: Sequence[str], stated: Sequence[Stated]) -> Line:
    link = None
    if len(licences) == 1:
        licence = licences[0]
        asked = known(licence)
        if asked and asked.listed:
            return Line(licence.lower())
        links = list(dict.fromkeys(parent.card.link for parent, said in stated if said == licence))
        link = links[0] if len(links) == 1 else None
    return Line("other", "-and-".join(_slug(licence) for licence in licences), link)


def _slug(licence: str) -> str:
    """A name as the hub wants it: small letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.")[:96] or "unnamed"


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
        remedy = "Nobody may pass on what is made from it: do not publish the merge."
        yield Finding("warning", _names([one for one, _ in fixed]), "no derivatives", _listing(fixed), remedy)
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


def _relabelled(stated: Sequence[Stated]) -> Iterator[Finding]:
    """Cards that state less than the model is surely under that they name as their base."""
    for parent, licence in stated:
        for family, names in _KNOWN_BASES.items():
            base = next((one for one in (parent.address, *parent.card.bases) if names.fullmatch(one)), None)
            if base is not None and _family(licence) != family:
                evidence = f"its card says {licence}, and that it comes from {base}"
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


def _family(licence: str) -> str:
    asked = known(licence)
    return asked.family if asked else ""
