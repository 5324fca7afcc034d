"""Stock: tensors by key, counted by how many hold them.

What nobody holds any more is *retired*: whoever asks for its key has it again, and what needs storage writes over it,
the oldest first.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

import torch

from mergelab.recipes.step import Key


class Stock:
    """Tensors by key. Not for several threads at once: whoever has it, locks it.

    Attributes:
        made: bytes of all tensors, but for those that cost nothing, being mapped from disk.
        retired: bytes of those that nobody holds.
        spare: most bytes of these; what is beyond them goes when something is released.
    """

    def __init__(self, spare: int = 0) -> None:
        """An empty stock."""
        self.made = self.retired = 0
        self.spare = spare
        self._entries: dict[Key, _Entry] = {}
        self._unheld: dict[Key, None] = {}  # the retired ones, the oldest first

    def __len__(self) -> int:
        return len(self._entries)

    def hold(self, key: Key) -> torch.Tensor | None:
        """The tensor of that key, for one more that holds it; None where there is none."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not entry.holders:
            del self._unheld[key]
            self.retired -= entry.cost
        entry.holders += 1
        return entry.tensor.detach()

    def look(self, key: Key) -> torch.Tensor | None:
        """The tensor of that key, for one that holds it already; None where there is none."""
        entry = self._entries.get(key)
        return None if entry is None else entry.tensor.detach()

    def keep(self, key: Key, made: torch.Tensor, cost: int) -> torch.Tensor:
        """Take a tensor in, held by one.

        Args:
            cost: its bytes; 0 where they are those of a file: it goes as soon as nobody holds it.
        """
        entry = self._entries[key] = _Entry(made, cost)
        self.made += cost
        return entry.tensor.detach()

    def release(self, keys: Iterable[Key]) -> None:
        """One that holds these does so no longer."""
        for key in keys:
            entry = self._entries[key]
            entry.holders -= 1
            if entry.holders:
                continue
            if entry.cost:
                self._unheld[key] = None
                self.retired += entry.cost
            else:
                del self._entries[key]
        while self.retired > self.spare:
            self._drop(next(iter(self._unheld)))

    def drop(self, keys: Iterable[Key] | None = None) -> None:
        """Let go of those of the keys that are retired; of all that are, if left out."""
        for key in tuple(self._unheld if keys is None else keys):
            if key in self._unheld:
                self._drop(key)

    def storage(self, shape: tuple[int, ...], dtype: torch.dtype, most: int) -> torch.Tensor | None:
        """A retired tensor of this kind, where one more would bring it over ``most`` bytes in all. If none fits, others
        make room.
        """
        size = math.prod(shape) * dtype.itemsize
        if self.made + size <= most:
            return None
        for key in self._unheld:
            entry = self._entries[key]
            if entry.tensor.shape == shape and entry.tensor.dtype == dtype and entry.alone:
                return self._drop(key)
        while self._unheld and self.made + size > most:
            self._drop(next(iter(self._unheld)))
        return None

    def _drop(self, key: Key) -> torch.Tensor:
        """Let go of a retired tensor."""
        del self._unheld[key]
        entry = self._entries.pop(key)
        self.made -= entry.cost
        self.retired -= entry.cost
        return entry.tensor


class _Entry:
    """A tensor of the stock.

    Attributes:
        cost: its bytes; 0 where they are those of a file.
        holders: how many hold it.

    Only the stock has this very object: what it hands out are others that share its storage, so that the number of
    users of the storage tells whether anybody still has it.
    """

    __slots__ = ("cost", "holders", "tensor")

    def __init__(self, tensor: torch.Tensor, cost: int) -> None:
        self.tensor = tensor.detach()
        self.cost = cost
        self.holders = 1

    @property
    def alone(self) -> bool:
        """Whether nothing else shares the tensor's storage: no parameter, view, array or storage."""
        return _users(self.tensor) == _users(torch.empty(0, device=self.tensor.device))


def _users(tensor: torch.Tensor) -> tuple[int, int]:
    """How many tensors, and how many Python objects, have a tensor's storage."""
    storage = tensor.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(storage)
