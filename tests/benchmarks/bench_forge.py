"""What a merge to disk costs, as whole processes: seconds, memory, and how far that is from copying a file.

    python -m tests.benchmarks.bench_forge --models FOLDER --mergekit PATH/bin/mergekit-yaml

Each row is the best of several runs, methods taken in turn, so that a burst of other work on the machine spoils none:
seconds from start to end of the process, seconds of processor time, and its peak memory. Beside it: ``cp`` of as many
bytes, the start of a Python with torch, and both together, which no merge can go below.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mergelab.columns import columns
from tests.benchmarks import random_models

METHODS = ("passthrough", "linear", "slerp", "dare_ties", "ties")


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds, seconds of processor time, and bytes of memory at most."""

    seconds: float
    processor: float
    peak: int


def best(costs: Sequence[Cost]) -> Cost:
    """The least of each: what the machine does when it is let."""
    least = (min(getattr(one, name) for one in costs) for name in ("seconds", "processor"))
    return Cost(*least, max(one.peak for one in costs))


# Linux counts as a process's memory what its parent held when it was started; this one holds nearly nothing.
_STARTER = """
import json, os, subprocess, sys, time
with open(sys.argv[1], "wb") as said:
    started = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:], stdout=said, stderr=said)
    _, status, used = os.wait4(process.pid, 0)
seconds, code = time.perf_counter() - started, os.waitstatus_to_exitcode(status)
process.returncode = code
print(json.dumps([code, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def run(command: Sequence[str | Path]) -> Cost:
    """Run a process and wait for it.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.NamedTemporaryFile() as said:
        starter = [sys.executable, "-I", "-S", "-c", _STARTER, said.name, *map(str, command)]
        answer = subprocess.run(starter, check=True, capture_output=True, text=True).stdout
        code, seconds, processor, peak = json.loads(answer)
        if code:
            raise RuntimeError(f"{command[0]} ended with {code}: {said.read().decode()[-600:]}")
    return Cost(seconds, processor, peak * (1 if sys.platform == "darwin" else 1024))


def recipe(method: str, models: Path, layers: int) -> str:
    """YAML of a merge of ``base``, ``a`` and ``b``, which mergekit reads too."""
    base, a, b = (models / name for name in random_models.NAMES)
    half = layers // 2
    if method == "passthrough":
        return (
            f"merge_method: passthrough\ndtype: bfloat16\nslices:\n"
            f"- sources: [{{model: {a}, layer_range: [0, {half}]}}]\n"
            f"- sources: [{{model: {b}, layer_range: [{half}, {layers}]}}]\n"
        )
    lines = [f"merge_method: {method}", "dtype: bfloat16"]
    if method == "slerp":
        lines += [f"base_model: {base}", "parameters: {t: 0.4}", "models:", f"- model: {base}", f"- model: {a}"]
        return "\n".join(lines) + "\n"
    lines += [f"base_model: {base}"] if method != "linear" else []
    numbers = "{weight: 0.5}" if method == "linear" else "{weight: 0.5, density: 0.5}"
    lines += ["models:", *(f"- {{model: {one}, parameters: {numbers}}}" for one in (a, b))]
    return "\n".join(lines) + "\n"


def measure(models: Path, work: Path, methods: Sequence[str], times: int, mergekit: str | None) -> dict[str, Cost]:
    """Every row by name: ``cp``, ``start``, ``mergelab METHOD``, ``mergekit METHOD``."""
    weights = models / "a" / "model.safetensors"
    layers = json.loads((models / "a" / "config.json").read_text())["num_hidden_layers"]
    made, copied = work / "made", work / "copied"
    commands: dict[str, list[str | Path]] = {
        "cp": ["cp", weights, copied],
        "start": [sys.executable, "-c", "import torch"],
    }
    for method in methods:
        path = work / f"{method}.yml"
        path.write_text(recipe(method, models, layers))
        commands[f"mergelab {method}"] = [sys.executable, "-m", "mergelab", "merge", path, made]
        if mergekit:
            commands[f"mergekit {method}"] = [mergekit, path, made, "--no-copy-tokenizer"]
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            found[name].append(run(command))
            shutil.rmtree(made, ignore_errors=True)
            copied.unlink(missing_ok=True)
    return {name: best(costs) for name, costs in found.items()}


def table(costs: Mapping[str, Cost]) -> str:
    """The rows as text, each beside ``cp`` and the start, and beside mergekit where that was run."""
    floor = costs["cp"].seconds + costs["start"].seconds
    rows = [("process", "seconds", "cpu s", "peak MB", "x (cp + start)", "x faster", "x less memory")]
    for name, cost in costs.items():
        own = (f"{cost.seconds:.2f}", f"{cost.processor:.2f}", f"{cost.peak / 1e6:.0f}", f"{cost.seconds / floor:.2f}")
        other = costs.get(name.replace("mergelab", "mergekit")) if name.startswith("mergelab") else None
        beside = (f"{other.seconds / cost.seconds:.1f}", f"{other.peak / cost.peak:.1f}") if other else ("", "")
        rows.append((name, *own, *beside))
    return columns(rows)


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="a folder with base, a and b (default: 317 M parameters, made)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--times", type=int, default=3, help="runs of each, of which the best counts")
    parser.add_argument("--mergekit", help="mergekit-yaml of an environment of its own, to be run beside it")
    parser.add_argument("--quick", action="store_true", help="tiny models, one run: does it work?")
    asked = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        models = asked.models or work
        if asked.models is None:
            random_models.write(work, random_models.llama(2, 64) if asked.quick else random_models.llama(24, 1024))
        costs = measure(models, work, asked.methods, 1 if asked.quick else asked.times, asked.mergekit)
    print(table(costs))


if __name__ == "__main__":
    main()
