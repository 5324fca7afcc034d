"""Making a recipe of layers that do not match into one that a standard config holds, where that is exact."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from mergelab.recipes.plan import plan, well_formed
from mergelab.recipes.recipe import Recipe
from mergelab.weights import Checkpoint, Source


def widen(recipe: Recipe | str | os.PathLike[str], checkpoints: Mapping[Source, Checkpoint] | None = None) -> Recipe:
    """The recipe of a merge that computes the same and that one config holds, so that it can be written to disk.

    Where layers differ in size, feed-forwards are padded with units that are always zero up to the widest, and
    key/value heads repeated until all layers have as many: up to the order of summation, no answer changes. The recipe
    says so with ``widen: true``. A recipe that a config holds as it is comes back as it is.

    Args:
        recipe: a recipe, or what ``Recipe.load`` reads.
        checkpoints: sources that are open already; the others are opened, from headers alone.

    Raises:
        RecipeError: the recipe itself is wrong.
        SourceError: sources cannot be opened.
        FitError: what cannot be brought together, all of it: rope, epsilon, head size, query heads, activation ...
    """
    loaded = well_formed(recipe)
    planned = plan(loaded, checkpoints)
    if not planned.apart:
        return loaded
    wide = replace(loaded, widen=True)
    plan(wide, planned.checkpoints)
    return wide
