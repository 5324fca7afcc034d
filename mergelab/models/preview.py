"""Preview: what the merge says now, beside what each source says.

The newest request wins, and nothing of it runs on the thread that runs cells.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from mergelab.errors import AssemblyError, MergelabError, Problem, SourceError, raise_all
from mergelab.models.assembly import Assembly
from mergelab.models.speak import Stopped, next_token, write
from mergelab.recipes.plan import plan
from mergelab.recipes.presets import Model
from mergelab.recipes.recipe import Part, Recipe, Slice
from mergelab.recipes.vocabulary import Alignment
from mergelab.weights import Checkpoint, Source, open_checkpoint

MERGED = "merged"
CANDIDATES = 6
REMEMBERED = 256  # answers of sources kept, so that a prompt typed again needs no model
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """One row of the next-token table: a token and the probability each speaker gives it, 0 to 1.

    NaN for a speaker whose vocabulary does not have the token.
    """

    id: int
    token: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class NextTokens:
    """What may come next.

    Attributes:
        speakers: the merged model, then the sources.
        candidates: the merged model's likeliest tokens and the first choice of every source of its vocabulary,
            likeliest in the merge first.
        kl: for each speaker, KL(merged || speaker) over the whole vocabulary, in nats; NaN where vocabularies differ.
        entropy: for each speaker, in nats.
    """

    speakers: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    kl: tuple[float, ...]
    entropy: tuple[float, ...]


@dataclass(frozen=True)
class Merged:
    """The merge stands: ``redone`` of ``steps`` steps took ``seconds``."""

    generation: int
    redone: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class Next:
    """The next-token table."""

    generation: int
    next_tokens: NextTokens


@dataclass(frozen=True)
class Text:
    """What a speaker has written so far, the whole of it; ``done`` when it has finished."""

    generation: int
    speaker: str
    text: str
    done: bool


@dataclass(frozen=True)
class Failed:
    """The request could not be answered, and why, in words."""

    generation: int
    message: str


@dataclass(frozen=True)
class Done:
    """The request is answered in full, ``seconds`` after work on it began."""

    generation: int
    seconds: float


Event: TypeAlias = Merged | Next | Text | Failed | Done


class Preview:
    """Answers requests on one thread of its own, the newest only.

    A request that arrives while another is worked on cancels it within one merge step or one token. Each source's own
    answer to a prompt is computed once.
    """

    def __init__(
        self,
        sources: Mapping[str, Model],
        listener: Callable[[Event], None],
        *,
        device: str | torch.device = "cpu",
        max_new_tokens: int = 24,
    ) -> None:
        """Open the sources, from headers alone, and start the worker thread.

        Args:
            sources: models by the name to show.
            listener: gets every event, on the worker thread. An event may still arrive just after a newer ``ask``: its
                generation tells.
            device: where models live.
            max_new_tokens: length of the written answers.

        Raises:
            SourceError: a source cannot be opened, or is called "merged".
        """
        if MERGED in sources:
            what = f"no source can be called {MERGED!r}."
            raise SourceError(Problem("preview", what, "That is what the merged model is called."))
        self.sources: dict[str, Checkpoint] = {name: open_checkpoint(source) for name, source in sources.items()}
        self._checkpoints: dict[Source, Checkpoint] = {opened.source: opened for opened in self.sources.values()}
        self._listener = listener
        self._device = device
        self._length = max_new_tokens
        self._merged: Assembly | None = None
        self._own: dict[str, Assembly] = {}
        self._known: dict[tuple[str, str], _Said] = {}
        self._alike: dict[tuple[Source, Alignment | None, str], Mapping[str, int] | None] = {}
        self._ready = threading.Condition()
        self._asked: tuple[int, Recipe, str] | None = None
        self._newest = 0
        self._busy = self._closing = False
        self._thread = threading.Thread(target=self._serve, name="mergelab-preview", daemon=True)
        self._thread.start()

    def ask(self, recipe: Recipe, prompt: str) -> int:
        """Ask what the recipe's model says to a prompt. Returns at once, with the number of this request.

        Raises:
            AssemblyError: the preview is closed.
        """
        with self._ready:
            if self._closing:
                raise AssemblyError(Problem("preview", "is closed.", "Make a new one."))
            self._newest += 1
            self._asked = (self._newest, recipe, prompt)
            self._ready.notify_all()
            return self._newest

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is asked and nothing is worked on; True if so within ``timeout`` seconds.

        An interrupt (the notebook's stop button) cancels the work in flight.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            with self._ready:
                while self._asked or self._busy:
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
            self._ready.notify_all()

    def close(self) -> None:
        """Stop, end the thread, let go of every model. May be called twice."""
        self.stop()
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join()
        for assembly in (self._merged, *self._own.values()):
            if assembly is not None:
                assembly.close()
        self._merged = None
        self._own.clear()
        self._known.clear()

    def _serve(self) -> None:
        while True:
            with self._ready:
                while not self._asked and not self._closing:
                    self._ready.wait()
                if self._closing or self._asked is None:
                    return
                (generation, recipe, prompt), self._asked, self._busy = self._asked, None, True
            try:
                self._answer(generation, recipe, prompt)
            except Stopped:
                pass
            except MergelabError as error:
                self._tell(Failed(generation, str(error)))
            except Exception as error:  # noqa: BLE001 - the thread must live on, and the user must see it
                _log.exception("preview failed")
                self._tell(Failed(generation, f"Something unexpected went wrong: {type(error).__name__}: {error}"))
            finally:
                with self._ready:
                    self._busy = False
                    self._ready.notify_all()

    def _tell(self, event: Event) -> None:
        if event.generation == self._newest:
            self._listener(event)

    def _answer(self, generation: int, recipe: Recipe, prompt: str) -> None:
        def overtaken() -> bool:
            return generation != self._newest

        started = time.perf_counter()
        with torch.inference_mode():
            planned = plan(recipe, self._checkpoints)
            if self._merged is None:
                self._merged = Assembly(planned, device=self._device, stop=overtaken)
                redone, steps = len(planned.steps), len(planned.steps)
            else:
                changes = self._merged.turn(recipe, stop=overtaken)
                redone, steps = changes.redone, changes.steps
            self._tell(Merged(generation, redone, steps, time.perf_counter() - started))
            heads = {MERGED: next_token(self._merged.model, self._merged.tokenizer, prompt)}
            for name in self.sources:
                if overtaken():
                    raise Stopped
                heads[name] = self._said(name, prompt).head
            _only_numbers(heads)
            self._tell(Next(generation, _table(heads, self._vocabularies(), self._merged.tokenizer, prompt)))
            for speaker in heads:
                self._write(generation, speaker, prompt, overtaken)
        self._tell(Done(generation, time.perf_counter() - started))

    def _vocabularies(self) -> dict[str, Mapping[str, int] | None]:
        """For each source, None where it has the merged model's vocabulary, else its own.

        Compared once: they are long.
        """
        assert self._merged is not None  # noqa: S101 - set by _answer before it asks
        donor, alignment = self._merged.plan.donor.source, self._merged.plan.alignment
        for name, own in self._own.items():
            if (donor, alignment, name) not in self._alike:
                theirs = own.tokenizer.get_vocab()
                same = theirs == self._merged.tokenizer.get_vocab()
                self._alike[donor, alignment, name] = None if same else theirs
        return {MERGED: None, **{name: self._alike[donor, alignment, name] for name in self._own}}

    def _write(self, generation: int, speaker: str, prompt: str, overtaken: Callable[[], bool]) -> None:
        said = self._known.get((speaker, prompt))
        if said is not None and said.text is not None:
            self._tell(Text(generation, speaker, said.text, done=True))
            return
        assembly = self._merged if speaker == MERGED else self._own[speaker]
        assert assembly is not None  # noqa: S101 - set by _answer before anything is written
        text = write(
            assembly.model,
            assembly.tokenizer,
            prompt,
            length=self._length,
            stop=overtaken,
            so_far=lambda so_far: self._tell(Text(generation, speaker, so_far, done=False)),
        )
        if said is not None:
            self._known[speaker, prompt] = replace(said, text=text)
        self._tell(Text(generation, speaker, text, done=True))

    def _said(self, name: str, prompt: str) -> _Said:
        if (name, prompt) not in self._known:
            if name not in self._own:
                source = self.sources[name].source
                alone = Recipe("passthrough", (Slice((Part(source),)),))
                self._own[name] = Assembly(plan(alone, self._checkpoints), device=self._device)
            own = self._own[name]
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]  # the oldest
            self._known[name, prompt] = _Said(next_token(own.model, own.tokenizer, prompt))
        return self._known[name, prompt]


@dataclass(frozen=True)
class _Said:
    """A source's own answer: log-probabilities of its next token, and its text once it has been written."""

    head: torch.Tensor
    text: str | None = None


