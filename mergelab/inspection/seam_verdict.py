"""What the figures of seams and layers allow to say, as sentences. Nothing is said that no figure is off for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mergelab.inspection.distance import Figure, Floats

Figures = Mapping[str, Figure]

SAME = 0.98  # cosine from which on a token's direction counts as kept
SLIGHT = 0.25  # Fréchet distance as read, of the spread, up to which a shift is slight
LENGTH = 1.5  # times as long, or as short, as at home, up to which a shift is slight
SLIGHTLY = (
    f"Slightly shifted: told apart from home, but at both ends what is read is at most {SLIGHT:g} of its spread away "
    f"(Fréchet distance), states are at most {LENGTH:g} times as long or as short, and the cosine of tokens with "
    "themselves at home is nearer to 1 than to that in a random basis."
)
SHIFTS = {
    "frechet_read": "what the layer reads is {0:.2g} of its spread from home (Fréchet distance; chance: up to {1:.2g})",
    "mean_shift_read": "the middle of what the layer reads has moved by {0:.2g} of its spread (chance: up to {1:.2g})",
    "covariance_shift_read": "the spread of what the layer reads is {0:.2g} other than at home (chance: up to {1:.2g})",
}


def verdict(ends: Sequence[Figures], normed: Sequence[bool]) -> str:
    """Say what kind of seam it is, and by which figures.

    Args:
        ends: the figures at its entry and at its exit, or at its entry alone; none: it was not reached.
        normed: for each of them, whether the layer normalises what it reads.

    Returns:
        The grade, a colon and the figures. "Another basis": the layer reads something else than at home, and a token is
        no more like itself at home than in a random basis. "Scale only": all that is off is the length of states; what
        is read is within chance, and tokens keep their directions. "Shifted": something else is off; "Slightly
        shifted": by no more than ``SLIGHTLY`` says. "Within chance": nothing is. Of two ends that are off alike, the
        figures are those of the one further from home, as the layer reads.
    """
    named = list(zip(("entry", "exit"), ends, strict=False))
    if not ends:
        return "Not measured: the walk was stopped below this seam."
    shifted = [(place, end) for place, end in named if any(end[name].off for name in SHIFTS)]
    lost = [(place, end) for place, end in shifted if end["cosine_read"].off]
    grade = "Another basis" if lost else "Slightly shifted" if all(map(_slight, ends)) else "Shifted"
    if shifted:
        place, end = _furthest(lost or shifted)
        return f"{grade}: {_shift(place, end)}; {_alike(end)}."
    scaled = [number for number, (_, end) in enumerate(named) if end["norm_ratio"].off]
    if not scaled:
        place, end = _furthest(named)
        return f"Within chance: {_shift(place, end)}; {_alike(end)}."
    worst = max(scaled, key=lambda number: abs(ends[number]["norm_ratio"].value))
    said = _length(*named[worst])
    if any(end["cosine_read"].value < SAME for end in ends):
        return f"{grade}: {said}; {_alike(ends[worst])}."
    read = (
        "normalises what it reads, and that is within chance" if normed[worst] else "does not normalise what it reads"
    )
    return f"Scale only: {said}. The layer {read}."


def blame(moved: Floats, without: Floats) -> str:
    """Say which layer takes the host's states furthest astray, and whether further than no layer at all would.

    Args:
        moved: how far each layer takes the host's states from where the host's own layer takes them, of their length;
            shape (layers,).
        without: how far leaving the host's layer out does; NaN for a layer that takes no other's place.

    Returns:
        A sentence or two; "" where not all of ``moved`` was measured.
    """
    if np.isnan(moved).any():
        return ""
    if not moved.any():
        return "One step: no layer takes the host's states elsewhere than its own."
    harmful = [int(layer) for layer in np.flatnonzero(moved > without)]
    if harmful:
        worst = max(harmful, key=lambda layer: float(moved[layer]))
        rest = ", ".join(str(layer) for layer in harmful if layer != worst)
        return (
            f"One step: layer {worst} is worse than none: it takes the host's states astray by {moved[worst]:.2g} of "
            f"their length, leaving the host's layer out by {without[worst]:.2g}.{f' So are {rest}.' if rest else ''}"
        )
    worst = int(moved.argmax())
    said = f"One step: layer {worst} takes the host's states furthest astray, by {moved[worst]:.2g} of their length"
    if np.isnan(without[worst]):
        return f"{said}. It is one more layer: there is none of the host's to leave out instead."
    return f"{said}; leaving the host's layer out does more, {without[worst]:.2g}: alone it need not be to blame."


def _furthest(ends: Sequence[tuple[str, Figures]]) -> tuple[str, Figures]:
    return max(ends, key=lambda pair: pair[1]["frechet_read"].value)


def _slight(end: Figures) -> bool:
    alike, longer = end["cosine_read"], abs(end["norm_ratio"].value)
    halfway = (1 + alike.high) / 2
    return end["frechet_read"].value <= SLIGHT and longer <= math.log(LENGTH) and alike.value > halfway


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
    chance = f"in a random basis: up to {figure.high:.2f}"
    return f"as read there, a token's cosine with itself at home is {figure.value:.2f} ({chance})"
