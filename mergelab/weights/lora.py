"""What a LoRA adapter's config says of its weights: read as data, strictly, without peft.

``adapter_config.json`` as peft writes it (https://github.com/huggingface/peft, ``LoraConfig``). Most of its settings
only matter in training. Those that change what the weights mean are read here; one that cannot be honoured is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergelab.errors import Problem

_READ = ("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "fan_in_fan_out",
         "init_lora_weights", "base_model_name_or_path", "use_dora", "ensure_weight_tying",
         "modules_to_save")  # fmt: skip
# They steer the training, or say again what the names of the tensors say.
_IDLE = (
    "task_type", "auto_mapping", "peft_version", "revision", "inference_mode", "target_modules", "exclude_modules",
    "lora_dropout", "bias", "lora_bias", "layers_to_transform", "layers_pattern", "megatron_config",
    "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config",
    "qalora_group_size", "merge_weights",
)  # fmt: skip
_REFUSED: Mapping[str, str] = {
    "use_qalora": "QA-LoRA pools the inputs of a quantised base",
    "layer_replication": "it repeats layers of its base: repeat them in the recipe's slices",
    "trainable_token_indices": "it replaces single rows of the embeddings",
    "target_parameters": "it acts on stacked experts",
    "alora_invocation_tokens": "an activated LoRA only acts behind certain tokens, which weights cannot",
}
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica")
_BASE_CHANGED = ("pissa", "corda", "olora", "loftq", "lora_ga")
_MERGE = "Merge it into its model with peft (merge_and_unload), save that, and name the folder."
_DEFAULTS: dict[str, Any] = {
    "r": 8, "lora_alpha": 8, "rank_pattern": {}, "alpha_pattern": {}, "use_rslora": False, "fan_in_fan_out": False,
    "use_dora": False, "ensure_weight_tying": False, "modules_to_save": None,
}  # fmt: skip
_OFF: tuple[object, ...] = (None, False, "", [], {})


@dataclass(frozen=True)
class Lora:
    """The settings of a LoRA adapter that its weights do not show themselves.

    Attributes:
        rank: inner dimension of the pairs of matrices.
        alpha: the numerator of their scale.
        ranks, alphas: what holds instead for modules whose name a pattern ends (regular expressions, first match).
        stabilised: the scale is alpha / sqrt(rank) instead of alpha / rank.
        transposed: the base stores matrices as (in, out), as GPT-2 does.
        base: the model it was trained on, as the training named it.
        dora: rows are brought to trained lengths (Liu et al. 2024, arXiv:2402.09353).
        tied: embeddings and a head that is tied to them change together.
        saved: modules that were trained as a whole, by the ends of their names.
    """

    rank: int
    alpha: float
    ranks: tuple[tuple[str, int], ...]
    alphas: tuple[tuple[str, float], ...]
    stabilised: bool
    transposed: bool
    base: str | None
    dora: bool = False
    tied: bool = False
    saved: tuple[str, ...] = ()

    def keeps(self, module: str) -> bool:
        """Whether this module was trained as a whole."""
        return module.endswith(self.saved)

    def rank_of(self, module: str) -> int:
        """Rank of the pair at this module."""
        return next((rank for pattern, rank in self.ranks if _ends(pattern, module)), self.rank)

    def scale_of(self, module: str) -> float:
        """Factor of the product at this module: alpha / r (Hu et al. 2021, arXiv:2106.09685, section 4.1), or
        alpha / sqrt(r) (Kalajdzievski 2023, arXiv:2312.03732).
        """
        alpha = next((alpha for pattern, alpha in self.alphas if _ends(pattern, module)), self.alpha)
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.stabilised else rank)


def _ends(pattern: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", module) is not None


def read_lora(path: Path) -> tuple[Lora | None, list[Problem]]:
    """The settings in an ``adapter_config.json``, or everything that is wrong with it."""
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        return None, [Problem(str(path), f"is not JSON ({error}).", "Download or save it again.")]
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        return None, [Problem(str(path), "does not name a peft_type.", "It is no adapter of peft: save it with peft.")]
    if kind != "LORA":
        what = f"is an adapter of type {kind}; only LoRA can be read."
        return None, [Problem(str(path), what, _MERGE)]
    problems = [Problem(str(path), what, _MERGE) for what in _refusals(config)]
    hint = "Save the adapter with peft again."
    for name, fits, wanted in (
        ("r", _is_rank, "a whole number above 0"),
        ("lora_alpha", _is_number, "a number"),
        ("rank_pattern", lambda value: _is_pattern(value, _is_rank), "patterns with whole numbers above 0"),
        ("alpha_pattern", lambda value: _is_pattern(value, _is_number), "patterns with numbers"),
        ("use_rslora", _is_switch, "true or false"),
        ("fan_in_fan_out", _is_switch, "true or false"),
        ("use_dora", _is_switch, "true or false"),
        ("ensure_weight_tying", _is_switch, "true or false"),
        ("modules_to_save", _is_names, "a list of names"),
    ):
        if not fits(config.get(name, _DEFAULTS[name])):
            problems.append(Problem(str(path), f"{name} = {_short(config[name])} is not {wanted}.", hint))
    if problems:
        return None, problems
    told = _DEFAULTS | config
    base = config.get("base_model_name_or_path")
    return Lora(
        told["r"],
        told["lora_alpha"],
        tuple((told["rank_pattern"] or {}).items()),
        tuple((told["alpha_pattern"] or {}).items()),
        told["use_rslora"],
        told["fan_in_fan_out"],
        base if isinstance(base, str) and base else None,
        told["use_dora"],
        told["ensure_weight_tying"],
        tuple(told["modules_to_save"] or ()),
    ), []


def _refusals(config: Mapping[str, Any]) -> list[str]:
    found = []
    for name, value in config.items():
        if name not in (*_READ, *_IDLE) and value not in _OFF:
            why = _REFUSED.get(name, "a setting that is not known here, and might change what the weights mean")
            found.append(f"{name} = {_short(value)} cannot be honoured: {why}.")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_BASE_CHANGED):
        found.append(
            f"init_lora_weights = {_short(start)}: the training began by changing the base, so the adapter does not "
            "belong to the base as it was published."
        )
    elif not isinstance(start, bool) and start is not None and start not in _PLAIN_STARTS:
        found.append(f"init_lora_weights = {_short(start)} is not known here, and might mean a base that was changed.")
    return found


def _is_rank(value: object) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _is_switch(value: object) -> bool:
    return isinstance(value, bool)


def _is_names(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(name, str) and name for name in value))


def _is_pattern(value: object, fits: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or not all(fits(number) for number in value.values()):
        return False
    try:
        for pattern in value:
            re.compile(rf"(.*\.)?({pattern})$")
    except re.error:
        return False
    return True


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]} ..."
