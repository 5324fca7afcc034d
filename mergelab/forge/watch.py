"""Watch: how far a look at many files is, and whether to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from mergelab.forge.digests import sha256_of
from mergelab.models.progress import Progress, Stopped


class Watch:
    """Tells how far the work is, and hears whether to stop."""

    def __init__(
        self,
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], bool] | None = None,
        *,
        stage: str = "verifying",
    ) -> None:
        """Nothing is told yet.

        Args:
            progress: who is told.
            stop: asked often; True ends the work.
            stage: what the work is called.
        """
        self._stage = stage
        self._progress = progress
        self._stop = stop
        self._began = time.perf_counter()
        self._done = self._total = self._made = self._of = 0

    def expect(self, total: int, tensors: int = 0) -> None:
        """So many bytes more are to be looked at, and tensors to be made."""
        self._total += total
        self._of += tensors

    def advance(self, count: int, tensors: int = 0) -> None:
        """So many are done."""
        self._done += count
        self._made += tensors
        if self._progress is not None:
            seconds = time.perf_counter() - self._began
            self._progress(Progress(self._stage, self._done, self._total, self._made, self._of, seconds))

    def heed(self) -> None:
        """End the work where that is asked."""
        if self._stop is not None and self._stop():
            raise Stopped

    def sha256(self, path: Path) -> str:
        """SHA-256 of a file whose bytes are expected; SourceError and OSError as ``sha256_of``."""

        def heed(count: int) -> None:
            self.heed()
            self.advance(count)

        return sha256_of(path, heed)
