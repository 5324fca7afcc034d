"""Changes: what training made of a base's weights: how large, where, and whether two point the same way."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mergelab.errors import InspectionError, Problem, did_you_mean, raise_all
from mergelab.inspection.conflict import Conflict, length_kept
from mergelab.inspection.files import open_files
from mergelab.inspection.grid import Grid, Measure
from mergelab.inspection.magnitudes import DENSITIES
from mergelab.inspection.places import BY_SIGNS, TWO_SIDED, Layout
from mergelab.inspection.rows import Place, add_up, shared
from mergelab.inspection.sums import Alone, Pair, Sums, Together
from mergelab.weights import Checkpoint, Source

CHANGE_SIZE = Measure(
    name="change_size",
    title="Size of the change",
    unit="1",
    shows="How long a source's change from the base is, against the length of the base's weights.",
    formula="||source - base|| / ||base||, Frobenius norms",
    source="task vectors: Ilharco et al. 2023, arXiv:2212.04089",
    scale="log",
    reading=(
        "Fine-tuning usually changes weights by a few per cent; 1.4 throughout means two models that share no base. "
        "What two trainings on the same text would differ by was not measured. Gains of norms are taken as they are "
        "stored; what they do is told by drift."
    ),
)
UNCHANGED = Measure(
    name="unchanged",
    title="Weights left as they were",
    unit="1",
    shows="Which part of the weights is exactly the base's.",
    formula="|{p: source_p = base_p}| / n",
    source="follows from the definition",
    reading=(
        "Much of it beside small changes means that bfloat16 rounded them away; all of it, that the layer was frozen. "
        "These weights have no sign and take no part in sign conflict. A change below a billionth of the tensor's "
        "largest may count as none."
    ),
)
LARGEST = Measure(
    name="largest_change",
    title="Largest change",
    unit="weight",
    shows="By how much the weight moved that moved most.",
    formula="max |source_p - base_p|",
    source="follows from the definition",
    scale="log",
    reading=(
        "Of a million weights that move as normal numbers do, the one that moves most moves 5 times as far as is usual "
        "(root mean square): far more, and few weights carry the change, so that trimming costs little."
    ),
)
COSINE = Measure(
    name="change_cosine",
    title="Task-vector cosine",
    unit="1",
    shows="Whether the two changes from the base point the same way.",
    formula="<a, b> / (||a|| ||b||), a and b the changes",
    source="Ilharco et al. 2023, arXiv:2212.04089, section 5",
    scale="diverging",
    reading=(
        "Near 0 they are unrelated and add up; clearly below it averaging cancels. About one half everywhere: what "
        "they were compared with is not the base of either."
    ),
)


@dataclass(frozen=True, eq=False)
class TaskVectors:
    """Task vectors of some sources, measured in one pass over the weights.

    Attributes:
        base: name of what they are changes of.
        sources: names of those that changed it.
        notes: by source, what was left out, and why.
        partial: the pass was stopped; places that it did not reach are NaN.
    """

    base: str
    sources: tuple[str, ...]
    notes: Mapping[str, tuple[str, ...]]
    partial: bool
    _layout: Layout = field(repr=False)
    _sums: Mapping[Place, Sums] = field(repr=False)

    def size(self, source: str | None = None) -> Grid:
        """Length of a change against the base's (module x layer).

        Args:
            source: its name; may be left out where there is one.

        Raises:
            InspectionError: no source has this name, or one has to be named.
        """
        return self._grid("size", CHANGE_SIZE, source, _size)

    def zeros(self, source: str | None = None) -> Grid:
        """Share of weights that are exactly the base's (module x layer); arguments and errors as ``size``."""
        return self._grid("zeros", UNCHANGED, source, _unchanged)

    def largest(self, source: str | None = None) -> Grid:
        """The largest change of a weight (module x layer); arguments and errors as ``size``."""
        return self._grid("largest", LARGEST, source, lambda sums: sums.largest)

    def cosine(self, one: str | None = None, other: str | None = None) -> Grid:
        """Cosine between two changes (module x layer).

        Args:
            one, other: names of two sources; may be left out where there are two.

        Raises:
            InspectionError: no source has this name, or two have to be named.
        """
        one, other = self._pair("cosine", one, other)
        found = self._together(one, other)
        values = np.array([_cosine(found[place]) if place in found else np.nan for place in self._layout.places])
        width = np.array([_scatter(found[place]) if place in found else np.nan for place in self._layout.places])
        band = (-width, width, BY_SIGNS)
        return self._layout.grid(COSINE, values, f"{one} with {other}", self._notes(one, other), band)

    def conflict(self, one: str | None = None, other: str | None = None) -> Conflict:
        """Where two changes pull weights opposite ways, at any density; arguments and errors as ``cosine``."""
        one, other = self._pair("conflict", one, other)
        found = self._together(one, other)
        return Conflict(self.base, one, other, self._notes(one, other), self.partial, self._layout, found)

    def kept(self) -> Grid:
        """Share of each change's length that is kept at a density (source x density), every tensor by itself.

        Places that are not finite are left out; the note tells them.
        """
        nothing = np.zeros(len(DENSITIES))
        energies = {
            source: sum((sums.kept.energy for sums in self._alone(source).values() if sums.finite), nothing)
            for source in self.sources
        }
        return length_kept(energies, f"against {self.base}", self._notes(*self.sources))

    def summary(self, layers: Sequence[int] | None = None) -> pd.DataFrame:
        """Figures of every source over some layers together, or over everything that it shares with the base.

        Places that are not finite are left out (see ``notes``).

        Returns:
            Rows by source; columns ``size``, ``unchanged``, ``largest``, ``share`` (of the squared length of the whole
            change) and ``weights`` (how many were compared).

        Raises:
            InspectionError: there is no such layer.
        """
        inside = dict(zip(self._layout.places, self._layout.within(layers).tolist(), strict=True))
        rows = []
        for source in self.sources:
            found = {place: sums for place, sums in self._alone(source).items() if sums.finite}
            total = _sum([sums for place, sums in found.items() if inside[place]])
            whole = sum(sums.energy for sums in found.values())
            if total is None:
                rows.append((source, np.nan, np.nan, np.nan, np.nan, 0))
            else:
                share = total.energy / whole if whole > 0 else np.nan
                rows.append((source, _size(total), _unchanged(total), total.largest, share, total.elements))
        names = ["source", "size", "unchanged", "largest", "share", "weights"]
        return pd.DataFrame(rows, columns=names).set_index("source")

    def to_frame(self) -> pd.DataFrame:
        """One row for each source and place: ``source``, ``layer`` (missing outside the layers), ``module``, ``size``,
        ``unchanged``, ``largest``, ``weights``.
        """
        rows = [
            (source, layer, module, _size(sums), _unchanged(sums), sums.largest, sums.elements)
            for source in self.sources
            for (layer, module), sums in self._alone(source).items()
        ]
        names = ["source", "layer", "module", "size", "unchanged", "largest", "weights"]
        return pd.DataFrame(rows, columns=names).astype({"layer": "Int64"})

    def _grid(self, asked: str, measure: Measure, source: str | None, figure: Callable[[Alone], float]) -> Grid:
        source = self._one(asked, source)
        found = self._alone(source)
        values = np.array([figure(found[place]) if place in found else np.nan for place in self._layout.places])
        return self._layout.grid(measure, values, f"{source} against {self.base}", self._notes(source))

    def _alone(self, source: str) -> dict[Place, Alone]:
        sums = ((place, self._sums[place]) for place in self._layout.places if place in self._sums)
        return {place: one.alone[source] for place, one in sums if source in one.alone}

    def _together(self, one: str, other: str) -> dict[Place, Together]:
        """Of two sources, as they are ordered here."""
        sums = ((place, self._sums[place].together) for place in self._layout.places if place in self._sums)
        if self.sources.index(one) < self.sources.index(other):
            return {place: found[one, other] for place, found in sums if (one, other) in found}
        return {place: found[other, one].turned() for place, found in sums if (other, one) in found}

    def _one(self, asked: str, source: str | None) -> str:
        if source is None and len(self.sources) == 1:
            return self.sources[0]
        if source is None:
            what = f"a source is needed, and there are {len(self.sources)}: {', '.join(self.sources)}."
            raise InspectionError(Problem(asked, what, f"Name one, as in {asked}({self.sources[0]!r})."))
        raise_all(InspectionError, self._unknown(source))
        return source

    def _pair(self, asked: str, one: str | None, other: str | None) -> Pair:
        if len(self.sources) == 1:
            what = f"it needs two changes, and there is one: {self.sources[0]}."
            raise InspectionError(Problem(asked, what, "Give task_vectors another source."))
        if one is None and other is None and len(self.sources) == 2:
            return self.sources[0], self.sources[1]
        problems = self._unknown(*(name for name in (one, other) if name is not None))
        if one is None or other is None:
            what = f"a pair is needed, and there are {len(self.sources)}: {', '.join(self.sources)}."
            problems.append(Problem(asked, what, f"Name two, as in {asked}({self.sources[0]!r}, {self.sources[1]!r})."))
        raise_all(InspectionError, problems)
        if one == other:
            raise InspectionError(Problem(asked, f"{one!r} is named twice.", "Name two different ones."))
        return str(one), str(other)

    def _unknown(self, *names: str) -> list[Problem]:
        return [
            Problem("sources", f"no source is called {name!r}.", did_you_mean(name, self.sources))
            for name in dict.fromkeys(names)
            if name not in self.sources
        ]

    def _notes(self, *sources: str) -> tuple[str, ...]:
        notes = [note for source in sources for note in self.notes[source]]
        return tuple(dict.fromkeys([*notes, *(["Stopped before the end."] if self.partial else [])]))


