"""What attention and feed-forward add to the residual stream: how much, and along it or against it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mergelab.inspection.grid import Floats, Measure
from mergelab.inspection.seen import Batch, Seen
from mergelab.inspection.tokens import Record, by_prompt, direction, length

SIZE = Measure(
    name="contribution",
    title="Contribution to the stream",
    unit="1",
    shows="How long the vector is that a sub-layer adds, as a share of the stream that enters its layer.",
    formula="median_t ||f(t)||_2 / ||h_l(t)||_2, h_l: the stream entering the layer, f: what is added to it (after a "
    "norm behind the sub-layer and a factor, where the model has them)",
    source="Csordas, Manning and Potts, Do language models use their depth efficiently?, arXiv 2505.13898",
    reading="Small values late in a deep model are usual: there each layer moves the stream little. What a layer adds "
    "can matter more than its size says, as when it writes a direction that nothing else writes.",
)

COSINE = Measure(
    name="contribution_cosine",
    title="Direction of the contribution",
    unit="1",
    shows="Whether what a sub-layer adds points along the stream, across it or against it.",
    formula="median_t cos(f(t), h_l(t)), h_l: the stream entering the layer, f: what is added to it",
    source=SIZE.source,
    scale="diverging",
    reading="About 0: something new is written. Above: what is there gets stronger. Below: something is taken out of "
    "the stream. Directions drawn at random would give values within about 2 / sqrt(width) of 0.",
)


class Contributions:
    """Takes down what every sub-layer adds, for each token. A ``Statistic``."""

    def __init__(self) -> None:
        """Start empty."""
        self._sizes: dict[str, dict[str, Record]] = {}
        self._cosines: dict[str, dict[str, Record]] = {}

    def see(self, batch: Batch, seen: Mapping[str, Seen], kept: Tensor) -> None:  # noqa: ARG002 - who counts is asked later
        """Take in one layer of one batch."""
        for name, one in seen.items():
            sizes, cosines = self._sizes.setdefault(name, {}), self._cosines.setdefault(name, {})
            for role, part in one.parts.items():
                sizes.setdefault(role, Record()).add(one.layer, by_prompt(share, part, one.before))
                cosines.setdefault(role, Record()).add(one.layer, by_prompt(along, part, one.before))

    def sizes(self, name: str, layers: int, tokens: int) -> dict[str, Floats]:
        """By role, ``share`` of a source's tokens, float64, shape (layers, tokens); NaN where it has no such part."""
        return {role: record.array(layers, tokens) for role, record in self._sizes.get(name, {}).items()}

    def cosines(self, name: str, layers: int, tokens: int) -> dict[str, Floats]:
        """By role, ``along``, in the same way."""
        return {role: record.array(layers, tokens) for role, record in self._cosines.get(name, {}).items()}


def share(part: Tensor, stream: Tensor) -> Tensor:
    """||part|| / ||stream|| over the last axis.

    Args:
        part: what is added, shape (..., width).
        stream: to what, the same shape.

    Returns:
        float32 or finer, shape (...); inf or NaN where the stream is empty.
    """
    return length(part) / length(stream)


def along(part: Tensor, stream: Tensor) -> Tensor:
    """cos(part, stream), as ``share``; NaN where either is empty."""
    return (direction(part) * direction(stream)).sum(-1)
