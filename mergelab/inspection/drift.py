"""Drift: how far the normalisation layers of models have moved from a base's.

What is compared is what each norm does, its effective gain and bias, and not how a family stores it (``gains``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from mergelab.errors import InspectionError, Problem, did_you_mean, raise_all
from mergelab.inspection import drift_figures as figures
from mergelab.inspection.double import double
from mergelab.inspection.folding import folded_change, readers
from mergelab.inspection.gains import Gain, probe_norm
from mergelab.inspection.grid import Chance, Floats, Grid, Measure
from mergelab.inspection.handles import Handles, Norm, dummy, find
from mergelab.inspection.passes import run
from mergelab.inspection.reading import open_models

_FAMILY = "Compare models of one family and one width."


class _Place(NamedTuple):
    row: str
    column: int
    path: str


@dataclass(frozen=True, eq=False)
class Drift:
    """Norms of sources against a base's. Every measure is a Grid of norms (rows) by layers (columns).

    The final norm reads what the last layer gives, and stands in that layer's column; one before the layers stands in
    the first. Where there is only one source it need not be named.

    Attributes:
        base: its name.
        sources: names of the others.
        notes: by source, and for the base, what cannot be compared, and why.
        partial: it was stopped before the end; ``sources`` are those that were done.
    """

    base: str
    sources: tuple[str, ...]
    notes: Mapping[str, str]
    partial: bool
    _depth: int
    _places: tuple[_Place, ...]
    _gains: Mapping[str, Mapping[str, Gain]]  # source -> path in the base -> gain
    _folded: Mapping[str, Mapping[str, float]]

    def __repr__(self) -> str:
        return f"<Drift of {', '.join(self.sources)} against {self.base}>"

    def size(self, source: str | None = None) -> Grid:
        """Relative distance of the gains."""
        return self._grid(figures.SIZE, source)

    def cosine(self, source: str | None = None) -> Grid:
        """Cosine of the gains."""
        return self._grid(figures.COSINE, source)

    def scale(self, source: str | None = None) -> Grid:
        """The factor that all gains of a norm have in common."""
        return self._grid(figures.SCALE, source)

    def shape(self, source: str | None = None) -> Grid:
        """What is left of the ratios of the gains when their common factor is taken out."""
        return self._grid(figures.SHAPE, source)

    def extreme(self, source: str | None = None) -> Grid:
        """The ratio that one gain in a hundred exceeds."""
        return self._grid(figures.EXTREME, source)

    def changed_sign(self, source: str | None = None) -> Grid:
        """Number of gains of the other sign."""
        return self._grid(figures.CHANGED_SIGN, source)

    def zeros(self, source: str | None = None) -> Grid:
        """Number of gains that are zero in one of the two."""
        return self._grid(figures.ZEROS, source)

    def bias(self, source: str | None = None) -> Grid:
        """Distance of the biases, relative to the base's gains; NaN where neither norm has one."""
        source = self._one(source)
        values = self._filled(lambda path: _bias(self._gains[source].get(path), self._gains[self.base].get(path)))
        return self._made(figures.BIAS_SIZE, source, values, None)

    def folded(self, source: str | None = None) -> Grid:
        """Drift of each norm together with the matrices that read it; NaN where none does, or experts do.

        Raises:
            InspectionError: it was not measured.
        """
        source = self._one(source)
        if source not in self._folded:
            what = "norms were not compared together with their matrices."
            raise InspectionError(
                Problem(source, what, "Ask for it, for it reads those matrices: drift(..., fold=True).")
            )
        return self._made(
            figures.FOLDED_SIZE, source, self._filled(lambda path: self._folded[source].get(path, np.nan)), None
        )

    def channels(self, source: str | None = None, top: int | None = 20) -> pd.DataFrame:
        """The channels whose gains moved most, those that changed sign or became zero first.

        Args:
            top: how many; None: all.

        Returns:
            A row for each, most moved first: layer, norm, module (its path), channel (from 0), base and source (their
            gains), log_ratio (ln |source / base|; infinite where one is zero), rounding (how far storing alone moves
            it), base_bias and source_bias.
        """
        source = self._one(source)
        tables = [self._channels(place, source) for place in self._places if place.path in self._gains[source]]
        table = pd.concat(tables, ignore_index=True)
        moved = table["log_ratio"].abs().where(table["base"] * table["source"] >= 0, np.inf)
        order = np.argsort(-moved.to_numpy(), kind="stable")[:top]
        return table.iloc[order].reset_index(drop=True)

    def _channels(self, place: _Place, source: str) -> pd.DataFrame:
        mine, theirs = self._gains[source][place.path], self._gains[self.base][place.path]
        one, zero = mine.gain.numpy(), theirs.gain.numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(one == zero, 0.0, np.log(np.abs(one / zero)))
            rounding = torch.maximum(mine.rounding, theirs.rounding).numpy() / np.abs(zero)
        return pd.DataFrame(
            {
                "layer": place.column, "norm": place.row, "module": place.path, "channel": np.arange(len(one)),
                "base": zero, "source": one, "log_ratio": ratio, "rounding": rounding,
                "base_bias": theirs.bias.numpy(), "source_bias": mine.bias.numpy(),
            }
        )  # fmt: skip

    def _grid(self, figure: figures.Figure, asked: str | None) -> Grid:
        """A figure of two gains for each norm, with what rounding alone may give."""
        source = self._one(asked)
        mine, theirs = self._gains[source], self._gains[self.base]
        values = self._filled(lambda path: _told(figure.of, mine.get(path), theirs.get(path)))
        band = figure.band
        if band is None:
            return self._made(figure.measure, source, values, None)
        bands = {place.path: _allowed(band, mine.get(place.path), theirs.get(place.path)) for place in self._places}
        low, high = self._filled(lambda path: bands[path][0]), self._filled(lambda path: bands[path][1])
        kinds = dict.fromkeys(gain.dtype for gain in (*mine.values(), *theirs.values()))
        how = f"storing once in {' or '.join(kinds)}: every gain moved by half a unit in its last place"
        return self._made(figure.measure, source, values, Chance(low, high, how))

    def _filled(self, figure: Callable[[str], float]) -> Floats:
        rows = self._rows
        values = np.full((len(rows), self._depth), np.nan)
        for place in self._places:
            values[rows.index(place.row), place.column] = figure(place.path)
        return values

    def _made(self, measure: Measure, source: str, values: Floats, chance: Chance | None) -> Grid:
        notes = [f"{name}: {self.notes[name]}" for name in (self.base, source) if name in self.notes]
        if chance is None:
            notes.append("Parameters are exact numbers: there is no chance in this figure.")
        columns = tuple(map(str, range(self._depth)))
        of = f"{source} against {self.base}"
        return Grid(measure, values, ("norm", "layer"), self._rows, columns, of, chance, " ".join(notes))

    @property
    def _rows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(place.row for place in self._places))

    def _one(self, source: str | None) -> str:
        """The source that is meant; None: the only one."""
        if source is None and len(self.sources) == 1:
            return self.sources[0]
        if source is None:
            what = f"there are {len(self.sources)}, and none is named."
            raise InspectionError(Problem("drift", what, f"Name one: {', '.join(self.sources)}."))
        if source not in self.sources:
            hint = did_you_mean(source, self.sources)
            raise InspectionError(Problem("drift", f"no source is called {source!r}.", hint))
        return source


