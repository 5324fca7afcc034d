"""The family of task arithmetic and weighted sums in one pass, from the stored dtypes to the dtype of the result.

The atoms, which are torch's operations, are the reference, and do the work wherever this cannot: no numba on the CPU,
no triton on CUDA (it comes with torch there), loops that fail their proof, or have not passed it yet. They do the same
float32 operations in the same order, contract none, divide by IEEE rules and round once, so that they give the same
bits; a NaN is a NaN, whatever its payload. On CUDA one launch does many tensors, and nothing waits for the device; on
the CPU the threads of ``Pieces`` share a tensor out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mergelab.methods import lots, trial
from mergelab.methods.pieces import Pieces
from mergelab.methods.select import Threshold
from mergelab.methods.vectors import Scan

_TOGETHER = 16  # elements, and bytes: what the kernel on CUDA takes for aligned
_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
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
        mask: what is kept by lot, eight elements to a uint8, the first in the lowest bit; the others times 0.
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

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Result, base and models."""
        return self.out, self.base, *(term.model for term in self.terms)

    def fits(self) -> bool:
        """Whether it can be done in one pass: float32 arithmetic on contiguous tensors."""
        numbers = [self.divisor or 1.0, self.factor]
        for term in self.terms:
            numbers += (*term.numbers(), *(limit.magnitude for limit in (term.lowest, term.outliers) if limit))
        return _finite(numbers) and _plain(self.tensors)

    def aligned(self) -> bool:
        """Whether the kernel on CUDA can do it too: aligned tensors, sizes in whole pieces."""
        return all(one.numel() % _TOGETHER == 0 == one.data_ptr() % _TOGETHER for one in self.tensors)

    def form(self) -> tuple[Any, ...]:
        """What a kernel is compiled for, in the order of its arguments: dtypes, and the steps that there are."""
        weights = [term.weight for term in self.terms]
        return (
            tuple(one.dtype for one in self.tensors),
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


@dataclass(frozen=True, eq=False)
class Sum:
    """One tensor to be made on the CPU: sum_i w_i x_i by fused multiply-adds in the order of the models, rounded once.

    Attributes:
        models: the stored tensors.
        weight: one for each.
        divisor: of the sum; None: it is not divided.
        out: as in ``Work``.
    """

    models: Sequence[Tensor]
    weight: Sequence[float]
    divisor: float | None
    out: Tensor

    def fits(self) -> bool:
        """Whether it can be done in one pass."""
        tensors = [self.out, *self.models]
        return _finite([*self.weight, self.divisor or 1.0]) and _plain(tensors) and self.out.device.type == "cpu"

    def row(self) -> list[int]:
        """What the loop reads: addresses and bits of numbers."""
        row = [self.out.data_ptr(), _bits(self.divisor or 1.0)]
        for model, factor in zip(self.models, self.weight, strict=True):
            row += [model.data_ptr(), _bits(factor)]
        return row


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


def made(
    models: Sequence[Tensor], base: Tensor, told: Mapping[str, Any], dtype: torch.dtype, out: Tensor, pieces: Pieces
) -> bool:
    """Make ``out`` of a chain whose atoms told what they do, computing in ``dtype``; False where they have to do it."""
    return dtype == torch.float32 and available(out.device) and run([work(models, base, told, out)], pieces)


def added(one: Sum, dtype: torch.dtype, pieces: Pieces) -> bool:
    """Make a weighted sum, computing in ``dtype``; False where torch has to do it."""
    if dtype != torch.float32 or not one.fits() or not available(one.out.device):
        return False
    add(one, pieces)
    return True


def scan(models: Sequence[Tensor], base: Tensor, dtype: torch.dtype) -> Scan | None:
    """What looks at the magnitudes of task vectors where they are stored; None where ``select`` has to make them."""
    tensors = (base, *models)
    if dtype != torch.float32 or base.device.type != "cpu" or not _plain(tensors) or not available(base.device):
        return None
    return scanner(models, base)


def draw(seed: int, chance: float, at: slice, into: lots.Bits) -> None:
    """Write ``lots.mask`` into ``into``."""
    if available(torch.device("cpu")):
        by_lot(seed, chance, at.start, into)
    else:
        into[:] = lots.mask(seed, chance, at)


def run(works: Sequence[Work], pieces: Pieces) -> bool:
    """Do all of ``works``, which are on one device; False where none is done, and the atoms have to do them."""
    if not works or not available(works[0].out.device) or not all(work.fits() for work in works):
        return False
    if works[0].out.device.type == "cpu":
        for work in works:
            loop(work, pieces)
        return True
    if not all(work.aligned() for work in works):
        return False
    launch(works)
    return True


def loop(work: Work, pieces: Pieces) -> None:
    """Do a work that fits on the CPU, wherever numba is."""
    from mergelab.methods import loops

    row, kinds, steps = np.array(work.row()), _kinds(work.tensors), work.form()[-4:]
    pieces.map(work.out.numel(), lambda at: loops.merge(row, kinds, *steps, at.start, at.stop))


def add(one: Sum, pieces: Pieces) -> None:
    """Do a sum that fits, wherever numba is."""
    from mergelab.methods import loops

    row, kinds, divides = np.array(one.row()), _kinds((one.out, *one.models)), one.divisor is not None
    pieces.map(one.out.numel(), lambda at: loops.mix(row, kinds, divides, at.start, at.stop))


def by_lot(seed: int, chance: float, start: int, into: lots.Bits) -> None:
    """Draw whole uint8 of a mask, from ``start`` on, wherever numba is; there is a chance."""
    from mergelab.methods import loops

    loops.draw(seed & 0xFFFFFFFF, seed >> 32, lots.below(chance) - 1, start, into)


def scanner(models: Sequence[Tensor], base: Tensor) -> Scan:
    """What looks at the magnitudes of plain tensors on the CPU, wherever numba is."""
    from mergelab.methods.scanner import Scanner

    return Scanner(models, base, _kinds((base, *models)).tolist())


def launch(works: Sequence[Work]) -> None:
    """Do all of ``works``, which fit the kernel, wherever triton runs: one launch for those that are alike."""
    from mergelab.methods import kernel

    alike: dict[tuple[Any, ...], list[Work]] = {}
    for work in works:
        alike.setdefault(work.form(), []).append(work)
    for form, group in alike.items():
        for at in range(0, len(group), _MOST):
            some = group[at : at + _MOST]
            kernel.launch([work.row() for work in some], form, some[0].out.device)


def available(device: torch.device) -> bool:
    """Whether one pass on ``device`` is known to give the bits that the atoms give on the CPU.

    On the CPU that is tried out aside once ``prepare`` was called, and until it is known the answer is no. On CUDA the
    first call waits for the device, and for a second or two until the kernel is compiled.
    """
    return trial.passed_already() if device.type == "cpu" else _on_cuda(device)


def prepare(device: torch.device) -> None:
    """Begin to try out what ``available`` tells of the CPU: soon there will be enough to do on ``device``.

    It takes some two seconds of a processor, and eight where nothing was compiled before: a single weighted sum of two
    models is done before that would pay.
    """
    if device.type == "cpu":
        trial.begun()


def awaited(heed: Callable[[], object]) -> None:
    """Wait, once ``prepare`` was called, until it is known what ``available`` tells of the CPU: a second at most, for
    no compiler is waited for. ``heed`` is called again and again, and may end that by an error.
    """
    trial.awaited(heed)


def ready(device: torch.device) -> bool:
    """``available``, after waiting until it is known."""
    return trial.begun().result() if device.type == "cpu" else available(device)


@cache
def _on_cuda(device: torch.device) -> bool:
    try:
        return device.type == "cuda" and proven(device)
    except Exception:  # noqa: BLE001 - a library absent, without a compiler, too old: whatever it is, the atoms do the work
        return False


def proven(device: torch.device) -> bool:
    """Whether TIES on random tensors comes out of the kernel on ``device`` as the atoms have it on the CPU, bit for
    bit.
    """
    from mergelab.methods.atoms import agreed  # which have this module below them
    from mergelab.methods.chain import chain
    from mergelab.methods.sparsify import divide, trim_below

    draws = torch.Generator().manual_seed(0)
    base, *models = (torch.randn(4096, generator=draws).bfloat16() for _ in range(4))
    weight, cutoff, density = (0.3, 0.7, -0.4), (1.0, 0.1, 0.5), (0.3, 0.9, 0.7)
    expected, out = torch.empty_like(base), torch.empty_like(base, device=device)
    steps = trim_below(cutoff), divide(density), *agreed(weight, normalize=True, factor=0.9)
    with Pieces(base.device) as pieces:
        chain(models, base, *steps).by_atoms(torch.float32, expected, pieces, {})
    terms = [
        Term(model.to(device), weight[place], Threshold(cutoff[place], model.numel()), share=density[place])
        for place, model in enumerate(models)
    ]
    launch([Work(terms, base.to(device), out, elect=True, divisor=None, factor=0.9)])
    return torch.equal(out.cpu(), expected)


def _finite(numbers: Sequence[float]) -> bool:
    """As float32 too."""
    return all(abs(number) <= _LARGEST for number in numbers)


def _plain(tensors: Sequence[Tensor]) -> bool:
    return all(one.dtype in _DTYPES and one.is_contiguous() for one in tensors)


def _kinds(tensors: Sequence[Tensor]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """As the loops know dtypes: their places in ``_DTYPES``."""
    return np.array([_DTYPES.index(one.dtype) for one in tensors])


def _bits(number: float) -> int:
    """Of the float32 nearest to it."""
    return struct.unpack("<i", struct.pack("<f", number))[0]
