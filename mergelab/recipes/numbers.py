"""Which number a tensor gets: the nearest scope that has a rule for it, as in mergekit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mergelab.methods import Method, Parameter
from mergelab.methods.parameters import Required
from mergelab.recipes.check import is_whole
from mergelab.recipes.recipe import Numbers, Part, Recipe, Scalar, Setting, Slice
from mergelab.recipes.step import Number


class SliceNumbers:
    """What a recipe says of the parameters of one slice.

    Scopes, nearest first: the source, the slice, the module, the recipe. The first scope with a rule whose filter
    matches the tensor's name gives its number, and within a scope the first such rule; no scope: the default. Per-model
    parameters are filtered by the source's tensor name, shared ones by the output's.
    """

    def __init__(self, recipe: Recipe, piece: Slice, method: Method, models: Sequence[Part]) -> None:
        shared = (piece.numbers, recipe.module_numbers, recipe.numbers)

        def chain(parameter: Parameter, part: Part | None) -> tuple[Setting, ...]:
            scopes = (part.numbers, *shared) if part else shared
            return tuple(setting for scope in scopes for name, setting in scope if name == parameter.name)

        self._chains = tuple(
            (parameter, tuple(chain(parameter, part) for part in (models if parameter.per_model else [None])))
            for parameter in method.parameters.values()
        )
        rules = (rule for _, chains in self._chains for chain in chains for setting in chain for rule in setting.rules)
        self._by_name = any(rule.text for rule in rules)
        self._of_layer: dict[tuple[int, int], tuple[tuple[str, Number], ...]] = {}

    def at(self, output: str, inputs: Sequence[str], index: int, count: int) -> tuple[tuple[str, Number], ...]:
        """The number of every parameter for one tensor; per-model parameters have one for each model.

        Args:
            output: its name in the merged model.
            inputs: its name in each model, the base excluded.
            index, count: layer of the slice, and number of its layers.

        Raises:
            LookupError: parameters without a default get no number; the arguments are their names, each with the place
                of the model that lacks it among ``inputs``, or None where it is one number for all.
        """
        if self._by_name:
            return self._look(output, inputs, index, count)
        if (index, count) not in self._of_layer:
            self._of_layer[index, count] = self._look(output, inputs, index, count)
        return self._of_layer[index, count]

    def _look(self, output: str, inputs: Sequence[str], index: int, count: int) -> tuple[tuple[str, Number], ...]:
        found: list[tuple[str, Number]] = []
        missing: list[tuple[str, int | None]] = []
        for parameter, chains in self._chains:
            names = inputs if parameter.per_model else [output]
            values = tuple(
                _first(parameter, chain, name, index, count) for chain, name in zip(chains, names, strict=True)
            )
            lacking = [at for at, value in enumerate(values) if isinstance(value, Required)]
            missing += [(parameter.name, at if parameter.per_model else None) for at in lacking]
            found.append((parameter.name, values if parameter.per_model else values[0]))  # type: ignore[arg-type]
        if missing:
            raise LookupError(*missing)
        return tuple(found)


def _first(
    parameter: Parameter, chain: Sequence[Setting], name: str, index: int, count: int
) -> Scalar | Required | None:
    values = (setting.at(name, index, count) for setting in chain)
    return next((value for value in values if value is not None), parameter.default)


def ruled(recipe: Recipe, index: int, part: Part | None, name: str) -> str:
    """The place of the nearest setting of a parameter, for a slice and, where it is per model, one of its parts."""
    piece = recipe.slices[index]
    scopes: list[tuple[str, Numbers]] = [
        (f"slices[{index}].parameters", piece.numbers),
        (f"modules.{recipe.module}.parameters", recipe.module_numbers),
        ("parameters", recipe.numbers),
    ]
    if part is not None and part in piece.parts:
        place = "models" if is_whole(recipe) else f"slices[{index}].sources"
        scopes.insert(0, (f"{place}[{piece.parts.index(part)}].parameters", part.numbers))
    return next((f"{path}.{name}" for path, numbers in scopes if name in dict(numbers)), "parameters")


class Filter(NamedTuple):
    """A filter of a recipe.

    Attributes:
        path: place of its parameter in the recipe.
        slice: index of the slice it belongs to; None: to all.
        part: index of the source of that slice it belongs to; None: to all.
        parameter: name of the parameter.
        text: what a tensor's name must contain.
    """

    path: str
    slice: int | None
    part: int | None
    parameter: str
    text: str


def filters(recipe: Recipe) -> Iterator[Filter]:
    """Every filter that may fail to match."""
    yield from _filters(recipe.numbers, "parameters")
    yield from _filters(recipe.module_numbers, f"modules.{recipe.module}.parameters")
    for index, piece in enumerate(recipe.slices):
        yield from _filters(piece.numbers, f"slices[{index}].parameters", index)
        place = "models" if is_whole(recipe) else f"slices[{index}].sources"
        for at, part in enumerate(piece.parts):
            yield from _filters(part.numbers, f"{place}[{at}].parameters", index, at)


def _filters(numbers: Numbers, path: str, piece: int | None = None, part: int | None = None) -> Iterator[Filter]:
    for name, setting in numbers:
        for rule in setting.rules:
            if rule.filter and rule.filter != "*":
                yield Filter(f"{path}.{name}", piece, part, name, rule.filter)
