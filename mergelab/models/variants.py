"""Variants: several merges of the same sources side by side, each with its past, on one bank of tensors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import torch

from mergelab.columns import Table
from mergelab.errors import AssemblyError, Problem, did_you_mean
from mergelab.models.answers import Asked
from mergelab.models.assembly import Assembly, assemble
from mergelab.models.changes import Changes
from mergelab.models.comparison import Comparison, ask_all
from mergelab.models.interrupts import held
from mergelab.models.speak import is_text
from mergelab.recipes.difference import difference
from mergelab.recipes.plan import Plan, plan
from mergelab.recipes.recipe import Recipe
from mergelab.weights import Checkpoint, Source

FIRST = "first"


@dataclass(frozen=True)
class _Turn:
    """One recipe a variant has been, and what it took to become that."""

    number: int
    recipe: Recipe
    words: str
    changes: Changes


@dataclass(frozen=True)
class _Variant:
    """A live model and the recipes it has been; ``at`` is the place of the one it is now."""

    assembly: Assembly
    turns: tuple[_Turn, ...]
    at: int = 0

    @property
    def now(self) -> _Turn:
        return self.turns[self.at]


class Variants:
    """Named merges of one set of sources. What they have in common is in memory once: a variant costs the tensors that
    no other one has.

    It begins with one variant, called "first". ``keep`` leaves a copy of the current one under a name; ``turn``,
    ``undo`` and ``redo`` change the current one alone.

        with ml.Variants(recipe) as variants:
            variants.turn(stronger)
            variants.keep("strong")
            variants.undo()
            variants.compare(["Once upon a time"])
    """

    def __init__(
        self,
        recipe: Recipe | Plan | str | os.PathLike[str],
        *,
        device: str | torch.device = "auto",
        checkpoints: Mapping[Source, Checkpoint] | None = None,
        undo: int | None = None,
        resident: int | None = None,
    ) -> None:
        """Make the first variant.

        Args:
            recipe: a recipe, a plan of one, or what ``Recipe.load`` reads.
            device: where the arithmetic is done and the models live.
            checkpoints: sources that are open already.
            undo: how many turns of each variant can be taken back; None: all of them.
            resident: as for ``assemble``.

        Raises:
            MergelabError: as ``assemble``.
        """
        if undo is not None and undo < 0:
            raise AssemblyError(Problem("undo", f"{undo} is no number of turns.", "Give 0 or more, or None for all."))
        planned = recipe if isinstance(recipe, Plan) else plan(recipe, checkpoints)
        self._undo = undo
        self._lock = threading.RLock()
        made = assemble(planned, device=device, resident=resident)
        self._variants = {FIRST: _Variant(made, (_Turn(0, planned.recipe, "", made.made),))}
        self._current = FIRST

    # -- what there is -------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The variants, oldest first."""
        return tuple(self._variants)

    @property
    def current(self) -> str:
        """The name of the one that ``turn``, ``undo``, ``redo``, ``recipe`` and ``assembly`` are about."""
        return self._current

    @property
    def recipe(self) -> Recipe:
        """What the current variant is made by.

        Raises:
            AssemblyError: the variants are closed.
        """
        return self._now.now.recipe

    @property
    def assembly(self) -> Assembly:
        """The current variant's live model. Turn it by ``Variants.turn``: what is done to it directly has no undo.

        Raises:
            AssemblyError: the variants are closed.
        """
        return self._now.assembly

    @property
    def history(self) -> Table:
        """Every recipe that the current variant has been and can be again; a star marks what it is now, "redo" what was
        taken back.

        Columns: number of the turn, fingerprint of the recipe, what changed against the one before, how many of the
        model's tensors the turn had to compute, and the seconds it took.

        Raises:
            AssemblyError: the variants are closed.
        """
        variant = self._now
        rows = tuple(
            (
                "*" if place == variant.at else "redo" if place > variant.at else "",
                turn.number,
                turn.recipe.fingerprint,
                turn.words,
                f"{turn.changes.redone} of {turn.changes.steps}",
                f"{turn.changes.seconds:.3f}",
            )
            for place, turn in enumerate(variant.turns)
        )
        return Table(("now", "turn", "recipe", "changed", "computed", "seconds"), rows, f"Variant {self._current}")

    def __repr__(self) -> str:
        if not self._variants:
            return "<Variants, closed>"
        each = ", ".join(
            f"{name} {variant.now.recipe.fingerprint}{' (current)' if name == self._current else ''}"
            for name, variant in self._variants.items()
        )
        return f"<Variants: {each}>"

    # -- the current one -----------------------------------------------------------------------------------------

    def turn(
        self, recipe: Recipe | Plan | str | os.PathLike[str], *, stop: Callable[[], bool] | None = None
    ) -> Changes:
        """Make the current variant the model of another recipe. What was undone before can then not be redone.

        Args:
            recipe: what to merge now: a recipe, a plan of one, or what ``Recipe.load`` reads.
            stop: asked between steps; once it says True the turn is abandoned and everything stays as it was.

        Raises:
            Stopped: ``stop`` said so.
            MergelabError: as ``Assembly.turn``; everything stays as it was.
        """
        with self._lock:
            variant = self._now
            known = variant.assembly.bank.checkpoints
            planned = recipe if isinstance(recipe, Plan) else plan(recipe, known)  # may take long: to open new sources
            with held():
                changes = variant.assembly.turn(planned, stop=stop)
                turned = variant.assembly.recipe
                if turned != variant.now.recipe:
                    now = variant.now
                    made = _Turn(now.number + 1, turned, difference(now.recipe, turned), changes)
                    turns = (*variant.turns[: variant.at + 1], made)
                    if self._undo is not None:
                        turns = turns[-1 - self._undo :]
                    self._variants[self._current] = replace(variant, turns=turns, at=len(turns) - 1)
                return changes

    def undo(self, turns: int = 1) -> Changes:
        """Take turns of the current variant back, in one go.

        Raises:
            AssemblyError: there are not as many, or it is no number; everything stays as it was.
        """
        return self._go("undo", turns)

    def redo(self, turns: int = 1) -> Changes:
        """Do turns again that were taken back, in one go.

        Raises:
            AssemblyError: there are not as many, or it is no number; everything stays as it was.
        """
        return self._go("redo", turns)

    # -- all of them ---------------------------------------------------------------------------------------------

    def keep(self, name: str) -> None:
        """Leave a copy of the current variant, with its past, under a name. The copy shares every tensor.

        Raises:
            AssemblyError: the name is taken, empty or no text.
        """
        with self._lock:
            variant = self._now
            if not is_text(name) or not name.strip():
                raise AssemblyError(Problem("keep", f"{name!r} is no name.", "Give a word or two."))
            if name in self._variants:
                hint = "Choose another name, or drop that one first."
                raise AssemblyError(Problem("keep", f"there is a variant {name!r} already.", hint))
            made = variant.assembly
            with held():
                self._variants[name] = replace(variant, assembly=Assembly(made.plan, bank=made.bank))

    def switch(self, name: str) -> None:
        """Make a variant the current one. Nothing is computed.

        Raises:
            AssemblyError: there is no such variant.
        """
        with self._lock:
            self._named(name, "switch")
            self._current = name

    def drop(self, name: str) -> None:
        """Forget a variant that is not the current one, and the tensors that only it had.

        Raises:
            AssemblyError: there is no such variant, or it is the current one.
        """
        with self._lock:
            variant = self._named(name, "drop")
            if name == self._current:
                raise AssemblyError(
                    Problem("drop", f"{name!r} is the current variant.", "Switch to another one first.")
                )
            with held():
                del self._variants[name]
                variant.assembly.close()

    def compare(
        self,
        prompts: Asked,
        names: str | Sequence[str] | None = None,
        *,
        blind: bool = False,
        seed: int | None = None,
        max_new_tokens: int = 24,
    ) -> Comparison:
        """What variants say to the same prompts, side by side.

        Args:
            prompts: one or several; ``Prompt(text, continuation)`` adds the loss on a text that should follow.
            names: which variants, or a single one; None: all.
            blind: hide which is which until ``Comparison.reveal``.
            seed: of the order of blind columns; None: one that nobody knows before ``Comparison.reveal``.
            max_new_tokens: length of the written answers, 1 or more.

        Raises:
            AssemblyError: there is no such variant, or too few of them, or as ``Preview`` fails: a prompt has no token
                or more than a model reads, a model gives values that are not numbers.
        """
        with self._lock:
            names = tuple(self._open()) if names is None else (names,) if isinstance(names, str) else names
            chosen = {name: self._named(name, "compare").assembly for name in names}
            return ask_all(chosen, prompts, blind=blind, seed=seed, max_new_tokens=max_new_tokens)

    def close(self) -> None:
        """Let go of every model and tensor. May be called twice."""
        with self._lock, held():
            for variant in self._variants.values():
                variant.assembly.close()
            self._variants.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _now(self) -> _Variant:
        return self._named(self._current, "variants")

    def _open(self) -> dict[str, _Variant]:
        if not self._variants:
            raise AssemblyError(Problem("", "these variants are closed.", "Make new ones of the recipe."))
        return self._variants

    def _named(self, name: str, where: str) -> _Variant:
        if name not in tuple(self._open()):  # which may be anything, also what cannot be hashed
            hint = did_you_mean(str(name), self.names)
            raise AssemblyError(Problem(where, f"there is no variant {name!r}.", hint))
        return self._variants[name]

    def _go(self, verb: str, turns: object) -> Changes:
        with self._lock:
            variant = self._now
            back = verb == "undo"
            most = variant.at if back else len(variant.turns) - 1 - variant.at
            if isinstance(turns, bool) or not isinstance(turns, int) or turns < 1:
                raise AssemblyError(Problem(verb, f"{turns!r} is no number of turns.", "Give 1 or more."))
            if turns > most:
                what = f"{turns} of {most} turns cannot be {verb}ne." if most else f"there is nothing to {verb}."
                raise AssemblyError(Problem(verb, what, "The variant's history shows its turns."))
            at = variant.at - turns if back else variant.at + turns
            with held():
                changes = variant.assembly.turn(variant.turns[at].recipe)
                self._variants[self._current] = replace(variant, at=at)
                return changes
