"""Replay: a forward pass that begins at the first layer whose output may have changed.

It runs on a double of the model: copies of its outer modules and of its layers, thin as a dict each, that share every
parameter and every module inside. In the double a layer whose output is known gives it back, and the others ask before
they run whether they still should. The model itself is left as it is, and there is no table of architectures.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any, TypeAlias

import torch

from mergelab.models.blocks import layers_path
from mergelab.models.speak import Stopped
from mergelab.models.untouched import untouched

BUDGET = 256_000_000  # bytes of layer outputs that are kept

_Ids: TypeAlias = "tuple[tuple[int, ...], ...]"


class Replay:
    """Outputs of one live model's layers for the batches it read last, so that a later pass starts where they end.

    A pass gives the same bits as the model's own. Whoever changes the model says from which layer on (``changed``).
    """

    def __init__(self, budget: int = BUDGET) -> None:
        """Keep outputs of layers up to ``budget`` bytes; the batch that was read longest ago goes first."""
        self._budget = budget
        self._kept: dict[_Ids, list[Any]] = {}  # outputs from the first layer on; the batch read last comes last
        self.bytes = 0  # what is kept

    def changed(self, first: int) -> None:
        """The model has changed: layers from ``first`` on may give other outputs than before."""
        for outputs in self._kept.values():
            self.bytes -= sum(map(_bytes, outputs[first:]))
            del outputs[first:]

    def forget(self) -> None:
        """Drop everything that is kept."""
        self._kept.clear()
        self.bytes = 0

    def forward(
        self, model: Any, ids: torch.Tensor, wanted: int = 1, *, stop: Callable[[], bool] = lambda: False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One pass over a batch, without a cache of keys and values.

        Call it inside ``torch.inference_mode``.

        Args:
            model: a transformers causal language model.
            ids: tokens, shape (batch, length), without padding; best on the CPU, as they are read here too.
            wanted: of how many last positions logits are wanted.
            stop: asked before every layer that runs. What was computed until then is kept.

        Returns:
            Logits, shape (batch, wanted, vocabulary), and what the last layer hands to the final norm, shape (batch,
            length, width), both in the model's dtype.

        Raises:
            Stopped: ``stop`` said so.
            AssemblyError: the model's layers are not found, or it writes to its own weights.
        """
        key = tuple(map(tuple, ids.tolist()))
        self._kept = {batch: outputs for batch, outputs in self._kept.items() if outputs}
        outputs = self._kept[key] = self._kept.pop(key, [])
        known = len(outputs)
        output = outputs[-1] if outputs else None
        keeping = True

        def record(_layer: object, _given: object, named: dict[str, Any], made: Any) -> None:
            nonlocal output, keeping
            output = made
            # A layer that is handed a mapping may leave things in it for later ones: its output is not all it makes.
            shares = any(isinstance(value, MutableMapping) for value in named.values())
            keeping = keeping and not shares and self._make_room(_bytes(made), key)  # what is kept has no gaps
            if keeping:
                outputs.append(made)
                self.bytes += _bytes(made)

        def layer(number: int, own: torch.nn.Module) -> torch.nn.Module:
            return _known(own, outputs[number]) if number < known else _watched(own, stop, record)

        double = _double(model, layer)
        there = ids.to(model.device)
        given = {"input_ids": there, "attention_mask": torch.ones_like(there), "use_cache": False}
        if "logits_to_keep" in inspect.signature(type(model).forward).parameters:
            given["logits_to_keep"] = wanted
        if stop():
            raise Stopped
        with untouched(model):
            logits = double(**given).logits[:, -wanted:]
        return logits, _hidden(output)

    def _make_room(self, size: int, key: _Ids) -> bool:
        """Drop other batches, oldest first, until ``size`` bytes fit; False where they never will."""
        while self.bytes + size > self._budget:
            oldest = next(iter(self._kept))
            if oldest == key:
                return False
            self.bytes -= sum(map(_bytes, self._kept.pop(oldest)))
        return True


def stoppable(model: Any, stop: Callable[[], bool]) -> Any:
    """A double of the model, to generate with, that ends within one layer.

    It raises ``Stopped`` once ``stop`` says so. It stands for the model as it is now.
    """
    return _double(model, lambda _number, own: _watched(own, stop))


def _double(model: Any, change: Callable[[int, torch.nn.Module], torch.nn.Module]) -> Any:
    """The model with other layers in the places of its own."""
    double = inner = _copy(model)
    for name in layers_path(model, _depth(model)).split("."):
        child = _copy(inner._modules[name])
        inner._modules[name], inner = child, child
    for number, (name, own) in enumerate(inner._modules.items()):
        inner._modules[name] = change(number, own)
    return double


def _copy(module: Any) -> Any:
    """A module with the same settings, parameters and modules, in which modules can be exchanged."""
    twin = object.__new__(type(module))
    twin.__dict__.update(module.__dict__, _modules=dict(module._modules))
    return twin


def _known(own: torch.nn.Module, output: Any) -> torch.nn.Module:
    """A layer that has its answer already. It has every attribute of the layer: models ask for some.

    Its hooks have had their say when the output was made.
    """
    twin: torch.nn.Module = _copy(own)
    twin.__dict__.update(forward=lambda *_, **__: output, _forward_pre_hooks={}, _forward_hooks={})
    return twin


def _watched(
    own: torch.nn.Module, stop: Callable[[], bool], record: Callable[..., None] | None = None
) -> torch.nn.Module:
    """A layer that asks before it runs, and whose output is recorded."""

    def ask(_layer: object, _given: object) -> None:
        if stop():
            raise Stopped

    twin: torch.nn.Module = _copy(own)
    names = ("_forward_pre_hooks", "_forward_hooks", "_forward_hooks_with_kwargs")
    twin.__dict__.update({name: OrderedDict(getattr(own, name)) for name in names})
    twin.register_forward_pre_hook(ask)
    if record is not None:
        twin.register_forward_hook(record, with_kwargs=True)
    return twin


def _depth(model: Any) -> int:
    """How many layers its config counts; 0 where it counts none."""
    return int(getattr(model.config.get_text_config(decoder=True), "num_hidden_layers", 0))


def _hidden(output: Any) -> torch.Tensor:
    """The hidden state among what a layer returns."""
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found


def _bytes(output: Any) -> int:
    parts = output if isinstance(output, tuple) else (output,)
    return sum(part.nbytes for part in parts if isinstance(part, torch.Tensor))
