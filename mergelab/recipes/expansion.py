"""The number that every layer and module of a merge really gets, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mergelab import methods
from mergelab.columns import Table
from mergelab.recipes.plan import Plan, Staged
from mergelab.recipes.recipe import Scalar
from mergelab.recipes.step import Home, Layer, Number, Step

_OTHERS = "others"


@dataclass(frozen=True)
class _Row:
    """A layer, or a tensor outside the layers.

    Attributes:
        cells: what stands left of the numbers.
        numbers: parameter -> name within the layer -> value; outside the layers that name is empty.
        told: the parameters that are not everywhere the method's default.
    """

    cells: tuple[str, ...]
    numbers: Mapping[str, Mapping[str, Number]]
    told: tuple[str, ...]


def expand(planned: Plan) -> Table:
    """A row for each layer and for each tensor outside them, with the numbers that are anywhere not the default.

    Modules that get the same numbers everywhere share a column: one for ``t`` where all agree, else ``t: self_attn``,
    ``t: mlp`` ..., and ``t: others`` for the rest and for what is outside the layers. Numbers
    per model stand in the order of the models. Stages come first.
    """
    rows = [row for one in (*(stage.plan for stage in planned.stages), planned) for row in _rows(one)]
    heading = ["stage", "layer", "from", "base", "made by", "depth"]
    columns = [[row.cells[at] for row in rows] for at in range(len(heading))]
    for parameter in dict.fromkeys(name for row in rows for name in row.told):
        values = [row.numbers.get(parameter, {}) for row in rows]
        for modules, stems in _alike(values):
            heading.append(f"{parameter}: {modules}" if modules else parameter)
            columns.append([_cell(found[stem] for stem in stems if stem in found) for found in values])
    return Table(tuple(heading), tuple(zip(*columns, strict=True)))


def _rows(planned: Plan) -> Iterator[_Row]:
    stage = Staged(planned)
    parts = stage.anatomy
    for name in parts.before:
        yield _row(planned, name, planned.layers[0], {"": stage.specs[name]})
    for index, (stems, layer) in enumerate(zip(parts.layers, planned.layers, strict=True)):
        yield _row(planned, str(index), layer, {stem: stage.specs[parts.name(index, stem)].narrow for stem in stems})
    for name in parts.after:
        yield _row(planned, name, planned.layers[-1], {"": stage.specs[name]})


def _row(planned: Plan, place: str, layer: Layer, steps: Mapping[str, Step]) -> _Row:
    def shown(home: Home) -> str:
        return home.source.label if "" in steps else str(home)

    first = next(iter(steps.values()))
    method = methods.get(first.method)
    made = "copy" if all(step.copies for step in steps.values()) else method.name
    depth = f"{first.depth:.3g}" if "depth" in method.extras else ""
    parts, base = ", ".join(map(shown, layer.parts)), shown(layer.base) if layer.base else ""
    effective = [parameter for parameter in method.parameters.values() if parameter.effect]
    numbers = {one.name: {stem: dict(step.numbers)[one.name] for stem, step in steps.items()} for one in effective}
    told = tuple(
        one.name
        for one in effective
        if any(value != one.default for given in numbers[one.name].values() for value in _each(given))
    )
    return _Row((planned.recipe.name or "", place, parts, base, made, depth), numbers, told)


def _alike(values: Sequence[Mapping[str, Number]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Modules that get the same numbers in every layer: how to call them, and their tensors' names within a layer."""
    stems = tuple(dict.fromkeys(stem for found in values for stem in found if stem))
    groups: dict[tuple[Number, ...], list[str]] = {}
    for stem in stems:
        groups.setdefault(tuple(found.get(stem) for found in values), []).append(stem)
    if len(groups) <= 1:
        yield "", ("", *stems)
        return
    called = [list(_called(group, stems)) for group in groups.values()]
    # What takes the most names; where modules take one each, the norms, which recipes seldom speak of.
    rest = max(range(len(called)), key=lambda place: (len(called[place]), "norm" in called[place][0]))
    for place, group in enumerate(groups.values()):
        if place != rest:
            yield ", ".join(called[place]), tuple(group)
    yield _OTHERS, ("", *list(groups.values())[rest])


def _called(some: Sequence[str], every: Sequence[str], prefix: str = "") -> Iterator[str]:
    """The shortest names that stand for some of the tensors of a layer: of modules that they fill, or their own."""
    for head in dict.fromkeys(name.partition(".")[0] for name in some):
        mine, all_ = ([name[len(head) + 1 :] for name in names if _under(head, name)] for names in (some, every))
        if len(mine) == len(all_):
            yield prefix + head
        else:
            yield from _called(mine, all_, f"{prefix}{head}.")


def _under(head: str, name: str) -> bool:
    return name.partition(".")[0] == head


def _each(number: Number) -> tuple[Scalar | None, ...]:
    return number if isinstance(number, tuple) else (number,)


def _cell(numbers: Iterable[Number]) -> str:
    """The one number that all of these are; nothing where there is none."""
    return next((", ".join(map(_shown, _each(number))) for number in numbers), "")


def _shown(value: Scalar | None) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    return value if isinstance(value, str) else f"{value:.4g}"
