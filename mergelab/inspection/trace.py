"""Trace: what prompts did inside sources, layer by layer. Figures of tokens, no states: it needs no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch

from mergelab.errors import InspectionError, Problem, did_you_mean
from mergelab.inspection import contributions, influence, norms, sinks
from mergelab.inspection.counter import Counted, Counter, Passed
from mergelab.inspection.grid import Floats, Grid, Measure
from mergelab.inspection.handles import Handles, find
from mergelab.inspection.lens import Head
from mergelab.inspection.reading import Sources, open_models
from mergelab.inspection.tokens import Bools, Tokens, mean, quantile
from mergelab.inspection.trajectories import Trajectories
from mergelab.inspection.walk import logits, walk
from mergelab.recipes.presets import Model
from mergelab.weights import Checkpoint


@dataclass(frozen=True, eq=False)
class Trace:
    """What prompts did inside sources.

    In every grid over layers column l is layer l, or what enters it; one column more is what leaves the last layer,
    before the final norm. A source with fewer layers has NaN behind its own. Where a grid has a chance band it is the
    first source's, on random halves of the prompts: a row inside it differs no more than the choice of prompts would
    make the first source differ from itself.

    A source is named, or given by the address it was read from.

    Attributes:
        sources: their names; the first is what the others are held against.
        prompts: what was read.
        partial: it was stopped: layers from ``walked`` on are missing, or, where all were walked, predictions.
        walked: layers that were walked.
        read: every token of the prompts.
        lens: what could be read off each layer as a prediction: its ``figure``, ``of_tokens`` and ``outputs``.
    """

    sources: tuple[str, ...]
    prompts: tuple[str, ...]
    partial: bool
    walked: int
    read: Tokens
    lens: Trajectories
    _counted: Counted
    _addresses: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Trace of {', '.join(self.sources)}: {len(self.prompts)} prompts, {self.walked} layers>"

    def norms(self, statistic: norms.Statistic = "median", *, by: Model | None = None) -> Grid:
        """Norm of the residual stream: sources by layers, and what leaves the last.

        Args:
            statistic: "median", "q05", "q25", "q75" or "q95" over tokens; "rms": the median divided by sqrt(width), to
                compare sources of different widths.
            by: the source whose random halves make the chance band; None: the first.

        Raises:
            InspectionError: there is no such statistic or source.
        """
        _known("statistic", statistic, norms.STATISTICS)

        def figure(one: Passed, kept: Bools, subsets: Bools) -> Floats:
            return norms.norm(one.norms, kept, statistic, subsets, width=one.width)

        measure = norms.NORM_RMS if statistic == "rms" else norms.NORM
        of = "" if statistic in {"median", "rms"} else f"quantile {statistic}"
        return self._grid(measure, figure, self._counted.at, of, by=None if by is None else self._named(by))

    def growth(self) -> Grid:
        """By what factor each layer lengthens the stream: sources by layers."""

        def figure(one: Passed, kept: Bools, subsets: Bools) -> Floats:
            return norms.growth(one.before, one.after, kept, subsets)

        return self._grid(norms.GROWTH, figure, self._counted.kept)

    def contributions(self, role: str = "attention", statistic: str = "size") -> Grid:
        """What a sub-layer adds to the stream: sources by layers; NaN where a layer has no such part or is opaque.

        Args:
            role: "attention", "feed-forward", or another name of ``roles``.
            statistic: "size", relative to the stream that enters the layer; "cosine" with that stream.

        Raises:
            InspectionError: no source has such a part, or there is no such statistic.
        """
        opaque = " ".join(f"{name}: {note}" for name in self.sources for note in self._counted.passed[name].opaque)
        if not self.roles:
            raise InspectionError(Problem("contributions", "no layer of any source shows its parts.", opaque))
        _known("statistic", statistic, ("size", "cosine"))
        _known("role", role, self.roles)
        measure = contributions.SIZE if statistic == "size" else contributions.COSINE

        def figure(one: Passed, kept: Bools, subsets: Bools) -> Floats:
            values = (one.sizes if statistic == "size" else one.cosines).get(role, np.full(kept.shape, np.nan))
            return quantile(values, kept, 0.5, subsets)

        return self._grid(measure, figure, self._counted.kept, role, opaque)

    @property
    def roles(self) -> tuple[str, ...]:
        """The parts that layers of any source have, by name."""
        return tuple(dict.fromkeys(role for one in self._counted.passed.values() for role in one.sizes))

    def influence(self) -> Grid:
        """Block Influence, how far each layer turns the stream: sources by layers."""

        def figure(one: Passed, kept: Bools, subsets: Bools) -> Floats:
            return mean(one.turned, kept, subsets)

        return self._grid(influence.BLOCK_INFLUENCE, figure, self._counted.kept)

    def angular(self, source: Model, *, last: bool = False) -> Grid:
        """Angular distance over blocks of layers, in one source: lengths of blocks by the first layer of each.

        Args:
            source: its name, or what it was read from.
            last: over the last token of each prompt only, as in the paper.

        Raises:
            InspectionError: there is no such source.
        """
        source = self._named(source)
        angles, held = self._counted.passed[source].angles, self._counted.held
        some = self.read.last()[held] if last else self._counted.drawn
        kept = self._counted.at[: len(angles), held] & some

        def figure(subsets: Bools) -> Floats:
            return influence.blocks(angles, kept, subsets[:, held])

        values = figure(self.read.everything())[0]
        halves = self.read.halves()
        chance = halves.band(figure(halves.subsets), source) if halves else None
        rows = tuple("1 layer" if n == 1 else f"{n} layers" for n in range(1, len(values) + 1))
        which = "last tokens" if last else "tokens, drawn the same for every source"
        note = f"Mean over {np.count_nonzero(some)} {which}. {self._note()}"
        return Grid(influence.ANGULAR, values, ("block", "layer"), rows, _numbers(len(values)), source, chance, note)

    def tokens(self, source: Model, prompt: int = 0) -> Grid:
        """Norm of each token of a prompt, sinks too: tokens by layers, and what leaves the last.

        Args:
            source: its name, or what it was read from.
            prompt: its number, from 0.

        Raises:
            InspectionError: there is no such source or prompt.
        """
        source = self._named(source)
        if not 0 <= prompt < len(self.prompts):
            what = f"there is no prompt {prompt}."
            raise InspectionError(Problem("prompt", what, f"Give a number from 0 to {len(self.prompts) - 1}."))
        which = np.flatnonzero(self.read.prompt == prompt)
        values = self._counted.passed[source].norms[:, which].T.copy()
        rows = tuple(f"{place} {self.read.words[token]}" for place, token in enumerate(which))
        of = f"{source}, prompt {prompt}"
        return Grid(norms.TOKEN_NORM, values, ("token", "layer"), rows, _numbers(values.shape[1]), of, None, sinks.RULE)

    def sinks(self) -> pd.DataFrame:
        """Sinks and their largest channels, a row for each source and token; see ``sinks.table``. A copy."""
        return self._counted.sinks.copy()

    def cosine(self, first: Model, second: Model) -> Grid:
        """Cosine of two sources' states of the same token; see ``Paired.cosine``.

        Raises:
            InspectionError: there is no such source, both are the same, or they differ in width.
        """
        return self._counted.paired.cosine(self._named(first), self._named(second))

    def distance(self, first: Model, second: Model) -> Grid:
        """Distance of two sources' states of the same token; see ``Paired.distance``.

        Raises:
            InspectionError: as ``cosine``.
        """
        return self._counted.paired.distance(self._named(first), self._named(second))

    def cka(self, first: Model, second: Model) -> Grid:
        """Similarity of arrangement of every layer with every layer; see ``Similarity.cka``.

        Raises:
            InspectionError: there is no such source.
        """
        return self._counted.similarity.cka(self._named(first), self._named(second))

    def along(self, first: Model | None = None) -> Grid:
        """Similarity of arrangement of every other source with one, layer by layer; see ``Similarity.along``.

        Args:
            first: the one; None: the first source.

        Raises:
            InspectionError: there is one source, or no such source.
        """
        return self._counted.similarity.along(self.sources[0] if first is None else self._named(first))

    def _named(self, source: Model) -> str:
        """The name of a source that is given by name or address."""
        address = str(source.source if isinstance(source, Checkpoint) else source)
        name = address if address in self.sources else self._addresses.get(address, address)
        _known("source", name, self.sources)
        return name

    def _grid(
        self,
        measure: Measure,
        figure: Callable[[Passed, Bools, Bools], Floats],
        kept: Bools,
        of: str = "",
        note: str = "",
        by: str | None = None,
    ) -> Grid:
        """Sources by layers, with the band of ``by``, or the first source. ``figure`` takes what passed, who counts
        there, subsets.
        """

        def figures(name: str, subsets: Bools) -> Floats:
            one = self._counted.passed[name]
            own = figure(one, kept[: len(one.before) + len(kept) - len(self._counted.kept)], subsets)
            found = np.full((len(subsets), 1, len(kept)), np.nan)
            found[:, 0, : own.shape[1]] = own
            return found

        values = np.concatenate([figures(name, self.read.everything())[0] for name in self.sources])
        first, halves = by or self.sources[0], self.read.halves()
        chance = halves.band(figures(first, halves.subsets), first) if halves else None
        whole = " ".join(text for text in (self._note(), note) if text)
        return Grid(measure, values, ("source", "layer"), self.sources, _numbers(len(kept)), of, chance, whole)

    def _note(self) -> str:
        count, prompts = int(self.read.counts.sum()), len(self.prompts)
        notes = [f"{count} tokens of {prompts} prompt{'s' * (prompts != 1)}.", sinks.RULE]
        if self.partial:
            notes.append(f"Stopped: {self.walked} of {len(self._counted.kept)} layers were walked.")
        for name, one in self._counted.passed.items():
            broken = np.flatnonzero(np.isnan(one.after[: self.walked, self.read.counts]).any(1))
            if len(broken):
                notes.append(f"{name}: states that are not finite leave layer {broken[0]}.")
        return " ".join(notes)


def trace(
    sources: Sources,
    prompts: str | Sequence[str],
    *,
    device: str | torch.device = "auto",
    handles: Mapping[str, Handles] = MappingProxyType({}),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Trace:
    """Read prompts with sources, and take down what happens in their layers.

    Layer by layer, all prompts at one layer before the next: what is held is one layer of each model, the states of all
    tokens at that layer, a handful of numbers for each token and layer, and whole states of a bounded number of tokens.

    Args:
        sources: by name, or in a row, as ``open_models`` takes them; the first is what others are held against.
        prompts: a text, or several.
        device: where models live; "auto": a GPU where there is one with room.
        handles: by a source's name, where its layers are, if you know better than ``handles.find``.
        progress: gets how much is done, and of how much; every layer of a batch counts one.
        stop: asked before each layer of each batch; once it says True, the trace has the layers walked so far.

    Raises:
        InspectionError: sources or prompts are none; tokenizers give other tokens; every prompt is one token long; the
            trace was stopped before the first layer was walked.
        MergelabError: as ``assemble``.
    """
    with open_models(sources, device=device) as opened:
        read = opened.batches(prompts)
        starts = [start for one in opened.tokenizers.values() if (start := one.bos_token_id) is not None]
        tokens = Tokens.of(read, starts)
        if not tokens.counts.any():
            what = "no token is left once the first of each prompt and start tokens are left out."
            raise InspectionError(Problem("prompts", what, "Write a few words more."))
        for name in handles:
            _known("source", name, tuple(opened.models))
        handles = {name: handles.get(name) or find(model) for name, model in opened.models.items()}
        layers = sum(one.depth for one in handles.values())
        total = layers * (len(read) + 1)  # reading predictions off takes about as long as one batch more

        stopped = False

        def asked() -> bool:
            nonlocal stopped
            stopped = stopped or stop()
            return stopped

        def told(done: int, _of: int) -> None:
            progress(done, total)

        def told_of_lens(done: int, of: int) -> None:
            progress(layers * len(read) + layers * done // of, total)

        counter = Counter(read, tokens, influence.affordable(_per_token(opened.models, handles)))
        for layer, seen in walk(opened.models, handles, read, stop=asked, progress=told):
            counter.see(layer, seen)
        if not counter.walked:
            raise InspectionError(Problem("trace", "it was stopped before it had walked a layer.", "Let it run."))
        depths = {name: one.depth for name, one in handles.items()}
        heads = {name: _head(opened.models[name], one) for name, one in handles.items() if one.lens}
        lens = counter.lens.read(heads, depths, stop=asked, progress=told_of_lens)
        texts = (prompts,) if isinstance(prompts, str) else tuple(prompts)
        addresses = {str(one.source): name for name, one in opened.checkpoints.items()}
        counted = counter.counted(handles)
        return Trace(tuple(handles), texts, stopped, counter.walked, tokens, lens, counted, addresses)


def _head(model: Any, handles: Handles) -> Head:
    """Reads states that lie on the CPU as the model's logits."""
    return lambda states: logits(model, handles, states.to(model.device))


def _per_token(models: Mapping[str, Any], handles: Mapping[str, Handles]) -> int:
    """Bytes of one token's states at all borders of all models."""
    widths = {name: model.config.get_text_config(decoder=True).hidden_size for name, model in models.items()}
    return sum(widths[name] * model.dtype.itemsize * (handles[name].depth + 1) for name, model in models.items())


def _known(where: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InspectionError(Problem(where, f"there is no {where} {name!r}.", did_you_mean(name, known)))


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))
