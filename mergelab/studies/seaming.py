"""Seaming: the seams of the merge that is worked on, and how long the sources' states are: measures of a preview."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mergelab.errors import InspectionError, Problem
from mergelab.inspection.borders import borders, home_border
from mergelab.inspection.crossings import Crossing, as_read, counted_in, enough, floats, how_taken, norm_before
from mergelab.inspection.distance import figures
from mergelab.inspection.onestep import as_grid, places
from mergelab.inspection.seams import Seams, seams
from mergelab.inspection.tokens import Bools
from mergelab.models.assembly import Assembly
from mergelab.models.measuring import Live
from mergelab.models.speak import Stopped
from mergelab.recipes.plan import Plan
from mergelab.studies.readings import LONGEST, Readable, Reading, Readings, considered, encoded, readable, states_of

Texts = Callable[[], Sequence[str]]


@dataclass(frozen=True, eq=False)
class Seamed:
    """The seams of a merge.

    Attributes:
        recipe: its fingerprint.
        seams: their figures and verdicts. One step is not measured.
        note: what was read, and how the figures were taken.
    """

    recipe: str
    seams: Seams
    note: str


@dataclass(frozen=True)
class Lengths:
    """How long the states of the sources are.

    Attributes:
        norms: by source, the median norm of the stream after each layer; NaN where no token counts.
        note: what was read.
    """

    norms: Mapping[str, tuple[float, ...]]
    note: str


class Seaming:
    """Measures the seams, on the same texts for every merge of the same sources.

    The figures are those of ``inspection.seams``. What the sources' own layers read is known from the first merge on,
    so that one pass of the merged model is what a turn costs, and some 10 to 50 ms of arithmetic a seam.
    """

    name = "seams"

    def __init__(self, prompts: Texts, readings: Readings | None = None) -> None:
        """Read what ``prompts`` gives when it is asked, and passages where that is short."""
        self._prompts = prompts
        self._readings = readings or Readings()

    def __call__(self, live: Live) -> Iterator[Seamed]:
        """Measure the seams.

        Raises:
            Stopped: something newer was asked.
            InspectionError: there is too little to read, or the models read it as other tokens.
        """
        merged, planned = live.merged, live.merged.plan
        read = _readable(live, self._prompts)
        names = {opened.source: name for name, opened in live.sources.items()}
        homes = {border: home_border(planned, border) for seam in borders(planned) for border in seam.ends}
        if not homes:
            found = _seams(planned, {}, np.zeros(0, dtype=np.bool_))
        elif all(home.source in names for home in homes.values()):
            called = dict.fromkeys(names[home.source] for home in homes.values())
            opened = {name: live.alone(name) for name in called}
            at_home = {name: self._readings.of(one, read.texts, live.stop) for name, one in opened.items()}
            at = {border: (names[home.source], home.index) for border, home in homes.items()}
            found = _measured(merged, opened, at_home, at, read, live.stop)
        else:  # a stage is home to a layer, or a model that is none of the sources
            found = seams(merged, read.texts, stop=live.stop)
        if live.stop():
            raise Stopped
        yield Seamed(merged.recipe.fingerprint, found, f"{read.note} {found.note}")


class Norming:
    """Measures how long the states of each source are. After the first time it is all known."""

    name = "norms"

    def __init__(self, prompts: Texts, readings: Readings | None = None) -> None:
        """As of ``Seaming``; what the sources read is read once for both where they share ``readings``."""
        self._prompts = prompts
        self._readings = readings or Readings()

    def __call__(self, live: Live) -> Iterator[Lengths]:
        """Read the texts with every source.

        Raises:
            Stopped: something newer was asked.
            InspectionError: there is nothing to read, or a source's layers are not found.
        """
        read = _readable(live, self._prompts)
        found = {}
        for name in live.sources:
            source = live.alone(name)
            own = self._readings.of(source, read.texts, live.stop)
            found[name] = own.norms(_starts([source]))
        yield Lengths(found, read.note)


def _readable(live: Live, prompts: Texts) -> Readable:
    models = [live.merged, *map(live.alone, live.sources)]
    rooms = [getattr(one.model.config, "max_position_embeddings", None) for one in models]
    room = min((one for one in rooms if one is not None), default=LONGEST)
    sources = [one.source for one in live.sources.values()]
    return readable(prompts(), sources, live.merged.tokenizer, min(room, LONGEST))


def _starts(models: Sequence[Assembly]) -> list[int]:
    """Ids of the models' start tokens."""
    return [start for one in models if (start := one.tokenizer.bos_token_id) is not None]


def _measured(
    merged: Assembly,
    opened: Mapping[str, Assembly],
    at_home: Mapping[str, Reading],
    at: Mapping[int, tuple[str, int]],
    read: Readable,
    stop: Callable[[], bool],
) -> Seams:
    """The seams of the merge against what its sources read.

    Args:
        opened: the sources that are home to a layer at a seam, by name.
        at_home: what they saw.
        at: for each border of the merge, the source and its border that are home to what reads there.
    """
    ids = encoded(merged.tokenizer, read.texts)
    for name, reading in at_home.items():
        if reading.ids != ids:
            what = "reads the texts as other tokens than the merged model does."
            hint = "Its seams cannot be measured, unless the recipe says tokenizer: and brings both to one vocabulary."
            raise InspectionError(Problem(repr(name), what, hint))
    counts = considered(ids, _starts([merged, *opened.values()]))
    enough(int(counts.sum()), "the first of each text and start tokens do not")
    arriving = {border: states[counts] for border, states in states_of(merged.model, ids, tuple(at), stop).items()}
    home = {border: at_home[name].states[own][counts] for border, (name, own) in at.items()}
    counted = counted_in([*arriving.values(), *home.values()], int(counts.sum()))
    crossings = {}
    for border, (name, own) in at.items():
        if stop():
            raise Stopped
        reading = at_home[name]
        norm = norm_before(reading.handles, own)
        ours, theirs = arriving[border][counted], home[border][counted]
        seen = as_read(opened[name].model, norm, ours), as_read(opened[name].model, norm, theirs)
        between = reading.halves(own, counted, floats(theirs), seen[1])
        told = figures(floats(ours), floats(theirs), seen, between=between)
        crossings[border] = Crossing(border, str(home_border(merged.plan, border)), norm, told)
    return _seams(merged.plan, crossings, counted)


def _seams(planned: Plan, crossings: Mapping[int, Crossing], counted: Bools) -> Seams:
    """Seams of which one step was not measured."""
    moved = as_grid(np.full((2, len(planned.layers)), np.nan), planned, places(planned))
    note = how_taken(counted, planned, crossings) if crossings else ""
    return Seams(borders(planned), crossings, int(counted.sum()), partial=False, note=note, _moved=moved)