def _only_numbers(heads: Mapping[str, torch.Tensor]) -> None:
    """Raise where a speaker's figures are not numbers: shown as they are they would read as agreement."""
    raise_all(
        AssemblyError,
        (
            Problem(
                name, "gives values that are not numbers (NaN).", "A weight of it, or of a source, is NaN or too large."
            )
            for name, head in heads.items()
            if bool(head.isnan().any())
        ),
    )


def _table(
    heads: Mapping[str, torch.Tensor], vocabularies: Mapping[str, Mapping[str, int] | None], tokenizer: Any, prompt: str
) -> NextTokens:
    """The table of log-probabilities by speaker. A speaker of another vocabulary is looked up by the token's text."""
    merged = heads[MERGED]
    alike = {name: vocabularies[name] is None and len(head) == len(merged) for name, head in heads.items()}
    first = merged.topk(min(CANDIDATES, len(merged))).indices.tolist()
    first += [int(head.argmax()) for name, head in heads.items() if alike[name]]
    ids = sorted(dict.fromkeys(first), key=lambda token: (-float(merged[token]), token))

    def probability(name: str, token: int) -> float:
        theirs = vocabularies[name]
        own = token if theirs is None else theirs.get(tokenizer.convert_ids_to_tokens(token))
        return float(heads[name][own].exp()) if own is not None and own < len(heads[name]) else float("nan")

    # Some tokenizers show the space before a word only where something stands before it.
    before = tokenizer(prompt)["input_ids"][-1:]

    def spelt(token: int) -> str:
        return str(tokenizer.decode([*before, token]))[len(tokenizer.decode(before)) :]

    return NextTokens(
        tuple(heads),
        tuple(Candidate(token, spelt(token), tuple(probability(name, token) for name in heads)) for token in ids),
        tuple(_kl(merged, head) if alike[name] else float("nan") for name, head in heads.items()),
        tuple(float(-_expected(head, head)) for head in heads.values()),
    )


def _kl(p: torch.Tensor, q: torch.Tensor) -> float:
    """KL(p || q) of two vectors of log-probabilities, in nats: sum p (log p - log q), in float64."""
    log_p, log_q = p.double(), q.double()
    return max(0.0, _expected(log_p, log_p - log_q))


def _expected(log_p: torch.Tensor, values: torch.Tensor) -> float:
    """Mean of the values under p; where p is 0 a value counts nothing, whatever it is."""
    p = log_p.exp()
    return float(torch.where(p > 0, p * values, 0.0).sum())
