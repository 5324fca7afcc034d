"""What a method is, and the methods by name.

A method is one function under ``@method``. Its signature declares it: ``models`` are the tensors in the order
of the recipe; an argument ``base`` means that it needs a base model (``Array | None``: may have one); every
other argument is a number of the recipe (see ``parameters``), except those that ``apply`` hands over: a
``generator``, random and seeded; ``depth``, the place of the layer in the merged model, 0 for the first and 1 for
the last; ``cutoffs``, magnitudes that were found by looking at whole models. The function receives float32 (float64
where a source or the result is), never casts, and must not write to what it receives. It returns a tensor; or, declared
``-> Chain``, ``-> Mix`` or ``-> Arc``, receives the tensors as they are stored and returns what casts and merges them.

The methods of the house are imported when they are first asked for: to plan a merge that copies takes no torch.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from mergelab.errors import MethodError, Problem, did_you_mean
from mergelab.methods.parameters import Base, Parameter, Setting, read_signature

if TYPE_CHECKING:
    from torch import Tensor

    from mergelab.methods.arc import Arc
    from mergelab.methods.chain import Chain
    from mergelab.methods.mix import Mix

Numbers = Mapping[str, Setting]
"""Recipe name -> one value, one per model, or None for "not given"."""

Resolved = Mapping[str, Any]
"""Every parameter of a method -> its checked value: a tuple of one per model, or a single one."""


Outcome: TypeAlias = "Tensor | Chain | Mix | Arc"
"""What the function of a method returns."""


@dataclass(frozen=True, eq=False)
class Method:
    """A way to merge tensors, with everything that its function declares.

    Attributes:
        name: as in recipes.
        summary: the first line of the docstring.
        doc: the docstring.
        base: whether a base model is "required", "optional", or "none": there a base is one more input.
        inputs: fewest and most models, base excluded; None: any number.
        parameters: recipe name -> Parameter, in the order of the signature, then those without effect.
        extras: what it asks ``apply`` for: ``"generator"``, ``"depth"``, ``"cutoffs"``.
        function: the function itself.
        chained: whether it is declared to return a ``Chain`` or a ``Mix``.
        elementwise: whether each element of the result is made of that same element of the inputs alone, so that
            it may be handed flat pieces of them.
        arguments: recipe name -> argument name.
        rule: what is wrong with numbers that are each right, or None.
        is_unchanged: whether these numbers leave the only model as it is, so that its tensor can be shared.
        edition: how many methods of this name were entered before it, as when a notebook cell is run again.
    """

    name: str
    summary: str
    doc: str
    base: Base
    inputs: tuple[int, int | None]
    parameters: Mapping[str, Parameter]
    extras: tuple[str, ...]
    function: Callable[..., Outcome]
    arguments: Mapping[str, str]
    chained: bool = False
    elementwise: bool = False
    rule: Callable[[Resolved], Problem | None] | None = None
    is_unchanged: Callable[[Resolved], bool] | None = None
    edition: int = 0

    @property
    def seeded(self) -> bool:
        """Whether it draws random numbers."""
        return "generator" in self.extras

    def check(self, numbers: Numbers, models: int | None = None) -> tuple[Problem, ...]:
        """All that is wrong with ``numbers``: unknown, missing, of a wrong kind, out of range, too many or
        few.

        Args:
            numbers: as for ``apply``.
            models: how many models there are, base excluded; None leaves the counts of per-model numbers
                unchecked.
        """
        return tuple(replace(problem, where=self.name) for problem in self._problems(numbers, models))

    def check_inputs(self, models: int, base: bool) -> tuple[Problem, ...]:
        """What is wrong with ``models`` models (base excluded) and with having a base or not."""
        fewest, most = self.inputs
        found = []
        if models < fewest or (most is not None and models > most):
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}" if most else f"{fewest} or more"
            besides = "" if self.base == "none" else " besides the base"
            what = f"has {models} model{'' if models == 1 else 's'}{besides}."
            found.append(Problem(self.name, what, f"Give {wanted}."))
        if base and self.base == "none":
            hint = "Give it as one of the models, or leave it out."
            found.append(Problem(self.name, "takes no base model.", hint))
        if not base and self.base == "required":
            found.append(Problem(self.name, "has no base model.", "Say which model is the base (base_model)."))
        return tuple(found)

    def unchanged(self, numbers: Numbers) -> bool:
        """Whether the result is the only model's own tensor, to be shared. ``numbers`` must be right."""
        return self.is_unchanged is not None and self.is_unchanged(self.resolve(numbers, 1))

    def _problems(self, numbers: Numbers, models: int | None) -> list[Problem]:
        found = [
            Problem("", f"has no parameter {name!r}.", did_you_mean(name, list(self.parameters)))
            for name in numbers
            if name not in self.parameters
        ]
        for parameter in self.parameters.values():
            found += _parameter_problems(parameter, numbers.get(parameter.name), models)
        if not found and self.rule is not None:
            broken = self.rule(self.resolve(numbers, models or None))
            found += [broken] if broken else []
        return found

    def resolve(self, numbers: Numbers, models: int | None) -> dict[str, Any]:
        """Checked ``numbers`` with defaults, each per-model number a tuple. One value stands for all."""
        values: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            given = numbers.get(name)
            if not parameter.per_model:
                values[name] = parameter.convert(given)  # type: ignore[arg-type]
            elif _is_list(given):
                values[name] = tuple(parameter.convert(one) for one in given)  # type: ignore[union-attr]
            else:
                values[name] = (parameter.convert(given),) * (1 if models is None else models)  # type: ignore[arg-type]
        return values


