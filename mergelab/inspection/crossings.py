"""Crossings: the states that cross a border of a merged model, held against those that its layer reads at home."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mergelab.errors import InspectionError, Problem
from mergelab.inspection.distance import Figure, Floats, dimensions, rms_normalised
from mergelab.inspection.handles import Handles
from mergelab.inspection.sinks import sinks
from mergelab.inspection.tokens import Bools
from mergelab.recipes.plan import Plan

FEWEST = 20  # tokens that have to count


@dataclass(frozen=True, eq=False)
class Crossing:
    """What crosses one border, against home.

    Attributes:
        border: it is in front of the merged layer of this number; the number of layers: in front of the final norm.
        home: where that layer reads at home: ``"pirate 2"``; for the final norm the model's number of layers.
        norm: the norm in front of that layer, by its name in the model; "": none was found. Some families have norms
            behind their parts only (OLMo 2): their layers read the length of states too, which ``norm_ratio`` tells;
            figures of what is read are then of the state divided by its root mean square.
        figures: by the names of ``distance.MEASURES``.
    """

    border: int
    home: str
    norm: str
    figures: Mapping[str, Figure]


def enough(tokens: int, why: str) -> None:
    """See that enough tokens count.

    Raises:
        InspectionError: fewer than FEWEST do; ``why`` says why the others do not.
    """
    if tokens < FEWEST:
        hint = f"Give more or longer ones: {FEWEST} tokens at least."
        raise InspectionError(Problem("prompts", f"{tokens} tokens count: {why}.", hint))


def counted_in(states: Iterable[Tensor], tokens: int) -> Bools:
    """Tokens that are finite and no sinks wherever they were seen, in any of the models; shape (tokens,).

    Args:
        states: at borders of models, each of shape (tokens, width).
        tokens: how many there are.

    Raises:
        InspectionError: fewer than FEWEST are left.
    """
    counted = np.ones(tokens, dtype=np.bool_)
    for one in states:
        norms = np.linalg.norm(floats(one), axis=1)
        counted &= np.isfinite(norms) & ~sinks(norms, np.isfinite(norms))
    enough(int(counted.sum()), "the others are sinks, or no finite numbers")
    return counted


def norm_before(handles: Handles, border: int) -> str:
    """The norm that a layer, or the head, reads through first, by its path; "": none is known."""
    if border == handles.depth:
        return handles.final_norm or ""
    inside = (norm.path for norm in handles.norms if norm.layer == border and norm.role.startswith("before"))
    return next(inside, "")


def as_read(model: Any, norm: str, states: Tensor) -> Floats:
    """States as a layer reads them: through the norm in front of it, else divided by their root mean square.

    Args:
        model: home of the layer.
        norm: as ``norm_before`` gives it.
        states: shape (tokens, width), in the model's dtype.
    """
    if not norm:
        return rms_normalised(floats(states))
    with torch.no_grad():
        return floats(model.get_submodule(norm)(states.to(model.device)))


def floats(states: Tensor) -> Floats:
    """States as float64 on the CPU, the same shape."""
    found: Floats = states.cpu().double().numpy()
    return found


def how_taken(counted: Bools, planned: Plan, crossings: Mapping[int, Crossing]) -> str:
    """How the figures were taken, in words.

    Args:
        counted: which of the tokens that were read count, shape (tokens,).
        planned: of the merged model.
        crossings: those that were measured, by border.
    """
    width, tokens = planned.donor.width, int(counted.sum())
    narrow = dimensions(tokens, width)
    told = [f"{tokens} tokens, without the first of each prompt"]
    lost = len(counted) - tokens
    told[0] += f" and {lost} sink{'s' * (lost != 1)}." if lost else "."
    if narrow < width:
        told.append(f"Covariances in {narrow} directions of {width}, drawn at random: the tokens do not tell more.")
    bare = [str(border) for border, one in crossings.items() if not one.norm]
    if bare:
        where = f"border{'s' * (len(bare) > 1)} {', '.join(bare)}"
        told.append(
            f"No norm was found in front of what reads at {where}: there the length of states is read too, and figures "
            "of what is read are of directions alone (states divided by their root mean square)."
        )
    if any(layer.base or len(layer.parts) > 1 for layer in planned.layers):
        told.append("Home of a blend is the model whose place it takes: the base, else the first.")
    return " ".join(told)
