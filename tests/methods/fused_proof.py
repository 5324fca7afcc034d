"""The fused kernel, run by Triton's interpreter on the CPU, beside the atoms: bit for bit the same.

A program of its own (test_fused.py starts it), because triton reads TRITON_INTERPRET when it is imported.
"""

from __future__ import annotations

import functools
import math
import random
import sys
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

from mergelab import methods
from mergelab.methods import fused, kernel

DTYPES = (torch.bfloat16, torch.float32, torch.float16)
SHAPES = ((16,), (8, 128), (43, 48), (16, 321))
ODD = (0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-40, -3e-39, 3e38, -3e38, 65519.0, 65520.0)
NAMES = (
    "task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties",
)  # fmt: skip
interpreted = interpreter._convert_float


def convert(values: np.ndarray, start: tl.dtype, end: tl.dtype, rounding: object) -> np.ndarray:
    """The interpreter drops bits where it makes bfloat16; a device rounds (cvt.rn), which torch does here instead."""
    if (start, end) == (tl.float32, tl.bfloat16):
        return torch.tensor(values.view(np.float32)).bfloat16().view(torch.int16).numpy().view(np.uint16)
    if (start, end) == (tl.bfloat16, tl.float32):
        return values.view(np.uint16).astype(np.uint32) << 16
    return interpreted(values, start, end, rounding)


def tensor(draws: random.Random, shape: tuple[int, ...]) -> torch.Tensor:
    """Often few distinct values, so that magnitudes are equal and sums cancel; in some a share of odd ones."""
    size = math.prod(shape)
    generator = torch.Generator().manual_seed(draws.getrandbits(40))
    steps = draws.choice((2, 8, 1000))
    values = torch.randn(size, generator=generator).mul_(steps).round_().div_(steps)
    if draws.random() < 0.2:
        places = torch.randint(size, (1 + size // 20,), generator=generator)
        values[places] = torch.tensor(ODD)[torch.randint(len(ODD), places.shape, generator=generator)]
    return values.to(draws.choice(DTYPES)).view(shape)


def numbers(draws: random.Random, name: str, count: int) -> dict[str, Any]:
    """Of a recipe."""

    def drawn(*values: float) -> list[float]:
        return [draws.choice(values) for _ in range(count)]

    weight = drawn(0.0, 0.3, 0.7, 0.1, 0.2, 1.0, 1.0, -0.3, -1.000003, -1.0000005)
    given: dict[str, Any] = {"weight": weight, "normalize": draws.random() < 0.6, "lambda": draws.choice((1, 0.3, -2))}
    if name != "task_arithmetic":
        given |= {"density": drawn(0.0, 0.1, 0.5, 0.9, 1.0), "rescale": draws.random() < 0.7}
    if name.startswith("breadcrumbs"):
        given["gamma"] = drawn(0.0, 0.05, 0.3)
    if name.startswith("della"):
        given |= {"density": drawn(0.2, 0.5, 0.9, 1.0), "epsilon": 0.05}
    if name.startswith(("dare", "della")):
        given["rescale_by"] = draws.choice(("norm", "probability"))
    return given


def different(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Where bits differ, those of zeros too; but every NaN is NaN."""
    kind = torch.int32 if left.dtype == torch.float32 else torch.int16
    return (left.view(kind) != right.view(kind)) & ~(left.isnan() & right.isnan())


def taken(kept: list[fused.Work], works: list[fused.Work], _: object) -> bool:
    """As on CUDA, where they would be done now."""
    fit = all(work.fits() and work.aligned() for work in works)
    kept += works if fit else []
    return fit


def main(seed: int, count: int) -> None:
    """Compare tensors of ``count`` recipes; those that the kernel can do are done together in few launches."""
    draws, works, pairs, about = random.Random(seed), [], [], []
    interpreter._convert_float, kernel._PROGRAMS = convert, 2
    for place in range(count):
        name = NAMES[place % len(NAMES)]
        method, models = methods.get(name), draws.choice((1, 2, 2, 3))
        given, form = numbers(draws, name, models), draws.getrandbits(40)
        if method.check(given, models):
            continue  # weights that cancel
        for shape in draws.sample(SHAPES, 2):
            chosen = random.Random(form)  # of the same dtypes in both shapes: one launch does both
            base, *others = (tensor(chosen, shape) for _ in range(models + 1))
            outs = [torch.full(shape, 7.0, dtype=(*DTYPES, torch.float32)[form % 4]) for _ in range(2)]
            for out, there in zip(outs, (False, True), strict=True):
                fused.available, fused.run = lambda _, there=there: there, functools.partial(taken, works)
                methods.apply(method, others, base, given, dtype=out.dtype, seed=place, name="x", out=out)
            pairs.append(outs)
            about.append((name, given, [base, *others]))
    assert len(works) > len(pairs) / 2, f"only {len(works)} of {len(pairs)} are left to the kernel"
    with np.errstate(all="ignore"):
        fused.launch(works)
        assert fused.proven(torch.device("cpu"))
    for (expected, out), (name, given, inputs) in zip(pairs, about, strict=True):
        wrong = different(out, expected).view(-1).nonzero().flatten()
        if len(wrong):
            at = int(wrong[0])
            of = [one.view(-1)[at].item() for one in (*inputs, expected, out)]
            raise SystemExit(f"{name} {given}: {len(wrong)} differ; at {at} of *inputs, expected, out: {of}")
    print(f"{len(works)} of {len(pairs)} tensors by the kernel, all equal")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ("1", "64")))
