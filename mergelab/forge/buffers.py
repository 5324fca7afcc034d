"""Buffers: memory that is used again. To touch fresh pages takes the system about as long as to read into them."""

from __future__ import annotations

import threading

import torch

_SMALL = 1 << 18  # bytes: what is smaller comes from memory that is there anyway


class Buffers:
    """Memory on the CPU, lent out and given back, by several threads."""

    def __init__(self, limit: int) -> None:
        """Keep up to ``limit`` bytes that nobody uses, those given back last."""
        self._limit = limit
        self._lock = threading.Lock()
        self._free: list[torch.Tensor] = []

    def take(self, size: int) -> torch.Tensor:
        """So many bytes, holding anything: a flat uint8 tensor that begins at a multiple of 64."""
        with self._lock:
            for place in range(len(self._free) - 1, -1, -1):
                if self._free[place].nbytes == size:
                    return self._free.pop(place)
        with torch.inference_mode(mode=False):  # it is written to inside that mode and outside of it
            return torch.empty(size, dtype=torch.uint8)

    def give(self, lent: torch.Tensor) -> None:
        """Memory that was taken here and that nobody looks at any more, in whatever shape and dtype."""
        if lent.nbytes < _SMALL:
            return
        with self._lock:
            self._free.append(lent.view(-1).view(torch.uint8))
            while sum(one.nbytes for one in self._free) > self._limit:
                del self._free[0]
