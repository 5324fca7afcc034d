"""Inspector: what the sources of a merge differ in, layer by layer, and where one has to look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, TypeAlias

import pandas as pd
import plotly.graph_objects as go
from traitlets import Any as AnyTrait
from traitlets import Dict, List, TraitError, observe, validate

from mergelab.errors import InspectionError, Problem, did_you_mean
from mergelab.inspection.grid import Grid
from mergelab.views import figures as plots
from mergelab.views._base import LabWidget, bundle
from mergelab.views.choices import (
    Choice,
    Figure,
    check_turn,
    dials,
    figures,
    first_choice,
    task_of,
)
from mergelab.views.explanation import Explanation, explanation
from mergelab.views.panels import Panel, payload, reaching, readout
from mergelab.views.panels_still import still
from mergelab.views.sight import Sight, dial, draw
from mergelab.views.subjects import Looked, Subject, prompts_of, subjects
from mergelab.views.survey import Measurer, Standing, Survey

CLOSED = Problem("", "this inspector is closed.", "Make a new one.")
SELECTION = "selection: is {'layers': [...]}, whole numbers"

Maker: TypeAlias = Callable[[Sequence[Subject], Sequence[str], str], Measurer]


@dataclass(frozen=True, eq=False)
class _Kept:
    """A panel as it was drawn last, and what it was drawn from."""

    standing: Standing
    turned: tuple[Any, ...]
    panel: Panel
    sent: dict[str, Any]


class Inspector(LabWidget):
    """Look inside before you merge: norms of the residual stream, sign conflicts, drift, sizes and sinks, by layer.

    The first model is the base; changes are taken from it. Figures appear as they are measured, those from weights
    alone first; nothing blocks a cell. A figure says what it shows, what chance alone gives and, where that is
    measured, what stands out. Setting a trait from Python does the same as doing it by hand.

        look = ml.Inspector(base, arithmetic, pirate)
        look.wait()
        look.selection = {"layers": [4, 5, 6]}
        look.to_frame("conflict")

    Attributes:
        selection: ``{"layers": [4, 5, 6]}``: the layers selected, ascending. A list of numbers may be set.
        turned: the dials that were turned last, ``{"density": 0.2}``: density (share of a change that is kept), pair
            (``("pirate", "sort")``: names, or places as ``"1-2"``), source (a name, else a place), against (likewise:
            which source the others are likened to), prompt (a place); and what figures show: statistic (of norms),
            conflict ("signs", "weighted", "lost"), drift ("size", "scale", "shape"), between ("cka", "cosine",
            "distance", "kl", "entropy").
        panels: the figures, as plain data and float32 buffers.
        readout: the figures over the selected layers and over the others, in words.
        busy: what is being measured: ``{"text", "done", "total"}``, or empty.
        error: what is wrong with what was turned or selected, in words, or empty. What could not be measured is told
            by its figure.
    """

    _esm = bundle("inspector.js")
    _css = bundle("inspector.css")

    panels: Any = List(help="figures, as `panels.payload` makes them").tag(sync=True)
    strip: Any = List(help="name, code and layers of each source").tag(sync=True)
    dials: Any = Dict(help="what can be chosen, and what is").tag(sync=True)
    readout: Any = List(help="the selection in figures").tag(sync=True)
    words: Any = Dict(help="texts beside the figures").tag(sync=True)
    busy: Any = Dict(default_value=None, allow_none=True, help="what is measured now").tag(sync=True)
    selection: Any = AnyTrait(help="layers selected").tag(sync=True, echo_update=False)
    turned: Any = AnyTrait(help="dials turned last").tag(sync=True, echo_update=False)
    asked: Any = AnyTrait(help="how often stop and measure were pressed").tag(sync=True, echo_update=False)

    _survey: Survey | None = None

    def __init__(
        self,
        *models: Looked,
        prompts: str | Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        device: str = "auto",
        measures: Maker = Sight,
    ) -> None:
        """Open the models (1 to 5; the first is the base) and begin to measure.

        Args:
            models: folders, addresses, opened checkpoints, recipes, live assemblies, pairs of a transformers model and
                its tokenizer. Weights are compared where they lie in files.
            prompts: texts that the models read; by default the sample family's own, or short English texts.
            names: what to call the models; by default the names of their folders.
            device: where the models run, as torch names it; "auto": on a GPU where there is one.
            measures: makes what measures; a test hands in its own.

        Raises:
            InspectionError: too few or too many models, names that do not match, or prompts that are no texts.
            SourceError: a model cannot be opened.
        """
        self._models = subjects(models, names)
        self._prompts, self._whence = prompts_of(prompts, self._models)
        self._figures = figures(self._models)
        self._choice = first_choice(self._models)
        self._depth = max(one.layers for one in self._models)
        self._shown: tuple[Panel, ...] = tuple(_empty(figure) for figure in self._figures)
        self._kept: dict[str, _Kept] = {}  # by figure
        self._reach: dict[tuple[Any, ...], float] = {}  # of its colours, whatever the density
        super().__init__()
        with self.hold_sync():
            self.selection = {"layers": []}
            self.turned, self.asked = {}, {"stop": 0, "measure": 0}
            self.strip = [{"name": one.name, "code": one.code, "layers": one.layers} for one in self._models]
            self.dials = dials(self._choice, self._models, self._prompts, None)
            self.panels = [payload(panel) for panel in self._shown]
            self.words = self._words()
        self._survey = Survey(measures(self._models, self._prompts, device), self._picture, self._lock)
        self._want()

    # -- what the browser and the user turn ----------------------------------------------------------------------

    @validate("selection")
    def _validate_selection(self, proposal: dict[str, Any]) -> dict[str, list[int]]:
        self._opened()
        return {"layers": _layers(proposal["value"], self._depth)}

    @validate("turned")
    def _validate_turned(self, proposal: dict[str, Any]) -> dict[str, Any]:
        self._opened()
        try:
            check_turn(proposal["value"], self._choice, self._models, len(self._prompts))
        except ValueError as error:
            raise TraitError(str(error)) from None
        return dict(proposal["value"])

    @validate("asked")
    def _validate_asked(self, proposal: dict[str, Any]) -> dict[str, int]:
        self._opened()
        value = proposal["value"]
        if not isinstance(value, Mapping) or not all(isinstance(value.get(key), int) for key in ("stop", "measure")):
            raise TraitError(f"asked: {value!r} is not {{'stop': n, 'measure': n}}.")
        return {"stop": value["stop"], "measure": value["measure"]}

    def _opened(self) -> None:
        if self._closed:
            raise TraitError(str(CLOSED))

    @observe("selection")
    def _selected(self, _change: object) -> None:
        if self._survey is not None:
            self.write(readout=self._read(), error="")

    @observe("turned")
    def _on_turn(self, change: dict[str, Any]) -> None:
        with self._lock:
            if self._survey is None:
                return
            self._choice = check_turn(change["new"], self._choice, self._models, len(self._prompts))
            self.write(error="")
            self._want()

    @observe("asked")
    def _on_asked(self, change: dict[str, Any]) -> None:
        before = change["old"] or {"stop": 0, "measure": 0}
        if self._survey is None:
            return
        if change["new"]["stop"] != before["stop"]:
            self.stop()
        if change["new"]["measure"] != before["measure"]:
            self.measure()

    # -- measuring and drawing -----------------------------------------------------------------------------------

    def _want(self) -> None:
        if self._survey is not None:
            # From weights first: traces take longer.
            tasks = [task_of(figure.name, self._choice, self._models) for figure in self._figures]
            self._survey.ask(sorted(tasks, key=lambda task: task == ("trace",)))

    def _picture(self) -> None:
        """All panels as they are now, on the survey's thread."""
        survey = self._survey
        if survey is None:
            return
        with self._lock:
            choice = self._choice
        try:
            kept = [self._panel(figure, choice, survey) for figure in self._figures]
            told = dials(choice, self._models, self._prompts, self._density(choice, survey))
        except Exception as error:
            self.write(error=f"Drawing failed: {type(error).__name__}: {error}")
            raise
        shown = tuple(one.panel for one in kept)
        with self._lock:
            self._shown = shown
            self.write(
                panels=[one.sent for one in kept],
                dials=told,
                readout=self._read(),
                busy=_busy(shown),
                words=self._words(),
            )

    def _density(self, choice: Choice, survey: Survey) -> dict[str, Any] | None:
        if all(figure.name != "conflict" for figure in self._figures):
            return None
        return dial(choice, survey.standing(task_of("conflict", choice, self._models)).result, self._models)

    def _panel(self, figure: Figure, choice: Choice, survey: Survey) -> _Kept:
        """A figure as it is now; nothing is drawn again that would come out the same."""
        task = task_of(figure.name, choice, self._models)
        standing = survey.standing(task)
        turned = tuple(getattr(choice, name) for name in figure.dials)
        kept = self._kept.get(figure.name)
        if kept is not None and kept.standing is standing and kept.turned == turned:
            return kept
        if kept is not None and kept.standing.result is standing.result and kept.turned == turned:
            drawn = kept.panel.drawn
        else:
            place = (
                figure.name,
                *(value for name, value in zip(figure.dials, turned, strict=True) if name != "density"),
            )
            drawn = reaching(draw(figure.name, standing.result, choice, self._models), self._reach.get(place, 0.0))
            self._reach[place] = drawn.reach
        panel = replace(
            _empty(figure),
            drawn=drawn,
            state=standing.state,
            done=standing.done,
            total=standing.total,
            seconds=standing.seconds,
            note=standing.error and self._wrong(figure, choice, standing.error),
        )
        self._kept[figure.name] = _Kept(standing, turned, panel, payload(panel))
        return self._kept[figure.name]

    def _wrong(self, figure: Figure, choice: Choice, error: str) -> str:
        """What went wrong, told by the first of the figures that are drawn from one measurement."""
        task = task_of(figure.name, choice, self._models)
        first = next(one for one in self._figures if task_of(one.name, choice, self._models) == task)
        return error if first.name == figure.name else f"See “{first.title}”."

    def _read(self) -> list[dict[str, str]]:
        layers = self.selection["layers"]
        return readout(self._shown, layers) if layers else []

    def _words(self) -> dict[str, Any]:
        return {
            "facts": [["base", self._models[0].name], ["prompts", self._whence]],
            "pairs": f"Changes are taken from {self._models[0].name}.",
            "readout": "Conflict and size are of all weights of these layers; a cosine weighs the more the less chance "
            "moves it; norms and drift are medians.",
        }

    # -- for people ----------------------------------------------------------------------------------------------

    def grid(self, panel: str) -> Grid:
        """The numbers of a figure, as it is now.

        Raises:
            InspectionError: there is no such figure, it is a table, or nothing of it is measured yet.
        """
        found = self._of(panel)
        if found.drawn.grid is None:
            what = "is a table." if found.drawn.table is not None else "is not measured yet."
            hint = f"Take to_frame({panel!r})." if found.drawn.table is not None else "Wait for it: wait()."
            raise InspectionError(Problem(f"panel {panel!r}", what, hint))
        return found.drawn.grid

    def to_frame(self, panel: str) -> pd.DataFrame:
        """A figure as a table: rows by layers. Errors as for `grid`, but that tables are taken."""
        table = self._of(panel).drawn.table
        return self.grid(panel).to_frame() if table is None else table.copy()

    def figure(self, panel: str) -> go.Figure:
        """A figure as plotly's, with the selected layers marked. Errors as for `grid`."""
        grid, found = self.grid(panel), self._of(panel)
        return plots.figure(grid, self.selection["layers"], found.drawn)

    def explain(self) -> Explanation:
        """The long form of every figure: definition, formula, unit, source, what chance gives, and how to read it."""
        return explanation(self._shown)

    @property
    def names(self) -> tuple[str, ...]:
        """What `grid`, `to_frame` and `figure` take."""
        return tuple(figure.name for figure in self._figures)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything is measured and drawn; False when ``timeout`` seconds were not enough. Interrupt stops.

        Raises:
            InspectionError: the inspector is closed.
        """
        if self._closed or self._survey is None:
            raise InspectionError(CLOSED)
        return self._survey.wait(timeout)

    def stop(self) -> None:
        """Stop measuring. What is measured stays, of what is being measured the part there is."""
        if self._survey is not None:
            self._survey.stop()

    def measure(self) -> None:
        """Measure what was stopped."""
        if self._survey is not None:
            self._survey.go_on()

    def close(self) -> None:
        """End the threads, let go of the models and close the widget. The last figures stay readable."""
        survey, self._survey = self._survey, None
        if survey is not None:
            survey.close()
        super().close()

    def still(self) -> str:
        """The figures as HTML without scripts."""
        return still(self._models, self._shown, self.selection["layers"], self._whence, self._read())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        names = ", ".join(one.name for one in self._models)
        measured = sum(panel.state == "done" for panel in self._shown)
        state = ", closed" if self._closed else f": {measured} of {len(self._shown)} figures measured"
        return f"<Inspector of {names}{state}>"

    def _of(self, name: str) -> Panel:
        found = next((panel for panel in self._shown if panel.name == name), None)
        if found is None:
            hint = did_you_mean(str(name), self.names)
            raise InspectionError(Problem("Inspector", f"there is no panel {name!r} of these models.", hint))
        return found


def _empty(figure: Figure) -> Panel:
    return Panel(figure.name, figure.kind, figure.title, figure.shows, figure.wide)


def _busy(shown: Sequence[Panel]) -> dict[str, Any] | None:
    running = [panel for panel in shown if panel.state == "measuring"]
    if not running:
        return None
    text = ", ".join(panel.title.lower() for panel in running)
    return {"text": text, "done": running[0].done, "total": running[0].total}


def _layers(value: object, depth: int) -> list[int]:
    """A selection, ascending, each layer once.

    Raises:
        TraitError: it is no list of layers there are, in words.
    """
    if isinstance(value, Mapping):
        wrong = [key for key in value if key != "layers"]
        if wrong:
            raise TraitError(f"{SELECTION}; {wrong[0]!r} is nothing that can be selected.")
        value = value.get("layers", [])
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, str) or not isinstance(plain, Sequence | range):
        raise TraitError(f"{SELECTION}, not {value!r}.")
    wrong = [one for one in plain if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < depth]
    if wrong:
        listed = ", ".join(map(repr, wrong[:4]))
        raise TraitError(f"selection: {listed} {'is' if len(wrong) == 1 else 'are'} no layer. Known: 0 to {depth - 1}.")
    return sorted(dict.fromkeys(plain))
