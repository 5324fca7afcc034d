"""Merge methods: tensors in, tensor out.

``get(name)`` gives a ``Method``, which is one function with its declared numbers; ``apply`` runs it. To add a
method, write one function under ``@method`` in one of the modules that ``registry`` lists (or a notebook cell) and give
it a row in the table of laws.

What needs torch is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mergelab.methods.curve import gradient
from mergelab.methods.parameters import REQUIRED, Parameter, PerModel, Shared
from mergelab.methods.registry import Method, get, method, names

if TYPE_CHECKING:
    from mergelab.methods import blend, consensus, delta, layers, pairwise, spectral, sphere
    from mergelab.methods.chain import Atom, Chain, Stage
    from mergelab.methods.execution import apply, explain

__all__ = [
    "REQUIRED",
    "Atom",
    "Chain",
    "Method",
    "Parameter",
    "PerModel",
    "Shared",
    "Stage",
    "apply",
    "blend",
    "consensus",
    "delta",
    "explain",
    "get",
    "gradient",
    "layers",
    "method",
    "names",
    "pairwise",
    "spectral",
    "sphere",
]

_ROOMS = ("blend", "consensus", "delta", "layers", "pairwise", "spectral", "sphere")
_HOMES = {"Atom": "chain", "Chain": "chain", "Stage": "chain", "apply": "execution", "explain": "execution"}


def __getattr__(name: str) -> object:
    """Import what ``name`` stands for when it is first asked for (PEP 562)."""
    if name in _ROOMS:
        return importlib.import_module(f"mergelab.methods.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'mergelab.methods' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"mergelab.methods.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
