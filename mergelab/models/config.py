"""The config of a stack: the donor's, with the layer count and every per-layer list moved along with the layers."""

from __future__ import annotations

import copy
from typing import Any

from mergelab.errors import AssemblyError, Problem
from mergelab.recipes.plan import Plan
from mergelab.weights import Checkpoint, Source, layer_count_key

NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# Lists that may be as long as the model is deep by coincidence.
NOT_PER_LAYER = ("architectures", "eos_token_id", "bos_token_id", "pad_token_id")


def stack_config(plan: Plan, known: dict[Source, dict[str, Any]] | None = None) -> dict[str, Any]:
    """config.json of the merged model.

    A family that states its per-layer settings by a rule of position (every sixth layer is global ...) has them
    expanded into a list by transformers; the list then moves with the layers, so that a moved layer keeps its own
    settings. The live model and the folder on disk are both made from this table.

    Args:
        known: expanded configs by source, filled as they are needed; keep it to make later calls fast.

    Raises:
        AssemblyError: transformers does not know the model type.
    """
    known = {} if known is None else known
    for source in (plan.recipe.donor, *(layer.home.source for layer in plan.layers)):
        if source not in known:
            known[source] = expanded_config(plan.checkpoints[source])
    donor = known[plan.recipe.donor]
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
            config[name] = [known[layer.home.source][name][layer.home.index] for layer in plan.layers]
    config[key] = len(plan.layers)
    config["dtype"] = NAMES[plan.dtype]
    stored = plan.donor.specs
    added_head = [step.name for step in plan.steps if step.name.startswith("lm_head") and step.name not in stored]
    if added_head:
        config["tie_word_embeddings"] = False  # another source stores a head of its own, so the merge has one
    return config


def expanded_config(checkpoint: Checkpoint) -> dict[str, Any]:
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
