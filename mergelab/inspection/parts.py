"""Parts: which modules of a layer write to the residual stream, found by what they give and not by their names."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from mergelab.inspection.double import given, hidden_of, taken

MOST = 3  # writers that one layer may have
SIZES = (0.1, 0.01, 0.001, 1.0)  # root mean square of the states that a layer is tried with
ENOUGH = 4096  # numbers that are compared to find a sum; it is proved on all
_SURE = 36.0  # a coefficient is not what it was taken for where it is six standard errors off
_FINE = 0.01  # standard error of a factor, relative: parts are no better known than that

_NAMES = {
    "attention": re.compile(r"attn|attention"),
    "feed-forward": re.compile(r"mlp|ffn|feed_?forward|moe|expert|(^|\.)(fc|ff)\d?($|\.)"),
}


class Writer(NamedTuple):
    """A module that writes to the stream.

    Attributes:
        role: ``"attention"``, ``"feed-forward"``, else the sub-layer's name.
        path: where in the layer it is.
        factor: what its output is multiplied by before it is added.
    """

    role: str
    path: str
    factor: float


def role_of(path: str) -> str:
    """What a sub-layer is, guessed from its name: this says how it is called, and decides nothing."""
    return next((role for role, names in _NAMES.items() if names.search(path.lower())), path.partition(".")[0])


def is_plain(module: torch.nn.Module) -> bool:
    """Whether a module has none inside, and no matrix: norms are so, and activations."""
    return not module._modules and all(one.ndim < 2 for one in module._parameters.values() if one is not None)


def decompose(layer: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Writer, ...]:
    """Modules of a layer whose outputs, times a factor each, add up to what it adds to the stream.

    The layer is called with small random states, so that what it adds stands out of the rounding of the stream. Last it
    is called with the states it was called with: the sum has to hold there too, and what layers leave for each other in
    a mapping they share is as it was.

    Args:
        layer: a double of the layer; hooks are hung on it.
        args, named: what the layer was called with.

    Returns:
        In order of execution; () where there is no such sum of up to 3 outputs, or more than one, or where rounding
        leaves a factor uncertain by more than 1 %.
    """
    tried = _Tried(layer)
    states = taken(args, named)
    drawn = torch.randn(states.shape, generator=torch.Generator().manual_seed(0)).to(states.device)
    most = 0
    for size in SIZES:
        before = (drawn * size).to(states.dtype)
        after = tried.call(before, args, named)
        names = distinct(tried.outputs)
        found = add_up(before, after, [tried.outputs[name] for name in names])
        if len(found) < most:  # what was seen before is hidden by the rounding here
            continue
        most = len(found)
        if not found or any(error > _FINE * abs(by) for _, by, error in found):
            continue
        writers = tuple(Writer(role_of(tried.origins.get(names[at], names[at])), names[at], by) for at, by, _ in found)
        after = tried.call(states, args, named)
        added = sum(tried.outputs[path].double() * factor for _, path, factor in writers)
        sizes = sum(tried.outputs[path].double().abs() * abs(factor) for _, path, factor in writers)
        error = _rounding(states.double(), after.double(), sizes, after.dtype)
        if bool(((after.double() - states.double() - added).abs() <= error).all()):
            return writers
    return ()


class _Tried:
    """A layer that is called to see what its modules give.

    Attributes:
        outputs: of the modules that give a state for each token, once, by path, in order of execution; in the shape of
            the stream.
        origins: whose output a norm read, by the norm's path.
    """

    def __init__(self, layer: Any) -> None:
        self.outputs: dict[str, torch.Tensor] = {}
        self.origins: dict[str, str] = {}
        self._layer = layer
        self._given: dict[str, torch.Tensor] = {}
        self._times: Counter[str] = Counter()
        self._shape = torch.Size()
        for name, module in layer.named_modules():
            if name:
                module.register_forward_hook(self._record(name))

    def call(self, before: torch.Tensor, args: tuple[Any, ...], named: Mapping[str, Any]) -> torch.Tensor:
        """What the layer makes of other states."""
        self.outputs, self.origins, self._given, self._times, self._shape = {}, {}, {}, Counter(), before.shape
        again, named_again = given(before.clone(), args, named)
        after = hidden_of(self._layer(*again, **named_again))
        self.outputs = {name: output for name, output in self.outputs.items() if self._times[name] == 1}
        return after

    def _record(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, read: tuple[Any, ...], output: Any) -> None:
            state = output[0] if isinstance(output, tuple | list) and output else output
            if not isinstance(state, torch.Tensor) or not state.is_floating_point() or not self._fits(state):
                return
            if read and is_plain(module):
                origin = next((key for key, own in self._given.items() if own is read[0]), None)
                self.origins |= {} if origin is None else {name: origin}
            self._given[name] = state
            self.outputs[name] = state.clone().reshape(self._shape)  # it may be added to in place
            self._times[name] += 1

        return hook

    def _fits(self, state: torch.Tensor) -> bool:
        """Whether it is the stream's shape, or that of its tokens in one row, as mixtures of experts have them."""
        return state.shape in (self._shape, (self._shape[:-1].numel(), self._shape[-1]))


