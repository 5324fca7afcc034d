"""Events: what a preview tells of a request, each with the request's number. In this order: ``Merged``, ``Next``, a
``Shaded`` for each prompt, any number of ``Text``, for each measure ``Measuring`` and any number of ``Measured``,
``Done``; or ``Failed`` in place of what is left. Shades and measures only where the preview was asked for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from mergelab.models.answers import Answer
from mergelab.models.changes import Changes
from mergelab.models.shading import Shade
from mergelab.recipes.plan import Plan


@dataclass(frozen=True)
class Merged:
    """The merge stands.

    Attributes:
        recipe: fingerprint of the recipe.
        changes: what was redone for it.
        seconds: time it took, planning included.
        plan: what it was made by, told of what its layers have to themselves.
    """

    generation: int
    recipe: str
    changes: Changes
    seconds: float
    plan: Plan


@dataclass(frozen=True)
class Next:
    """The figures: what every speaker makes of each prompt, in the order of the prompts."""

    generation: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Text:
    """What a speaker has written so far after a prompt, the whole of it; ``done`` when it has finished.

    Attributes:
        prompt: number of the prompt, from 0.
    """

    generation: int
    speaker: str
    text: str
    done: bool
    prompt: int = 0


@dataclass(frozen=True)
class Shaded:
    """What the merged model makes of each token of a prompt, and how far every source is from it there.

    Attributes:
        prompt: number of the prompt, from 0.
        tokens: of the prompt as the merged model reads it, in order.
    """

    generation: int
    prompt: int
    tokens: tuple[Shade, ...]


@dataclass(frozen=True)
class Measuring:
    """A measure begins.

    Attributes:
        name: of the measure.
    """

    generation: int
    name: str


@dataclass(frozen=True)
class Measured:
    """What a measure found so far.

    Attributes:
        name: of the measure.
        value: what it gives, the whole of it; None where it cannot be measured.
        problem: why not, in words; "" otherwise.
    """

    generation: int
    name: str
    value: object
    problem: str = ""


@dataclass(frozen=True)
class Failed:
    """The request could not be answered, and why, in words."""

    generation: int
    message: str


@dataclass(frozen=True)
class Done:
    """The request is answered in full, ``seconds`` after work on it began."""

    generation: int
    seconds: float


Event: TypeAlias = Merged | Next | Shaded | Text | Measuring | Measured | Failed | Done
