"""Subspaces: how many directions each matrix's change has, and whether two changes use the same ones.

Weights only, one matrix at a time; what is kept of each are a few numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import torch

from mergelab.errors import InspectionError, Problem, did_you_mean
from mergelab.inspection.files import open_files
from mergelab.inspection.grid import Chance, Floats, Grid, Measure
from mergelab.inspection.rows import Shared, shared
from mergelab.inspection.spectrum import Change, Spectrum, spectrum
from mergelab.weights import Checkpoint, Source

_ROUNDED = "Weights stored in 16 bits hold rounding too, which is a change of full rank."
EFFECTIVE_RANK = Measure(
    "effective_rank", "Effective rank of the change", "directions",
    "How many directions each matrix changed in, each counted by how much it weighs.",
    "exp(-sum p ln p), p = s / sum s, s: singular values of t1 - t0", "Roy and Vetterli 2007", "log",
    reading=f"A LoRA of rank 8 has 8 at most; a full fine-tune has hundreds. {_ROUNDED}",
)  # fmt: skip
STABLE_RANK = Measure(
    "stable_rank", "Stable rank of the change", "directions",
    "How many directions as strong as the strongest would make up the change.",
    "||t1 - t0||_F^2 / s_1^2", "Rudelson and Vershynin 2007", "log",
    reading="Near 1: one direction is nearly all of it. Small singular values, rounding among them, count for little.",
)  # fmt: skip
PARTICIPATION = Measure(
    "participation", "Participation ratio of the change", "directions",
    "How many equally strong directions would spread the change as it is spread.",
    "(sum s^2)^2 / sum s^4, s: singular values of t1 - t0", "participation ratio of the squared singular values", "log",
    reading="Between the stable and the effective rank: strong directions count more than in the latter.",
)  # fmt: skip
OVERLAP = Measure(
    "overlap", "Shared directions", "1",
    "How much of one change's main directions lies in the other's.",
    "||Ua^T Ub||_F^2 / k, Ua, Ub: top k singular vectors", "mean squared cosine of the angles between two subspaces",
    reading="1: the same directions, where merging adds up or cancels. At chance: the two leave each other alone.",
)  # fmt: skip

Side = Literal["output", "input"]


class _Ranks(NamedTuple):
    """Of one or more matrices, their means."""

    effective: float
    stable: float
    participation: float
    error: float


class _Shares(NamedTuple):
    """Overlap at output and input, and what chance gives: lower and upper end, output then input."""

    values: tuple[float, float]
    low: tuple[float, float]
    high: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Subspaces:
    """Changes of sources from a base as directions. Every measure is a Grid of modules (rows) by layers (columns).

    Where there is only one source it need not be named. Modules of several matrices (experts) show the mean over them,
    and the band of chance of one.

    Attributes:
        base: its name.
        sources: names of the others.
        directions: how many of the main directions of each matrix are compared, at most.
        partial: it was stopped before the end.
        notes: by source, what is left out, and why.
    """

    base: str
    sources: tuple[str, ...]
    directions: int
    partial: bool
    notes: Mapping[str, str]
    _depth: int
    _ranks: Mapping[tuple[str, str, int], _Ranks]  # by source, module, layer
    _shares: Mapping[tuple[str, str, str, int], _Shares]  # by both sources, module, layer
    _modules: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Subspaces of {', '.join(self.sources)} against {self.base}>"

    def effective_rank(self, source: str | None = None) -> Grid:
        """Effective rank of each matrix's change; NaN where nothing changed."""
        return self._ranked(EFFECTIVE_RANK, source, "effective")

    def stable_rank(self, source: str | None = None) -> Grid:
        """Stable rank of each matrix's change; NaN where nothing changed."""
        return self._ranked(STABLE_RANK, source, "stable")

    def participation(self, source: str | None = None) -> Grid:
        """Participation ratio of each matrix's change; NaN where nothing changed."""
        return self._ranked(PARTICIPATION, source, "participation")

    def overlap(self, one: str, other: str, side: Side = "output") -> Grid:
        """Overlap of two sources' main directions, against that of random subspaces of as many dimensions.

        Where a change has fewer directions than are compared, those it has are: the smaller number divides.

        Args:
            side: ``"output"``: what the changes write (left singular vectors); ``"input"``: what they read (right).
        """
        one, other = self._one(one), self._one(other)
        if one == other:
            raise InspectionError(Problem("subspaces", f"{one!r} is compared with itself.", "Name two sources."))
        if side not in ("output", "input"):
            raise InspectionError(Problem("side", f"is {side!r}.", "It is 'output' or 'input'."))
        at = ("output", "input").index(side)
        one, other = sorted((one, other), key=self.sources.index)
        values, low, high = (np.full((len(self._modules), self._depth), np.nan) for _ in range(3))
        for row, column in np.ndindex(values.shape):
            found = self._shares.get((one, other, self._modules[row], column))
            if found is not None:
                values[row, column] = found.values[at]
                low[row, column], high[row, column] = found.low[at], found.high[at]
        how = (
            "random subspaces of as many dimensions: k/d on average, with 95 % of a beta distribution of their variance"
        )
        of = f"{one} and {other} against {self.base}, {side} side, up to {self.directions} directions"
        said = "Sources of one base are never quite random."
        return self._grid(OVERLAP, (one, other), values, of, Chance(low, high, how), said)

    def _ranked(self, measure: Measure, asked: str | None, figure: str) -> Grid:
        source = self._one(asked)
        values = np.full((len(self._modules), self._depth), np.nan)
        worst = 0.0
        for row, column in np.ndindex(values.shape):
            found = self._ranks.get((source, self._modules[row], column))
            if found is not None:
                values[row, column] = getattr(found, figure)
                worst = max(worst, found.error)
        exact = (
            "Worked out exactly."
            if worst == 0
            else f"Large matrices by sketch, effective rank with an error up to {worst:.1%}."
        )
        said = f"{exact} Weights are exact numbers: there is no chance in this figure."
        return self._grid(measure, (source,), values, f"{source} against {self.base}", None, said)

    def _grid(
        self, measure: Measure, sources: Sequence[str], values: Floats, of: str, chance: Chance | None, said: str
    ) -> Grid:
        columns = tuple(map(str, range(self._depth)))
        notes = [said, "Matrices of the layers; embeddings and head are left out."]
        notes += [f"{source}: {self.notes[source]}" for source in sources if source in self.notes]
        notes += ["Stopped before the end."] * self.partial
        return Grid(measure, values, ("module", "layer"), self._modules, columns, of, chance, " ".join(notes))

    def _one(self, source: str | None) -> str:
        """The source that is meant; None: the only one."""
        if source is None and len(self.sources) == 1:
            return self.sources[0]
        if source is None:
            what = f"there are {len(self.sources)}, and none is named."
            raise InspectionError(Problem("subspaces", what, f"Name one: {', '.join(self.sources)}."))
        if source not in self.sources:
            hint = did_you_mean(source, self.sources)
            raise InspectionError(Problem("subspaces", f"no source is called {source!r}.", hint))
        return source


