"""Assembly: a plan made into a live transformers model.

Fresh shells around shared tensors; nothing is written to disk.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch

from mergelab.errors import AssemblyError, Problem
from mergelab.models.agreement import agreed
from mergelab.models.bank import Bank
from mergelab.models.blocks import own_configs
from mergelab.models.changes import Changes, what_bound
from mergelab.models.config import generation_settings, stack_config
from mergelab.models.devices import sheltered
from mergelab.models.interrupts import held, let_in
from mergelab.models.outline import Outline, outline
from mergelab.models.pour import DTYPES
from mergelab.models.speak import Stopped, write
from mergelab.models.stacking import Slots, build
from mergelab.models.tokenizer import merged_tokenizer, same_tokenizer
from mergelab.models.untouched import only_read
from mergelab.recipes.plan import Plan, plan
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.step import Key
from mergelab.weights import Source

_CLOSED = Problem("", "this assembly is closed.", "Assemble the recipe again.")


class Assembly:
    """A live merged model.

    Attributes:
        plan: what it was made from.
        bank: holds its tensors.
        lock: held while the model changes or speaks; whoever else uses the model on another thread takes it too.
        made: what making it the first time took.
    """

    def __init__(
        self,
        planned: Plan,
        *,
        bank: Bank | None = None,
        device: str | torch.device = "auto",
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Make the model of a plan.

        Args:
            bank: shares what it holds with other assemblies on it; None: one of its own.
            device: of that bank of its own.
            stop: as for ``turn``.

        Raises:
            AssemblyError: this machine does not have the device, the model does not fit there, or transformers cannot
                hold it.
            Stopped: ``stop`` said so.
        """
        self.lock = threading.RLock()
        self.plan = planned
        self.bank = Bank(planned.checkpoints, device=device) if bank is None else bank
        self._held: tuple[Key, ...] = ()
        self._keys: dict[str, Key] = {}
        self._model: Any = None
        self._tokenizer: Any = None
        self._configs: dict[Source, dict[str, Any]] = {}
        self._shell: object = None
        self._slots: Slots = {}
        self._outline: Outline | None = None
        with held():
            warning = self.bank.join(planned)
            try:
                self.made = self._turn(planned, stop, time.perf_counter(), warning)
            except BaseException:
                self.bank.give_up()
                raise

    @property
    def recipe(self) -> Recipe:
        """What is merged."""
        return self.plan.recipe

    @property
    def model(self) -> Any:
        """The transformers model, in evaluation mode; ``generate`` and the KV cache work as on any other.

        Raises:
            AssemblyError: the assembly is closed.
        """
        if self._model is None:
            raise AssemblyError(_CLOSED)
        return self._model

    @property
    def tokenizer(self) -> Any:
        """The merged model's tokenizer, made when first asked for."""
        if self._tokenizer is None:
            self._tokenizer = merged_tokenizer(self.plan)
        return self._tokenizer

    def say(self, prompt: str, *, max_new_tokens: int = 32) -> str:
        """What the model writes after ``prompt``: greedy, without the prompt, up to its end of text.

        Raises:
            AssemblyError: the prompt has no token (an empty one has the start token, where the tokenizer adds it), or
                more than the model reads; ``max_new_tokens`` is below 1.
        """
        with self.lock, torch.inference_mode():
            return sheltered(
                lambda: write(self.model, self.tokenizer, prompt, length=max_new_tokens),
                release=self.bank.shrink,
                device=self.bank.device,
            )

    def turn(
        self, recipe: Recipe | Plan | str | os.PathLike[str], *, stop: Callable[[], bool] | None = None
    ) -> Changes:
        """Make this the model of another recipe; what stays the same is not redone.

        Args:
            recipe: what to merge now: a recipe, a plan of one, or what ``Recipe.load`` reads.
            stop: asked again and again; once it says True the turn is abandoned and the model stays as it was. What was
                made by then is kept for the next turn, as far as there is room.

        Raises:
            Stopped: ``stop`` said so.
            MergelabError: as ``plan``; the model stays as it was.
        """
        started = time.perf_counter()
        with self.lock:
            if self._model is None:
                raise AssemblyError(_CLOSED)
            planned = recipe if isinstance(recipe, Plan) else plan(recipe, self.bank.checkpoints)
            if any(self.bank.checkpoints.get(source) is not opened for source, opened in planned.checkpoints.items()):
                planned = plan(planned.recipe, self.bank.checkpoints)  # of sources that are open here already
            with held():
                return self._turn(planned, stop, started, self.bank.admit(planned))

    def __repr__(self) -> str:
        if self._model is None:
            return "<Assembly, closed>"
        return f"<Assembly of {len(self.plan.layers)} layers on {self.bank.device}: recipe {self.recipe.fingerprint}>"

    def close(self) -> None:
        """Let go of the model and its tensors. May be called twice."""
        with self.lock, held():
            if self._model is None:
                return
            self._model = self._tokenizer = self._shell = self._outline = None
            self._slots = {}
            self._keys = {}
            mine, self._held = self._held, ()
            self.bank.leave(mine)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _turn(self, planned: Plan, stop: Callable[[], bool] | None, started: float, warning: str) -> Changes:
        def heed() -> None:
            with let_in():
                pass
            if stop is not None and stop():
                raise Stopped

        def on_cpu() -> Changes:
            spare = Bank(self.bank.checkpoints, device="cpu")
            said = f"There was not enough memory on {self.bank.device}: the model is on the CPU now."
            spare.join(planned)
            try:
                return self._made(planned, spare, heed, started, said)
            except BaseException:
                spare.give_up()
                raise

        return sheltered(
            lambda: self._made(planned, self.bank, heed, started, warning),
            release=self.bank.shrink,
            fall_back=None if self.bank.device.type == "cpu" else on_cpu,
            device=self.bank.device,
        )

    def _made(self, planned: Plan, bank: Bank, heed: Callable[[], None], started: float, warning: str) -> Changes:
        """Make the plan's model, with the tensors of a bank. Where that fails, the model stays as it was."""
        # What can be refused goes first: before a weight is read, and with the model still as it was.
        planned = agreed(planned, self._configs)
        config = stack_config(planned, self._configs)
        only_read(config)
        own = own_configs(planned, config, self._configs)
        shell = (config, own, tuple((step.name, step.shape, step.dtype) for step in planned.steps))
        keys = {step.name: step.key for step in planned.steps}
        fresh = [name for name, key in keys.items() if self._keys.get(name) != key or bank is not self.bank]
        rebuild = shell != self._shell or bank is not self.bank or any(name not in self._slots for name in fresh)
        other_tokens = not same_tokenizer(self.plan, planned)
        resettle = rebuild or other_tokens or self.plan.root is not planned.root
        settings = generation_settings(planned) if resettle else None
        after = outline(planned, config, own)
        planning = time.perf_counter() - started
        made = bank.make(planned.steps, heed)
        try:
            copying = bank.copy_speed  # takes memory to find out, which may run out: before anything changes
            with torch.inference_mode(mode=False), torch.no_grad():
                model, slots = self._model, self._slots
                if rebuild:
                    tensors = {step: made.tensors[step.key] for step in planned.steps}
                    model, slots = build(planned, config, tensors, own)
                generation = _generation_config(settings, model.config) if resettle else None
                if not rebuild:
                    _rebind(slots, {name: made.tensors[keys[name]] for name in fresh})
        except BaseException:
            bank.release(made.held)
            raise
        first = 0 if other_tokens or self._outline is None else self._outline.first_change(after)
        bound = what_bound(made, planning, time.perf_counter() - started - planning - made.seconds, copying)
        old, before = self.bank, self._held
        self.plan, self.bank, self._held, self._keys = planned, bank, made.held, keys
        self._model, self._slots, self._shell, self._outline = model, slots, shell, after
        if generation is not None:
            model.generation_config = generation
        if other_tokens:
            self._tokenizer = None
        (old.release if old is bank else old.leave)(before)
        seconds = time.perf_counter() - started
        return Changes(
            redone=len(made.computed),
            rebound=len(fresh) - len(made.computed),
            steps=len(planned.steps),
            bytes_read=made.bytes_read,
            bytes_written=made.bytes_written,
            seconds=seconds,
            bound=bound,
            rebuilt=rebuild,
            first=first,
            layers=len(planned.layers),
            streamed=bank.streamed,
            from_disk=made.from_disk,
            warning=warning,
        )


