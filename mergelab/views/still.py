"""The workbench as a saved picture: HTML without scripts, for a notebook that is read where nothing runs."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.views.faces import Faces
from mergelab.views.still_stack import picture, words

TABLE = "<table style='font:inherit'><thead><tr>"
LEFT, RIGHT = "<th style='text-align:left;vertical-align:top'>", '<td style="text-align:right">'


def still(
    faces: Faces,
    prompt: str,
    answer: Mapping[str, Any] | None,
    scores: Mapping[str, Any],
    seams: Mapping[str, Any] | None = None,
) -> str:
    """The stack, its numbers, seams, the last answer, scores and the text. Every text from outside is escaped; no
    script, no address. What was found out about an earlier recipe than the picture's is marked as such.

    Args:
        answer, scores, seams: the traits of the workbench.
    """
    names = ["merged", *(guest.name for guest in faces.guests)]
    now = faces.recipe.fingerprint
    unread = "cannot be read; the picture is of the last one that could" if faces.problems else ""
    return (
        '<div class="mergelab-still" style="font:13px/1.45 system-ui,sans-serif;max-width:760px">'
        f'<h3 style="font-size:1.15em;margin:.4em 0">Merge of {html.escape(", ".join(names[1:]))}</h3>'
        f"<p>{html.escape(words(faces.guests, faces.sketch))} {_made(now, now)}</p>"
        f"{picture(faces.guests, faces.sketch)}"
        f"{_seams(seams, now)}"
        f"{_heading('Answers')}<p>Prompt: <code>{html.escape(prompt)}</code></p>"
        f"{_answers(names, answer, now) if answer else '<p>No answer yet.</p>'}{_scores(scores, now)}"
        f"{_heading('Text', unread)}<pre style='overflow:auto'>{html.escape(faces.text)}</pre>"
        '<p style="opacity:.7">Saved picture; run the cell to work on it.</p></div>'
    )


def _heading(text: str, more: str = "") -> str:
    """A heading; ``more`` is markup."""
    return f'<h4 style="font-size:1em;margin:1em 0 .3em">{text}{more and f" <small>{more}</small>"}</h4>'


def _made(recipe: str, now: str) -> str:
    stale = "" if recipe == now else ", an earlier one than the picture's"
    return f"recipe <code>{html.escape(recipe)}</code>{stale}"


def _seams(seams: Mapping[str, Any] | None, now: str) -> str:
    if not seams or not seams["seams"]:
        return ""
    titles = ("norm, times that at home", "cosine to home", "")
    head = "".join(f'<th style="text-align:right">{title}</th>' for title in titles)
    rows = "".join(
        f"<tr>{LEFT}{html.escape(one['below'])} to {html.escape(one['above'])}</th>"
        f"{RIGHT}{_figure(one['norm'])}</td>{RIGHT}{_figure(one['cosine'])}</td>"
        f"<td style='text-align:left'>{html.escape(one['sentence'])}</td></tr>"
        for one in seams["seams"]
    )
    table = f"{TABLE}<th style='text-align:left'>seam</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"{_heading('Seams', _made(seams['recipe'], now))}{table}"


def _answers(names: Sequence[str], answer: Mapping[str, Any], now: str) -> str:
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
    return (
        f"<p>{_made(answer['recipe'], now)}</p>"
        f"{TABLE}<th>next token, %</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"{TABLE}<th></th><th style='text-align:left'>writes</th></tr></thead><tbody>{texts}</tbody></table>"
    )


def _probability(value: float | None) -> str:
    if value is None:
        return '<td style="text-align:right" title="not in its vocabulary" aria-label="not in its vocabulary">–</td>'
    return f"{RIGHT}{html.escape(_percent(value))}</td>"


def _percent(value: float) -> str:
    """A probability in per cent, rounded as on the page: 58, 4.1, "<0.1"."""
    of100 = 100 * value
    if of100 >= 9.95:
        return f"{math.floor(of100 + 0.5)}"
    if of100 >= 0.05:
        return f"{math.floor(10 * of100 + 0.5) / 10}"
    return "<0.1" if of100 > 0 else "0"


def _scores(scores: Mapping[str, Any], now: str) -> str:
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
    made = _heading("Scores", _made(str(scores["recipe"]), now))
    return f"{made}{TABLE}<th style='text-align:left'></th>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figure(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" + (f" ± {spread:.2g}" if spread else "")
