"""One method at work on a few numbers, as data for a picture: its dials, and what stands after each step."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mergelab import methods
from mergelab.methods import REQUIRED, Method, Parameter, Stage
from mergelab.views.palette import DARK, LIGHT

ROWS = 2
"""The numbers are a matrix of two rows: methods that look at rows or at directions have some to look at."""

# Where a default would show nothing: what is trimmed, and how much, is the point of these methods.
_BEGIN = {"density": 0.5, "select_topk": 0.5, "gamma": 0.1}
# Thresholds on changes: their ranges are for the small changes of real weights, those of the ten numbers reach further.
_THRESHOLDS = {("ram", "epsilon"), ("ramplus_tl", "epsilon"), ("nearswap", "t")}
_STEPS = (0.001, 0.005, 0.01, 0.05)
_UNSET = {"alpha": "1/T", "beta": "1 − alpha"}  # what a number is that was not given
_LIMITS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 50.0, 100.0)


@dataclass(frozen=True)
class Example:
    """Numbers to merge.

    Attributes:
        names: what the models are called.
        models: the same numbers out of each model, an even count of them.
        base: the base's.
    """

    names: tuple[str, ...]
    models: tuple[tuple[float, ...], ...]
    base: tuple[float, ...]


TEN = Example(
    names=("A", "B", "C"),
    # Against the base: all agree, one of two disagrees, little is left, two to one, one alone, the balance is held,
    # opposites, almost nothing, all a little, one goes far.
    models=(
        (1.2, 0.0, 0.1, 1.3, -0.3, -0.2, 0.7, 0.7, -0.4, -0.3),
        (1.1, -1.1, 0.3, 1.4, 0.6, -0.1, -1.0, 0.6, -0.5, 0.2),
        (1.3, -0.4, 0.0, 0.4, -0.2, 1.0, -0.1, 0.5, -0.3, 1.3),
    ),
    base=(0.4, -0.6, 0.2, 0.8, -0.3, 0.5, -0.2, 0.6, -0.7, 0.1),
)


def taken(method: Method, example: Example) -> Example:
    """The part of ``example`` that ``method`` takes: no more models than it has room for."""
    most = method.inputs[1] or len(example.models)
    return Example(example.names[:most], example.models[:most], example.base)


def dials(method: Method) -> tuple[Parameter, ...]:
    """The numbers worth turning: those that change the result and are a choice or have a range.

    A choice between one tensor and the whole model is none: here is one tensor only.
    """
    return tuple(
        one
        for one in method.parameters.values()
        if one.effect and one.name != "trim_scope" and (one.kind in (bool, str) or one.dial)
    )


def _range(method: Method, parameter: Parameter) -> tuple[float, float]:
    return (0.0, 0.5) if (method.name, parameter.name) in _THRESHOLDS else parameter.dial or (0.0, 1.0)


def begin(method: Method, count: int) -> dict[str, Any]:
    """Numbers to begin with, for ``count`` models: the method's own, or such as show something."""
    return {
        parameter.name: [value] * count if parameter.per_model else value
        for parameter in dials(method)
        if (value := _first(method, parameter)) is not None
    }


def _first(method: Method, parameter: Parameter) -> Any:
    if parameter.name in _BEGIN:
        return _BEGIN[parameter.name]
    if parameter.default is not REQUIRED and (method.name, parameter.name) not in _THRESHOLDS:
        return parameter.default
    low, high = _range(method, parameter)
    return 1.0 if parameter.per_model else (low + high) / 2


def explain(
    method: Method, example: Example, numbers: Mapping[str, Any], *, seed: int, depth: float
) -> tuple[Stage, ...]:
    """What stands after each step of ``method`` on ``example``, in tensors of two rows.

    Raises:
        MethodError: the numbers are wrong, together or for these models.
    """
    import torch

    models = [torch.tensor(one, dtype=torch.float64).view(ROWS, -1) for one in example.models]
    base = None if method.base == "none" else torch.tensor(example.base, dtype=torch.float64).view(ROWS, -1)
    return methods.explain(method, models, base, numbers, seed=seed, depth=depth)


def payload(
    method: Method,
    example: Example,
    numbers: Mapping[str, Any],
    stages: Sequence[Stage],
    *,
    seed: int,
    depth: float,
    turn: int,
) -> dict[str, Any]:
    """The ``_shown`` trait: plain JSON, NaN and infinity as null; ``each``: a stage has a row for each model."""
    rows = [[_plain(tensor.flatten().tolist()) for tensor in stage.tensors] for stage in stages]
    largest = max((abs(value) for stage in rows for row in stage for value in row if value is not None), default=0.0)
    limit = next((one for one in _LIMITS if one >= largest), largest)
    return {
        "turn": turn,
        "method": method.name,
        "summary": method.summary,
        "names": list(example.names),
        "base": None if method.base == "none" else list(example.base),
        "limit": limit,
        "dials": [_dial(method, one, numbers, len(example.models)) for one in dials(method)]
        + _own_dials(method, seed, depth),
        "stages": [
            {
                "name": stage.name,
                "doc": stage.doc,
                "change": 0 < at < len(stages) - 1,
                "each": at == 0 or len(row) > 1,
                "rows": row,
            }
            for at, (stage, row) in enumerate(zip(stages, rows, strict=True))
        ],
    }


def _plain(values: Sequence[float]) -> list[float | None]:
    return [round(value, 6) + 0.0 if math.isfinite(value) else None for value in values]


