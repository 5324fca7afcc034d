"""Preview: what the merge says now, beside what each source says, on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Self

import torch

from mergelab.errors import AssemblyError, MergelabError, Problem
from mergelab.models.answers import (
    MERGED,
    Answer,
    Asked,
    Heard,
    Prompt,
    compare,
    hear,
    only_numbers,
    prompts_of,
    readings,
)
from mergelab.models.asked import Request, opened
from mergelab.models.assembly import Assembly
from mergelab.models.bank import Bank
from mergelab.models.changes import Changes
from mergelab.models.devices import Result, sheltered
from mergelab.models.events import Done, Event, Failed, Merged, Next, Shaded, Text
from mergelab.models.measuring import Live, Measure, measured
from mergelab.models.replay import Replay, stoppable
from mergelab.models.shading import Shade, Shading
from mergelab.models.speak import Stopped, allowed, write
from mergelab.models.worker import Worker
from mergelab.recipes.plan import plan
from mergelab.recipes.presets import Model
from mergelab.recipes.recipe import Part, Recipe, Slice
from mergelab.recipes.vocabulary import Alignment
from mergelab.weights import Checkpoint, Source

REMEMBERED = 64_000_000  # bytes of sources' answers that are kept, so that a prompt typed again needs no model
_REST = 0.35  # seconds that a draft waits for the next one, before what takes time is begun
_log = logging.getLogger(__name__)


class Preview:
    """Answers requests on one thread of its own, the newest only.

    A request that arrives while another is worked on cancels it within one merge step, one layer or one token. Of the
    merged model only layers from the first changed one on run again; each source's own answer to a prompt is computed
    once. First come the figures of all prompts, then texts, the merged model's first, then what measures find.

        with ml.Preview({"base": base, "pirate": pirate}, print) as preview:  # print hears every event
            preview.ask(recipe, "Once upon a time")
            preview.wait()
    """

    def __init__(
        self,
        sources: Mapping[str, Model],
        listener: Callable[[Event], None],
        *,
        device: str | torch.device = "auto",
        max_new_tokens: int = 24,
        measures: Sequence[Measure] = (),
        shading: bool = False,
        resident: int | None = None,
        lock: threading.RLock | None = None,
    ) -> None:
        """Open the sources, from headers alone, and start the worker thread.

        Args:
            sources: models by the name to show.
            listener: gets every event, on the worker thread, with ``lock`` held: once ``ask`` or ``stop`` has
                returned, nothing of an older request comes any more. It may call ``ask`` and ``stop`` itself.
            device: where models live, a name or a device of torch's; "auto": a GPU where there is one.
            max_new_tokens: length of the written answers, 1 or more.
            measures: what else to find out about the merge, in this order, once everything is written.
            shading: also tell what each token of a prompt is to the models, for prompts of up to 256 tokens.
            resident: as for ``assemble``.
            lock: held while an event is delivered, and for a moment by ``ask`` and ``stop``. If the listener needs a
                lock that callers of ``ask`` may hold, give that one: two locks would wait for each other.

        Raises:
            SourceError: there is none, or one cannot be opened, has no name, or is called "merged".
            AssemblyError: this machine does not have the device, or ``max_new_tokens`` is no length.
        """
        self.sources: dict[str, Checkpoint] = opened(sources)
        self._checkpoints: dict[Source, Checkpoint] = {one.source: one for one in self.sources.values()}
        self._listener = listener
        self._bank = Bank(self._checkpoints, device=device, resident=resident)
        self._length = allowed(max_new_tokens)
        self._measures = tuple(measures)
        self._shading = Shading() if shading else None
        self._merged: Assembly | None = None
        self._replay = Replay()
        self._own: dict[str, Assembly] = {}
        self._known: dict[tuple[str, Prompt], _Said] = {}  # the one used last comes last
        self._alike: dict[tuple[Source, Alignment | None, str], Mapping[str, int] | None] = {}
        self._ready = threading.Condition(lock)
        self._asked: Request | None = None
        self._newest = self._draft = self._pauses = 0
        self._busy = self._closing = self._ended = False
        self._thread = Worker(self._serve, "mergelab-preview", self.close)
        self._thread.start()

    def ask(self, recipe: Recipe, prompts: Asked, *, only_measures: bool = False, draft: bool = False) -> int:
        """Ask what the recipe's model says to a prompt, or to each of several.

        Returns at once, with the number of this request: nothing of an older one is delivered from then on.

        Args:
            only_measures: what they say is known already: just measure.
            draft: more is to come: behind the figures the processor is left to others a moment, or until ``settle``.

        Raises:
            AssemblyError: the preview is closed, or there is no prompt.
        """
        asked = prompts_of(prompts, "preview")
        with self._ready:
            if self._closing:
                raise AssemblyError(Problem("", "this preview is closed.", "Make a new one."))
            self._newest += 1
            self._asked = Request(self._newest, recipe, asked, only_measures)
            self._draft = self._newest if draft else 0
            self._ready.notify_all()
            return self._newest

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold what is asked inside the block; when it ends, however it ends, the newest alone is answered.

        Blocks may be nested: the outermost counts. What was asked before goes on until something newer is asked.
        """
        with self._ready:
            self._pauses += 1
        try:
            yield
        finally:
            with self._ready:
                self._pauses -= 1
                self._ready.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all that may be worked on is done (what is asked in ``paused`` is held); True if so within
        ``timeout`` seconds.

        An interrupt (the notebook's stop button) cancels the work in flight.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            with self._ready:
                while self._waiting() or self._busy:
                    left = 0.1 if end is None else min(0.1, end - time.monotonic())
                    if left <= 0:
                        return False
                    self._ready.wait(left)
        except KeyboardInterrupt:
            self.stop()
            raise
        return True

    def stop(self) -> None:
        """Cancel what is asked and what is worked on; the picture stays as it is."""
        with self._ready:
            self._newest += 1
            self._asked = None
            self.settle()

    def settle(self) -> None:
        """What was asked last is a draft no more: what takes longer is begun at once."""
        with self._ready:
            self._draft = 0
            self._ready.notify_all()

    def close(self) -> None:
        """Stop, end the thread, let go of every model. May be called twice."""
        with self._ready:
            self.stop()
            self._closing = True
            if self._thread is threading.current_thread():
                return  # the listener closes: the thread ends when it comes back
            while not self._ended:
                self._ready.wait(0.1)  # lets go of the lock, however often the caller holds it
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closing else "at work" if self._busy or self._asked else "idle"
        return f"<Preview of {', '.join(self.sources)} on {self._bank.device}: {state}>"

    def _waiting(self) -> bool:
        return self._asked is not None and not self._pauses

    def _serve(self) -> None:
        while True:
            with self._ready:
                while not self._waiting() and not self._closing:
                    self._ready.wait()
                if self._closing or self._asked is None:
                    break
                asked, self._asked, self._busy = self._asked, None, True
            try:
                self._answer(asked)
            except Stopped:
                pass
            except MergelabError as error:
                self._tell(Failed(asked.generation, str(error)))
            except Exception as error:  # noqa: BLE001 - the thread must live on, and the user must see it
                _log.exception("preview failed")
                why = f"Something unexpected went wrong: {type(error).__name__}: {error}"
                self._tell(Failed(asked.generation, why))
            finally:
                with self._ready:
                    self._busy = False
                    self._ready.notify_all()
        for assembly in (self._merged, *self._own.values()):
            if assembly is not None:
                assembly.close()
        self._merged = self._shading = None
        self._measures = ()  # they may remember much
        self._own.clear()
        self._known.clear()
        self._replay.forget()
        self._bank.close()
        with self._ready:
            self._ended = True
            self._ready.notify_all()

    def _tell(self, event: Event) -> None:
        with self._ready:
            if event.generation == self._newest:
                try:
                    self._listener(event)
                except Exception:  # noqa: BLE001 - nor may a listener end the thread
                    _log.exception("the listener failed")

    def _answer(self, asked: Request) -> None:
        generation, prompts = asked.generation, asked.prompts

        def overtaken() -> bool:
            return generation != self._newest

        started = time.perf_counter()
        with torch.inference_mode():
            merged, changes = self._turned(asked.recipe, overtaken)
            if not asked.only_measures:
                seconds = time.perf_counter() - started
                self._sheltered(partial(self._readable, merged, prompts, overtaken))
                self._tell(Merged(generation, asked.recipe.fingerprint, changes, seconds, merged.plan))
                self._say(asked, merged, overtaken)
            live = Live(merged, self.sources, prompts, overtaken, partial(self._alone, stop=overtaken))
            for measure in self._measures:
                for event in measured(generation, measure, live):
                    self._tell(event)
        self._tell(Done(generation, time.perf_counter() - started))

    def _say(self, asked: Request, merged: Assembly, overtaken: Callable[[], bool]) -> None:
        """What every speaker says: figures first, then shades, then texts."""
        prompts = asked.prompts
        self._tell(Next(asked.generation, self._sheltered(partial(self._figures, merged, prompts, overtaken))))
        with self._ready:
            self._ready.wait_for(lambda: self._draft != asked.generation, _REST)
        if self._shading is not None:
            for number, prompt in enumerate(prompts):
                shades = self._sheltered(partial(self._shades, self._shading, prompt, merged, overtaken))
                if shades:
                    self._tell(Shaded(asked.generation, number, shades))
        for speaker in (MERGED, *self.sources):
            assembly = merged if speaker == MERGED else self._own[speaker]
            for number, prompt in enumerate(prompts):
                empty = Text(asked.generation, speaker, "", done=False, prompt=number)
                self._sheltered(partial(self._write, empty, assembly, prompt, overtaken))

    def _sheltered(self, work: Callable[[], Result]) -> Result:
        """Where memory runs out in ``work``, everything goes that can be made again, and it is tried once more."""

        def release() -> None:
            self._replay.forget()
            self._known.clear()
            if self._shading is not None:
                self._shading.forget()
            self._bank.shrink()

        return sheltered(work, release=release, device=self._bank.device)

    def _turned(self, recipe: Recipe, stop: Callable[[], bool]) -> tuple[Assembly, Changes]:
        """The merged model, turned to the recipe."""
        if self._merged is None:
            self._merged = Assembly(plan(recipe, self._checkpoints), bank=self._bank, stop=stop)
            return self._merged, self._merged.made
        bank = self._merged.bank
        changes = self._merged.turn(recipe, stop=stop)
        # Where memory does not suffice the model moves to the CPU, and what is kept must not lie on another device.
        self._replay.changed(changes.first if self._merged.bank is bank else 0)
        return self._merged, changes

    def _readable(self, merged: Assembly, prompts: tuple[Prompt, ...], stop: Callable[[], bool]) -> None:
        """See that every speaker can read every prompt, before anything is shown."""
        for name in (MERGED, *self.sources):
            assembly = merged if name == MERGED else self._alone(name, stop)
            for prompt in prompts:
                if (name, prompt) not in self._known:
                    readings(assembly.model, assembly.tokenizer, prompt)

    def _figures(self, merged: Assembly, prompts: tuple[Prompt, ...], stop: Callable[[], bool]) -> tuple[Answer, ...]:
        """What every speaker makes of each prompt."""
        with merged.lock:
            said = {MERGED: hear(merged.model, merged.tokenizer, prompts, replay=self._replay, stop=stop)}
        for name in self.sources:
            said[name] = self._said(name, prompts, stop)
        only_numbers(said, prompts)
        vocabularies = self._vocabularies(merged)
        return tuple(
            compare(prompt, {name: heard[number] for name, heard in said.items()}, vocabularies, merged.tokenizer)
            for number, prompt in enumerate(prompts)
        )

    def _shades(
        self, shading: Shading, prompt: Prompt, merged: Assembly, stop: Callable[[], bool]
    ) -> tuple[Shade, ...]:
        alike = {name: own is None for name, own in self._vocabularies(merged).items()}
        sources = {name: self._own[name] for name in self.sources}
        return shading.shades(prompt.text, merged, sources, alike, replay=self._replay, stop=stop)

    def _vocabularies(self, merged: Assembly) -> dict[str, Mapping[str, int] | None]:
        """For each speaker None where it has the merged model's vocabulary, else its own.

        Compared once: they are long.
        """
        donor, alignment = merged.plan.donor.source, merged.plan.alignment
        for name, own in self._own.items():
            if (donor, alignment, name) not in self._alike:
                theirs = own.tokenizer.get_vocab()
                same = theirs == merged.tokenizer.get_vocab()
                self._alike[donor, alignment, name] = None if same else theirs
        return {MERGED: None, **{name: self._alike[donor, alignment, name] for name in self._own}}

    def _write(self, empty: Text, assembly: Assembly, prompt: Prompt, stop: Callable[[], bool]) -> None:
        """Let a speaker write, from its empty text on."""
        key = (empty.speaker, prompt)
        said = self._known.get(key)
        if said is not None and said.text is not None:
            self._tell(replace(empty, text=said.text, done=True))
            return
        with assembly.lock:
            text = write(
                stoppable(assembly.model, stop),
                assembly.tokenizer,
                prompt.text,
                length=self._length,
                stop=stop,
                so_far=lambda so_far: self._tell(replace(empty, text=so_far)),
            )
        if said is not None:
            self._known[key] = replace(said, text=text)
        self._tell(replace(empty, text=text, done=True))

    def _alone(self, name: str, stop: Callable[[], bool]) -> Assembly:
        """A source as a model of its own."""
        if name not in self._own:
            alone = Recipe("passthrough", (Slice((Part(self.sources[name].source),)),))
            self._own[name] = Assembly(plan(alone, self._checkpoints), bank=self._bank, stop=stop)
        return self._own[name]

    def _said(self, name: str, prompts: tuple[Prompt, ...], stop: Callable[[], bool]) -> tuple[Heard, ...]:
        """What a source makes of the prompts: remembered, or heard now."""
        own = self._alone(name, stop)
        new = [prompt for prompt in dict.fromkeys(prompts) if (name, prompt) not in self._known]
        if new:
            with own.lock:
                heard = hear(own.model, own.tokenizer, new, stop=stop)
            self._known.update({(name, prompt): _Said(one) for prompt, one in zip(new, heard, strict=True)})
        said = {prompt: self._known.pop((name, prompt)) for prompt in dict.fromkeys(prompts)}
        self._known.update({(name, prompt): one for prompt, one in said.items()})
        while sum(one.heard.head.nbytes for one in self._known.values()) > REMEMBERED and len(self._known) > len(said):
            del self._known[next(iter(self._known))]
        return tuple(said[prompt].heard for prompt in prompts)


@dataclass(frozen=True)
class _Said:
    """A source's own answer, and its text once it has been written."""

    heard: Heard
    text: str | None = None
