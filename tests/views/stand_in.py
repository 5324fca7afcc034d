"""A preview that computes nothing: it answers when the test says so, on a thread of its own as the real one does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mergelab import sample
from mergelab.models.agreement import agreed
from mergelab.models.answers import Answer, Candidate, Prompt
from mergelab.models.changes import Changes
from mergelab.models.events import Done, Event, Failed, Merged, Next, Text
from mergelab.models.measuring import Measure
from mergelab.recipes.plan import plan
from mergelab.recipes.recipe import Recipe
from mergelab.views.workbench import Workbench
from mergelab.weights import Source


class StandIn:
    """Remembers what it was asked; `answer` plays the events of a whole answer."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        listener: Callable[[Event], None],
        device: str,
        _lock: threading.RLock,
        measures: Sequence[Measure],
    ) -> None:
        self.names, self.listener, self.device = list(sources), listener, device
        self.measures = [measure.name for measure in measures]
        self.asked: list[tuple[Recipe, str]] = []
        self.generation = self.stops = 0
        self.closed = self.only_measures = self.draft = False

    def ask(self, recipe: Recipe, prompts: str, *, only_measures: bool = False, draft: bool = False) -> int:
        self.asked.append((recipe, prompts))
        self.only_measures, self.draft = only_measures, draft
        self.generation += 1
        return self.generation

    def wait(self, timeout: float | None = None) -> bool:
        return timeout is None or timeout > 0

    def settle(self) -> None:
        self.draft = False

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

    def next_tokens(self, token: str = " cat") -> Answer:
        speakers = ("merged", *self.names)
        row = Candidate(7, token, tuple(0.5 / (index + 1) for index in range(len(speakers))))
        kl = (0.0, *(float("nan") for _ in self.names))
        return Answer(Prompt(self.asked[-1][1]), speakers, (row,), kl, (1.0,) * len(speakers), (), ())

    def merged(self, redone: int = 18, steps: int = 92, seconds: float = 0.0008, warning: str = "") -> Merged:
        """The merge of the newest request stands."""
        changes = Changes(
            redone=redone,
            rebound=0,
            steps=steps,
            bytes_read=0,
            bytes_written=0,
            seconds=seconds,
            bound="memory",
            rebuilt=False,
            first=0,
            layers=10,
            warning=warning,
        )
        recipe = self.asked[-1][0]
        return Merged(self.generation, recipe.fingerprint, changes, seconds, agreed(plan(recipe)))

    def events(self, token: str = " cat", text: str = "the cat") -> list[Event]:
        """A whole answer to the newest request."""
        number = self.generation
        texts = [Text(number, name, f"{text} of {name}", True) for name in ("merged", *self.names)]
        return [self.merged(), Next(number, (self.next_tokens(token),)), *texts, Done(number, 0.02)]

    def answer(self, token: str = " cat", text: str = "the cat") -> None:
        self.tell(*self.events(token, text))

    def fail(self, message: str) -> None:
        self.tell(Failed(self.generation, message))


class Bench:
    """A workbench of three members with its stand-ins: a source that joins gives it another."""

    def __init__(self, *names: str, **options: Any) -> None:
        self.previews: list[StandIn] = []

        def make(*given: Any) -> StandIn:
            self.previews.append(StandIn(*given))
            return self.previews[-1]

        sources = [] if "recipe" in options and not names else names or ("base", "reverse", "pirate")
        self.widget = Workbench(*map(sample.path, sources), preview=make, **options)

    @property
    def preview(self) -> StandIn:
        """The newest one."""
        return self.previews[-1]

    def looked(self) -> Workbench:
        """The workbench, once it has an answer, and its recipe was looked at before saving."""
        self.preview.answer()
        return self.settled()

    def settled(self) -> Workbench:
        """The workbench, once all that is done aside is done."""
        assert self.widget._aside.wait(30)
        return self.widget


def run(source: int, start: int, end: int) -> dict[str, Any]:
    """A slice of a sketch that passes layers of one source through."""
    part = {"source": source, "start": start, "numbers": {}}
    return {"method": "passthrough", "base": None, "layers": end - start, "parts": [part], "numbers": {}}


def sketch(*slices: dict[str, Any], base: int | None = 0) -> dict[str, Any]:
    """A sketch of slices."""
    return {"base": base, "widen": False, "slices": list(slices)}


def blend(source: int, start: int, end: int, weight: object = 0.5, **numbers: object) -> dict[str, Any]:
    """A slice of a sketch: task arithmetic of a source on the base."""
    said = {"weight": [[None, weight]], **{name: [[None, value]] for name, value in numbers.items()}}
    parts = [{"source": 0, "start": start, "numbers": {}}, {"source": source, "start": start, "numbers": said}]
    return {"method": "task_arithmetic", "base": None, "layers": end - start, "parts": parts, "numbers": {}}