def distinct(outputs: Mapping[str, torch.Tensor]) -> list[str]:
    """Paths of outputs that differ and are not zero, in order of execution; of equal ones the outermost module's."""
    kept: list[str] = []
    for name, output in outputs.items():
        same = next((one for one in kept if torch.equal(outputs[one], output)), None)
        if same is not None:
            kept[kept.index(same)] = min(same, name, key=lambda path: path.count("."))
        elif output.any():
            kept.append(name)
    return kept


def add_up(
    before: torch.Tensor, after: torch.Tensor, outputs: Sequence[torch.Tensor]
) -> list[tuple[int, float, float]]:
    """Which outputs, times a factor each, add up to after - before: as few as will do, to rounding.

    Args:
        before, after: the stream, of one shape and dtype.
        outputs: of the same shape.

    Returns:
        Index, factor and the factor's standard error of each; [] where none do, where another choice of as many does
        as well, where the rest still has something of another output in it, or where something is not finite.
    """
    every = max(1, before.numel() // ENOUGH) | 1  # odd, so that no width is a multiple of it but for chance
    start, end, *columns = (one.flatten()[::every].double() for one in (before, after, *outputs))
    if not all(bool(one.isfinite().all()) for one in (end, *columns)):
        return []
    for count in range(1, min(MOST, len(columns)) + 1):
        fitting = []
        for chosen in itertools.combinations(range(len(columns)), count):
            matrix = torch.stack([columns[at] for at in chosen], 1)
            fitted = _fit(start, end, matrix, after.dtype)
            if fitted is not None and not _more(start, end, matrix, fitted[0], columns, chosen, after.dtype):
                fitting.append(list(zip(chosen, *(one.tolist() for one in fitted), strict=True)))
        if fitting:
            return fitting[0] if len(fitting) == 1 else []
    return []


def _fit(
    start: torch.Tensor, end: torch.Tensor, matrix: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Factors with which columns add up to end - start, and their standard errors, float64; None: they do not.

    Ones, if ones will do: to rounding, element by element, and within the standard errors of the best factors.
    """

    def sums(factors: torch.Tensor) -> bool:
        error = _rounding(start, end, (matrix * factors).abs().sum(1), dtype)
        return bool(((matrix @ factors - (end - start)).abs() <= error).all())

    error = _rounding(start, end, matrix.abs().sum(1), dtype)
    weighted, aim = matrix / error[:, None], (end - start) / error
    fitted = torch.linalg.lstsq(weighted, aim[:, None]).solution[:, 0]
    if not sums(fitted):
        return None
    variances = (aim - weighted @ fitted).square().mean() * torch.linalg.pinv(weighted.T @ weighted).diagonal()
    ones = torch.ones_like(fitted)
    near = bool(((fitted - ones) ** 2 <= _SURE * variances + 1e-12).all())
    return ones if near and sums(ones) else fitted, variances.sqrt()


def _more(
    start: torch.Tensor, end: torch.Tensor, matrix: torch.Tensor, factors: torch.Tensor,
    columns: Sequence[torch.Tensor], chosen: Sequence[int], dtype: torch.dtype,
) -> bool:  # fmt: skip
    """Whether what the sum leaves over has a further output in it, too small to stand out of the rounding."""
    weight = 1 / _rounding(start, end, (matrix * factors).abs().sum(1), dtype)
    rest = (end - start - matrix @ factors) * weight
    basis = torch.linalg.qr(matrix * weight[:, None]).Q
    noise = (rest @ rest) / len(rest)
    if not noise:
        return False
    for at, column in enumerate(columns):
        if at not in chosen:
            other = column * weight
            size = other @ other
            other = other - basis @ (basis.T @ other)
            seen = (other @ rest) ** 2 / (other @ other)
            if other @ other > 1e-6 * size and seen > _SURE * noise:
                return True
    return False


def _rounding(start: torch.Tensor, end: torch.Tensor, parts: Any, dtype: torch.dtype) -> torch.Tensor:
    """How far a sum may be off by rounding, element by element."""
    return 2 * torch.finfo(dtype).eps * (start.abs() + end.abs() + parts) + 1e-30
