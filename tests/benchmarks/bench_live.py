"""What a turn of a dial costs: ``python tests/benchmarks/bench_live.py [--device cuda] [--quick]``.

Random bfloat16 Llamas, two models and a base. From a change of the recipe to the next-token table, beside what one does
without a live model (merge to a folder, load it, ask; by mergekit too where ``--mergekit`` names a Python that has it)
and beside the time that copying the bytes takes which the arithmetic reads and writes. All in one run. Figures:
RESULTS.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import __version__ as transformers_version
from transformers.utils import logging

import mergelab as ml
from mergelab.methods import fused
from mergelab.models.preview import Failed, Merged, Next

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.benchmarks import random_models
from tests.benchmarks.figures import COLUMNS, Row, Turned, drawn, row, table

Answer = TypeVar("Answer")

METHODS = ("linear", "ties", "dare_ties")
CURVES = ("linear", "ties")  # of which the cost over the number of layers is shown
# Seconds to merge to a folder, and to load it and ask: mergekit 0.1.5 on another machine of 2 cores, with models of the
# shape that is the default here. Used, and marked so, where --mergekit is not given.
REFERENCE = {"linear": 1.2 + 1.5, "ties": 34 + 1.5, "dare_ties": 12 + 1.5, "passthrough": 0.2 + 1.5}
REFERENCE_SHAPE = random_models.llama(24, 1024)


class Hand:
    """Turns the dials of one live preview and times what comes back."""

    def __init__(self, folder: Path, device: str, prompts: list[str]) -> None:
        self._device, self._prompts = device, prompts
        self._times: dict[type, float] = {}
        self._moved = 0
        self._failure = ""
        sources = {name: folder / name for name in random_models.NAMES}
        self._preview = ml.Preview(sources, self._hear, device=device, max_new_tokens=1)

    def _hear(self, event: object) -> None:
        if isinstance(event, Merged):
            settle(self._device)
            self._moved = event.changes.bytes_read + event.changes.bytes_written
        if isinstance(event, Failed):
            self._failure = event.message
        self._times[type(event)] = time.perf_counter()

    def ask(self, recipe: ml.Recipe) -> Turned:
        """Ask, and wait until everything is said."""
        started = time.perf_counter()
        self._preview.ask(recipe, self._prompts)
        self._preview.wait()
        if self._failure:
            raise SystemExit(self._failure)
        return Turned(self._times[Merged] - started, self._times[Next] - started, self._moved)

    def close(self) -> None:
        self._preview.close()


class Dials:
    """A weight of model ``a`` for each layer, and one density; no value comes twice."""

    def __init__(self, method: str, folder: Path, layers: int) -> None:
        self._method, self._folder = method, folder
        self._weights, self._rest, self._density = [0.5] * layers, 0.5, 0.5
        self._count = itertools.count(1)

    def recipe(self) -> ml.Recipe:
        weights = "".join(f"{{filter: layers.{at}., value: {value}}}, " for at, value in enumerate(self._weights))
        base, sparse = (f"base_model: {self._folder / 'base'}\n", f", density: {self._density}")
        if self._method == "linear":
            base = sparse = ""
        return ml.Recipe.load(
            f"merge_method: {self._method}\n{base}models:\n"
            f"  - model: {self._folder / 'a'}\n"
            f"    parameters: {{weight: [{weights}{{value: {self._rest}}}]{sparse}}}\n"
            f"  - model: {self._folder / 'b'}\n"
            f"    parameters: {{weight: 0.4{sparse}}}\n"
            "dtype: bfloat16\n"
        )

    def weigh(self, layers: Sequence[int]) -> ml.Recipe:
        """Another weight in these layers; where they are all, in embeddings, norm and head too."""
        weight = self._new(0.5)
        for layer in layers:
            self._weights[layer] = weight
        if len(layers) == len(self._weights):
            self._rest = weight
        return self.recipe()

    def trim(self) -> ml.Recipe:
        """Another density everywhere."""
        self._density = self._new(0.4)
        return self.recipe()

    def _new(self, near: float) -> float:
        return round(near + next(self._count) * 1e-4, 6)


def dials(method: str, folder: Path, options: argparse.Namespace) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows of one method; then one layer's dial, layer by layer; then dials over 1, 2, 4 ... and all layers."""
    turning, layers = Dials(method, folder, options.layers), range(options.layers)
    hand = Hand(folder, options.device, options.prompts)

    def timed(what: str, recipes: Iterable[ml.Recipe]) -> Row:
        return row(method, what, [hand.ask(recipe) for recipe in recipes])

    try:
        before = turning.recipe()
        hand.ask(before)
        hand.ask(turning.weigh(layers))
        rows = [timed("undo all layers", [before])]
        places = [timed(f"layer {layer}", [turning.weigh([layer])]) for layer in layers]
        rows.insert(0, row(method, "weight, one layer", [Turned(one.turn, one.table, one.moved) for one in places]))
        rows.insert(1, timed("weight, all layers", (turning.weigh(layers) for _ in range(options.repeats))))
        if method != "linear":
            rows.insert(2, timed("density, first time", [turning.trim()]))
            rows.insert(3, timed("density, then", (turning.trim() for _ in range(options.repeats))))
        curve = []
        if method in CURVES:
            counts = [2**power for power in range(len(layers)) if 2**power < len(layers)] + [len(layers)]
            curve = [
                timed(str(count), (turning.weigh(layers[-count:]) for _ in range(options.repeats))) for count in counts
            ]
    finally:
        hand.close()
    return rows, places, curve


