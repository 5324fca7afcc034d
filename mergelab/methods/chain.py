"""Task vectors through a chain of atoms, as optax writes optimizers: every stage can be looked at.

``chain(models, base, trim(0.2), weigh(w), elect_sign(), disjoint_mean(w), scale(1.0))`` says what is to be
done and does nothing yet. ``result()`` runs it; ``stages()`` runs it and keeps what stands after each atom,
for explainers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from mergelab.methods.tensors import Array, Arrays, Deltas

_BLOCK = 1 << 16  # elements: a few models' pieces, 256 KiB each in float32, fit the second-level cache


@dataclass(frozen=True)
class Atom:
    """One step on task vectors.

    Attributes:
        name: shown as the name of the stage.
        run: deltas in, deltas out; a merging step returns one. It owns what it is handed and may write to it:
            the deltas are fresh contiguous tensors, and nobody else holds them.
        elementwise: whether it makes each element of that same element of the deltas alone, so that it may be
            run on a piece of a tensor.
        doc: one sentence for readers.
    """

    name: str
    run: Callable[[Deltas], Deltas]
    elementwise: bool = False
    doc: str = ""


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
class Chain:
    """base + atoms(models - base), not yet run. The atoms leave one tensor, the merged task vector."""

    models: Arrays
    base: Array
    atoms: tuple[Atom, ...]

    def result(self) -> Array:
        """The merged tensor: fresh, in the working precision.

        Atoms run on whole tensors up to the last that needs them. The rest runs block by block, which changes no
        bit, and keeps what is made on the way in the cache: memory is fetched once, not once for each atom.
        """
        cut = max((place for place, atom in enumerate(self.atoms, start=1) if not atom.elementwise), default=0)
        pieces = _blocks(_run(self.atoms[:cut], self._start())) if cut else self._started_blocks()
        result = torch.empty(self.base.shape, dtype=self.base.dtype, device=self.base.device)
        for deltas, (base, place) in zip(pieces, _blocks([self.base, result]), strict=True):
            (merged,) = _run(self.atoms[cut:], deltas)
            torch.add(merged, base, out=place)
        return result

    def stages(self) -> Iterator[Stage]:
        """The task vectors, what each atom leaves of them, and the merged tensor. Copies, safe to keep."""
        deltas = self._start()
        doc = "What fine-tuning changed: each model minus the base."
        yield Stage("task vectors", _shown(deltas), doc)
        for atom in self.atoms:
            deltas = atom.run(deltas)
            yield Stage(atom.name, _shown(deltas), atom.doc)
        (merged,) = deltas
        yield Stage("add to base", (merged.add_(self.base),), "The merged task vector is added to the base.")

    def _start(self) -> Deltas:
        return [(model - self.base).contiguous() for model in self.models]

    def _started_blocks(self) -> Iterator[Deltas]:
        for base, *models in _blocks([self.base, *self.models]):
            yield [model - base for model in models]


def chain(models: Arrays, base: Array, *atoms: Atom) -> Chain:
    """The method that runs ``atoms`` on the task vectors of ``models`` and adds the result to ``base``."""
    return Chain(models, base, atoms)


def _run(atoms: Sequence[Atom], deltas: Deltas) -> Deltas:
    for atom in atoms:
        deltas = atom.run(deltas)
    return deltas


def _shown(deltas: Deltas) -> tuple[Array, ...]:
    return tuple(delta + 0.0 for delta in deltas)  # copies, with 0.0 for the -0.0 that masks leave


def _blocks(tensors: Sequence[Array]) -> Iterator[Deltas]:
    """The same piece of every tensor, flat, one piece after the other; views where the tensors are contiguous."""
    for pieces in zip(*(tensor.reshape(-1).split(_BLOCK) for tensor in tensors), strict=True):
        yield list(pieces)
