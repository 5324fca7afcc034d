"""Buffers: memory that is used again. To touch fresh pages takes the system about as long as to read into them."""

from __future__ import annotations

import mmap
import threading

_SMALL = 1 << 18  # bytes: what is smaller is not worth keeping


class Buffers:
    """Memory on the CPU, lent out and given back, by several threads."""

    def __init__(self, limit: int) -> None:
        """Keep up to ``limit`` bytes that nobody uses, those given back last."""
        self._limit = limit
        self._lock = threading.Lock()
        self._free: list[memoryview] = []

    def take(self, size: int) -> memoryview:
        """So many bytes, holding anything, that begin with a page of memory."""
        with self._lock:
            for place in range(len(self._free) - 1, -1, -1):
                if self._free[place].nbytes == size:
                    return self._free.pop(place)
        return memoryview(mmap.mmap(-1, max(size, 1), access=mmap.ACCESS_COPY))[:size]  # this process's own

    def give(self, lent: memoryview) -> None:
        """Memory as it was taken here, that nobody looks at any more."""
        if lent.nbytes < _SMALL:
            return
        with self._lock:
            self._free.append(lent)
            while sum(one.nbytes for one in self._free) > self._limit:
                del self._free[0]
