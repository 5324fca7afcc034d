"""The workbench as a saved picture: HTML without scripts, for a notebook that is read where nothing runs."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.views.faces import Faces
from mergelab.views.still_stack import picture

TABLE = "<table style='font:inherit'><thead><tr>"
LEFT, RIGHT = "<th style='text-align:left;vertical-align:top'>", '<td style="text-align:right">'


def still(faces: Faces, prompt: str, answer: Mapping[str, Any] | None, scores: Mapping[str, Any]) -> str:
    """The stack, its numbers, the last answer, scores and the text. Every text from outside is escaped; no script, no
    address.
    """
    names = ["merged", *(guest.name for guest in faces.guests)]
    return (
        '<div class="mergelab-still" style="font:13px/1.45 system-ui,sans-serif;max-width:760px">'
        f"{picture(faces.guests, faces.sketch)}"
        f"<p>Prompt: <code>{html.escape(prompt)}</code></p>"
        f"{_answers(names, answer, faces) if answer else '<p>No answer yet.</p>'}{_scores(scores)}"
        f"<pre style='overflow:auto'>{html.escape(faces.text)}</pre>"
        '<p style="opacity:.7">Saved picture; run the cell to work on it.</p></div>'
    )


def _answers(names: Sequence[str], answer: Mapping[str, Any], faces: Faces) -> str:
    speakers = names[: len(answer["texts"])]  # a source that was added since has said nothing yet
    head = "".join(f'<th style="text-align:right">{html.escape(name)}</th>' for name in speakers)
    rows = "".join(
        f"<tr>{LEFT}<code>{html.escape(repr(row['token']))}</code></th>"
        + "".join(map(_probability, row["probabilities"]))
        + "</tr>"
        for row in answer["candidates"]
    )
    texts = "".join(
        f"<tr>{LEFT}{html.escape(name)}</th><td style='text-align:left'>{html.escape(text or '')}</td></tr>"
        for name, text in zip(speakers, answer["texts"], strict=True)
    )
    stale = "" if answer["recipe"] == faces.recipe.fingerprint else ", an earlier one than the picture's"
    return (
        f"<p>recipe <code>{html.escape(answer['recipe'])}</code>{stale}</p>"
        f"{TABLE}<th>next token</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"{TABLE}<th></th><th style='text-align:left'>writes</th></tr></thead><tbody>{texts}</tbody></table>"
    )


def _probability(value: float | None) -> str:
    if value is None:
        return '<td style="text-align:right" title="not in its vocabulary" aria-label="not in its vocabulary">–</td>'
    return f"{RIGHT}{value:.1%}</td>"


def _scores(scores: Mapping[str, Any]) -> str:
    """Scores of the recipe that was scored last, each with its controls."""
    rows = [row for row in scores.get("rows", ()) if row["value"] is not None]
    if not rows:
        return ""
    controls = list(dict.fromkeys(control["name"] for row in rows for control in row["controls"]))
    head = "".join(f'<th style="text-align:right">{html.escape(name)}</th>' for name in ("merged", *controls))
    body = ""
    for row in rows:
        known = {control["name"]: control["value"] for control in row["controls"]}
        unit = f" ({row['unit']})" if row["unit"] else ""
        body += (
            f"<tr>{LEFT}{html.escape(row['name'] + unit)}</th>{RIGHT}{_figure(row['value'], row['spread'])}</td>"
            + "".join(f"{RIGHT}{_figure(known.get(name))}</td>" for name in controls)
            + "</tr>"
        )
    made = f"recipe <code>{html.escape(str(scores['recipe']))}</code>"
    return f"{TABLE}<th style='text-align:left'>scores, {made}</th>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figure(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" + (f" ± {spread:.2g}" if spread else "")
