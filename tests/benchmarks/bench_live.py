"""What a turn of a dial costs, as ratios within one run: ``python tests/benchmarks/bench_live.py [--device cuda]``.

On the sample family, from a change of the recipe to the next-token figures. The yardstick is what one does without
mergelab's live model: merge to a folder, load it with transformers, run the prompt.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from mergelab import sample
from mergelab.models import assemble, merge
from mergelab.recipes import Recipe, stack
from mergelab.weights import open_checkpoint

PROMPT = "27+35="


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    logging.disable_progress_bar()
    base, host, donor = (open_checkpoint(sample.path(name)) for name in ("base", "arithmetic", "pirate"))
    turns = count()

    def recipe(layers: range, start: int = 2) -> Recipe:
        """A graft whose coefficient is new at ``layers`` each time it is asked for."""
        share = 0.3 + (next(turns) % 1000) / 2000
        curve = [share if layer in layers else 0.5 for layer in range(10)]
        blocks = [(host, 0, start), (donor, start, 4), (host, 4, 10)]
        return stack(blocks, base=base, method="linear", coefficient=curve)

    live = assemble(recipe(range(10)), device=options.device)
    ids = live.tokenizer(PROMPT, return_tensors="pt")["input_ids"].to(options.device)

    def ask(model: torch.nn.Module) -> list[float]:
        with torch.inference_mode():
            return model(ids).logits[0, -1].softmax(-1).tolist()

    def turn(changed: Recipe) -> None:
        live.turn(changed)
        ask(live.model)

    def without() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = merge(recipe(range(10)), Path(folder) / "out", device=options.device)
            ask(AutoModelForCausalLM.from_pretrained(path).to(options.device))

    def afresh() -> None:
        with assemble(recipe(range(10)), device=options.device) as fresh:
            ask(fresh.model)

    rows: list[tuple[str, Callable[[], object]]] = [
        ("merge to a folder, load, ask", without),
        ("assemble afresh, ask", afresh),
        ("turn all layers, ask", lambda: turn(recipe(range(10)))),
        ("turn one layer, ask", lambda: turn(recipe(range(7, 8)))),
        ("move a border, ask", lambda: turn(recipe(range(0), start=1 + next(turns) % 3))),
        ("ask only", lambda: ask(live.model)),
    ]
    print(f"sample family, {options.device}, {torch.get_num_threads()} thread(s), torch {torch.__version__}\n")
    print(f"{'':32}{'median ms':>11}{'times faster':>14}")
    yardstick = 0.0
    for name, run in rows:
        run()
        times = []
        for _ in range(options.repeats):
            start = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - start))
        taken = statistics.median(times)
        yardstick = yardstick or taken
        print(f"{name:32}{taken:11.1f}{yardstick / taken:14.1f}")
    print(
        f"\nA turn of all layers reads {3 * base.bytes / 1e6:.1f} MB; the forward pass of one prompt bounds the rest."
    )


if __name__ == "__main__":
    main()
