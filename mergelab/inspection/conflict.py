"""Conflict: how often, and how heavily, two task vectors pull a weight opposite ways, at any density."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergelab.errors import InspectionError, Problem
from mergelab.inspection.grid import Grid, Measure
from mergelab.inspection.magnitudes import DENSITIES, LEVELS, Both, Lone, Reals
from mergelab.inspection.places import BY_SIGNS, TWO_SIDED, Layout
from mergelab.inspection.rows import Place
from mergelab.inspection.sums import Together

_TIES = "Yadav et al. 2023, arXiv:2306.01708, section 3"

SIGN_CONFLICT = Measure(
    name="sign_conflict",
    title="Sign conflict",
    unit="x chance",
    shows="How often two changes pull a weight opposite ways, over what independent signs would give.",
    formula="(|{p: a_p b_p < 0}| / |{p: a_p b_p != 0}|) / 0.5, a and b each trimmed to the density's largest",
    source=_TIES,
    scale="diverging",
    middle=1.0,
    reading=(
        "At 1 the signs know nothing of each other; above it averaging cancels, and a method that elects signs has "
        "something to choose; below it the two agree. Whether the clashing weights matter is told by conflict by size. "
        "Two trainings on unlike tasks share what goes into a layer and scatter about 1 more widely than chance does: "
        "a few per cent off in single cells mean nothing, the same in most of a row does."
    ),
)
WEIGHTED_CONFLICT = Measure(
    name="weighted_conflict",
    title="Sign conflict by size",
    unit="x chance",
    shows="How much of what two changes share they pull opposite ways, over what independent signs would give.",
    formula="(sum min(|a_p|, |b_p|) [a_p b_p < 0] / sum min(|a_p|, |b_p|)) / 0.5, both trimmed",
    source=f"{_TIES}, with weights",
    scale="diverging",
    middle=1.0,
    reading=(
        "As sign conflict, but large changes count more: lower than it where the clashes are among small ones. "
        "Trainings scatter more widely than chance here too."
    ),
)
MASS_LOST = Measure(
    name="mass_lost",
    title="Change lost in the sum",
    unit="1",
    shows="Which part of two changes cancels when they are added.",
    formula="1 - ||a + b||_1 / (||a||_1 + ||b||_1), both trimmed",
    source="follows from the triangle inequality",
    reading=(
        "0: nothing cancels, as when the changes lie in different weights; 1: one undoes the other. Independent signs "
        "lose a part too, more where the two change the same weights by like amounts: compare with chance, about which "
        "trainings scatter more widely than signs drawn at random."
    ),
)
SUPPORT_OVERLAP = Measure(
    name="support_overlap",
    title="Changed in common",
    unit="x chance",
    shows="How many weights both changes keep, over what independent choices would give.",
    formula="|A and B| n / (|A| |B|), A and B the weights that each keeps of n",
    source=f"{_TIES}; expectation of a hypergeometric count",
    scale="diverging",
    middle=1.0,
    reading=(
        "Above 1 both change the same weights most. Where all weights are changed and kept it is 1 by definition; "
        "tensors that one of them left alone do not count. Changes of a step or two of bfloat16 say little here: the "
        "steps are largest at the largest weights, so that any two trainings seem to choose these."
    ),
)
LENGTH_KEPT = Measure(
    name="length_kept",
    title="Length of the change that is kept",
    unit="1",
    shows="Which part of a change's length remains when only its largest weights are kept.",
    formula="||a trimmed to the density|| / ||a||, every tensor trimmed by itself",
    source=_TIES,
    reading="Close to 1 at a low density: few weights carry the change, and trimming costs little.",
)
_NEAR = f"Densities are told apart by {LEVELS - 1} levels of magnitude; weights of one level are kept in equal shares."


@dataclass(frozen=True, eq=False)
class Conflict:
    """What two task vectors do to each other, at any density, from counts of one pass.

    Attributes:
        base: what both are changes of.
        one, other: names of the two sources.
        notes: what was left out, and why.
        partial: the pass was stopped before the end.
    """

    base: str
    one: str
    other: str
    notes: tuple[str, ...]
    partial: bool
    _layout: Layout = field(repr=False)
    _sums: Mapping[Place, Together] = field(repr=False)

    def at(self, density: float) -> Grid:
        """Sign conflict (module x layer) with every tensor of both trimmed to a density.

        Args:
            density: share of the weights that is kept, more than 0 and at most 1.

        Raises:
            InspectionError: the density is none.
        """
        return self._grid(_RATE, density)

    def weighted(self, density: float) -> Grid:
        """Sign conflict weighted by the smaller of the two changes; arguments and errors as ``at``."""
        return self._grid(_WEIGHTED, density)

    def lost(self, density: float) -> Grid:
        """Share of the changes that cancels in their sum; arguments and errors as ``at``."""
        return self._grid(_LOST, density)

    def overlap(self, density: float) -> Grid:
        """How many weights both keep, over chance; arguments and errors as ``at``."""
        return self._grid(_OVERLAP, density)

    def kept(self) -> Grid:
        """Share of each change's length that is kept (source x density), over all tensors that both have."""
        energies = {
            self.one: np.nansum(self._curves.one.energy, axis=0),
            self.other: np.nansum(self._curves.other.energy, axis=0),
        }
        return length_kept(energies, f"against {self.base}", self.notes)

    def summary(self, density: float, layers: Sequence[int] | None = None) -> pd.DataFrame:
        """All figures over some layers together, or over everything that both have and that is finite (see ``notes``).

        Returns:
            Rows by the measures' names, columns ``value``, ``low``, ``high`` (what chance gives, 95 %) and ``unit``.

        Raises:
            InspectionError: the density is none, or there is no such layer.
        """
        chosen = self._curves.at(density).total(self._layout.within(layers))
        rows = []
        for figure in (_RATE, _WEIGHTED, _LOST, _OVERLAP):
            found = figure.of(chosen)
            ends = (found.values.item(), found.low.item(), found.high.item())
            rows.append((figure.measure.name, *ends, figure.measure.unit))
        return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "unit"]).set_index("measure")

    @cached_property
    def _curves(self) -> _Kept:
        """By place and density; NaN at places that were not reached or that not both have."""
        kept = _Kept.nothing(len(self._layout.places))
        for at, place in enumerate(self._layout.places):
            if place in self._sums:
                sums = self._sums[place]
                kept.one.sums[:, at], kept.other.sums[:, at] = sums.one.kept.sums, sums.other.kept.sums
                kept.both.sums[:, at], kept.elements[at] = sums.kept.sums, sums.one.elements
        return kept

    def _grid(self, figure: _Figure, density: float) -> Grid:
        found = figure.of(self._curves.at(density))
        of = f"{self.one} with {self.other}, density {density:g}"
        return self._layout.grid(
            figure.measure, found.values, of, (*self.notes, _NEAR), (found.low, found.high, figure.how)
        )


