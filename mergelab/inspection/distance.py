"""How far states that arrive are from states at home: pure functions on tokens, and what chance alone would give.

All take float64 arrays of shape (tokens, width), row by row the same tokens. "Arriving" is what a layer of a merged
model is given, "home" what it was given in the model it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mergelab.inspection.grid import Measure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPLITS = 39
"""A fortieth split falls outside the range of these by chance once in twenty times (2 of 40 ranks), and above all of
them once in forty."""

WIDEST = 256
TOKENS_PER_DIMENSION = 5


@dataclass(frozen=True)
class Distance:
    """One figure for two clouds of states.

    Attributes:
        measure: what it means.
        of: (arriving, home) -> the figure; NaN where it has no meaning.
        worse: on which side of chance something is off: ``"above"``, ``"below"`` or ``"both"``.
        paired: it compares each token with itself. Then chance is what arriving states give in a basis that has
            nothing to do with home's: ``turned`` about their mean. For the others, chance is what two halves of the
            home's tokens give.
        narrow: it needs covariances, so it is taken in as many dimensions as the tokens suffice for.
        read: it is taken on what the layer reads: states that have been through the norm in front of it.
    """

    measure: Measure
    of: Callable[[Floats, Floats], float]
    worse: Literal["above", "below", "both"] = "above"
    paired: bool = False
    narrow: bool = False
    read: bool = False


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure with what chance gives.

    Attributes:
        distance: which one.
        value: NaN: it has no meaning here.
        draws: what each of SPLITS splits of the tokens gives, shape (SPLITS,).
    """

    distance: Distance
    value: float
    draws: Floats

    @property
    def low(self) -> float:
        """The lower end of what chance gives. The same states are 0 apart, so a shift cannot be too small: 0."""
        return float(self.draws.min()) if self.distance.paired or self.distance.worse == "both" else 0.0

    @property
    def high(self) -> float:
        """The upper end."""
        return float(self.draws.max())

    @property
    def off(self) -> bool:
        """Whether something is off here: a shift is larger than between halves of the home's own tokens, or tokens are
        no more like themselves at home than in a basis drawn at random.
        """
        above, below = self.value > self.high, self.value < self.low
        if self.distance.paired:
            return self.value <= self.high if self.distance.worse == "below" else self.value >= self.low
        return above or (below and self.distance.worse == "both")


def average(figures: Sequence[Figure]) -> Figure:
    """The average of one figure at several borders, taken on the same splits.

    Of a figure that may be off on both sides it is the average size, with the sign of the largest: opposite ends do not
    cancel.
    """
    distance = figures[0].distance
    told = np.stack([np.append(one.draws, one.value) for one in figures])
    found = told.mean(axis=0)
    if distance.worse == "both":
        largest = np.take_along_axis(told, abs(told).argmax(axis=0)[None], axis=0)[0]
        found = np.copysign(abs(told).mean(axis=0), largest)
    return Figure(distance, float(found[-1]), found[:-1])


def norm_ratio(arriving: Floats, home: Floats) -> float:
    """log(median |arriving| / median |home|), natural: 0 where states are as long as at home, log 2 where twice."""
    return float(np.log(np.median(_lengths(arriving)) / np.median(_lengths(home))))


def cosine(arriving: Floats, home: Floats) -> float:
    """Mean over tokens of the cosine between a token's two states; tokens with a zero state are left out."""
    lengths = _lengths(arriving) * _lengths(home)
    told = lengths > 0
    return float(np.mean((arriving * home).sum(axis=1)[told] / lengths[told])) if told.any() else np.nan


def relative_distance(arriving: Floats, home: Floats) -> float:
    """Mean over tokens of |arriving - home| / |home|; tokens that are zero at home are left out."""
    lengths = _lengths(home)
    told = lengths > 0
    return float(np.mean(_lengths(arriving - home)[told] / lengths[told])) if told.any() else np.nan


