"""The config of a stack: the donor's, with the layer count and every per-layer list moved along with the layers."""

from __future__ import annotations

import copy
import json
from typing import Any

from mergelab.errors import AssemblyError, Problem, SourceError
from mergelab.recipes.plan import Plan, Staged
from mergelab.recipes.step import Origin
from mergelab.weights import Source, layer_count_key

NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# Lists that may be as long as the model is deep by coincidence.
NOT_PER_LAYER = ("architectures", "eos_token_id", "bos_token_id", "pad_token_id")

ID_ENDING = "_token_id"  # how the names of settings end that hold ids of tokens


def stack_config(plan: Plan, known: dict[Source, dict[str, Any]] | None = None) -> dict[str, Any]:
    """config.json of the merged model.

    A family that states its per-layer settings by a rule of position (every sixth layer is global ...) has them
    expanded into a list by transformers; the list then moves with the layers, so that a moved layer keeps its own
    settings. The live model and the folder on disk are both made from this table.

    Args:
        known: expanded configs of checkpoints, filled as they are needed; keep it to make later calls fast.

    Raises:
        AssemblyError: transformers does not know the model type.
    """
    known = {} if known is None else known
    speaker = plan.alignment.home if plan.alignment else plan.recipe.donor  # the model whose tokens the merge has
    homes = (plan.recipe.donor, speaker, *(layer.home.source for layer in plan.layers))
    configs = {source: _expanded(plan.origins[source], known) for source in dict.fromkeys(homes)}
    donor = configs[plan.recipe.donor]
    config = copy.deepcopy(donor)
    key = layer_count_key(donor)
    if key is None:
        raise AssemblyError(
            Problem(
                str(plan.recipe.donor),
                "its config has no layer count.",
                "Save the model again with transformers.",
            )
        )
    for name, value in donor.items():
        if isinstance(value, list) and len(value) == donor[key] and name not in NOT_PER_LAYER:
            config[name] = [configs[layer.home.source][name][layer.home.index] for layer in plan.layers]
    config[key] = len(plan.layers)
    config["dtype"] = NAMES[plan.dtype]
    if plan.alignment is not None:
        config["vocab_size"] = plan.alignment.count
        config |= {name: configs[speaker].get(name) for name in config if name.endswith(ID_ENDING)}
    stored = plan.donor.specs
    added_head = [step.name for step in plan.steps if step.name.startswith("lm_head") and step.name not in stored]
    if added_head:
        config["tie_word_embeddings"] = False  # another source stores a head of its own, so the merge has one
    return config


def generation_settings(plan: Plan) -> dict[str, Any] | None:
    """generation_config.json of the merged model: the donor's, with the ids of the merged model's tokens. None: the
    donor has none.

    Raises:
        SourceError: a source's cannot be read.
    """
    settings = _generation(plan.donor)
    if settings is None or plan.alignment is None or plan.alignment.home == plan.recipe.donor:
        return settings
    home = plan.origins[plan.alignment.home]
    theirs = _generation(home) or home.config
    rest = {name: value for name, value in settings.items() if not name.endswith(ID_ENDING)}
    return rest | {name: value for name, value in theirs.items() if name.endswith(ID_ENDING)}


def _generation(origin: Origin) -> dict[str, Any] | None:
    if isinstance(origin, Staged):
        return generation_settings(origin.plan)
    path = origin.path("generation_config.json")
    try:
        return None if path is None else dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        what = f"its generation_config.json is no table ({error})."
        raise SourceError(Problem(str(origin.source), what, "Download or save it again, or remove it.")) from error


def _expanded(origin: Origin, known: dict[Source, dict[str, Any]]) -> dict[str, Any]:
    if isinstance(origin, Staged):
        return stack_config(origin.plan, known)
    if origin.source not in known:
        known[origin.source] = expanded_config(origin)
    return known[origin.source]


def expanded_config(checkpoint: Origin) -> dict[str, Any]:
    """The checkpoint's config with every default and per-layer list that transformers fills in written out."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = checkpoint.config["model_type"]
    if kind not in CONFIG_MAPPING:
        raise AssemblyError(
            Problem(str(checkpoint.source), f"model_type {kind!r} is unknown to the installed transformers.",
                    "Upgrade transformers. Models that bring their own code are not run.")
        )  # fmt: skip
    config: dict[str, Any] = CONFIG_MAPPING[kind].from_dict(dict(checkpoint.config)).to_dict()
    return config
