"""The numbers a method takes, read off its signature.

A shared number is a plain argument, a number per model is a sequence marked ``PerModel``, a choice among words
is a ``Literal``::

    def ties(models, base, weight: Annotated[Sequence[float], PerModel(dial=(0, 1))], normalize: bool = True)

From this come the checks and their words, the range of a slider, the range of a search and the documentation.
The text of each number is its entry under ``Args:`` in the docstring. Python's ``lambda_`` is ``lambda`` in
recipes.
"""

from __future__ import annotations

import enum
import inspect
import keyword
import math
import numbers
import re
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from mergelab.errors import Problem

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mergelab.methods.pieces import Pieces
    from mergelab.methods.vectors import Found

Value = float | int | bool | str
Setting = Value | Sequence[Value | None] | None
"""What a caller hands over for one parameter: one value (for all models), one per model, or nothing."""

Base = Literal["none", "optional", "required"]

EXTRAS: Final = ("generator", "depth", "cutoffs")
"""Arguments that are no numbers of the recipe: ``apply`` hands them to the functions that name them."""

_TENSORS: Final = {"Array": object, "Arrays": object}  # stand in for what they name: to say it takes torch
_LARGEST: Final = 3.4028234663852886e38  # of float32, in which methods work


class Pending(ABC):
    """What a method returns that is said and not yet worked out: a ``Chain``, a ``Mix`` or an ``Arc``."""

    @abstractmethod
    def result(self, dtype: torch.dtype, out: Tensor, pieces: Pieces, found: Found, /) -> Tensor:
        """Work it out in ``dtype``, rounded once into ``out``."""


class Required(enum.Enum):
    """The default of a parameter that has none."""

    REQUIRED = "required"


REQUIRED: Final = Required.REQUIRED


@dataclass(frozen=True)
class PerModel:
    """Marks an argument as one number for each model, base excluded.

    Attributes:
        dial: the range worth turning by hand or searching; ``None`` where there is none.
        default: for a model that says nothing.
        low, high: values outside are wrong, both ends allowed.
    """

    dial: tuple[float, float] | None = None
    default: Value | Required = REQUIRED
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Shared:
    """Marks an argument as one number for the whole tensor. Its default is the argument's own.

    Attributes: as in ``PerModel``.
    """

    dial: tuple[float, float] | None = None
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Parameter:
    """One declared number of a method.

    Attributes:
        name: as in recipes.
        per_model: one value for each non-base model, or one for the whole tensor.
        kind: ``float``, ``int`` or ``bool``; ``str`` for a choice among words.
        default: its value when absent; ``REQUIRED`` when it must be given; ``None`` when absence itself means
            something.
        low, high: values outside are wrong, both ends allowed.
        dial: the range worth turning by hand or searching; ``None`` where there is none.
        doc: one sentence.
        effect: False for numbers that are accepted so that mergekit's recipes load, and change nothing.
        choices: the words to choose from.
    """

    name: str
    per_model: bool
    kind: type[float | int | bool | str]
    default: Value | Required | None
    low: float = -math.inf
    high: float = math.inf
    dial: tuple[float, float] | None = None
    doc: str = ""
    effect: bool = True
    choices: tuple[str, ...] = ()

    @property
    def expects(self) -> str:
        """What to give instead, as an instruction."""
        if self.kind is bool:
            return "Give true or false."
        if self.choices:
            return f"Give {' or '.join(self.choices)}."
        noun = "a whole number" if self.kind is int else "a number"
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"Give {noun} from {self.low:g} to {self.high:g}."
        if math.isfinite(self.low):
            return f"Give {noun} of at least {self.low:g}."
        if math.isfinite(self.high):
            return f"Give {noun} of at most {self.high:g}."
        return f"Give {noun}."

    def problem(self, value: object) -> str | None:
        """What is wrong with ``value`` as one value of this parameter, in words; ``None`` when nothing is."""
        if value is None:
            return f"{self.name} is missing" if self.default is REQUIRED else None
        if self.kind is bool:
            return None if isinstance(value, bool) else f"{self.name} {value!r} is neither true nor false"
        if self.choices:
            return None if value in self.choices else f"{self.name} {value!r} is no choice"
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return f"{self.name} {value!r} is not a number"
        try:
            return self._number_problem(float(value))
        except OverflowError:
            return f"{self.name} is an integer beyond every float"

    def _number_problem(self, number: float) -> str | None:
        shown = f"{self.name} {number:.15g}"
        if not abs(number) <= _LARGEST:
            return f"{shown} is not a finite float32"
        if self.kind is int and number != int(number):
            return f"{shown} is not a whole number"
        return None if self.low <= number <= self.high else f"{shown} is {self._outside(number)}"

    def _outside(self, number: float) -> str:
        if math.isfinite(self.low) and math.isfinite(self.high):
            return f"outside {self.low:g} to {self.high:g}"
        return f"below {self.low:g}" if number < self.low else f"above {self.high:g}"

    def convert(self, value: Value | None) -> Value | None:
        """``value``, already checked, as ``kind``; the default for ``None``."""
        if value is not None:
            return self.kind(value)
        if isinstance(self.default, Required):
            raise TypeError(f"{self.name} has no default")
        return self.default


