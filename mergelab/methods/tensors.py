"""The shapes of what methods take and give: one ``*shape`` per call, for every input and the result."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Float64
from torch import Tensor

Array = Float[Tensor, "*shape"]
"""One tensor of a model, of any shape, in the working precision (float32, or float64 as a source or the result)."""

Arrays = Sequence[Array]
"""The same tensor out of several models, ordered as in the recipe. The base is not among them."""

Deltas = list[Array]
"""Task vectors: each model minus the base, in the order of the models."""

Vectors = Float[Tensor, "vectors size"]
"""A tensor read as vectors, one a row, for methods that know lengths and angles."""

PerVector = Float64[Tensor, " vectors"]
"""One number for each of those vectors."""