def drift(
    base: Any,
    *sources: Any,
    fold: bool = False,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Drift:
    """Compare the effective gain and bias of every normalisation layer with a base's, layer i with layer i.

    Args:
        base: what to compare with: anything that ``open_models`` opens.
        sources: one or more others.
        fold: also compare each norm together with the matrices that read it, for which those are read.
        progress: gets how many sources are done, and of how many.
        stop: asked before each source; once it says True, the sources done by then stand.

    Raises:
        InspectionError: there are no sources, or a source has no norm that can be compared with the base's.
        MergelabError: a source cannot be opened.
    """
    if not sources:
        raise InspectionError(Problem("drift", "has nothing to compare.", "Name sources: drift(base, source)."))
    with open_models([base, *sources], device=device) as opened:
        (name, model), *others = opened.models.items()
        broken = _broken(model)
        handles = find(model)
        gains, said = _gains(model, handles.norms)
        matrices = readers(model, list(gains)) if fold else {}
        compared: dict[str, Mapping[str, Gain]] = {name: gains}
        folded: dict[str, Mapping[str, float]] = {}
        notes, problems = {name: [*broken, *said]}, []
        for other, own in others:
            if stop():
                break
            alike = _alike(model, own)
            unseen = [] if alike else _broken(own)
            norms = handles.norms if alike else find(own).norms
            theirs, said = _gains(own, norms)
            kept, differing = _comparable((theirs, norms), (gains, handles.norms))
            notes[other] = [*unseen, *said, *differing]
            if not kept:
                what = f"has no normalisation that can be compared with {name}'s."
                problems.append(Problem(other, what, _why(name, broken) or _why(other, [*unseen, *said]) or _FAMILY))
            compared[other] = kept
            if fold:
                folded[other] = {
                    path: folded_change(own, model, matrices[path], (kept[path].gain, gains[path].gain))
                    for path in kept
                }
            progress(len(compared) - 1, len(others))
    raise_all(InspectionError, problems)
    done = tuple(other for other, _ in others if other in compared)
    told = {one: " ".join(lines) for one, lines in notes.items() if lines}
    return Drift(name, done, told, len(done) < len(others), handles.depth, _places(handles), compared, folded)


def _broken(model: Any) -> list[str]:
    """In words, where numbers are not finite: no norm that reads such ones can be told from other modules."""
    if not run(model, double(model), dummy(model)).isnan().any():
        return []
    small = ((name, one) for name, one in model.named_parameters() if one.ndim < 2)
    paths = [name for name, one in small if not one.isfinite().all()]
    which = f", and neither are those of {_listed(paths)}" if paths else ""
    return [f"Numbers in its passes are not finite{which}: norms behind them cannot be found."]


def _why(name: str, said: Sequence[str]) -> str:
    return f"{name}: {' '.join(said)}" if said else ""


def _gains(model: Any, norms: Sequence[Norm]) -> tuple[dict[str, Gain], list[str]]:
    """The gain of every norm by path, and in words which have none, and why."""
    found: dict[str, Gain] = {}
    opaque: dict[str, list[str]] = {}
    for norm in norms:
        try:
            found[norm.path] = probe_norm(model.get_submodule(norm.path), norm.path)
        except InspectionError as error:
            for problem in error.problems:
                opaque.setdefault(problem.what, []).append(norm.path)
    return found, [f"{_listed(paths)} {what}" for what, paths in opaque.items()]


def _comparable(
    source: tuple[Mapping[str, Gain], Sequence[Norm]], start: tuple[Mapping[str, Gain], Sequence[Norm]]
) -> tuple[dict[str, Gain], list[str]]:
    """The source's gains that the base has with as many channels, and in words what is left out.

    Args:
        source, start: gains of the source and of the base, and all their norms, those without a gain among them.
    """
    (own, mine), (base, theirs) = source, start
    missing = [path for path in base if path not in {norm.path for norm in mine}]
    further = [path for path in own if path not in {norm.path for norm in theirs}]
    unequal = [path for path in base if path in own and own[path].gain.shape != base[path].gain.shape]
    reasons = {"has no counterpart.": missing, "is not in the base.": further, "has another width.": unequal}
    kept = {path: own[path] for path in base if path in own and path not in unequal}
    return kept, [f"{_listed(paths)} {what}" for what, paths in reasons.items() if paths]


def _listed(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} (and {len(paths) - 1} more)"


def _places(handles: Handles) -> tuple[_Place, ...]:
    """Where each norm stands. Norms of one layer that have one role are told apart by their paths."""
    norms = tuple(dict.fromkeys(handles.norms))
    roles = [(norm.layer, norm.role) for norm in norms]
    places = []
    for norm in norms:
        inside = norm.path.removeprefix(f"{handles.layers}.{norm.layer}.")
        row = norm.role if roles.count((norm.layer, norm.role)) == 1 else inside
        outside = handles.depth - 1 if norm.role == "final" else 0
        places.append(_Place(row, outside if norm.layer is None else norm.layer, norm.path))
    return tuple(places)


def _alike(one: Any, other: Any) -> bool:
    """Whether two models have the same modules, so that what was found in one holds for the other."""
    structure = ([(name, type(module)) for name, module in model.named_modules()] for model in (one, other))
    return next(structure) == next(structure)


def _told(figure: Callable[[Floats, Floats], float], one: Gain | None, zero: Gain | None) -> float:
    return np.nan if one is None or zero is None else figure(one.gain.numpy(), zero.gain.numpy())


def _allowed(
    band: Callable[[Floats, Floats], tuple[float, float]], one: Gain | None, zero: Gain | None
) -> tuple[float, float]:
    if one is None or zero is None or not zero.gain.any():
        return np.nan, np.nan
    return band(np.maximum(one.rounding.numpy(), zero.rounding.numpy()), zero.gain.numpy())


def _bias(one: Gain | None, zero: Gain | None) -> float:
    if one is None or zero is None or not zero.gain.any() or not (one.bias.any() or zero.bias.any()):
        return np.nan
    return float((one.bias - zero.bias).norm() / zero.gain.norm())
