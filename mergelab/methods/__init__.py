"""Merge methods: tensors in, tensor out.

``get(name)`` gives a ``Method``, which is one function with its declared numbers; ``apply`` runs it. To add a
method, write one function under ``@method`` in one of the modules below (or a notebook cell) and give it a row in
the table of laws.
"""

# In the order of names(), which is that of the documentation.
# isort: off
from mergelab.methods import blend
from mergelab.methods import sphere
from mergelab.methods import delta
from mergelab.methods import layers
from mergelab.methods import consensus
from mergelab.methods import pairwise
from mergelab.methods import spectral

# isort: on
from mergelab.methods.chain import Atom, Chain, Stage
from mergelab.methods.curve import gradient
from mergelab.methods.execution import apply, explain
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
