"""Asking: the workbench's line to a preview. Requests go out, the newest counts; what comes back becomes traits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeAlias

from mergelab.errors import Problem
from mergelab.models.events import Done, Event, Failed, Measured, Measuring, Merged, Next, Shaded, Text
from mergelab.models.measuring import Measure
from mergelab.models.preview import Preview
from mergelab.recipes.plan import Plan
from mergelab.views._base import log
from mergelab.views.board import Board, Costs, Request
from mergelab.views.guests import Guest
from mergelab.weights import Source

PAUSE = 1 / 15  # seconds between two pieces of streamed text
CLOSED = Problem("", "this workbench is closed.", "Make a new one.")


class Answerer(Protocol):
    """What the workbench asks: `mergelab.models.preview.Preview`, or a stand-in in a test.

    It calls its listener on a thread of its own, with the lock held that it was given.
    """

    def ask(self, recipe: Any, prompts: Any, *, only_measures: bool = False, draft: bool = False) -> int:
        """Take a request and return its generation at once; the newest wins. ``only_measures``: no answer is wanted.
        ``draft``: more is to come.
        """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until idle; False when the time is over first."""

    def settle(self) -> None:
        """What was asked last is a draft no more."""

    def stop(self) -> None:
        """Drop what is being done."""

    def close(self) -> None:
        """End the worker."""


Listener: TypeAlias = Callable[[Event], None]
Maker: TypeAlias = Callable[[Mapping[str, Source], Listener, str, threading.RLock, Sequence[Measure]], Answerer]
Write: TypeAlias = Callable[[dict[str, Any]], None]
Found: TypeAlias = Callable[[Request, Measured], None]


def preview_of(
    sources: Mapping[str, Source],
    listener: Listener,
    device: str,
    lock: threading.RLock,
    measures: Sequence[Measure],
) -> Answerer:
    """The preview of a workbench."""
    return Preview(sources, listener, device=device, lock=lock, measures=measures, shading=True)


