"""The named frankenmodels as recipes: graft, depth up-scaling, interleaving, repetition, and a stack by hand."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from numbers import Real
from typing import TypeAlias, cast

from mergelab import methods
from mergelab.errors import FitError, Problem, RecipeError
from mergelab.recipes.recipe import Numbers, Part, Recipe, Setting, Slice
from mergelab.weights import Checkpoint, Source, open_checkpoint

Model: TypeAlias = Checkpoint | Source | str | os.PathLike[str]

BLENDS: tuple[str, ...] = ("linear", "slerp", "task_arithmetic", "ties")

# Goliath-120B as its model card gives it: Xwin and Euryale in turn, 137 layers of 80-layer models. Every seam
# jumps back.
GOLIATH: tuple[tuple[int, int], ...] = (
    (0, 16), (8, 24), (17, 32), (25, 40), (33, 48), (41, 56), (49, 64), (57, 72), (65, 80),
)  # fmt: skip


def graft(host: Model, donor: Model, layers: tuple[int, int], *, at: int | None = None) -> Recipe:
    """The host with a run of its layers replaced by the donor's.

    As in mergekit, embeddings come with the first layer of a stack, final norm and head with the last: a run that
    takes the host's first or last layer brings the donor's along.

    Args:
        host: keeps every other layer, and gives config and tokenizer.
        donor: gives ``layers``, [start, end).
        at: host layer where the donor's run begins; None: the depth it has at home.

    Raises:
        SourceError: a model cannot be opened.
        FitError: the run does not lie within the donor, or not within the host.
    """
    ours, theirs = open_checkpoint(host), open_checkpoint(donor)
    start, end = _run(layers, "layers")
    place = start if at is None else _whole(at, "at")
    _within(theirs, start, end, "layers")
    _within(ours, place, place + end - start, "at")
    runs = [(ours, 0, place), (theirs, start, end), (ours, place + end - start, ours.layers)]
    return _passthrough(runs, base=ours)


def upscale(model: Model, drop: int) -> Recipe:
    """Depth up-scaling: layers [0, n-m) followed by [m, n), of one model with n layers, m = ``drop``.

    SOLAR 10.7B is n = 32, m = 8: 48 layers (Kim et al. 2023, arXiv 2312.15166, section 2.1). The result is worse than
    the model at first; the paper trains it on.

    Raises:
        FitError: ``drop`` leaves no layer, or drops none below zero.
    """
    whole = open_checkpoint(model)
    drop = _whole(drop, "drop")
    if not 0 <= drop < whole.layers:
        hint = f"It has {whole.layers} layers: drop 0 to {whole.layers - 1}."
        raise FitError(Problem("upscale", f"cannot drop {drop} layers of {str(whole.source)!r}.", hint))
    return _passthrough([(whole, 0, whole.layers - drop), (whole, drop, whole.layers)], base=whole)


def interleave(
    *models: Model, size: int = 16, step: int = 8, ranges: Sequence[tuple[int, int]] | None = None
) -> Recipe:
    """Blocks of the models in turn, each block ``size`` layers long and ``step`` further up than the one before.

    ``size=1, step=1`` alternates strictly: layer 0 of the first model, 1 of the second, 2 of the first ...
    With ``step < size`` blocks overlap and the stack grows deeper than its sources.
    Goliath-120B's blocks are not quite regular: ``interleave(xwin, euryale, ranges=GOLIATH)`` gives its 137 layers.

    Args:
        models: taken in turn, block by block; of equal depth.
        size, step: in layers; the last block ends with the last layer and may be shorter.
        ranges: [start, end) of every block, instead of ``size`` and ``step``.

    Raises:
        FitError: a block does not lie within its model, or the models differ in depth.
    """
    opened = [open_checkpoint(model) for model in models]
    if len(opened) < 2 or (ranges is None and not 0 < step <= size):
        what = f"needs two models or more, and 0 < step <= size; here are {len(opened)}, size {size}, step {step}."
        raise RecipeError(
            Problem("interleave", what, "Blocks further apart than they are long would leave layers out.")
        )
    depth = opened[0].layers
    if ranges is None:
        if any(model.layers != depth for model in opened):
            listed = ", ".join(f"{model.source.label} has {model.layers}" for model in opened)
            raise FitError(
                Problem("interleave", f"the models differ in depth: {listed}.", "Give the blocks with ranges=.")
            )
        last = max(0, -(-(depth - size) // step)) * step
        ranges = [(start, min(start + size, depth)) for start in range(0, last + 1, step)]
    runs = [(opened[turn % len(opened)], start, end) for turn, (start, end) in enumerate(ranges)]
    for model, start, end in runs:
        _within(model, start, end, "ranges")
    if len(runs) < 2:
        what = f"blocks of {size} layers leave one block of {depth} layers."
        raise FitError(Problem("interleave", what, f"Give size and step below {depth}."))
    return _passthrough(runs, base=opened[0])


def repeat(model: Model, layers: tuple[int, int], *, times: int = 2) -> Recipe:
    """The model with a run of layers gone through ``times`` times in a row.

    Raises:
        FitError: the run does not lie within the model, or ``times`` is below 1.
    """
    whole = open_checkpoint(model)
    start, end = _run(layers, "layers")
    _within(whole, start, end, "layers")
    times = _whole(times, "times")
    if times < 1:
        raise FitError(Problem("repeat", f"times = {times}.", "Give 1 or more; leave layers out with stack()."))
    return _passthrough([(whole, 0, end), *[(whole, start, end)] * (times - 1), (whole, end, whole.layers)], base=whole)


def stack(
    blocks: Sequence[tuple[Model, int, int]],
    *,
    base: Model,
    method: str = "passthrough",
    coefficient: float | Sequence[float] = 1.0,
    seed: int = 0,
) -> Recipe:
    """Runs of layers on top of each other, each blended with the base by a coefficient that may change with depth.

    Args:
        blocks: (model, start, end), bottom first.
        base: what is blended in, at the same source layers as the block; gives config and tokenizer.
        method: passthrough, linear, slerp, task_arithmetic or ties.
        coefficient: one number, or one for each output layer. 1 is the block's own layer, 0 the base's. It is the
            weight against ``1 - weight`` for linear, ``t`` for slerp, ``weight`` for task_arithmetic, and for ties the
            ``density``: the share of the block's changes against the base, largest first, that is kept.
            Embeddings follow the first layer of the first block, norm and head the first layer of the last block, as
            in mergekit.
        seed: of every random draw.

    Returns:
        A recipe of one method that mergekit can read. Plain passthrough where nothing is blended.

    Raises:
        RecipeError: the method has no such coefficient, or passthrough was asked to blend.
        FitError: as many coefficients as output layers are needed.
    """
    if method not in BLENDS and method != "passthrough":
        methods.get(method)
        hint = f"Choose {', '.join(BLENDS)} or passthrough."
        raise RecipeError(Problem("method", f"{method} has no single coefficient.", hint))
    ground = open_checkpoint(base)
    runs = [_block(block) for block in blocks]
    for model, start, end in runs:
        _within(model, start, end, "blocks")
    values = _coefficients(coefficient, sum(end - start for _, start, end in runs))
    others = [model for model, _, _ in runs if model.source != ground.source]
    if all(value == 1.0 for value in values) or not others:
        return _passthrough(runs, base=ground, seed=seed)
    if method == "passthrough":
        what = "passthrough cannot blend: its coefficient must be 1."
        raise RecipeError(Problem("method", what, f"Choose {', '.join(BLENDS)}."))
    slices, reached = [], 0
    for model, start, end in runs:
        curve = values[reached : reached + end - start]
        reached += end - start
        if model.source == ground.source:
            # Only the base: any relative with nothing of it, so that the whole recipe stays of one method.
            relative = next((other for other in others if other.layers >= end), None)
            if relative is None:
                what = f"layers [{start}, {end}) of the base have no counterpart in the shallower models of the stack."
                raise FitError(
                    Problem("blocks", what, "Leave every coefficient at 1, or add a model as deep as the base.")
                )
            slices.append(_blend(method, ground, relative, (start, end), [0.0] * (end - start)))
        else:
            slices.append(_blend(method, ground, model, (start, end), curve))
    return Recipe(method, tuple(slices), ground.source, seed=seed)


def _block(block: tuple[Model, int, int]) -> tuple[Checkpoint, int, int]:
    try:
        model, start, end = block
    except (TypeError, ValueError):
        raise RecipeError(Problem("blocks", f"{block!r} is no block.", "Write (model, start, end).")) from None
    return open_checkpoint(model), *_run((start, end), "blocks")


def _run(layers: tuple[int, int], where: str) -> tuple[int, int]:
    """Two whole numbers."""
    try:
        start, end = (operator.index(bound) for bound in layers)
    except (TypeError, ValueError):
        hint = "Write (start, end), two whole numbers; the end is not included."
        raise RecipeError(Problem(where, f"{layers!r} is no run of layers.", hint)) from None
    return start, end


def _whole(number: int, where: str) -> int:
    try:
        return operator.index(number)
    except TypeError:
        raise RecipeError(Problem(where, f"{number!r} is not a whole number.", "Write a whole number.")) from None


def _coefficients(given: float | Sequence[float], depth: int) -> list[float]:
    """One number for each output layer; anything that counts as a number, of numpy too."""
    one = given if isinstance(given, Real) else None
    try:
        values = [float(one)] * depth if one is not None else [_real(value) for value in cast("Sequence[float]", given)]
    except TypeError:
        what = f"{given!r} is not a number, nor a list of numbers."
        raise RecipeError(Problem("coefficient", what, "Give one, or one for each output layer.")) from None
    if len(values) != depth:
        what = f"has {len(values)} values for {depth} output layers."
        raise FitError(Problem("coefficient", what, "Give one for each layer."))
    return values


def _real(value: object) -> float:
    if not isinstance(value, Real):
        raise TypeError(value)
    return float(value)


def _blend(method: str, base: Checkpoint, model: Checkpoint, layers: tuple[int, int], curve: list[float]) -> Slice:
    amount = Setting.of(_plain(curve))
    if method == "linear":
        rest = Setting.of(_plain([1.0 - value for value in curve]))
        parts = (
            Part(base.source, layers, (("weight", rest),)),
            Part(model.source, layers, (("weight", amount),)),
        )
        return Slice(parts, numbers=(("normalize", Setting.of(value=False)),))
    if method == "slerp":
        return Slice((Part(base.source, layers), Part(model.source, layers)), numbers=(("t", amount),))
    # TIES with one model: what the coefficient can say is how much of the task vector outlives the trim.
    own: Numbers = (("weight", Setting.of(1.0)), ("density", amount)) if method == "ties" else (("weight", amount),)
    return Slice((Part(base.source, layers), Part(model.source, layers, own)))


def _plain(values: list[float]) -> float | list[float]:
    return values[0] if all(value == values[0] for value in values) else values


def _passthrough(runs: Sequence[tuple[Checkpoint, int, int]], *, base: Checkpoint, seed: int = 0) -> Recipe:
    slices = tuple(Slice((Part(model.source, (start, end)),)) for model, start, end in runs if start < end)
    return Recipe("passthrough", slices, base.source, seed=seed)


def _within(model: Checkpoint, start: int, end: int, where: str) -> None:
    if not 0 <= start < end <= model.layers:
        hint = f"Its layers are 0 to {model.layers - 1}; the end of a range is not included."
        raise FitError(Problem(where, f"[{start}, {end}) is no run of layers of {str(model.source)!r}.", hint))
