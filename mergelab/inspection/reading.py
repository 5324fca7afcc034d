"""Reading: sources as live models, and prompts as batches of tokens."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count
from types import TracebackType
from typing import Any, Self, TypeAlias

import torch

from mergelab.errors import InspectionError, Problem, raise_all
from mergelab.inspection.seen import Batch
from mergelab.models.assembly import Assembly
from mergelab.models.bank import Bank
from mergelab.models.speak import is_text
from mergelab.recipes.plan import plan
from mergelab.recipes.presets import Model
from mergelab.recipes.recipe import Part, Recipe, Slice
from mergelab.weights import Checkpoint, Source, open_checkpoint

Live: TypeAlias = "tuple[Any, Any]"
"""A transformers model and its tokenizer."""

Candidate: TypeAlias = "Model | Recipe | Assembly | Live"
Sources: TypeAlias = "Mapping[str, Candidate] | Sequence[Candidate] | Model | Recipe | Assembly"

MOST = 4096
"""Tokens of one batch, unless a single prompt has more: what one layer makes of a batch has to fit into memory."""

_KINDS = "Give a folder, a hub id, a Checkpoint, a Recipe, an Assembly, or a pair of a model and its tokenizer."


@dataclass(frozen=True)
class _Opened:
    """One source, live.

    Attributes:
        model: of transformers.
        assembly: what it was made by; None: it is the user's own.
        checkpoint: the files it is read from, where it is one source as it is.
        tokenizer: the user's own; None: the assembly's.
    """

    model: Any
    assembly: Assembly | None = None
    checkpoint: Checkpoint | None = None
    tokenizer: Any = None


class Opened:
    """Sources as live models. A context manager: at its end, what was opened here is given back.

    Live assemblies that were given stay open; nobody else can use or change them inside the block.

    Attributes:
        models: transformers models in evaluation mode, by name.
        checkpoints: of the sources that are read as they are, by name: of no recipe, and of no live model.
    """

    def __init__(self, live: Mapping[str, _Opened], made: Sequence[Assembly]) -> None:
        """Take over live models; ``made`` are closed at the end."""
        self._live = dict(live)
        self._made = tuple(made)
        self._held = ExitStack()
        self.models: dict[str, Any] = {name: one.model for name, one in live.items()}
        self.checkpoints = {name: one.checkpoint for name, one in live.items() if one.checkpoint is not None}

    @cached_property
    def tokenizers(self) -> dict[str, Any]:
        """Tokenizers of transformers, by name.

        Raises:
            SourceError: a source has none, or transformers cannot read it.
        """
        return {name: one.assembly.tokenizer if one.assembly else one.tokenizer for name, one in self._live.items()}

    def batches(self, prompts: str | Sequence[str]) -> tuple[Batch, ...]:
        """The prompts as tokens that every one of the models reads alike; as ``batches``.

        Raises:
            InspectionError: as ``batches``; the tokenizers give different tokens.
            SourceError: a source has no tokenizer.
        """
        rooms = [getattr(model.config, "max_position_embeddings", None) for model in self.models.values()]
        limit = min((room for room in rooms if room is not None), default=None)
        (first, tokenizer), *others = self.tokenizers.items()
        found = batches(tokenizer, prompts, limit)
        texts = _texts(prompts)
        told = _tokens(tokenizer, texts)
        raise_all(
            InspectionError,
            (
                Problem(
                    f"{name!r}",
                    f"reads prompts as other tokens than {first!r} does.",
                    "Trace it alone, or merge it with tokenizer: to one vocabulary first.",
                )
                for name, other in others
                if _tokens(other, texts) != told
            ),
        )
        return found

    def close(self) -> None:
        """Give back what was opened. May be called twice."""
        self._held.close()
        for held in (self._live, self.models, self.checkpoints):
            held.clear()
        made, self._made = self._made, ()
        for assembly in made:
            assembly.close()

    def __enter__(self) -> Self:
        given = [one.assembly for one in self._live.values() if one.assembly and one.assembly not in self._made]
        for assembly in sorted(given, key=id):  # in one order, so that two traces do not wait for each other
            self._held.enter_context(assembly.lock)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_models(sources: Sources, device: str | torch.device = "auto") -> Opened:
    """Make sources live, for reading only: what is not merged is mapped from disk, and nothing is copied.

    Args:
        sources: by name, or in a row: then they are called by the last part of their address. A source is a folder, hub
            id, Checkpoint or Source, a recipe, a live assembly, or a pair of a transformers model and its tokenizer.
        device: where models live, a name or a device of torch's; "auto": a GPU where there is one with room. Models
            that live already stay where they are.

    Raises:
        InspectionError: there is no source, or something is none.
        MergelabError: as ``assemble``.
    """
    named = _named(sources)
    made: list[Assembly] = []
    live: dict[str, _Opened] = {}
    bank: Bank | None = None
    try:
        for name, one in named.items():
            if isinstance(one, Assembly):
                live[name] = _Opened(one.model, one)
            elif isinstance(one, tuple):
                live[name] = _Opened(one[0], tokenizer=one[1])
            else:
                bank = Bank(device=device) if bank is None else bank
                opened = None if isinstance(one, Recipe) else open_checkpoint(one)
                recipe = one if opened is None else Recipe("passthrough", (Slice((Part(opened.source),)),))
                known = bank.checkpoints if opened is None else {opened.source: opened} | bank.checkpoints
                made.append(Assembly(plan(recipe, known), bank=bank))
                live[name] = _Opened(made[-1].model, made[-1], opened)
    except BaseException:
        for assembly in made:
            assembly.close()
        raise
    return Opened(live, made)


def batches(tokenizer: Any, prompts: str | Sequence[str], limit: int | None = None) -> tuple[Batch, ...]:
    """Prompts as tokens, up to 4096 tokens of one length together, the shortest first. Nothing is padded.

    Args:
        tokenizer: of transformers. It adds what it adds to every text, such as a start token.
        prompts: a text, or several; nothing that can be read only once.
        limit: most tokens that a prompt may have; None: any number.

    Raises:
        InspectionError: there is no prompt, or one is no text, has no token, or more than the limit.
    """
    texts = _texts(prompts)
    told = _tokens(tokenizer, texts)
    problems = []
    for number, (text, ids) in enumerate(zip(texts, told, strict=True)):
        if not ids:
            problems.append(Problem(f"prompts[{number}]", f"{text!r} has no token.", "Write a few words."))
        elif limit is not None and len(ids) > limit:
            what = f"has {len(ids)} tokens, the models read {limit}."
            problems.append(Problem(f"prompts[{number}]", what, "Shorten it, or make several of it."))
    raise_all(InspectionError, problems)
    found = []
    for length in sorted({len(ids) for ids in told}):
        alike = tuple(number for number, ids in enumerate(told) if len(ids) == length)
        most = max(1, MOST // length)
        for start in range(0, len(alike), most):
            places = alike[start : start + most]
            rows = [told[number] for number in places]
            found.append(Batch(torch.tensor(rows), tuple(_spelt(tokenizer, row) for row in rows), places))
    return tuple(found)


def _spelt(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """Tokens as text. Some tokenizers show the space before a word only where something stands before it."""
    found = []
    for place, token in enumerate(ids):
        before = ids[max(0, place - 1) : place]
        found.append(str(tokenizer.decode([*before, token]))[len(tokenizer.decode(before)) if before else 0 :])
    return tuple(found)


def _texts(prompts: object) -> tuple[str, ...]:
    if isinstance(prompts, Iterator):
        what = f"a {type(prompts).__name__} can be read only once."
        raise InspectionError(Problem("prompts", what, "Make a list of it: list(prompts)."))
    given = (prompts,) if is_text(prompts) or not isinstance(prompts, Iterable) else tuple(prompts)
    raise_all(
        InspectionError,
        (
            Problem(f"prompts[{number}]", f"{reprlib.repr(one)} is no text.", "Give a text, or several.")
            for number, one in enumerate(given)
            if not is_text(one)
        ),
    )
    if not given:
        raise InspectionError(Problem("prompts", "there is none.", "Give a text, or several."))
    return tuple(map(str, given))


def _tokens(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return [list(tokenizer(text, verbose=False)["input_ids"]) for text in texts]


def _named(sources: object) -> dict[str, Any]:
    """The sources by name; those without one are called by what they are."""
    if isinstance(sources, Mapping):
        named = {str(name): one for name, one in sources.items()}
    else:
        alone = _is_source(sources) or not isinstance(sources, Iterable)
        given = (sources,) if alone else tuple(sources)  # type: ignore[arg-type]  # what is not alone can be iterated
        named = {}
        for one in given:
            label = _label(one)
            numbered = (f"{label} {number}" for number in count(2))
            named[next(name for name in chain((label,), numbered) if name not in named)] = one
    raise_all(
        InspectionError,
        (
            Problem(f"sources[{name!r}]", f"{reprlib.repr(one)} is no model.", _KINDS)
            for name, one in named.items()
            if not _is_source(one)
        ),
    )
    if not named:
        raise InspectionError(Problem("sources", "there is none.", _KINDS))
    return named


def _is_source(one: object) -> bool:
    if isinstance(one, tuple):
        return len(one) == 2 and isinstance(one[0], torch.nn.Module)
    return isinstance(one, str | os.PathLike | Checkpoint | Source | Recipe | Assembly)


def _label(one: Any) -> str:
    """What a source is called."""
    if isinstance(one, tuple):
        return type(one[0]).__name__
    if isinstance(one, Recipe | Assembly):
        return "merged"
    if isinstance(one, Checkpoint):
        return one.source.label
    return Source.parse(one).label if isinstance(one, Source | str | os.PathLike) else type(one).__name__
