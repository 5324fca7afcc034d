"""Do these sources make one model? Every reason why they do not, from headers and configs alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from mergelab import methods
from mergelab.recipes.check import is_whole, models_of
from mergelab.recipes.recipe import Part, Recipe
from mergelab.recipes.report import Finding
from mergelab.recipes.step import Origin
from mergelab.recipes.widths import Widths, common, widths
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

# Settings that only the layers themselves and their positions read: in one process each layer can have its own. Others
# are read by the model around them (masks of a sliding window, scales of embeddings and logits), or by who knows what.
OF_A_LAYER = frozenset((
    "intermediate_size", "n_inner", "ffn_dim", "num_attention_heads", "n_head", "num_key_value_heads", "head_dim",
    "rope_parameters", "partial_rotary_factor", "rotary_pct", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon",
    "norm_eps", "norm_epsilon", "hidden_act", "activation_function", "hidden_activation", "attention_bias", "mlp_bias",
    "num_local_experts", "num_experts", "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob",
    "query_pre_attn_scalar", "attn_logit_softcapping", "attention_multiplier", "residual_multiplier", "clip_qkv",
    "use_qk_norm", "qk_layernorm", "use_parallel_residual",
))  # fmt: skip

# What YaRN takes where a config does not say (transformers, modeling_rope_utils).
YARN: Mapping[str, Any] = {
    "beta_fast": 32, "beta_slow": 1, "attention_factor": None, "mscale": None, "mscale_all_dim": None, "truncate": True,
}  # fmt: skip

# Those of them that say which tensors a layer has.
FURNITURE = ("attention_bias", "mlp_bias", "num_local_experts", "num_experts", "use_qk_norm", "qk_layernorm")

WORDS: Mapping[str, str] = {
    "intermediate_size": "feed-forward size", "n_inner": "feed-forward size", "ffn_dim": "feed-forward size",
    "num_attention_heads": "attention heads", "n_head": "attention heads",
    "num_key_value_heads": "key/value heads", "head_dim": "head size",
    "rope_parameters.rope_theta": "rope theta", "rope_parameters.rope_type": "rope scaling",
    "rope_parameters.factor": "rope scaling factor",
    "rope_parameters.max_position_embeddings": "positions that rope scales by",
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
    ("key/value heads", re.compile(r"(^|\.)(k_proj|v_proj|k_norm|key|value)(\.|$)")),
    ("attention heads", re.compile(r"(^|\.)(q_proj|o_proj|query|query_key_value|attn|self_attn|attention)(\.|$)")),
)

FOREIGN = "tensors of its own"
ALIGN = "Add 'tokenizer: {source: union}' to the recipe to bring the rows of the same tokens together."
LEAVE_OUT = (
    "Layers of one model have to agree in this, even where each has settings of its own: leave them out, or use a "
    "relative of the host."
)
WIDEN = (
    "Assemble it and listen: each layer runs with its own model's settings. To write it to disk, bring the layers to "
    "one size, which changes no answer: ml.widen(recipe), or widen: true in the recipe."
)
RUNS_HERE = (
    "Assemble it and listen: each layer runs with its own model's settings. Widening does not bring all of these "
    "together: for a model on disk leave them out, or use a relative of the host."
)
NOT_WIDENED = (
    "Widening pads feed-forwards (gate_proj, up_proj, down_proj) and repeats key/value heads (k_proj, v_proj), and "
    "changes nothing else: leave these layers out, or assemble the recipe unwidened and listen."
)
WIDEN_STAGE = (
    "A stage is a model that is written, if only in thought: bring its layers to one size, which changes no answer. "
    "ml.widen(recipe) does it, or widen: true in the stage."
)
NOT_A_STAGE = (
    "A stage is a model that is written, if only in thought, and widening does not bring all of these together: leave "
    "these layers out, use a relative of the host, or stack them in the last document, where each runs with its own."
)
DEQUANTISE = "Load it with transformers, dequantise it, save it in bfloat16, and merge that."
ONE_SHAPE = "Models that are blended have the same tensors in the same shapes: leave it out, or use a relative."


def unfit(recipe: Recipe, origins: Mapping[Source, Origin], say: Callable[[Source], str]) -> Iterator[Finding]:
    """Every reason why the sources of a recipe cannot make one model, with the figures that clash: errors.

    Where layers only differ in what a config states once for all of them, the errors say so (``one_config``): each
    layer can run with its own model's settings, in one process. Models that are blended into such a layer have its
    shapes; settings that leave every shape alone are no reason, their weights run with the layer's, as in mergekit.
    That is a warning.

    Args:
        recipe: well formed (``check`` has nothing to say).
        origins: what its slices and its base name, opened.
        say: how a source is called in the findings.
    """
    donor, wide = origins[recipe.donor], widths(recipe, origins)
    depth = 0
    for source in recipe.named:
        if (quantised := _quantised(origins[source])) is not None:
            yield Finding("error", say(source), "quantised weights", quantised, DEQUANTISE)
    for index, piece in enumerate(recipe.slices):
        models, base = models_of(recipe, piece, methods.get(recipe.method_of(piece)))
        parts = [part for part in (base, *models) if part]
        lengths = {say(part.source): origins[part.source].layers for part in parts if part.layers is None}
        if len(dict.fromkeys(lengths.values())) > 1:
            listed = ", ".join(f"{name} has {count}" for name, count in lengths.items())
            yield Finding("error", "models", "number of layers", listed, "Choose runs of layers with slices:.")
        for part in parts:
            origin = origins[part.source]
            too_far = _beyond(recipe, index, part, origin, say)
            if too_far is not None:
                yield too_far
                continue
            if part is parts[0] and not is_whole(recipe):  # a layer has its place, and its settings, from this one
                yield from _stacked(part, origin, donor, wide, say)
            else:  # whole models keep their places, so the host's are among them
                ground = donor if is_whole(recipe) else origins[parts[0].source]
                yield from _blended(part, origin, ground, say)
            about = f"{say(part.source)} does not fit {say(recipe.donor)}"
            for evidence in _outside(recipe, index, origin, donor):
                yield Finding("error", about, "vocabulary", evidence, ALIGN)
        home = parts[0]
        if home.layers and home.layers[0] != depth and donor.config.get("hidden_size_per_layer_input"):
            about = f"{say(home.source)} does not fit {say(recipe.donor)}"
            evidence = f"layer {home.layers[0]} would get the embeddings of layer {depth}"
            remedy = "Every layer of this family has embeddings of its own, by its place: leave layers in their places."
            yield Finding("error", about, "embeddings per layer", evidence, remedy)
        depth += home.layers[1] - home.layers[0] if home.layers else origins[home.source].layers
        lacking = [_lacking(part, origins[part.source], donor) for part in parts]
        # What only some of them lack is told where their tensors meet, in the plan.
        nowhere = [name for name in lacking[0] if all(name in names for names in lacking[1:])]
        if nowhere and not _furnished(origins[parts[0].source], donor):
            about = f"{say(parts[0].source)} does not fit {say(recipe.donor)}"
            yield Finding("error", about, "missing tensors", _few(nowhere), LEAVE_OUT)


def beyond(recipe: Recipe, origins: Mapping[Source, Origin], say: Callable[[Source], str]) -> Iterator[Finding]:
    """Runs of layers that reach beyond their models, of those that are open: ``origins`` need not have all."""
    for index, piece in enumerate(recipe.slices):
        for part in piece.parts:
            found = _beyond(recipe, index, part, origins[part.source], say) if part.source in origins else None
            if found is not None:
                yield found


def _beyond(recipe: Recipe, index: int, part: Part, origin: Origin, say: Callable[[Source], str]) -> Finding | None:
    if part.layers is None or part.layers[1] <= origin.layers:
        return None
    where = f"{recipe.place(f'slices[{index}]')}, source {say(part.source)}"
    remedy = f"Layers are 0 to {origin.layers - 1}; the end of a range is not included."
    asked = f"asks for layers {list(part.layers)}, it has {origin.layers}"
    return Finding("error", where, "layer range", asked, remedy)


def _stacked(
    part: Part, theirs: Origin, ours: Origin, wide: Widths | None, say: Callable[[Source], str]
) -> Iterator[Finding]:
    """Layers of a model among those of its host."""
    about = f"{say(part.source)} does not fit {say(ours.source)}"
    found = list(_clashes(part, theirs, ours, wide))
    remedy = LEAVE_OUT
    if wide is not None:
        remedy = NOT_WIDENED
    elif found and all(clash.own for clash in found):
        remedy = RUNS_HERE if list(_clashes(part, theirs, ours, common((ours, theirs)))) else WIDEN
    for clash in found:
        own = wide is None and clash.own
        yield Finding("error", about, clash.what, clash.evidence, remedy, own, part.source)


def _blended(part: Part, theirs: Origin, ours: Origin, say: Callable[[Source], str]) -> Iterator[Finding]:
    """Layers of a model that are blended into those of another: only what is made of them is widened."""
    for clash in _clashes(part, theirs, ours, None):
        if clash.kind == "setting":
            about = f"{say(part.source)} blended into {say(ours.source)}"
            remedy = (
                f"Its weights will run with the setting of {say(ours.source)}, not with the one that they "
                "were trained with: use models that agree, or compare the answers with those of each."
            )
            yield Finding("warning", about, clash.what, clash.evidence, remedy)
        else:
            about = f"{say(part.source)} does not fit {say(ours.source)}"
            yield Finding("error", about, clash.what, clash.evidence, ONE_SHAPE)


def in_a_stage(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings about a recipe as findings about a stage, which has to have a standard config."""
    words = {WIDEN: WIDEN_STAGE, RUNS_HERE: NOT_A_STAGE}
    for one in findings:
        yield replace(one, remedy=words.get(one.remedy, one.remedy), one_config=False)


