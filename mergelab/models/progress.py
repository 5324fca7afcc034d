"""Progress: how far a merge on its way to disk is, and how one asks it to end."""

from __future__ import annotations

from dataclasses import dataclass

from mergelab.columns import in_bytes


class Stopped(Exception):  # noqa: N818 - a request that was heeded, not an error
    """Work was abandoned because its ``stop`` said so."""


@dataclass(frozen=True)
class Progress:
    """How far a merge is.

    Attributes:
        stage: "checking" (what an earlier run has finished, by its hashes), "writing", "proving" or "done"; of a look
            at a merge "verifying".
        done: bytes of weights that are written, those of an earlier run included; while one looks, bytes looked at.
        total: bytes of all weights; while one looks, of all that is to be looked at.
        tensors: number of tensors that are written.
        of: number of all tensors.
        seconds: since the writing began.
        resumed: bytes of weights that an earlier run had finished.
        remark: what was found of earlier runs, in words; told once.
    """

    stage: str
    done: int
    total: int
    tensors: int
    of: int
    seconds: float
    resumed: int = 0
    remark: str = ""

    @property
    def rate(self) -> float:
        """Bytes that this run writes a second; 0.0 where it does not write."""
        return (self.done - self.resumed) / self.seconds if self.stage == "writing" and self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds until all weights are written, at the rate so far; None where nothing tells."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    @property
    def left_in_words(self) -> str:
        """The same for a reader; "" where nothing tells, or nothing is left."""
        return f"{_clock(self.left)} left" if self.left else ""

    def __str__(self) -> str:
        words = [f"{self.stage}: {in_bytes(self.done)} of {in_bytes(self.total)}"]
        words += [f"{self.tensors} of {self.of} tensors"]
        words += [f"{in_bytes(round(self.rate))}/s"] if self.rate else []
        words += [self.left_in_words] if self.left_in_words else []
        return ", ".join(words)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
