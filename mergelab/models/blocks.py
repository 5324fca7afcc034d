"""Blocks: layers that keep the settings of their own model, in a model whose config states others.

A config states the feed-forward's size, the numbers of heads, rope and epsilon once for all layers. In one process each
layer is a module of its own, so that each can be built from its own source's config: with weights of its own shapes,
with its own epsilon and its own positions. The cache has a slot for each layer, of whatever shape.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from mergelab.errors import AssemblyError, Problem
from mergelab.models.config import expanded
from mergelab.models.hollow import hollow
from mergelab.recipes.fit import OF_A_LAYER, modern
from mergelab.recipes.plan import Plan
from mergelab.weights import Source

Own: TypeAlias = "tuple[dict[str, Any] | None, ...]"
"""For each layer the config that it is built from; None: the model's."""

ROTARY = "rotary_emb"
"""Under this name the model around the layers has its rotary embedding, and a layer its own."""

SLOPES = ("alibi", "position_bias")
"""Under these names layers are told how far apart tokens are, in a table that the model makes for its heads."""

RELATIVES = "Layers of this family cannot have settings of their own: use relatives of the host."


def own_configs(planned: Plan, written: dict[str, Any], known: dict[Source, dict[str, Any]] | None = None) -> Own:
    """What each layer is built from: the stack's config, with the settings of layers as the layer's own model has them.

    Args:
        written: config.json of the stack.
        known: as for ``stack_config``.

    Raises:
        AssemblyError: transformers refuses a config.
    """
    tables: dict[Source, dict[str, Any]] = {}
    for source in dict.fromkeys(one.source for one in planned.apart if one.source):
        theirs = expanded(planned.origins[source], {} if known is None else known)
        own = {key: value for key, value in theirs.items() if key in OF_A_LAYER and not isinstance(value, list)}
        if modern(theirs).get("rope_parameters") != modern(written).get("rope_parameters"):
            own["max_position_embeddings"] = theirs.get("max_position_embeddings")  # some kinds of rope scale by it
        tables[source] = written | own
    return tuple(tables.get(layer.home.source) for layer in planned.layers)


def settle(model: Any, own: Own, dtype: torch.dtype) -> None:
    """Put layers with settings of their own in the place of the model's; what follows the last one comes with it.

    Each such layer is taken from a model of the stack's depth that has its settings throughout, so that it has its
    index, its cache slot and its entry of every per-layer list. Call it before weights are loaded.

    Args:
        model: a causal language model without weights.

    Raises:
        AssemblyError: the layers of this family have their positions in a way that is not known here.
    """
    path = layers_path(model, len(own))
    parent = model.get_submodule(path.rpartition(".")[0])
    layers = model.get_submodule(path)
    known: list[tuple[dict[str, Any], Any]] = []
    for place, config in enumerate(own):
        if config is None:
            continue
        donor = next((other for table, other in known if table == config), None)
        if donor is None:
            settings = type(model.config).from_dict(config)
            settings.dtype = dtype
            with hollow():
                donor = type(model)(settings)
            _heed_surroundings(parent, donor.get_submodule(path.rpartition(".")[0]))
            known.append((config, donor))
        around = donor.get_submodule(path.rpartition(".")[0])
        layer = donor.get_submodule(path)[place]
        rotary = getattr(around, ROTARY, None)
        asked = inspect.signature(layer.forward).parameters
        slopes = [name for name in SLOPES if name in asked]
        counts = [one.config.num_attention_heads for one in (donor, model)] if slopes else []
        if slopes and counts[0] != counts[1] and getattr(model.config, "alibi", True):
            kind = model.config.model_type
            what = f"layers of {kind!r} share one {slopes[0]}, made for {counts[1]} heads, not {counts[0]}."
            raise AssemblyError(Problem("config", what, RELATIVES))
        if (rotary is not None) != ("position_embeddings" in asked):
            what = f"layers of {model.config.model_type!r} do not take their positions from a rotary embedding."
            raise AssemblyError(Problem("config", what, RELATIVES))
        if rotary is not None:
            layer.add_module(ROTARY, rotary)
        layer.register_forward_pre_hook(_OwnSettings(model.config, donor.config, place), with_kwargs=True)
        layers[place] = layer
        if place == len(own) - 1:
            names = list(around._modules)
            for name in names[names.index(path.rpartition(".")[2]) + 1 :]:
                if any(True for _ in around._modules[name].parameters()):  # the final norm, with its own epsilon
                    parent._modules[name] = around._modules[name]
    model.save_pretrained = NotSaved()


def _heed_surroundings(ours: Any, theirs: Any) -> None:
    """What has no weights stands beside the layers for all of them: its numbers have to agree.

    Raises:
        AssemblyError: they do not.
    """
    for name, one in ours.named_children():
        if name == ROTARY or any(True for _ in one.parameters()):
            continue
        other = vars(theirs.get_submodule(name))
        for key, value in vars(one).items():
            if isinstance(value, int | float) and other.get(key) != value:
                what = f"{name!r} serves all layers, with a setting {key} of {value}, not of {other.get(key)}."
                raise AssemblyError(Problem("config", what, RELATIVES))


@dataclass(frozen=True)
class NotSaved:
    """In the place of ``save_pretrained`` of a model that no config holds: saved, it would load as another model."""

    def __call__(self, *_: object, **__: object) -> None:
        """Refuse.

        Raises:
            AssemblyError: always.
        """
        what = "its layers have settings of their own, which no standard config holds: saved, it is another model."
        hint = "Where widening is exact, write it with ml.merge(ml.widen(recipe), folder)."
        raise AssemblyError(Problem("save_pretrained", what, hint))


def layers_path(model: Any, count: int) -> str:
    """Where in the model the list of its layers is.

    Raises:
        AssemblyError: there is no list of so many layers.
    """
    found = [
        path
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    if not found:
        what = f"{type(model).__name__} has no list of {count} layers."
        raise AssemblyError(Problem("config", what, "mergelab works on decoder-only language models."))
    return min(found, key=lambda path: path.count("."))


@dataclass(frozen=True)
class _OwnSettings:
    """Before a layer runs: its own positions, and the kind of attention that the model is set to.

    Attributes:
        host: settings of the model around it.
        own: settings that the layer was built from.
        place: its index.
    """

    host: Any
    own: Any
    place: int

    def __call__(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self.own._attn_implementation != self.host._attn_implementation:
            self.own._attn_implementation = self.host._attn_implementation  # masks come in the model's form
        if "position_embeddings" in kwargs:
            rotary = getattr(layer, ROTARY)
            hidden = args[0] if args else kwargs["hidden_states"]
            by_type = "layer_type" in inspect.signature(rotary.forward).parameters
            kind = (self.own.layer_types[self.place],) if by_type else ()
            kwargs = kwargs | {"position_embeddings": rotary(hidden, kwargs["position_ids"], *kind)}
        return args, kwargs