class Asking:
    """What is asked of a preview, and how far its answer has come.

    Every method but ``wait`` and ``close`` is called with ``lock`` held, and none of them waits for a worker.
    """

    def __init__(self, make: Maker, device: str, lock: threading.RLock, write: Write, found: Found) -> None:
        """
        Args:
            make: makes the preview.
            write: gets the traits that an event changes.
            found: gets what a measure found, and the request it is about.
        """  # noqa: D212 - the class says what it is
        self._make, self._device, self._lock, self._write, self._found = make, device, lock, write, found
        self._guests: tuple[Guest, ...] = ()
        self._answerer: Answerer | None = None
        self._line = 0  # which answerer: events of one before are dropped
        self._generation = 0  # the newest request's
        self._request: Request | None = None  # the newest; None where nothing is wanted
        self._stopped: Request | None = None  # the newest, where it was stopped by hand
        self._board: Board | None = None
        self._sent = 0.0

    def open(self, guests: tuple[Guest, ...], measures: Sequence[Measure]) -> Answerer | None:
        """Make the preview of these sources. Returns the one before it, to be closed."""
        before, self._answerer = self._answerer, None
        self._request = self._stopped = self._board = None
        self._guests = guests
        self._line += 1
        named = {guest.name: guest.checkpoint.source for guest in guests}
        self._answerer = self._make(named, partial(self._hear, self._line), self._device, self._lock, measures)
        return before

    def ask(self, request: Request, *, draft: bool = False) -> None:
        """Ask, unless that is what was asked last: then what is known of it is about the newest edit too.

        Args:
            draft: a hand is still at it.
        """
        if self._answerer is None:
            return
        before = self._request
        if before is not None and request.same(before):
            self._request = request
            if not draft:
                self._answerer.settle()
            if self._board is not None and self._board.request.same(request):
                self._board = replace(self._board, request=request)
            if request.prompts != before.prompts:
                self._measure(request)
            self._write({"_answered": request.edit})
            return
        if request.same(self._stopped):
            self._write({"_answered": request.edit})
            return
        self._request, self._stopped = request, None
        # Asked before it is told: who hears of it may edit again, and that is then asked last.
        self._generation = self._answerer.ask(request.recipe, request.prompt, draft=draft)
        self._write({"status": "loading", "error": ""})

    def _measure(self, request: Request) -> None:
        """Measure anew. Where texts are still being written measures are to come, and read what there is then."""
        board = self._board
        if self._answerer is not None and board is not None and board.request is request and all(board.written):
            self._generation = self._answerer.ask(request.recipe, request.prompt, only_measures=True)
            self._write({"status": "measuring"})

    def again(self) -> None:
        """What was asked last, or stopped, is to be asked anew."""
        self._request = self._stopped = None

    def drop(self, edit: int, status: str, error: str) -> None:
        """Nothing is wanted any more, and why."""
        self._request = self._stopped = None
        if self._answerer is not None:
            self._answerer.stop()
        self._write({"status": status, "error": error, "_answered": edit})

    def stop(self, edit: int) -> None:
        """Stop what is being computed; what is known stays."""
        if self._answerer is None or self._request is None:
            return
        request, board = self._request, self._board
        self._request, self._stopped = None, request
        self._answerer.stop()
        if board is not None and board.request is request and board.next_tokens is not None:
            self._board = board.finished()
            self._show("done")
        else:
            self._write({"status": "stopped", "_answered": edit})

    def wait(self, timeout: float | None) -> bool:
        """Wait until the answer is whole; False when ``timeout`` seconds were not enough."""
        return self._answerer is None or self._answerer.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        answerer, self._answerer = self._answerer, None
        self._request = None
        if answerer is not None:
            answerer.close()

    def _hear(self, line: int, event: Event) -> None:
        """One event of the preview, on its worker's thread."""
        with self._lock:
            request = self._request
            if line != self._line or request is None or event.generation != self._generation:
                return
            try:
                self._take(request, event)
            except Exception as error:  # noqa: BLE001 - whatever it is belongs on the screen as well as in the log
                log.exception("showing an answer failed")
                words = f"Showing the answer failed: {error!r}"
                self._write({"status": "failed", "error": words, "_answered": request.edit})

    def _take(self, request: Request, event: Event) -> None:
        board = self._board
        if board is None or board.request is not request:
            board = Board.of(request, len(self._guests) + 1, board)
        match event:
            case Merged():
                self._board = replace(board, merged=event, costs=_costs(event.plan))
            case Next(answers=(tokens,)):
                # Sent together with Merged: two small messages in a row wait for each other on the wire.
                self._board = replace(board, next_tokens=tokens)
                self._show("writing")
            case Shaded(tokens=tokens):
                self._board = replace(board, shades=tokens)
                self._show("writing")
            case Text(speaker=speaker, text=text, done=done):
                self._board = board.with_text(self._speaker(speaker), text, done=done)
                if done or time.monotonic() - self._sent >= PAUSE:
                    self._show("writing")
            case Measuring():
                self._write({"status": "measuring"})
            case Measured():
                self._found(request, event)
            case Done():
                self._board = board.finished()
                self._show("done")
            case Failed(message=message):
                self._write({"status": "failed", "error": message, "_answered": request.edit})

    def _speaker(self, name: str) -> int:
        return 0 if name == "merged" else 1 + [guest.name for guest in self._guests].index(name)

    def _show(self, status: str) -> None:
        board = self._board
        if board is None:
            return
        self._sent = time.monotonic()
        answer = board.payload()
        if answer is not None:
            self._write({"answer": answer, "status": status, "error": "", "_answered": board.request.edit})


def _costs(planned: Plan) -> Costs:
    differs = ", ".join(dict.fromkeys(one.what for one in planned.apart))
    unsaved = f"It cannot be saved as it is: its layers differ in {differs}." if differs else ""
    return Costs(len(planned.layers), planned.parameters, planned.bytes, unsaved)
