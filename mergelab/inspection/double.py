"""Double: a stand-in for a live model, to hang hooks on and to exchange modules in. The model itself is left as it is.

A double shares every parameter and every buffer; its modules are copies, thin as a few dicts each.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch

_OWN = (
    "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set",
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
)  # fmt: skip


def double(module: Any) -> Any:
    """A double of a module and of all modules inside it, in evaluation mode."""
    twins: dict[int, Any] = {}
    for own in module.modules():
        twins[id(own)] = object.__new__(type(own))
    for own in module.modules():
        twin = twins[id(own)]
        kept = {name: _rebound(value, twins) for name, value in vars(own).items()}
        kept |= {name: kept[name].copy() for name in _OWN if name in kept}
        kept["_modules"] = {name: child and twins[id(child)] for name, child in own._modules.items()}
        twin.__dict__.update(kept, training=False)
    return twins[id(module)]


def exchange(module: Any, path: str, other: Any) -> None:
    """Put another module into the place ``path`` of a double."""
    parent, _, name = path.rpartition(".")
    module.get_submodule(parent)._modules[name] = other


def hidden_of(output: Any) -> torch.Tensor:
    """The hidden state among what a layer returns: the tensor itself, or the first of several things."""
    found: torch.Tensor = output[0] if isinstance(output, tuple | list) else output
    return found


def taken(args: tuple[Any, ...], named: Mapping[str, Any]) -> torch.Tensor:
    """The hidden state among what a layer is called with."""
    found: torch.Tensor = args[0] if args else named["hidden_states"]
    return found


def given(
    hidden: torch.Tensor, args: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same call with another hidden state."""
    return ((hidden, *args[1:]), dict(named)) if args else (args, {**named, "hidden_states": hidden})


def _rebound(value: Any, twins: Mapping[int, Any]) -> Any:
    """What a module has set for itself may be bound to it: a method put in the place of its forward, for one."""
    if isinstance(value, MethodType) and id(value.__self__) in twins:
        return MethodType(value.__func__, twins[id(value.__self__)])
    if isinstance(value, functools.partial) and value.args and id(value.args[0]) in twins:
        bound = functools.partial(value.func, twins[id(value.args[0])], *value.args[1:], **value.keywords)
        return functools.update_wrapper(bound, value)
    return value
