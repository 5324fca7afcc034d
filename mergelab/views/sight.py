"""Sight: how the inspector's measurements are taken, and what their results look like."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mergelab.errors import InspectionError
from mergelab.inspection.between import COSINE, DISTANCE
from mergelab.inspection.changes import TaskVectors, task_vectors
from mergelab.inspection.conflict import Conflict
from mergelab.inspection.drift import Drift, drift
from mergelab.inspection.grid import Chance, Floats, Grid
from mergelab.inspection.sinks import RULE
from mergelab.inspection.trace import Trace, trace
from mergelab.views.captions import bands, number
from mergelab.views.choices import DENSITIES, STATISTICS, Choice, short
from mergelab.views.panels import Drawn, Over
from mergelab.views.subjects import Subject
from mergelab.views.survey import Task
from mergelab.weights import Checkpoint

# 6 median deviations are 4.05 standard deviations of a normal distribution: a tail of 2.6e-5.
_BY_CHANCE = "were norms log-normal, one in 39 000 would lie so far above the median."
_OF_SINKS = (
    "Attention is parked on a sink, and models rely on it. A graft that begins behind the layer where one is born can "
    "lose it, one that ends behind it can make two. Sources whose sinks are born in other layers are at odds there."
)
LEFT = 0.05  # of the weights left as they were: worth a word
_STEPS = 50  # of the curve under the density dial


@dataclass(frozen=True, eq=False)
class Weighed:
    """What the sources changed of the base's weights, by the names of the inspector.

    Attributes:
        names: of the sources that were compared.
    """

    changes: TaskVectors
    names: tuple[str, ...]
    _conflicts: dict[tuple[str, str], Conflict] = field(default_factory=dict)

    def size(self, source: str) -> Grid:
        """Size of the change."""
        return self.changes.size(self._own(source))

    def together(self, source: str, layers: Sequence[int] | None = None) -> float:
        """Size of the change over some layers together, or over everything that is shared with the base."""
        return float(self.changes.summary(layers).loc[self._own(source), "size"])

    def unchanged(self, source: str) -> float:
        """Share of all shared weights that are exactly the base's."""
        return float(self.changes.summary().loc[self._own(source), "unchanged"])

    def cosine(self, one: str, other: str) -> Grid:
        """Cosine of two changes."""
        return self.changes.cosine(self._own(one), self._own(other))

    def conflict(self, one: str, other: str) -> Conflict:
        """Conflict of two changes. Kept: what it counts for all densities is counted once."""
        if (one, other) not in self._conflicts:
            self._conflicts[one, other] = self.changes.conflict(self._own(one), self._own(other))
        return self._conflicts[one, other]

    def _own(self, source: str) -> str:
        return self.changes.sources[self.names.index(source)]


class Sight:
    """Measures tasks: ``("changes",)``, ``("drift", source)``, ``("trace",)``."""

    def __init__(self, models: Sequence[Subject], prompts: Sequence[str], device: str) -> None:
        """Nothing is read yet.

        Args:
            models: the first is the base.
            prompts: what a trace reads.
            device: where models run, as torch names it, or "auto".
        """
        self._models = {one.name: one.model for one in models}
        self._subjects = tuple(models)
        self._prompts, self._device = tuple(prompts), device

    def __call__(self, task: Task, progress: Callable[[int, int], None], stop: Callable[[], bool]) -> Any:
        """Measure one task; broken off, what it has by then."""
        if task == ("trace",):
            return trace(self._models, self._prompts, device=self._device, progress=progress, stop=stop)
        if task[0] == "drift":
            return drift(self._subjects[0].model, self._models[task[1]], progress=progress, stop=stop)
        files = {one.name: one.model for one in self._subjects if isinstance(one.model, Checkpoint)}
        return Weighed(task_vectors(*files.values(), progress=progress, stop=stop), tuple(files)[1:])


def draw(name: str, result: Any, choice: Choice, models: Sequence[Subject]) -> Drawn:
    """The picture of a figure.

    Args:
        result: what `Sight` measured for it; None: nothing yet.
    """
    if result is None:
        return Drawn()
    names = [one.name for one in models]
    match name:
        case "norms":
            return _norms(result, choice.statistic)
        case "between":
            return _between(result, choice.between, names[choice.against], max(one.layers for one in models))
        case "sinks":
            return _sinks(result)
        case "tokens":
            source = names[choice.source]
            grid = _ends(result.tokens(source, choice.prompt))
            of = f"{source}, “{short(result.prompts[choice.prompt])}”"
            return Drawn(replace(grid, of=of), chance=_any_token(result, source))
        case _:
            return _compared(name, result, choice, names)


