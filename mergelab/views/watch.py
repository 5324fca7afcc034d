"""What is measured while one works, as the workbench's page takes it: plain JSON, with null for what is no number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mergelab.inspection.borders import Seam
from mergelab.recipes.step import Home
from mergelab.studies.scores import Score, Scorer
from mergelab.studies.scoring import Control, Scores
from mergelab.studies.seaming import Lengths, Seamed
from mergelab.weights import Source

CALM = ("Within chance", "Slightly shifted", "Not measured")  # what the sentence of a seam that is not off begins with
SHOWN = {"norm": "norm_ratio", "cosine": "cosine", "frechet": "frechet_read"}
Past = Mapping[str, Iterable[tuple[int, float]]]


def seams_payload(found: Seamed, turn: int, names: Mapping[Source, str]) -> dict[str, Any]:
    """The ``_seams`` trait.

    Figures are averages of both ends of the run that begins at a seam, against the layer's home: ``norm`` is how many
    times as long states are, ``cosine`` of a token's two states, ``frechet`` of what the layer reads. ``low`` and
    ``high`` are what chance gives. A seam is ``off`` where its sentence says more than that it is slightly shifted.

    Args:
        turn: of the recipe in the history.
        names: what sources are called.
    """
    seams = found.seams
    rows = []
    for seam, sentence in zip(seams.seams, seams.verdicts(), strict=True):
        told = seams.figures(seam).get("average", {})
        figures = {key: told[name] for key, name in SHOWN.items() if name in told}
        rows.append(
            {
                "at": seam.border,
                **_sides(seam, names),
                **_shown({key: one.value for key, one in figures.items()}),
                "low": _shown({key: one.low for key, one in figures.items()}),
                "high": _shown({key: one.high for key, one in figures.items()}),
                "off": not sentence.startswith(CALM),
                "sentence": sentence,
            }
        )
    return {"turn": turn, "recipe": found.recipe, "seams": rows, "note": found.note}


def no_seams(recipe: str, turn: int, problem: str) -> dict[str, Any]:
    """The ``_seams`` trait where they cannot be measured, and why."""
    return {"turn": turn, "recipe": recipe, "seams": [], "note": problem}


def scores_payload(scorers: Sequence[Scorer], scores: Scores | None, past: Past) -> dict[str, Any]:
    """The ``_scores`` trait.

    A control has a ``note`` beside its value: what model it is, and that it does not compare where it counts other
    tokens. ``why``, of a row and of a control, says why there is no value.

    Args:
        scorers: what is scored by; all that is told where ``scores`` are not known yet.
        past: by scorer, the turns it is known of, oldest first, and its values.
    """
    known = {row.scorer.name: row for row in scores.rows} if scores else {}
    rows = []
    for scorer in scorers:
        row = known.get(scorer.name)
        score = row.score if row else None
        controls = row.controls if row else ()
        rows.append(
            {
                "name": scorer.name,
                "unit": scorer.unit,
                "better": scorer.better,
                "value": _number(score.value if score else None),
                "spread": _number(score.spread if score else None),
                "why": score.problem if score else "",
                "controls": [_control(one, score) for one in controls],
                "past": [[turn, _number(value)] for turn, value in past.get(scorer.name, ())],
            }
        )
    return {"recipe": scores.recipe if scores else None, "done": bool(scores and scores.done), "rows": rows}


def scores_by_name(scores: Scores | None) -> dict[str, Score]:
    """What ``bench.scores`` gives: the merged model's scores that are known, by scorer."""
    return {row.scorer.name: row.score for row in scores.rows if row.score} if scores else {}


def norms_payload(found: Lengths) -> dict[str, list[float | None]]:
    """The ``norms`` of the ``_sources`` trait, by source."""
    return {name: [_number(value) for value in norms] for name, norms in found.norms.items()}


def _sides(seam: Seam, names: Mapping[Source, str]) -> dict[str, str]:
    def named(home: Home | None, none: str) -> str:
        return none if home is None else f"{names.get(home.source, home.source.label)} {home.index}"

    return {"below": named(seam.below, "embeddings"), "above": named(seam.above, "final norm")}


def _shown(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as they are shown: the log ratio of norms as the ratio itself; null where there is none."""
    ratio = {"norm": math.exp(figures["norm"])} if "norm" in figures else {}
    return {key: _number({**figures, **ratio}.get(key)) for key in SHOWN}


def _control(control: Control, merged: Score | None) -> dict[str, Any]:
    score = control.score
    notes = [control.what]
    if score and merged and not score.problem and not merged.problem and score.basis != merged.basis:
        notes.append(f"it reads other tokens, {score.basis} against {merged.basis}, so the two do not compare")
    if score and score.problem:
        notes.append(score.problem)
    return {
        "name": control.name,
        "value": _number(score.value if score else None),
        "note": "; ".join(notes),
        "why": score.problem if score else "",
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
