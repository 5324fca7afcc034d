"""Against what mergekit 0.1.5 wrote for tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mergelab import methods
from mergelab.methods.registry import Numbers

pytestmark = pytest.mark.real


def merged(shared: Path, case: str, method: str, models: list[str], base: str | None, numbers: Numbers):
    """Pairs (ours, mergekit's) for the tensors that every model stores."""
    folder = shared / "mergekit-cases"
    inputs = [load_file(folder / "models" / name / "model.safetensors") for name in models]
    bases = load_file(folder / "models" / base / "model.safetensors") if base else {}
    written = load_file(folder / "cases" / case / "output" / "model.safetensors")
    pairs = []
    for name, theirs in written.items():
        if all(name in one for one in inputs):
            tensors = [one[name] for one in inputs]
            ours = methods.apply(methods.get(method), tensors, bases.get(name), numbers, dtype=theirs.dtype)
            pairs.append((ours, theirs))
    assert len(pairs) > 20
    return pairs


@pytest.mark.parametrize(
    ("case", "method", "models", "base", "numbers"),
    [
        ("linear", "linear", ["llama_a", "llama_b"], None, {"weight": [0.4, 0.8]}),
        ("gemma2_linear", "linear", ["gemma2_a", "gemma2_b"], None, {"weight": [0.4, 0.8]}),
        ("dtype_mixed", "linear", ["llamabf16_a", "llama_b"], None, {"weight": [0.4, 0.8]}),
        (
            "task_arithmetic",
            "task_arithmetic",
            ["llama_a", "llama_b", "llama_c"],
            "llama_base",
            {"weight": [0.5, 0.3, -0.2]},
        ),
        (
            "task_arithmetic_lambda",
            "task_arithmetic",
            ["llama_a", "llama_b", "llama_c"],
            "llama_base",
            {"weight": [0.5, 0.3, 0.4], "normalize": True, "lambda": 1.3},
        ),
        (
            "ties",
            "ties",
            ["llama_a", "llama_b", "llama_c"],
            "llama_base",
            {"weight": [1.0, 0.6, 0.3], "density": [0.5, 0.3, 0.7]},
        ),
        ("qwen2_ties", "ties", ["qwen2_a", "qwen2_b"], "qwen2_base", {"weight": [1, 0.5], "density": 0.5}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_float32_results_are_equal_bit_for_bit(
    shared: Path, case: str, method: str, models: list[str], base: str | None, numbers: Numbers
) -> None:
    for ours, theirs in merged(shared, case, method, models, base, numbers):
        assert torch.equal(ours, theirs)


def test_slerp_agrees_to_the_last_digits(shared: Path) -> None:
    for ours, theirs in merged(shared, "slerp", "slerp", ["llama_a"], "llama_base", {"t": 0.3}):
        assert (ours - theirs).abs().max() <= 4 * 2**-24 * theirs.abs().max()
