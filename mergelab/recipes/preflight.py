"""Will these sources fit? Answered from headers and configs alone, before anything heavy starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mergelab.columns import Table
from mergelab.errors import Problem
from mergelab.recipes.fit import unfit
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.report import Finding, Report, graded
from mergelab.recipes.step import Origin
from mergelab.weights import Source


def preflight(recipe: Recipe, origins: Mapping[Source, Origin]) -> tuple[Finding, ...]:
    """Every reason why these sources cannot make one model that a standard config holds, each said once."""
    say = short_names(tuple(origins))
    found = graded(list(unfit(recipe, origins, lambda source: repr(say(source)))))
    return tuple(one for one in found if one.grade == "error")


def short_names(sources: Sequence[Source]) -> Callable[[Source], str]:
    """How sources are called: by their short names, but for those whose short names are the same."""
    labels = [source.label for source in sources]
    short = {source: source.label for source in sources if labels.count(source.label) == 1}
    return lambda source: short.get(source, str(source))


def as_problems(findings: Sequence[Finding]) -> tuple[Problem, ...]:
    """Findings as a FitError carries them, one problem for each pair of models."""
    return Report(tuple(findings), Table((), ())).problems()
