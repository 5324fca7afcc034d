"""What the figures of a seam allow to say, as a sentence. Nothing is said that no figure is off for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mergelab.inspection.distance import Figure

Figures = Mapping[str, Figure]

SAME = 0.98  # cosine from which on a token's direction counts as kept
SHIFTS = {
    "frechet_read": "what the layer reads is {0:.2g} of its spread from home (Frechet; chance: up to {1:.2g})",
    "mean_shift_read": "the middle of what the layer reads has moved by {0:.2g} of its spread (chance: up to {1:.2g})",
    "covariance_shift_read": "the spread of what the layer reads is {0:.2g} other than at home (chance: up to {1:.2g})",
}


def verdict(ends: Sequence[Figures], normed: Sequence[bool]) -> str:
    """Say what kind of seam it is, and by which figures.

    Args:
        ends: the figures at its entry and at its exit, or at its entry alone; none: it was not reached.
        normed: for each of them, whether the layer normalises what it reads.

    Returns:
        "Another basis": the layer reads something else than at home, and a token is no more like itself at home than
        like another token. "Scale only": all that is off is the length of states; what is read is within chance, and
        tokens keep their directions. "Shifted": something else is off. "Within chance": nothing is.
    """
    named = list(zip(("entry", "exit"), ends, strict=False))
    shifted = [(place, end) for place, end in named if any(end[name].off for name in SHIFTS)]
    lost = [(place, end) for place, end in shifted if end["cosine_read"].off]
    if shifted:
        place, end = max(lost or shifted, key=lambda pair: pair[1]["frechet_read"].value)
        return f"{'Another basis' if lost else 'Shifted'}: {_shift(place, end)}; {_alike(end)}."
    scaled = [number for number, (_, end) in enumerate(named) if end["norm_ratio"].off]
    if not ends:
        return "Not measured: the walk was stopped below this seam."
    if not scaled:
        return f"Within chance: {_shift(*named[0])}; {_alike(ends[0])}."
    worst = max(scaled, key=lambda number: abs(ends[number]["norm_ratio"].value))
    said = _length(*named[worst])
    if any(end["cosine_read"].value < SAME for end in ends):
        return f"Shifted: {said}; {_alike(ends[worst])}."
    read = (
        "normalises what it reads, and that is within chance" if normed[worst] else "does not normalise what it reads"
    )
    return f"Scale only: {said}. The layer {read}."


def _shift(place: str, end: Figures) -> str:
    """The shift that is furthest from chance."""
    name = max(SHIFTS, key=lambda one: end[one].value / end[one].high)
    return f"at the {place} {SHIFTS[name].format(end[name].value, end[name].high)}"


def _length(place: str, end: Figures) -> str:
    figure = end["norm_ratio"]
    size, low, high = (math.exp(value) for value in (figure.value, figure.low, figure.high))
    return f"at the {place} states are {size:.3g} times as long as at home (chance: {low:.3g} to {high:.3g})"


def _alike(end: Figures) -> str:
    figure = end["cosine_read"]
    return f"a token's cosine with itself at home is {figure.value:.2f} (other tokens: up to {figure.high:.2f})"
