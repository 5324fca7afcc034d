"""Anew: the tensors of a folder held against its record, and against what the sources give when made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from mergelab.errors import MergelabError
from mergelab.forge.discrepancy import differences, spread, told, unequal
from mergelab.forge.entries import Entry
from mergelab.forge.provenance import inputs, tensor_line, versions
from mergelab.forge.reopened import Stored
from mergelab.forge.verification import Sighting
from mergelab.forge.watch import Watch
from mergelab.models.copies import copied
from mergelab.models.devices import arithmetic, pick
from mergelab.models.findings import Findings
from mergelab.models.pour import DTYPES, Bare, Pouring, prepare
from mergelab.recipes.plan import Plan
from mergelab.recipes.step import Step

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def listed(files: Stored, written: Entry) -> Iterator[Sighting]:
    """Whether the tensors of the weight files are those that were written, by name, shape and dtype."""
    for fault in files.faults:
        yield Sighting("changed", "weight files", f"{fault}.")
    found = differences(written["tensors"], _lines(files))
    gone = [one for one in found if one.other == "absent"]
    if files.faults and len(gone) > 1:  # of files that cannot be read, which was said
        yield Sighting("changed", "tensors", f"{len(gone)} cannot be read, {gone[0].place} among them.")
        found = [one for one in found if one.other != "absent"]
    for one in found:
        yield Sighting("changed", f"tensor {one.place}", f"is {one.other}, was {one.one}.")


@dataclass(frozen=True)
class Anew:
    """What there is to make tensors again.

    Attributes:
        planned: the recipe worked out, its sources open.
        files: the weight files of the folder.
        written: its record.
        stale: address and file of what is not there as it was merged.
        watch: is told how far it is.
    """

    planned: Plan
    files: Stored
    written: Entry
    stale: Mapping[tuple[str, str], None]
    watch: Watch

    def findings(self, limit: int | None) -> Iterator[Sighting]:
        """Tensors made again, and compared bit by bit.

        Args:
            limit: most of them, spread evenly over the model; None: all.
        """
        planned, here = self.planned, _lines(self.files)
        whole = [step for step in planned.steps if here.get(step.name) == tensor_line(step.dtype, step.shape)]
        steps = whole if limit is None else [whole[at] for at in spread(len(whole), limit)]
        where, remark = self._device()
        able = [step for step in steps if not remark or copied(planned, step) is not None]
        if len(able) < len(steps):
            yield Sighting("unseen", "tensors", f"{len(steps) - len(able)} of {len(steps)} not made anew: {remark}.")
        fresh = [step for step in able if not self._reads_stale(step)]
        if len(fresh) < len(able):
            said = f"{len(able) - len(fresh)} of {len(steps)} not made anew: what they are made of is not as it was."
            yield Sighting("unseen", "tensors", said)
        self.watch.expect(sum(step.bytes for step in fresh), len(fresh))
        same = 0
        prepare(planned.steps, where)
        with torch.inference_mode(), Pouring(Bare(planned.checkpoints, where, Findings()), self.watch.heed) as pouring:
            for step in fresh:
                self.watch.heed()
                found, made = self.files.tensors[step.name], pouring.tensor(step).cpu()
                said = unequal(found, made)
                if said:
                    yield Sighting("changed", f"tensor {step.name}", f"{said}.")
                same += not said
                self.watch.advance(step.bytes, 1)
        if same:
            said = f"{same} of {len(planned.steps)} made anew from the sources: every bit is the same."
            yield Sighting("same", "tensors", said)
        news = differences(self.written["versions"], versions())
        if news and same < len(fresh):
            said = f"{told(news, 'was', 'is')}: bits of tensors may differ for that alone."
            yield Sighting("unseen", "versions", said)

    def _device(self) -> tuple[torch.device, str]:
        """Where the merge was computed; the CPU and why, where that is not to be had."""
        was = self.written["model"]["device"]
        try:
            return arithmetic(pick(was)), ""
        except MergelabError:
            return torch.device("cpu"), f"they were computed on {was}, which is not here, and bits depend on it"

    def _reads_stale(self, step: Step) -> bool:
        if not self.stale:
            return False
        specs = self.planned.checkpoints
        read = ((one.source, specs[one.source].specs[one.name].file) for one in inputs([step]))
        adapters = [address for address, name in self.stale if name.startswith("adapter_")]
        return any((str(source), file) in self.stale or str(source) in adapters for source, file in read)


def _lines(files: Stored) -> dict[str, str]:
    return {name: tensor_line(_NAMES[one.dtype], one.shape) for name, one in files.tensors.items()}
