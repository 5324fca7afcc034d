"""Asking a preview: a listener that keeps what it hears, a gate that holds the work, a recipe with one dial."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from mergelab.models.preview import Event, Preview
from mergelab.recipes import Recipe, stack

Trio: TypeAlias = tuple[Path, Path, Path]


class Listener:
    """Keeps every event. Can do something when the first event of a kind is delivered, before it is kept."""

    def __init__(self) -> None:
        self.events: list = []
        self._first: tuple[type, Callable[[], object]] | None = None

    def __call__(self, event: Event) -> None:
        first = self._first
        if first is not None and isinstance(event, first[0]):
            self._first = None
            first[1]()
        self.events.append(event)

    def at_first(self, kind: type, act: Callable[[], object]) -> None:
        """Do this, once, when an event of this kind comes."""
        self._first = (kind, act)

    def of(self, kind: type, generation: int | None = None) -> list:
        return [e for e in self.events if isinstance(e, kind) and generation in (None, e.generation)]


class Gate:
    """Whoever passes waits until it is opened."""

    def __init__(self) -> None:
        self.reached, self._opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self._opened.wait(30)

    def wait(self) -> None:
        """Wait until somebody stands before it."""
        assert self.reached.wait(30)

    def open(self) -> None:
        self._opened.set()


def blend(llamas: Trio, amount: float | list[float]) -> Recipe:
    return stack([(llamas[1], 0, 6)], base=llamas[0], method="slerp", coefficient=amount)


def layers_run(preview: Preview, act: Callable[[int], object] = lambda _: None) -> list[tuple[int, int]]:
    """Every run of a layer of the merged model from now on: its number, and how many tokens it read.

    Args:
        act: called with the layer's number after each.
    """
    ran: list[tuple[int, int]] = []
    assert preview._merged is not None

    def note(number: int, given: tuple) -> None:
        ran.append((number, given[0].shape[1]))
        act(number)

    for number, layer in enumerate(preview._merged.model.model.layers):
        layer.register_forward_hook(lambda _, given, __, number=number: note(number, given))
    return ran
