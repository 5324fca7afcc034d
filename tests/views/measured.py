"""Measurements that read no model: made-up figures, taken when the test says so; and an inspector that shows them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mergelab import sample
from mergelab.errors import InspectionError, Problem
from mergelab.inspection.grid import Chance, Floats, Grid, Measure
from mergelab.views.inspector import Inspector
from mergelab.views.sight import Weighed
from mergelab.views.subjects import Subject
from mergelab.views.survey import Task

LAYERS = 10
MODULES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
NORM = Measure("norm", "Norm", "1", "How long vectors are.", "median ||h||", "a paper", "log", reading="Read it so.")
CONFLICT = Measure(
    "sign_conflict", "Sign conflict", "x chance", "How often signs differ.", "rate / 0.5", "a paper", "diverging", 1.0
)
COSINE = Measure("cosine", "Cosine", "1", "Whether changes point the same way.", "a.b/|a||b|", "a paper", "diverging")
WEIGHTED = replace(CONFLICT, name="weighted_conflict", title="Sign conflict by size")
LOST = Measure("mass_lost", "Change lost in the sum", "1", "Which part cancels.", "1 - |a+b| / (|a|+|b|)", "a paper")
SCALE = Measure("norm_scale", "Loudness", "x base", "By what factor gains grew.", "exp", "a paper", "diverging", 1.0)
CKA = Measure("cka", "Similarity of arrangement", "1", "How alike layers arrange tokens.", "HSIC", "a paper")
KL = Measure("lens_kl", "Distance from the final prediction", "nats", "How far predictions are.", "KL", "a paper")
SIZE = Measure("size", "Size of the change", "1", "How large the change is.", "||t|| / ||w||", "a paper")


def heat(measure: Measure, values: Floats, chance: Chance | None = None, rows: Sequence[str] = MODULES) -> Grid:
    """A grid over layers."""
    axes = ("module", "layer")
    return Grid(measure, values, axes, tuple(rows), tuple(map(str, range(values.shape[1]))), chance=chance)


def shape(offset: float = 0.0) -> Floats:
    """A number for each module and layer, none like another."""
    return np.arange(len(MODULES) * LAYERS, dtype=np.float64).reshape(len(MODULES), LAYERS) / 100 + offset


@dataclass(frozen=True)
class Conflict:
    """Conflict that falls with the density, in one module of three layers."""

    one: str
    other: str

    def at(self, density: float) -> Grid:
        values = np.ones((len(MODULES), LAYERS))
        values[2, 4:7] += 0.4 * density
        values[0, 0] = np.nan
        return heat(CONFLICT, values, Chance(0.98, 1.02, "independent signs, 95 %"))

    def weighted(self, density: float) -> Grid:
        return heat(WEIGHTED, self.at(density).values * 0.5, Chance(0.9, 1.1, "independent signs, 95 %"))

    def lost(self, density: float) -> Grid:
        return heat(LOST, self.at(density).values * 0.2, Chance(0.19, 0.21, "independent signs, 95 %"))

    def kept(self) -> Grid:
        densities = np.linspace(0, 1, 101)
        values = np.tile(np.sqrt(densities), (2, 1))
        columns = tuple(f"{density:.4g}" for density in densities)
        return Grid(SIZE, values, ("source", "density"), (self.one, self.other), columns)

    def summary(self, density: float, layers: Sequence[int] | None = None) -> pd.DataFrame:
        value = 1 + density / 10 if layers is None else np.nanmean(self.at(density).values[:, list(layers)])
        names = ["sign_conflict", "weighted_conflict", "mass_lost"]
        return pd.DataFrame({"value": [value, 0.5, 0.2], "low": [0.99] * 3, "high": [1.01] * 3}, index=names)


class Changes:
    """Cosine and size, by names of files."""

    def __init__(self, names: Sequence[str]) -> None:
        self.sources = tuple(f"{name}, a file" for name in names)

    def conflict(self, one: str, other: str) -> Conflict:
        assert one in self.sources
        assert other in self.sources
        return Conflict(one, other)

    def cosine(self, one: str, other: str) -> Grid:
        return replace(heat(COSINE, shape(-0.15), Chance(-1.0, 1.0, "shuffled")), of=f"{one} with {other}")

    def size(self, source: str) -> Grid:
        return heat(SIZE, shape(10.0 * self.sources.index(source)))

    def summary(self, layers: Sequence[int] | None = None) -> pd.DataFrame:
        """A hundredth for each layer; the second source is a stranger, with three in ten weights the base's."""
        count = LAYERS if layers is None else len(layers)
        figures = [(count / 100 + place, 0.3 * place) for place in range(len(self.sources))]
        return pd.DataFrame(figures, columns=["size", "unchanged"], index=self.sources)


@dataclass(frozen=True)
class Drift:
    """Drift of one norm in one layer."""

    sources: tuple[str, ...]

    def size(self, _source: str) -> Grid:
        values = np.zeros((2, LAYERS))
        values[1, 3] = 0.5
        return heat(
            SIZE, values, Chance(np.zeros((2, LAYERS)), np.full((2, LAYERS), 0.001), "rounding"), ("before", "after")
        )

    def scale(self, source: str) -> Grid:
        values = 1 - self.size(source).values
        band = Chance(np.full((2, LAYERS), 0.998), np.full((2, LAYERS), 1.002), "rounding")
        return heat(SCALE, values, band, ("before", "after"))

    def shape(self, _source: str) -> Grid:
        return heat(SIZE, np.full((2, LAYERS), 0.25), None, ("before", "after"))