def mean_shift(arriving: Floats, home: Floats) -> float:
    """|mean of arriving - mean of home| / sqrt(trace of home's covariance). NaN where all of home's states are one."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.linalg.norm(arriving.mean(0) - home.mean(0)) / np.sqrt(home.var(0, ddof=1).sum()))


def covariance_shift(arriving: Floats, home: Floats) -> float:
    """|covariance of arriving - covariance of home| / |covariance of home|, Frobenius norms."""
    ours, theirs = covariance(arriving), covariance(home)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def frechet(arriving: Floats, home: Floats) -> float:
    """Frechet distance of the two Gaussians with these means and covariances, as a share of home's spread.

    (|m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)) / tr C, with m and C of home (Dowson & Landau 1982; Heusel et al.
    2017, arXiv 1706.08500). 0: the same Gaussian; about 2: as much spread, in other directions. With centred states
    X = QR and X' = Q'R', the trace of the root is the sum of the singular values of R R'^T over tokens - 1: no root is
    taken.
    """
    ours, theirs = _triangle(arriving), _triangle(home)
    spread = (theirs**2).sum()
    shared = np.linalg.svd(theirs @ ours.T, compute_uv=False).sum()
    shift = ((arriving.mean(0) - home.mean(0)) ** 2).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(max(shift + (ours**2).sum() + spread - 2 * shared, 0.0) / spread)


def covariance(states: Floats) -> Floats:
    """Unbiased covariance, shape (width, width)."""
    centred = states - states.mean(0)
    found: Floats = centred.T @ centred / (len(states) - 1)
    return found


def rms_normalised(states: Floats) -> Floats:
    """Every state divided by its root mean square; zero stays zero."""
    size = np.sqrt(np.mean(states**2, axis=1, keepdims=True))
    return np.divide(states, size, out=np.zeros_like(states), where=size > 0)


def dimensions(tokens: int, width: int) -> int:
    """In how many dimensions covariances are taken: half the tokens are five for each, and 256 at most."""
    return min(width, WIDEST, max(tokens // 2 // TOKENS_PER_DIMENSION, 1))


def projection(width: int, dimensions: int, seed: int) -> Floats:
    """Orthonormal directions drawn at random, shape (width, dimensions): the same ones for the same numbers.

    The identity where nothing has to be left out.
    """
    if dimensions >= width:
        return np.eye(width)
    drawn = np.random.default_rng([seed, width, dimensions]).standard_normal((width, dimensions))
    found: Floats = np.linalg.qr(drawn)[0]
    return found


def splits(tokens: int, seed: int) -> tuple[tuple[Ints, Ints], ...]:
    """SPLITS random ways to halve the tokens, as row numbers of both halves; of an odd number one is left out."""
    draw = np.random.default_rng([seed, tokens])
    orders = (draw.permutation(tokens) for _ in range(SPLITS))
    return tuple((order[: tokens // 2], order[tokens // 2 : tokens // 2 * 2]) for order in orders)


def turned(states: Floats, seed: int) -> Floats:
    """The cloud of states turned about its mean: it keeps middle and spread, and no channel means what it did.

    Channels change places and signs at random. What likeness is left to states with the cross-covariance C is tr(QC),
    which has mean 0 and variance |C|_F^2 / width, as under any random rotation Q. It does not vanish with many tokens,
    as likeness between different tokens does.
    """
    draw = np.random.default_rng([seed, states.shape[1]])
    places, signs = draw.permutation(states.shape[1]), draw.choice((-1.0, 1.0), states.shape[1])
    mean = states.mean(0)
    found: Floats = (states - mean)[:, places] * signs + mean
    return found


def figures(
    arriving: Floats,
    home: Floats,
    read: tuple[Floats, Floats],
    *,
    seed: int = 0,
    between: Mapping[str, Floats] | None = None,
) -> dict[str, Figure]:
    """All of DISTANCES between states that arrive and states at home, by name, each with what chance gives.

    Args:
        arriving, home: states of the stream, shape (tokens, width), float64.
        read: the same two as the layer reads them: behind the norm in front of it.
        seed: of the splits and the projection.
        between: what ``halves`` gives of the same home and seed, where that is known already.
    """
    rows = splits(len(home), seed)
    between = halves(home, read[1], seed=seed) if between is None else between
    ours, theirs = _as_compared(arriving, read[0], seed), _as_compared(home, read[1], seed)
    found = {}
    for one in DISTANCES:
        name, kind = one.measure.name, (one.read, one.narrow)
        turns = enumerate(rows, seed) if one.paired else ()
        drawn = [one.of(turned(ours[kind][left], turn), theirs[kind][left]) for turn, (left, _) in turns]
        found[name] = Figure(one, one.of(ours[kind], theirs[kind]), np.array(drawn) if one.paired else between[name])
    return found


def halves(home: Floats, read: Floats, *, seed: int = 0) -> dict[str, Floats]:
    """What two halves of home's tokens give for every figure that is not paired, by name; each of shape (SPLITS,).

    Args:
        home: states at home, shape (tokens, width), float64.
        read: the same as the layer reads them.
        seed: of the splits and the projection.
    """
    rows, states = splits(len(home), seed), _as_compared(home, read, seed)
    found = {}
    for one in DISTANCES:
        if not one.paired:
            own = states[one.read, one.narrow]
            found[one.measure.name] = np.array([one.of(own[left], own[right]) for left, right in rows])
    return found


def _as_compared(states: Floats, read: Floats, seed: int) -> dict[tuple[bool, bool], Floats]:
    """States by whether they are as the layer reads them, and whether they are brought to fewer dimensions."""
    onto = projection(states.shape[1], dimensions(len(states), states.shape[1]), seed)
    return {(False, False): states, (True, False): read, (False, True): states @ onto, (True, True): read @ onto}


def _lengths(states: Floats) -> Floats:
    found: Floats = np.linalg.norm(states, axis=1)
    return found


def _triangle(states: Floats) -> Floats:
    """R with R^T R = the unbiased covariance, shape (min(tokens, width), width)."""
    return np.asarray(np.linalg.qr((states - states.mean(0)) / np.sqrt(len(states) - 1), mode="r"))


NORM_RATIO = Distance(
    Measure(
        "norm_ratio",
        "Length of the state, against home",
        "log ratio",
        "How much longer or shorter the states are than the layer is used to: 0 is as long as at home, 0.69 twice.",
        "log(median_t |x_t| / median_t |h_t|), x arriving, h at home",
        "Differences in the residual stream's growth: arXiv 2502.05795",
        "diverging",
        reading="A ratio alone does little harm where the layer normalises what it reads; with directions that fit, "
        "scaling mends it. The average of both ends is of sizes, with the sign of the larger.",
    ),
    norm_ratio,
    worse="both",
)
COSINE = Distance(
    Measure(
        "cosine",
        "Direction of the state, against home",
        "1",
        "Whether each token's state points where it points at home: 1 is the same direction, 0 none in common.",
        "mean_t cos(x_t, h_t)",
        "Direct matching: arXiv 2412.11299",
        reading="Chance is the cosine in a basis drawn at random, about the same mean: within that band, the layer "
        "learns nothing of a token from the directions that it learns it from at home.",
    ),
    cosine,
    worse="below",
    paired=True,
)
DISTANCE = Distance(
    Measure(
        "distance",
        "Distance of the state from home",
        "of its length",
        "How far each token's state is from the one at home, as a share of that one's length.",
        "mean_t |x_t - h_t| / |h_t|",
        "Direct matching: arXiv 2412.11299",
        reading="Chance is the distance in a basis drawn at random, about the same mean; 1 or more says that home is "
        "no nearer than the origin.",
    ),
    relative_distance,
    paired=True,
)
MEAN_SHIFT = Distance(
    Measure(
        "mean_shift",
        "Shift of the mean",
        "of the spread",
        "How far the middle of all states has moved, as a share of their spread at home.",
        "|m_x - m_h| / sqrt(tr C_h)",
        "Representation bias of merged models: arXiv 2402.02705",
        reading="Within the band: no more than between two halves of the same tokens.",
    ),
    mean_shift,
)
COVARIANCE_SHIFT = Distance(
    Measure(
        "covariance_shift",
        "Shift of the spread",
        "of home's",
        "How much the directions in which states differ from each other have changed.",
        "|C_x - C_h|_F / |C_h|_F",
        "Collapse of variance: REPAIR, arXiv 2211.08403",
        reading="Within the band: no more than between two halves of the same tokens.",
    ),
    covariance_shift,
    narrow=True,
)
FRECHET = Distance(
    Measure(
        "frechet",
        "Frechet distance",
        "of the spread",
        "How far the cloud of states is from the cloud at home, middle and spread together: 0 the same, about 2 as "
        "much spread in other directions.",
        "(|m_x - m_h|^2 + tr(C_x + C_h - 2 (C_h^1/2 C_x C_h^1/2)^1/2)) / tr C_h",
        "Dowson & Landau 1982; arXiv 1706.08500",
        reading="Within the band: no more than between two halves of the same tokens. What the layer reads counts "
        "more than the stream itself.",
    ),
    frechet,
    narrow=True,
)


def _as_read(distance: Distance) -> Distance:
    """The same figure for what the layer reads."""
    own = distance.measure
    shows = f"{own.shows[:-1]}; of states as the layer reads them, through the norm in front of it."
    formula = f"{own.formula}; of norm(x_t) and norm(h_t)"
    named = replace(own, name=f"{own.name}_read", title=f"{own.title}, as read", shows=shows, formula=formula)
    return replace(distance, measure=named, read=True)


_EVERYWHERE = (COSINE, DISTANCE, MEAN_SHIFT, COVARIANCE_SHIFT, FRECHET)
DISTANCES: tuple[Distance, ...] = (NORM_RATIO, *_EVERYWHERE, *map(_as_read, _EVERYWHERE))
MEASURES: Mapping[str, Measure] = {one.measure.name: one.measure for one in DISTANCES}


def _how(distance: Distance) -> str:
    """Where the band of a figure comes from, and how often chance stays inside."""
    if distance.paired:
        return f"arriving states turned at random about their mean, the range of {SPLITS} draws (95 %)"
    halves = f"two random halves of the tokens at home, the {{}} of {SPLITS} draws"
    return halves.format("largest") + " (97.5 %)" if distance.worse == "above" else halves.format("range") + " (95 %)"


HOW: Mapping[str, str] = {one.measure.name: _how(one) for one in DISTANCES}
