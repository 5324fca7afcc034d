"""Blind: what several recipes write, without their names, until the votes are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.models.assembly import Assembly
from mergelab.models.bank import Bank
from mergelab.models.comparison import Comparison, ask_all
from mergelab.recipes.plan import plan
from mergelab.recipes.recipe import Recipe
from mergelab.views.guests import Guest

SIDES = ("left", "right")
SAME = "same"  # the vote of who has no preference


def listen(recipes: Mapping[str, Recipe], prompts: Sequence[str], guests: Sequence[Guest], device: str) -> Comparison:
    """Make the models of the recipes, ask them every prompt blind, and let go of them.

    Raises:
        MergelabError: there are fewer than two, one cannot be made, or a prompt cannot be read.
    """
    checkpoints = {guest.checkpoint.source: guest.checkpoint for guest in guests}
    bank = Bank(checkpoints, device=device)
    made: dict[str, Assembly] = {}
    try:
        for name, recipe in recipes.items():
            made[name] = Assembly(plan(recipe, checkpoints), bank=bank)
        return ask_all(made, tuple(prompts), blind=True)
    finally:
        for assembly in made.values():
            assembly.close()
        bank.close()


def payload(comparison: Comparison) -> dict[str, Any]:
    """The ``_blind`` trait: the first prompt without a vote, else the last; names and a verdict once it is revealed.

    Columns stay where they are when it is; their labels then say who it was. ``same``: all wrote the same.
    """
    number = _open(comparison) or len(comparison.prompts)
    columns = comparison.as_drawn(number) if comparison.revealed else comparison.columns(number)
    labels = SIDES if len(columns) == len(SIDES) else [str(place + 1) for place in range(len(columns))]
    if comparison.revealed:
        labels = [f"{label} was {name}" for label, (name, _) in zip(labels, columns, strict=True)]
    return {
        "prompt": comparison.prompts[number - 1].text,
        "columns": [{"label": label, "text": text} for label, (_, text) in zip(labels, columns, strict=True)],
        "same": len(dict.fromkeys(text for _, text in columns)) == 1,
        "votes": len(comparison.voted),
        "of": len(comparison.prompts),
        "verdict": _verdict(comparison) if comparison.revealed else "",
        "names": list(comparison.names) if comparison.revealed else None,
    }


def vote(comparison: Comparison, column: str) -> None:
    """Vote for a column, by its label, of the prompt that ``payload`` shows; "same": no preference.

    Raises:
        AssemblyError: there is no such column, or names are shown already.
    """
    heading = None if column == SAME else str(SIDES.index(column) + 1) if column in SIDES else column
    comparison.vote(_open(comparison) or len(comparison.prompts), heading)


def _open(comparison: Comparison) -> int:
    """The first prompt without a vote, from 1; 0: every one has its vote."""
    numbers = range(1, len(comparison.prompts) + 1)
    return next((number for number in numbers if number not in comparison.voted), 0)


def _verdict(comparison: Comparison) -> str:
    score = comparison.score()
    if not comparison.voted:
        return "No vote was given."
    told = ", ".join(f"{name} {votes}" for name, votes in score.votes)
    return f"Of {score.count}: {told}. {score.odds}"
