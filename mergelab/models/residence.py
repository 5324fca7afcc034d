"""Residence: the tensors of the sources, where arithmetic needs them.

On the CPU they are mapped from disk and nothing is copied. On another device they are kept within a budget; what finds
no place there is sent anew each time.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch

from mergelab.models.interrupts import let_in
from mergelab.weights import Checkpoint, Source

_CHUNK = 32 << 20  # bytes sent at a time: two such pieces of pinned memory serve tensors of any size
_BLOCK = 512  # bytes: what the system counts in, whatever the disk has


def read_from_disk() -> int:
    """Bytes that this process has read from disk up to now, through mapped files too; 0 where nothing tells. What comes
    from the memory that the system keeps of files is not among them.
    """
    if sys.platform == "win32":  # which counts otherwise
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock * _BLOCK


class Residence:
    """Tensors of sources on one device, in the dtype that they are stored in.

    Attributes:
        budget: most bytes of sources that are kept; may be changed at any time.
        resident: bytes kept now.
        streamed: bytes that were sent since the last ``begin`` and not kept: the next turn sends them again. On the CPU
            nothing is sent; there it is what an adapter changes, which is computed, and kept within the budget too.
    """

    def __init__(self, device: torch.device, budget: int = 0, *, copied: bool | None = None) -> None:
        """An empty residence.

        Args:
            device: where the tensors are wanted.
            budget: most bytes that are kept.
            copied: whether mapped tensors have to be copied there: not on the CPU, unless a test says so.
        """
        self.device = device
        self.budget = budget
        self.resident = 0
        self.streamed = 0
        self._copied = device.type != "cpu" if copied is None else copied
        self._kept: dict[tuple[Source, str], _Kept] = {}  # the one used longest ago first
        self._round = 0
        self._lane = _Lane(device) if device.type == "cuda" else None

    def begin(self) -> None:
        """A new turn begins: ``streamed`` counts from 0.

        A tensor makes room for another only if neither this turn nor the last one used it: turns of all layers come
        round in the same order, and would otherwise drop every tensor just before it is wanted.
        """
        self._round += 1
        self.streamed = 0

    def tensor(self, checkpoint: Checkpoint, name: str) -> torch.Tensor:
        """A tensor of a source on the device, shape and dtype as in its ``specs``. Never write to it.

        Raises:
            SourceError: as ``Checkpoint.tensor``.
        """
        adapter = checkpoint.adapter
        if not self._copied and (adapter is None or name not in adapter.changes):
            with let_in():
                return checkpoint.tensor(name)
        key = (checkpoint.source, name)
        kept = self._kept.get(key)
        if kept is None or kept.checkpoint is not checkpoint:  # one that was opened again may be of other files
            self._drop(key)
            with let_in():
                stored = checkpoint.tensor(name)
            found = self._sent(stored) if self._copied else stored
            if not self._make_room(found.nbytes):
                self.streamed += found.nbytes
                return found
            self.resident += found.nbytes
        else:
            found = self._kept.pop(key).tensor
        self._kept[key] = _Kept(found, checkpoint, self._round)
        return found

    def release(self) -> int:
        """Let go of every tensor, and from now on keep half as many bytes as there were: memory ran out.

        Returns:
            The bytes let go of.
        """
        gone, self.resident = self.resident, 0
        self._kept.clear()
        if gone:
            self.budget = min(self.budget, gone) // 2
        return gone

    def close(self) -> None:
        """Let go of everything, and keep nothing until there is a budget again."""
        self.budget = 0
        self.release()
        if self._lane is not None:
            self._lane = _Lane(self.device)

    def _drop(self, key: tuple[Source, str]) -> None:
        if key in self._kept:
            self.resident -= self._kept.pop(key).tensor.nbytes

    def _make_room(self, size: int) -> bool:
        """Drop what is stale, if that helps."""
        stale = [key for key, kept in self._kept.items() if kept.round < self._round - 1]
        if self.resident - sum(self._kept[key].tensor.nbytes for key in stale) + size > self.budget:
            return False
        for key in stale:
            if self.resident + size <= self.budget:
                break
            self._drop(key)
        return True

    def _sent(self, stored: torch.Tensor) -> torch.Tensor:
        if self._lane is not None and stored.device.type == "cpu":
            return self._lane.send(stored)
        return stored.to(self.device, copy=True)


@dataclass(frozen=True)
class _Kept:
    tensor: torch.Tensor
    checkpoint: Checkpoint
    round: int  # the last turn that used it


class _Lane:
    """The way from mapped memory to a GPU: through two pieces of pinned memory in turn, so that one is filled while the
    other is on its way, and nothing waits for the end.
    """

    def __init__(self, device: torch.device, chunk: int = _CHUNK) -> None:
        self._device = device
        self._chunk = chunk
        self._pieces: list[_Piece] = []

    def send(self, stored: torch.Tensor) -> torch.Tensor:
        """A copy on the device, ready for what is queued there after it."""
        made = torch.empty(stored.shape, dtype=stored.dtype, device=self._device)
        self._pieces = self._pieces or [_Piece(self._device, self._chunk) for _ in range(2)]
        source, target = (one.reshape(-1).view(torch.uint8) for one in (stored, made))
        parts = zip(source.split(self._chunk), target.split(self._chunk), strict=True)
        for number, (part, place) in enumerate(parts):
            self._pieces[number % 2].carry(part, place)
        return made


class _Piece:
    """Pinned memory, and whether its last load has arrived."""

    def __init__(self, device: torch.device, size: int) -> None:
        with torch.inference_mode(mode=False):  # it is written to inside that mode and outside of it
            self._memory = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        self._device = device
        self._arrived = torch.cuda.Event()

    def carry(self, part: torch.Tensor, place: torch.Tensor) -> None:
        """Send bytes to their place: returns as soon as they are on their way."""
        self._arrived.synchronize()  # at once, unless the last load is still under way
        loaded = self._memory[: len(part)]
        loaded.copy_(part)
        place.copy_(loaded, non_blocking=True)
        self._arrived.record(torch.cuda.current_stream(self._device))
