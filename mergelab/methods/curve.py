"""A number that changes with depth: mergekit's "gradients"."""

from __future__ import annotations

from collections.abc import Sequence

from mergelab.errors import MethodError, Problem


def gradient(points: Sequence[float | bool | str], index: int, count: int) -> float | bool | str:
    """The value for layer ``index`` (from 0) of a slice of ``count`` layers.

    The ``points`` are spread evenly over the slice. Numbers are interpolated linearly at u (len(points) - 1),
    where u = index / (count - 1), and u = 1 for a slice of one layer, as in mergekit. Booleans and words are not
    interpolated: the point at or before that place counts. The place is worked out in whole numbers, so that
    a list as long as the slice gives each layer its own point; mergekit rounds u first, and can land one
    point lower.

    Returns:
        float for numbers, bool for booleans, str for words.

    Raises:
        MethodError: no points, points of mixed or other kinds, or a layer outside the slice.
    """
    switches = all(isinstance(point, bool) for point in points) or all(isinstance(point, str) for point in points)
    if not points:
        raise MethodError(Problem("gradient", "has no points.", "Give at least one value."))
    if not switches and any(isinstance(point, bool) or not isinstance(point, int | float) for point in points):
        raise MethodError(
            Problem(
                "gradient", f"{list(points)!r} mixes kinds.", "Give numbers only, true and false only, or words only."
            )
        )
    if not 0 <= index < count:
        raise MethodError(
            Problem("gradient", f"layer {index} is not in a slice of {count} layers.", "Layers count from 0.")
        )
    place, rest = divmod(index * (len(points) - 1), count - 1) if count > 1 else (len(points) - 1, 0)
    if switches:
        return points[place]
    here = float(points[place])
    return here + (float(points[place + 1]) - here) * (rest / (count - 1)) if rest else here
