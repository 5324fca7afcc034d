"""Outline: what the output of each layer of a live model depends on, so that two models can be compared bottom up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mergelab.models.blocks import Own
from mergelab.models.config import per_layer
from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Home, Key
from mergelab.weights import layer_count_key

_Tensors = tuple[tuple[str, Key], ...]


@dataclass(frozen=True)
class Outline:
    """What a model computes with, in the order in which it does.

    Attributes:
        settings: of the model, all that do not belong to single layers.
        before: what stands in front of the layers, tensors by name.
        layers: for each layer the source layer whose place it takes, its entries of lists, the settings that it
            has to itself, and its tensors.
        after: what stands behind the layers.
    """

    settings: Mapping[str, Any]
    before: _Tensors
    layers: tuple[tuple[Home, tuple[Any, ...], Mapping[str, Any], _Tensors], ...]
    after: _Tensors

    def first_change(self, now: Outline) -> int:
        """The first layer whose output may differ in ``now``: 0 where something in front of the layers did, the number
        of its layers where only what is behind them did, one more where nothing did.
        """
        if self == now:
            return len(now.layers) + 1
        if (self.settings, self.before) != (now.settings, now.before):
            return 0
        pairs = enumerate(zip(self.layers, now.layers, strict=False))
        return next((place for place, (old, new) in pairs if old != new), min(len(self.layers), len(now.layers)))


def outline(planned: Plan, config: Mapping[str, Any], own: Own) -> Outline:
    """The outline of a plan whose model has that config, and whose layers have theirs, as ``own_configs`` says."""
    prefix = planned.origins[planned.recipe.slices[0].parts[0].source].anatomy.prefix
    sides: tuple[list[tuple[str, Key]], list[tuple[str, Key]]] = ([], [])
    stacked: list[list[tuple[str, Key]]] = [[] for _ in planned.layers]
    reached = False
    for step in planned.steps:
        place, _, stem = step.name.removeprefix(prefix).partition(".")
        if step.name.startswith(prefix) and place.isdecimal():
            stacked[int(place)].append((stem, step.key))
            reached = True
        else:
            tied = config.get("tie_word_embeddings") and len(step.shape) > 1  # such a head stands in front as well
            sides[reached and not tied].append((step.name, step.key))
    lists = per_layer(config)
    rest = {name: value for name, value in config.items() if name not in (*lists, layer_count_key(config))}
    apart = [{name: value for name, value in (one or {}).items() if config.get(name) != value} for one in own]
    layers = tuple(
        (layer.home, tuple((name, config[name][place]) for name in lists), apart[place], tuple(tensors))
        for place, (layer, tensors) in enumerate(zip(planned.layers, stacked, strict=True))
    )
    return Outline(rest, tuple(sides[0]), layers, tuple(sides[1]))
