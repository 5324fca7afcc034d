"""Plan: a recipe worked out tensor by tensor. From headers and configs alone; no weights are read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple, TypeAlias

from mergelab import methods
from mergelab.errors import FitError, Problem, RecipeError, SourceError, raise_all
from mergelab.methods import Method, Parameter
from mergelab.methods.parameters import Required
from mergelab.recipes.check import check, is_whole, models_of
from mergelab.recipes.preflight import preflight
from mergelab.recipes.recipe import Numbers, Part, Recipe, Scalar, Slice
from mergelab.weights import FLOATS, ITEM_BITS, Checkpoint, Source, TensorSpec, open_checkpoint
from mergelab.weights.anatomy import embedding_for_head


@dataclass(frozen=True)
class Home:
    """A layer of a source."""

    source: Source
    index: int

    def __str__(self) -> str:
        return f"{self.source.label} {self.index}"


@dataclass(frozen=True)
class Layer:
    """One layer of the merged model.

    Attributes:
        home: the source layer whose place it takes: the base's where the slice has one, else the first source's. Its
            per-layer settings (attention type ...) come from there.
        parts: the source layers that are merged into it, as the recipe orders them, without the base.
        base: the base's layer, or None.
        slice: index of the slice it belongs to.
    """

    home: Home
    parts: tuple[Home, ...]
    base: Home | None
    slice: int


class Input(NamedTuple):
    """A tensor of a source."""

    source: Source
    name: str


Number: TypeAlias = Scalar | tuple[Scalar | None, ...] | None


@dataclass(frozen=True)
class Step:
    """How one tensor of the merged model is made. Two equal steps make equal tensors.

    Attributes:
        name: its name in the merged model.
        shape: its dimensions.
        dtype: safetensors name of its dtype.
        method: name of the merge method.
        inputs: the tensors that are merged.
        base: the base's tensor, or None.
        numbers: each parameter by name; per-model ones have one value for each input.
        seed: seed of the recipe.
        copies: the tensor is one source's own, unchanged: no memory and no arithmetic is needed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    method: str
    inputs: tuple[Input, ...]
    base: Input | None
    numbers: tuple[tuple[str, Number], ...]
    seed: int
    copies: bool

    @property
    def elements(self) -> int:
        """Number of its values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Its bytes on disk."""
        return self.elements * ITEM_BITS[self.dtype] // 8


@dataclass(frozen=True, repr=False)
class Plan:
    """A recipe worked out.

    Attributes:
        recipe: where it came from.
        checkpoints: its opened sources.
        layers: the merged model's layers, bottom first.
        steps: one for each tensor of the merged model: embeddings, layers, final norm and head.
    """

    recipe: Recipe
    checkpoints: Mapping[Source, Checkpoint]
    layers: tuple[Layer, ...]
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        return (
            f"<Plan of {', '.join(source.label for source in self.checkpoints)}: {self.recipe.method}, "
            f"{len(self.layers)} layers, {len(self.steps)} tensors, {self.parameters:,} parameters>"
        )

    @property
    def donor(self) -> Checkpoint:
        """The source whose config and tokenizer the merged model gets."""
        return self.checkpoints[self.recipe.donor]

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
    if isinstance(recipe, str | os.PathLike):
        recipe = Recipe.load(recipe)
    if type(recipe) is not Recipe:
        hint = "Give a Recipe (Recipe.load, graft, stack ...) or the path of a YAML file."
        raise RecipeError(Problem("plan", f"a {type(recipe).__name__} is no recipe.", hint))
    raise_all(RecipeError, check(recipe))
    opened: dict[Source, Checkpoint] = {}
    problems: list[Problem] = []
    for source in recipe.sources:
        try:
            opened[source] = (checkpoints or {}).get(source) or open_checkpoint(source)
        except SourceError as error:
            problems += error.problems
    raise_all(SourceError, problems)
    method = methods.get(recipe.method)
    raise_all(FitError, preflight(recipe, method, opened))
    worker = _Planner(recipe, method, opened)
    layers, steps = tuple(worker.layers()), tuple(worker.steps())
    raise_all(FitError, (*worker.problems.values(), *worker.unused_filters()))
    return Plan(recipe, opened, layers, steps)


