"""Passes: a model run with what its layers do left out, so that each can be called by itself, and its end be reused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from mergelab.inspection.double import double, given, hidden_of, taken
from mergelab.models.speak import Stopped
from mergelab.models.untouched import untouched


@dataclass(frozen=True, eq=False)
class Call:
    """What a layer was called with, and what it returned, if it ran."""

    args: tuple[Any, ...]
    named: Mapping[str, Any]
    output: Any = None

    @property
    def states(self) -> torch.Tensor:
        """The hidden state that it was called with."""
        return taken(self.args, self.named)

    def without(self) -> Call:
        """The call without its hidden state, which takes memory."""
        return Call(*given(torch.empty(0), self.args, self.named))

    def alike(self, other: Call) -> bool:
        """Whether the two calls differ in the hidden state at most."""
        mine, yours = (
            {key: value for key, value in one.named.items() if key != "hidden_states"} for one in (self, other)
        )
        return _same(self.args[1:], other.args[1:]) and _same(mine, yours)


def run(model: Any, stand_in: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits of one pass of a double, without a cache: shape (prompts, length, vocabulary).

    Args:
        model: what it is a double of, whose weights it must not write to.
        ids: tokens on its device, shape (prompts, length), without padding.

    Raises:
        AssemblyError: the model writes to its own weights.
    """
    with torch.no_grad(), untouched(model):
        logits: torch.Tensor = stand_in(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    return logits


class Reached(Exception):  # noqa: N818 - what was looked for is there, the rest of the pass is not needed
    """A pass has gone as far as it is wanted."""


def run_until_reached(model: Any, stand_in: Any, ids: torch.Tensor) -> None:
    """As ``run``, up to where the double raises ``Reached``. What comes behind, as a head, takes no time or memory."""
    with suppress(Reached):
        run(model, stand_in, ids)


def stream(model: Any, layers: str, ids: torch.Tensor, stop: Callable[[], bool] = lambda: False) -> list[torch.Tensor]:
    """The states of one pass: what enters each layer, and what leaves the last one.

    Args:
        model: a causal language model; nothing is left on it.
        layers: path of its layers.
        ids: tokens, shape (prompts, length), without padding.
        stop: asked before each layer.

    Returns:
        One more than there are layers, each of shape (prompts, length, width), in the model's dtype, on its device.

    Raises:
        Stopped: ``stop`` said so.
        AssemblyError: the model writes to its own weights.
    """
    states: list[torch.Tensor] = []
    stand_in = double(model)

    def enters(_layer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        if stop():
            raise Stopped
        states.append(taken(args, named).clone())  # some layers write to what they are given

    def ends(_layer: Any, _args: tuple[Any, ...], output: Any) -> None:
        states.append(hidden_of(output))
        raise Reached

    inside = stand_in.get_submodule(layers)
    for layer in inside:
        layer.register_forward_pre_hook(enters, with_kwargs=True)
    inside[-1].register_forward_hook(ends)
    run_until_reached(model, stand_in, ids.to(model.device))
    return states


def calls_of(model: Any, layers: str, forms: Sequence[int], ids: torch.Tensor) -> list[Call]:
    """What each layer is called with, as ``hand_through`` tells, by a pass that ends at the last one."""
    calls: list[Call] = []
    stand_in = double(model)
    for layer, form in zip(stand_in.get_submodule(layers), forms, strict=True):
        layer.__dict__.update(forward=_Hand(calls, form, until=len(forms)), _forward_pre_hooks={}, _forward_hooks={})
    run_until_reached(model, stand_in, ids)
    return calls


def hand_through(
    model: Any, layers: str, forms: Sequence[int], ids: torch.Tensor, last: torch.Tensor | None = None
) -> tuple[list[Call], torch.Tensor]:
    """A pass in which no layer does anything: what each is called with, and what the model makes of the end.

    Args:
        model: a causal language model; nothing is left on it.
        layers: path of its layers.
        forms: as of ``Handles``.
        ids: tokens on its device, shape (prompts, length).
        last: what the last layer shall return; None: what it is given.

    Returns:
        The layers' calls in order of execution, and logits, shape (prompts, length, vocabulary).

    Raises:
        AssemblyError: the model writes to its own weights.
    """
    calls: list[Call] = []
    stand_in = double(model)
    for number, layer in enumerate(stand_in.get_submodule(layers)):
        end = last if number == len(forms) - 1 else None
        layer.__dict__.update(forward=_Hand(calls, forms[number], end), _forward_pre_hooks={}, _forward_hooks={})
    return calls, run(model, stand_in, ids)


def read_out(model: Any, layers: str, forms: Sequence[int], hidden: torch.Tensor) -> torch.Tensor:
    """Logits that the model makes of states of its stream: by its own final norm and head, and whatever follows them.

    Args:
        hidden: as they leave a layer, shape (..., width), in the model's dtype, on its device.

    Returns:
        Shape (..., vocabulary), in the model's dtype.
    """
    rows = hidden.reshape(-1, 1, hidden.shape[-1])
    ids = torch.zeros(rows.shape[:2], dtype=torch.long, device=hidden.device)
    _, logits = hand_through(model, layers, forms, ids, rows)
    return logits.reshape(*hidden.shape[:-1], -1)


@dataclass(frozen=True, eq=False)
class _Hand:
    """In the place of a layer's forward: writes the call down, and returns the state as the layer would.

    With so many calls as ``until`` says, the pass has reached its end.
    """

    calls: list[Call]
    form: int
    last: torch.Tensor | None = None
    until: int | None = None

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.calls.append(Call(args, named))
        if len(self.calls) == self.until:
            raise Reached
        state = taken(args, named) if self.last is None else self.last
        return (state, *[None] * (self.form - 1)) if self.form else state


def _same(one: Any, other: Any) -> bool:
    """Whether two things that layers are called with are the same. A mapping may be filled as layers run."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, tuple | list):
        return type(one) is type(other) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool | int | float | str | None):
        return bool(one == other)
    return type(one) is type(other)