def _compared(name: str, result: Any, choice: Choice, names: Sequence[str]) -> Drawn:
    source, base = names[choice.source], names[0]
    one, other = (names[place] for place in choice.pair)
    match name:
        case "conflict":
            conflict = result.conflict(one, other)
            at = _CONFLICTS[choice.conflict]
            grid = replace(at(conflict, choice.density), of=f"{one} with {other}")

            def over(layers: Sequence[int]) -> Over:
                found = conflict.summary(choice.density, layers).loc[grid.measure.name]
                return float(found["value"]), float(found["low"]), float(found["high"])

            gone = np.isnan(grid.values) & np.isfinite(at(conflict, 1.0).values)
            return Drawn(grid, note="Hatched: no weight is kept in both." if gone.any() else "", over=over)
        case "cosine":
            return Drawn(replace(result.cosine(one, other), of=f"{one} with {other}"))
        case "size":
            return _size(replace(result.size(source), of=f"{source} against {base}"), result, source, base)
        case _:
            # A drift that was stopped before there was anything has no source.
            if not result.sources:
                return Drawn()
            return _drift(replace(_DRIFTS[choice.drift](result, *result.sources), of=f"{source} against {base}"))


# By what the dials can be turned to: `choices.CONFLICTS` and `choices.DRIFTS`.
_CONFLICTS: Mapping[str, Callable[[Conflict, float], Grid]] = {
    "signs": lambda conflict, density: conflict.at(density),
    "weighted": lambda conflict, density: conflict.weighted(density),
    "lost": lambda conflict, density: conflict.lost(density),
}
_DRIFTS: Mapping[str, Callable[[Drift, str], Grid]] = {
    "size": lambda drifted, source: drifted.size(source),
    "scale": lambda drifted, source: drifted.scale(source),
    "shape": lambda drifted, source: drifted.shape(source),
}


def _drift(grid: Grid) -> Drawn:
    """Drift with its band in words only: that tells what rounding does, not what a training without effect would."""
    if grid.chance is None:
        return Drawn(grid)
    measure = grid.measure
    most = float(np.nanmax(grid.chance.high, initial=measure.middle)) - measure.middle
    far = number(most) + (f" beside {number(measure.middle, measure.unit)}" if measure.scale == "diverging" else "")
    words = f"up to {far} by rounding alone: {grid.chance.how.rstrip('.')}." if most > 0 else ""
    return Drawn(replace(grid, chance=None), chance=words)


def _size(grid: Grid, result: Weighed, source: str, base: str) -> Drawn:
    """Sizes of a change, and a plain word where it is as large as the weights themselves.

    Two independent vectors of one length with mean 0 lie sqrt(2) lengths apart.
    """
    strange = f"{source} is no relative of {base}: the change is as large as the weights themselves."
    same = result.unchanged(source)
    left = f"{_percent(same)} of its weights are exactly the base's: rounded away, or frozen." if same >= LEFT else ""
    note = " ".join(filter(None, (strange if result.together(source) >= 1 else "", left)))
    chance = f"about {number(math.sqrt(2))} for a matrix as long as the base's that knows nothing of it."
    return Drawn(grid, note=note, chance=chance, over=lambda layers: (result.together(source, layers), np.nan, np.nan))


def _any_token(result: Trace, source: str) -> str:
    """What norm a token that is no sink has, at the first border and the last that were read."""
    ends = [result.norms(end).row(source) for end in ("q05", "q95")]
    known = np.flatnonzero(np.isfinite(ends).all(0))
    if not known.size:
        return ""
    first, last = ([number(float(end[at])) for end in ends] for at in (known[0], known[-1]))
    return (
        f"nine in ten of all tokens that are no sinks have {' to '.join(first)} at layer {known[0]} and "
        f"{' to '.join(last)} where layer {known[-1] - 1} ends."
    )


def _ends(grid: Grid) -> Grid:
    """The last column, what leaves the last layer, by a name that no layer has: it cannot be selected."""
    return replace(grid, columns=(*grid.columns[:-1], "end"))


def _norms(result: Trace, statistic: str) -> Drawn:
    grid = result.norms(statistic)  # type: ignore[arg-type]
    scale = grid.values / result.norms().values if statistic == "rms" else np.ones_like(grid.values)
    low, high = (replace(one, values=one.values * scale) for one in (result.norms("q05"), result.norms("q95")))
    if statistic not in ("median", "rms"):
        grid = replace(grid, of=f"{STATISTICS[statistic]} of tokens lie below")
    drawn = Drawn(_ends(grid), (_ends(low), _ends(high)), _points(result, scale))
    own = [result.norms(statistic, by=source) for source in result.sources]  # type: ignore[arg-type]
    ends = [bands(one, one.chance) for one in own if one.chance is not None]
    if len(ends) < len(own):
        return drawn
    lows, highs = (np.stack([end[side][row] for row, end in enumerate(ends)]) for side in (0, 1))
    note = "Hatched: how far the choice of prompts alone moves each model; compared is with the first one’s."
    return replace(drawn, chances=(lows, highs), note=note)


