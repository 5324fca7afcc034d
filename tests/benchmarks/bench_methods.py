"""What the methods cost, as ratios within one run: ``python tests/benchmarks/bench_methods.py [--n 10000000]``.

The yardstick is a lerp of as many elements: two reads and one write at the speed of memory. The last column is the time
that reading and writing the bytes of the result once would take at that speed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from mergelab import methods
from mergelab.methods import select


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The best of ``repeats`` runs after one to warm up."""
    run()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000_000, help="elements of each tensor")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    generator = torch.Generator().manual_seed(0)
    base, first, second, third = torch.randn(4, options.n, generator=generator)
    k = options.n // 5
    counts = select.magnitude_counts(first)
    models = [first, second, third]

    def merge(name: str, given: list[torch.Tensor], of: torch.Tensor | None, **numbers: object) -> Callable[[], object]:
        method = methods.get(name)
        return lambda: methods.apply(method, given, of, numbers, dtype=first.dtype)

    yardstick = seconds(lambda: torch.lerp(first, second, 0.3), options.repeats)
    bytes_per_second = 3 * 4 * options.n / yardstick
    print(f"{options.n:,} float32 values, {options.threads} thread(s), torch {torch.__version__}")
    print(f"lerp: {yardstick:.4f} s, {bytes_per_second / 1e9:.1f} GB/s\n")
    print(f"{'':44}{'seconds':>9}{'x lerp':>9}{'x bound':>9}")

    # Tensors that must be read or written at least once.
    rows: list[tuple[str, int, Callable[[], object]]] = [
        ("k-th magnitude (k = n / 5), ours", 1, lambda: select.kth_magnitude(first, k)),
        ("k-th magnitude, counts at hand", 1, lambda: select.kth_magnitude(first, k, counts)),
        ("k-th magnitude, torch.kthvalue", 1, lambda: torch.kthvalue(first.abs(), options.n - k + 1)),
        ("mask of the k largest, ours", 1, lambda: select.largest(first, k)),
        ("mask of the k largest, counts at hand", 1, lambda: select.largest(first, k, counts)),
        ("mask of the k largest, torch.topk", 1, lambda: top_mask(first, k)),
        ("linear, 3 models", 4, merge("linear", models, None, weight=[0.5, 0.3, 0.2])),
        ("slerp", 3, merge("slerp", [first], base, t=0.3)),
        ("task_arithmetic, 3 models", 5, merge("task_arithmetic", models, base, weight=0.3)),
        ("ties, 3 models, density 1", 5, merge("ties", models, base, weight=0.3)),
        ("ties, 3 models, density 0.2", 5, merge("ties", models, base, weight=0.3, density=0.2)),
        ("ties, density 0.2, rescale", 5, merge("ties", models, base, weight=0.3, density=0.2, rescale=True)),
    ]
    for label, tensors, run in rows:
        spent = seconds(run, options.repeats)
        bound = tensors * 4 * options.n / bytes_per_second
        print(f"{label:44}{spent:9.4f}{spent / yardstick:9.1f}{spent / bound:9.1f}")


def top_mask(values: torch.Tensor, k: int) -> torch.Tensor:
    """The same mask by torch.topk; ties fall as they may."""
    mask = torch.zeros(values.numel(), dtype=torch.bool)
    mask[torch.topk(values.abs(), k, sorted=False).indices] = True
    return mask


if __name__ == "__main__":
    main()