def subspaces(
    base: Checkpoint | Source | str | os.PathLike[str],
    *sources: Checkpoint | Source | str | os.PathLike[str],
    directions: int = 16,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Subspaces:
    """Ranks of the changes of all matrices in the layers, and overlaps of every pair of sources.

    Args:
        base: a folder, hub id, Source or Checkpoint.
        sources: one or more others.
        directions: how many main directions of each matrix are compared, at most.
        seed: of the sketches of large matrices; with the tensor's name it decides all random numbers.
        progress: gets how many matrices are done, and of how many.
        stop: asked before each matrix; once it says True, the matrices done by then stand.

    Raises:
        InspectionError: there are no sources, one is no file (a recipe, a live model), no matrix of a layer is in a
            source and the base, or ``directions`` is no whole number above 0.
        SourceError: a source cannot be opened or read.
    """
    if not sources:
        raise InspectionError(Problem("subspaces", "has nothing to compare.", "Name sources: subspaces(base, source)."))
    if type(directions) is not int or directions < 1:
        raise InspectionError(Problem("directions", f"is {directions!r}.", "Give a whole number from 1 on."))
    (name, start), *others = _named(open_files("subspaces", base, *sources)).items()
    opened = dict(others)
    found, missing = shared(start, opened)
    matrices = [
        (one, layer, module)
        for one in found
        for layer, module in [one.place]
        if layer is not None and len(start.specs[one.name].shape) == 2
    ]
    lacking = [source for source in opened if not any(source in one.others for one, _, _ in matrices)]
    if lacking:
        hint = "Compare models of one family and one width."
        raise InspectionError(*(Problem(source, f"has no matrix in common with {name}.", hint) for source in lacking))
    notes = {source: f"{lost[0]} ({len(lost)} such)." for source, lost in missing.items() if lost}
    ranks: dict[tuple[str, str, int], list[_Ranks]] = {}
    shares: dict[tuple[str, str, str, int], list[_Shares]] = {}
    turned, done = _turned(start), 0
    for one, layer, module in matrices:
        if stop():
            break
        spectra = _spectra(one, start, opened, directions, seed)
        for source, found_here in spectra.items():
            if found_here.left.shape[1]:
                told = _Ranks(found_here.effective, found_here.stable, found_here.participation, found_here.error)
                ranks.setdefault((source, module, layer), []).append(told)
        for first, second in combinations(spectra, 2):
            both = _both(spectra[first], spectra[second], turned and _bias(one.name) in start.specs)
            if both is not None:
                shares.setdefault((first, second, module, layer), []).append(both)
        done += 1
        progress(done, len(matrices))
    return Subspaces(
        name, tuple(opened), directions, done < len(matrices), notes, start.layers,
        {key: _Ranks(*np.mean(several, axis=0).tolist()) for key, several in ranks.items()},
        {key: _Shares(*map(tuple, np.mean(several, axis=0).tolist())) for key, several in shares.items()},
        tuple(dict.fromkeys(module for _, _, module in matrices)),
    )  # fmt: skip


def overlap(one: torch.Tensor, other: torch.Tensor) -> float:
    """||Ua^T Ub||_F^2 / min(ka, kb): the mean squared cosine of the angles between two subspaces; 0 to 1.

    It is 1 where one of the two is the whole space, whatever the other is.

    Args:
        one, other: orthonormal columns, shape (d, ka) and (d, kb).
    """
    few, many = sorted((one.shape[1], other.shape[1]))
    if many == len(one):
        return 1.0
    return min(1.0, float((one.T.double() @ other.double()).square().sum()) / few)


@lru_cache
def random_overlap(dimensions: int, one: int, other: int) -> tuple[float, float]:
    """The 95 % band of ``overlap`` of two random subspaces of ``one`` and ``other`` of so many dimensions.

    ||Ua^T Ub||^2 has the mean k_a k_b / d and the variance 2 k_a k_b (d - k_a)(d - k_b) / (d^2 (d - 1)(d + 2)), by the
    moments of Haar measure (Collins and Sniady 2006). The band is that of the beta distribution of this mean and
    variance, exact where one of the two has one dimension; 100,000 seeded draws. Where one is the whole
    space nothing is left to chance: both ends are 1, as ``overlap`` is.
    """
    few, many = sorted((one, other))
    mean = many / dimensions
    if many == dimensions:
        return 1.0, 1.0
    spread = 2 * few * many * (dimensions - few) * (dimensions - many)
    variance = spread / (dimensions**2 * (dimensions - 1) * (dimensions + 2)) / few**2
    weight = mean * (1 - mean) / variance - 1
    drawn = np.random.default_rng(0).beta(mean * weight, (1 - mean) * weight, 100_000)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def _both(one: Spectrum, other: Spectrum, turned: bool) -> _Shares | None:
    """Overlap at the output and at the input; None where one has no direction.

    Args:
        turned: the rows of the matrix are its inputs.
    """
    if not one.left.shape[1] or not other.left.shape[1]:
        return None
    sides = [(one.left, other.left), (one.right, other.right)]
    output, inward = reversed(sides) if turned else sides
    ends = [random_overlap(len(mine), mine.shape[1], theirs.shape[1]) for mine, theirs in (output, inward)]
    (low, high), (low_in, high_in) = ends
    return _Shares((overlap(*output), overlap(*inward)), (low, low_in), (high, high_in))


def _turned(checkpoint: Checkpoint) -> bool:
    """Whether matrices that have a bias are stored as (input, output), as GPT-2's are: a bias is as long as outputs."""
    specs = checkpoint.specs
    for name, spec in specs.items():
        if _bias(name) in specs and len(spec.shape) == 2 and spec.shape[0] != spec.shape[1]:
            return specs[_bias(name)].shape == spec.shape[1:]
    return False


def _bias(name: str) -> str:
    return f"{name.removesuffix('.weight')}.bias"


def _spectra(
    one: Shared, base: Checkpoint, sources: Mapping[str, Checkpoint], directions: int, seed: int
) -> dict[str, Spectrum]:
    """Of each source that has the matrix."""
    start = base.tensor(one.name)
    return {
        source: spectrum(Change(sources[source].tensor(name), start), directions, one.name, seed)
        for source, name in one.others.items()
    }


def _named(opened: Sequence[Checkpoint]) -> dict[str, Checkpoint]:
    """By label; a label that was there before gets a number."""
    found: dict[str, Checkpoint] = {}
    for one in opened:
        label = one.source.label
        same = sum(name == label or name.startswith(f"{label} ") for name in found)
        found[f"{label} {same + 1}" if same else label] = one
    return found
