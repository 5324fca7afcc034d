"""What tells two recipes apart, in a line: for a list of turns."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from mergelab.recipes.recipe import Recipe
from mergelab.weights import Source

NAMED = 2  # lines that are shown; the others are counted
SHORT = 4  # entries of a list that is shown whole

_Layer: TypeAlias = tuple[str, tuple[tuple[str, int | None], ...]]  # the method, and each source with its layer


def difference(before: Recipe, after: Recipe) -> str:
    """What tells two recipes apart, in a line, sources by their short names.

    Where layers came, went or are made of others: which ones, ``pirate 2–3 -> arithmetic 2–3``. Otherwise the lines of
    their YAML that differ, ``density: 0.3 -> 0.5``. Beyond the first two the others are counted. Empty where only
    folders' places differ.
    """
    found = _moves(before, after) or _lines(before, after)
    more = [f"and {len(found) - NAMED} more"] if len(found) > NAMED else []
    return "; ".join([*found[:NAMED], *more])


def _moves(before: Recipe, after: Recipe) -> list[str]:
    """What became of the layers, run by run."""
    old, new = _layers(before), _layers(after)
    told = []
    for _, start, end, begin, stop in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, come = "".join(_runs(old[start:end])), "".join(_runs(new[begin:stop]))
        if old[start:end] == new[begin:stop]:
            continue
        if gone and come:
            told.append(f"{gone} -> {come}")
        elif gone:
            told.append(f"without {gone}")
        else:
            told.append(f"with {come} {'at the bottom' if begin == 0 else f'above layer {begin - 1}'}")
    return told


def _layers(recipe: Recipe) -> list[_Layer]:
    """Whose layers make each layer; a model whose depth is not told counts as one."""
    found: list[_Layer] = []
    for piece in recipe.slices:
        method = "" if recipe.method_of(piece) == "passthrough" else recipe.method_of(piece)
        names = [part.source.label for part in piece.parts]
        spans = [part.layers for part in piece.parts]
        whole = [span for span in spans if span is not None]
        if len(whole) < len(spans):
            found.append((method, tuple((name, None) for name in names)))
            continue
        for offset in range(min((end - start for start, end in whole), default=0)):
            homes = tuple((name, start + offset) for name, (start, _) in zip(names, whole, strict=True))
            found.append((method, homes))
    return found


def _runs(layers: Sequence[_Layer]) -> Iterator[str]:
    """Layers in words, those that follow one another at home as one run."""
    at = 0
    while at < len(layers):
        end = at + 1
        while end < len(layers) and layers[end] == _next(layers[end - 1]):
            end += 1
        method, homes = layers[at]
        words = " and ".join(_home(name, start, end - at) for name, start in homes)
        yield f"{', ' if at else ''}{f'{method} of ' if method else ''}{words}"
        at = end


def _next(layer: _Layer) -> _Layer:
    method, homes = layer
    return (method, tuple((name, None if place is None else place + 1) for name, place in homes))


def _home(name: str, start: int | None, count: int) -> str:
    if start is None:
        return name
    return f"{name} {start}" if count == 1 else f"{name} {start}–{start + count - 1}"


def _lines(before: Recipe, after: Recipe) -> list[str]:
    """The lines of their YAML that differ."""
    old, new = (one.renamed(lambda source: Source(source.label)).bare.to_yaml().splitlines() for one in (before, after))
    found: list[str] = []
    for _, start, end, begin, stop in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if old[start:end] == new[begin:stop]:
            continue
        gone, come = ([line.strip(" -") for line in lines] for lines in (old[start:end], new[begin:stop]))
        both = min(len(gone), len(come))
        found += [_from_to(*pair) for pair in zip(gone[:both], come[:both], strict=True) if pair[0] != pair[1]]
        found += [f"without {line}" for line in gone[both:]] + [f"with {line}" for line in come[both:]]
    return found


def _from_to(old: str, new: str) -> str:
    """How one line of YAML became another; of long lists only what changed."""
    (before_key, _, before), (key, _, after) = old.partition(": "), new.partition(": ")
    if not after or before_key != key:
        return f"{_short(old)} -> {_short(new)}"
    was, now = before.strip("[]").split(", "), after.strip("[]").split(", ")
    if before[0] == after[0] == "[" and len(was) == len(now) > SHORT:
        changed = [(place, *pair) for place, pair in enumerate(zip(was, now, strict=True)) if pair[0] != pair[1]]
        if len(changed) > 1:
            return f"{len(changed)} of {len(now)} numbers of {key}"
        return "".join(f"{key}[{place}]: {one} -> {other}" for place, one, other in changed)
    return f"{key}: {_short(before)} -> {_short(after)}"


def _short(text: str) -> str:
    """The text, with a long list counted."""
    head, opening, entries = text.partition("[")
    count = entries.count(", ") + 1
    return f"{head}{count} numbers" if opening and count > SHORT else text
