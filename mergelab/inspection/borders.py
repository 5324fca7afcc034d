"""Borders of a merged model where one layer does not follow the other at home. From the plan alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Home, Layer


@dataclass(frozen=True)
class Seam:
    """A border, and the run of layers that begins there.

    Attributes:
        border: it is in front of the merged layer of this number; the number of layers: in front of the final norm.
        end: the border where the run ends: the next seam, or the final norm.
        below: the layer under it, where that lives; None: the embeddings.
        above: the layer on it; None: the final norm and the head.
    """

    border: int
    end: int
    below: Home | None
    above: Home | None

    @property
    def name(self) -> str:
        """The merged layers on both sides: ``"1 | 2"``."""
        below = "embeddings" if self.below is None else str(self.border - 1)
        return f"{below} | {'final norm' if self.above is None else self.border}"

    @property
    def ends(self) -> tuple[int, ...]:
        """The borders at its entry and at its exit; one alone where it lies under the final norm."""
        return (self.border, self.end) if self.border < self.end else (self.border,)

    def __str__(self) -> str:
        return f"{self.below or 'embeddings'} to {self.above or 'final norm'}"


def borders(planned: Plan) -> tuple[Seam, ...]:
    """The seams of a plan, bottom first.

    A border is a seam where what is above is not, for each of its models, the next layer of what is below, or where
    several models go on in a slice that blends them by another method. A slice that goes on by the same method is none,
    whatever its numbers.
    """
    layers, depth = planned.layers, len(planned.layers)
    methods = [planned.recipe.method_of(piece) for piece in planned.recipe.slices]
    found = [place for place in range(1, depth) if not _follows(layers[place - 1], layers[place], methods)]
    if layers[0].home.index:
        found.insert(0, 0)
    if layers[-1].home.index + 1 != planned.origins[layers[-1].home.source].layers:
        found.append(depth)
    ends = [*found[1:], depth]
    return tuple(
        Seam(place, end, layers[place - 1].home if place else None, layers[place].home if place < depth else None)
        for place, end in zip(found, ends, strict=False)
    )


def home_border(planned: Plan, border: int) -> Home:
    """The border of which model is home to what reads there: for layer 3 of a model, its border 3.

    Of the final norm it is the last border of the model whose layer is on top: norm and head come with that.
    """
    if border < len(planned.layers):
        return planned.layers[border].home
    source = planned.layers[-1].home.source
    return Home(source, planned.origins[source].layers)


def _follows(below: Layer, above: Layer, methods: Sequence[str]) -> bool:
    """Whether the upper layer is the one that follows the lower one at home, made by the same method of its slice."""
    lower, upper = ([one.home, one.base, *one.parts] for one in (below, above))
    alone = above.base is None and len(above.parts) == 1
    alike = alone or methods[below.slice] == methods[above.slice]
    return alike and upper == [one and Home(one.source, one.index + 1) for one in lower]
