"""Copies: the steps of a plan that are a stored tensor as it is. To find them takes no torch."""

from __future__ import annotations

from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Given, Input, Step


def copied(planned: Plan, step: Step) -> Input | None:
    """The stored tensor that a step is, bit for bit; None where something has to be computed.

    What an adapter changes is computed, and so is what is brought to another dtype, vocabulary or width.
    """
    given: Given = step
    while isinstance(given, Step) and given.copies:
        given = given.inputs[0]
    if not isinstance(given, Input):
        return None
    adapter = planned.checkpoints[given.source].adapter
    return None if adapter and given.name in adapter.changes else given


def computes(planned: Plan) -> bool:
    """Whether any step of a plan has to be computed."""
    return any(copied(planned, step) is None for step in planned.steps)