class _Clash(NamedTuple):
    """One thing that differs, theirs against ours.

    Attributes:
        kind: whether it is a setting that shows in no shape, or one that shows in a shape. None: something else.
        own: a layer can have it to itself.
    """

    what: str
    evidence: str
    kind: Literal["setting", "shape"] | None
    own: bool


def _clashes(part: Part, theirs: Origin, ours: Origin, wide: Widths | None) -> Iterator[_Clash]:
    if theirs.config["model_type"] != ours.config["model_type"]:
        evidence = f"{theirs.config['model_type']} against {ours.config['model_type']}"
        yield _Clash("kind of model", evidence, None, own=False)
    if theirs.width != ours.width:
        yield _Clash("width", f"{theirs.width:,} against {ours.width:,}", None, own=False)
        return
    if theirs.anatomy.prefix != ours.anatomy.prefix:
        evidence = f"begin with {theirs.anatomy.prefix!r} against {ours.anatomy.prefix!r}"
        yield _Clash("names of layers", evidence, None, own=False)
    shapes = {what: (evidence, own) for what, evidence, own in _shapes(part, theirs, ours, wide)}
    told: dict[str, None] = {}
    for path, evidence in _settings(modern(theirs.config), modern(ours.config)):
        if wide is not None and path in wide.settings:
            continue  # the shapes say whether it was brought together
        what = WORDS.get(path, path)
        told[what] = None
        own = path.partition(".")[0] in OF_A_LAYER
        yield _Clash(what, evidence, "shape" if what in shapes else "setting", own)
    for what, (evidence, own) in shapes.items():
        if what not in told:
            yield _Clash(what, evidence, "shape", own)
    if ours.config.get("scale_attn_by_inverse_layer_idx") and part.layers not in (None, (0, ours.layers)):
        yield _Clash("scale_attn_by_inverse_layer_idx", "ties each layer to its depth", None, own=False)


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