@dataclass(frozen=True)
class Lens:
    """Predictions that come nearer to the first source's, layer by layer."""

    sources: tuple[str, ...]

    def figure(self, figure: str, *, to: str | None = None) -> Grid:
        assert (figure, to is None) in (("kl", False), ("entropy", True))
        own = self.sources.index(to) if to else 0
        values = np.stack([np.linspace(3, abs(row - own) / 2, LAYERS + 1) for row in range(len(self.sources))])
        chance = Chance(np.full((len(values), 1), 1.9), np.full((len(values), 1), 2.1), "guessing")
        columns = tuple(map(str, range(LAYERS + 1)))
        return Grid(KL, values, ("source", "layer"), self.sources, columns, f"to {to}" if to else "", chance)


@dataclass(frozen=True)
class Trace:
    """Norms that double at a layer of the second source, and one sink."""

    sources: tuple[str, ...]
    prompts: tuple[str, ...]
    found: bool = True
    headless: str = ""

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(text.split()) for text in self.prompts)

    @property
    def lens(self) -> Lens:
        return Lens(tuple(name for name in self.sources if name != self.headless))

    def along(self, first: str) -> Grid:
        values = np.full((len(self.sources) - 1, LAYERS + 1), 0.9)
        values[:, 3] = 0.02
        chance = Chance(np.full(values.shape, -0.05), np.full(values.shape, 0.05), "shuffled tokens")
        columns = tuple(map(str, range(LAYERS + 1)))
        others = tuple(name for name in self.sources if name != first)
        return Grid(CKA, values, ("source", "layer"), others, columns, f"at the same layer of {first}", chance)

    def cosine(self, first: str, second: str) -> Grid:
        """One less a tenth for each place between the two; a source called wide has other channels."""
        if "wide" in (first, second):
            raise InspectionError(Problem("cosine", "they share no coordinates."))
        apart = 0.1 * abs(self.sources.index(first) - self.sources.index(second))
        values = np.tile(1 - apart - np.array([[0.05], [0.03], [0.0], [-0.01], [-0.02]]), LAYERS + 1)
        rows = ("q05", "q25", "median", "q75", "q95")
        chance = Chance(np.full_like(values, -0.1), np.full_like(values, 0.1), "other tokens")
        columns = tuple(map(str, range(LAYERS + 1)))
        return Grid(COSINE, values, ("statistic", "layer"), rows, columns, f"{second} against {first}", chance)

    def distance(self, first: str, second: str) -> Grid:
        grid = self.cosine(first, second)
        return replace(grid, measure=SIZE, values=1 - grid.values)

    def norms(self, statistic: str = "median", *, by: str | None = None) -> Grid:
        times = {"q05": 0.5, "q95": 2.0, "rms": 0.125}.get(statistic, 1.0)
        values = np.tile(np.geomspace(1, 8, LAYERS + 1), (len(self.sources), 1)) * times
        if len(self.sources) > 1:
            values[1, 5:] *= 2
        row = self.sources.index(by or self.sources[0])
        first = values[row : row + 1]
        columns = tuple(map(str, range(LAYERS + 1)))
        chance = Chance(first * 0.9, first * 1.1, "halves of the prompts")
        return Grid(NORM, values, ("source", "layer"), self.sources, columns, chance=chance)

    def tokens(self, source: str, prompt: int) -> Grid:
        words = self.words[prompt]
        values = np.ones((len(words), LAYERS + 1)) * (1 + self.sources.index(source))
        values[0, 2:] = 100.0
        columns = tuple(map(str, range(LAYERS + 1)))
        return Grid(NORM, values, ("token", "layer"), words, columns, f"{source}, prompt {prompt}")

    def sinks(self) -> pd.DataFrame:
        row = {
            "source": self.sources[0],
            "prompt": 0,
            "position": 0,
            "token": self.words[0][0],
            "layer": 1,
            "gone": None,
        }
        more = {"times": 50.0, "channels": (3, 1), "value": -99.5, "massive": False}
        table = pd.DataFrame([{**row, **more}]).astype({"layer": "Int64", "gone": "Int64"})
        return table if self.found else table.iloc[:0]


@dataclass
class Taken:
    """Answers each task at once, but those that are held: they wait, and tell progress, until released or stopped."""

    models: Sequence[Subject]
    prompts: Sequence[str]
    device: str
    held: dict[str, threading.Event] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)

    def __call__(self, task: Task, progress: Callable[[int, int], None], stop: Callable[[], bool]) -> Any:
        self.tasks.append(task)
        progress(1, 4)
        while task[0] in self.held and not self.held[task[0]].wait(0.005):
            if stop():
                break
        if task[0] in self.failing:
            raise self.failing[task[0]]
        match task:
            case ("trace",):
                return Trace(tuple(one.name for one in self.models), tuple(self.prompts))
            case ("drift", source):
                return Drift((source,))
            case _:
                names = tuple(one.name for one in self.models[1:] if one.weights)
                return Weighed(Changes(names), names)  # type: ignore[arg-type]


class Look:
    """An inspector of members of the family, and who measures for it."""

    def __init__(
        self, *names: str, held: Sequence[str] = (), failing: dict[str, Exception] | None = None, **options: Any
    ):
        made: list[Taken] = []

        def make(*given: Any) -> Taken:
            made.append(Taken(*given, held={name: threading.Event() for name in held}, failing=failing or {}))
            return made[0]

        paths = [sample.path(name) for name in names or ("base", "pirate", "sort")]
        self.widget = Inspector(*paths, measures=make, **options)
        self.taken = made[0]

    def panel(self, name: str) -> dict[str, Any]:
        return next(panel for panel in self.widget.panels if panel["id"] == name)

    def settled(self) -> None:
        assert self.widget.wait(10)


def values_of(packed: dict[str, Any]) -> np.ndarray[Any, Any]:
    assert packed["dtype"] == "float32"
    return np.frombuffer(packed["view"], "<f4").reshape(packed["shape"])