def _rebind(slots: Slots, tensors: dict[str, torch.Tensor]) -> None:
    """Put tensors into their places: all of them or none."""
    before: list[tuple[Any, str, Any]] = []
    try:
        for owner, tensor in tensors.items():
            parameter = torch.nn.Parameter(tensor, requires_grad=False)
            for module, name in slots[owner]:
                before.append((module, name, module._parameters[name]))
                module._parameters[name] = parameter
    except BaseException:  # an interrupt from the keyboard, for one
        for module, name, parameter in before:
            module._parameters[name] = parameter
        raise


def _generation_config(settings: dict[str, Any] | None, config: Any) -> Any:
    """The donor's, as it will be written beside the weights; where it has none, what its config says."""
    from transformers import GenerationConfig

    return GenerationConfig.from_model_config(config) if settings is None else GenerationConfig.from_dict(settings)


def assemble(
    recipe: Recipe | Plan | str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    resident: int | None = None,
) -> Assembly:
    """Make a live model of a recipe, in memory. Sources are only mapped; layers that are merely moved share their
    memory.

    Args:
        recipe: a recipe, a plan of one, or what ``Recipe.load`` reads.
        device: where the arithmetic is done and the model lives, a name or a device of torch's. "auto": a GPU where
            there is one that can hold the model, else the CPU.
        resident: most bytes of sources that are kept on a GPU; what is beyond them is sent there each turn
            (``Changes.streamed``). None: as many as there is room for (``Assembly.bank.budget``).

    Raises:
        MergelabError: as ``plan``; AssemblyError where this machine does not have the device, the model does not fit
            there, or transformers cannot hold it.
    """
    planned = recipe if isinstance(recipe, Plan) else plan(recipe)
    return Assembly(planned, bank=Bank(planned.checkpoints, device=device, resident=resident))


def rehearse(planned: Plan, known: dict[Source, dict[str, Any]] | None = None) -> dict[str, Any]:
    """Build the merged model once without its weights, so that transformers itself says whether it will load.

    Args:
        known: as for ``stack_config``.

    Returns:
        config.json of the merged model.

    Raises:
        AssemblyError: transformers finds tensors missing, left over or of another shape, or refuses a config.
        SourceError: the generation config is refused.
    """
    known = {} if known is None else known
    planned = agreed(planned, known)
    config = stack_config(planned, known)
    build(
        planned,
        config,
        {step: torch.empty(step.shape, dtype=DTYPES[step.dtype], device="meta") for step in planned.steps},
        own_configs(planned, config, known),
    )
    generation_settings(planned)
    return config
