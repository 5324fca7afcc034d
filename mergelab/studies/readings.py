"""Readings: short texts read by live models, and what the sources' layers saw in them, kept from merge to merge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mergelab.errors import InspectionError, Problem
from mergelab.inspection.crossings import floats
from mergelab.inspection.distance import Floats, halves
from mergelab.inspection.handles import Handles, find, layers_path
from mergelab.inspection.passes import stream
from mergelab.inspection.sinks import sinks
from mergelab.inspection.tokens import Bools
from mergelab.models.assembly import Assembly
from mergelab.recipes.recipe import Recipe
from mergelab.studies.passages import passages
from mergelab.weights import Source

LONGEST = 128  # tokens of a text that is read
MOST = 256  # tokens that are read in all
ENOUGH = 200  # tokens from which on nothing is added to what was given
Ids = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Readable:
    """Texts, and where they come from.

    Attributes:
        texts: none of them twice.
        note: what they are, in words.
    """

    texts: tuple[str, ...]
    note: str


def readable(prompts: Sequence[str], sources: Sequence[Source], tokenizer: Any, longest: int = LONGEST) -> Readable:
    """What to read: the prompts, and passages that come with mergelab where those are short.

    Prompts of more than ``longest`` tokens are left out, and those that come when MOST tokens are together.
    """
    told = {text: len(tokenizer(text, verbose=False)["input_ids"]) for text in dict.fromkeys(prompts) if text.strip()}
    found: list[str] = []
    tokens = 0
    for text, count in told.items():
        if 1 < count <= longest and tokens + count <= MOST:
            found.append(text)
            tokens += count
    own = len(found)
    for text in passages(sources):
        count = len(tokenizer(text, verbose=False)["input_ids"])
        if tokens < ENOUGH and text not in told and 1 < count <= longest:
            found.append(text)
            tokens += count
    notes = [f"{own} of {len(told)} prompts"] if own < len(told) else [f"{own} prompt{'s' * (own != 1)}"] if own else []
    added = len(found) - own
    if added:
        notes.append(f"{added} text{'s' * (added != 1)} that come{'s' * (added == 1)} with mergelab")
    return Readable(tuple(found), f"Read: {' and '.join(notes) or 'nothing'}.")


def encoded(tokenizer: Any, texts: Sequence[str]) -> Ids:
    """The tokens of texts, the shortest first."""
    return tuple(sorted((tuple(tokenizer(text, verbose=False)["input_ids"]) for text in texts), key=len))


def states_of(model: Any, ids: Ids, borders: Sequence[int] | None, stop: Callable[[], bool]) -> dict[int, Tensor]:
    """The states that texts leave at borders of a model: border l is what enters layer l, the last one what leaves it.

    Args:
        model: a transformers causal language model; nothing is left on it.
        ids: as ``encoded`` gives them. Texts of one length are read together.
        borders: those that are wanted; None: all.
        stop: asked before each layer.

    Returns:
        By border, all tokens in order: shape (tokens, width), the model's dtype, on the CPU.

    Raises:
        Stopped: ``stop`` said so.
        InspectionError: the model's layers are not found.
    """
    path = layers_path(model)
    found: dict[int, list[Tensor]] = {}
    for length in sorted({len(row) for row in ids}):
        batch = torch.tensor([row for row in ids if len(row) == length])
        seen = stream(model, path, batch, stop)
        for border in range(len(seen)) if borders is None else borders:
            found.setdefault(border, []).append(seen[border].flatten(0, 1).cpu())
    return {border: torch.cat(states) for border, states in found.items()}


def considered(ids: Ids, starts: Sequence[int]) -> Bools:
    """Which tokens count: not the first of a text, and no start tokens. Shape (tokens,)."""
    return np.array([place > 0 and token not in starts for row in ids for place, token in enumerate(row)])


class Reading:
    """What one source saw in texts. The model itself is not kept.

    Attributes:
        handles: of the model.
        states: at every border, see ``states_of``.
        ids: the tokens it read.
    """

    def __init__(self, source: Assembly, ids: Ids, handles: Handles, stop: Callable[[], bool]) -> None:
        """Read.

        Raises:
            Stopped: ``stop`` said so.
        """
        self.ids = ids
        self.handles = handles
        self.states = states_of(source.model, ids, None, stop)
        self._halves: dict[tuple[int, bytes], Mapping[str, Floats]] = {}

    def halves(self, border: int, counted: Bools, home: Floats, read: Floats) -> Mapping[str, Floats]:
        """``distance.halves`` at a border over the tokens that count, worked out once."""
        key = border, counted.tobytes()
        if key not in self._halves:
            self._halves[key] = halves(home, read)
        return self._halves[key]

    def norms(self, starts: Sequence[int]) -> tuple[float, ...]:
        """Median norm of the stream at every border but the first, so after each layer; NaN where no token counts.

        Sinks, the first tokens of texts and start tokens do not count, as in ``Trace.norms``.
        """
        counts = considered(self.ids, starts)
        found = []
        for border in range(1, len(self.states)):
            norms = np.linalg.norm(floats(self.states[border]), axis=1)
            kept = counts & np.isfinite(norms) & ~sinks(norms, counts)
            found.append(float(np.median(norms[kept])) if kept.any() else float("nan"))
        return tuple(found)


class Readings:
    """What sources saw in the texts that are read now; several measures may share one."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self._handles: dict[Recipe, Handles] = {}
        self._read: dict[Recipe, Reading] = {}

    def of(self, source: Assembly, texts: Sequence[str], stop: Callable[[], bool]) -> Reading:
        """What a source saw in these texts, read now or before; of other texts nothing is kept.

        Raises:
            Stopped: ``stop`` said so.
            InspectionError: its layers are not found, or there is nothing to read.
        """
        ids = encoded(source.tokenizer, texts)
        if not ids:
            hint = f"Give prompts of 2 to {LONGEST} tokens."
            raise InspectionError(Problem("prompts", "there is no text to read.", hint))
        with source.lock:
            known = source.recipe
            if known not in self._handles:
                self._handles[known] = find(source.model)
            if known not in self._read or self._read[known].ids != ids:
                self._read[known] = Reading(source, ids, self._handles[known], stop)
        return self._read[known]
