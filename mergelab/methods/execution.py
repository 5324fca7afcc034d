"""Running a method on tensors: the one place that casts, seeds and checks shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, cast, overload

import torch
from torch import Tensor

from mergelab.errors import MethodError, Problem, raise_all
from mergelab.methods import select
from mergelab.methods.arc import Arc
from mergelab.methods.chain import Chain, Stage
from mergelab.methods.mix import Mix
from mergelab.methods.pieces import Pieces
from mergelab.methods.registry import Method, Numbers, Outcome, get
from mergelab.methods.vectors import Found


@torch.no_grad()
def apply(
    method: Method,
    models: Sequence[Tensor],
    base: Tensor | None,
    numbers: Numbers,
    *,
    dtype: torch.dtype,
    seed: int = 0,
    name: str = "",
    depth: float = 0.0,
    found: Found | None = None,
    cutoffs: Sequence[float] | None = None,
    out: Tensor | None = None,
    pieces: Pieces | None = None,
) -> Tensor:
    """The tensor that ``method`` makes of ``models`` and ``base``.

    Computes in float32, or in float64 where an input or the result is float64, and rounds once, to ``dtype``. That is
    a fresh tensor, with two exceptions, which return the first model's own tensor: a method that leaves its
    only model unchanged and in its dtype (``Method.unchanged``), and integer or boolean tensors, which are
    never computed with: they must be equal in all inputs, and keep their dtype. Inputs are never written to.
    Meta tensors give a meta tensor.

    Args:
        method: from ``get``.
        models: at least one tensor, base excluded, in the order of the recipe; one shape, one device,
            floating dtypes may differ.
        base: the base model's tensor, for methods that have one.
        numbers: recipe name -> value; per-model numbers as one value per model or one for all; None means
            "not given".
        dtype: of the result; a floating one, for floating inputs.
        seed, name: the recipe's seed and the name of the output tensor. Random numbers depend on these two
            only.
        depth: of the layer in the merged model, from 0 to 1; 0 outside the layers.
        found: a dict that keeps what is found out about the task vectors for the next call with the same tensors,
            whatever its other arguments: it saves passes and draws, and changes no bit.
        cutoffs: for each model the magnitude from which elements of its task vector are kept, for methods told to trim
            whole models.
        out: contiguous storage for a fresh result, of its shape, dtype and device, which nothing else uses.
        pieces: the way through the tensors, which can be broken off; what is in ``out`` then is of no use. Hand the
            same one to every step of a merge.

    Raises:
        MethodError: inputs or numbers are wrong; all problems at once.
    """
    values = _checked(method, models, base, numbers, dtype=dtype, name=name)
    first = models[0]
    if not first.is_floating_point() or (first.dtype == dtype and method.unchanged(numbers)):
        return first
    if first.numel() == 0 or first.is_meta:
        return torch.empty_like(first, dtype=dtype, memory_format=torch.contiguous_format)
    extras = {"generator": _generator(seed, name), "depth": depth, "cutoffs": cutoffs}
    call = _Call(method, values, extras)
    with Pieces(first.device) if pieces is None else nullcontext(pieces) as way:
        if method.elementwise:
            return call.piecewise(models, base, _place_for(first, dtype, out), way)
        outcome = call(models, base, _working(_inputs(models, base), dtype))
        if not isinstance(outcome, Tensor):
            working = _working(outcome.inputs, dtype)
            return outcome.result(working, _place_for(first, dtype, out), way, {} if found is None else found)
    if outcome.shape != first.shape:
        what = f"returned {_shape(outcome)} for inputs of {_shape(first)}."
        raise MethodError(Problem(_place(method, name), what, "This is a fault of the method."))
    if out is not None:
        return out.copy_(outcome)
    result = outcome.to(dtype)
    storage = result.untyped_storage().data_ptr()
    shared = any(one.untyped_storage().data_ptr() == storage for one in _inputs(models, base))
    return result.clone() if shared else result


def _place_for(first: Tensor, dtype: torch.dtype, out: Tensor | None) -> Tensor:
    return torch.empty(first.shape, dtype=dtype, device=first.device) if out is None else out


@torch.no_grad()
def explain(
    method: Method | str,
    models: Sequence[Tensor | Sequence[float]],
    base: Tensor | Sequence[float] | None = None,
    numbers: Numbers = MappingProxyType({}),
    *,
    seed: int = 0,
    name: str = "",
    depth: float = 0.0,
    cutoffs: Sequence[float] | None = None,
) -> tuple[Stage, ...]:
    """What stands after each step of a method: the models, the steps of its chain, and last the unrounded result.

    All in the working precision, copies that are safe to keep. A method that is no chain has its result for its only
    step. ::

        for stage in explain("ties", [[3, -1], [-2, -3]], [1, 1], {"weight": 0.5, "density": 0.5}):
            print(stage.name, stage.tensors, stage.doc)

    Args:
        method: from ``get``, or its name.
        models, base: floating tensors that hold values, or plain lists of numbers.
        numbers, seed, name, depth: as for ``apply``, which makes the same of them.
        cutoffs: as for ``apply``; without them, these tensors are taken for the whole models.

    Raises:
        MethodError: as for ``apply``; or the tensors hold no values.
    """
    method = get(method) if isinstance(method, str) else method
    tensors = [_tensor(method, f"model {place}", one) for place, one in enumerate(models, start=1)]
    start = None if base is None else _tensor(method, "base", base)
    values = _checked(method, tensors, start, numbers, dtype=torch.float32, name=name)
    first = tensors[0]
    if not first.is_floating_point() or first.is_meta or not first.numel():
        kind = "empty" if not first.numel() else first.device.type
        what = f"cannot show steps on a tensor that is {kind} and {first.dtype}."
        raise MethodError(Problem(_place(method, name), what, "Give floating tensors that hold values."))
    working = _working(_inputs(tensors, start), torch.float32)
    if "cutoffs" in method.extras and cutoffs is None and start is not None:
        deltas = [model.to(working) - start.to(working) for model in tensors]
        shares = zip(deltas, values["density"], strict=True)
        cutoffs = [select.cutoff(partial(iter, (delta,)), share, delta.numel(), working) for delta, share in shares]
    extras = {"generator": _generator(seed, name), "depth": depth, "cutoffs": cutoffs}
    outcome = _Call(method, values, extras)(tensors, start, working)
    given = tuple(model.to(working, copy=True) for model in tensors)
    if isinstance(outcome, Chain):
        steps = tuple(outcome.stages(_working(outcome.inputs, working)))
    else:
        steps = (_only_stage(method, _worked_out(outcome, working)),)
    return (Stage("models", given, "What the models hold."), *steps)


def _worked_out(outcome: Tensor | Mix | Arc, dtype: torch.dtype) -> Tensor:
    if isinstance(outcome, Tensor):
        return outcome
    working = _working(outcome.inputs, dtype)
    with Pieces(outcome.inputs[0].device) as pieces:
        return outcome.result(working, torch.empty_like(outcome.inputs[0], dtype=working), pieces, {})


def _only_stage(method: Method, outcome: Tensor) -> Stage:
    _, _, doc = method.summary.rpartition(": ")
    return Stage(method.name, (outcome.clone(),), doc[:1].upper() + doc[1:])


def _tensor(method: Method, who: str, given: Tensor | Sequence[float]) -> Tensor:
    if isinstance(given, Tensor):
        return given
    try:
        return torch.tensor(given, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"{who} is neither a tensor nor a list of numbers: {error}."
        raise MethodError(Problem(method.name, what, "Give numbers, as many in each list.")) from error


class _Call:
    """A method with its numbers, to be given tensors."""

    def __init__(self, method: Method, values: Mapping[str, Any], extras: Mapping[str, Any]) -> None:
        self._method = method
        self._arguments = {argument: values[number] for number, argument in method.arguments.items()}
        self._arguments |= {extra: extras[extra] for extra in method.extras}

    def __call__(self, models: Sequence[Tensor], base: Tensor | None, working: torch.dtype) -> Outcome:
        method = self._method
        given = models if method.chained else _Cast(models, working)
        if method.base == "none":
            return method.function(given, **self._arguments)
        start = base if base is None or method.chained else base.to(working)
        return method.function(given, base=start, **self._arguments)

    def piecewise(self, models: Sequence[Tensor], base: Tensor | None, out: Tensor, pieces: Pieces) -> Tensor:
        """The result of an element-wise method, in ``out``: from the stored tensors to the rounded result in the
        cache.
        """
        working = _working(_inputs(models, base), out.dtype)
        flat = [model.reshape(-1) for model in models]
        start = None if base is None else base.reshape(-1)
        place = out.view(-1)

        def make(at: slice) -> None:
            made = self([model[at] for model in flat], None if start is None else start[at], working)
            place[at].copy_(cast(Tensor, made))

        pieces.map(len(place), make)
        return out


def _inputs(models: Sequence[Tensor], base: Tensor | None) -> Sequence[Tensor]:
    return models if base is None else [*models, base]


def _working(inputs: Sequence[Tensor], dtype: torch.dtype) -> torch.dtype:
    """float64 where an input or the result is."""
    return torch.float64 if torch.float64 in (dtype, *(one.dtype for one in inputs)) else torch.float32


class _Cast(Sequence[Tensor]):
    """Tensors cast to the working precision when they are asked for: a loop holds one copy at a time."""

    def __init__(self, tensors: Sequence[Tensor], dtype: torch.dtype) -> None:
        self._tensors = tensors
        self._dtype = dtype

    def __len__(self) -> int:
        return len(self._tensors)

    @overload
    def __getitem__(self, place: int) -> Tensor: ...
    @overload
    def __getitem__(self, place: slice) -> _Cast: ...
    def __getitem__(self, place: int | slice) -> Tensor | _Cast:
        if isinstance(place, slice):
            return _Cast(self._tensors[place], self._dtype)
        return self._tensors[place].to(self._dtype)


def _generator(seed: int, name: str) -> torch.Generator:
    """On the CPU, wherever the tensors are, seeded by a hash that is the same in every process.

    torch's generator takes 32 bits of it: of 1000 tensors two share their draws with a chance of one in 10,000.
    """
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def _checked(
    method: Method,
    models: Sequence[Tensor],
    base: Tensor | None,
    numbers: Numbers,
    *,
    dtype: torch.dtype,
    name: str,
) -> dict[str, Any]:
    """The resolved numbers; MethodError with every problem of inputs and numbers."""
    problems = [*method.check_inputs(len(models), base is not None), *method.check(numbers, len(models))]
    named = [(f"model {place}", one) for place, one in enumerate(models, start=1)]
    named += [] if base is None else [("base", base)]
    if named:
        problems += _tensor_problems(named, dtype)
    raise_all(MethodError, (replace(problem, where=_place(method, name)) for problem in problems))
    return method.resolve(numbers, len(models))


def _tensor_problems(named: Sequence[tuple[str, Tensor]], dtype: torch.dtype) -> Iterator[Problem]:
    first = named[0][1]
    alike: tuple[tuple[str, Callable[[Tensor], str], str], ...] = (
        ("shapes", _shape, "Only tensors of one shape can be merged."),
        ("devices", lambda one: str(one.device), "Move them to one device."),
    )
    fit = True
    for what, aspect, hint in alike:
        if len({aspect(one) for _, one in named}) > 1:
            fit = False
            list_of = ", ".join(f"{who} {aspect(one)}" for who, one in named)
            yield Problem("", f"{what} differ: {list_of}.", hint)
    floating = [one.is_floating_point() for _, one in named]
    if not any(floating):
        if fit and not all(_identical(first, one) for _, one in named[1:]):
            kinds = ", ".join(f"{who} {one.dtype}" for who, one in named)
            what = f"integer or boolean tensors differ: {kinds}."
            yield Problem("", what, "They cannot be merged: use passthrough.")
    elif not all(floating):
        kinds = ", ".join(f"{who} {one.dtype}" for who, one in named)
        yield Problem("", f"floating and other tensors are mixed: {kinds}.", "Only floating tensors can be merged.")
    elif not dtype.is_floating_point:
        yield Problem("", f"the result of floating tensors cannot be {dtype}.", "Choose a floating dtype.")


def _identical(left: Tensor, right: Tensor) -> bool:
    """One dtype and equal values, as far as there are values."""
    return left.dtype == right.dtype and (left.is_meta or torch.equal(left, right))


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "scalar"


def _place(method: Method, name: str) -> str:
    return f"{method.name}, {name}" if name else method.name
