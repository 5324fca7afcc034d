"""Task vectors through a chain of atoms, as optax writes optimizers: every stage can be looked at.

``chain(models, base, trim(0.2), weigh(w), elect_sign(), disjoint_mean(w), scale(1.0))`` says what is to be
done and does nothing yet. ``result()`` runs it; ``stages()`` runs it and keeps what stands after each atom,
for explainers.

Most atoms make each element of that same element of the task vectors, some after a look at the whole of them. A chain
of such atoms runs piece by piece, from the stored tensors to the result: what is made on the way stays in the cache,
and memory is fetched and written once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mergelab.methods import fused
from mergelab.methods.parameters import Pending
from mergelab.methods.pieces import Pieces
from mergelab.methods.tensors import Array, Deltas
from mergelab.methods.vectors import Found, Piecewise, TaskVectors, Told


@dataclass(frozen=True)
class Settled:
    """What a step does to each element, now that it has looked at the whole.

    Attributes:
        run: does it to pieces. It owns what it is handed and may write to it.
        marks: for each task vector what is done to it, the same for the same: what is found out about it later is
            known by that.
        told: the same in the words of ``fused``, if it has any.
    """

    run: Piecewise
    marks: Sequence[Hashable]
    told: Told | None = None


@dataclass(frozen=True)
class Atom:
    """One step on task vectors.

    Attributes:
        name: shown as the name of the stage.
        run: deltas in, deltas out; a merging step returns one. It owns what it is handed and may write to it:
            the deltas are fresh contiguous tensors, and nobody else holds them.
        elementwise: whether ``run`` makes each element of that same element of the deltas alone, so that it may be
            run on a piece of a tensor.
        study: in place of ``run``: looks at the task vectors, and says what to do element by element.
        doc: one sentence for readers.
        told: what ``run`` does in the words of ``fused``, if it has any.
    """

    name: str
    run: Callable[[Deltas], Deltas] = lambda deltas: deltas
    elementwise: bool = False
    study: Callable[[TaskVectors], Settled] | None = None
    doc: str = ""
    told: Told | None = None

    def after(self, vectors: TaskVectors) -> TaskVectors:
        """The task vectors as they stand after this step."""
        if self.study is not None:
            settled = self.study(vectors)
            return vectors.then(settled.run, settled.marks, settled.told)
        if self.elementwise:
            return vectors.then(lambda deltas, _: self.run(deltas), told=self.told)
        return TaskVectors.held(self.run(vectors.whole()), vectors.pieces)


@dataclass(frozen=True)
class Stage:
    """What stands after one step.

    Attributes:
        name: of the step.
        tensors: one per model, or one once they are merged.
        doc: one sentence on the step.
    """

    name: str
    tensors: tuple[Array, ...]
    doc: str = ""


@dataclass(frozen=True)
class Chain(Pending):
    """base + atoms(models - base), not yet run. The atoms leave one tensor, the merged task vector.

    Models and base are as they are stored; the arithmetic is that of the dtype which is asked for.
    """

    models: Sequence[Tensor]
    base: Tensor
    atoms: tuple[Atom, ...]

    def result(self, dtype: torch.dtype, out: Tensor, pieces: Pieces, found: Found) -> Tensor:
        """The merged tensor in ``out``, which is contiguous, computed in ``dtype`` and rounded once.

        Args:
            found: what is known about the task vectors of these models and this base, and is added to.
        """
        scan = fused.scan(self.models, self.base, dtype)
        vectors = self._after_all(TaskVectors.of(self.models, self.base, dtype, pieces, found, scan))
        told = vectors.told
        if told is None or not fused.made(self.models, self.base, told, dtype, out, pieces):
            self._write(vectors, dtype, out)
        return out

    def by_atoms(self, dtype: torch.dtype, out: Tensor, pieces: Pieces, found: Found) -> Tensor:
        """The same by the atoms alone."""
        self._write(self._after_all(self._start(dtype, pieces, found)), dtype, out)
        return out

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All stored tensors."""
        return (*self.models, self.base)

    def stages(self, dtype: torch.dtype) -> Iterator[Stage]:
        """The task vectors, what each atom leaves of them, and the merged tensor. Copies, safe to keep."""
        with Pieces(self.base.device) as pieces:
            vectors = self._start(dtype, pieces, {})
            doc = "What fine-tuning changed: each model minus the base."
            yield Stage("task vectors", _shown(vectors), doc)
            for atom in self.atoms:
                vectors = atom.after(vectors)
                yield Stage(atom.name, _shown(vectors), atom.doc)
            (merged,) = vectors.whole()
        yield Stage("add to base", (merged.add_(self.base),), "The merged task vector is added to the base.")

    def _after_all(self, vectors: TaskVectors) -> TaskVectors:
        for atom in self.atoms:
            vectors = atom.after(vectors)
        return vectors

    def _write(self, vectors: TaskVectors, dtype: torch.dtype, out: Tensor) -> None:
        base, place = self.base.reshape(-1), out.view(-1)

        def make(at: slice) -> None:
            (merged,) = vectors.read(at)
            place[at].copy_(merged.add_(base[at].to(dtype)))

        vectors.pieces.map(vectors.size, make)

    def _start(self, dtype: torch.dtype, pieces: Pieces, found: Found) -> TaskVectors:
        return TaskVectors.of(self.models, self.base, dtype, pieces, found)


def chain(models: Sequence[Tensor], base: Tensor, *atoms: Atom) -> Chain:
    """The method that runs ``atoms`` on the task vectors of ``models`` and adds the result to ``base``."""
    return Chain(models, base, atoms)


def _shown(vectors: TaskVectors) -> tuple[Array, ...]:
    return tuple(delta + 0.0 for delta in vectors.whole())  # 0.0 for the -0.0 that masks leave
