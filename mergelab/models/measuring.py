"""Measuring: what else is found out about a merge once its answer stands, as long as nothing newer is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from mergelab.errors import MergelabError
from mergelab.models.answers import Prompt
from mergelab.models.assembly import Assembly
from mergelab.models.events import Measured, Measuring
from mergelab.models.speak import Stopped
from mergelab.recipes.plan import plan
from mergelab.recipes.recipe import Recipe
from mergelab.weights import Checkpoint

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Live:
    """What a measure may look at, on the thread of the preview and while the measure runs.

    Attributes:
        merged: the merged model; its lock is held.
        sources: the preview's own, by name.
        prompts: what was asked.
        stop: True once something newer is asked: whoever measures asks it between batches or layers, and raises
            ``Stopped`` or just ends.
        alone: by its name, a source as a model of its own. It stays open: do not close it.
    """

    merged: Assembly
    sources: Mapping[str, Checkpoint]
    prompts: tuple[Prompt, ...]
    stop: Callable[[], bool]
    alone: Callable[[str], Assembly]

    @contextmanager
    def other(self, recipe: Recipe) -> Iterator[Assembly]:
        """The model of another recipe of the same sources, inside the block; it shares tensors with the others.

        Raises:
            Stopped: ``stop`` said so.
            MergelabError: as ``assemble``.
        """
        bank = self.merged.bank
        with Assembly(plan(recipe, bank.checkpoints), bank=bank, stop=self.stop) as made:
            yield made

    def apart(self, recipe: Recipe) -> Callable[[], Assembly]:
        """What makes the model of a recipe of the same sources in memory of its own, on whatever thread it is called.

        It shares no tensor, tokenizer or config with the others: whoever gets it may do to it what they like, for as
        long as they like. What the recipe makes is made, and held, once more; what it only moves is mapped once more.

        Raises:
            MergelabError: the recipe cannot be planned. What is given raises as ``assemble``, and ``Stopped``.
        """
        bank = self.merged.bank
        planned = plan(recipe, {source: opened.apart() for source, opened in bank.checkpoints.items()})
        return lambda: Assembly(planned, device=bank.device, stop=self.stop)


class Measure(Protocol):
    """Something that is measured on the live merge. What it remembers from merge to merge is its own."""

    @property
    def name(self) -> str:
        """What it is called in events; each measure of a preview has another."""

    def __call__(self, live: Live) -> Iterator[object]:
        """Measure, and yield what is known so far, the whole of it each time.

        Raises:
            Stopped: ``live.stop`` said so.
            MergelabError: it cannot be measured, and why.
        """


def measured(generation: int, measure: Measure, live: Live) -> Iterator[Measuring | Measured]:
    """Run one measure. What goes wrong in it is told in words and does no harm to the others.

    Raises:
        Stopped: something newer is asked.
    """
    yield Measuring(generation, measure.name)
    try:
        with live.merged.lock:
            for value in measure(live):
                if live.stop():
                    raise Stopped
                yield Measured(generation, measure.name, value)
    except Stopped:
        raise
    except MergelabError as error:
        yield Measured(generation, measure.name, None, str(error))
    except Exception as error:  # noqa: BLE001 - the answer stands, whatever a measure does
        _log.exception("measuring %s failed", measure.name)
        why = f"Something unexpected went wrong: {type(error).__name__}: {error}"
        yield Measured(generation, measure.name, None, why)
