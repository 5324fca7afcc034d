"""Extraction: what a fine-tune changed in its base, as a LoRA adapter of peft, and how much of it that keeps.

The way back is a source ``base+adapter``, or peft's own ``PeftModel.from_pretrained``.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import torch

from mergelab.errors import FitError, OutputError, Problem, raise_all
from mergelab.forge.card import FILE as CARD
from mergelab.forge.extracted import Extraction, Kept, adapter_card
from mergelab.forge.low_rank import Pair, low_rank, squares
from mergelab.forge.obstacles import followed, is_empty, precious
from mergelab.forge.peft_form import Form, Forms, forms
from mergelab.forge.place import Place, unchanged
from mergelab.models.agreement import filled
from mergelab.models.devices import arithmetic, pick, sheltered
from mergelab.models.speak import Stopped
from mergelab.models.tokenizer import tokenizer_files
from mergelab.recipes.fit import DEQUANTISE, unfit
from mergelab.recipes.licences import parents, terms
from mergelab.recipes.plan import Plan, plan
from mergelab.recipes.preflight import as_problems, short_names
from mergelab.recipes.recipe import Part, Recipe, Slice, numbers
from mergelab.recipes.step import Input
from mergelab.weights import FLOATS, Checkpoint, Source, open_checkpoint
from mergelab.weights.adapters import CONFIG, WEIGHTS
from mergelab.weights.anatomy import HEADS
from mergelab.weights.fitting import ROOT
from mergelab.weights.shards import Shard, ShardWriter, layout

_BLOCK = 1 << 22  # values that are compared at a time
_DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


@dataclass(frozen=True)
class _Change:
    """A tensor that differs.

    Attributes:
        name: in the merged model's names: a head that only one of the two stores has one too.
        tuned, ground: what is compared; a tied head's stand-in is the embedding matrix.
        energy: squared Frobenius norm of the difference.
        form: how peft holds it; None: not at all.
    """

    name: str
    tuned: Input
    ground: Input
    energy: float
    form: Form | None

    @property
    def pair(self) -> bool:
        """It gets a pair of matrices."""
        return self.form is not None and self.form.kind == "pair"

    @property
    def turned(self) -> bool:
        """It is stored as (in, out)."""
        return self.form is not None and self.form.transposed


def extract_lora(
    fine_tune: Checkpoint | Source | str | os.PathLike[str],
    base: Checkpoint | Source | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    rank: int,
    whole: bool = True,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Extraction:
    """Write the difference between a fine-tune and its base as a LoRA adapter: a folder that peft loads on the base,
    and recipes as ``base+adapter``.

    Every matrix of a layer that differs gets the pair of matrices of this rank that is nearest to the difference: the
    first terms of its singular value decomposition, worked out in float64 without random sketches. lora_alpha is the
    rank, so that the product counts as it is. What no pair can hold (norms, biases, embeddings, head) is kept whole, in
    the fine-tune's dtype, where it differs. One tensor is worked on at a time; that takes about four times the memory
    of the largest matrix of a layer in float64. The same models give the same adapter.

    Args:
        fine_tune: the model to take apart; a source, perhaps with an adapter of its own.
        base: the model that it was trained from.
        out: a folder that does not exist yet, or is empty. Nothing stands there before everything does.
        rank: of each pair. At the shorter side of the largest matrix the fine-tune comes back but for rounding; what is
            above that would be zeros, and is cut to it.
        whole: keep what no pair can hold. False: leave it out, and say what is lost.
        dtype: of the pairs: float32, bfloat16 or float16.
        device: where the arithmetic is done, a name or a device of torch's.
        progress: called with (tensors written, tensors to write) after each.
        stop: asked between tensors; True ends the work.

    Raises:
        SourceError: a model cannot be opened or read.
        FitError: rank or dtype cannot be meant; the two differ in shape, in no matrix, or in what peft cannot hold.
        AssemblyError: this machine does not have the device, memory runs out, or transformers does not know the model.
        OutputError: the folder exists, or cannot be written; after it, as after any error, nothing is left there.
        Stopped: ``stop`` said so.
    """
    raise_all(FitError, list(_asked(rank, dtype)))
    where = arithmetic(pick(device))
    tuned, ground = open_checkpoint(fine_tune), open_checkpoint(base)
    planned = _planned(tuned, ground)
    folder = followed(Path(out))
    if os.path.lexists(folder) and not is_empty(folder):
        raise OutputError(Problem(str(folder), "exists already.", "Choose another folder: nothing is replaced."))
    raise_all(OutputError, precious(planned, folder))

    def heed() -> None:
        if stop is not None and stop():
            raise Stopped

    held = forms(ground.config)
    changes = _changes(planned, held, heed)
    raise_all(FitError, list(_unheld(changes, whole=whole)))
    shapes = {step.name: step.shape for step in planned.steps}
    rank = min(rank, max((min(shapes[one.name]) for one in changes if one.pair), default=rank))
    adapter = _Adapter(planned, held, rank, dtype, tuple(one for one in changes if one.form and (whole or one.pair)))
    with Place(folder, key="", bytes=adapter.shard.bytes, force=False) as place:
        kept = {one.name: Kept(one.name, "left out", one.energy, one.energy, 0) for one in changes}
        with ShardWriter(place.partial, adapter.shard) as writer:
            for number, one in enumerate(adapter.changes, start=1):
                heed()
                kept[one.name] = adapter.write(one, writer, where)
                if progress:
                    progress(number, len(adapter.changes))
        (place.partial / CONFIG).write_text(json.dumps(adapter.config, indent=2) + "\n", encoding="utf-8")
        _copy_tokenizer(tuned, ground, place.partial)
        made = Extraction(folder, rank, tuple(kept.values()))
        models = tuple(planned.checkpoints)
        line = terms(parents(planned.checkpoints, short_names(models))).line
        base_id = None if ground.source.folder else ground.source.path
        (place.partial / CARD).write_text(adapter_card(made, base_id, line), encoding="utf-8")
        unchanged(planned)
        place.commit()
    return made


@dataclass(frozen=True)
class _Adapter:
    """The adapter to be: what goes into its files."""

    planned: Plan
    held: Forms
    rank: int
    dtype: str
    changes: tuple[_Change, ...]

    @cached_property
    def shard(self) -> Shard:
        """Its weight file."""
        tensors = [entry for one in self.changes for entry in self._entries(one)]
        (shard,) = layout(tensors, shard_bytes=1 << 62)
        return replace(shard, name=WEIGHTS)

    @cached_property
    def config(self) -> dict[str, object]:
        """Its adapter_config.json."""
        whole = [one.form for one in self.changes if one.form]
        modules = [form.module for form in whole if form.kind == "module"]
        tied = any(map(self._twice, self.changes))
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": str(self.planned.recipe.base),
            "r": self.rank,
            "lora_alpha": self.rank,
            "lora_dropout": 0.0,
            "target_modules": self.held.named(self._targets),
            "modules_to_save": self.held.named([*modules, *([self.held.head] if tied and self.held.head else [])])
            or None,
            "bias": "all" if any(form.kind == "bias" for form in whole) else "none",
            "fan_in_fan_out": any(form.transposed for form in whole),
            "ensure_weight_tying": tied,
            "inference_mode": True,
        }

    def write(self, one: _Change, writer: ShardWriter, device: torch.device) -> Kept:
        """Write what the adapter holds of one change."""
        tuned = self.planned.checkpoints[one.tuned.source].tensor(one.tuned.name)
        names = [name for name, _, _ in self._entries(one)]
        if not one.pair:
            for name in names:
                writer.write(name, tuned)
            return Kept(one.name, "whole", one.energy, 0.0, len(names) * tuned.nbytes)
        ground = self.planned.checkpoints[one.ground.source].tensor(one.ground.name)

        def made() -> Pair:
            difference = tuned.to(device, torch.float64).sub_(ground.to(device))
            return low_rank(difference.T if one.turned else difference, self.rank, getattr(torch, self.dtype))

        pair = sheltered(made, device=device, hint="Close other programs, or work on the CPU (device='cpu').")
        for name, matrix in zip(names, (pair.a, pair.b), strict=True):
            writer.write(name, matrix)
        return Kept(one.name, "pair", pair.energy, pair.lost, pair.a.nbytes + pair.b.nbytes)

    def _entries(self, one: _Change) -> list[tuple[str, str, tuple[int, ...]]]:
        """Names, dtypes and shapes of the tensors that hold one change."""
        spec = self.planned.checkpoints[one.tuned.source].specs[one.tuned.name]
        form = cast("Form", one.form)
        stem = f"{ROOT}{form.module}"
        if not one.pair:
            inner = "base_layer." if form.module in self._targets else ""
            found = [(f"{stem}.{inner}{form.parameter}", spec.dtype, spec.shape)]
            # Tied embeddings stand there as the head once more: without that peft's head stays the base's.
            return [*found, (f"{ROOT}{self.held.head}.weight", spec.dtype, spec.shape)] if self._twice(one) else found
        rows, columns = spec.shape[::-1] if one.turned else spec.shape
        thin = _DTYPES[self.dtype]
        return [
            (f"{stem}.lora_A.weight", thin, (self.rank, columns)),
            (f"{stem}.lora_B.weight", thin, (rows, self.rank)),
        ]

    @cached_property
    def _targets(self) -> dict[str, None]:
        """The modules that get a pair."""
        return dict.fromkeys(one.form.module for one in self.changes if one.form and one.pair)

    def _twice(self, one: _Change) -> bool:
        """Whether these are embeddings that are the head as well."""
        own = any(step.name in HEADS for step in self.planned.steps)
        return (
            self.held.head is not None and not own and one.form is not None and one.form.module == self.held.embeddings
        )


def _asked(rank: int, dtype: str) -> Iterator[Problem]:
    if type(rank) is not int or rank < 1:
        yield Problem("rank", f"{rank!r} is not a whole number above 0.", "Try 16, and see how much that keeps.")
    if dtype not in _DTYPES:
        yield Problem("dtype", f"{dtype!r} is none that a pair can have.", f"Use {', '.join(_DTYPES)}.")


def _planned(tuned: Checkpoint, ground: Checkpoint) -> Plan:
    """Both models side by side: a step for each tensor, whose base is the base's and whose input is the fine-tune's.

    Raises:
        FitError: the fine-tune has other tensors, other shapes, or settings that an adapter does not carry; or weights
            that are no numbers.
    """
    models = {ground.source: ground, tuned.source: tuned}
    if len(models) == 1:
        raise FitError(Problem(str(tuned.source), "is fine-tune and base at once.", "Name two models."))
    recipe = Recipe(
        "task_arithmetic", (Slice((Part(tuned.source),)),), base=ground.source, numbers=numbers({"weight": 1.0})
    )
    try:
        planned = plan(recipe, models)
    except FitError as error:  # what would make a blend of them does not help here
        hint = "A fine-tune has the tensors of its base, in the same shapes: name the model that it was trained from."
        told = (one if one.hint == DEQUANTISE else replace(one, hint=hint) for one in error.problems)
        raise FitError(*told) from None
    found = unfit(recipe, filled(planned), lambda source: repr(source.label))
    hint = "An adapter changes tensors and no settings: give the base this setting first."
    differing = (replace(one, grade="error", remedy=hint) for one in found if one.grade == "warning")
    raise_all(FitError, as_problems(tuple(differing)))
    return planned


def _changes(planned: Plan, held: Forms, heed: Callable[[], None]) -> list[_Change]:
    """Every tensor that differs, in the order of the model."""
    found = []
    for step in planned.steps:
        heed()
        tuned, ground = cast("Input", step.inputs[0]), cast("Input", step.base)  # there are no stages
        one, other = (
            torch.atleast_1d(planned.checkpoints[given.source].tensor(given.name)) for given in (tuned, ground)
        )
        codes = step.dtype not in FLOATS
        energy = (0.0 if torch.equal(one, other) else math.nan) if codes else _difference(one, other)
        if energy != 0:
            found.append(_Change(step.name, tuned, ground, energy, held.of(step.name)))
    return found


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The squared Frobenius norm of a difference."""
    rows = max(1, _BLOCK // max(1, math.prod(one.shape[1:])))
    parts = zip(one.split(rows), other.split(rows), strict=True)
    return math.fsum(squares(mine.double() - theirs.double()) for mine, theirs in parts)


def _unheld(changes: Sequence[_Change], *, whole: bool) -> Iterator[Problem]:
    """Why these changes make no adapter."""
    broken = [one.name for one in changes if not math.isfinite(one.energy)]
    if broken:
        what = f"the difference in {_listed(broken)} is not finite, or not one of plain floats."
        yield Problem("the models", what, "Mend the fine-tune: an adapter adds plain numbers.")
    homeless = [one.name for one in changes if one.form is None and one.name not in broken]
    if homeless and whole:
        what = f"peft has no place for what differs in {_listed(homeless)}."
        yield Problem("the models", what, "Leave out what no pair of matrices holds: whole=False (--no-whole).")
    if not any(one.pair for one in changes):
        what = f"differ in {_listed([one.name for one in changes])} alone." if changes else "do not differ."
        yield Problem("the models", what, "A LoRA is about the matrices of layers: there is nothing to extract.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _copy_tokenizer(tuned: Checkpoint, ground: Checkpoint, folder: Path) -> None:
    """The fine-tune's tokenizer goes along, as a whole, where it is another than the base's."""
    mine, theirs = tokenizer_files(tuned), tokenizer_files(ground)
    if {name: path.read_bytes() for name, path in mine.items()} == {
        name: path.read_bytes() for name, path in theirs.items()
    }:
        return
    for name, path in mine.items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / name)