def _is_list(given: object) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str)


def _parameter_problems(parameter: Parameter, given: Any, models: int | None) -> list[Problem]:
    if not parameter.per_model or not _is_list(given):
        what = parameter.problem(given)
        return [Problem("", f"{what}.", parameter.expects)] if what else []
    found = []
    if models is not None and len(given) != models:
        what = f"{parameter.name} has {len(given)} values for {models} model{'' if models == 1 else 's'}."
        found.append(Problem("", what, "Give one for each model, base excluded, or one for all."))
    for place, one in enumerate(given, start=1):
        what = parameter.problem(one)
        if what:
            found.append(Problem("", f"{what}, for model {place}.", parameter.expects))
    return found


_HOMES: Mapping[str, tuple[str, ...]] = {
    "blend": ("passthrough", "linear", "slerp"),
    "sphere": ("nuslerp", "multislerp", "karcher"),
    "delta": ("task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs",
        "breadcrumbs_ties"),
    "layers": ("lines",),
    "consensus": ("model_stock", "sce", "ram", "ramplus_tl"),
    "pairwise": ("nearswap", "arcee_fusion"),
    "spectral": ("tsv_merge", "iso_c", "knots"),
}  # fmt: skip
"""Modules and the methods that they define, in the order of the documentation."""

_METHODS: dict[str, Method] = {}


def names() -> tuple[str, ...]:
    """Every method's name: those of the house in the order of the documentation, then others as they were defined."""
    return tuple(dict.fromkeys([*(name for defined in _HOMES.values() for name in defined), *_METHODS]))


def get(name: str) -> Method:
    """The method of that name.

    Raises:
        MethodError: there is none; the hint names the closest.
    """
    home = _home(name)
    if home is not None and name not in _METHODS:
        importlib.import_module(home)
    if name not in _METHODS:
        raise MethodError(Problem("merge method", f"there is no method {name!r}.", did_you_mean(name, names())))
    return _METHODS[name]


def _home(name: str) -> str | None:
    """The module that defines a method of the house; None of any other."""
    return next((f"{__package__}.{home}" for home, defined in _HOMES.items() if name in defined), None)


def method(
    *,
    inputs: tuple[int, int | None],
    rule: Callable[[Resolved], Problem | None] | None = None,
    unchanged: Callable[[Resolved], bool] | None = None,
    elementwise: bool = False,
    accepts: tuple[Parameter, ...] = (),
) -> Callable[[Callable[..., Outcome]], Method]:
    """Make a function the method of its name, and enter it among ``names()``.

    Args:
        inputs: fewest and most models, base excluded; None: any number.
        rule: what is wrong with numbers that are each right; its ``where`` is left empty.
        unchanged: whether resolved numbers leave the only model as it is.
        elementwise: the function makes each element of that same element of its inputs alone.
        accepts: parameters without effect, taken so that mergekit's recipes load.

    Raises:
        TypeError: the signature does not declare a method, or another function has the name. (The same
            function defined again, as when a notebook cell is run twice, replaces the first.)
    """

    def enter(function: Callable[..., Outcome]) -> Method:
        made = describe(
            function, inputs=inputs, rule=rule, unchanged=unchanged, elementwise=elementwise, accepts=accepts
        )
        known = _METHODS.get(made.name)
        home = known.function.__module__ if known else _home(made.name)
        if home not in (None, function.__module__):
            raise TypeError(f"there is a method {made.name!r} already, in {home}")
        made = _METHODS[made.name] = replace(made, edition=known.edition + 1 if known else 0)
        return made

    return enter


def describe(
    function: Callable[..., Outcome],
    *,
    inputs: tuple[int, int | None],
    rule: Callable[[Resolved], Problem | None] | None = None,
    unchanged: Callable[[Resolved], bool] | None = None,
    elementwise: bool = False,
    accepts: tuple[Parameter, ...] = (),
) -> Method:
    """The ``Method`` that ``method`` makes, without entering it."""
    signature = read_signature(function)
    doc = inspect.getdoc(function) or ""
    parameters = {**signature.parameters, **{parameter.name: parameter for parameter in accepts}}
    return Method(
        name=function.__name__,
        summary=doc.split("\n", 1)[0],
        doc=doc,
        base=signature.base,
        inputs=inputs,
        parameters=MappingProxyType(parameters),
        extras=signature.extras,
        function=function,
        arguments=MappingProxyType(dict(signature.arguments)),
        chained=signature.pending,
        elementwise=elementwise,
        rule=rule,
        is_unchanged=unchanged,
    )
