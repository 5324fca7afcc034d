"""Atoms that thin out task vectors before they are merged, and those that make up for what was lost.

A density is the share of the elements that is kept, for each model; where it is 1 nothing is touched, looked for or
drawn.

Random atoms draw one word of ``lots`` for each element, in the order of the tensor, from a seed for each model, and
keep an element of keep probability p where its word, divided by 2^32, is below p. So a mask depends on the seed, the
name of the tensor and the place of the model, and on nothing else.

What an atom has to find out about a whole task vector (a threshold, a mask, a norm) does not depend on weights: it is
asked of the task vectors' ``answers``, which keep it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mergelab.methods import fused, lots, select, sums
from mergelab.methods.chain import Atom, Settled
from mergelab.methods.pieces import LENGTH
from mergelab.methods.tensors import Array, Deltas
from mergelab.methods.vectors import TaskVectors

_BLOCK = 1 << 16  # elements of lines that are drawn at a time
_LARGEST = 3.4028234663852886e38  # of float32

Question = tuple[int, Hashable]
Packed = Tensor
"""A mask of a flat tensor, eight elements to a uint8, the first in the lowest bit; on the CPU."""


def trim(density: Sequence[float]) -> Atom:
    """Keep the largest magnitudes of each delta, max(1, int(density n)) of its n elements.

    TIES (arXiv:2306.01708, section 3, step 1), but for each tensor on its own. Equal magnitudes: the lowest index is
    kept first.
    """

    def study(vectors: TaskVectors) -> Settled:
        counts = [select.kept(share, vectors.size) for share in density]
        limits = _thresholds(vectors, [(place, count) for place, count in enumerate(counts)])

        def run(deltas: Deltas, at: int) -> Deltas:
            for place, (delta, count) in enumerate(zip(deltas, counts, strict=True)):
                _keep_largest(delta, at, count, limits.get((place, count)))
            return deltas

        told = {"nothing": [not count for count in counts], "lowest": _known(limits, counts)}
        return Settled(run, [("largest", count) for count in counts], told)

    return Atom("trim", study=study, doc="Each task vector keeps its largest magnitudes; the others become zero.")


def trim_below(cutoffs: Sequence[float]) -> Atom:
    """Keep the magnitudes of at least ``cutoffs``, one for each model, found over whole models.

    TIES, section 3, step 1, as the paper has it: its k-th magnitude is that of the whole model. Elements equal to the
    cutoff all stay.
    """

    def study(vectors: TaskVectors) -> Settled:
        limits = [select.Threshold(cutoff, vectors.size) for cutoff in cutoffs]

        def run(deltas: Deltas, at: int) -> Deltas:
            for delta, limit in zip(deltas, limits, strict=True):
                limit.keep(delta, at)
            return deltas

        return Settled(run, [("from", cutoff) for cutoff in cutoffs], {"lowest": limits})

    doc = "Each task vector keeps what belongs to the largest magnitudes of its whole model."
    return Atom("trim", study=study, doc=doc)


def trim_both_ends(density: Sequence[float], gamma: Sequence[float]) -> Atom:
    """Drop the int(gamma n) largest magnitudes of each delta, the outliers, and keep the int(density n) below them.

    Model Breadcrumbs (arXiv:2312.06795, section 3). Where no more than int(density n) elements would be left below
    the outliers, fewer of these are dropped, as in mergekit. Equal magnitudes: the lowest index counts as the larger.
    """

    def study(vectors: TaskVectors) -> Settled:
        size = vectors.size
        counts = [size if share >= 1 else int(share * size) for share in density]
        outliers = [min(int(share * size), size - count) for share, count in zip(gamma, counts, strict=True)]
        ranks = [(few, few + count) for few, count in zip(outliers, counts, strict=True)]
        limits = _thresholds(vectors, [(place, rank) for place, two in enumerate(ranks) for rank in two])

        def run(deltas: Deltas, at: int) -> Deltas:
            for place, (delta, (few, most)) in enumerate(zip(deltas, ranks, strict=True)):
                large = delta.clone() if few else None
                _keep_largest(delta, at, most, limits.get((place, most)))
                if large is not None:
                    _keep_largest(large, at, few, limits.get((place, few)))
                    delta.sub_(large)
            return deltas

        few, most = zip(*ranks, strict=True)
        told = {"nothing": [not k for k in most], "lowest": _known(limits, most), "outliers": _known(limits, few)}
        return Settled(run, [("ranks", *two) for two in ranks], told if max(few) < size else None)

    doc = "Each task vector loses its largest and its smallest magnitudes: outliers and noise."
    return Atom("trim both ends", study=study, doc=doc)


def drop(density: Sequence[float], generator: torch.Generator) -> Atom:
    """Keep each element with probability ``density``, whatever its size. DARE (arXiv:2311.03099, section 3)."""
    seeds = _seeds(generator, len(density))
    marks = [("drop", share, seed) for share, seed in zip(density, seeds, strict=True)]

    def study(vectors: TaskVectors) -> Settled:
        def draw(missing: Sequence[Question]) -> list[Packed]:
            masks = [np.empty((vectors.size + 7) // 8, np.uint8) for _ in missing]
            spans = [slice(at, min(at + LENGTH, vectors.size)) for at in range(0, vectors.size, LENGTH)]

            def fill(task: tuple[int, slice]) -> None:
                one, at = task
                place, _ = missing[one]
                fused.draw(seeds[place], density[place], at, masks[one][at.start // 8 : (at.stop + 7) // 8])

            vectors.pieces.share(list(itertools.product(range(len(missing)), spans)), fill)
            return [torch.from_numpy(mask) for mask in masks]

        masks = _masks(vectors, density, marks, draw)
        return _masked(density, masks, marks)

    return Atom("drop", study=study, doc="Each element of each task vector is dropped or kept by lot.")


def drop_by_rank(
    density: Sequence[float], epsilon: Sequence[float], generator: torch.Generator, unbiased: bool = False
) -> Atom:
    """Keep elements with a probability that rises with the rank of their magnitude: MagPrune of DELLA.

    p = density - epsilon + 2 epsilon r, where r goes in equal steps from 0 for the smallest magnitude to 1 for the
    largest, along dimension 1 (the row of a matrix); a tensor of one dimension is one row. A line of one element has
    the middle rank: p = density. Equal magnitudes: the lowest index counts as the larger. DELLA (arXiv:2406.11617,
    section 3) writes drop probabilities 1 - p, and epsilon for the whole width of the window. ``unbiased`` divides
    what is kept by its own p.
    """
    seeds = _seeds(generator, len(density))
    marks = [("by rank", share, half, seed) for share, half, seed in zip(density, epsilon, seeds, strict=True)]

    def drawn(delta: Array, place: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Some lines of a task vector, which of their elements are kept, and their chances, on the CPU."""
        drawn = 0
        for lines in _lines(delta):
            chance = _chances(lines, density[place], epsilon[place])
            words = torch.from_numpy(lots.words(seeds[place], drawn, lines.numel()).astype(np.float64))
            drawn += lines.numel()
            yield lines, words.view(lines.shape).mul_(2.0**-32) < chance, chance

    def study(vectors: TaskVectors) -> Settled:
        def draw(missing: Sequence[Question]) -> list[Packed]:
            deltas = vectors.whole() if missing else []
            return [_packed(kept.view(-1) for _, kept, _ in drawn(deltas[place], place)) for place, _ in missing]

        return _masked(density, _masks(vectors, density, marks, draw), marks)

    def run(deltas: Deltas) -> Deltas:
        for place, (delta, share) in enumerate(zip(deltas, density, strict=True)):
            if share == 0:
                delta.mul_(0)
            elif share < 1:
                for lines, kept, chance in drawn(delta, place):
                    lines.mul_((kept / chance).to(lines))
        return deltas

    doc = "Small magnitudes of each row are dropped more often than large ones."
    return Atom("drop by rank", run, doc=doc) if unbiased else Atom("drop by rank", study=study, doc=doc)


