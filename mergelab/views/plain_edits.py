"""What is wrong with the edits that are no recipe: prompts and the selection of layers."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Final


def checked_prompts(value: object) -> list[str]:
    """Texts to choose from, each once.

    Raises:
        ValueError: something is no text.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        texts = [one for one in value if isinstance(one, str)]
        if len(texts) == len(value):
            return list(dict.fromkeys(texts))
    raise ValueError(f"prompts: {reprlib.repr(value)} is not a list of texts.")


def checked_selection(value: object) -> list[int]:
    """Output layers, ascending, each once. A range, a set's list or an array of whole numbers is taken.

    Raises:
        ValueError: something is no whole number from 0.
    """
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, Sequence) and not isinstance(plain, str | bytes):
        whole = [one for one in plain if not isinstance(one, bool) and isinstance(one, Integral)]
        layers = [int(one) for one in whole if int(one) >= 0]
        if len(layers) == len(plain):
            return sorted(dict.fromkeys(layers))
    raise ValueError(f"selection: {reprlib.repr(value)} is not a list of output layers, whole numbers from 0.")


def chosen_within(value: object, layers: int) -> list[int]:
    """Output layers of a stack that has ``layers``, ascending, each once.

    Raises:
        ValueError: something is no whole number from 0, or the stack does not reach that far.
    """
    chosen = checked_selection(value)
    above = [layer for layer in chosen if layer >= layers]
    if above:
        listed = ", ".join(str(layer) for layer in above)
        what = f"{listed} {'is no output layer' if len(above) == 1 else 'are no output layers'}"
        raise ValueError(f"selection: {what} of this stack. It has 0 to {layers - 1}.")
    return chosen


def still_chosen(chosen: Sequence[int], before: Sequence[object], now: Sequence[object]) -> list[int]:
    """Chosen output layers after the stack has become another one: none, unless all are made of what they were.

    Args:
        before, now: for each output layer what it is made of.
    """
    same = all(layer < len(now) and now[layer] == before[layer] for layer in chosen)
    return list(chosen) if same else []


PLAIN_EDITS: Final[Mapping[str, Callable[[Any], object]]] = {
    "prompt": str,
    "prompts": checked_prompts,
    "selection": checked_selection,
}
