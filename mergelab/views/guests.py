"""The sources of a workbench: opened, named, each with a code of two letters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from mergelab.errors import Problem, SourceError, raise_all
from mergelab.weights import Checkpoint, Source, open_checkpoint

MOST_SOURCES = 5  # as many as have a look of their own


@dataclass(frozen=True)
class Guest:
    """One source of a workbench: what it is called, its two-letter code, and the opened checkpoint."""

    name: str
    code: str
    checkpoint: Checkpoint


def open_guests(sources: Sequence[object], names: Sequence[str] | None) -> tuple[Guest, ...]:
    """Open the sources and name them, each differently.

    Args:
        sources: what ``open_checkpoint`` takes, one to five.
        names: one for each; None: the names of their folders.

    Raises:
        SourceError: a source is no model or cannot be opened, one is given twice, there are too few or too many, or
            names do not match.
    """
    if not 1 <= len(sources) <= MOST_SOURCES:
        raise SourceError(
            Problem(
                "Workbench", f"{len(sources)} sources were given.", f"Give 1 to {MOST_SOURCES}; the first is the base."
            )
        )
    models = [source for source in sources if isinstance(source, Checkpoint | Source | str | os.PathLike)]
    hint = "Give models: folders, addresses, or what ml.open gives."
    wrong = [source for source in sources if not any(source is model for model in models)]
    raise_all(SourceError, (Problem("Workbench", f"a {type(one).__name__} is no model.", hint) for one in wrong))
    opened = [open_checkpoint(model) for model in models]
    addresses = [checkpoint.source for checkpoint in opened]
    twice = [address for address in dict.fromkeys(addresses) if addresses.count(address) > 1]
    raise_all(SourceError, map(here_already, twice))
    if names is None:
        called: list[str] = []
        for checkpoint in opened:
            label = checkpoint.source.label
            # Two folders of one name are told apart by a number.
            alike = sum(name == label or name.startswith(f"{label} ") for name in called)
            called.append(f"{label} {alike + 1}" if alike else label)
    else:
        called = [str(name).strip() for name in names]
        if (
            len(called) != len(opened)
            or len(dict.fromkeys(called)) != len(called)
            or "merged" in called
            or "" in called
        ):
            raise SourceError(
                Problem(
                    "names",
                    f"{list(names)!r} does not name {len(opened)} sources.",
                    "Give one name for each, all different, none of them empty or 'merged'.",
                )
            )
    return tuple(
        Guest(name, code, checkpoint) for name, code, checkpoint in zip(called, codes(called), opened, strict=True)
    )


def here_already(source: Source) -> Problem:
    """That a model is no further source: a recipe names models by their addresses, and could not tell the two apart."""
    return Problem(str(source), "is a source already.", "Name another model; any layer of one can be used many times.")


def codes(names: Sequence[str]) -> list[str]:
    """A different two-letter code for each name: ``["Ba", "Ar", "Sb", "Sp"]`` for base, arith, st-bible, st-python."""
    found: list[str] = []
    alike = [name[:2].lower() for name in names]
    for name, start in zip(names, alike, strict=True):
        letters = [letter for letter in name if letter.isalnum()] or ["?"]
        words = [word for word in "".join(c if c.isalnum() else " " for c in name).split() if word]
        initials = words[0][0] + words[1][0] if len(words) > 1 else ""
        pairs = [name[:2], *([initials] if initials else [])]
        if alike.count(start) > 1 and initials:
            pairs.reverse()
        pairs += [letters[0] + letter for letter in letters[1:]]
        pairs += [letters[0] + str(digit) for digit in range(1, 10)]
        tries = [pair[:1].upper() + pair[1:].lower() for pair in pairs if pair.isalnum()]
        # Some letters become two when raised.
        found.append(next((pair for pair in tries if len(pair) == 2 and pair not in found), f"{len(found)}?"))
    return found