def restore_norm(density: Sequence[float]) -> Atom:
    """Scale each thinned delta to the L1 norm of its whole task vector, as mergekit does; zeros stay.

    mergekit leaves a delta as it is where either norm is below 1e-7; ours leaves nothing but zeros.
    """

    def study(vectors: TaskVectors) -> Settled:
        thinned = [place for place, share in enumerate(density) if share < 1]
        norms = list(zip(_absolute(vectors.untouched, thinned), _absolute(vectors, thinned), strict=True))

        def run(deltas: Deltas, _: int) -> Deltas:
            for place, (wanted, left) in zip(thinned, norms, strict=True):
                if left:
                    _scale(deltas[place], wanted, left)
            return deltas

        gains = {place: wanted / left for place, (wanted, left) in zip(thinned, norms, strict=True) if left}
        told = {"gain": [gains.get(place, 1.0) for place in range(len(density))]}
        return Settled(run, ["rescaled" if share < 1 else "" for share in density], told)

    doc = "Each task vector is scaled so that its magnitudes add up to what they were."
    return Atom("rescale", study=study, doc=doc)


def divide(density: Sequence[float]) -> Atom:
    """Restore the expectation: tau / density, DARE's 1 / (1 - drop rate). A density of 0 has left only zeros."""

    def run(deltas: Deltas) -> Deltas:
        pairs = zip(deltas, density, strict=True)
        return [delta.div_(delta.new_full((), share)) if 0 < share < 1 else delta for delta, share in pairs]

    doc = "Each task vector is divided by the share that was kept."
    told = {"share": [share if 0 < share < 1 else 1.0 for share in density]}
    return Atom("rescale", run, elementwise=True, doc=doc, told=told)