class _Planner:
    """Walks the slices once. Collects problems instead of stopping at the first."""

    def __init__(self, recipe: Recipe, method: Method, checkpoints: Mapping[Source, Checkpoint]) -> None:
        self.recipe = recipe
        self.method = method
        self.checkpoints = checkpoints
        self.problems: dict[object, Problem] = {}
        self._names: dict[str, None] = {}

    def layers(self) -> Iterator[Layer]:
        for index, piece in enumerate(self.recipe.slices):
            models, base = models_of(self.recipe, piece, self.method)
            for offset in range(self._length(piece)):
                parts = tuple(Home(part.source, self._start(part) + offset) for part in models)
                ground = Home(base.source, self._start(base) + offset) if base else None
                yield Layer(ground or parts[0], parts, ground, index)

    def steps(self) -> Iterator[Step]:
        first, last = self.recipe.slices[0], self.recipe.slices[-1]
        yield from self._outside(first, "before")
        output = 0
        prefix = self._home(first).anatomy.prefix
        for piece in self.recipe.slices:
            models, base = models_of(self.recipe, piece, self.method)
            count = self._length(piece)
            for offset in range(count):
                stems = dict.fromkeys(
                    stem for part in (base, *models) if part
                    for stem in self.checkpoints[part.source].anatomy.layers[self._start(part) + offset]
                )  # fmt: skip
                for stem in stems:
                    names = {
                        part: self.checkpoints[part.source].anatomy.name(self._start(part) + offset, stem)
                        for part in (base, *models) if part
                    }  # fmt: skip
                    yield from self._step(f"{prefix}{output}.{stem}", piece, names, offset, count)
                output += 1
        yield from self._outside(last, "after")

    def unused_filters(self) -> Iterator[Problem]:
        """Filters that match no tensor: misspelt, nearly always."""
        scopes = [("parameters", self.recipe.numbers)]
        for index, piece in enumerate(self.recipe.slices):
            scopes.append((f"slices[{index}].parameters", piece.numbers))
            place = "models" if is_whole(self.recipe) else f"slices[{index}].sources"
            scopes += [(f"{place}[{i}].parameters", part.numbers) for i, part in enumerate(piece.parts)]
        for where, numbers in scopes:
            for name, setting in numbers:
                for rule in setting.rules:
                    if rule.filter and rule.filter != "*" and not any(rule.filter in tensor for tensor in self._names):
                        hint = f"Filters are parts of tensor names, such as {next(iter(self._names), '')!r}."
                        yield Problem(f"{where}.{name}", f"filter {rule.filter!r} matches no tensor.", hint)

    def _home(self, piece: Slice) -> Checkpoint:
        models, base = models_of(self.recipe, piece, self.method)
        return self.checkpoints[(base or models[0]).source]

    def _length(self, piece: Slice) -> int:
        part = piece.parts[0]
        return part.layers[1] - part.layers[0] if part.layers else self.checkpoints[part.source].layers

    @staticmethod
    def _start(part: Part) -> int:
        return part.layers[0] if part.layers else 0

    def _outside(self, piece: Slice, side: str) -> Iterator[Step]:
        """Embeddings come from the first slice, final norm and head from the last; gradients give their first value."""
        models, base = models_of(self.recipe, piece, self.method)
        parts = [part for part in (base, *models) if part]
        # The donor's config goes with the merge: a tensor that only the donor stores (an untied head) is needed too.
        owners = [self.checkpoints[source] for source in (*(part.source for part in parts), self.recipe.donor)]
        for name in dict.fromkeys(name for owner in owners for name in getattr(owner.anatomy, side)):
            shape = next(owner.specs[name].shape for owner in owners if name in owner.specs)
            names = {part: self._stand_in(part.source, name, shape) for part in parts}
            yield from self._step(name, piece, names, 0, max(2, self._length(piece)))

    def _stand_in(self, source: Source, name: str, shape: tuple[int, ...]) -> str:
        """A model with tied embeddings stores no head: its embedding matrix is its head."""
        checkpoint = self.checkpoints[source]
        if name in checkpoint.specs:
            return name
        shapes = {key: spec.shape for key, spec in checkpoint.specs.items()}
        return embedding_for_head(shapes, checkpoint.anatomy, name, shape) or name

    def _step(self, name: str, piece: Slice, names: Mapping[Part, str], index: int, count: int) -> Iterator[Step]:
        models, base = models_of(self.recipe, piece, self.method)
        specs: dict[Part, TensorSpec] = {}
        for part, own in names.items():
            spec = self.checkpoints[part.source].specs.get(own)
            if spec is None:
                self.problems.setdefault((part.source, own), Problem(
                    str(part.source), f"has no tensor {own!r}, which {name!r} of the merge needs.",
                    "The sources of a slice must have the same tensors; merge models of one family."))  # fmt: skip
            else:
                specs[part] = spec
                self._names[own] = None
        self._names[name] = None
        if len(specs) < len(names):
            return
        spec = specs[base or models[0]]
        if any(other.shape != spec.shape for other in specs.values()):
            listed = ", ".join(f"{part.source} {list(other.shape)}" for part, other in specs.items())
            hint = "Merge models of one family and one vocabulary."
            self.problems.setdefault(("shape", name), Problem(name, f"its sources differ in shape: {listed}.", hint))
            return
        floating = all(other.dtype in FLOATS for other in specs.values())
        dtype = promote(other.dtype for other in specs.values()) if floating else spec.dtype
        dtype = (self.recipe.out_dtype or self.recipe.dtype or dtype) if floating else dtype
        known = len(self.problems)
        numbers = tuple(self._numbers(name, piece, names, (index, count)))
        for problem in self.method.check(dict(numbers), len(models)) if len(self.problems) == known else ():
            self.problems.setdefault(("numbers", problem.what), Problem(name, problem.what, problem.hint))
        if len(self.problems) > known:
            return
        yield Step(
            name,
            spec.shape,
            dtype,
            self.method.name,
            tuple(Input(part.source, names[part]) for part in models),
            Input(base.source, names[base]) if base else None,
            numbers,
            self.recipe.seed,
            copies=dtype == spec.dtype and self.method.unchanged(dict(numbers)),
        )

    def _numbers(
        self, output: str, piece: Slice, names: Mapping[Part, str], at: tuple[int, int]
    ) -> Iterator[tuple[str, Number]]:
        """Resolve every parameter: the source's own, else the slice's, else the recipe's, else the default.

        Per-model parameters are filtered by the source's tensor name, shared ones by the output's, as in mergekit.

        Args:
            at: layer of the slice, and number of its layers.
        """
        models, _ = models_of(self.recipe, piece, self.method)
        shared = (piece.numbers, self.recipe.numbers)
        for parameter in self.method.parameters.values():
            if parameter.per_model:
                value: Number = tuple(
                    self._value(parameter, names[part], (part.numbers, *shared), at, output) for part in models
                )
            else:
                value = self._value(parameter, output, shared, at, output)
            yield parameter.name, value

    def _value(
        self, parameter: Parameter, tensor: str, scopes: tuple[Numbers, ...], at: tuple[int, int], output: str
    ) -> Scalar | None:
        for scope in scopes:
            for name, setting in scope:
                if name == parameter.name and (value := setting.at(tensor, *at)) is not None:
                    return value
        if isinstance(parameter.default, Required):
            what = f"no rule gives {parameter.name} for this tensor."
            hint = "Add a rule without a filter at the end of the list."
            self.problems.setdefault((parameter.name, output), Problem(output, what, hint))
            return None
        return parameter.default


def promote(dtypes: Iterable[str]) -> str:
    """The smallest floating dtype that holds all of them, as torch.promote_types: F16 with BF16 gives F32."""
    rank = {"BF16": 0, "F16": 0, "F32": 1, "F64": 2}

    def wider(a: str, b: str) -> str:
        return a if a == b or rank[a] > rank[b] else b if rank[b] > rank[a] else "F32"

    return reduce(wider, dtypes)
