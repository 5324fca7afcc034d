"""Will these sources fit? Answered from headers and configs alone, before anything heavy starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mergelab.errors import Problem
from mergelab.methods import Method
from mergelab.recipes.check import models_of
from mergelab.recipes.recipe import Part, Recipe
from mergelab.weights import Checkpoint, Source

# Settings that say nothing of what a layer computes, or that the shapes say better. Every other setting that two
# configs both state must agree, whatever its name: an unknown number is more likely to matter than not.
BOOKKEEPING = frozenset((
    "_name_or_path", "architectures", "transformers_version", "torch_dtype", "dtype", "use_cache", "vocab_size",
    "initializer_range", "max_position_embeddings", "n_positions", "n_ctx", "pretraining_tp", "tie_word_embeddings",
    "num_hidden_layers", "n_layer", "num_layers", "n_layers", "layer_types", "max_window_layers", "auto_map",
    "task_specific_params", "id2label", "label2id", "return_dict", "output_attentions", "output_hidden_states",
    "bos_token_id", "eos_token_id", "pad_token_id", "unsloth_version", "unsloth_fixed", "_attn_implementation_autoset",
    "hidden_size", "n_embd", "quantization_config", "router_aux_loss_coef", "output_router_logits",
    "chunk_size_feed_forward",
    "use_bidirectional_attention", "gradient_checkpointing", "problem_type", "is_decoder", "model_type",
    "tokenizer_class", "finetuning_task", "torchscript", "use_bfloat16", "do_sample", "temperature", "top_k", "top_p",
    "max_length", "repetition_penalty", "prefix",
))  # fmt: skip
BOOKKEEPING_ENDINGS = ("dropout", "pdrop", "dropout_prob", "_token_id")


def preflight(recipe: Recipe, method: Method, checkpoints: Mapping[Source, Checkpoint]) -> Iterator[Problem]:
    """Every reason why these sources cannot make one model, each said once, with the figures that clash."""
    donor = checkpoints[recipe.donor]
    said: dict[tuple[str, str], None] = {}
    for index, piece in enumerate(recipe.slices):
        models, base = models_of(recipe, piece, method)
        parts = [part for part in (base, *models) if part]
        lengths = {str(part.source): checkpoints[part.source].layers for part in parts if part.layers is None}
        if len(dict.fromkeys(lengths.values())) > 1:
            listed = ", ".join(f"{name} has {count}" for name, count in lengths.items())
            yield Problem(
                "models",
                f"they differ in their number of layers: {listed}.",
                "Choose runs of layers with slices:.",
            )
        for part in parts:
            checkpoint = checkpoints[part.source]
            if part.layers and part.layers[1] > checkpoint.layers:
                where = f"slices[{index}], source {str(part.source)!r}"
                hint = f"Layers are 0 to {checkpoint.layers - 1}; the end of a range is not included."
                yield Problem(where, f"asks for layers {list(part.layers)}, it has {checkpoint.layers}.", hint)
                continue
            reasons = list(_reasons(recipe, index, part, checkpoint, donor))
            if reasons and (str(part.source), "; ".join(reasons)) not in said:
                said[str(part.source), "; ".join(reasons)] = None
                each = "".join(f"\n    {reason}" for reason in reasons)
                yield Problem(
                    f"source {str(part.source)!r} does not fit {str(recipe.donor)!r}",
                    f"{reasons[0]}." if len(reasons) == 1 else f"{each}\n   ",
                    "A stack has one shape and one set of settings: leave them out, or use a relative of the host.",
                )


def _reasons(recipe: Recipe, index: int, part: Part, theirs: Checkpoint, ours: Checkpoint) -> Iterator[str]:
    """Why a part cannot join, theirs against ours."""
    if theirs.config["model_type"] != ours.config["model_type"]:
        yield f"model_type {theirs.config['model_type']} against {ours.config['model_type']}"
    if theirs.width != ours.width:
        yield f"width {theirs.width} against {ours.width}"
        return
    if theirs.anatomy.prefix != ours.anatomy.prefix:
        yield f"names of layers begin with {theirs.anatomy.prefix!r} against {ours.anatomy.prefix!r}"
    yield from _shapes(part, theirs, ours)
    if index == 0:
        yield from _outside("before", theirs, ours)
    if index == len(recipe.slices) - 1:
        yield from _outside("after", theirs, ours)
    yield from _settings(_modern(theirs.config), _modern(ours.config))
    if ours.config.get("scale_attn_by_inverse_layer_idx") and part.layers not in (None, (0, ours.layers)):
        yield "scale_attn_by_inverse_layer_idx ties each layer to its depth"


def _shapes(part: Part, theirs: Checkpoint, ours: Checkpoint) -> Iterator[str]:
    """Tensors of the layers that differ in shape from the host's tensors of the same name, each name once."""
    known: dict[str, tuple[int, ...]] = {}
    for index, stems in enumerate(ours.anatomy.layers):
        for stem in stems:
            known.setdefault(stem, ours.specs[ours.anatomy.name(index, stem)].shape)
    clash: dict[str, str] = {}
    for index in range(*(part.layers or (0, theirs.layers))):
        for stem in theirs.anatomy.layers[index]:
            shape = theirs.specs[theirs.anatomy.name(index, stem)].shape
            if stem in known and shape != known[stem]:
                clash.setdefault(stem, f"{stem} {list(shape)} against {list(known[stem])}")
            elif stem not in known and ours.anatomy.layers:
                clash.setdefault(stem, f"{stem} {list(shape)} against none")
    yield from clash.values()


def _outside(side: str, theirs: Checkpoint, ours: Checkpoint) -> Iterator[str]:
    for name in getattr(ours.anatomy, side):
        spec = theirs.specs.get(name)
        if spec is not None and spec.shape != ours.specs[name].shape:
            yield f"{name} {list(spec.shape)} against {list(ours.specs[name].shape)}"


def _modern(config: Mapping[str, Any]) -> dict[str, Any]:
    """Configs of before transformers 5 keep rope settings at the top: bring them to where today's have them."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if "rope_theta" in config:
        rope = {"rope_theta": config["rope_theta"], **rope}
    if isinstance(rope, dict) and not any(isinstance(value, dict) for value in rope.values()):
        # No scaling is a kind of rope as well. Its name was "type" before it was "rope_type".
        rope = {"rope_type": rope.get("type", "default"), **{key: rope[key] for key in rope if key != "type"}}
    rest = {key: value for key, value in config.items() if key not in ("rope_theta", "rope_scaling", "rope_parameters")}
    return rest | {"rope_parameters": rope} if isinstance(rope, dict) else rest


def _settings(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Settings that both configs state, and state differently."""
    for key, mine in ours.items():
        if key not in theirs or key in BOOKKEEPING or key.endswith(BOOKKEEPING_ENDINGS):
            continue
        other = theirs[key]
        if isinstance(mine, dict) and isinstance(other, dict):
            yield from _settings(other, mine, f"{path}{key}.")
        elif mine != other and not (isinstance(mine, list) and isinstance(other, list)):
            yield f"{path}{key} {other} against {mine}"