def _between(result: Trace, kind: str, first: str, depth: int) -> Drawn:
    """Each other source beside ``first``, by one of `choices.BETWEEN`."""
    if kind == "kl" and first not in result.lens.sources:
        return Drawn(note=f"{first} has no head that could be found: no state can be read as a prediction.")
    note, band = "", None
    match kind:
        case "cka":
            grid = result.along(first)
        case "kl":
            grid = replace(result.lens.figure("kl", to=first), of=f"to {first}’s own")
        case "entropy":
            grid = result.lens.figure("entropy")
        case _:
            grid, band, note = _paired(result, kind, first, depth)
            if not np.isfinite(grid.values).any():
                return Drawn(note=note)
    columns = tuple("end" if name == str(depth) else name for name in grid.columns)
    hues = tuple(map(result.sources.index, grid.rows))
    return Drawn(replace(grid, columns=columns), band, own=True, hues=hues, note=note)


def _paired(result: Trace, kind: str, first: str, depth: int) -> tuple[Grid, tuple[Grid, Grid] | None, str]:
    """Cosine or relative distance of every other source and ``first``: the median over tokens, with 5 and 95 %."""
    others = [name for name in result.sources if name != first]
    shape = (len(others), depth + 1)
    median, least, most, low, high = (np.full(shape, np.nan) for _ in range(5))
    measure, chance, notes = COSINE if kind == "cosine" else DISTANCE, None, []
    for row, other in enumerate(others):
        try:
            grid = result.cosine(first, other) if kind == "cosine" else result.distance(first, other)
        except InspectionError as error:  # of other widths
            notes.append(str(error))
            continue
        told = slice(len(grid.columns))
        median[row, told], least[row, told], most[row, told] = map(grid.row, ("median", "q05", "q95"))
        if grid.chance is not None:
            chance = grid.chance
            ends = bands(grid, chance)
            low[row, told], high[row, told] = (end[grid.rows.index("median")] for end in ends)
        notes.append(grid.note)
    drawn = Grid(
        measure,
        median,
        ("source", "layer"),
        tuple(others),
        tuple(map(str, range(depth + 1))),
        f"against {first}",
        Chance(low, high, chance.how) if chance else None,
    )
    return (
        drawn,
        (replace(drawn, values=least), replace(drawn, values=most)),
        " ".join(dict.fromkeys(filter(None, notes))),
    )


def _points(result: Trace, scale: Floats) -> tuple[tuple[int, float, int], ...]:
    """The middle norm of each source's sinks at each border, as far as they are sinks."""
    norms: dict[tuple[int, int], list[float]] = {}
    borders = scale.shape[1]
    for sink in result.sinks().itertuples(index=False):
        row = result.sources.index(sink.source)
        own = result.tokens(sink.source, sink.prompt).values[sink.position]
        first = 0 if pd.isna(sink.layer) else int(sink.layer) + 1
        last = borders - 1 if pd.isna(sink.gone) else int(sink.gone)
        for column in range(first, last + 1):
            norms.setdefault((column, row), []).append(float(own[column] * scale[row, column]))
    return tuple((column, float(np.median(found)), row) for (column, row), found in sorted(norms.items()))


def _sinks(result: Trace) -> Drawn:
    """The table of sinks as it is read, channels in words, and how many there are."""
    table = result.sinks()
    table = table.assign(channels=[", ".join(map(str, one)) for one in table["channels"]])
    prompts = "this prompt" if len(result.prompts) == 1 else f"these {len(result.prompts)} prompts"
    shows = f"Tokens whose vectors are far longer than the others': {len(table) or 'none'} in {prompts}."
    return Drawn(table=table, shows=shows, note=RULE, chance=_BY_CHANCE, reading=_OF_SINKS)


def dial(choice: Choice, result: Any, models: Sequence[Subject]) -> dict[str, Any]:
    """The density dial: where it stands, the share of the changes' length that is kept over its range, and in words.

    Args:
        result: what `Sight` measured of the weights; None: nothing yet.
    """
    low, high = DENSITIES
    stands: dict[str, Any] = {"value": choice.density, "low": low, "high": high, "curve": [], "text": ""}
    if result is None:
        return stands
    names = [models[place].name for place in choice.pair]
    conflict = result.conflict(*names)
    kept = conflict.kept()
    densities = np.array([float(name) for name in kept.columns])
    shares = [float(np.interp(choice.density, densities, row)) for row in kept.values]
    if not np.isfinite(shares).all():
        return stands
    curve = np.interp(np.linspace(low, high, _STEPS), densities, kept.values.mean(0))
    share = _percent(float(np.mean(shares)))
    average = "" if all(_percent(one) == share for one in shares) else " on average"
    text = f"The largest {_percent(choice.density)} of each change keep {share} of its norm{average}."
    text += " Signs differ"
    rates = [float(conflict.summary(one).loc["sign_conflict", "value"]) for one in (choice.density, high)]
    if choice.density < high:
        text += f" {number(rates[0], 'x')} as often as by chance among them, {number(rates[1], 'x')} among all."
    else:
        text += f" {number(rates[1], 'x')} as often as by chance."
    return {**stands, "curve": curve.tolist(), "text": text}


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\u00a0%"
