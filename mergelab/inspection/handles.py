"""Handles: where in a decoder the layers are, what writes to its stream, its norms and its head.

There is no table of architectures. All of it is found by one pass over a few tokens, and proved by that pass: what
parts of a layer give adds up to what it added, and the last layer's state gives the model's own logits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from mergelab.errors import InspectionError, Problem, raise_all
from mergelab.inspection.double import double, hidden_of, taken
from mergelab.inspection.normalisers import Norm, Normalisers
from mergelab.inspection.parts import Writer, decompose
from mergelab.inspection.passes import Call, hand_through, read_out, run

__all__ = ["Handles", "Norm", "Writer", "find"]

DUMMY = 8  # tokens of each of two prompts that are read to find out

_SAY = "If its layers are elsewhere, say where: trace(..., handles={name: handles.find(model, layers='...')})."
_NUMBER = re.compile(r"\.\d+(\.|$)")  # in the path of what is inside of layers


@dataclass(frozen=True)
class Handles:
    """Where to take hold of a decoder.

    Attributes:
        layers: path of the list of layers.
        depth: number of layers.
        final_norm: path of the norm that reads what the last layer gives; None: not found.
        head: path of the module that gives logits; None: not found.
        writers: for each layer what adds to the stream, in order of execution, with paths inside the layer; () where
            that is not a sum of outputs of modules.
        norms: in order of execution.
        forms: for each layer, whether it returns a tensor (0) or so many things.
        stepwise: whether layers can be called one by one: what each is called with does not depend on what others do.
        lens: whether any state of the stream can be read as logits.
        notes: what is opaque here, and why, in words.
    """

    layers: str
    depth: int
    final_norm: str | None
    head: str | None
    writers: tuple[tuple[Writer, ...], ...]
    norms: tuple[Norm, ...]
    forms: tuple[int, ...]
    stepwise: bool
    lens: bool
    notes: tuple[str, ...] = ()


def find(model: Any, *, layers: str | None = None, final_norm: str | None = None, head: str | None = None) -> Handles:
    """Find the handles of a decoder, by one pass over two prompts of 8 tokens.

    Args:
        model: a transformers causal language model; nothing is left on it.
        layers, final_norm, head: paths of modules, where they are known better.

    Raises:
        InspectionError: the layers are not found, do not run once each, or hand on no states of shape (prompts, length,
            width); there is no module at a path that was given.
        AssemblyError: the model writes to its own weights.
    """
    given = {"layers": layers, "final_norm": final_norm, "head": head}
    known = dict(model.named_modules())
    raise_all(
        InspectionError,
        (
            Problem(key, f"{path!r} is no module of {type(model).__name__}.", "Name one of its named_modules().")
            for key, path in given.items()
            if path is not None and path not in known
        ),
    )
    path = layers or layers_path(model)
    ids = dummy(model)
    calls, writers, norms, logits, broken = _watched(model, path, ids)
    found = norms.found(writers, hidden_of(calls[-1].output), final_norm)
    outward = model.get_output_embeddings()
    handles = Handles(
        layers=path,
        depth=len(calls),
        final_norm=final_norm or next((norm.path for norm in found if norm.role == "final"), None),
        head=head or next((name for name, module in known.items() if module is outward), None),
        writers=writers,
        norms=found,
        forms=tuple(len(one.output) if isinstance(one.output, tuple | list) else 0 for one in calls),
        stepwise=True,
        lens=True,
    )
    return _proved(model, handles, ids, calls, logits, broken)


def layers_path(model: Any) -> str:
    """Where in a model the list of its layers is: the shallowest list of as many modules as its config counts layers.

    Lists of the same length deeper down, as of experts, are inside the layers; those of other towers are outside the
    decoder.

    Raises:
        InspectionError: there is none, or several are as likely.
    """
    count = getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", None)
    lists = {name: one for name, one in model.named_modules() if isinstance(one, torch.nn.ModuleList)}
    fitting = [name for name, one in lists.items() if len(one) == count]
    inside = {id(module) for module in model.get_decoder().modules()}
    fitting = [name for name in fitting if id(lists[name]) in inside] or fitting
    shallow = [name for name in fitting if name.count(".") == min(one.count(".") for one in fitting)]
    if len(shallow) == 1:
        return shallow[0]
    known = ", ".join(f"{name!r} of {len(one)}" for name, one in lists.items() if not _NUMBER.search(name))
    which = f"both {shallow[0]!r} and {shallow[1]!r} may be its" if shallow else "no list of modules is its"
    what = f"{which} {count} layers. It has {known or 'no lists of modules'}."
    raise InspectionError(Problem(type(model).__name__, what, _SAY))


def dummy(model: Any) -> torch.Tensor:
    """A few different tokens, int64, shape (2, up to 8), on the model's device.

    They are two prompts, so that what mixes prompts up with tokens is not taken for the stream.
    """
    settings = model.config.get_text_config(decoder=True)
    room = min(DUMMY, getattr(settings, "max_position_embeddings", None) or DUMMY)
    return (torch.arange(2 * room, device=model.device) * 7 + 3).reshape(2, room) % settings.vocab_size


def _watched(
    model: Any, path: str, ids: torch.Tensor
) -> tuple[list[Call], tuple[tuple[Writer, ...], ...], Normalisers, torch.Tensor, str]:
    """One pass, on a double: what the layers were called with, what writes in each, the norms, the logits.

    Last, in words, where numbers stop being finite; "": nowhere.
    """
    stand_in = double(model)
    norms = Normalisers(stand_in, path)
    calls: list[Call] = []
    writers: list[tuple[Writer, ...]] = []
    broken: list[str] = []

    def check(states: torch.Tensor, what: str) -> None:
        if not states.isfinite().all():
            broken.append(what)

    def enters(_layer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        check(taken(args, named), "States that are not finite enter its first layer")

    def ran(own: torch.nn.Module) -> Any:
        def hook(_layer: Any, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            call = Call(args, named, output)
            if call.states.ndim != 3 or hidden_of(output).shape != call.states.shape:
                what = f"its layers hand on states of shape {tuple(call.states.shape)}, not (prompts, length, width)."
                raise InspectionError(Problem(type(model).__name__, what, "Its stream cannot be looked into."))
            check(hidden_of(output), f"States that are not finite leave layer {len(calls)}")
            calls.append(call)
            writers.append(decompose(double(own), args, named))

        return hook

    own_layers = list(model.get_submodule(path))
    layers = list(stand_in.get_submodule(path))
    layers[0].register_forward_pre_hook(enters, with_kwargs=True)
    for own, layer in zip(own_layers, layers, strict=True):
        layer.register_forward_hook(ran(own), with_kwargs=True)
    logits = run(model, stand_in, ids)
    if len(calls) != len(own_layers):
        what = f"of the {len(own_layers)} modules at {path!r}, a pass over text runs {len(calls)}."
        raise InspectionError(Problem(type(model).__name__, what, _SAY))
    check(logits.masked_fill(logits == -torch.inf, 0), "Its final norm or its head makes logits that are not finite")
    return calls, tuple(writers), norms, logits, next(iter(broken), "")


def _proved(
    model: Any, handles: Handles, ids: torch.Tensor, calls: Sequence[Call], logits: torch.Tensor, broken: str
) -> Handles:
    """The handles, with what does not hold of this model taken back and noted."""
    notes = []
    last = hidden_of(calls[-1].output)
    try:
        again, _ = hand_through(model, handles.layers, handles.forms, ids)
        chained = all(_same_memory(first.states, second.states) for first, second in pairwise(again))
        stepwise = chained and len(again) == len(calls) and all(map(Call.alike, again, calls))
        lens = close(read_out(model, handles.layers, handles.forms, last), logits)
    except (
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        IndexError,
    ):  # it cannot do without its layers
        stepwise = lens = False
    if broken:  # nothing that is proved by numbers can be, and no module is to blame for it
        notes = [f"{broken}: no sum of parts can be proved from there on, and no state be read as logits."]
        return replace(handles, stepwise=stepwise, lens=False, notes=tuple(notes))
    if not stepwise:
        notes.append("Its layers cannot be called one by one: what one is called with depends on others.")
    if not lens:
        notes.append("States cannot be read as logits: those of the last layer do not give the model's own.")
    if handles.final_norm is None:
        notes.append("No norm reads what the last layer gives.")
    opaque = [str(number) for number, own in enumerate(handles.writers) if not own]
    if opaque:
        which = "" if len(opaque) == handles.depth else f" in layers {', '.join(opaque)}"
        notes.append(
            f"What is added to the stream{which} is no plain sum of what modules give, or "
            "rounding hides by what factors: there are no parts."
        )
    for path, where in _hidden(model, handles).items():
        which = ", ".join(map(str, where))
        notes.append(f"What {path!r} adds in layers {which} is nothing, or less than rounding: there it is no part.")
    return replace(handles, stepwise=stepwise, lens=lens, notes=tuple(notes))


def _hidden(model: Any, handles: Handles) -> dict[str, list[int]]:
    """Modules that write in some layers, with those that have them too, and a sum of parts without them."""
    found: dict[str, list[int]] = {}
    paths = dict.fromkeys(writer.path for own in handles.writers for writer in own)
    for number, (own, layer) in enumerate(zip(handles.writers, model.get_submodule(handles.layers), strict=True)):
        there = dict(layer.named_modules())
        known = [f"{writer.path}." for writer in own]
        for path in paths:
            nested = any(f"{path}.".startswith(one) or one.startswith(f"{path}.") for one in known)
            if own and path in there and not nested:
                found.setdefault(path, []).append(number)
    return found


def _same_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are one, or views of all of one: what a layer gave is handed on as it is."""
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same but for rounding."""
    if one.shape != other.shape:
        return False
    error = (one.double() - other.double()).norm()
    return bool(error <= 8 * torch.finfo(other.dtype).eps * other.double().norm())
