"""Workbench: a stack of slices, one coefficient over depth, a prompt, and what every source and the merge answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from traitlets import Any as AnyTrait
from traitlets import Dict, Int, List, TraitError, Unicode, observe, validate

from mergelab import sample
from mergelab.errors import AssemblyError, MergelabError, Problem
from mergelab.models.agreement import agreed
from mergelab.models.events import Done, Event, Failed, Merged, Next, Text
from mergelab.models.preview import Preview
from mergelab.recipes.plan import plan
from mergelab.recipes.recipe import Recipe
from mergelab.views._base import LabWidget, bundle, log
from mergelab.views.board import Board, Costs, Request
from mergelab.views.dials import (
    METHODS,
    check_blocks,
    check_coefficient,
    check_method,
    depth,
    first_graft,
    open_guests,
    recipe_of,
    refit,
)
from mergelab.views.still import still
from mergelab.weights import Checkpoint, Source

PAUSE = 1 / 15  # seconds between two pieces of streamed text
PROMPTS = ("Once upon a time", "The answer is", "In the beginning")
DIALS = ("blocks", "coefficient", "method", "prompt")
CLOSED = Problem("", "this workbench is closed.", "Make a new one.")


class Answerer(Protocol):
    """What the workbench asks: `mergelab.models.preview.Preview`, or a stand-in in a test.

    It calls its listener on a thread of its own, with the lock held that it was given.
    """

    def ask(self, recipe: Recipe, prompt: str) -> int:
        """Take a request and return its generation at once; the newest wins."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until idle; False when the time is over first."""

    def stop(self) -> None:
        """Drop what is being done."""

    def close(self) -> None:
        """End the worker."""


Maker: TypeAlias = Callable[[Mapping[str, Source], Callable[[Event], None], str, threading.RLock], Answerer]
T = TypeVar("T")


def _preview(
    sources: Mapping[str, Source], listener: Callable[[Event], None], device: str, lock: threading.RLock
) -> Answerer:
    return Preview(sources, listener, device=device, lock=lock)