@dataclass(frozen=True, eq=False)
class _Kept:
    """What is kept of two task vectors at places, and how many weights these have."""

    one: Lone
    other: Lone
    both: Both
    elements: Reals

    @classmethod
    def nothing(cls, places: int) -> _Kept:
        """NaN everywhere, to be filled."""
        one, other, both = (np.full((kinds, places, len(DENSITIES)), np.nan) for kinds in (3, 3, 7))
        return cls(Lone(one), Lone(other), Both(both), np.full(places, np.nan))

    def at(self, density: float) -> _Kept:
        """At one density: on the straight line between the curves' points."""
        place = place_of(density)
        low = min(int(place), len(DENSITIES) - 2)

        def between(sums: Reals) -> Reals:
            return sums[..., low] * (low + 1 - place) + sums[..., low + 1] * (place - low)

        return _Kept(
            Lone(between(self.one.sums)), Lone(between(self.other.sums)), Both(between(self.both.sums)), self.elements
        )

    def total(self, places: NDArray[np.bool_]) -> _Kept:
        """Of some places together, as one place; those without figures are left out."""
        for kept in (self.one, self.other, self.both):
            places = places & np.isfinite(kept.sums).all(axis=0)
        one, other, both = (
            kept.sums[:, places].sum(axis=1, keepdims=True) for kept in (self.one, self.other, self.both)
        )
        return _Kept(Lone(one), Lone(other), Both(both), self.elements[places].sum(keepdims=True))


