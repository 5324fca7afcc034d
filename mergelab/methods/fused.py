"""The family of task arithmetic in one pass on CUDA, from the stored dtypes to the dtype of the result.

The chain of atoms is the reference, and does the work wherever this cannot: no triton, which comes with torch for
CUDA, or a kernel that fails the proof of ``available``. The kernel does the same float32 operations in the same order,
contracts none, divides by IEEE rules and rounds once, so that it gives the same bits; a NaN is a NaN, whatever its
payload. One launch does many tensors, and nothing waits for the device.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mergelab.methods.pieces import Pieces
from mergelab.methods.select import Threshold

_TOGETHER = 16  # elements, and bytes: what the kernel takes for aligned
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MOST = 65535  # tensors in one launch: the second dimension of a grid
_LARGEST = torch.finfo(torch.float32).max
_EVERY, _NONE = (-1, 0), (2**31 - 1, 0)  # magnitudes, as patterns, that each and no element exceeds


@dataclass(frozen=True, eq=False)
class Term:
    """One model's part: weight * (its thinned task vector * gain / share).

    Attributes:
        model: the stored tensor.
        weight: of the model.
        lowest: tells what is kept; the others become 0.0.
        outliers: tells what is taken away from that.
        mask: what is kept by lot, eight elements to a uint8, the first in the highest bit; the others times 0.
        gain, share: as ``sparsify.restore_norm`` and ``sparsify.divide`` rescale. A gain of 0 keeps nothing.
    """

    model: Tensor
    weight: float
    lowest: Threshold | None = None
    outliers: Threshold | None = None
    mask: Tensor | None = None
    gain: float = 1.0
    share: float = 1.0

    def numbers(self) -> tuple[float, ...]:
        """Those that the kernel computes with."""
        return self.weight, 1e-6 * abs(self.weight), self.gain, self.share

    def row(self) -> list[int]:
        """What the kernel reads: addresses, bits of numbers, patterns of magnitudes and places."""
        lowest = (_bits(self.lowest.magnitude), self.lowest.until) if self.lowest else _EVERY
        outliers = (_bits(self.outliers.magnitude), self.outliers.until) if self.outliers else _NONE
        mask = 0 if self.mask is None else self.mask.data_ptr()
        return [self.model.data_ptr(), mask, *map(_bits, self.numbers()), *lowest, *outliers]


_OF_TERM = {field.name for field in fields(Term)}


@dataclass(frozen=True, eq=False)
class Work:
    """One tensor to be made: base + factor * (sum of the terms) / divisor, rounded once.

    Attributes:
        terms: one for each model.
        base: the stored tensor.
        out: storage for the result that nothing else uses; all tensors have its shape and device.
        elect: whether a term counts only where it has the sign of the sum, as ``atoms.elect_sign``.
        divisor: None for the weights that take part, element by element, as ``atoms.disjoint_mean``.
        factor: lambda.
    """

    terms: Sequence[Term]
    base: Tensor
    out: Tensor
    elect: bool = False
    divisor: float | None = 1.0
    factor: float = 1.0

    def fits(self) -> bool:
        """Whether the kernel can do it: float32 arithmetic, contiguous and aligned tensors, sizes in whole pieces."""
        numbers = [self.divisor or 1.0, self.factor]
        tensors = [self.out, self.base]
        for term in self.terms:
            tensors.append(term.model)
            numbers += (*term.numbers(), *(limit.magnitude for limit in (term.lowest, term.outliers) if limit))
        return all(abs(number) <= _LARGEST for number in numbers) and all(
            one.dtype in _DTYPES and one.is_contiguous() and one.numel() % _TOGETHER == 0 == one.data_ptr() % _TOGETHER
            for one in tensors
        )

    def form(self) -> tuple[Any, ...]:
        """What a kernel is compiled for, in the order of its arguments: dtypes, and the steps that there are."""
        weights = [term.weight for term in self.terms]
        return (
            tuple(one.dtype for one in (self.out, self.base, *(term.model for term in self.terms))),
            any(term.lowest for term in self.terms),
            any(term.outliers for term in self.terms),
            tuple(term.mask is not None for term in self.terms),
            any(term.gain != 1 for term in self.terms),
            any(term.share != 1 for term in self.terms),
            self.elect,
            self.divisor not in {None, 1.0},
            self.divisor is None,
            self.divisor is None and min(weights) < 0 < max(weights),
        )

    def row(self) -> list[int]:
        """What the kernel reads: the size, addresses, bits of numbers, and the rows of the terms."""
        row = [self.out.numel(), self.out.data_ptr(), self.base.data_ptr()]
        row += map(_bits, (self.factor, self.divisor or 1.0))
        return [*row, *(word for term in self.terms for word in term.row())]


def work(models: Sequence[Tensor], base: Tensor, told: Mapping[str, Any], out: Tensor) -> Work:
    """The work that a chain of atoms tells: attributes of ``Work``, and lists of those of ``Term``, one per model.

    One more list is called "nothing": whether a model keeps nothing at all.
    """
    rest = dict(told)
    nothing = rest.pop("nothing", [False] * len(models))
    names = [name for name in rest if name in _OF_TERM]
    terms = []
    for place, model in enumerate(models):
        numbers = {name: rest[name][place] for name in names}
        if nothing[place]:
            numbers["gain"] = 0.0 * numbers.get("gain", 1.0)  # NaN stays, and does not fit
        mask = numbers.get("mask")
        if mask is not None:
            numbers["mask"] = mask.to(out.device, non_blocking=True)
        terms.append(Term(model, **numbers))
    return Work(terms, base, out, **{name: rest[name] for name in rest if name not in _OF_TERM})


def made(models: Sequence[Tensor], base: Tensor, told: Mapping[str, Any], dtype: torch.dtype, out: Tensor) -> bool:
    """Make ``out`` of a chain whose atoms told what they do, computing in ``dtype``; False where they have to do it."""
    return dtype == torch.float32 and available(out.device) and run([work(models, base, told, out)])


def run(works: Sequence[Work]) -> bool:
    """Do all of ``works``, which are on one device; False where none is done, and the atoms have to do them."""
    if not works or not available(works[0].out.device) or not all(work.fits() for work in works):
        return False
    launch(works)
    return True


def launch(works: Sequence[Work]) -> None:
    """Do all of ``works``, which fit, wherever triton runs: one launch for those that are alike."""
    from mergelab.methods import kernel

    alike: dict[tuple[Any, ...], list[Work]] = {}
    for work in works:
        alike.setdefault(work.form(), []).append(work)
    for form, group in alike.items():
        for at in range(0, len(group), _MOST):
            some = group[at : at + _MOST]
            kernel.launch([work.row() for work in some], form, some[0].out.device)


@cache
def available(device: torch.device) -> bool:
    """Whether the kernel runs on ``device`` and gives the bits that the atoms give on the CPU: tried out once.

    It waits for the device, and for a second or two until the kernel is compiled.
    """
    if device.type != "cuda":
        return False
    try:
        return proven(device)
    except Exception:  # noqa: BLE001 - triton absent, without a compiler, too old: whatever it is, the atoms do the work
        return False


def proven(device: torch.device) -> bool:
    """Whether TIES on random tensors comes out on ``device`` as the atoms have it on the CPU, bit for bit."""
    from mergelab.methods.atoms import agreed  # which have this module below them
    from mergelab.methods.chain import chain
    from mergelab.methods.sparsify import divide, trim_below

    draws = torch.Generator().manual_seed(0)
    base, *models = (torch.randn(4096, generator=draws).bfloat16() for _ in range(4))
    weight, cutoff, density = (0.3, 0.7, -0.4), (1.0, 0.1, 0.5), (0.3, 0.9, 0.7)
    expected, out = torch.empty_like(base), torch.empty_like(base, device=device)
    steps = trim_below(cutoff), divide(density), *agreed(weight, normalize=True, factor=0.9)
    with Pieces(base.device) as pieces:
        chain(models, base, *steps).result(torch.float32, expected, pieces, {})
    terms = [
        Term(model.to(device), weight[place], Threshold(cutoff[place], model.numel()), share=density[place])
        for place, model in enumerate(models)
    ]
    launch([Work(terms, base.to(device), out, elect=True, divisor=None, factor=0.9)])
    return torch.equal(out.cpu(), expected)


def _bits(number: float) -> int:
    """Of the float32 nearest to it."""
    return struct.unpack("<i", struct.pack("<f", number))[0]
