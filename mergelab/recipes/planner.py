"""Walking a recipe: slices, their layers, what stands outside them. Every tensor of the merge becomes a step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import cast

from mergelab import methods
from mergelab.errors import Problem
from mergelab.methods import Method
from mergelab.recipes.check import models_of
from mergelab.recipes.numbers import SliceNumbers, filters, ruled
from mergelab.recipes.recipe import Part, Recipe, Slice
from mergelab.recipes.step import Aligned, Given, Home, Input, Layer, Origin, Peers, Step, TaskVector
from mergelab.recipes.widths import widths
from mergelab.weights import FLOATS, Source
from mergelab.weights.anatomy import embedding_for_head


@dataclass(frozen=True)
class _Run:
    """A slice, with all that holds for every one of its layers.

    Attributes:
        parts: what takes part, a base first.
        models: the parts that are merged, the base left out.
    """

    index: int
    piece: Slice
    method: Method
    parts: tuple[Part, ...]
    models: tuple[Part, ...]
    base: Part | None
    length: int
    numbers: SliceNumbers

    def merged(self, names: Sequence[str]) -> Sequence[str]:
        """Of names, one for each part, those of ``models``."""
        return names[1:] if self.base else names


class Planner:
    """Walks the slices of one recipe once. Collects problems instead of stopping at the first."""

    def __init__(self, recipe: Recipe, origins: Mapping[Source, Origin]) -> None:
        self.recipe = recipe
        self.origins = origins
        self.problems: dict[object, Problem] = {}
        self._runs = tuple(self._run(index, piece) for index, piece in enumerate(recipe.slices))
        self._walked: dict[int, list[tuple[str, Sequence[str]]]] = {run.index: [] for run in self._runs}
        self._unruled: dict[tuple[str, str, str], list[str]] = {}
        self._checked: dict[tuple[int, str], None] = {}  # numbers of a slice that its method takes
        self._trimmed: dict[str, list[tuple[Source, TaskVector, float]]] = {}

    def layers(self) -> tuple[Layer, ...]:
        """The merged model's layers, bottom first."""
        found = []
        for run in self._runs:
            for offset in range(run.length):
                parts = tuple(Home(part.source, _start(part) + offset) for part in run.models)
                ground = Home(run.base.source, _start(run.base) + offset) if run.base else None
                found.append(Layer(ground or parts[0], parts, ground, run.index))
        return tuple(found)

    def steps(self) -> tuple[Step, ...]:
        """One step for each tensor, in the order of the model. Those that could not be planned are in ``problems``."""
        found = list(self._walk())
        for (path, name, whose), tensors in self._unruled.items():
            others = f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
            what = f"no rule gives {name} for {tensors[0]!r}{others}{whose}."
            hint = "Add a rule without a filter at the end of the list."
            self.problems[path, name, whose] = Problem(self.recipe.place(path), what, hint)
        for problem in self._unused_filters():
            self.problems[problem] = problem
        planned = self._with_peers(found)
        wide, prefix = widths(self.recipe, self.origins), self._prefix
        if wide is None:
            return planned
        return tuple(
            wide.step(step, step.name.removeprefix(prefix).partition(".")[2]) if step.name.startswith(prefix) else step
            for step in planned
        )

    @property
    def _prefix(self) -> str:
        """What stands before the number of a layer in the merged model's names."""
        return self.origins[self._runs[0].parts[0].source].anatomy.prefix

    def _run(self, index: int, piece: Slice) -> _Run:
        method = methods.get(self.recipe.method_of(piece))
        models, base = models_of(self.recipe, piece, method)
        first = piece.parts[0]
        length = first.layers[1] - first.layers[0] if first.layers else self.origins[first.source].layers
        parts = (*([base] if base else []), *models)
        return _Run(index, piece, method, parts, models, base, length, SliceNumbers(self.recipe, piece, method, models))

    def _walk(self) -> Iterator[Step]:
        first, last = self._runs[0], self._runs[-1]
        yield from self._outside(first, "before")
        prefix = self._prefix
        total = sum(run.length for run in self._runs)
        output = 0
        for run in self._runs:
            anatomies = [self.origins[part.source].anatomy for part in run.parts]
            starts = [_start(part) for part in run.parts]
            for offset in range(run.length):
                places = [(parts, start + offset) for parts, start in zip(anatomies, starts, strict=True)]
                depth = output / (total - 1) if total > 1 and "depth" in run.method.extras else 0.0
                for stem in dict.fromkeys(stem for parts, layer in places for stem in parts.layers[layer]):
                    names = [parts.name(layer, stem) for parts, layer in places]
                    yield from self._step(f"{prefix}{output}.{stem}", run, names, (offset, run.length), depth)
                output += 1
        yield from self._outside(last, "after")

    def _outside(self, run: _Run, side: str) -> Iterator[Step]:
        """Embeddings come from the first slice, final norm and head from the last; gradients give their first value."""
        # The donor's config goes with the merge: a tensor that only the donor stores (an untied head) is needed too.
        owners = [self.origins[source] for source in (*(part.source for part in run.parts), self.recipe.donor)]
        for name in dict.fromkeys(name for owner in owners for name in getattr(owner.anatomy, side)):
            shape = next(owner.specs[name].shape for owner in owners if name in owner.specs)
            names = [_stand_in(self.origins[part.source], name, shape) for part in run.parts]
            yield from self._step(name, run, names, (0, max(2, run.length)), 0.0)

    def _step(self, output: str, run: _Run, names: Sequence[str], at: tuple[int, int], depth: float) -> Iterator[Step]:
        """The step that makes one tensor, or nothing and a problem.

        Args:
            names: its name in each part.
            at: layer of the slice, and number of its layers.
        """
        self._walked[run.index].append((output, names))
        known = len(self.problems)
        specs = [self.origins[part.source].specs.get(name) for part, name in zip(run.parts, names, strict=True)]
        found = [spec for spec in specs if spec is not None]
        if len(found) < len(specs):
            self._lacking(output, run, names)
            return
        listed = [(part.source, spec) for part, spec in zip(run.parts, found, strict=True)]
        spec = found[0]
        if any(other.shape != spec.shape for other in found):
            what = f"its sources differ in shape: {', '.join(f'{source} {list(one.shape)}' for source, one in listed)}."
            hint = "Merge models of one family and one vocabulary."
            self.problems.setdefault(("shape", output), Problem(output, what, hint))
        floating = all(other.dtype in FLOATS for other in found)
        if not floating and any(other.dtype != spec.dtype for other in found):
            what = f"its sources differ in dtype: {', '.join(f'{source} {one.dtype}' for source, one in listed)}."
            hint = "Only F64, F32, F16 and BF16 are computed with; take this tensor from one source (passthrough)."
            self.problems.setdefault(("dtype", output), Problem(output, what, hint))
        try:
            numbers = run.numbers.at(output, run.merged(names), *at)
        except LookupError as error:
            for name, model in error.args:
                part = None if model is None else run.models[model]
                whose = "" if part is None else f" of {str(part.source)!r}"
                place = ruled(self.recipe, run.index, part, name)
                self._unruled.setdefault((place, name, whose), []).append(output)
            return
        said = dict(numbers)
        checked = run.index, repr(numbers)  # as text, where true is not 1
        if len(self.problems) == known and checked not in self._checked:
            for problem in run.method.check(said, len(run.models)):
                self.problems.setdefault(("numbers", problem.what), Problem(output, problem.what, problem.hint))
        if len(self.problems) > known:
            return
        self._checked[checked] = None
        kept = promote(other.dtype for other in found) if floating else spec.dtype
        dtype = (self.recipe.out_dtype or self.recipe.dtype or kept) if floating else kept
        given: list[Given] = [
            one if isinstance(one, Step | Aligned) else Input(part.source, name)
            for one, part, name in zip(found, run.parts, names, strict=True)
        ]
        base, models = (given[0], given[1:]) if run.base else (None, given)
        if base and floating and "cutoffs" in run.method.extras and said.get("trim_scope") == "model":
            double = "F64" in (dtype, *(other.dtype for other in found))
            self._trimmed[output] = [
                (part.source, TaskVector(one, base, double), density)
                for part, one, density in zip(
                    run.models, models, cast("tuple[float, ...]", said["density"]), strict=True
                )
            ]
        yield Step(
            output,
            spec.shape,
            dtype,
            run.method.name,
            tuple(models),
            base,
            numbers,
            self.recipe.seed,
            copies=dtype == found[-len(models)].dtype
            and not isinstance(models[0], Aligned)
            and run.method.unchanged(said),
            depth=depth,
        )

    def _with_peers(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """The steps, told which tensors each is trimmed with where a whole model is trimmed at once."""
        vectors: dict[Source, dict[TaskVector, int]] = {}
        densities: dict[Source, dict[float, str]] = {}
        for step in steps:
            for source, vector, density in self._trimmed.get(step.name, ()):
                vectors.setdefault(source, {})[vector] = step.elements
                densities.setdefault(source, {}).setdefault(density, step.name)
        for source, found in densities.items():
            if len(found) > 1:
                listed = ", ".join(f"{density:g} ({name})" for density, name in list(found.items())[:3])
                what = f"a model that is trimmed as a whole has one density, here are {len(found)}: {listed}."
                hint = "Give one density for all its tensors, or trim_scope: tensor."
                self.problems[source, "density"] = Problem(str(source), what, hint)
        peers = {
            source: Peers(tuple(own), sum(own.values()), next(iter(densities[source])))
            for source, own in vectors.items()
        }
        return tuple(
            replace(step, peers=tuple(peers[source] for source, _, _ in self._trimmed[step.name]))
            if step.name in self._trimmed
            else step
            for step in steps
        )

    def _lacking(self, output: str, run: _Run, names: Sequence[str]) -> None:
        for part, name in zip(run.parts, names, strict=True):
            if name not in self.origins[part.source].specs:
                what = f"has no tensor {name!r}, which {output!r} of the merge needs."
                hint = "The sources of a slice must have the same tensors; merge models of one family."
                self.problems.setdefault((part.source, name), Problem(str(part.source), what, hint))

    def _unused_filters(self) -> Iterator[Problem]:
        """Filters that match no tensor which their parameter is asked for: misspelt, nearly always."""
        for rule in filters(self.recipe):
            names: list[str] = []
            for run in self._runs if rule.slice is None else (self._runs[rule.slice],):
                declared = run.method.parameters.get(rule.parameter)
                if declared is None:
                    continue
                walked = self._walked[run.index]
                if not declared.per_model:
                    names += [output for output, _ in walked]
                elif rule.part is None:
                    names += [name for _, inputs in walked for name in run.merged(inputs)]
                else:
                    column = run.parts.index(run.piece.parts[rule.part])
                    names += [inputs[column] for _, inputs in walked]
            if not any(rule.text in name for name in names):
                hint = f"Filters are parts of tensor names, such as {next(iter(names), '')!r}."
                if any(rule.text.lower() in name for name in names):
                    hint = f"Did you mean {rule.text.lower()!r}?"
                yield Problem(self.recipe.place(rule.path), f"filter {rule.text!r} matches no tensor.", hint)


def _start(part: Part) -> int:
    return part.layers[0] if part.layers else 0


def _stand_in(origin: Origin, name: str, shape: tuple[int, ...]) -> str:
    """A model with tied embeddings stores no head: its embedding matrix is its head."""
    if name in origin.specs:
        return name
    shapes = {key: spec.shape for key, spec in origin.specs.items()}
    return embedding_for_head(shapes, origin.anatomy, name, shape) or name


def promote(dtypes: Iterable[str]) -> str:
    """The smallest floating dtype that holds all of them, as torch.promote_types: F16 with BF16 gives F32."""
    rank = {"BF16": 0, "F16": 0, "F32": 1, "F64": 2}

    def wider(a: str, b: str) -> str:
        return a if a == b or rank[a] > rank[b] else b if rank[b] > rank[a] else "F32"

    return reduce(wider, dtypes)
