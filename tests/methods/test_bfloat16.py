"""bfloat16 models: ours computes in float32 and rounds once, mergekit's task-vector family and others in bfloat16.

Its formulas stand here in its order of operations, to be run in that dtype. The distance is to the float64 references.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from tests.methods.table import BY_NAME, Case

Theirs = Callable[..., Tensor]
FAMILY = ("task_arithmetic", "ties", "breadcrumbs", "breadcrumbs_ties")


def linear(models: list[Tensor], base: Tensor | None, weight: Sequence[float]) -> Tensor:
    """The one that mergekit, too, accumulates in float32."""
    total = torch.zeros_like(models[0], dtype=torch.float32)
    for model, factor in zip(models, weight, strict=True):
        total = total.addcmul(model.float(), torch.tensor(factor))
    return (total / sum(weight)).bfloat16()


def task_vectors(
    models: list[Tensor],
    base: Tensor,
    weight: Sequence[float],
    density: float = 1.0,
    gamma: float | None = None,
    elect: bool = False,
    normalize: bool = False,
    lambda_: float = 1.0,
) -> Tensor:
    """Trim, weigh, elect, sum, normalize, lambda, add."""
    taus = []
    for model in models:
        tau = model - base
        order = tau.abs().flatten().float().argsort(stable=True)
        keep = int(density * tau.numel())
        top = 0 if gamma is None else int(gamma * tau.numel())
        start = max(0, tau.numel() - keep - top)
        mask = torch.zeros(tau.numel(), dtype=tau.dtype)
        mask[order[start : start + keep]] = 1
        taus.append(tau * mask.view_as(tau))
    weights = [torch.tensor(one, dtype=base.dtype) for one in weight]
    parts = [one * tau for one, tau in zip(weights, taus, strict=True)]
    divisor = torch.stack(weights).sum()
    if elect:
        sign = torch.where(torch.stack(parts).sum(0) >= 0, 1, -1)
        agree = [part.sign() == sign for part in parts]
        parts = [part * mask for part, mask in zip(parts, agree, strict=True)]
        divisor = torch.stack([one * mask for one, mask in zip(weights, agree, strict=True)]).sum(0)
        divisor = torch.where(divisor == 0, 1, divisor)
    merged = torch.stack(parts).sum(0)
    merged = merged / divisor if normalize else merged
    return base + merged * lambda_


def model_stock(models: list[Tensor], base: Tensor) -> Tensor:
    taus = [(model - base).flatten() for model in models]
    pairs = list(itertools.combinations(taus, 2))
    cosine = sum(((x * y).sum() / (x.norm() * y.norm()).clamp_min(1e-6)).clamp(-1, 1) for x, y in pairs) / len(pairs)
    t = len(models) * cosine / (1 + (len(models) - 1) * cosine)
    return t * (sum(models) / len(models)) + (1 - t) * base


def sce(models: list[Tensor], base: Tensor, select_topk: float) -> Tensor:
    taus = torch.stack([model - base for model in models])
    variance = taus.var(0, unbiased=False)
    order = variance.flatten().float().argsort(descending=True, stable=True)
    mask = torch.zeros(order.numel(), dtype=base.dtype)
    mask[order[: int(variance.count_nonzero() * select_topk)]] = 1
    taus = taus * mask.view_as(base)
    sign = torch.where(taus.sum(0) >= 0, 1, -1)
    energy = (taus**2).mean((1, 2))
    weight = (energy / energy.sum())[:, None, None] * (taus.sign() == sign)
    return base + (weight * taus).sum(0) / weight.sum(0).clamp_min(1e-6)


def nuslerp(models: list[Tensor], base: Tensor | None, weight: Sequence[float]) -> Tensor:
    x, y = models if base is None else [model - base for model in models]
    t = weight[1] / sum(weight)
    theta = ((x / x.norm().clamp_min(1e-7)) * (y / y.norm().clamp_min(1e-7))).sum().clamp(-1, 1).acos()
    merged = (x * ((1 - t) * theta).sin() + y * (t * theta).sin()) / theta.sin()
    return merged if base is None else base + merged


@pytest.mark.parametrize(
    ("name", "theirs", "numbers", "own"),
    [
        ("linear", linear, {"weight": [0.4, 0.3, 0.8]}, {}),
        ("task_arithmetic", task_vectors, {"weight": [0.5, 0.3, 0.4], "lambda": 1.3, "normalize": True}, {}),
        ("task_arithmetic", task_vectors, {"weight": [0.5, 0.3, -0.2]}, {}),
        ("ties", task_vectors, {"weight": [1.0, 0.6, 0.3], "density": 0.4, "normalize": True}, {"elect": True}),
        ("breadcrumbs", task_vectors, {"weight": [0.5, 0.8, 0.3], "density": 0.7, "gamma": 0.05}, {}),
        ("breadcrumbs_ties", task_vectors, {"weight": [0.5, 0.8, 0.3], "density": 0.7, "gamma": 0.05}, {"elect": True}),
        ("model_stock", model_stock, {}, {}),
        ("sce", sce, {"select_topk": 0.4}, {}),
        ("nuslerp", nuslerp, {"weight": [0.7, 0.2]}, {}),
        ("nuslerp", nuslerp, {"weight": [0.7, 0.2]}, {"base": None}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("seed", range(3))
def test_ours_is_nowhere_farther_from_float64_than_arithmetic_in_bfloat16(
    name: str, theirs: Theirs, numbers: dict[str, object], own: dict[str, object], seed: int
) -> None:
    """Element by element, but for half a unit in the last place where float64 lies between two bfloat16 numbers."""
    generator = torch.Generator().manual_seed(seed)
    row = BY_NAME[name]
    base = (0.03 * torch.randn(48, 40, generator=generator)).bfloat16()
    count = row.method.inputs[1] or 3
    models = [(base.float() + 0.004 * torch.randn(48, 40, generator=generator)).bfloat16() for _ in range(count)]
    ground = None if row.method.base == "none" else own.get("base", base)
    given = {"lambda_" if key == "lambda" else key: value for key, value in numbers.items()}
    wanted = Case(row, tuple(models), ground, numbers).expected()
    ours = Case(row, tuple(models), ground, numbers).merge()
    other = theirs(models, ground, **given, **{key: value for key, value in own.items() if key != "base"})
    assert ours.dtype == other.dtype == torch.bfloat16
    mine, alien = ((one.double() - wanted).abs() for one in (ours, other))
    assert (mine <= alien + 1e-6 * wanted.abs()).all()
    assert mine.sum() < alien.sum() or name == "linear"
    assert alien.mean() <= 3e-4  # a tenth of what a model changed, and less: the formula is theirs, not some other
