"""Making a recipe of layers that do not match into one that a standard config holds, where that is exact."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mergelab.models.agreement import agreed
from mergelab.recipes.plan import open_sources, plan, well_formed
from mergelab.recipes.recipe import Recipe
from mergelab.weights import Checkpoint, Source


def widen(recipe: Recipe | str | os.PathLike[str], checkpoints: Mapping[Source, Checkpoint] | None = None) -> Recipe:
    """The recipe of a merge that computes the same and that one config holds, so that it can be written to disk.

    Where layers differ in size, feed-forwards are padded with units that are always zero up to the widest, and
    key/value heads repeated until all layers have as many: up to the order of summation, no answer changes. The recipe
    says so with ``widen: true``, and so does each of its stages that needs it. A recipe that a config holds as it is
    comes back as it is.

    Args:
        recipe: a recipe, or what ``Recipe.load`` reads.
        checkpoints: sources that are open already; the others are opened, from headers alone.

    Raises:
        RecipeError: the recipe itself is wrong.
        SourceError: sources cannot be opened.
        FitError: what cannot be brought together, all of it: rope, epsilon, head size, query heads, activation ...
        AssemblyError: transformers does not know a model type, or refuses a config.
    """
    loaded = well_formed(recipe)
    opened = open_sources(loaded, checkpoints or {})
    known: dict[Source, dict[str, Any]] = {}
    done: tuple[Recipe, ...] = ()
    for document in (*loaded.stages, loaded):
        one = replace(document, stages=done)
        if agreed(plan(one, opened), known).apart:
            one = replace(one, widen=True)
            agreed(plan(one, opened), known)
        done = (*done, replace(one, stages=()))
    made = replace(done[-1], stages=done[:-1])
    return loaded if made == loaded else made
