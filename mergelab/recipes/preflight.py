"""Will these sources fit? Answered from headers and configs alone, before anything heavy starts."""

from __future__ import annotations

from collections.abc import Mapping

from mergelab.columns import Table
from mergelab.errors import Problem
from mergelab.recipes.fit import unfit
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.report import Report, graded
from mergelab.recipes.step import Origin
from mergelab.weights import Source


def preflight(recipe: Recipe, origins: Mapping[Source, Origin]) -> tuple[Problem, ...]:
    """Every reason why these sources cannot make one model, each said once, one problem for each pair of models."""
    found = graded(list(unfit(recipe, origins, lambda source: repr(str(source)))))
    return Report(found, Table((), ())).problems()
