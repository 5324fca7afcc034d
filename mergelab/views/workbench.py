"""Workbench: a recipe as a picture, as text and as data, and what every source and the merge answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Dict, Int, List, TraitError, Unicode, observe, validate

from mergelab.errors import AssemblyError, MergelabError, Problem
from mergelab.models.comparison import Comparison
from mergelab.models.events import Measured
from mergelab.recipes.plan import plan
from mergelab.recipes.recipe import Recipe
from mergelab.studies.scores import Given, scorers_of
from mergelab.views import blind, opening, saving
from mergelab.views._base import bundle
from mergelab.views.aside import Aside
from mergelab.views.asking import CLOSED, Asking, Maker, preview_of
from mergelab.views.board import Request
from mergelab.views.exports import export
from mergelab.views.faced import Copied, Faced
from mergelab.views.faces import Faces, Homes
from mergelab.views.findings import Findings
from mergelab.views.guests import Guest
from mergelab.views.layouts import lay
from mergelab.views.looking import Looking
from mergelab.views.messages import heed
from mergelab.views.past import NOW
from mergelab.views.plain_edits import PLAIN_EDITS, still_chosen
from mergelab.views.seats import seats
from mergelab.views.shown import ProblemShown, SeamsShown, seams_shown
from mergelab.views.still import still
from mergelab.views.told import told_methods
from mergelab.weights import Checkpoint, Source, open_checkpoint

if TYPE_CHECKING:
    import pandas as pd


class Workbench(Faced):
    """Merge by hand: move layers, bend a number over depth, edit the text, and read at once what the merge says.

    The recipe has three faces: ``recipe`` (data), ``sketch`` (the picture, plain JSON) and ``text`` (mergekit's YAML).
    Setting one of them, from Python or by hand, sets the others. Nothing is written to disk, and no cell is ever
    blocked.

    Attributes:
        recipe: the recipe at hand. Set it to a recipe, its YAML or a file of it; models it names that are not here yet
            become further sources, where they are folders on this machine.
        sketch: its picture.
        text: its YAML. A text that cannot be read stays, with its problems; the others keep what could be read last.
        prompt: what is asked of every model.
        prompts: those to choose from; seams and norms are measured on them, scores on what each scorer reads.
        selection: output layers that are chosen, ascending.
        answer: what they said last, as plain JSON: fingerprint of the recipe, next-token table, texts, what was redone
            and how long it took. A probability is None for a source whose vocabulary does not have the token.
        status: "loading" (the answer is on its way), "writing" (the table is there, texts are coming), "measuring",
            "done", "failed", "stopped", or "waiting" (for a prompt).
        error: what is wrong, in words, or empty.
    """

    _esm = bundle("workbench.js")
    _css = bundle("workbench.css")

    prompt = Unicode("", help="what is asked of every model").tag(sync=True, echo_update=False)
    prompts = Copied((), help="prompts to choose from").tag(sync=True, echo_update=False)
    selection = Copied((), help="chosen output layers").tag(sync=True, echo_update=False)
    answer = Dict(default_value=None, allow_none=True, help="what they said last").tag(sync=True)
    status = Unicode("loading", help="how far the answer is").tag(sync=True)
    scores = Dict(help="the newest scores, by name")
    _answered = Int(-1, help="the edit that answer, status and error are about").tag(sync=True)
    _sources: Any = List(help="name, code, layers and sizes of each source").tag(sync=True)
    _methods: Any = List(help="methods to choose from, with their numbers").tag(sync=True)
    _fits: Any = List(help="how each source fits the base").tag(sync=True)
    _blends: Any = List(help="why two sources cannot be blended, or nothing").tag(sync=True)
    _kinds: Any = Dict(default_value=None, allow_none=True, help="filters of attention and feed-forward").tag(sync=True)
    _presets: Any = List(help="layouts to choose from").tag(sync=True)
    _seams: Any = Dict(default_value=None, allow_none=True, help="borders of slices as measured").tag(sync=True)
    _scores: Any = Dict(help="scores with controls and their past").tag(sync=True)
    _past: Any = Dict(help="undo, redo, history, snapshots").tag(sync=True)
    _problems: Any = List(help="what is wrong with the text, and before saving").tag(sync=True)
    _behind = Bool(default_value=True, help="_problems are of an earlier recipe").tag(sync=True)
    _exports: Any = Dict(help="the recipe for other programs").tag(sync=True)
    _lines: Any = List(help="lines of each slice in the text").tag(sync=True)
    _blind: Any = Dict(default_value=None, allow_none=True, help="a blind comparison").tag(sync=True)
    # Written by the page, for its other views and for itself after a reload.
    _locks: Any = List(Unicode(), help="rows of curves that the hand leaves alone").tag(sync=True, echo_update=False)
    _copied: Any = Dict(default_value=None, allow_none=True, help="a curve to paste").tag(sync=True, echo_update=False)

    _asking: Asking | None = None

    def __init__(
        self,
        *sources: Recipe | Checkpoint | Source | str | os.PathLike[str],
        recipe: Recipe | str | os.PathLike[str] | None = None,
        names: Sequence[str] | None = None,
        prompt: str | None = None,
        prompts: Sequence[str] | None = None,
        scorers: Given = None,
        device: str = "auto",
        preview: Maker = preview_of,
    ) -> None:
        """Open the sources (1 to 5; the first is the base) or a recipe with its own, and ask the first question.

        Args:
            sources: models; or a recipe alone: itself, its YAML, or a file of it (``.yml``).
            recipe: what to begin with; by default a graft.
            names: what to call the sources; by default the names of their folders.
            prompt: the first prompt; by default the first of ``prompts``.
            prompts: those to choose from; by default some that the sources can answer.
            scorers: what to score by, as ``studies.scores.scorers_of`` takes it: functions ``f(model) -> float``, by
                name or in a row; by default the skills of the sample family, else some English text.
            device: where the models run, as torch names it; "auto": on a GPU where there is one.
            preview: makes what answers; a test hands in its own.

        Raises:
            SourceError: a source cannot be opened, there are too few or too many, or names do not match them.
            RecipeError: the recipe cannot be read, or has no picture.
        """
        guests, first = opening.begin(sources, recipe, names)
        self._files = saving.Files(sources, recipe)
        self._failure = ""  # why the last answer failed
        scored = scorers_of(scorers, (guest.checkpoint.source for guest in guests))
        self._findings = Findings(scored, lambda: tuple(self.prompts))
        self._comparison: Comparison | None = None
        self._seated: int | None = None  # the base that sources are told to fit
        self._homes: list[Homes] = []  # what each layer is made of
        self._picked = False  # an edit says which layers are chosen
        self._device = device
        self._aside = Aside()
        super().__init__(Faces.of(first, guests))
        self._looking = Looking(
            self._aside, self._lock, lambda: self._faces, lambda: self.write(**self._found_wrong()), self._say
        )
        self._asking = Asking(preview, device, self._lock, self._report, self._found)
        known = opening.first_prompts(guests) if prompts is None else tuple(prompts)
        with self._editing():
            self._methods = told_methods()
            self._seat()
            self._take(self._faces)
            self.prompts = known
            self.prompt = prompt if prompt is not None else next(iter(known), "")
        self.on_msg(self._told)

    # -- edits ---------------------------------------------------------------------------------------------------

    @validate("prompt", "prompts", "selection")
    def _validate_plain(self, proposal: dict[str, Any]) -> object:
        self._opened()
        self._picked = self._picked or proposal["trait"].name == "selection"
        try:
            return PLAIN_EDITS[proposal["trait"].name](proposal["value"])
        except ValueError as error:
            raise TraitError(str(error)) from None

    @observe("prompts")
    def _reread(self, _change: dict[str, Any]) -> None:
        self.write(**self._findings.reread(self._faces.guests))

    def _settle(self) -> None:
        """An edit is over: remember it, unless a hand is still at it; tell what follows from it, and ask."""
        if self._closed or self._asking is None:
            return
        faces = self._faces
        self._choose()
        if faces.sketch["base"] != self._seated:
            self._seated = faces.sketch["base"]
            self.write(**seats(faces.guests, self._seated))
        if not self._held:
            self._remember()
            self._looking.export(faces)
        self.write(
            error=self._refusal or self._failure,
            **self._findings.past(self._memory),
            **self._found_wrong(),
            _lines=faces.lines,
        )
        if self.prompt.strip():
            turn = self._memory.turn_of(faces.recipe)
            request = Request(faces.recipe, self.prompt, tuple(self.prompts), self._turn, turn, faces.sketch)
            self._asking.ask(request, draft=self._held)
        else:
            self._asking.drop(self._turn, "waiting", "")
        self._look()

    def _choose(self) -> None:
        """Who edits the picture knows which layers are chosen; who lays another stack by other means does not."""
        before, self._homes = self._homes, self._faces.homes
        if self._laid and not self._picked:
            self.set_trait("selection", still_chosen(self.selection, before, self._homes))
        self.set_trait("selection", [layer for layer in self.selection if layer < len(self._homes)])
        self._picked = False

    def _found_wrong(self) -> dict[str, Any]:
        """Problems of the text, or, where it can be read, of its recipe, or of one before that is looked at yet."""
        unread, looking = [*self._faces.problems], self._looking
        return {"_problems": unread or looking.rows, "_behind": not unread and looking.of is not self._faces.recipe}

    def _look(self) -> None:
        """Look at the recipe before saving, once the hand has let go and the table is there: two threads that compute
        get in each other's way, and the table is what the hand waits for.
        """
        if not self._held and self.status != "loading":
            self._looking.look(self._faces)

    def _seat(self) -> None:
        """Make the preview of new sources, and tell of them."""
        guests = self._faces.guests
        self._seated = self._faces.sketch["base"]
        self.write(_sources=self._findings.sources(guests), **seats(guests, self._seated))
        if self._asking is not None:
            before = self._asking.open(guests, self._findings.measures)
            if before is not None:
                self._aside.do(f"close {id(before)}", before.close)

    def _report(self, values: dict[str, Any]) -> None:
        """Traits that an answer changes. Why an edit was refused stays until the next one."""
        self._failure = values.get("error", self._failure)
        self.write(**{**values, "error": self._refusal or self._failure})
        self._look()

    def _say(self, values: dict[str, Any]) -> None:
        self.write(**values)

    def _found(self, request: Request, event: Measured) -> None:
        """What a measure found."""
        self.write(**self._findings.take(event, request, self._faces.guests, self._memory))

    # -- verbs ---------------------------------------------------------------------------------------------------

    def _heed(self, content: dict[str, Any]) -> None:
        with self._editing(), self._saying():
            heed(self, content)

    @contextmanager
    def _saying(self) -> Iterator[None]:
        """What goes wrong inside is told on the page."""
        try:
            yield
        except (MergelabError, TraitError) as error:
            with self._editing():
                self._refusal = str(error)

    def ask(self) -> None:
        """Ask once more what was asked last, for instance after a stop."""
        with self._editing():
            if self._asking is not None:
                self._asking.again()

    def lay(self, name: str, numbers: Mapping[str, object]) -> None:
        """Lay a layout by all its numbers, or by none (the defaults), as one edit. RecipeError or FitError."""
        self.recipe = lay(name, numbers, self._faces.guests, self._faces.recipe)

    def widen(self) -> None:
        """Bring all layers to one size, as far as that is exact: see ``ml.widen``. FitError where it is not."""
        faces = self._faces.drawn({**self._faces.sketch, "widen": True})
        plan(faces.recipe, {guest.checkpoint.source: guest.checkpoint for guest in faces.guests})
        self.sketch = faces.sketch

    def add(self, model: Checkpoint | Source | str | os.PathLike[str]) -> None:
        """Open a model as a further source, from headers alone.

        Raises:
            SourceError: it cannot be opened, is here already, or is one too many.
        """
        opened = open_checkpoint(model)
        with self._editing():
            self._take(self._faces.joined(opened))

    def later(self, kind: str, work: Callable[[], None]) -> None:
        """Do what takes a while aside, the newest of its kind; what goes wrong is told in ``error``."""

        def told() -> None:
            with self._saying():
                work()

        self._aside.do(kind, told)

    def blind(self, *names: str) -> None:
        """Ask snapshots, and "now", every prompt of ``prompts``, aside, and show the texts without names.

        Args:
            names: two or more; none: all of them, and "now".

        Raises:
            AssemblyError: there is no such snapshot.
        """
        recipes = {
            name: self._faces.recipe if name == NOW else self._memory.snapshot(name, "blind")
            for name in names or (NOW, *(known for known, _ in self._memory.kept))
        }
        prompts = tuple(prompt for prompt in self.prompts if prompt.strip())
        self.later("blind", partial(self._listen, recipes, prompts, self._faces.guests))

    def _listen(self, recipes: Mapping[str, Recipe], prompts: Sequence[str], guests: tuple[Guest, ...]) -> None:
        comparison = blind.listen(recipes, prompts, guests, self._device)
        with self._lock:
            self._comparison = comparison
            self.write(_blind=blind.payload(comparison))

    def vote(self, column: str) -> None:
        """Vote for a column of the blind comparison; "same": no preference. AssemblyError where there is none."""
        comparison = self._compared("vote")
        blind.vote(comparison, column)
        self.write(_blind=blind.payload(comparison))

    def reveal(self) -> Comparison:
        """Show which is which in the blind comparison. AssemblyError where there is none."""
        comparison = self._compared("reveal").reveal()
        self.write(_blind=blind.payload(comparison))
        return comparison

    def end_blind(self) -> None:
        """Put the blind comparison away."""
        with self._lock:
            self._comparison = None
            self.write(_blind=None)

    def _compared(self, verb: str) -> Comparison:
        if self._comparison is None:
            raise AssemblyError(Problem(verb, "there is no blind comparison.", "Begin one with blind()."))
        return self._comparison

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the recipe as YAML, with ``force`` over a file of others too; where. OutputError where it cannot be."""
        return self._files.save(self._faces.recipe, path, force=force)

    def export(self, kind: str) -> str:
        """The recipe for other programs: "mergekit" (YAML), "python", or "json", which a workbench opens again.

        Raises:
            RecipeError: there is no such kind, or the recipe cannot be said that way.
        """
        return export(kind, self._faces.recipe, self._faces.guests)

    @property
    def seams(self) -> SeamsShown | None:
        """The seams of the recipe at hand as measured; None until they are."""
        told = seams_shown(self._seams)
        return told if told and told.recipe == self._faces.recipe.fingerprint else None

    @property
    def problems(self) -> tuple[ProblemShown, ...]:
        """What is wrong with the text, or, where it can be read, what was found of its recipe before saving."""
        return tuple(ProblemShown(**row) for row in self._problems)

    @property
    def history(self) -> pd.DataFrame:
        """Every recipe that was made: turn, fingerprint, what changed, whether it is at hand, scores by name."""
        return self._findings.table(self._memory)

    # -- for people ----------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the answer is whole and what is done aside, such as a blind comparison, is done.

        False when ``timeout`` seconds were not enough. Interrupt cancels the answer.

        Raises:
            AssemblyError: the workbench is closed.
        """
        if self._closed or self._asking is None:
            raise AssemblyError(CLOSED)
        until = None if timeout is None else time.monotonic() + timeout
        if not self._asking.wait(timeout):
            return False
        return self._aside.wait(None if until is None else max(0.0, until - time.monotonic()))

    def stop(self) -> None:
        """Stop what is being computed; what is on screen stays."""
        if self._asking is not None:
            with self._lock:
                self._asking.stop(self._turn)

    def close(self) -> None:
        """End the workers, let go of the models and close the widget."""
        if self._closed:
            return
        if self._asking is not None:
            self._asking.close()
        super().close()
        self._aside.close()

    def still(self) -> str:
        """The stack, numbers over depth, seams, the last answer, scores and the text as HTML without scripts."""
        return still(self._faces, self.prompt, self.answer, self._scores, self._seams)

    def __repr__(self) -> str:
        names = ", ".join(guest.name for guest in self._faces.guests)
        if self._closed:
            return f"<Workbench of {names}, closed>"
        faces, slices = self._faces, len(self._faces.sketch["slices"])
        return f"<Workbench of {names}: {faces.layers} layers in {slices} slices, {faces.recipe.fingerprint}>"
