"""Small changes of files that were written, and what is found of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mergelab.forge.verification import Verification
from mergelab.weights.header import read_header


def changed(found: Verification) -> list[str]:
    assert found.holds == (not found.changed)
    return [one.about for one in found.changed]


def flip(path: Path, name: str, element: int, bit: int = 0) -> None:
    """Flip one bit of one element of a tensor in a file."""
    specs, _ = read_header(path)
    raw = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(raw[:8], "little") + specs[name].begin
    size = specs[name].bytes // specs[name].elements
    raw[start + element * size + bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(raw)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    table = json.loads(path.read_bytes())
    change(table)
    path.write_text(json.dumps(table))
