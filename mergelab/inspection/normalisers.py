"""Normalisers: the norms of a model, found by what they do, and what each is for, by what reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from mergelab.inspection.parts import Writer, is_plain, role_of

_SIZES = (4.0, 512.0)  # largest entry of what a module is tried with: it is a norm if both give the same
_CLOSE = 0.02  # relative: what epsilon may come to


class Norm(NamedTuple):
    """A normalisation.

    Attributes:
        path: where in the model it is.
        role: ``"before attention"``, ``"after feed-forward"``, ``"query"``, ``"key"``, ``"final"`` ...; its own name
            where nothing better is known.
        layer: its layer, from 0; None: outside the layers.
    """

    path: str
    role: str
    layer: int | None


class Normalisers:
    """Listens to one pass of a double of a model, and takes down its norms.

    Attributes:
        states: what each norm read, by path, in order of execution.
    """

    def __init__(self, stand_in: Any, layers: str) -> None:
        """Hang hooks on the double; ``layers`` is the path of its layers."""
        self.states: dict[str, torch.Tensor] = {}
        self._layers = f"{layers}."
        self._made: dict[str, torch.Tensor] = {}
        self._readers: dict[str, list[str]] = {}
        for name, module in stand_in.named_modules():
            if is_plain(module):
                module.register_forward_hook(self._norm(name), with_kwargs=True)
            if name.startswith(self._layers) and name.count(".") > self._layers.count("."):
                module.register_forward_pre_hook(self._read(name), with_kwargs=True)

    def found(self, writers: tuple[tuple[Writer, ...], ...], last: torch.Tensor, final: str | None) -> tuple[Norm, ...]:
        """The norms in order of execution.

        Args:
            writers: of each layer.
            last: what the last layer returned.
            final: path of the final norm, where it is known; None: the one outside the layers that reads ``last``.
        """
        outside = [name for name in self.states if not name.startswith(self._layers)]
        exact = [name for name in outside if self.states[name] is last]
        alike = [name for name in outside if _equal(self.states[name], last)]
        final = final or next(iter(exact or alike), None)
        norms = []
        for name in self.states:
            number, _, inner = name.removeprefix(self._layers).partition(".")
            if name in outside:
                norms.append(Norm(name, "final" if name == final else _last(name), None))
            else:
                norms.append(Norm(name, self._role(name, inner, writers[int(number)]), int(number)))
        return tuple(norms)

    def _role(self, name: str, inner: str, writers: tuple[Writer, ...]) -> str:
        writer = next((one for one in writers if one.path == inner), None)
        if writer is not None:
            return f"after {writer.role}"
        own = _last(name)
        if "." in inner:
            kinds = {"qk": "query and key", "kv": "key and value", "k": "key", "q": "query"}
            return next((kind for start, kind in kinds.items() if own.startswith(start)), own)
        readers = [role_of(one) for one in self._readers.get(name, ())]
        return f"before {' and '.join(dict.fromkeys(readers))}" if readers else own

    def _norm(self, name: str) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if normalises(module, args, named, output):
                self.states[name], self._made[name] = args[0], output

        return hook

    def _read(self, reader: str) -> Callable[..., None]:
        """Before a module runs: is one of the things it reads what a norm of this layer made?"""
        inner = reader.removeprefix(self._layers).partition(".")[2]

        def hook(_module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            for norm, made in self._made.items():
                if any(one is made for one in (*args, *named.values())):
                    self._readers.setdefault(norm, []).append(inner)

        return hook


def normalises(module: Any, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> bool:
    """Whether a module is a norm: its output has its input's shape, and does not change with the input's size."""
    if not args or not isinstance(args[0], torch.Tensor) or not isinstance(output, torch.Tensor):
        return False
    read, rest = args[0], args[1:]
    if not read.is_floating_point() or read.shape != output.shape or not read.any():
        return False
    unit = read.double() / read.abs().amax().double()
    one, other = (module.forward((unit * size).to(read.dtype), *rest, **named).double() for size in _SIZES)
    return bool(one.any()) and bool((one - other).norm() <= _CLOSE * one.norm())


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _last(path: str) -> str:
    return path.rpartition(".")[2]
