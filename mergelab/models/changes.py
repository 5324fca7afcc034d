"""Changes: what a turn of a live model did, and what bounded it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mergelab.columns import in_bytes
from mergelab.models.bank import Made


@dataclass(frozen=True)
class Changes:
    """What a turn did.

    Attributes:
        redone: number of the model's tensors that were computed.
        rebound: number of places in the model that got another tensor without any arithmetic: one of a source, one that
            was made before, or one that stands elsewhere too.
        steps: number of steps of the plan.
        bytes_read: bytes of the tensors that went into the arithmetic.
        bytes_written: bytes of the tensors that it made.
        seconds: time it took.
        bound: what most of that time went into. "planning": working the recipe out. "reading sources": getting tensors
            of sources, which is folding adapters in, and sending to a device what there is no room for. "building the
            model": putting tensors into it. Of all else: "disk" where half or more of what arithmetic read was not in
            memory yet, "memory" where its bytes went through arithmetic at half the speed or more at which this machine
            copies them, else "arithmetic"; "" where there was nothing to compute.
        rebuilt: the stack itself changed, so that the model was built anew around its tensors.
        first: the first layer whose output may differ from before: 0 where something in front of the layers changed,
            the number of layers where only the final norm or the head did, and one more where nothing did.
        layers: number of layers.
        streamed: bytes of sources that were sent to the device because there was no room to keep them there.
        from_disk: bytes that this process read from disk meanwhile: what is mapped comes when it is first touched, and
            again where the system had no room to keep it; so does code. 0 on Windows.
        warning: a line that says what memory did not suffice for, else "".
    """

    redone: int
    rebound: int
    steps: int
    bytes_read: int
    bytes_written: int
    seconds: float
    bound: str
    rebuilt: bool
    first: int
    layers: int
    streamed: int = 0
    from_disk: int = 0
    warning: str = ""

    def __str__(self) -> str:
        where = ["only after the layers", "nothing differs"]
        first = f"from layer {self.first}" if self.first < self.layers else where[self.first - self.layers]
        moved, rebuilt = in_bytes(self.bytes_read + self.bytes_written), ["the stack built anew"] * self.rebuilt
        words = (
            f"{self.redone} of {self.steps} computed",
            f"{self.rebound} put into place",
            moved,
            f"{self.seconds * 1e3:.3g} ms" if self.seconds < 1 else f"{self.seconds:.3g} s",
            f"bound by {self.bound}" if self.bound else "nothing to compute",
            first,
            *rebuilt,
            *([f"{in_bytes(self.streamed)} of sources not kept, for want of room"] if self.streamed else []),
            *([f"{in_bytes(self.from_disk)} from disk"] if self.from_disk else []),
        )
        return ", ".join(words) + (f". {self.warning}" if self.warning else "")

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))


def what_bound(made: Made, planning: float, building: float, copying: float) -> str:
    """What most of a turn's time went into, as ``Changes.bound`` says. ``copying``: bytes per second."""
    merging = made.seconds - made.reading
    times = {"planning": planning, "reading sources": made.reading, "building the model": building, "": merging}
    longest = max(times, key=lambda name: times[name])
    if longest:
        return longest
    if made.from_disk >= made.bytes_read / 2 > 0:
        return "disk"
    if not made.computed:
        return ""
    moved = (made.bytes_read + made.bytes_written) / merging
    return "memory" if moved >= copying / 2 else "arithmetic"
