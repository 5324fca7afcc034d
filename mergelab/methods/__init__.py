"""Merge methods: tensors in, tensor out.

``get(name)`` gives a ``Method``, which is one function with its declared numbers; ``apply`` runs it. To add a
method, write one function under ``@method`` in ``blend`` or ``delta`` (or a notebook cell) and give it a row
in the table of laws.
"""

from mergelab.methods import blend, delta  # enter the methods, in this order
from mergelab.methods.chain import Atom, Chain, Stage
from mergelab.methods.curve import gradient
from mergelab.methods.execution import apply, stages
from mergelab.methods.parameters import REQUIRED, Parameter, PerModel, Shared
from mergelab.methods.registry import Method, get, method, names

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
    "delta",
    "get",
    "gradient",
    "method",
    "names",
    "stages",
]