def _dial(method: Method, parameter: Parameter, numbers: Mapping[str, Any], count: int) -> dict[str, Any]:
    low, high = _range(method, parameter)
    given = numbers.get(parameter.name)
    each = given if isinstance(given, Sequence) and not isinstance(given, str) else [given] * count
    return {
        "name": parameter.name,
        "place": "numbers",
        "kind": parameter.kind.__name__,
        "perModel": parameter.per_model,
        "low": low,
        "high": high,
        "step": 1 if parameter.kind is int else _step(low, high),
        "choices": list(parameter.choices),
        "doc": parameter.doc,
        "unset": _UNSET.get(parameter.name, "own"),
        "values": list(each) if parameter.per_model else [given],
    }


def _step(low: float, high: float) -> float:
    """The finest step, of those that meet 0, 1 and their quarters, that goes from end to end in about 100."""
    return next((step for step in _STEPS if high - low <= 100 * step), (high - low) / 100)


def _own_dials(method: Method, seed: int, depth: float) -> list[dict[str, Any]]:
    """Dials for what a recipe says elsewhere, of methods that ask for it."""
    draw = "Which random numbers are drawn: the recipe's seed."
    place = "Place of the layer in the merged model: 0 is the first, 1 the last."
    found = [
        ("generator", "seed", "int", 0, 20, 1, draw, seed),
        ("depth", "depth", "float", 0, 1, 0.01, place, depth),
    ]
    return [
        {
            "name": name, "place": "trait", "kind": kind, "perModel": False, "low": low, "high": high, "step": step,
            "choices": [], "doc": doc, "unset": "own", "values": [value],
        }
        for extra, name, kind, low, high, step, doc, value in found
        if extra in method.extras
    ]  # fmt: skip


# As a saved picture --------------------------------------------------------------------------------------

_WIDE, _TALL, _GUTTER = 560, 62, 150  # px


def still(shown: Mapping[str, Any]) -> str:
    """The steps as HTML without scripts: an inline SVG, in the colours of light and dark."""
    stages, count = shown["stages"], len(shown["names"])
    parts = [_row(shown, stage, at * _TALL + 18) for at, stage in enumerate(stages)]
    names = "".join(
        f'<text class="t{at + 1}" x="{_GUTTER + at * 60}" y="11">{html.escape(name)}</text>'
        for at, name in enumerate(shown["names"])
    )
    end = len(stages) * _TALL + 22
    places = len(stages[0]["rows"][0])
    column = _WIDE / places
    numbered = "".join(
        f'<text class="n" text-anchor="middle" x="{_GUTTER + (at + 0.5) * column:.1f}" y="{end + 6}">{at + 1}</text>'
        for at in range(places)
    )
    height = end + 12
    title = html.escape(f"{shown['method']} on ten numbers of {count} models, step by step.", quote=True)
    set_to = ", ".join(f"{dial['name']} {_words(dial['values'], dial['unset'])}" for dial in shown["dials"])
    return (
        '<div class="mergelab-still" style="font:13px/1.45 system-ui,sans-serif;max-width:760px">'
        f"<p><b>{html.escape(shown['method'])}</b> ({html.escape(set_to)}). {html.escape(shown['summary'])}</p>"
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}" width="{_WIDE + _GUTTER}" '
        f'height="{height}" viewBox="0 0 {_WIDE + _GUTTER} {height}" style="max-width:100%">'
        f"<style>{_style()}</style>{names}{''.join(parts)}{numbered}</svg>"
        f"<p>First and last step: values; between them: change against base. Height: ±{shown['limit']:g}.</p>"
        '<p style="opacity:.7">Saved picture; run the cell to work on it.</p></div>'
    )


def _style() -> str:
    def rules(palette: Sequence[tuple[str, str, str]], ink: str) -> str:
        colours = "".join(f".b{at}{{fill:{line}}}.t{at}{{fill:{text}}}" for at, (line, _, text) in enumerate(palette))
        return f"{colours}.bm{{fill:{ink}}}.z{{stroke:{ink};stroke-opacity:.5}}.n{{fill:{ink}}}"

    text = "text{font:11px system-ui,sans-serif}"
    return f"{text}{rules(LIGHT, '#1b222c')}@media(prefers-color-scheme:dark){{{rules(DARK, '#e8ebf0')}}}"


def _row(shown: Mapping[str, Any], stage: Mapping[str, Any], top: float) -> str:
    rows, limit = stage["rows"], shown["limit"] or 1.0
    column, middle = _WIDE / len(rows[0]), top + _TALL / 2 - 4
    thick = min(10.0, (column - 10) / len(rows))
    parts = [f'<text class="n" x="0" y="{middle + 4:.1f}">{html.escape(stage["name"])}</text>']
    parts.append(f'<line class="z" x1="{_GUTTER}" x2="{_GUTTER + _WIDE}" y1="{middle:.1f}" y2="{middle:.1f}"/>')
    for model, row in enumerate(rows):
        look = f"b{model + 1}" if stage["each"] else "bm"
        for place, value in enumerate(row):
            x = _GUTTER + place * column + (column - len(rows) * thick) / 2 + model * thick
            tall = abs(value or 0.0) / limit * (_TALL / 2 - 6)
            y = middle - tall if (value or 0.0) > 0 else middle
            size = f'width="{thick - 1.5:.1f}" height="{max(tall, 1.5):.1f}"'
            parts.append(f'<rect class="{look}" x="{x:.1f}" y="{y:.1f}" {size}/>')
    return "".join(parts)


def _words(values: Sequence[Any], unset: str) -> str:
    def word(value: Any) -> str:
        if value is None:
            return unset
        return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value).lower()

    return word(values[0]) if len(set(map(str, values))) == 1 else "/".join(map(word, values))
