"""Atoms that thin out task vectors before they are merged, and those that make up for what was lost.

A density is the share of the elements that is kept, for each model; where it is 1 nothing is touched, counted or drawn.

Random atoms draw float32 uniforms u on [0, 1) on the CPU, one for each element in the order of the tensor, from a
generator for each model, and keep an element of keep probability p where u < p. So a mask depends on the seed, the
name of the tensor and the place of the model, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence

import torch
from torch import Tensor

from mergelab.methods import select, sums
from mergelab.methods.chain import Atom
from mergelab.methods.tensors import Array, Arrays, Deltas

Counts = MutableMapping[int, select.Counts]
"""Place of a model -> counts of the magnitudes of its task vector."""

_BLOCK = 1 << 16  # elements drawn at a time
_LARGEST = 3.4028234663852886e38  # of float32


def trim(density: Sequence[float], counts: Counts | None = None) -> Atom:
    """Keep the largest magnitudes of each delta, max(1, int(density n)) of its n elements.

    TIES (arXiv:2306.01708, section 3, step 1), but for each tensor on its own. Equal magnitudes: the lowest index is
    kept first. ``counts`` are used where they are there, and kept where not.
    """

    def mask(delta: Array, place: int) -> Tensor:
        count = select.kept(density[place], delta.numel())
        return select.largest(delta, count, _counted(delta, place, counts))

    doc = "Each task vector keeps its largest magnitudes; the others become zero."
    return _masking("trim", doc, density, mask)


def trim_below(cutoffs: Sequence[float]) -> Atom:
    """Keep the magnitudes of at least ``cutoffs``, one for each model, found over whole models.

    TIES, section 3, step 1, as the paper has it: its k-th magnitude is that of the whole model. Elements equal to the
    cutoff all stay.
    """

    def run(deltas: Deltas) -> Deltas:
        return [delta.mul_(delta.abs() >= cutoff) for delta, cutoff in zip(deltas, cutoffs, strict=True)]

    doc = "Each task vector keeps what belongs to the largest magnitudes of its whole model."
    return Atom("trim", run, elementwise=True, doc=doc)


def trim_both_ends(density: Sequence[float], gamma: Sequence[float], counts: Counts | None = None) -> Atom:
    """Drop the int(gamma n) largest magnitudes of each delta, the outliers, and keep the int(density n) below them.

    Model Breadcrumbs (arXiv:2312.06795, section 3). Where no more than int(density n) elements would be left below
    the outliers, fewer of these are dropped, as in mergekit. Equal magnitudes: the lowest index counts as the larger.
    """

    def mask(delta: Array, place: int) -> Tensor:
        size = delta.numel()
        count = int(density[place] * size)
        outliers = min(int(gamma[place] * size), size - count)
        return select.ranked(delta, outliers, outliers + count, _counted(delta, place, counts))

    doc = "Each task vector loses its largest and its smallest magnitudes: outliers and noise."
    return _masking("trim both ends", doc, density, mask)


def drop(density: Sequence[float], generator: torch.Generator) -> Atom:
    """Keep each element with probability ``density``, whatever its size. DARE (arXiv:2311.03099, section 3)."""
    seeds = _seeds(generator, len(density))

    def run(deltas: Deltas) -> Deltas:
        for delta, share, seed in zip(deltas, density, seeds, strict=True):
            if share < 1:
                draws = torch.Generator().manual_seed(seed)
                for block in delta.view(-1).split(_BLOCK):
                    block.mul_(torch.rand(len(block), generator=draws).lt_(share).to(block))
        return deltas

    doc = "Each element of each task vector is dropped or kept by lot."
    return Atom("drop", run, elementwise=_all_kept(density), doc=doc)


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

    def run(deltas: Deltas) -> Deltas:
        for delta, share, half, seed in zip(deltas, density, epsilon, seeds, strict=True):
            if share == 0:
                delta.mul_(0)
            elif share < 1:
                draws = torch.Generator().manual_seed(seed)
                for lines in _lines(delta):
                    chance = _chances(lines, share, half)
                    kept = torch.rand(lines.shape, generator=draws).lt_(chance.float())
                    lines.mul_((kept / chance if unbiased else kept).to(lines))
        return deltas

    doc = "Small magnitudes of each row are dropped more often than large ones."
    return Atom("drop by rank", run, elementwise=_all_kept(density), doc=doc)


def restore_norm(models: Arrays, base: Array, density: Sequence[float]) -> Atom:
    """Scale each thinned delta to the L1 norm of its whole task vector, as mergekit does; zeros stay.

    mergekit leaves a delta as it is where either norm is below 1e-7; ours leaves nothing but zeros.
    """

    def run(deltas: Deltas) -> Deltas:
        for delta, model, share in zip(deltas, models, density, strict=True):
            left = sums.absolute(delta) if share < 1 else 0.0
            if left:
                _scale(delta, sums.distance(model, base), left)
        return deltas

    doc = "Each task vector is scaled so that its magnitudes add up to what they were."
    return Atom("rescale", run, elementwise=_all_kept(density), doc=doc)


def divide(density: Sequence[float]) -> Atom:
    """Restore the expectation: tau / density, DARE's 1 / (1 - drop rate). A density of 0 has left only zeros."""

    def run(deltas: Deltas) -> Deltas:
        return [delta.div_(share) if 0 < share < 1 else delta for delta, share in zip(deltas, density, strict=True)]

    return Atom("rescale", run, elementwise=True, doc="Each task vector is divided by the share that was kept.")


def _masking(name: str, doc: str, density: Sequence[float], mask: Callable[[Array, int], Tensor]) -> Atom:
    def run(deltas: Deltas) -> Deltas:
        for place, delta in enumerate(deltas):
            if density[place] < 1:
                delta.mul_(mask(delta, place) if density[place] else 0)
        return deltas

    return Atom(name, run, elementwise=_all_kept(density), doc=doc)


def _all_kept(density: Sequence[float]) -> bool:
    return all(share >= 1 for share in density)


def _counted(delta: Array, place: int, counts: Counts | None) -> select.Counts | None:
    if counts is None or delta.numel() <= select.FEW:
        return None
    if place not in counts:
        counts[place] = select.magnitude_counts(delta)
    return counts[place]


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


def _scale(delta: Array, wanted: float, left: float) -> None:
    """In place, delta wanted / left, also where the quotient alone is beyond float32."""
    if wanted / left <= _LARGEST:
        delta.mul_(wanted / left)
    else:
        delta.div_(left).mul_(wanted)
