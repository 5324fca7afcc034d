"""The stack and its numbers over depth as SVG without scripts, for a saved notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence

from mergelab.views.guests import Guest
from mergelab.views.palette import DARK, LIGHT
from mergelab.views.shares import curves, shares, unlearned
from mergelab.views.sketch import Sketch

WIDE, GUTTER, TALL, CURVE = 760, 60, 84, 64  # px
STRIP = 15  # px: of a part that is taken away
COLUMN, LABELLED = 46, 28  # px: widest column, narrowest with words in it
MOST = 6  # numbers that are drawn; the text below has them all


def picture(guests: Sequence[Guest], sketch: Sketch) -> str:
    """The stack, each column an output layer in parts as high as their shares, and below it each number over depth.

    Every text is escaped.
    """
    total = sum(piece["layers"] for piece in sketch["slices"])
    step = min(COLUMN, (WIDE - GUTTER) / total)
    lines = [one for one in curves(sketch).items() if _varied(one[1])][:MOST]
    height = TALL + 34 + len(lines) * (CURVE + 16)
    inside = [
        f'<text x="0" y="20">source</text><text x="0" y="{TALL + 20}">output</text>',
        *_blocks(guests, sketch, step),
    ]
    for place, (name, found) in enumerate(lines):
        inside.append(_curve(name, found, step, TALL + 38 + place * (CURVE + 16), total))
    wide = GUTTER + total * step + 2
    label = html.escape(words(guests, sketch), quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" width="{wide:g}" height="{height}" '
        f'viewBox="0 0 {wide:g} {height}" style="max-width:100%"><style>{_style()}</style>{"".join(inside)}</svg>'
    )


def words(guests: Sequence[Guest], sketch: Sketch) -> str:
    """The stack in a sentence: ``"12 output layers: reverse 0 to 6, passthrough; ..."``."""
    told = []
    for piece in sketch["slices"]:
        runs = [
            f"{guests[part['source']].name} {part['start']} to {part['start'] + piece['layers'] - 1}"
            for part in piece["parts"]
        ]
        told.append(f"{' with '.join(runs)}, {piece['method']}")
    return f"{sum(piece['layers'] for piece in sketch['slices'])} output layers: {'; '.join(told)}."


def _style() -> str:
    def rules(palette: Sequence[tuple[str, str, str]]) -> str:
        return "".join(
            f".s{index}{{fill:{fill};stroke:{line}}}.l{index}{{fill:none;stroke:{line};stroke-width:2}}"
            f".t{index}{{fill:{text};font-weight:600}}"
            for index, (line, fill, text) in enumerate(palette)
        )

    dark = f"text{{fill:#c6ccd6}}.ax{{stroke:#39414c}}.l{{stroke:#e6e9ee}}{rules(DARK)}"
    return (
        "text{font:11px system-ui,sans-serif;fill:#3d4651}.ax{stroke:#dadde1}"
        f".l{{fill:none;stroke:#1b222b;stroke-width:2}}.d{{stroke-dasharray:5 3}}"
        f".away{{fill-opacity:0;stroke-dasharray:3 2}}{rules(LIGHT)}"
        f"@media(prefers-color-scheme:dark){{{dark}}}"
    )


def _blocks(guests: Sequence[Guest], sketch: Sketch, step: float) -> list[str]:
    drawn: list[str] = []
    total = sum(piece["layers"] for piece in sketch["slices"])
    every = max(1, round(LABELLED / step))
    index = 0
    for piece in sketch["slices"]:
        for offset in range(piece["layers"]):
            x, y = GUTTER + index * step, 4.0
            taken = unlearned(sketch, piece, offset)
            room = TALL - STRIP * sum(taken)
            for part, share in zip(piece["parts"], shares(sketch, piece, offset), strict=True):
                if share > 0:
                    home = part["start"] + offset
                    drawn.append(_block(guests[part["source"]], part["source"], home, x, y, share * room, step))
                y += share * room
            for part in (one for one, away in zip(piece["parts"], taken, strict=True) if away):
                drawn.append(_strip(guests[part["source"]], part["source"], x, y, step))
                y += STRIP
            if index % every == 0:
                drawn.append(f'<text x="{x + step / 2:g}" y="{TALL + 20}" text-anchor="middle">{index}</text>')
            index += 1
        if index < total:
            x = GUTTER + index * step
            drawn.append(f'<line class="ax" x1="{x:g}" x2="{x:g}" y1="0" y2="{TALL + 8}"/>')
    return drawn


def _block(guest: Guest, source: int, home: int, x: float, y: float, tall: float, step: float) -> str:
    gap = min(3.0, step / 6)
    size = f'width="{step - gap:.2f}" height="{max(0.0, tall - 1):.1f}"'
    box = f'<rect class="s{source}" x="{x + gap / 2:.2f}" y="{y:.1f}" {size} rx="2"/>'
    if tall < 14 or step < LABELLED:
        return box
    place = f'x="{x + step / 2:g}" y="{y + min(16, tall / 2 + 4):.1f}" text-anchor="middle"'
    return f'{box}<text class="t{source}" {place}>{html.escape(guest.code)} {home}</text>'


def _strip(guest: Guest, source: int, x: float, y: float, step: float) -> str:
    """What is taken away has no share: a strip under the others says so."""
    gap = min(3.0, step / 6)
    size = f'width="{step - gap:.2f}" height="{STRIP - 2}"'
    box = f'<rect class="s{source} away" x="{x + gap / 2:.2f}" y="{y + 1:.1f}" {size} rx="2"/>'
    if step < LABELLED:
        return box
    place = f'x="{x + step / 2:g}" y="{y + 11:.1f}" text-anchor="middle"'
    return f'{box}<text class="t{source}" {place}>−{html.escape(guest.code)}</text>'


Lines = Sequence[tuple[int | None, str, Sequence[float | None]]]


def _varied(lines: Lines) -> bool:
    """Whether a number is worth a picture: more than one value over all layers, sources and tensors."""
    return len(dict.fromkeys(value for _, _, line in lines for value in line if value is not None)) > 1


def _curve(name: str, lines: Lines, step: float, top: float, total: int) -> str:
    values = [value for _, _, line in lines for value in line if value is not None]
    low, high = min(0.0, *values), max(1.0 if max(values) > 0 else 0.0, *values)
    span = (high - low) or 1.0
    drawn = [f'<text x="0" y="{top + CURVE / 2:g}">{html.escape(name)}</text>']
    for level in (high, low):
        y = top + (high - level) / span * CURVE
        drawn.append(f'<line class="ax" x1="{GUTTER}" x2="{GUTTER + total * step:g}" y1="{y:g}" y2="{y:g}"/>')
        drawn.append(f'<text x="{GUTTER - 6}" y="{y + 4:g}" text-anchor="end">{level:g}</text>')
    filters = list(dict.fromkeys(text for _, text, _ in lines))
    if len(filters) > 1:
        told = ", ".join(f"{('solid', 'dashed')[at % 2]} {text or 'all'}" for at, text in enumerate(filters))
        drawn.append(f'<text x="{GUTTER}" y="{top - 4}">{html.escape(told)}</text>')
    for source, text, line in lines:
        look = f"l{'' if source is None else source}{' d' if filters.index(text) % 2 else ''}"
        for run in _runs(line):
            points = " ".join(
                f"{GUTTER + (place + 0.5) * step:.1f},{top + (high - value) / span * CURVE:.1f}" for place, value in run
            )
            drawn.append(f'<polyline class="{look}" points="{points}"/>')
    return "".join(drawn)


def _runs(line: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Neighbouring layers that have a value."""
    runs: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(line):
        if value is not None:
            runs[-1].append((place, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
