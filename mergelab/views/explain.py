"""Explain: what a merge method does to ten numbers, step by step, with a dial for each number of the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from traitlets import Any as AnyTrait
from traitlets import Dict, Float, Int, List, TraitError, Unicode, observe, validate

from mergelab import methods
from mergelab.errors import MergelabError
from mergelab.views import steps
from mergelab.views._base import LabWidget, bundle
from mergelab.views.steps import TEN, Example


class Explain(LabWidget):
    """Turn the numbers of a merge method and see what each of its steps leaves of a few numbers.

    Three models and a base hold ten numbers each: one small tensor of 2 rows and 5 columns. A method that takes fewer
    models gets the first of them. Setting a trait from Python does the same as turning a dial.

    Attributes:
        method: a name of `mergelab.methods.names()`. Choosing one sets ``numbers`` to what it begins with.
        numbers: the method's numbers by recipe name, as for `methods.apply`; those left out are as at the beginning.
        depth: place of the layer in the merged model, 0 to 1, for methods that ask for it.
        seed: of the random numbers, for methods that draw them.
        error: what is wrong, in words, or empty.
    """

    _esm = bundle("explain.js")
    _css = bundle("explain.css")

    method = Unicode("ties", help="which merge method").tag(sync=True, echo_update=False)
    numbers = AnyTrait(help="recipe name -> value, or one per model").tag(sync=True, echo_update=False)
    depth = Float(0.5, help="place of the layer").tag(sync=True, echo_update=False)
    seed = Int(0, help="of the random numbers").tag(sync=True, echo_update=False)
    _turn = Int(0, help="edits the browser has made").tag(sync=True, echo_update=False)
    _methods: Any = List(help="methods to choose from").tag(sync=True)
    _shown: Any = Dict(help="dials and steps, as `steps.payload` makes them").tag(sync=True)

    _settled = False  # until the first picture, and while a method brings its own numbers along

    def __init__(
        self,
        method: str = "ties",
        models: Sequence[Sequence[float]] = TEN.models,
        base: Sequence[float] = TEN.base,
        names: Sequence[str] | None = None,
    ) -> None:
        """Show ``method`` at work.

        Args:
            models: 1 to 4 lists of as many numbers each, an even count.
            base: the base's numbers.
            names: what to call the models; by default A, B, C, D.

        Raises:
            ValueError: the lists do not belong together, in words.
            TraitError: there is no such method.
        """
        self._example = _example(models, base, names)
        super().__init__()
        with self.hold_sync():
            self._methods = list(methods.names())
            self.numbers = {}
            self.method = method
            self._settled = True
            self._draw()

    @validate("method")
    def _a_method(self, proposal: Mapping[str, Any]) -> str:
        try:
            return methods.get(proposal["value"]).name
        except MergelabError as error:
            raise TraitError(str(error)) from None

    @validate("depth")
    def _a_depth(self, proposal: Mapping[str, Any]) -> float:
        if not 0 <= proposal["value"] <= 1:
            raise TraitError(f"depth: {proposal['value']!r} is outside 0 to 1.")
        return float(proposal["value"])

    @validate("numbers")
    def _right_numbers(self, proposal: Mapping[str, Any]) -> dict[str, Any]:
        given = proposal["value"]
        if not isinstance(given, Mapping):
            raise TraitError(f"numbers: {given!r} is not a mapping of names to values.")
        method = methods.get(self.method)
        problems = method.check({**self._begin(), **given}, len(steps.taken(method, self._example).models))
        if problems:
            raise TraitError("\n".join(map(str, problems)))
        return {**self._begin(), **given}

    def _begin(self) -> dict[str, Any]:
        method = methods.get(self.method)
        return steps.begin(method, len(steps.taken(method, self._example).models))

    @observe("method")
    def _on_method(self, _change: object) -> None:
        settled, self._settled = self._settled, False
        self.numbers = {}
        self._settled = settled
        self._on_turn(None)

    @observe("numbers", "depth", "seed", "_turn")
    def _on_turn(self, _change: object) -> None:
        if self._settled:
            self._draw()

    def _draw(self) -> None:
        method = methods.get(self.method)
        example = steps.taken(method, self._example)
        try:
            stages = steps.explain(method, example, self.numbers, seed=self.seed, depth=self.depth)
        except MergelabError as error:
            self.write(error=str(error))
            return
        shown = steps.payload(method, example, self.numbers, stages, seed=self.seed, depth=self.depth, turn=self._turn)
        self.write(_shown=shown, error="")

    def still(self) -> str:
        """The steps as HTML without scripts."""
        return steps.still(self._shown)

    def __repr__(self) -> str:
        return f"<Explain {self.method}: {len(self._shown['stages'])} steps of {len(self._shown['names'])} models>"


def _example(models: Sequence[Sequence[float]], base: Sequence[float], names: Sequence[str] | None) -> Example:
    called = tuple("ABCD"[: len(models)]) if names is None else tuple(map(str, names))
    problems = []
    if not 1 <= len(models) <= 4:
        problems.append(f"models: {len(models)} were given. Give 1 to 4.")
    if len(base) < 2 or len(base) % 2:
        problems.append(f"base: has {len(base)} numbers. Give an even count: they are a matrix of two rows.")
    for place, model in enumerate(models):
        if len(model) != len(base):
            problems.append(f"models[{place}]: has {len(model)} numbers, the base has {len(base)}.")
    if len(called) != len(models):
        problems.append(f"names: {len(called)} for {len(models)} models. Give one for each.")
    if problems:
        raise ValueError(" ".join(problems))
    return Example(called, tuple(tuple(map(float, model)) for model in models), tuple(map(float, base)))
