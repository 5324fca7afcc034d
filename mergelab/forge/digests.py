"""Digests: SHA-256 of files, on threads of its own. It needs no other library, so that it can begin before one is
loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

from mergelab.errors import Problem, SourceError

_CHUNK = 1 << 24
"""Bytes that are hashed between two looks at whether to go on. With 1 MB, hashing would wait for Python most of the
time while another thread imports a library."""
_THREADS = 4  # hashing keeps up with a fast disk then; more would only take processors from the arithmetic


class Unwanted(Exception):  # noqa: N818 - nothing is wrong
    """A file is hashed no further, since nobody asks for it any more."""


class Digests:
    """SHA-256 of files, each worked out once, at about a GB/s a thread where the processor has instructions for it, and
    half of that where it has none. Its threads end with the block that it is used in.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(min(_THREADS, max(1, (os.cpu_count() or 1) // 2)), "hashing")
        self._begun: dict[Path, tuple[Future[str], Event, tuple[int, ...]]] = {}

    def begin(self, files: Iterable[Path]) -> None:
        """Begin with these files, as far as it has not yet with what is there now.

        Raises:
            OSError: a file is gone.
        """
        for path in files:
            stamp = _stamp(os.stat(path))
            if path not in self._begun or self._begun[path][2] != stamp:
                unwanted = Event()
                self._begun[path] = self._threads.submit(_digest, path, unwanted), unwanted, stamp

    def only(self, files: Collection[Path]) -> None:
        """Leave off all others."""
        for path, (running, unwanted, _) in self._begun.items():
            if path not in files:
                running.cancel()
                unwanted.set()

    def of(self, path: Path) -> Future[str]:
        """The digest of a file as it is now, in hexadecimal digits; SourceError and OSError as ``sha256_of``."""
        self.begin([path])
        return self._begun[path][0]

    def close(self) -> None:
        """End the threads, whether they are done or not."""
        self.only(())
        self._threads.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sha256_of(path: Path, heed: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Args:
        heed: called after each MB with the number of bytes read; what it raises ends the work.

    Raises:
        SourceError: the file changed while it was read.
        OSError: it cannot be read.
    """
    digest, room = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        while count := file.readinto(room):
            heed(count)
            digest.update(room[:count])
    after = os.stat(path)
    if _stamp(before) != _stamp(after):
        raise SourceError(Problem(str(path), "changed while it was read.", "Merge again, with what is there now."))
    return digest.hexdigest()


def _digest(path: Path, unwanted: Event) -> str:
    def heed(_: int) -> None:
        if unwanted.is_set():
            raise Unwanted

    return sha256_of(path, heed)


def _stamp(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
