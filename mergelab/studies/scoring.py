"""Scoring: a merge's scores, beside those of its sources and of the stack without layers that are not its host's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from mergelab.errors import MergelabError
from mergelab.models.assembly import Assembly
from mergelab.models.measuring import Live
from mergelab.recipes.plan import Plan
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.step import Layer
from mergelab.studies.scores import Score, Scorer

SKIP = "skip"


@dataclass(frozen=True)
class Control:
    """What the merged model's score is held against.

    Attributes:
        name: a source's, or "skip".
        what: what model that is, in words.
        score: None: not known yet, or there is no such model, as ``what`` says.
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
    """

    recipe: str
    rows: tuple[Row, ...]
    done: bool


@dataclass(frozen=True)
class Skip:
    """The recipe without the layers that its host has no part in.

    Attributes:
        recipe: None where there is none.
        what: which layers go and how many stay, or why there is none.
    """

    recipe: Recipe | None
    what: str


class Scoring:
    """Scores a merge by several scorers: a measure of a preview.

    What was scored once, a merge, a source or a control, is not scored again, also where a newer request came before
    all was done; scores that failed are tried again.
    """

    name = "scores"

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        """Score by these, each with another name."""
        self.scorers = tuple(scorers)
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

        def so_far(*, done: bool) -> Scores:
            rows = tuple(
                Row(
                    one,
                    found.get((merged.fingerprint, one.name)),
                    tuple(Control(name, told[name], found.get((recipe, one.name))) for name, recipe in recipes.items()),
                )
                for one in self.scorers
            )
            return Scores(merged.fingerprint, rows, done)

        asked: list[tuple[str, AbstractContextManager[Assembly]]] = [(merged.fingerprint, nullcontext(live.merged))]
        if control.recipe is not None:
            asked.append((control.recipe.fingerprint, live.other(control.recipe)))
        asked += [(recipes[name], nullcontext(one)) for name, one in alone.items()]
        for recipe, opening in asked:
            missing = [one for one in self.scorers if (recipe, one.name) not in found]
            if not missing:
                continue
            try:
                with opening as model:
                    for scorer in missing:
                        score = found[recipe, scorer.name] = scorer.score(model, live.stop)
                        if not score.problem:
                            self._known[recipe, scorer.name] = score
                        yield so_far(done=False)
            except MergelabError as error:  # the control cannot be made
                told[SKIP] = str(error)
        yield so_far(done=True)


def skip(planned: Plan) -> Skip:
    """The same stack without the layers that its host has no part in: what a merge must beat to be worth its layers.

    The host gives config and tokenizer. A layer stays where the host is its base or among its parts; so slices stay or
    go whole. Random draws, as of dare_ties, are others where layers move down.
    """
    recipe, host = planned.recipe, planned.donor.source
    gone = [number for number, layer in enumerate(planned.layers) if host not in _made_of(layer)]
    left = len(planned.layers) - len(gone)
    if not gone:
        return Skip(None, f"{host.label} has a part in every layer: there is none to leave out")
    if not left:
        return Skip(None, f"{host.label} has no part in any layer: none would be left")
    kept = {planned.layers[number].slice: None for number in range(len(planned.layers)) if number not in gone}
    what = f"without layer{'s' * (len(gone) > 1)} {_runs(gone)}, in which {host.label} has no part; {left} left"
    return Skip(replace(recipe, slices=tuple(recipe.slices[place] for place in kept), notes=None), what)


def _made_of(layer: Layer) -> list[object]:
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
