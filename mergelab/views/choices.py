"""Choices: which figures there are, what the dials can be turned to, and which measurement a figure is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from numbers import Real
from typing import Any

from mergelab.errors import did_you_mean
from mergelab.views.panels import Kind
from mergelab.views.subjects import Subject
from mergelab.views.survey import Task
from mergelab.views.visible import one_line

# Of the norm of tokens, as `Trace.norms` knows them.
STATISTICS = {
    "median": "median",
    "q95": "95 %",
    "q75": "75 %",
    "q25": "25 %",
    "q05": "5 %",
    "rms": "per channel",
}
CONFLICTS = {"signs": "signs", "weighted": "by size", "lost": "lost in the sum"}
DRIFTS = {"size": "all of it", "scale": "scale part", "shape": "shape part"}
BETWEEN = {
    "cka": "arrangement (CKA)",
    "cosine": "direction (cosine)",
    "distance": "distance",
    "kl": "prediction (KL)",
    "entropy": "undecidedness (entropy)",
}
# By the field of `Choice`: what a figure shows of what was measured, and what that is called.
VARIANTS = {"statistic": STATISTICS, "conflict": CONFLICTS, "drift": DRIFTS, "between": BETWEEN}
DENSITIES = (0.01, 1.0)
TURNS = ("density", "pair", "source", "against", "prompt", *VARIANTS)


@dataclass(frozen=True)
class Choice:
    """What the dials stand at.

    Attributes:
        density: share of each change that is kept before signs are compared, largest first.
        pair: places of the two sources that are compared with each other.
        source: place of the one that is shown by itself.
        against: place of the one that the others are held against, where any two can be compared: by what prompts do.
        statistic: which one of `STATISTICS` is drawn as a line.
        conflict: which one of `CONFLICTS` is drawn.
        drift: which one of `DRIFTS` is drawn.
        between: which one of `BETWEEN` is drawn.
        prompt: which prompt's tokens are shown.
    """

    density: float = 1.0
    pair: tuple[int, int] = (1, 2)
    source: int = 1
    against: int = 0
    statistic: str = "median"
    conflict: str = "signs"
    drift: str = "size"
    between: str = "cka"
    prompt: int = 0


@dataclass(frozen=True)
class Figure:
    """A panel before anything is measured.

    Attributes:
        dials: fields of `Choice` it looks different by.
        needs: how many sources beside the base it takes.
        weights: whether these have to have their weights in files.
    """

    name: str
    kind: Kind
    title: str
    shows: str
    dials: tuple[str, ...] = ()
    needs: int = 0
    weights: bool = False
    wide: bool = False


FIGURES = (
    Figure(
        "norms",
        "lines",
        "Norm of the residual stream",
        "How long tokens' vectors are, by layer.",
        ("statistic",),
        wide=True,
    ),
    Figure(
        "conflict",
        "heat",
        "Sign conflict",
        "How often two sources pull a weight in opposite directions.",
        ("density", "pair", "conflict"),
        needs=2,
        weights=True,
    ),
    Figure(
        "drift",
        "heat",
        "Norm drift",
        "How far each normalisation layer moved from the base's.",
        ("source", "drift"),
        needs=1,
    ),
    Figure(
        "cosine",
        "heat",
        "Task-vector cosine",
        "Whether the changes of two sources point the same way.",
        ("pair",),
        needs=2,
        weights=True,
    ),
    Figure(
        "size",
        "heat",
        "Size of the change",
        "How large each change is, against the base's weights.",
        ("source",),
        needs=1,
        weights=True,
    ),
    Figure(
        "between",
        "lines",
        "Likeness",
        "How alike each source and another are, layer by layer.",
        ("between", "against"),
        needs=1,
        wide=True,
    ),
    Figure(
        "tokens",
        "tokens",
        "Norm of each token",
        "How long the vector of each token is, by layer.",
        ("source", "prompt"),
        wide=True,
    ),
    Figure("sinks", "sinks", "Sinks", "Tokens whose vectors are far longer than the others'.", wide=True),
)


def figures(models: Sequence[Subject]) -> tuple[Figure, ...]:
    """The figures these subjects allow: weights are compared where they lie in files."""
    counts = {True: len(changed(models)), False: len(models) - 1}
    return tuple(one for one in FIGURES if counts[one.weights] >= one.needs)


def changed(models: Sequence[Subject]) -> list[int]:
    """Places of the sources whose weights can be compared with the base's."""
    return [place for place in range(1, len(models)) if models[place].weights] if models[0].weights else []


def first_choice(models: Sequence[Subject]) -> Choice:
    """The first pair, the first source beside the base; norms by channel where widths differ, else the median norm."""
    places = changed(models)
    alike = all(one.width == models[0].width for one in models)
    pair = (places[0], places[1]) if len(places) > 1 else (0, 0)
    source = places[0] if places else min(1, len(models) - 1)
    return Choice(pair=pair, source=source, statistic="median" if alike else "rms")


def task_of(name: str, choice: Choice, models: Sequence[Subject]) -> Task:
    """The measurement the figure ``name`` is drawn from."""
    if name == "drift":
        return ("drift", models[choice.source].name)
    return ("changes",) if name in ("conflict", "cosine", "size") else ("trace",)


