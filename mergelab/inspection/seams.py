"""Seams: what breaks where the layers of a merged model do not follow each other at home.

A seam begins a run of layers, and both ends of that run are measured: at the entry what arrives at its first layer, at
the exit what it hands to the layer above it (at the top: to the final norm). Each time the states of the merged model
are held against those that the same layer reads at home, on the same tokens. The average of both ends tells broken
grafts from healthy ones; the entry alone does not.

Home is the model whose layer it is; of a blend of several models it is the one whose place the blend takes: the base,
else the first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mergelab.columns import Table
from mergelab.errors import InspectionError, Problem, did_you_mean
from mergelab.inspection.borders import Seam, borders, home_border
from mergelab.inspection.crossings import FEWEST, Crossing, as_read, counted_in, enough, floats, how_taken, norm_before
from mergelab.inspection.distance import HOW, MEASURES, Figure, average, figures
from mergelab.inspection.grid import Chance, Grid
from mergelab.inspection.handles import find
from mergelab.inspection.onestep import as_grid, one_step, places
from mergelab.inspection.reading import open_models
from mergelab.inspection.reservoir import Reservoir
from mergelab.inspection.seam_verdict import SLIGHTLY, blame, verdict
from mergelab.inspection.seen import Batch, Seen
from mergelab.inspection.sinks import sinks
from mergelab.inspection.tokens import Tokens
from mergelab.inspection.walk import walk
from mergelab.models.assembly import Assembly
from mergelab.recipes.plan import Plan, plan
from mergelab.recipes.recipe import Recipe
from mergelab.weights import Checkpoint, Source

ENDS = ("entry", "exit", "average")


@dataclass(frozen=True, eq=False)
class Seams:
    """The seams of a merged model, measured on prompts.

    Attributes:
        seams: bottom first; none where every layer follows the one below it at home.
        crossings: by border; those that a stopped walk did not reach are missing.
        tokens: number of tokens that the figures are taken over.
        partial: the walk was stopped.
        note: how the figures were taken.
    """

    seams: tuple[Seam, ...]
    crossings: Mapping[int, Crossing]
    tokens: int
    partial: bool
    note: str
    _moved: Grid

    def figures(self, seam: Seam) -> dict[str, dict[str, Figure]]:
        """The figures of one seam, by end and by measure; "average" is of both ends. Missing: not reached."""
        ends = [self.crossings[border].figures for border in seam.ends if border in self.crossings]
        found = {end: dict(told) for end, told in zip(ENDS, ends, strict=False)}
        if ends and len(ends) == len(seam.ends):
            found["average"] = {name: average([one[name] for one in ends]) for name in MEASURES}
        return found

    def grid(self, measure: str = "frechet_read") -> Grid:
        """One measure: entry, exit and average by seam. The average is the headline.

        Args:
            measure: a name of ``distance.MEASURES``.

        Raises:
            InspectionError: there is no such measure.
        """
        if measure not in MEASURES:
            raise InspectionError(
                Problem("measure", f"there is no {measure!r}.", did_you_mean(measure, tuple(MEASURES)))
            )
        values, low, high = (np.full((len(ENDS), len(self.seams)), np.nan) for _ in range(3))
        for column, seam in enumerate(self.seams):
            for end, told in self.figures(seam).items():
                one, row = told[measure], ENDS.index(end)
                values[row, column], low[row, column], high[row, column] = one.value, one.low, one.high
        names = tuple(seam.name for seam in self.seams)
        band = Chance(low, high, HOW[measure])
        return Grid(MEASURES[measure], values, ("end", "seam"), ENDS, names, "against home", band, self.note)

    def onestep(self) -> Grid:
        """Every layer put alone into the host: how far it takes the host's states astray, by layer."""
        return self._moved

    def verdicts(self) -> tuple[str, ...]:
        """A sentence for each seam, with the figures that it rests on."""
        reached = ([self.crossings[border] for border in seam.ends if border in self.crossings] for seam in self.seams)
        return tuple(verdict([one.figures for one in ends], [bool(one.norm) for one in ends]) for ends in reached)

    def guilty(self) -> str:
        """Which layer takes the host's states furthest astray, and whether further than no layer would; "" where that
        was not measured.
        """
        return blame(*self._moved.values)

    def to_frame(self) -> pd.DataFrame:
        """Everything: a row for each seam, end and measure.

        Columns: ``seam``, as "1 | 2", the merged layers on both sides; ``below`` and ``above``, where those live;
        ``end``; ``border``, ``home`` and ``norm`` of what was compared, see ``Crossing`` (missing for averages);
        ``measure``, ``value`` and ``unit``; ``low`` and ``high``, the ends of what chance gives; ``off``, as
        ``Figure.off`` says.
        """
        rows = []
        for seam in self.seams:
            for end, told in self.figures(seam).items():
                at = None if end == "average" else self.crossings[seam.ends[ENDS.index(end)]]
                for name, figure in told.items():
                    row = {
                        "seam": seam.name,
                        "below": str(seam.below or "embeddings"),
                        "above": str(seam.above or "final norm"),
                        "end": end,
                        "border": at and at.border,
                        "home": at and at.home,
                        "norm": at and at.norm,
                        "measure": name,
                        "value": figure.value,
                        "unit": MEASURES[name].unit,
                        "low": figure.low,
                        "high": figure.high,
                        "off": figure.off,
                    }
                    rows.append(row)
        frame = pd.DataFrame(rows, columns=list(_KINDS)).astype(_KINDS)
        frame.attrs.update(note=self.note)
        return frame

    def __repr__(self) -> str:
        return f"<Seams: {', '.join(seam.name for seam in self.seams) or 'none'}>"

    def __str__(self) -> str:
        return str(self._table())

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What a terminal shows."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def _table(self) -> Table:
        heading = ("seam", "from", "to", "length, x home", "cosine", "Frechet, x spread", "verdict")
        rows, said, verdicts = [], [], self.verdicts()
        for seam, sentence in zip(self.seams, verdicts, strict=True):
            told = self.figures(seam).get("average", {})
            cells = (
                _cell(told.get("norm_ratio"), np.exp),
                *(_cell(told.get(name)) for name in ("cosine", "frechet_read")),
            )
            rows.append((seam.name, seam.below or "embeddings", seam.above or "final norm", *cells, _grade(sentence)))
            said.append(f"{seam.name}  {sentence}")
        if not rows:
            rows.append(("none", *[""] * (len(heading) - 1)))
            said.append("Every layer follows the one below it at home.")
        below = [*said, self.guilty(), *(_LEGEND.splitlines() if self.seams else ())]
        if "Slightly shifted" in map(_grade, verdicts):
            below.append(SLIGHTLY)
        title = f"Seams, average of entry and exit against home, {self.tokens} tokens"
        return Table(heading, tuple(rows), title, tuple(filter(None, (*below, self.note))))


