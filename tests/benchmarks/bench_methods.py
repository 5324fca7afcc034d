"""What the methods cost: ``python tests/benchmarks/bench_methods.py [--n 10000000] [--threads 1]``.

Methods: bytes that must move (every input read once, the result written once) by the time it takes, beside the copying
of as many bytes; "again" with what was found out about the same task vectors before, as when a weight is turned.
Selection: a mask of the k largest magnitudes, k = n / 5, beside the same by ``torch.topk``, whose
ties fall as they may.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from mergelab import methods
from mergelab.methods import Method, fused, select
from mergelab.methods.vectors import Found

ROW = 1024  # elements: the length of a row of the matrices that are merged
PATIENCE = 2.0  # seconds: what takes longer is timed once
SETTINGS = {"weight": 0.3, "t": 0.3, "density": 0.5, "select_topk": 0.5, "scale": 0.5}


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The best of ``repeats`` runs after one to warm up, or that one where it takes long."""
    best = float("inf")
    for turn in range(repeats + 1):
        start = time.perf_counter()
        run()
        spent = time.perf_counter() - start
        if turn or spent > PATIENCE:
            best = min(best, spent)
        if spent > PATIENCE:
            break
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000_000, help="elements of each tensor")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--only", default="", help="methods whose names contain this")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    fused.ready(torch.device("cpu"))
    rows = max(1, options.n // ROW)
    print(f"{rows:,} x {ROW:,} {options.dtype} values, {options.threads} thread(s), torch {torch.__version__}\n")
    draws = torch.Generator().manual_seed(0)
    tensors = torch.randn(4, rows, ROW, generator=draws).to(getattr(torch, options.dtype))
    show_methods(tensors, options.only, options.repeats)
    if not options.only:
        show_selection(options.repeats)


def show_methods(tensors: Tensor, only: str, repeats: int) -> None:
    copied = torch.empty_like(tensors[0])
    bandwidth = 2 * copied.nbytes / seconds(lambda: copied.copy_(tensors[0]), repeats)
    print(f"{'':40}{'models':>7}{'seconds':>10}{'GB/s':>8}{'of copying':>12}")
    print(f"{'copying':40}{1:7}{2 * copied.nbytes / bandwidth:10.4f}{bandwidth / 1e9:8.2f}{1:12.0%}")
    for name in methods.names():
        if only in name:
            for label, numbers in settings(methods.get(name)):
                show_method(methods.get(name), label, numbers, tensors, bandwidth, repeats)


def settings(method: Method) -> list[tuple[str, dict[str, float]]]:
    """What to run a method with: its defaults, and once more with half of the elements."""
    known = {name: value for name, value in SETTINGS.items() if name in method.parameters}
    thin = {name: known.pop(name) for name in ("density", "select_topk") if name in known}
    thin = {name: value for name, value in thin.items() if method.parameters[name].effect}
    label = ", ".join(f"{name} {value}" for name, value in thin.items())
    return [(method.name, known), *([(f"{method.name}, {label}", known | thin)] if thin else [])]


def show_method(
    method: Method, label: str, numbers: dict[str, float], tensors: Tensor, bandwidth: float, repeats: int
) -> None:
    *models, base = tensors
    given = models[: method.inputs[1] or len(models)]
    of = base if method.base == "required" else None
    found: dict[tuple[int, Hashable], object] = {}
    out = torch.empty_like(base)
    runs = [(label, None)] + ([(f"{label}, again", found)] if "density" in numbers else [])
    for said, known in runs:

        def run(known: Found | None = known) -> None:
            methods.apply(method, given, of, numbers, dtype=base.dtype, found=known, out=out)

        spent = seconds(run, repeats)
        speed = (len(given) + (of is not None) + 1) * base.nbytes / spent
        print(f"{said:40}{len(given):7}{spent:10.4f}{speed / 1e9:8.2f}{speed / bandwidth:12.1%}", flush=True)


def show_selection(repeats: int) -> None:
    print(f"\n{'the largest fifth, microseconds':40}{'n':>12}{'topk':>11}{'ours':>11}{'topk / ours':>13}")
    generator = torch.Generator().manual_seed(0)
    for size in (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        values = torch.randn(size, generator=generator)
        step = values.bfloat16()  # a fine-tuning in bfloat16 leaves many weights where they were
        tuned = ((step.float() + 0.004 * torch.randn(size, generator=generator)).bfloat16() - step).float()
        for kind, given in (("normal values", values), ("differences of bfloat16", tuned)):
            show_mask(kind, given, repeats * max(1, 1_000_000 // size))


def show_mask(kind: str, values: Tensor, repeats: int) -> None:
    k = len(values) // 5
    torchs = seconds(lambda: top_mask(values, k), repeats)
    ours = seconds(lambda: select.largest(values, k), repeats)
    columns = f"{1e6 * torchs:11.0f}{1e6 * ours:11.0f}{torchs / ours:13.1f}"
    print(f"{kind:40}{len(values):12,}{columns}", flush=True)


def top_mask(values: Tensor, k: int) -> Tensor:
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[torch.topk(values.abs(), k, sorted=False).indices] = True
    return mask


if __name__ == "__main__":
    main()
