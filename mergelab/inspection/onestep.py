"""One step: every layer of a merged model put alone into the host, to find the one that does the harm.

Nothing adds up over layers here: each is given what the host's own layer is given at that place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mergelab.inspection.double import double, given, hidden_of, taken
from mergelab.inspection.grid import Chance, Grid, Measure
from mergelab.inspection.passes import Reached, run_until_reached, stream
from mergelab.inspection.seen import Batch
from mergelab.recipes.plan import Plan

ONE_STEP = Measure(
    "one_step",
    "One step",
    "of the state's length",
    "How far each layer, put alone into the host, takes the host's state from where the host's own layer takes it.",
    "mean_t |f_D(h_t) - f_H(h_t)| / |f_H(h_t)|, h the host's state in front of the layer, f with the stream it adds to",
    "One-step functional difference, as in model stitching: arXiv 2106.07682",
    reading="The layer with the largest value is the first to suspect, and no more than that: some layers' states "
    "matter more to the end than others'. One that moves the state further than leaving the host's layer out does is "
    "worse than none.",
)
ROWS = ("put in its place", "host's layer left out")


@dataclass(frozen=True)
class Place:
    """Where in the host a merged layer is put.

    Attributes:
        border: it is given what the host's layer of this number is given; the host's number of layers: what the final
            norm is given.
        instead: it takes the place of that layer; else it is one more layer in front of it.
    """

    border: int
    instead: bool = True


def places(planned: Plan) -> tuple[Place, ...]:
    """For each layer of a merged model, the place in the host: the model that gives config and tokenizer.

    In a stack as deep as the host that is the layer of the same number. In another, the host's layers that are met in
    order stay where they are; the layers between two of them take, in order, the places of the host's layers that are
    missing there, and those that are left over are one more layer each.
    """
    host, depth = planned.donor.source, planned.donor.layers
    if len(planned.layers) == depth:
        return tuple(Place(number) for number in range(depth))
    found: list[Place] = []
    reached = waiting = 0

    def settle(border: int) -> None:
        found.extend(Place(min(reached + turn, border), reached + turn < border) for turn in range(waiting))

    for layer in planned.layers:
        if layer.home.source == host and layer.home.index >= reached:
            settle(layer.home.index)
            found.append(Place(layer.home.index))
            reached, waiting = layer.home.index + 1, 0
        else:
            waiting += 1
    settle(depth)
    return tuple(found)


def one_step(
    host: Any,
    merged: Any,
    layers: tuple[str, str],
    at: Sequence[Place],
    batches: Sequence[Batch],
    counted: Callable[[Tensor], Tensor],
    stop: Callable[[], bool] = lambda: False,
) -> NDArray[np.float64]:
    """Move every layer one step, for all tokens: two forward passes a batch, one of each model.

    Args:
        host, merged: transformers models; nothing is left on them.
        layers: paths of the two models' lists of layers.
        at: the place of each merged layer.
        batches: what is read.
        counted: host states, shape (prompts, length, width) -> bool, shape (prompts, length): tokens that count.
        stop: asked before each batch; once it says True, nothing is told: a mean over some prompts is another figure.

    Returns:
        Float64, shape (2, merged layers), the rows of ``ROWS``: means over tokens. NaN in the second row where nothing
        is replaced, and wherever no token counts.
    """
    total, tokens = np.zeros((2, len(at))), np.zeros(len(at))
    for batch in batches:
        if stop():
            return np.full_like(total, np.nan)
        states = stream(host, layers[0], batch.ids)
        moved = _moved(merged, layers[1], batch.ids, [states[place.border] for place in at])
        for number, place in enumerate(at):
            before, wanted = states[place.border], states[place.border + place.instead]
            kept = counted(before)
            tokens[number] += int(kept.sum())
            total[0, number] += _apart(moved[number].to(wanted.device), wanted, kept)
            total[1, number] += _apart(before, wanted, kept) if place.instead else np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / tokens)


def _apart(ours: Tensor, theirs: Tensor, kept: Tensor) -> float:
    """Sum over the tokens that count of |ours - theirs| / |theirs|."""
    ours, theirs = ours[kept].double(), theirs[kept].double()
    size = theirs.norm(dim=-1)
    return float(((ours - theirs).norm(dim=-1) / size)[size > 0].sum())


def _moved(model: Any, path: str, ids: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    """What each layer makes of a state that it is given in place of its own."""
    stand_in = double(model)
    made: list[Tensor] = []

    def leaves(_layer: Any, _args: tuple[Any, ...], output: Any) -> None:
        made.append(hidden_of(output))
        if len(made) == len(states):
            raise Reached

    for layer, state in zip(stand_in.get_submodule(path), states, strict=True):
        layer.register_forward_pre_hook(_handing(state.to(model.device)), with_kwargs=True)
        layer.register_forward_hook(leaves)
    run_until_reached(model, stand_in, ids.to(model.device))
    return made


def _handing(state: Tensor) -> Callable[..., Any]:
    """A hook that puts a state in the place of the one that a layer is called with."""
    return lambda _, args, named: given(state.to(taken(args, named).dtype), args, named)


def as_grid(values: NDArray[np.float64], planned: Plan, at: Sequence[Place]) -> Grid:
    """The figures with their names."""
    more = [str(number) for number, place in enumerate(at) if not place.instead]
    zero = np.array([[0.0], [np.nan]])
    note = f"Host: {planned.donor.source.label}. A token's state includes the stream that a layer adds to."
    if more:
        note += f" One more layer each, compared with the state that is handed through: {', '.join(more)}."
    names = tuple(map(str, range(len(at))))
    chance = Chance(zero, zero, "the same layer gives exactly 0")
    return Grid(ONE_STEP, values, ("case", "layer"), ROWS, names, f"in {planned.donor.source.label}", chance, note)
