"""The workbench as a saved picture: HTML without scripts, for a notebook that is read where nothing runs."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from mergelab.views.dials import Guest, homes

# (line, fill, text) of each source, light and dark: the resolved values of widgets/src/tokens.css.
LIGHT = (
    ("#6c747e", "#d9dfe6", "#4b5562"),
    ("#005239", "#a5dcc9", "#005239"),
    ("#bc8317", "#fbdd9f", "#7d5300"),
    ("#7b1a9d", "#e9d0f3", "#741893"),
    ("#3690ec", "#c3e0fb", "#12589f"),
)
DARK = (
    ("#a9b4cd", "#3d4653", "#c3ccdc"),
    ("#a2fbd8", "#0d4c40", "#a2f3d4"),
    ("#f0a344", "#5a3d0c", "#f6c168"),
    ("#c54f8d", "#5b2744", "#f0a9cc"),
    ("#3b84ea", "#1c3f76", "#a3c8fb"),
)
COLUMN, GUTTER, TALL, CURVE = 46, 54, 84, 64  # px


def still(
    guests: Sequence[Guest],
    blocks: Sequence[Sequence[int]],
    coefficient: Sequence[float],
    method: str,
    prompt: str,
    answer: Mapping[str, Any] | None,
) -> str:
    """The stack, the curve and the last answer. Every text from outside is escaped; no script, no address."""
    stack = _svg(guests, blocks, coefficient, method)
    said = _answers(guests, answer) if answer else "<p>No answer yet.</p>"
    return (
        '<div class="mergelab-still" style="font:13px/1.45 system-ui,sans-serif;max-width:760px">'
        f"{stack}<p>Prompt: <code>{html.escape(prompt)}</code></p>{said}"
        '<p style="opacity:.7">Saved picture; run the cell to work on it.</p></div>'
    )


def _style() -> str:
    def rules(palette: Sequence[tuple[str, str, str]]) -> str:
        return "".join(
            f".s{index}{{fill:{fill};stroke:{line}}}.l{index}{{fill:none;stroke:{line};stroke-width:2}}"
            f".t{index}{{fill:{text};font-weight:600}}"
            for index, (line, fill, text) in enumerate(palette)
        )

    dark = f"text{{fill:#c6ccd6}}.ax{{stroke:#39414c}}{rules(DARK)}"
    return (
        f"text{{font:11px system-ui,sans-serif;fill:#3d4651}}.ax{{stroke:#dadde1}}{rules(LIGHT)}"
        f"@media(prefers-color-scheme:dark){{{dark}}}"
    )


def _svg(guests: Sequence[Guest], blocks: Sequence[Sequence[int]], coefficient: Sequence[float], method: str) -> str:
    layers = homes(blocks)
    shares = [
        1.0 if source == 0 or method == "passthrough" else number
        for (source, _), number in zip(layers, coefficient, strict=True)
    ]
    wide, top = GUTTER + len(layers) * COLUMN, TALL + 34
    parts: list[str] = []
    for index, ((source, home), share) in enumerate(zip(layers, shares, strict=True)):
        x, own = GUTTER + index * COLUMN, share * TALL
        if own < TALL:
            parts.append(_block(guests, 0, home, x, 4.0, TALL - own))
        if own > 0:
            parts.append(_block(guests, source, home, x, 4 + TALL - own, own))
        parts.append(f'<text x="{x + COLUMN / 2}" y="{TALL + 20}" text-anchor="middle">{index}</text>')
    for level, name in ((0.0, "1"), (1.0, "0")):
        y = top + level * CURVE
        parts.append(f'<line class="ax" x1="{GUTTER}" x2="{wide}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{GUTTER - 6}" y="{y + 4}" text-anchor="end">{name}</text>')
    reached = 0
    for source, start, end in blocks:
        points = " ".join(
            f"{GUTTER + (index + 0.5) * COLUMN},{top + (1 - shares[index]) * CURVE:.1f}"
            for index in range(reached, reached + end - start)
        )
        reached += end - start
        parts.append(f'<polyline class="l{source}" points="{points}"/>')
    words = ", ".join(f"{guests[source].name} {start} to {end - 1}" for source, start, end in blocks)
    label = html.escape(f"{len(layers)} output layers: {words}. Method {method}.", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" width="{wide + 2}" '
        f'height="{top + CURVE + 12}" viewBox="0 0 {wide + 2} {top + CURVE + 12}" style="max-width:100%">'
        f'<style>{_style()}</style><text x="0" y="20">source</text><text x="0" y="{TALL + 20}">output</text>'
        f'<text x="0" y="{top + 20}">{"density" if method == "ties" else "share"}</text>{"".join(parts)}</svg>'
    )


def _block(guests: Sequence[Guest], source: int, home: int, x: float, y: float, tall: float) -> str:
    size = f'width="{COLUMN - 3}" height="{max(0.0, tall - 1):.1f}"'
    box = f'<rect class="s{source}" x="{x + 1.5}" y="{y:.1f}" {size} rx="2"/>'
    if tall < 14:
        return box
    code = html.escape(guests[source].code)
    place = f'x="{x + COLUMN / 2}" y="{y + min(16, tall / 2 + 4):.1f}" text-anchor="middle"'
    return f'{box}<text class="t{source}" {place}>{code} {home}</text>'


def _answers(guests: Sequence[Guest], answer: Mapping[str, Any]) -> str:
    names = ["merged", *(guest.name for guest in guests)]
    head = "".join(f'<th style="text-align:right">{html.escape(name)}</th>' for name in names)
    rows = "".join(
        f"<tr><th style='text-align:left'><code>{html.escape(repr(row['token']))}</code></th>"
        + "".join(_probability(value) for value in row["probabilities"])
        + "</tr>"
        for row in answer["candidates"]
    )
    texts = "".join(
        f"<tr><th style='text-align:left;vertical-align:top'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(text or '')}</td></tr>"
        for name, text in zip(names, answer["texts"], strict=True)
    )
    return (
        f"<p>recipe <code>{html.escape(answer['recipe'])}</code></p>"
        f"<table><thead><tr><th>next token</th>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"<table><thead><tr><th></th><th style='text-align:left'>writes</th></tr></thead><tbody>{texts}</tbody></table>"
    )


def _probability(value: float | None) -> str:
    if value is None:
        return '<td style="text-align:right" title="not in its vocabulary" aria-label="not in its vocabulary">–</td>'
    return f'<td style="text-align:right">{value:.1%}</td>'
