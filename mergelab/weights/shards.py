"""Header-first streaming safetensors: the layout is known first, so that only one tensor is ever held."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from mergelab.errors import OutputError, Problem
from mergelab.weights.header import ITEM_BITS, TensorSpec

if TYPE_CHECKING:
    import torch

# torch's name of a dtype -> safetensors'.
_NAMES: Mapping[str, str] = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64", "complex64": "C64",
}  # fmt: skip

# Dtypes in the order in which safetensors lays tensors into a file.
_ORDER = (
    "U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "F8_E5M2FNUZ", "F8_E4M3FNUZ",
    "F8_E8M0", "F8_E4M3", "F8_E5M2", "I8", "U8", "F6_E3M2", "F6_E2M3", "F4", "BOOL",
)  # fmt: skip
_PIECE = 1 << 20  # bytes that are hashed and written at a time
_SHARE = 32 << 20  # bytes that go to the disk together


@dataclass(frozen=True)
class Shard:
    """One weight file to be: its name, and its tensors with their bytes laid out in order."""

    name: str
    specs: Mapping[str, TensorSpec]

    @property
    def bytes(self) -> int:
        """Its bytes of data."""
        return sum(spec.bytes for spec in self.specs.values())

    def sorted(self) -> Shard:
        """The same tensors as safetensors itself lays them: wide dtypes first, then by name. Each begins at a multiple
        of its items' size, and those of a source that was saved so are read in the order of its file.
        """
        order = sorted(self.specs.values(), key=lambda spec: (_ORDER.index(spec.dtype), spec.name))
        ends = accumulate(spec.bytes for spec in order)
        placed = (replace(spec, begin=end - spec.bytes, end=end) for spec, end in zip(order, ends, strict=True))
        return Shard(self.name, {spec.name: spec for spec in placed})


def layout(
    tensors: Iterable[tuple[str, str, tuple[int, ...]]], *, shard_bytes: int = 5_000_000_000
) -> tuple[Shard, ...]:
    """Files for (name, dtype, shape) in order, none over ``shard_bytes`` unless a single tensor is."""
    groups: list[list[tuple[str, str, tuple[int, ...], int]]] = [[]]
    size = 0
    for name, dtype, shape in tensors:
        need = math.prod(shape) * ITEM_BITS[dtype] // 8
        if groups[-1] and size + need > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append((name, dtype, shape, need))
        size += need
    shards = []
    for number, group in enumerate(groups, start=1):
        file = "model.safetensors" if len(groups) == 1 else f"model-{number:05}-of-{len(groups):05}.safetensors"
        specs, begin = {}, 0
        for name, dtype, shape, need in group:
            specs[name] = TensorSpec(name, dtype, shape, file, begin, begin + need)
            begin += need
        shards.append(Shard(file, specs))
    return tuple(shards)


def index(shards: Sequence[Shard]) -> dict[str, object]:
    """``model.safetensors.index.json`` of several shards."""
    return {
        "metadata": {"total_size": sum(shard.bytes for shard in shards)},
        "weight_map": {name: shard.name for shard in shards for name in shard.specs},
    }


class ShardWriter:
    """Writes one file: the header at once, then its tensors in the order of their specs.

    Attributes:
        sha256: of the whole file, in hexadecimal, once it is closed without an error.

    Raises:
        OutputError: a tensor out of order, of another dtype or shape, or missing when the file is closed.
    """

    def __init__(self, folder: Path, shard: Shard, metadata: Mapping[str, str] = MappingProxyType({})) -> None:
        """Write the header.

        Args:
            folder: gets a file of the shard's name, which must not exist.
            metadata: goes into the header, beside the format.
        """
        self.sha256 = ""
        self._path = folder / shard.name
        self._left = list(shard.specs.values())
        self._missing = 0  # bytes of the tensor at hand
        self._written = self._handed = 0  # bytes
        self._digest = hashlib.sha256()
        entries = {
            spec.name: {
                "dtype": spec.dtype,
                "shape": list(spec.shape),
                "data_offsets": [spec.begin, spec.end],
            }
            for spec in self._left
        }
        table = {"__metadata__": {"format": "pt", **metadata}} | entries
        header = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)  # the data starts on a multiple of 8, as safetensors writes it
        self._file = self._path.open("xb", buffering=0)
        try:
            self._put(memoryview(len(header).to_bytes(8, "little") + header))
        except BaseException:
            self._file.close()
            raise

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Append the next tensor."""
        import torch

        dtype = _NAMES.get(str(tensor.dtype).removeprefix("torch."))
        self._next(name, (tuple(tensor.shape), dtype), f"{list(tensor.shape)} of {tensor.dtype}")
        self.append(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def begin(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """The next tensor comes as it is stored: its bytes follow, in pieces, by ``append``."""
        self._next(name, (shape, dtype), f"{list(shape)} of {dtype}")

    def append(self, content: memoryview) -> None:
        """Bytes of the tensor at hand."""
        self._missing -= len(content)
        if self._missing < 0:
            self._fail(f"{-self._missing} bytes too many.")
        self._put(content)

    def close(self) -> None:
        """The file is complete; it is not synced.

        Raises:
            OutputError: tensors are missing.
        """
        self._file.close()
        if self._missing:
            self._fail(f"{self._missing} bytes were never written.")
        if self._left:
            self._fail(f"{len(self._left)} tensors were never written, {self._left[0].name!r} first.")
        self.sha256 = self._digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()

    def _next(self, name: str, form: tuple[tuple[int, ...], str | None], said: str) -> None:
        spec = self._left.pop(0) if self._left and not self._missing else None
        if spec is None or (spec.name, (spec.shape, spec.dtype)) != (name, form):
            self._fail(f"tensor {name!r} {said} is not the one planned here ({spec}).")
        self._missing = spec.bytes

    def _put(self, content: memoryview) -> None:
        """Each piece is hashed and written while it is in the cache."""
        for at in range(0, len(content), _PIECE):
            piece = content[at : at + _PIECE]
            self._digest.update(piece)
            while piece:
                count = self._file.write(piece)
                self._written += count
                piece = piece[count:]
            self._hand_over()

    def _hand_over(self) -> None:
        """Have the system bring what is written to the disk now and then, so that to sync takes no time in the end."""
        if self._written - self._handed >= _SHARE and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._file.fileno(), self._handed, self._written - self._handed, os.POSIX_FADV_DONTNEED)
            self._handed = self._written

    def _fail(self, what: str) -> NoReturn:
        raise OutputError(Problem(str(self._path), what, "This is a fault of mergelab: report it with the recipe."))
