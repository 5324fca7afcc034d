"""Stacking: a transformers model built around the tensors of a plan, and where each of them sits in it."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

from mergelab.errors import AssemblyError, MergelabError, Problem
from mergelab.models.blocks import Own
from mergelab.models.config import NAMES, in_words
from mergelab.models.shell import build_shell
from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Step

Slots: TypeAlias = "dict[str, list[tuple[torch.nn.Module, str]]]"
"""Name of a step -> the modules that hold its tensor, and the parameter's name in each."""


def build(
    planned: Plan, written: dict[str, Any], tensors: dict[Step, torch.Tensor], own: Own = ()
) -> tuple[Any, Slots]:
    """A transformers model around the given tensors, and where each of them sits in it: name -> (module, parameter).

    Every layer gets a shell of its own (one cache slot each) around shared memory.

    Args:
        written: config.json of the stack.
        own: what ``own_configs`` says of its layers.

    Raises:
        AssemblyError: transformers finds tensors missing, left over or of another shape, or refuses the config.
    """
    named = {step.name: tensor for step, tensor in tensors.items()}
    try:
        model, report = build_shell(written, named, getattr(torch, NAMES[planned.dtype]), own)
    except MergelabError:
        raise
    except Exception as error:  # configs come from anywhere: whatever transformers raises is a no
        what = f"transformers says {in_words(error)}."
        raise AssemblyError(Problem("the config", what, "Save the model again with transformers.")) from error
    problems = [
        Problem(f"tensor {name!r}", what, "The checkpoint and its config are of different models.")
        for names, what in (
            (report.missing_keys, "is missing from the sources."),
            (report.unexpected_keys, "has no place in the model."),
            ((found[0] for found in report.mismatched_keys), "does not have the shape that the config asks for."),
        )
        for name in sorted(map(str, names))
    ]
    if problems:
        raise AssemblyError(*problems)
    return model.eval(), _slots(model, tensors)


def _slots(model: Any, tensors: dict[Step, torch.Tensor]) -> Slots:
    """Where each step's tensor sits. Steps that transformers converted (fused experts, another dtype) have no slot."""
    places: dict[tuple[int, torch.dtype, torch.Size], list[str]] = {}
    for step, tensor in tensors.items():
        places.setdefault((tensor.data_ptr(), tensor.dtype, tensor.shape), []).append(step.name)
    names = {step.name for step in tensors}
    found: Slots = {}
    for path, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            sharing = places.get((parameter.data_ptr(), parameter.dtype, parameter.shape), [])
            full = f"{path}.{name}"
            # A parameter under another name than on disk (a prefix, a tied head) is known by its memory, unless
            # repeated layers share that memory: then it stays unknown, and a change of it builds the model anew.
            alone = sharing[0] if len(sharing) == 1 and full not in names else None
            owner = full if full in sharing else alone
            if owner is not None:
                found.setdefault(owner, []).append((module, name))
    return found
