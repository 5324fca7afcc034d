"""The fused kernel, compiled for devices that need not be there, keeps its promises in the code that it becomes.

A program of its own (test_fused.py starts it): it puts a device in place that answers the compiler and can do no more.
"""

from __future__ import annotations

import itertools
import re

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget

from mergelab.methods import kernel


class Drawn:
    """A device on paper."""

    def __init__(self, generation: int) -> None:
        self.generation = generation

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.generation, 32)

    def get_current_device(self) -> int:
        return self.generation

    def get_current_stream(self, _: int) -> int:
        return 0


def compiled(dtypes: tuple[tl.dtype, ...], *steps: object) -> str:
    """PTX."""
    table = torch.zeros(64, dtype=torch.int64)
    return kernel.merge.warmup(table, dtypes, *steps, 1024, enable_fp_fusion=False, grid=(1, 1)).asm["ptx"]


def main() -> None:
    """Compile all there is for two models, and TIES for other generations and dtypes."""
    half, full = tl.bfloat16, tl.float32
    everything = (True, True, (True, False), True, True, True, False, True, True)
    ties = (True, False, (False, False), False, False, True, False, True, False)
    mean = (False, False, (False, False), False, False, False, True, False, False)
    for generation, steps in itertools.product((80, 90), (everything, ties, mean)):
        triton.runtime.driver.set_active(Drawn(generation))
        code = compiled((half,) * 4, *steps)
        assert "fma" not in code, "a product and a sum would round once"
        assert "ftz" not in code, "denormals would be lost"
        assert set(re.findall(r"div\.\w+\.f32", code)) == {"div.rn.f32"}, "not IEEE division"
        assert "cvt.rn.bf16x2.f32" in code, "not rounded to the nearest"
        assert re.findall(r"(..)\.global\.v4\.b32", code) == ["ld"] * 3 + ["st"], "not 16 bytes at a time"
    compiled((full, tl.float16, half, full), *ties)
    print("compiled")


if __name__ == "__main__":
    main()
