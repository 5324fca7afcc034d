"""A widget that shows one recipe by three faces, data, picture and text: an edit of one moves the others, and can be
taken back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from traitlets import Any as AnyTrait
from traitlets import Bool, Int, TraitError, Unicode, observe, validate

from mergelab.errors import AssemblyError, MergelabError
from mergelab.views._base import LabWidget
from mergelab.views.asking import CLOSED
from mergelab.views.faces import Faces
from mergelab.views.opening import recipe_from
from mergelab.views.past import Past, alike
from mergelab.views.plain_edits import chosen_within
from mergelab.views.sketch_check import check_sketch

EDITS = ("sketch", "text", "recipe", "prompt", "prompts", "selection")


class Copied(AnyTrait):
    """Plain JSON that whoever asks gets a copy of: what is changed in that and set again is an edit like any other."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        """A copy of the value."""
        return _copy(super().get(obj, cls))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(one) for key, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list | tuple) else value


class Faced(LabWidget):
    """A recipe, its picture and its text, each of which may be set, and the recipes before it.

    An edit is a message of the browser, or what Python sets: one trait, or all that is set in a block. Edits wait for
    one another; each is taken as a whole or refused as a whole, and when it is over ``_settle`` is called.
    """

    recipe = AnyTrait(help="the recipe at hand")
    sketch = Copied(help="its picture").tag(sync=True, echo_update=False)
    text = Unicode("", help="its YAML").tag(sync=True, echo_update=False)
    _turn = Int(0, help="edits the browser has made").tag(sync=True, echo_update=False)
    _held = Bool(default_value=False, help="a hand is on something").tag(sync=True, echo_update=False)

    def __init__(self, faces: Faces) -> None:
        """Begin with these faces."""
        self._faces = faces
        self._memory = Past.of(faces.recipe)
        self._coming = faces  # what an edit has made of them so far
        self._refusal = ""  # why the last edit was refused
        self._laid = False  # an edit came otherwise than by the picture
        self._open = 0  # blocks of edits that are open
        self._waiting: list[dict[str, Any]] = []  # requests of the page, oldest first, that wait for an edit
        super().__init__()

    @abstractmethod
    def _settle(self) -> None:
        """An edit is over."""

    @abstractmethod
    def _heed(self, content: dict[str, Any]) -> None:
        """Do what the page asks."""

    @abstractmethod
    def _seat(self) -> None:
        """There are other sources than before."""

    def __setattr__(self, name: str, value: object) -> None:
        """An edit of Python waits for one of the browser, and is one as well."""
        if name in EDITS:
            with self._editing():
                super().__setattr__(name, self._within(value) if name == "selection" else value)
        else:
            super().__setattr__(name, value)

    def _within(self, selection: object) -> list[int]:
        """What Python chooses is of the stack at hand; what a page did, which may be behind, is cut down to it."""
        try:
            return chosen_within(selection, self._faces.layers)
        except ValueError as error:
            raise TraitError(str(error)) from None

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take in a message of the browser, as one edit, and heed the requests that waited for it."""
        with self._lock:
            with self._editing():
                super().set_state(sync_data)
            self._catch_up()

    def _told(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        """A request of the page: heeded behind the edits that were made before it, which Jupyter may hold back."""
        with self._lock:
            self._waiting.append(content)
            self._catch_up()

    def _catch_up(self) -> None:
        """Heed the requests whose edits have come."""
        while self._waiting:
            after = self._waiting[0].get("after")
            if isinstance(after, int) and after > self._turn:
                return
            self._heed(self._waiting.pop(0))

    def refuse(self, error: str, sync_data: dict[str, Any]) -> None:
        """Say why an edit is refused. That it came, and that the hand let go, holds all the same."""
        self._refusal, self._coming = error, self._faces
        for name in ("_turn", "_held"):
            if isinstance(sync_data.get(name), int):
                self.set_trait(name, sync_data[name])

    @contextmanager
    def _editing(self) -> Iterator[None]:
        """Edits inside are one: one message goes out, one question is asked."""
        with self._lock, self.hold_sync():
            if not self._open:
                self._refusal, self._coming, self._laid = "", self._faces, False
            self._open += 1
            try:
                yield
            finally:
                self._open -= 1
                if not self._open:
                    self._settle()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Make several edits as one: nothing is asked inside the block, and at its end, however it ends, one question
        about how things are then. Blocks may be nested; the outermost asks. AssemblyError where the workbench is
        closed before.

            with bench.paused():
                bench.recipe = ml.graft(pirate, arithmetic, (2, 4))
                bench.prompt = "Once upon a time"
        """
        if self._closed:
            raise AssemblyError(CLOSED)
        with self._lock:
            self._open += 1
        try:
            yield
        finally:
            with self._editing():
                self._open -= 1

    @validate("sketch")
    def _validate_sketch(self, proposal: dict[str, Any]) -> object:
        return self._edited("sketch", proposal, lambda faces, value: faces.drawn(check_sketch(value, faces.guests)))

    @validate("recipe")
    def _validate_recipe(self, proposal: dict[str, Any]) -> object:
        return self._edited("recipe", proposal, lambda faces, value: faces.laid(recipe_from(value)))

    @validate("text")
    def _validate_text(self, proposal: dict[str, Any]) -> object:
        return self._edited("text", proposal, Faces.typed)

    def _edited(self, name: str, proposal: dict[str, Any], edit: Callable[[Faces, Any], Faces]) -> object:
        """What an edit makes of one face. The others follow when it is set."""
        value = proposal["value"]
        if type(value) is not type(getattr(self._coming, name)) or value != getattr(self._coming, name):
            self._opened()
            try:
                self._coming, self._laid = edit(self._coming, value), self._laid or name != "sketch"
            except (MergelabError, ValueError) as error:
                raise TraitError(str(error)) from None
        return getattr(self._coming, name)

    def _opened(self) -> None:
        """A closed workbench takes no edits."""
        if self._closed:
            raise TraitError(str(CLOSED))

    @observe("sketch", "text", "recipe")
    def _moved(self, _change: dict[str, Any]) -> None:
        if self._coming is not self._faces:
            self._take(self._coming)

    def _take(self, faces: Faces) -> None:
        """Show a recipe by all its faces."""
        newly = faces.guests != self._faces.guests
        self._faces = self._coming = faces
        if newly:
            self._seat()
        for name in ("sketch", "text", "recipe"):
            # An observer may have edited again: what is set is the newest there is.
            self.set_trait(name, getattr(self._faces, name))

    # -- the past ------------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Take the last edit of the recipe back. AssemblyError where there is none."""
        self._go(Past.undone)

    def redo(self) -> None:
        """Make the edit again that was taken back. AssemblyError where there is none."""
        self._go(Past.redone)

    def keep(self, name: str) -> None:
        """Keep the recipe at hand as a snapshot. AssemblyError where the name is empty or taken."""
        self._go(lambda past: past.keeping(name, past.shown))

    def show(self, name: str = "") -> None:
        """Show a snapshot in place of the recipe at hand; "": that one again. An edit goes on from what is shown.

        Raises:
            AssemblyError: there is no such snapshot.
        """
        self._go(lambda past: past.looking(name))

    def drop(self, name: str) -> None:
        """Forget a snapshot. AssemblyError where there is none of that name."""
        self._go(lambda past: past.without(name))

    def restore(self, what: str | int) -> None:
        """Make a snapshot, or what was made at a turn of the history, the recipe at hand: one edit.

        Args:
            what: the snapshot's name, or the turn, from 1.

        Raises:
            AssemblyError: there is no such snapshot or turn.
        """
        if isinstance(what, str):
            self._go(lambda past: past.turned(past.snapshot(what, "restore"), f"{what} again"))
        else:
            self._go(lambda past: past.turned(past.turn(what).recipe, f"turn {what} again"))

    def _go(self, step: Callable[[Past], Past]) -> None:
        if self._closed:
            raise AssemblyError(CLOSED)
        with self._editing():
            self._remember()
            memory = step(self._memory)
            faces = self._faces
            if not alike(memory.shown, faces.recipe) or memory.unread != faces.unread:
                laid, self._laid = faces.laid(memory.shown), True
                self._take(laid if memory.unread is None else laid.typed(memory.unread))
            self._memory = memory

    def _remember(self) -> None:
        if not alike(self._faces.recipe, self._memory.shown):
            self._memory = self._memory.turned(self._faces.recipe)
        self._memory = self._memory.typed(self._faces.unread)
