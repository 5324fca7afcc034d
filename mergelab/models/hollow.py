"""Hollow models: transformers models made without weights, and filled, as fast as it goes.

What transformers does for every load (random first weights, a pool of threads, a search for renamed and fused tensors)
takes longer than a turn may, and is in vain where tensors have the names and shapes that the model asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

_FILLERS = frozenset(
    ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_", "trunc_normal_", "uniform_", "normal_")
)
_NUMBER = re.compile(r"\d+")


@contextmanager
def hollow() -> Iterator[None]:
    """Modules made inside hold no values, on this thread alone: their parameters are on the meta device."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Leaves out drawing first weights: on the meta device there is nothing to draw for."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _FILLERS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def fill(model: Any, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, transforms: list[Any]) -> set[str] | None:
    """Put tensors into a hollow model under their own names.

    Args:
        tensors: all on one device.
        dtype: of the model.
        transforms: what transformers does to tensors of this model when it loads them.

    Returns:
        Names of the model's tensors that were not given; None, and nothing is done, where a tensor has to be renamed,
        converted or cast, or does not fit.
    """
    places: dict[str, tuple[dict[str, Any], str, torch.Tensor]] = {}
    buffers: dict[str, torch.Tensor] = {}
    for path, module in model.named_modules():
        start = f"{path}." if path else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                places[start + name] = (module._parameters, name, parameter)
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                buffers[start + name] = buffer
    asked: dict[str, Any] = {**places, **buffers}
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    plain: dict[str, bool] = {}
    for name, tensor in tensors.items():
        kind = _NUMBER.sub("0", name)  # no transform tells one layer from another
        if kind not in plain:
            renamed = rename_source_key(name, renamings, converters, model.base_model_prefix, asked)
            plain[kind] = renamed == (name, None)
        if name not in places or not plain[kind]:
            return None
        place = places[name][2]
        if (tensor.shape, tensor.dtype) != (place.shape, dtype if place.is_floating_point() else place.dtype):
            return None
    for name, tensor in tensors.items():
        parameters, leaf, _ = places[name]
        parameters[leaf] = torch.nn.Parameter(tensor, requires_grad=False)
    return asked.keys() - tensors.keys()
