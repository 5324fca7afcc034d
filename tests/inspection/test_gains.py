"""Effective gains: found by probing, for every convention, width and dtype."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mergelab.errors import InspectionError
from mergelab.inspection.gains import probe_norm


class Rms(nn.Module):
    """w * x / rms(x), or (1 + w) * x / rms(x), as families store it; heads of their own where ``shape`` has two."""

    def __init__(self, weight: Tensor, plus: float) -> None:
        super().__init__()
        self.weight, self.plus = nn.Parameter(weight), plus

    def forward(self, state: Tensor) -> Tensor:
        wide = state.float()
        normal = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)
        return ((self.plus + self.weight.float()) * normal).to(state.dtype)


class Gated(Rms):
    def forward(self, state: Tensor, gate: Tensor | None = None) -> Tensor:
        return super().forward(state) * nn.functional.silu(gate.float())  # type: ignore[union-attr]


class Squashed(Rms):
    """No norm, though it looks like one to a probe of one loudness: it forgets the loudness of each channel."""

    def forward(self, state: Tensor) -> Tensor:
        return self.weight * state.sign()


DTYPES = st.sampled_from((torch.float32, torch.bfloat16, torch.float16))


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(2, 33), st.sampled_from((0.0, 1.0)), st.integers(0, 99), DTYPES, st.sampled_from(((), (3,))))
@settings(max_examples=40)
def test_the_gain_is_what_the_module_multiplies_by(
    width: int, plus: float, seed: int, dtype: torch.dtype, heads: tuple[int, ...]
) -> None:
    weight = drawn(seed, *heads, width).to(dtype)
    weight.view(-1)[0] = 0
    found = probe_norm(Rms(weight, plus))
    torch.testing.assert_close(found.gain, (plus + weight.double()).flatten(), rtol=2e-6, atol=2e-6)
    assert found.bias.abs().max() < 1e-6
    assert found.dtype == str(dtype).removeprefix("torch.")


@given(st.integers(2, 33), st.integers(0, 99), DTYPES)
@settings(max_examples=30)
def test_layer_norms_have_gain_and_bias(width: int, seed: int, dtype: torch.dtype) -> None:
    norm = nn.LayerNorm(width, dtype=dtype)
    with torch.no_grad():
        norm.weight.copy_(drawn(seed, width))
        norm.bias.copy_(drawn(seed + 1, width))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    found = probe_norm(norm)
    torch.testing.assert_close(found.gain, norm.weight.detach().double(), rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(found.bias, norm.bias.detach().double(), rtol=2e-6, atol=2e-6)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("plus", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_is_what_storing_may_move(plus: float, dtype: torch.dtype) -> None:
    """And not much more than that: some gains are moved by nearly as much."""
    true = drawn(5, 4000) * 0.3 + 1 - plus
    stored = probe_norm(Rms(true.to(dtype), plus))
    moved = (stored.gain - (plus + true.double())).abs()
    assert (moved <= stored.rounding * 1.01).all()
    assert (moved > 0.8 * stored.rounding).sum() > 40


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.LayerNorm(6, elementwise_affine=False), "has no parameters"),
        (Rms(torch.tensor([1.0, torch.nan, torch.inf]), 0.0), "holds 2 of 3 numbers that are not finite"),
        (Gated(drawn(1, 6), 0.0), "cannot be probed with a state alone"),
        (Squashed(drawn(2, 6), 0.0), "no gain and bias on a normalised state"),
    ],
)
def test_what_is_no_gain_is_said(module: nn.Module, said: str) -> None:
    with pytest.raises(InspectionError, match=said) as caught:
        probe_norm(module, "layers.3.norm")
    assert caught.value.problems[0].where == "layers.3.norm"
