"""What is told of a gain that moved: pure functions of the gains of one norm, and what rounding alone makes of them.

``one`` and ``zero`` are the source's and the base's effective gains, float64, shape (channels,). ``error`` is how far
storing them once in their own dtype may have moved each. Figures that have no meaning are NaN: a base that is all zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mergelab.inspection.grid import Floats, Measure

_BY_PROBING = "gains found by probing each module; relative distance"
_WEAK = "On its own it says little of whether a graft holds: a matrix behind the norm can take back what it does."

NORM_SIZE = Measure(
    "norm_size", "Norm drift", "1", "How far the gains of each normalisation layer moved, relative to their size.",
    "||g1 - g0|| / ||g0||", _BY_PROBING, "log",
    reading=f"0.01 is what a light fine-tune does, 1 is another model. {_WEAK}",
)  # fmt: skip
NORM_COSINE = Measure(
    "norm_cosine", "Direction of the gains", "1", "Whether the gains of a layer still have the same pattern.",
    "g1.g0 / (||g1|| ||g0||)", "cosine similarity",
    reading="1 is the same pattern, at whatever loudness. Gains are mostly positive, so that strangers score high too.",
)  # fmt: skip
NORM_SCALE = Measure(
    "norm_scale", "Loudness of the gains", "x base", "By what factor all gains of a layer grew together.",
    "exp(mean_j ln |g1_j / g0_j|)", "geometric mean of the gain ratios", "diverging", 1.0,
    reading="A factor alone is repaired by one number; compare it with the shape.",
)  # fmt: skip
NORM_SHAPE = Measure(
    "norm_shape", "Shape of the gains", "1", "How unevenly the gains of a layer grew or shrank.",
    "std_j ln |g1_j / g0_j|", "standard deviation of the logarithm of the gain ratios",
    reading="0: all by one factor. 0.1: channels moved by about 10 % against each other.",
)  # fmt: skip
NORM_EXTREME = Measure(
    "norm_extreme", "Most moved gains", "1", "How far the one gain in a hundred that moved most has moved.",
    "99 % quantile over j of |ln |g1_j / g0_j||", "quantile of the logarithm of the gain ratios",
    reading="Far above the shape: a few channels moved alone; the table of channels names them.",
)  # fmt: skip
NORM_CHANGED_SIGN = Measure(
    "norm_changed_sign", "Gains that changed sign", "channels", "Gains that turned negative, or positive again.",
    "|{j: g1_j g0_j < 0}|", "count",
    reading="Training hardly ever does this to a norm: it is worth a look. Ratios are told without their sign.",
)  # fmt: skip
NORM_ZEROS = Measure(
    "norm_zeros", "Gains that are zero in one model", "channels",
    "Gains that are zero on one side and not on the other.",
    "|{j: (g1_j = 0) != (g0_j = 0)}|", "count",
    reading="A norm that is all zero silences its sub-layer: files that lost a tensor look like that.",
)  # fmt: skip
BIAS_SIZE = Measure(
    "bias_size", "Drift of the norms' biases", "1", "How far the biases moved, relative to the size of the gains.",
    "||b1 - b0|| / ||g0||", "biases found by probing each module", "log",
    reading="Norms without a bias are left out. A normalised state has size 1 a channel, so gains are the yardstick.",
)  # fmt: skip
FOLDED_SIZE = Measure(
    "folded_size", "Drift of norm and matrix together", "1",
    "How far each norm and the matrices that read it moved as one.",
    "||W1 diag g1 - W0 diag g0|| / ||W0 diag g0||",
    "a gain folds into the next matrix: W (g * x) = (W diag g) x", "log",
    reading="Small where the norm drifted much: the matrix took the drift back, and nothing changed for the layer.",
)  # fmt: skip


class Figure(NamedTuple):
    """A measure of two gains.

    Attributes:
        measure: what it means.
        of: the figure, from one and zero.
        band: lower and upper end of what rounding alone may give, from error and zero; None: it is a count.
    """

    measure: Measure
    of: Callable[[Floats, Floats], float]
    band: Callable[[Floats, Floats], tuple[float, float]] | None = None


def size(one: Floats, zero: Floats) -> float:
    """||g1 - g0|| / ||g0||."""
    whole = float(np.linalg.norm(zero))
    return float(np.linalg.norm(one - zero)) / whole if whole else np.nan


def cosine(one: Floats, zero: Floats) -> float:
    """g1.g0 / (||g1|| ||g0||)."""
    whole = float(np.linalg.norm(one) * np.linalg.norm(zero))
    return float(one @ zero) / whole if whole else np.nan


def log_ratios(one: Floats, zero: Floats) -> Floats:
    """Logarithms of |g1 / g0| of the channels where both are other than 0; shape (up to channels,)."""
    both = (one != 0) & (zero != 0)
    ratios: Floats = np.log(np.abs(one[both] / zero[both]))
    return ratios


def scale(one: Floats, zero: Floats) -> float:
    """Geometric mean of the ratios |g1 / g0|."""
    ratios = log_ratios(one, zero)
    return float(np.exp(ratios.mean())) if ratios.size else np.nan


def shape(one: Floats, zero: Floats) -> float:
    """Standard deviation of the log ratios."""
    ratios = log_ratios(one, zero)
    return float(ratios.std()) if ratios.size else np.nan


def extreme(one: Floats, zero: Floats) -> float:
    """99 % quantile of the absolute log ratios."""
    ratios = log_ratios(one, zero)
    return float(np.quantile(np.abs(ratios), 0.99)) if ratios.size else np.nan


def changed_sign(one: Floats, zero: Floats) -> float:
    """Number of channels of the other sign."""
    return float(np.count_nonzero(np.sign(one) * np.sign(zero) < 0))


def zeros(one: Floats, zero: Floats) -> float:
    """Number of channels that are 0 in one of the two."""
    return float(np.count_nonzero((one == 0) != (zero == 0)))


def _log_errors(error: Floats, zero: Floats) -> Floats:
    """How far rounding may move each log ratio."""
    some = zero != 0
    errors: Floats = np.log1p(error[some] / np.abs(zero[some]))
    return errors


def _cosine_band(error: Floats, zero: Floats) -> tuple[float, float]:
    # The vector that errs by r of its length at a right angle has the cosine sqrt(1 - r^2) at worst.
    return float(np.sqrt(max(0.0, 1 - size(zero + error, zero) ** 2))), 1.0


def _scale_band(error: Floats, zero: Floats) -> tuple[float, float]:
    worst = float(np.exp(_log_errors(error, zero).mean()))
    return 1 / worst, worst


SIZE = Figure(NORM_SIZE, size, lambda error, zero: (0.0, size(zero + error, zero)))
COSINE = Figure(NORM_COSINE, cosine, _cosine_band)
SCALE = Figure(NORM_SCALE, scale, _scale_band)
SHAPE = Figure(NORM_SHAPE, shape, lambda error, zero: (0.0, float(np.sqrt(np.square(_log_errors(error, zero)).mean()))))
EXTREME = Figure(NORM_EXTREME, extreme, lambda error, zero: (0.0, float(np.quantile(_log_errors(error, zero), 0.99))))
CHANGED_SIGN = Figure(NORM_CHANGED_SIGN, changed_sign)
ZEROS = Figure(NORM_ZEROS, zeros)
