"""A preview that computes nothing: it answers when the test says so, on a thread of its own as the real one does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from mergelab.models.preview import Candidate, Done, Event, Failed, Merged, Next, NextTokens, Text
from mergelab.recipes.recipe import Recipe
from mergelab.weights import Source


class StandIn:
    """Remembers what it was asked; `answer` plays the events of a whole answer."""

    def __init__(self, sources: Mapping[str, Source], listener: Callable[[Event], None], device: str) -> None:
        self.names, self.listener, self.device = list(sources), listener, device
        self.asked: list[tuple[Recipe, str]] = []
        self.generation = self.stops = 0
        self.closed = False

    def ask(self, recipe: Recipe, prompt: str) -> int:
        self.asked.append((recipe, prompt))
        self.generation += 1
        return self.generation

    def wait(self, timeout: float | None = None) -> bool:
        return timeout is None or timeout > 0

    def stop(self) -> None:
        self.generation += 1
        self.stops += 1

    def close(self) -> None:
        self.closed = True

    def tell(self, *events: Event) -> None:
        """Deliver events as the worker would."""
        thread = threading.Thread(target=lambda: [self.listener(event) for event in events])
        thread.start()
        thread.join()

    def next_tokens(self, token: str = " cat") -> NextTokens:
        speakers = ("merged", *self.names)
        row = Candidate(7, token, tuple(0.5 / (index + 1) for index in range(len(speakers))))
        return NextTokens(speakers, (row,), (0.0, *(float("nan") for _ in self.names)), (1.0,) * len(speakers))

    def events(self, token: str = " cat", text: str = "the cat") -> list[Event]:
        """A whole answer to the newest request."""
        number = self.generation
        texts = [Text(number, name, f"{text} of {name}", True) for name in ("merged", *self.names)]
        return [
            Merged(number, 18, 92, 0.0008),
            Next(number, self.next_tokens(token)),
            *texts,
            Done(number, 0.02),
        ]

    def answer(self, token: str = " cat", text: str = "the cat") -> None:
        self.tell(*self.events(token, text))

    def fail(self, message: str) -> None:
        self.tell(Failed(self.generation, message))
