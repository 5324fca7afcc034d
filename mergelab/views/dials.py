"""The dials of a stack: slices, one coefficient per output layer, a method. Checked in words, turned into a recipe."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

from mergelab.errors import Problem, SourceError, did_you_mean, raise_all
from mergelab.recipes.presets import stack
from mergelab.recipes.recipe import Recipe
from mergelab.weights import Checkpoint, Source, open_checkpoint

METHODS = ("linear", "slerp", "task_arithmetic", "ties", "passthrough")
MOST_SOURCES = 5  # as many as have a look of their own
NAMED = 4  # wrong numbers that are named; the others are counted

Block = tuple[int, int, int]


@dataclass(frozen=True)
class Guest:
    """One source of a workbench: what it is called, its two-letter code, and the opened checkpoint."""

    name: str
    code: str
    checkpoint: Checkpoint


def open_guests(sources: Sequence[object], names: Sequence[str] | None) -> tuple[Guest, ...]:
    """Open the sources and name them, each differently.

    Args:
        sources: what ``open_checkpoint`` takes, one to five.
        names: one for each; None: the names of their folders.

    Raises:
        SourceError: a source is no model or cannot be opened, there are too few or too many, or names do not match.
    """
    if not 1 <= len(sources) <= MOST_SOURCES:
        raise SourceError(
            Problem(
                "Workbench", f"{len(sources)} sources were given.", f"Give 1 to {MOST_SOURCES}; the first is the base."
            )
        )
    models = [source for source in sources if isinstance(source, Checkpoint | Source | str | os.PathLike)]
    hint = "Give models: folders, addresses, or what ml.open gives."
    wrong = [source for source in sources if not any(source is model for model in models)]
    raise_all(SourceError, (Problem("Workbench", f"a {type(one).__name__} is no model.", hint) for one in wrong))
    opened = [open_checkpoint(model) for model in models]
    if names is None:
        called: list[str] = []
        for checkpoint in opened:
            label = checkpoint.source.label
            # Two folders of one name are told apart by a number.
            alike = sum(name == label or name.startswith(f"{label} ") for name in called)
            called.append(f"{label} {alike + 1}" if alike else label)
    else:
        called = [str(name).strip() for name in names]
        if (
            len(called) != len(opened)
            or len(dict.fromkeys(called)) != len(called)
            or "merged" in called
            or "" in called
        ):
            raise SourceError(
                Problem(
                    "names",
                    f"{list(names)!r} does not name {len(opened)} sources.",
                    "Give one name for each, all different, none of them empty or 'merged'.",
                )
            )
    return tuple(
        Guest(name, code, checkpoint) for name, code, checkpoint in zip(called, codes(called), opened, strict=True)
    )


def depth(blocks: Sequence[Sequence[int]]) -> int:
    """How many output layers the slices make."""
    return sum(end - start for _, start, end in blocks)


def homes(blocks: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """(source, layer there) of every output layer."""
    return [(source, layer) for source, start, end in blocks for layer in range(start, end)]


def first_graft(depths: Sequence[int]) -> list[list[int]]:
    """The stack to begin with: a run of a donor's inner layers set into a host, [1/5, 2/5) of its depth. There a graft
    keeps the host working in the sample family while leaving the layers out does not, and both borders can move.

    With three sources or more the second is the host and the third the donor; with two, the base is the host. A donor
    too shallow to reach that far leaves the host as it is.
    """
    host, donor = (1, 2) if len(depths) > 2 else (0, len(depths) - 1)
    deep = depths[host]
    start, end = deep // 5, min(max(2 * deep // 5, deep // 5 + 1), depths[donor])
    if donor == host or not 0 < start < end < deep:
        return [[host, 0, deep]]
    return [[host, 0, start], [donor, start, end], [host, end, deep]]


def check_blocks(value: object, guests: Sequence[Guest]) -> list[list[int]]:
    """``value``, nested sequences or an array of whole numbers, as a list of ``[source, start, end]``.

    Raises:
        ValueError: every block that cannot be meant, in words.
    """
    given = _listed(value)
    if not given:
        raise ValueError("blocks: is a list of [source, start, end], at least one.")
    problems: list[str] = []
    blocks: list[list[int]] = []
    for index, each in enumerate(given):
        where, block = f"blocks[{index}]", _listed(each)
        plain = [_plain(number) for number in block or ()]
        numbers = [int(number) for number in plain if not isinstance(number, bool) and isinstance(number, Integral)]
        if block is None or not len(block) == len(numbers) == 3:
            problems.append(f"{where}: {reprlib.repr(each)} is not [source, start, end], three whole numbers.")
            continue
        source, start, end = numbers
        if not 0 <= source < len(guests):
            problems.append(f"{where}: there is no source {source}. Known: 0 to {len(guests) - 1}.")
            continue
        name, layers = guests[source].name, guests[source].checkpoint.layers
        if not 0 <= start < end <= layers:
            problems.append(
                f"{where}: layers {start} to {end} are not a run of {name}, which has {layers}. "
                f"Write start and end with 0 <= start < end <= {layers}."
            )
        blocks.append([source, start, end])
    if problems:
        raise ValueError(" ".join(problems))
    return blocks


def check_coefficient(value: object, layers: int) -> list[float]:
    """``value``, a sequence or a 1-D array, as one number per output layer; a single number stands for all.

    Raises:
        ValueError: wrong length, or a number outside 0 to 1, in words.
    """
    values = _listed(value)
    if values is None:
        one = _share(value)
        if one is None:
            what = f"{reprlib.repr(_plain(value))} is not a number from 0 to 1."
            raise ValueError(f"coefficient: {what} Give one, or a list of {layers}: one for each layer.")
        return [one] * layers
    if len(values) != layers:
        raise ValueError(f"coefficient: has {len(values)} numbers, the stack has {layers} layers. Give one for each.")
    shares = [_share(number) for number in values]
    wrong = [
        f"coefficient[{index}]: {reprlib.repr(values[index])} is not a number from 0 to 1."
        for index, share in enumerate(shares)
        if share is None
    ]
    if len(wrong) > NAMED:
        wrong[NAMED:] = [f"And {len(wrong) - NAMED} more."]
    if wrong:
        raise ValueError(" ".join(wrong))
    return [share for share in shares if share is not None]


def _plain(value: object) -> object:
    """An array or number of numpy's kind (anything with ``tolist``) in plain Python; else ``value`` itself."""
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) else value