def _shapes(part: Part, theirs: Origin, ours: Origin, wide: Widths | None) -> Iterator[tuple[str, str, bool]]:
    """What the tensors of the layers say that differ in shape from the host's of the same name, or are not there.

    With it, whether a layer whose config says so can have it to itself.
    """

    def shape(origin: Origin, index: int, stem: str) -> tuple[int, ...]:
        found = origin.specs[origin.anatomy.name(index, stem)].shape
        return wide.shape(stem, found) if wide else found

    known: dict[str, tuple[int, ...]] = {}
    for index, stems in enumerate(ours.anatomy.layers):
        for stem in stems:
            if stem not in known:
                known[stem] = shape(ours, index, stem)
    clash: dict[str, dict[str, str]] = {}
    for index in range(*(part.layers or (0, theirs.layers))):
        for stem in theirs.anatomy.layers[index]:
            found = shape(theirs, index, stem)
            if stem not in known:
                clash.setdefault(FOREIGN, {}).setdefault(stem, f"{stem} {list(found)} against none")
            elif found != known[stem]:
                what = next((what for what, pattern in SHAPES if pattern.search(stem)), "shapes")
                clash.setdefault(what, {}).setdefault(stem, f"{stem} {list(found)} against {list(known[stem])}")
    for what, said in clash.items():
        yield what, _few(list(said.values())), what != FOREIGN or _furnished(theirs, ours)


def _furnished(theirs: Origin, ours: Origin) -> bool:
    """Whether a setting says that layers of one of the two have tensors that the other's have not."""
    return any((theirs.config.get(key) or 0) != (ours.config.get(key) or 0) for key in FURNITURE)


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
    if isinstance(rope, dict):
        rope = _scaled(rope, config)
    rest = {key: value for key, value in config.items() if key not in ("rope_theta", "rope_scaling", "rope_parameters")}
    return rest | {"rope_parameters": rope} if isinstance(rope, dict) else rest


def _scaled(rope: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Rope settings, of all layers or by kind of layer, with what else their scaling depends on."""
    kind = rope.get("rope_type")
    made = {key: _scaled(value, config) if isinstance(value, dict) else value for key, value in rope.items()}
    if kind == "yarn":
        made = {**YARN, **made}
    if kind == "dynamic" or (kind == "longrope" and rope.get("factor") is None):
        made["max_position_embeddings"] = config.get("max_position_embeddings")
    return made


def _settings(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Settings that both configs state, and state differently: their path, and the two values."""
    of_rope = path.startswith("rope_parameters.")  # its lists are factors, and positions count where it scales by them
    for key, mine in ours.items():
        if key not in theirs or (key in BOOKKEEPING and not of_rope) or key.endswith(BOOKKEEPING_ENDINGS):
            continue
        other = theirs[key]
        if key in DERIVED and None in (mine, other):
            continue
        if isinstance(mine, dict) and isinstance(other, dict):
            yield from _settings(other, mine, f"{path}{key}.")
        elif mine != other and (of_rope or not (isinstance(mine, list) and isinstance(other, list))):
            yield f"{path}{key}", f"{_figure(other)} against {_figure(mine)}"


def _figure(value: object) -> str:
    """A setting as a person would write it: 500,000 rather than 500000.0."""
    if isinstance(value, list):
        return f"[{', '.join(map(_figure, value[:3]))}{', ...' if len(value) > 3 else ''}]"
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