@dataclass(frozen=True)
class Signature:
    """What a function's signature says about the method it is."""

    base: Base
    extras: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    arguments: Mapping[str, str]
    """Recipe name -> argument name."""
    pending: bool
    """Whether it is declared to return something ``Pending``."""


def read_signature(function: Callable[..., Any]) -> Signature:
    """Read ``function``'s declaration.

    Raises:
        TypeError: the declaration is not one of a method: no ``models``, a number that is neither plain nor
            marked, no text.
    """
    hints = typing.get_type_hints(function, localns=_TENSORS, include_extras=True)
    texts = dict(_argument_texts(inspect.getdoc(function) or ""))
    arguments = inspect.signature(function).parameters
    if next(iter(arguments), None) != "models":
        raise TypeError(f"{function.__name__}: the first argument of a method is 'models'")
    parameters, names = {}, {}
    for argument in arguments.values():
        if argument.name in ("models", "base", *EXTRAS):
            continue
        name = argument.name.rstrip("_") if keyword.iskeyword(argument.name.rstrip("_")) else argument.name
        if argument.name not in texts:
            raise TypeError(f"{function.__name__}: {argument.name} has no entry under 'Args:' in the docstring")
        parameters[name] = _parameter(name, hints[argument.name], argument, texts[argument.name])
        names[name] = argument.name
    returned = hints.get("return")
    pending = isinstance(returned, type) and issubclass(returned, Pending)
    return Signature(_base(hints), tuple(name for name in EXTRAS if name in arguments), parameters, names, pending)


def _base(hints: Mapping[str, Any]) -> Base:
    if "base" not in hints:
        return "none"
    return "optional" if NoneType in typing.get_args(hints["base"]) else "required"


def _parameter(name: str, hint: Any, argument: inspect.Parameter, doc: str) -> Parameter:
    mark: PerModel | Shared = Shared()
    if typing.get_origin(hint) is Annotated:
        hint, *marks = typing.get_args(hint)
        mark = next(one for one in marks if isinstance(one, PerModel | Shared))
    per_model = isinstance(mark, PerModel)
    kind = typing.get_args(hint)[0] if per_model else hint
    choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    kind = str if choices and all(isinstance(word, str) for word in choices) else kind
    optional = NoneType in typing.get_args(kind)
    kind = next(one for one in typing.get_args(kind) if one is not NoneType) if optional else kind
    if kind not in (float, int, bool) and not choices:
        raise TypeError(f"{name}: {hint} is neither float, int, bool, a choice nor a marked sequence of one of them")
    given = argument.default is not inspect.Parameter.empty
    if per_model and given:
        raise TypeError(f"{name}: the default of a number per model stands in PerModel(default=...)")
    default = mark.default if isinstance(mark, PerModel) else argument.default if given else REQUIRED
    return Parameter(name, per_model, kind, default, mark.low, mark.high, mark.dial, doc, choices=choices)


def _argument_texts(docstring: str) -> Iterator[tuple[str, str]]:
    """The entries under ``Args:``, each joined to one line."""
    block = re.search(r"^Args:\n((?:    .*(?:\n|$)|\n)*)", docstring, re.MULTILINE)
    if block:
        for entry in re.finditer(r"^    (\w+): (.*(?:\n(?:     .*|)$)*)", block.group(1), re.MULTILINE):
            yield entry.group(1), " ".join(entry.group(2).split())


def weights_must_not_cancel(values: Mapping[str, Any]) -> Problem | None:
    """Rule of methods with ``weight`` and ``normalize``: no sum of zero, up to rounding (1e-8 of sum |w|).

    Weights that are all zero pass: they add no task vector, divided or not.
    """
    return weights_must_count(values) if any(values["weight"]) else None


def weights_must_count(values: Mapping[str, Any]) -> Problem | None:
    """The same where weights that are all zero leave nothing to divide."""
    weight = values["weight"]
    if values["normalize"] and abs(sum(weight)) <= 1e-8 * sum(abs(factor) for factor in weight):
        return Problem("", "the weights sum to zero.", "Change a weight, or set normalize: false.")
    return None


INT8_MASK: Final = Parameter(
    name="int8_mask",
    per_model=False,
    kind=bool,
    default=False,
    doc="In mergekit: masks in less memory. No effect here.",
    effect=False,
)
