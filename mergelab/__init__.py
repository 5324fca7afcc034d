"""mergelab: a workbench for merging language models.

    import mergelab as ml

    recipe = ml.graft(host, donor, layers=(3, 7))    # what to merge, as data
    print(ml.check(recipe))                          # will it work? from headers alone, in words
    print(ml.plan(recipe))                           # worked out tensor by tensor, from headers alone
    merged = ml.assemble(recipe)                     # poured into a live model; nothing written to disk
    merged.say("Once upon a time")
    ml.Variants(recipe)                              # several live models side by side: turn, undo, keep, compare
    ml.merge(recipe, "merged")                       # the same plan, poured into a folder
    ml.verify("merged")                              # is it still what was written?
    ml.Workbench(base, a, b)                         # the same, by hand, in a notebook
    ml.Inspector(base, a, b)                         # how they differ, layer by layer, before anything is merged
    ml.seams(recipe, prompts)                        # where a graft broke, and which layer is to blame

The names below are looked up when they are first used: ``import mergelab`` itself loads neither torch nor
transformers nor plotly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mergelab import methods, sample, studies
    from mergelab.errors import (
        AssemblyError,
        FitError,
        InspectionError,
        MergelabError,
        MethodError,
        OutputError,
        Problem,
        RecipeError,
        SourceError,
    )
    from mergelab.forge.extraction import extract_lora
    from mergelab.forge.merge import merge
    from mergelab.forge.proof import prove
    from mergelab.forge.verify import verify
    from mergelab.inspection.changes import conflict, task_vectors
    from mergelab.inspection.drift import drift
    from mergelab.inspection.probes import probe
    from mergelab.inspection.seams import seams
    from mergelab.inspection.subspace import subspaces
    from mergelab.inspection.trace import trace
    from mergelab.models.answers import Prompt
    from mergelab.models.assembly import Assembly, assemble
    from mergelab.models.comparison import Comparison
    from mergelab.models.preview import Preview
    from mergelab.models.variants import Variants
    from mergelab.models.verdict import check
    from mergelab.models.widen import widen
    from mergelab.recipes.plan import Plan, plan
    from mergelab.recipes.presets import graft, interleave, repeat, stack, upscale
    from mergelab.recipes.recipe import Recipe
    from mergelab.views.explain import Explain
    from mergelab.views.figures import figure
    from mergelab.views.inspector import Inspector
    from mergelab.views.merging import Merging
    from mergelab.views.workbench import Workbench
    from mergelab.weights import Checkpoint, Source
    from mergelab.weights import open_checkpoint as open  # noqa: A004 - read as ml.open

__version__ = "0.1.0"

__all__ = [
    "Assembly",
    "AssemblyError",
    "Checkpoint",
    "Comparison",
    "Explain",
    "FitError",
    "InspectionError",
    "Inspector",
    "MergelabError",
    "Merging",
    "MethodError",
    "OutputError",
    "Plan",
    "Preview",
    "Problem",
    "Prompt",
    "Recipe",
    "RecipeError",
    "Source",
    "SourceError",
    "Variants",
    "Workbench",
    "assemble",
    "check",
    "conflict",
    "drift",
    "extract_lora",
    "figure",
    "graft",
    "interleave",
    "merge",
    "methods",
    "open",
    "plan",
    "probe",
    "prove",
    "repeat",
    "sample",
    "seams",
    "stack",
    "studies",
    "subspaces",
    "task_vectors",
    "trace",
    "upscale",
    "verify",
    "widen",
]

_ROOMS = ("methods", "sample", "studies")

# Where each name lives, and what it is called there if that differs. A type checker reads the imports above;
# a test holds the two together.
_HOMES = {
    "Assembly": "models.assembly",
    "AssemblyError": "errors",
    "Checkpoint": "weights",
    "Comparison": "models.comparison",
    "Explain": "views.explain",
    "FitError": "errors",
    "InspectionError": "errors",
    "Inspector": "views.inspector",
    "MergelabError": "errors",
    "Merging": "views.merging",
    "MethodError": "errors",
    "OutputError": "errors",
    "Plan": "recipes.plan",
    "Preview": "models.preview",
    "Problem": "errors",
    "Prompt": "models.answers",
    "Recipe": "recipes.recipe",
    "RecipeError": "errors",
    "Source": "weights",
    "SourceError": "errors",
    "Variants": "models.variants",
    "Workbench": "views.workbench",
    "assemble": "models.assembly",
    "check": "models.verdict",
    "conflict": "inspection.changes",
    "drift": "inspection.drift",
    "extract_lora": "forge.extraction",
    "figure": "views.figures",
    "graft": "recipes.presets",
    "interleave": "recipes.presets",
    "merge": "forge.merge",
    "open": "weights:open_checkpoint",
    "plan": "recipes.plan",
    "probe": "inspection.probes",
    "prove": "forge.proof",
    "repeat": "recipes.presets",
    "seams": "inspection.seams",
    "stack": "recipes.presets",
    "subspaces": "inspection.subspace",
    "task_vectors": "inspection.changes",
    "trace": "inspection.trace",
    "upscale": "recipes.presets",
    "verify": "forge.verify",
    "widen": "models.widen",
}


def __getattr__(name: str) -> object:
    """Import what ``name`` stands for when it is first asked for (PEP 562)."""
    if name in _ROOMS:
        return importlib.import_module(f"mergelab.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'mergelab' has no attribute {name!r}")
    module, _, original = _HOMES[name].partition(":")
    value: object = getattr(importlib.import_module(f"mergelab.{module}"), original or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