class Workbench(LabWidget):
    """Merge by hand: move a slice border or bend the coefficient, and read at once what the merge says.

    The first source is the base: the coefficient c(l) of output layer l says how much of a slice's own layer is blended
    over the base's there (1: the slice's layer itself, 0: the base's). For the method ties it is the density: the share
    of the slice's changes against the base, largest first, that is kept. Setting a trait from Python does the same as
    moving it by hand. Nothing is written to disk, and no cell is ever blocked.

    Attributes:
        blocks: the slices from first to last, each ``[source, start, end]``: layers start to end - 1 of that source.
        coefficient: one number from 0 to 1 per output layer; a single number sets all. Lists and numpy arrays are
            taken. Without effect on layers of the base, and with passthrough, which blends nothing.
        method: how a slice is blended over the base, one of `METHODS`.
        prompt: what is asked of every model.
        answer: what they said last, as plain JSON: fingerprint of the recipe, next-token table, texts, what was redone
            and how long it took. A probability is None for a source whose vocabulary does not have the token.
        status: "loading" (the answer is on its way), "writing" (the table is there, texts are coming), "done",
            "failed", "stopped", or "waiting" (for a prompt).
        error: what is wrong, in words, or empty.
    """

    _esm = bundle("workbench.js")
    _css = bundle("workbench.css")

    blocks = AnyTrait(help="slices, [source, start, end] each").tag(sync=True, echo_update=False)
    coefficient = AnyTrait(help="one number per output layer").tag(sync=True, echo_update=False)
    method = AnyTrait("linear", help="how a slice is blended over the base").tag(sync=True, echo_update=False)
    prompt = Unicode("", help="what is asked of every model").tag(sync=True, echo_update=False)
    answer = Dict(default_value=None, allow_none=True, help="what they said last").tag(sync=True)
    status = Unicode("loading", help="how far the answer is").tag(sync=True)
    _turn = Int(0, help="edits the browser has made").tag(sync=True, echo_update=False)
    _answered = Int(-1, help="the edit that answer, status and error are about").tag(sync=True)
    _sources: Any = List(help="name, code and layers of each source").tag(sync=True)
    _methods: Any = List(help="methods to choose from").tag(sync=True)
    _prompts: Any = List(help="example prompts").tag(sync=True)

    _answerer: Answerer | None = None
    _request: Request | None = None  # the newest; events of older ones are dropped
    _ended = False

    def __init__(
        self,
        *sources: Checkpoint | Source | str | os.PathLike[str],
        prompt: str | None = None,
        names: Sequence[str] | None = None,
        device: str = "auto",
        preview: Maker = _preview,
    ) -> None:
        """Open ``sources`` (1 to 5; the first is the base) and ask the first question.

        Args:
            prompt: the first prompt; by default one the sources can answer.
            names: what to call the sources; by default the names of their folders.
            device: where the models run, as torch names it; "auto": on a GPU where there is one.
            preview: makes what answers; a test hands in its own.

        Raises:
            SourceError: a source cannot be opened, there are too few or too many, or names do not match them.
        """
        self._guests = open_guests(sources, names)
        self._checkpoints = {guest.checkpoint.source: guest.checkpoint for guest in self._guests}
        self._configs: dict[Source, dict[str, Any]] = {}  # of the sources, everything written out
        self._generation = 0  # its number
        self._board: Board | None = None
        self._sent = 0.0
        self._pauses = 0  # blocks of `paused` that are open
        super().__init__()
        prompts = _prompts(guest.checkpoint.source for guest in self._guests)
        with self.hold_sync():
            self._sources = [
                {"name": guest.name, "code": guest.code, "layers": guest.checkpoint.layers} for guest in self._guests
            ]
            self._methods, self._prompts = list(METHODS), list(prompts)
            self.blocks = first_graft([guest.checkpoint.layers for guest in self._guests])
            self.coefficient = 1.0
            self.prompt = prompts[0] if prompt is None else prompt
        self.on_msg(self._told)
        named = {guest.name: guest.checkpoint.source for guest in self._guests}
        self._answerer = preview(named, self._hear, device, self._lock)
        self._ask()

    # -- the dials -----------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> Recipe:
        """The recipe the dials stand for now: check it, assemble it, merge it to disk, or print its YAML.

        Raises:
            RecipeError: the dials cannot be meant as a recipe.
        """
        return recipe_of(self._guests, self.blocks, self.coefficient, self.method)

    @validate("blocks")
    def _validate_blocks(self, proposal: dict[str, Any]) -> list[list[int]]:
        self._opened()
        return _in_words(check_blocks, proposal["value"], self._guests)

    @validate("coefficient")
    def _validate_coefficient(self, proposal: dict[str, Any]) -> list[float]:
        self._opened()
        return _in_words(check_coefficient, proposal["value"], depth(self.blocks))

    @validate("method")
    def _validate_method(self, proposal: dict[str, Any]) -> str:
        self._opened()
        return _in_words(check_method, proposal["value"])

    @validate("prompt")
    def _validate_prompt(self, proposal: dict[str, Any]) -> str:
        self._opened()
        return str(proposal["value"])

    def _opened(self) -> None:
        """A dial of a closed workbench turns nothing."""
        if self._closed:
            raise TraitError(str(CLOSED))

    @observe(*DIALS, "_turn")
    def _moved(self, change: dict[str, Any]) -> None:
        before = change["old"]
        if change["name"] == "blocks" and before is not None and len(self.coefficient) != depth(self.blocks):
            self.coefficient = refit(self.coefficient, before, self.blocks)
        self._ask()

    def _told(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        if content.get("type") == "stop":
            self.stop()

    # -- asking and hearing --------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for the dials as they are now, unless that is what was asked last. Returns at once."""
        with self._lock:  # what is asked last is the newest state; and the worker may answer before ask() returns
            if self._answerer is None or self._closed or self._pauses:
                return
            if not self.prompt.strip():
                self._drop(self._turn, "waiting", "")
                return
            blocks = tuple((source, start, end) for source, start, end in self.blocks)
            try:
                request = Request(self.recipe, self.prompt, self._turn, blocks, tuple(self.coefficient), self.method)
            except MergelabError as error:
                self._drop(self._turn, "failed", str(error))
                return
            if request != self._request:
                self._request = request
                self.write(status="loading")
                self._generation = self._answerer.ask(request.recipe, request.prompt)

    def _drop(self, turn: int, status: str, error: str) -> None:
        self._request = None
        if self._answerer is not None:
            self._answerer.stop()
        self.write(status=status, error=error, _answered=turn)

    def _hear(self, event: Event) -> None:
        """One event of the preview, on its worker's thread."""
        with self._lock:
            request = self._request
            if request is None or event.generation != self._generation:
                return
            try:
                self._take(request, event)
            except Exception as error:  # noqa: BLE001 - whatever it is belongs on the screen as well as in the log
                log.exception("showing an answer failed")
                self.write(status="failed", error=f"Showing the answer failed: {error!r}", _answered=request.turn)

    def _take(self, request: Request, event: Event) -> None:
        board = self._board
        if board is None or board.request is not request:
            board = Board.of(request, len(self._guests) + 1, board)
        match event:
            case Merged():
                planned = agreed(plan(request.recipe, self._checkpoints), self._configs)
                differs = ", ".join(dict.fromkeys(one.what for one in planned.apart))
                unsaved = f"It cannot be saved as it is: its layers differ in {differs}." if differs else ""
                costs = Costs(len(planned.layers), planned.parameters, planned.bytes, unsaved)
                self._board = replace(board, merged=event, costs=costs)
            case Next(answers=(tokens,)):
                # Sent together with Merged: two small messages in a row wait for each other on the wire.
                self._board = replace(board, next_tokens=tokens)
                self._show("writing")
            case Text(speaker=speaker, text=text, done=done):
                self._board = board.with_text(self._speaker(speaker), text, done=done)
                if done or time.monotonic() - self._sent >= PAUSE:
                    self._show("writing")
            case Done():
                self._board = board.finished()
                self._show("done")
            case Failed(message=message):
                self.write(status="failed", error=message, _answered=request.turn)

    def _speaker(self, name: str) -> int:
        return 0 if name == "merged" else 1 + [guest.name for guest in self._guests].index(name)

    def _show(self, status: str) -> None:
        board = self._board
        if board is None:
            return
        self._sent = time.monotonic()
        answer = board.payload()
        if answer is not None:
            self.write(answer=answer, status=status, error="", _answered=board.request.turn)

    # -- for people ----------------------------------------------------------------------------------------------

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Set several dials as one edit: nothing is asked inside the block, and at its end, however it ends, one
        question about the dials as they are then. Blocks may be nested; the outermost asks. AssemblyError where the
        workbench is closed before.

            with bench.paused():
                bench.blocks = [[1, 0, 10]]
                bench.coefficient = 0.7
                bench.method = "ties"
        """
        if self._closed:
            raise AssemblyError(CLOSED)
        with self._lock:
            self._pauses += 1
        try:
            yield
        finally:
            with self._lock:
                self._pauses -= 1
                self._ask()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the answer is whole; False when ``timeout`` seconds were not enough. Interrupt cancels it.

        Raises:
            AssemblyError: the workbench is closed.
        """
        if self._closed:
            raise AssemblyError(CLOSED)
        return self._answerer is None or self._answerer.wait(timeout)

    def stop(self) -> None:
        """Stop what is being computed; what is on screen stays."""
        if self._answerer is not None and self.status in ("loading", "writing"):
            with self._lock:
                request, board = self._request, self._board
                self._request = None
                self._answerer.stop()
            if board is not None and board.request is request and board.next_tokens is not None:
                self._board = board.finished()
                self._show("done")
            else:
                self.write(status="stopped", _answered=self._turn)

    def close(self) -> None:
        """End the worker, let go of the models and close the widget."""
        answerer, self._answerer = self._answerer, None
        self._request = None
        if answerer is not None:
            answerer.close()
        super().close()

    def still(self) -> str:
        """The stack and the last answer as HTML without scripts."""
        return still(self._guests, self.blocks, self.coefficient, self.method, self.prompt, self.answer)

    def __repr__(self) -> str:
        names = ", ".join(guest.name for guest in self._guests)
        if self._closed:
            return f"<Workbench of {names}, closed>"
        return f"<Workbench of {names}: {depth(self.blocks)} layers in {len(self.blocks)} slices, {self.method}>"


def _in_words(check: Callable[..., T], *values: object) -> T:
    try:
        return check(*values)
    except ValueError as error:
        raise TraitError(str(error)) from None


def _prompts(sources: Iterable[Source]) -> tuple[str, ...]:
    """Prompts the sources can answer: the sample family's own, those of their skills first; else beginnings any model
    can go on from.
    """
    members = [path.name for path in (Path(source.path) for source in sources) if path.parent == sample.FAMILY]
    if not members:
        return PROMPTS
    skilled = [sample.SKILLS[name].prompts(1)[0] for name in members if name in sample.SKILLS]
    return tuple(dict.fromkeys([*skilled, *sample.demo_prompts()]))