def task_vectors(
    base: Checkpoint | Source | str | os.PathLike[str],
    *sources: Checkpoint | Source | str | os.PathLike[str],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> TaskVectors:
    """Measure what sources changed of a base's weights, in one pass: files are read in runs of rows, so that memory
    does not grow with the model. Differences are float32, sums of them too over up to 2**18 weights, float64 beyond.

    Args:
        base: what they were trained from: a folder, a hub id, a Source or a Checkpoint.
        sources: one or more others; adapters too.
        progress: gets how many tensors are read, and of how many; called from the threads that read them.
        stop: asked again and again; once it says True, what was read by then is returned.

    Raises:
        InspectionError: there are no sources, one is no file (a recipe, a live model), or one shares no tensor with the
            base.
        SourceError: a source cannot be opened or read.
    """
    if not sources:
        raise InspectionError(Problem("task_vectors", "there is nothing to compare.", "Name one source or more."))
    start, *others = open_files("task_vectors", base, *sources)
    opened = _named(others)
    tensors, left_out = shared(start, opened)
    label = start.source.label
    raise_all(
        InspectionError,
        [
            Problem(source, f"has no tensor in common with {label}.", "Compare models of one family and one size.")
            for source in opened
            if not any(source in one.others for one in tensors)
        ],
    )
    sums, partial = add_up(start, opened, tensors, progress, stop)
    notes = {source: _told(source, left) for source, left in left_out.items()}
    for place, found in sums.items():
        for source, alone in found.alone.items():
            if not alone.finite:
                whose = source if np.isfinite(alone.base) else label
                notes[source] += (f"{whose}: {_called(place)} has NaN or infinite weights.",)
    layout = Layout(tuple(dict.fromkeys(one.place for one in tensors)), start.layers)
    return TaskVectors(label, tuple(opened), notes, partial, layout, sums)


def conflict(
    base: Checkpoint | Source | str | os.PathLike[str],
    one: Checkpoint | Source | str | os.PathLike[str],
    other: Checkpoint | Source | str | os.PathLike[str],
    density: float = 1.0,
) -> Grid:
    """Sign conflict of two sources' changes of a base (module x layer), each tensor trimmed to a density.

    For several densities: ``task_vectors(base, one, other).conflict()``, which reads the weights once.

    Raises:
        InspectionError, SourceError: as ``task_vectors`` and ``Conflict.at``.
    """
    return task_vectors(base, one, other).conflict().at(density)


def _named(opened: Sequence[Checkpoint]) -> dict[str, Checkpoint]:
    named: dict[str, Checkpoint] = {}
    for one in opened:
        label, same = one.source.label, 1
        while (f"{label} {same}" if same > 1 else label) in named:
            same += 1
        named[f"{label} {same}" if same > 1 else label] = one
    return named


def _told(source: str, left: Sequence[str]) -> tuple[str, ...]:
    more = f", and {len(left) - 1} more tensors do not fit" if len(left) > 1 else ""
    return (f"{source}: {left[0]}{more}.",) if left else ()


def _called(place: Place) -> str:
    layer, module = place
    return module if layer is None else f"layer {layer} {module}"


def _sum(sums: Sequence[Alone]) -> Alone | None:
    total = None
    for one in sums:
        total = one if total is None else total + one
    return total


def _size(sums: Alone) -> float:
    return float(np.sqrt(sums.energy / sums.base)) if sums.base > 0 else np.nan


def _unchanged(sums: Alone) -> float:
    return float(1 - sums.kept.weights[-1] / sums.elements)


def _cosine(sums: Together) -> float:
    length = np.sqrt(sums.one.energy * sums.other.energy)
    return float(sums.dot / length) if length > 0 else np.nan


def _scatter(sums: Together) -> float:
    """How far from 0 the cosine lies in 95 % of cases if the changes' signs are independent."""
    length = np.sqrt(sums.one.energy * sums.other.energy)
    return float(np.minimum(TWO_SIDED * np.sqrt(sums.squares) / length, 1.0)) if length > 0 else np.nan
