"""Verify: whether the folder of a merge is still what was written, and still what its sources give.

Everything in ``mergelab.json`` that can be found out again is: files are hashed, the recipe is worked out anew, and
tensors are made once more from their sources and compared bit by bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from mergelab.errors import MergelabError, Problem, RecipeError, SourceError
from mergelab.forge import card
from mergelab.forge.digests import sha256_of
from mergelab.forge.discrepancy import differences, spread, told, unequal
from mergelab.forge.obstacles import RECIPE_FILE
from mergelab.forge.provenance import (
    FILE,
    as_json,
    content_name,
    inputs,
    read_record,
    recipe_hash,
    record,
    tensor_line,
    versions,
)
from mergelab.forge.rehearsal import begun
from mergelab.forge.reopened import Stored, stored
from mergelab.forge.verification import Grade, Sighting, Verification
from mergelab.forge.watch import Watch
from mergelab.models.agreement import agreed
from mergelab.models.devices import arithmetic, pick
from mergelab.models.findings import Findings
from mergelab.models.pour import DTYPES, Bare, Pouring, prepare
from mergelab.models.progress import Progress
from mergelab.recipes.difference import difference
from mergelab.recipes.plan import Plan, plan, standard
from mergelab.recipes.recipe import Recipe
from mergelab.recipes.step import Input, Step
from mergelab.weights import Checkpoint, Source, open_checkpoint

_OTHERS = (FILE, card.FILE)  # the record cannot hold its own hash, and the card is there to be written on
_READ = (".safetensors", ".json", ".jinja", ".py", ".bin", ".model", ".txt")  # what transformers may read
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

Entry: TypeAlias = Mapping[str, Any]


def verify(
    out: str | os.PathLike[str],
    *,
    tensors: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Verification:
    """Look at a merge again: its files, its recipe, its sources, its config, and its tensors made anew.

    Nothing is written and nothing large is downloaded: what cannot be looked at here is said. Relative addresses of
    sources count from the current folder, as they did when the merge was made.

    Args:
        out: a folder that ``merge`` wrote.
        tensors: most tensors to make anew, spread evenly over the model; None: all of them.
        progress: called as bytes are hashed and compared.
        stop: asked often; once it says True, the work is abandoned.

    Raises:
        SourceError: the folder is not there, or its ``mergelab.json`` is not or is damaged.
        Stopped: ``stop`` said so.
    """
    folder = Path(out).expanduser().absolute()
    if not folder.is_dir():
        raise SourceError(Problem(str(folder), "is no folder.", "Name a folder that mergelab has written."))
    written = read_record(folder / FILE)
    return Verification(folder, tuple(_Verifying(folder, written, tensors, Watch(progress, stop)).findings()))


class _Verifying:
    """One look at a folder. What the sources are found to be decides what can be said of tensors and config."""

    def __init__(self, folder: Path, written: Entry, limit: int | None, watch: Watch) -> None:
        self.folder = folder
        self.written = written
        self.limit = limit
        self.watch = watch
        self.opened: dict[Source, Checkpoint] = {}
        self.stale: dict[tuple[str, str], None] = {}  # address and file of what is not there as it was

    def findings(self) -> Iterator[Sighting]:
        names = self.written["files"]
        here = {name: self.folder / name for name in names if (self.folder / name).is_file()}
        self.watch.expect(sum(path.stat().st_size for path in here.values()))
        recipe, news = self._recipe()
        yield from news
        if recipe is not None:
            yield from self._sources(recipe)
        planned: Plan | None = None
        if recipe is not None and len(self.opened) == len(recipe.sources):
            try:
                planned = standard(agreed(plan(recipe, self.opened)))
            except MergelabError as error:
                yield Sighting("unseen", "the plan", f"cannot be worked out here any more: {error}")
        files = stored(self.folder)
        yield from self._files(here, planned)
        yield from self._listed(files)
        if planned is not None:
            yield from self._worked_out(planned)
            yield from self._tensors(planned, files)
        else:
            yield Sighting("unseen", "tensors", "not made anew: that takes the recipe and all its sources.")

    # ------------------------------------------------------------------------------------------- the recipe

    def _recipe(self) -> tuple[Recipe | None, list[Sighting]]:
        """The recipe that was merged, where one of the two that are written down still is it."""
        said = self.written["recipe"]
        was = said["sha256"]
        ours, theirs = _loaded(said["yaml"]), _loaded(_text(self.folder / RECIPE_FILE))
        whole = [one for one in (ours, theirs) if one is not None and recipe_hash(one) == was]
        news = []
        if ours is None or recipe_hash(ours) != was or said["fingerprint"] != was[:8]:
            what = "cannot be read"
            if ours is not None:
                what = f"its SHA-256 is {recipe_hash(ours)[:12]}, it says {was[:12]}"
                what += f" ({difference(whole[0], ours)})" if whole else ""
            news.append(Sighting("changed", f"the recipe in {FILE}", f"{what}."))
        if not whole:
            news.append(Sighting("unseen", "sources", "not looked at: no recipe here is the one that was merged."))
            return None, news
        if not news:
            news.append(Sighting("same", "recipe", f"{was[:8]}, as it was merged."))
        return whole[0], news

    # -------------------------------------------------------------------------------------------- sources

    def _sources(self, recipe: Recipe) -> Iterator[Sighting]:
        entries = {one["address"]: one for one in self.written["sources"]}
        same = 0
        for source in recipe.sources:
            entry = entries.get(str(source))
            if entry is None:
                yield Sighting("changed", str(source), f"{FILE} tells nothing of it, though it is in the recipe.")
                continue
            try:
                checkpoint = open_checkpoint(_pinned(source, entry))
            except SourceError as error:
                yield Sighting("unseen", str(source), f"cannot be opened: {error}")
                continue
            self.opened[source] = replace(checkpoint, source=source)
            news = list(self._source_files(str(source), source, entry["files"], checkpoint.kept))
            if entry["adapter"] is not None and checkpoint.adapter is not None and source.adapter is not None:
                files = entry["adapter"]["files"]
                news += self._source_files(str(source), source.adapter, files, checkpoint.adapter.path)
            yield from news
            same += not news
        if same:
            yield Sighting("same", "sources", f"{same} of {len(recipe.sources)} have the files that were merged.")

    def _source_files(
        self, address: str, place: Source, files: Mapping[str, str], find: Callable[[str], Path | None]
    ) -> Iterator[Sighting]:
        local = place.folder is not None
        for name, was in files.items():
            self.watch.heed()
            path = find(name)
            if path is None:
                self.stale[address, name] = None
                grade: Grade = "changed" if local else "unseen"
                yield Sighting(grade, f"{place}, {name}", "is gone." if local else "is not on this machine.")
                continue
            now = None if local else content_name(path)
            if now is None:
                self.watch.expect(path.stat().st_size)
                now = self.watch.sha256(path)
            if now != was:
                self.stale[address, name] = None
                said = f"is not the file that was merged: its SHA-256 is {now[:12]}, was {was[:12]}."
                yield Sighting("changed", f"{place}, {name}", said)

    # ---------------------------------------------------------------------------------------------- files

    def _files(self, here: Mapping[str, Path], planned: Plan | None) -> Iterator[Sighting]:
        same = 0
        for name, was in self.written["files"].items():
            if name not in here:
                yield Sighting("changed", name, "is gone.")
                continue
            now = self.watch.sha256(here[name])
            if now == was:
                same += 1
                continue
            more = self._config_said(here[name], planned) if name == "config.json" else ""
            yield Sighting("changed", name, f"its SHA-256 is {now[:12]}, was {was[:12]}{more}.")
        for path in sorted(self.folder.iterdir()):
            if path.name not in (*self.written["files"], *_OTHERS) and path.suffix in _READ:
                yield Sighting("changed", path.name, "was not written by the merge, and may be read with it.")
        if same:
            yield Sighting("same", "files", f"{same} of {len(self.written['files'])} as they were written.")

    def _config_said(self, path: Path, planned: Plan | None) -> str:
        """What is in a changed config that would not be there."""
        try:
            found = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return "; it is not JSON any more"
        if planned is None or self.stale:
            return ""
        return f" ({told(differences(found, self._config(planned)), 'is', 'would be')})"

    def _config(self, planned: Plan) -> Any:
        return json.loads(json.dumps(begun(planned).result().config))

    # ------------------------------------------------------------------------------------------- the plan

    def _worked_out(self, planned: Plan) -> Iterator[Sighting]:
        """Whether the recipe comes to the same layers, tensors and config as it did."""
        device = torch.device(self.written["model"]["device"])
        made = record(planned, device=device, hashes={}, outputs={}, proof=None)
        fresh = json.loads(as_json(made))
        found = [*self._parts(fresh), *self._cards(fresh)]
        yield from found
        if not found:
            yield Sighting(
                "same", "plan", "the recipe comes to the layers, tensors and licences that are written down."
            )
        path = self.folder / "config.json"
        if not self.stale and path.is_file() and sha256_of(path) == self.written["files"].get(path.name):
            differing = differences(json.loads(path.read_bytes()), self._config(planned))
            if differing:
                said = f"is as it was written; now it would be another: {told(differing, 'is', 'would be')}."
                yield Sighting("unseen", path.name, said)

    def _parts(self, fresh: Entry) -> Iterator[Sighting]:
        for part in ("model", "made", "tensors", "licence"):
            differing = differences(self.written[part], fresh[part])
            if differing:
                said = f"is not what the recipe comes to: {told(differing, 'is', 'would be')}."
                yield Sighting("changed", f"{part} in {FILE}", said)

    def _cards(self, fresh: Entry) -> Iterator[Sighting]:
        was, now = ({one["address"]: _stated(one) for one in each["sources"]} for each in (self.written, fresh))
        for address, said in now.items():
            differing = differences(was.get(address), said)
            if differing:
                yield Sighting("changed", f"the card of {address}", f"{told(differing, 'was', 'is')}.")

    # -------------------------------------------------------------------------------------------- tensors

    def _listed(self, files: Stored) -> Iterator[Sighting]:
        """Whether the tensors of the weight files are those that were written, by name, shape and dtype."""
        for fault in files.faults:
            yield Sighting("changed", "weight files", f"{fault}.")
        for one in differences(self.written["tensors"], _lines(files)):
            yield Sighting("changed", f"tensor {one.place}", f"is {one.other}, was {one.one}.")

    def _tensors(self, planned: Plan, files: Stored) -> Iterator[Sighting]:
        """Tensors made again, and compared bit by bit."""
        here = _lines(files)
        whole = [step for step in planned.steps if here.get(step.name) == tensor_line(step.dtype, step.shape)]
        steps = whole if self.limit is None else [whole[at] for at in spread(len(whole), self.limit)]
        where, remark = self._device()
        able = [step for step in steps if not remark or _is_copy(step)]
        if len(able) < len(steps):
            yield Sighting("unseen", "tensors", f"{len(steps) - len(able)} of {len(steps)} not made anew: {remark}.")
        fresh = [step for step in able if not self._reads_stale(planned, step)]
        if len(fresh) < len(able):
            said = f"{len(able) - len(fresh)} of {len(steps)} not made anew: what they are made of is not as it was."
            yield Sighting("unseen", "tensors", said)
        self.watch.expect(sum(step.bytes for step in fresh), len(fresh))
        same = 0
        prepare(planned.steps, where)
        with torch.inference_mode(), Pouring(Bare(planned.checkpoints, where, Findings()), self.watch.heed) as pouring:
            for step in fresh:
                self.watch.heed()
                found, made = files.tensors[step.name], pouring.tensor(step).cpu()
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

    def _reads_stale(self, planned: Plan, step: Step) -> bool:
        if not self.stale:
            return False
        read = ((one.source, planned.checkpoints[one.source].specs[one.name].file) for one in inputs([step]))
        adapters = [address for address, name in self.stale if name.startswith("adapter_")]
        return any((str(source), file) in self.stale or str(source) in adapters for source, file in read)


def _pinned(source: Source, entry: Entry) -> Source:
    """The address with the commits that were merged."""

    def at(place: Source, said: Entry) -> Source:
        return replace(place, revision=said["commit"]) if said["hub"] and said["commit"] else place

    adapter = source.adapter and entry["adapter"] and at(source.adapter, entry["adapter"])
    return replace(at(source, entry), adapter=adapter or source.adapter)


def _stated(entry: Entry) -> Entry:
    """What cards state of a model and its adapter."""
    said = {key: entry[key] for key in ("licences", "licence link", "ancestors")}
    return said | ({"adapter": _stated(entry["adapter"])} if entry.get("adapter") else {})


def _loaded(text: str) -> Recipe | None:
    try:
        return Recipe.load(text if "\n" in text else f"{text}\n")
    except RecipeError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _is_copy(step: Step) -> bool:
    """Whether no arithmetic makes it, on whichever device."""
    given: object = step
    while isinstance(given, Step) and given.copies:
        given = given.inputs[0]
    return isinstance(given, Input)


def _lines(files: Stored) -> dict[str, str]:
    return {name: tensor_line(_NAMES[one.dtype], one.shape) for name, one in files.tensors.items()}
