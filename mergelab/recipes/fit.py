"""Do these sources make one model? Every reason why they do not, from headers and configs alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from mergelab import methods
from mergelab.recipes.check import is_whole, models_of
from mergelab.recipes.recipe import Part, Recipe
from mergelab.recipes.report import Finding
from mergelab.recipes.step import Origin
from mergelab.weights import FLOATS, Source

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
# Sizes that transformers derives where a config has null for them: then only the shapes speak.
DERIVED = ("head_dim", "n_inner", "num_key_value_heads")

WORDS: Mapping[str, str] = {
    "intermediate_size": "feed-forward size", "n_inner": "feed-forward size", "ffn_dim": "feed-forward size",
    "num_attention_heads": "attention heads", "n_head": "attention heads",
    "num_key_value_heads": "key/value heads", "head_dim": "head size",
    "rope_parameters.rope_theta": "rope theta", "rope_parameters.rope_type": "rope scaling",
    "rope_parameters.factor": "rope scaling factor",
    "rms_norm_eps": "norm epsilon", "layer_norm_eps": "norm epsilon", "layer_norm_epsilon": "norm epsilon",
    "norm_eps": "norm epsilon", "norm_epsilon": "norm epsilon",
    "hidden_act": "activation", "activation_function": "activation", "hidden_activation": "activation",
    "sliding_window": "sliding window", "use_sliding_window": "sliding window in use",
    "num_local_experts": "experts", "num_experts": "experts",
    "attention_bias": "bias of attention", "mlp_bias": "bias of feed-forward",
}  # fmt: skip

# What a tensor of another shape says, by its name; the first that matches.
SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("feed-forward size", re.compile(r"(^|\.)(mlp|feed_forward|ffn|fc[12]|block_sparse_moe|experts)(\.|$)")),
    ("key/value heads", re.compile(r"(^|\.)(k_proj|v_proj|key|value)(\.|$)")),
    ("attention heads", re.compile(r"(^|\.)(q_proj|o_proj|query|query_key_value|attn|self_attn|attention)(\.|$)")),
)

ALIGN = "Add 'tokenizer: {source: union}' to the recipe to bring the rows of the same tokens together."
LEAVE_OUT = "A stack has one shape and one set of settings: leave them out, or use a relative of the host."
ONE_SHAPE = "Models that are blended have the same tensors in the same shapes: leave it out, or use a relative."


def unfit(recipe: Recipe, origins: Mapping[Source, Origin], say: Callable[[Source], str]) -> Iterator[Finding]:
    """Every reason why the sources of a recipe cannot make one model, with the figures that clash: errors.

    Where a model is blended into layers of another, settings that leave every shape alone are no such reason: its
    weights run with the host's, as in mergekit. That is a warning.

    Args:
        recipe: well formed (``check`` has nothing to say).
        origins: what its slices and its base name, opened.
        say: how a source is called in the findings.
    """
    donor = origins[recipe.donor]
    for source in recipe.named:
        if (quantised := _quantised(origins[source])) is not None:
            remedy = "Load it with transformers, dequantise it, save it in bfloat16, and merge that."
            yield Finding("error", say(source), "quantised weights", quantised, remedy)
    for index, piece in enumerate(recipe.slices):
        models, base = models_of(recipe, piece, methods.get(recipe.method_of(piece)))
        parts = [part for part in (base, *models) if part]
        lengths = {say(part.source): origins[part.source].layers for part in parts if part.layers is None}
        if len(dict.fromkeys(lengths.values())) > 1:
            listed = ", ".join(f"{name} has {count}" for name, count in lengths.items())
            yield Finding("error", "models", "number of layers", listed, "Choose runs of layers with slices:.")
        for part in parts:
            origin = origins[part.source]
            # A layer has its place from the first part. Whole models keep their places, so the host's are among them.
            blended = part is not parts[0] or is_whole(recipe)
            if part.layers and part.layers[1] > origin.layers:
                where = f"{recipe.place(f'slices[{index}]')}, source {say(part.source)}"
                remedy = f"Layers are 0 to {origin.layers - 1}; the end of a range is not included."
                asked = f"asks for layers {list(part.layers)}, it has {origin.layers}"
                yield Finding("error", where, "layer range", asked, remedy)
                continue
            about = f"{say(part.source)} does not fit {say(recipe.donor)}"
            for what, evidence, only in _clashes(part, origin, donor):
                if blended and only == "setting":
                    place = f"{say(part.source)} blended into {say(recipe.donor)}"
                    remedy = (
                        f"Its weights will run with the setting of {say(recipe.donor)}, not with the one that they "
                        "were trained with: use models that agree, or compare the answers with those of each."
                    )
                    yield Finding("warning", place, what, evidence, remedy)
                elif blended:
                    yield Finding("error", about, what, evidence, ONE_SHAPE)
                else:
                    yield Finding("error", about, what, evidence, LEAVE_OUT, only is not None)
            for evidence in _outside(recipe, index, origin, donor):
                yield Finding("error", about, "vocabulary", evidence, ALIGN)
        lacking = [_lacking(part, origins[part.source], donor) for part in parts]
        # What only some of them lack is told where their tensors meet, in the plan.
        nowhere = [name for name in lacking[0] if all(name in names for names in lacking[1:])]
        if nowhere:
            about = f"{say(parts[0].source)} does not fit {say(recipe.donor)}"
            yield Finding("error", about, "missing tensors", _few(nowhere), LEAVE_OUT)


def _clashes(part: Part, theirs: Origin, ours: Origin) -> Iterator[tuple[str, str, Literal["setting", "shape"] | None]]:
    """What differs, theirs against ours.

    With it, where a config states it once for all layers, whether it is a setting that shows in no shape, or shows in
    one. None: no layer of theirs fits, whatever a config states.
    """
    if theirs.config["model_type"] != ours.config["model_type"]:
        yield "kind of model", f"{theirs.config['model_type']} against {ours.config['model_type']}", None
    if theirs.width != ours.width:
        yield "width", f"{theirs.width:,} against {ours.width:,}", None
        return
    if theirs.anatomy.prefix != ours.anatomy.prefix:
        yield "names of layers", f"begin with {theirs.anatomy.prefix!r} against {ours.anatomy.prefix!r}", None
    settings = dict(_settings(modern(theirs.config), modern(ours.config)))
    shapes = dict(_shapes(part, theirs, ours))
    for what, evidence in settings.items():
        yield what, evidence, "shape" if what in shapes else "setting"
    for what, evidence in shapes.items():
        if what not in settings:
            yield what, evidence, "shape"
    if ours.config.get("scale_attn_by_inverse_layer_idx") and part.layers not in (None, (0, ours.layers)):
        yield "scale_attn_by_inverse_layer_idx", "ties each layer to its depth", None


def _outside(recipe: Recipe, index: int, theirs: Origin, ours: Origin) -> Iterator[str]:
    """Embeddings, and what else the first and the last slice bring along, that differ in shape from the host's."""
    names = (ours.anatomy.before if index == 0 else ()) + (
        ours.anatomy.after if index == len(recipe.slices) - 1 else ()
    )
    for name in names if theirs.width == ours.width else ():
        spec, host = theirs.specs.get(name), ours.specs[name]
        aligned = recipe.vocabulary is not None and spec is not None and spec.shape[1:] == host.shape[1:]
        if spec is not None and spec.shape != host.shape and not aligned:
            yield f"{name} {list(spec.shape)} against {list(host.shape)}"