@dataclass(frozen=True, eq=False)
class _Found:
    """Values at places, and between what chance leaves them."""

    values: Reals
    low: Reals
    high: Reals


def _around(
    values: Reals, middle: Reals | float, deviation: Reals, ends: tuple[Reals | float, Reals | float]
) -> _Found:
    """With 95 % of a normal distribution, as far as it lies between the least and the most that a value can be."""
    low, high = middle - TWO_SIDED * deviation, middle + TWO_SIDED * deviation
    return _Found(np.clip(values, *ends), np.maximum(low, ends[0]), np.minimum(high, ends[1]))


def _rate(kept: _Kept) -> _Found:
    both = kept.both
    return _around(2 * _over(both.apart, both.weights), 1.0, _over(1.0, np.sqrt(both.weights)), (0.0, 2.0))


def _weighted(kept: _Kept) -> _Found:
    both = kept.both
    deviation = _over(np.sqrt(both.least_squares), both.least)
    return _around(2 * _over(both.apart_least, both.least), 1.0, deviation, (0.0, 2.0))


def _lost(kept: _Kept) -> _Found:
    both, mass = kept.both, kept.one.mass + kept.other.mass
    chance = _over(both.least, mass)
    deviation = _over(np.sqrt(both.least_squares), mass)
    return _around(2 * _over(both.apart_least, mass), chance, deviation, (0.0, 2 * chance))


def _overlap(kept: _Kept) -> _Found:
    one, other, both = kept.one.weights, kept.other.weights, kept.both
    least, most = np.maximum(one + other - kept.elements, 0), np.minimum(one, other)
    return _around(
        _over(both.weights, both.expected),
        1.0,
        _over(np.sqrt(both.variance), both.expected),
        (_over(least, both.expected), _over(most, both.expected)),
    )


@dataclass(frozen=True)
class _Figure:
    """A measure, how it is worked out, and where its band comes from."""

    measure: Measure
    of: Callable[[_Kept], _Found]
    how: str


_CHOICES = "95 % of independent choices of as many weights (normal approximation to the hypergeometric)"
_RATE = _Figure(SIGN_CONFLICT, _rate, BY_SIGNS)
_WEIGHTED = _Figure(WEIGHTED_CONFLICT, _weighted, BY_SIGNS)
_LOST = _Figure(MASS_LOST, _lost, BY_SIGNS)
_OVERLAP = _Figure(SUPPORT_OVERLAP, _overlap, _CHOICES)


def length_kept(energies: Mapping[str, Reals], of: str, notes: Iterable[str]) -> Grid:
    """Share of each change's length that is kept (source x density), from sums of squares at ``DENSITIES``."""
    values = np.stack([np.sqrt(_over(kept, np.full_like(kept, kept[-1]))) for kept in energies.values()])
    columns = tuple(f"{density:.4g}" for density in DENSITIES)
    return Grid(LENGTH_KEPT, values, ("source", "density"), tuple(energies), columns, of, note=" ".join(notes))


def place_of(density: float) -> float:
    """The place of a density among ``DENSITIES``, between two of them a fraction.

    Raises:
        InspectionError: it is not more than 0 and at most 1.
    """
    if not 0 < density <= 1:
        raise InspectionError(
            Problem("density", f"{density!r} is no share of the weights.", "Choose 0 < density <= 1.")
        )
    return float(np.interp(density, DENSITIES, np.arange(len(DENSITIES))))


def _over(one: Reals | float, other: Reals) -> Reals:
    """NaN over nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Reals = np.where(other > 0, one / other, np.nan)
    return ratio
