"""A transformers model built around tensors that are already in memory, safely on any thread.

``from_pretrained`` would do, but while it runs it replaces methods of transformers' base class and torch's default
dtype for the whole process: a worker thread in it breaks a load that the user runs meanwhile, and for good (seen with
transformers 5.23). Here the same parts of transformers are used one by one, and nothing is patched: names, fused
experts and tied embeddings stay its business, so that the live model equals the one it loads from disk.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import convert_and_load_state_dict_in_model
from transformers.modeling_utils import LoadStateDictConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import logging
from transformers.utils.loading_report import LoadStateDictInfo

from mergelab.errors import AssemblyError, Problem
from mergelab.models.blocks import Own, settle
from mergelab.models.hollow import fill, hollow

# Taken when this module is loaded: another thread may be inside from_pretrained, which swaps it for a stub.
_TIE_WEIGHTS = PreTrainedModel.tie_weights


def build_shell(
    config: dict[str, Any], tensors: dict[str, torch.Tensor], dtype: torch.dtype, own: Own = ()
) -> tuple[Any, Any]:
    """A causal language model that holds the given tensors themselves, not copies.

    Args:
        config: config.json of the model.
        tensors: by the names they have on disk; may share memory with each other.
        dtype: of the model; a tensor of another dtype is cast.
        own: of layers with settings of their own; none where all have the model's.

    Returns:
        The model, and transformers' loading report (missing, unexpected and mismatched keys).

    Raises:
        AssemblyError: transformers has no causal language model of that type, or its layers cannot have settings of
            their own.
    """
    settings = CONFIG_MAPPING[config["model_type"]].from_dict(config)
    if type(settings) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        what = f"transformers has no causal language model for {config['model_type']!r}."
        raise AssemblyError(Problem("config", what, "mergelab works on decoder-only language models."))
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(settings)]
    settings.dtype = dtype
    with hollow():
        model = kind(settings)
    if any(own):
        settle(model, own, dtype)
    _fill_buffers(model, next(iter(tensors.values())).device)
    transforms = cast("Any", get_model_conversion_mapping(model))
    exceptions = model._get_dtype_plan(dtype)
    missing = None if exceptions else fill(model, tensors, dtype, transforms)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and (missing is None or parameter.requires_grad):
                module._parameters[name] = torch.nn.Parameter(parameter.to(dtype), requires_grad=False)
    report = _loaded(model, tensors, dtype, exceptions, transforms) if missing is None else _filled(missing)
    _tie(model, report.missing_keys)
    model._adjust_missing_and_unexpected_keys(report)
    return model, report


def _filled(missing: set[str]) -> LoadStateDictInfo:
    return LoadStateDictInfo(missing, set(), set(), [], {}, set())


def _loaded(
    model: Any,
    tensors: dict[str, torch.Tensor],
    dtype: torch.dtype,
    exceptions: dict[str, torch.dtype],
    transforms: Any,
) -> LoadStateDictInfo:
    """What transformers does with tensors that are not the model's own as they are: it renames, converts, casts."""
    device = next(iter(tensors.values())).device
    how = LoadStateDictConfig(dtype=dtype, dtype_plan=exceptions, device_map={"": device}, weight_mapping=transforms)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a bar for a load of milliseconds
    try:
        report, _ = convert_and_load_state_dict_in_model(model=model, state_dict=tensors, load_config=how)
    finally:
        if shown:
            logging.enable_progress_bar()
    model.requires_grad_(requires_grad=False)
    return report


def _fill_buffers(model: Any, device: torch.device) -> None:
    """Buffers that no checkpoint stores (rotary frequencies, embedding scale): each module computes its own."""
    for module in list(model.modules()):
        names = [name for name in module._non_persistent_buffers_set if module._buffers.get(name) is not None]
        for name in names:
            module._buffers[name] = torch.empty_like(module._buffers[name], device=device)
        if names:
            # Parameters are still on the meta device, so that only the buffers are filled.
            model._init_weights(module)


def _tie(model: Any, missing: set[str]) -> None:
    own = next(vars(base)["tie_weights"] for base in type(model).__mro__ if "tie_weights" in vars(base))
    tie = _TIE_WEIGHTS if own is PreTrainedModel.tie_weights else own
    tie(model, missing_keys=missing, recompute_mapping=False)
