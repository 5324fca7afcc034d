"""Findings: what is measured while one works, of the recipe at hand and of those before it, as the page's traits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mergelab.models.events import Measured
from mergelab.models.measuring import Measure
from mergelab.studies.readings import Readings
from mergelab.studies.scores import Score, Scorer
from mergelab.studies.scoring import Scores, Scoring
from mergelab.studies.seaming import Lengths, Norming, Seamed, Seaming
from mergelab.views.board import Request
from mergelab.views.guests import Guest
from mergelab.views.past import Past
from mergelab.views.seats import Norms, told_sources
from mergelab.views.watch import no_seams, norms_payload, scores_by_name, scores_payload, seams_payload

if TYPE_CHECKING:
    import pandas as pd


class Findings:
    """What a preview's measures have found out."""

    def __init__(self, scorers: Sequence[Scorer], prompts: Callable[[], Sequence[str]]) -> None:
        """Score by these; measure seams and norms on what ``prompts`` gives when it is asked."""
        self._scorers = tuple(scorers)
        readings = Readings()
        self._seaming, self._norming = Seaming(prompts, readings), Norming(prompts, readings)
        self._scoring = Scoring(scorers)
        self._newest: Scores | None = None
        self._norms: Norms = {}
        self._values: dict[str, dict[str, float]] = {}

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What a preview is to measure, quickest first."""
        return self._seaming, self._norming, self._scoring

    def sources(self, guests: Sequence[Guest]) -> list[dict[str, Any]]:
        """The ``_sources`` trait."""
        return told_sources(guests, self._norms)

    def reread(self, guests: Sequence[Guest]) -> dict[str, Any]:
        """Traits once there is something else to read: what was measured on the texts before is gone."""
        self._norms = {}
        return {"_seams": None, "_sources": self.sources(guests)}

    def past(self, memory: Past) -> dict[str, Any]:
        """Traits that follow from what has been made so far and its scores."""
        turns: dict[str, list[tuple[int, float]]] = {}
        for entry in memory.log:
            for name, value in self._values.get(entry.recipe.fingerprint, {}).items():
                turns.setdefault(name, []).append((entry.turn, value))
        scores = scores_payload(self._scorers, self._newest, turns)
        return {"_scores": scores, "_past": memory.payload(self._values)}

    def table(self, memory: Past) -> pd.DataFrame:
        """What has been made so far, with scores."""
        return memory.table(self._values)

    def scores(self) -> dict[str, Score]:
        """The newest scores, by name."""
        return scores_by_name(self._newest)

    def take(self, event: Measured, request: Request, guests: Sequence[Guest], memory: Past) -> dict[str, Any]:
        """Traits that follow from what one measure found.

        Args:
            request: what it is about.
        """
        match event.value:
            case Seamed() as found:
                names = {guest.checkpoint.source: guest.name for guest in guests}
                return {"_seams": seams_payload(found, request.turn, names)}
            case Lengths() as found:
                self._norms = norms_payload(found)
                return {"_sources": self.sources(guests)}
            case Scores() as found:
                self._newest = found
                values = {name: score.value for name, score in self.scores().items() if math.isfinite(score.value)}
                self._values[found.recipe] = values
                doing = f"measuring: {found.waiting}" if found.waiting else "measuring"
                return {"status": doing, "scores": self.scores(), **self.past(memory)}
        if event.name == self._seaming.name:
            return {"_seams": no_seams(request.recipe.fingerprint, request.turn, event.problem)}
        return {}