# The largest -----------------------------------------------------------------------------------------------


def _thresholds(vectors: TaskVectors, ranks: Sequence[tuple[int, int]]) -> dict[tuple[int, int], select.Threshold]:
    """For each (place, k) the k largest, but where these are none or all."""
    wanted = [(place, k) for place, k in ranks if 0 < k < vectors.size]
    asked: dict[Question, tuple[int, int]] = {(place, ("largest", k)): (place, k) for place, k in wanted}
    found = vectors.answers(list(asked), lambda missing: select.thresholds(vectors, [asked[one] for one in missing]))
    return dict(zip(asked.values(), found, strict=True))


def _known(limits: dict[tuple[int, int], select.Threshold], counts: Sequence[int]) -> list[select.Threshold | None]:
    return [limits.get((place, count)) for place, count in enumerate(counts)]


def _keep_largest(delta: Array, at: int, count: int, limit: select.Threshold | None) -> None:
    if limit is not None:
        limit.keep(delta, at)
    elif count == 0:
        delta.mul_(0)


# By lot ----------------------------------------------------------------------------------------------------


def _masks(
    vectors: TaskVectors,
    density: Sequence[float],
    marks: Sequence[Hashable],
    draw: Callable[[Sequence[Question]], Sequence[Packed]],
) -> dict[int, Packed]:
    questions = [(place, ("mask", marks[place])) for place, share in enumerate(density) if 0 < share < 1]
    answers = vectors.answers(questions, draw)
    return {place: mask for (place, _), mask in zip(questions, answers, strict=True)}


def _masked(density: Sequence[float], masks: dict[int, Packed], marks: Sequence[Hashable]) -> Settled:
    def run(deltas: Deltas, at: int) -> Deltas:
        for place, (delta, share) in enumerate(zip(deltas, density, strict=True)):
            if share == 0:
                delta.mul_(0)
            elif share < 1:
                delta.mul_(_unpacked(masks[place], at, len(delta)).to(delta))
        return deltas

    told = {"nothing": [share == 0 for share in density], "mask": [masks.get(place) for place in range(len(density))]}
    return Settled(run, marks, told)


def _packed(masks: Iterator[Tensor]) -> Packed:
    """One mask of those that come one after the other."""
    return torch.from_numpy(np.packbits(np.concatenate([mask.numpy() for mask in masks]), bitorder="little"))


def _unpacked(mask: Packed, at: int, size: int) -> Tensor:
    """From place ``at``, a multiple of 8: 0 or 1, uint8."""
    eights = mask[at // 8 : (at + size + 7) // 8].numpy()
    return torch.from_numpy(np.unpackbits(eights, count=size, bitorder="little"))


def _seeds(generator: torch.Generator, count: int) -> list[int]:
    return torch.randint(2**63 - 1, (count,), generator=generator).tolist()


def _lines(delta: Array) -> Iterator[Tensor]:
    """A view of three dimensions, the lines along the second, a few MiB at a time."""
    cube = delta.view(1, -1, 1) if delta.dim() < 2 else delta.view(*delta.shape[:2], -1)
    yield from cube.split(max(1, _BLOCK // cube[0].numel()))


def _chances(lines: Tensor, share: float, half: float) -> Tensor:
    """The keep probability of each element, on the CPU."""
    order = lines.cpu().abs().sort(dim=1, descending=True, stable=True).indices
    length = lines.shape[1]
    ranks = torch.arange(length - 1, -1, -1, dtype=torch.float64) / (length - 1) if length > 1 else torch.tensor([0.5])
    line = (share - half + ranks * (2 * half)).to(lines.dtype)
    return torch.empty(lines.shape, dtype=lines.dtype).scatter_(1, order, line.view(1, -1, 1).expand_as(order))


# Norms -----------------------------------------------------------------------------------------------------


def _absolute(vectors: TaskVectors, places: Sequence[int]) -> list[float]:
    """L1 norms of the task vectors at ``places``."""

    def add_up(missing: Sequence[Question]) -> list[float]:
        places, scan, told = [place for place, _ in missing], vectors.untouched.scan, vectors.told

        def rows(at: slice) -> list[list[float]]:
            found = scan.absolute(places, told, at) if scan is not None and told is not None else None
            return found or [
                sums.absolute_rows(delta) for place, delta in enumerate(vectors.read(at)) if place in places
            ]

        each = vectors.pieces.map(vectors.size, rows)
        return [sum(itertools.chain.from_iterable(own)) for own in zip(*each, strict=True)]

    return vectors.answers([(place, "absolute") for place in places], add_up)


def _scale(delta: Array, wanted: float, left: float) -> None:
    """In place, delta wanted / left, also where the quotient alone is beyond float32."""
    if wanted / left <= _LARGEST:
        delta.mul_(wanted / left)
    else:
        delta.div_(left).mul_(wanted)
