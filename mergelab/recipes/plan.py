"""Plan: a recipe worked out tensor by tensor. From headers and configs alone; no weights are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mergelab.errors import FitError, Problem, RecipeError, SourceError, raise_all
from mergelab.recipes.check import check
from mergelab.recipes.fit import beyond, in_a_stage
from mergelab.recipes.planner import Planner, promote
from mergelab.recipes.preflight import as_problems, preflight, short_names
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.report import Finding
from mergelab.recipes.step import Layer, Origin, Step
from mergelab.recipes.templates import template_for, template_of
from mergelab.recipes.vocabulary import Alignment, Lexicon, align
from mergelab.recipes.widths import Widths, widths
from mergelab.weights import FLOATS, Anatomy, Checkpoint, Source, layer_count_key, open_checkpoint
from mergelab.weights.anatomy import anatomy


@dataclass(frozen=True, repr=False)
class Plan:
    """A recipe worked out.

    Attributes:
        recipe: where it came from.
        checkpoints: its opened sources, those of its stages included.
        origins: what its slices name: the same checkpoints, and its stages by their names.
        layers: the merged model's layers, bottom first.
        steps: one for each tensor of the merged model: embeddings, layers, final norm and head.
        alignment: its vocabulary, where the recipe says anything of it.
        chat_template: the jinja text that the recipe asks for, or None.
        apart: why no standard config can hold it: models whose layers have settings of their own. It runs in this
            process all the same, and cannot be written.
        wide: the sizes that its layers are brought to, where the recipe asks for it.
    """

    recipe: Recipe
    checkpoints: Mapping[Source, Checkpoint]
    origins: Mapping[Source, Origin]
    layers: tuple[Layer, ...]
    steps: tuple[Step, ...]
    alignment: Alignment | None = None
    chat_template: str | None = None
    apart: tuple[Finding, ...] = ()
    wide: Widths | None = None

    def __repr__(self) -> str:
        return (
            f"<Plan of {', '.join(source.label for source in self.checkpoints)}: {', '.join(self.methods)}, "
            f"{len(self.layers)} layers, {len(self.steps)} tensors, {self.parameters:,} parameters; "
            f"config and tokenizer of {self.donor.source.label}>"
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the merge methods of its slices, each once."""
        return tuple(dict.fromkeys(map(self.recipe.method_of, self.recipe.slices)))

    @property
    def stages(self) -> tuple[Staged, ...]:
        """The stages before it, in order."""
        return tuple(origin for origin in self.origins.values() if isinstance(origin, Staged))

    @property
    def donor(self) -> Origin:
        """The model or stage whose config and tokenizer the merged model gets."""
        return self.origins[self.recipe.donor]

    @property
    def root(self) -> Checkpoint:
        """The checkpoint that config and tokenizer come from in the end: the donor, or the donor of that stage."""
        donor = self.donor
        return donor.plan.root if isinstance(donor, Staged) else self.checkpoints[donor.source]

    @cached_property
    def parameters(self) -> int:
        """Number of values of the merged model, as written to disk."""
        return sum(step.elements for step in self.steps)

    @cached_property
    def bytes(self) -> int:
        """Bytes of the merged model's weights on disk."""
        return sum(step.bytes for step in self.steps)

    @cached_property
    def dtype(self) -> str:
        """The widest floating dtype among the steps: the one that loses nothing when the model is loaded."""
        return promote(step.dtype for step in self.steps if step.dtype in FLOATS)


@dataclass(frozen=True)
class Staged:
    """An earlier stage of a recipe, as if it had been merged to a folder and opened again. Its tensors are steps."""

    plan: Plan

    @property
    def source(self) -> Source:
        """Its name, as an address."""
        return Source(self.plan.recipe.name or "")

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Its donor's config.json with its own number of layers. Lists of settings per layer are the donor's still."""
        theirs = self.plan.donor.config
        key = layer_count_key(theirs)
        aligned = self.plan.alignment
        rows = {"vocab_size": aligned.count} if aligned else {}
        sizes = self.plan.wide.settings if self.plan.wide else {}
        return {**theirs, **rows, **sizes, key: self.layers} if key else theirs

    @cached_property
    def specs(self) -> Mapping[str, Step]:
        """Its steps by name."""
        return {step.name: step for step in self.plan.steps}

    @cached_property
    def anatomy(self) -> Anatomy:
        """Which tensor belongs to which layer."""
        return anatomy(self.specs, str(self.source))

    @property
    def lexicon(self) -> Lexicon | None:
        """Its tokens, where a recipe chose them; None: those of the donor's tokenizer files."""
        if self.plan.alignment is not None:
            return self.plan.alignment.lexicon
        return self.plan.donor.lexicon if isinstance(self.plan.donor, Staged) else None

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(self.plan.layers)

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return self.plan.donor.width

    def path(self, file: str) -> Path | None:
        """Local path of one of its donor's files, or None where that has none."""
        return self.plan.donor.path(file)


