"""Scoring: a merge's scores, beside those of its sources and of the stack without layers that are not its host's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

from mergelab.errors import MergelabError
from mergelab.models.assembly import Assembly
from mergelab.models.measuring import Live
from mergelab.recipes.plan import Plan
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.step import Layer
from mergelab.studies.errands import Errands
from mergelab.studies.scores import Score, Scorer
from mergelab.weights import Source

SKIP = "skip"


@dataclass(frozen=True)
class Control:
    """What the merged model's score is held against.

    Attributes:
        name: a source's, or "skip".
        what: what model that is, in words.
        score: None: not known yet. Where there is no such model, one without a value whose ``problem`` says why.
    """

    name: str
    what: str
    score: Score | None


@dataclass(frozen=True)
class Row:
    """One scorer's scores.

    Attributes:
        score: of the merged model; None: not known yet.
        controls: in one order for all rows, "skip" last.
    """

    scorer: Scorer
    score: Score | None
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class Scores:
    """All that is known of one merge.

    Attributes:
        recipe: its fingerprint.
        rows: one for each scorer.
        done: nothing more will come.
        waiting: the scorer that keeps everybody waiting; else "".
    """

    recipe: str
    rows: tuple[Row, ...]
    done: bool
    waiting: str = ""


@dataclass(frozen=True)
class Skip:
    """The recipe without the layers that its host has no part in.

    Attributes:
        recipe: None where there is none.
        what: what it is, in words: which layers go, and how many stay.
        why: there is none; else "".
    """

    recipe: Recipe | None
    what: str
    why: str = ""


class Scoring:
    """Scores a merge by several scorers: a measure of a preview.

    What was scored once, a merge, a source or a control, is not scored again, also where a newer request came before
    all was done; scores that failed are tried again. Scorers that may do more than read get a model and a thread of
    their own: whatever they do and however long they take, answers go on.
    """

    name = "scores"

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        """Score by these, each with another name."""
        self.scorers = tuple(scorers)
        self._errands = Errands()
        self._known: dict[tuple[str, str], Score] = {}  # by fingerprint of the recipe and name of the scorer

    def __call__(self, live: Live) -> Iterator[Scores]:
        """Score the merge first, then the control, then the sources.

        Raises:
            Stopped: something newer was asked.
        """
        if not self.scorers:
            return
        merged = live.merged.recipe
        control = skip(live.merged.plan)
        alone = {name: live.alone(name) for name in live.sources}
        recipes = {**{name: one.recipe.fingerprint for name, one in alone.items()}, SKIP: ""}
        told = {**{name: f"{name} alone" for name in alone}, SKIP: control.what}
        if control.recipe is not None:
            recipes[SKIP] = control.recipe.fingerprint
        found = {key: score for key, score in self._known.items() if key[0] in (merged.fingerprint, *recipes.values())}

        def without(why: str) -> None:
            for one in self.scorers:
                found[recipes[SKIP], one.name] = Score(math.nan, unit=one.unit, problem=why)

        if control.recipe is None:
            without(control.why)

        def so_far(*, done: bool, waiting: str = "") -> Scores:
            rows = tuple(
                Row(
                    one,
                    found.get((merged.fingerprint, one.name)),
                    tuple(Control(name, told[name], found.get((recipe, one.name))) for name, recipe in recipes.items()),
                )
                for one in self.scorers
            )
            return Scores(merged.fingerprint, rows, done, waiting)

        for recipe, opening in _asked(live, control.recipe, alone.values()):
            missing = [one for one in self.scorers if (recipe.fingerprint, one.name) not in found]
            try:
                with opening if any(one.only_reads for one in missing) else nullcontext() as model:
                    for scorer in missing:
                        if scorer.only_reads and model is not None:
                            score = scorer.score(model, live.stop)
                        else:
                            waiting = partial(so_far, done=False, waiting=scorer.name)
                            score = yield from self._errands.run(_apart(scorer, recipe, live), live.stop, waiting)
                        found[recipe.fingerprint, scorer.name] = score
                        if not score.problem:
                            self._known[recipe.fingerprint, scorer.name] = score
                        yield so_far(done=False)
            except MergelabError as error:  # the control cannot be made
                without(str(error))
        yield so_far(done=True)


def _asked(
    live: Live, control: Recipe | None, alone: Iterable[Assembly]
) -> list[tuple[Recipe, AbstractContextManager[Assembly]]]:
    """The models to score, each with what opens the live one for a while."""
    controls = [] if control is None else [(control, live.other(control))]
    return [
        (live.merged.recipe, nullcontext(live.merged)),
        *controls,
        *((one.recipe, nullcontext(one)) for one in alone),
    ]


def _apart(scorer: Scorer, recipe: Recipe, live: Live) -> Callable[[], Score]:
    """What scores the model of a recipe in memory of its own: whatever is done to that, nobody else sees.

    Raises:
        MergelabError: the recipe cannot be planned.
    """
    make = live.apart(recipe)

    def work() -> Score:
        try:
            with make() as own:
                return scorer.score(own, live.stop)
        except MergelabError as error:
            return Score(math.nan, unit=scorer.unit, problem=str(error))

    return work


def skip(planned: Plan) -> Skip:
    """The same stack without the layers that its host has no part in: what a merge must beat to be worth its layers.

    The host gives config and tokenizer, or, where that has a part in no layer, is the model that has one in most; of
    several the lowest in the stack. A layer stays where the host is its base or among its parts; so slices stay or go
    whole. Random draws, as of dare_ties, are others where layers move down.
    """
    recipe, giver = planned.recipe, planned.donor.source
    parts = Counter(source for layer in planned.layers for source in dict.fromkeys(_made_of(layer)))
    host = giver if giver in parts else parts.most_common(1)[0][0]
    gone = [number for number, layer in enumerate(planned.layers) if host not in _made_of(layer)]
    left = len(planned.layers) - len(gone)
    if not gone:
        why = f"{host.label} has a part in every layer: there is none to leave out"
        return Skip(None, "the stack without layers of others", why)
    kept = {planned.layers[number].slice: None for number in range(len(planned.layers)) if number not in gone}
    what = f"without layer{'s' * (len(gone) > 1)} {_runs(gone)}, in which {host.label} has no part; {left} left"
    if host != giver:
        what += f". {giver.label}, which gives config and tokenizer, has no part in any layer; {host.label} has in most"
    return Skip(replace(recipe, slices=tuple(recipe.slices[place] for place in kept), notes=None), what)


def _made_of(layer: Layer) -> list[Source]:
    return [one.source for one in (layer.base, *layer.parts) if one is not None]


def _runs(numbers: Sequence[int]) -> str:
    """Ascending numbers in words: ``"3 to 5, 8"``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