def _quantised(origin: Origin) -> str | None:
    """What shows that weights are stored as codes rather than as numbers, or None."""
    table = origin.config.get("quantization_config")
    if table is not None:
        kind = table.get("quant_method") if isinstance(table, dict) else None
        return f"its config has a quantization_config{f' ({kind})' if isinstance(kind, str) else ''}"
    for name, spec in origin.specs.items():
        if "weight" in name.rpartition(".")[2] and spec.dtype not in FLOATS:
            return f"{name} is {spec.dtype}"
    return None


def _shapes(part: Part, theirs: Origin, ours: Origin) -> Iterator[tuple[str, str]]:
    """What the tensors of the layers say that differ in shape from the host's of the same name, or are not there."""
    known: dict[str, tuple[int, ...]] = {}
    for index, stems in enumerate(ours.anatomy.layers):
        for stem in stems:
            known.setdefault(stem, ours.specs[ours.anatomy.name(index, stem)].shape)
    clash: dict[str, dict[str, str]] = {}
    for index in range(*(part.layers or (0, theirs.layers))):
        for stem in theirs.anatomy.layers[index]:
            shape = theirs.specs[theirs.anatomy.name(index, stem)].shape
            if stem not in known:
                clash.setdefault("tensors of its own", {}).setdefault(stem, f"{stem} {list(shape)} against none")
            elif shape != known[stem]:
                what = next((what for what, pattern in SHAPES if pattern.search(stem)), "shapes")
                clash.setdefault(what, {}).setdefault(stem, f"{stem} {list(shape)} against {list(known[stem])}")
    for what, said in clash.items():
        yield what, _few(list(said.values()))


def _lacking(part: Part, theirs: Origin, ours: Origin) -> list[str]:
    """Tensors that every layer of the host has, and some layer of theirs has not."""
    usual = [stem for stem in ours.anatomy.layers[0] if all(stem in stems for stems in ours.anatomy.layers)]
    chosen = theirs.anatomy.layers[slice(*part.layers)] if part.layers else theirs.anatomy.layers
    return [stem for stem in usual if any(stem not in stems for stems in chosen)]


def _few(said: list[str]) -> str:
    """The first three, and how many more there are."""
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return f"{', '.join(said[:3])}{more}"


def modern(config: Mapping[str, Any]) -> dict[str, Any]:
    """Configs of before transformers 5 keep rope settings at the top: bring them to where today's have them."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if "rope_theta" in config:
        rope = {"rope_theta": config["rope_theta"], **rope}
    if isinstance(rope, dict) and not any(isinstance(value, dict) for value in rope.values()):
        # No scaling is a kind of rope as well. Its name was "type" before it was "rope_type".
        rope = {"rope_type": rope.get("type", "default"), **{key: rope[key] for key in rope if key != "type"}}
    rest = {key: value for key, value in config.items() if key not in ("rope_theta", "rope_scaling", "rope_parameters")}
    return rest | {"rope_parameters": rope} if isinstance(rope, dict) else rest


def _settings(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Settings that both configs state, and state differently: what they are called, and the two values."""
    for key, mine in ours.items():
        if key not in theirs or key in BOOKKEEPING or key.endswith(BOOKKEEPING_ENDINGS):
            continue
        other = theirs[key]
        if key in DERIVED and None in (mine, other):
            continue
        if isinstance(mine, dict) and isinstance(other, dict):
            yield from _settings(other, mine, f"{path}{key}.")
        elif mine != other and not (isinstance(mine, list) and isinstance(other, list)):
            yield WORDS.get(f"{path}{key}", f"{path}{key}"), f"{_figure(other)} against {_figure(mine)}"


def _figure(value: object) -> str:
    """A setting as a person would write it: 500,000 rather than 500000.0."""
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