def plan(recipe: Recipe | str | os.PathLike[str], checkpoints: Mapping[Source, Checkpoint] | None = None) -> Plan:
    """Work a recipe out.

    Args:
        recipe: what to merge: a recipe, or what ``Recipe.load`` reads.
        checkpoints: sources that are open already; the others are opened, from headers alone.

    Raises:
        RecipeError: the recipe itself is wrong.
        SourceError: sources cannot be opened.
        FitError: the sources do not fit together, with the shapes and settings that clash.
    """
    recipe = well_formed(recipe)
    opened = open_sources(recipe, checkpoints or {})
    stages: dict[Source, Staged] = {}
    problems: list[Problem] = []
    for stage in recipe.stages:
        source = Source(stage.name or "")
        whole = recipe.stage(source)
        if whole is None or any(whole.stage(named) and named not in stages for named in whole.mentioned):
            continue  # it is made of a stage that has problems, which are said
        try:
            worked = _worked(whole, opened, stages)
            raise_all(FitError, as_problems(tuple(in_a_stage(worked.apart))))
            stages[source] = Staged(worked)
        except FitError as error:
            problems += [replace(one, where=f"stage {str(source)!r}, {one.where}") for one in error.problems]
    raise_all(FitError, problems)
    return _worked(recipe, opened, stages)


def standard(planned: Plan) -> Plan:
    """The same plan, of a model that a standard config can hold.

    Raises:
        FitError: its layers have settings of their own, with those that clash.
    """
    raise_all(FitError, as_problems(planned.apart))
    return planned


def well_formed(recipe: Recipe | str | os.PathLike[str]) -> Recipe:
    """The recipe, read if need be.

    Raises:
        RecipeError: everything that is wrong with it and shows without opening a source.
    """
    if isinstance(recipe, str | os.PathLike):
        recipe = Recipe.load(recipe)
    if type(recipe) is not Recipe:
        hint = "Give a Recipe (Recipe.load, graft, stack ...) or the path of a YAML file."
        raise RecipeError(Problem("plan", f"a {type(recipe).__name__} is no recipe.", hint))
    raise_all(RecipeError, check(recipe))
    return recipe


def open_sources(recipe: Recipe, known: Mapping[Source, Checkpoint]) -> dict[Source, Checkpoint]:
    """Every model that a recipe reads, opened from headers; those in ``known`` are open already.

    Raises:
        SourceError: models cannot be opened, all of them at once; with them the ranges beyond the layers of the others.
    """
    opened: dict[Source, Checkpoint] = {}
    problems: list[Problem] = []
    for source in recipe.sources:
        try:
            opened[source] = known.get(source) or open_checkpoint(source)
        except SourceError as error:
            problems += error.problems
    if problems:  # what can be told already is told with them
        say = short_names(tuple(recipe.sources))
        found = (
            one for document in (*recipe.stages, recipe) for one in beyond(document, opened, lambda s: repr(say(s)))
        )
        raise SourceError(*problems, *as_problems(tuple(found)))
    return opened


def chat_template(origin: Origin) -> str | None:
    """The chat template of a model or stage, or None."""
    if not isinstance(origin, Staged):
        return template_of(origin)
    return origin.plan.chat_template or chat_template(origin.plan.donor)


def _worked(recipe: Recipe, opened: Mapping[Source, Checkpoint], stages: Mapping[Source, Staged]) -> Plan:
    """The plan of one document, whose stages are worked out."""
    checkpoints = {source: opened[source] for source in recipe.sources}
    origins: dict[Source, Origin] = {**checkpoints, **stages}  # a name means a stage before it means a folder
    chosen = {source: stage.lexicon for source, stage in stages.items() if stage.lexicon}
    alignment, problems = align(recipe, origins, chosen)
    template, faults = template_for(recipe, lambda source: chat_template(origins[source]))
    fitted = alignment.fitted(origins) if alignment else origins
    apart = preflight(recipe, fitted) if not problems else ()
    stop = any(not one.one_config for one in apart)
    raise_all(FitError, (*problems, *faults, *(as_problems(apart) if stop else ())))
    planner = Planner(recipe, fitted)
    layers, steps = planner.layers(), planner.steps()
    raise_all(FitError, planner.problems.values())
    return Plan(recipe, checkpoints, origins, layers, steps, alignment, template, apart, widths(recipe, fitted))
