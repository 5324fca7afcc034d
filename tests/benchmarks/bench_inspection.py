"""What looking at weights costs: ``python tests/benchmarks/bench_inspection.py [--layers 8] [--width 1024]``.

Two models are compared with their base, all in bfloat16: the one pass over the weights (sizes, cosine, conflict at any
density), beside copying. Copying as many bytes is what torch takes to copy the three models' weights, with as many
threads, each byte read once and written once; "of bandwidth" is bytes read by the pass over bytes read and written by
the copy, each in a second: half of it. Then what a turn of the density dial takes, and the largest private memory of
the pass: pages of mapped files, which the system takes back when it wants to, are not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mergelab.inspection.changes import task_vectors
from mergelab.weights import open_checkpoint
from tests.benchmarks import random_models
from tests.benchmarks.bench_methods import seconds

COPIED = 1 << 26  # elements
DENSITIES = [number / 50 for number in range(1, 51)]
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Figures:
    """Of one number of threads; seconds, bytes a second, bytes."""

    threads: int
    passed: float
    read: int
    copied: float
    dial: float
    private: int

    def __str__(self) -> str:
        speed = self.read / self.passed
        return (
            f"{self.threads:8}{self.passed:9.3f}{speed / 1e9:8.2f}{2 * speed / self.copied:19.0%}"
            f"{speed / self.copied:14.0%}{1000 * self.dial:10.2f}{self.private / 1e6:12.0f}"
        )


def main(arguments: Sequence[str] | None = None) -> list[Figures]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args(arguments)
    before = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "models"
        count = random_models.write(folder, random_models.llama(options.layers, options.width))
        print(f"{count / 1e6:.0f} M parameters, bfloat16, two models and their base, torch {torch.__version__}")
        print(" threads  seconds    GB/s  of copying as much  of bandwidth   dial ms  private MB")
        try:
            return [measured(folder, threads, options.repeats) for threads in options.threads]
        finally:
            torch.set_num_threads(before)


def measured(folder: Path, threads: int, repeats: int) -> Figures:
    torch.set_num_threads(threads)
    opened = [open_checkpoint(folder / name) for name in random_models.NAMES]
    copied = bandwidth(repeats)
    passed = seconds(lambda: task_vectors(*opened), repeats)
    private = largest_private(lambda: task_vectors(*opened))
    conflict = task_vectors(*opened).conflict()
    dial = seconds(lambda: [conflict.at(density) for density in DENSITIES], repeats) / len(DENSITIES)
    read = sum(one.bytes for one in opened)
    figures = Figures(threads, passed, read, copied, dial, private)
    print(figures, flush=True)
    return figures


def bandwidth(repeats: int) -> float:
    """Bytes read and written in a second by copying."""
    source = torch.ones(COPIED, dtype=torch.bfloat16)
    copy = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: copy.copy_(source), repeats)


def largest_private(run: Callable[[], object]) -> int:
    """By how many bytes private memory grows at most while something runs; 0 where the system does not tell."""
    if not STATUS.exists():
        return 0
    start, most, ended = _private(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            most[0] = max(most[0], _private() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        made = run()
        most[0] = max(most[0], _private() - start)
        del made
    finally:
        ended.set()
        watcher.join()
    return most[0]


def _private() -> int:
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon")]
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
