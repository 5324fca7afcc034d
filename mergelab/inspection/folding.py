"""Folding: a gain and the matrix that reads its norm's output are one matrix, ``W diag g``; only that product acts.

A model may hold a channel twice as loud in the norm and half as loud in the matrix and be the same model. So the drift
of a gain is looked at together with the drift of what reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mergelab.inspection.double import double
from mergelab.inspection.handles import dummy
from mergelab.inspection.passes import run

_ROWS = 1 << 22  # elements that are multiplied at once


class Reader(NamedTuple):
    """A matrix that reads a norm's output.

    Attributes:
        path: of its module.
        turned: whether the matrix is stored as (input, output), as GPT-2's are, not as (output, input).
    """

    path: str
    turned: bool


def readers(model: Any, norms: Sequence[str]) -> dict[str, tuple[Reader, ...]]:
    """The matrices that read each norm's output and nothing else, found by one pass over a few tokens.

    Args:
        model: nothing is left on it.
        norms: paths.

    Returns:
        By path of the norm; () where nothing that is known to be a matrix reads it (a norm before a sum, or one before
        attention scores), or where something else reads it too (experts, or a sum, as where the norm's output goes on
        as the residual stream).
    """
    stand_in = double(model)
    given: list[tuple[str, Tensor]] = []  # outputs of norms; held, so that no address is used twice
    found: dict[str, list[Reader]] = {norm: [] for norm in norms}
    opaque: list[str] = []

    def normed(path: str) -> Any:
        def hook(_module: Any, _args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                given.append((path, output))

        return hook

    def read(path: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> None:
            for state in (*args, *named.values()):
                norm = next((norm for norm, one in given if _same_memory(one, state)), None)
                if norm is not None:
                    turned = _turned(module, state, output)
                    if turned is None:
                        opaque.append(norm)
                    else:
                        found[norm].append(Reader(path, turned))

        return hook

    for path, module in stand_in.named_modules():
        if path in found:
            module.register_forward_hook(normed(path))
        elif any(one is not None and one.ndim > 1 for one in module._parameters.values()):
            module.register_forward_hook(read(path), with_kwargs=True)
    run(model, stand_in, dummy(model))
    whole = _whole(model, {norm: tuple(dict.fromkeys(found[norm])) for norm in norms if norm not in opaque})
    return {norm: whole.get(norm, ()) for norm in norms}


def folded_change(source: Any, base: Any, matrices: Sequence[Reader], gains: tuple[Tensor, Tensor]) -> float:
    """||W1 diag g1 - W0 diag g0|| / ||W0 diag g0||, Frobenius, over all matrices that read one norm.

    Args:
        source, base: models; the latter has modules at the paths of ``matrices``.
        gains: of the source's norm and of the base's, shape (channels,).

    Returns:
        NaN where the source lacks one or has it in another shape, where there is none, or where the base's are zero.
    """
    change = size = 0.0
    own, other = (gain.float() for gain in gains)
    modules, base_modules = dict(source.named_modules()), dict(base.named_modules())
    for path, turned in matrices:
        one, zero = getattr(modules.get(path), "weight", None), base_modules[path].weight.detach()
        if one is None or one.shape != zero.shape:
            return math.nan
        one = one.detach()
        step = max(1, _ROWS // one.shape[1])
        for start in range(0, len(one), step):
            rows = slice(start, start + step)
            scales = (own[rows, None], other[rows, None]) if turned else (own, other)
            before = zero[rows].float() * scales[1].to(zero.device)
            after = one[rows].float() * scales[0].to(one.device)
            change += _squares(after - before.to(after.device))
            size += _squares(before)
    return math.sqrt(change / size) if size else math.nan


def _whole(model: Any, found: Mapping[str, tuple[Reader, ...]]) -> Mapping[str, tuple[Reader, ...]]:
    """Those whose matrices are all that reads the norm's output. Most models have no others, and need one pass."""
    if not _reaches_more(model, found):
        return found
    return {norm: ones for norm, ones in found.items() if ones and not _reaches_more(model, {norm: ones})}


def _reaches_more(model: Any, matrices: Mapping[str, Sequence[Reader]]) -> bool:
    """Whether the output of one of these norms reaches anything but its matrices.

    Norms give NaN, and the matrices alone get what was true: where logits are NaN something else has read it.
    """
    stand_in = double(model)
    given: list[tuple[Tensor, Tensor]] = []  # what each norm gave, and what was true

    def spoil(_module: Any, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        given.append((torch.full_like(output, math.nan), output))
        return given[-1][0]

    def true(state: Any) -> Any:
        return next((one.reshape(state.shape) for spoilt, one in given if _same_memory(spoilt, state)), state)

    def mend(_module: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(map(true, args)), {name: true(state) for name, state in named.items()}

    for norm in (norm for norm, ones in matrices.items() if ones):
        stand_in.get_submodule(norm).register_forward_hook(spoil)
    for path in dict.fromkeys(one.path for ones in matrices.values() for one in ones):
        stand_in.get_submodule(path).register_forward_pre_hook(mend, with_kwargs=True)
    return bool(run(model, stand_in, dummy(model)).isnan().any())


def _squares(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2


def _same_memory(one: Tensor, other: Any) -> bool:
    """Whether the other is the same numbers in the same place, under another shape perhaps."""
    return (
        isinstance(other, Tensor)
        and other.is_floating_point()
        and one.data_ptr() == other.data_ptr()
        and one.numel() == other.numel()
        and one.shape[-1] == other.shape[-1]
    )


def _turned(module: Any, state: Tensor, output: Any) -> bool | None:
    """Which way round a module multiplies with its ``weight``; None: it does something else."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or not isinstance(output, Tensor):
        return None
    for turned, matrix in ((False, weight.T), (True, weight)):
        if matrix.shape == (state.shape[-1], output.shape[-1]):
            made = state.reshape(-1, len(matrix)) @ matrix + (0 if bias is None else bias)
            seen = output.reshape(made.shape)
            if bool((made - seen).float().norm() <= 0.02 * seen.float().norm()):
                return turned
    return None
