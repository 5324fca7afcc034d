"""Gains: what a normalisation multiplies and adds, found by probing the module itself.

No name and no convention is trusted: where Gemma multiplies by 1 + w and Llama by w, both are asked what they do to a
vector that they leave as it is but for their gain and bias.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mergelab.errors import InspectionError, Problem

LOUD = 64.0
"""Root mean square of the probe: far above the epsilon that norms add, far below where float16 ends."""
_AGREES = 1e-3


@dataclass(frozen=True, eq=False)
class Gain:
    """A normalisation as a function: ``f(x) = gain * normalised(x) + bias``.

    Attributes:
        gain: float64, shape (channels,); heads one after the other where each has its own.
        bias: same shape; zeros where there is none.
        rounding: same shape: how far storing the parameters once in their own dtype may have moved the gain, which is
            half a unit in the last place.
        dtype: of the stored parameters, ``"bfloat16"``.
    """

    gain: Tensor
    bias: Tensor
    rounding: Tensor
    dtype: str


def probe_norm(module: Any, where: str = "") -> Gain:
    """Effective gain and bias of a normalisation.

    x is +1 and -1 in turn, whose mean is 0 and whose root mean square is 1: any normalisation of mean, of scale or of
    both leaves it as it is, so ``gain = (f(x) - f(-x)) / 2x`` and ``bias = (f(x) + f(-x)) / 2``. Where the width is odd
    one channel is 0 and another probe finds that one. What was found is held against a random vector.

    Args:
        module: called with one tensor, shape (1, 1, channels) or (1, 1, heads, channels), float32; it is not changed.
        where: its path, for errors.

    Raises:
        InspectionError: it has no parameters, or some that are no finite numbers, wants more than a state (gated
            norms), or does something else to it.
    """
    parameters = [one for one in module.parameters() if one.is_floating_point()]
    if not parameters:
        raise InspectionError(Problem(where, "has no parameters.", "There is nothing that could drift."))
    broken = sum(int((~one.isfinite()).sum()) for one in parameters)
    if broken:
        what = f"holds {broken} of {sum(map(torch.Tensor.numel, parameters))} numbers that are not finite."
        raise InspectionError(Problem(where, what, "A merge or a training run broke it: look at the tensor."))
    shape = max(parameters, key=torch.Tensor.numel).shape
    device, dtype = parameters[0].device, parameters[0].dtype
    own = copy.deepcopy(module).float()
    state = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        try:
            gain, bias = _probed(own, shape, device)
            seen = _called(own, state)
        except Exception as error:  # a module of anybody's, called in a way that it may not know
            what = f"cannot be probed with a state alone ({type(error).__name__}: {error})."
            raise InspectionError(Problem(where, what, "A gated norm needs its gate; leave it out.")) from error
        centred = state - state.mean(-1, keepdim=True)
        ways = [way / way.square().mean(-1, keepdim=True).sqrt() for way in (state, centred)]
        if not any(bool((gain * way + bias - seen).norm() <= _AGREES * seen.norm()) for way in ways):
            raise InspectionError(
                Problem(where, "is no gain and bias on a normalised state.", "Its drift cannot be told.")
            )
        for parameter in own.parameters():
            parameter.mul_(1 + torch.finfo(dtype).eps / 2)
        nudged, _ = _probed(own, shape, device)
    rounding = (nudged - gain).abs() + 2 * torch.finfo(torch.float32).eps * gain.abs()  # the probe's own
    found = [one.double().cpu().flatten() for one in (gain, bias, rounding)]
    return Gain(found[0], found[1], found[2], str(dtype).removeprefix("torch."))


def _probed(module: Any, shape: torch.Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """Gain and bias, float32, of the given shape. Two probes: each finds the channels where it is not 0."""
    width = shape[-1]
    signs = torch.tensor([1.0, -1.0], device=device).repeat(width // 2 + 1)[:width]
    signs[width - width % 2 :] = 0
    signs *= (width / signs.count_nonzero()).sqrt()
    gain = bias = torch.full(shape, torch.nan, device=device)
    for probe in (signs.expand(shape), signs.roll(1).expand(shape)):
        up, down = (_called(module, side * LOUD * probe) for side in (1, -1))
        gain = torch.where(probe != 0, (up - down) / (2 * probe), gain)
        bias = torch.where(probe != 0, (up + down) / 2, bias)
    return gain, bias


def _called(module: Any, state: Tensor) -> Tensor:
    found: Tensor = module(state[None, None])[0, 0]
    return found.float()