def check_turn(turn: object, choice: Choice, models: Sequence[Subject], prompts: int) -> Choice:
    """``choice`` after a turn: a mapping of some of `TURNS` to where they are turned to.

    Places may be written as text; a source may be named instead, and a name goes before a place.

    Raises:
        ValueError: everything that cannot be meant, in words.
    """
    if not isinstance(turn, Mapping):
        raise ValueError(f"turned: {turn!r} is not a mapping of dials to where they are turned to.")  # noqa: TRY004
    problems = [
        f"turned: there is no dial {key!r}. {did_you_mean(str(key), TURNS)}" for key in turn if key not in TURNS
    ]
    values: dict[str, Any] = {}
    checks: Mapping[str, Callable[[object], Any]] = {
        "density": _density,
        "pair": lambda value: _pair(value, {place: models[place].name for place in changed(models)}),
        "source": lambda value: _source("source", value, {at: models[at].name for at in shown_alone(models)}),
        "against": lambda value: _source("against", value, {at: one.name for at, one in enumerate(models)}),
        "prompt": lambda value: _prompt(value, prompts),
        **{key: partial(_variant, key) for key in VARIANTS},
    }
    for key, value in turn.items():
        if key in checks and value is not None:
            try:
                values[key] = checks[key](value)
            except ValueError as error:
                problems.append(str(error))
    if problems:
        raise ValueError(" ".join(problems))
    return replace(choice, **values)


def shown_alone(models: Sequence[Subject]) -> list[int]:
    """Places of the sources that can be shown by themselves: those beside the base, else the base."""
    return changed(models) or list(range(1, len(models))) or [0]


def _density(value: object) -> float:
    low, high = DENSITIES
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
        raise ValueError(f"density: {value!r} is not a number from {low:g} to {high:g}.")
    return float(value)


def _variant(key: str, value: object) -> str:
    if not isinstance(value, str) or value not in VARIANTS[key]:
        raise ValueError(f"{key}: there is no {value!r}. {did_you_mean(str(value), tuple(VARIANTS[key]))}")
    return value


def _number(value: object) -> int | None:
    """A place, also one written as text; None: it is none."""
    return int(str(value)) if not isinstance(value, bool) and str(value).isdecimal() else None


def _named(value: object, known: Mapping[int, str]) -> int | None:
    """The place of a source, given by its name or, where no source is called that, as a place; None: there is none."""
    at = _number(value)
    return next((place for place, name in known.items() if name == value), at if at in known else None)


def _prompt(value: object, count: int) -> int:
    at = _number(value)
    if at is None or at >= count:
        raise ValueError(f"prompt: there is no prompt {value!r}. Known: 0 to {count - 1}.")
    return at


def _source(key: str, value: object, known: Mapping[int, str]) -> int:
    at = _named(value, known)
    if at is None:
        listed = ", ".join(f"{place} ({name})" for place, name in known.items())
        raise ValueError(f"{key}: there is no source {value!r}. Known: {listed}.")
    return at


def _pair(value: object, known: Mapping[int, str]) -> tuple[int, int]:
    parts: list[object] = [*value] if isinstance(value, Sequence) else []
    if isinstance(value, str):  # "1-2" are places, also where sources are called that
        parts = [at if (at := _number(one)) is not None else one for one in value.split("-")]
    found = [at for one in parts if (at := _named(one, known)) is not None]
    if len(parts) != 2 or len(found) != 2 or found[0] == found[1]:
        listed = ", ".join(f"{a}-{b} ({known[a]} with {known[b]})" for a, b in combinations(known, 2))
        raise ValueError(f"pair: {value!r} are not two different sources. Known: {listed or 'none'}.")
    return min(found), max(found)


# What the dials look like ------------------------------------------------------------------------------------


def dials(
    choice: Choice, models: Sequence[Subject], prompts: Sequence[str], density: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The `dials` trait: plain JSON. A choice of one is no choice and is left out."""
    pairs = [
        {
            "id": f"{a}-{b}",
            "label": f"{models[a].name} with {models[b].name}",
            "chosen": (a, b) == choice.pair,
            "sources": [a, b],
        }
        for a, b in combinations(changed(models), 2)
    ]
    sources = [_of_source(models, place, choice.source) for place in shown_alone(models)]
    others = [_of_source(models, place, choice.against) for place in range(len(models))]
    texts = [
        {"id": str(place), "label": short(text), "chosen": place == choice.prompt, "text": text}
        for place, text in enumerate(prompts)
    ]
    needed = [name for figure in figures(models) for name in figure.dials]
    variants = {
        name: [{"id": key, "label": label, "chosen": key == getattr(choice, name)} for key, label in known.items()]
        for name, known in VARIANTS.items()
    }
    return {
        "density": density,
        "pairs": pairs,
        "variants": {name: choices for name, choices in variants.items() if name in needed},
        "sources": sources if len(sources) > 1 else [],
        "against": others if "against" in needed else [],
        "prompts": texts if len(texts) > 1 else [],
    }


def _of_source(models: Sequence[Subject], place: int, chosen: int) -> dict[str, Any]:
    """Its id is its name: as a place it could be meant for a source that is called "2"."""
    name = models[place].name
    return {"id": name, "label": name, "chosen": place == chosen, "sources": [place]}


def short(text: str, most: int = 40) -> str:
    """The beginning of a text, on one line."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"
