"""Walk: models in step through their layers, all prompts at one layer before the next. One layer's states are held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mergelab.errors import InspectionError, Problem, raise_all
from mergelab.inspection.double import double, exchange, given, hidden_of, taken
from mergelab.inspection.handles import Handles
from mergelab.inspection.passes import Call, Reached, calls_of, read_out, run_until_reached
from mergelab.inspection.seen import Batch, Seen
from mergelab.models.untouched import untouched


def walk(
    models: Mapping[str, Any],
    handles: Mapping[str, Handles],
    batches: Sequence[Batch],
    *,
    parts: bool = True,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[tuple[int, list[dict[str, Seen]]]]:
    """Read prompts with several models, layer by layer.

    A layer is called by itself, with what the model calls it with; of a model mapped from disk only one layer is needed
    at a time. Where that cannot be (``Handles.stepwise``), the model runs anew for each layer, up to that layer.

    Args:
        models: transformers causal language models, by name; nothing is left on them.
        handles: theirs, by the same names.
        batches: what is read.
        parts: take down what sub-layers add, too.
        stop: asked before each layer of each batch; once it says True the walk ends, without the layer it is at.
        progress: gets how many layers of batches are done, of all models together, and of how many.

    Yields:
        The layer's number, and for each batch what each model did there. A model with fewer layers is absent.

    Raises:
        InspectionError: a model has other vocabulary than the tokens.
        AssemblyError: a model writes to its own weights.
    """
    _check_tokens(models, batches)
    ways = {name: _Way(model, handles[name], batches, parts) for name, model in models.items()}
    total = sum(handles[name].depth for name in models) * len(batches)
    done = 0
    for layer in range(max((handles[name].depth for name in models), default=0)):
        seen: list[dict[str, Seen]] = [{} for _ in batches]
        for name, way in ways.items():
            for number in range(len(batches) if layer < handles[name].depth else 0):
                if stop():
                    return
                seen[number][name] = way.step(layer, number)
                done += 1
                progress(done, total)
        yield layer, seen


def logits(model: Any, handles: Handles, hidden: torch.Tensor) -> torch.Tensor:
    """Read states of the stream as logits, by the model's own final norm and head, and whatever follows them.

    Args:
        hidden: states as they leave a layer, shape (..., width), in the model's dtype, on its device.

    Returns:
        Shape (..., vocabulary), in the model's dtype. They take memory: read a few hundred states at a time.

    Raises:
        InspectionError: the model's states cannot be read so; its handles' notes say why.
    """
    if not handles.lens:
        raise InspectionError(
            Problem(type(model).__name__, "states cannot be read as logits.", " ".join(handles.notes))
        )
    return read_out(model, handles.layers, handles.forms, hidden)


class _Way:
    """One model's way through its layers."""

    def __init__(self, model: Any, handles: Handles, batches: Sequence[Batch], parts: bool) -> None:
        self._model = model
        self._handles = handles
        self._ids = [batch.ids.to(model.device) for batch in batches]
        self._writers = handles.writers if parts else ((),) * handles.depth
        self._given: dict[str, torch.Tensor] = {}  # by writers of the layer that runs
        self._number = -1
        self._layer: Any = None
        self._calls: list[list[Call]] = []
        self._states: list[torch.Tensor] = []
        if handles.stepwise:
            for ids in self._ids:
                calls = calls_of(model, handles.layers, handles.forms, ids)
                self._states.append(calls[0].states)
                self._calls.append([call.without() for call in calls])

    def step(self, number: int, batch: int) -> Seen:
        """What one layer does with one batch."""
        if number != self._number:
            self._number, self._layer = number, self._listening(number)
        self._given = {}
        before, after = (self._alone if self._handles.stepwise else self._whole)(number, batch)
        parts: dict[str, torch.Tensor] = {}
        for role, path, factor in self._writers[number]:
            added = self._given[path].reshape(before.shape) * factor
            parts[role] = parts[role] + added if role in parts else added
        return Seen(number, before, after, parts)

    def _alone(self, number: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Call the layer by itself. It gets a copy of its states: some write to them."""
        before, call = self._states[batch], self._calls[batch][number]
        args, named = given(before.clone(), call.args, call.named)
        with torch.no_grad(), untouched(self._layer):
            after = hidden_of(self._layer(*args, **named))
        self._states[batch] = after
        return before, after

    def _whole(self, number: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the model up to the layer."""
        found: list[torch.Tensor] = []

        def enters(_layer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            found.append(taken(args, named).clone())

        def leaves(_layer: Any, _args: tuple[Any, ...], output: Any) -> None:
            found.append(hidden_of(output))
            raise Reached

        layer = double(self._layer)
        layer.register_forward_pre_hook(enters, with_kwargs=True)
        layer.register_forward_hook(leaves)
        stand_in = double(self._model)
        exchange(stand_in, f"{self._handles.layers}.{number}", layer)
        run_until_reached(self._model, stand_in, self._ids[batch])
        before, after = found
        return before, after

    def _listening(self, number: int) -> Any:
        """A double of a layer that takes down what its writers give."""
        layer = double(self._model.get_submodule(f"{self._handles.layers}.{number}"))

        def record(path: str) -> Callable[..., None]:
            def hook(_module: Any, _read: Any, output: Any) -> None:
                self._given[path] = hidden_of(output).clone()  # it may be added to in place

            return hook

        for _, path, _ in self._writers[number]:
            layer.get_submodule(path).register_forward_hook(record(path))
        return layer


def _check_tokens(models: Mapping[str, Any], batches: Sequence[Batch]) -> None:
    largest = max((int(batch.ids.max()) for batch in batches), default=-1)
    sizes = {name: model.get_input_embeddings().weight.shape[0] for name, model in models.items()}
    raise_all(
        InspectionError,
        (
            Problem(
                repr(name), f"has {size} tokens, and is to read token {largest}.", "Encode prompts with its tokenizer."
            )
            for name, size in sizes.items()
            if largest >= size
        ),
    )
