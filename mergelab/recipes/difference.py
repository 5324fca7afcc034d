"""What tells two recipes apart, in a line: for a list of turns."""

from __future__ import annotations

import difflib

from mergelab.recipes.recipe import Recipe
from mergelab.weights import Source

NAMED = 2  # lines that are shown; the others are counted
SHORT = 4  # entries of a list that is shown whole


def difference(before: Recipe, after: Recipe) -> str:
    """What tells two recipes apart, in a line: the lines of their YAML that differ, sources by their short names.

    ``density: 0.3 -> 0.5``; beyond the first two the others are counted. Empty where only folders' places differ.
    """
    old, new = (one.renamed(lambda source: Source(source.label)).bare.to_yaml().splitlines() for one in (before, after))
    found: list[str] = []
    for _, start, end, begin, stop in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if old[start:end] == new[begin:stop]:
            continue
        gone, come = ([line.strip(" -") for line in lines] for lines in (old[start:end], new[begin:stop]))
        both = min(len(gone), len(come))
        found += [_from_to(*pair) for pair in zip(gone[:both], come[:both], strict=True) if pair[0] != pair[1]]
        found += [f"without {line}" for line in gone[both:]] + [f"with {line}" for line in come[both:]]
    more = [f"and {len(found) - NAMED} more"] if len(found) > NAMED else []
    return "; ".join([*found[:NAMED], *more])


def _from_to(old: str, new: str) -> str:
    """How one line of YAML became another; of long lists only what changed."""
    (before_key, _, before), (key, _, after) = old.partition(": "), new.partition(": ")
    if not after or before_key != key:
        return f"{_short(old)} -> {_short(new)}"
    was, now = before.strip("[]").split(", "), after.strip("[]").split(", ")
    if before[0] == after[0] == "[" and len(was) == len(now) > SHORT:
        changed = [(place, *pair) for place, pair in enumerate(zip(was, now, strict=True)) if pair[0] != pair[1]]
        if len(changed) > 1:
            return f"{len(changed)} of {len(now)} numbers of {key}"
        return "".join(f"{key}[{place}]: {one} -> {other}" for place, one, other in changed)
    return f"{key}: {_short(before)} -> {_short(after)}"


def _short(text: str) -> str:
    """The text, with a long list counted."""
    head, opening, entries = text.partition("[")
    count = entries.count(", ") + 1
    return f"{head}{count} numbers" if opening and count > SHORT else text
