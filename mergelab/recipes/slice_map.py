"""The slice map: for each layer of a merge, from where it is and how it is made, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mergelab.recipes.expansion import expand
from mergelab.recipes.plan import Plan, Staged
from mergelab.recipes.step import Home, Layer

_CELLS = 6  # of a row of ``expand`` before its numbers


def slice_map(planned: Plan) -> Iterator[dict[str, object]]:
    """An entry for each layer and each tensor outside them, in order; those of stages first.

    ``stage`` is the name of a stage, None for the merge itself, whatever it is called. ``place`` is the layer's number,
    or the tensor's name. ``from``, ``base`` and ``home`` (the layer whose settings it has) are pairs: the address of a
    source or the name of a stage, and the layer there, None outside the layers.
    ``numbers`` are those that the method really gets, to four digits; to the last one they stand in the recipe.
    """
    table = expand(planned)
    rows = iter(table.rows)
    for one in (*(stage.plan for stage in planned.stages), planned):
        parts = Staged(one).anatomy
        before, after = len(parts.before), len(parts.after)
        layers = [*[one.layers[0]] * before, *one.layers, *[one.layers[-1]] * after]
        for place, layer in enumerate(layers):
            inside = before <= place < before + len(one.layers)
            stage = None if one is planned else one.recipe.name
            yield {"stage": stage} | _entry(next(rows), table.heading, layer, inside=inside)


def _entry(row: Sequence[object], heading: Sequence[str], layer: Layer, *, inside: bool) -> dict[str, object]:
    def at(home: Home) -> list[object]:
        return [str(home.source), home.index if inside else None]

    _, place, _, _, method, depth = row[:_CELLS]
    numbers = {name: cell for name, cell in zip(heading[_CELLS:], row[_CELLS:], strict=True) if cell != ""}
    return {
        "place": int(str(place)) if inside else place,
        "method": method,
        "from": [at(home) for home in layer.parts],
        "base": None if layer.base is None else at(layer.base),
        "home": at(layer.home),
        "numbers": {**({"depth": depth} if depth else {}), **numbers},
    }
