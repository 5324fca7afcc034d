"""Forge: a plan made into a folder that transformers loads.

One tensor in memory at a time; the folder appears whole or not.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from mergelab.errors import OutputError, Problem
from mergelab.models.agreement import agreed
from mergelab.models.assembly import rehearse
from mergelab.models.config import generation_settings
from mergelab.models.devices import arithmetic, pick, sheltered
from mergelab.models.findings import Findings
from mergelab.models.pour import Bare, Pouring
from mergelab.models.tokenizer import write_tokenizer
from mergelab.recipes.plan import Plan, plan, standard
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.step import Step
from mergelab.weights.shards import Shard, ShardWriter, index, layout

RECIPE_FILE = "mergelab_recipe.yml"
_NO_MEMORY = "Close other programs, or merge on the CPU (device='cpu')."


def merge(
    recipe: Recipe | Plan | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    device: str | torch.device = "cpu",
    shard_bytes: int = 5_000_000_000,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the merged model to a folder: weights, config, tokenizer, the recipe.

    Everything is written to a hidden folder beside ``out`` and renamed at the end: on any error or interrupt ``out``
    is as it was. Every tensor equals that of ``assemble(recipe)`` bit for bit on the same device.

    Args:
        recipe: a recipe, a plan of one, or what ``Recipe.load`` reads.
        out: a folder that does not exist yet.
        force: replace ``out`` if it is an earlier merge; everything in it is deleted.
        device: where the arithmetic is done, a name or a device of torch's; "auto": a GPU where there is one. The CPU
            unless told: sums come in another order on a GPU, so that last bits may differ, and what is written to disk
            should not depend on the machine.
        shard_bytes: most bytes of one weight file.
        progress: called with (steps done, steps) after every tensor.

    Returns:
        The folder.

    Raises:
        MergelabError: as ``plan``; FitError where layers have settings of their own, which no config holds;
            AssemblyError where this machine does not have the device, or transformers cannot hold the model;
            OutputError where the folder exists, or cannot be written.
    """
    where = arithmetic(pick(device))
    planned = standard(agreed(recipe if isinstance(recipe, Plan) else plan(recipe)))
    folder = Path(out).expanduser().absolute()
    _check_place(planned, folder, force=force)
    config = rehearse(planned)
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # what an earlier run left that was killed
        partial.mkdir(parents=True)
        shards = layout(((step.name, step.dtype, step.shape) for step in planned.steps), shard_bytes=shard_bytes)
        _write_rest(planned, config, partial)
        _write_weights(planned, shards, partial, where, progress)
        _put_in_place(partial, folder)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})."
        raise OutputError(
            Problem(str(folder), what, "Nothing was left behind: free space or choose another place.")
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _check_place(planned: Plan, folder: Path, *, force: bool) -> None:
    if folder.exists() and not force:
        raise OutputError(
            Problem(str(folder), "exists already.", "Choose another folder, or replace it: force=True (--force).")
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(Problem(str(folder), "is a file.", "Choose another place: only folders are replaced."))
    homes = [(place.resolve(), source) for source in planned.checkpoints for place in source.folders]
    for home, source in homes:
        if folder.resolve() in (home, *home.parents) or home in folder.resolve().parents:
            what = f"holds, or lies in, the source {str(source)!r}."
            raise OutputError(Problem(str(folder), what, "A source is never changed: choose another folder."))
    if folder.exists() and not (folder / RECIPE_FILE).is_file() and any(folder.iterdir()):
        found = min(path.name for path in folder.iterdir())
        what = f"was not written by mergelab (it holds {found!r})."
        raise OutputError(Problem(str(folder), what, "Only an earlier merge is replaced: choose another folder."))
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise OutputError(Problem(str(folder), "is the current folder, or holds it.", "Choose another folder."))
    parent = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(parent).free
    if planned.bytes > free:
        what = f"needs {planned.bytes:,} bytes, {parent} has {free:,} free."
        raise OutputError(Problem(str(folder), what, "Free space or choose another place."))


def _write_weights(
    planned: Plan,
    shards: tuple[Shard, ...],
    folder: Path,
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> None:
    steps = iter(planned.steps)
    done = 0
    with torch.inference_mode(), Pouring(Bare(planned.checkpoints, device, Findings())) as pouring:
        for shard in shards:
            with ShardWriter(folder, shard) as writer:
                for _ in shard.specs:
                    step = next(steps)
                    writer.write(step.name, _poured(step, pouring, device))
                    done += 1
                    if progress:
                        progress(done, len(planned.steps))
    if len(shards) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps(index(shards), indent=2) + "\n")


def _poured(step: Step, pouring: Pouring, device: torch.device) -> torch.Tensor:
    return sheltered(lambda: pouring.tensor(step), device=device, hint=_NO_MEMORY)


def _write_rest(planned: Plan, config: dict[str, object], folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    settings = generation_settings(planned)
    if settings is not None:
        (folder / "generation_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    write_tokenizer(planned, folder)
    (folder / RECIPE_FILE).write_text(planned.recipe.to_yaml(), encoding="utf-8")


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename; an old folder steps aside first and goes when the new one stands."""
    aside = folder.with_name(f".{folder.name}.replaced")
    if folder.exists():
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    try:
        partial.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)
