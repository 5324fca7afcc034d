"""How much memory is held: what leak tests measure, on the CPU and on a GPU."""

from __future__ import annotations

import gc
from pathlib import Path

import torch


def held(device: torch.device | str = "cpu") -> int:
    """Bytes held on a device, after the garbage is collected. On the CPU what this process has written to: pages of
    mapped files are not counted, since they can be dropped and read again.
    """
    gc.collect()
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.memory_allocated(device)
    if kind == "mps":
        return torch.mps.current_allocated_memory()
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024
