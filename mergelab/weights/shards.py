"""Header-first streaming safetensors: the layout is known first, so that only one tensor is ever held."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

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


@dataclass(frozen=True)
class Shard:
    """One weight file to be: its name, and its tensors with their bytes laid out in order."""

    name: str
    specs: Mapping[str, TensorSpec]

    @property
    def bytes(self) -> int:
        """Its bytes of data."""
        return sum(spec.bytes for spec in self.specs.values())


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
    """Writes one shard: the header at once, then its tensors in the order of their specs.

    Raises:
        OutputError: a tensor out of order, of another dtype or shape, or missing when the file is closed.
    """

    def __init__(self, folder: Path, shard: Shard) -> None:
        self._path = folder / shard.name
        self._left = list(shard.specs.values())
        entries = {
            spec.name: {
                "dtype": spec.dtype,
                "shape": list(spec.shape),
                "data_offsets": [spec.begin, spec.end],
            }
            for spec in self._left
        }
        header = json.dumps({"__metadata__": {"format": "pt"}} | entries, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)  # the data starts on a multiple of 8, as safetensors writes it
        self._file = self._path.open("xb")
        self._file.write(len(header).to_bytes(8, "little") + header)

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Append the next tensor."""
        import torch

        spec = self._left.pop(0) if self._left else None
        dtype = _NAMES.get(str(tensor.dtype).removeprefix("torch."))
        if spec is None or (spec.name, spec.shape, spec.dtype) != (name, tuple(tensor.shape), dtype):
            what = f"tensor {name!r} {list(tensor.shape)} of {tensor.dtype} is not the one planned here ({spec})."
            raise OutputError(Problem(str(self._path), what, "This is a fault of mergelab: report it with the recipe."))
        self._file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if kind is None and self._left:
            what = f"{len(self._left)} tensors were never written, {self._left[0].name!r} first."
            raise OutputError(Problem(str(self._path), what, "This is a fault of mergelab: report it with the recipe."))