def _listed(value: object) -> list[object] | None:
    """The entries of a sequence or an array; None for anything else."""
    plain = _plain(value)
    return list(plain) if isinstance(plain, Sequence) and not isinstance(plain, str | bytes) else None


def _share(value: object) -> float | None:
    """A number from 0 to 1, or None. A truth value is not a number."""
    number = _plain(value)
    if isinstance(number, bool) or not isinstance(number, Real):
        return None
    try:
        share = float(number)
    except OverflowError:  # of a whole number
        return None
    return share if 0 <= share <= 1 else None


def check_method(value: object) -> str:
    """``value`` as the name of a method.

    Raises:
        ValueError: it is none of `METHODS`; the closest one is named.
    """
    if isinstance(value, str) and value in METHODS:
        return value
    raise ValueError(f"method: there is no method {value!r} here. {did_you_mean(str(value), METHODS)}")


def refit(coefficient: Sequence[float], before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> list[float]:
    """Coefficients for ``after``: a layer that is still there keeps its number, a new one is 1."""
    if depth(before) == depth(after):
        return list(coefficient)
    kept: dict[tuple[int, int], list[float]] = {}
    for home, number in zip(homes(before), coefficient, strict=True):
        kept.setdefault(home, []).append(number)
    return [kept[home].pop(0) if kept.get(home) else 1.0 for home in homes(after)]


def recipe_of(
    guests: Sequence[Guest], blocks: Sequence[Sequence[int]], coefficient: Sequence[float], method: str
) -> Recipe:
    """The recipe the dials stand for. A layer of the base is the base, whatever its coefficient says.

    A coefficient is what `stack` makes of it: for ties the density, the share of a slice's changes that is kept,
    largest first.

    Raises:
        RecipeError: the dials cannot be meant as a recipe.
    """
    numbers = [
        1.0 if source == 0 or method == "passthrough" else number
        for (source, _), number in zip(homes(blocks), coefficient, strict=True)
    ]
    runs = [(guests[source].checkpoint, start, end) for source, start, end in blocks]
    return stack(runs, base=guests[0].checkpoint, method=method, coefficient=numbers)


def codes(names: Sequence[str]) -> list[str]:
    """A different two-letter code for each name: ``["Ba", "Ar", "Sb", "Sp"]`` for base, arith, st-bible, st-python."""
    found: list[str] = []
    alike = [name[:2].lower() for name in names]
    for name, start in zip(names, alike, strict=True):
        letters = [letter for letter in name if letter.isalnum()] or ["?"]
        words = [word for word in "".join(c if c.isalnum() else " " for c in name).split() if word]
        initials = words[0][0] + words[1][0] if len(words) > 1 else ""
        pairs = [name[:2], *([initials] if initials else [])]
        if alike.count(start) > 1 and initials:
            pairs.reverse()
        pairs += [letters[0] + letter for letter in letters[1:]]
        pairs += [letters[0] + str(digit) for digit in range(1, 10)]
        tries = [pair[:1].upper() + pair[1:].lower() for pair in pairs if pair.isalnum()]
        # Some letters become two when raised.
        found.append(next((pair for pair in tries if len(pair) == 2 and pair not in found), f"{len(found)}?"))
    return found
