"""The header of a safetensors file: read, checked against the file, never trusted.

Format: 8 bytes little-endian length N, N bytes of JSON ``{name: {dtype, shape, data_offsets: [begin, end]}}``, then the
data; offsets count from the start of the data and must cover it without gap or overlap
(https://github.com/huggingface/safetensors, README "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergelab.errors import Problem

ITEM_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
FLOATS: tuple[str, ...] = ("F64", "F32", "F16", "BF16")
MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class TensorSpec:
    """What a header says of one tensor.

    Attributes:
        name: its name in the file.
        dtype: safetensors' name of its dtype: ``"F32"``, ``"BF16"`` ...
        shape: its dimensions.
        file: name of the file that holds it, within the checkpoint.
        begin, end: its bytes within that file's data section.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    begin: int
    end: int

    @property
    def bytes(self) -> int:
        """Its bytes on disk."""
        return self.end - self.begin

    @property
    def elements(self) -> int:
        """Number of its values."""
        return math.prod(self.shape)


def read_header(path: Path) -> tuple[dict[str, TensorSpec], list[Problem]]:
    """Specs of every tensor in a local file, in file order, and everything that is wrong with the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(MAX_HEADER, size - 8):
            return {}, [_broken(path, f"the file has {size:,} bytes, its header claims {length:,}.")]
        raw = file.read(length)
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        return {}, [_broken(path, "the header is nested too deeply.")]
    except ValueError as error:  # not UTF-8, not JSON, a key written twice, a number of thousands of digits
        return {}, [_broken(path, f"the header is not JSON ({error}).")]
    return parse_header(header, path.name, size - 8 - length, path)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose keys differ: which of two tensors of one name is meant cannot be known."""
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in table if keys.count(key) > 1)!r} is written twice")
    return table


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def parse_header(
    header: Any, file: str, data_bytes: int, path: Path | str
) -> tuple[dict[str, TensorSpec], list[Problem]]:
    """Specs out of a decoded header whose data section has ``data_bytes`` bytes, and every lie in it."""
    if not isinstance(header, dict):
        return {}, [_broken(path, "the header is not a table of tensors.")]
    specs: dict[str, TensorSpec] = {}
    problems: list[Problem] = []
    for name, entry in header.items():
        if name == "__metadata__":
            if not _is_metadata(entry):
                problems.append(_broken(path, "__metadata__ is not a table of texts."))
            continue
        spec = _spec(name, entry, file)
        if isinstance(spec, str):
            problems.append(_broken(path, f"tensor {name!r}: {spec}"))
        else:
            specs[name] = spec
    if problems:
        return specs, problems
    specs = dict(sorted(specs.items(), key=lambda item: (item[1].begin, item[1].end)))
    reached = 0
    for spec in specs.values():
        if spec.begin != reached:
            problems.append(_broken(path, f"tensor {spec.name!r} starts at byte {spec.begin:,}, expected {reached:,}."))
            break
        reached = spec.end
    else:
        if reached != data_bytes:
            problems.append(
                _broken(path, f"its tensors need {reached:,} bytes of data, the file holds {data_bytes:,}.")
            )
    return specs, problems


def _is_metadata(entry: Any) -> bool:
    return entry is None or (isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values()))


def _spec(name: str, entry: Any, file: str) -> TensorSpec | str:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        return "its entry lacks dtype, shape or data_offsets."
    if not isinstance(dtype, str) or dtype not in ITEM_BITS:
        return f"unknown dtype {dtype!r}."
    # 2^63: no file is larger, and numbers of thousands of digits cannot even be printed.
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end)):
        return "its shape or offsets are not counts."
    bits = math.prod(shape) * ITEM_BITS[dtype]
    if bits % 8 or bits >= 2**66:
        return f"{dtype} of shape {list(shape)} is not a possible number of bytes."
    need = bits // 8
    if end - begin != need:
        return f"{dtype} of shape {list(shape)} needs {need:,} bytes, its offsets give {end - begin:,}."
    return TensorSpec(name, dtype, shape, file, begin, end)


def _broken(path: Path | str, what: str) -> Problem:
    what = what if len(what) < 500 else f"{what[:500]} ..."  # a lying header can hold megabytes of names
    return Problem(str(path), what, "The file is truncated or damaged: download or save it again.")
