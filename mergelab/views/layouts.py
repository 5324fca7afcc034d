"""The named frankenmodels as the workbench offers them: their numbers, and the recipes that they lay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mergelab.errors import FitError, Problem, RecipeError, did_you_mean, raise_all
from mergelab.recipes.preflight import preflight
from mergelab.recipes.presets import GOLIATH, graft, interleave, repeat, stack, upscale
from mergelab.recipes.recipe import Recipe
from mergelab.views.guests import Guest
from mergelab.weights import Checkpoint

Chosen = Mapping[str, int]


@dataclass(frozen=True)
class _Number:
    """A number of a preset: the place of a source among the guests, or a whole number."""

    name: str
    word: str
    kind: str
    default: int
    low: int
    high: int


@dataclass(frozen=True)
class _Preset:
    """A way to lay a stack.

    Attributes:
        numbers: what it asks for, for these guests.
        lay: the recipe, of opened guests and numbers within their ranges.
    """

    name: str
    word: str
    doc: str
    numbers: Callable[[Sequence[Checkpoint]], Sequence[_Number]]
    lay: Callable[[Sequence[Checkpoint], Chosen], Recipe]


def presets(guests: Sequence[Guest]) -> list[dict[str, Any]]:
    """What can be laid with these guests, in plain JSON: ``[{name, word, doc, numbers}]``.

    A number is ``{name, word, kind, default, low, high}``, of kind ``"source"`` (a place among the guests) or
    ``"whole"``.
    """
    opened = [guest.checkpoint for guest in guests]
    return [
        {
            "name": preset.name,
            "word": preset.word,
            "doc": preset.doc,
            "numbers": [
                {"name": one.name, "word": one.word, "kind": one.kind, "default": one.default, "low": one.low,
                 "high": one.high}
                for one in preset.numbers(opened)
            ],
        }
        for preset in _PRESETS
    ]  # fmt: skip


def lay(name: str, numbers: Mapping[str, object], guests: Sequence[Guest], before: Recipe | None = None) -> Recipe:
    """The recipe of a preset: plain slices, all passed through.

    Args:
        numbers: as ``presets`` asks for them, all; none: the defaults.
        before: what stood there: its dtype, seed, vocabulary and the like are kept, and its base where the new stack
            fits that as well as its own.

    Raises:
        RecipeError: there is no such layout or number, a number is out of range, or some are missing.
        FitError: runs of layers do not lie within their models, or leave nothing.
    """
    preset = next((one for one in _PRESETS if one.name == name), None)
    if preset is None:
        hint = did_you_mean(name, [one.name for one in _PRESETS])
        raise RecipeError(Problem("layout", f"there is no layout {name!r}.", hint))
    opened = [guest.checkpoint for guest in guests]
    asked = {one.name: one for one in preset.numbers(opened)}
    raise_all(RecipeError, _wrong(name, numbers, asked))
    given = {one: value for one, value in numbers.items() if isinstance(value, int)}
    laid = preset.lay(opened, {one.name: given.get(one.name, one.default) for one in asked.values()})
    return laid if before is None else _instead(before, laid, opened)


def beginning(guests: Sequence[Guest]) -> Recipe:
    """The stack to begin with: a run of a donor's inner layers set into a host, [1/5, 2/5) of its depth. There a graft
    keeps the host working in the sample family while leaving the layers out does not, and both borders can move.

    With three sources or more the second is the host and the third the donor; with two, the first is the host. A donor
    too shallow to reach that far leaves the host as it is. Config and tokenizer are the host's, as ``graft`` has it.
    """
    opened = [guest.checkpoint for guest in guests]
    host, donor = (1, 2) if len(opened) > 2 else (0, len(opened) - 1)
    deep = opened[host].layers
    start, end = deep // 5, min(max(2 * deep // 5, deep // 5 + 1), opened[donor].layers)
    runs = [(opened[host], 0, deep)]
    if donor != host and 0 < start < end < deep:
        runs = [(opened[host], 0, start), (opened[donor], start, end), (opened[host], end, deep)]
    return stack(runs, base=opened[host])


def goliath(depth: int) -> list[tuple[int, int]]:
    """Goliath-120B's nine blocks, which are of 80-layer models, for models of another depth: [start, end) of each.

    Borders move to the nearest layer; where models are shallow some blocks are one layer long.
    """
    last = GOLIATH[-1][1]
    starts = [min(round(start * depth / last), depth - 1) for start, _ in GOLIATH]
    ends = [round(end * depth / last) for _, end in GOLIATH]
    return [(start, max(end, start + 1)) for start, end in zip(starts, ends, strict=True)]


def _wrong(name: str, numbers: Mapping[str, object], asked: Mapping[str, _Number]) -> list[Problem]:
    found = [
        Problem(name, f"asks for no number {given!r}.", did_you_mean(str(given), list(asked)))
        for given in numbers
        if given not in asked
    ]
    for one in asked.values():
        if numbers and one.name not in numbers:
            hint = f"Give {one.name!r}, {one.low} to {one.high}, or no number at all for the defaults."
            found.append(Problem(name, f"{one.word} is missing.", hint))
            continue
        value = numbers.get(one.name, one.default)
        if isinstance(value, bool) or not isinstance(value, int) or not one.low <= value <= one.high:
            found.append(Problem(name, f"{one.word} {value!r} is out of range.", f"Give {one.low} to {one.high}."))
    return found


def _instead(before: Recipe, laid: Recipe, opened: Sequence[Checkpoint]) -> Recipe:
    """A laid stack in place of another one."""
    made = replace(
        before, method=laid.method, slices=laid.slices, numbers=(), module=None, module_numbers=(), stages=(),
        notes=None,
    )  # fmt: skip
    origins = {one.source: one for one in opened}
    own = replace(made, base=laid.base)
    if before.base not in origins:
        return own
    return made if len(preflight(made, origins)) <= len(preflight(own, origins)) else own


# ------------------------------------------------------------------------------------------------------ the presets


def _source(name: str, word: str, opened: Sequence[Checkpoint], wish: int) -> _Number:
    return _Number(name, word, "source", min(wish, len(opened) - 1), 0, len(opened) - 1)


def _deepest(opened: Sequence[Checkpoint]) -> int:
    return max(model.layers for model in opened)


def _run_of(opened: Sequence[Checkpoint], wish: int) -> list[_Number]:
    """The first and the last layer of a run: from a fifth to two fifths of the depth of a source."""
    depth, most = opened[min(wish, len(opened) - 1)].layers, _deepest(opened) - 1
    first, last = depth // 5, max(depth // 5, 2 * depth // 5 - 1)
    return [
        _Number("first", "First layer", "whole", first, 0, most),
        _Number("last", "Last layer", "whole", last, 0, most),
    ]


def _graft(opened: Sequence[Checkpoint], chosen: Chosen) -> Recipe:
    return graft(opened[chosen["host"]], opened[chosen["donor"]], (chosen["first"], chosen["last"] + 1))


def _upscale(opened: Sequence[Checkpoint], chosen: Chosen) -> Recipe:
    return upscale(opened[chosen["model"]], chosen["drop"])


def _goliath(opened: Sequence[Checkpoint], chosen: Chosen) -> Recipe:
    models = [opened[chosen["one"]], opened[chosen["other"]]]
    return interleave(*models, ranges=goliath(min(model.layers for model in models)))


def _alternate(opened: Sequence[Checkpoint], chosen: Chosen) -> Recipe:
    models = [opened[chosen["one"]], opened[chosen["other"]]]
    depth, size = min(model.layers for model in models), chosen["size"]
    return interleave(*models, ranges=[(start, min(start + size, depth)) for start in range(0, depth, size)])


def _repeat(opened: Sequence[Checkpoint], chosen: Chosen) -> Recipe:
    return repeat(opened[chosen["model"]], (chosen["first"], chosen["last"] + 1), times=chosen["times"])


def _skip(opened: Sequence[Checkpoint], chosen: Chosen) -> Recipe:
    model, first, end = opened[chosen["model"]], chosen["first"], chosen["last"] + 1
    runs = [(model, start, stop) for start, stop in ((0, first), (end, model.layers)) if start < stop]
    if not first < end <= model.layers or not runs:
        what = f"layers {first} to {chosen['last']} are no run that {str(model.source)!r} can do without."
        raise FitError(Problem("skip", what, f"Its layers are 0 to {model.layers - 1}: leave one at least."))
    return stack(runs, base=model)


_PRESETS = (
    _Preset(
        "graft",
        "Graft",
        "A run of the host's layers replaced by the donor's from the same depth.",
        lambda opened: [
            _source("host", "Host", opened, 1 if len(opened) > 2 else 0),
            _source("donor", "Donor", opened, 2 if len(opened) > 2 else 1),
            *_run_of(opened, 1 if len(opened) > 2 else 0),
        ],
        _graft,
    ),
    _Preset(
        "upscale",
        "Depth up-scaling",
        "The model without its last layers, and on top the model without its first: SOLAR 10.7B dropped 8 of 32.",
        lambda opened: [
            _source("model", "Model", opened, 0),
            _Number("drop", "Layers to drop", "whole", opened[0].layers // 4, 0, _deepest(opened) - 1),
        ],
        _upscale,
    ),
    _Preset(
        "goliath",
        "Goliath's blocks",
        "Overlapping blocks of two models in turn, in the proportions of Goliath-120B, each beginning below the end of "
        "the one before.",
        lambda opened: [_source("one", "First model", opened, 0), _source("other", "Second model", opened, 1)],
        _goliath,
    ),
    _Preset(
        "alternate",
        "Alternate",
        "Layers of two models in turn, each from its own depth.",
        lambda opened: [
            _source("one", "First model", opened, 0),
            _source("other", "Second model", opened, 1),
            _Number("size", "Layers at a time", "whole", 1, 1, max(1, _deepest(opened) - 1)),
        ],
        _alternate,
    ),
    _Preset(
        "repeat",
        "Repeat",
        "A run of layers gone through several times in a row.",
        lambda opened: [
            _source("model", "Model", opened, 0),
            *_run_of(opened, 0),
            _Number("times", "Times", "whole", 2, 1, 8),
        ],
        _repeat,
    ),
    _Preset(
        "skip",
        "Skip",
        "The model without a run of its layers.",
        lambda opened: [_source("model", "Model", opened, 0), *_run_of(opened, 0)],
        _skip,
    ),
)
