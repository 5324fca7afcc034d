"""Sight: how the inspector's measurements are taken, and what their results look like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mergelab.inspection.changes import Changes, task_vectors
from mergelab.inspection.conflict import Conflict
from mergelab.inspection.drift import drift
from mergelab.inspection.grid import Floats, Grid
from mergelab.inspection.sinks import RULE
from mergelab.inspection.trace import Trace, trace
from mergelab.views.captions import number
from mergelab.views.choices import DENSITIES, Choice
from mergelab.views.panels import Drawn
from mergelab.views.subjects import Subject
from mergelab.views.survey import Task
from mergelab.weights import Checkpoint

_STEPS = 50  # of the curve under the density dial


@dataclass(frozen=True, eq=False)
class Weighed:
    """What the sources changed of the base's weights, by the names of the inspector.

    Attributes:
        names: of the sources that were compared.
    """

    changes: Changes
    names: tuple[str, ...]
    _conflicts: dict[tuple[str, str], Conflict] = field(default_factory=dict)

    def size(self, source: str) -> Grid:
        """Size of the change."""
        return self.changes.size(self._own(source))

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
    if name == "norms":
        return _norms(result, choice.statistic)
    if name == "sinks":
        return Drawn(table=_sinks(result.sinks()), note=RULE)
    return Drawn(_heat(name, result, choice, [one.name for one in models]))


def _heat(name: str, result: Any, choice: Choice, names: Sequence[str]) -> Grid | None:
    source = names[choice.source]
    one, other = (names[place] for place in choice.pair)
    match name:
        case "tokens":
            return _ends(result.tokens(source, choice.prompt))
        case "conflict":
            return replace(result.conflict(one, other).at(choice.density), of=f"{one} with {other}")
        case "cosine":
            return replace(result.cosine(one, other), of=f"{one} with {other}")
        case _:
            # A drift that was stopped before there was anything has no source.
            grid = result.size(source) if name == "size" else result.size(*result.sources) if result.sources else None
            return grid and replace(grid, of=f"{source} against {names[0]}")


def _ends(grid: Grid) -> Grid:
    """The last column, what leaves the last layer, by a name that no layer has: it cannot be selected."""
    return replace(grid, columns=(*grid.columns[:-1], "end"))


def _norms(result: Trace, statistic: str) -> Drawn:
    grid = result.norms(statistic)  # type: ignore[arg-type]
    scale = grid.values / result.norms().values if statistic == "rms" else np.ones_like(grid.values)
    low, high = (replace(one, values=one.values * scale) for one in (result.norms("q05"), result.norms("q95")))
    return Drawn(_ends(grid), (_ends(low), _ends(high)), _points(result, scale))


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


def _sinks(table: pd.DataFrame) -> pd.DataFrame:
    """The table of sinks as it is read: channels in words."""
    return table.assign(channels=[", ".join(map(str, one)) for one in table["channels"]])


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
    lengths = " and ".join(f"{_percent(share)} of {name}'s" for name, share in zip(names, shares, strict=True))
    text = f"The largest {_percent(choice.density)} of each change hold {lengths} length. Signs differ"
    rates = [float(conflict.summary(one).loc["sign_conflict", "value"]) for one in (choice.density, high)]
    if choice.density < high:
        text += f" {number(rates[0], 'x')} as often as by chance among them, {number(rates[1], 'x')} among all."
    else:
        text += f" {number(rates[1], 'x')} as often as by chance."
    return {**stands, "curve": curve.tolist(), "text": text}


def _percent(share: float) -> str:
    return f"{number(100 * share)} %"
