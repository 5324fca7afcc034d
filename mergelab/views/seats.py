"""Seats: what the page is told of the sources at the table, and of what can be done with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.views.guests import Guest
from mergelab.views.layouts import presets
from mergelab.views.suits import blends, fits, kinds, sizes

Norms = Mapping[str, Sequence[float | None]]


def seats(guests: Sequence[Guest], base: int | None) -> dict[str, Any]:
    """Traits that follow from the sources and the base, a place among them."""
    return {
        "_fits": fits(guests, base),
        "_blends": blends(guests),
        "_kinds": kinds(guests, base),
        "_presets": presets(guests),
    }


def told_sources(guests: Sequence[Guest], norms: Norms) -> list[dict[str, Any]]:
    """The ``_sources`` trait.

    Args:
        norms: by the name of a source, as far as they are known, the median norm of the residual stream after each of
            its layers.
    """
    return [
        {
            "name": guest.name,
            "code": guest.code,
            **sizes(guest.checkpoint),
            "norms": list(norms.get(guest.name) or [None] * guest.checkpoint.layers),
        }
        for guest in guests
    ]
