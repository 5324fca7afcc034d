"""Trajectories: how a prediction comes about from layer to layer, and how far sources' predictions lie apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergelab.errors import InspectionError, Problem, did_you_mean
from mergelab.inspection.between import QUANTILES
from mergelab.inspection.grid import Chance, Floats, Grid, Measure
from mergelab.inspection.tokens import Tokens, over

RESAMPLES = 200

_SOURCE = "logit lens: nostalgebraist 2020; KL to the final prediction: Belrose et al. 2023 (arXiv 2303.08112)"
_LENS = "p_l = softmax(head(final norm(h_l))), with what the model does to its logits"
_BRITTLE = (
    "Early layers often write in directions that the head does not read, so differences between sources tell more "
)
_BRITTLE += "than the height of a line."

KL = Measure(
    "lens_kl",
    "Distance from the final prediction",
    "nats",
    "How far the prediction that could be read off at each layer is from the one at the end.",
    f"KL(p_L || p_l) = sum_v p_L(v) log(p_L(v) / p_l(v)), {_LENS}; a quantile over tokens",
    _SOURCE,
    reading="0 at the end of the source itself. Within the band: no nearer than guessing every token as often as it is "
    f"predicted on average. {_BRITTLE}",
)

ENTROPY = Measure(
    "lens_entropy",
    "Undecidedness",
    "nats",
    "How undecided the prediction is that could be read off at each layer.",
    f"-sum_v p_l(v) log p_l(v), {_LENS}; a quantile over tokens",
    _SOURCE,
    reading="0: one token is certain. Low at an early layer need not be knowledge: a lens can be certain and wrong, "
    f"which the distance from the final prediction shows. {_BRITTLE}",
)

RANK = Measure(
    "lens_rank",
    "Rank of the final token",
    "1",
    "At which place each layer has the token that the source predicts in the end.",
    f"1 + number of v with p_l(v) > p_l(t), t the likeliest token of p_L, {_LENS}; a quantile over tokens",
    _SOURCE,
    "log",
    reading=f"1: already the likeliest. {_BRITTLE}",
)

PROBABILITY = Measure(
    "lens_probability",
    "Probability of the final token",
    "1",
    "How likely each layer has the token that the source predicts in the end.",
    f"p_l(t), t the likeliest token of p_L, {_LENS}; a quantile over tokens",
    _SOURCE,
    reading=f"It rises to how sure the source is in the end. {_BRITTLE}",
)

LOSS = Measure(
    "lens_loss",
    "Loss by layer",
    "nats",
    "How badly the prediction that could be read off at each layer does on the text's own next token.",
    f"-log p_l(next token), {_LENS}; a quantile over tokens that have a next one",
    _SOURCE,
    reading=f"At the end it is the loss of the source. {_BRITTLE}",
)

DECIDED = Measure(
    "lens_decided",
    "Decided tokens",
    "1",
    "For what share of the tokens the likeliest token is the final one from this layer on.",
    f"share of tokens with argmax p_k = argmax p_L for all k >= l, {_LENS}",
    _SOURCE,
    reading="Where the line rises the source decides. A layer that is taken out or exchanged behind that point changes "
    f"fewer answers. {_BRITTLE}",
)

FIGURES = {"kl": KL, "entropy": ENTROPY, "rank": RANK, "probability": PROBABILITY, "loss": LOSS, "decided": DECIDED}


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What can be read off at every border of one source. Float64; NaN: not read, or without meaning.

    Attributes:
        vocabulary: number of its logits.
        figures: by the names of FIGURES, shape (borders, tokens); ``decided`` is 1 or 0.
        kl: by source, in nats, from each border's prediction to that source's final one, shape (borders, tokens). NaN
            where the two have not the same number of logits.
        guess: the figures of a guess, which is the average over tokens of the source's final predictions; shape
            (tokens,) each.
        top: id of the likeliest token, shape (borders, tokens).
    """

    vocabulary: int
    figures: Mapping[str, Floats]
    kl: Mapping[str, Floats]
    guess: Mapping[str, Floats]
    top: Floats


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Predictions read off at every border of every source, at the same tokens.

    Attributes:
        tokens: all tokens of the prompts.
        drawn: numbers of those that were read, ascending, shape (read,).
        sources: by name.
        divergence: Jensen-Shannon divergence of two sources' final predictions, in nats, shape (read,).
        note: what was left out, in words.
    """

    tokens: Tokens
    drawn: NDArray[np.int64]
    sources: Mapping[str, Trajectory]
    divergence: Mapping[tuple[str, str], Floats]
    note: str = ""

    def __repr__(self) -> str:
        return f"<Trajectories of {', '.join(self.sources)}: {len(self.drawn)} tokens>"

    def figure(self, figure: str = "kl", statistic: str = "median", *, to: str | None = None) -> Grid:
        """A figure of the lens: sources by layers.

        Column l is what can be read off where layer l begins, the last one what leaves the last layer. A source with
        fewer layers has NaN behind its own.

        Args:
            figure: "kl" from a layer's prediction to a final one; its "entropy"; the "rank" and the "probability" that
                it gives to the source's own final token; its "loss" on the text's next token; "decided", the share of
                tokens whose likeliest token is the final one from there on.
            statistic: "q05", "q25", "median", "q75" or "q95" over tokens; not used for "decided".
            to: for "kl", the source whose final prediction counts; None: each source's own.

        Raises:
            InspectionError: there is no such figure, statistic or source, or ``to`` is given for another figure.
        """
        _known("figure", figure, tuple(FIGURES))
        _known("statistic", statistic, tuple(QUANTILES))
        if to is not None:
            _known("to", to, tuple(self.sources))
            if figure != "kl":
                what = f"{figure!r} of a prediction is not held against another source."
                raise InspectionError(Problem("lens, to", what, "Leave it away, or ask for the figure 'kl'."))

        def over_tokens(values: Floats) -> Floats:
            one = np.mean if figure == "decided" else partial(np.quantile, q=QUANTILES[statistic])
            return over(values, np.isfinite(values), lambda row: float(one(row)))

        shown = [one.figures[figure] if to is None else one.kl[to] for one in self.sources.values()]
        values = np.full((len(shown), max(map(len, shown), default=0)), np.nan)
        for row, found in zip(values, shown, strict=True):
            row[: len(found)] = over_tokens(found)
        aside = [f"{statistic} over tokens"] if statistic != "median" and figure != "decided" else []
        return Grid(
            FIGURES[figure],
            values,
            ("source", "layer"),
            tuple(self.sources),
            tuple(map(str, range(values.shape[1]))),
            ", ".join([*aside, *([] if to is None else [f"to {to}"])]),
            self._chance(figure, to, over_tokens),
            self.note,
        )

    def of_tokens(self, source: str, figure: str = "kl") -> Grid:
        """A figure of one source: tokens that were read by layers.

        Raises:
            InspectionError: there is no such source or figure.
        """
        _known("source", source, tuple(self.sources))
        _known("figure", figure, tuple(FIGURES))
        values = self.sources[source].figures[figure].T.copy()
        names = (
            f"{self.tokens.prompt[one]}:{self.tokens.position[one]} {self.tokens.words[one]}" for one in self.drawn
        )
        layers = tuple(map(str, range(values.shape[1])))
        return Grid(FIGURES[figure], values, ("token", "layer"), tuple(names), layers, source, note=self.note)

    def outputs(self, first: str, second: str) -> pd.DataFrame:
        """How far the final predictions of two sources lie apart, token by token, the furthest first.

        Returns:
            ``prompt``, ``position``, ``token``, ``next``; ``loss of <source>`` on the next token for both, in nats, and
            ``change``, the second's less the first's; ``kl``, KL(first || second), and ``js``, the Jensen-Shannon
            divergence, at most log 2, in nats; ``agree``: the likeliest token is the same. NaN where there is no next
            token, or where the sources have not the same number of logits.

        Raises:
            InspectionError: there is no such source, or both are the same.
        """
        for name in (first, second):
            _known("source", name, tuple(self.sources))
        if first == second:
            hint = "Give two different sources."
            raise InspectionError(Problem("outputs", f"{first!r} is compared with itself.", hint))
        one, other = self.sources[first], self.sources[second]
        js = self.divergence[(first, second) if (first, second) in self.divergence else (second, first)]
        last = self.tokens.last()[self.drawn]
        losses = [one.figures["loss"][-1], other.figures["loss"][-1]]
        table = {
            "prompt": self.tokens.prompt[self.drawn],
            "position": self.tokens.position[self.drawn],
            "token": [self.tokens.words[place] for place in self.drawn],
            "next": ["" if end else self.tokens.words[place + 1] for place, end in zip(self.drawn, last, strict=True)],
            f"loss of {first}": losses[0],
            f"loss of {second}": losses[1],
            "change": losses[1] - losses[0],
            "kl": other.kl[first][-1],
            "js": js,
            "agree": one.top[-1] == other.top[-1],
        }
        return pd.DataFrame(table).sort_values("kl", ascending=False, kind="stable", ignore_index=True)

    def _chance(self, figure: str, to: str | None, over_tokens: Callable[[Floats], Floats]) -> Chance | None:
        """What guessing gives, for each source (rows); the same draws for all."""
        guesses = [one.guess[figure] if to is None else self.sources[to].guess["kl"] for one in self.sources.values()]
        if not guesses:
            return None
        count = len(self.drawn)
        drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
        ends = [np.quantile(over_tokens(guess[drawn]), (0.025, 0.975)) for guess in guesses]
        low, high = np.array(ends).T[..., None]
        whose = "the source" if to is None else to
        guessing = f"predicting at every token the average of {whose}'s final predictions"
        if figure == "entropy":
            blind = np.log([[one.vocabulary] for one in self.sources.values()])
            return Chance(low, blind, f"from {guessing}, to holding all tokens equally likely")
        return Chance(low, high, f"{guessing}: the middle 95 % of {RESAMPLES} draws of as many tokens")


def _known(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise InspectionError(Problem(f"lens, {what}", f"there is no {given!r}.", did_you_mean(given, known)))
