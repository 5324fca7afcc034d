"""Ranges: the bytes of stored tensors, read from their files piece by piece.

Pages of mapped files count as memory of the process until the system wants them back, and a mapped file that is cut
short kills it. What is read into memory of its own does neither.
"""

from __future__ import annotations

from collections.abc import Callable
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from mergelab.errors import Problem, SourceError
from mergelab.weights.checkpoint import Checkpoint

_PIECE = 8 << 20  # bytes that are read before somebody looks whether to go on


class Ranges:
    """Weight files, open while the block lasts. For one thread."""

    def __init__(self) -> None:
        """Files are opened when they are first read."""
        self._files: dict[Path, tuple[FileIO, int]] = {}

    def read(
        self, checkpoint: Checkpoint, name: str, first: int, into: memoryview, look: Callable[[], None] = lambda: None
    ) -> None:
        """Fill ``into`` with bytes of a tensor as it is stored, from its byte ``first`` on. Adapters change nothing.

        Args:
            look: called between pieces; what it raises ends the reading.

        Raises:
            SourceError: the file changed since the checkpoint was opened, or ends too soon.
        """
        path = checkpoint.file(name)
        file, start = self._open(path)
        file.seek(start + checkpoint.specs[name].begin + first)
        at = 0
        while at < len(into):
            look()
            got = file.readinto(into[at : at + _PIECE])
            if not got:
                what = f"ends within tensor {name!r}."
                raise SourceError(Problem(str(path), what, "It was cut short: download or save it again."))
            at += got

    def close(self) -> None:
        """Close all files."""
        for file, _ in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: Path) -> tuple[FileIO, int]:
        """The file, and where its data begins."""
        if path not in self._files:
            file = path.open("rb", buffering=0)
            self._files[path] = (file, 8)
            self._files[path] = (file, 8 + int.from_bytes(file.read(8), "little"))
        return self._files[path]
