"""Assembly: a plan made into a live transformers model.

Fresh shells around shared tensors; nothing is written to disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch

from mergelab.errors import AssemblyError, Problem
from mergelab.models.config import generation_settings, stack_config
from mergelab.models.findings import Findings
from mergelab.models.pour import DTYPES, pour
from mergelab.models.speak import Stopped, write
from mergelab.models.stacking import Slots, build
from mergelab.models.tokenizer import merged_tokenizer, same_tokenizer
from mergelab.recipes.plan import Plan, plan
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.step import Step
from mergelab.weights import Source

_CLOSED = Problem("assembly", "is closed.", "Assemble the recipe again.")


@dataclass(frozen=True)
class Changes:
    """What a turn did.

    Attributes:
        redone: number of steps computed or rebound.
        steps: number of steps of the plan.
        bytes: bytes of the tensors redone, as they stand in the model.
        seconds: time it took.
        rebuilt: the stack itself changed, so that the model was built anew around the tensors that stayed.
        first: the first layer whose output may differ from before: 0 where something in front of the layers changed,
            the number of layers where only the final norm or the head did, and one more where nothing did.
    """

    redone: int
    steps: int
    bytes: int
    seconds: float
    rebuilt: bool
    first: int = 0


class Assembly:
    """A live merged model.

    Attributes:
        plan: what it was made from.
    """

    def __init__(
        self, planned: Plan, *, device: str | torch.device = "cpu", stop: Callable[[], bool] | None = None
    ) -> None:
        self._device = _usable(device)
        self._tensors: dict[Step, torch.Tensor] = {}
        self._poured: dict[Step, torch.Tensor] = {}
        self._findings = Findings()
        self._model: Any = None
        self._tokenizer: Any = None
        self._configs: dict[Source, dict[str, Any]] = {}
        self._shell: object = None
        self._slots: Slots = {}
        self.plan = planned
        self._turn(planned, stop or (lambda: False))

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
            AssemblyError: the prompt is empty, or longer than the model reads.
        """
        with torch.inference_mode():
            return write(self.model, self.tokenizer, prompt, length=max_new_tokens)

    def turn(self, recipe: Recipe, *, stop: Callable[[], bool] | None = None) -> Changes:
        """Make this the model of another recipe; steps that stay the same are not redone.

        Args:
            recipe: what to merge now.
            stop: asked between steps; once it says True the turn is abandoned and the model stays as it was.

        Raises:
            Stopped: ``stop`` said so.
            MergelabError: as ``plan``; the model stays as it was.
        """
        if self._model is None:
            raise AssemblyError(_CLOSED)
        return self._turn(plan(recipe, self.plan.checkpoints), stop or (lambda: False))

    def close(self) -> None:
        """Let go of the model and its tensors. May be called twice."""
        self._model = None
        self._tensors.clear()
        self._poured.clear()
        self._findings = Findings()
        self._slots.clear()
        self._shell = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _turn(self, planned: Plan, stop: Callable[[], bool]) -> Changes:
        started = time.perf_counter()
        # What can be refused goes first: before a weight is read, and with the model still as it was.
        fresh = [step for step in planned.steps if step not in self._tensors]
        config = stack_config(planned, self._configs)
        shell = (config, tuple((step.name, step.shape, step.dtype) for step in planned.steps))
        rebuild = shell != self._shell or any(step.name not in self._slots for step in fresh)
        other_tokens = not same_tokenizer(self.plan, planned)
        resettle = rebuild or other_tokens or self.plan.root is not planned.root
        settings = generation_settings(planned) if resettle else None
        poured: dict[Step, torch.Tensor] = {}
        for step in planned.steps:
            if stop():
                raise Stopped
            maker = step.maker  # layers of a stage that are only moved, or used twice, are made once
            if maker not in poured:
                known = self._poured.get(maker)
                poured[maker] = (
                    pour(maker, planned.checkpoints, self._device, self._findings) if known is None else known
                )
        made = {step: poured[step.maker] for step in planned.steps}
        if rebuild:
            model, slots = build(planned, config, made)
            self._model, self._slots, self._shell = model, slots, shell
        else:
            for step in fresh:
                for module, name in self._slots[step.name]:
                    module._parameters[name] = torch.nn.Parameter(made[step], requires_grad=False)
        if other_tokens:
            self._tokenizer = None
        if resettle:
            self._model.generation_config = _generation_config(settings, self._model.config)
        self.plan, self._tensors, self._poured = planned, made, poured
        seconds = time.perf_counter() - started
        size = sum(made[step].nbytes for step in fresh)
        return Changes(len(fresh), len(planned.steps), size, seconds, rebuild)


def _generation_config(settings: dict[str, Any] | None, config: Any) -> Any:
    """The donor's, as it will be written beside the weights; where it has none, what its config says."""
    from transformers import GenerationConfig

    return GenerationConfig.from_model_config(config) if settings is None else GenerationConfig.from_dict(settings)


def _usable(device: str | torch.device) -> torch.device:
    """The device, if this machine has it."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        what = f"{str(device)!r} cannot be used here ({str(error).splitlines()[0]})."
        raise AssemblyError(Problem("device", what, "Use 'cpu', or 'cuda' on a machine with a GPU.")) from None
    return found


def assemble(recipe: Recipe | Plan | str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Assembly:
    """Make a live model of a recipe, in memory. Sources are only mapped; layers that are merely moved share their
    memory.

    Args:
        recipe: a recipe, a plan of one, or what ``Recipe.load`` reads.
        device: where the arithmetic is done and the model lives.

    Raises:
        MergelabError: as ``plan``; AssemblyError where transformers cannot hold the model.
    """
    return Assembly(recipe if isinstance(recipe, Plan) else plan(recipe), device=device)


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
    config = stack_config(planned, known)
    build(
        planned,
        config,
        {step: torch.empty(step.shape, dtype=DTYPES[step.dtype], device="meta") for step in planned.steps},
    )
    generation_settings(planned)
    return config