def seams(
    recipe: Recipe | Plan | Assembly | str | os.PathLike[str],
    prompts: str | Sequence[str],
    *,
    device: str | torch.device = "auto",
    most: int = 4096,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Seams:
    """Measure every seam of a recipe on prompts.

    The merged model and the home models walk through their layers in step, and only the states at seams are kept. Then
    the layers are put alone into the host, the model that gives config and tokenizer, by one more pass of both.

    Args:
        recipe: what is merged: a recipe, a plan, a live assembly, or what ``Recipe.load`` reads.
        prompts: a text, or several; the first token of each does not count, nor do sinks.
        device: where models live that are made for this.
        most: tokens whose states are kept; of more, so many are drawn.
        seed: of the tokens drawn, the splits and the projection.
        progress: gets how many layers of batches are done, and of how many.
        stop: asked again and again; once it says True, what was measured by then is returned.

    Raises:
        InspectionError: it is a model that was given, not a recipe; fewer than 20 tokens count or are asked for;
            prompts are refused, or the models read them as other tokens.
        MergelabError: as ``assemble``.
    """
    if most < FEWEST:
        raise InspectionError(Problem("most", f"{most} tokens are too few.", f"Give {FEWEST} or more."))
    _check_recipe(recipe)
    planned = recipe.plan if isinstance(recipe, Assembly) else recipe if isinstance(recipe, Plan) else plan(recipe)
    target = recipe if isinstance(recipe, Assembly) else planned.recipe
    found = borders(planned)
    homes = {border: home_border(planned, border) for seam in found for border in seam.ends}
    named = tuple(dict.fromkeys([planned.donor.source, *(home.source for home in homes.values())]))
    with open_models([target, *(_candidate(planned, source) for source in named)], device) as opened:
        merged, *others = opened.models
        called = dict(zip(named, others, strict=True))
        handles = {name: find(model) for name, model in opened.models.items()}
        read = opened.batches(prompts)
        starts = [start for one in opened.tokenizers.values() if (start := one.bos_token_id) is not None]
        reservoir = Reservoir(read, Tokens.of(read, starts), most, seed)
        enough(len(reservoir.tokens), "the first of each prompt and start tokens do not")
        wanted = {(merged, border) for border in homes} | {(called[home.source], home.index) for home in homes.values()}
        walked = {name: model for name, model in opened.models.items() if any(name == one for one, _ in wanted)}
        steps = walk(walked, handles, read, parts=False, stop=stop, progress=progress)
        states = _states(steps, read, reservoir, wanted)
        counted = counted_in(states.values(), len(reservoir.tokens))
        crossings = {}
        for border, home in homes.items():
            name = called[home.source]
            pair = [states[key][counted] for key in ((merged, border), (name, home.index)) if key in states]
            if len(pair) == 2:
                norm = norm_before(handles[name], home.index)
                ours, theirs = (as_read(opened.models[name], norm, one) for one in pair)
                told = figures(floats(pair[0]), floats(pair[1]), (ours, theirs), seed=seed)
                crossings[border] = Crossing(border, str(home), norm, told)
        at = places(planned)
        host = called[planned.donor.source]
        layers = handles[host].layers, handles[merged].layers
        moved = one_step(opened.models[host], opened.models[merged], layers, at, read, _count, stop)
    partial = len(crossings) < len(homes) or bool(np.isnan(moved[0]).all())
    return Seams(
        found,
        crossings,
        int(counted.sum()),
        partial,
        how_taken(counted, planned, crossings),
        as_grid(moved, planned, at),
    )


def _check_recipe(given: object) -> None:
    given = given.source if isinstance(given, Checkpoint) else given
    if isinstance(given, Source):
        what = f"{str(given)!r} is a model."
    elif isinstance(given, str | os.PathLike) and os.path.isdir(given):
        what = f"{os.fspath(given)!r} is a folder, as models are."
    elif not isinstance(given, Recipe | Plan | Assembly | str | os.PathLike):
        what = f"this is of type {type(given).__name__}."
    else:
        return
    hint = "Give one, as graft(model, other, layers=(3, 6)) makes it; what prompts do in models alone is told by trace."
    raise InspectionError(Problem("recipe", f"a recipe is wanted, and {what}", hint))


def _candidate(planned: Plan, source: Source) -> Any:
    """What ``open_models`` takes for a model or a stage of a plan."""
    stage = planned.recipe.stage(source)
    return planned.checkpoints[source] if stage is None else stage


def _states(
    steps: Iterable[tuple[int, list[dict[str, Seen]]]],
    read: Sequence[Batch],
    reservoir: Reservoir,
    wanted: Container[tuple[str, int]],
) -> dict[tuple[str, int], Tensor]:
    """The states of the drawn tokens at the borders that are wanted, as far as the walk comes."""
    found: dict[tuple[str, int], Tensor] = {}
    every = [torch.ones_like(batch.ids, dtype=torch.bool) for batch in read]
    for _, seen in steps:
        for batch, one, kept in zip(read, seen, every, strict=True):
            for border, states in reservoir.take(batch, one, kept).items():
                found |= {(name, border): rows for name, rows in states.items() if (name, border) in wanted}
    return found


def _count(states: Tensor) -> Tensor:
    """Which tokens of a batch of host states count: not the first of a prompt, and no sinks."""
    norms = states.double().norm(dim=-1).cpu().numpy()
    counts = np.isfinite(norms)
    counts[:, 0] = False
    return torch.from_numpy(counts & ~sinks(norms, counts)).to(states.device)


def _cell(figure: Figure | None, shown: Callable[[float], float] = float) -> str:
    return "-" if figure is None else f"{shown(figure.value):.3g}{'*' if figure.off else ''}".replace("-", "−")


def _grade(sentence: str) -> str:
    """The word or two that a verdict begins with."""
    return sentence.partition(":")[0]


_LEGEND = (
    "Length: the median of states; cosine: of a token's two states; Frechet: of what the layer reads, with its spread "
    "at home for a unit. Verdicts quote one end.\n"
    "* off: more than between two random halves of home's tokens; cosine: no more than in a random basis."
)
_KINDS = {
    "seam": "str", "below": "str", "above": "str", "end": "str", "border": "Int64", "home": "str", "norm": "str",
    "measure": "str", "value": "float64", "unit": "str", "low": "float64", "high": "float64", "off": "bool",
}  # fmt: skip