def stacks(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Rows of changes that move layers: time to a new model, with nothing asked."""
    a, b = (ml.open(folder / name) for name in ("a", "b"))
    depth = options.layers
    third = depth // 3
    swapped = [(a, 0, third), (a, 2 * third, depth), (a, third, 2 * third)]
    changes: dict[str, list[ml.Recipe]] = {
        "graft": [ml.graft(a, b, (third, third + run)) for run in range(2, third + 1)],
        "repeat": [ml.repeat(a, (first, first + 1)) for first in range(1, third + 1)],
        "reorder": [ml.stack(swapped, base=a), ml.stack([*swapped[:1], (a, third, depth)], base=a)],
    }
    rows = []
    with ml.assemble(ml.graft(a, b, (third, third + 1)), device=options.device) as live:

        def turned(recipe: ml.Recipe) -> Turned:
            settle(options.device)
            started = time.perf_counter()
            change = live.turn(recipe)
            settle(options.device)
            taken = time.perf_counter() - started
            return Turned(taken, taken, change.bytes_read + change.bytes_written)

        for what, recipes in changes.items():
            rows.append(row("passthrough", what, [turned(recipe) for recipe in recipes]))
        rows.append(row("passthrough", "undo", [turned(changes["graft"][0])]))
    return rows


def through_a_folder(recipe: ml.Recipe, folder: Path, options: argparse.Namespace) -> float:
    """Seconds to merge with mergelab to a folder, load it and ask."""
    ids = AutoTokenizer.from_pretrained(folder / "base")(options.prompts, return_tensors="pt")["input_ids"]
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        started = time.perf_counter()
        out = Path(scratch) / "merged"
        ml.merge(recipe, out, device=options.device)
        model = AutoModelForCausalLM.from_pretrained(out).to(options.device)
        model(ids.to(options.device)).logits[:, -1].float().softmax(-1).cpu()
        return time.perf_counter() - started


def by_mergekit(recipe: ml.Recipe, folder: Path, options: argparse.Namespace) -> float:
    """The same by mergekit, in a process of the environment that has it; without its start and imports."""
    program = [options.mergekit, Path(__file__).with_name("by_mergekit.py")]
    ran = subprocess.run(
        [*program, str(options.threads), options.device, folder / "base"],
        input=json.dumps({"recipe": recipe.to_mergekit(), "prompts": options.prompts}),
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(f"mergekit failed:\n{ran.stderr}")
    return float(ran.stdout.split()[-1])


def bandwidth(device: str, size: int) -> float:
    """Bytes per second that copying ``size`` bytes within the device moves: read and written; the best of 5."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    taken = []
    for _ in range(5):
        settle(device)
        started = time.perf_counter()
        target.copy_(source)
        settle(device)
        taken.append(time.perf_counter() - started)
    return 2 * size / min(taken)


def aside(work: Callable[[], Answer]) -> Answer:
    """Do it on a thread that ends, and OpenMP's threads with it. As long as two threads of a process have some, both
    teams sleep between two operations, and the forward pass of what is measured takes a quarter longer.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def settle(device: str) -> None:
    """Wait for the device."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def models(options: argparse.Namespace) -> Iterator[Path]:
    """The folder with the random models; made here unless it was kept by a run before."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "models" if options.keep is None else options.keep
        if not folder.exists():
            aside(partial(random_models.write, folder, options.shape, device=options.device))
        yield folder


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024, help="a multiple of 64")
    parser.add_argument(
        "--shape", choices=("8b",), help="Llama-3-8B's, with 8 prompts of 64 tokens; no folder, no mergekit"
    )
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--repeats", type=int, default=3, help="of a dial over many layers")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--quick", action="store_true", help="6 layers of width 64: does it run?")
    parser.add_argument("--mergekit", metavar="PYTHON", help="of an environment with mergekit, measured too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the models there, or use those kept there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    options = parser.parse_args(given)
    if options.quick:
        options.layers, options.width, options.repeats = 6, 64, 1
    options.shape = random_models.LLAMA_8B if options.shape else random_models.llama(options.layers, options.width)
    options.layers = options.shape.layers
    large = options.shape == random_models.LLAMA_8B
    options.prompts = random_models.prompts(8, 64) if large else random_models.prompts(1, 16)
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    logging.disable_progress_bar()
    fused.ready(torch.device(options.device))  # what comes before that is another figure
    with threads(options.threads), models(options) as folder:
        machine = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
        copied = aside(partial(bandwidth, options.device, 32_000_000 if options.quick else 1_000_000_000))
        parameters = ml.open(folder / "a").parameters
        print(
            f"{options.shape}: {parameters / 1e6:.1f} M parameters, two models and a base;"
            f" {len(options.prompts)} prompt(s) of {len(options.prompts[0].split())} tokens\n"
            f"{options.device} ({machine}), {options.threads} thread(s), Python {platform.python_version()},"
            f" torch {torch.__version__}, transformers {transformers_version}, mergelab {ml.__version__}\n"
            f"copying moves {copied / 1e9:.1f} GB/s, read and written",
            flush=True,
        )
        recipes = {method: Dials(method, folder, options.layers).recipe() for method in options.methods}
        recipes["passthrough"] = ml.graft(folder / "a", folder / "b", (1, 2))
        if options.shape == random_models.LLAMA_8B:
            recipes.clear()  # no merge to a folder: these models fill the disk
        slow = {name: aside(partial(through_a_folder, recipe, folder, options)) for name, recipe in recipes.items()}
        measured = {}
        if options.mergekit:
            measured = {name: by_mergekit(recipe, folder, options) for name, recipe in recipes.items()}
            seconds = ", ".join(f"{name} {taken:.1f}" for name, taken in measured.items())
            print(f"mergekit, measured in this run, seconds to merge, load and ask: {seconds}", flush=True)
        elif options.shape == REFERENCE_SHAPE and options.device == "cpu":
            measured = REFERENCE
            print(f"mergekit: not asked for; reference seconds of ANOTHER MACHINE: {REFERENCE}")
        else:
            print("mergekit: not asked for")
        rows, curves, places = [], {}, {}
        for method in options.methods:
            found, places[method], curves[method] = dials(method, folder, options)
            rows += found
        rows += stacks(folder, options)
    print(f"\n{table(rows, copied, slow, measured)}\n\n{COLUMNS}")
    for method, curve in curves.items():
        if curve:
            print(f"\n{method}: cost grows with the layers that change, counted from the top\n")
            print(drawn(curve, "layers"))
    first = options.methods[0]
    print(f"\n{first}: one layer's dial; hidden states below it are reused\n")
    print(drawn(places[first], "where"))
    if options.json:
        record = {
            "device": f"{options.device} ({machine})",
            "threads": options.threads,
            "torch": torch.__version__,
            "shape": asdict(options.shape),
            "copy_bytes_per_second": copied,
            "folder_seconds": slow,
            "mergekit_seconds": measured,
            "rows": [asdict(one) for one in rows],
            "curves": {name: [asdict(one) for one in curve] for name, curve in curves.items()},
            "places": {name: [asdict(one) for one in held] for name, held in places.items()},
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
