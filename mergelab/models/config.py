"""The config of a stack: the donor's, with the layer count and every per-layer list moved along with the layers."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
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
        AssemblyError: transformers does not know the model type, or refuses a config.
    """
    known = {} if known is None else known
    speaker = plan.alignment.home if plan.alignment else plan.recipe.donor  # the model whose tokens the merge has
    homes = (plan.recipe.donor, speaker, *(layer.home.source for layer in plan.layers))
    configs = {source: expanded(plan.origins[source], known) for source in dict.fromkeys(homes)}
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
    stacked = [donor, *(configs[source] for source in dict.fromkeys(layer.home.source for layer in plan.layers))]
    for name in per_layer(*stacked):
        config[name] = [configs[layer.home.source][name][layer.home.index] for layer in plan.layers]
    config[key] = len(plan.layers)
    config |= plan.wide.settings if plan.wide else {}
    config["dtype"] = NAMES[plan.dtype]
    if plan.alignment is not None:
        config["vocab_size"] = plan.alignment.count
        config |= {name: configs[speaker].get(name) for name in config if name.endswith(ID_ENDING)}
    stored = plan.donor.specs
    added_head = [step.name for step in plan.steps if step.name.startswith("lm_head") and step.name not in stored]
    if added_head:
        config["tie_word_embeddings"] = False  # another source stores a head of its own, so the merge has one
    return config


def per_layer(*configs: Mapping[str, Any]) -> list[str]:
    """Names of the settings that list a value for every layer in each of these configs, in the first one's order.

    A list that is as long as one model is deep and not so in another says nothing of layers: it stays as it is.
    """

    def lists(config: Mapping[str, Any], name: str) -> bool:
        key, value = layer_count_key(config), config.get(name)
        return key is not None and isinstance(value, list) and len(value) == config[key]

    names = (name for name in configs[0] if name not in NOT_PER_LAYER)
    return [name for name in names if all(lists(config, name) for config in configs)]


def generation_settings(plan: Plan) -> dict[str, Any] | None:
    """generation_config.json of the merged model: the donor's, with the ids of the merged model's tokens. None: the
    donor has none.

    Raises:
        SourceError: a source's cannot be read, or transformers refuses it.
    """
    settings = _generation(plan.donor)
    if settings is None or plan.alignment is None or plan.alignment.home == plan.recipe.donor:
        return settings
    home = plan.origins[plan.alignment.home]
    theirs = _generation(home) or home.config
    rest = {name: value for name, value in settings.items() if not name.endswith(ID_ENDING)}
    return rest | {name: value for name, value in theirs.items() if name.endswith(ID_ENDING)}


def _generation(origin: Origin) -> dict[str, Any] | None:
    from transformers import GenerationConfig

    if isinstance(origin, Staged):
        return generation_settings(origin.plan)
    path = origin.path("generation_config.json")
    if path is None:
        return None
    hint = "Mend it, download or save it again, or remove it."
    try:
        settings = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        what = f"its generation_config.json is not JSON ({error})."
        raise SourceError(Problem(str(origin.source), what, hint)) from error
    if not isinstance(settings, dict):
        what = f"its generation_config.json is no table but {json.dumps(settings)[:60]}."
        raise SourceError(Problem(str(origin.source), what, hint))
    try:
        GenerationConfig.from_dict(dict(settings))
    except Exception as error:
        what = f"its generation_config.json is refused: transformers says {in_words(error)}."
        raise SourceError(Problem(str(origin.source), what, hint)) from error
    return settings


def in_words(error: Exception) -> str:
    """What a library raised, in one line without a full stop."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:300].rstrip('.') if lines else 'no reason given'}"


def expanded(origin: Origin, known: dict[Source, dict[str, Any]]) -> dict[str, Any]:
    """The config of a checkpoint or a stage with everything written out that transformers fills in.

    Args:
        known: as for ``stack_config``.

    Raises:
        AssemblyError: as ``expanded_config``.
    """
    if isinstance(origin, Staged):
        return stack_config(origin.plan, known)
    if origin.source not in known:
        known[origin.source] = expanded_config(origin)
    return known[origin.source]


def expanded_config(checkpoint: Origin) -> dict[str, Any]:
    """The checkpoint's config with every default and per-layer list that transformers fills in written out.

    Raises:
        AssemblyError: transformers does not know the model type, or refuses the config.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = checkpoint.config["model_type"]
    if kind not in CONFIG_MAPPING:
        raise AssemblyError(
            Problem(str(checkpoint.source), f"model_type {kind!r} is unknown to the installed transformers.",
                    "Upgrade transformers. Models that bring their own code are not run.")
        )  # fmt: skip
    try:
        return normal(checkpoint.config)
    except Exception as error:
        what = f"its config.json is refused: transformers says {in_words(error)}."
        raise AssemblyError(Problem(str(checkpoint.source), what, "Save the model again with transformers.")) from error


def normal(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as transformers reads it: settings under today's names, defaults written out. What transformers raises
    where it refuses a config is not caught.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    read: dict[str, Any] = CONFIG_MAPPING[config["model_type"]].from_dict(copy.deepcopy(dict(config))).to_dict()
    return read
