"""Task vectors that are read piece by piece, each piece made of the stored tensors when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from mergelab.methods.pieces import Pieces
from mergelab.methods.tensors import Array, Deltas

Told = Mapping[str, Any]
"""Steps in words: names of attributes of ``fused.Work``, or of ``fused.Term`` with a value for each model."""


class Found(Protocol):
    """What is known about task vectors: (place of a model, what was asked) -> the answer, which is a number, a
    threshold or a packed mask. A dict is one.
    """

    def get(self, key: tuple[int, Hashable], /) -> Any:
        """The answer, or None."""

    def __setitem__(self, key: tuple[int, Hashable], answer: Any, /) -> None:
        """Keep an answer, or do not."""


Sizes: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
"""Bit patterns without the sign: integers that order as the magnitudes do."""


class Part(NamedTuple):
    """The magnitudes of a piece, each once, in any order, and how often each occurs."""

    sizes: Sizes
    counts: Sizes


class Scan(Protocol):
    """Looks at the magnitudes of task vectors where they are stored; a magnitude is told by its bits, as in
    ``select``.
    """

    def pick(self, place: int, at: Any) -> Any:
        """Magnitudes of the task vector at ``place``: those of elements at places ``at``."""

    def tally(self, place: int, low: int, high: int, at: slice) -> tuple[int, int, int, Any]:
        """How many magnitudes of the task vector at ``place`` lie above ``high``, at it, and at ``low`` (0 where the
        two are the same); and those between the two, both excluded.
        """

    def nth(self, place: int, pattern: int, rank: int, at: slice) -> int:
        """Where the ``rank``-th (from 1) of the elements of this very magnitude stands; there are as many."""

    def count(self, place: int, at: slice) -> Part | None:
        """The magnitudes of a piece of the task vector at ``place``; None: there are too many."""

    def join(self, parts: Sequence[Part]) -> Part | None:
        """Those of several pieces, at least one; None: there are too many."""

    def absolute(self, places: Sequence[int], told: Told, at: slice) -> list[list[float]] | None:
        """``sums.absolute_rows`` of a piece of the task vectors at ``places``, after steps that thin them out. None:
        these are others.
        """


Piecewise = Callable[[Deltas, int], Deltas]
"""The same piece of every task vector, flat, and the place of its first element -> the pieces after a step."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class TaskVectors:
    """Task vectors as they stand after some steps of a chain.

    Attributes:
        shape, dtype: of each.
        pieces: the way through them.
        read: the pieces at a place: fresh, flat, contiguous.
        pick: elements at places given by a tensor of indices, for an estimate: those of the task vectors before any
            step.
        found: what is known about task vectors, and is added to.
        marks: for each, the steps that made it from a model and the base; None where no such list tells all.
        before: what they were before any step; None for themselves.
        told: the steps in the words of ``fused``; None where there is none for one of them.
        scan: looks at their magnitudes where they are stored; None where nothing can, as after a step.
    """

    shape: torch.Size
    dtype: torch.dtype
    pieces: Pieces
    read: Callable[[slice], Deltas]
    pick: Callable[[Tensor], Deltas]
    found: Found
    marks: tuple[tuple[Hashable, ...], ...] | None
    before: TaskVectors | None = None
    told: Told | None = field(default_factory=dict)
    scan: Scan | None = None

    @classmethod
    def of(
        cls,
        models: Sequence[Tensor],
        base: Tensor,
        dtype: torch.dtype,
        pieces: Pieces,
        found: Found,
        scan: Scan | None = None,
    ) -> TaskVectors:
        """Each of ``models`` minus ``base``, computed in ``dtype``."""
        flat, start = [model.reshape(-1) for model in models], base.reshape(-1)

        def read(at: slice | Tensor) -> Deltas:
            piece = start[at].to(dtype)
            return [_minus(model[at], piece) for model in flat]

        return cls(base.shape, dtype, pieces, read, read, found, ((),) * len(models), scan=scan)

    @classmethod
    def held(cls, tensors: Sequence[Array], pieces: Pieces) -> TaskVectors:
        """Whole tensors that are there."""
        flat = [tensor.reshape(-1) for tensor in tensors]

        def read(at: slice) -> Deltas:
            return [tensor[at].clone() for tensor in flat]

        def pick(at: Tensor) -> Deltas:
            return [tensor[at] for tensor in flat]

        return cls(tensors[0].shape, tensors[0].dtype, pieces, read, pick, {}, None, told=None)

    @property
    def size(self) -> int:
        """Number of elements of each."""
        return self.shape.numel()

    @property
    def untouched(self) -> TaskVectors:
        """Before any step."""
        return self.before or self

    def then(self, step: Piecewise, marks: Sequence[Hashable] | None = None, told: Told | None = None) -> TaskVectors:
        """As they stand after ``step``, which ``marks`` tell, one for each task vector, so that equal ones do equal
        things, and which is ``told`` to ``fused``.
        """

        def read(at: slice) -> Deltas:
            return step(self.read(at), at.start)

        marked, all_told = None, None
        if marks is not None and self.marks is not None:
            marked = tuple((*before, mark) for before, mark in zip(self.marks, marks, strict=True))
        if told is not None and self.told is not None:
            all_told = {**self.told, **told}
        return replace(self, read=read, marks=marked, before=self.untouched, told=all_told, scan=None)

    def map(self, work: Callable[[Deltas, int], Answer]) -> list[Answer]:
        """What ``work`` makes of each of the pieces, given with the place of its first element, in their order. Several
        at a time.
        """
        return self.pieces.map(self.size, lambda at: work(self.read(at), at.start))

    def whole(self) -> Deltas:
        """The task vectors themselves: fresh, contiguous."""
        wholes = [one.new_empty(self.size) for one in self.read(slice(0, 0))]

        def write(deltas: Deltas, at: int) -> None:
            for delta, whole in zip(deltas, wholes, strict=True):
                whole[at : at + len(delta)] = delta

        self.map(write)
        return [whole.view(self.shape) for whole in wholes]

    def answers(
        self,
        questions: Sequence[tuple[int, Hashable]],
        work: Callable[[Sequence[tuple[int, Hashable]]], Sequence[Answer]],
    ) -> list[Answer]:
        """The answers to ``questions``, (place of a task vector, what is asked): known, or worked out together and
        kept.
        """
        if self.marks is None:
            return list(work(questions)) if questions else []
        keys = [(place, (self.marks[place], what)) for place, what in questions]
        answers = [self.found.get(key) for key in keys]
        missing = [place for place, answer in enumerate(answers) if answer is None]
        if missing:
            for place, answer in zip(missing, work([questions[place] for place in missing]), strict=True):
                answers[place] = self.found[keys[place]] = answer
        return answers


def _minus(piece: Tensor, base: Array) -> Array:
    """In a fresh tensor: that of the cast, where one is needed."""
    return piece - base if piece.dtype == base.dtype else piece.to(base.dtype).sub_(base)
